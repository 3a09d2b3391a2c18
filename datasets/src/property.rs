//! How property tests draw: the same cases in each run, and more of them where `PROPTEST_CASES` asks for more.

use proptest::prelude::ProptestConfig;
use proptest::test_runner::RngSeed;

/// So many cases, unless the environment says otherwise.
pub(crate) fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok();
    let asked = asked.and_then(|text| text.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(usual),
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(7),
        ..ProptestConfig::default()
    }
}

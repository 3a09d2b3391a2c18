//! See `ncps_tests::hostile`.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use ncps_tests::hostile::Target;
use tempfile::TempDir;

/// The reader turns panics of the decoder into errors, so that only one that gets past it counts: libFuzzer's own hook would end the
/// process at the first.
static FOLDER: LazyLock<Option<TempDir>> = LazyLock::new(|| {
    std::panic::set_hook(Box::new(|_| {}));
    tempfile::tempdir().ok()
});

fuzz_target!(|bytes: &[u8]| {
    if let Some(folder) = &*FOLDER {
        let _ = Target::Parquet.feed(bytes, folder.path());
    }
});

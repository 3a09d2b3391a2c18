//! Every Apple silicon chip found in a Mac, with the source and the confidence of each figure.
//!
//! The records lie in `data/chips.json`. A machine is matched by brand string, cores per
//! performance level, GPU cores and, where bandwidth depends on it, memory size. A chip that is not
//! in the table is normal (the next one will not be) and never an error.

mod matching;

pub use matching::{BinDoubt, ChipFacts, ChipMatch, find};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// How far a figure can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// Inferred, or sources disagree: print it as "about".
    Low,
    /// Captured on a sibling, or one secondary source.
    Medium,
    /// A statement of Apple, or captured output of this chip.
    High,
}

/// One bin of one chip.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chip {
    /// Stable key, such as `m3-max-16c-40g`.
    pub id: String,
    /// What `sysctl machdep.cpu.brand_string` prints.
    pub brand_string: String,
    /// `M1` to `M6`, or `A18`.
    pub generation: String,
    /// `base`, `pro`, `max`, `ultra` or `phone`.
    pub tier: String,
    /// Month of introduction, `YYYY-MM`.
    pub introduced: String,
    /// Apple's number of the die, such as `T6031`.
    pub soc_id: String,
    /// Mac models seen with this chip.
    pub mac_model_ids_seen: Vec<String>,
    /// What a machine must say to be this record.
    #[serde(rename = "match")]
    pub key: MatchKey,
    /// Processor cores.
    pub cpu: ChipCpu,
    /// Graphics cores.
    pub gpu: ChipGpu,
    /// Unified memory.
    pub memory: ChipMemory,
    /// Cache sizes.
    pub cache: ChipCache,
    /// Neural Engine.
    pub ane: ChipAne,
    /// Manufacturing process.
    pub process: String,
    /// Hardware features by name; `None` where nobody knows.
    pub features: BTreeMap<String, Option<bool>>,
    /// Figures that people measured on this chip, by name with its unit as suffix.
    pub measured: BTreeMap<String, f64>,
    /// Confidence by field.
    pub confidence: BTreeMap<String, Confidence>,
    /// Source keys by field; the keys are those of [`sources`].
    pub sources: BTreeMap<String, String>,
    /// What one has to know besides.
    pub notes: Vec<String>,
}

/// The facts that single out a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatchKey {
    /// Brand string.
    pub brand_string: String,
    /// Cores per performance level, fastest level first.
    pub perf_level_counts: Vec<u32>,
    /// GPU cores.
    pub gpu_cores: u32,
    /// Memory sizes in GB of this record, where another record differs in nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_gb: Option<Vec<u32>>,
}

/// Processor part of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChipCpu {
    /// All cores.
    pub total_cores: u32,
    /// Levels, fastest first; one to three of them.
    pub perf_levels: Vec<PerfLevel>,
    /// Cores of the fastest level.
    pub p_cores: u32,
    /// Efficiency cores.
    pub e_cores: u32,
    /// Cores of a middle level.
    pub mid_cores: u32,
}

/// One performance level.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PerfLevel {
    /// Name on current macOS: `Super`, `Performance` or `Efficiency`.
    pub name: String,
    /// Cores of this level.
    pub count: u32,
    /// Highest clock in MHz.
    pub max_clock_mhz: Option<u32>,
    /// Lowest clock in MHz.
    pub min_clock_mhz: Option<u32>,
    /// Level-2 cache of a cluster in MiB.
    pub l2_mib_per_cluster: Option<u32>,
    /// Cores that share a level-2 cache.
    pub cores_per_l2: Option<u32>,
}

/// Graphics part of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChipGpu {
    /// GPU cores, of 128 FP32 lanes each.
    pub cores: u32,
    /// Highest clock in MHz.
    pub max_clock_mhz: u32,
    /// Clock states in MHz, in the chip's own order: not always rising, and one may come twice.
    pub clock_states_mhz: Option<Vec<u32>>,
    /// `cores * 128 * 2 * max_clock_mhz / 1e6`: a ceiling in 10^12 FLOP/s.
    pub fp32_tflops_est: f64,
    /// How half precision relates to FP32.
    pub fp16_simd_note: String,
    /// Level-2 cache in KiB.
    pub l2_cache_kib: Option<u32>,
    /// Metal GPU family.
    pub metal_gpu_family: String,
    /// Metal version and the macOS that it needs.
    pub metal_version: String,
    /// MLX's architecture string.
    pub mlx_architecture: String,
}

/// Memory part of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChipMemory {
    /// Nominal bandwidth in GB/s (10^9).
    pub bandwidth_gbs: f64,
    /// The rounded figure of Apple's pages, where there is one.
    pub bandwidth_marketed_gbs: Option<f64>,
    /// Sizes sold, in GB.
    pub options_gb: Vec<u32>,
}

/// Cache part of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChipCache {
    /// System-level cache in MB.
    pub slc_mb: Option<u32>,
    /// Instruction cache of the fastest level in KiB.
    pub p_l1i_kib: Option<u32>,
    /// Data cache of the fastest level in KiB.
    pub p_l1d_kib: Option<u32>,
    /// Instruction cache of the slowest level in KiB.
    pub e_l1i_kib: Option<u32>,
    /// Data cache of the slowest level in KiB.
    pub e_l1d_kib: Option<u32>,
}

/// Neural Engine part of a record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChipAne {
    /// Neural Engine cores.
    pub cores: u32,
    /// Apple's figure in 10^12 operations/s; generations use different bases, so never divide by it.
    pub tops_apple: Option<f64>,
    /// What that figure counts.
    pub precision_note: String,
}

#[derive(Deserialize)]
struct ChipFile {
    schema: String,
    as_of: String,
    sources: BTreeMap<String, String>,
    records: Vec<Chip>,
}

#[allow(
    clippy::expect_used,
    reason = "the file is part of the program and a test reads it"
)]
static FILE: LazyLock<ChipFile> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/chips.json")).expect("embedded chip table parses")
});

/// All records.
#[must_use]
pub fn all() -> &'static [Chip] {
    &FILE.records
}

/// The sources that the records name, by key.
#[must_use]
pub fn sources() -> &'static BTreeMap<String, String> {
    &FILE.sources
}

/// Schema name and the date of the newest source, for reports.
#[must_use]
pub fn edition() -> (&'static str, &'static str) {
    (&FILE.schema, &FILE.as_of)
}

impl Chip {
    /// Confidence of a field; `Low` if the record does not say.
    #[must_use]
    pub fn confidence_of(&self, field: &str) -> Confidence {
        self.confidence
            .get(field)
            .copied()
            .unwrap_or(Confidence::Low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_table_has_every_chip_once() {
        assert_eq!(all().len(), 43);
        let ids: BTreeSet<_> = all().iter().map(|c| &c.id).collect();
        assert_eq!(ids.len(), 43);
        let keys: BTreeSet<_> = all().iter().map(|c| format!("{:?}", c.key)).collect();
        assert_eq!(keys.len(), 43, "two records have the same match key");
        assert_eq!(edition().0, "ncps.apple-chips/1");
    }

    #[test]
    fn peak_follows_from_cores_and_clock() {
        for chip in all() {
            let peak = f64::from(chip.gpu.cores) * 256.0 * f64::from(chip.gpu.max_clock_mhz) / 1e6;
            let difference = (peak - chip.gpu.fp32_tflops_est).abs();
            assert!(difference < 0.002, "{}: {peak}", chip.id);
        }
    }

    #[test]
    fn counts_agree_with_the_match_key() {
        for chip in all() {
            let counts: Vec<u32> = chip.cpu.perf_levels.iter().map(|l| l.count).collect();
            assert_eq!(counts, chip.key.perf_level_counts, "{}", chip.id);
            assert_eq!(
                counts.iter().sum::<u32>(),
                chip.cpu.total_cores,
                "{}",
                chip.id
            );
            assert_eq!(chip.gpu.cores, chip.key.gpu_cores, "{}", chip.id);
            assert!(chip.memory.options_gb.is_sorted(), "{}", chip.id);
        }
    }

    #[test]
    fn every_figure_has_a_confidence_and_a_source() {
        for chip in all() {
            for field in chip.confidence.keys() {
                assert!(chip.sources.contains_key(field), "{}: {field}", chip.id);
            }
            assert!(chip.confidence.len() >= 15, "{}", chip.id);
        }
        assert!(sources().contains_key("apple-pr"));
    }
}

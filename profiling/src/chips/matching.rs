//! Which record a machine is: exactly, another bin of the same chip, or none.

use super::{Chip, Confidence, all};
use crate::{Reading, Reason, Unit};
use serde::Serialize;

/// What a machine says about itself; anything may be missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChipFacts {
    /// `machdep.cpu.brand_string`.
    pub brand: String,
    /// Cores per performance level, fastest first; empty if the system does not tell.
    pub perf_level_counts: Vec<u32>,
    /// GPU cores.
    pub gpu_cores: Option<u32>,
    /// Installed memory in bytes.
    pub memory_bytes: Option<u64>,
}

/// Why a machine of a known brand is not exactly one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BinDoubt {
    /// The facts contradict every record of this brand.
    NoSuchBin,
    /// Facts are missing, and more than one record fits the rest.
    Undetermined,
}

/// Outcome of the search in the chip table.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "match", rename_all = "snake_case")]
pub enum ChipMatch {
    /// One record agrees with all that is known.
    Exact {
        /// The record.
        chip: &'static Chip,
    },
    /// The chip is known, this bin of it is not: only clocks, caches and features can be trusted.
    OtherBin {
        /// Record of the same brand that is nearest in cores.
        nearest: &'static Chip,
        /// Why it is not exact.
        doubt: BinDoubt,
    },
    /// Not in the table: a newer chip, a virtual machine, or not made by Apple.
    Unknown {
        /// What the machine calls itself.
        brand: String,
    },
}

/// Searches the chip table.
#[must_use]
pub fn find(facts: &ChipFacts) -> ChipMatch {
    let same_brand: Vec<&Chip> = all()
        .iter()
        .filter(|c| c.brand_string == facts.brand)
        .collect();
    let fitting: Vec<&Chip> = same_brand
        .iter()
        .copied()
        .filter(|c| fits(c, facts))
        .collect();
    match (fitting.as_slice(), nearest(&same_brand, facts)) {
        ([chip], _) => ChipMatch::Exact { chip },
        (_, None) => ChipMatch::Unknown {
            brand: facts.brand.clone(),
        },
        ([], Some(nearest)) => ChipMatch::OtherBin {
            nearest,
            doubt: BinDoubt::NoSuchBin,
        },
        (_, Some(_)) => ChipMatch::OtherBin {
            nearest: fitting[0],
            doubt: BinDoubt::Undetermined,
        },
    }
}

/// True if no known fact contradicts the record.
fn fits(chip: &Chip, facts: &ChipFacts) -> bool {
    let levels = &facts.perf_level_counts;
    let memory = facts.memory_bytes.map(gigabytes);
    (levels.is_empty() || *levels == chip.key.perf_level_counts)
        && facts
            .gpu_cores
            .is_none_or(|cores| cores == chip.key.gpu_cores)
        && match (&chip.key.memory_gb, memory) {
            (Some(sizes), Some(memory)) => sizes.contains(&memory),
            _ => true,
        }
}

fn gigabytes(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 30)).unwrap_or(u32::MAX)
}

fn nearest(chips: &[&'static Chip], facts: &ChipFacts) -> Option<&'static Chip> {
    let total: u32 = facts.perf_level_counts.iter().sum();
    chips.iter().copied().min_by_key(|chip| {
        let gpu = facts
            .gpu_cores
            .map_or(0, |cores| cores.abs_diff(chip.key.gpu_cores));
        let cpu = if total == 0 {
            0
        } else {
            total.abs_diff(chip.cpu.total_cores)
        };
        (gpu, cpu)
    })
}

impl ChipMatch {
    /// The record, or its nearest sibling.
    #[must_use]
    pub fn chip(&self) -> Option<&'static Chip> {
        match self {
            Self::Exact { chip } => Some(chip),
            Self::OtherBin { nearest, .. } => Some(nearest),
            Self::Unknown { .. } => None,
        }
    }

    /// Nominal memory bandwidth; known for an exact match alone, since it differs between bins.
    #[must_use]
    pub fn bandwidth(&self) -> Reading {
        self.exact().map_or_else(
            |missing| missing,
            |chip| {
                let method = certainty(chip.confidence_of("memory_bandwidth"));
                let value = chip.memory.bandwidth_gbs * 1e9;
                Reading::estimated(value, Unit::BytesPerSecond, "chip table, nominal", method)
            },
        )
    }

    /// FP32 ceiling of the GPU at its highest clock; known for an exact match alone.
    #[must_use]
    pub fn fp32_peak(&self) -> Reading {
        self.exact().map_or_else(
            |missing| missing,
            |chip| {
                let trust = certainty(chip.confidence_of("fp32_tflops_est"));
                let formula = format!("GPU cores * 128 * 2 * highest clock; {trust}");
                let value = chip.gpu.fp32_tflops_est * 1e12;
                Reading::derived(value, Unit::FlopPerSecond, "chip table, nominal", formula)
            },
        )
    }

    fn exact(&self) -> Result<&'static Chip, Reading> {
        let detail = match self {
            Self::Exact { chip } => return Ok(chip),
            Self::OtherBin {
                nearest,
                doubt: BinDoubt::NoSuchBin,
            } => {
                format!(
                    "the chip table has no {} with these cores",
                    nearest.brand_string
                )
            }
            Self::OtherBin {
                nearest,
                doubt: BinDoubt::Undetermined,
            } => {
                let brand = &nearest.brand_string;
                format!("the system does not tell which {brand} this is")
            }
            Self::Unknown { brand } => format!("the chip table has no `{brand}`"),
        };
        Err(Reading::unavailable(Reason::UnknownChip, detail))
    }
}

fn certainty(confidence: Confidence) -> String {
    let word = match confidence {
        Confidence::High => return "confidence high".to_owned(),
        Confidence::Medium => "medium",
        Confidence::Low => "low",
    };
    format!("about, confidence {word}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(brand: &str, levels: &[u32], gpu: Option<u32>, memory_gb: Option<u64>) -> ChipFacts {
        ChipFacts {
            brand: brand.to_owned(),
            perf_level_counts: levels.to_vec(),
            gpu_cores: gpu,
            memory_bytes: memory_gb.map(|gb| gb << 30),
        }
    }

    #[test]
    fn every_record_finds_itself() {
        for chip in all() {
            for &gb in &chip.memory.options_gb {
                let key = &chip.key;
                let facts = facts(
                    &key.brand_string,
                    &key.perf_level_counts,
                    Some(key.gpu_cores),
                    Some(u64::from(gb)),
                );
                assert_eq!(find(&facts), ChipMatch::Exact { chip }, "{} {gb}", chip.id);
            }
        }
    }

    #[test]
    fn memory_tells_the_two_m6_apart() {
        let of = |gb| find(&facts("Apple M6", &[2, 4, 6], Some(12), gb));
        assert_eq!(of(Some(16)).bandwidth().value(), Some(153.6e9));
        assert_eq!(of(Some(32)).bandwidth().value(), Some(170e9));
        assert_eq!(of(None).bandwidth().value(), None);
        assert!(matches!(
            of(Some(48)),
            ChipMatch::OtherBin {
                doubt: BinDoubt::NoSuchBin,
                ..
            }
        ));
    }

    #[test]
    fn an_unheard_of_bin_keeps_the_clocks_and_hides_the_rates() {
        let found = find(&facts("Apple M4 Pro", &[8, 4], Some(18), Some(24)));
        assert!(matches!(
            found,
            ChipMatch::OtherBin {
                doubt: BinDoubt::NoSuchBin,
                ..
            }
        ));
        assert_eq!(found.chip().unwrap().gpu.max_clock_mhz, 1578);
        assert_eq!(found.bandwidth().value(), None);
        assert_eq!(found.fp32_peak().value(), None);
    }

    #[test]
    fn missing_facts_are_no_contradiction() {
        let only_one_fits = find(&facts("Apple M1 Max", &[], Some(24), None));
        assert_eq!(only_one_fits.chip().unwrap().id, "m1-max-24g");
        assert!(matches!(only_one_fits, ChipMatch::Exact { .. }));
        let either = find(&facts("Apple M1", &[4, 4], None, Some(8)));
        assert!(matches!(
            either,
            ChipMatch::OtherBin {
                doubt: BinDoubt::Undetermined,
                ..
            }
        ));
    }

    #[test]
    fn the_next_chip_is_unknown_and_no_error() {
        let found = find(&facts("Apple M9", &[4, 4], Some(10), Some(16)));
        assert_eq!(
            found,
            ChipMatch::Unknown {
                brand: "Apple M9".into()
            }
        );
        assert!(found.bandwidth().to_string().contains("no `Apple M9`"));
        assert!(matches!(
            find(&ChipFacts::default()),
            ChipMatch::Unknown { .. }
        ));
    }
}

//! The rule that extends the table from the four devices that were given to all others.
//!
//! The given rows are M1 (batch 32), M1 Pro (64), M1 Max (128) and M1 Ultra (256), with backbones of
//! 32, 64, 64 and 128 units. Batch and width should grow with what limits a recurrent network on a
//! GPU: lanes to keep busy, bytes per second to feed them, memory to hold a batch. So:
//!
//! ```text
//! scale     = min(GPU cores / 8, bandwidth / 68.25 GB/s, memory / 8 GB)     (1 for the M1)
//! doublings = round(log2 scale), kept between -1 and 4
//! batch     = 32 * 2^doublings
//! backbone  = 32 * 2^ceil(doublings / 2), at least 32; two layers
//! range     = batch..2*batch up to one doubling, batch/2..batch beyond
//! ```
//!
//! It gives back the four rows that it starts from. It is a place to start a search, not a result:
//! a row that was measured on its device says so and replaces the rule's.

use super::{DeviceKind, DeviceRow, DeviceTable, RowSource};
use crate::chips::{self, Chip};
use serde::Deserialize;
use std::sync::LazyLock;

/// GPU cores, nominal bandwidth and memory of the M1, from which the rule counts.
const M1: (f64, f64, f64) = (8.0, 68.25, 8.0);
const M1_BATCH: u32 = 32;
const M1_BACKBONE: u32 = 32;
/// FP32 lanes of one Apple GPU core, in which other makers' GPUs are counted too.
const LANES_PER_CORE: f64 = 128.0;

/// What the rule looks at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hardware {
    /// GPU cores of 128 FP32 lanes.
    pub gpu_cores: f64,
    /// Nominal memory bandwidth in GB/s; left out of the minimum if unknown.
    pub bandwidth_gbs: Option<f64>,
    /// Memory in GB.
    pub memory_gb: f64,
}

/// What the rule answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Batch to start with.
    pub batch: u32,
    /// Smallest batch worth trying.
    pub batch_min: u32,
    /// Largest batch worth trying.
    pub batch_max: u32,
    /// Units of each backbone layer.
    pub backbone_units: u32,
    /// Backbone layers.
    pub backbone_layers: u32,
}

/// Applies the rule.
///
/// # Example
/// ```
/// use ncps_profiling::table::rule::{Hardware, choose};
/// let m1_max = Hardware { gpu_cores: 32.0, bandwidth_gbs: Some(409.6), memory_gb: 32.0 };
/// assert_eq!((choose(&m1_max).batch, choose(&m1_max).backbone_units), (128, 64));
/// ```
#[must_use]
pub fn choose(hardware: &Hardware) -> Choice {
    let bandwidth = hardware.bandwidth_gbs.map_or(f64::INFINITY, |b| b / M1.1);
    let scale = (hardware.gpu_cores / M1.0)
        .min(bandwidth)
        .min(hardware.memory_gb / M1.2);
    let doublings = if scale > 0.0 {
        scale.log2().round().clamp(-1.0, 4.0) as i32
    } else {
        -1
    };
    let batch = power(M1_BATCH, doublings);
    // Half the doublings, rounded up.
    let width_doublings = ((doublings + 1) / 2).max(0);
    let (batch_min, batch_max) = if doublings <= 1 {
        (batch, batch * 2)
    } else {
        (batch / 2, batch)
    };
    Choice {
        batch,
        batch_min,
        batch_max,
        backbone_units: power(M1_BACKBONE, width_doublings),
        backbone_layers: 2,
    }
}

fn power(base: u32, doublings: i32) -> u32 {
    if doublings < 0 {
        base >> doublings.unsigned_abs()
    } else {
        base << doublings
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NvidiaFile {
    gpu: Vec<Nvidia>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nvidia {
    name: String,
    lanes: u32,
    bandwidth_gbs: f64,
    memory_gb: u32,
}

#[allow(
    clippy::expect_used,
    reason = "the file is part of the program and a test reads it"
)]
static NVIDIA: LazyLock<NvidiaFile> = LazyLock::new(|| {
    toml::from_str(include_str!("../../data/nvidia.toml")).expect("embedded GPU list parses")
});

/// The whole table as given and as the rule extends it: every Apple chip, the listed NVIDIA GPUs,
/// and one row each for any other NVIDIA GPU and for a processor without a GPU.
#[must_use]
pub fn table() -> DeviceTable {
    let mut rows: Vec<DeviceRow> = chips::all().iter().map(apple_row).collect();
    rows.extend(NVIDIA.gpu.iter().map(nvidia_row));
    rows.push(generic_row("cuda"));
    rows.push(generic_row("cpu"));
    DeviceTable { rows }
}

pub(super) fn row(id: String, name: &str, kind: DeviceKind, hardware: &Hardware) -> DeviceRow {
    let choice = choose(hardware);
    DeviceRow {
        id,
        name: name.to_owned(),
        kind,
        gpu_cores: Some(hardware.gpu_cores.round() as u32),
        bandwidth_gbs: hardware.bandwidth_gbs,
        memory_gb: hardware.memory_gb.round() as u32,
        batch: choice.batch,
        batch_min: choice.batch_min,
        batch_max: choice.batch_max,
        backbone_units: choice.backbone_units,
        backbone_layers: choice.backbone_layers,
        source: RowSource::Rule,
    }
}

/// A chip with the least memory that it is sold with, so that its row fits every Mac that has it.
fn apple_row(chip: &Chip) -> DeviceRow {
    let least = chip.memory.options_gb.first().copied().unwrap_or(0);
    let hardware = Hardware {
        gpu_cores: f64::from(chip.gpu.cores),
        bandwidth_gbs: Some(chip.memory.bandwidth_gbs),
        memory_gb: f64::from(least),
    };
    let rule = row(
        chip.id.clone(),
        &chip.brand_string,
        DeviceKind::Apple,
        &hardware,
    );
    match given(&chip.brand_string) {
        Some(choice) => DeviceRow {
            batch: choice.batch,
            batch_min: choice.batch_min,
            batch_max: choice.batch_max,
            backbone_units: choice.backbone_units,
            backbone_layers: choice.backbone_layers,
            source: RowSource::Given,
            ..rule
        },
        None => rule,
    }
}

/// The four rows from which the table starts, for every bin of the chip.
fn given(brand: &str) -> Option<Choice> {
    let (batch, batch_min, batch_max, backbone_units) = match brand {
        "Apple M1" => (32, 32, 64, 32),
        "Apple M1 Pro" => (64, 64, 128, 64),
        "Apple M1 Max" => (128, 64, 128, 64),
        "Apple M1 Ultra" => (256, 128, 256, 128),
        _ => return None,
    };
    Some(Choice {
        batch,
        batch_min,
        batch_max,
        backbone_units,
        backbone_layers: 2,
    })
}

fn nvidia_hardware(gpu: &Nvidia) -> Hardware {
    Hardware {
        gpu_cores: f64::from(gpu.lanes) / LANES_PER_CORE,
        bandwidth_gbs: Some(gpu.bandwidth_gbs),
        memory_gb: f64::from(gpu.memory_gb),
    }
}

fn nvidia_row(gpu: &Nvidia) -> DeviceRow {
    let id = gpu.name.to_lowercase().replace(' ', "-");
    row(id, &gpu.name, DeviceKind::Cuda, &nvidia_hardware(gpu))
}

/// The row for any NVIDIA GPU (`cuda`) or any processor (everything else).
///
/// An unlisted NVIDIA GPU is taken to be at least as good as the smallest that is listed. A processor
/// starts where the rule starts, at the M1, since its cores are not GPU cores.
pub(super) fn generic_row(id: &str) -> DeviceRow {
    let smallest = NVIDIA.gpu.iter().min_by_key(|gpu| gpu.lanes);
    let (name, kind, hardware) = match (id, smallest) {
        ("cuda", Some(gpu)) => (
            "any other NVIDIA GPU",
            DeviceKind::Cuda,
            nvidia_hardware(gpu),
        ),
        _ => {
            let m1 = Hardware {
                gpu_cores: M1.0,
                bandwidth_gbs: Some(M1.1),
                memory_gb: M1.2,
            };
            ("any CPU", DeviceKind::Cpu, m1)
        }
    };
    let row = row(id.to_owned(), name, kind, &hardware);
    DeviceRow {
        gpu_cores: None,
        bandwidth_gbs: None,
        ..row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_gives_back_the_rows_that_it_starts_from() {
        for chip in chips::all() {
            let Some(given) = given(&chip.brand_string) else {
                continue;
            };
            let hardware = Hardware {
                gpu_cores: f64::from(chip.gpu.cores),
                bandwidth_gbs: Some(chip.memory.bandwidth_gbs),
                memory_gb: f64::from(chip.memory.options_gb[0]),
            };
            assert_eq!(choose(&hardware), given, "{}", chip.id);
        }
    }

    #[test]
    fn the_scarcest_resource_decides() {
        let rich = Hardware {
            gpu_cores: 64.0,
            bandwidth_gbs: Some(819.2),
            memory_gb: 64.0,
        };
        assert_eq!(choose(&rich).batch, 256);
        assert_eq!(
            choose(&Hardware {
                memory_gb: 16.0,
                ..rich
            })
            .batch,
            64
        );
        assert_eq!(
            choose(&Hardware {
                gpu_cores: 8.0,
                ..rich
            })
            .batch,
            32
        );
        assert_eq!(
            choose(&Hardware {
                bandwidth_gbs: Some(136.5),
                ..rich
            })
            .batch,
            64
        );
        assert_eq!(
            choose(&Hardware {
                bandwidth_gbs: None,
                ..rich
            })
            .batch,
            256
        );
    }

    #[test]
    fn absurd_hardware_stays_within_bounds() {
        for cores in [0.0, -1.0, f64::NAN, 1e9] {
            let hardware = Hardware {
                gpu_cores: cores,
                bandwidth_gbs: None,
                memory_gb: 1e9,
            };
            let choice = choose(&hardware);
            assert!((16..=512).contains(&choice.batch), "{cores}: {choice:?}");
            assert!(
                (32..=128).contains(&choice.backbone_units),
                "{cores}: {choice:?}"
            );
            assert!(choice.batch_min <= choice.batch && choice.batch <= choice.batch_max);
        }
    }

    #[test]
    fn the_table_covers_every_chip_and_the_generic_devices() {
        let table = table();
        for chip in chips::all() {
            assert!(table.by_id(&chip.id).is_some(), "{}", chip.id);
        }
        assert!(table.by_id("cpu").is_some() && table.by_id("cuda").is_some());
        assert_eq!(table.rows.len(), 43 + NVIDIA.gpu.len() + 2);
    }
}

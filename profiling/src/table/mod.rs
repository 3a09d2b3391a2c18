//! The per-device table of batch and width, `configs/devices.toml`.

pub mod rule;

use crate::chips::ChipMatch;
use crate::device::{GpuVendor, Machine};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::LazyLock;

/// What kind of device a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// GPU of an Apple chip.
    Apple,
    /// NVIDIA GPU.
    Cuda,
    /// Processor.
    Cpu,
}

/// Where the numbers of a row come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowSource {
    /// Handed down with the project for the M1 family.
    Given,
    /// Computed by [`rule`].
    Rule,
    /// Measured on that device.
    Measured,
}

/// What to start with on one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRow {
    /// Key: the chip table's for an Apple chip.
    pub id: String,
    /// What the device calls itself.
    pub name: String,
    /// Kind of device.
    pub kind: DeviceKind,
    /// GPU cores of 128 FP32 lanes each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_cores: Option<u32>,
    /// Nominal memory bandwidth in GB/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_gbs: Option<f64>,
    /// Memory that the row presumes, in GB: the least that the device is sold with.
    pub memory_gb: u32,
    /// Sequences in a batch.
    pub batch: u32,
    /// Smallest batch worth trying.
    pub batch_min: u32,
    /// Largest batch worth trying.
    pub batch_max: u32,
    /// Units of each backbone layer of a CfC.
    pub backbone_units: u32,
    /// Backbone layers of a CfC.
    pub backbone_layers: u32,
    /// Where these numbers come from.
    pub source: RowSource,
}

/// The table; rows are unique by `id`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceTable {
    rows: Vec<DeviceRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableFile {
    device: Vec<DeviceRow>,
}

/// The row for a machine, and how well it fits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RowMatch {
    /// The row.
    pub row: DeviceRow,
    /// True if the row is about exactly this device.
    pub exact: bool,
    /// Why this row, in one line.
    pub why: String,
}

#[allow(
    clippy::expect_used,
    reason = "the file is part of the program and a test reads it"
)]
static EMBEDDED: LazyLock<DeviceTable> = LazyLock::new(|| {
    let text = include_str!("../../../configs/devices.toml");
    DeviceTable::parse(text, Path::new("configs/devices.toml")).expect("embedded table parses")
});

impl DeviceTable {
    /// The table that the program was built with.
    #[must_use]
    pub fn embedded() -> &'static Self {
        &EMBEDDED
    }

    /// Reads a table; `path` is named in errors only.
    ///
    /// # Errors
    /// [`Error::DeviceTable`] for text that is not TOML, an unknown or missing key, a repeated
    /// `id`, a zero, or a batch outside its own range.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let error = |detail: String| Error::DeviceTable {
            path: path.to_owned(),
            detail,
        };
        let file: TableFile = toml::from_str(text).map_err(|e| error(e.to_string()))?;
        for (n, row) in file.device.iter().enumerate() {
            row.check()
                .map_err(|detail| error(format!("device `{}`: {detail}", row.id)))?;
            if file.device[..n].iter().any(|earlier| earlier.id == row.id) {
                return Err(error(format!(
                    "device `{}` is there twice: keep one",
                    row.id
                )));
            }
        }
        Ok(Self { rows: file.device })
    }

    /// All rows, in the order of the file.
    #[must_use]
    pub fn rows(&self) -> &[DeviceRow] {
        &self.rows
    }

    /// The row with this key.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<&DeviceRow> {
        self.rows.iter().find(|row| row.id == id)
    }

    /// The row that a config means by `device`: an `id`, or the chip in lower case with dashes
    /// (`m3`, `m1-ultra`), which is the smallest bin of that chip.
    #[must_use]
    pub fn by_device(&self, device: &str) -> Option<&DeviceRow> {
        let of_chip = || self.rows.iter().find(|row| row.device() == device);
        self.by_id(device).or_else(of_chip)
    }

    /// All names that [`DeviceTable::by_device`] takes, chips only, in the order of the file.
    #[must_use]
    pub fn devices(&self) -> Vec<String> {
        let mut names: Vec<String> = self.rows.iter().map(DeviceRow::device).collect();
        names.dedup();
        names
    }

    /// Adds a row, or replaces the one with the same `id`, as a measurement does.
    ///
    /// # Errors
    /// [`Error::DeviceTable`] if the row has a zero or a batch outside its own range.
    pub fn put(&mut self, row: DeviceRow) -> Result<()> {
        row.check().map_err(|detail| Error::DeviceTable {
            path: "device table".into(),
            detail: format!("device `{}`: {detail}", row.id),
        })?;
        match self.rows.iter_mut().find(|old| old.id == row.id) {
            Some(old) => *old = row,
            None => self.rows.push(row),
        }
        Ok(())
    }

    /// The row for the fastest device of a machine; every machine gets one.
    #[must_use]
    pub fn for_machine(&self, machine: &Machine) -> RowMatch {
        match machine.gpus.first() {
            Some(gpu) if gpu.vendor == GpuVendor::Nvidia => self.for_nvidia(&gpu.name),
            Some(_) => self.for_apple(machine),
            None => self.for_cpu(machine.name()),
        }
    }

    /// The row for a machine's processor, whether or not it has a GPU.
    #[must_use]
    pub fn for_cpu(&self, name: &str) -> RowMatch {
        self.generic("cpu", format!("runs on the CPU ({name})"))
    }

    fn for_nvidia(&self, name: &str) -> RowMatch {
        let is_it = |row: &&DeviceRow| row.kind == DeviceKind::Cuda && row.name == name;
        match self.rows.iter().find(is_it) {
            Some(row) => RowMatch {
                row: row.clone(),
                exact: true,
                why: format!("is a {name}"),
            },
            None => self.generic("cuda", format!("has no row for `{name}`")),
        }
    }

    fn for_apple(&self, machine: &Machine) -> RowMatch {
        let row = machine
            .chip
            .chip()
            .and_then(|chip| self.by_id(&chip.id))
            .cloned();
        match (row, &machine.chip) {
            (Some(row), ChipMatch::Exact { .. }) => {
                let why = format!("is exactly {}", row.id);
                RowMatch {
                    row,
                    exact: true,
                    why,
                }
            }
            (Some(row), _) => {
                let why = format!("is another bin of the chip; nearest is {}", row.id);
                RowMatch {
                    row,
                    exact: false,
                    why,
                }
            }
            (None, _) => by_rule(machine),
        }
    }

    fn generic(&self, id: &str, why: String) -> RowMatch {
        // A table that a user wrote may lack the generic rows.
        let row = self
            .by_id(id)
            .cloned()
            .unwrap_or_else(|| rule::generic_row(id));
        RowMatch {
            row,
            exact: false,
            why,
        }
    }

    /// The table as the text of `configs/devices.toml`.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = HEADER.to_owned();
        let mut family = "";
        for row in &self.rows {
            if row.family() != family {
                family = row.family();
                text += &format!("  # {family}\n");
            }
            text += &row.to_line();
        }
        text + "]\n"
    }
}

/// A chip newer than the table: the rule needs only what the machine says about itself.
fn by_rule(machine: &Machine) -> RowMatch {
    let gpu_cores = machine.gpus.first().and_then(|gpu| gpu.cores);
    let memory = machine
        .memory
        .value()
        .map(|bytes| bytes / f64::from(1 << 30));
    let hardware = rule::Hardware {
        gpu_cores: gpu_cores.map_or(0.0, f64::from),
        bandwidth_gbs: None,
        memory_gb: memory.unwrap_or(0.0),
    };
    let row = rule::row(
        "unlisted".into(),
        machine.name(),
        DeviceKind::Apple,
        &hardware,
    );
    let why = format!(
        "has no row for `{}`; this is the rule without its bandwidth",
        machine.name()
    );
    RowMatch {
        row,
        exact: false,
        why,
    }
}

impl DeviceRow {
    /// The name by which a config asks for this device: `m3-max` for an Apple M3 Max, else the `id`.
    #[must_use]
    pub fn device(&self) -> String {
        match (self.kind, self.name.strip_prefix("Apple ")) {
            (DeviceKind::Apple, Some(chip)) => chip.to_lowercase().replace(' ', "-"),
            _ => self.id.clone(),
        }
    }

    fn check(&self) -> Result<(), String> {
        let sizes = [
            self.batch,
            self.batch_min,
            self.backbone_units,
            self.backbone_layers,
        ];
        if sizes.contains(&0) || self.memory_gb == 0 {
            return Err("batch, backbone and memory must be at least 1".to_owned());
        }
        if self.batch < self.batch_min || self.batch > self.batch_max {
            let (low, high) = (self.batch_min, self.batch_max);
            return Err(format!(
                "batch {} is outside its range {low} to {high}",
                self.batch
            ));
        }
        Ok(())
    }

    /// Heading under which the row stands in the file.
    fn family(&self) -> &str {
        match self.kind {
            DeviceKind::Apple => self
                .name
                .strip_prefix("Apple ")
                .map_or("Apple", |name| name.split(' ').next().unwrap_or(name)),
            DeviceKind::Cuda => "NVIDIA",
            DeviceKind::Cpu => "CPU",
        }
    }

    /// The row as a line of `configs/devices.toml`, its end of line included.
    #[must_use]
    pub fn to_line(&self) -> String {
        let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let optional = |key: &str, value: Option<String>| {
            value.map_or(String::new(), |value| format!("{key} = {value}, "))
        };
        let (kind, source) = (kind_word(self.kind), source_word(self.source));
        format!(
            "  {{ id = {}, name = {}, kind = \"{kind}\", {}{}memory_gb = {}, batch = {}, \
             batch_min = {}, batch_max = {}, backbone_units = {}, backbone_layers = {}, \
             source = \"{source}\" }},\n",
            quoted(&self.id),
            quoted(&self.name),
            optional("gpu_cores", self.gpu_cores.map(|n| n.to_string())),
            optional(
                "bandwidth_gbs",
                self.bandwidth_gbs.map(|n| format!("{n:?}"))
            ),
            self.memory_gb,
            self.batch,
            self.batch_min,
            self.batch_max,
            self.backbone_units,
            self.backbone_layers,
        )
    }
}

fn kind_word(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Apple => "apple",
        DeviceKind::Cuda => "cuda",
        DeviceKind::Cpu => "cpu",
    }
}

fn source_word(source: RowSource) -> &'static str {
    match source {
        RowSource::Given => "given",
        RowSource::Rule => "rule",
        RowSource::Measured => "measured",
    }
}

const HEADER: &str = "\
# Batch and width to start with on each device, and the memory that this presumes.
#
# Written by `cargo run -p ncps-profiling --example devices_table > configs/devices.toml`; a test compares.
# source: `given` was handed down with the project, `rule` follows from the rule below, `measured` was
# found by running on that device (edit such a row by hand: it is left alone).
# Rule: scale = min(GPU cores / 8, bandwidth / 68.25 GB/s, memory / 8 GB), doublings = round(log2(scale)) from
# -1 to 4, batch = 32 * 2^doublings, backbone = 32 * 2^ceil(doublings / 2) units, at least 32.
# Units: bandwidth in GB/s (10^9), memory in GB, the least that the device is sold with; a core has 128 FP32 lanes.
device = [
";

#[cfg(test)]
mod tests;

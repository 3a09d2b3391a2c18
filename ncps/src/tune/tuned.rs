//! What tuning found: all settings with their rates, the choice, a configuration fragment and a row for the device table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use ncps_models::ModelConfig;
use ncps_profiling::Reading;
use ncps_profiling::device::Machine;
use ncps_profiling::plot::TuningCurve;
use ncps_profiling::table::{DeviceKind, DeviceRow, DeviceTable, RowSource};
use serde::{Deserialize, Serialize};

use super::halving::knee;
use crate::error::Result;

use super::space::{Setting, implementation_keys};

/// Version of the JSON form.
pub(super) const SCHEMA: &str = "ncps.tune/1";
/// A batch is chosen when it reaches this share of the best rate of its family.
const ENOUGH: f64 = 0.95;
/// A batch is worth trying when it reaches this share.
const WORTH: f64 = 0.8;

/// How a setting fared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Fate {
    /// It ran.
    Measured,
    /// It ran, or would run, beyond the memory budget.
    OverMemory {
        /// Bytes that it took or is estimated to take.
        bytes: f64,
    },
    /// The device had no memory for it.
    OutOfMemory,
    /// It could not run at all.
    Failed {
        /// Why.
        reason: String,
    },
    /// The time was up before its turn.
    NotReached,
}

/// One setting and what was measured of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The setting.
    pub setting: Setting,
    /// How it fared.
    pub fate: Fate,
    /// Sequences per second of training steps.
    pub rate: Reading,
    /// Time for [`Tuned::sequences`] in training steps.
    pub time: Reading,
    /// Most bytes of live arrays in MLX.
    pub peak: Reading,
    /// Rounds of successive halving that it took part in.
    pub rounds: usize,
}

/// What tuning found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tuned {
    /// Version of this form.
    pub schema: String,
    /// Name of the configuration.
    pub title: String,
    /// The machine in words.
    pub machine: String,
    /// Sequences whose time is told for every setting.
    pub sequences: u64,
    /// Every setting.
    pub candidates: Vec<Measured>,
    /// The configuration's own setting.
    pub own: Setting,
    /// The choice; `None` where nothing could be measured.
    pub best: Option<Setting>,
    /// Rate of the choice / rate of the configuration's own setting, measured in turn.
    pub gain: Reading,
    /// 95 % interval of the gain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<(f64, f64)>,
    /// The choice as a configuration fragment.
    pub fragment: String,
    /// The choice as a row of the device table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<DeviceRow>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// Batch and sequences per second of every measured setting of a family.
pub(super) fn rates(candidates: &[Measured], family: &str) -> Vec<(usize, f64)> {
    candidates
        .iter()
        .filter(|found| found.fate == Fate::Measured && found.setting.family() == family)
        .filter_map(|found| Some((found.setting.batch, found.rate.value()?)))
        .collect()
}

/// The family of the fastest setting of the configuration's own width, and in it the smallest batch that reaches 95 % of
/// the best.
pub(super) fn choice(candidates: &[Measured]) -> Option<Setting> {
    let (fastest, _) = candidates
        .iter()
        .filter(|found| found.fate == Fate::Measured && found.setting.width == 1)
        .filter_map(|found| Some((found, found.rate.value()?)))
        .max_by(|a, b| a.1.total_cmp(&b.1))?;
    let family = fastest.setting.family();
    let batch = knee(&rates(candidates, &family), ENOUGH)?;
    Some(Setting {
        batch,
        ..fastest.setting.clone()
    })
}

/// The choice as a configuration fragment, with what it was found on.
pub(super) fn fragment(
    best: &Setting,
    own: &Setting,
    model: &ModelConfig,
    rate: &Reading,
    machine: &str,
) -> String {
    let mut text = format!("# Found by `ncps tune` on {machine}.\n");
    if let Some(rate) = rate.value() {
        let _ = writeln!(
            text,
            "# {rate:.0} sequences/s in training steps, {}.",
            best.family()
        );
    }
    let _ = writeln!(
        text,
        "device = \"{}\"\n\n[train]\nbatch_size = {}",
        best.device, best.batch
    );
    if best.dtype != own.dtype {
        let _ = writeln!(text, "precision = \"{}\"", best.dtype);
    }
    if best.implementation != own.implementation {
        for key in implementation_keys(model) {
            let name = &best.implementation;
            let _ = match key.rsplit_once('.') {
                // Layers of a list cannot be set apart from the list.
                Some((table, _)) if table.contains("layers") => {
                    writeln!(text, "# --set {key}={name}")
                }
                Some((table, leaf)) => writeln!(text, "\n[{table}]\n{leaf} = \"{name}\""),
                None => Ok(()),
            };
        }
    }
    text
}

/// The choice as a row of the device table; without a backbone the row keeps the one that it had.
pub(super) fn row(
    machine: &Machine,
    candidates: &[Measured],
    best: &Setting,
    backbone: Option<(usize, usize)>,
) -> Option<DeviceRow> {
    let table = DeviceTable::embedded();
    let found = match best.device.as_str() {
        "gpu" => table.for_machine(machine),
        _ => table.for_cpu(machine.name()),
    };
    let family = rates(candidates, &best.family());
    let small = |number: usize| u32::try_from(number).ok();
    let best_rate = family
        .iter()
        .map(|(_, rate)| *rate)
        .max_by(f64::total_cmp)?;
    let worth = || {
        let good = family.iter().filter(|(_, rate)| *rate >= WORTH * best_rate);
        good.map(|(batch, _)| *batch)
    };
    let gigabytes = machine
        .memory
        .value()
        .map(|bytes| bytes / f64::from(1 << 30));
    Some(DeviceRow {
        id: if found.exact {
            found.row.id.clone()
        } else {
            slug(machine.name())
        },
        name: machine.name().to_owned(),
        kind: match best.device.as_str() {
            "gpu" => found.row.kind,
            _ => DeviceKind::Cpu,
        },
        batch: small(best.batch)?,
        batch_min: small(worth().min()?.min(best.batch))?,
        batch_max: small(worth().max()?.max(best.batch))?,
        backbone_units: backbone.map_or(Some(found.row.backbone_units), |b| small(b.0))?,
        backbone_layers: backbone.map_or(Some(found.row.backbone_layers), |b| small(b.1))?,
        // Such a GPU has memory of its own.
        memory_gb: match found.row.kind == DeviceKind::Cuda && found.exact {
            true => found.row.memory_gb,
            false => gigabytes.map_or(found.row.memory_gb, |size| (size.round() as u32).max(1)),
        },
        source: RowSource::Measured,
        ..found.row
    })
}

/// A machine's name as a key: letters and digits in lower case, everything else one dash.
fn slug(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .collect();
    let words: Vec<&str> = plain.split('-').filter(|word| !word.is_empty()).collect();
    words.join("-")
}

impl Tuned {
    /// Reads what `ncps tune` wrote as JSON; `path` is named in errors only.
    ///
    /// # Errors
    /// [`ncps_profiling::Error::ProfileReport`] for text that is not such a result, or one of another version.
    pub fn from_json(text: &str, path: &Path) -> Result<Self> {
        let error = |detail: String| ncps_profiling::Error::ProfileReport {
            path: path.to_owned(),
            detail,
        };
        let value: serde_json::Value =
            serde_json::from_str(text).map_err(|e| error(format!("not JSON: {e}")))?;
        if value.get("schema").and_then(serde_json::Value::as_str) != Some(SCHEMA) {
            let detail = format!("expected a tune.json of `ncps tune --out`, `{SCHEMA}`");
            return Err(error(detail).into());
        }
        serde_json::from_value(value).map_err(|e| error(e.to_string()).into())
    }

    /// The curves of all families: sequences per second and the time for [`Tuned::sequences`] over the batch.
    pub fn curve(&self) -> TuningCurve {
        let mut curves: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
        for found in &self.candidates {
            let family = found.setting.family();
            if let (Fate::Measured, Some(rate)) = (&found.fate, found.rate.value()) {
                let point = (found.setting.batch as f64, rate);
                curves.entry(family).or_default().push(point);
            }
        }
        let chosen = self.best.as_ref().and_then(|best| {
            let rate = rates(&self.candidates, &best.family());
            let (batch, rate) = rate.into_iter().find(|(batch, _)| *batch == best.batch)?;
            Some((batch as f64, rate))
        });
        TuningCurve {
            title: self.title.clone(),
            curves: curves.into_iter().collect(),
            sequences: self.sequences as f64,
            best: chosen,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ncps_profiling::{Reason, Unit};

    fn found(batch: usize, width: usize, implementation: &str, rate: Option<f64>) -> Measured {
        Measured {
            setting: Setting {
                batch,
                width,
                device: "cpu".into(),
                implementation: implementation.into(),
                dtype: "f32".into(),
            },
            fate: if rate.is_some() {
                Fate::Measured
            } else {
                Fate::OutOfMemory
            },
            rate: rate.map_or_else(
                || Reading::unavailable(Reason::NotRun, "no memory"),
                |rate| Reading::measured(rate, Unit::PerSecond, "clock"),
            ),
            time: Reading::unavailable(Reason::NotRun, "test"),
            peak: Reading::unavailable(Reason::NotRun, "test"),
            rounds: 1,
        }
    }

    fn all() -> Vec<Measured> {
        vec![
            found(8, 1, "fused", Some(500.0)),
            found(32, 1, "fused", Some(970.0)),
            found(64, 1, "fused", Some(1000.0)),
            found(128, 1, "fused", None),
            found(64, 1, "plain", Some(90.0)),
            // Faster, but another network.
            found(64, 2, "fused", Some(2000.0)),
        ]
    }

    #[test]
    fn the_smallest_good_batch_of_the_own_width_is_chosen() {
        let best = choice(&all()).unwrap();
        assert_eq!(
            (best.batch, best.width, best.implementation.as_str()),
            (32, 1, "fused")
        );
        assert_eq!(choice(&[found(8, 1, "fused", None)]), None);
    }

    #[test]
    fn fragment_and_row_read_back() {
        let own = found(8, 1, "plain", None).setting;
        let mut best = choice(&all()).unwrap();
        best.dtype = "bf16".into();
        let model = ModelConfig::from(ncps_models::CfcModel::new(8));
        let rate = Reading::measured(970.0, Unit::PerSecond, "clock");
        let text = fragment(&best, &own, &model, &rate, "a machine");
        let table: toml::Table = toml::from_str(&text).unwrap();
        assert_eq!(table["train"]["batch_size"].as_integer(), Some(32));
        assert_eq!(table["model"]["implementation"].as_str(), Some("fused"));
        assert_eq!(table["train"]["precision"].as_str(), Some("bf16"));
        // A list of layers is set layer by layer.
        let layers = vec![ncps_models::CfcModel::new(8).into(); 2];
        let stacked = ModelConfig::from(ncps_models::StackedModel::new(layers));
        let text = fragment(&best, &own, &stacked, &rate, "a machine");
        assert!(
            text.contains("# --set model.layers.1.implementation=fused"),
            "{text}"
        );
        assert!(!text.contains("[model]"), "{text}");
        best.dtype = "f32".into();
        let machine = ncps_profiling::device::detect();
        let row = row(&machine, &all(), &best, Some((48, 1))).unwrap();
        assert_eq!((row.batch, row.batch_min, row.batch_max), (32, 32, 64));
        assert_eq!((row.backbone_units, row.source), (48, RowSource::Measured));
        let mut table = DeviceTable::embedded().clone();
        table.put(row.clone()).unwrap();
        let again = DeviceTable::parse(&table.to_toml(), "x".as_ref()).unwrap();
        assert_eq!(again.by_id(&row.id), Some(&row));
    }

    #[test]
    fn keys_are_plain_words() {
        assert_eq!(
            slug("Intel(R) Xeon(R) CPU @ 2.70GHz"),
            "intel-r-xeon-r-cpu-2-70ghz"
        );
    }
}

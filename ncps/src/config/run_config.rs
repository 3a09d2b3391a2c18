//! `RunConfig`: everything that one run depends on.

use std::path::{Path, PathBuf};

use ncps_core::train::TrainConfig;
use ncps_datasets::DataConfig;
use ncps_models::ModelConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::layers::Override;
use super::limits;
use super::load::Loaded;
use crate::error::Result;

/// Everything that one run depends on; the file that `ncps train` takes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Name of the run; its directory is `runs/<name>` unless `output` says otherwise. The file's name by default.
    #[serde(default)]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9._-]*$"))]
    pub name: Option<String>,
    /// Seed of the initial weights, the order of the batches and dropout, below 2^63. The data have seeds of their own.
    #[serde(default)]
    #[schemars(range(min = 0, max = 9_223_372_036_854_775_807_u64))]
    pub seed: u64,
    /// Where to compute: "auto", "cpu", "gpu", or the device that the sizes below were chosen for, such as "m3-pro".
    #[serde(default)]
    pub device: DeviceChoice,
    /// Whether a GPU may round the factors of f32 products to TF32, about 3 decimal digits (NVIDIA from Ampere, Apple from
    /// M5): "on", "off", or "auto" for what MLX_ENABLE_TF32 says, "on" where it says nothing. No effect on a CPU.
    #[serde(default)]
    pub tf32: Tf32Choice,
    /// Whether nothing that surrounds a run may decide about its bits; default false. f32 products are then exact unless `tf32` says
    /// "on", a GPU kernel that fails its self-test is an error, the batch is not halved for want of memory, and the run is continued
    /// only by the same version, libmlx, device and vector instructions. The number of threads never decides about them.
    #[serde(default)]
    pub deterministic: bool,
    /// Run directory, relative to the current directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<PathBuf>,
    /// What to learn from.
    pub data: DataConfig,
    /// The network; its input and output sizes follow from the data.
    pub model: ModelConfig,
    /// How to train it.
    #[serde(default)]
    pub train: TrainConfig,
    /// How batches are made ready; no result depends on it.
    #[serde(default)]
    pub loader: LoaderConfig,
    /// What is written beside the results.
    #[serde(default)]
    pub log: LogConfig,
}

/// The `[loader]` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoaderConfig {
    /// Batches that a thread makes ready while the step before them runs, at most 64. Unless set, 2 for streamed data, and 0 for data
    /// in memory, which take less time to copy than a thread takes to wake.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 64))]
    pub prefetch: Option<usize>,
    /// Whether rows that were unpacked for `data.streaming` are kept in the cache folder for the next run; true unless set.
    pub cache: bool,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            prefetch: None,
            cache: true,
        }
    }
}

/// The `[log]` table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// Whether the metrics also go to event files for TensorBoard (`tensorboard --logdir runs`); default false.
    pub tensorboard: bool,
}

impl RunConfig {
    /// Reads a configuration file and lays `overrides` over it; an unnamed run takes the file's name.
    ///
    /// # Errors
    /// [`crate::Error::Read`] and [`crate::Error::Config`], which shows file, line, column and the nearest known key.
    pub fn load(path: &Path, overrides: Vec<Override>) -> Result<Loaded<Self>> {
        Self::finish(Loaded::<Self>::from_file(path, overrides)?, path)
    }

    /// The same for text that is already in memory; `path` gives the run its name and stands in messages.
    ///
    /// # Errors
    /// [`crate::Error::Config`] for everything that is wrong inside the text.
    pub fn load_text(path: &Path, text: String, overrides: Vec<Override>) -> Result<Loaded<Self>> {
        Self::finish(Loaded::<Self>::from_text(path, text, overrides)?, path)
    }

    fn finish(mut loaded: Loaded<Self>, path: &Path) -> Result<Loaded<Self>> {
        // The name joins the values, so that the resolved file stands on its own.
        loaded.derive("name", name_of(path))?;
        limits::check(&loaded)?;
        Ok(loaded)
    }

    /// The name of the run.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or("run")
    }

    /// How f32 products are to be made: a deterministic run leaves that to no environment.
    pub fn products(&self) -> Tf32Choice {
        match self.tf32 {
            Tf32Choice::Auto if self.deterministic => Tf32Choice::Off,
            choice => choice,
        }
    }

    /// The directory of the run: `output`, or else `runs/<name>`.
    pub fn directory(&self) -> PathBuf {
        self.output
            .clone()
            .unwrap_or_else(|| Path::new("runs").join(self.name()))
    }
}

/// A run's name from its file's name, with every other character than letters, digits, dot and dash replaced.
fn name_of(path: &Path) -> String {
    let stem = path
        .file_stem()
        .map(|s| s.to_string_lossy().into_owned())
        .unwrap_or_default();
    let plain: String = stem
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') {
                c
            } else {
                '_'
            }
        })
        .collect();
    let plain = plain.trim_start_matches(['.', '-']);
    if plain.is_empty() {
        "run".into()
    } else {
        plain.to_owned()
    }
}

/// Where a run computes.
///
/// Any other word than "auto", "cpu" and "gpu" is the name of a device in `configs/devices.toml`: on another machine
/// the run says so and goes on with what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String")]
pub enum DeviceChoice {
    /// The GPU if MLX has one here, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The GPU; an error where there is none.
    Gpu,
    /// The device that the configuration was written for.
    Named(String),
}

impl From<String> for DeviceChoice {
    fn from(text: String) -> Self {
        match text
            .trim()
            .to_lowercase()
            .replace([' ', '_'], "-")
            .trim_start_matches("apple-")
        {
            "auto" | "" => Self::Auto,
            "cpu" => Self::Cpu,
            "gpu" => Self::Gpu,
            name => Self::Named(name.to_owned()),
        }
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        match choice {
            DeviceChoice::Auto => "auto".into(),
            DeviceChoice::Cpu => "cpu".into(),
            DeviceChoice::Gpu => "gpu".into(),
            DeviceChoice::Named(name) => name,
        }
    }
}

/// Whether f32 products may be rounded to TF32 on a GPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tf32Choice {
    /// As the environment says; MLX's own default is on.
    #[default]
    Auto,
    /// Fast where the GPU can.
    On,
    /// Exact.
    Off,
}

/// The JSON schema of [`RunConfig`].
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(RunConfig).to_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names_are_normalised() {
        for (text, expected) in [
            ("auto", DeviceChoice::Auto),
            ("CPU", DeviceChoice::Cpu),
            ("Apple M3 Pro", DeviceChoice::Named("m3-pro".into())),
            ("m1_ultra", DeviceChoice::Named("m1-ultra".into())),
        ] {
            assert_eq!(DeviceChoice::from(text.to_owned()), expected);
        }
    }

    #[test]
    fn a_deterministic_run_has_exact_products_unless_told_otherwise() {
        let text = "deterministic = true\n[data]\nkind = \"generated\"\ngenerator = { kind = \"sine\" }\n\
                    [model]\nkind = \"cfc\"\nunits = 8\n";
        let mut config: RunConfig = toml::from_str(text).unwrap();
        assert_eq!(config.products(), Tf32Choice::Off);
        config.tf32 = Tf32Choice::On;
        assert_eq!(config.products(), Tf32Choice::On);
        (config.tf32, config.deterministic) = (Tf32Choice::Auto, false);
        assert_eq!(config.products(), Tf32Choice::Auto);
    }

    #[test]
    fn unnamed_runs_take_a_safe_name_from_their_file() {
        for (path, name) in [
            ("configs/m3.toml", "m3"),
            ("configs/.hidden", "hidden"),
            ("/x/my run.toml", "my_run"),
            ("-.toml", "run"),
        ] {
            assert_eq!(name_of(Path::new(path)), name, "{path}");
        }
    }
}

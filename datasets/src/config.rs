//! The `[data]` table of a run's configuration.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::embedded::EmbeddedConfig;
use crate::error::{Error, Result};
use crate::generate::GeneratedConfig;
use crate::normalise::NormaliseConfig;
use crate::readers::Format;
use crate::split::SplitConfig;
use crate::time::TimeConfig;

/// Where the data comes from, what is predicted, and how it is cut, split and scaled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DataConfig {
    /// Tables of text with a header row.
    Csv(TableConfig),
    /// Parquet tables.
    Parquet(TableConfig),
    /// NumPy arrays of shape `[T]`, `[T, F]` or `[series, T, F]`; the task is the next step.
    Npy(NpyConfig),
    /// A data set that is part of the program.
    Embedded(EmbeddedConfig),
    /// Sequences made by a formula and a seed.
    Generated(GeneratedConfig),
}

impl DataConfig {
    /// Reads, splits, windows and normalises the data; a relative path starts at `base_dir`.
    ///
    /// # Errors
    /// Every variant of [`Error`] but those of writing and batching.
    pub fn load(&self, base_dir: &Path) -> Result<Dataset> {
        self.validate()?;
        match self {
            Self::Csv(table) => crate::table::load(table, Format::Csv, base_dir),
            Self::Parquet(table) => crate::table::load(table, Format::Parquet, base_dir),
            Self::Npy(arrays) => crate::table::load_npy(arrays, base_dir),
            Self::Embedded(embedded) => embedded.load(),
            Self::Generated(generated) => generated.load(),
        }
    }

    /// Checks the values that can be checked without touching a file.
    ///
    /// # Errors
    /// [`Error::Config`] with the key and what was expected.
    pub fn validate(&self) -> Result<()> {
        match self {
            Self::Csv(table) => table.validate(),
            Self::Parquet(table) if table.delimiter != default_delimiter() => Err(config(
                "delimiter",
                "a Parquet file has none: remove the key",
            )),
            Self::Parquet(table) => table.validate(),
            Self::Npy(arrays) => {
                check_horizon(arrays.horizon)?;
                arrays.split.validate()?;
                arrays.windows().validate()
            }
            Self::Embedded(embedded) => embedded.windows().validate(),
            Self::Generated(generated) => generated.validate(),
        }
    }
}

/// CSV or Parquet tables, one row a time step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TableConfig {
    /// One file, or a folder whose files (`.csv`, `.tsv`, `.txt`; `.parquet`) are one series each unless `group` tells more apart.
    pub path: PathBuf,
    /// What separates fields, CSV only; a comma, and a tab for `.tsv`, unless set.
    #[serde(default = "default_delimiter")]
    pub delimiter: char,
    /// Input columns; left empty, every number column that is no time, group or (unless forecast) target.
    #[serde(default)]
    pub features: Vec<String>,
    /// Predicted columns; left empty, all features (task `next_step` only).
    #[serde(default)]
    pub targets: Vec<String>,
    /// What is predicted, and when.
    #[serde(default)]
    pub task: TaskConfig,
    /// Time column; without one, steps are taken as evenly spaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeConfig>,
    /// Column that tells series apart (a patient, a machine, a trip).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Steps of a window; without it a window is a whole series, padded to the longest and masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// Steps from one window's start to the next; `window` unless set, so that windows do not overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// Stride in the test part; `stride` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_stride: Option<usize>,
    /// How training, validation and test part are told apart.
    #[serde(default)]
    pub split: SplitConfig,
    /// Scaling, fitted on the training part alone.
    #[serde(default)]
    pub normalise: NormaliseConfig,
}

impl TableConfig {
    pub(crate) fn windows(&self) -> Windows {
        Windows {
            length: self.window,
            stride: self.stride,
            test_stride: self.test_stride,
        }
    }

    fn validate(&self) -> Result<()> {
        self.windows().validate()?;
        self.split.validate()?;
        if let TaskConfig::NextStep { horizon } = self.task {
            check_horizon(horizon)?;
        } else if self.targets.is_empty() {
            return Err(config(
                "targets",
                "this task needs at least one target column",
            ));
        }
        if self.task.is_classification() && self.targets.len() != 1 {
            return Err(config(
                "targets",
                "a classification task needs exactly one label column",
            ));
        }
        for (index, name) in self.features.iter().enumerate() {
            if self.features[..index].contains(name) {
                return Err(config("features", &format!("`{name}` is listed twice")));
            }
            let is_label = self.targets.contains(name);
            if is_label && !matches!(self.task, TaskConfig::NextStep { .. }) {
                return Err(config(
                    "features",
                    &format!("`{name}` is also a target: the model would be given its answer"),
                ));
            }
        }
        Ok(())
    }
}

/// NumPy arrays; every column is both input and, one horizon later, target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NpyConfig {
    /// One `.npy` file, or a folder of them; a `[T, F]` file is one series, a `[series, T, F]` file several.
    pub path: PathBuf,
    /// How many steps ahead the target lies; 1 is the next step.
    #[serde(default = "default_horizon")]
    pub horizon: usize,
    /// As for tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// As for tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// As for tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_stride: Option<usize>,
    /// As for tables, without `time`.
    #[serde(default)]
    pub split: SplitConfig,
    /// As for tables.
    #[serde(default)]
    pub normalise: NormaliseConfig,
}

impl NpyConfig {
    pub(crate) fn windows(&self) -> Windows {
        Windows {
            length: self.window,
            stride: self.stride,
            test_stride: self.test_stride,
        }
    }
}

/// What a table's targets are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum TaskConfig {
    /// Forecast the target columns at every step, `horizon` rows ahead.
    NextStep {
        /// Rows between a step and its target; 1 unless set.
        #[serde(default = "default_horizon")]
        horizon: usize,
    },
    /// Give the target columns' values at every step.
    RegressionEachStep,
    /// Give the target columns' values at a window's last step.
    RegressionLastStep,
    /// Give the class at every step.
    LabelEachStep,
    /// Give the class at a window's last step.
    LabelLastStep,
}

impl Default for TaskConfig {
    fn default() -> Self {
        Self::NextStep {
            horizon: default_horizon(),
        }
    }
}

impl TaskConfig {
    pub(crate) fn is_classification(&self) -> bool {
        matches!(self, Self::LabelEachStep | Self::LabelLastStep)
    }

    pub(crate) fn is_each_step(&self) -> bool {
        !matches!(self, Self::RegressionLastStep | Self::LabelLastStep)
    }

    /// Rows between a step and its target.
    pub(crate) fn horizon(&self) -> usize {
        match self {
            Self::NextStep { horizon } => *horizon,
            _ => 0,
        }
    }
}

/// Window length and strides, from whichever table has them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Windows {
    pub(crate) length: Option<usize>,
    pub(crate) stride: Option<usize>,
    pub(crate) test_stride: Option<usize>,
}

impl Windows {
    pub(crate) fn validate(&self) -> Result<()> {
        if self.length == Some(0) {
            return Err(config("window", "a window needs at least one step"));
        }
        if self.length.is_none() && (self.stride.is_some() || self.test_stride.is_some()) {
            return Err(config(
                "stride",
                "whole series have no stride: set `window` too, or remove it",
            ));
        }
        for (key, stride) in [("stride", self.stride), ("test_stride", self.test_stride)] {
            if stride == Some(0) {
                return Err(config(key, "a stride is at least one step"));
            }
        }
        Ok(())
    }
}

fn check_horizon(horizon: usize) -> Result<()> {
    if horizon == 0 {
        return Err(config("horizon", "a forecast looks at least one row ahead"));
    }
    Ok(())
}

pub(crate) fn config(key: &'static str, reason: &str) -> Error {
    Error::Config {
        key,
        reason: reason.to_owned(),
    }
}

fn default_delimiter() -> char {
    ','
}

fn default_horizon() -> usize {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> std::result::Result<DataConfig, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_table_config_needs_only_a_path() {
        let config = parse("kind = \"csv\"\npath = \"a.csv\"").unwrap();
        let DataConfig::Csv(table) = &config else {
            panic!("{config:?}")
        };
        assert_eq!(table.task, TaskConfig::NextStep { horizon: 1 });
        assert_eq!(table.delimiter, ',');
        config.validate().unwrap();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(parse(&text).unwrap(), config);
    }

    #[test]
    fn unknown_keys_are_refused_at_every_level() {
        for text in [
            "kind = \"csv\"\npath = \"a\"\nwindwo = 3",
            "kind = \"csv\"\npath = \"a\"\ntime = { column = \"t\", units = \"second\" }",
            "kind = \"csv\"\npath = \"a\"\nsplit = { kind = \"fraction\", tests = 0.1 }",
            "kind = \"csv\"\npath = \"a\"\ntask = { kind = \"next_step\", steps = 1 }",
            "kind = \"npy\"\npath = \"a\"\nnormalise = { feature = \"none\" }",
            "kind = \"generated\"\ngenerator = { kind = \"sine\", stepz = 1 }",
        ] {
            assert!(parse(text).unwrap_err().contains("unknown field"), "{text}");
        }
    }

    #[test]
    fn impossible_values_name_their_key() {
        let head = "kind = \"csv\"\npath = \"a.csv\"\n";
        for (text, key) in [
            ("window = 0", "window"),
            ("stride = 2", "stride"),
            ("window = 4\nstride = 0", "stride"),
            ("task = { kind = \"next_step\", horizon = 0 }", "horizon"),
            ("task = { kind = \"label_each_step\" }", "targets"),
            (
                "task = { kind = \"label_each_step\" }\ntargets = [\"a\", \"b\"]",
                "targets",
            ),
            ("features = [\"a\", \"a\"]", "features"),
            (
                "features = [\"a\"]\ntargets = [\"a\"]\ntask = { kind = \"regression_each_step\" }",
                "features",
            ),
            (
                "split = { kind = \"fraction\", validation = 0.6, test = 0.5 }",
                "split",
            ),
        ] {
            let error = parse(&format!("{head}{text}"))
                .unwrap()
                .validate()
                .unwrap_err();
            assert!(
                matches!(error, Error::Config { key: found, .. } if found == key),
                "{error}"
            );
        }
    }
}

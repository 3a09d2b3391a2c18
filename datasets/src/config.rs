//! The `[data]` table of a run's configuration.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::augment::AugmentConfig;
use crate::benchmark::BenchmarkConfig;
use crate::bucket;
use crate::dataset::Dataset;
use crate::embedded::EmbeddedConfig;
use crate::error::{Error, Result};
use crate::generate::GeneratedConfig;
use crate::leak::LeakPolicy;
use crate::missing::Missing;
use crate::normalise::NormaliseConfig;
use crate::readers::Format;
use crate::sampling::Sampling;
use crate::split::SplitConfig;
use crate::table::{LongConfig, StaticsConfig};
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
    /// Arrow IPC and Feather tables.
    Arrow(TableConfig),
    /// NumPy arrays of shape `[T]`, `[T, F]` or `[series, T, F]`; the task is the next step.
    Npy(NpyConfig),
    /// Archives of NumPy arrays: inputs, targets and times of their own.
    Npz(NpzConfig),
    /// Images with labels, as the MNIST files have them; each row of an image is a step.
    Idx(IdxConfig),
    /// A published benchmark, from its original files.
    Benchmark(BenchmarkConfig),
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
        self.load_with(base_dir, None)
    }

    /// As [`DataConfig::load`], with a folder that keeps what took long to make (see `streaming`) for the next time.
    ///
    /// Without one, streamed rows go to a folder of their own in the system's place for temporary files, which is removed with
    /// the data set.
    ///
    /// # Errors
    /// Those of [`DataConfig::load`].
    pub fn load_with(&self, base_dir: &Path, cache: Option<&Path>) -> Result<Dataset> {
        self.validate()?;
        match self {
            Self::Csv(table) => crate::table::load(table, Format::Csv, base_dir, cache),
            Self::Parquet(table) => crate::table::load(table, Format::Parquet, base_dir, cache),
            Self::Arrow(table) => crate::table::load(table, Format::Arrow, base_dir, cache),
            Self::Npy(arrays) => crate::arrays::load_npy(arrays, base_dir),
            Self::Npz(arrays) => crate::arrays::load_npz(arrays, base_dir),
            Self::Idx(arrays) => crate::arrays::load_idx(arrays, base_dir),
            Self::Benchmark(benchmark) => benchmark.load(base_dir),
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
            Self::Csv(table) | Self::Arrow(table) if table.streaming => Err(config(
                "streaming",
                "only Parquet files are streamed: remove the key, or convert the file",
            )),
            Self::Csv(table) => table.validate(),
            Self::Parquet(table) | Self::Arrow(table) if table.delimiter != default_delimiter() => {
                Err(config(
                    "delimiter",
                    "Parquet and Arrow files have none: remove the key",
                ))
            }
            Self::Parquet(table) | Self::Arrow(table) => table.validate(),
            Self::Npy(arrays) => {
                check_horizon(arrays.horizon)?;
                arrays.split.validate()?;
                check_augment(arrays.augment.as_ref(), true)?;
                check_buckets(arrays.buckets, Sampling::Uniform)?;
                arrays.windows().validate()
            }
            Self::Benchmark(_) => Ok(()),
            Self::Npz(arrays) => arrays.validate(),
            Self::Idx(arrays) => arrays.validate(),
            Self::Embedded(embedded) => embedded.windows().validate(),
            Self::Generated(generated) => generated.validate(),
        }
    }
}

/// CSV, Parquet or Arrow tables, one row a time step (or, with `long`, an observation).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TableConfig {
    /// One file, or a folder whose files (`.csv`, `.tsv`, `.txt`; `.parquet`; `.arrow`, `.feather`, `.ipc`) are one series each unless `group` tells more apart.
    pub path: PathBuf,
    /// What separates fields, CSV only; a comma, and a tab for `.tsv`, unless set.
    #[serde(default = "default_delimiter")]
    pub delimiter: char,
    /// Input columns; left empty, every number column that is no time, group or (unless forecast) target.
    #[serde(default)]
    pub features: Vec<String>,
    /// Input columns that hold categories; each of their values becomes an input of 0 and 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categorical: Vec<String>,
    /// What stands for missing values of features; `error` unless set.
    #[serde(default)]
    pub missing: Missing,
    /// For tables with one row an observation: which columns name and hold it. Needs `time`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long: Option<LongConfig>,
    /// A second table with features of whole series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statics: Option<StaticsConfig>,
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
    /// Whether a series' last steps, too few for a whole window, make a padded and masked one; they are left out unless set.
    #[serde(default)]
    pub pad: bool,
    /// Stride in the test part; `stride` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_stride: Option<usize>,
    /// How training, validation and test part are told apart.
    #[serde(default)]
    pub split: SplitConfig,
    /// Scaling, fitted on the training part alone.
    #[serde(default)]
    pub normalise: NormaliseConfig,
    /// How an epoch draws training windows; each once unless set.
    #[serde(default)]
    pub sampling: Sampling,
    /// How training windows are varied; not at all unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augment: Option<AugmentConfig>,
    /// What is done where one part of the data is known from another; it is said unless set.
    #[serde(default)]
    pub leakage: LeakPolicy,
    /// Lengths that training batches may have where windows are of unlike length; each is padded to its bucket's instead of the
    /// longest. 1 unless set, at most 32.
    #[serde(default = "bucket::one")]
    pub buckets: usize,
    /// Whether rows stay on the disk, so that files may be larger than the memory; Parquet only, needs `window`.
    #[serde(default)]
    pub streaming: bool,
}

impl TableConfig {
    pub(crate) fn windows(&self) -> Windows {
        Windows {
            length: self.window,
            stride: self.stride,
            test_stride: self.test_stride,
            pad: self.pad,
        }
    }

    fn validate(&self) -> Result<()> {
        self.windows().validate()?;
        self.split.validate()?;
        self.validate_columns()?;
        if self.streaming {
            crate::stream::check(self)?;
        }
        if self.task.horizon() == 0 && self.targets.is_empty() && !self.task.is_forecast() {
            return Err(config(
                "targets",
                "this task needs at least one target column",
            ));
        }
        self.task.validate()?;
        check_augment(self.augment.as_ref(), self.task.is_forecast())?;
        check_buckets(self.buckets, self.sampling)?;
        check_sampling(self.sampling, &self.task)?;
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
            if is_label && !self.task.is_forecast() {
                return Err(config(
                    "features",
                    &format!("`{name}` is also a target: the model would be given its answer"),
                ));
            }
        }
        Ok(())
    }
}

impl TableConfig {
    /// Checks that the roles of columns go together.
    fn validate_columns(&self) -> Result<()> {
        for name in &self.categorical {
            if !self.features.is_empty() && !self.features.contains(name) {
                let reason = format!("`{name}` is not among the features: add it there too");
                return Err(config("categorical", &reason));
            }
            if self.targets.contains(name) && !self.task.is_classification() {
                let reason = format!("`{name}` is a target, which holds numbers");
                return Err(config("categorical", &reason));
            }
        }
        if self.long.is_none() {
            return Ok(());
        }
        if self.time.is_none() {
            return Err(config("long", "a table of observations needs `data.time`"));
        }
        if self.missing.is_error() {
            return Err(config(
                "missing",
                "a table of observations has gaps wherever a channel was not observed: choose \"forward_fill\", \"mean\", \"zero\", \"mask\" or \"mask_delta\"",
            ));
        }
        if matches!(self.split, SplitConfig::Column(_)) {
            return Err(config(
                "split",
                "a table of observations is split by group, time or file",
            ));
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
    /// As for tables.
    #[serde(default)]
    pub pad: bool,
    /// As for tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augment: Option<AugmentConfig>,
    /// As for tables.
    #[serde(default)]
    pub leakage: LeakPolicy,
    /// As for tables.
    #[serde(default = "bucket::one")]
    pub buckets: usize,
}

impl NpyConfig {
    pub(crate) fn windows(&self) -> Windows {
        Windows {
            length: self.window,
            stride: self.stride,
            test_stride: self.test_stride,
            pad: self.pad,
        }
    }
}

/// Archives of NumPy arrays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct NpzConfig {
    /// One `.npz` file, or a folder of them.
    pub path: PathBuf,
    /// Name of the inputs: `[T]`, `[T, F]` or `[series, T, F]`; `x` unless set.
    #[serde(default = "default_x")]
    pub x: String,
    /// Name of the targets, some for each step or one for each series; without it the inputs are forecast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub y: Option<String>,
    /// Name of the times in seconds, `[T]` or `[series, T]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub t: Option<String>,
    /// What is predicted, and when.
    #[serde(default)]
    pub task: TaskConfig,
    /// As for tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// As for tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// As for tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_stride: Option<usize>,
    /// As for tables, by fraction or files.
    #[serde(default)]
    pub split: SplitConfig,
    /// As for tables.
    #[serde(default)]
    pub normalise: NormaliseConfig,
    /// As for tables.
    #[serde(default)]
    pub sampling: Sampling,
    /// As for tables.
    #[serde(default)]
    pub pad: bool,
    /// As for tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub augment: Option<AugmentConfig>,
    /// As for tables.
    #[serde(default)]
    pub leakage: LeakPolicy,
    /// As for tables.
    #[serde(default = "bucket::one")]
    pub buckets: usize,
}

impl NpzConfig {
    pub(crate) fn windows(&self) -> Windows {
        Windows {
            length: self.window,
            stride: self.stride,
            test_stride: self.test_stride,
            pad: self.pad,
        }
    }

    fn validate(&self) -> Result<()> {
        self.windows().validate()?;
        self.split.validate()?;
        self.task.validate()?;
        check_augment(self.augment.as_ref(), self.task.is_forecast())?;
        check_buckets(self.buckets, self.sampling)?;
        check_sampling(self.sampling, &self.task)?;
        match (&self.task, &self.y) {
            (TaskConfig::Forecast { .. }, _) => Err(config(
                "task",
                "arrays are forecast by the task `next_step`",
            )),
            (task, None) if !task.is_forecast() => Err(config(
                "y",
                "this task needs the name of an array of targets",
            )),
            _ => Ok(()),
        }
    }
}

/// Images `[N, rows, columns]` and labels `[N]` in IDX files, gzipped or not; the task is the label at the last row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct IdxConfig {
    /// Images to learn from.
    pub images: PathBuf,
    /// Their labels.
    pub labels: PathBuf,
    /// Images to test on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_images: Option<PathBuf>,
    /// Their labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_labels: Option<PathBuf>,
    /// Share of the images to learn from, the last ones, that validate; 0.1 unless set.
    #[serde(default = "default_validation")]
    pub validation: f64,
    /// What pixels are divided by; 255 unless set.
    #[serde(default = "default_divisor")]
    pub divisor: f32,
    /// Scaling after that; none unless set.
    #[serde(default = "no_scaling")]
    pub normalise: NormaliseConfig,
}

impl IdxConfig {
    fn validate(&self) -> Result<()> {
        if !(0.0..1.0).contains(&self.validation) {
            return Err(config("validation", "expected 0 up to, but without, 1"));
        }
        if !(self.divisor > 0.0 && self.divisor.is_finite()) {
            return Err(config("divisor", "expected a number above 0"));
        }
        if self.test_images.is_some() != self.test_labels.is_some() {
            return Err(config(
                "test_labels",
                "test images and test labels belong together",
            ));
        }
        Ok(())
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
    /// Forecast the target columns at every step, several distances ahead at once.
    Forecast {
        /// Rows between a step and its targets, each at least 1, rising.
        horizons: Vec<usize>,
    },
    /// Give the target columns' values at every step; also imitation, from observations to a controller's actions.
    RegressionEachStep,
    /// Give the target columns' values at a window's last step.
    RegressionLastStep,
    /// Give the class at every step; also imitation of a controller with a few actions.
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

    pub(crate) fn is_forecast(&self) -> bool {
        matches!(self, Self::NextStep { .. } | Self::Forecast { .. })
    }

    /// Rows between a step and its farthest target.
    pub(crate) fn horizon(&self) -> usize {
        match self {
            Self::NextStep { horizon } => *horizon,
            Self::Forecast { horizons } => horizons.iter().copied().max().unwrap_or(0),
            _ => 0,
        }
    }

    /// All distances of a forecast at several; otherwise none.
    pub(crate) fn horizons(&self) -> Vec<usize> {
        match self {
            Self::Forecast { horizons } => horizons.clone(),
            _ => Vec::new(),
        }
    }

    fn validate(&self) -> Result<()> {
        match self {
            Self::NextStep { horizon } => check_horizon(*horizon),
            Self::Forecast { horizons } => {
                let is_rising = horizons.windows(2).all(|pair| pair[0] < pair[1]);
                if horizons.len() < 2 || horizons[0] == 0 || !is_rising {
                    return Err(config(
                        "task",
                        "`horizons` needs at least two rising distances, such as [1, 4, 12]; one distance is the task `next_step`",
                    ));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Window length and strides, from whichever table has them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Windows {
    pub(crate) length: Option<usize>,
    pub(crate) stride: Option<usize>,
    pub(crate) test_stride: Option<usize>,
    /// Whether the steps behind the last whole window make a short one.
    pub(crate) pad: bool,
}

impl Windows {
    pub(crate) fn validate(&self) -> Result<()> {
        if self.length == Some(0) {
            return Err(config("window", "a window needs at least one step"));
        }
        if self.length.is_none() && self.pad {
            return Err(config(
                "pad",
                "whole series are padded anyway: remove it, or set `window`",
            ));
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

fn check_augment(augment: Option<&AugmentConfig>, is_forecast: bool) -> Result<()> {
    augment.map_or(Ok(()), |augment| augment.validate(is_forecast))
}

fn check_buckets(buckets: usize, sampling: Sampling) -> Result<()> {
    bucket::check(buckets)?;
    if buckets > 1 && sampling == Sampling::Balanced {
        return Err(config(
            "buckets",
            "balanced classes need one bucket: epochs would differ in their number of batches",
        ));
    }
    Ok(())
}

fn check_sampling(sampling: Sampling, task: &TaskConfig) -> Result<()> {
    if sampling == Sampling::Balanced && !task.is_classification() {
        return Err(config(
            "sampling",
            "only classes can be balanced: this task predicts numbers",
        ));
    }
    Ok(())
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

fn default_x() -> String {
    "x".to_owned()
}

fn default_validation() -> f64 {
    0.1
}

fn default_divisor() -> f32 {
    255.0
}

fn no_scaling() -> NormaliseConfig {
    NormaliseConfig::NONE
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

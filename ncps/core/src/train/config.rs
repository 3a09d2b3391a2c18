//! The `[train]` table of a configuration.

use serde::{Deserialize, Serialize};

use super::loss::LossConfig;
use super::metrics::MetricName;
use super::optimizer::OptimizerConfig;
use super::precision::Precision;
use super::schedule::Schedule;
use crate::{Error, Result};

/// Everything that decides how a model is trained, apart from the seed and the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the training split; default 30.
    pub epochs: u64,
    /// Sequences in a batch; default 32.
    pub batch_size: usize,
    /// Whether the state is carried from window to window of a series, gradients ending where a window begins (truncated
    /// back-propagation through time). A batch's samples are then lanes, each with windows that follow one another; default false.
    pub stateful: bool,
    /// Base learning rate, above 0; default 0.001. The schedule multiplies it.
    pub learning_rate: f64,
    /// How gradients become updates; default `{ kind = "adam" }`.
    pub optimizer: OptimizerConfig,
    /// How the learning rate changes; default `{ kind = "constant" }`.
    pub schedule: Schedule,
    /// What is minimised; default `{ kind = "mse" }`.
    pub loss: LossConfig,
    /// Metrics of each evaluation; empty (the default) means the usual ones of the loss.
    pub metrics: Vec<MetricName>,
    /// The metric whose best value decides which weights are kept; default `loss`.
    pub best_metric: MetricName,
    /// Whether each epoch also evaluates the training split with the weights at its end.
    pub train_metrics: bool,
    /// Limits on the gradient; none by default.
    pub clip: ClipConfig,
    /// Batches whose gradients are summed before one update; default 1.
    pub accumulate: usize,
    /// Weight decay; by default 0.01 for AdamW and 0 for every other optimiser.
    pub weight_decay: Option<f64>,
    /// Other weight decays by parameter name; the first group that matches counts.
    pub decay_groups: Vec<DecayGroup>,
    /// When to stop before the last epoch; never by default.
    pub early_stopping: Option<EarlyStopping>,
    /// When to save, and what to keep.
    pub checkpoint: CheckpointConfig,
    /// What the network computes in while it trains: "f32" (the default), "f16" or "bf16".
    pub precision: Precision,
    /// Whether MLX compiles the step; default `auto`.
    pub compile: CompileMode,
    /// What a loss or gradient that is not finite leads to; default `error`.
    pub on_nonfinite: OnNonfinite,
    /// Batches skipped, or rollbacks made, before the run ends with the error after all; default 3.
    pub nonfinite_limit: u64,
    /// Factor of the learning rate after each rollback, above 0 and at most 1; default 0.5.
    pub rollback_factor: f64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 30,
            batch_size: 32,
            stateful: false,
            learning_rate: 1e-3,
            optimizer: OptimizerConfig::default(),
            schedule: Schedule::default(),
            loss: LossConfig::default(),
            metrics: Vec::new(),
            best_metric: MetricName::Loss,
            train_metrics: false,
            clip: ClipConfig::default(),
            accumulate: 1,
            weight_decay: None,
            decay_groups: Vec::new(),
            early_stopping: None,
            checkpoint: CheckpointConfig::default(),
            precision: Precision::F32,
            compile: CompileMode::Auto,
            on_nonfinite: OnNonfinite::Error,
            nonfinite_limit: 3,
            rollback_factor: 0.5,
        }
    }
}

/// Limits on the gradient, applied in the order norm, value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ClipConfig {
    /// Largest Euclidean norm over all parameters together; a longer gradient is scaled down.
    pub norm: Option<f64>,
    /// Largest absolute value of an element; larger ones are cut.
    pub value: Option<f64>,
}

/// A weight decay for the parameters of a name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct DecayGroup {
    /// Parameter name, in which `*` stands for any text, for example `*.bias`.
    pub pattern: String,
    /// Weight decay of the parameters that match, at least 0.
    pub weight_decay: f64,
}

/// When a run ends before its last epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct EarlyStopping {
    /// Epochs without an improvement that are put up with; default 10.
    pub patience: u64,
    /// Smallest change that counts as an improvement; default 0.
    pub min_delta: f64,
    /// The metric that must improve; by default `best_metric`.
    pub metric: Option<MetricName>,
}

impl Default for EarlyStopping {
    fn default() -> Self {
        Self {
            patience: 10,
            min_delta: 0.0,
            metric: None,
        }
    }
}

/// When checkpoints are written and which of them stay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointConfig {
    /// Epochs between two checkpoints; default 1; 0 writes only the best and the last.
    pub every: u64,
    /// How many of the newest stay, at least 1; default 2.
    pub keep_last: usize,
    /// How many of the best are written and stay; default 1.
    #[serde(deserialize_with = "super::keep::count")]
    pub keep_best: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self {
            every: 1,
            keep_last: 2,
            keep_best: 1,
        }
    }
}

/// What a loss or gradient that is not finite leads to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OnNonfinite {
    /// The run ends and says where it began.
    #[default]
    Error,
    /// The batch is left out, as if it had not been there.
    Skip,
    /// The run goes back to the start of the epoch and goes on with the learning rate times `rollback_factor`.
    Rollback,
}

/// Whether the step is compiled by MLX.
///
/// Compiled and not compiled give slightly different bits, so a run resumes in the mode it began with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CompileMode {
    /// On for a GPU, off for the CPU, where compiling costs seconds and gains nothing.
    #[default]
    Auto,
    /// Always; on the CPU this calls the system's C++ compiler.
    On,
    /// Never.
    Off,
}

impl TrainConfig {
    /// Names the metrics of each evaluation: those asked for or the usual ones, always with the loss.
    pub fn metric_names(&self) -> Vec<MetricName> {
        let mut names = vec![MetricName::Loss];
        let usual = MetricName::usual(self.loss.task());
        let asked = if self.metrics.is_empty() {
            usual
        } else {
            &self.metrics[..]
        };
        let stopping = self.early_stopping.as_ref().and_then(|early| early.metric);
        for name in asked
            .iter()
            .copied()
            .chain([self.best_metric])
            .chain(stopping)
        {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// Gives the metric that early stopping watches.
    pub(super) fn stopping_metric(&self) -> MetricName {
        self.early_stopping
            .as_ref()
            .and_then(|early| early.metric)
            .unwrap_or(self.best_metric)
    }

    /// Gives the weight decay of a parameter.
    pub(super) fn decay_of(&self, name: &str) -> f64 {
        self.decay_groups
            .iter()
            .find(|group| matches_pattern(&group.pattern, name))
            .map(|group| group.weight_decay)
            .or(self.weight_decay)
            .unwrap_or_else(|| self.optimizer.usual_weight_decay())
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first key that lies outside its limits.
    pub fn validate(&self) -> Result<()> {
        at_least_one("epochs", self.epochs)?;
        at_least_one("batch_size", self.batch_size as u64)?;
        at_least_one("accumulate", self.accumulate as u64)?;
        at_least_one("checkpoint.keep_last", self.checkpoint.keep_last as u64)?;
        positive("learning_rate", self.learning_rate)?;
        positive("rollback_factor", self.rollback_factor)?;
        if self.rollback_factor > 1.0 {
            let given = self.rollback_factor.to_string();
            return Err(setting("rollback_factor", given, "at most 1"));
        }
        for (key, limit) in [
            ("clip.norm", self.clip.norm),
            ("clip.value", self.clip.value),
        ] {
            if let Some(limit) = limit {
                positive(key, limit)?;
            }
        }
        if let Some(decay) = self.weight_decay {
            not_negative("weight_decay", decay)?;
        }
        for group in &self.decay_groups {
            not_negative("decay_groups.weight_decay", group.weight_decay)?;
        }
        if let Some(early) = &self.early_stopping {
            at_least_one("early_stopping.patience", early.patience)?;
            not_negative("early_stopping.min_delta", early.min_delta)?;
        }
        self.optimizer.validate()?;
        self.schedule.validate()?;
        self.loss.validate()?;
        self.validate_metrics()
    }

    fn validate_metrics(&self) -> Result<()> {
        let task = self.loss.task();
        for name in self.metric_names() {
            if name != MetricName::Loss && !MetricName::usual(task).contains(&name) {
                return Err(setting(
                    "metrics",
                    format!("`{}`", name.name()),
                    format!(
                        "a metric of the loss `{}`: {}",
                        self.loss.kind(),
                        names(task)
                    ),
                ));
            }
        }
        Ok(())
    }
}

fn names(task: super::loss::Task) -> String {
    let usual: Vec<_> = MetricName::usual(task)
        .iter()
        .map(|name| name.name())
        .collect();
    format!("loss, {}", usual.join(", "))
}

/// Compares a name with a pattern in which `*` stands for any text.
pub(super) fn matches_pattern(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut left) = name.strip_prefix(first) else {
        return false;
    };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        match left.find(piece) {
            Some(at) => left = &left[at + piece.len()..],
            None => return false,
        }
    }
    left.ends_with(last)
}

pub(super) fn setting(key: &str, value: impl Into<String>, expected: impl Into<String>) -> Error {
    Error::Setting {
        key: key.to_owned(),
        value: value.into(),
        expected: expected.into(),
    }
}

pub(super) fn at_least_one(key: &str, value: u64) -> Result<()> {
    if value == 0 {
        return Err(setting(key, "0", "at least 1"));
    }
    Ok(())
}

pub(super) fn positive(key: &str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(setting(key, value.to_string(), "a finite number above 0"))
}

pub(super) fn not_negative(key: &str, value: f64) -> Result<()> {
    if value.is_finite() && value >= 0.0 {
        return Ok(());
    }
    Err(setting(
        key,
        value.to_string(),
        "a finite number of at least 0",
    ))
}

/// Checks for [0, 1).
pub(super) fn fraction(key: &str, value: f64) -> Result<()> {
    if (0.0..1.0).contains(&value) {
        return Ok(());
    }
    Err(setting(key, value.to_string(), "at least 0 and below 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_table_is_the_default() {
        let read: TrainConfig = toml::from_str("").unwrap();
        assert_eq!(read, TrainConfig::default());
        read.validate().unwrap();
    }

    #[test]
    fn a_full_table_survives_a_round_trip() {
        let text = r#"
            epochs = 3
            batch_size = 8
            learning_rate = 0.01
            optimizer = { kind = "sgd", momentum = 0.9, nesterov = true }
            schedule = { kind = "cosine", warmup_steps = 5 }
            loss = { kind = "cross_entropy", class_weights = [1.0, 2.0], label_smoothing = 0.1, at = "last_step" }
            metrics = ["accuracy", "f1"]
            best_metric = "f1"
            clip = { norm = 1.0 }
            decay_groups = [{ pattern = "*.bias", weight_decay = 0.0 }]
            early_stopping = { patience = 2 }
            checkpoint = { every = 2, keep_last = 1 }
            precision = "bf16"
            compile = "off"
        "#;
        let read: TrainConfig = toml::from_str(text).unwrap();
        read.validate().unwrap();
        assert_eq!(read.schedule.kind(), "cosine");
        let again: TrainConfig = toml::from_str(&toml::to_string(&read).unwrap()).unwrap();
        assert_eq!(read, again);
    }

    #[test]
    fn unknown_keys_are_refused_at_every_level() {
        for text in [
            "learning_rat = 0.1",
            "optimizer = { kind = \"adam\", beta3 = 0.1 }",
            "schedule = { kind = \"constant\", factor = 0.1 }",
            "loss = { kind = \"mse\", delta = 1.0 }",
            "clip = { norms = 1.0 }",
            "early_stopping = { patient = 1 }",
            "checkpoint = { keep = 1 }",
            "decay_groups = [{ pattern = \"*\", weight_decay = 0.0, x = 1 }]",
        ] {
            assert!(toml::from_str::<TrainConfig>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn values_outside_their_limits_name_their_key() {
        for (text, key) in [
            ("epochs = 0", "epochs"),
            ("learning_rate = -1.0", "learning_rate"),
            ("learning_rate = inf", "learning_rate"),
            ("clip = { norm = 0.0 }", "clip.norm"),
            ("accumulate = 0", "accumulate"),
            ("weight_decay = -0.1", "weight_decay"),
            (
                "optimizer = { kind = \"adam\", beta1 = 1.0 }",
                "optimizer.beta1",
            ),
            (
                "optimizer = { kind = \"sgd\", nesterov = true }",
                "optimizer.nesterov",
            ),
            ("loss = { kind = \"huber\", delta = 0.0 }", "loss.delta"),
            ("metrics = [\"accuracy\"]", "metrics"),
            (
                "early_stopping = { patience = 0 }",
                "early_stopping.patience",
            ),
        ] {
            let config: TrainConfig = toml::from_str(text).unwrap();
            let message = config.validate().unwrap_err().to_string();
            assert!(message.contains(&format!("`{key}`")), "{text}: {message}");
        }
    }

    #[test]
    fn patterns_choose_names() {
        for (pattern, name, expected) in [
            ("*", "a.b", true),
            ("*.bias", "fc.bias", true),
            ("*.bias", "fc.weight", false),
            ("rnn.*.weight", "rnn.ff1.weight", true),
            ("rnn.*.weight", "fc.ff1.weight", false),
            ("a*a", "a", false),
            ("*b*b*", "abab", true),
            ("fc", "fc", true),
            ("fc", "fc2", false),
        ] {
            assert_eq!(matches_pattern(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn the_first_group_that_matches_gives_the_decay() {
        let mut config = TrainConfig {
            weight_decay: Some(0.1),
            decay_groups: vec![DecayGroup {
                pattern: "*.bias".into(),
                weight_decay: 0.0,
            }],
            ..TrainConfig::default()
        };
        assert!(config.decay_of("fc.bias") < 1e-12);
        assert!((config.decay_of("fc.weight") - 0.1).abs() < 1e-12);
        config.weight_decay = None;
        assert!(config.decay_of("fc.weight") < 1e-12);
    }
}

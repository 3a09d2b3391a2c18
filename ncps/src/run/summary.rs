//! `summary.json`: the result of a run for other programs, a stable contract.

use std::collections::BTreeMap;

use ncps_core::train::Metrics;
use serde::{Deserialize, Serialize};

/// Version of the contract; it changes when a key changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All epochs done, or stopped early because validation no longer improved.
    Completed,
    /// Interrupted after saving; `--resume` continues it.
    Stopped,
    /// Ended by an error.
    Failed,
}

/// The result of a run.
///
/// # Units
/// Times in seconds, memory in bytes; `mse` and its like in the unit of the data.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Version of this contract: [`SCHEMA`].
    pub schema: u32,
    /// How the run ended.
    pub status: Status,
    /// The configuration file that the run was started with.
    pub config: String,
    /// The seed of weights, batch order and dropout.
    pub seed: u64,
    /// What the run computed on.
    pub device: String,
    /// How f32 products came about: exact or rounded to TF32, and why.
    #[serde(default)]
    pub f32_products: String,
    /// Number of trained values.
    pub parameters: usize,
    /// Batches seen, those before a resume included.
    pub steps: u64,
    /// Epochs completed, those before a resume included.
    pub epochs: u64,
    /// Time spent training and validating, in all sittings together.
    pub train_seconds: f64,
    /// Training sequences per second of this sitting; absent if it trained nothing.
    pub sequences_per_second: Option<f64>,
    /// The process's peak resident memory; absent where the system does not tell.
    pub peak_memory_bytes: Option<u64>,
    /// Functions that were traced for compilation.
    pub compilations: u64,
    /// Epoch (from 0) with the best validation result.
    pub best_epoch: Option<u64>,
    /// Metrics on the training split with the best-validation weights.
    pub train: Metrics,
    /// Metrics on the validation split with the best-validation weights.
    pub validation: Metrics,
    /// Metrics on the test split with the best-validation weights.
    pub test: Metrics,
    /// The trivial baseline on the test split.
    pub baseline: BaselineSummary,
    /// Why the run failed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// A trivial predictor's result, for comparison.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BaselineSummary {
    /// "persistence", "mean" or "majority".
    pub name: String,
    /// Its metrics on the test split.
    #[serde(flatten)]
    pub metrics: BTreeMap<String, f64>,
}

impl Summary {
    /// The summary as JSON text.
    pub fn to_json(&self) -> String {
        // Numbers, strings and maps with string keys always serialise.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_holds_its_keys() {
        let metrics = |value| BTreeMap::from([("mse".to_owned(), value)]);
        let summary = Summary {
            schema: SCHEMA,
            status: Status::Completed,
            config: "configs/m3.toml".into(),
            seed: 1,
            device: "cpu".into(),
            f32_products: "exact".into(),
            parameters: 10,
            steps: 20,
            epochs: 2,
            train_seconds: 1.5,
            sequences_per_second: Some(100.0),
            peak_memory_bytes: None,
            compilations: 0,
            best_epoch: Some(1),
            train: metrics(0.1),
            validation: metrics(0.2),
            test: metrics(0.3),
            baseline: BaselineSummary {
                name: "persistence".into(),
                metrics: metrics(0.9),
            },
            error: None,
        };
        let json: serde_json::Value = serde_json::from_str(&summary.to_json()).unwrap();
        for key in [
            "schema",
            "status",
            "config",
            "seed",
            "device",
            "f32_products",
            "parameters",
            "steps",
            "epochs",
            "train_seconds",
            "sequences_per_second",
            "peak_memory_bytes",
            "compilations",
            "train",
            "validation",
            "test",
            "baseline",
        ] {
            assert!(json.get(key).is_some(), "{key}");
        }
        assert_eq!(json["schema"], 1);
        assert_eq!(json["status"], "completed");
        assert_eq!(json["baseline"]["name"], "persistence");
        assert_eq!(json["baseline"]["mse"], 0.9);
    }
}

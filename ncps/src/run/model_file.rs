//! `config.json`: what the weights in `model.safetensors` belong to.

use std::path::Path;

use ncps_core::checkpoint;
use ncps_datasets::{DataSchema, Task};
use ncps_models::{ModelConfig, Network};
use serde::{Deserialize, Serialize};

use super::directory::{MODEL, MODEL_CONFIG};
use super::sizes;
use crate::error::{Error, Result};

/// The largest description that is read.
const MAX_BYTES: u64 = 16 << 20;

/// What the weights beside it belong to: enough to build the network and to prepare its inputs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelDescription {
    /// Always "ncps"; tells our folders from those of other programs.
    pub model_type: String,
    /// Version of the program that wrote it.
    pub version: String,
    /// The network.
    pub model: ModelConfig,
    /// Features of a step.
    pub inputs: usize,
    /// Outputs of a step.
    pub outputs: usize,
    /// Columns, task and normalisation of the data.
    pub data: DataSchema,
}

impl ModelDescription {
    pub(crate) fn new(
        model: &ModelConfig,
        inputs: usize,
        outputs: usize,
        data: &DataSchema,
    ) -> Self {
        Self {
            model_type: "ncps".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            model: model.clone(),
            inputs,
            outputs,
            data: data.clone(),
        }
    }

    pub(crate) fn to_json(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self);
        text.map(|text| text + "\n")
            .map_err(|error| Error::ForeignModel {
                path: MODEL_CONFIG.into(),
                problem: error.to_string(),
            })
    }

    /// Builds the network and fills it with the weights of the folder.
    ///
    /// # Errors
    /// [`Error::Core`] for a damaged or foreign weight file, [`Error::Models`] for a network that cannot be built.
    pub fn load_network(&self, folder: &Path) -> Result<Box<dyn Network>> {
        let path = folder.join(MODEL);
        self.check_sizes(&path)?;
        let mut network = self.model.build(self.inputs, self.outputs, 0)?;
        checkpoint::load_model(&path, &mut network)?;
        Ok(network)
    }

    /// A row of network outputs in the data's unit, or as probabilities.
    pub(crate) fn finish(&self, row: &[f32]) -> Vec<f32> {
        let mut values = row.to_vec();
        match &self.data.task {
            Task::Regression => self.data.restore(&mut values),
            Task::Classification { .. } => values = probabilities(&values),
        }
        values
    }

    /// Refuses sizes that the weights cannot have, before anything of these sizes is made.
    fn check_sizes(&self, weights: &Path) -> Result<()> {
        let bytes = std::fs::metadata(weights).map_err(|source| Error::Read {
            path: weights.to_owned(),
            what: "weights",
            source,
        })?;
        let values = bytes.len() / 4;
        let foreign = |key: &str, found: u64| Error::ForeignModel {
            path: MODEL_CONFIG.into(),
            problem: format!("`{key}` is {found}, but `{MODEL}` has {values} values at most"),
        };
        for (key, found) in [("inputs", self.inputs), ("outputs", self.outputs)] {
            if found as u64 > values {
                return Err(foreign(key, found as u64));
            }
        }
        let model = serde_json::to_value(&self.model);
        let model = model.map_err(|error| Error::ForeignModel {
            path: MODEL_CONFIG.into(),
            problem: error.to_string(),
        })?;
        match sizes::first_above(&model, values) {
            Some((key, found)) => Err(foreign(&key, found)),
            None => Ok(()),
        }
    }
}

/// Reads the description of the model in `folder`.
///
/// # Errors
/// [`Error::NotARun`] without the file, [`Error::ForeignModel`] for one that this program did not write.
pub fn load_description(folder: &Path) -> Result<ModelDescription> {
    let path = folder.join(MODEL_CONFIG);
    let missing = |name| Error::NotARun {
        path: folder.to_owned(),
        missing: name,
    };
    let length = std::fs::metadata(&path)
        .map_err(|_| missing(MODEL_CONFIG))?
        .len();
    if !folder.join(MODEL).is_file() {
        return Err(missing(MODEL));
    }
    let foreign = |problem: String| Error::ForeignModel {
        path: path.clone(),
        problem,
    };
    if length > MAX_BYTES {
        return Err(foreign(format!("it has {length} bytes")));
    }
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Read {
        path: path.clone(),
        what: "model description",
        source,
    })?;
    let value: serde_json::Value =
        serde_json::from_str(&text).map_err(|error| foreign(error.to_string()))?;
    if value["model_type"] != "ncps" {
        return Err(foreign(format!(
            "its `model_type` is {}, expected \"ncps\"",
            value["model_type"]
        )));
    }
    serde_json::from_value(value).map_err(|error| foreign(error.to_string()))
}

/// Softmax; a single logit is that of the second of two classes.
fn probabilities(logits: &[f32]) -> Vec<f32> {
    if let [logit] = logits {
        let yes = 1.0 / (1.0 + (-logit).exp());
        return vec![1.0 - yes, yes];
    }
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_also_for_large_logits() {
        for logits in [&[0.0, 0.0][..], &[1000.0, 0.0, -1000.0], &[3.0]] {
            let sum: f32 = probabilities(logits).iter().sum();
            assert!((sum - 1.0).abs() < 1e-6, "{logits:?}");
        }
        assert!((probabilities(&[0.0, 3.0_f32.ln()])[1] - 0.75).abs() < 1e-6);
    }
}

//! The same steps by both implementations of the cells, side by side.

use ncps_core::train::{BatchSource, Trainer};
use ncps_models::{ModelConfig, Network};
use serde::Serialize;
use serde_json::Value;

use super::arrays::host;
use super::session::{Session, Split};
use crate::error::{Error, Result};

/// How far two implementations are apart after some training steps from the same weights on the same batches.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verification {
    /// Steps made.
    pub steps: u64,
    /// Largest |difference| of the loss of a step, over the larger of 1 and the plain loss.
    pub loss: f64,
    /// Largest relative difference of the gradient's norm of a step, likewise.
    pub gradient_norm: f64,
    /// Largest |difference| of a parameter after the last step.
    pub parameter: f64,
    /// The parameter that it belongs to.
    pub name: String,
}

impl Session {
    /// Trains the network twice for `steps` batches, in plain MLX operations and as configured, and compares.
    ///
    /// # Errors
    /// [`Error::Core`] where a step fails.
    pub fn verify(&self, steps: u64) -> Result<Verification> {
        let config = self.config();
        let (inputs, outputs) = (self.network.inputs(), self.network.outputs());
        let trainer = |model: &ModelConfig| -> Result<Trainer<Box<dyn Network>>> {
            let network = model.build(inputs, outputs, config.seed)?;
            Ok(Trainer::new(network, config.train.clone(), config.seed)?)
        };
        let mut plain = trainer(&in_plain_operations(&config.model)?)?;
        let mut usual = trainer(&config.model)?;
        let mut source = self.source(Split::Train, Some(config.seed))?;
        let per_epoch = source.steps() as u64;
        let mut found = Verification {
            steps,
            loss: 0.0,
            gradient_norm: 0.0,
            parameter: 0.0,
            name: String::new(),
        };
        let apart = |a: f64, b: f64| (a - b).abs() / a.abs().max(1.0);
        for step in 0..steps {
            let batch = source.batch(step / per_epoch, (step % per_epoch) as usize)?;
            let (a, b) = (plain.train_batch(&batch)?, usual.train_batch(&batch)?);
            found.loss = found.loss.max(apart(a.loss, b.loss));
            if let (Some(a), Some(b)) = (a.gradient_norm, b.gradient_norm) {
                found.gradient_norm = found.gradient_norm.max(apart(a, b));
            }
        }
        plain.synchronise()?;
        usual.synchronise()?;
        let (plain, usual) = (plain.model(), usual.model());
        let (plain, usual) = (plain.parameters().flatten(), usual.parameters().flatten());
        for (name, array) in &plain {
            let Some(other) = usual.get(name) else {
                continue;
            };
            for (a, b) in host(array)?.into_iter().zip(host(other)?) {
                let difference = f64::from((a - b).abs());
                if difference > found.parameter {
                    found.parameter = difference;
                    found.name = name.to_string();
                }
            }
        }
        Ok(found)
    }
}

/// The same network with every layer in plain operations.
pub(crate) fn in_plain_operations(model: &ModelConfig) -> Result<ModelConfig> {
    let foreign = |error: serde_json::Error| Error::ForeignModel {
        path: "model".into(),
        problem: error.to_string(),
    };
    let mut value = serde_json::to_value(model).map_err(foreign)?;
    set_plain(&mut value);
    serde_json::from_value(value).map_err(foreign)
}

fn set_plain(value: &mut Value) {
    match value {
        Value::Object(entries) => {
            if let Some(implementation) = entries.get_mut("implementation") {
                *implementation = "plain".into();
            }
            entries.values_mut().for_each(set_plain);
        }
        Value::Array(items) => items.iter_mut().for_each(set_plain),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_becomes_plain() {
        let text = r#"{"kind": "stacked", "layers": [
            {"kind": "cfc", "units": 4}, {"kind": "ltc", "units": 4}, {"kind": "lstm", "units": 4}]}"#;
        let model: ModelConfig = serde_json::from_str(text).unwrap();
        let plain = serde_json::to_string(&in_plain_operations(&model).unwrap()).unwrap();
        assert_eq!(plain.matches(r#""implementation":"plain""#).count(), 3);
    }
}

//! A feed-forward encoder in front of the recurrent layers.

use mlx_rs::Array;
use mlx_rs::macros::ModuleParameters;
use mlx_rs::nn::Linear;
use ncps_core::cell::Activation;
use ncps_core::init::Initializer;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::head::apply;
use crate::network::during;

/// What an encoder is built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EncoderConfig {
    /// Width of each layer, and number of features that the encoder gives.
    pub units: usize,
    /// Number of layers, at least 1.
    #[serde(default = "default_layers")]
    pub layers: usize,
    /// The function after each layer.
    #[serde(default = "default_activation")]
    pub activation: Activation,
}

fn default_layers() -> usize {
    1
}

fn default_activation() -> Activation {
    Activation::Silu
}

impl EncoderConfig {
    /// One layer of `units` features with the SiLU function.
    pub fn new(units: usize) -> Self {
        Self {
            units,
            layers: default_layers(),
            activation: default_activation(),
        }
    }

    /// Builds the encoder.
    ///
    /// # Errors
    /// [`Error::Setting`] for a size of 0.
    pub fn build(&self, inputs: usize, seed: u64) -> Result<Encoder> {
        for (key, size) in [
            ("encoder.units", self.units),
            ("encoder.layers", self.layers),
        ] {
            if size == 0 {
                return Err(Error::Setting {
                    key: key.to_owned(),
                    found: "0".to_owned(),
                    expected: "at least 1 (or no `encoder` at all)".to_owned(),
                });
            }
        }
        let mut init = Initializer::new(seed);
        let mut width = inputs;
        let layers = (0..self.layers)
            .map(|_| {
                let layer = init.xavier_linear(width, self.units);
                width = self.units;
                layer
            })
            .collect();
        Ok(Encoder {
            layers,
            activation: self.activation,
        })
    }
}

/// Linear layers with a function after each, applied to the features of each step.
#[derive(Debug, Clone, ModuleParameters)]
pub struct Encoder {
    /// The linear layers, first layer first.
    #[param]
    pub layers: Vec<Linear>,
    activation: Activation,
}

impl Encoder {
    /// Encodes features [..., F] as [..., units].
    ///
    /// # Errors
    /// [`ncps_core::Error::Shape`] if the number of features is another one.
    pub fn encode(&self, x: &Array) -> ncps_core::Result<Array> {
        if x.shape().last().map(|&size| size.unsigned_abs() as usize) != Some(self.inputs()) {
            return Err(ncps_core::Error::Shape {
                layer: "encoder",
                argument: "x",
                found: x.shape().to_vec(),
                expected: format!("[..., {}]", self.inputs()),
            });
        }
        let mut x = x.clone();
        for layer in &self.layers {
            x = during(self.activation.apply(&apply(layer, &x)?), "encoder")?;
        }
        Ok(x)
    }

    /// The function after each layer.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Number of features that the encoder takes.
    pub fn inputs(&self) -> usize {
        let first = self.layers.first();
        first.map_or(0, |layer| usize::try_from(layer.weight.dim(1)).unwrap_or(0))
    }
}

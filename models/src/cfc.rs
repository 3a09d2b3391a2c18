//! `kind = "cfc"`: closed-form continuous-time neurons.

use ncps_core::cell::{Activation, Mode};
use ncps_core::rnn::{Cfc, CfcConfig, Implementation, Units};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::head::Head;

/// A CfC layer and its head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CfcModel {
    /// Number of neurons, or the wiring that joins them.
    pub units: Units,
    /// How the heads of the cell are joined.
    #[serde(default)]
    pub mode: Mode,
    /// The function after each backbone layer; only for a number of units.
    #[serde(default)]
    pub activation: Activation,
    /// Width of each backbone layer; only for a number of units.
    #[serde(default = "default_backbone_units")]
    pub backbone_units: usize,
    /// Number of backbone layers; only for a number of units.
    #[serde(default = "default_backbone_layers")]
    pub backbone_layers: usize,
    /// Probability of dropping a backbone feature in training, in [0, 1); only for a number of units.
    #[serde(default)]
    pub backbone_dropout: f32,
    /// Whether an LSTM memory stands in front of the cell.
    #[serde(default)]
    pub mixed_memory: bool,
    /// Number of outputs of a linear map that belongs to the layer; the head follows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection: Option<usize>,
    /// Whether there is a prediction for each step, or for the last one only.
    #[serde(default = "default_return_sequences")]
    pub return_sequences: bool,
    /// The map from the layer's outputs to the task's.
    #[serde(default)]
    pub head: Head,
    /// Which implementation of the recurrence runs.
    #[serde(default)]
    pub implementation: Implementation,
}

pub(crate) fn default_return_sequences() -> bool {
    true
}

fn default_backbone_units() -> usize {
    CfcConfig::new(1, 1).backbone_units
}

fn default_backbone_layers() -> usize {
    CfcConfig::new(1, 1).backbone_layers
}

impl CfcModel {
    /// A layer of so many neurons, or on a wiring, with the defaults of the reference package.
    pub fn new(units: impl Into<Units>) -> Self {
        Self {
            units: units.into(),
            mode: Mode::default(),
            activation: Activation::default(),
            backbone_units: default_backbone_units(),
            backbone_layers: default_backbone_layers(),
            backbone_dropout: 0.0,
            mixed_memory: false,
            projection: None,
            return_sequences: true,
            head: Head::default(),
            implementation: Implementation::default(),
        }
    }

    /// The layer's own configuration, for a number of input features.
    pub fn layer(&self, inputs: usize) -> CfcConfig {
        let mut config = CfcConfig::new(inputs, self.units.clone());
        config.mode = self.mode;
        config.activation = self.activation;
        config.backbone_units = self.backbone_units;
        config.backbone_layers = self.backbone_layers;
        config.backbone_dropout = self.backbone_dropout;
        config.mixed_memory = self.mixed_memory;
        config.projection = self.projection;
        config.return_sequences = self.return_sequences;
        config
    }

    /// Builds the layer.
    ///
    /// # Errors
    /// Those of [`CfcConfig::build`].
    pub fn build_layer(&self, inputs: usize, seed: u64) -> Result<Cfc> {
        let mut layer = self.layer(inputs).build(seed)?;
        layer.implementation = self.implementation;
        Ok(layer)
    }
}

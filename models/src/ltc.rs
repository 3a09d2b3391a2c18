//! `kind = "ltc"`: liquid time-constant neurons.

use ncps_core::cell::{Mapping, ParamConstraints};
use ncps_core::rnn::{Implementation, Ltc, LtcConfig, Units};
use serde::{Deserialize, Serialize};

use crate::cfc::default_return_sequences;
use crate::error::Result;
use crate::head::Head;

/// An LTC layer and its head.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LtcModel {
    /// The wiring that joins the neurons, or a number of fully connected neurons.
    pub units: Units,
    /// Solver sub-steps per input, at least 1.
    #[serde(default = "default_unfolds")]
    pub unfolds: usize,
    /// Added to each neuron's total conductance, at least 0.
    #[serde(default = "default_epsilon")]
    pub epsilon: f32,
    /// How conductances and capacities are kept positive.
    #[serde(default)]
    pub constraints: ParamConstraints,
    /// What is done to each input feature before the sensory synapses.
    #[serde(default)]
    pub input_mapping: Mapping,
    /// What is done to each motor neuron to give the layer's output.
    #[serde(default)]
    pub output_mapping: Mapping,
    /// Whether an LSTM memory stands in front of the cell.
    #[serde(default)]
    pub mixed_memory: bool,
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

fn default_unfolds() -> usize {
    LtcConfig::new(1, 1).unfolds
}

fn default_epsilon() -> f32 {
    LtcConfig::new(1, 1).epsilon
}

impl LtcModel {
    /// A layer on a wiring, or of so many fully connected neurons, with the defaults of the reference package.
    pub fn new(units: impl Into<Units>) -> Self {
        Self {
            units: units.into(),
            unfolds: default_unfolds(),
            epsilon: default_epsilon(),
            constraints: ParamConstraints::default(),
            input_mapping: Mapping::default(),
            output_mapping: Mapping::default(),
            mixed_memory: false,
            return_sequences: true,
            head: Head::default(),
            implementation: Implementation::default(),
        }
    }

    /// The layer's own configuration, for a number of input features.
    pub fn layer(&self, inputs: usize) -> LtcConfig {
        let mut config = LtcConfig::new(inputs, self.units.clone());
        config.unfolds = self.unfolds;
        config.epsilon = self.epsilon;
        config.constraints = self.constraints;
        config.input_mapping = self.input_mapping;
        config.output_mapping = self.output_mapping;
        config.mixed_memory = self.mixed_memory;
        config.return_sequences = self.return_sequences;
        config
    }

    /// Builds the layer.
    ///
    /// # Errors
    /// Those of [`LtcConfig::build`].
    pub fn build_layer(&self, inputs: usize, seed: u64) -> Result<Ltc> {
        let mut layer = self.layer(inputs).build(seed)?;
        layer.implementation = self.implementation;
        Ok(layer)
    }
}

//! `kind = "lstm"`: the usual recurrent baseline.

use ncps_core::rnn::{Implementation, Lstm, LstmConfig};
use serde::{Deserialize, Serialize};

use crate::cfc::default_return_sequences;
use crate::error::Result;
use crate::head::Head;

/// An LSTM layer and its head; time spans do not enter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LstmModel {
    /// Number of neurons.
    pub units: usize,
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

impl LstmModel {
    /// A layer of `units` neurons.
    pub fn new(units: usize) -> Self {
        Self {
            units,
            return_sequences: true,
            head: Head::default(),
            implementation: Implementation::default(),
        }
    }

    /// Builds the layer.
    ///
    /// # Errors
    /// Those of [`LstmConfig::build`].
    pub fn build_layer(&self, inputs: usize, seed: u64) -> Result<Lstm> {
        let mut config = LstmConfig::new(inputs, self.units);
        config.return_sequences = self.return_sequences;
        let mut layer = config.build(seed)?;
        layer.implementation = self.implementation;
        Ok(layer)
    }
}

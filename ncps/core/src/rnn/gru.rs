//! The GRU sequence layer, a baseline.

use std::any::Any;

use mlx_rs::macros::ModuleParameters;
use serde::{Deserialize, Serialize};

use super::cfc::{check_size, default_return_sequences};
use super::input::{Border, Sequence};
use super::unroll::{Unrolled, unroll};
use super::{SequenceInput, SequenceLayer, SequenceOutput};
use crate::array::{During, Mlx};
use crate::cell::GruCell;
use crate::error::Result;
use crate::export::{self, Builder, StateValues, Value};
use crate::init::Initializer;

/// What a GRU layer is built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct GruConfig {
    /// Number of input features, at least 1.
    pub inputs: usize,
    /// Number of neurons, all of them outputs.
    pub units: usize,
    /// Whether the outputs of all steps are given, or of the last one only.
    #[serde(default = "default_return_sequences")]
    pub return_sequences: bool,
}

impl GruConfig {
    /// A layer of `units` neurons.
    pub fn new(inputs: usize, units: usize) -> Self {
        Self {
            inputs,
            units,
            return_sequences: true,
        }
    }

    /// Builds the layer; equal configurations and seeds give equal parameters.
    ///
    /// # Errors
    /// [`crate::Error::Layer`] for a size of 0.
    pub fn build(&self, seed: u64) -> Result<Gru> {
        check_size("gru", "inputs", self.inputs)?;
        check_size("gru", "units", self.units)?;
        let mut init = Initializer::new(seed);
        Ok(Gru {
            gru: GruCell::new(self.inputs, self.units, &mut init),
            config: self.clone(),
        })
    }
}

/// A layer of GRU neurons over sequences; time spans do not enter.
///
/// The equations are those of [`GruCell`].
#[derive(Debug, Clone, ModuleParameters)]
pub struct Gru {
    /// The neurons.
    #[param]
    pub gru: GruCell,
    config: GruConfig,
}

impl Gru {
    /// The configuration that the layer was built from.
    pub fn config(&self) -> &GruConfig {
        &self.config
    }

    fn plain(&self, sequence: &Sequence) -> Mlx<Unrolled> {
        let run = self.gru.run(&sequence.time_major()?)?;
        unroll(&run, None, sequence, self.config.return_sequences)
    }
}

impl SequenceLayer for Gru {
    fn sequence(&self, input: &SequenceInput<'_>) -> Result<SequenceOutput> {
        let border = Border {
            layer: "gru",
            inputs: self.config.inputs,
            units: self.config.units,
            has_memory: false,
        };
        let sequence = border.check(input)?;
        let unrolled = self.plain(&sequence).during("gru sequence")?;
        sequence.output(unrolled.hidden, unrolled.state)
    }

    fn export_step(
        &self,
        graph: &mut Builder,
        x: &Value,
        _elapsed_time: &Value,
        state: &StateValues,
    ) -> Result<(Value, StateValues)> {
        let hidden = export::gru(graph, &self.gru, x, &state.hidden)?;
        let memory = None;
        Ok((hidden.clone(), StateValues { hidden, memory }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn inputs(&self) -> usize {
        self.config.inputs
    }

    fn outputs(&self) -> usize {
        self.config.units
    }

    fn state_units(&self) -> usize {
        self.config.units
    }

    fn has_memory(&self) -> bool {
        false
    }
}

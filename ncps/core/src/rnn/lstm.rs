//! The LSTM sequence layer, a baseline.

use std::any::Any;

use mlx_rs::macros::ModuleParameters;
use serde::{Deserialize, Serialize};

use super::cfc::{check_size, default_return_sequences};
use super::fused::{self, Ops};
use super::input::{Border, Sequence};
use super::unroll::{Unrolled, unroll};
use super::{Implementation, SequenceInput, SequenceLayer, SequenceOutput};
use crate::array::{During, Mlx};
use crate::cell::{LstmCell, PassThrough};
use crate::error::Result;
use crate::export::{self, Builder, StateValues, Value};
use crate::init::Initializer;
use crate::kernel::{Policy, SequenceSpec, Stage};

/// What an LSTM layer is built from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LstmConfig {
    /// Number of input features, at least 1.
    pub inputs: usize,
    /// Number of neurons, all of them outputs.
    pub units: usize,
    /// Whether the outputs of all steps are given, or of the last one only.
    #[serde(default = "default_return_sequences")]
    pub return_sequences: bool,
}

impl LstmConfig {
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
    pub fn build(&self, seed: u64) -> Result<Lstm> {
        check_size("lstm", "inputs", self.inputs)?;
        check_size("lstm", "units", self.units)?;
        let mut init = Initializer::new(seed);
        Ok(Lstm {
            lstm: LstmCell::new(self.inputs, self.units, &mut init),
            implementation: Implementation::default(),
            ops: Ops::default(),
            config: self.clone(),
        })
    }
}

/// A layer of LSTM neurons over sequences; time spans do not enter.
///
/// The equations are those of [`LstmCell`].
#[derive(Debug, Clone, ModuleParameters)]
pub struct Lstm {
    /// The neurons.
    #[param]
    pub lstm: LstmCell,
    /// Which implementation runs; neither a parameter nor saved.
    pub implementation: Implementation,
    ops: Ops,
    config: LstmConfig,
}

impl Lstm {
    /// The configuration that the layer was built from.
    pub fn config(&self) -> &LstmConfig {
        &self.config
    }

    fn plain(&self, sequence: &Sequence) -> Mlx<Unrolled> {
        let memory = self.lstm.run(&sequence.time_major()?)?;
        let every_step = self.config.return_sequences;
        unroll(&PassThrough, Some(&memory), sequence, every_step)
    }
}

impl SequenceLayer for Lstm {
    fn sequence(&self, input: &SequenceInput<'_>) -> Result<SequenceOutput> {
        let border = Border {
            layer: "lstm",
            inputs: self.config.inputs,
            units: self.config.units,
            has_memory: true,
        };
        let sequence = border.check(input)?;
        if fused::is_chosen(self.implementation, "lstm", input.x)? {
            let run = fused::Run {
                layer: self,
                name: "lstm",
                implementation: self.implementation,
                sequence: &sequence,
                dropout: &[],
                is_last_only: !self.config.return_sequences,
                is_training: input.training.is_some(),
            };
            let spec = || SequenceSpec::lstm(self.config.inputs, self.config.units);
            if let Some((outputs, state)) = self.ops.run(&run, spec)? {
                return sequence.output(outputs, state);
            }
        }
        let unrolled = self.plain(&sequence).during("lstm sequence")?;
        sequence.output(unrolled.hidden, unrolled.state)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn export_step(
        &self,
        graph: &mut Builder,
        x: &Value,
        _elapsed_time: &Value,
        state: &StateValues,
    ) -> Result<(Value, StateValues)> {
        let next = export::remembered(graph, Some(&self.lstm), x, state)?;
        Ok((next.hidden.clone(), next))
    }

    fn policy(&self) -> Result<Policy> {
        fused::policy(
            self,
            SequenceSpec::lstm(self.config.inputs, self.config.units),
        )
    }

    fn stages(&self) -> Option<Vec<Stage>> {
        let spec = SequenceSpec::lstm(self.config.inputs, self.config.units);
        let is_last_only = !self.config.return_sequences;
        Some(vec![fused::stage(
            self.implementation,
            spec,
            0.0,
            is_last_only,
        )?])
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
        true
    }
}

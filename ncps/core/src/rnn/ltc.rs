//! The LTC sequence layer.

use std::any::Any;

use mlx_rs::macros::ModuleParameters;
use serde::{Deserialize, Serialize};

use super::cfc::{check_size, default_return_sequences};
use super::fused::{self, Ops};
use super::input::{Border, Sequence};
use super::unroll::{Unrolled, unroll};
use super::{
    FastestNeuron, Implementation, SequenceInput, SequenceLayer, SequenceOutput, Units, stiffness,
};
use crate::array::{During, Mlx};
use crate::cell::{LstmCell, LtcCell, LtcCellConfig, Mapping, ParamConstraints};
use crate::error::Result;
use crate::export::{self, Builder, StateValues, Value};
use crate::init::Initializer;
use crate::kernel::{Policy, Stage};
use crate::wiring::FullyConnected;

/// What an LTC layer is built from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LtcConfig {
    /// Number of input features, at least 1.
    pub inputs: usize,
    /// The wiring that joins the neurons, or a number of fully connected neurons that are all outputs.
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
    /// What is done to each motor neuron to give the output.
    #[serde(default)]
    pub output_mapping: Mapping,
    /// Whether an LSTM memory stands in front of the cell.
    #[serde(default)]
    pub mixed_memory: bool,
    /// Whether the outputs of all steps are given, or of the last one only.
    #[serde(default = "default_return_sequences")]
    pub return_sequences: bool,
}

fn default_unfolds() -> usize {
    LtcCellConfig::default().unfolds
}

fn default_epsilon() -> f32 {
    LtcCellConfig::default().epsilon
}

impl LtcConfig {
    /// A layer on a wiring, or of `units` fully connected neurons, with the defaults of the reference package.
    pub fn new(inputs: usize, units: impl Into<Units>) -> Self {
        Self {
            inputs,
            units: units.into(),
            unfolds: default_unfolds(),
            epsilon: default_epsilon(),
            constraints: ParamConstraints::default(),
            input_mapping: Mapping::default(),
            output_mapping: Mapping::default(),
            mixed_memory: false,
            return_sequences: true,
        }
    }

    /// Builds the layer; equal configurations and seeds give equal parameters.
    ///
    /// # Errors
    /// [`crate::Error::Layer`] for a setting outside its limits; the errors of the wiring.
    pub fn build(&self, seed: u64) -> Result<Ltc> {
        check_size("ltc", "inputs", self.inputs)?;
        let cell = LtcCellConfig {
            unfolds: self.unfolds,
            epsilon: self.epsilon,
            constraints: self.constraints,
            input_mapping: self.input_mapping,
            output_mapping: self.output_mapping,
        };
        cell.validate()?;
        let wiring = match &self.units {
            Units::Dense(units) => FullyConnected::new(*units, *units).build(self.inputs)?,
            Units::Wired(wiring) => wiring.build(self.inputs)?,
        };
        let mut init = Initializer::new(seed);
        let rnn_cell = cell.build(&wiring, &mut init);
        let lstm = self
            .mixed_memory
            .then(|| LstmCell::new(self.inputs, wiring.units(), &mut init));
        Ok(Ltc {
            rnn_cell,
            lstm,
            implementation: Implementation::default(),
            ops: Ops::default(),
            config: self.clone(),
        })
    }
}

/// A layer of liquid time-constant neurons over sequences.
///
/// The equations are those of [`LtcCell`]; with mixed memory an [`LstmCell`] updates the hidden
/// state before the cell does. The state is in the order of the neuron ids (motor neurons first).
///
/// # Source
/// Hasani et al. 2021, "Liquid time-constant networks"; parameter names as in the PyTorch package
/// `ncps` 1.0.1. Differences: time spans may differ between the samples of a batch, and a time span
/// of 0 leaves the state as it is.
///
/// # Example
/// ```
/// use mlx_rs::Array;
/// use ncps_core::rnn::{LtcConfig, SequenceInput, SequenceLayer};
/// use ncps_core::wiring::AutoNcp;
///
/// let layer = LtcConfig::new(3, AutoNcp::new(16, 2)).build(1)?;
/// let x = Array::from_slice(&[0.5_f32; 2 * 5 * 3], &[2, 5, 3]);
/// let result = layer.sequence(&SequenceInput::new(&x).timespans(0.1))?;
/// assert_eq!(result.outputs.shape(), &[2, 5, 2]);
/// # Ok::<(), ncps_core::Error>(())
/// ```
#[derive(Debug, Clone, ModuleParameters)]
pub struct Ltc {
    /// The neurons.
    #[param]
    pub rnn_cell: LtcCell,
    /// The memory of a mixed-memory layer.
    #[param]
    pub lstm: Option<LstmCell>,
    /// Which implementation runs; neither a parameter nor saved.
    pub implementation: Implementation,
    ops: Ops,
    config: LtcConfig,
}

impl Ltc {
    /// The configuration that the layer was built from.
    pub fn config(&self) -> &LtcConfig {
        &self.config
    }

    fn plain(&self, sequence: &Sequence) -> Mlx<Unrolled> {
        let x = sequence.time_major()?;
        let memory = self.lstm.as_ref().map(|lstm| lstm.run(&x)).transpose()?;
        let run = self.rnn_cell.run(&x, &sequence.elapsed()?)?;
        unroll(
            &run,
            memory.as_ref(),
            sequence,
            self.config.return_sequences,
        )
    }
}

impl SequenceLayer for Ltc {
    fn sequence(&self, input: &SequenceInput<'_>) -> Result<SequenceOutput> {
        let border = Border {
            layer: "ltc",
            inputs: self.inputs(),
            units: self.state_units(),
            has_memory: self.has_memory(),
        };
        let sequence = border.check(input)?;
        if fused::is_chosen(self.implementation, "ltc", input.x)? {
            let run = fused::Run {
                layer: self,
                name: "ltc",
                implementation: self.implementation,
                sequence: &sequence,
                dropout: &[],
                is_last_only: !self.config.return_sequences,
                is_training: input.training.is_some(),
            };
            let spec = || fused::ltc(&self.rnn_cell, self.has_memory());
            if let Some((outputs, state)) = self.ops.run(&run, spec)? {
                return sequence.output(outputs, state);
            }
        }
        let unrolled = self.plain(&sequence).during("ltc sequence")?;
        let outputs = self.rnn_cell.readout(&unrolled.hidden);
        sequence.output(outputs.during("ltc readout")?, unrolled.state)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn export_step(
        &self,
        graph: &mut Builder,
        x: &Value,
        elapsed_time: &Value,
        state: &StateValues,
    ) -> Result<(Value, StateValues)> {
        let mut next = export::remembered(graph, self.lstm.as_ref(), x, state)?;
        next.hidden = export::ltc(graph, &self.rnn_cell, x, &next.hidden, elapsed_time)?;
        let outputs = export::motor_outputs(graph, &self.rnn_cell, &next.hidden)?;
        Ok((outputs, next))
    }

    fn policy(&self) -> Result<Policy> {
        fused::policy(self, fused::ltc(&self.rnn_cell, self.has_memory()))
    }

    fn stages(&self) -> Option<Vec<Stage>> {
        let spec = fused::ltc(&self.rnn_cell, self.has_memory());
        let is_last_only = !self.config.return_sequences;
        Some(vec![fused::stage(
            self.implementation,
            spec,
            0.0,
            is_last_only,
        )?])
    }

    fn fastest_neuron(&self) -> Result<Option<FastestNeuron>> {
        stiffness::fastest_neuron(&self.rnn_cell)
    }

    fn inputs(&self) -> usize {
        self.config.inputs
    }

    fn outputs(&self) -> usize {
        self.rnn_cell.outputs()
    }

    fn state_units(&self) -> usize {
        self.rnn_cell.units()
    }

    fn has_memory(&self) -> bool {
        self.lstm.is_some()
    }

    fn constrained_parameters(&self) -> Vec<String> {
        match self.config.constraints {
            ParamConstraints::Implicit => Vec::new(),
            ParamConstraints::Explicit => ["w", "sensory_w", "cm", "gleak"]
                .map(|name| format!("rnn_cell.{name}"))
                .to_vec(),
        }
    }
}

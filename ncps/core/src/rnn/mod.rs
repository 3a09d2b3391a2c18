//! Sequence layers: cells over time, with time spans, masks, memory and a readout.

mod cfc;
mod fused;
mod gru;
mod input;
mod lstm;
mod ltc;
mod stiffness;
#[cfg(test)]
mod tests;
mod units;
mod unroll;

use std::any::Any;
use std::fmt::Debug;

use mlx_rs::Array;
use mlx_rs::module::ModuleParameters;
use serde::{Deserialize, Serialize};

use crate::array::{During, dim, zeros};
use crate::error::{Error, Result};
use crate::export::{Builder, StateValues, Value};
use crate::kernel::{Policy, Stage};

pub use cfc::{Cfc, CfcConfig, CfcNeurons};
pub(crate) use fused::host;
pub use gru::{Gru, GruConfig};
pub use lstm::{Lstm, LstmConfig};
pub use ltc::{Ltc, LtcConfig};
pub use stiffness::FastestNeuron;
pub use units::Units;

/// The state of a layer between two steps.
#[derive(Debug, Clone)]
pub struct State {
    /// Hidden state [B, U], or `[U]` for unbatched input.
    pub hidden: Array,
    /// LSTM memory [B, U] of a mixed-memory or LSTM layer, or `[U]` for unbatched input.
    pub memory: Option<Array>,
}

impl State {
    /// A state without memory.
    pub fn new(hidden: Array) -> Self {
        Self {
            hidden,
            memory: None,
        }
    }

    /// All zeros, for `batch` samples.
    pub fn zeros(batch: usize, units: usize, has_memory: bool) -> Self {
        let shape = [dim(batch), dim(units)];
        Self {
            hidden: zeros(&shape),
            memory: has_memory.then(|| zeros(&shape)),
        }
    }
}

/// How much time passes before each step, in the data's own unit.
#[derive(Debug, Clone, Default)]
pub enum Timespans {
    /// Every step lasts 1.
    #[default]
    Unit,
    /// Every step lasts the same.
    Scalar(f32),
    /// On sequences `[T]` (shared by the samples), [B, T] or [B, T, 1]; on one step `[B]` or [B, 1].
    Array(Array),
}

impl From<f32> for Timespans {
    fn from(span: f32) -> Self {
        Self::Scalar(span)
    }
}

impl From<Array> for Timespans {
    fn from(spans: Array) -> Self {
        Self::Array(spans)
    }
}

/// What a layer is given of a sequence.
#[derive(Debug, Clone)]
pub struct SequenceInput<'a> {
    /// Features [B, T, F], or [T, F] for one sequence without a batch axis.
    pub x: &'a Array,
    /// Time before each step.
    pub timespans: Timespans,
    /// 1 for real steps and 0 for padding, [B, T] or `[T]`; padding leaves the state unchanged.
    pub mask: Option<&'a Array>,
    /// State before the first step; zeros when absent.
    pub state: Option<&'a State>,
    /// Key of the random numbers of dropout; absent outside training.
    pub training: Option<&'a Array>,
}

impl<'a> SequenceInput<'a> {
    /// A sequence with unit time spans, no padding, zero initial state, outside training.
    pub fn new(x: &'a Array) -> Self {
        Self {
            x,
            timespans: Timespans::Unit,
            mask: None,
            state: None,
            training: None,
        }
    }

    /// With these time spans.
    #[must_use]
    pub fn timespans(mut self, timespans: impl Into<Timespans>) -> Self {
        self.timespans = timespans.into();
        self
    }

    /// With this mask.
    #[must_use]
    pub fn mask(mut self, mask: &'a Array) -> Self {
        self.mask = Some(mask);
        self
    }

    /// From this state.
    #[must_use]
    pub fn state(mut self, state: &'a State) -> Self {
        self.state = Some(state);
        self
    }

    /// In training, with dropout drawn from this key.
    #[must_use]
    pub fn training(mut self, key: &'a Array) -> Self {
        self.training = Some(key);
        self
    }
}

/// What a layer makes of a sequence.
#[derive(Debug, Clone)]
pub struct SequenceOutput {
    /// Outputs [B, T, O] or, without `return_sequences`, of the last step [B, O]; no B for unbatched input.
    pub outputs: Array,
    /// State after the last step.
    pub state: State,
}

/// Which implementation of the recurrence runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Implementation {
    /// The fused operation where it serves the layer and the device, else the plain one.
    #[default]
    Auto,
    /// Step by step in MLX operations, on any device.
    Plain,
    /// One operation for the whole sequence; an error where it does not serve.
    Fused,
}

/// A recurrent layer that runs over sequences, or step by step with the state carried.
pub trait SequenceLayer: ModuleParameters + Debug {
    /// Runs over a whole sequence.
    ///
    /// # Shapes
    /// See [`SequenceInput`] and [`SequenceOutput`].
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::ElementType`] name the argument; [`Error::Mlx`] for the rest.
    fn sequence(&self, input: &SequenceInput<'_>) -> Result<SequenceOutput>;

    /// Number of input features F.
    fn inputs(&self) -> usize;

    /// Number of output features O.
    fn outputs(&self) -> usize;

    /// Number of neurons U in the state.
    fn state_units(&self) -> usize;

    /// Whether the state has an LSTM memory.
    fn has_memory(&self) -> bool;

    /// Names of the parameters that must be kept at zero or above after each optimiser step.
    fn constrained_parameters(&self) -> Vec<String> {
        Vec::new()
    }

    /// The concrete layer, for callers that know a faster way for some of them.
    fn as_any(&self) -> &dyn Any;

    /// A copy of the layer that steps one sample without MLX, for control loops and streams.
    ///
    /// # Errors
    /// [`Error::Layer`] if there is no kernel for the layer.
    fn policy(&self) -> Result<Policy> {
        Err(Error::Layer {
            layer: "policy",
            key: "kind",
            found: "a layer without a kernel".to_owned(),
            expected: "cfc, ltc or lstm; other layers run step by step in MLX".to_owned(),
        })
    }

    /// Writes one step into a graph: the outputs [B, O] and the state after it, for inputs [B, F], elapsed time [B, 1] and a state.
    ///
    /// # Errors
    /// [`Error::Layer`] if the layer has no such form, [`Error::Mlx`] if a parameter cannot be evaluated.
    fn export_step(
        &self,
        _graph: &mut Builder,
        _x: &Value,
        _elapsed_time: &Value,
        _state: &StateValues,
    ) -> Result<(Value, StateValues)> {
        Err(Error::Layer {
            layer: "export",
            key: "kind",
            found: "a layer without a graph".to_owned(),
            expected: "cfc, ltc, lstm or gru".to_owned(),
        })
    }

    /// The layer as stages that the kernels know, for training as one computation with what follows it; none where there is
    /// no kernel or the layer was told to run step by step.
    fn stages(&self) -> Option<Vec<Stage>> {
        None
    }

    /// The neuron with the shortest time constant, of layers whose solver takes sub-steps; none for all others.
    ///
    /// # Errors
    /// [`Error::Mlx`] if a parameter cannot be evaluated.
    fn fastest_neuron(&self) -> Result<Option<FastestNeuron>> {
        Ok(None)
    }

    /// The state before the first step, for `batch` samples.
    fn zero_state(&self, batch: usize) -> State {
        State::zeros(batch, self.state_units(), self.has_memory())
    }

    /// Runs one step: the outputs and the state after it.
    ///
    /// # Shapes
    /// x: [B, F] or `[F]`; state: [B, U] or `[U]`; outputs: [B, O] or `[O]`.
    ///
    /// # Errors
    /// As [`SequenceLayer::sequence`].
    fn step(&self, x: &Array, elapsed_time: &Timespans, state: &State) -> Result<(Array, State)> {
        if !(1..=2).contains(&x.ndim()) {
            return Err(Error::Shape {
                layer: "step",
                argument: "x",
                found: x.shape().to_vec(),
                expected: format!("[B, {0}] or [{0}]", self.inputs()),
            });
        }
        let sequence = x.expand_dims(-2).during("step input")?;
        let timespans = match elapsed_time {
            // One duration a sample; as a sequence's spans this would be one a step.
            Timespans::Array(spans) if spans.ndim() == 1 => {
                Timespans::Array(spans.expand_dims(-1).during("step time")?)
            }
            other => other.clone(),
        };
        let input = SequenceInput::new(&sequence)
            .timespans(timespans)
            .state(state);
        let result = self.sequence(&input)?;
        let mut shape = x.shape().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = dim(self.outputs());
        }
        let outputs = result.outputs.reshape(&shape).during("step output")?;
        Ok((outputs, result.state))
    }
}

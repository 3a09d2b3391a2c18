//! Cells: what one step does to the hidden state.
//!
//! Each cell is written once in MLX operations, in two parts: what does not depend on the hidden
//! state is computed for the whole sequence at once, then the steps follow. One step is a sequence
//! of length 1, so the two cannot disagree.

mod activation;
mod cfc;
mod gru;
mod lstm;
mod ltc;
mod synapses;
mod wired_cfc;

use mlx_rs::Array;
use serde::{Deserialize, Serialize};

pub use activation::Activation;
pub use cfc::{CfcCell, CfcCellConfig};
pub use gru::GruCell;
pub use lstm::LstmCell;
pub use ltc::{LtcCell, LtcCellConfig};
pub use synapses::Synapses;
pub use wired_cfc::WiredCfcCell;

pub(crate) use cfc::draw_dropout;
pub(crate) use lstm::{FORGET_GATE_BIAS, LstmRun, PassThrough};

use crate::array::{Mlx, swap_batch_and_time, time_steps};

/// How a CfC cell joins its two heads.
///
/// # Source
/// Hasani et al. 2022, "Closed-form continuous-time neural networks", equations 2 to 10; `pure` is
/// the closed form itself, `default` its gated form, `no_gate` the gated form without the (1 - t) factor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// `ff1 (1 - t) + t ff2` with a time-dependent gate t.
    #[default]
    Default,
    /// `A - A exp(-elapsed (|w_tau| + |ff1|)) ff1`, one head and no gate.
    Pure,
    /// `ff1 + t ff2`.
    NoGate,
}

/// A learned map of each input (or motor) feature on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Mapping {
    /// Scale and shift.
    #[default]
    Affine,
    /// Scale only.
    Linear,
    /// Unchanged.
    None,
}

/// What is done to the inputs of an LTC cell before its sensory synapses.
pub type InputMapping = Mapping;

/// What is done to the motor neurons of an LTC cell to give its output.
pub type OutputMapping = Mapping;

/// How an LTC cell keeps its conductances and capacities positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ParamConstraints {
    /// Through softplus, inside the equations.
    #[default]
    Implicit,
    /// By clamping the stored values at zero after each optimiser step.
    Explicit,
}

/// A cell whose work over a whole sequence's inputs is done; only the recurrence is left.
pub(crate) trait Advance {
    /// The hidden state [B, U] after step `t`.
    fn advance(&self, t: usize, hidden: &Array) -> Mlx;
}

/// How long each step lasts, in the form that the cells use.
#[derive(Debug, Clone)]
pub(crate) enum Elapsed {
    /// The same for all samples and steps, so that it can be folded into the weights.
    Constant(f32),
    /// For each step an array [B, 1], or [1, 1] when shared by the samples.
    Steps(Vec<Array>),
}

impl Elapsed {
    /// From spans [B, T] or [1, T].
    pub(crate) fn from_spans(spans: &Array) -> Mlx<Self> {
        let time_major = swap_batch_and_time(&spans.expand_dims(-1)?)?;
        Ok(Self::Steps(time_steps(&time_major)?))
    }

    /// The span that all steps share.
    pub(crate) fn constant(&self) -> Option<f32> {
        match self {
            Self::Constant(span) => Some(*span),
            Self::Steps(_) => None,
        }
    }

    /// The array of step `t`, where spans differ.
    pub(crate) fn step(&self, t: usize) -> Option<&Array> {
        match self {
            Self::Constant(_) => None,
            Self::Steps(steps) => steps.get(t),
        }
    }
}

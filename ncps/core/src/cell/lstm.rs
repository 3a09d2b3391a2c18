//! The LSTM cell: the memory of mixed-memory layers, and a baseline on its own.

use mlx_rs::macros::ModuleParameters;
use mlx_rs::nn::Linear;
use mlx_rs::{Array, ops};

use super::Advance;
use crate::array::{Mlx, affine, dim, halves, split_last, time_steps};
use crate::init::{Initializer, from_values, linear};

/// Added to the forget gate before its sigmoid, so that a new cell remembers.
pub(crate) const FORGET_GATE_BIAS: f32 = 1.0;

/// Long short-term memory with one bias and a forget gate that starts open.
///
/// ```text
/// z = x W_input^T + b + h W_recurrent^T,     (i, ig, fg, og) = four parts of z
/// c' = c sigmoid(fg + 1) + tanh(i) sigmoid(ig)
/// h' = tanh(c') sigmoid(og)
/// ```
///
/// # Source
/// Hochreiter and Schmidhuber 1997; gate order, the constant 1 and the initial values (Xavier,
/// orthogonal, bias from U(-0.1, 0.1)) as in the PyTorch package `ncps` 1.0.1.
///
/// # Shapes
/// `input_map.weight`: [4U, F], `input_map.bias`: `[4U]`, `recurrent_map.weight`: [4U, U].
#[derive(Debug, Clone, ModuleParameters)]
pub struct LstmCell {
    /// From the inputs to the four gates, with the bias.
    #[param]
    pub input_map: Linear,
    /// From the hidden state to the four gates, without a bias.
    #[param]
    pub recurrent_map: Linear,
}

impl LstmCell {
    /// A cell with values that depend on the draws of `init` only.
    pub(crate) fn new(inputs: usize, units: usize, init: &mut Initializer) -> Self {
        let gates = 4 * units;
        let weight = init.xavier_uniform(gates, inputs);
        let bias = init.uniform(-0.1, 0.1, &[gates]);
        Self {
            input_map: linear(weight, Some(bias)),
            recurrent_map: linear(init.orthogonal(gates, units), None),
        }
    }

    /// Number of neurons.
    pub fn units(&self) -> usize {
        usize::try_from(self.recurrent_map.weight.dim(1)).unwrap_or(0)
    }

    /// Prepares a sequence x [T, B, F].
    pub(crate) fn run(&self, x: &Array) -> Mlx<LstmRun> {
        let units = self.units();
        let mut offset = vec![0.0; 4 * units];
        offset[2 * units..3 * units].fill(FORGET_GATE_BIAS);
        let offset = from_values(&offset, &[4 * units]).as_dtype(x.dtype())?;
        let bias = match &self.input_map.bias.value {
            Some(bias) => bias.add(offset)?,
            None => offset,
        };
        let projected = affine(&bias, x, &self.input_map.weight.transpose()?)?;
        Ok(LstmRun {
            projected: time_steps(&projected)?,
            recurrent: self.recurrent_map.weight.transpose()?,
            units: dim(units),
        })
    }
}

/// An LSTM cell with the input products of one sequence done.
#[derive(Debug)]
pub(crate) struct LstmRun {
    projected: Vec<Array>,
    recurrent: Array,
    units: i32,
}

impl LstmRun {
    /// The hidden state and the memory, both [B, U], after step `t`.
    pub(crate) fn advance(&self, t: usize, hidden: &Array, memory: &Array) -> Mlx<(Array, Array)> {
        let z = affine(&self.projected[t], hidden, &self.recurrent)?;
        let (candidate, gates) = halves(&z, self.units)?;
        let gates = split_last(&ops::sigmoid(gates)?, &[self.units, 2 * self.units])?;
        let [input_gate, forget_gate, output_gate] = gates.as_slice() else {
            return Err("an LSTM has three gates".into());
        };
        let added = ops::tanh(candidate)?.multiply(input_gate)?;
        let memory = memory.multiply(forget_gate)?.add(added)?;
        Ok((ops::tanh(&memory)?.multiply(output_gate)?, memory))
    }
}

/// A cell that leaves the hidden state to the memory in front of it.
#[derive(Debug)]
pub(crate) struct PassThrough;

impl Advance for PassThrough {
    fn advance(&self, _t: usize, hidden: &Array) -> Mlx {
        Ok(hidden.clone())
    }
}

//! The gated recurrent unit, a baseline.

use mlx_rs::macros::ModuleParameters;
use mlx_rs::nn::Linear;
use mlx_rs::{Array, ops};

use super::Advance;
use crate::array::{Mlx, affine, dim, halves, time_steps};
use crate::init::{Initializer, linear};

/// Gated recurrent unit, with the reset gate applied after the recurrent product.
///
/// ```text
/// (r, z) = sigmoid(x W_i^T + b_i + h W_r^T + b_r)      first two parts
/// n      = tanh(x W_i^T + b_i + r (h W_r^T + b_r))     third part
/// h'     = n + z (h - n)
/// ```
///
/// # Source
/// Cho et al. 2014, in the variant of PyTorch's `GRUCell` (reset after the product).
///
/// # Shapes
/// `input_map.weight`: [3U, F], `recurrent_map.weight`: [3U, U], both biases: `[3U]`.
#[derive(Debug, Clone, ModuleParameters)]
pub struct GruCell {
    /// From the inputs to reset gate, update gate and candidate.
    #[param]
    pub input_map: Linear,
    /// From the hidden state to reset gate, update gate and candidate.
    #[param]
    pub recurrent_map: Linear,
}

impl GruCell {
    /// A cell with values that depend on the draws of `init` only.
    pub(crate) fn new(inputs: usize, units: usize, init: &mut Initializer) -> Self {
        let gates = 3 * units;
        let weight = init.xavier_uniform(gates, inputs);
        let input_map = linear(weight, Some(init.linear_bias(units, gates)));
        let weight = init.orthogonal(gates, units);
        let recurrent_map = linear(weight, Some(init.linear_bias(units, gates)));
        Self {
            input_map,
            recurrent_map,
        }
    }

    /// Number of neurons.
    pub fn units(&self) -> usize {
        usize::try_from(self.recurrent_map.weight.dim(1)).unwrap_or(0)
    }

    /// Prepares a sequence x [T, B, F].
    pub(crate) fn run(&self, x: &Array) -> Mlx<GruRun> {
        let units = dim(self.units());
        let bias = |layer: &Linear| match &layer.bias.value {
            Some(bias) => bias.clone(),
            None => crate::array::zeros(&[3 * units]),
        };
        let weight = self.input_map.weight.transpose()?;
        let projected = affine(&bias(&self.input_map), x, &weight)?;
        Ok(GruRun {
            projected: time_steps(&projected)?,
            recurrent: self.recurrent_map.weight.transpose()?,
            bias: bias(&self.recurrent_map),
            units,
        })
    }
}

/// A GRU cell with the input products of one sequence done.
#[derive(Debug)]
pub(crate) struct GruRun {
    projected: Vec<Array>,
    recurrent: Array,
    bias: Array,
    units: i32,
}

impl Advance for GruRun {
    fn advance(&self, t: usize, hidden: &Array) -> Mlx {
        let (gates_of_input, new_of_input) = halves(&self.projected[t], 2 * self.units)?;
        let recurrent = affine(&self.bias, hidden, &self.recurrent)?;
        let (gates_of_hidden, new_of_hidden) = halves(&recurrent, 2 * self.units)?;
        let gates = ops::sigmoid(gates_of_input.add(gates_of_hidden)?)?;
        let (reset, update) = halves(&gates, self.units)?;
        let new = ops::tanh(new_of_input.add(reset.multiply(new_of_hidden)?)?)?;
        new.add(update.multiply(hidden.subtract(&new)?)?)
    }
}

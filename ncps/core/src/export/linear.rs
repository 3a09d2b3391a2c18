//! Linear maps, functions of each feature, and choices among features.

use mlx_rs::nn::Linear;

use super::builder::{Builder, Value};
use super::graph::Op;
use crate::cell::Activation;
use crate::error::Result;
use crate::rnn::host;

/// Writes `x W^T + b`.
///
/// # Errors
/// [`crate::Error::Mlx`] if a parameter cannot be evaluated.
pub fn linear(graph: &mut Builder, layer: &Linear, x: &Value) -> Result<Value> {
    let (outputs, inputs) = (layer.weight.dim(0), layer.weight.dim(1));
    let weight = Weight {
        rows: usize::try_from(outputs).unwrap_or(0),
        columns: usize::try_from(inputs).unwrap_or(0),
        values: host(&layer.weight)?,
    };
    let bias = layer.bias.value.as_ref().map(host).transpose()?;
    Ok(weight.apply(graph, x, bias.as_deref()))
}

/// A weight [rows, columns] on the host.
pub(super) struct Weight {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) values: Vec<f32>,
}

impl Weight {
    /// `x W^T + b`.
    pub(super) fn apply(&self, graph: &mut Builder, x: &Value, bias: Option<&[f32]>) -> Value {
        let weight = graph.constant("weight", &[self.rows, self.columns], &self.values);
        let bias = bias.map(|bias| graph.constant("bias", &[self.rows], bias));
        graph.gemm(x, &weight, bias.as_ref())
    }
}

/// Writes a function of each feature.
pub fn activation(graph: &mut Builder, function: Activation, z: &Value) -> Value {
    let times = |graph: &mut Builder, x: &Value, factor: f32| {
        let factor = graph.number(factor);
        graph.mul(x, &factor)
    };
    match function {
        Activation::LecunTanh => {
            let inner = times(graph, z, 0.666);
            let outer = graph.unary(Op::Tanh, &inner);
            times(graph, &outer, 1.7159)
        }
        Activation::Silu => {
            let gate = graph.unary(Op::Sigmoid, z);
            graph.mul(z, &gate)
        }
        Activation::Relu => graph.unary(Op::Relu, z),
        Activation::Tanh => graph.unary(Op::Tanh, z),
        Activation::Gelu => {
            let inner = times(graph, z, std::f32::consts::FRAC_1_SQRT_2);
            let erf = graph.unary(Op::Erf, &inner);
            let one = graph.number(1.0);
            let share = graph.add(&erf, &one);
            let half = times(graph, z, 0.5);
            graph.mul(&half, &share)
        }
    }
}

/// Features `places` of `width`: a slice where they are consecutive, else a product with zeros and ones.
pub(crate) fn places(graph: &mut Builder, x: &Value, places: &[usize], width: usize) -> Value {
    let first = places.first().copied().unwrap_or(0);
    let is_run = places.iter().enumerate().all(|(k, &p)| p == first + k);
    if is_run && places.len() == width {
        return x.clone();
    }
    if is_run {
        let sizes = [first, places.len(), width - first - places.len()];
        let present: Vec<usize> = sizes.into_iter().filter(|size| *size > 0).collect();
        let parts = graph.split(x, &present);
        return parts[usize::from(first > 0)].clone();
    }
    let mut values = vec![0.0; places.len() * width];
    for (row, &place) in places.iter().enumerate() {
        values[row * width + place] = 1.0;
    }
    let choice = Weight {
        rows: places.len(),
        columns: width,
        values,
    };
    choice.apply(graph, x, None)
}

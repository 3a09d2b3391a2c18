//! CfC cells as operations.

use mlx_rs::nn::Linear;

use super::builder::{Builder, Value};
use super::graph::Op;
use super::linear::{Weight, activation, linear};
use crate::cell::{CfcCell, Mode, WiredCfcCell};
use crate::error::Result;
use crate::rnn::host;

/// Writes the hidden state after one step of a cell with a backbone (or of one layer of a wiring).
pub(crate) fn dense_cfc(
    graph: &mut Builder,
    cell: &CfcCell,
    x: &Value,
    hidden: &Value,
    elapsed: &Value,
) -> Result<Value> {
    let mut z = graph.concat(&[x, hidden]);
    for layer in &cell.backbone {
        z = linear(graph, layer, &z)?;
        z = activation(graph, cell.config().activation, &z);
    }
    let mode = cell.config().mode;
    let (Some(ff2), Some(slope), Some(offset)) = (&cell.ff2, &cell.time_a, &cell.time_b) else {
        let ff1 = heads(graph, cell, &z, &[&cell.ff1])?;
        return closed_form(graph, cell, &ff1, elapsed);
    };
    let all = heads(graph, cell, &z, &[&cell.ff1, ff2, slope, offset])?;
    let units = cell.units();
    let parts = graph.split(&all, &[2 * units, units, units]);
    let ff = graph.unary(Op::Tanh, &parts[0]);
    let ff = graph.split(&ff, &[units, units]);
    let gate = graph.mul(&parts[1], elapsed);
    let gate = graph.add(&gate, &parts[2]);
    let gate = graph.unary(Op::Sigmoid, &gate);
    let way = match mode {
        Mode::NoGate => ff[1].clone(),
        Mode::Default | Mode::Pure => graph.sub(&ff[1], &ff[0]),
    };
    let moved = graph.mul(&gate, &way);
    Ok(graph.add(&ff[0], &moved))
}

/// All heads as one product; the mask holds for the first two.
fn heads(graph: &mut Builder, cell: &CfcCell, z: &Value, heads: &[&Linear]) -> Result<Value> {
    let (mut values, mut biases) = (Vec::new(), Vec::new());
    let mask = cell.mask().map(host).transpose()?;
    for (index, head) in heads.iter().enumerate() {
        let mut weight = host(&head.weight)?;
        if let (Some(mask), true) = (&mask, index < 2) {
            weight.iter_mut().zip(mask).for_each(|(w, m)| *w *= m);
        }
        values.extend(weight);
        match &head.bias.value {
            Some(bias) => biases.extend(host(bias)?),
            None => biases.extend(vec![0.0; cell.units()]),
        }
    }
    let rows = heads.len() * cell.units();
    let weight = Weight {
        rows,
        columns: values.len() / rows,
        values,
    };
    Ok(weight.apply(graph, z, Some(&biases)))
}

fn closed_form(graph: &mut Builder, cell: &CfcCell, ff1: &Value, elapsed: &Value) -> Result<Value> {
    let row = |values: &Option<mlx_rs::Array>| match values {
        Some(values) => host(values),
        None => Ok(vec![0.0; cell.units()]),
    };
    let decay: Vec<f32> = row(&cell.w_tau.value)?.iter().map(|w| w.abs()).collect();
    let decay = graph.constant("decay", &[1, cell.units()], &decay);
    let resting = graph.constant("resting", &[1, cell.units()], &row(&cell.A.value)?);
    let size = graph.abs(ff1);
    let rate = graph.add(&size, &decay);
    let exponent = graph.mul(&rate, elapsed);
    let minus = graph.number(-1.0);
    let exponent = graph.mul(&exponent, &minus);
    let left = graph.unary(Op::Exp, &exponent);
    let left = graph.mul(&left, ff1);
    let left = graph.mul(&left, &resting);
    Ok(graph.sub(&resting, &left))
}

/// Writes the hidden state after one step of a CfC on a wiring.
pub(crate) fn wired_cfc(
    graph: &mut Builder,
    cell: &WiredCfcCell,
    x: &Value,
    hidden: &Value,
    elapsed: &Value,
) -> Result<Value> {
    let sizes: Vec<usize> = cell.layers().iter().map(CfcCell::units).collect();
    let parts = graph.split(hidden, &sizes);
    let mut states: Vec<Value> = Vec::with_capacity(parts.len());
    for (layer, own) in cell.layers().iter().zip(&parts) {
        let input = states.last().unwrap_or(x).clone();
        states.push(dense_cfc(graph, layer, &input, own, elapsed)?);
    }
    match states.as_slice() {
        [only] => Ok(only.clone()),
        all => Ok(graph.concat(&all.iter().collect::<Vec<_>>())),
    }
}

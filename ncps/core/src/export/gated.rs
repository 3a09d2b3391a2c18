//! LSTM and GRU cells as operations.

use super::builder::{Builder, StateValues, Value};
use super::graph::Op;
use super::linear::{Weight, linear};
use crate::cell::{FORGET_GATE_BIAS, GruCell, LstmCell};
use crate::error::Result;
use crate::rnn::host;

/// Writes the state after the memory of a layer that has one, before its cell.
pub(crate) fn remembered(
    graph: &mut Builder,
    memory: Option<&LstmCell>,
    x: &Value,
    state: &StateValues,
) -> Result<StateValues> {
    match (memory, &state.memory) {
        (Some(cell), Some(memory)) => lstm(graph, cell, x, &state.hidden, memory),
        _ => Ok(state.clone()),
    }
}

fn lstm(
    graph: &mut Builder,
    cell: &LstmCell,
    x: &Value,
    hidden: &Value,
    memory: &Value,
) -> Result<StateValues> {
    let units = cell.units();
    let mut bias = match &cell.input_map.bias.value {
        Some(bias) => host(bias)?,
        None => vec![0.0; 4 * units],
    };
    bias[2 * units..3 * units]
        .iter_mut()
        .for_each(|bias| *bias += FORGET_GATE_BIAS);
    let values = host(&cell.input_map.weight)?;
    let of_input = Weight {
        rows: 4 * units,
        columns: values.len() / (4 * units),
        values,
    };
    let z = of_input.apply(graph, x, Some(&bias));
    let recurrent = linear(graph, &cell.recurrent_map, hidden)?;
    let z = graph.add(&z, &recurrent);
    let parts = graph.split(&z, &[units, 3 * units]);
    let candidate = graph.unary(Op::Tanh, &parts[0]);
    let gates = graph.unary(Op::Sigmoid, &parts[1]);
    let gates = graph.split(&gates, &[units; 3]);
    let added = graph.mul(&candidate, &gates[0]);
    let kept = graph.mul(memory, &gates[1]);
    let memory = graph.add(&kept, &added);
    let open = graph.unary(Op::Tanh, &memory);
    Ok(StateValues {
        hidden: graph.mul(&open, &gates[2]),
        memory: Some(memory),
    })
}

/// Writes the hidden state after one step of a GRU.
pub(crate) fn gru(graph: &mut Builder, cell: &GruCell, x: &Value, hidden: &Value) -> Result<Value> {
    let units = cell.units();
    let of_input = linear(graph, &cell.input_map, x)?;
    let of_hidden = linear(graph, &cell.recurrent_map, hidden)?;
    let of_input = graph.split(&of_input, &[2 * units, units]);
    let of_hidden = graph.split(&of_hidden, &[2 * units, units]);
    let gates = graph.add(&of_input[0], &of_hidden[0]);
    let gates = graph.unary(Op::Sigmoid, &gates);
    let gates = graph.split(&gates, &[units, units]);
    let recalled = graph.mul(&gates[0], &of_hidden[1]);
    let new = graph.add(&of_input[1], &recalled);
    let new = graph.unary(Op::Tanh, &new);
    let way = graph.sub(hidden, &new);
    let moved = graph.mul(&gates[1], &way);
    Ok(graph.add(&new, &moved))
}

//! All steps of sequences: the graph of one step, run over time.

use ncps_core::export::{Builder, Dim, Graph, Op, Value};

use super::Source;
use super::step::{self, Batch, Place};
use crate::error::Result;

/// The graph over sequences. Inputs: x [B, T, F], ts [B, T] (if the network knows time), the parts of the state [B, U]; outputs: y
/// [B, T, O] (or [B, O] where only the last step counts), the parts of the state after the last step.
pub(super) fn graph(source: &Source<'_>) -> Result<Graph> {
    let place = Place {
        prefix: "step.",
        batch: Batch::Any,
    };
    let data = &source.description.data;
    let body = step::graph(source, &place)?;
    let knows_time = body.inputs.iter().any(|port| port.name == "step.ts");
    let parts = step::state_parts(source);
    let sized = |sizes: &[usize]| -> Vec<Dim> {
        let names = ["B", "T"].map(|name| Dim::Name(name.to_owned()));
        let sizes = sizes.iter().map(|size| Dim::Size(*size));
        names.into_iter().chain(sizes).collect()
    };

    let mut graph = Builder::new("");
    let x = graph.input(
        "x",
        sized(&[source.network.inputs()]),
        &format!("for each step the {}", step::meaning_of_x(data)),
    );
    let time = graph.input("ts", sized(&[]), &step::meaning_of_time(data));
    let states: Vec<Value> = parts
        .iter()
        .map(|part| {
            let meaning = part.meaning("before the first step; zeros at the beginning of a series");
            graph.input(&part.name, place.shape(part.width), &meaning)
        })
        .collect();
    let order = vec![1, 0, 2];
    let mut sequences = vec![graph.unary(Op::Transpose { order }, &x)];
    if knows_time {
        let order = vec![1, 0];
        let time = graph.unary(Op::Transpose { order }, &time);
        sequences.push(graph.unary(Op::Unsqueeze { axis: 2 }, &time));
    }
    let results = graph.scan(body, &states, &sequences);
    let (after, y) = results.split_at(parts.len());
    let width = step::outputs(source);
    let meaning = step::meaning_of_y(data);
    let Some(y) = y.first() else {
        return Ok(graph.finish());
    };
    if data.each_step {
        let order = vec![1, 0, 2];
        let y = graph.unary(Op::Transpose { order }, y);
        graph.output(
            &y,
            "y",
            sized(&[width]),
            &format!("for each step the {meaning}"),
        );
    } else {
        let last = Op::Slice {
            axis: 0,
            start: -1,
            end: i64::MAX,
        };
        let last = graph.unary(last, y);
        let y = graph.unary(Op::Squeeze { axis: 0 }, &last);
        graph.output(
            &y,
            "y",
            place.shape(width),
            &format!("after the last step the {meaning}"),
        );
    }
    for (part, value) in parts.iter().zip(after) {
        let meaning = part.meaning("after the last step");
        graph.output(value, &part.next_name(), place.shape(part.width), &meaning);
    }
    Ok(graph.finish())
}

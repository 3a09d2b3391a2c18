//! One step: raw observations in, the network, predictions in the data's own units out.

use ncps_core::export::{Builder, Dim, Element, Graph, Op, StateValues, Value};
use ncps_core::rnn::SequenceLayer;
use ncps_datasets::{DataSchema, Span, Task, TimeUnit};

use super::Source;
use crate::error::Result;

/// Where a step's graph stands.
pub(super) struct Place {
    /// With what the names of its values begin.
    pub(super) prefix: &'static str,
    pub(super) batch: Batch,
}

/// How many samples a step takes.
#[derive(Clone, Copy)]
pub(super) enum Batch {
    One,
    Any,
}

impl Place {
    /// In a file of its own.
    pub(super) const ALONE: Self = Self {
        prefix: "",
        batch: Batch::One,
    };

    /// The size of a value of `width` features.
    pub(super) fn shape(&self, width: usize) -> Vec<Dim> {
        let batch = match self.batch {
            Batch::One => Dim::Size(1),
            Batch::Any => Dim::Name("B".to_owned()),
        };
        vec![batch, Dim::Size(width)]
    }
}

/// A part of the state of a network.
pub(super) struct StatePart {
    /// Its name where it enters.
    pub(super) name: String,
    pub(super) width: usize,
    pub(super) is_memory: bool,
}

impl StatePart {
    /// Its name where it leaves.
    pub(super) fn next_name(&self) -> String {
        format!("{}_next", self.name)
    }

    pub(super) fn meaning(&self, when: &str) -> String {
        let what = if self.is_memory {
            "memory"
        } else {
            "hidden state"
        };
        format!("{what} {when}")
    }
}

/// The parts of a network's state, layer by layer: `hidden`, `memory`, with the layer's number where there are several.
pub(super) fn state_parts(source: &Source<'_>) -> Vec<StatePart> {
    let layers = source.network.layers();
    let count = layers.len();
    let part = |index: usize, layer: &dyn SequenceLayer, is_memory: bool| {
        let name = if is_memory { "memory" } else { "hidden" };
        let number = if count > 1 {
            format!("_{index}")
        } else {
            String::new()
        };
        StatePart {
            name: format!("{name}{number}"),
            width: layer.state_units(),
            is_memory,
        }
    };
    let parts = layers.iter().enumerate().flat_map(|(index, layer)| {
        let memory = layer.has_memory().then(|| part(index, *layer, true));
        [part(index, *layer, false)].into_iter().chain(memory)
    });
    parts.collect()
}

/// The graph of one step. Inputs: x, ts (if the network knows time), the parts of the state; outputs: y, the parts of the state after it;
/// of a step within a sequence the states come first.
pub(super) fn graph(source: &Source<'_>, place: &Place) -> Result<Graph> {
    let data = &source.description.data;
    let mut graph = Builder::new(place.prefix);
    let name = |name: &str| format!("{}{name}", place.prefix);
    let parts = state_parts(source);
    let before: Vec<Value> = parts
        .iter()
        .map(|part| {
            let meaning = part.meaning("before the step; zeros at the beginning of a series");
            graph.input(&name(&part.name), place.shape(part.width), &meaning)
        })
        .collect();
    let x = graph.input(
        &name("x"),
        place.shape(source.network.inputs()),
        &meaning_of_x(data),
    );
    let elapsed = graph.input(&name("ts"), place.shape(1), &meaning_of_time(data));

    let x = scaled(&mut graph, data, &x);
    let elapsed = match data.time.as_ref().map(|time| time.scale as f32) {
        Some(scale) if scale.to_bits() != 1.0_f32.to_bits() => {
            let scale = graph.number(scale);
            graph.div(&elapsed, &scale)
        }
        _ => elapsed,
    };
    let is_half = source.element == Element::F16;
    let enter = |graph: &mut Builder, value: &Value| match is_half {
        true => graph.cast(value, Element::F16),
        false => value.clone(),
    };
    let leave = |graph: &mut Builder, value: &Value| match is_half {
        true => graph.cast(value, Element::F32),
        false => value.clone(),
    };
    let x = enter(&mut graph, &x);
    let elapsed = enter(&mut graph, &elapsed);
    let before: Vec<Value> = before
        .iter()
        .map(|value| enter(&mut graph, value))
        .collect();
    graph.compute_in(source.element);
    let states = layer_states(source, before);
    let (y, after) = source
        .network
        .export_step(&mut graph, &x, &elapsed, &states)?;
    graph.compute_in(Element::F32);
    let y = leave(&mut graph, &y);
    let y = finished(&mut graph, data, &y, source.network.outputs());
    let width = outputs(source);
    let after: Vec<Value> = after
        .into_iter()
        .flat_map(|state| [Some(state.hidden), state.memory])
        .flatten()
        .map(|value| leave(&mut graph, &value))
        .collect();
    for (part, value) in parts.iter().zip(&after) {
        let meaning = part.meaning("after the step");
        graph.output(
            value,
            &name(&part.next_name()),
            place.shape(part.width),
            &meaning,
        );
    }
    graph.output(&y, &name("y"), place.shape(width), &meaning_of_y(data));
    let mut graph = graph.finish();
    // A scan wants the states first, a person what they are there for.
    if let Batch::One = place.batch {
        graph.inputs.rotate_left(parts.len());
        graph.outputs.rotate_left(parts.len());
    }
    Ok(graph)
}

fn layer_states(source: &Source<'_>, values: Vec<Value>) -> Vec<StateValues> {
    let mut values = values.into_iter();
    let layers = source.network.layers();
    let states = layers.iter().filter_map(|layer| {
        let hidden = values.next()?;
        let memory = layer.has_memory().then(|| values.next()).flatten();
        Some(StateValues { hidden, memory })
    });
    states.collect()
}

/// Values of a prediction: one a target, or one probability a class.
pub(super) fn outputs(source: &Source<'_>) -> usize {
    match &source.description.data.task {
        Task::Classification { .. } if source.network.outputs() == 1 => 2,
        _ => source.network.outputs(),
    }
}

/// `(x - shift) / scale`, with what f32 cannot hold of the shift subtracted after it.
fn scaled(graph: &mut Builder, data: &DataSchema, x: &Value) -> Value {
    let scales = &data.normaliser.features;
    let mut x = x.clone();
    let high: Vec<f32> = scales.iter().map(|scale| scale.shift as f32).collect();
    let low: Vec<f32> = scales
        .iter()
        .map(|scale| (scale.shift - f64::from(scale.shift as f32)) as f32)
        .collect();
    for shift in [&high, &low] {
        // Less than the sixteenth part of f32's spacing at 1 changes nothing that is seen.
        let counts = |(shift, scale): (&f32, f64)| f64::from(shift.abs()) > 4e-9 * scale;
        if shift.iter().zip(scales.iter().map(|s| s.scale)).any(counts) {
            let shift = graph.constant("shift", &[shift.len()], shift);
            x = graph.sub(&x, &shift);
        }
    }
    let scale: Vec<f32> = scales.iter().map(|scale| scale.scale as f32).collect();
    if scale
        .iter()
        .any(|scale| scale.to_bits() != 1.0_f32.to_bits())
    {
        let scale = graph.constant("scale", &[scale.len()], &scale);
        x = graph.div(&x, &scale);
    }
    x
}

/// Network outputs in the targets' units, or as probabilities.
fn finished(graph: &mut Builder, data: &DataSchema, y: &Value, width: usize) -> Value {
    if let Task::Classification { .. } = &data.task {
        if width > 1 {
            return graph.unary(Op::Softmax { axis: 1 }, y);
        }
        let yes = graph.unary(Op::Sigmoid, y);
        let one = graph.number(1.0);
        let no = graph.sub(&one, &yes);
        return graph.concat(&[&no, &yes]);
    }
    let scales = &data.normaliser.targets;
    let mut y = y.clone();
    if scales
        .iter()
        .any(|s| (s.scale as f32).to_bits() != 1.0_f32.to_bits())
    {
        let scale: Vec<f32> = scales.iter().map(|scale| scale.scale as f32).collect();
        let scale = graph.constant("scale", &[scale.len()], &scale);
        y = graph.mul(&y, &scale);
    }
    if scales.iter().any(|scale| scale.shift.abs() > 0.0) {
        let shift: Vec<f32> = scales.iter().map(|scale| scale.shift as f32).collect();
        let shift = graph.constant("shift", &[shift.len()], &shift);
        y = graph.add(&y, &shift);
    }
    y
}

pub(super) fn meaning_of_x(data: &DataSchema) -> String {
    let filled = if data.normaliser.fill.is_empty() {
        ""
    } else {
        "; put the metadata's `fill` where one is missing"
    };
    format!(
        "observation in the data's own units: {}{filled}",
        listed(&data.features)
    )
}

pub(super) fn meaning_of_y(data: &DataSchema) -> String {
    match &data.task {
        Task::Regression => format!(
            "prediction in the data's own units: {}",
            listed(&data.targets)
        ),
        Task::Classification { classes } => {
            format!("probability of each class: {}", listed(classes))
        }
    }
}

pub(super) fn meaning_of_time(data: &DataSchema) -> String {
    let Some(time) = &data.time else {
        return "elapsed time in steps: 1, since the training data had no time".to_owned();
    };
    let edge = (f64::from(time.edge) * time.scale) as f32;
    let unit = unit(time.unit);
    match time.span {
        Span::SincePrevious => {
            format!("time since the step before in {unit}; {edge} at the first step of a series")
        }
        Span::UntilNext => format!(
            "time until the step that is predicted in {unit}; {edge} where that is not known"
        ),
    }
}

pub(super) fn unit(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Millisecond => "milliseconds",
        TimeUnit::Second => "seconds",
        TimeUnit::Minute => "minutes",
        TimeUnit::Hour => "hours",
        TimeUnit::Day => "days",
    }
}

/// Names in their order; all of many stand in the metadata.
fn listed(names: &[String]) -> String {
    const SHOWN: usize = 8;
    if names.len() <= SHOWN {
        return names.join(", ");
    }
    let rest = names.len() - SHOWN;
    format!("{} and {rest} more", names[..SHOWN].join(", "))
}

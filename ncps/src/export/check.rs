//! What was written, beside MLX.

use mlx_rs::Array;
use ncps_core::export::{Graph, Tensor, evaluate};
use ncps_core::init::Initializer;
use ncps_core::rnn::{State, Timespans};
use ncps_datasets::Task;
use ncps_models::NetworkState;
use serde_json::{Map, Value, json};

use super::{STEPS, Source, step};
use crate::error::{Error, Result};
use crate::run::host;

/// Draws of the comparison.
const SEED: u64 = 19;

/// How far a file is from MLX.
#[derive(Clone, Debug, PartialEq)]
pub struct Deviation {
    /// Steps that were compared, each from the state that MLX had.
    pub steps: usize,
    /// Largest |difference|: of states as they are, of predictions over the scale of their target.
    pub largest: f64,
    /// The output that it belongs to.
    pub output: String,
    /// What is let pass.
    pub limit: f64,
}

/// Inputs and results of the comparison, by the names of inputs and outputs, for tests elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Values {
    limit: f64,
    /// The sizes by which differences of predictions are divided.
    scales: Vec<f64>,
    step: Vec<Vec<(String, Tensor)>>,
    sequence: Vec<(String, Tensor)>,
}

impl Values {
    pub(super) fn to_json(&self) -> Result<String> {
        let object = |named: &[(String, Tensor)]| {
            let entry = |(name, tensor): &(String, Tensor)| {
                let value = json!({ "shape": tensor.shape, "values": tensor.values });
                (name.clone(), value)
            };
            Value::Object(named.iter().map(entry).collect::<Map<_, _>>())
        };
        let steps: Vec<Value> = self.step.iter().map(|named| object(named)).collect();
        let value = json!({
            "limit": self.limit,
            "scales": self.scales,
            "step": steps,
            "sequence": object(&self.sequence),
        });
        Ok(value.to_string() + "\n")
    }
}

/// Compares the graph of a step with MLX's plain operations, over steps that each begin with MLX's state.
///
/// Free runs would say little: a network with large weights doubles a difference of one rounding within a few steps.
pub(super) fn against_mlx(source: &Source<'_>, graph: &Graph) -> Result<(Deviation, Values)> {
    let mut deviation = Deviation {
        steps: STEPS,
        largest: 0.0,
        output: String::new(),
        limit: source.limit(),
    };
    let mut values = Values {
        limit: source.limit(),
        scales: target_scales(source),
        ..Values::default()
    };
    let mut draw = Initializer::new(SEED);
    let mut state = source.network.zero_state(1);
    for _ in 0..STEPS {
        let observation = observation(source, &mut draw)?;
        let (expected, next) = mlx_step(source, &observation, &state)?;
        let inputs = named(source, &observation, &state)?;
        let found = evaluate(graph, &ordered(graph, &inputs))?;
        for (port, found) in graph.outputs.iter().zip(&found) {
            let expected = expected.iter().find(|(name, _)| *name == port.name);
            let expected = expected.map(|(_, tensor)| tensor.values.as_slice());
            let expected = expected.unwrap_or_default();
            let apart = apart(&port.name, &found.values, expected, &values.scales);
            if apart > deviation.largest || deviation.output.is_empty() {
                deviation.largest = apart;
                deviation.output.clone_from(&port.name);
            }
        }
        let given = inputs.into_iter().chain(expected);
        values.step.push(given.collect());
        state = next;
    }
    if deviation.largest <= deviation.limit {
        return Ok((deviation, values));
    }
    Err(Error::ExportDiffers {
        output: deviation.output,
        difference: deviation.largest,
        limit: deviation.limit,
    })
}

/// Compares the graph over sequences with that of a step, run step by step: equal to the bit.
pub(super) fn sequence(step: &Graph, sequence: &Graph, mut values: Values) -> Result<Values> {
    let input = |name: &str| {
        let mut steps = values.step.iter().take(STEPS / 4);
        let first = steps.clone().next()?;
        let (_, first) = first.iter().find(|(other, _)| other == name)?;
        let all: Vec<f32> = steps
            .by_ref()
            .flat_map(|named| named.iter().find(|(other, _)| other == name))
            .flat_map(|(_, tensor)| tensor.values.iter().copied())
            .collect();
        let count = all.len() / first.values.len().max(1);
        Some((first.clone(), count, all))
    };
    let mut given = Vec::new();
    for port in &sequence.inputs {
        let Some((first, count, all)) = input(&port.name) else {
            continue;
        };
        let tensor = match port.name.as_str() {
            "x" => Tensor::new(&[1, count, first.values.len()], all),
            "ts" => Tensor::new(&[1, count], all),
            _ => first,
        };
        given.push((port.name.clone(), tensor));
    }
    let found = evaluate(sequence, &ordered(sequence, &given))?;

    let mut carried: Vec<(String, Tensor)> = given.clone();
    let mut predictions = Vec::new();
    for named in values.step.iter().take(STEPS / 4) {
        let is_given = |name: &str| name == "x" || name == "ts";
        carried.retain(|(name, _)| !is_given(name));
        carried.extend(named.iter().filter(|(name, _)| is_given(name)).cloned());
        let outputs = evaluate(step, &ordered(step, &carried))?;
        for (port, tensor) in step.outputs.iter().zip(outputs) {
            match port.name.strip_suffix("_next") {
                None => predictions.push(tensor.values),
                Some(state) => {
                    carried.retain(|(name, _)| name != state);
                    carried.push((state.to_owned(), tensor));
                }
            }
        }
    }
    for (port, tensor) in sequence.outputs.iter().zip(&found) {
        let expected = match port.name.strip_suffix("_next") {
            Some(state) => {
                let state = carried.iter().find(|(name, _)| name == state);
                state
                    .map(|(_, tensor)| tensor.values.clone())
                    .unwrap_or_default()
            }
            None if tensor.shape.len() == 3 => predictions.concat(),
            None => predictions.last().cloned().unwrap_or_default(),
        };
        let is_equal = expected.len() == tensor.values.len()
            && expected
                .iter()
                .zip(&tensor.values)
                .all(|(a, b)| a.to_bits() == b.to_bits());
        if !is_equal {
            return Err(Error::ExportDiffers {
                output: port.name.clone(),
                difference: apart(&port.name, &tensor.values, &expected, &values.scales),
                limit: 0.0,
            });
        }
    }
    let names = sequence.outputs.iter().map(|port| port.name.clone());
    given.extend(names.zip(found));
    values.sequence = given;
    Ok(values)
}

/// A step as the data have it: features and elapsed time in their own units.
struct Observation {
    x: Vec<f32>,
    elapsed: f32,
}

/// Draws a step that the training data could have had.
fn observation(source: &Source<'_>, draw: &mut Initializer) -> Result<Observation> {
    let data = &source.description.data;
    let mut uniform = |low, high, count: usize| host(&draw.uniform(low, high, &[count]));
    let units = uniform(-1.5, 1.5, source.network.inputs())?;
    let span = uniform(0.5, 1.5, 1)?[0];
    let scales = &data.normaliser.features;
    let raw = units.iter().enumerate().map(|(index, unit)| {
        let scale = scales.get(index);
        scale.map_or(*unit, |scale| scale.restore(f64::from(*unit)) as f32)
    });
    let x = raw.collect();
    let elapsed = match &data.time {
        Some(time) => (f64::from(span * time.edge) * time.scale) as f32,
        None => span,
    };
    Ok(Observation { x, elapsed })
}

/// What MLX gives, by the names of outputs, and its state.
fn mlx_step(
    source: &Source<'_>,
    observation: &Observation,
    state: &NetworkState,
) -> Result<(Vec<(String, Tensor)>, NetworkState)> {
    let data = &source.description.data;
    let raw: Vec<f64> = observation.x.iter().map(|x| f64::from(*x)).collect();
    let x = match data.normaliser.features.is_empty() {
        true => observation.x.clone(),
        false => data.row(&raw),
    };
    let scale = data.time.as_ref().map_or(1.0, |time| time.scale);
    let elapsed = (f64::from(observation.elapsed) / scale) as f32;
    let x = Array::from_slice(&x, &[1, x.len() as i32]);
    let (y, next) = source
        .network
        .step(&x, &Timespans::Scalar(elapsed), state)?;
    let y = source.description.finish(&host(&y)?);
    let mut named = state_tensors(source, &next, step::StatePart::next_name)?;
    named.push(("y".to_owned(), Tensor::new(&[1, y.len()], y)));
    Ok((named, next))
}

/// A step's inputs by their names.
fn named(
    source: &Source<'_>,
    observation: &Observation,
    state: &NetworkState,
) -> Result<Vec<(String, Tensor)>> {
    let mut named = state_tensors(source, state, |part| part.name.clone())?;
    let x = Tensor::new(&[1, observation.x.len()], observation.x.clone());
    named.push(("x".to_owned(), x));
    let elapsed = Tensor::new(&[1, 1], vec![observation.elapsed]);
    named.push(("ts".to_owned(), elapsed));
    Ok(named)
}

fn state_tensors(
    source: &Source<'_>,
    state: &NetworkState,
    name: impl Fn(&step::StatePart) -> String,
) -> Result<Vec<(String, Tensor)>> {
    let arrays = |state: &State| [Some(state.hidden.clone()), state.memory.clone()];
    let arrays = state.layers.iter().flat_map(arrays).flatten();
    let parts = step::state_parts(source);
    let tensors = parts.iter().zip(arrays).map(|(part, array)| {
        let tensor = Tensor::new(&[1, part.width], host(&array)?);
        Ok((name(part), tensor))
    });
    tensors.collect()
}

/// The values that a graph takes, in its order.
fn ordered(graph: &Graph, named: &[(String, Tensor)]) -> Vec<Tensor> {
    let ports = graph.inputs.iter();
    ports
        .filter_map(|port| named.iter().find(|(name, _)| *name == port.name))
        .map(|(_, tensor)| tensor.clone())
        .collect()
}

/// For each value of a prediction the size by which differences are divided: f32 cannot hold a value of 1000 to 1e-5.
fn target_scales(source: &Source<'_>) -> Vec<f64> {
    let data = &source.description.data;
    match &data.task {
        Task::Classification { .. } => vec![1.0; step::outputs(source)],
        Task::Regression => {
            let scales = data.normaliser.targets.iter();
            scales
                .map(|scale| scale.scale.abs() + scale.shift.abs())
                .collect()
        }
    }
}

/// The largest |difference|; infinite where a value is missing or not a number.
fn apart(name: &str, found: &[f32], expected: &[f32], scales: &[f64]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    let pairs = found.iter().zip(expected).enumerate();
    let each = pairs.map(|(index, (a, b))| {
        let difference = f64::from((a - b).abs());
        let scale = match name {
            "y" => scales
                .get(index % scales.len().max(1))
                .copied()
                .unwrap_or(1.0),
            _ => 1.0,
        };
        if difference.is_nan() {
            f64::INFINITY
        } else {
            difference / scale
        }
    });
    each.fold(0.0, f64::max)
}

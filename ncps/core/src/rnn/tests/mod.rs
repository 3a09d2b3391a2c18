//! Tests of the sequence layers, and what they share.

mod border;
mod by_hand;
mod equivalence;
mod gradients;
mod shapes;

use mlx_rs::Array;
use mlx_rs::module::ModuleParameters;

use super::{
    CfcConfig, GruConfig, LstmConfig, LtcConfig, SequenceInput, SequenceLayer, SequenceOutput,
    State,
};
use crate::cell::Mode;
use crate::init::Initializer;
use crate::wiring::{AutoNcp, FullyConnected};

/// Input features of [`layers`].
const INPUTS: usize = 3;

/// One layer of each kind, with 3 inputs and few neurons.
fn layers(return_sequences: bool) -> Vec<(&'static str, Box<dyn SequenceLayer>)> {
    let cfc = |units: super::Units, mode, mixed_memory| {
        let mut config = CfcConfig::new(INPUTS, units);
        (config.mode, config.mixed_memory) = (mode, mixed_memory);
        config.return_sequences = return_sequences;
        config
    };
    let mut dense = cfc(4.into(), Mode::Default, false);
    (dense.backbone_units, dense.backbone_layers) = (5, 2);
    dense.projection = Some(2);
    let mut mixed = cfc(4.into(), Mode::NoGate, true);
    mixed.backbone_layers = 0;
    let wired = cfc(AutoNcp::new(10, 2).into(), Mode::Default, false);
    let wired_mixed = cfc(AutoNcp::new(10, 2).into(), Mode::Pure, true);
    let ltc = |units: super::Units, mixed_memory| {
        let mut config = LtcConfig::new(INPUTS, units);
        config.mixed_memory = mixed_memory;
        config.return_sequences = return_sequences;
        Box::new(config.build(5).unwrap()) as Box<dyn SequenceLayer>
    };
    let mut lstm = LstmConfig::new(INPUTS, 4);
    let mut gru = GruConfig::new(INPUTS, 4);
    (lstm.return_sequences, gru.return_sequences) = (return_sequences, return_sequences);
    vec![
        ("cfc", Box::new(dense.build(1).unwrap())),
        ("cfc mixed", Box::new(mixed.build(2).unwrap())),
        ("cfc wired", Box::new(wired.build(3).unwrap())),
        ("cfc wired mixed", Box::new(wired_mixed.build(4).unwrap())),
        ("ltc sparse", ltc(AutoNcp::new(10, 2).into(), false)),
        ("ltc dense", ltc(FullyConnected::new(4, 2).into(), false)),
        ("ltc mixed", ltc(AutoNcp::new(10, 2).into(), true)),
        ("lstm", Box::new(lstm.build(6).unwrap())),
        ("gru", Box::new(gru.build(7).unwrap())),
    ]
}

fn uniform(seed: u64, low: f32, high: f32, shape: &[usize]) -> Array {
    Initializer::new(seed).uniform(low, high, shape)
}

/// Features [B, T, 3].
fn features(batch: usize, time: usize) -> Array {
    uniform(100, -1.0, 1.0, &[batch, time, INPUTS])
}

/// Time spans [B, T] between 0.1 and 2.
fn spans(batch: usize, time: usize) -> Array {
    uniform(101, 0.1, 2.0, &[batch, time])
}

fn random_state(layer: &dyn SequenceLayer, batch: usize) -> State {
    let shape = [batch, layer.state_units()];
    State {
        hidden: uniform(102, -0.5, 0.5, &shape),
        memory: layer.has_memory().then(|| uniform(103, -0.5, 0.5, &shape)),
    }
}

fn run(layer: &dyn SequenceLayer, input: &SequenceInput<'_>) -> SequenceOutput {
    layer.sequence(input).unwrap()
}

/// Rows `range` of the first axis.
fn rows(x: &Array, range: std::ops::Range<i32>) -> Array {
    let indices: Vec<i32> = range.collect();
    let count = i32::try_from(indices.len()).unwrap();
    x.take_axis(Array::from_slice(&indices, &[count]), 0)
        .unwrap()
}

/// Steps `range` of the second axis.
fn steps(x: &Array, range: std::ops::Range<i32>) -> Array {
    let swapped = x.swap_axes(0, 1).unwrap();
    rows(&swapped, range).swap_axes(0, 1).unwrap()
}

fn values(x: &Array) -> Vec<f32> {
    let x = x.as_dtype(mlx_rs::Dtype::Float32).unwrap();
    x.contiguous().unwrap().as_slice::<f32>().to_vec()
}

#[track_caller]
fn assert_close(name: &str, actual: &Array, expected: &Array, tolerance: f32) {
    assert_eq!(actual.shape(), expected.shape(), "{name}: shape");
    let (a, b) = (values(actual), values(expected));
    for (index, (a, b)) in a.iter().zip(&b).enumerate() {
        let is_close = (a - b).abs() <= tolerance;
        assert!(
            is_close,
            "{name}: {a} and {b} at {index} of {:?}",
            actual.shape()
        );
    }
}

#[track_caller]
fn assert_states_close(name: &str, actual: &State, expected: &State, tolerance: f32) {
    assert_close(name, &actual.hidden, &expected.hidden, tolerance);
    assert_eq!(actual.memory.is_some(), expected.memory.is_some(), "{name}");
    if let (Some(a), Some(b)) = (&actual.memory, &expected.memory) {
        assert_close(name, a, b, tolerance);
    }
}

fn set(layer: &mut dyn ModuleParameters, name: &str, numbers: &[f32]) {
    let mut parameters = layer.parameters_mut().flatten();
    let parameter = parameters
        .get_mut(name)
        .unwrap_or_else(|| panic!("no parameter {name}"));
    let shape = parameter.shape().to_vec();
    **parameter = Array::from_slice(numbers, &shape);
}

//! One neuron with round numbers, against values computed from the published equations.

use mlx_rs::Array;
use mlx_rs::module::ModuleParameters;

use super::{assert_close, set};
use crate::cell::{Mode, ParamConstraints};
use crate::rnn::{CfcConfig, GruConfig, LstmConfig, LtcConfig, SequenceLayer, State, Timespans};

const X: f32 = 0.8;
const H: f32 = 0.25;

fn scalar(value: f32) -> Array {
    Array::from_slice(&[value], &[1, 1])
}

/// Output of one step from hidden state 0.25 on input 0.8.
fn one_step(layer: &dyn SequenceLayer, span: Timespans, memory: Option<f32>) -> (Array, State) {
    let state = State {
        hidden: scalar(H),
        memory: memory.map(scalar),
    };
    layer.step(&scalar(X), &span, &state).unwrap()
}

fn cfc(mode: Mode) -> impl SequenceLayer {
    let mut config = CfcConfig::new(1, 1);
    (config.mode, config.backbone_layers) = (mode, 0);
    let mut layer = config.build(0).unwrap();
    set(&mut layer, "rnn_cell.ff1.weight", &[0.5, -0.3]);
    set(&mut layer, "rnn_cell.ff1.bias", &[0.1]);
    if mode == Mode::Pure {
        set(&mut layer, "rnn_cell.w_tau", &[-0.7]);
        set(&mut layer, "rnn_cell.A", &[1.3]);
        return layer;
    }
    set(&mut layer, "rnn_cell.ff2.weight", &[-0.4, 0.2]);
    set(&mut layer, "rnn_cell.ff2.bias", &[0.05]);
    set(&mut layer, "rnn_cell.time_a.weight", &[0.3, 0.1]);
    set(&mut layer, "rnn_cell.time_a.bias", &[-0.2]);
    set(&mut layer, "rnn_cell.time_b.weight", &[0.2, -0.5]);
    set(&mut layer, "rnn_cell.time_b.bias", &[0.4]);
    layer
}

#[test]
fn cfc_in_each_mode() {
    let half = || Timespans::Scalar(0.5);
    let cases = [
        (Mode::Default, half(), 0.021_406_644),
        (Mode::Default, Timespans::Array(scalar(0.5)), 0.021_406_644),
        (Mode::Default, Timespans::Unit, 0.016_670_818),
        (Mode::NoGate, half(), 0.268_020_74),
        (Mode::Pure, half(), 0.985_195),
        (Mode::Pure, Timespans::Array(scalar(0.5)), 0.985_195),
    ];
    for (mode, span, expected) in cases {
        let name = format!("{mode:?} {span:?}");
        let (output, state) = one_step(&cfc(mode), span, None);
        assert_close(&name, &output, &scalar(expected), 1e-6);
        assert_close(&name, &state.hidden, &scalar(expected), 1e-6);
    }
}

fn ltc(constraints: ParamConstraints) -> impl SequenceLayer {
    let mut config = LtcConfig::new(1, 1);
    (config.unfolds, config.constraints) = (2, constraints);
    let mut layer = config.build(0).unwrap();
    let numbers = [
        ("gleak", 0.5),
        ("vleak", -0.1),
        ("cm", 0.45),
        ("w", 0.6),
        ("sigma", 4.0),
        ("mu", 0.4),
        ("erev", -1.0),
        ("sensory_w", 0.7),
        ("sensory_sigma", 3.5),
        ("sensory_mu", 0.5),
        ("sensory_erev", 1.0),
        ("input_w", 1.1),
        ("input_b", 0.05),
        ("output_w", 0.9),
        ("output_b", -0.02),
    ];
    for (name, value) in numbers {
        set(&mut layer, &format!("rnn_cell.{name}"), &[value]);
    }
    layer
}

#[test]
fn ltc_under_both_constraints() {
    let cases = [
        (ParamConstraints::Implicit, 0.223_188_2, 0.180_869_38),
        (ParamConstraints::Explicit, 0.245_451_97, 0.200_906_77),
    ];
    for (constraints, hidden, expected) in cases {
        for span in [Timespans::Scalar(0.4), Timespans::Array(scalar(0.4))] {
            let name = format!("{constraints:?} {span:?}");
            let (output, state) = one_step(&ltc(constraints), span, None);
            assert_close(&name, &state.hidden, &scalar(hidden), 1e-6);
            assert_close(&name, &output, &scalar(expected), 1e-6);
        }
    }
}

#[test]
fn lstm_and_gru() {
    let mut lstm = LstmConfig::new(1, 1).build(0).unwrap();
    set(&mut lstm, "lstm.input_map.weight", &[0.5, -0.4, 0.3, 0.2]);
    set(&mut lstm, "lstm.input_map.bias", &[0.05, -0.1, 0.15, 0.25]);
    set(
        &mut lstm,
        "lstm.recurrent_map.weight",
        &[0.1, 0.6, -0.2, 0.7],
    );
    let (output, state) = one_step(&lstm, Timespans::Unit, Some(-0.3));
    assert_close("lstm", &output, &scalar(-0.029_714_91), 1e-6);
    assert_close(
        "memory",
        &state.memory.unwrap(),
        &scalar(-0.046_302_32),
        1e-6,
    );

    let mut gru = GruConfig::new(1, 1).build(0).unwrap();
    set(&mut gru, "gru.input_map.weight", &[0.5, -0.4, 0.3]);
    set(&mut gru, "gru.input_map.bias", &[0.05, -0.1, 0.15]);
    set(&mut gru, "gru.recurrent_map.weight", &[0.1, 0.6, -0.2]);
    set(&mut gru, "gru.recurrent_map.bias", &[0.02, 0.03, -0.04]);
    let (output, _) = one_step(&gru, Timespans::Unit, None);
    assert_close("gru", &output, &scalar(0.290_403_53), 1e-6);
}

#[test]
fn initial_values_lie_in_the_published_ranges() {
    let layer = LtcConfig::new(4, 6).build(3).unwrap();
    let ranges = [
        ("gleak", 0.001, 1.0),
        ("vleak", -0.2, 0.2),
        ("cm", 0.4, 0.6),
        ("w", 0.001, 1.0),
        ("sigma", 3.0, 8.0),
        ("mu", 0.3, 0.8),
        ("erev", -1.0, 1.0),
        ("sensory_sigma", 3.0, 8.0),
        ("input_w", 1.0, 1.0),
        ("output_b", 0.0, 0.0),
    ];
    let parameters = layer.parameters().flatten();
    for (name, low, high) in ranges {
        let values = super::values(parameters[format!("rnn_cell.{name}").as_str()]);
        let inside = values.iter().all(|v| (low..=high).contains(v));
        assert!(inside, "{name}: {values:?}");
    }
}

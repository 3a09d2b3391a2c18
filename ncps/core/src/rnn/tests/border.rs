//! What the layers refuse, and how they say it.

use mlx_rs::{Array, Dtype, ops};

use super::{features, layers};
use crate::cell::{Activation, Mode};
use crate::error::Error;
use crate::rnn::{CfcConfig, LtcConfig, SequenceInput, SequenceLayer, State, Timespans};
use crate::wiring::AutoNcp;

fn zeros(shape: &[i32]) -> Array {
    ops::zeros::<f32>(shape).unwrap()
}

#[track_caller]
fn refused(result: crate::Result<impl std::fmt::Debug>, parts: &[&str]) {
    let message = result.unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn wrong_shapes_name_the_argument_its_shape_and_the_expected_one() {
    let x = features(2, 5);
    let bad = |shape: &[i32]| zeros(shape);
    for (_, layer) in layers(true) {
        let layer = layer.as_ref();
        let sequence = |x: &Array| layer.sequence(&SequenceInput::new(x));
        refused(
            sequence(&bad(&[2, 5, 4])),
            &["`x`", "[2, 5, 4]", "[B, T, 3]"],
        );
        refused(sequence(&bad(&[3])), &["`x`", "[3]", "[T, 3]"]);
        refused(sequence(&bad(&[2, 0, 3])), &["`x`", "[2, 0, 3]", "T >= 1"]);
        refused(sequence(&bad(&[0, 5, 3])), &["`x`", "[0, 5, 3]", "B >= 1"]);

        let timed = |spans: Array| layer.sequence(&SequenceInput::new(&x).timespans(spans));
        for shape in [&[4][..], &[2], &[2, 4], &[3, 5], &[2, 5, 2], &[5, 1]] {
            let found = format!("{shape:?}");
            refused(timed(bad(shape)), &["`timespans`", &found, "[2, 5, 1]"]);
        }
        let masked = |mask: Array| layer.sequence(&SequenceInput::new(&x).mask(&mask));
        for shape in [&[5][..], &[5, 2], &[2, 5, 1]] {
            let found = format!("{shape:?}");
            refused(masked(bad(shape)), &["`mask`", &found, "[2, 5]"]);
        }
        let mut state = State::zeros(3, layer.state_units(), layer.has_memory());
        let from = |state: &State| layer.sequence(&SequenceInput::new(&x).state(state));
        refused(from(&state), &["`state.", "[3, ", "expected [2, "]);
        state = State::zeros(2, layer.state_units(), !layer.has_memory());
        refused(from(&state), &["`state.memory`", "layer has"]);
    }
}

#[test]
fn wrong_numbers_are_refused() {
    let x = features(2, 5);
    let layer = CfcConfig::new(3, 4).build(0).unwrap();
    for span in [-1.0, f32::NAN, f32::INFINITY] {
        let input = SequenceInput::new(&x).timespans(span);
        refused(layer.sequence(&input), &["`timespans`", "at least 0"]);
    }
    let integers = x.as_dtype(Dtype::Int32).unwrap();
    let result = layer.sequence(&SequenceInput::new(&integers));
    refused(result, &["`x`", "Int32", "floating-point"]);
    let state = layer.zero_state(2);
    let result = layer.step(&x, &Timespans::Unit, &state);
    refused(result, &["`x`", "[2, 5, 3]", "[B, 3]"]);
}

#[test]
fn wrong_settings_name_the_key_and_its_limits() {
    let build = |change: fn(&mut CfcConfig)| {
        let mut config = CfcConfig::new(3, 4);
        change(&mut config);
        config.build(0)
    };
    refused(build(|c| c.inputs = 0), &["`inputs` is 0"]);
    refused(build(|c| c.units = 0.into()), &["`units` is 0"]);
    refused(build(|c| c.projection = Some(0)), &["`projection` is 0"]);
    refused(build(|c| c.backbone_units = 0), &["`backbone_units` is 0"]);
    for dropout in [-0.1, 1.0, f32::NAN] {
        let mut config = CfcConfig::new(3, 4);
        config.backbone_dropout = dropout;
        refused(config.build(0), &["`backbone_dropout`", "below 1"]);
    }
    let no_backbone = build(|c| (c.backbone_layers, c.backbone_dropout) = (0, 0.1));
    refused(no_backbone, &["`backbone_dropout`", "no backbone"]);

    let wired = |change: fn(&mut CfcConfig)| {
        let mut config = CfcConfig::new(3, AutoNcp::new(12, 2));
        change(&mut config);
        config.build(0)
    };
    refused(
        wired(|c| c.backbone_units = 64),
        &["`backbone_units` is 64", "wiring"],
    );
    refused(
        wired(|c| c.backbone_layers = 2),
        &["`backbone_layers` is 2", "wiring"],
    );
    refused(
        wired(|c| c.activation = Activation::Relu),
        &["`activation`", "wiring"],
    );
    assert!(wired(|c| c.mode = Mode::Pure).is_ok());

    let ltc = |change: fn(&mut LtcConfig)| {
        let mut config = LtcConfig::new(3, 4);
        change(&mut config);
        config.build(0)
    };
    refused(ltc(|c| c.unfolds = 0), &["`unfolds` is 0"]);
    refused(ltc(|c| c.epsilon = -1.0), &["`epsilon` is -1"]);
    refused(ltc(|c| c.units = 0.into()), &["units"]);
    assert!(matches!(
        ltc(|c| c.inputs = 0),
        Err(Error::Layer { key: "inputs", .. })
    ));
}

#[test]
fn configurations_are_read_with_defaults_and_refuse_unknown_keys() {
    let text = r#"{"inputs": 5, "units": {"kind": "auto_ncp", "units": 32, "outputs": 4}, "mode": "no_gate"}"#;
    let config: CfcConfig = serde_json::from_str(text).unwrap();
    let mut expected = CfcConfig::new(5, AutoNcp::new(32, 4));
    expected.mode = Mode::NoGate;
    assert_eq!(config, expected);
    let written = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<CfcConfig>(&written).unwrap(), config);

    let config: LtcConfig = toml::from_str("inputs = 2\nunits = 8\nunfolds = 4").unwrap();
    assert_eq!(config.unfolds, 4);
    assert!(config.return_sequences);
    let error = toml::from_str::<LtcConfig>("inputs = 2\nunits = 8\nunfold = 4").unwrap_err();
    assert!(error.to_string().contains("unfold"), "{error}");
}

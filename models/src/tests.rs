//! Tests of the networks as a whole.

use mlx_rs::module::ModuleParameters;
use mlx_rs::{Array, Dtype, random};
use ncps_core::init::Initializer;
use ncps_core::rnn::{Implementation, Timespans};
use ncps_core::train::{Batch, Inputs, Model, StepReport, TrainConfig, Trainer};
use ncps_core::wiring::{AutoNcp, FullyConnected};

use super::{
    BidirectionalModel, CfcModel, EncoderConfig, GruModel, Head, LayerConfig, LstmModel, LtcModel,
    ModelConfig, Network, StackedModel,
};

const INPUTS: usize = 3;

fn configs() -> Vec<ModelConfig> {
    let mut stack = StackedModel::new(vec![
        LtcModel::new(AutoNcp::new(10, 4)).into(),
        CfcModel::new(5).into(),
    ]);
    stack.encoder = Some(EncoderConfig::new(6));
    vec![
        CfcModel::new(AutoNcp::new(10, 2)).into(),
        LtcModel::new(FullyConnected::new(5, 2)).into(),
        LstmModel::new(4).into(),
        GruModel::new(4).into(),
        stack.into(),
        BidirectionalModel::new(CfcModel::new(4)).into(),
    ]
}

fn uniform(seed: u64, low: f32, high: f32, shape: &[usize]) -> Array {
    Initializer::new(seed).uniform(low, high, shape)
}

fn batch(batch: usize, time: usize) -> Inputs {
    Inputs {
        x: uniform(1, -1.0, 1.0, &[batch, time, INPUTS]),
        timespans: Some(uniform(2, 0.1, 2.0, &[batch, time])),
        mask: None,
    }
}

fn values(x: &Array) -> Vec<f32> {
    x.contiguous().unwrap().as_slice::<f32>().to_vec()
}

#[track_caller]
fn assert_close(name: &str, actual: &Array, expected: &Array) {
    assert_eq!(actual.shape(), expected.shape(), "{name}");
    for (a, b) in values(actual).iter().zip(values(expected)) {
        assert!((a - b).abs() < 1e-6, "{name}: {a} and {b}");
    }
}

/// Step `t` of [B, T, K].
fn at(x: &Array, t: i32) -> Array {
    x.take_axis(Array::from_int(t), 1).unwrap()
}

#[test]
fn predictions_have_one_row_for_each_step_or_one_for_the_sequence() {
    let inputs = batch(2, 5);
    for config in configs() {
        let mut network = config.build(INPUTS, 2, 1).unwrap();
        let sizes = (network.inputs(), network.outputs());
        assert_eq!(sizes, (INPUTS, 2), "{}", config.kind());
        let predictions = network.forward(&inputs, None).unwrap();
        assert_eq!(predictions.shape(), &[2, 5, 2], "{}", config.kind());
    }
    let mut last = CfcModel::new(4);
    last.return_sequences = false;
    for config in [
        ModelConfig::from(last.clone()),
        BidirectionalModel::new(last.clone()).into(),
        StackedModel::new(vec![CfcModel::new(4).into(), last.into()]).into(),
    ] {
        let mut network = config.build(INPUTS, 2, 1).unwrap();
        let predictions = network.forward(&inputs, None).unwrap();
        assert_eq!(predictions.shape(), &[2, 2], "{}", config.kind());
    }
}

#[test]
fn steps_with_the_state_carried_are_the_sequence() {
    let inputs = batch(2, 4);
    for config in configs() {
        let name = config.kind();
        let mut network = config.build(INPUTS, 2, 1).unwrap();
        let mut state = network.zero_state(2);
        if name == "bidirectional" {
            let x = at(&inputs.x, 0);
            let error = network.step(&x, &Timespans::Unit, &state).unwrap_err();
            assert!(error.to_string().contains("step by step"), "{error}");
            continue;
        }
        let whole = network.forward(&inputs, None).unwrap();
        for t in 0..4 {
            let span = at(inputs.timespans.as_ref().unwrap(), t);
            let x = at(&inputs.x, t);
            let (outputs, next) = network.step(&x, &span.into(), &state).unwrap();
            assert_close(name, &outputs, &at(&whole, t));
            state = next;
        }
        state.layers.push(state.layers[0].clone());
        let x = at(&inputs.x, 0);
        let error = network.step(&x, &Timespans::Unit, &state).unwrap_err();
        assert!(error.to_string().contains("one for each layer"), "{error}");
    }
}

#[test]
fn windows_with_the_state_carried_are_the_sequence() {
    let whole = batch(2, 6);
    let half = |x: &Array, first: i32| {
        let steps = Array::from_slice(&[first, first + 1, first + 2], &[3]);
        x.take_axis(steps, 1).unwrap()
    };
    let halves = |x: &Array| [half(x, 0), half(x, 3)];
    let (x, spans) = (halves(&whole.x), halves(whole.timespans.as_ref().unwrap()));
    let mut mixed = CfcModel::new(AutoNcp::new(10, 2));
    mixed.mixed_memory = true;
    for config in configs().into_iter().chain([mixed.into()]) {
        let mut network = config.build(INPUTS, 2, 1).unwrap();
        let rest = network.rest(2);
        if config.kind() == "bidirectional" {
            assert!(rest.is_empty());
            assert!(network.forward_from(&whole, &rest, None).is_err());
            continue;
        }
        let expected = network.forward(&whole, None).unwrap();
        let mut state = rest;
        let parts = x.iter().zip(&spans).map(|(x, spans)| {
            let inputs = Inputs {
                x: x.clone(),
                timespans: Some(spans.clone()),
                mask: None,
            };
            let (part, next) = network.forward_from(&inputs, &state, None).unwrap();
            state = next;
            part
        });
        let parts: Vec<Array> = parts.collect();
        let found = mlx_rs::ops::concatenate(&parts, 1).unwrap();
        assert_close(config.kind(), &found, &expected);
        assert!(network.forward_from(&whole, &[], None).is_err());
    }
}

#[test]
fn backwards_in_time_is_forwards_on_the_reversed_sequence() {
    // With one layer's weights in both directions, reversing the input swaps the two halves.
    let mut config = BidirectionalModel::new(CfcModel::new(4));
    config.head = Head::None;
    let mut network = config.build(INPUTS, 8, 1).unwrap();
    let forward: Vec<(String, Array)> = network
        .parameters()
        .flatten()
        .into_iter()
        .filter_map(|(name, array)| {
            Some((name.strip_prefix("forward.")?.to_owned(), array.clone()))
        })
        .collect();
    let mut parameters = network.parameters_mut().flatten();
    for (name, array) in forward {
        **parameters
            .get_mut(format!("backward.{name}").as_str())
            .unwrap() = array;
    }
    drop(parameters);
    let inputs = batch(2, 4);
    let order = Array::from_slice(&[3, 2, 1, 0], &[4]);
    let flip = |x: &Array| x.take_axis(&order, 1).unwrap();
    let flipped = Inputs {
        x: flip(&inputs.x),
        timespans: inputs.timespans.as_ref().map(flip),
        mask: None,
    };
    let outputs = network.forward(&inputs, None).unwrap();
    let other = flip(&network.forward(&flipped, None).unwrap());
    let halves = |x: &Array| x.split_at_indices(&[4], -1).unwrap();
    let (outputs, other) = (halves(&outputs), halves(&other));
    assert_close("ahead", &outputs[0], &other[1]);
    assert_close("back", &outputs[1], &other[0]);
}

#[test]
fn padding_changes_no_real_prediction() {
    let mut inputs = batch(2, 5);
    for config in configs() {
        let mut network = config.build(INPUTS, 2, 1).unwrap();
        let mask = [1.0_f32, 1., 1., 1., 1., 1., 1., 1., 0., 0.];
        inputs.mask = Some(Array::from_slice(&mask, &[2, 5]));
        let padded = network.forward(&inputs, None).unwrap();
        let first_steps = |x: &Array| x.split_at_indices(&[3], 1).unwrap().swap_remove(0);
        let short = Inputs {
            x: first_steps(&inputs.x),
            timespans: inputs.timespans.as_ref().map(first_steps),
            mask: None,
        };
        let short = network.forward(&short, None).unwrap();
        let second = |x: &Array| x.take_axis(Array::from_int(1), 0).unwrap();
        let real = second(&first_steps(&padded));
        assert_close(config.kind(), &real, &second(&short));
    }
}

#[test]
fn the_head_stands_where_it_is_needed() {
    let has_head = |config: ModelConfig, outputs| {
        let network = config.build(INPUTS, outputs, 1).unwrap();
        let names = network.parameters().flatten();
        names.keys().any(|name| name.starts_with("head."))
    };
    let ltc = LtcModel::new(AutoNcp::new(10, 2));
    assert!(!has_head(ltc.clone().into(), 2));
    assert!(has_head(ltc.clone().into(), 3));
    assert!(has_head(CfcModel::new(AutoNcp::new(10, 2)).into(), 2));
    let mut bare = CfcModel::new(AutoNcp::new(10, 2));
    bare.head = Head::None;
    assert!(!has_head(bare.clone().into(), 2));
    let error = ModelConfig::from(bare).build(INPUTS, 3, 1).unwrap_err();
    assert!(error.to_string().contains("`head`"), "{error}");
    let error = ModelConfig::from(ltc).build(INPUTS, 0, 1).unwrap_err();
    assert!(error.to_string().contains("`outputs` is 0"), "{error}");
}

#[test]
fn impossible_stacks_are_refused() {
    let refused = |layers: Vec<LayerConfig>, part: &str| {
        let config = ModelConfig::from(StackedModel::new(layers));
        let error = config.build(INPUTS, 2, 1).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refused(vec![], "`layers` is empty");
    let mut last_only = GruModel::new(4);
    last_only.return_sequences = false;
    let layers = vec![last_only.into(), GruModel::new(4).into()];
    refused(layers, "`layers[0].return_sequences`");
    let mut headed = GruModel::new(4);
    headed.head = Head::Linear;
    refused(vec![headed.into()], "`layers[0].head`");
    let mut stack = StackedModel::new(vec![GruModel::new(4).into()]);
    stack.encoder = Some(EncoderConfig::new(0));
    let error = ModelConfig::from(stack).build(INPUTS, 2, 1).unwrap_err();
    assert!(
        error.to_string().contains("`encoder.units` is 0"),
        "{error}"
    );
}

#[test]
fn summaries_count_what_is_trained() {
    for config in configs() {
        let network = config.build(INPUTS, 2, 1).unwrap();
        let summary = network.summary();
        let sizes = network.trainable_parameters().flatten();
        let total: usize = sizes.values().map(|array| array.size()).sum();
        assert_eq!(summary.parameters, total, "{}", config.kind());
        assert_eq!(summary.kind, config.kind());
        assert!(summary.to_string().contains(&total.to_string()));
    }
    // The parameter counts of the reference package.
    let count = |config: ModelConfig, inputs, outputs| {
        config
            .build(inputs, outputs, 1)
            .unwrap()
            .summary()
            .parameters
    };
    let mut cfc = CfcModel::new(20);
    cfc.head = Head::None;
    assert_eq!(count(cfc.clone().into(), 10, 20), 14_288);
    cfc.mode = ncps_core::cell::Mode::Pure;
    assert_eq!(count(cfc.clone().into(), 10, 20), 6_588);
    cfc.mode = ncps_core::cell::Mode::Default;
    cfc.backbone_layers = 0;
    assert_eq!(count(cfc.into(), 10, 20), 2_480);
    let mut wired = CfcModel::new(AutoNcp::new(28, 4));
    wired.head = Head::None;
    assert_eq!(count(wired.into(), 20, 4), 3_284);
    assert_eq!(
        count(LtcModel::new(AutoNcp::new(28, 4)).into(), 10, 4),
        4_368
    );
    assert_eq!(count(LtcModel::new(20).into(), 10, 20), 2_520);
}

#[test]
fn configurations_survive_being_written_and_refuse_unknown_keys() {
    for config in configs() {
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<ModelConfig>(&text).unwrap(), config);
    }
    let text = r#"{"kind": "cfc", "units": 8, "backbone": 64}"#;
    let error = serde_json::from_str::<ModelConfig>(text).unwrap_err();
    assert!(error.to_string().contains("backbone"), "{error}");
    let text = r#"{"kind": "transformer"}"#;
    let error = serde_json::from_str::<ModelConfig>(text).unwrap_err();
    assert!(error.to_string().contains("transformer"), "{error}");
}

#[test]
fn wirings_have_the_input_counts_of_their_layers() {
    for (config, expected) in configs()
        .iter()
        .zip([vec![3], vec![3], vec![], vec![], vec![6]])
    {
        let wirings = config.wirings(INPUTS).unwrap();
        let inputs: Vec<usize> = wirings.iter().map(|wiring| wiring.inputs()).collect();
        assert_eq!(inputs, expected, "{}", config.kind());
    }
}

#[test]
fn constrained_parameters_are_named_as_in_the_network() {
    let mut ltc = LtcModel::new(AutoNcp::new(10, 2));
    ltc.constraints = ncps_core::cell::ParamConstraints::Explicit;
    let stack = StackedModel::new(vec![GruModel::new(4).into(), ltc.clone().into()]);
    for config in [
        ModelConfig::from(ltc.clone()),
        stack.into(),
        BidirectionalModel::new(ltc).into(),
    ] {
        let network = config.build(INPUTS, 2, 1).unwrap();
        let constrained = network.constrained_parameters();
        let factor = if config.kind() == "bidirectional" {
            2
        } else {
            1
        };
        assert_eq!(constrained.len(), 4 * factor);
        let names = network.parameters().flatten();
        for name in constrained {
            assert!(names.contains_key(name.as_str()), "{name}");
        }
    }
}

#[test]
fn dropout_reaches_every_layer_by_its_own_key() {
    let mut cfc = CfcModel::new(4);
    (cfc.backbone_dropout, cfc.backbone_units) = (0.5, 16);
    let stack = StackedModel::new(vec![cfc.clone().into(), cfc.clone().into()]);
    for config in [
        ModelConfig::from(cfc.clone()),
        stack.into(),
        BidirectionalModel::new(cfc).into(),
    ] {
        let mut network = config.build(INPUTS, 2, 1).unwrap();
        let inputs = batch(2, 4);
        let key = random::key(3).unwrap();
        let mut run = |key: Option<&Array>| values(&network.forward(&inputs, key).unwrap());
        assert_eq!(run(Some(&key)), run(Some(&key)));
        assert_ne!(run(Some(&key)), run(None));
    }
}

#[test]
fn a_wrong_batch_names_its_shape() {
    let wrong = Inputs {
        x: uniform(1, 0.0, 1.0, &[2, 4])
            .as_dtype(Dtype::Float32)
            .unwrap(),
        timespans: None,
        mask: None,
    };
    for config in configs() {
        let mut network = config.build(INPUTS, 2, 1).unwrap();
        let error = network.forward(&wrong, None).unwrap_err().to_string();
        assert!(error.contains("`x` has shape [2, 4]"), "{error}");
    }
}

/// One training step on the same batch.
fn train(network: Box<dyn Network>) -> StepReport {
    let config = TrainConfig::default();
    let mut trainer = Trainer::new(network, config, 1).unwrap();
    let batch = Batch {
        inputs: batch(4, 5),
        targets: uniform(3, -1.0, 1.0, &[4, 5, 2]),
        weights: uniform(4, 0.5, 1.0, &[4]),
    };
    trainer.train_batch(&batch).unwrap()
}

#[test]
fn networks_of_layers_with_kernels_are_chains_that_train_as_their_plain_forms() {
    let with = |implementation| -> Vec<ModelConfig> {
        let mut cfc = CfcModel::new(AutoNcp::new(10, 2));
        let mut dense = CfcModel::new(4);
        (dense.projection, dense.backbone_dropout) = (Some(3), 0.3);
        let mut ltc = LtcModel::new(AutoNcp::new(10, 4));
        let mut lstm = LstmModel::new(4);
        cfc.implementation = implementation;
        dense.implementation = implementation;
        ltc.implementation = implementation;
        lstm.implementation = implementation;
        let mut stack = StackedModel::new(vec![ltc.clone().into(), lstm.clone().into()]);
        stack.encoder = Some(EncoderConfig::new(6));
        vec![
            cfc.into(),
            dense.into(),
            ltc.into(),
            lstm.into(),
            stack.into(),
        ]
    };
    let pairs = with(Implementation::Auto)
        .into_iter()
        .zip(with(Implementation::Plain));
    for (fused, plain) in pairs {
        let build = |config: &ModelConfig| config.build(INPUTS, 2, 1).unwrap();
        let network = build(&fused);
        let mut names: Vec<String> = network
            .chain()
            .unwrap()
            .parameters()
            .into_iter()
            .map(|p| p.name)
            .collect();
        names.sort();
        let trainable = network.trainable_parameters().flatten();
        let mut expected: Vec<String> = trainable.keys().map(ToString::to_string).collect();
        expected.sort();
        assert_eq!(names, expected);
        assert!(build(&plain).chain().is_none());
        let (found, expected) = (train(network), train(build(&plain)));
        let near = |a: f64, b: f64| (a / b - 1.0).abs() < 1e-4;
        assert!(near(found.loss, expected.loss), "{found:?} {expected:?}");
        let (a, b) = (
            found.gradient_norm.unwrap(),
            expected.gradient_norm.unwrap(),
        );
        assert!(near(a, b), "{found:?} {expected:?}");
    }
    let mut dropping = CfcModel::new(4);
    dropping.backbone_dropout = 0.3;
    let without = [
        GruModel::new(4).into(),
        BidirectionalModel::new(CfcModel::new(4)).into(),
        ModelConfig::from(StackedModel::new(vec![dropping.into()])),
    ];
    for config in without {
        assert!(config.build(INPUTS, 2, 1).unwrap().chain().is_none());
    }
}

//! Different ways to the same result.

use mlx_rs::module::{ModuleParameters, ModuleParametersExt};
use mlx_rs::{Array, Dtype, ops, random};

use super::{
    INPUTS, assert_close, assert_states_close, features, layers, random_state, rows, run, spans,
    steps, values,
};
use crate::import::torch::{StateDict, load_cfc};
use crate::rnn::{CfcConfig, LtcConfig, SequenceInput, SequenceLayer, Timespans};
use crate::wiring::{AutoNcp, FullyConnected};

#[test]
fn a_sequence_is_its_steps() {
    let (batch, time) = (2, 5);
    let (x, spans) = (features(batch, time), spans(batch, time));
    for (name, layer) in layers(true) {
        let mut state = random_state(layer.as_ref(), batch);
        let input = SequenceInput::new(&x).timespans(spans.clone());
        let whole = run(layer.as_ref(), &input.state(&state));
        for t in 0..i32::try_from(time).unwrap() {
            let x = steps(&x, t..t + 1).squeeze_axes(&[1]).unwrap();
            let span = steps(&spans, t..t + 1).squeeze_axes(&[1]).unwrap();
            let (output, next) = layer.step(&x, &span.into(), &state).unwrap();
            let expected = steps(&whole.outputs, t..t + 1).squeeze_axes(&[1]).unwrap();
            assert_close(name, &output, &expected, 1e-6);
            state = next;
        }
        assert_states_close(name, &state, &whole.state, 1e-6);
    }
}

#[test]
fn the_last_output_alone_is_the_last_of_all() {
    let (x, spans) = (features(2, 4), spans(2, 4));
    let input = SequenceInput::new(&x).timespans(spans);
    for ((name, every), (_, last)) in layers(true).into_iter().zip(layers(false)) {
        let (every, last) = (run(every.as_ref(), &input), run(last.as_ref(), &input));
        let expected = steps(&every.outputs, 3..4).squeeze_axes(&[1]).unwrap();
        assert_close(name, &last.outputs, &expected, 1e-6);
        assert_states_close(name, &last.state, &every.state, 1e-6);
    }
}

#[test]
fn all_forms_of_equal_timespans_agree() {
    let (batch, time) = (2, 4);
    let x = features(batch, time);
    let shared = rows(&spans(1, time), 0..1).reshape(&[-1]).unwrap();
    let constant = ops::full::<f32>(&[4], Array::from_f32(0.3)).unwrap();
    let full = |row: &Array, shape: &[i32]| ops::broadcast_to(row, shape).unwrap();
    for (name, layer) in layers(true) {
        let with = |timespans: Timespans| {
            run(layer.as_ref(), &SequenceInput::new(&x).timespans(timespans)).outputs
        };
        let expected = with(shared.clone().into());
        let row = shared.reshape(&[1, 4]).unwrap();
        let columns = full(&row, &[2, 4]).reshape(&[2, 4, 1]).unwrap();
        for form in [row.clone(), full(&row, &[2, 4]), columns] {
            assert_close(name, &with(form.into()), &expected, 1e-6);
        }
        assert_close(
            name,
            &with(constant.clone().into()),
            &with(0.3.into()),
            1e-6,
        );
        let ones = ops::ones::<f32>(&[2, 4]).unwrap();
        assert_close(name, &with(ones.into()), &with(Timespans::Unit), 1e-6);
    }
}

#[test]
fn each_sample_has_its_own_timespans_also_when_batch_equals_units() {
    for (name, layer) in layers(true) {
        let batch = layer.state_units();
        let (x, spans) = (features(batch, 3), spans(batch, 3));
        let input = SequenceInput::new(&x).timespans(spans.clone());
        let together = run(layer.as_ref(), &input).outputs;
        for b in 0..i32::try_from(batch).unwrap() {
            let (x, spans) = (rows(&x, b..b + 1), rows(&spans, b..b + 1));
            let alone = run(layer.as_ref(), &SequenceInput::new(&x).timespans(spans));
            assert_close(name, &alone.outputs, &rows(&together, b..b + 1), 1e-6);
        }
    }
}

#[test]
fn padding_changes_nothing_whatever_it_holds() {
    let (x, spans) = (features(2, 5), spans(2, 5));
    // The second sample has three real steps; what follows is not a number.
    let mask = Array::from_slice(&[1.0_f32, 1., 1., 1., 1., 1., 1., 1., 0., 0.], &[2, 5]);
    let real = mask.as_dtype(Dtype::Bool).unwrap();
    let nan = Array::from_f32(f32::NAN);
    let wide = real.expand_dims(-1).unwrap();
    let dirty = ops::select(&wide, &x, &nan).unwrap();
    let dirty_spans = ops::select(&real, &spans, &nan).unwrap();
    for (name, layer) in layers(true) {
        let layer = layer.as_ref();
        let state = random_state(layer, 2);
        let input = SequenceInput::new(&dirty).timespans(dirty_spans.clone());
        let padded = run(layer, &input.mask(&mask).state(&state));
        let short_x = steps(&x, 0..3);
        let input = SequenceInput::new(&short_x).timespans(steps(&spans, 0..3));
        let short = run(layer, &input.state(&state));
        let second = |x: &Array| rows(x, 1..2);
        let real_steps = steps(&second(&padded.outputs), 0..3);
        assert_close(name, &real_steps, &second(&short.outputs), 1e-6);
        let final_states = second(&padded.state.hidden);
        assert_close(name, &final_states, &second(&short.state.hidden), 1e-6);
        // A masked step gives the output of the state that it carries.
        let last_real = steps(&second(&short.outputs), 2..3);
        let after = steps(&second(&padded.outputs), 4..5);
        assert_close(name, &after, &last_real, 1e-6);
    }
}

#[test]
fn input_without_a_batch_axis_is_a_batch_of_one() {
    let (x, spans) = (features(1, 4), spans(1, 4));
    let bare_x = x.reshape(&[4, -1]).unwrap();
    for (name, layer) in layers(true) {
        let layer = layer.as_ref();
        let state = random_state(layer, 1);
        let input = SequenceInput::new(&x).timespans(spans.clone());
        let batched = run(layer, &input.state(&state));
        let mut bare_state = state.clone();
        bare_state.hidden = bare_state.hidden.reshape(&[-1]).unwrap();
        bare_state.memory = bare_state.memory.map(|m| m.reshape(&[-1]).unwrap());
        for shape in [&[4][..], &[1, 4], &[4, 1], &[1, 4, 1]] {
            let spans = spans.reshape(shape).unwrap();
            let input = SequenceInput::new(&bare_x).timespans(spans);
            let bare = run(layer, &input.state(&bare_state));
            let expected = batched.outputs.squeeze_axes(&[0]).unwrap();
            assert_close(name, &bare.outputs, &expected, 1e-6);
            assert_eq!(bare.state.hidden.ndim(), 1, "{name}");
        }
        let step = bare_x.take_axis(Array::from_int(0), 0).unwrap();
        let (output, next) = layer.step(&step, &Timespans::Unit, &bare_state).unwrap();
        assert_eq!(
            output.shape(),
            &[i32::try_from(layer.outputs()).unwrap()],
            "{name}"
        );
        assert_eq!(next.hidden.ndim(), 1, "{name}");
    }
}

#[test]
fn a_step_without_duration_leaves_an_ltc_as_it_is() {
    let x = features(2, 3);
    for (name, layer) in layers(true) {
        if !name.starts_with("ltc") || layer.has_memory() {
            continue;
        }
        let state = random_state(layer.as_ref(), 2);
        let zeros = ops::zeros::<f32>(&[2, 3]).unwrap();
        for timespans in [Timespans::Scalar(0.0), Timespans::Array(zeros)] {
            let input = SequenceInput::new(&x).timespans(timespans).state(&state);
            let after = run(layer.as_ref(), &input).state;
            assert_eq!(values(&after.hidden), values(&state.hidden), "{name}");
        }
    }
}

#[test]
fn a_wiring_of_one_layer_gives_its_motor_neurons() {
    let x = features(2, 3);
    let mut config = CfcConfig::new(INPUTS, FullyConnected::new(8, 4));
    let layer = config.build(1).unwrap();
    assert_eq!(layer.outputs(), 4);
    let narrow = run(&layer, &SequenceInput::new(&x)).outputs;
    config.reference_outputs = true;
    let layer = config.build(1).unwrap();
    assert_eq!(layer.outputs(), 8);
    let wide = run(&layer, &SequenceInput::new(&x)).outputs;
    let motor = wide.split_at_indices(&[4], -1).unwrap();
    assert_close("motor neurons", &narrow, &motor[0], 0.0);
    // With a projection behind it, the case in which the reference fails.
    config.reference_outputs = false;
    config.projection = Some(3);
    let layer = config.build(1).unwrap();
    let projected = run(&layer, &SequenceInput::new(&x)).outputs;
    assert_eq!(projected.shape(), &[2, 3, 3]);
}

#[test]
fn dropout_acts_in_training_only_and_by_its_key() {
    let x = features(2, 6);
    for layers in [1, 3] {
        let mut config = CfcConfig::new(INPUTS, 4);
        (config.backbone_layers, config.backbone_dropout) = (layers, 0.4);
        let layer = config.build(1).unwrap();
        let keys = [random::key(1).unwrap(), random::key(2).unwrap()];
        let outputs = |key: Option<&Array>| {
            let mut input = SequenceInput::new(&x);
            input.training = key;
            values(&run(&layer, &input).outputs)
        };
        assert_eq!(outputs(Some(&keys[0])), outputs(Some(&keys[0])));
        assert_ne!(outputs(Some(&keys[0])), outputs(Some(&keys[1])));
        assert_ne!(outputs(Some(&keys[0])), outputs(None));
    }
}

#[test]
fn equal_seeds_build_equal_layers() {
    let config = CfcConfig::new(INPUTS, AutoNcp::new(12, 2));
    let parameters = |seed| {
        let layer = config.build(seed).unwrap();
        let flat = layer.parameters().flatten();
        let mut named: Vec<(String, Vec<f32>)> = flat
            .iter()
            .map(|(name, array)| (name.to_string(), values(array)))
            .collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        named
    };
    assert_eq!(parameters(1), parameters(1));
    assert_ne!(parameters(1), parameters(2));
}

#[test]
fn a_saved_layer_continues_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layer.safetensors");
    let mut config = CfcConfig::new(INPUTS, 6);
    config.mixed_memory = true;
    let saved = config.build(1).unwrap();
    saved.save_safetensors(&path).unwrap();
    let mut loaded = config.build(2).unwrap();
    load_cfc(&mut loaded, &StateDict::read(&path).unwrap()).unwrap();
    let x = features(2, 3);
    let outputs = |layer: &dyn SequenceLayer| values(&run(layer, &SequenceInput::new(&x)).outputs);
    assert_eq!(outputs(&saved), outputs(&loaded));
}

#[test]
fn half_precision_stays_half() {
    for dtype in [Dtype::Float16, Dtype::Bfloat16] {
        let x = features(2, 3);
        for (name, mut layer) in layers(true) {
            let whole = run(layer.as_ref(), &SequenceInput::new(&x)).outputs;
            for parameter in layer.parameters_mut().flatten().into_values() {
                *parameter = parameter.as_dtype(dtype).unwrap();
            }
            let x = x.as_dtype(dtype).unwrap();
            let input = SequenceInput::new(&x).timespans(1.0);
            let half = run(layer.as_ref(), &input);
            assert_eq!(half.outputs.dtype(), dtype, "{name}");
            assert_eq!(half.state.hidden.dtype(), dtype, "{name}");
            assert_close(name, &half.outputs, &whole, 0.1);
        }
    }
}

#[test]
fn only_explicit_constraints_name_parameters() {
    let mut config = LtcConfig::new(INPUTS, 4);
    assert!(config.build(0).unwrap().constrained_parameters().is_empty());
    config.constraints = crate::cell::ParamConstraints::Explicit;
    let layer = config.build(0).unwrap();
    let names = layer.parameters().flatten();
    let constrained = layer.constrained_parameters();
    assert_eq!(constrained.len(), 4);
    for name in constrained {
        assert!(names.contains_key(name.as_str()), "{name}");
    }
}

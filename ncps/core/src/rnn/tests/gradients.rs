//! Gradients against finite differences, in double precision.

use std::collections::HashMap;
use std::rc::Rc;

use mlx_rs::error::Exception;
use mlx_rs::module::update_parameters;
use mlx_rs::transforms::keyed_value_and_grad;
use mlx_rs::{Array, Dtype, ops};

use super::{features, layers, random_state, spans, uniform};
use crate::rnn::{SequenceInput, SequenceLayer, State, Timespans};

type Named = HashMap<Rc<str>, Array>;

/// Names of the variables that are not parameters.
const INPUTS: [&str; 4] = ["x", "hidden", "memory", "timespans"];

/// Everything that a layer's loss depends on, in double precision.
fn variables(layer: &dyn SequenceLayer, batch: usize, time: usize) -> Named {
    let mut all: Named = HashMap::new();
    for (name, array) in layer.parameters().flatten() {
        all.insert(name, array.clone());
    }
    let state = random_state(layer, batch);
    all.insert("x".into(), features(batch, time));
    all.insert("timespans".into(), spans(batch, time));
    all.insert("hidden".into(), state.hidden);
    if let Some(memory) = state.memory {
        all.insert("memory".into(), memory);
    }
    for array in all.values_mut() {
        *array = array.as_dtype(Dtype::Float64).unwrap();
    }
    all
}

/// A weighted sum of outputs and final state, so that no two gradients cancel.
fn loss(layer: &mut dyn SequenceLayer, variables: Named, mask: &Array) -> Result<Array, Exception> {
    let (inputs, parameters): (Named, Named) = variables
        .into_iter()
        .partition(|(name, _)| INPUTS.contains(&name.as_ref()));
    update_parameters(layer, parameters);
    let state = State {
        hidden: inputs["hidden"].clone(),
        memory: inputs.get("memory").cloned(),
    };
    let input = SequenceInput::new(&inputs["x"])
        .timespans(inputs["timespans"].clone())
        .mask(mask)
        .state(&state);
    let result = layer
        .sequence(&input)
        .map_err(|error| Exception::custom(error.to_string()))?;
    let mut total = weighted(&result.outputs)?.add(weighted(&result.state.hidden)?)?;
    if let Some(memory) = &result.state.memory {
        total = total.add(weighted(memory)?)?;
    }
    Ok(total)
}

fn weighted(x: &Array) -> Result<Array, Exception> {
    let weights = uniform(55, 0.5, 1.5, &[x.size()]);
    let weights = weights.as_dtype(x.dtype())?.reshape(x.shape())?;
    x.square()?.multiply(weights)?.sum(None)
}

fn gradients(layer: Box<dyn SequenceLayer>, variables: Named, mask: &Array) -> Named {
    let mask = mask.clone();
    let mut layer = layer;
    let function = move |variables: Named, (): ()| {
        loss(layer.as_mut(), variables, &mask).map(|total| vec![total])
    };
    keyed_value_and_grad(function)(variables, ()).unwrap().1
}

fn doubles(x: &Array) -> Vec<f64> {
    x.contiguous().unwrap().as_slice::<f64>().to_vec()
}

/// The slope of the loss along one element, by a central difference of fourth order.
///
/// MLX's exponential is no more accurate than single precision also on doubles, so that a step must
/// be wide enough for its noise and the formula exact enough for that step.
fn slope(
    layer: &mut dyn SequenceLayer,
    variables: &Named,
    name: &Rc<str>,
    index: usize,
    mask: &Array,
) -> f64 {
    const STEP: f64 = 3e-3;
    let mut at = |offset: f64| {
        let mut moved = variables.clone();
        let mut numbers = doubles(&moved[name]);
        numbers[index] += offset;
        let shape = moved[name].shape().to_vec();
        moved.insert(name.clone(), Array::from_slice_f64(&numbers, &shape));
        loss(layer, moved, mask).unwrap().item_exact::<f64>()
    };
    let (near, far) = (at(STEP) - at(-STEP), at(2.0 * STEP) - at(-2.0 * STEP));
    (8.0 * near - far) / (12.0 * STEP)
}

#[test]
fn gradients_are_the_slopes() {
    let (batch, time) = (2, 3);
    let mask = Array::from_slice(&[true, true, true, true, true, false], &[2, 3]);
    for ((name, layer), (_, mut probe)) in layers(true).into_iter().zip(layers(true)) {
        let variables = variables(layer.as_ref(), batch, time);
        let gradients = gradients(layer, variables.clone(), &mask);
        assert_eq!(gradients.len(), variables.len(), "{name}");
        for (variable, gradient) in &gradients {
            let gradient = doubles(gradient);
            // At most five elements of each variable: each costs four runs.
            let stride = gradient.len().div_ceil(5);
            for index in (0..gradient.len()).step_by(stride) {
                let expected = slope(probe.as_mut(), &variables, variable, index, &mask);
                let difference = (gradient[index] - expected).abs();
                let allowed = 3e-4 * expected.abs().max(1.0);
                assert!(
                    difference <= allowed,
                    "{name}: {variable}[{index}] is {}, slope {expected}",
                    gradient[index]
                );
            }
        }
    }
}

#[test]
fn steps_without_duration_have_finite_gradients() {
    let mask = ops::ones::<f32>(&[2, 3]).unwrap();
    for (name, layer) in layers(true) {
        let mut variables = variables(layer.as_ref(), 2, 3);
        for array in variables.values_mut() {
            *array = array.as_dtype(Dtype::Float32).unwrap();
        }
        let zeros = ops::zeros::<f32>(&[2, 3]).unwrap();
        variables.insert("timespans".into(), zeros);
        for (variable, gradient) in gradients(layer, variables, &mask) {
            let finite = super::values(&gradient).iter().all(|g| g.is_finite());
            assert!(finite, "{name}: {variable}");
        }
    }
}

#[test]
fn what_stands_in_padding_does_not_reach_a_gradient() {
    let mask = Array::from_slice(&[true, true, true, true, true, false], &[2, 3]);
    let wide = mask.expand_dims(-1).unwrap();
    for (name, layer) in layers(true) {
        let mut variables = variables(layer.as_ref(), 2, 3);
        for array in variables.values_mut() {
            *array = array.as_dtype(Dtype::Float32).unwrap();
        }
        let nan = Array::from_f32(f32::NAN);
        let x = ops::select(&wide, &variables["x"], &nan).unwrap();
        let spans = ops::select(&mask, &variables["timespans"], &nan).unwrap();
        variables.insert("x".into(), x);
        variables.insert("timespans".into(), spans);
        for (variable, gradient) in gradients(layer, variables, &mask) {
            let finite = super::values(&gradient).iter().all(|g| g.is_finite());
            assert!(finite, "{name}: {variable}");
        }
    }
}

#[test]
fn extreme_inputs_stay_finite() {
    for (name, layer) in layers(true) {
        for size in [1e4_f32, -1e4] {
            let x = ops::full::<f32>(&[2, 3, 3], Array::from_f32(size)).unwrap();
            let input = SequenceInput::new(&x).timespans(Timespans::Scalar(1e3));
            let outputs = layer.sequence(&input).unwrap().outputs;
            let finite = super::values(&outputs).iter().all(|y| y.is_finite());
            assert!(finite, "{name} on {size}");
        }
    }
}

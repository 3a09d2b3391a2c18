//! One case: values and gradients of a layer, and how far they are from what they should be.

use std::collections::HashMap;
use std::rc::Rc;

use mlx_rs::error::Exception;
use mlx_rs::module::{ModuleParameters, update_parameters};
use mlx_rs::transforms::keyed_value_and_grad;
use mlx_rs::{Array, Device, DeviceType, random};
use safetensors::{Dtype, SafeTensors};

use super::cases::Case;
use super::step::step;
use crate::array::{During, zeros};
use crate::error::{Error, Result};
use crate::import::torch;
use crate::rnn::{Cfc, Implementation, Lstm, Ltc, SequenceInput, SequenceLayer, State, Timespans};

pub(super) const DOING: &str = "the self-test";

/// Inputs that a gradient is taken of, by their names in the recordings.
const INPUTS: [&str; 4] = ["x", "hx", "cx", "timespans"];

/// Arrays by name.
pub(super) type Named = HashMap<Rc<str>, Array>;

/// The largest absolute difference in a group of arrays, and where it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference {
    /// Infinite where a number is missing or not a number.
    pub size: f32,
    /// Name of the array.
    pub name: String,
}

impl Difference {
    /// Takes the larger one.
    pub(super) fn join(&mut self, other: Self, case: &str) {
        if other.size > self.size || self.name.is_empty() {
            self.size = other.size;
            self.name = format!("{} ({case})", other.name);
        }
    }

    fn note(&mut self, name: &str, actual: &Array, expected: &Array) -> Result<()> {
        let size = largest(actual, expected)?;
        if size > self.size || self.name.is_empty() {
            *self = Self {
                size,
                name: name.to_owned(),
            };
        }
        Ok(())
    }
}

/// A layer of any kind.
#[derive(Clone, Debug)]
pub(super) enum Layer {
    Cfc(Box<Cfc>),
    Ltc(Box<Ltc>),
    Lstm(Box<Lstm>),
}

impl From<Cfc> for Layer {
    fn from(layer: Cfc) -> Self {
        Self::Cfc(Box::new(layer))
    }
}

impl From<Ltc> for Layer {
    fn from(layer: Ltc) -> Self {
        Self::Ltc(Box::new(layer))
    }
}

impl From<Lstm> for Layer {
    fn from(layer: Lstm) -> Self {
        Self::Lstm(Box::new(layer))
    }
}

impl Layer {
    fn as_sequence(&self) -> &dyn SequenceLayer {
        match self {
            Self::Cfc(layer) => layer.as_ref(),
            Self::Ltc(layer) => layer.as_ref(),
            Self::Lstm(layer) => layer.as_ref(),
        }
    }

    fn parameters_mut(&mut self) -> &mut dyn ModuleParameters {
        match self {
            Self::Cfc(layer) => layer.as_mut(),
            Self::Ltc(layer) => layer.as_mut(),
            Self::Lstm(layer) => layer.as_mut(),
        }
    }

    fn run_as(&mut self, implementation: Implementation) {
        match self {
            Self::Cfc(layer) => layer.implementation = implementation,
            Self::Ltc(layer) => layer.implementation = implementation,
            Self::Lstm(layer) => layer.implementation = implementation,
        }
    }

    /// Takes over the recorded parameters.
    fn load(&mut self, recording: &HashMap<String, Array>) -> Result<()> {
        let parameters = recording.iter().filter_map(|(name, array)| {
            let name = name.strip_prefix("param.")?;
            Some((name.to_owned(), array.clone()))
        });
        let state = parameters.collect();
        match self {
            Self::Cfc(layer) => torch::load_cfc(layer, &state),
            Self::Ltc(layer) => torch::load_ltc(layer, &state),
            Self::Lstm(_) => Ok(()),
        }
    }

    fn backbone_layers(&self) -> usize {
        match self {
            Self::Cfc(layer) => layer.config().backbone_layers,
            Self::Ltc(_) | Self::Lstm(_) => 0,
        }
    }
}

/// The largest differences of values and of gradients.
pub(super) fn run(case: &Case, implementation: Implementation) -> Result<(Difference, Difference)> {
    let mut layer = (case.build)()?;
    let (mut value, mut gradient) = (Difference::default(), Difference::default());
    let Some(bytes) = case.recorded else {
        let inputs = drawn(&layer, case.shape)?;
        let (values, gradients) = differentiate(&layer, &inputs, implementation)?;
        let (expected, expected_gradients) = plain_on_cpu(&layer, &inputs)?;
        for (name, expected) in &expected {
            value.note(name, &values[name], expected)?;
        }
        for (name, expected) in &expected_gradients {
            gradient.note(name, &gradients[name], expected)?;
        }
        compare_step(
            &layer,
            &inputs["x"],
            implementation,
            (&mut value, &mut gradient),
        )?;
        return Ok((value, gradient));
    };
    let recording = read(bytes)?;
    layer.load(&recording)?;
    let inputs = INPUTS.iter().filter_map(|name| {
        let array = recording.get(&format!("input.{name}"))?;
        Some((Rc::from(*name), array.clone()))
    });
    let (values, gradients) = differentiate(&layer, &inputs.collect(), implementation)?;
    let recorded = |name: String| {
        let missing = || Error::Import {
            problem: format!("the recording has no `{name}`"),
        };
        recording.get(&name).ok_or_else(missing)
    };
    for (name, actual) in &values {
        value.note(name, actual, recorded(format!("output.{name}"))?)?;
    }
    let numbers = torch::backbone_numbering(layer.backbone_layers(), false);
    for (name, actual) in &gradients {
        let torch = torch::torch_name(name, &numbers);
        gradient.note(&torch, actual, recorded(format!("grad.{torch}"))?)?;
    }
    let x = recorded("input.x".to_owned())?;
    compare_step(&layer, x, implementation, (&mut value, &mut gradient))?;
    Ok((value, gradient))
}

/// Notes how far a train step's operation is from the plain form, where there is one.
fn compare_step(
    layer: &Layer,
    x: &Array,
    implementation: Implementation,
    (value, gradient): (&mut Difference, &mut Difference),
) -> Result<()> {
    let mut own = layer.clone();
    own.run_as(implementation);
    let Some(found) = step(own.as_sequence(), x)? else {
        return Ok(());
    };
    let state = zeros(&[x.dim(0), layer.as_sequence().state_units() as i32]);
    let mut inputs = Named::from([("x".into(), x.clone()), ("hx".into(), state.clone())]);
    if layer.as_sequence().has_memory() {
        inputs.insert("cx".into(), state);
    }
    let (values, gradients) = plain_on_cpu(layer, &inputs)?;
    let loss = values["y"].square().and_then(|y| y.mean(None));
    value.note("a train step's loss", &found.loss, &loss.during(DOING)?)?;
    for (name, actual) in &found.gradients {
        gradient.note(&format!("{name} of a train step"), actual, &gradients[name])?;
    }
    Ok(())
}

/// What the plain form gives on the CPU.
fn plain_on_cpu(layer: &Layer, inputs: &Named) -> Result<(Named, Named)> {
    let device = Device::try_default().during(DOING)?;
    Device::set_default(&Device::new(DeviceType::Cpu, 0));
    let plain = differentiate(layer, inputs, Implementation::Plain);
    Device::set_default(&device);
    plain
}

/// Random inputs and states for a case without a recording.
fn drawn(layer: &Layer, [batch, time]: [i32; 2]) -> Result<Named> {
    let normal = |seed: u64, shape: &[i32]| {
        let key = random::key(seed)?;
        random::normal::<f32>(shape, None, None, Some(&key))
    };
    let sequence = layer.as_sequence();
    let state = [batch, sequence.state_units() as i32];
    let mut inputs = Named::new();
    let x = normal(1, &[batch, time, sequence.inputs() as i32]).during(DOING)?;
    inputs.insert("x".into(), x);
    inputs.insert("hx".into(), normal(2, &state).during(DOING)?);
    if sequence.has_memory() {
        inputs.insert("cx".into(), normal(3, &state).during(DOING)?);
    }
    // Drawn before any device is chosen for the comparison.
    for array in inputs.values() {
        array.eval().during(DOING)?;
    }
    Ok(inputs)
}

/// Outputs and states by name, and the gradients of the outputs' mean square by parameters and inputs.
fn differentiate(
    layer: &Layer,
    inputs: &Named,
    implementation: Implementation,
) -> Result<(Named, Named)> {
    let mut layer = layer.clone();
    layer.run_as(implementation);
    let mut variables = inputs.clone();
    for (name, array) in layer.as_sequence().trainable_parameters().flatten() {
        variables.insert(name, array.clone());
    }
    let run = |variables: Named, (): ()| {
        let (inputs, parameters): (Named, Named) = variables
            .into_iter()
            .partition(|(name, _)| INPUTS.contains(&name.as_ref()));
        update_parameters(layer.parameters_mut(), parameters);
        forward(layer.as_sequence(), &inputs)
    };
    let (values, gradients) = keyed_value_and_grad(run)(variables, ()).during(DOING)?;
    let names = ["y", "hx", "cx"].map(Rc::from);
    Ok((
        names.into_iter().zip(values.into_iter().skip(1)).collect(),
        gradients,
    ))
}

fn forward(
    layer: &dyn SequenceLayer,
    inputs: &Named,
) -> std::result::Result<Vec<Array>, Exception> {
    let state = State {
        hidden: inputs["hx"].clone(),
        memory: inputs.get("cx").cloned(),
    };
    let timespans = inputs.get("timespans").cloned();
    let input = SequenceInput::new(&inputs["x"])
        .timespans(timespans.map_or(Timespans::Unit, Timespans::Array))
        .state(&state);
    let result = layer.sequence(&input);
    let result = result.map_err(|error| Exception::custom(error.to_string()))?;
    let loss = result.outputs.square()?.mean(None)?;
    let mut values = vec![loss, result.outputs, result.state.hidden];
    values.extend(result.state.memory);
    Ok(values)
}

/// The floating-point tensors of a recording.
fn read(bytes: &[u8]) -> Result<HashMap<String, Array>> {
    let refuse = |problem: String| Error::Import { problem };
    let file = SafeTensors::deserialize(bytes).map_err(|error| refuse(error.to_string()))?;
    let tensors = file.iter().filter(|(_, view)| view.dtype() == Dtype::F32);
    let array = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
        let shape: Vec<i32> = view.shape().iter().map(|&size| size as i32).collect();
        let words = view.data().as_chunks::<4>().0.iter();
        let array = Array::from_iter(words.map(|&b| f32::from_le_bytes(b)), &shape);
        (name.to_owned(), array)
    };
    Ok(tensors.map(array).collect())
}

/// The largest absolute difference of two arrays; infinite where the shapes differ or a number is not one.
fn largest(actual: &Array, expected: &Array) -> Result<f32> {
    if actual.shape() != expected.shape() {
        return Ok(f32::INFINITY);
    }
    let host = |array: &Array| -> Result<Vec<f32>> {
        let array = array.flatten(None, None).during(DOING)?;
        array.eval().during(DOING)?;
        Ok(array.as_slice::<f32>().to_vec())
    };
    let pairs = host(actual)?.into_iter().zip(host(expected)?);
    Ok(pairs.fold(0.0, |worst, (a, b)| {
        let size = (a - b).abs();
        // A NaN must count as the largest difference, so no `f32::max` before this.
        if size.is_nan() {
            f32::INFINITY
        } else {
            worst.max(size)
        }
    }))
}

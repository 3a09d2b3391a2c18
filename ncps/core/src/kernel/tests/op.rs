//! The fused op inside MLX: against the plain layers, compiled, in chains, on other threads, in half precision, misused.

use std::collections::HashMap;
use std::rc::Rc;

use mlx_rs::error::Exception;
use mlx_rs::module::ModuleParameters;
use mlx_rs::transforms::{compile::compile, keyed_value_and_grad};
use mlx_rs::{Array, Dtype, random};

use crate::cell::Mode;
use crate::kernel::{
    CallSpans, CfcLayer, CfcSpec, Keep, SequenceCall, SequenceOp, SequenceSpec, set_record_limit,
};
use crate::rnn::{
    Cfc, CfcConfig, Implementation, Lstm, LstmConfig, Ltc, LtcConfig, SequenceInput, SequenceLayer,
    State, Timespans,
};
use crate::wiring::AutoNcp;

const BATCH: i32 = 5;
const TIME: i32 = 6;
const INPUTS: i32 = 3;

type Named = HashMap<Rc<str>, Array>;

fn normal(seed: u64, shape: &[i32]) -> Array {
    let key = random::key(seed).unwrap();
    random::normal::<f32>(shape, None, None, Some(&key)).unwrap()
}

/// A layer whose implementation can be chosen, as the test needs it.
trait Layer: SequenceLayer + Clone + 'static {
    fn choose(&mut self, implementation: Implementation);
}

impl Layer for Cfc {
    fn choose(&mut self, implementation: Implementation) {
        self.implementation = implementation;
    }
}

impl Layer for Ltc {
    fn choose(&mut self, implementation: Implementation) {
        self.implementation = implementation;
    }
}

impl Layer for Lstm {
    fn choose(&mut self, implementation: Implementation) {
        self.implementation = implementation;
    }
}

fn load(layer: &mut impl ModuleParameters, variables: &Named) {
    for (name, slot) in layer.parameters_mut().flatten() {
        *slot = variables[&name].clone();
    }
}

/// Loss, outputs and states, and the loss's gradients by parameters, x, timespans and initial state.
fn differentiate<L: Layer>(
    layer: &L,
    implementation: Implementation,
    mask: Option<&Array>,
    key: Option<&Array>,
) -> (Vec<Array>, Named) {
    let mut layer = layer.clone();
    layer.choose(implementation);
    let units = layer.state_units() as i32;
    let mut variables: Named = layer
        .parameters()
        .flatten()
        .into_iter()
        .map(|(name, array)| (name, array.clone()))
        .collect();
    let spans = normal(2, &[BATCH, TIME]).abs().unwrap();
    variables.insert("x".into(), normal(1, &[BATCH, TIME, INPUTS]));
    variables.insert("timespans".into(), spans);
    variables.insert("hidden".into(), normal(3, &[BATCH, units]));
    if layer.has_memory() {
        variables.insert("memory".into(), normal(4, &[BATCH, units]));
    }
    let run = |variables: Named, (): ()| -> Result<Vec<Array>, Exception> {
        let mut layer = layer.clone();
        load(&mut layer, &variables);
        let state = State {
            hidden: variables["hidden"].clone(),
            memory: variables.get("memory").cloned(),
        };
        let input = SequenceInput {
            x: &variables["x"],
            timespans: Timespans::Array(variables["timespans"].clone()),
            mask,
            state: Some(&state),
            training: key,
        };
        let result = layer
            .sequence(&input)
            .map_err(|error| Exception::custom(error.to_string()))?;
        let mut loss = result.outputs.square()?.sum(None)?;
        loss = loss.add(result.state.hidden.sum(None)?)?;
        let mut values = vec![result.outputs, result.state.hidden];
        if let Some(memory) = result.state.memory {
            loss = loss.add(memory.square()?.sum(None)?)?;
            values.push(memory);
        }
        values.insert(0, loss);
        Ok(values)
    };
    keyed_value_and_grad(run)(variables, ()).unwrap()
}

fn assert_close(a: &Array, b: &Array, tolerance: f64, what: &str) {
    assert_eq!(a.shape(), b.shape(), "{what}");
    let difference = a
        .subtract(b)
        .unwrap()
        .abs()
        .unwrap()
        .max(None)
        .unwrap()
        .item_exact::<f32>();
    let size = b.abs().unwrap().max(None).unwrap().item_exact::<f32>();
    assert!(
        f64::from(difference) <= tolerance * f64::from(1.0 + size),
        "{what}: {difference} of {size}"
    );
}

fn assert_same<L: Layer>(layer: &L, key: Option<&Array>, what: &str) {
    let mask: Vec<f32> = (0..BATCH * TIME)
        .map(|i| if i % 4 == 2 { 0.0 } else { 1.0 })
        .collect();
    let mask = Array::from_slice(&mask, &[BATCH, TIME]);
    for mask in [None, Some(&mask)] {
        let (plain, plain_gradients) = differentiate(layer, Implementation::Plain, mask, key);
        let (fused, fused_gradients) = differentiate(layer, Implementation::Fused, mask, key);
        for (fused, plain) in fused.iter().zip(&plain) {
            assert_close(fused, plain, 2e-5, what);
        }
        assert_eq!(plain_gradients.len(), fused_gradients.len());
        for (name, plain) in &plain_gradients {
            assert_close(
                &fused_gradients[name],
                plain,
                5e-5,
                &format!("{what} {name}"),
            );
        }
    }
}

fn dense(mode: Mode) -> CfcConfig {
    let mut config = CfcConfig::new(INPUTS as usize, 7);
    (config.mode, config.backbone_units, config.backbone_layers) = (mode, 9, 2);
    config.projection = Some(2);
    config
}

fn wired(has_memory: bool) -> CfcConfig {
    let mut config = CfcConfig::new(INPUTS as usize, AutoNcp::new(12, 2));
    config.mixed_memory = has_memory;
    config
}

#[test]
fn fused_and_plain_layers_agree_in_values_and_gradients() {
    for mode in [Mode::Default, Mode::Pure, Mode::NoGate] {
        assert_same(&dense(mode).build(1).unwrap(), None, &format!("{mode:?}"));
    }
    let mut dropping = dense(Mode::Default);
    dropping.backbone_dropout = 0.4;
    let key = random::key(9).unwrap();
    assert_same(&dropping.build(2).unwrap(), Some(&key), "dropout");
    for has_memory in [false, true] {
        assert_same(&wired(has_memory).build(3).unwrap(), Some(&key), "wired");
        let mut ltc = LtcConfig::new(INPUTS as usize, AutoNcp::new(12, 2));
        ltc.mixed_memory = has_memory;
        ltc.return_sequences = has_memory;
        assert_same(&ltc.build(4).unwrap(), Some(&key), "ltc");
    }
    assert_same(
        &LstmConfig::new(INPUTS as usize, 6).build(5).unwrap(),
        None,
        "lstm",
    );
}

#[test]
fn a_compiled_chain_of_layers_gives_the_same_as_an_evaluated_one() {
    let first = wired(false).build(1).unwrap();
    let second = LtcConfig::new(2, AutoNcp::new(10, 1)).build(2).unwrap();
    let run = move |x: &Array| -> Result<Array, Exception> {
        let error = |error: crate::Error| Exception::custom(error.to_string());
        let middle = first
            .sequence(&SequenceInput::new(x))
            .map_err(error)?
            .outputs;
        Ok(second
            .sequence(&SequenceInput::new(&middle))
            .map_err(error)?
            .outputs)
    };
    let x = normal(1, &[BATCH, TIME, INPUTS]);
    let expected = run(&x).unwrap();
    let mut compiled = compile(run, false);
    for _ in 0..2 {
        assert_close(&compiled(&x).unwrap(), &expected, 1e-7, "compiled");
    }
}

#[test]
fn another_thread_computes_the_same() {
    let run = || {
        let layer = wired(true).build(7).unwrap();
        let x = normal(1, &[BATCH, TIME, INPUTS]);
        let outputs = layer.sequence(&SequenceInput::new(&x)).unwrap().outputs;
        outputs.as_slice::<f32>().to_vec()
    };
    let here = run();
    let there = std::thread::spawn(run).join().unwrap();
    assert_eq!(here, there);
}

#[test]
fn half_precision_is_computed_in_f32_and_given_back_in_half() {
    for dtype in [Dtype::Float16, Dtype::Bfloat16] {
        let mut layer = dense(Mode::Default).build(1).unwrap();
        let x = normal(1, &[BATCH, TIME, INPUTS]);
        let exact = layer.sequence(&SequenceInput::new(&x)).unwrap();
        for (_, slot) in layer.parameters_mut().flatten() {
            *slot = slot.as_dtype(dtype).unwrap();
        }
        layer.implementation = Implementation::Fused;
        let half = x.as_dtype(dtype).unwrap();
        let result = layer.sequence(&SequenceInput::new(&half)).unwrap();
        assert_eq!(result.outputs.dtype(), dtype);
        assert_eq!(result.state.hidden.dtype(), dtype);
        let outputs = result.outputs.as_dtype(Dtype::Float32).unwrap();
        assert_close(&outputs, &exact.outputs, 2e-2, "half");
    }
}

#[test]
fn records_beyond_the_limit_are_computed_again() {
    let layer = wired(true).build(7).unwrap();
    let key = random::key(9).unwrap();
    let expected = differentiate(&layer, Implementation::Fused, None, Some(&key));
    let op = SequenceOp::new(SequenceSpec::lstm(3, 8)).unwrap();
    assert_eq!(op.records(4, 100, false).keep, Keep::All);
    set_record_limit(1000);
    let report = op.records(4, 100, false);
    let again = differentiate(&layer, Implementation::Fused, None, Some(&key));
    set_record_limit(256 << 20);
    assert_eq!(report.keep, Keep::Segments(10));
    assert!(report.bytes * 5 < report.all_bytes);
    for (name, gradient) in &expected.1 {
        assert_close(&again.1[name], gradient, 1e-6, name);
    }
}

fn small_op() -> (SequenceOp, Vec<Array>) {
    let layers = vec![CfcLayer {
        inputs: 3,
        units: 4,
        mask: None,
    }];
    let spec = CfcSpec {
        layers,
        mode: Mode::Default,
        activation: crate::cell::Activation::Tanh,
        backbone_units: 5,
        backbone_layers: 1,
        dropped: Vec::new(),
    };
    let op = SequenceOp::new(SequenceSpec::cfc(spec, false)).unwrap();
    let shapes = op
        .parameters()
        .iter()
        .map(|p| p.shape.iter().map(|&s| s as i32).collect::<Vec<_>>());
    let parameters = shapes.map(|shape| normal(1, &shape)).collect();
    (op, parameters)
}

#[test]
fn wrong_arrays_are_refused_when_the_graph_is_built() {
    let (op, parameters) = small_op();
    let good = normal(1, &[2, 3, 3]);
    let call = |x: &Array, change: &dyn Fn(&mut SequenceCall<'_>)| {
        let mut call = SequenceCall {
            parameters: parameters.iter().collect(),
            x,
            spans: CallSpans::Constant(1.0),
            mask: None,
            hidden: None,
            memory: None,
            dropout: Vec::new(),
            is_last_only: false,
            is_training: false,
        };
        change(&mut call);
        op.call(&call).err().map(|error| error.to_string())
    };
    assert_eq!(call(&good, &|_| {}), None);
    let message = call(&normal(1, &[2, 3, 4]), &|_| {}).unwrap();
    assert!(
        message.contains("`x` has shape [2, 3, 4]") && message.contains("[B, T, 3]"),
        "{message}"
    );
    let wrong = Array::from_slice(&[1.0_f32; 6], &[3, 2]);
    let message = call(&good, &|call| call.mask = Some(fixed(&wrong))).unwrap();
    assert!(
        message.contains("`mask` has shape [3, 2], expected [2, 3]"),
        "{message}"
    );
    let message = call(&good, &|call| call.spans = CallSpans::Array(fixed(&wrong))).unwrap();
    assert!(
        message.contains("`timespans`") && message.contains("[2, 3] or [1, 3]"),
        "{message}"
    );
    let message = call(&good, &|call| call.hidden = Some(fixed(&wrong))).unwrap();
    assert!(
        message.contains("`hidden`") && message.contains("[2, 4]"),
        "{message}"
    );
    let message = call(&good, &|call| call.parameters[0] = fixed(&wrong)).unwrap();
    assert!(
        message.contains("backbone.0.weight") && message.contains("[5, 7]"),
        "{message}"
    );
    let message = call(&good, &|call| {
        call.parameters.pop();
    })
    .unwrap();
    assert!(
        message.contains("9 arrays") && message.contains("10"),
        "{message}"
    );
    let integers = Array::from_slice(&[1_i32; 18], &[2, 3, 3]);
    let message = call(&integers, &|_| {}).unwrap();
    assert!(message.contains("Int32"), "{message}");
}

/// Lends an array to a call for as long as the test runs.
fn fixed(array: &Array) -> &'static Array {
    Box::leak(Box::new(array.clone()))
}

//! Parity with the PyTorch package `ncps` 1.0.1: outputs, final states and gradients of each
//! case in the folder named by `NCPS_GOLDEN_DIR`, or in `tests/golden`.
//!
//! `manifest.json` says what each case builds; the tensors are in one safetensors file each.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use mlx_rs::Array;
use mlx_rs::error::Exception;
use mlx_rs::module::{ModuleParameters, update_parameters};
use mlx_rs::transforms::keyed_value_and_grad;
use ncps_core::cell::{Activation, Mapping, Mode, ParamConstraints};
use ncps_core::export::{Builder, Dim, StateValues, Tensor, evaluate};
use ncps_core::import::torch::{self, StateDict};
use ncps_core::rnn::{
    Cfc, CfcConfig, Implementation, Ltc, LtcConfig, SequenceInput, SequenceLayer, State, Timespans,
    Units,
};
use ncps_core::wiring::{AutoNcp, FullyConnected, Ncp, Random, WiringConfig};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value};

/// Largest absolute difference allowed in outputs and states.
const OUTPUT_TOLERANCE: f32 = 1e-5;
/// Largest absolute difference allowed in gradients.
const GRADIENT_TOLERANCE: f32 = 1e-6;

#[test]
fn every_case_matches_in_outputs_states_and_gradients() {
    let folder = golden_folder();
    let cases = manifest(&folder)["cases"].as_array().unwrap().clone();
    assert!(!cases.is_empty(), "no case in {}", folder.display());
    let mut failures = Vec::new();
    for case in &cases {
        for implementation in [Implementation::Plain, Implementation::Auto] {
            let worst = run_case(&folder, case, implementation);
            let name = case["file"].as_str().unwrap();
            println!(
                "{name:<58} {implementation:?}: output {:.1e} ({}), gradient {:.1e} ({})",
                worst.output.0, worst.output.1, worst.gradient.0, worst.gradient.1
            );
            if !worst.is_close() {
                failures.push(format!("{name} {implementation:?}: {worst:?}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn wirings_of_the_cases_are_the_reference_s_own() {
    let folder = golden_folder();
    for case in manifest(&folder)["cases"].as_array().unwrap() {
        let Some(wiring) = case["constructor"].get("wiring") else {
            continue;
        };
        let tensors = tensors(&folder, case);
        let inputs = size(&case["constructor"]["input_size"]);
        let wiring = wiring_config(wiring).build(inputs).unwrap();
        let name = case["file"].as_str().unwrap();
        let own = &tensors["wiring.adjacency_matrix"];
        assert_eq!(own.as_slice::<i32>(), wiring.adjacency(), "{name}");
        let sensory = &tensors["wiring.sensory_adjacency_matrix"];
        assert_eq!(
            sensory.as_slice::<i32>(),
            wiring.sensory_adjacency(),
            "{name}"
        );
    }
}

#[test]
fn the_exported_step_of_every_case_gives_its_outputs_and_states() {
    let folder = golden_folder();
    for case in manifest(&folder)["cases"].as_array().unwrap() {
        let (name, worst) = (
            case["file"].as_str().unwrap(),
            exported_steps(&folder, case),
        );
        println!("{name:<58} exported: {:.1e} ({})", worst.0, worst.1);
        assert!(worst.0 <= OUTPUT_TOLERANCE, "{name}: {worst:?}");
    }
}

fn golden_folder() -> PathBuf {
    match std::env::var_os("NCPS_GOLDEN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("golden"),
    }
}

fn manifest(folder: &Path) -> Value {
    let path = folder.join("manifest.json");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    serde_json::from_str(&text).unwrap()
}

fn tensors(folder: &Path, case: &Value) -> HashMap<String, Array> {
    let bytes = std::fs::read(folder.join(case["file"].as_str().unwrap())).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let array = |(name, view): (String, safetensors::tensor::TensorView<'_>)| {
        let shape: Vec<i32> = view.shape().iter().map(|&size| size as i32).collect();
        let words = view.data().as_chunks::<4>().0.iter();
        let array = match view.dtype() {
            Dtype::F32 => Array::from_iter(words.map(|&b| f32::from_le_bytes(b)), &shape),
            Dtype::I32 => Array::from_iter(words.map(|&b| i32::from_le_bytes(b)), &shape),
            other => panic!("{name} has elements of type {other:?}"),
        };
        (name, array)
    };
    file.tensors().into_iter().map(array).collect()
}

/// A layer of either kind.
#[derive(Clone)]
enum Layer {
    Cfc(Box<Cfc>),
    Ltc(Box<Ltc>),
}

impl Layer {
    fn as_sequence(&self) -> &dyn SequenceLayer {
        match self {
            Self::Cfc(layer) => layer.as_ref(),
            Self::Ltc(layer) => layer.as_ref(),
        }
    }

    fn parameters_mut(&mut self) -> &mut dyn ModuleParameters {
        match self {
            Self::Cfc(layer) => layer.as_mut(),
            Self::Ltc(layer) => layer.as_mut(),
        }
    }

    fn load(&mut self, state: &StateDict) {
        match self {
            Self::Cfc(layer) => torch::load_cfc(layer, state),
            Self::Ltc(layer) => torch::load_ltc(layer, state),
        }
        .unwrap();
    }

    fn run_as(&mut self, implementation: Implementation) {
        match self {
            Self::Cfc(layer) => layer.implementation = implementation,
            Self::Ltc(layer) => layer.implementation = implementation,
        }
    }

    /// PyTorch's name of each parameter.
    fn torch_names(&self, constructor: &Map<String, Value>) -> BTreeMap<Rc<str>, String> {
        let dropout = constructor.get("backbone_dropout").and_then(Value::as_f64);
        let layers = match self {
            Self::Cfc(layer) => layer.config().backbone_layers,
            Self::Ltc(_) => 0,
        };
        let numbers = torch::backbone_numbering(layers, dropout.is_some_and(|p| p > 0.0));
        let names = self.as_sequence().parameters().flatten().into_keys();
        names
            .map(|own| (own.clone(), torch::torch_name(&own, &numbers)))
            .collect()
    }
}

fn build(case: &Value) -> Layer {
    let constructor = case["constructor"].as_object().unwrap();
    match case["class"].as_str().unwrap() {
        "ncps.torch.CfC" => Layer::Cfc(Box::new(cfc(constructor).build(0).unwrap())),
        "ncps.torch.LTC" => Layer::Ltc(Box::new(ltc(constructor).build(0).unwrap())),
        other => panic!("class {other} is not known"),
    }
}

fn cfc(constructor: &Map<String, Value>) -> CfcConfig {
    let mut config = CfcConfig::new(size(&constructor["input_size"]), units(constructor));
    let is_wired = matches!(config.units, Units::Wired(_));
    config.reference_outputs = is_wired;
    for (key, value) in constructor {
        match key.as_str() {
            "input_size" | "units" | "wiring" | "batch_first" => {}
            "proj_size" => config.projection = value.as_u64().map(|n| n as usize),
            "return_sequences" => config.return_sequences = value.as_bool().unwrap(),
            "mixed_memory" => config.mixed_memory = value.as_bool().unwrap(),
            "mode" => config.mode = parse::<Mode>(value),
            // A cell on a wiring has no backbone; the reference takes these and does nothing.
            _ if is_wired => assert!(is_backbone(key), "argument {key} is not known"),
            "activation" => config.activation = parse::<Activation>(value),
            "backbone_units" => config.backbone_units = size(value),
            "backbone_layers" => config.backbone_layers = size(value),
            "backbone_dropout" => config.backbone_dropout = value.as_f64().unwrap() as f32,
            other => panic!("argument {other} is not known"),
        }
    }
    if config.backbone_layers == 0 {
        config.backbone_dropout = 0.0;
    }
    config
}

fn is_backbone(key: &str) -> bool {
    key == "activation" || key.starts_with("backbone_")
}

fn ltc(constructor: &Map<String, Value>) -> LtcConfig {
    let mut config = LtcConfig::new(size(&constructor["input_size"]), units(constructor));
    for (key, value) in constructor {
        match key.as_str() {
            "input_size" | "units" | "wiring" | "batch_first" => {}
            "return_sequences" => config.return_sequences = value.as_bool().unwrap(),
            "mixed_memory" => config.mixed_memory = value.as_bool().unwrap(),
            "input_mapping" => config.input_mapping = mapping(value),
            "output_mapping" => config.output_mapping = mapping(value),
            "ode_unfolds" => config.unfolds = size(value),
            "epsilon" => config.epsilon = value.as_f64().unwrap() as f32,
            "implicit_param_constraints" => {
                config.constraints = match value.as_bool().unwrap() {
                    true => ParamConstraints::Implicit,
                    false => ParamConstraints::Explicit,
                };
            }
            other => panic!("argument {other} is not known"),
        }
    }
    config
}

fn units(constructor: &Map<String, Value>) -> Units {
    let wiring = constructor.get("wiring").or(constructor.get("units"));
    match wiring.unwrap() {
        Value::Number(units) => Units::Dense(units.as_u64().unwrap() as usize),
        wiring => wiring_config(wiring).into(),
    }
}

fn wiring_config(wiring: &Value) -> WiringConfig {
    let args = &wiring["args"];
    let number = |key: &str| size(&args[key]);
    let optional = |key: &str| args.get(key).and_then(Value::as_u64);
    match wiring["kind"].as_str().unwrap() {
        "AutoNCP" => {
            let mut config = AutoNcp::new(number("units"), number("output_size"));
            config.seed = optional("seed").map_or(config.seed, |seed| seed as _);
            let sparsity = args.get("sparsity_level").and_then(Value::as_f64);
            config.sparsity = sparsity.unwrap_or(config.sparsity);
            config.into()
        }
        "NCP" => {
            let table: Map<String, Value> = args.as_object().unwrap().clone();
            let config: Ncp = serde_json::from_value(Value::Object(table)).unwrap();
            config.into()
        }
        "FullyConnected" => {
            let mut config = FullyConnected::new(number("units"), number("units"));
            config.outputs = optional("output_dim").map(|n| n as usize);
            config.seed = optional("erev_init_seed").unwrap_or(config.seed);
            let own = args.get("self_connections").and_then(Value::as_bool);
            config.self_connections = own.unwrap_or(true);
            config.into()
        }
        "Random" => {
            let sparsity = args.get("sparsity_level").and_then(Value::as_f64);
            let mut config = Random::new(number("units"), 1, sparsity.unwrap_or(0.0));
            config.outputs = optional("output_dim").map(|n| n as usize);
            config.seed = optional("random_seed").unwrap_or(config.seed);
            config.into()
        }
        other => panic!("wiring {other} is not known"),
    }
}

fn size(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

fn mapping(value: &Value) -> Mapping {
    match value {
        Value::Null => Mapping::None,
        name => parse(name),
    }
}

fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

/// The largest differences of a case, each with the tensor where it is.
#[derive(Debug, Default)]
struct Worst {
    output: (f32, String),
    gradient: (f32, String),
}

impl Worst {
    fn is_close(&self) -> bool {
        self.output.0 <= OUTPUT_TOLERANCE && self.gradient.0 <= GRADIENT_TOLERANCE
    }
}

fn note(worst: &mut (f32, String), name: &str, actual: &Array, expected: &Array) {
    assert_eq!(actual.shape(), expected.shape(), "{name}");
    let actual = actual.contiguous().unwrap();
    let pairs = actual
        .as_slice::<f32>()
        .iter()
        .zip(expected.as_slice::<f32>());
    // A NaN must count as the largest difference, so no `f32::max` here.
    for (a, b) in pairs {
        let difference = (a - b).abs();
        if difference.is_nan() || difference > worst.0 || worst.1.is_empty() {
            *worst = (
                if difference.is_nan() {
                    f32::INFINITY
                } else {
                    difference
                },
                name.to_owned(),
            );
        }
    }
}

/// The layer of a case with its recorded weights.
fn loaded(case: &Value, tensors: &HashMap<String, Array>) -> Layer {
    let mut layer = build(case);
    let parameters = tensors.iter().filter_map(|(name, array)| {
        let name = name.strip_prefix("param.")?;
        Some((name.to_owned(), array.clone()))
    });
    layer.load(&parameters.collect());
    layer
}

/// Runs a layer's graph over the recorded sequence, step by step from the recorded state.
fn exported_steps(folder: &Path, case: &Value) -> (f32, String) {
    let tensors = tensors(folder, case);
    let layer = loaded(case, &tensors);
    let layer = layer.as_sequence();
    let given = |name: &str| tensors.get(&format!("input.{name}"));
    let (x, hidden) = (given("x").unwrap(), given("hx").unwrap());
    let [batch, steps, inputs] = [0, 1, 2].map(|axis| x.dim(axis));

    let mut graph = Builder::new("");
    let any = |width: usize| vec![Dim::Name("B".to_owned()), Dim::Size(width)];
    let units = layer.state_units();
    let at_x = graph.input("x", any(layer.inputs()), "");
    let at_time = graph.input("ts", any(1), "");
    let state = StateValues {
        hidden: graph.input("hx", any(units), ""),
        memory: given("cx").map(|_| graph.input("cx", any(units), "")),
    };
    let (y, next) = layer
        .export_step(&mut graph, &at_x, &at_time, &state)
        .unwrap();
    graph.output(&y, "y", any(layer.outputs()), "");
    graph.output(&next.hidden, "hx_next", any(units), "");
    if let Some(memory) = &next.memory {
        graph.output(memory, "cx_next", any(units), "");
    }
    let graph = graph.finish();

    let host = |array: &Array| array.contiguous().unwrap().as_slice::<f32>().to_vec();
    let (features, spans) = (host(x), given("timespans").map(host));
    let mut states: Vec<Tensor> = [Some(hidden), given("cx")]
        .into_iter()
        .flatten()
        .map(|array| Tensor::new(&[batch as usize, units], host(array)))
        .collect();
    let mut outputs = Vec::new();
    for step in 0..steps {
        // Spans are recorded for each sample and step, or for each step.
        let place = |sample: i32| (sample * steps + step) as usize;
        let at_step = |sample: i32| match &spans {
            Some(spans) if spans.len() == steps as usize => spans[step as usize],
            Some(spans) => spans[place(sample)],
            None => 1.0,
        };
        let width = inputs as usize;
        let row = |sample: i32| features[place(sample) * width..][..width].to_vec();
        let x: Vec<f32> = (0..batch).flat_map(row).collect();
        let mut all = vec![
            Tensor::new(&[batch as usize, width], x),
            Tensor::new(&[batch as usize, 1], (0..batch).map(at_step).collect()),
        ];
        all.append(&mut states);
        let mut results = evaluate(&graph, &all).unwrap();
        states = results.split_off(1);
        outputs.push(results.remove(0));
    }
    let expected = &tensors["output.y"];
    let outputs: Vec<Array> = outputs.iter().map(array).collect();
    let outputs = match expected.ndim() {
        3 => mlx_rs::ops::stack(&outputs, 1).unwrap(),
        _ => outputs[outputs.len() - 1].clone(),
    };
    let mut worst = (0.0, String::new());
    note(&mut worst, "output.y", &outputs, expected);
    for (name, state) in ["output.hx", "output.cx"].iter().zip(&states) {
        note(&mut worst, name, &array(state), &tensors[*name]);
    }
    worst
}

fn array(tensor: &Tensor) -> Array {
    let shape: Vec<i32> = tensor.shape.iter().map(|size| *size as i32).collect();
    Array::from_slice(&tensor.values, &shape)
}

fn run_case(folder: &Path, case: &Value, implementation: Implementation) -> Worst {
    let tensors = tensors(folder, case);
    let mut layer = loaded(case, &tensors);
    layer.run_as(implementation);
    let names = layer.torch_names(case["constructor"].as_object().unwrap());

    let (values, gradients) = values_and_gradients(&layer, &tensors);
    let mut worst = Worst::default();
    for (name, value) in ["output.y", "output.hx", "output.cx"]
        .iter()
        .zip(&values[1..])
    {
        note(&mut worst.output, name, value, &tensors[*name]);
    }
    let mut compared = 0;
    for (name, gradient) in &gradients {
        let torch = names.get(name).map_or(name.as_ref(), String::as_str);
        let expected = &tensors[&format!("grad.{torch}")];
        note(&mut worst.gradient, torch, gradient, expected);
        compared += 1;
    }
    let expected = tensors
        .keys()
        .filter(|name| name.starts_with("grad."))
        .count();
    assert_eq!(compared, expected, "gradients in {}", case["file"]);
    worst
}

/// `[loss, outputs, hidden (, memory)]`, and the loss's gradients by parameters and inputs.
fn values_and_gradients(
    layer: &Layer,
    tensors: &HashMap<String, Array>,
) -> (Vec<Array>, HashMap<Rc<str>, Array>) {
    let mut variables: HashMap<Rc<str>, Array> = HashMap::new();
    for (name, array) in layer.as_sequence().trainable_parameters().flatten() {
        variables.insert(name, array.clone());
    }
    for name in ["x", "hx", "cx", "timespans"] {
        if let Some(array) = tensors.get(&format!("input.{name}")) {
            variables.insert(name.into(), array.clone());
        }
    }
    let mut layer = layer.clone();
    let run = move |variables: HashMap<Rc<str>, Array>, (): ()| {
        let (inputs, parameters): (HashMap<_, _>, HashMap<_, _>) = variables
            .into_iter()
            .partition(|(name, _)| ["x", "hx", "cx", "timespans"].contains(&name.as_ref()));
        update_parameters(layer.parameters_mut(), parameters);
        forward(&layer, &inputs)
    };
    keyed_value_and_grad(run)(variables, ()).unwrap()
}

fn forward(layer: &Layer, inputs: &HashMap<Rc<str>, Array>) -> Result<Vec<Array>, Exception> {
    let state = State {
        hidden: inputs["hx"].clone(),
        memory: inputs.get("cx").cloned(),
    };
    let timespans = inputs.get("timespans").cloned();
    let input = SequenceInput::new(&inputs["x"])
        .timespans(timespans.map_or(Timespans::Unit, Timespans::Array))
        .state(&state);
    let result = layer.as_sequence().sequence(&input);
    let result = result.map_err(|error| Exception::custom(error.to_string()))?;
    let loss = result.outputs.square()?.mean(None)?;
    let mut values = vec![loss, result.outputs, result.state.hidden];
    values.extend(result.state.memory);
    Ok(values)
}

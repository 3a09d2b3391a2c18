//! Every case of the golden set through the kernels, on every instruction set and with every way of keeping records.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;
use serde_json::Value;

use super::{Case, Derivatives, Keep, Values, levels};
use crate::cell::{Activation, Mapping, Mode, ParamConstraints};
use crate::kernel::spec::{CfcLayer, CfcSpec, LtcSpec, SequenceSpec};

const OUTPUT_TOLERANCE: f32 = 1e-5;
const GRADIENT_TOLERANCE: f32 = 1e-6;

pub(super) type Tensors = HashMap<String, (Vec<usize>, Vec<f32>)>;

pub(super) fn folder() -> PathBuf {
    match std::env::var_os("NCPS_GOLDEN_DIR") {
        Some(folder) => folder.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden"),
    }
}

pub(super) fn read(path: &Path) -> Tensors {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let floats = |data: &[u8], is_int: bool| -> Vec<f32> {
        data.chunks_exact(4)
            .map(|b| {
                let b = [b[0], b[1], b[2], b[3]];
                if is_int {
                    i32::from_le_bytes(b) as f32
                } else {
                    f32::from_le_bytes(b)
                }
            })
            .collect()
    };
    file.iter()
        .map(|(name, view)| {
            let is_int = view.dtype() == safetensors::Dtype::I32;
            (
                name.to_owned(),
                (view.shape().to_vec(), floats(view.data(), is_int)),
            )
        })
        .collect()
}

/// The synapses of a mask [sources, targets].
fn pairs((shape, mask): &(Vec<usize>, Vec<f32>)) -> Vec<(usize, usize)> {
    (0..shape[0])
        .flat_map(|i| (0..shape[1]).map(move |j| (i, j)))
        .filter(|&(i, j)| mask[i * shape[1] + j] != 0.0)
        .collect()
}

fn ltc_spec(constructor: &Value, tensors: &Tensors) -> LtcSpec {
    let map = |key: &str| match constructor.get(key) {
        None => Mapping::Affine,
        Some(Value::String(s)) if s == "affine" => Mapping::Affine,
        Some(Value::String(s)) if s == "linear" => Mapping::Linear,
        Some(_) => Mapping::None,
    };
    let sensory = &tensors["param.rnn_cell.sensory_sparsity_mask"];
    let is_explicit = constructor.get("implicit_param_constraints") == Some(&Value::Bool(false));
    LtcSpec {
        inputs: sensory.0[0],
        units: sensory.0[1],
        outputs: tensors["output.y"].0[2],
        unfolds: constructor
            .get("ode_unfolds")
            .and_then(Value::as_u64)
            .unwrap_or(6) as usize,
        epsilon: constructor
            .get("epsilon")
            .and_then(Value::as_f64)
            .unwrap_or(1e-8) as f32,
        constraints: if is_explicit {
            ParamConstraints::Explicit
        } else {
            ParamConstraints::Implicit
        },
        input_mapping: map("input_mapping"),
        output_mapping: map("output_mapping"),
        synapses: pairs(&tensors["param.rnn_cell.sparsity_mask"]),
        sensory_synapses: pairs(sensory),
    }
}

fn cfc_spec(constructor: &Value, tensors: &Tensors) -> CfcSpec {
    let text = |key: &str, default: &str| {
        constructor
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or(default)
            .to_owned()
    };
    let number = |key: &str, default: u64| {
        constructor
            .get(key)
            .and_then(Value::as_u64)
            .unwrap_or(default) as usize
    };
    let inputs = number("input_size", 0);
    let mut layers = Vec::new();
    while let Some((shape, mask)) = tensors.get(&format!(
        "param.rnn_cell.layer_{}.sparsity_mask",
        layers.len()
    )) {
        layers.push(CfcLayer {
            inputs: shape[1] - shape[0],
            units: shape[0],
            mask: Some(mask.clone()),
        });
    }
    let is_wired = !layers.is_empty();
    if !is_wired {
        layers.push(CfcLayer {
            inputs,
            units: number("units", 0),
            mask: None,
        });
    }
    CfcSpec {
        layers,
        mode: match text("mode", "default").as_str() {
            "pure" => Mode::Pure,
            "no_gate" => Mode::NoGate,
            _ => Mode::Default,
        },
        activation: match text("activation", "lecun_tanh").as_str() {
            "relu" => Activation::Relu,
            "silu" => Activation::Silu,
            "gelu" => Activation::Gelu,
            "tanh" => Activation::Tanh,
            _ => Activation::LecunTanh,
        },
        backbone_units: number("backbone_units", 128),
        backbone_layers: if is_wired {
            0
        } else {
            number("backbone_layers", 1)
        },
        dropped: Vec::new(),
    }
}

/// The reference counts the backbone's activations as layers too.
fn reference_name(name: &str, tensors: &Tensors) -> String {
    let Some((before, rest)) = name.split_once("backbone.") else {
        return name.to_owned();
    };
    let (index, after) = rest.split_once('.').unwrap();
    let k: usize = index.parse().unwrap();
    let candidates = [2 * k, if k == 0 { 0 } else { 3 * k - 1 }];
    let names = candidates.map(|index| format!("{before}backbone.{index}.{after}"));
    names
        .into_iter()
        .find(|name| tensors.contains_key(&format!("param.{name}")))
        .unwrap()
}

pub(super) fn build(case: &Value, tensors: &Tensors) -> (Case, Vec<String>) {
    let constructor = &case["constructor"];
    let has_memory = constructor.get("mixed_memory") == Some(&Value::Bool(true));
    let spec = match case["class"].as_str().unwrap() {
        "ncps.torch.LTC" => SequenceSpec::ltc(ltc_spec(constructor, tensors), has_memory),
        _ => SequenceSpec::cfc(cfc_spec(constructor, tensors), has_memory),
    };
    let specs = spec.parameters();
    let names: Vec<String> = specs
        .iter()
        .map(|p| reference_name(&p.name, tensors))
        .collect();
    let value = |name: &str| tensors.get(name).map(|(_, values)| values.clone());
    let shape = &tensors["input.x"].0;
    let parameters = specs.iter().zip(&names).map(|(parameter, name)| {
        let (shape, values) = &tensors[&format!("param.{name}")];
        assert_eq!(&parameter.shape, shape, "{name}");
        values.clone()
    });
    let built = Case {
        batch: shape[0],
        time: shape[1],
        parameters: parameters.collect(),
        x: value("input.x").unwrap(),
        span: 1.0,
        timespans: value("input.timespans").unwrap_or_default(),
        mask: None,
        hidden: value("input.hx"),
        memory: value("input.cx"),
        dropout: Vec::new(),
        is_last_only: false,
        spec,
    };
    (built, names)
}

/// `y = fc(out)`, the loss `mean(y^2)` and its gradient with respect to `out`.
pub(super) fn project(out: &[f32], tensors: &Tensors) -> (Vec<f32>, Vec<f32>) {
    let (weight, bias) = match (tensors.get("param.fc.weight"), tensors.get("param.fc.bias")) {
        (Some(weight), Some(bias)) => (weight, &bias.1),
        _ => {
            return (
                out.to_vec(),
                out.iter().map(|y| 2.0 * y / out.len() as f32).collect(),
            );
        }
    };
    let (rows, columns) = (weight.0[0], weight.0[1]);
    let mut y = Vec::new();
    for out in out.chunks_exact(columns) {
        let row = |o: usize| &weight.1[o * columns..(o + 1) * columns];
        y.extend(
            (0..rows).map(|o| bias[o] + row(o).iter().zip(out).map(|(w, x)| w * x).sum::<f32>()),
        );
    }
    let mut gradient = vec![0.0; out.len()];
    let scale = 2.0 / y.len() as f32;
    for (y, gradient) in y.chunks_exact(rows).zip(gradient.chunks_exact_mut(columns)) {
        for (o, y) in y.iter().enumerate() {
            for (g, w) in gradient.iter_mut().zip(&weight.1[o * columns..]) {
                *g += scale * y * w;
            }
        }
    }
    (y, gradient)
}

fn difference(actual: &[f32], name: &str, tensors: &Tensors) -> f32 {
    let Some((_, expected)) = tensors.get(name) else {
        return 0.0;
    };
    assert_eq!(actual.len(), expected.len(), "{name}");
    let differences = actual.iter().zip(expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |worst, d| {
        if d.is_nan() {
            f32::INFINITY
        } else {
            worst.max(d)
        }
    })
}

/// Holds outputs and gradients to a recording; gives the largest differences of both.
pub(super) fn assert_matches(
    values: &Values,
    gradients: &Derivatives,
    names: &[String],
    tensors: &Tensors,
    what: &str,
) -> (f32, f32) {
    let y = project(&values.y, tensors).0;
    let outputs = [
        (&y, "output.y"),
        (&values.hidden, "output.hx"),
        (&values.memory, "output.cx"),
    ];
    let (mut worst_output, mut worst_gradient) = (0f32, 0f32);
    for (actual, name) in outputs {
        let d = difference(actual, name, tensors);
        assert!(d < OUTPUT_TOLERANCE, "{what} {name}: {d:e}");
        worst_output = worst_output.max(d);
    }
    let inputs = [
        (&gradients.x, "x"),
        (&gradients.hidden, "hx"),
        (&gradients.memory, "cx"),
        (&gradients.timespans, "timespans"),
    ];
    let named = gradients
        .parameters
        .iter()
        .zip(names.iter().map(String::as_str));
    for (actual, name) in named.chain(inputs) {
        let d = difference(actual, &format!("grad.{name}"), tensors);
        assert!(d < GRADIENT_TOLERANCE, "{what} grad.{name}: {d:e}");
        worst_gradient = worst_gradient.max(d);
    }
    (worst_output, worst_gradient)
}

#[test]
fn all_cases_match_the_reference() {
    let folder = folder();
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let cases = manifest["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    let (mut worst_output, mut worst_gradient) = (0f32, 0f32);
    for entry in cases {
        let file = entry["file"].as_str().unwrap();
        let tensors = read(&folder.join(file));
        let (case, names) = build(entry, &tensors);
        for level in levels() {
            for keep in [Keep::All, Keep::Nothing, Keep::Segments(3)] {
                let loss = |values: &Values| Values {
                    y: project(&values.y, &tensors).1,
                    ..Values::default()
                };
                let (values, gradients) = case.run(level, keep, loss);
                let what = format!("{file} {} {keep:?}", level.name());
                let worst = assert_matches(&values, &gradients, &names, &tensors, &what);
                worst_output = worst_output.max(worst.0);
                worst_gradient = worst_gradient.max(worst.1);
            }
        }
    }
    // Far below the tolerances, or the reference's own rounding is not what is left.
    assert!(
        worst_output < 2e-6 && worst_gradient < 5e-7,
        "{worst_output:e} {worst_gradient:e}"
    );
}

use std::collections::BTreeMap;

use ncps_core::checkpoint::save_model;
use ncps_core::export::{Op, Tensor, evaluate};
use ncps_core::init::child_seed;
use ncps_datasets::DataSchema;
use serde_json::{Value, json};

use super::*;

/// Operations that ONNX Runtime's Core ML provider runs in an ML program (its `coreml_supported_mlprogram_ops.md`, revision 04f568d).
const OF_CORE_ML: [&str; 24] = [
    "Add",
    "Cast",
    "Clip",
    "Concat",
    "Div",
    "Erf",
    "Exp",
    "Gelu",
    "Gemm",
    "Identity",
    "MatMul",
    "Max",
    "Mul",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Split",
    "Squeeze",
    "Sub",
    "Tanh",
    "Unsqueeze",
];

/// Numbers that depend on a seed only.
struct Draws {
    seed: u64,
    count: u64,
}

impl Draws {
    fn below(&mut self, limit: usize) -> usize {
        self.count += 1;
        (child_seed(self.seed, self.count) >> 33) as usize % limit
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())].clone()
    }
}

fn layer(draws: &mut Draws, motors: usize, is_half: bool) -> Value {
    let wiring = |draws: &mut Draws| {
        let units = motors + 4 + draws.below(14);
        draws.of(&[
            json!({ "kind": "auto_ncp", "units": units, "outputs": motors }),
            json!({ "kind": "fully_connected", "units": units, "outputs": motors }),
            json!({ "kind": "random", "units": units, "outputs": motors, "sparsity": 0.8 }),
        ])
    };
    let kinds = if is_half { 3 } else { 5 };
    let mixed = draws.below(3) == 0;
    match draws.below(kinds) {
        0 => json!({
            "kind": "cfc", "units": 2 + draws.below(20), "mixed_memory": mixed,
            "mode": draws.of(&["default", "pure", "no_gate"]),
            "activation": draws.of(&["lecun_tanh", "silu", "relu", "tanh", "gelu"]),
            "backbone_units": 3 + draws.below(20), "backbone_layers": draws.below(4),
        }),
        1 => json!({
            "kind": "cfc", "units": wiring(draws), "mixed_memory": mixed,
            "mode": draws.of(&["default", "pure", "no_gate"]),
        }),
        2 => json!({ "kind": draws.of(&["lstm", "gru"]), "units": 2 + draws.below(12) }),
        _ => json!({
            "kind": "ltc", "units": wiring(draws), "mixed_memory": mixed, "unfolds": 1 + draws.below(8),
            "constraints": draws.of(&["implicit", "explicit"]),
            "input_mapping": draws.of(&["affine", "linear", "none"]),
            "output_mapping": draws.of(&["affine", "linear", "none"]),
        }),
    }
}

fn model(draws: &mut Draws, motors: usize, is_half: bool) -> Value {
    if draws.below(4) > 0 {
        return layer(draws, motors, is_half);
    }
    let layers: Vec<Value> = (0..1 + draws.below(3))
        .map(|_| layer(draws, motors, is_half))
        .collect();
    let encoder = draws.of(&[
        Value::Null,
        json!({ "units": 5, "layers": 2, "activation": "silu" }),
    ]);
    json!({ "kind": "stacked", "layers": layers, "encoder": encoder })
}

fn schema(draws: &mut Draws, features: usize, outputs: usize) -> DataSchema {
    let scales = |draws: &mut Draws, count: usize| -> Vec<Value> {
        let each = (0..count).map(|_| {
            let shift = draws.of(&[0.0, -3.7, 1_234.567_891]);
            json!({ "shift": shift, "scale": draws.of(&[1.0, 0.02, 35.5]) })
        });
        each.collect()
    };
    let names = |what: &str, count: usize| -> Vec<String> {
        (0..count).map(|index| format!("{what}{index}")).collect()
    };
    let is_class = outputs > 1 && draws.below(3) == 0;
    let task = if is_class {
        json!({ "kind": "classification", "classes": names("class", outputs) })
    } else {
        json!({ "kind": "regression" })
    };
    let targets = if is_class { 1 } else { outputs };
    let time = draws.of(&[
        Value::Null,
        json!({ "column": "t", "unit": "minute", "scale": 2.5, "span": "since_previous", "edge": 1.0 }),
        json!({ "column": "t", "unit": "second", "scale": 1.0, "span": "until_next", "edge": 0.5 }),
    ]);
    let normaliser = json!({
        "features": scales(draws, features),
        "targets": if is_class { vec![json!({ "shift": 0.0, "scale": 1.0 })] } else { scales(draws, targets) },
    });
    serde_json::from_value(json!({
        "features": names("f", features), "targets": names("y", targets), "task": task,
        "each_step": draws.below(3) > 0, "horizon": 0, "time": time, "group": null, "normaliser": normaliser,
    }))
    .unwrap()
}

/// A folder with a model whose weights, sizes and data are drawn from `seed`.
fn random_model(folder: &Path, seed: u64, is_half: bool) -> String {
    let mut draws = Draws { seed, count: 0 };
    let (features, outputs) = (1 + draws.below(7), 1 + draws.below(4));
    let data = schema(&mut draws, features, outputs);
    // Not every random wiring reaches its motor neurons.
    let (model, config, network) = loop {
        let model = model(&mut draws, outputs, is_half);
        let config: ModelConfig = serde_json::from_value(model.clone()).unwrap();
        if let Ok(network) = config.build(features, outputs, seed) {
            break (model, config, network);
        }
    };
    let description = ModelDescription::new(&config, features, outputs, &data);
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("config.json"), description.to_json().unwrap()).unwrap();
    save_model(&folder.join("model.safetensors"), &network).unwrap();
    model.to_string()
}

fn options(element: Element) -> Options {
    Options {
        format: Format::Onnx,
        forms: vec![Form::Step, Form::Sequence],
        element,
        values: true,
    }
}

/// Exports random models below the folder that `NCPS_EXPORT_DIR` names, for other runtimes to try, or below one that goes.
fn parity(count: u64, element: Element) -> BTreeMap<String, f64> {
    let temporary = tempfile::tempdir().unwrap();
    let root =
        std::env::var_os("NCPS_EXPORT_DIR").map_or(temporary.path().to_owned(), PathBuf::from);
    let mut worst = BTreeMap::new();
    for seed in 0..count {
        let half = element == Element::F16;
        let folder = root.join(format!("{element:?}-{seed:03}").to_lowercase());
        let model = random_model(&folder, seed, half);
        let exported = export(&folder, &folder, &options(element));
        let exported = exported.unwrap_or_else(|error| panic!("{seed} {model}: {error}"));
        for node in &exported.files[0].graph.nodes {
            assert!(OF_CORE_ML.contains(&node.op.name()), "{}", node.op.name());
        }
        let mut options = options(element);
        options.format = Format::CoreMl;
        export(&folder, &folder, &options).unwrap();
        worst.insert(model, exported.deviation.largest);
    }
    worst
}

fn show(what: &str, worst: &BTreeMap<String, f64>) {
    let most = worst.iter().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
    // Shown by `--nocapture` only: the figure of tests/README.md.
    println!(
        "{what}: {} models, largest difference {:.1e} by {}",
        worst.len(),
        most.1,
        most.0
    );
}

fn count() -> u64 {
    let is_long = std::env::var_os("NCPS_LONG").is_some();
    if is_long { 100 } else { 20 }
}

#[test]
fn random_models_give_the_same_numbers_as_mlx() {
    let worst = parity(count(), Element::F32);
    show("f32", &worst);
    assert!(worst.values().all(|difference| *difference <= 1e-5));
}

#[test]
fn random_models_in_half_precision_stay_near_mlx() {
    let worst = parity(count() / 2, Element::F16);
    show("f16", &worst);
    assert!(worst.values().all(|difference| *difference <= 5e-3));
    // Equality would mean that nothing was rounded.
    assert!(worst.values().any(|difference| *difference > 1e-5));
}

#[test]
fn the_same_model_gives_the_same_bytes_and_other_weights_another_key() {
    let root = tempfile::tempdir().unwrap();
    let folders = ["a", "b", "c"].map(|name| root.path().join(name));
    for (folder, seed) in folders.iter().zip([3, 3, 4]) {
        random_model(folder, seed, false);
        let mut one = random_model_with_weights(folder, seed);
        one.forms = vec![Form::Step];
        export(folder, folder, &one).unwrap();
    }
    let read = |folder: &PathBuf| std::fs::read(folder.join("model.step.onnx")).unwrap();
    assert_eq!(read(&folders[0]), read(&folders[1]));
    assert_ne!(key(&read(&folders[0])), key(&read(&folders[2])));
    assert!(!folders[0].join("model.sequence.onnx").exists());
    // Written over another package, as `export` does it a second time.
    let mut package = options(Element::F32);
    package.format = Format::CoreMl;
    let [one, other, third] = folders.map(|folder| {
        export(&folder, &folder, &package).unwrap();
        export(&folder, &folder, &package).unwrap();
        [
            "Manifest.json",
            "Data/com.apple.CoreML/model.mlmodel",
            "Data/com.apple.CoreML/weights/weight.bin",
        ]
        .map(|name| std::fs::read(folder.join("model.mlpackage").join(name)).unwrap())
    });
    assert_eq!(one, other);
    assert!(one.iter().zip(&third).all(|(a, b)| a != b));
}

/// The same small network with weights of `seed`.
fn random_model_with_weights(folder: &Path, seed: u64) -> Options {
    let config: ModelConfig = serde_json::from_value(json!({ "kind": "cfc", "units": 4 })).unwrap();
    let mut draws = Draws { seed: 1, count: 0 };
    let data = schema(&mut draws, 2, 1);
    let network = config.build(2, 1, seed).unwrap();
    let description = ModelDescription::new(&config, 2, 1, &data);
    std::fs::write(folder.join("config.json"), description.to_json().unwrap()).unwrap();
    save_model(&folder.join("model.safetensors"), &network).unwrap();
    options(Element::F32)
}

fn place(file: &[u8], text: &[u8]) -> usize {
    let mut places = file.windows(text.len());
    places.position(|part| part == text).unwrap()
}

/// The 64 digits after the name of the key.
fn key(file: &[u8]) -> String {
    let name = b"CACHE_KEY";
    let at = place(file, name) + name.len() + 2;
    String::from_utf8(file[at..at + 64].to_vec()).unwrap()
}

#[test]
fn a_batch_of_sequences_gives_what_each_sequence_gives() {
    let root = tempfile::tempdir().unwrap();
    let options = {
        random_model(root.path(), 1, false);
        random_model_with_weights(root.path(), 1)
    };
    let exported = export(root.path(), root.path(), &options).unwrap();
    let graph = &exported.files[1].graph;
    assert!(matches!(
        graph
            .nodes
            .iter()
            .map(|n| &n.op)
            .find(|op| op.name() == "Scan"),
        Some(Op::Scan { sequences: 2, .. })
    ));
    let steps = 5;
    let values: Vec<f32> = (0..2 * steps * 2).map(|i| (i as f32).sin()).collect();
    let run = |batch: std::ops::Range<usize>| {
        let count = batch.len();
        let x = values[batch.start * steps * 2..batch.end * steps * 2].to_vec();
        let inputs = [
            Tensor::new(&[count, steps, 2], x),
            Tensor::new(&[count, steps], vec![0.7; count * steps]),
            Tensor::new(&[count, 4], vec![0.0; count * 4]),
        ];
        evaluate(graph, &inputs).unwrap()
    };
    let both = run(0..2);
    for (index, all) in both.iter().enumerate() {
        let parts = [run(0..1), run(1..2)].map(|parts| parts[index].values.clone());
        assert_eq!(all.values, parts.concat());
    }
}

#[test]
fn what_cannot_be_exported_is_refused_with_the_reason() {
    let root = tempfile::tempdir().unwrap();
    for (model, element, words) in [
        (
            json!({ "kind": "ltc", "units": 3 }),
            Element::F16,
            "an LTC in f16",
        ),
        (
            json!({ "kind": "bidirectional", "layer": { "kind": "gru", "units": 3 } }),
            Element::F32,
            "begins at the end of the sequence",
        ),
    ] {
        let config: ModelConfig = serde_json::from_value(model).unwrap();
        let mut draws = Draws { seed: 1, count: 0 };
        let data = schema(&mut draws, 2, 1);
        let network = config.build(2, 1, 1).unwrap();
        let description = ModelDescription::new(&config, 2, 1, &data);
        std::fs::write(
            root.path().join("config.json"),
            description.to_json().unwrap(),
        )
        .unwrap();
        save_model(&root.path().join("model.safetensors"), &network).unwrap();
        let out = root.path().join("out");
        let error = export(root.path(), &out, &options(element)).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(!out.exists());
    }
}

#[test]
fn a_changed_weight_is_noticed() {
    let root = tempfile::tempdir().unwrap();
    random_model(root.path(), 1, false);
    random_model_with_weights(root.path(), 1);
    let description = load_description(root.path()).unwrap();
    let network = description.load_network(root.path()).unwrap();
    let source = Source {
        description: &description,
        network: network.as_ref(),
        element: Element::F32,
    };
    let mut graph = step::graph(&source, &step::Place::ALONE).unwrap();
    check::against_mlx(&source, &graph).unwrap();
    let weights = graph
        .constants
        .iter_mut()
        .max_by_key(|constant| constant.values.len());
    weights.unwrap().values[0] += 0.01;
    let error = check::against_mlx(&source, &graph).unwrap_err();
    assert!(matches!(error, Error::ExportDiffers { .. }), "{error}");
}

#[test]
fn damaged_bytes_are_no_graph() {
    let root = tempfile::tempdir().unwrap();
    random_model(root.path(), 1, false);
    let options = random_model_with_weights(root.path(), 1);
    let exported = export(root.path(), root.path(), &options).unwrap();
    let bytes = std::fs::read(&exported.files[0].path).unwrap();
    assert_eq!(decode(&bytes).unwrap(), exported.files[0].graph);
    // Only the metadata follow the graph.
    for length in (0..place(&bytes, b"CACHE_KEY") - 32).step_by(7) {
        if let Ok(graph) = decode(&bytes[..length]) {
            assert_ne!(graph, exported.files[0].graph, "{length}");
        }
    }
}

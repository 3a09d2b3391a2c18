use mlx_rs::Array;

use super::*;
use crate::cell::{Activation, Mapping, Mode, ParamConstraints};
use crate::rnn::{
    CfcConfig, GruConfig, LstmConfig, LtcConfig, SequenceLayer, State, Timespans, Units,
};
use crate::wiring::{AutoNcp, FullyConnected, Random};

const INPUTS: usize = 3;
const BATCH: usize = 4;

/// The step of a layer as a graph with inputs x, ts, hidden and memory.
fn step(layer: &dyn SequenceLayer) -> Graph {
    let mut graph = Builder::new("");
    let size = |width| vec![Dim::Name("B".into()), Dim::Size(width)];
    let x = graph.input("x", size(layer.inputs()), "");
    let elapsed = graph.input("ts", size(1), "");
    let hidden = graph.input("hidden", size(layer.state_units()), "");
    let has_memory = layer.has_memory();
    let memory = has_memory.then(|| graph.input("memory", size(layer.state_units()), ""));
    let state = StateValues { hidden, memory };
    let (outputs, next) = layer.export_step(&mut graph, &x, &elapsed, &state).unwrap();
    graph.output(&outputs, "y", size(layer.outputs()), "");
    graph.output(&next.hidden, "hidden_next", size(layer.state_units()), "");
    if let Some(memory) = &next.memory {
        graph.output(memory, "memory_next", size(layer.state_units()), "");
    }
    graph.finish()
}

fn draws(seed: u64, width: usize) -> Array {
    crate::init::Initializer::new(seed).uniform(-1.0, 1.0, &[BATCH, width])
}

fn tensor(array: &Array) -> Tensor {
    let shape: Vec<usize> = array.shape().iter().map(|size| *size as usize).collect();
    Tensor::new(&shape, crate::rnn::host(array).unwrap())
}

fn largest_difference(layer: &dyn SequenceLayer) -> f32 {
    let x = draws(1, layer.inputs());
    let spans = crate::init::Initializer::new(2).uniform(0.1, 2.0, &[BATCH, 1]);
    let has_memory = layer.has_memory();
    let state = State {
        hidden: draws(3, layer.state_units()),
        memory: has_memory.then(|| draws(4, layer.state_units())),
    };
    let (y, next) = layer
        .step(&x, &Timespans::Array(spans.clone()), &state)
        .unwrap();
    let graph = step(layer);
    let given = [
        ("x", Some(&x)),
        ("ts", Some(&spans)),
        ("hidden", Some(&state.hidden)),
        ("memory", state.memory.as_ref()),
    ];
    let inputs: Vec<Tensor> = graph
        .inputs
        .iter()
        .map(|port| given.iter().find(|(name, _)| *name == port.name).unwrap())
        .map(|(_, array)| tensor(array.unwrap()))
        .collect();
    let found = evaluate(&graph, &inputs).unwrap();
    let expected: Vec<Tensor> = [Some(&y), Some(&next.hidden), next.memory.as_ref()]
        .into_iter()
        .flatten()
        .map(tensor)
        .collect();
    assert_eq!(found.len(), expected.len());
    let mut worst = 0.0_f32;
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.shape, expected.shape);
        for (a, b) in found.values.iter().zip(&expected.values) {
            assert!(a.is_finite());
            worst = worst.max((a - b).abs());
        }
    }
    worst
}

#[test]
fn the_graph_of_every_layer_gives_the_layers_step() {
    let mut layers: Vec<(String, Box<dyn SequenceLayer>)> = Vec::new();
    for mode in [Mode::Default, Mode::Pure, Mode::NoGate] {
        for (backbone, function) in [
            (0, Activation::LecunTanh),
            (1, Activation::Gelu),
            (1, Activation::Silu),
            (2, Activation::Relu),
            (3, Activation::Tanh),
            (1, Activation::LecunTanh),
        ] {
            let mut config = CfcConfig::new(INPUTS, 7);
            (config.mode, config.activation) = (mode, function);
            (config.backbone_layers, config.backbone_units) = (backbone, 9);
            config.mixed_memory = backbone == 2;
            config.projection = (backbone == 3).then_some(2);
            let name = format!("cfc {mode:?} {backbone} {function:?}");
            layers.push((name, Box::new(config.build(1).unwrap())));
        }
        for mixed in [false, true] {
            let mut config = CfcConfig::new(INPUTS, AutoNcp::new(14, 2));
            (config.mode, config.mixed_memory) = (mode, mixed);
            let name = format!("wired cfc {mode:?} {mixed}");
            layers.push((name, Box::new(config.build(2).unwrap())));
        }
    }
    let units: [Units; 4] = [
        6.into(),
        AutoNcp::new(14, 2).into(),
        FullyConnected::new(8, 3).into(),
        Random::new(12, 2, 0.9).into(),
    ];
    let mappings = [Mapping::Affine, Mapping::Linear, Mapping::None];
    for (units, constraints) in units.into_iter().zip([
        ParamConstraints::Implicit,
        ParamConstraints::Implicit,
        ParamConstraints::Explicit,
        ParamConstraints::Implicit,
    ]) {
        for (index, mapping) in mappings.into_iter().enumerate() {
            let mut config = LtcConfig::new(INPUTS, units.clone());
            (config.constraints, config.unfolds) = (constraints, 1 + 3 * index);
            (config.input_mapping, config.output_mapping) = (mapping, mapping);
            config.mixed_memory = index == 1;
            let name = format!("ltc {units:?} {mapping:?}");
            layers.push((name, Box::new(config.build(3).unwrap())));
        }
    }
    layers.push((
        "lstm".into(),
        Box::new(LstmConfig::new(INPUTS, 6).build(4).unwrap()),
    ));
    layers.push((
        "gru".into(),
        Box::new(GruConfig::new(INPUTS, 6).build(5).unwrap()),
    ));
    for (name, layer) in &layers {
        let worst = largest_difference(layer.as_ref());
        assert!(worst <= 2e-6, "{name}: {worst}");
    }
}

#[test]
fn a_value_that_leaves_twice_gets_two_names_and_an_unneeded_input_goes() {
    let graph = step(&LstmConfig::new(2, 3).build(1).unwrap());
    let names = |ports: &[Port]| ports.iter().map(|p| p.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&graph.inputs), ["x", "hidden", "memory"]);
    assert_eq!(names(&graph.outputs), ["y", "hidden_next", "memory_next"]);
    let identities = graph.nodes.iter().filter(|node| node.op == Op::Identity);
    assert_eq!(identities.count(), 1);
}

#[test]
fn scattered_places_are_a_product_and_consecutive_ones_a_part() {
    for (chosen, op) in [(vec![4, 0, 2], "Gemm"), (vec![1, 2], "Split")] {
        let mut graph = Builder::new("");
        let x = graph.input("x", vec![Dim::Size(1), Dim::Size(5)], "");
        let y = places(&mut graph, &x, &chosen, 5);
        graph.output(&y, "y", vec![Dim::Size(1), Dim::Size(chosen.len())], "");
        let graph = graph.finish();
        assert_eq!(graph.nodes[0].op.name(), op);
        let x = Tensor::new(&[1, 5], vec![0.5, 1.5, 2.5, 3.5, 4.5]);
        let found = evaluate(&graph, &[x]).unwrap();
        let expected: Vec<f32> = chosen.iter().map(|place| *place as f32 + 0.5).collect();
        assert_eq!(found[0].values, expected);
    }
}

#[test]
fn half_precision_rounds_each_result() {
    let mut graph = Builder::new("");
    let x = graph.input("x", vec![Dim::Size(1)], "");
    let x = graph.cast(&x, Element::F16);
    graph.compute_in(Element::F16);
    let small = graph.number(0.0004);
    let sum = graph.add(&x, &small);
    let sum = graph.cast(&sum, Element::F32);
    graph.output(&sum, "y", vec![Dim::Size(1)], "");
    let found = evaluate(&graph.finish(), &[Tensor::new(&[1], vec![1.0])]).unwrap();
    // The spacing of f16 above 1 is 1/1024, of which 0.0004 is less than a half.
    assert_eq!(found[0].values, [1.0]);
}

#[test]
fn what_does_not_fit_is_named() {
    let mut graph = Builder::new("");
    let x = graph.input("x", vec![Dim::Size(1), Dim::Size(2)], "");
    let weight = graph.constant("weight", &[4, 3], &[0.0; 12]);
    let y = graph.gemm(&x, &weight, None);
    graph.output(&y, "y", vec![Dim::Size(1), Dim::Size(4)], "");
    let graph = graph.finish();
    let error = evaluate(&graph, &[Tensor::new(&[1, 2], vec![0.0; 2])]).unwrap_err();
    assert!(error.to_string().starts_with("graph: Gemm `y`"), "{error}");
    assert!(evaluate(&graph, &[]).is_err());
}

//! Counts against counts on paper.

use ncps_core::cell::Mode;
use ncps_core::wiring::{AutoNcp, FullyConnected};

use crate::{CfcModel, Head, LstmModel, LtcModel, ModelConfig, Network, StackedModel, Work};

fn network(config: impl Into<ModelConfig>, outputs: usize) -> Box<dyn Network> {
    config.into().build(8, outputs, 1).unwrap()
}

fn projected(mode: Mode) -> CfcModel {
    CfcModel {
        mode,
        backbone_units: 128,
        projection: Some(4),
        ..CfcModel::new(64)
    }
}

#[test]
fn a_cfc_with_a_backbone_by_hand() {
    let work = Work::of_step(network(projected(Mode::Default), 4).as_ref()).unwrap();
    // Backbone 72 -> 128, four heads 128 -> 64, projection 64 -> 4.
    assert_eq!(work.products, 2 * (72 * 128 + 4 * 128 * 64 + 64 * 4));
    assert_eq!(work.arithmetic, 128 + 2 * 128 + 10 * 64 + 4);
    assert_eq!(
        (work.sigmoids, work.tanhs, work.exps),
        (64, 128 + 2 * 64, 0)
    );
}

#[test]
fn a_training_step_by_hand() {
    let network = network(projected(Mode::Default), 4);
    let work = Work::of_training_step(network.as_ref(), 64, 32).unwrap();
    let parameters = 72 * 128 + 128 + 4 * (128 * 64 + 64) + 64 * 4 + 4;
    assert_eq!(network.summary().parameters, parameters);
    // Three times the forward products of 64 x 32 steps: 515.9 MFLOP and 3.1 of the projection.
    assert_eq!(work.products, 519_045_120);
    let elementwise = 3 * 2048 * (3 * 128 + 10 * 64 + 4);
    assert_eq!(
        work.arithmetic,
        elementwise + 4 * 2048 * 4 + 13 * parameters as u64
    );
    assert_eq!(work.functions(), 2048 * (128 + 3 * 64));
    assert_eq!(work.flops(), work.products + work.arithmetic);
}

#[test]
fn mode_pure_has_one_head_and_an_exponential() {
    let work = Work::of_step(network(projected(Mode::Pure), 4).as_ref()).unwrap();
    assert_eq!(work.products, 2 * (72 * 128 + 128 * 64 + 64 * 4));
    assert_eq!((work.sigmoids, work.tanhs, work.exps), (0, 128, 64));
}

#[test]
fn an_ltc_on_all_synapses_by_hand() {
    let model = LtcModel {
        head: Head::None,
        ..LtcModel::new(FullyConnected::new(64, 4))
    };
    let work = Work::of_step(network(model, 4).as_ref()).unwrap();
    assert_eq!(work.products, 0);
    assert_eq!(work.sigmoids, 6 * 64 * 64 + 8 * 64);
    // Affine maps of 8 inputs and 4 outputs.
    assert_eq!(
        work.arithmetic,
        6 * (6 * 4096 + 4 * 64) + 6 * 512 + 2 * 8 + 2 * 4
    );
}

#[test]
fn an_ltc_counts_the_synapses_of_its_wiring_alone() {
    let wiring = AutoNcp::new(32, 4).build(8).unwrap();
    let (synapses, sensory) = (
        wiring.synapse_count() as u64,
        wiring.sensory_synapse_count() as u64,
    );
    assert!(synapses < 32 * 32 / 4);
    let work = Work::of_step(network(LtcModel::new(AutoNcp::new(32, 4)), 4).as_ref()).unwrap();
    assert_eq!(work.sigmoids, 6 * synapses + sensory);
}

#[test]
fn a_cfc_on_a_wiring_counts_the_weights_that_exist() {
    // Layers 17, 11 and 4: each sees the synapses from the layer before it and all of its own neurons.
    let wiring = AutoNcp::new(32, 4).build(8).unwrap();
    let layers = wiring.layers();
    assert_eq!(layers.iter().map(Vec::len).collect::<Vec<_>>(), [17, 11, 4]);
    let between = wiring.synapses().filter(|synapse| {
        let place = |id| layers.iter().position(|layer| layer.contains(&id)).unwrap();
        place(synapse.target) == place(synapse.source) + 1
    });
    let masked = wiring.sensory_synapse_count() + between.count() + 17 * 17 + 11 * 11 + 4 * 4;
    let dense = 17 * (8 + 17) + 11 * (17 + 11) + 4 * (11 + 4);
    let model = CfcModel {
        head: Head::None,
        ..CfcModel::new(AutoNcp::new(32, 4))
    };
    let work = Work::of_step(network(model.clone(), 4).as_ref()).unwrap();
    assert_eq!(work.products, 2 * (2 * masked + 2 * dense) as u64);
    assert_eq!((work.sigmoids, work.tanhs), (32, 64));

    let mixed = CfcModel {
        mixed_memory: true,
        ..model
    };
    let with_memory = Work::of_step(network(mixed, 4).as_ref()).unwrap();
    assert_eq!(with_memory.products - work.products, 8 * 32 * (8 + 32));
    assert_eq!(with_memory.tanhs - work.tanhs, 64);
}

#[test]
fn an_lstm_and_its_head_by_hand() {
    let work = Work::of_step(network(LstmModel::new(64), 4).as_ref()).unwrap();
    assert_eq!(work.products, 2 * (4 * 64 * (8 + 64) + 64 * 4));
    assert_eq!(work.arithmetic, 8 * 64 + 4);
    assert_eq!((work.sigmoids, work.tanhs), (3 * 64, 2 * 64));
}

#[test]
fn a_stack_is_the_sum_of_its_layers() {
    let layers = vec![LstmModel::new(16).into(), LstmModel::new(4).into()];
    let work = Work::of_step(network(StackedModel::new(layers), 4).as_ref()).unwrap();
    assert_eq!(work.products, 2 * (4 * 16 * 24 + 4 * 4 * 20 + 4 * 4));
}

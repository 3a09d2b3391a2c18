//! Shapes for any sizes.

use mlx_rs::Array;
use proptest::prelude::*;

use super::{assert_states_close, uniform, values};
use crate::cell::Mode;
use crate::rnn::{CfcConfig, LtcConfig, SequenceInput, SequenceLayer, Units};
use crate::wiring::{AutoNcp, FullyConnected};

#[derive(Debug, Clone)]
struct Case {
    batch: usize,
    time: usize,
    inputs: usize,
    units: Units,
    outputs: usize,
    mode: Mode,
    mixed_memory: bool,
    return_sequences: bool,
    backbone_layers: usize,
    is_ltc: bool,
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Default), Just(Mode::Pure), Just(Mode::NoGate)]
}

/// Neurons with the number of their outputs.
fn units() -> impl Strategy<Value = (Units, usize)> {
    prop_oneof![
        (1_usize..6).prop_map(|units| (units.into(), units)),
        (6_usize..14, 1_usize..3).prop_map(|(units, m)| (AutoNcp::new(units, m).into(), m)),
        (3_usize..6, 1_usize..3).prop_map(|(units, m)| (FullyConnected::new(units, m).into(), m)),
    ]
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = (1_usize..4, 1_usize..4, 1_usize..4);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), 0_usize..3);
    (sizes, units(), modes(), flags).prop_map(
        |((batch, time, inputs), (units, outputs), mode, flags)| Case {
            batch,
            time,
            inputs,
            units,
            outputs,
            mode,
            mixed_memory: flags.0,
            return_sequences: flags.1,
            is_ltc: flags.2,
            backbone_layers: flags.3,
        },
    )
}

fn build(case: &Case) -> Box<dyn SequenceLayer> {
    if case.is_ltc {
        let mut config = LtcConfig::new(case.inputs, case.units.clone());
        config.mixed_memory = case.mixed_memory;
        config.return_sequences = case.return_sequences;
        return Box::new(config.build(1).unwrap());
    }
    let mut config = CfcConfig::new(case.inputs, case.units.clone());
    config.mode = case.mode;
    config.mixed_memory = case.mixed_memory;
    config.return_sequences = case.return_sequences;
    if matches!(case.units, Units::Dense(_)) {
        (config.backbone_layers, config.backbone_units) = (case.backbone_layers, 3);
    }
    Box::new(config.build(1).unwrap())
}

proptest! {
    #![proptest_config(crate::property::cases(48))]

    #[test]
    fn outputs_and_state_have_the_documented_shapes(case in cases()) {
        let layer = build(&case);
        prop_assert_eq!(layer.outputs(), case.outputs);
        prop_assert_eq!(layer.has_memory(), case.mixed_memory);
        let x = uniform(1, -2.0, 2.0, &[case.batch, case.time, case.inputs]);
        let spans = uniform(2, 0.0, 3.0, &[case.batch, case.time]);
        let input = SequenceInput::new(&x).timespans(spans);
        let result = layer.sequence(&input).unwrap();
        let [b, t, o] = [case.batch, case.time, case.outputs].map(|n| i32::try_from(n).unwrap());
        let expected = if case.return_sequences { vec![b, t, o] } else { vec![b, o] };
        prop_assert_eq!(result.outputs.shape(), expected.as_slice());
        let units = i32::try_from(layer.state_units()).unwrap();
        prop_assert_eq!(result.state.hidden.shape(), &[b, units]);
        prop_assert!(values(&result.outputs).iter().all(|y| y.is_finite()));

        // A mask of ones changes nothing; a mask of zeros keeps the initial state.
        let ones = uniform(0, 1.0, 1.0, &[case.batch, case.time]);
        let masked = layer.sequence(&input.clone().mask(&ones)).unwrap();
        assert_states_close("ones", &masked.state, &result.state, 1e-6);
        let zeros = ones.subtract(&ones).unwrap();
        let start = layer.zero_state(case.batch);
        let kept = layer.sequence(&input.mask(&zeros)).unwrap();
        assert_states_close("zeros", &kept.state, &start, 0.0);
    }

    #[test]
    fn samples_do_not_see_each_other(case in cases()) {
        let layer = build(&case);
        let shape = [case.batch, case.time, case.inputs];
        let x = uniform(1, -2.0, 2.0, &shape);
        let outputs = |x: &Array| layer.sequence(&SequenceInput::new(x)).unwrap().outputs;
        let reversed: Vec<i32> = (0..i32::try_from(case.batch).unwrap()).rev().collect();
        let order = Array::from_slice(&reversed, &[i32::try_from(case.batch).unwrap()]);
        let swapped = outputs(&x.take_axis(&order, 0).unwrap());
        let expected = outputs(&x).take_axis(&order, 0).unwrap();
        super::assert_close("swapped", &swapped, &expected, 1e-6);
    }
}

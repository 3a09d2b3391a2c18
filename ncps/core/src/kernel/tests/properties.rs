//! Random layers, shapes, masks and time spans against the f64 form: values, and gradients by finite differences.

use proptest::prelude::{any, proptest};

use super::reference::{Numbers, Values64, run};
use super::{Case, Keep, Level, Values, levels};
use crate::cell::{Activation, Mapping, Mode, ParamConstraints};
use crate::kernel::spec::{CellSpec, CfcLayer, CfcSpec, LtcSpec, SequenceSpec};

/// A small generator, so that a case is a function of its seed.
struct Dice(u64);

impl Dice {
    fn bits(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, n: usize) -> usize {
        self.bits() as usize % n
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.bits() as f32 / (1u64 << 31) as f32)
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    fn values(&mut self, n: usize, low: f32, high: f32) -> Vec<f32> {
        (0..n).map(|_| self.between(low, high)).collect()
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn pairs(&mut self, sources: usize, targets: usize) -> Vec<(usize, usize)> {
        let all = (0..sources).flat_map(|i| (0..targets).map(move |j| (i, j)));
        all.filter(|_| self.below(3) > 0).collect()
    }
}

fn cfc(dice: &mut Dice, inputs: usize) -> CfcSpec {
    let mode = dice.pick(&[Mode::Default, Mode::Pure, Mode::NoGate]);
    let activations = [
        Activation::LecunTanh,
        Activation::Tanh,
        Activation::Relu,
        Activation::Silu,
        Activation::Gelu,
    ];
    let is_wired = dice.coin();
    let (mut layers, mut width) = (Vec::new(), inputs);
    for _ in 0..if is_wired { 1 + dice.below(3) } else { 1 } {
        let units = 1 + dice.below(14);
        let mask = is_wired.then(|| {
            (0..units * (width + units))
                .map(|_| if dice.coin() { 1.0 } else { 0.0 })
                .collect()
        });
        layers.push(CfcLayer {
            inputs: width,
            units,
            mask,
        });
        width = units;
    }
    let backbone_layers = if is_wired { 0 } else { dice.below(4) };
    CfcSpec {
        layers,
        mode,
        activation: dice.pick(&activations),
        backbone_units: 1 + dice.below(20),
        backbone_layers,
        dropped: (0..backbone_layers).map(|_| dice.below(3) == 0).collect(),
    }
}

fn ltc(dice: &mut Dice, inputs: usize) -> LtcSpec {
    let units = 1 + dice.below(9);
    let mappings = [Mapping::Affine, Mapping::Linear, Mapping::None];
    LtcSpec {
        inputs,
        units,
        outputs: 1 + dice.below(units),
        unfolds: 1 + dice.below(4),
        epsilon: 1e-8,
        constraints: dice.pick(&[ParamConstraints::Implicit, ParamConstraints::Explicit]),
        input_mapping: dice.pick(&mappings),
        output_mapping: dice.pick(&mappings),
        synapses: dice.pairs(units, units),
        sensory_synapses: dice.pairs(inputs, units),
    }
}

pub(super) fn case(seed: u64) -> Case {
    let dice = &mut Dice(seed);
    dice.bits();
    let inputs = 1 + dice.below(6);
    let has_memory = dice.below(3) == 0;
    let mut spec = match dice.below(5) {
        0 => SequenceSpec::lstm(inputs, 1 + dice.below(9)),
        1 | 2 => SequenceSpec::ltc(ltc(dice, inputs), has_memory),
        _ => SequenceSpec::cfc(cfc(dice, inputs), has_memory),
    };
    if matches!(spec.cell, CellSpec::Cfc(_)) && dice.coin() {
        spec.output_places = vec![dice.below(spec.units), spec.units - 1];
        spec.output_places.dedup();
    }
    let (batch, time) = (dice.pick(&[1, 2, 5, 16, 17, 35]), dice.pick(&[1, 2, 3, 7]));
    filled(dice, spec, batch, time)
}

/// A CfC whose products have whole blocks of 8 rows and 32 columns, also where two groups share them.
pub(super) fn blocks(seed: u64) -> Case {
    let dice = &mut Dice(seed);
    let backbone_layers = 1 + dice.below(2);
    let cell = CfcSpec {
        layers: vec![CfcLayer {
            inputs: 8,
            units: 64,
            mask: None,
        }],
        mode: dice.pick(&[Mode::Default, Mode::NoGate]),
        activation: dice.pick(&[Activation::LecunTanh, Activation::Silu]),
        backbone_units: 128,
        backbone_layers,
        dropped: (0..backbone_layers).map(|_| dice.coin()).collect(),
    };
    let (batch, time) = (dice.pick(&[33, 48]), 2);
    let mut case = filled(dice, SequenceSpec::cfc(cell, false), batch, time);
    // Sums over so many rows stay of order 1.
    for value in case.parameters.iter_mut().flatten() {
        *value *= 0.2;
    }
    case
}

/// Parameters and arrays for a layer.
fn filled(dice: &mut Dice, spec: SequenceSpec, batch: usize, time: usize) -> Case {
    spec.check().unwrap();
    let inputs = spec.inputs;
    let parameters = spec.parameters();
    let parameters = parameters
        .iter()
        .map(|p| match p.name.rsplit('.').next().unwrap() {
            "w" | "sensory_w" | "gleak" | "cm" => dice.values(p.len(), 0.1, 1.0),
            "sigma" | "sensory_sigma" => dice.values(p.len(), 1.0, 4.0),
            _ => dice.values(p.len(), -0.7, 0.7),
        });
    let parameters = parameters.collect();
    let (state, memory) = (
        batch * spec.units,
        if spec.has_memory {
            batch * spec.units
        } else {
            0
        },
    );
    let mut timespans = match dice.below(3) {
        0 => Vec::new(),
        1 => dice.values(time, 0.1, 2.0),
        _ => dice.values(batch * time, 0.1, 2.0),
    };
    if let (true, Some(span)) = (dice.coin(), timespans.last_mut()) {
        *span = 0.0;
    }
    let dropped = match &spec.cell {
        CellSpec::Cfc(cfc) => cfc.dropped.iter().filter(|dropped| **dropped).count(),
        _ => 0,
    };
    let width = spec.dropout_rows() / dropped.max(1);
    let mut factors = || {
        (0..time * batch * width)
            .map(|_| dice.pick(&[0.0, 1.5]))
            .collect()
    };
    let dropout = (0..dropped).map(|_| factors()).collect();
    let mask = dice.coin().then(|| {
        (0..batch * time)
            .map(|_| if dice.below(4) > 0 { 1.0 } else { 0.0 })
            .collect()
    });
    Case {
        batch,
        time,
        parameters,
        x: dice.values(batch * time * inputs, -1.0, 1.0),
        span: dice.pick(&[1.0, 0.3, 0.0]),
        timespans,
        mask,
        hidden: dice.coin().then(|| dice.values(state, -0.8, 0.8)),
        memory: dice
            .coin()
            .then(|| dice.values(memory, -0.8, 0.8))
            .filter(|_| spec.has_memory),
        dropout,
        is_last_only: dice.coin(),
        spec,
    }
}

/// Weights of the outputs in the loss whose gradients are compared.
pub(super) fn cotangents(values: &Values, seed: u64) -> Values {
    let mut dice = Dice(seed ^ 0x5eed);
    let mut like = |values: &[f32]| dice.values(values.len(), -1.0, 1.0);
    Values {
        y: like(&values.y),
        hidden: like(&values.hidden),
        memory: like(&values.memory),
    }
}

pub(super) fn loss(values: &Values64, weights: &Values) -> f64 {
    let dot = |a: &[f64], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * f64::from(*b)).sum::<f64>();
    dot(&values.y, &weights.y)
        + dot(&values.hidden, &weights.hidden)
        + dot(&values.memory, &weights.memory)
}

fn assert_near(actual: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        let error = (f64::from(*a) - e).abs();
        assert!(
            error <= tolerance * (1.0 + e.abs()),
            "{what}[{i}]: {a} instead of {e}"
        );
    }
}

/// The derivative of the loss along one number, which `place` finds.
fn slope(case: &Case, weights: &Values, place: impl Fn(&mut Numbers) -> &mut f64) -> f64 {
    let step = 1e-6;
    let at = |delta: f64| {
        let mut numbers = Numbers::of(case);
        *place(&mut numbers) += delta;
        loss(&run(case, &numbers), weights)
    };
    (at(step) - at(-step)) / (2.0 * step)
}

fn check(seed: u64) {
    let case = case(seed);
    let expected = run(&case, &Numbers::of(&case));
    let mut first: Option<super::Derivatives> = None;
    for level in levels() {
        for keep in [Keep::All, Keep::Segments(2), Keep::Nothing] {
            let (values, gradients) = case.run(level, keep, |values| cotangents(values, seed));
            let what = format!("seed {seed}, {}, {keep:?}", level.name());
            assert_near(&values.y, &expected.y, 1e-5, &what);
            assert_near(&values.hidden, &expected.hidden, 1e-5, &what);
            assert_near(&values.memory, &expected.memory, 1e-5, &what);
            match &first {
                None => {
                    let weights = cotangents(&values, seed);
                    check_slopes(&case, &weights, &gradients, seed);
                    first = Some(gradients);
                }
                Some(first) => assert_same(&gradients, first, &what),
            }
        }
    }
}

/// Compares some gradients of each array with finite differences.
fn check_slopes(case: &Case, weights: &Values, gradients: &super::Derivatives, seed: u64) {
    let mut dice = Dice(seed ^ 0xd1ce);
    // The rectifier and |w| have kinks, which a small step crosses now and then.
    let tolerance = 2e-4;
    let mut compare =
        |actual: &[f32], what: &str, place: &dyn Fn(&mut Numbers, usize) -> *mut f64| {
            for _ in 0..3.min(actual.len()) {
                let i = dice.below(actual.len());
                // SAFETY: the pointer is into the numbers that the closure was given.
                let expected = slope(case, weights, |numbers| unsafe { &mut *place(numbers, i) });
                let error = (f64::from(actual[i]) - expected).abs();
                assert!(
                    error <= tolerance * (1.0 + expected.abs()),
                    "seed {seed} {what}[{i}]: {} instead of {expected}",
                    actual[i]
                );
            }
        };
    for (p, parameter) in case.spec.parameters().iter().enumerate() {
        compare(&gradients.parameters[p], &parameter.name, &|n, i| {
            &mut n.parameters[p][i]
        });
    }
    compare(&gradients.x, "x", &|n, i| &mut n.x[i]);
    compare(&gradients.timespans, "timespans", &|n, i| {
        &mut n.timespans[i]
    });
    compare(&gradients.hidden, "hidden", &|n, i| &mut n.hidden[i]);
    compare(&gradients.memory, "memory", &|n, i| &mut n.memory[i]);
}

fn assert_same(actual: &super::Derivatives, expected: &super::Derivatives, what: &str) {
    let all = |d: &super::Derivatives| {
        let rest = [&d.x, &d.timespans, &d.hidden, &d.memory].map(Clone::clone);
        [d.parameters.clone(), rest.to_vec()].concat().concat()
    };
    let (actual, expected) = (all(actual), all(expected));
    // A gradient may be a small sum of large terms, so that rounding goes with the largest ones.
    let size = expected.iter().fold(1.0f32, |size, v| size.max(v.abs()));
    for (i, (a, e)) in actual.iter().zip(&expected).enumerate() {
        let error = (a - e).abs();
        assert!(
            error <= 3e-5 * size,
            "{what}[{i}]: {a} instead of {e}, largest {size}"
        );
    }
}

#[test]
fn a_layer_whose_gradients_cancel_matches_the_f64_form() {
    check(11988414935312419584);
}

proptest! {
    #![proptest_config(crate::property::cases(64))]

    #[test]
    fn random_layers_match_the_f64_form(seed in any::<u64>()) {
        check(seed);
    }
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let mut case = case(11);
    case.batch = 35 * 3;
    let mut dice = Dice(5);
    case.x = dice.values(case.batch * case.time * case.spec.inputs, -1.0, 1.0);
    (case.timespans, case.mask, case.hidden, case.memory) = (Vec::new(), None, None, None);
    case.dropout = case
        .dropout
        .iter()
        .map(|d| dice.values(d.len() / 35 * 35 * 3, 0.0, 1.0))
        .collect();
    let mut results = Vec::new();
    for threads in [1, 2, 4] {
        crate::kernel::pool::set_threads(threads);
        results.push(case.run(Level::detect(), Keep::All, |values| cotangents(values, 3)));
    }
    crate::kernel::pool::set_threads(0);
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn a_zero_span_leaves_ltc_states_bit_for_bit() {
    let mut dice = Dice(17);
    let spec = SequenceSpec::ltc(ltc(&mut dice, 3), false);
    let (batch, time, units) = (5, 2, spec.units);
    let parameters = spec
        .parameters()
        .iter()
        .map(|p| dice.values(p.len(), 0.1, 1.0))
        .collect();
    let hidden = dice.values(batch * units, -0.8, 0.8);
    let case = Case {
        batch,
        time,
        parameters,
        x: dice.values(batch * time * 3, -1.0, 1.0),
        span: 1.0,
        timespans: vec![0.0; batch * time],
        mask: None,
        hidden: Some(hidden.clone()),
        memory: None,
        dropout: Vec::new(),
        is_last_only: false,
        spec,
    };
    for level in levels() {
        let (values, gradients) = case.run(level, Keep::All, |values| cotangents(values, 1));
        assert_eq!(values.hidden, hidden, "{}", level.name());
        assert!(
            gradients
                .timespans
                .iter()
                .all(|g| g.is_finite() && *g != 0.0)
        );
        assert!(gradients.parameters.concat().iter().all(|g| g.is_finite()));
    }
}

#[test]
fn extreme_inputs_give_no_nan() {
    for seed in 0..40 {
        let mut case = case(seed);
        // These activations grow without bound, in the plain form too.
        if let CellSpec::Cfc(cfc) = &mut case.spec.cell {
            cfc.activation = Activation::LecunTanh;
        }
        let mut dice = Dice(seed);
        case.x
            .iter_mut()
            .for_each(|x| *x = dice.pick(&[-1e30, 0.0, 1e30]));
        for level in levels() {
            let (values, _) = case.run(level, Keep::All, |values| cotangents(values, 1));
            let all = [values.y, values.hidden, values.memory].concat();
            assert!(
                all.iter().all(|v| !v.is_nan()),
                "seed {seed} {}",
                level.name()
            );
        }
    }
}

#[test]
fn masked_steps_are_not_read() {
    for seed in 0..30 {
        let mut case = case(seed);
        let mask: Vec<f32> = (0..case.batch * case.time)
            .map(|i| if i % 3 == 1 { 0.0 } else { 1.0 })
            .collect();
        case.mask = Some(mask.clone());
        let clean = case.run(Level::detect(), Keep::All, |values| cotangents(values, 1));
        for (row, m) in case.x.chunks_exact_mut(case.spec.inputs).zip(&mask) {
            if *m == 0.0 {
                row.fill(f32::NAN);
            }
        }
        let padded = case.run(Level::detect(), Keep::All, |values| cotangents(values, 1));
        assert!(clean == padded, "seed {seed}");
    }
}

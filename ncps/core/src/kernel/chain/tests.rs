//! Chains without MLX: threads, instruction sets, and what is refused.

use super::super::pool::set_threads;
use super::super::sequence::Spans;
use super::super::simd::Level;
use super::*;

fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..n).map(|_| next()).collect()
}

/// A layer without dropout that holds the parameters under their own names.
pub(super) fn layer(spec: SequenceSpec, is_last_only: bool) -> Stage {
    let names = spec
        .parameters()
        .into_iter()
        .map(|parameter| parameter.name);
    Stage::Sequence(SequenceStage {
        parameters: names.collect(),
        spec: Arc::new(spec),
        dropout: 0.0,
        is_last_only,
    })
}

fn lstm(inputs: usize, units: usize, is_last_only: bool) -> Stage {
    layer(SequenceSpec::lstm(inputs, units), is_last_only)
}

fn linear(inputs: usize, outputs: usize) -> Stage {
    Stage::Linear(LinearStage {
        inputs,
        outputs,
        weight: "head.weight".to_owned(),
        bias: None,
    })
}

struct Found {
    totals: [f32; 2],
    gradients: Vec<Vec<f32>>,
}

fn run(level: Level, batch: usize, loss: &Loss, targets: &[f32]) -> Found {
    let (time, outputs) = (3, 4);
    let chain = Chain::new(2, vec![lstm(2, 5, false), linear(5, outputs)]).unwrap();
    let width = loss.target_width(outputs);
    let sizes: Vec<usize> = chain.parameters().iter().map(ParameterSpec::len).collect();
    let values: Vec<Vec<f32>> = sizes
        .iter()
        .map(|&size| numbers(size, size as u32))
        .collect();
    let parameters: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
    let mut gradients: Vec<Vec<f32>> = sizes.iter().map(|&size| vec![f32::NAN; size]).collect();
    let plan = ChainPlan {
        chain: Arc::new(chain),
        judgement: Judgement {
            loss: loss.clone(),
            targets: Strides {
                sample: time * width,
                step: width,
            },
            weights: Strides { sample: 1, step: 0 },
            is_last_step: false,
        },
        batch,
        time,
        span: Some(1.0),
        level,
        record_limit: usize::MAX,
    };
    let mut out: Vec<&mut [f32]> = gradients.iter_mut().map(Vec::as_mut_slice).collect();
    let totals = plan.gradients(
        Inputs {
            parameters: &parameters,
            x: &numbers(batch * time * 2, 1),
            spans: Spans::Constant,
            mask: None,
            dropout: &[],
            targets,
            weights: &vec![1.0; batch],
        },
        &mut out,
    );
    Found { totals, gradients }
}

#[test]
fn results_depend_neither_on_threads_nor_much_on_vectors() {
    let batch = 150;
    let targets = numbers(batch * 3 * 4, 9);
    let of = |level, threads| {
        set_threads(threads);
        let found = run(level, batch, &Loss::Mse, &targets);
        set_threads(0);
        found
    };
    let expected = of(Level::Portable, 1);
    let levels = [Level::Portable, Level::Avx2, Level::Avx512, Level::Neon];
    for level in levels.into_iter().filter(|level| level.is_available()) {
        let (one, three) = (of(level, 1), of(level, 3));
        assert_eq!(
            (one.totals, &one.gradients),
            (three.totals, &three.gradients)
        );
        for (found, expected) in one.gradients.iter().zip(&expected.gradients) {
            for (a, b) in found.iter().zip(expected) {
                assert!((a - b).abs() < 1e-4, "{} {a} {b}", level.name());
            }
        }
        assert!((one.totals[0] / expected.totals[0] - 1.0).abs() < 1e-5);
    }
    assert_eq!(expected.totals[1].to_bits(), 450f32.to_bits());
}

#[test]
fn an_id_that_is_no_class_shows_in_the_loss() {
    let loss = Loss::CrossEntropy {
        weights: Vec::new(),
        smoothing: 0.0,
    };
    let with = |id: f32| run(Level::detect(), 1, &loss, &[0.0, id, 2.0]).totals[0];
    assert!(with(3.0).is_finite());
    assert_eq!(with(-1.0).to_bits(), with(3.0).to_bits());
    for id in [4.0, -5.0, f32::NAN, f32::INFINITY] {
        assert!(with(id).is_nan(), "{id}");
    }
}

#[test]
fn stages_that_do_not_fit_are_refused() {
    let message = |stages| Chain::new(2, stages).unwrap_err().to_string();
    assert!(message(vec![linear(3, 1)]).contains("does not take 2 features"));
    let stages = vec![
        lstm(2, 3, false),
        Stage::Activation(Activation::Relu),
        linear(4, 1),
    ];
    assert!(message(stages).contains("does not take 3 features"));
    assert!(message(vec![lstm(2, 3, true), lstm(3, 3, false)]).contains("all steps to run over"));
    assert!(message(Vec::new()).contains("none"));
}

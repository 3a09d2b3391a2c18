//! The optimiser as two kernels: the norm of the gradients, then the update.

use mlx_rs::error::Exception;
use mlx_rs::{Array, Stream};

use super::launch::{Backend, Launch};
use super::source::{Body, Constants};
use crate::array::{Mlx, dim};
use crate::kernel::op::UpdateCall;
use crate::kernel::update::Rule;

static SQUARES: Body = Body::new(include_str!("bodies/squares.inc"));
static UPDATE: Body = Body::new(include_str!("bodies/update.inc"));

const THREADS: usize = 256;
/// Each thread of the second kernel adds up the sums of all groups of the first.
const MOST_PARTS: usize = 32;
const MOST_GROUPS: usize = 256;
/// Weight, rate, both corrections and decay, which the first kernel puts behind its sums.
const SCALARS: usize = 5;

/// A rule as the kernel knows it: number, beta1, beta2, epsilon, momentum.
fn constants_of(rule: Rule) -> (i32, [f32; 4]) {
    match rule {
        Rule::Adam {
            beta1,
            beta2,
            epsilon,
            is_decoupled,
        } => (i32::from(is_decoupled), [beta1, beta2, epsilon, 0.0]),
        Rule::Sgd {
            momentum,
            is_nesterov,
        } => {
            let number = match (momentum > 0.0, is_nesterov) {
                (false, _) => 2,
                (true, false) => 3,
                (true, true) => 4,
            };
            (number, [0.0, 0.0, 0.0, momentum])
        }
        Rule::RmsProp {
            alpha,
            epsilon,
            momentum,
        } => {
            let number = if momentum > 0.0 { 6 } else { 5 };
            (number, [alpha, 0.0, epsilon, momentum])
        }
        Rule::Lion { beta1, beta2 } => (7, [beta1, beta2, 0.0, 0.0]),
    }
}

/// The norm of the mean gradient, the new parameters and the new slots.
pub(crate) fn update(call: &UpdateCall<'_>, backend: Backend) -> Mlx<Vec<Array>> {
    let stream = Stream::thread_local_or_default();
    let size = call.parameters.size();
    let threads = THREADS.min(backend.limits().threads);
    let groups = size.div_ceil(threads);
    let parts = groups.clamp(1, MOST_PARTS);
    let flat = |array: &Array| array.reshape(&[-1]);
    let weight = flat(call.weight)?;
    let scalars: Vec<Array> = call.scalars.iter().map(flat).collect::<Mlx<_>>()?;
    let decay = call.decay.map(flat).transpose()?;
    let decays = match &decay {
        None => 0,
        Some(decay) if decay.size() == 1 => 1,
        Some(_) => 2,
    };
    let any = call.parameters;
    let decay = decay.as_ref().unwrap_or(any);
    let squares = Launch {
        body: &SQUARES,
        constants: Constants {
            sizes: vec![
                ("SIZE", dim(size)),
                ("STRIDE", dim(parts * threads)),
                ("PARTS", dim(parts)),
                ("DECAYS", decays),
            ],
            ..Constants::default()
        },
        inputs: vec![
            call.gradients,
            &weight,
            &scalars[0],
            &scalars[1],
            &scalars[2],
            decay,
        ],
        outputs: vec![vec![dim(parts + SCALARS)]],
        groups: parts,
        threads,
        shared: threads / 32,
    };
    let partial = squares.run(backend, &stream)?;
    let partial = partial
        .first()
        .ok_or_else(|| Exception::custom("a kernel gave no array"))?;
    let groups = groups.clamp(1, MOST_GROUPS);
    let (rule, [beta1, beta2, epsilon, momentum]) = constants_of(call.rule);
    let slot = |index: usize| call.slots.get(index).unwrap_or(any);
    let len = |is_needed: bool| vec![if is_needed { dim(size) } else { 1 }];
    let update = Launch {
        body: &UPDATE,
        constants: Constants {
            sizes: vec![
                ("SIZE", dim(size)),
                ("STRIDE", dim(groups * threads)),
                ("PARTS", dim(parts)),
                ("RULE", rule),
                ("DECAYS", decays),
                ("HAS_FLOOR", i32::from(call.floor.is_some())),
                ("LIMITS_NORM", i32::from(call.clip.norm.is_some())),
                ("LIMITS_VALUE", i32::from(call.clip.value.is_some())),
            ],
            reals: vec![
                ("BETA1", beta1),
                ("BETA2", beta2),
                ("EPSILON", epsilon),
                ("MOMENTUM", momentum),
                ("NORM_LIMIT", call.clip.norm.unwrap_or(0.0)),
                ("VALUE_LIMIT", call.clip.value.unwrap_or(0.0)),
            ],
            tables: Vec::new(),
        },
        inputs: vec![
            call.parameters,
            call.gradients,
            partial,
            slot(0),
            slot(1),
            decay,
            call.floor.unwrap_or(any),
        ],
        outputs: vec![
            Vec::new(),
            vec![dim(size)],
            len(!call.slots.is_empty()),
            len(call.slots.len() > 1),
        ],
        groups,
        threads,
        shared: 0,
    };
    let mut arrays = update.run(backend, &stream)?;
    arrays.truncate(2 + call.slots.len());
    Ok(arrays)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::super::Order;
    use super::*;
    use crate::kernel::update::Clip;

    fn wave(len: usize, phase: f32) -> Array {
        let values: Vec<f32> = (0..len).map(|i| (i as f32 * 0.7 + phase).sin()).collect();
        Array::from_slice(&values, &[dim(len)])
    }

    fn rules() -> Vec<Rule> {
        let adam = |is_decoupled| Rule::Adam {
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            is_decoupled,
        };
        let descent = |momentum, is_nesterov| Rule::Sgd {
            momentum,
            is_nesterov,
        };
        let scaled = |momentum| Rule::RmsProp {
            alpha: 0.9,
            epsilon: 1e-6,
            momentum,
        };
        let lion = Rule::Lion {
            beta1: 0.9,
            beta2: 0.98,
        };
        vec![
            adam(false),
            adam(true),
            descent(0.0, false),
            descent(0.9, false),
            descent(0.9, true),
            scaled(0.0),
            scaled(0.5),
            lion,
        ]
    }

    /// Against the CPU's update, which has its own tests against MLX's operations.
    #[test]
    fn every_rule_agrees_with_the_cpu() {
        for (number, rule) in rules().into_iter().enumerate() {
            for len in [1, 33, 5000] {
                let (parameters, gradients) = (wave(len, 0.0), wave(len, 1.0));
                let slots: Vec<Array> = (0..rule.slots())
                    .map(|i| wave(len, 2.0 + i as f32).abs().unwrap())
                    .collect();
                let scalars = [0.01_f32, 0.02, 1.5].map(Array::from_f32);
                let (weight, decay, floor) = (Array::from_f32(4.0), wave(len, 5.0), wave(len, 7.0));
                let each = [None, Some(Array::from_f32(0.1)), Some(decay)];
                let call = UpdateCall {
                    rule,
                    clip: Clip {
                        norm: (number % 2 == 0).then_some(0.5),
                        value: (number % 3 == 0).then_some(0.2),
                    },
                    parameters: &parameters,
                    gradients: &gradients,
                    weight: &weight,
                    scalars: &scalars,
                    slots: &slots,
                    decay: each[number % 3].as_ref(),
                    floor: (len == 33).then_some(&floor),
                };
                let expected = call.apply().unwrap().unwrap();
                let found = update(&call, Backend::Emulator(Order::Ascending)).unwrap();
                assert_eq!(found.len(), expected.len());
                for (found, expected) in found.iter().zip(&expected) {
                    assert_eq!(found.shape(), expected.shape());
                    let is_close = found.all_close(expected, 1e-5, 1e-6, None).unwrap();
                    assert!(is_close, "{rule:?} {len}: {found} {expected}");
                }
            }
        }
    }
}

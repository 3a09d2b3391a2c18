//! The layers once more, in f64, sample by sample, as plainly as their equations.

use std::collections::VecDeque;

use super::Case;
use crate::cell::{Activation, Mapping, Mode, ParamConstraints};
use crate::kernel::spec::{CellSpec, CfcSpec, LEAST_CAPACITY, LtcSpec};

/// A case's numbers in f64, so that they can be moved by small steps.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    pub(super) parameters: Vec<Vec<f64>>,
    pub(super) x: Vec<f64>,
    pub(super) timespans: Vec<f64>,
    pub(super) hidden: Vec<f64>,
    pub(super) memory: Vec<f64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Values64 {
    pub(super) y: Vec<f64>,
    pub(super) hidden: Vec<f64>,
    pub(super) memory: Vec<f64>,
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

impl Numbers {
    pub(super) fn of(case: &Case) -> Self {
        let units = case.batch * case.spec.units;
        let state =
            |given: &Option<Vec<f32>>, len: usize| given.as_deref().map_or(vec![0.0; len], wide);
        Self {
            parameters: case.parameters.iter().map(|p| wide(p)).collect(),
            x: wide(&case.x),
            timespans: wide(&case.timespans),
            hidden: state(&case.hidden, units),
            memory: state(&case.memory, case.memory_len()),
        }
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The error function by its series, which is exact enough for |x| < 5.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

fn activate(activation: Activation, z: f64) -> f64 {
    match activation {
        Activation::LecunTanh => 1.7159 * (0.666 * z).tanh(),
        Activation::Tanh => z.tanh(),
        Activation::Relu => z.max(0.0),
        Activation::Silu => z * sigmoid(z),
        Activation::Gelu => 0.5 * z * (1.0 + erf(z * std::f64::consts::FRAC_1_SQRT_2)),
    }
}

fn affine(weight: &[f64], bias: &[f64], z: &[f64]) -> Vec<f64> {
    let row = |o: usize| {
        weight[o * z.len()..]
            .iter()
            .zip(z)
            .map(|(w, x)| w * x)
            .sum::<f64>()
    };
    bias.iter().enumerate().map(|(o, b)| b + row(o)).collect()
}

/// Hands out parameters in order.
struct Feed<'a>(VecDeque<&'a [f64]>);

impl<'a> Feed<'a> {
    fn next(&mut self) -> &'a [f64] {
        self.0.pop_front().unwrap()
    }
}

/// All samples, all steps.
pub(super) fn run(case: &Case, numbers: &Numbers) -> Values64 {
    let (spec, time) = (&case.spec, case.time);
    let units = spec.units;
    let mut out = Values64::default();
    for b in 0..case.batch {
        let mut hidden = numbers.hidden[b * units..(b + 1) * units].to_vec();
        let mut memory = match spec.has_memory {
            true => numbers.memory[b * units..(b + 1) * units].to_vec(),
            false => Vec::new(),
        };
        for t in 0..time {
            let x = &numbers.x[(b * time + t) * spec.inputs..][..spec.inputs];
            let span = match numbers.timespans.len() {
                0 => f64::from(case.span),
                _ if case.is_shared() => numbers.timespans[t],
                _ => numbers.timespans[b * time + t],
            };
            let mut feed = Feed(numbers.parameters.iter().map(Vec::as_slice).collect());
            let (mut inner, mut new_memory) = (hidden.clone(), memory.clone());
            if spec.has_memory {
                (inner, new_memory) = lstm(&mut feed, x, &hidden, &memory);
            }
            let next = match &spec.cell {
                CellSpec::Cfc(cfc) => cfc_step(case, cfc, &mut feed, x, &inner, (span, b, t)),
                CellSpec::Ltc(ltc) => ltc_step(ltc, &mut feed, x, &inner, span),
                CellSpec::PassThrough => inner,
            };
            if case
                .mask
                .as_ref()
                .is_none_or(|mask| mask[b * time + t] != 0.0)
            {
                (hidden, memory) = (next, new_memory);
            }
            if !case.is_last_only || t + 1 == time {
                out.y.extend(read_out(case, numbers, &hidden));
            }
        }
        out.hidden.extend(&hidden);
        out.memory.extend(&memory);
    }
    out
}

fn read_out(case: &Case, numbers: &Numbers, hidden: &[f64]) -> Vec<f64> {
    let mut y: Vec<f64> = case
        .spec
        .output_places
        .iter()
        .map(|&place| hidden[place])
        .collect();
    if let CellSpec::Ltc(ltc) = &case.spec.cell {
        let maps = match ltc.output_mapping {
            Mapping::None => 0,
            Mapping::Linear => 1,
            Mapping::Affine => 2,
        };
        let maps = &numbers.parameters[numbers.parameters.len() - maps..];
        for (m, y) in y.iter_mut().enumerate() {
            *y *= maps.first().map_or(1.0, |scale| scale[m]);
            *y += maps.get(1).map_or(0.0, |shift| shift[m]);
        }
    }
    y
}

fn lstm(feed: &mut Feed<'_>, x: &[f64], h: &[f64], c: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let (input, bias, recurrent) = (feed.next(), feed.next(), feed.next());
    let from_h = affine(recurrent, &vec![0.0; bias.len()], h);
    let z: Vec<f64> = affine(input, bias, x)
        .iter()
        .zip(from_h)
        .map(|(a, b)| a + b)
        .collect();
    let u = h.len();
    let new: Vec<f64> = (0..u)
        .map(|k| c[k] * sigmoid(z[2 * u + k] + 1.0) + z[k].tanh() * sigmoid(z[u + k]))
        .collect();
    let out = (0..u)
        .map(|k| new[k].tanh() * sigmoid(z[3 * u + k]))
        .collect();
    (out, new)
}

fn cfc_step(
    case: &Case,
    spec: &CfcSpec,
    feed: &mut Feed<'_>,
    x: &[f64],
    hidden: &[f64],
    (span, b, t): (f64, usize, usize),
) -> Vec<f64> {
    let (mut out, mut x, mut first) = (Vec::new(), x.to_vec(), 0);
    for layer in &spec.layers {
        let mut z = [&x[..], &hidden[first..first + layer.units]].concat();
        first += layer.units;
        let mut arrays = case.dropout.iter();
        for k in 0..spec.backbone_layers {
            let (weight, bias) = (feed.next(), feed.next());
            z = affine(weight, bias, &z)
                .iter()
                .map(|&z| activate(spec.activation, z))
                .collect();
            if spec.is_dropped(k) {
                let factors = &arrays.next().unwrap()[(t * case.batch + b) * z.len()..];
                z.iter_mut()
                    .zip(factors)
                    .for_each(|(z, factor)| *z *= f64::from(*factor));
            }
        }
        let mut head = |is_masked: bool| {
            let (weight, bias) = (feed.next(), feed.next());
            match &layer.mask {
                Some(mask) if is_masked => {
                    let kept = weight.iter().zip(mask).map(|(w, m)| w * f64::from(*m));
                    affine(&kept.collect::<Vec<_>>(), bias, &z)
                }
                _ => affine(weight, bias, &z),
            }
        };
        let ff1 = head(true);
        let new: Vec<f64> = if spec.mode == Mode::Pure {
            let (w_tau, resting) = (feed.next(), feed.next());
            let fade = |u: usize| (-span * (w_tau[u].abs() + ff1[u].abs())).exp();
            (0..layer.units)
                .map(|u| resting[u] - resting[u] * fade(u) * ff1[u])
                .collect()
        } else {
            let (ff2, slope, offset) = (head(true), head(false), head(false));
            let join = |u: usize| {
                let (a, b) = (ff1[u].tanh(), ff2[u].tanh());
                let gate = sigmoid(slope[u] * span + offset[u]);
                if spec.mode == Mode::NoGate {
                    a + gate * b
                } else {
                    a * (1.0 - gate) + gate * b
                }
            };
            (0..layer.units).map(join).collect()
        };
        out.extend(&new);
        x = new;
    }
    out
}

fn ltc_step(spec: &LtcSpec, feed: &mut Feed<'_>, x: &[f64], hidden: &[f64], span: f64) -> Vec<f64> {
    let positive = |x: f64| match spec.constraints {
        ParamConstraints::Implicit => x.max(0.0) + (-x.abs()).exp().ln_1p(),
        ParamConstraints::Explicit => x,
    };
    let (gleak, vleak, cm) = (feed.next(), feed.next(), feed.next());
    let own = [feed.next(), feed.next(), feed.next(), feed.next()];
    let sensory = [feed.next(), feed.next(), feed.next(), feed.next()];
    let mut x = x.to_vec();
    if spec.input_mapping != Mapping::None {
        x.iter_mut()
            .zip(feed.next())
            .for_each(|(x, scale)| *x *= scale);
    }
    if spec.input_mapping == Mapping::Affine {
        x.iter_mut()
            .zip(feed.next())
            .for_each(|(x, shift)| *x += shift);
    }
    let units = spec.units;
    let currents = |pairs: &[(usize, usize)], p: [&[f64]; 4], from: &[f64]| {
        let mut sums = vec![(0.0, 0.0); units];
        for &(i, j) in pairs {
            let at = i * units + j;
            let open = positive(p[0][at]) * sigmoid(p[1][at] * (from[i] - p[2][at]));
            sums[j].0 += open * p[3][at];
            sums[j].1 += open;
        }
        sums
    };
    let driven = currents(&spec.sensory_synapses, sensory, &x);
    let mut v = hidden.to_vec();
    for _ in 0..spec.unfolds {
        let inner = currents(&spec.synapses, own, &v);
        let r = span / spec.unfolds as f64;
        v = (0..units)
            .map(|j| {
                let leak = positive(gleak[j]);
                let capacity = positive(cm[j]) + f64::from(LEAST_CAPACITY);
                let n = leak * vleak[j] + inner[j].0 + driven[j].0;
                let d = leak + f64::from(spec.epsilon) + inner[j].1 + driven[j].1;
                (capacity * v[j] + r * n) / (capacity + r * d)
            })
            .collect();
    }
    v
}

//! One layer of CfC neurons, prepared for a call: one step forward for a block of samples.
//!
//! A step's record (the tape) holds, one row of lanes each: the joined input and state; for each backbone layer its value
//! (before it, where the derivative needs it, its argument; after it, where dropout is on, the value times the factors);
//! the heads. All heads are one product. When every step lasts the same, the two parts of the gate are one matrix, so there are
//! three heads instead of four. In mode `pure` the record keeps the bare head, and the exponential is computed again.

use std::ops::Range;

use super::activation;
use super::dense::{Allotment, Dense, Preparation};
use super::simd::{Simd, each, math};
use super::spec::{CfcLayer, CfcSpec};
use crate::cell::{Activation, Mode};

/// A backbone layer and where its rows lie in the record.
#[derive(Debug)]
pub(crate) struct Backbone {
    pub(crate) dense: Dense,
    pub(crate) input: usize,
    pub(crate) argument: usize,
    pub(crate) value: usize,
    /// Where the value times the dropout factors lies, and the first row of the factors.
    pub(crate) dropped: Option<(usize, usize)>,
    /// First row of its gradient in the gradient record.
    pub(crate) record: usize,
}

/// A layer of CfC neurons with its weights packed.
#[derive(Debug)]
pub(crate) struct Layer {
    pub(crate) inputs: usize,
    pub(crate) units: usize,
    pub(crate) mode: Mode,
    pub(crate) activation: Activation,
    pub(crate) backbone: Vec<Backbone>,
    pub(crate) heads: Dense,
    pub(crate) head_input: usize,
    pub(crate) head: usize,
    pub(crate) head_record: usize,
    /// How long every step lasts, if that is one number and the gate's parts are therefore one.
    pub(crate) span: Option<f32>,
    pub(crate) w_tau: Vec<f32>,
    pub(crate) resting: Vec<f32>,
    /// Place of the lane sums of the gradients of `w_tau` and `A`, a cache line for each.
    pub(crate) sums: Range<usize>,
    pub(crate) mask: Option<Vec<f32>>,
    pub(crate) tape_rows: usize,
    pub(crate) record_rows: usize,
}

/// What a step reads besides its state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepInput<'a> {
    /// [F, lanes].
    pub(crate) x: &'a [f32],
    /// How long the step lasts where `elapsed` is none.
    pub(crate) span: f32,
    /// [lanes], if steps differ.
    pub(crate) elapsed: Option<&'a [f32]>,
    /// [dropout rows, lanes].
    pub(crate) dropout: &'a [f32],
    pub(crate) lanes: usize,
}

impl Layer {
    /// Packs a layer; `parameters` are this layer's, in the order of the specification.
    pub(crate) fn new(
        spec: &CfcSpec,
        layer: &CfcLayer,
        parameters: &[&[f32]],
        preparation: Preparation,
        places: &mut Allotment,
    ) -> Self {
        let joined = layer.inputs + layer.units;
        let mut skipped = if preparation.wants_inputs {
            0
        } else {
            layer.inputs
        };
        let (mut row, mut record, mut factor, mut input) = (joined, 0, 0, 0);
        let mut backbone = Vec::with_capacity(spec.backbone_layers);
        for k in 0..spec.backbone_layers {
            let argument = row;
            let width = spec.backbone_units;
            row += if activation::keeps_argument(spec.activation) {
                width
            } else {
                0
            };
            let value = row;
            row += width;
            let dropped = spec.is_dropped(k).then_some((row, factor));
            if dropped.is_some() {
                row += width;
                factor += width;
            }
            let bias = parameters[2 * k + 1].to_vec();
            let dense = Dense::new(parameters[2 * k], bias, skipped, preparation, places);
            skipped = 0;
            backbone.push(Backbone {
                dense,
                input,
                argument,
                value,
                dropped,
                record,
            });
            record += width;
            input = dropped.map_or(value, |(row, _)| row);
        }
        let rest = &parameters[2 * spec.backbone_layers..];
        let span = preparation.span;
        let (weights, bias) = joined_heads(spec, layer, rest, span);
        let heads = Dense::new(&weights, bias, skipped, preparation, places);
        let (w_tau, resting) = match spec.mode {
            Mode::Pure => (rest[2].to_vec(), rest[3].to_vec()),
            Mode::Default | Mode::NoGate => (Vec::new(), Vec::new()),
        };
        Self {
            inputs: layer.inputs,
            units: layer.units,
            mode: spec.mode,
            activation: spec.activation,
            backbone,
            head_input: input,
            head: row,
            head_record: record,
            tape_rows: row + heads.outputs,
            record_rows: record + heads.outputs,
            heads,
            span,
            sums: places.take(2 * w_tau.len() * super::buffer::LINE),
            w_tau,
            resting,
            mask: layer.mask.clone(),
        }
    }

    /// One step: fills the record `tape` and the new state `next`, both of this layer.
    #[inline(always)]
    pub(crate) fn forward<S: Simd>(
        &self,
        s: S,
        step: StepInput<'_>,
        hidden: &[f32],
        tape: &mut [f32],
        next: &mut [f32],
    ) {
        let lanes = step.lanes;
        let (x_len, joined) = (self.inputs * lanes, (self.inputs + self.units) * lanes);
        tape[..x_len].copy_from_slice(&step.x[..x_len]);
        tape[x_len..joined].copy_from_slice(&hidden[..joined - x_len]);
        for layer in &self.backbone {
            self.backbone_forward(s, layer, step, tape);
        }
        let (before, heads) = tape.split_at_mut(self.head * lanes);
        self.heads
            .forward(s, &before[self.head_input * lanes..], heads, lanes);
        match self.mode {
            Mode::Pure => self.closed_form(s, step, heads, next),
            Mode::Default => self.gated::<S, true>(s, step, heads, next),
            Mode::NoGate => self.gated::<S, false>(s, step, heads, next),
        }
    }

    #[inline(always)]
    fn backbone_forward<S: Simd>(
        &self,
        s: S,
        layer: &Backbone,
        step: StepInput<'_>,
        tape: &mut [f32],
    ) {
        let lanes = step.lanes;
        let width = layer.dense.outputs * lanes;
        let (before, rest) = tape.split_at_mut(layer.argument * lanes);
        layer
            .dense
            .forward(s, &before[layer.input * lanes..], rest, lanes);
        let rest = if layer.argument == layer.value {
            rest
        } else {
            let (argument, rest) = rest.split_at_mut(width);
            rest[..width].copy_from_slice(argument);
            rest
        };
        activation::apply(s, self.activation, &mut rest[..width]);
        if let Some((_, first)) = layer.dropped {
            let (value, out) = rest.split_at_mut(width);
            let factors = &step.dropout[first * lanes..];
            each!(
                s,
                width,
                [v = value, factor = factors],
                [_old = out],
                [s.mul(v, factor)]
            );
        }
    }

    /// Turns the heads into their values in place and joins them.
    #[inline(always)]
    fn gated<S: Simd, const HAS_GATE: bool>(
        &self,
        s: S,
        step: StepInput<'_>,
        heads: &mut [f32],
        next: &mut [f32],
    ) {
        let block = self.units * step.lanes;
        let (ff1, rest) = heads.split_at_mut(block);
        let (ff2, gates) = rest.split_at_mut(block);
        if let (None, Some(elapsed)) = (self.span, step.elapsed) {
            let (slope, offset) = gates.split_at_mut(block);
            let rows = slope
                .chunks_exact(step.lanes)
                .zip(offset.chunks_exact_mut(step.lanes));
            for (slope, offset) in rows {
                each!(
                    s,
                    step.lanes,
                    [a = slope, span = elapsed],
                    [b = offset],
                    [s.mul_add(a, span, b)]
                );
            }
        }
        let gate_start = if self.span.is_some() { 0 } else { block };
        let gates = &mut gates[gate_start..];
        each!(s, block, [], [a = ff1, b = ff2, t = gates, _old = next], {
            let (a, b, t) = (math::tanh(s, a), math::tanh(s, b), math::sigmoid(s, t));
            let towards = if HAS_GATE { s.sub(b, a) } else { b };
            [a, b, t, s.mul_add(t, towards, a)]
        });
    }

    #[inline(always)]
    fn closed_form<S: Simd>(&self, s: S, step: StepInput<'_>, heads: &[f32], next: &mut [f32]) {
        let lanes = step.lanes;
        let rows = heads.chunks_exact(lanes).zip(next.chunks_exact_mut(lanes));
        for ((heads, next), (&resting, &w_tau)) in rows.zip(self.resting.iter().zip(&self.w_tau)) {
            let (resting, rate) = (s.splat(resting), s.splat(w_tau.abs()));
            let spans = step.elapsed.unwrap_or(heads);
            each!(s, lanes, [ff1 = heads, span = spans], [_old = next], {
                let span = if step.elapsed.is_some() {
                    span
                } else {
                    s.splat(step.span)
                };
                let faded = s.mul(decay(s, ff1, rate, span), ff1);
                [s.neg_mul_add(resting, faded, resting)]
            });
        }
    }
}

/// How long a step lasts in the lanes from `lane` on.
#[inline(always)]
pub(crate) fn elapsed<S: Simd>(s: S, step: StepInput<'_>, lane: usize) -> S::V {
    match step.elapsed {
        Some(elapsed) => s.load(&elapsed[lane..]),
        None => s.splat(step.span),
    }
}

/// `exp(-elapsed (rate + |ff1|))`.
#[inline(always)]
pub(crate) fn decay<S: Simd>(s: S, ff1: S::V, rate: S::V, elapsed: S::V) -> S::V {
    let total = s.add(rate, s.abs(ff1));
    math::exp(s, s.sub(s.splat(0.0), s.mul(total, elapsed)))
}

/// All heads as one matrix and one bias.
fn joined_heads(
    spec: &CfcSpec,
    layer: &CfcLayer,
    parameters: &[&[f32]],
    span: Option<f32>,
) -> (Vec<f32>, Vec<f32>) {
    let heads = spec.head_names().len();
    let mut weights = Vec::with_capacity(heads * parameters[0].len());
    let mut bias = Vec::with_capacity(heads * layer.units);
    for head in 0..heads.min(2) {
        match &layer.mask {
            Some(mask) => weights.extend(parameters[2 * head].iter().zip(mask).map(|(w, m)| w * m)),
            None => weights.extend_from_slice(parameters[2 * head]),
        }
        bias.extend_from_slice(parameters[2 * head + 1]);
    }
    if heads == 4 {
        let (slope, offset) = (&parameters[4..6], &parameters[6..8]);
        for (all, part) in [(&mut weights, 0), (&mut bias, 1)] {
            if let Some(span) = span {
                all.extend(
                    slope[part]
                        .iter()
                        .zip(offset[part])
                        .map(|(a, b)| a * span + b),
                );
            } else {
                all.extend_from_slice(slope[part]);
                all.extend_from_slice(offset[part]);
            }
        }
    }
    (weights, bias)
}

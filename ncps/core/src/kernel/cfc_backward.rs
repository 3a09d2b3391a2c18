//! One step of a CfC layer backward, and its parameters' gradients.

use super::activation;
use super::cfc::{Backbone, Layer, StepInput, decay};
use super::network::{GradientWriter, StepGradient};
use super::simd::{Simd, add, each};
use crate::cell::Mode;

impl Layer {
    /// Takes the gradient of the new state to those of the old state, the inputs and the elapsed time.
    ///
    /// `next` [U, lanes] is the gradient of the new state; `out.hidden` and `out.records` are this layer's and are
    /// overwritten, the others are added to. `out.scratch` holds two blocks of the widest layer.
    #[inline(always)]
    pub(crate) fn backward<S: Simd>(
        &self,
        s: S,
        step: StepInput<'_>,
        tape: &[f32],
        next: &[f32],
        out: StepGradient<'_>,
    ) {
        let lanes = step.lanes;
        let StepGradient {
            hidden,
            x,
            elapsed,
            records,
            sums,
            scratch,
        } = out;
        let heads = &tape[self.head * lanes..];
        let head_records = &mut records[self.head_record * lanes..];
        match self.mode {
            Mode::Pure => {
                self.closed_form_backward(s, step, (heads, next), head_records, (elapsed, sums))
            }
            Mode::Default => {
                self.gated_backward::<S, true>(s, step, (heads, next), head_records, elapsed)
            }
            Mode::NoGate => {
                self.gated_backward::<S, false>(s, step, (heads, next), head_records, elapsed)
            }
        }
        self.heads.backward(s, head_records, scratch, lanes);
        for layer in self.backbone.iter().rev() {
            let record = &mut records[layer.record * lanes..][..layer.dense.outputs * lanes];
            self.backbone_backward(s, layer, step, tape, (scratch, record));
            layer.dense.backward(s, record, scratch, lanes);
        }
        let first = self
            .backbone
            .first()
            .map_or(&self.heads, |layer| &layer.dense);
        let inputs = (self.inputs - first.skipped.min(self.inputs)) * lanes;
        add(s, inputs, scratch, x);
        let units = self.units * lanes;
        hidden[..units].copy_from_slice(&scratch[inputs..inputs + units]);
    }

    /// From the gradient of a backbone layer's output (in scratch) to that of its product.
    #[inline(always)]
    fn backbone_backward<S: Simd>(
        &self,
        s: S,
        layer: &Backbone,
        step: StepInput<'_>,
        tape: &[f32],
        (gradient, record): (&[f32], &mut [f32]),
    ) {
        let lanes = step.lanes;
        let arguments = &tape[layer.argument * lanes..];
        let values = &tape[layer.value * lanes..];
        let len = record.len();
        match layer.dropped {
            None => record.copy_from_slice(&gradient[..len]),
            Some((_, first)) => {
                let factors = &step.dropout[first * lanes..];
                each!(
                    s,
                    len,
                    [g = gradient, factor = factors],
                    [_old = &mut *record],
                    [s.mul(g, factor)]
                );
            }
        }
        activation::differentiate(s, self.activation, arguments, values, record);
    }

    #[inline(always)]
    fn gated_backward<S: Simd, const HAS_GATE: bool>(
        &self,
        s: S,
        step: StepInput<'_>,
        (heads, next): (&[f32], &[f32]),
        records: &mut [f32],
        elapsed_gradient: &mut [f32],
    ) {
        let lanes = step.lanes;
        let block = self.units * lanes;
        let one = s.splat(1.0);
        let (ff1, ff2, gates) = (
            &heads[..block],
            &heads[block..2 * block],
            &heads[2 * block..],
        );
        let (record1, rest) = records.split_at_mut(block);
        let (record2, gate_records) = rest.split_at_mut(block);
        let gate_start = if self.span.is_some() { 0 } else { block };
        let (opened, gate_record) = (&gates[gate_start..], &mut gate_records[gate_start..]);
        let inputs = (ff1, ff2, opened, next);
        each!(
            s,
            block,
            [a = inputs.0, b = inputs.1, t = inputs.2, g = inputs.3],
            [_r1 = record1, _r2 = record2, _r3 = gate_record],
            {
                let gt = s.mul(g, t);
                let (ga, towards) = if HAS_GATE {
                    (s.sub(g, gt), s.sub(b, a))
                } else {
                    (g, b)
                };
                [
                    s.flush(s.mul(ga, s.neg_mul_add(a, a, one))),
                    s.flush(s.mul(gt, s.neg_mul_add(b, b, one))),
                    s.flush(s.mul(s.mul(g, towards), s.neg_mul_add(t, t, t))),
                ]
            }
        );
        if let (None, Some(elapsed)) = (self.span, step.elapsed) {
            let (slope_records, offset_records) = gate_records.split_at_mut(block);
            let rows = slope_records
                .chunks_exact_mut(lanes)
                .zip(offset_records.chunks_exact(lanes));
            for ((slope, offset), gate) in rows.zip(gates.chunks_exact(lanes)) {
                each!(
                    s,
                    lanes,
                    [g = offset, at = gate, span = elapsed],
                    [_old = slope, sum = &mut *elapsed_gradient],
                    [s.mul(g, span), s.mul_add(g, at, sum)]
                );
            }
        }
    }

    #[inline(always)]
    fn closed_form_backward<S: Simd>(
        &self,
        s: S,
        step: StepInput<'_>,
        (heads, next): (&[f32], &[f32]),
        records: &mut [f32],
        (elapsed_gradient, sums): (&mut [f32], &mut [f32]),
    ) {
        let lanes = step.lanes;
        let (zero, one) = (s.splat(0.0), s.splat(1.0));
        let (rate_sums, resting_sums) = sums[self.sums.clone()].split_at_mut(self.sums.len() / 2);
        let has_spans = step.elapsed.is_some();
        for u in 0..self.units {
            let (resting, rate) = (s.splat(self.resting[u]), s.splat(self.w_tau[u].abs()));
            let (mut rate_sum, mut resting_sum) = (zero, zero);
            let row = u * lanes..(u + 1) * lanes;
            let spans = step.elapsed.unwrap_or(heads);
            each!(
                s,
                lanes,
                [
                    f = &heads[row.clone()],
                    g = &next[row.clone()],
                    span = spans
                ],
                [
                    _old = &mut records[row],
                    elapsed_sum = &mut *elapsed_gradient
                ],
                {
                    let span = if has_spans { span } else { s.splat(step.span) };
                    let e = decay(s, f, rate, span);
                    // h' = A - A e f with e = exp(-elapsed (rate + |f|)).
                    let g_faded = s.sub(zero, s.mul(g, resting));
                    let g_exponent = s.mul(s.mul(g_faded, f), e);
                    let g_rate = s.sub(zero, s.mul(g_exponent, span));
                    let negative = s.select_lt(f, zero, s.sub(zero, g_rate), zero);
                    let signed = s.select_lt(zero, f, g_rate, negative);
                    rate_sum = s.add(rate_sum, g_rate);
                    resting_sum = s.mul_add(g, s.neg_mul_add(e, f, one), resting_sum);
                    let total = s.add(rate, s.abs(f));
                    [
                        s.mul_add(g_faded, e, signed),
                        s.neg_mul_add(g_exponent, total, elapsed_sum),
                    ]
                }
            );
            let line = u * super::buffer::LINE;
            for (sums, sum) in [
                (&mut *rate_sums, rate_sum),
                (&mut *resting_sums, resting_sum),
            ] {
                let total = s.add(s.load(&sums[line..]), sum);
                s.store(&mut sums[line..], total);
            }
        }
    }

    /// Adds the weights' gradients over the steps of a chunk.
    #[inline(always)]
    pub(crate) fn accumulate<S: Simd>(
        &self,
        s: S,
        (tape, tape_stride): (&[f32], usize),
        (records, record_stride): (&[f32], usize),
        (steps, lanes): (usize, usize),
        gradients: &mut [f32],
    ) {
        for layer in &self.backbone {
            let record = (&records[layer.record * lanes..], record_stride);
            let input = (&tape[layer.input * lanes..], tape_stride);
            layer
                .dense
                .accumulate(s, record, input, (steps, lanes), gradients);
        }
        let record = (&records[self.head_record * lanes..], record_stride);
        let input = (&tape[self.head_input * lanes..], tape_stride);
        self.heads
            .accumulate(s, record, input, (steps, lanes), gradients);
    }

    /// Writes the gradients of this layer's parameters in the order of the specification.
    pub(crate) fn emit(&self, gradients: &[f32], out: &mut GradientWriter<'_, '_>) {
        for layer in &self.backbone {
            out.write(&gradients[layer.dense.weight_place.clone()]);
            out.write(&gradients[layer.dense.bias_place.clone()]);
        }
        let weights = &gradients[self.heads.weight_place.clone()];
        let bias = &gradients[self.heads.bias_place.clone()];
        let (block, units) = (self.units * self.heads.inputs, self.units);
        let heads = if self.mode == Mode::Pure { 1 } else { 4 };
        for head in 0..heads {
            // The parts of a merged gate share a gradient, the slope's times the span.
            let part = if self.span.is_some() {
                head.min(2)
            } else {
                head
            };
            let weights = &weights[part * block..][..block];
            let bias = &bias[part * units..][..units];
            match (&self.mask, self.span) {
                (Some(mask), _) if head < 2 => out.write_product(weights, mask),
                (_, Some(span)) if head == 2 => out.write_scaled(weights, span),
                _ => out.write(weights),
            }
            match self.span {
                Some(span) if head == 2 => out.write_scaled(bias, span),
                _ => out.write(bias),
            }
        }
        if self.mode == Mode::Pure {
            let sums: Vec<f32> = gradients[self.sums.clone()]
                .chunks_exact(super::buffer::LINE)
                .map(|line| line.iter().sum())
                .collect();
            let signed: Vec<f32> = sums
                .iter()
                .zip(&self.w_tau)
                .map(|(g, w)| g * sign(*w))
                .collect();
            out.write(&signed);
            out.write(&sums[units..]);
        }
    }
}

/// The derivative of |w|, 0 at 0.
fn sign(w: f32) -> f32 {
    if w == 0.0 { 0.0 } else { w.signum() }
}

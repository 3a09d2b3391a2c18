//! The LSTM step: the memory of mixed-memory layers, and a baseline on its own.
//!
//! ```text
//! z = W_input x + b + W_recurrent h,     (i, ig, fg, og) = four parts of z
//! c' = c sigmoid(fg + 1) + tanh(i) sigmoid(ig)
//! h' = tanh(c') sigmoid(og)
//! ```
//! A step's record holds x and h, the four gates, the old c, and tanh(c').

use super::cfc::StepInput;
use super::dense::{Allotment, Dense, Preparation};
use super::network::GradientWriter;
use super::simd::{Simd, add, each, math};

const FORGET_GATE_BIAS: f32 = 1.0;

/// LSTM neurons with their weights packed, input and recurrent map as one matrix.
#[derive(Debug)]
pub(crate) struct Lstm {
    inputs: usize,
    units: usize,
    gates: Dense,
}

impl Lstm {
    /// `parameters`: input weights `[4U, F]`, bias `[4U]`, recurrent weights `[4U, U]`.
    pub(crate) fn new(
        (inputs, units): (usize, usize),
        parameters: &[&[f32]],
        preparation: Preparation,
        places: &mut Allotment,
    ) -> Self {
        let mut weights = Vec::with_capacity(4 * units * (inputs + units));
        for row in 0..4 * units {
            weights.extend_from_slice(&parameters[0][row * inputs..(row + 1) * inputs]);
            weights.extend_from_slice(&parameters[2][row * units..(row + 1) * units]);
        }
        let mut bias = parameters[1].to_vec();
        for value in &mut bias[2 * units..3 * units] {
            *value += FORGET_GATE_BIAS;
        }
        let skipped = if preparation.wants_inputs { 0 } else { inputs };
        let gates = Dense::new(&weights, bias, skipped, preparation, places);
        Self {
            inputs,
            units,
            gates,
        }
    }

    pub(crate) fn tape_rows(&self) -> usize {
        self.inputs + 7 * self.units
    }

    pub(crate) fn record_rows(&self) -> usize {
        4 * self.units
    }

    /// Rows of scratch that a step backward needs.
    pub(crate) fn scratch_rows(&self) -> usize {
        self.inputs + self.units
    }

    fn gate_row(&self) -> usize {
        self.inputs + self.units
    }

    /// One step from (hidden, memory) to `next`.
    #[inline(always)]
    pub(crate) fn forward<S: Simd>(
        &self,
        s: S,
        step: StepInput<'_>,
        (hidden, memory): (&[f32], &[f32]),
        tape: &mut [f32],
        (next_hidden, next_memory): (&mut [f32], &mut [f32]),
    ) {
        let lanes = step.lanes;
        let (x_len, block) = (self.inputs * lanes, self.units * lanes);
        tape[..x_len].copy_from_slice(&step.x[..x_len]);
        tape[x_len..x_len + block].copy_from_slice(&hidden[..block]);
        let (before, rest) = tape.split_at_mut(self.gate_row() * lanes);
        self.gates.forward(s, before, rest, lanes);
        let (i, rest) = rest.split_at_mut(block);
        let (ig, rest) = rest.split_at_mut(block);
        let (fg, rest) = rest.split_at_mut(block);
        let (og, rest) = rest.split_at_mut(block);
        let (old, squashed) = rest.split_at_mut(block);
        old.copy_from_slice(&memory[..block]);
        each!(
            s,
            block,
            [c = old],
            [
                i = i,
                ig = ig,
                fg = fg,
                og = og,
                _t = squashed,
                _c = next_memory,
                _h = next_hidden
            ],
            {
                let (a, b) = (math::tanh(s, i), math::sigmoid(s, ig));
                let (f, o) = (math::sigmoid(s, fg), math::sigmoid(s, og));
                let c = s.mul_add(c, f, s.mul(a, b));
                let squash = math::tanh(s, c);
                [a, b, f, o, squash, c, s.mul(squash, o)]
            }
        );
    }

    /// From the gradients of the new hidden state and memory to those of the old ones and the inputs.
    ///
    /// `memory` holds the gradient of the new memory and becomes that of the old; `hidden` and `records` are
    /// overwritten; `x` is added to.
    #[inline(always)]
    pub(crate) fn backward<S: Simd>(
        &self,
        s: S,
        lanes: usize,
        tape: &[f32],
        (next_hidden, memory): (&[f32], &mut [f32]),
        (hidden, x): (&mut [f32], &mut [f32]),
        (records, scratch): (&mut [f32], &mut [f32]),
    ) {
        let block = self.units * lanes;
        let one = s.splat(1.0);
        let rows = &tape[self.gate_row() * lanes..];
        let row = |k: usize| &rows[k * block..];
        let (i_records, rest) = records.split_at_mut(block);
        let (ig_records, rest) = rest.split_at_mut(block);
        let (fg_records, og_records) = rest.split_at_mut(block);
        each!(
            s,
            block,
            [
                a = row(0),
                b = row(1),
                f = row(2),
                o = row(3),
                old = row(4),
                squash = row(5),
                g = next_hidden
            ],
            [
                _i = i_records,
                _ig = ig_records,
                _fg = fg_records,
                _og = og_records,
                g_memory = memory
            ],
            {
                let slope = s.mul(o, s.neg_mul_add(squash, squash, one));
                let g_c = s.mul_add(g, slope, g_memory);
                [
                    s.flush(s.mul(s.mul(g_c, b), s.neg_mul_add(a, a, one))),
                    s.flush(s.mul(s.mul(g_c, a), s.neg_mul_add(b, b, b))),
                    s.flush(s.mul(s.mul(g_c, old), s.neg_mul_add(f, f, f))),
                    s.flush(s.mul(s.mul(g, squash), s.neg_mul_add(o, o, o))),
                    s.mul(g_c, f),
                ]
            }
        );
        self.gates.backward(s, records, scratch, lanes);
        let inputs = (self.inputs - self.gates.skipped) * lanes;
        add(s, inputs, scratch, x);
        hidden[..block].copy_from_slice(&scratch[inputs..inputs + block]);
    }

    /// Adds the weights' gradients over the steps of a chunk.
    #[inline(always)]
    pub(crate) fn accumulate<S: Simd>(
        &self,
        s: S,
        tape: (&[f32], usize),
        records: (&[f32], usize),
        size: (usize, usize),
        gradients: &mut [f32],
    ) {
        self.gates.accumulate(s, records, tape, size, gradients);
    }

    /// Writes the gradients of input weights, bias and recurrent weights.
    pub(crate) fn emit(&self, gradients: &[f32], out: &mut GradientWriter<'_, '_>) {
        let weights = &gradients[self.gates.weight_place.clone()];
        let width = self.inputs + self.units;
        let columns = |from: usize, to: usize| -> Vec<f32> {
            weights
                .chunks_exact(width)
                .flat_map(|row| &row[from..to])
                .copied()
                .collect()
        };
        out.write(&columns(0, self.inputs));
        out.write(&gradients[self.gates.bias_place.clone()]);
        out.write(&columns(self.inputs, width));
    }
}

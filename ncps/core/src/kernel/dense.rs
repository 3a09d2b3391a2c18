//! A layer of weights, prepared for one call: packed for both directions, with a place for its gradient.

use std::ops::Range;

use super::matmul::{GradientProduct, Panels, Product, Series, Start};
use super::simd::Simd;

/// Hands out ranges of a flat gradient buffer.
#[derive(Debug, Default)]
pub(crate) struct Allotment {
    next: usize,
}

impl Allotment {
    pub(crate) fn take(&mut self, len: usize) -> Range<usize> {
        let start = self.next;
        self.next += len;
        start..self.next
    }

    pub(crate) fn total(&self) -> usize {
        self.next
    }
}

/// How a call uses its weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Preparation {
    /// Rows of the register tile.
    pub(crate) tile: usize,
    /// Whether steps will be run forward.
    pub(crate) is_forward: bool,
    /// Whether steps will be run backward.
    pub(crate) is_backward: bool,
    /// Whether the gradient of the inputs is among them.
    pub(crate) wants_inputs: bool,
    /// How long every step lasts, if that is one number: slope and offset of a gate are then one matrix.
    pub(crate) span: Option<f32>,
}

/// `out = weight x input + bias`, for a block of samples.
#[derive(Debug)]
pub(crate) struct Dense {
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    /// Leading inputs whose gradient nobody wants.
    pub(crate) skipped: usize,
    forward: Option<Panels>,
    backward: Option<Panels>,
    bias: Vec<f32>,
    pub(crate) weight_place: Range<usize>,
    pub(crate) bias_place: Range<usize>,
}

impl Dense {
    /// From row-major weights [outputs, inputs].
    pub(crate) fn new(
        weights: &[f32],
        bias: Vec<f32>,
        skipped: usize,
        preparation: Preparation,
        places: &mut Allotment,
    ) -> Self {
        let outputs = bias.len();
        let inputs = weights.len() / outputs.max(1);
        let tile = preparation.tile;
        let backward = preparation.is_backward.then(|| {
            let columns = &weights[skipped..];
            Panels::pack(columns, (inputs - skipped, outputs), (1, inputs), tile)
        });
        Self {
            outputs,
            inputs,
            skipped,
            forward: preparation
                .is_forward
                .then(|| Panels::pack(weights, (outputs, inputs), (inputs, 1), tile)),
            backward,
            bias,
            weight_place: places.take(outputs * inputs),
            bias_place: places.take(outputs),
        }
    }

    #[inline(always)]
    pub(crate) fn forward<S: Simd>(&self, s: S, input: &[f32], out: &mut [f32], lanes: usize) {
        if let Some(weights) = &self.forward {
            let start = Start::Bias(&self.bias);
            s.dispatch(Product {
                weights,
                input,
                start,
                out,
                lanes,
            });
        }
    }

    /// The gradient of all inputs but the skipped ones.
    #[inline(always)]
    pub(crate) fn backward<S: Simd>(&self, s: S, gradient: &[f32], out: &mut [f32], lanes: usize) {
        if let Some(weights) = &self.backward {
            s.dispatch(Product {
                weights,
                input: gradient,
                start: Start::Zero,
                out,
                lanes,
            });
        }
    }

    /// Adds the gradients of weights and bias over the steps of a chunk to the flat buffer `gradients`.
    #[inline(always)]
    pub(crate) fn accumulate<S: Simd>(
        &self,
        s: S,
        gradient: (&[f32], usize),
        input: (&[f32], usize),
        (steps, lanes): (usize, usize),
        gradients: &mut [f32],
    ) {
        // The two places follow each other: see `new`.
        let both = &mut gradients[self.weight_place.start..self.bias_place.end];
        let (weights, bias) = both.split_at_mut(self.weight_place.len());
        s.dispatch(GradientProduct {
            gradient: Series {
                data: gradient.0,
                stride: gradient.1,
                rows: self.outputs,
            },
            input: Series {
                data: input.0,
                stride: input.1,
                rows: self.inputs,
            },
            steps,
            lanes,
            weights,
            bias,
        });
    }
}

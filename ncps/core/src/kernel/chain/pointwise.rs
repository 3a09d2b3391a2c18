//! Stages that look at one step at a time: linear maps and functions of each feature.

use super::super::activation;
use super::super::dense::Dense;
use super::super::simd::{Kernel, Simd};
use crate::cell::Activation;

/// `y = W x + b` at each step.
pub(super) struct LinearForward<'a> {
    pub(super) dense: &'a Dense,
    /// [steps, inputs, lanes].
    pub(super) x: &'a [f32],
    /// [steps, outputs, lanes].
    pub(super) y: &'a mut [f32],
    pub(super) lanes: usize,
}

impl Kernel for LinearForward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { dense, lanes, .. } = self;
        let steps = self.x.chunks_exact(dense.inputs * lanes);
        for (x, y) in steps.zip(self.y.chunks_exact_mut(dense.outputs * lanes)) {
            dense.forward(s, x, y, lanes);
        }
    }
}

/// From the gradient of `y` to that of the parameters and, unless its slice is empty, of `x`.
pub(super) struct LinearBackward<'a> {
    pub(super) dense: &'a Dense,
    pub(super) x: &'a [f32],
    pub(super) y_gradient: &'a [f32],
    /// Overwritten.
    pub(super) x_gradient: &'a mut [f32],
    /// Added to.
    pub(super) sums: &'a mut [f32],
    pub(super) lanes: usize,
}

impl Kernel for LinearBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { dense, lanes, .. } = self;
        let (y_len, x_len) = (dense.outputs * lanes, dense.inputs * lanes);
        let steps = self.y_gradient.len() / y_len;
        let size = (steps, lanes);
        let (gradient, x) = ((self.y_gradient, y_len), (self.x, x_len));
        dense.accumulate(s, gradient, x, size, self.sums);
        let steps = self.y_gradient.chunks_exact(y_len);
        for (gradient, out) in steps.zip(self.x_gradient.chunks_exact_mut(x_len)) {
            dense.backward(s, gradient, out, lanes);
        }
    }
}

/// The function of each value, in place.
pub(super) struct Apply<'a>(pub(super) Activation, pub(super) &'a mut [f32]);

impl Kernel for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        activation::apply(s, self.0, self.1);
    }
}

/// From the gradient of the function's values to that of its arguments, in place.
pub(super) struct Differentiate<'a> {
    pub(super) function: Activation,
    pub(super) arguments: &'a [f32],
    pub(super) values: &'a [f32],
    pub(super) gradient: &'a mut [f32],
}

impl Kernel for Differentiate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        activation::differentiate(s, self.function, self.arguments, self.values, self.gradient);
    }
}

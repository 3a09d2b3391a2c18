//! Losses and their gradients on lanes: sums over positions of weight times loss.
//!
//! A prediction is a small part of a step's work, so these are plain loops, compiled once; only what they need of
//! exponentials and logarithms is computed with vectors.

use super::super::simd::{Kernel, Level, Simd, each, math};

/// What is minimised; equations stand at the configuration of each loss.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Loss {
    Mse,
    Mae,
    Huber {
        delta: f32,
    },
    CrossEntropy {
        /// One for each class, or none.
        weights: Vec<f32>,
        smoothing: f32,
    },
    BinaryCrossEntropy {
        /// Of label 0 and of label 1.
        weights: [f32; 2],
        smoothing: f32,
    },
}

/// One step of a block.
#[derive(Debug)]
pub(crate) struct Position<'a> {
    /// [O, lanes].
    pub(crate) predictions: &'a [f32],
    /// [O, lanes], or [1, lanes] of class ids; 0 where the weight is.
    pub(crate) targets: &'a [f32],
    /// [lanes].
    pub(crate) weights: &'a [f32],
    /// [O, lanes], overwritten.
    pub(crate) gradients: &'a mut [f32],
    /// [2, lanes]: sums of losses and of weights, added to.
    pub(crate) sums: &'a mut [f32],
}

impl Loss {
    /// Columns of the targets, for `outputs` predictions.
    pub(crate) fn target_width(&self, outputs: usize) -> usize {
        match self {
            Self::CrossEntropy { .. } => 1,
            _ => outputs,
        }
    }

    /// Judges one step.
    pub(crate) fn judge(&self, level: Level, at: Position<'_>) {
        match self {
            Self::Mse => at.mean(|e| (e * e, e + e)),
            Self::Mae => at.mean(|e| (e.abs(), sign(e))),
            Self::Huber { delta } => at.mean(|e| {
                let size = e.abs();
                // Written so that NaN stays.
                let near = if size > *delta { *delta } else { size };
                (near * (size - 0.5 * near), near.copysign(e))
            }),
            Self::CrossEntropy { weights, smoothing } => {
                cross_entropy(level, at, weights, *smoothing);
            }
            Self::BinaryCrossEntropy { weights, smoothing } => {
                binary_cross_entropy(level, at, *weights, *smoothing);
            }
        }
    }
}

impl Position<'_> {
    /// A mean over the outputs of a function of the error, which gives value and derivative.
    #[inline(always)]
    fn mean(self, of_error: impl Fn(f32) -> (f32, f32)) {
        let lanes = self.weights.len();
        let share = 1.0 / (self.predictions.len() / lanes) as f32;
        let (losses, sums) = self.sums.split_at_mut(lanes);
        let rows = self.predictions.chunks_exact(lanes);
        let rows = rows.zip(self.targets.chunks_exact(lanes));
        for ((p, y), gradient) in rows.zip(self.gradients.chunks_exact_mut(lanes)) {
            let (y, w) = (&y[..lanes], &self.weights[..lanes]);
            let (gradient, losses) = (&mut gradient[..lanes], &mut losses[..lanes]);
            for lane in 0..lanes {
                let (value, slope) = of_error(p[lane] - y[lane]);
                let w = w[lane] * share;
                gradient[lane] = w * slope;
                losses[lane] += w * value;
            }
        }
        for (sum, w) in sums.iter_mut().zip(self.weights) {
            *sum += w;
        }
    }
}

/// -1, 0 or 1; NaN of NaN.
fn sign(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

/// With A[c] = (1 - s) w[y] [c = y] + s / C w[c]: sum_c A[c] (-log p[c]), whose gradient is p[c] sum A - A[c].
fn cross_entropy(level: Level, at: Position<'_>, weights: &[f32], smoothing: f32) {
    let lanes = at.weights.len();
    let classes = at.predictions.len() / lanes;
    let weight_of = |class: usize| {
        if weights.is_empty() {
            1.0
        } else {
            weights[class]
        }
    };
    let largest = |lane: usize| {
        let row = at.predictions[lane..].iter().step_by(lanes);
        row.copied().fold(f32::NEG_INFINITY, f32::max)
    };
    let largest: Vec<f32> = (0..lanes).map(largest).collect();
    let rows = at.predictions.chunks_exact(lanes);
    for (row, shifted) in rows.zip(at.gradients.chunks_exact_mut(lanes)) {
        for lane in 0..lanes {
            shifted[lane] = row[lane] - largest[lane];
        }
    }
    level.run(Exponentials(at.gradients));
    let share = smoothing / classes as f32;
    let spread: f32 = (0..classes).map(|class| share * weight_of(class)).sum();
    let (losses, sums) = at.sums.split_at_mut(lanes);
    for lane in 0..lanes {
        let z = |class: usize| at.predictions[class * lanes + lane];
        let total: f32 = at.gradients[lane..].iter().step_by(lanes).sum();
        let normal = largest[lane] + total.ln();
        let id = class_id(at.targets[lane], classes);
        // An id that is no class has no loss: it must show.
        let own = id.map_or(f32::NAN, weight_of);
        let own_part = (1.0 - smoothing) * own;
        let mut loss = own_part * id.map_or(f32::NAN, |id| normal - z(id));
        if smoothing > 0.0 {
            let parts = (0..classes).map(|class| share * weight_of(class) * (normal - z(class)));
            loss += parts.sum::<f32>();
        }
        let w = at.weights[lane];
        losses[lane] += w * loss;
        sums[lane] += w * own;
        let scale = (own_part + spread) / total;
        for class in 0..classes {
            let gradient = &mut at.gradients[class * lanes + lane];
            let is_own = id == Some(class);
            let part = share * weight_of(class) + if is_own { own_part } else { 0.0 };
            *gradient = w * (*gradient * scale - part);
        }
    }
}

/// A whole number, towards zero; one below zero counts from the last class, as an index does.
fn class_id(target: f32, classes: usize) -> Option<usize> {
    let id = target.trunc();
    let id = if id < 0.0 { id + classes as f32 } else { id };
    (id >= 0.0 && id < classes as f32).then_some(id as usize)
}

/// Mean over the outputs of own (log(1 + e^z) - z y'), with y' = (1 - s) y + s / 2 and own = w0 + (w1 - w0) y.
fn binary_cross_entropy(level: Level, at: Position<'_>, weights: [f32; 2], smoothing: f32) {
    let lanes = at.weights.len();
    let share = 1.0 / (at.predictions.len() / lanes) as f32;
    let (losses, sums) = at.sums.split_at_mut(lanes);
    let mut tails = vec![0.0; at.predictions.len()];
    for (small, z) in at.gradients.iter_mut().zip(at.predictions) {
        *small = -z.abs();
    }
    level.run(Exponentials(at.gradients));
    tails.copy_from_slice(at.gradients);
    level.run(Logarithms(&mut tails));
    for (index, gradient) in at.gradients.iter_mut().enumerate() {
        let (z, y, lane) = (at.predictions[index], at.targets[index], index % lanes);
        let smooth = (1.0 - smoothing) * y + 0.5 * smoothing;
        let w = at.weights[lane] * share * (weights[0] + (weights[1] - weights[0]) * y);
        // Here `gradient` still holds e^-|z|.
        let open = if z < 0.0 { *gradient } else { 1.0 } / (1.0 + *gradient);
        losses[lane] += w * (tails[index] + z.max(0.0) - z * smooth);
        sums[lane] += w;
        *gradient = w * (open - smooth);
    }
}

/// e^x of each value; as many as fill whole vectors.
struct Exponentials<'a>(&'a mut [f32]);

impl Kernel for Exponentials<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        each!(s, self.0.len(), [], [x = self.0], [math::exp(s, x)]);
    }
}

/// log(1 + x) of each value in [0, 1].
struct Logarithms<'a>(&'a mut [f32]);

impl Kernel for Logarithms<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        each!(s, self.0.len(), [], [x = self.0], [math::log1p(s, x)]);
    }
}

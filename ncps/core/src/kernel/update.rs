//! Optimisers in one pass over all parameters.
//!
//! Gradients are divided by their weight and clipped on the way; the only other pass is the one for their norm.

use super::simd::{Kernel, Simd, each};

/// Keeps a division by an empty batch's weight finite.
const LEAST_WEIGHT: f32 = 1e-12;
/// Values whose squares are summed in f32 before the sum goes on in f64.
const NORM_CHUNK: usize = 4096;

/// How gradients become updates; equations and sources stand at the configuration of each optimiser.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    /// Weight decay is part of the gradient, or (decoupled) beside it.
    Adam {
        beta1: f32,
        beta2: f32,
        epsilon: f32,
        is_decoupled: bool,
    },
    Sgd {
        momentum: f32,
        is_nesterov: bool,
    },
    RmsProp {
        alpha: f32,
        epsilon: f32,
        momentum: f32,
    },
    Lion {
        beta1: f32,
        beta2: f32,
    },
}

impl Rule {
    /// Vectors that the optimiser carries from step to step.
    pub(crate) fn slots(self) -> usize {
        match self {
            Rule::Adam { .. } => 2,
            Rule::Sgd { momentum, .. } => usize::from(momentum > 0.0),
            Rule::RmsProp { momentum, .. } => 1 + usize::from(momentum > 0.0),
            Rule::Lion { .. } => 1,
        }
    }
}

/// Limits of the gradients.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Clip {
    pub(crate) norm: Option<f32>,
    pub(crate) value: Option<f32>,
}

/// One update of all parameters, a flat vector of P values.
#[derive(Debug)]
pub(crate) struct Update<'a> {
    pub(crate) rule: Rule,
    pub(crate) clip: Clip,
    pub(crate) parameters: &'a [f32],
    /// Summed over samples whose weights sum to `weight`.
    pub(crate) gradients: &'a [f32],
    pub(crate) weight: f32,
    /// The rate, Adam's corrected rate, Adam's root correction.
    pub(crate) scalars: [f32; 3],
    pub(crate) slots: [&'a [f32]; 2],
    /// P values, one, or none.
    pub(crate) decay: &'a [f32],
    /// Least values: P or none.
    pub(crate) floor: &'a [f32],
    pub(crate) new_parameters: &'a mut [f32],
    pub(crate) new_slots: [&'a mut [f32]; 2],
}

impl Kernel for Update<'_> {
    /// The norm of the mean gradient, before clipping.
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let scale = 1.0 / self.weight.max(LEAST_WEIGHT);
        let norm = norm_of(s, self.gradients) * scale;
        let scale = match self.clip.norm {
            Some(limit) if norm > limit => scale * (limit / norm),
            // A norm that is not a number must show in the parameters.
            Some(_) if norm.is_nan() => f32::NAN,
            _ => scale,
        };
        self.pass(s, scale);
        norm
    }
}

/// The norm of a gradient as an update computes it on the way, for measuring what that takes.
///
/// # Example
/// ```
/// assert_eq!(ncps_core::kernel::norm(&[3.0, 4.0]), 5.0);
/// ```
pub fn norm(values: &[f32]) -> f32 {
    struct Norm<'a>(&'a [f32]);

    impl Kernel for Norm<'_> {
        type Output = f32;

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> f32 {
            norm_of(s, self.0)
        }
    }

    super::level().run(Norm(values))
}

/// The square root of the sum of squares.
#[inline(always)]
fn norm_of<S: Simd>(s: S, values: &[f32]) -> f32 {
    let mut total = 0f64;
    for chunk in values.chunks(NORM_CHUNK) {
        let whole = chunk.len() / S::LANES * S::LANES;
        let mut sum = s.splat(0.0);
        for x in chunk[..whole].chunks_exact(S::LANES) {
            let x = s.load(x);
            sum = s.mul_add(x, x, sum);
        }
        total += f64::from(s.sum(sum));
        total += chunk[whole..].iter().map(|x| f64::from(x * x)).sum::<f64>();
    }
    total.sqrt() as f32
}

impl Update<'_> {
    /// Whole vectors in place; the rest in padded copies, so that there is one form of each rule.
    #[inline(always)]
    fn pass<S: Simd>(self, s: S, scale: f32) {
        let whole = self.parameters.len() / S::LANES * S::LANES;
        let Self {
            rule,
            clip,
            parameters,
            gradients,
            weight,
            scalars,
            slots,
            decay,
            floor,
            new_parameters,
            new_slots,
        } = self;
        let tail = parameters.len() - whole;
        let [first, second] = new_slots;
        let part = |values: &[f32]| -> [f32; 16] {
            let mut padded = [0.0; 16];
            if values.len() == parameters.len() {
                padded[..tail].copy_from_slice(&values[whole..]);
            } else if values.len() == 1 {
                padded[0] = values[0];
            }
            padded
        };
        let rest = [parameters, gradients, slots[0], slots[1], decay, floor].map(part);
        let mut out = [[0.0; 16]; 3];
        let sized = |values: &[f32], len: usize| if values.len() > 1 { len } else { values.len() };
        if tail > 0 {
            let [new, a, b] = &mut out;
            Update {
                rule,
                clip,
                parameters: &rest[0][..S::LANES],
                gradients: &rest[1],
                weight,
                scalars,
                slots: [&rest[2], &rest[3]],
                decay: &rest[4][..sized(decay, S::LANES)],
                floor: &rest[5][..if floor.is_empty() { 0 } else { S::LANES }],
                new_parameters: new,
                new_slots: [a, b],
            }
            .vectors(s, S::LANES, scale);
        }
        for (to, from) in [&mut *new_parameters, &mut *first, &mut *second]
            .into_iter()
            .zip(&out)
        {
            if to.len() > whole {
                to[whole..].copy_from_slice(&from[..tail]);
            }
        }
        let new_slots = [first, second];
        Update {
            rule,
            clip,
            parameters,
            gradients,
            weight,
            scalars,
            slots,
            decay,
            floor,
            new_parameters,
            new_slots,
        }
        .vectors(s, whole, scale);
    }

    /// The first `len` values, whole vectors; chooses the form once.
    #[inline(always)]
    fn vectors<S: Simd>(self, s: S, len: usize, scale: f32) {
        let (parameters, gradients) = (self.parameters, self.gradients);
        let decays = if self.decay.len() > 1 {
            self.decay
        } else {
            parameters
        };
        let floors = if self.floor.is_empty() {
            parameters
        } else {
            self.floor
        };
        let limit = self.clip.value.unwrap_or(f32::INFINITY);
        let common = Common {
            scale: s.splat(scale),
            limit: s.splat(limit),
            low: s.splat(-limit),
            decay: s.splat(if self.decay.len() == 1 {
                self.decay[0]
            } else {
                0.0
            }),
            has_decays: self.decay.len() > 1,
            has_floor: !self.floor.is_empty(),
        };
        let [rate, corrected, root] = self.scalars.map(|x| s.splat(x));
        let [old1, old2] = self.slots;
        let [new1, new2] = self.new_slots;
        let new_parameters = self.new_parameters;
        match self.rule {
            Rule::Adam {
                beta1,
                beta2,
                epsilon,
                is_decoupled,
            } => {
                let (b1, b2, epsilon) = (s.splat(beta1), s.splat(beta2), s.splat(epsilon));
                let (c1, c2) = (s.splat(1.0 - beta1), s.splat(1.0 - beta2));
                each!(
                    s,
                    len,
                    [
                        p = parameters,
                        g = gradients,
                        d = decays,
                        low = floors,
                        m = old1,
                        v = old2
                    ],
                    [_p = new_parameters, _m = new1, _v = new2],
                    {
                        let d = common.decay(d);
                        let g = common.gradient(s, g);
                        let (g, p) = if is_decoupled {
                            (g, s.neg_mul_add(s.mul(d, rate), p, p))
                        } else {
                            (s.mul_add(d, p, g), p)
                        };
                        let m = s.mul_add(b1, m, s.mul(c1, g));
                        let v = s.mul_add(b2, v, s.mul(c2, s.mul(g, g)));
                        let below = s.mul_add(s.sqrt(v), root, epsilon);
                        let p = s.neg_mul_add(s.div(m, below), corrected, p);
                        [common.bounded(s, p, low), m, v]
                    }
                );
            }
            Rule::Sgd {
                momentum,
                is_nesterov,
            } if momentum > 0.0 => {
                let momentum = s.splat(momentum);
                each!(
                    s,
                    len,
                    [
                        p = parameters,
                        g = gradients,
                        d = decays,
                        low = floors,
                        b = old1
                    ],
                    [_p = new_parameters, _b = new1],
                    {
                        let g = s.mul_add(common.decay(d), p, common.gradient(s, g));
                        let b = s.mul_add(momentum, b, g);
                        let direction = if is_nesterov {
                            s.mul_add(momentum, b, g)
                        } else {
                            b
                        };
                        [common.bounded(s, s.neg_mul_add(direction, rate, p), low), b]
                    }
                );
            }
            Rule::Sgd { .. } => {
                each!(
                    s,
                    len,
                    [p = parameters, g = gradients, d = decays, low = floors],
                    [_p = new_parameters],
                    {
                        let g = s.mul_add(common.decay(d), p, common.gradient(s, g));
                        [common.bounded(s, s.neg_mul_add(g, rate, p), low)]
                    }
                );
            }
            Rule::RmsProp {
                alpha,
                epsilon,
                momentum,
            } => {
                let has_momentum = momentum > 0.0;
                let (a, c) = (s.splat(alpha), s.splat(1.0 - alpha));
                let (epsilon, momentum) = (s.splat(epsilon), s.splat(momentum));
                // Without momentum the second vector is a stand-in that nobody reads.
                let mut spare = super::buffer::Buffer::take(if has_momentum { 0 } else { len });
                let (old2, new2) = if has_momentum {
                    (old2, new2)
                } else {
                    (old1, &mut spare[..])
                };
                each!(
                    s,
                    len,
                    [
                        p = parameters,
                        g = gradients,
                        d = decays,
                        low = floors,
                        v = old1,
                        b = old2
                    ],
                    [_p = new_parameters, _v = new1, _b = new2],
                    {
                        let g = s.mul_add(common.decay(d), p, common.gradient(s, g));
                        let v = s.mul_add(a, v, s.mul(c, s.mul(g, g)));
                        let u = s.div(g, s.add(s.sqrt(v), epsilon));
                        let u = if has_momentum {
                            s.mul_add(momentum, b, u)
                        } else {
                            u
                        };
                        [common.bounded(s, s.neg_mul_add(u, rate, p), low), v, u]
                    }
                );
            }
            Rule::Lion { beta1, beta2 } => {
                let (b1, b2, one, zero) =
                    (s.splat(beta1), s.splat(beta2), s.splat(1.0), s.splat(0.0));
                let (c1, c2) = (s.splat(1.0 - beta1), s.splat(1.0 - beta2));
                each!(
                    s,
                    len,
                    [
                        p = parameters,
                        g = gradients,
                        d = decays,
                        low = floors,
                        m = old1
                    ],
                    [_p = new_parameters, _m = new1],
                    {
                        let g = common.gradient(s, g);
                        let blend = s.mul_add(b1, m, s.mul(c1, g));
                        // 0 at 0, and NaN where the blend is.
                        let sign = s.select_eq(blend, zero, zero, s.copysign(one, blend));
                        let sign = s.select_eq(blend, blend, sign, blend);
                        let p = s.neg_mul_add(s.mul(common.decay(d), rate), p, p);
                        let p = s.neg_mul_add(sign, rate, p);
                        [common.bounded(s, p, low), s.mul_add(b2, m, s.mul(c2, g))]
                    }
                );
            }
        }
    }
}

/// What every rule does first to a gradient, and last to a parameter.
#[derive(Clone, Copy)]
struct Common<V> {
    scale: V,
    limit: V,
    low: V,
    /// Where one decay holds for all.
    decay: V,
    has_decays: bool,
    has_floor: bool,
}

impl<V: Copy> Common<V> {
    #[inline(always)]
    fn gradient<S: Simd<V = V>>(&self, s: S, g: V) -> V {
        s.max(self.low, s.min(self.limit, s.mul(g, self.scale)))
    }

    #[inline(always)]
    fn decay(&self, own: V) -> V {
        if self.has_decays { own } else { self.decay }
    }

    #[inline(always)]
    fn bounded<S: Simd<V = V>>(&self, s: S, p: V, floor: V) -> V {
        if self.has_floor { s.max(floor, p) } else { p }
    }
}

//! Backbone activations on blocks, and their derivatives.

use super::simd::{Simd, each, math};
use crate::cell::Activation;

const LECUN_SCALE: f32 = 1.7159;
const LECUN_SLOPE: f32 = 0.666;
/// 1 / sqrt(2 pi).
const NORMAL_DENSITY: f32 = 0.398_942_3;

/// Whether the derivative needs the argument, not only the value.
pub(crate) fn keeps_argument(activation: Activation) -> bool {
    matches!(activation, Activation::Silu | Activation::Gelu)
}

/// Applies the function to every value.
#[inline(always)]
pub(crate) fn apply<S: Simd>(s: S, activation: Activation, values: &mut [f32]) {
    let len = values.len();
    match activation {
        Activation::LecunTanh => each!(s, len, [], [z = values], {
            let t = math::tanh(s, s.mul(z, s.splat(LECUN_SLOPE)));
            [s.mul(t, s.splat(LECUN_SCALE))]
        }),
        Activation::Tanh => each!(s, len, [], [z = values], [math::tanh(s, z)]),
        Activation::Relu => each!(s, len, [], [z = values], [s.max(s.splat(0.0), z)]),
        Activation::Silu => each!(s, len, [], [z = values], [s.mul(z, math::sigmoid(s, z))]),
        Activation::Gelu => each!(s, len, [], [z = values], [s.mul(z, normal(s, z))]),
    }
}

/// The distribution function of the normal law.
#[inline(always)]
fn normal<S: Simd>(s: S, z: S::V) -> S::V {
    let erf = math::erf(s, s.mul(z, s.splat(std::f32::consts::FRAC_1_SQRT_2)));
    s.mul_add(erf, s.splat(0.5), s.splat(0.5))
}

/// Multiplies the gradients with the derivative, from the values or (where [`keeps_argument`]) the arguments.
#[inline(always)]
pub(crate) fn differentiate<S: Simd>(
    s: S,
    activation: Activation,
    arguments: &[f32],
    values: &[f32],
    gradients: &mut [f32],
) {
    let len = gradients.len();
    // One loop for each function, or the choice would be made for every vector.
    macro_rules! pass {
        ($($name:ident),*) => {
            match activation {
                $(Activation::$name => each!(s, len, [z = arguments, y = values], [g = gradients], {
                    [s.flush(s.mul(g, derivative(s, Activation::$name, z, y)))]
                }),)*
            }
        };
    }
    pass!(LecunTanh, Silu, Relu, Tanh, Gelu);
}

/// The derivative, from the value `y` or the argument `z`.
#[inline(always)]
fn derivative<S: Simd>(s: S, activation: Activation, z: S::V, y: S::V) -> S::V {
    let one = s.splat(1.0);
    match activation {
        Activation::LecunTanh => {
            let t = s.mul(y, s.splat(1.0 / LECUN_SCALE));
            s.mul(s.neg_mul_add(t, t, one), s.splat(LECUN_SCALE * LECUN_SLOPE))
        }
        Activation::Tanh => s.neg_mul_add(y, y, one),
        Activation::Relu => s.select_lt(s.splat(0.0), y, one, s.splat(0.0)),
        Activation::Silu => {
            let g = math::sigmoid(s, z);
            s.mul(g, s.mul_add(z, s.sub(one, g), one))
        }
        Activation::Gelu => {
            let half_square = s.mul(s.mul(z, z), s.splat(-0.5));
            let density = s.mul(math::exp(s, half_square), s.splat(NORMAL_DENSITY));
            s.mul_add(z, density, normal(s, z))
        }
    }
}

//! Elementary functions on vectors, each a few ulp from the exact value, with exact limits and NaN let through.
//!
//! Polynomial coefficients are minimax fits (Remez, 40 digits) made for this project; the errors stated are those of the fit.

use super::Simd;

const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// The upper bits of ln 2: products with integers below 2^9 are exact.
const LN_2_HIGH: f32 = 0.693_145_75;
/// ln 2 less `LN_2_HIGH`.
const LN_2_LOW: f32 = 1.428_606_8e-6;
/// Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
const ROUND: f32 = 12_582_912.0;

/// (e^r - 1 - r) / r^2 on |r| <= ln(2)/2, error 1.3e-8 of e^r - 1.
const EXPM1: [f32; 5] = [
    0.499_999_97,
    0.166_665_43,
    0.041_667_2,
    0.008_366_520_5,
    0.001_388_252,
];
/// 2^f on 0 <= f < 1, error 7.5e-8.
const EXP2_FLOOR: [f32; 6] = [
    0.999_999_94,
    0.693_153_1,
    0.240_153_61,
    0.055_826_318,
    0.008_989_34,
    0.001_877_576_8,
];
/// 2^f on |f| <= 1/2, error 7.5e-8.
const EXP2_ROUND: [f32; 6] = [
    1.000_000_1,
    0.693_146_94,
    0.240_221_2,
    0.055_507_13,
    0.009_675_541,
    0.001_327_647_2,
];
/// erf(x) / x in powers of x^2 on |x| <= 1, error 4e-8.
const ERF_SMALL: [f32; 6] = [
    std::f32::consts::FRAC_2_SQRT_PI,
    -0.376_123_25,
    0.112_801_8,
    -0.026_711_311,
    0.004_917_551_3,
    -0.000_563_142_24,
];
/// erfc(x) x e^(x^2) in powers of 1/x on x >= 1, error 2e-7.
const ERFC_LARGE: [f32; 9] = [
    0.564_199_7,
    -0.000_474_838_63,
    -0.273_598_58,
    -0.078_243_844,
    0.837_325_04,
    -1.285_218_7,
    1.019_372_9,
    -0.434_828_37,
    0.079_050_355,
];

/// 2 atanh(r) / r in powers of r^2 (its Maclaurin series), error 2e-9 on |r| <= 1/3.
const ATANH: [f32; 8] = [
    2.0,
    2.0 / 3.0,
    2.0 / 5.0,
    2.0 / 7.0,
    2.0 / 9.0,
    2.0 / 11.0,
    2.0 / 13.0,
    2.0 / 15.0,
];

#[inline(always)]
fn polynomial<S: Simd, const N: usize>(s: S, x: S::V, coefficients: &[f32; N]) -> S::V {
    let mut sum = s.splat(coefficients[N - 1]);
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        sum = s.mul_add(sum, x, s.splat(coefficients[i]));
    }
    sum
}

/// 2^f for a fraction in [0, 1).
#[inline(always)]
pub(crate) fn exp2_of_fraction<S: Simd>(s: S, f: S::V) -> S::V {
    polynomial(s, f, &EXP2_FLOOR)
}

/// 2^z for |z| <= 127.
#[inline(always)]
pub(crate) fn exp2_by_rounding<S: Simd>(s: S, z: S::V) -> S::V {
    let n = round(s, z);
    s.scale(polynomial(s, s.sub(z, n), &EXP2_ROUND), n)
}

/// The nearest integer, for |z| < 2^22.
#[inline(always)]
fn round<S: Simd>(s: S, z: S::V) -> S::V {
    let shift = s.splat(ROUND);
    s.sub(s.add(z, shift), shift)
}

/// Splits x = n ln 2 + r and returns (n, e^r - 1).
#[inline(always)]
fn reduce<S: Simd>(s: S, x: S::V) -> (S::V, S::V) {
    let shift = s.splat(ROUND);
    let n = s.sub(s.mul_add(x, s.splat(LOG2_E), shift), shift);
    let r = s.neg_mul_add(n, s.splat(LN_2_HIGH), x);
    let r = s.neg_mul_add(n, s.splat(LN_2_LOW), r);
    let q = polynomial(s, r, &EXPM1);
    (n, s.mul_add(s.mul(r, r), q, r))
}

/// e^x.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::V) -> S::V {
    let x = s.max(s.splat(-104.0), s.min(s.splat(89.0), x));
    let (n, m) = reduce(s, x);
    s.scale(s.add(m, s.splat(1.0)), n)
}

/// 1 / (1 + e^-x).
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(s: S, x: S::V) -> S::V {
    let e = exp(s, s.sub(s.splat(0.0), x));
    s.reciprocal(s.add(s.splat(1.0), e))
}

/// 1 / (1 + 2^z): a sigmoid whose argument already holds the factor -log2(e); absolute error below 1e-7.
#[inline(always)]
pub(crate) fn sigmoid_exp2<S: Simd>(s: S, z: S::V) -> S::V {
    let z = s.max(s.splat(-127.0), s.min(s.splat(127.0), z));
    s.reciprocal(s.add(s.splat(1.0), s.exp2(z)))
}

/// tanh(x), through e^(-2|x|) - 1 so that small arguments keep their relative accuracy.
#[inline(always)]
pub(crate) fn tanh<S: Simd>(s: S, x: S::V) -> S::V {
    let y = s.mul(s.min(s.splat(10.0), s.abs(x)), s.splat(-2.0));
    let (n, m) = reduce(s, y);
    let power = s.scale(s.splat(1.0), n);
    let m = s.mul_add(power, m, s.sub(power, s.splat(1.0)));
    let ratio = s.mul(m, s.reciprocal(s.add(m, s.splat(2.0))));
    s.copysign(ratio, x)
}

/// log(1 + u) for 0 <= u <= 1, as 2 atanh(u / (2 + u)).
#[inline(always)]
pub(crate) fn log1p<S: Simd>(s: S, u: S::V) -> S::V {
    let r = s.div(u, s.add(u, s.splat(2.0)));
    s.mul(r, polynomial(s, s.mul(r, r), &ATANH))
}

/// The error function.
#[inline(always)]
pub(crate) fn erf<S: Simd>(s: S, x: S::V) -> S::V {
    let one = s.splat(1.0);
    let a = s.abs(x);
    let small = s.mul(x, polynomial(s, s.mul(x, x), &ERF_SMALL));
    // Beyond 4 the value is 1 in f32; the lower bound only keeps the unused lanes finite.
    let b = s.max(one, s.min(s.splat(4.0), a));
    let inverse = s.div(one, b);
    let tail = s.mul(polynomial(s, inverse, &ERFC_LARGE), inverse);
    let tail = s.mul(tail, exp(s, s.sub(s.splat(0.0), s.mul(b, b))));
    let large = s.copysign(s.sub(one, tail), x);
    s.select_lt(a, one, small, large)
}

#[cfg(test)]
mod tests {
    use super::super::{Kernel, Level};
    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Function {
        Exp,
        Sigmoid,
        SigmoidExp2,
        Tanh,
        Erf,
        Log1p,
        Flush,
    }

    struct Map<'a>(Function, &'a [f32]);

    impl Kernel for Map<'_> {
        type Output = Vec<f32>;

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Vec<f32> {
            let mut padded = self.1.to_vec();
            padded.resize(self.1.len().next_multiple_of(S::LANES), 0.0);
            for chunk in padded.chunks_exact_mut(S::LANES) {
                let x = s.load(chunk);
                let y = match self.0 {
                    Function::Exp => exp(s, x),
                    Function::Sigmoid => sigmoid(s, x),
                    Function::SigmoidExp2 => sigmoid_exp2(s, x),
                    Function::Tanh => tanh(s, x),
                    Function::Erf => erf(s, x),
                    Function::Log1p => log1p(s, s.abs(x)),
                    Function::Flush => s.flush(x),
                };
                s.store(chunk, y);
            }
            padded.truncate(self.1.len());
            padded
        }
    }

    fn levels() -> impl Iterator<Item = Level> {
        Level::ALL.into_iter().filter(|level| level.is_available())
    }

    fn grid(limit: f32) -> Vec<f32> {
        let steps = 4001;
        let linear = (0..steps).map(|i| limit * (2.0 * i as f32 / (steps - 1) as f32 - 1.0));
        let small = (0..200).flat_map(|i| {
            let x = 10f32.powf(-0.1 * i as f32);
            [x, -x]
        });
        linear.chain(small).collect()
    }

    /// The error in units of the last place of the expected value.
    fn ulps(actual: f32, expected: f64) -> f64 {
        let nearest = expected as f32;
        let spacing = (nearest.abs().max(f32::MIN_POSITIVE)).to_bits() + 1;
        let unit =
            f64::from(f32::from_bits(spacing)) - f64::from(nearest.abs().max(f32::MIN_POSITIVE));
        (f64::from(actual) - expected).abs() / unit
    }

    fn worst(function: Function, limit: f32, exact: impl Fn(f64) -> f64) -> f64 {
        let xs = grid(limit);
        let mut worst = 0f64;
        for level in levels() {
            for (x, y) in xs.iter().zip(level.run(Map(function, &xs))) {
                worst = worst.max(ulps(y, exact(f64::from(*x))));
            }
        }
        worst
    }

    #[test]
    fn functions_are_within_a_few_ulp() {
        assert!(worst(Function::Exp, 87.0, f64::exp) < 2.0);
        assert!(worst(Function::Sigmoid, 80.0, |x| 1.0 / (1.0 + (-x).exp())) < 4.0);
        assert!(worst(Function::Tanh, 12.0, f64::tanh) < 4.0);
        assert!(worst(Function::Log1p, 1.0, |x| x.abs().ln_1p()) < 4.0);
    }

    #[test]
    fn only_what_has_faded_is_flushed() {
        let kept = [1e-29, -1e-29, 1.0, -3e38, f32::INFINITY, f32::NEG_INFINITY];
        let faded = [1e-31, -1e-31, 1e-44, -1e-44, 0.0];
        for level in levels() {
            assert_eq!(level.run(Map(Function::Flush, &kept)), kept);
            assert_eq!(level.run(Map(Function::Flush, &faded)), [0.0; 5]);
            assert!(level.run(Map(Function::Flush, &[f32::NAN]))[0].is_nan());
        }
    }

    #[test]
    fn erf_agrees_with_its_series() {
        // The Maclaurin series converges for every x; |x| <= 3 needs 60 terms in f64.
        let series = |x: f64| {
            let (mut term, mut sum) = (x, x);
            for n in 1..60 {
                term *= -x * x / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            sum * std::f64::consts::FRAC_2_SQRT_PI
        };
        assert!(worst(Function::Erf, 3.0, series) < 4.0);
    }

    #[test]
    fn scaled_sigmoid_is_absolutely_accurate() {
        let xs = grid(130.0);
        for level in levels() {
            for (x, y) in xs.iter().zip(level.run(Map(Function::SigmoidExp2, &xs))) {
                let exact = 1.0 / (1.0 + f64::from(*x).exp2());
                assert!(
                    (f64::from(y) - exact).abs() < 1.2e-7,
                    "{} {x} {y}",
                    level.name()
                );
            }
        }
    }

    #[test]
    fn limits_are_exact_and_nan_passes() {
        let xs = [
            f32::INFINITY,
            f32::NEG_INFINITY,
            f32::MAX,
            f32::MIN,
            0.0,
            f32::NAN,
        ];
        for level in levels() {
            let get = |function| level.run(Map(function, &xs));
            let e = get(Function::Exp);
            assert_eq!(&e[..5], &[f32::INFINITY, 0.0, f32::INFINITY, 0.0, 1.0]);
            assert_eq!(&get(Function::Sigmoid)[..5], &[1.0, 0.0, 1.0, 0.0, 0.5]);
            assert_eq!(&get(Function::Tanh)[..5], &[1.0, -1.0, 1.0, -1.0, 0.0]);
            assert_eq!(&get(Function::Erf)[..5], &[1.0, -1.0, 1.0, -1.0, 0.0]);
            for function in [
                Function::Exp,
                Function::Sigmoid,
                Function::Tanh,
                Function::Erf,
            ] {
                assert!(
                    get(function)[5].is_nan(),
                    "{function:?} on {}",
                    level.name()
                );
            }
            let s = get(Function::SigmoidExp2);
            assert!(s[0] < 1e-37 && s[1] > 0.999_999_9 && s[5].is_nan());
        }
    }
}

//! Arrays of four values; the compiler turns them into whatever vectors the target always has.

use super::{Kernel, Simd};

/// The level that every processor has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

const LANES: usize = 4;

/// Four values, aligned as one vector.
#[derive(Clone, Copy, Debug)]
#[repr(align(16))]
pub(crate) struct F32x4([f32; LANES]);

#[inline(always)]
fn map2(a: F32x4, b: F32x4, f: impl Fn(f32, f32) -> f32) -> F32x4 {
    F32x4([
        f(a.0[0], b.0[0]),
        f(a.0[1], b.0[1]),
        f(a.0[2], b.0[2]),
        f(a.0[3], b.0[3]),
    ])
}

#[inline(always)]
fn power_of_two(n: f32) -> f32 {
    f32::from_bits(((n as i32 + 127) as u32) << 23)
}

/// A function of its own for each kernel, as on the other levels: inlined into one, they take the optimiser minutes.
#[inline(never)]
fn enter<K: Kernel>(simd: Portable, kernel: K) -> K::Output {
    kernel.run(simd)
}

impl Simd for Portable {
    type V = F32x4;
    const LANES: usize = LANES;
    const TILE_ROWS: usize = 4;
    const GRAD_TILE: (usize, usize) = (2, 2);

    #[inline(always)]
    fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        enter(self, kernel)
    }
    #[inline(always)]
    fn splat(self, x: f32) -> F32x4 {
        F32x4([x; LANES])
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> F32x4 {
        F32x4([from[0], from[1], from[2], from[3]])
    }
    #[inline(always)]
    fn store(self, to: &mut [f32], v: F32x4) {
        to[..LANES].copy_from_slice(&v.0);
    }
    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> F32x4 {
        // SAFETY: the caller promises that `LANES` values can be read.
        F32x4(unsafe { from.cast::<[f32; LANES]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store_ptr(self, to: *mut f32, v: F32x4) {
        // SAFETY: the caller promises that `LANES` values can be written.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(v.0) }
    }
    #[inline(always)]
    fn add(self, a: F32x4, b: F32x4) -> F32x4 {
        map2(a, b, |x, y| x + y)
    }
    #[inline(always)]
    fn sub(self, a: F32x4, b: F32x4) -> F32x4 {
        map2(a, b, |x, y| x - y)
    }
    #[inline(always)]
    fn mul(self, a: F32x4, b: F32x4) -> F32x4 {
        map2(a, b, |x, y| x * y)
    }
    #[inline(always)]
    fn div(self, a: F32x4, b: F32x4) -> F32x4 {
        map2(a, b, |x, y| x / y)
    }
    // Not `f32::mul_add`: without the instruction it is a call into libm for each value.
    #[inline(always)]
    fn mul_add(self, a: F32x4, b: F32x4, c: F32x4) -> F32x4 {
        self.add(self.mul(a, b), c)
    }
    #[inline(always)]
    fn neg_mul_add(self, a: F32x4, b: F32x4, c: F32x4) -> F32x4 {
        self.sub(c, self.mul(a, b))
    }
    #[inline(always)]
    fn min(self, a: F32x4, b: F32x4) -> F32x4 {
        map2(a, b, |x, y| if x < y { x } else { y })
    }
    #[inline(always)]
    fn max(self, a: F32x4, b: F32x4) -> F32x4 {
        map2(a, b, |x, y| if x > y { x } else { y })
    }
    #[inline(always)]
    fn sqrt(self, a: F32x4) -> F32x4 {
        map2(a, a, |x, _| x.sqrt())
    }
    #[inline(always)]
    fn abs(self, a: F32x4) -> F32x4 {
        map2(a, a, |x, _| x.abs())
    }
    #[inline(always)]
    fn copysign(self, a: F32x4, b: F32x4) -> F32x4 {
        map2(a, b, f32::copysign)
    }
    #[inline(always)]
    fn select_lt(self, a: F32x4, b: F32x4, x: F32x4, y: F32x4) -> F32x4 {
        let keep = map2(a, b, |a, b| {
            f32::from_bits(if a < b { u32::MAX } else { 0 })
        });
        let bits = |v: F32x4| v.0.map(f32::to_bits);
        let (keep, x, y) = (bits(keep), bits(x), bits(y));
        F32x4(std::array::from_fn(|i| {
            f32::from_bits((keep[i] & x[i]) | (!keep[i] & y[i]))
        }))
    }
    #[inline(always)]
    #[allow(
        clippy::float_cmp,
        reason = "an exact comparison is what the operation is"
    )]
    fn select_eq(self, a: F32x4, b: F32x4, x: F32x4, y: F32x4) -> F32x4 {
        let keep = map2(a, b, |a, b| {
            f32::from_bits(if a == b { u32::MAX } else { 0 })
        });
        let bits = |v: F32x4| v.0.map(f32::to_bits);
        let (keep, x, y) = (bits(keep), bits(x), bits(y));
        F32x4(std::array::from_fn(|i| {
            f32::from_bits((keep[i] & x[i]) | (!keep[i] & y[i]))
        }))
    }
    // Two factors, so that the range of results is that of f32 with its subnormals.
    #[inline(always)]
    fn scale(self, a: F32x4, n: F32x4) -> F32x4 {
        map2(a, n, |x, n| {
            let n = n.clamp(-252.0, 254.0);
            let half = (n * 0.5).trunc();
            x * power_of_two(half) * power_of_two(n - half)
        })
    }
    #[inline(always)]
    fn reciprocal(self, a: F32x4) -> F32x4 {
        map2(a, a, |x, _| 1.0 / x)
    }
    #[inline(always)]
    fn sum(self, a: F32x4) -> f32 {
        (a.0[0] + a.0[1]) + (a.0[2] + a.0[3])
    }
}

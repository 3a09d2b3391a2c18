//! NEON: vectors of 4.

use std::arch::aarch64::{
    float32x4_t, vabsq_f32, vaddq_f32, vaddq_s32, vaddvq_f32, vbslq_f32, vceqq_f32, vcltq_f32,
    vcvtnq_s32_f32, vdivq_f32, vdupq_n_f32, vdupq_n_s32, vdupq_n_u32, vfmaq_f32, vfmsq_f32,
    vld1q_f32, vmaxq_f32, vminq_f32, vmulq_f32, vpaddq_f32, vreinterpretq_f32_s32, vshlq_n_s32,
    vshrq_n_s32, vsqrtq_f32, vst1q_f32, vsubq_f32, vsubq_s32,
};

use super::{Kernel, Simd};

/// Proof that NEON exists.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon(());

const LANES: usize = 4;

impl Neon {
    #[inline(always)]
    pub(crate) fn detect() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Neon(()))
    }
}

#[target_feature(enable = "neon")]
fn enter<K: Kernel>(simd: Neon, kernel: K) -> K::Output {
    kernel.run(simd)
}

/// Wraps intrinsics: the token proves that the processor has them.
macro_rules! with_neon {
    ($($body:tt)*) => {
        // SAFETY: `Neon` is only made by `detect`, so the instructions exist; memory is the caller's promise or checked.
        unsafe { $($body)* }
    };
}

impl Simd for Neon {
    type V = float32x4_t;
    const LANES: usize = LANES;
    const TILE_ROWS: usize = 12;
    const GRAD_TILE: (usize, usize) = (6, 4);

    #[inline(always)]
    fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        with_neon!(enter(self, kernel))
    }
    #[inline(always)]
    fn splat(self, x: f32) -> float32x4_t {
        with_neon!(vdupq_n_f32(x))
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> float32x4_t {
        let from = &from[..LANES];
        with_neon!(vld1q_f32(from.as_ptr()))
    }
    #[inline(always)]
    fn store(self, to: &mut [f32], v: float32x4_t) {
        let to = &mut to[..LANES];
        with_neon!(vst1q_f32(to.as_mut_ptr(), v))
    }
    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> float32x4_t {
        with_neon!(vld1q_f32(from))
    }
    #[inline(always)]
    unsafe fn store_ptr(self, to: *mut f32, v: float32x4_t) {
        with_neon!(vst1q_f32(to, v))
    }
    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        with_neon!(vaddq_f32(a, b))
    }
    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        with_neon!(vsubq_f32(a, b))
    }
    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        with_neon!(vmulq_f32(a, b))
    }
    #[inline(always)]
    fn div(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        with_neon!(vdivq_f32(a, b))
    }
    #[inline(always)]
    fn mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        with_neon!(vfmaq_f32(c, a, b))
    }
    #[inline(always)]
    fn neg_mul_add(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        with_neon!(vfmsq_f32(c, a, b))
    }
    // NEON's own minimum is NaN if either is; the kernels only need NaN in `b` to come through.
    #[inline(always)]
    fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        self.select_lt(a, b, a, b)
    }
    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        self.select_lt(b, a, a, b)
    }
    #[inline(always)]
    fn sqrt(self, a: float32x4_t) -> float32x4_t {
        with_neon!(vsqrtq_f32(a))
    }
    #[inline(always)]
    fn abs(self, a: float32x4_t) -> float32x4_t {
        with_neon!(vabsq_f32(a))
    }
    #[inline(always)]
    fn copysign(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        with_neon!(vbslq_f32(vdupq_n_u32(0x8000_0000), b, a))
    }
    #[inline(always)]
    fn select_lt(
        self,
        a: float32x4_t,
        b: float32x4_t,
        x: float32x4_t,
        y: float32x4_t,
    ) -> float32x4_t {
        with_neon!(vbslq_f32(vcltq_f32(a, b), x, y))
    }
    #[inline(always)]
    fn select_eq(
        self,
        a: float32x4_t,
        b: float32x4_t,
        x: float32x4_t,
        y: float32x4_t,
    ) -> float32x4_t {
        with_neon!(vbslq_f32(vceqq_f32(a, b), x, y))
    }
    // Two factors, so that the range of results is that of f32 with its subnormals.
    #[inline(always)]
    fn scale(self, a: float32x4_t, n: float32x4_t) -> float32x4_t {
        with_neon! {
            let n = vminq_f32(vmaxq_f32(n, vdupq_n_f32(-252.0)), vdupq_n_f32(254.0));
            let n = vcvtnq_s32_f32(n);
            let half = vshrq_n_s32::<1>(n);
            let rest = vsubq_s32(n, half);
            let bias = vdupq_n_s32(127);
            let first = vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(half, bias)));
            let second = vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(rest, bias)));
            vmulq_f32(vmulq_f32(a, first), second)
        }
    }
    #[inline(always)]
    fn reciprocal(self, a: float32x4_t) -> float32x4_t {
        self.div(self.splat(1.0), a)
    }
    #[inline(always)]
    fn sum(self, a: float32x4_t) -> f32 {
        with_neon!(vaddvq_f32(a))
    }
    #[inline(always)]
    fn sum4(self, v: [float32x4_t; 4]) -> [f32; 4] {
        with_neon! {
            let sums = vpaddq_f32(vpaddq_f32(v[0], v[1]), vpaddq_f32(v[2], v[3]));
            let mut out = [0.0; 4];
            vst1q_f32(out.as_mut_ptr(), sums);
            out
        }
    }
}

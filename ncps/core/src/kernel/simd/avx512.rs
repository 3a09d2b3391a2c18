//! AVX-512: vectors of 16.

use std::arch::x86_64::{
    __m512, _CMP_EQ_OQ, _CMP_LT_OQ, _mm_add_ps, _mm_sfence, _mm_storeu_ps, _mm256_add_ps,
    _mm256_castps256_ps128, _mm256_extractf128_ps, _mm512_abs_ps, _mm512_add_ps, _mm512_castpd_ps,
    _mm512_castps_pd, _mm512_castps_si512, _mm512_castps512_ps256, _mm512_castsi512_ps,
    _mm512_cmp_ps_mask, _mm512_div_ps, _mm512_extractf32x8_ps, _mm512_fmadd_ps, _mm512_fnmadd_ps,
    _mm512_loadu_ps, _mm512_mask_blend_ps, _mm512_max_ps, _mm512_min_ps, _mm512_mul_ps,
    _mm512_rcp14_ps, _mm512_reduce_add_ps, _mm512_reduce_ps, _mm512_scalef_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_sqrt_ps, _mm512_storeu_ps, _mm512_stream_ps, _mm512_sub_ps,
    _mm512_ternarylogic_epi32, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd,
    _mm512_unpacklo_ps,
};

use super::{Kernel, Simd, math};

/// Proof that AVX-512 F and DQ exist.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(());

const LANES: usize = 16;

impl Avx512 {
    #[inline(always)]
    pub(crate) fn detect() -> Option<Self> {
        let is_available = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("fma");
        is_available.then_some(Avx512(()))
    }
}

#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")]
fn enter<K: Kernel>(simd: Avx512, kernel: K) -> K::Output {
    kernel.run(simd)
}

/// Wraps intrinsics: the token proves that the processor has them.
macro_rules! with_avx512 {
    ($($body:tt)*) => {
        // SAFETY: `Avx512` is only made by `detect`, so the instructions exist; memory is the caller's promise or checked.
        unsafe { $($body)* }
    };
}

impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = LANES;
    const TILE_ROWS: usize = 12;
    const GRAD_TILE: (usize, usize) = (6, 4);

    #[inline(always)]
    fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        with_avx512!(enter(self, kernel))
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        with_avx512!(_mm512_set1_ps(x))
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> __m512 {
        let from = &from[..LANES];
        with_avx512!(_mm512_loadu_ps(from.as_ptr()))
    }
    #[inline(always)]
    fn store(self, to: &mut [f32], v: __m512) {
        let to = &mut to[..LANES];
        with_avx512!(_mm512_storeu_ps(to.as_mut_ptr(), v))
    }
    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> __m512 {
        with_avx512!(_mm512_loadu_ps(from))
    }
    #[inline(always)]
    unsafe fn store_ptr(self, to: *mut f32, v: __m512) {
        with_avx512!(_mm512_storeu_ps(to, v))
    }
    #[inline(always)]
    unsafe fn stream_ptr(self, to: *mut f32, v: __m512) {
        with_avx512!(_mm512_stream_ps(to, v))
    }
    #[inline(always)]
    fn fence(self) {
        with_avx512!(_mm_sfence())
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        with_avx512!(_mm512_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        with_avx512!(_mm512_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        with_avx512!(_mm512_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        with_avx512!(_mm512_div_ps(a, b))
    }
    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        with_avx512!(_mm512_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn neg_mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        with_avx512!(_mm512_fnmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        with_avx512!(_mm512_min_ps(a, b))
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        with_avx512!(_mm512_max_ps(a, b))
    }
    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        with_avx512!(_mm512_sqrt_ps(a))
    }
    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        with_avx512!(_mm512_abs_ps(a))
    }
    #[inline(always)]
    fn copysign(self, a: __m512, b: __m512) -> __m512 {
        with_avx512! {
            let magnitude = _mm512_set1_epi32(i32::MAX);
            // 0xCA picks the second operand where the first has a 1, else the third.
            _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<0xCA>(
                magnitude,
                _mm512_castps_si512(a),
                _mm512_castps_si512(b),
            ))
        }
    }
    #[inline(always)]
    fn select_lt(self, a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
        with_avx512!(_mm512_mask_blend_ps(
            _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b),
            y,
            x
        ))
    }
    #[inline(always)]
    fn select_eq(self, a: __m512, b: __m512, x: __m512, y: __m512) -> __m512 {
        with_avx512!(_mm512_mask_blend_ps(
            _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b),
            y,
            x
        ))
    }
    #[inline(always)]
    fn scale(self, a: __m512, n: __m512) -> __m512 {
        with_avx512!(_mm512_scalef_ps(a, n))
    }
    // An estimate of 14 bits and one Newton step; `min` turns the step's inf * 0 into a harmless number.
    #[inline(always)]
    fn reciprocal(self, a: __m512) -> __m512 {
        with_avx512! {
            let y = _mm512_rcp14_ps(a);
            let error = _mm512_fnmadd_ps(a, y, _mm512_set1_ps(1.0));
            let error = _mm512_min_ps(error, _mm512_set1_ps(1.0));
            _mm512_fmadd_ps(y, error, y)
        }
    }
    // `scalef` floors its exponent and `reduce` takes z - floor(z): no rounding step is needed.
    #[inline(always)]
    fn exp2(self, z: __m512) -> __m512 {
        with_avx512! {
            let fraction = _mm512_reduce_ps::<1>(z);
            _mm512_scalef_ps(math::exp2_of_fraction(self, fraction), z)
        }
    }
    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        with_avx512!(_mm512_reduce_add_ps(a))
    }
    #[inline(always)]
    fn sum4(self, v: [__m512; 4]) -> [f32; 4] {
        with_avx512! {
            let [a, b, c, d] = v;
            let ab = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)));
            let cd = _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d)));
            let abcd = _mm512_add_ps(
                _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd)),
                _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)),
            );
            let half = _mm256_add_ps(_mm512_castps512_ps256(abcd), _mm512_extractf32x8_ps::<1>(abcd));
            let quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps::<1>(half));
            let mut out = [0.0; 4];
            _mm_storeu_ps(out.as_mut_ptr(), quarter);
            out
        }
    }
}

//! AVX2 with FMA: vectors of 8.

use std::arch::x86_64::{
    __m256, _CMP_EQ_OQ, _CMP_LT_OQ, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehl_ps,
    _mm_sfence, _mm_shuffle_ps, _mm_storeu_ps, _mm256_add_epi32, _mm256_add_ps, _mm256_and_ps,
    _mm256_andnot_ps, _mm256_blendv_ps, _mm256_castps256_ps128, _mm256_castsi256_ps, _mm256_cmp_ps,
    _mm256_cvtps_epi32, _mm256_div_ps, _mm256_extractf128_ps, _mm256_fmadd_ps, _mm256_fnmadd_ps,
    _mm256_hadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps, _mm256_or_ps,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_slli_epi32, _mm256_sqrt_ps, _mm256_srai_epi32,
    _mm256_storeu_ps, _mm256_stream_ps, _mm256_sub_epi32, _mm256_sub_ps,
};

use super::{Kernel, Simd};

/// Proof that AVX2 and FMA exist.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

const LANES: usize = 8;

impl Avx2 {
    #[inline(always)]
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Avx2(()))
    }
}

#[target_feature(enable = "avx2,fma")]
fn enter<K: Kernel>(simd: Avx2, kernel: K) -> K::Output {
    kernel.run(simd)
}

/// Wraps intrinsics: the token proves that the processor has them.
macro_rules! with_avx2 {
    ($($body:tt)*) => {
        // SAFETY: `Avx2` is only made by `detect`, so the instructions exist; memory is the caller's promise or checked.
        unsafe { $($body)* }
    };
}

impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = LANES;
    const TILE_ROWS: usize = 6;
    const GRAD_TILE: (usize, usize) = (4, 3);

    #[inline(always)]
    fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        with_avx2!(enter(self, kernel))
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        with_avx2!(_mm256_set1_ps(x))
    }
    #[inline(always)]
    fn load(self, from: &[f32]) -> __m256 {
        let from = &from[..LANES];
        with_avx2!(_mm256_loadu_ps(from.as_ptr()))
    }
    #[inline(always)]
    fn store(self, to: &mut [f32], v: __m256) {
        let to = &mut to[..LANES];
        with_avx2!(_mm256_storeu_ps(to.as_mut_ptr(), v))
    }
    #[inline(always)]
    unsafe fn load_ptr(self, from: *const f32) -> __m256 {
        with_avx2!(_mm256_loadu_ps(from))
    }
    #[inline(always)]
    unsafe fn store_ptr(self, to: *mut f32, v: __m256) {
        with_avx2!(_mm256_storeu_ps(to, v))
    }
    #[inline(always)]
    unsafe fn stream_ptr(self, to: *mut f32, v: __m256) {
        with_avx2!(_mm256_stream_ps(to, v))
    }
    #[inline(always)]
    fn fence(self) {
        with_avx2!(_mm_sfence())
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        with_avx2!(_mm256_add_ps(a, b))
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        with_avx2!(_mm256_sub_ps(a, b))
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        with_avx2!(_mm256_mul_ps(a, b))
    }
    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        with_avx2!(_mm256_div_ps(a, b))
    }
    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        with_avx2!(_mm256_fmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn neg_mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        with_avx2!(_mm256_fnmadd_ps(a, b, c))
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        with_avx2!(_mm256_min_ps(a, b))
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        with_avx2!(_mm256_max_ps(a, b))
    }
    #[inline(always)]
    fn sqrt(self, a: __m256) -> __m256 {
        with_avx2!(_mm256_sqrt_ps(a))
    }
    #[inline(always)]
    fn abs(self, a: __m256) -> __m256 {
        with_avx2!(_mm256_andnot_ps(_mm256_set1_ps(-0.0), a))
    }
    #[inline(always)]
    fn copysign(self, a: __m256, b: __m256) -> __m256 {
        with_avx2! {
            let sign = _mm256_set1_ps(-0.0);
            _mm256_or_ps(_mm256_andnot_ps(sign, a), _mm256_and_ps(sign, b))
        }
    }
    #[inline(always)]
    fn select_lt(self, a: __m256, b: __m256, x: __m256, y: __m256) -> __m256 {
        with_avx2!(_mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_LT_OQ>(a, b)))
    }
    #[inline(always)]
    fn select_eq(self, a: __m256, b: __m256, x: __m256, y: __m256) -> __m256 {
        with_avx2!(_mm256_blendv_ps(y, x, _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b)))
    }
    // Two factors, so that the range of results is that of f32 with its subnormals.
    #[inline(always)]
    fn scale(self, a: __m256, n: __m256) -> __m256 {
        with_avx2! {
            let n = _mm256_min_ps(_mm256_max_ps(n, _mm256_set1_ps(-252.0)), _mm256_set1_ps(254.0));
            let n = _mm256_cvtps_epi32(n);
            let half = _mm256_srai_epi32::<1>(n);
            let rest = _mm256_sub_epi32(n, half);
            let bias = _mm256_set1_epi32(127);
            let first = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(half, bias)));
            let second = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(rest, bias)));
            _mm256_mul_ps(_mm256_mul_ps(a, first), second)
        }
    }
    #[inline(always)]
    fn reciprocal(self, a: __m256) -> __m256 {
        with_avx2!(_mm256_div_ps(_mm256_set1_ps(1.0), a))
    }
    #[inline(always)]
    fn sum(self, a: __m256) -> f32 {
        with_avx2! {
            let half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
            _mm_cvtss_f32(_mm_add_ss(pair, _mm_shuffle_ps::<1>(pair, pair)))
        }
    }
    #[inline(always)]
    fn sum4(self, v: [__m256; 4]) -> [f32; 4] {
        with_avx2! {
            let all = _mm256_hadd_ps(_mm256_hadd_ps(v[0], v[1]), _mm256_hadd_ps(v[2], v[3]));
            let sums = _mm_add_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps::<1>(all));
            let mut out = [0.0; 4];
            _mm_storeu_ps(out.as_mut_ptr(), sums);
            out
        }
    }
}

//! Vectors of f32 chosen at run time: AVX-512, AVX2 with FMA, NEON, or plain arrays.
//!
//! A value of a type that implements [`Simd`] proves that the instructions exist, so its methods are safe. Code that is
//! generic over `Simd` and marked `#[inline(always)]` becomes part of one function compiled for those instructions:
//! [`Simd::dispatch`] is the door into it.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod each;
pub(crate) mod math;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;

use std::cell::Cell;
use std::sync::OnceLock;

pub(crate) use each::{add, checked, checked_mut, each, pointers, width};
pub(crate) use portable::Portable;

/// A computation that is compiled once per instruction set.
pub(crate) trait Kernel {
    type Output;

    /// Runs with the instructions that `S` stands for; implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Operations on vectors of `LANES` f32 values.
///
/// `min` and `max` return their second argument when either is NaN, as x86 does; kernels rely on it to let NaN through.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    type V: Copy;
    const LANES: usize;
    /// Rows of the register tile of a matrix product whose tile is two vectors wide.
    const TILE_ROWS: usize;
    /// Rows and columns of the register tile of a gradient product, a vector for each element.
    const GRAD_TILE: (usize, usize);

    fn dispatch<K: Kernel>(self, kernel: K) -> K::Output;

    fn splat(self, x: f32) -> Self::V;
    /// Loads the first `LANES` values of `from`; panics if there are fewer.
    fn load(self, from: &[f32]) -> Self::V;
    /// Stores to the first `LANES` values of `to`; panics if there are fewer.
    fn store(self, to: &mut [f32], v: Self::V);
    /// # Safety
    /// `from` must be valid for reading `LANES` values.
    unsafe fn load_ptr(self, from: *const f32) -> Self::V;
    /// # Safety
    /// `to` must be valid for writing `LANES` values.
    unsafe fn store_ptr(self, to: *mut f32, v: Self::V);
    /// Stores past the caches where there is such an instruction; [`Simd::fence`] makes the values readable.
    ///
    /// # Safety
    /// `to` must be valid for writing `LANES` values and aligned to as many, and nothing may read them before
    /// [`Simd::fence`].
    #[inline(always)]
    unsafe fn stream_ptr(self, to: *mut f32, v: Self::V) {
        // SAFETY: the caller promises more than this needs.
        unsafe { self.store_ptr(to, v) }
    }
    /// Waits until everything stored past the caches is in memory.
    #[inline(always)]
    fn fence(self) {}

    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, fused where the instruction exists.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c - a * b`, fused where the instruction exists.
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    fn sqrt(self, a: Self::V) -> Self::V;
    fn abs(self, a: Self::V) -> Self::V;
    /// The magnitude of `a` with the sign of `b`.
    fn copysign(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a < b ? x : y`, lane by lane.
    fn select_lt(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// `a`, or zero where its magnitude is below 1e-30.
    ///
    /// Gradients that fade over time or behind a closed gate would end as subnormal numbers, on which a processor's
    /// arithmetic is many times slower; products of what is left with values of any ordinary size stay normal.
    #[inline(always)]
    fn flush(self, a: Self::V) -> Self::V {
        self.select_lt(self.abs(a), self.splat(1e-30), self.splat(0.0), a)
    }
    /// `a == b ? x : y`, lane by lane.
    fn select_eq(self, a: Self::V, b: Self::V, x: Self::V, y: Self::V) -> Self::V;
    /// `a * 2^n` for integral `n`, with overflow to infinity and underflow to zero.
    fn scale(self, a: Self::V, n: Self::V) -> Self::V;
    /// `1 / a` within an ulp or two for `a >= 1`; 0 at infinity.
    fn reciprocal(self, a: Self::V) -> Self::V;
    /// `2^z` for `-127 <= z <= 127`, relative error about 1e-7.
    #[inline(always)]
    fn exp2(self, z: Self::V) -> Self::V {
        math::exp2_by_rounding(self, z)
    }
    fn sum(self, a: Self::V) -> f32;
    /// The sums of four vectors.
    #[inline(always)]
    fn sum4(self, v: [Self::V; 4]) -> [f32; 4] {
        [
            self.sum(v[0]),
            self.sum(v[1]),
            self.sum(v[2]),
            self.sum(v[3]),
        ]
    }
}

/// An instruction set that kernels can be run with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Arrays of four values, whatever the compiler makes of them.
    Portable,
    /// Vectors of 8 with fused multiply-add (x86-64).
    Avx2,
    /// Vectors of 16 (x86-64).
    Avx512,
    /// Vectors of 4 (aarch64).
    Neon,
}

impl Level {
    const ALL: [Level; 4] = [Level::Portable, Level::Avx2, Level::Avx512, Level::Neon];

    /// The levels of this processor, narrowest first.
    pub fn available() -> impl Iterator<Item = Level> {
        Level::ALL.into_iter().filter(|level| level.is_available())
    }

    /// The name used by [`force`] and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Level::Portable => "portable",
            Level::Avx2 => "avx2",
            Level::Avx512 => "avx512",
            Level::Neon => "neon",
        }
    }

    /// The level of that name, if there is one.
    pub fn from_name(name: &str) -> Option<Level> {
        Level::ALL.into_iter().find(|level| level.name() == name)
    }

    /// Whether this processor has the instructions.
    pub fn is_available(self) -> bool {
        match self {
            Level::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => avx2::Avx2::detect().is_some(),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => avx512::Avx512::detect().is_some(),
            #[cfg(target_arch = "aarch64")]
            Level::Neon => neon::Neon::detect().is_some(),
            #[cfg(not(target_arch = "x86_64"))]
            Level::Avx2 | Level::Avx512 => false,
            #[cfg(not(target_arch = "aarch64"))]
            Level::Neon => false,
        }
    }

    /// Values in one vector.
    pub fn lanes(self) -> usize {
        match self {
            Level::Portable | Level::Neon => 4,
            Level::Avx2 => 8,
            Level::Avx512 => 16,
        }
    }

    /// Rows of the register tile of matrix products.
    pub(crate) fn tile_rows(self) -> usize {
        match self {
            Level::Portable => Portable::TILE_ROWS,
            Level::Avx2 => 6,
            Level::Avx512 | Level::Neon => 12,
        }
    }

    /// The widest level of this processor.
    pub fn detect() -> Level {
        [Level::Avx512, Level::Avx2, Level::Neon]
            .into_iter()
            .find(|level| level.is_available())
            .unwrap_or(Level::Portable)
    }

    /// Runs `kernel` with this level, or with the portable one where the processor lacks it.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[cfg(target_arch = "x86_64")]
        {
            if self == Level::Avx512
                && let Some(simd) = avx512::Avx512::detect()
            {
                return simd.dispatch(kernel);
            }
            if self == Level::Avx2
                && let Some(simd) = avx2::Avx2::detect()
            {
                return simd.dispatch(kernel);
            }
        }
        #[cfg(target_arch = "aarch64")]
        if self == Level::Neon
            && let Some(simd) = neon::Neon::detect()
        {
            return simd.dispatch(kernel);
        }
        Portable.dispatch(kernel)
    }
}

thread_local! {
    /// What [`force`] chose: of one thread, so that no other's results change meanwhile.
    static FORCED: Cell<Option<Level>> = const { Cell::new(None) };
}

/// The level that new sequence ops, policies and optimisers of this thread take.
pub fn level() -> Level {
    static DETECTED: OnceLock<Level> = OnceLock::new();
    let forced = FORCED.get();
    forced.unwrap_or_else(|| *DETECTED.get_or_init(Level::detect))
}

/// Makes this thread's later ops use `level`; returns false, changing nothing, if this processor lacks it.
pub fn force(level: Level) -> bool {
    let is_available = level.is_available();
    if is_available {
        FORCED.set(Some(level));
    }
    is_available
}

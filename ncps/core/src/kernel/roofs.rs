//! What this processor can do at most: the rates that a measured speed is compared with.
//!
//! Each roof is the best of many short passes over data in the first-level cache (except [`Roof::Copy`] and [`Roof::Triad`],
//! whose arrays are as long as asked for), with all threads at work at once, by the same vector functions that the kernels
//! call. A step that runs at a roof cannot be made faster by a better schedule, only by less work.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::simd::{self, Kernel, Level, Simd, math};

/// Side of the squares that are multiplied.
const SIDE: usize = 512;
/// Values that a function is applied to, 16 KiB.
const VALUES: usize = 4096;
/// Sweeps over the values in one timed pass.
const SWEEPS: usize = 16;
/// Sums under way at once, enough to hide the latency of a multiply-add.
const CHAINS: usize = 12;
/// Multiply-adds of each sum in one timed pass.
const LINKS: usize = 4096;

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roof {
    /// A 512 x 512 x 512 product of f32 matrices by the `gemm` crate; floating-point operations.
    Product,
    /// Multiply-adds of vectors in registers; floating-point operations, two for each.
    Arithmetic,
    /// Sigmoids.
    Sigmoid,
    /// Hyperbolic tangents.
    Tanh,
    /// Exponentials.
    Exp,
    /// Copying memory; bytes read and bytes written. Passes with ordinary stores and passes with stores past the caches
    /// take turns, and the faster kind counts: an ordinary store reads the line that it overwrites.
    Copy {
        /// Bytes of each of the two arrays, shared out among the threads. What a cache holds of them is no rate of the memory.
        bytes: usize,
    },
    /// `a = b + s c` (STREAM's triad); bytes read and bytes written, stores as in a copy.
    Triad {
        /// Bytes of each of the three arrays, shared out among the threads.
        bytes: usize,
    },
}

impl Roof {
    /// Values of each of a thread's arrays.
    fn values(self, threads: usize) -> usize {
        match self {
            Self::Product => SIDE * SIDE,
            Self::Copy { bytes } | Self::Triad { bytes } => {
                let values = bytes / size_of::<f32>() / threads;
                values.next_multiple_of(ALIGNED).max(ALIGNED)
            }
            Self::Arithmetic | Self::Sigmoid | Self::Tanh | Self::Exp => VALUES,
        }
    }

    /// Passes at least: of a stream each kind of stores several times, because the first ones still warm up.
    fn least_passes(self) -> usize {
        match self {
            Self::Copy { .. } | Self::Triad { .. } => 10,
            _ => 3,
        }
    }
}

/// Values that the widest vector holds; a streamed array begins at a multiple of it.
const ALIGNED: usize = 16;

/// The highest rate seen within about `budget`, summed over `threads` threads; the kind's unit per second.
///
/// # Units
/// Floating-point operations, function values or bytes per second.
pub fn measure(roof: Roof, threads: usize, budget: Duration) -> f64 {
    let threads = threads.max(1);
    let level = simd::level();
    let start = Barrier::new(threads);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| scope.spawn(|| Bench::new(roof, level, threads).best(&start, budget)))
            .collect();
        // A thread that panicked has shown nothing.
        workers
            .into_iter()
            .filter_map(|worker| worker.join().ok())
            .sum()
    })
}

/// One thread's data for one kind of work.
struct Bench {
    roof: Roof,
    level: Level,
    input: Vec<f32>,
    other: Vec<f32>,
    output: Vec<f32>,
    passes: usize,
}

impl Bench {
    fn new(roof: Roof, level: Level, threads: usize) -> Self {
        let size = match roof {
            // Room to begin where a vector does.
            Roof::Copy { .. } | Roof::Triad { .. } => roof.values(threads) + ALIGNED,
            _ => roof.values(threads),
        };
        // Arguments between -4 and 4, as the gates of a network see them.
        let values = |from: usize| {
            let pattern: Vec<f32> = (from..from + 1000)
                .map(|i| (i % 1000) as f32 * 0.008 - 4.0)
                .collect();
            let mut values = vec![0.0; size];
            for part in values.chunks_mut(pattern.len()) {
                part.copy_from_slice(&pattern[..part.len()]);
            }
            values
        };
        Self {
            roof,
            level,
            input: values(0),
            other: match roof {
                Roof::Product | Roof::Triad { .. } => values(500),
                _ => Vec::new(),
            },
            // Written, so that the pages exist before the clock runs.
            output: values(1),
            passes: 0,
        }
    }

    fn best(mut self, start: &Barrier, budget: Duration) -> f64 {
        self.pass();
        start.wait();
        let begin = Instant::now();
        let mut best = 0.0f64;
        loop {
            let clock = Instant::now();
            let work = self.pass();
            let seconds = clock.elapsed().as_secs_f64();
            if seconds > 0.0 {
                best = best.max(work / seconds);
            }
            if begin.elapsed() >= budget && self.passes > self.roof.least_passes() {
                return best;
            }
        }
    }

    /// Does some work and says how much.
    fn pass(&mut self) -> f64 {
        self.passes += 1;
        match self.roof {
            Roof::Product => self.product(),
            Roof::Arithmetic => {
                let sums = self.level.run(Chains(black_box(0.999)));
                black_box(sums);
                (2 * CHAINS * LINKS * self.level.lanes()) as f64
            }
            Roof::Sigmoid | Roof::Tanh | Roof::Exp => {
                self.level.run(Sweep {
                    roof: self.roof,
                    // The kernels have two sigmoids; the roof is the faster one.
                    is_scaled: self.passes.is_multiple_of(2),
                    input: black_box(&self.input),
                    output: &mut self.output,
                });
                black_box(&self.output);
                (SWEEPS * VALUES) as f64
            }
            Roof::Copy { .. } | Roof::Triad { .. } => {
                let is_triad = matches!(self.roof, Roof::Triad { .. });
                let length = self.input.len() - ALIGNED;
                let begin = self
                    .output
                    .as_ptr()
                    .align_offset(size_of::<[f32; ALIGNED]>());
                let a = &mut self.output[begin..][..length];
                let b = &black_box(&self.input)[..length];
                match (is_triad, self.passes.is_multiple_of(2)) {
                    (false, true) => a.copy_from_slice(b),
                    (_, is_cached) => self.level.run(Stream {
                        a,
                        b,
                        c: is_triad.then(|| &black_box(&self.other)[..length]),
                        scale: black_box(0.5),
                        is_cached,
                    }),
                }
                black_box(&self.output);
                let arrays = if is_triad { 3 } else { 2 };
                (arrays * size_of::<f32>() * length) as f64
            }
        }
    }

    fn product(&mut self) -> f64 {
        let side = SIDE as isize;
        // SAFETY: the three buffers hold SIDE x SIDE values each, row after row, and do not overlap.
        unsafe {
            gemm::gemm(
                SIDE,
                SIDE,
                SIDE,
                self.output.as_mut_ptr(),
                1,
                side,
                false,
                self.input.as_ptr(),
                1,
                side,
                self.other.as_ptr(),
                1,
                side,
                0.0f32,
                1.0f32,
                false,
                false,
                false,
                gemm::Parallelism::None,
            );
        }
        black_box(&self.output);
        (2 * SIDE * SIDE * SIDE) as f64
    }
}

/// Independent sums of multiply-adds, never leaving the registers.
struct Chains(f32);

impl Kernel for Chains {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (factor, term) = (s.splat(self.0), s.splat(1.0 - self.0));
        let mut sums = [s.splat(0.5); CHAINS];
        for _ in 0..LINKS {
            for sum in &mut sums {
                *sum = s.mul_add(*sum, factor, term);
            }
        }
        sums.into_iter().map(|sum| s.sum(sum)).sum()
    }
}

/// `a = b + scale c`, or `a = b`, value by value; all of the same length.
struct Stream<'a> {
    /// Begins at a multiple of [`ALIGNED`] values.
    a: &'a mut [f32],
    b: &'a [f32],
    c: Option<&'a [f32]>,
    scale: f32,
    /// Whether stores go through the caches.
    is_cached: bool,
}

impl Kernel for Stream<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let scale = s.splat(self.scale);
        let is_cached = self.is_cached;
        let put = |a: &mut [f32], v| match is_cached {
            true => s.store(a, v),
            // SAFETY: the array begins at a multiple of the widest vector and every part is a vector long; nothing reads
            // it before the fence below.
            false => unsafe { s.stream_ptr(a.as_mut_ptr(), v) },
        };
        let parts = self.a.chunks_exact_mut(S::LANES);
        let parts = parts.zip(self.b.chunks_exact(S::LANES));
        match self.c {
            None => parts.for_each(|(a, b)| put(a, s.load(b))),
            Some(c) => parts
                .zip(c.chunks_exact(S::LANES))
                .for_each(|((a, b), c)| put(a, s.mul_add(s.load(c), scale, s.load(b)))),
        }
        s.fence();
    }
}

/// A function of every value, a few times over.
struct Sweep<'a> {
    roof: Roof,
    /// Whether a sigmoid's argument holds the factor -log2(e) already.
    is_scaled: bool,
    input: &'a [f32],
    output: &'a mut [f32],
}

impl Kernel for Sweep<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for _ in 0..SWEEPS {
            match self.roof {
                Roof::Tanh => map::<S, 0>(s, self.input, self.output),
                Roof::Exp => map::<S, 1>(s, self.input, self.output),
                _ if self.is_scaled => map::<S, 2>(s, self.input, self.output),
                _ => map::<S, 3>(s, self.input, self.output),
            }
        }
    }
}

/// One sweep; the function is a constant, so that its loop is compiled by itself.
#[inline(always)]
fn map<S: Simd, const FUNCTION: u8>(s: S, input: &[f32], output: &mut [f32]) {
    let pairs = input
        .chunks_exact(S::LANES)
        .zip(output.chunks_exact_mut(S::LANES));
    for (from, to) in pairs {
        let x = s.load(from);
        let y = match FUNCTION {
            0 => math::tanh(s, x),
            1 => math::exp(s, x),
            2 => math::sigmoid_exp2(s, x),
            _ => math::sigmoid(s, x),
        };
        s.store(to, y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_millis(5);

    #[test]
    fn every_roof_is_a_rate() {
        for roof in [
            Roof::Product,
            Roof::Arithmetic,
            Roof::Sigmoid,
            Roof::Tanh,
            Roof::Exp,
            Roof::Copy { bytes: 1 << 20 },
            Roof::Triad { bytes: 1 << 20 },
            Roof::Triad { bytes: 0 },
        ] {
            let rate = measure(roof, 2, BUDGET);
            // A processor that does less than a million a second would not run this test.
            assert!(rate.is_finite() && rate > 1e6, "{roof:?} {rate}");
        }
    }

    #[test]
    fn threads_share_the_streamed_arrays() {
        for (threads, values) in [(1, 1 << 18), (2, 1 << 17), (3, 87_392)] {
            assert_eq!(Roof::Copy { bytes: 1 << 20 }.values(threads), values);
        }
        // A pass counts what it reads and writes: two arrays, or three.
        for (roof, arrays) in [
            (Roof::Copy { bytes: 4096 }, 2.0),
            (Roof::Triad { bytes: 4096 }, 3.0),
        ] {
            let mut bench = Bench::new(roof, simd::level(), 1);
            for bytes in [bench.pass(), bench.pass()] {
                assert!((bytes - 4096.0 * arrays).abs() < 1e-9, "{roof:?} {bytes}");
            }
        }
    }

    #[test]
    fn the_sweep_computes_what_it_is_named_after() {
        type Exact = fn(f32) -> f32;
        let sigmoid: Exact = |x| 1.0 / (1.0 + (-x).exp());
        let scaled: Exact = |x| 1.0 / (1.0 + x.exp2());
        let exact = [
            (Roof::Sigmoid, [sigmoid, scaled]),
            (Roof::Tanh, [f32::tanh; 2]),
            (Roof::Exp, [f32::exp; 2]),
        ];
        for (roof, passes) in exact {
            let mut bench = Bench::new(roof, simd::level(), 1);
            for exact in passes {
                bench.pass();
                for (x, y) in bench.input.iter().zip(&bench.output) {
                    let error = (y - exact(*x)).abs() / exact(*x).abs().max(1.0);
                    assert!(error <= 1e-5, "{roof:?} {x} {y}");
                }
            }
        }
    }

    #[test]
    fn both_kinds_of_stores_copy_and_add_with_every_vector() {
        let values = |step: f32| -> Vec<f32> { (0..256).map(|i| i as f32 * step).collect() };
        let (b, c) = (values(1.0), values(3.0));
        for level in Level::available() {
            for (is_cached, c) in [
                (true, None),
                (false, None),
                (true, Some(&c)),
                (false, Some(&c)),
            ] {
                let mut a = vec![f32::NAN; 256 + ALIGNED];
                let begin = a.as_ptr().align_offset(size_of::<[f32; ALIGNED]>());
                let a = &mut a[begin..][..256];
                level.run(Stream {
                    a,
                    b: &b,
                    c: c.map(Vec::as_slice),
                    scale: 0.5,
                    is_cached,
                });
                for (i, found) in a.iter().enumerate() {
                    let expected = b[i] + c.map_or(0.0, |c| 0.5 * c[i]);
                    assert!((found - expected).abs() < 1e-6, "{level:?} {is_cached} {i}");
                }
            }
        }
    }

    #[test]
    fn the_product_is_a_product() {
        let mut bench = Bench::new(Roof::Product, simd::level(), 1);
        bench.pass();
        let expected: f64 = (0..SIDE)
            .map(|k| f64::from(bench.input[3 * SIDE + k]) * f64::from(bench.other[k * SIDE + 7]))
            .sum();
        let found = f64::from(bench.output[3 * SIDE + 7]);
        assert!((found - expected).abs() < 1e-2, "{found} {expected}");
    }
}

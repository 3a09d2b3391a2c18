//! What the machine can do at most, and how near a step comes to it.

use std::time::Duration;

use ncps_core::kernel;
use ncps_core::kernel::roofs::{Roof, measure};
use ncps_models::Work;
use serde::{Deserialize, Serialize};

/// Measured rates of this machine, with as many threads at once as the steps use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Roofs {
    /// Matrix products, 512 x 512 x 512 in f32, GFLOP/s.
    pub products_gflops: f64,
    /// Multiply-adds of vectors in registers, GFLOP/s.
    pub arithmetic_gflops: f64,
    /// Sigmoids, 10^9 a second.
    pub sigmoid_gps: f64,
    /// Hyperbolic tangents, 10^9 a second.
    pub tanh_gps: f64,
    /// Exponentials, 10^9 a second.
    pub exp_gps: f64,
    /// Memory read and written by a copy far beyond the caches, GB/s.
    pub copy_gbps: f64,
    /// Threads at work at once.
    pub threads: usize,
    /// The vectors that functions and multiply-adds were computed with.
    pub vectors: String,
}

impl Roofs {
    /// Measures them, taking about `seconds` for all.
    pub fn measure(threads: usize, seconds: f64) -> Self {
        let budget = Duration::from_secs_f64((seconds / 6.0).max(0.0));
        let rate = |roof| measure(roof, threads, budget) * 1e-9;
        Self {
            products_gflops: rate(Roof::Product),
            arithmetic_gflops: rate(Roof::Arithmetic),
            sigmoid_gps: rate(Roof::Sigmoid),
            tanh_gps: rate(Roof::Tanh),
            exp_gps: rate(Roof::Exp),
            copy_gbps: rate(Roof::Copy),
            threads,
            vectors: kernel::level().name().to_owned(),
        }
    }

    /// The shortest time that some work and some memory traffic can take.
    pub fn bound(&self, work: &Work, bytes: u64) -> Bound {
        let each = |amount: u64, rate: f64| amount as f64 * 1e-9 / rate;
        let arithmetic_s = each(work.products, self.products_gflops)
            + each(work.arithmetic, self.arithmetic_gflops)
            + each(work.sigmoids, self.sigmoid_gps)
            + each(work.tanhs, self.tanh_gps)
            + each(work.exps, self.exp_gps);
        let memory_s = each(bytes, self.copy_gbps);
        Bound {
            train_s: arithmetic_s.max(memory_s),
            arithmetic_s,
            memory_s,
        }
    }
}

/// The shortest time that a training step can take on this machine.
///
/// ```text
/// arithmetic = products / products_gflops + arithmetic / arithmetic_gflops
///            + sigmoids / sigmoid_gps + tanhs / tanh_gps + exps / exp_gps
/// memory     = (batch + 8 for each parameter) x 4 bytes / copy_gbps
/// train      = max(arithmetic, memory)
/// ```
/// Memory counts what cannot stay in a cache: the batch is read once; parameters, both moments and the gradient are
/// each read and written once.
///
/// # Units
/// Seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// The larger of the two below.
    pub train_s: f64,
    /// All arithmetic, one kind after the other.
    pub arithmetic_s: f64,
    /// All traffic to memory that cannot be avoided.
    pub memory_s: f64,
}

impl Bound {
    /// How much of the possible speed a measured time reached, in percent.
    pub fn percent(&self, measured_s: f64) -> f64 {
        100.0 * self.train_s / measured_s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_near(found: f64, expected: f64) -> bool {
        (found / expected - 1.0).abs() < 1e-12
    }

    fn roofs() -> Roofs {
        Roofs {
            products_gflops: 200.0,
            arithmetic_gflops: 100.0,
            sigmoid_gps: 5.0,
            tanh_gps: 4.0,
            exp_gps: 8.0,
            copy_gbps: 20.0,
            threads: 1,
            vectors: "avx2".into(),
        }
    }

    #[test]
    fn the_bound_is_the_sum_of_the_kinds_by_hand() {
        let work = Work {
            products: 400_000_000,
            arithmetic: 50_000_000,
            sigmoids: 5_000_000,
            tanhs: 2_000_000,
            exps: 4_000_000,
        };
        let bound = roofs().bound(&work, 20_000_000);
        // 2 + 0.5 + 1 + 0.5 + 0.5 ms of arithmetic, 1 ms of memory.
        assert!(is_near(bound.arithmetic_s, 4.5e-3));
        assert!(is_near(bound.memory_s, 1e-3));
        assert!(is_near(bound.percent(9e-3), 50.0));
    }

    #[test]
    fn memory_can_be_the_bound() {
        let bound = roofs().bound(&Work::default(), 40_000_000);
        assert!(is_near(bound.train_s, 2e-3));
    }
}

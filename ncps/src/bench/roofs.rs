//! What the machine can do at most, and how near a step comes to it.

use std::time::Duration;

use ncps_core::kernel;
use ncps_core::kernel::roofs::{Roof, measure};
use ncps_models::Work;
use ncps_profiling::device::Machine;
use serde::{Deserialize, Serialize};

/// The arrays that are streamed through a processor, and what could keep a part of them from the memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Arrays {
    /// Bytes of each.
    pub bytes: usize,
    /// Last-level caches of all cores together, in bytes; none where the system does not tell.
    pub last_level_bytes: Option<u64>,
}

impl Arrays {
    /// Shortest where memory allows it: more than any cache that goes unmentioned.
    const LEAST: u64 = 256 << 20;
    /// Longest: a report should be quick.
    const MOST: u64 = 1 << 30;
    /// Arrays in caches of this size; STREAM asks for four times the caches, and a copy has two arrays.
    const CACHES: u64 = 2;
    /// Share of the memory for one of at most three arrays.
    const SHARE: u64 = 16;

    /// Twice the last-level caches, 256 MiB to 1 GiB, and at most a sixteenth of the memory.
    pub fn for_machine(machine: &Machine) -> Self {
        let last_level_bytes = machine.cpu.last_level_bytes;
        let wanted = last_level_bytes.unwrap_or(0).saturating_mul(Self::CACHES);
        let memory = machine.memory.value();
        let room = memory.map_or(Self::LEAST, |bytes| bytes as u64 / Self::SHARE);
        Self {
            bytes: wanted.clamp(Self::LEAST, Self::MOST).min(room) as usize,
            last_level_bytes,
        }
    }

    /// How long they are, and whether a cache may hold too much of them.
    pub fn text(&self) -> String {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let size = format!("{:.0} MiB", mib(self.bytes as u64));
        match self.last_level_bytes {
            Some(cache) if (self.bytes as u64) < cache.saturating_mul(Self::CACHES) => {
                let cache = mib(cache);
                format!("{size}, little beside {cache:.0} MiB of cache: the memory may be slower")
            }
            _ => size,
        }
    }
}

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
    /// Memory read and written by a copy of arrays as long as [`Arrays`] says, GB/s.
    pub copy_gbps: f64,
    /// Threads at work at once.
    pub threads: usize,
    /// The vectors that functions and multiply-adds were computed with.
    pub vectors: String,
}

impl Roofs {
    /// Measures them, taking about `seconds` for all, and longer where copying takes longer.
    pub fn measure(threads: usize, seconds: f64, arrays: &Arrays) -> Self {
        let budget = Duration::from_secs_f64((seconds / 6.0).max(0.0));
        let rate = |roof| measure(roof, threads, budget) * 1e-9;
        Self {
            products_gflops: rate(Roof::Product),
            arithmetic_gflops: rate(Roof::Arithmetic),
            sigmoid_gps: rate(Roof::Sigmoid),
            tanh_gps: rate(Roof::Tanh),
            exp_gps: rate(Roof::Exp),
            copy_gbps: rate(Roof::Copy {
                bytes: arrays.bytes,
            }),
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

/// Arrays that a test streams in no time.
#[cfg(test)]
pub(crate) fn short_arrays() -> Arrays {
    Arrays {
        bytes: 1 << 20,
        last_level_bytes: None,
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
    fn arrays_are_well_beyond_the_caches_where_the_memory_allows_it() {
        let mut machine = ncps_profiling::device::detect();
        let mut of = |cache: Option<u64>, memory_gib: f64| {
            machine.cpu.last_level_bytes = cache.map(|mib| mib << 20);
            let bytes = memory_gib * f64::from(1 << 30);
            machine.memory =
                ncps_profiling::Reading::measured(bytes, ncps_profiling::Unit::Bytes, "made up");
            Arrays::for_machine(&machine).text()
        };
        assert_eq!(of(Some(260), 24.0), "520 MiB");
        assert_eq!(of(Some(32), 24.0), "256 MiB");
        assert_eq!(of(None, 24.0), "256 MiB");
        assert_eq!(of(None, 1.0), "64 MiB");
        for (cache, memory, size) in [(2048, 64.0, "1024 MiB"), (260, 2.0, "128 MiB")] {
            let text = of(Some(cache), memory);
            assert!(
                text.starts_with(size) && text.contains("may be slower"),
                "{text}"
            );
        }
    }

    #[test]
    fn memory_can_be_the_bound() {
        let bound = roofs().bound(&Work::default(), 40_000_000);
        assert!(is_near(bound.train_s, 2e-3));
    }
}

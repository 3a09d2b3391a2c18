//! `Profiler`: times, memory and hardware counters of any closure or model.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::catalogue;
use super::statistics::{self, spread};
use crate::device::Host;
use crate::plot::{Figure, Histogram};
use crate::probe::{self, Permission};
use crate::report::ReportFigure;
use crate::runner::{CommandRunner, SystemRunner};
use crate::{Reading, Reason, Result, Scope, Unit, memory};

/// Something that can be run again and again.
///
/// Any `FnMut() -> Result<(), E>` is one; it must finish its work before it returns, which for a lazy library means to
/// evaluate and to wait.
pub trait Workload {
    /// What can go wrong.
    type Error;

    /// Does the work once, to its end.
    ///
    /// # Errors
    /// Whatever the work refuses.
    fn run(&mut self) -> Result<(), Self::Error>;

    /// Floating-point operations of one run, counted from what is computed.
    fn flops(&self) -> Option<u64> {
        None
    }

    /// Bytes that one run must move between memory and processor at least.
    fn least_bytes(&self) -> Option<u64> {
        None
    }

    /// Samples that one run handles.
    fn samples(&self) -> Option<usize> {
        None
    }

    /// What the library's own allocator says; `None` where there is none.
    fn allocator(&self) -> Option<AllocatorMemory> {
        None
    }

    /// Sets the allocator's peak to what it holds now.
    fn reset_peak(&mut self) {}
}

impl<F, E> Workload for F
where
    F: FnMut() -> Result<(), E>,
{
    type Error = E;

    fn run(&mut self) -> Result<(), E> {
        self()
    }
}

/// What an allocator says about itself.
#[derive(Debug, Clone, PartialEq)]
pub struct AllocatorMemory {
    /// Bytes of live arrays.
    pub active: Reading,
    /// Most bytes of live arrays since the last reset.
    pub peak: Reading,
    /// Freed bytes that are kept for reuse.
    pub cache: Reading,
}

/// How long to measure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Runs before the first counted one: for compilation, caches and clock rates.
    pub warm_up: usize,
    /// Time of the counted runs.
    pub time: Duration,
    /// Fewest counted runs, also where they take longer.
    pub least_runs: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            warm_up: 3,
            time: Duration::from_secs(1),
            least_runs: 10,
        }
    }
}

/// One measurement of a profiler.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProfileEntry {
    /// `compute`, `memory` or `hardware`.
    pub kind: &'static str,
    /// Readings by name.
    pub metrics: BTreeMap<String, Reading>,
    /// Durations of the counted runs in seconds.
    pub samples: Vec<f64>,
}

impl ProfileEntry {
    /// The reading of that name; one that was not taken is unavailable.
    #[must_use]
    pub fn get(&self, name: &str) -> Reading {
        self.metrics.get(name).cloned().unwrap_or_else(|| {
            Reading::unavailable(
                Reason::NotRun,
                format!("`{name}` is no part of `{}`", self.kind),
            )
        })
    }
}

/// Measures a workload and remembers every measurement.
///
/// Metric names are those that people know from profilers of this kind where such a number exists; `ne_utilization` and
/// `cache_hit_rate` are always unavailable and say what to look at instead.
///
/// # Example
/// ```
/// use ncps_profiling::profile::{Budget, Profiler};
/// use std::time::Duration;
///
/// let mut total = 0u64;
/// let mut profiler = Profiler::new("sum", || {
///     total = std::hint::black_box((0..1000).sum());
///     Ok::<(), std::convert::Infallible>(())
/// })
/// .with_budget(Budget { time: Duration::from_millis(5), ..Budget::default() });
/// let compute = profiler.profile_compute().unwrap();
/// assert!(compute.get("time_median").value().unwrap() > 0.0);
/// assert_eq!(compute.get("tflops").value(), None); // nobody counted the operations
/// ```
#[derive(Debug)]
pub struct Profiler<W, R: CommandRunner = SystemRunner> {
    name: String,
    workload: W,
    budget: Budget,
    host: Host<R>,
    permission: Permission,
    history: Vec<ProfileEntry>,
}

impl<W: Workload> Profiler<W> {
    /// A profiler of a workload on this machine.
    pub fn new(name: &str, workload: W) -> Self {
        Self::on_host(name, workload, Host::this_machine())
    }
}

impl<W: Workload, R: CommandRunner> Profiler<W, R> {
    /// A profiler that reads the counters of `host`.
    pub fn on_host(name: &str, workload: W, host: Host<R>) -> Self {
        Self {
            name: name.to_owned(),
            workload,
            budget: Budget::default(),
            host,
            permission: Permission::default(),
            history: Vec::new(),
        }
    }

    /// The same with another budget.
    #[must_use]
    pub fn with_budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }

    /// The same with what the probes may do.
    #[must_use]
    pub fn with_permission(mut self, permission: Permission) -> Self {
        self.permission = permission;
        self
    }

    /// The workload.
    pub fn workload(&mut self) -> &mut W {
        &mut self.workload
    }

    /// Every measurement so far, the oldest first.
    #[must_use]
    pub fn history(&self) -> &[ProfileEntry] {
        &self.history
    }

    /// Times the workload: `time_mean`, `time_std`, `time_median`, `time_p95`, `time_min`, `runs_per_second`, and, where
    /// the workload counts them, `samples_per_second`, `flops` and `tflops` (stored in FLOP/s).
    ///
    /// # Errors
    /// The workload's.
    pub fn profile_compute(&mut self) -> Result<ProfileEntry, W::Error> {
        let samples = self.repeat()?;
        let metrics = self.times(&samples);
        Ok(self.remember("compute", metrics, samples))
    }

    /// Runs the workload and reads memory: `peak_usage`, `current_usage` and `cache_usage` of the allocator,
    /// `process_usage` and `process_peak`, and, where the workload counts its bytes, `bandwidth` (derived).
    ///
    /// # Errors
    /// The workload's.
    pub fn profile_memory(&mut self) -> Result<ProfileEntry, W::Error> {
        self.workload.reset_peak();
        let samples = self.repeat()?;
        let metrics = self.memory(&samples);
        Ok(self.remember("memory", metrics, samples))
    }

    /// Runs the workload while the machine's counters are read once, which takes about a second on a Mac, and keeps what
    /// they say; `ne_utilization` and `cache_hit_rate` say why they do not exist.
    ///
    /// # Errors
    /// The workload's.
    pub fn profile_hardware(&mut self) -> Result<ProfileEntry, W::Error> {
        for _ in 0..self.budget.warm_up {
            self.workload.run()?;
        }
        let (host, permission) = (&self.host, self.permission);
        let workload = &mut self.workload;
        let (read, ran) = std::thread::scope(|scope| {
            let reader = scope.spawn(|| probe::sample(host, permission));
            let mut samples = Vec::new();
            let ran = loop {
                match timed(workload) {
                    Ok(seconds) => samples.push(seconds),
                    Err(error) => break Err(error),
                }
                if reader.is_finished() {
                    break Ok(samples);
                }
            };
            (reader.join(), ran)
        });
        let samples = ran?;
        let mut metrics: BTreeMap<String, Reading> = read
            .unwrap_or_default()
            .into_iter()
            .map(|metric| (metric.name, metric.reading))
            .collect();
        metrics.insert("ne_utilization".into(), no_such("ne_utilization"));
        metrics.insert("cache_hit_rate".into(), no_such("cache_hit_rate"));
        metrics.insert("memory_bandwidth".into(), self.bandwidth(&samples));
        Ok(self.remember("hardware", metrics, samples))
    }

    /// All three, one after the other.
    ///
    /// # Errors
    /// The workload's.
    pub fn profile_all(&mut self) -> Result<[ProfileEntry; 3], W::Error> {
        Ok([
            self.profile_compute()?,
            self.profile_memory()?,
            self.profile_hardware()?,
        ])
    }

    /// The newest measurement of each kind as text, with the reason of every missing number.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = format!("{}\n", self.name);
        for kind in ["compute", "memory", "hardware"] {
            let Some(entry) = self.history.iter().rev().find(|entry| entry.kind == kind) else {
                continue;
            };
            let _ = writeln!(text, "{kind} ({} runs)", entry.samples.len());
            for (name, reading) in &entry.metrics {
                let _ = writeln!(text, "  {name:<24} {reading}");
            }
        }
        text
    }

    /// A histogram of the newest timed runs; empty before the first.
    #[must_use]
    pub fn plots(&self) -> Vec<ReportFigure> {
        let newest = self
            .history
            .iter()
            .rev()
            .find(|entry| entry.kind == "compute");
        let figure = newest.map(|entry| Histogram::of_times(&self.name, &entry.samples).svg());
        figure
            .and_then(Result::ok)
            .map(|svg| ReportFigure {
                caption: "How often each duration occurred".to_owned(),
                svg,
            })
            .into_iter()
            .collect()
    }

    fn repeat(&mut self) -> Result<Vec<f64>, W::Error> {
        for _ in 0..self.budget.warm_up {
            self.workload.run()?;
        }
        let begin = Instant::now();
        let mut samples = Vec::new();
        while samples.len() < self.budget.least_runs || begin.elapsed() < self.budget.time {
            samples.push(timed(&mut self.workload)?);
        }
        Ok(samples)
    }

    fn remember(
        &mut self,
        kind: &'static str,
        metrics: BTreeMap<String, Reading>,
        samples: Vec<f64>,
    ) -> ProfileEntry {
        let entry = ProfileEntry {
            kind,
            metrics,
            samples,
        };
        self.history.push(entry.clone());
        entry
    }

    fn times(&self, samples: &[f64]) -> BTreeMap<String, Reading> {
        let mut metrics = BTreeMap::new();
        let Some(found) = spread(samples) else {
            return metrics;
        };
        let total: f64 = samples.iter().sum();
        let window = Duration::from_secs_f64(total);
        let count = samples.len() as f64;
        let mean = total / count;
        let variance =
            samples.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0);
        let mut add = |name: &str, reading: Reading| {
            metrics.insert(
                name.to_owned(),
                reading.with_window(window).with_scope(Scope::Process),
            );
        };
        let clock = format!("wall clock, {} runs", samples.len());
        for (name, value) in [
            ("time_mean", mean),
            ("time_std", variance.sqrt()),
            ("time_median", found.median),
            ("time_p95", found.p95),
            ("time_min", found.min),
        ] {
            add(name, Reading::measured(value, Unit::Seconds, clock.clone()));
        }
        let rate = |amount: f64, unit, formula| {
            Reading::derived(amount / found.median, unit, clock.clone(), formula)
        };
        add(
            "runs_per_second",
            rate(1.0, Unit::PerSecond, "1 / median time"),
        );
        let counted = |what: &str| {
            let detail = format!("the workload does not count its {what}");
            Reading::unavailable(Reason::NotRun, detail)
        };
        match self.workload.samples() {
            Some(n) => add(
                "samples_per_second",
                rate(n as f64, Unit::PerSecond, "samples / median time"),
            ),
            None => add("samples_per_second", counted("samples")),
        }
        match self.workload.flops() {
            Some(flops) => {
                let count = Reading::derived(
                    flops as f64,
                    Unit::Count,
                    "workload",
                    "counted from what is computed",
                );
                add("flops", count);
                let formula = "counted operations / median time";
                add("tflops", rate(flops as f64, Unit::FlopPerSecond, formula));
            }
            None => {
                add("flops", counted("operations"));
                add("tflops", counted("operations"));
            }
        }
        metrics
    }

    fn memory(&self, samples: &[f64]) -> BTreeMap<String, Reading> {
        let mut metrics = BTreeMap::new();
        let none = || {
            Reading::unavailable(
                Reason::NotRun,
                "the workload has no allocator that can be asked",
            )
        };
        let found = self
            .workload
            .allocator()
            .unwrap_or_else(|| AllocatorMemory {
                active: none(),
                peak: none(),
                cache: none(),
            });
        metrics.insert("peak_usage".to_owned(), found.peak);
        metrics.insert("current_usage".to_owned(), found.active);
        metrics.insert("cache_usage".to_owned(), found.cache);
        metrics.insert("process_usage".to_owned(), memory::rss());
        metrics.insert("process_peak".to_owned(), memory::peak());
        metrics.insert("bandwidth".to_owned(), self.bandwidth(samples));
        metrics
    }

    fn bandwidth(&self, samples: &[f64]) -> Reading {
        match (self.workload.least_bytes(), statistics::median(samples)) {
            (Some(bytes), Some(median)) => Reading::derived(
                bytes as f64 / median,
                Unit::BytesPerSecond,
                "workload",
                "bytes that must move / median time",
            )
            .with_scope(Scope::Process),
            _ => Reading::unavailable(
                Reason::NotRun,
                "the workload does not count its bytes, and no counter tells the bandwidth of one program",
            ),
        }
    }
}

/// A number that no machine gives, with the reason and what to look at instead.
fn no_such(name: &str) -> Reading {
    let detail = catalogue::explain(name).unwrap_or("no interface tells it");
    Reading::unavailable(Reason::NoSuchCounter, detail)
}

fn timed<W: Workload>(workload: &mut W) -> Result<f64, W::Error> {
    let begin = Instant::now();
    workload.run()?;
    Ok(begin.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::System;
    use crate::runner::RecordedRunner;

    /// Sleeps, so that its time is known from below.
    struct Sleeper {
        peak: f64,
    }

    impl Workload for Sleeper {
        type Error = String;

        fn run(&mut self) -> Result<(), String> {
            std::thread::sleep(Duration::from_millis(1));
            self.peak = self.peak.max(4096.0);
            Ok(())
        }

        fn flops(&self) -> Option<u64> {
            Some(2_000_000)
        }

        fn least_bytes(&self) -> Option<u64> {
            Some(1_000)
        }

        fn samples(&self) -> Option<usize> {
            Some(8)
        }

        fn allocator(&self) -> Option<AllocatorMemory> {
            let bytes = |value| Reading::measured(value, Unit::Bytes, "test");
            Some(AllocatorMemory {
                active: bytes(1024.0),
                peak: bytes(self.peak),
                cache: bytes(512.0),
            })
        }

        fn reset_peak(&mut self) {
            self.peak = 0.0;
        }
    }

    fn host() -> Host<RecordedRunner> {
        Host {
            system: System::Linux,
            root: "/nowhere".into(),
            runner: RecordedRunner::new(),
        }
    }

    fn profiler() -> Profiler<Sleeper, RecordedRunner> {
        let budget = Budget {
            warm_up: 1,
            time: Duration::from_millis(10),
            least_runs: 6,
        };
        Profiler::on_host("sleep", Sleeper { peak: 1e9 }, host()).with_budget(budget)
    }

    #[test]
    fn every_number_has_its_formula() {
        let mut profiler = profiler();
        let [compute, memory, hardware] = profiler.profile_all().unwrap();
        let value = |entry: &ProfileEntry, name: &str| entry.get(name).value().unwrap();
        let median = value(&compute, "time_median");
        assert!(median >= 1e-3 && value(&compute, "time_min") <= median);
        for (name, expected) in [
            ("runs_per_second", 1.0 / median),
            ("samples_per_second", 8.0 / median),
            ("tflops", 2e6 / median),
        ] {
            assert!(
                (value(&compute, name) / expected - 1.0).abs() < 1e-12,
                "{name}"
            );
        }
        assert!(compute.samples.len() >= 6);
        // The peak of an earlier time does not count.
        assert!((value(&memory, "peak_usage") - 4096.0).abs() < 1e-9);
        assert!(value(&memory, "bandwidth") > 0.0);
        for name in ["ne_utilization", "cache_hit_rate"] {
            let reading = hardware.get(name);
            assert!(
                reading.value().is_none() && reading.to_string().len() > 40,
                "{reading}"
            );
        }
        assert_eq!(profiler.history().len(), 3);
        let summary = profiler.summary();
        assert!(
            summary.contains("time_median") && summary.contains("ne_utilization"),
            "{summary}"
        );
        assert_eq!(profiler.plots().len(), 1);
    }

    #[test]
    fn a_closure_is_a_workload_and_its_error_comes_back() {
        let mut calls = 0;
        let mut profiler = Profiler::on_host(
            "fails",
            || {
                calls += 1;
                if calls > 2 { Err("third call") } else { Ok(()) }
            },
            host(),
        );
        assert_eq!(profiler.profile_compute().unwrap_err(), "third call");
        assert!(profiler.history().is_empty() && profiler.plots().is_empty());
        assert_eq!(profiler.profile_hardware().unwrap_err(), "third call");
    }
}

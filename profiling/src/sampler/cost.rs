//! What the sampler costs, by the processor time of its threads and tools.

use crate::device::Host;
use crate::probe::ended_children;
use crate::runner::{CommandRunner, helper_cpu};
use crate::telemetry::SamplerCost;
use crate::{Reading, Reason, Scope, Unit, cpu_time};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Adds up processor time from its start on.
#[derive(Debug)]
pub(super) struct Meter {
    start: Instant,
    helpers: Duration,
    threads: AtomicU64,
    children: Reading,
}

impl Meter {
    pub(super) fn start<R: CommandRunner>(host: &Host<R>) -> Self {
        Self {
            start: Instant::now(),
            helpers: helper_cpu(),
            threads: AtomicU64::new(0),
            children: children(host),
        }
    }

    /// Adds the time of the calling thread, at the end of its work.
    pub(super) fn bill_this_thread(&self) {
        let used = u64::try_from(cpu_time::thread().as_nanos()).unwrap_or(u64::MAX);
        self.threads.fetch_add(used, Ordering::Relaxed);
    }

    /// The bill, at the end of the thread that takes the samples.
    pub(super) fn finish<R: CommandRunner>(&self, host: &Host<R>, ticks: u32) -> SamplerCost {
        self.bill_this_thread();
        let wall = self.start.elapsed();
        let own = Duration::from_nanos(self.threads.load(Ordering::Relaxed));
        let own = own + helper_cpu().saturating_sub(self.helpers);
        let seconds = |value: f64, source: &str| {
            Reading::measured(value, Unit::Seconds, source)
                .with_window(wall)
                .with_scope(Scope::Process)
        };
        let sampler_cpu = seconds(own.as_secs_f64(), "thread processor time");
        let tools_cpu = match (children(host), &self.children) {
            (Reading::Available { value, source, .. }, before) => match before.value() {
                Some(before) => seconds((value - before).max(0.0), &source),
                None => before.clone(),
            },
            (missing, _) => missing,
        };
        let share = |cores: f64, formula: &str| match tools_cpu.value() {
            Some(tools) => {
                let share = (own.as_secs_f64() + tools) / wall.as_secs_f64() / cores;
                let source = "processor time over wall time";
                Reading::derived(share, Unit::Ratio, source, formula)
                    .with_window(wall)
                    .with_scope(Scope::Process)
            }
            None => tools_cpu.clone(),
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        SamplerCost {
            ticks,
            share_of_core: share(1.0, "(sampler + tools) / wall time"),
            share_of_machine: share(cores, "(sampler + tools) / wall time / cores"),
            sampler_cpu,
            tools_cpu,
        }
    }
}

fn children<R: CommandRunner>(host: &Host<R>) -> Reading {
    match std::env::consts::OS {
        "macos" => ended_children(host),
        _ => cpu_time::ended_children(),
    }
}

/// The bill of a sampler that cannot tell.
pub(super) fn unknown(detail: &str) -> SamplerCost {
    let missing = || Reading::unavailable(Reason::NotRun, detail);
    SamplerCost {
        ticks: 0,
        sampler_cpu: missing(),
        tools_cpu: missing(),
        share_of_core: missing(),
        share_of_machine: missing(),
    }
}

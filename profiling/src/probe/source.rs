//! Which tools are asked, how often, and what they answer for.

use super::{Metric, Permission};
use super::{ioreg, linux, mac_memory, macmon, neural, nvidia, power_state, powermetrics, rusage};
use crate::device::{Host, System};
use crate::runner::{CommandLine, CommandRunner};
use crate::{Reading, Reason};
use std::time::Duration;

/// One tool: how it is asked, and what it answers for.
#[derive(Clone)]
pub(crate) struct Source {
    /// Name for events and messages.
    pub(crate) name: &'static str,
    /// Asks for one answer.
    pub(crate) command: CommandLine,
    /// Asks for a line a second without end, where the tool can do that.
    pub(crate) stream: Option<CommandLine>,
    /// Least time between two answers; slow or costly tools have more than a second.
    pub(crate) period: Duration,
    /// Reads an answer or one line.
    pub(crate) parse: fn(&str) -> Vec<Metric>,
    /// What it answers for, so that a failure can be told for each.
    pub(crate) names: &'static [&'static str],
    /// What a user can do where it fails.
    pub(crate) remedy: Option<&'static str>,
    /// Whether its first failure is final, as a refused `sudo` is.
    pub(crate) ask_once: bool,
}

impl Source {
    pub(super) fn new(
        name: &'static str,
        command: CommandLine,
        names: &'static [&'static str],
        parse: fn(&str) -> Vec<Metric>,
    ) -> Self {
        Self {
            name,
            command,
            stream: None,
            period: Duration::from_secs(1),
            parse,
            names,
            remedy: None,
            ask_once: false,
        }
    }

    pub(super) fn every(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }

    pub(super) fn remedy(mut self, remedy: &'static str) -> Self {
        self.remedy = Some(remedy);
        self
    }

    /// Asks once and reads the answer.
    pub(crate) fn ask<R: CommandRunner>(&self, host: &Host<R>) -> Vec<Metric> {
        match host.ask(&self.command) {
            Ok(output) => (self.parse)(&output.stdout),
            Err((reason, detail)) => self.failed(reason, &detail),
        }
    }

    /// The same reason for everything that this tool answers for.
    pub(crate) fn failed(&self, reason: Reason, detail: &str) -> Vec<Metric> {
        let reason = if self.ask_once && reason == Reason::ToolFailed {
            Reason::NeedsRoot
        } else {
            reason
        };
        let reading = || {
            let reading = Reading::unavailable(reason, detail);
            match self.remedy {
                Some(remedy) => reading.with_remedy(remedy),
                None => reading,
            }
        };
        let metric = |name: &&str| Metric::new(*name, reading());
        self.names.iter().map(metric).collect()
    }
}

const SLOW: Duration = Duration::from_secs(5);

/// The tools of this system, in the order in which their answers are preferred.
pub(crate) fn sources<R: CommandRunner>(host: &Host<R>, permission: Permission) -> Vec<Source> {
    match host.system {
        System::Macos => {
            let mut sources = Vec::new();
            if permission.sudo {
                sources.push(powermetrics::source(host));
            }
            sources.push(macmon::source());
            sources.push(ioreg::gpu_source());
            sources.push(power_state::thermal_source().every(SLOW));
            sources.extend(mac_memory::sources().map(|source| source.every(SLOW)));
            sources.push(rusage::source().every(SLOW));
            sources
        }
        System::Linux => vec![nvidia::source()],
        System::Other => Vec::new(),
    }
}

/// What does not change from second to second, and what no machine tells.
pub(crate) fn conditions<R: CommandRunner>(host: &Host<R>) -> Vec<Metric> {
    let mut metrics = match host.system {
        System::Macos => {
            let sources = [
                ioreg::neural_source(),
                power_state::mode_source(),
                power_state::battery_source(),
                power_state::thermal_source(),
            ];
            let mut metrics: Vec<Metric> = sources.iter().flat_map(|s| s.ask(host)).collect();
            metrics.extend(powermetrics::not_permitted());
            metrics
        }
        System::Linux => linux::conditions(host),
        System::Other => {
            let detail = "probes exist for macOS and Linux";
            let reading = Reading::unavailable(Reason::UnsupportedBySystem, detail);
            return vec![Metric::new("machine", reading)];
        }
    };
    metrics.push(Metric::new("ane.busy", neural::ne_utilization()));
    metrics.push(Metric::new(
        "memory.bandwidth",
        neural::hardware_bandwidth(),
    ));
    metrics.push(Metric::new("gpu.cache_hits", neural::cache_hit_rate()));
    metrics
}

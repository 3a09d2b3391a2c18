//! What the machine is doing right now, as far as its own tools tell.
//!
//! Every probe is a pure parser behind a [`crate::runner::CommandRunner`]. A probe that cannot
//! answer gives a [`Reading::Unavailable`] with the reason, never a zero.

mod explain;
mod instruments;
mod ioreg;
mod linux;
mod mac_memory;
mod macmon;
mod neural;
mod nvidia;
mod plist;
mod power_state;
mod powermetrics;
mod rusage;
mod source;

pub(crate) use explain::texts;
pub use explain::{explain, names};
pub use instruments::{TraceSupport, export_commands, trace_support};
pub(crate) use linux::LinuxFiles;
pub use neural::{assumed_share, cache_hit_rate, hardware_bandwidth, ne_utilization};
pub use powermetrics::sudoers_line;
pub(crate) use rusage::ended_children;
pub(crate) use source::{Source, conditions, sources};

use crate::device::{Host, System};
use crate::runner::CommandRunner;
use crate::{Reading, Reason, Unit};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A reading with its stable name, such as `gpu.busy`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// Name: a part of the machine, a dot, and what is read.
    pub name: String,
    /// Value or reason.
    pub reading: Reading,
}

impl Metric {
    pub(crate) fn new(name: impl Into<String>, reading: Reading) -> Self {
        Self {
            name: name.into(),
            reading,
        }
    }
}

/// What a caller permits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Permission {
    /// Whether `sudo -n` may be tried; it never asks for a password.
    pub sudo: bool,
}

/// Asks every probe of this system once; on a Mac with `macmon` this takes about a second, on
/// Linux a quarter of one.
#[must_use]
pub fn sample<R: CommandRunner>(host: &Host<R>, permission: Permission) -> Vec<Metric> {
    let mut files = LinuxFiles::default();
    let start = std::time::Instant::now();
    if host.system == System::Linux {
        files.read(host, Duration::ZERO);
    }
    let mut metrics: Vec<Metric> = sources(host, permission)
        .iter()
        .flat_map(|source| source.ask(host))
        .collect();
    if host.system == System::Linux {
        // Shares of time need two looks at the counters.
        let left = Duration::from_millis(250).saturating_sub(start.elapsed());
        std::thread::sleep(left);
        metrics.extend(files.read(host, start.elapsed()));
    }
    metrics.extend(conditions(host));
    first_of_each(metrics)
}

/// One metric a name: the first that has a value, else the first reason.
pub(crate) fn first_of_each(metrics: Vec<Metric>) -> Vec<Metric> {
    let mut kept: Vec<Metric> = Vec::new();
    for metric in metrics {
        match kept.iter_mut().find(|m| m.name == metric.name) {
            Some(known) if known.reading.value().is_none() && metric.reading.value().is_some() => {
                *known = metric;
            }
            Some(_) => {}
            None => kept.push(metric),
        }
    }
    kept
}

/// A share that must lie between 0 and 100 percent; a value beyond is a misread, not a busy machine.
fn percent(value: f64, source: &str) -> Reading {
    if (0.0..=100.0).contains(&value) {
        return Reading::measured(value / 100.0, Unit::Ratio, source);
    }
    let detail = format!("{source} gave {value} %, which is not a share");
    Reading::unavailable(Reason::ParseFailed, detail)
}

/// A power that a computer can draw.
fn watts(value: f64, source: &str) -> Result<f64, Reading> {
    if (0.0..10_000.0).contains(&value) {
        return Ok(value);
    }
    let detail = format!("{source} gave {value} W, which no computer draws");
    Err(Reading::unavailable(Reason::ParseFailed, detail))
}

/// A clock that a processor can have, from MHz.
fn clock(megahertz: f64, source: &str) -> Reading {
    if (0.0..10_000.0).contains(&megahertz) {
        return Reading::measured(megahertz * 1e6, Unit::Hertz, source);
    }
    let detail = format!("{source} gave {megahertz} MHz, which no processor reaches");
    Reading::unavailable(Reason::ParseFailed, detail)
}

/// A temperature at which a chip can work.
fn celsius(value: f64, source: &str) -> Reading {
    if (-40.0..150.0).contains(&value) {
        return Reading::measured(value, Unit::Celsius, source);
    }
    let detail = format!("{source} gave {value} °C, at which no chip works");
    Reading::unavailable(Reason::ParseFailed, detail)
}

/// Power as Apple's energy model has it.
fn modelled_power(value: f64, source: &str) -> Reading {
    watts(value, source).map_or_else(
        |misread| misread,
        |value| Reading::estimated(value, Unit::Watts, source, "Apple's energy model"),
    )
}

/// A processor that runs this program draws power: where the counter says 0 it is dead, and the
/// Neural Engine's, which stands beside it, cannot be believed either.
fn retire_frozen(metrics: &mut [Metric]) {
    let is_dead = |m: &Metric| m.name == "cpu.power" && m.reading.value().is_some_and(|w| w <= 0.0);
    if !metrics.iter().any(is_dead) {
        return;
    }
    for metric in metrics
        .iter_mut()
        .filter(|m| m.name == "cpu.power" || m.name == "ane.power")
    {
        let detail = "the energy counters of this chip do not move (known on macOS 27)";
        metric.reading = Reading::unavailable(Reason::CounterFrozen, detail);
    }
}

fn unreadable(source: &str, text: &str) -> Reading {
    let first: String = text.lines().next().unwrap_or("").chars().take(80).collect();
    Reading::unavailable(Reason::ParseFailed, format!("{source} printed `{first}`"))
}

#[cfg(test)]
mod tests;

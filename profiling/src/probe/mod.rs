//! What the machine is doing right now, as far as its own tools tell.
//!
//! Every probe is a pure parser behind a [`crate::runner::CommandRunner`]. A probe that cannot
//! answer gives a [`Reading::Unavailable`] with the reason, never a zero.

mod apple;
mod macmon;
mod nvidia;
mod powermetrics;

use crate::device::{Host, System};
use crate::runner::CommandRunner;
use crate::{Reading, Reason};
use serde::Serialize;

/// A reading with its stable name, such as `gpu.busy`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric {
    /// Name: a part of the machine, a dot, and what is read.
    pub name: String,
    /// Value or reason.
    pub reading: Reading,
}

impl Metric {
    fn new(name: impl Into<String>, reading: Reading) -> Self {
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

/// Asks every probe of this system once; on a Mac with `macmon` this takes about a second.
#[must_use]
pub fn sample<R: CommandRunner>(host: &Host<R>, permission: Permission) -> Vec<Metric> {
    match host.system {
        System::Macos => apple::sample(host, permission),
        System::Linux => nvidia::sample(host),
        System::Other => vec![Metric::new(
            "machine",
            Reading::unavailable(
                Reason::UnsupportedBySystem,
                "probes exist for macOS and Linux",
            ),
        )],
    }
}

/// A share that must lie between 0 and 100 percent; a value beyond is a misread, not a busy machine.
fn percent(value: f64, source: &str) -> Reading {
    if (0.0..=100.0).contains(&value) {
        return Reading::measured(value / 100.0, crate::Unit::Ratio, source);
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

/// Power as Apple's energy model has it.
fn modelled_power(value: f64, source: &str) -> Reading {
    watts(value, source).map_or_else(
        |misread| misread,
        |value| Reading::estimated(value, crate::Unit::Watts, source, "Apple's energy model"),
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
    let first = text
        .lines()
        .next()
        .unwrap_or("")
        .chars()
        .take(80)
        .collect::<String>();
    Reading::unavailable(Reason::ParseFailed, format!("{source} printed `{first}`"))
}

#[cfg(test)]
mod tests;

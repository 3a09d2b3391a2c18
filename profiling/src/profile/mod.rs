//! What a program achieves on a machine: times, rates, shares of what the hardware can do, and what holds it back.
//!
//! [`ProfileReport`] is the whole of it and reads back from its own JSON; [`ProfileReport::to_text`],
//! [`ProfileReport::to_markdown`] and [`ProfileReport::to_html`] show it. [`verdict`] and [`compare()`] are pure functions
//! over measured numbers. [`Profiler`] measures any closure.

pub mod advice;
pub mod catalogue;
pub mod compare;
mod html;
mod markdown;
mod phases;
mod profiler;
mod roofline;
pub mod statistics;
mod text;
pub mod verdict;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::telemetry::Telemetry;
use crate::{Error, Reading, Result};

pub use advice::{Advice, Gain, Outcome};
pub use compare::{Comparison, compare};
pub use phases::Phase;
pub use profiler::{AllocatorMemory, Budget, ProfileEntry, Profiler, Workload};
pub use roofline::{Ceiling, Roofline, RooflinePoint};
pub use verdict::{Bound, Shares, Verdict};

/// Version of the JSON form; it changes when a key changes its meaning or goes away.
pub const SCHEMA: &str = "ncps.profile/1";

/// Everything that one profile found.
///
/// # Units
/// `samples` in seconds; every other number is a [`Reading`] with a unit of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProfileReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// Name of the configuration or of what was wrapped.
    pub title: String,
    /// Seconds since 1970 at which the profile began.
    pub taken_at: u64,
    /// The program that measured.
    pub program: Program,
    /// The machine that it ran on.
    pub machine: MachineLine,
    /// What was measured.
    pub subject: Subject,
    /// Readings by name; [`catalogue`] explains the names.
    pub metrics: BTreeMap<String, Reading>,
    /// Single repetitions behind the times, in seconds, in the order in which they ran.
    pub samples: BTreeMap<String, Vec<f64>>,
    /// Where the time of a training step goes.
    pub phases: Vec<Phase>,
    /// Ceilings of the machine and where the work stands below them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roofline: Option<Roofline>,
    /// What holds the work back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// What might be changed, and what came of it where it was tried.
    #[serde(default)]
    pub advice: Vec<Advice>,
    /// The machine's own counters meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub telemetry: Option<Telemetry>,
    /// What a reader should know before trusting the numbers.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The program that measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Version of this project.
    pub version: String,
    /// Version and kind of libmlx, where it is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mlx: Option<String>,
    /// Whether the program was built with optimisation.
    pub is_optimised: bool,
}

/// The machine in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineLine {
    /// What its fastest device calls itself.
    pub name: String,
    /// Processor, cores, memory and GPUs in one line.
    pub summary: String,
    /// Operating system.
    pub system: String,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Subject {
    /// Configuration file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// What the network is.
    pub network: String,
    /// `cpu` or `gpu`.
    pub device: String,
    /// `fused` (one operation a layer), `plain` (MLX operations step by step) or `partly fused`.
    pub implementation: String,
    /// Whether MLX compiled the step.
    pub is_compiled: bool,
    /// How f32 products come about: exact or rounded to TF32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub products: Option<String>,
    /// Threads of the kernels on a CPU.
    pub threads: usize,
    /// Sequences B of a batch.
    pub batch: usize,
    /// Steps T of a sequence.
    pub time: usize,
    /// Features F of a step.
    pub inputs: usize,
    /// Outputs O of a step.
    pub outputs: usize,
    /// Trained numbers.
    pub parameters: usize,
}

impl Subject {
    /// One line about it.
    #[must_use]
    pub fn line(&self) -> String {
        let compiled = if self.is_compiled { ", compiled" } else { "" };
        // On a processor products are never anything but exact.
        let products = match &self.products {
            Some(products) if self.device != "cpu" => format!(", f32 products {products}"),
            _ => String::new(),
        };
        format!(
            "{}, {} parameters, batch {} x {} steps x {} features, on {} ({}{compiled}){products}",
            self.network,
            self.parameters,
            self.batch,
            self.time,
            self.inputs,
            self.device,
            self.implementation
        )
    }
}

impl ProfileReport {
    /// The reading of that name; a name that nobody measured is unavailable, never zero.
    #[must_use]
    pub fn metric(&self, name: &str) -> Reading {
        self.metrics.get(name).cloned().unwrap_or_else(|| {
            Reading::unavailable(
                crate::Reason::NotRun,
                format!("`{name}` was not measured in this run"),
            )
        })
    }

    /// The report as JSON text.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Numbers, strings and maps with string keys always serialise; readings are finite.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads [`ProfileReport::to_json`]'s text; `path` is named in errors only.
    ///
    /// # Errors
    /// [`Error::ProfileReport`] for text that is not such a report, or one of another schema.
    pub fn from_json(text: &str, path: &std::path::Path) -> Result<Self> {
        let error = |detail: String| Error::ProfileReport {
            path: path.to_owned(),
            detail,
        };
        let value: serde_json::Value = serde_json::from_str(text).map_err(|e| {
            error(format!(
                "not JSON: {e}; expected a report of --json or --out"
            ))
        })?;
        match value.get("schema").and_then(serde_json::Value::as_str) {
            Some(SCHEMA) => {}
            Some(other) => {
                let expected = format!("its schema is `{other}`, expected `{SCHEMA}`");
                return Err(error(format!(
                    "{expected}; profile again with this version"
                )));
            }
            None => {
                let detail = "it has no `schema`: expected a report of `ncps profile`";
                return Err(error(detail.to_owned()));
            }
        }
        serde_json::from_value(value).map_err(|e| error(format!("not a profile report: {e}")))
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

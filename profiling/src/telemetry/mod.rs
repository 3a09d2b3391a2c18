//! What the machine did over time: one series a metric, what went wrong meanwhile, and what watching cost.

mod collector;
mod series;
mod warnings;

pub(crate) use collector::{Collector, Moment};
pub use series::Series;

use crate::probe::{Metric, first_of_each};
use crate::{Reading, Reason};
use serde::{Deserialize, Serialize};

/// Version of the form in files.
pub const SCHEMA: &str = "ncps.telemetry/1";

/// Everything that was sampled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// [`SCHEMA`].
    pub schema: String,
    /// Time between two samples in seconds, as asked for.
    pub interval_s: f64,
    /// Time from the first sample to the end in seconds, by a clock that nobody can set.
    pub duration_s: f64,
    /// One series a metric, by name; a metric that was never read has no points and says why.
    pub series: Vec<Series>,
    /// What happened to the clocks and the tools.
    pub events: Vec<Event>,
    /// Conditions at the beginning: power mode, battery, thermal pressure, and what no machine tells.
    pub before: Vec<Metric>,
    /// Conditions at the end.
    pub after: Vec<Metric>,
    /// What sampling itself cost.
    pub cost: SamplerCost,
}

/// Something that one has to know when reading the series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Seconds since the first sample.
    pub at_s: f64,
    /// What kind of thing.
    pub kind: EventKind,
    /// In words.
    pub detail: String,
}

/// Kinds of [`Event`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// The wall clock was set, or the machine slept.
    ClockJumped,
    /// No sample was taken for several intervals.
    Gap,
    /// A counter repeats itself while others move; its series ends there.
    CounterFrozen,
    /// A tool failed or ended by itself.
    ToolFailed,
    /// A tool gave nothing for several intervals.
    ToolSilent,
}

/// What sampling cost, so that a reader can judge whether it disturbed what it watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerCost {
    /// Samples that were taken.
    pub ticks: u32,
    /// Processor time of the sampler's own threads.
    pub sampler_cpu: Reading,
    /// Processor time of the tools that it ran. Any other program that this process waited for in
    /// the meantime is counted too.
    pub tools_cpu: Reading,
    /// Both over the wall time: 1 % is a hundredth of one core.
    pub share_of_core: Reading,
    /// The same over all cores of the machine: the part of its throughput that is gone at most,
    /// where the program uses every core.
    pub share_of_machine: Reading,
}

impl Telemetry {
    /// The series of a metric.
    #[must_use]
    pub fn series(&self, name: &str) -> Option<&Series> {
        self.series.iter().find(|series| series.name == name)
    }

    /// Series with at least two points, in the order of their names.
    pub fn plottable(&self) -> impl Iterator<Item = &Series> {
        self.series.iter().filter(|s| s.values.len() >= 2)
    }

    /// A metric over the whole time, or a condition, or why there is neither.
    #[must_use]
    pub fn reading(&self, name: &str) -> Reading {
        let condition = |metrics: &[Metric]| {
            let metric = metrics.iter().find(|m| m.name == name);
            metric.map(|m| m.reading.clone())
        };
        let sampled = self.series(name).map(|series| series.summary.clone());
        let known = [sampled, condition(&self.after), condition(&self.before)];
        let readings: Vec<Reading> = known.into_iter().flatten().collect();
        let value = readings.iter().find(|r| r.value().is_some());
        value.or(readings.first()).cloned().unwrap_or_else(|| {
            let detail = format!("no probe of this machine gives `{name}`");
            Reading::unavailable(Reason::UnsupportedBySystem, detail)
        })
    }

    /// Every metric once: its mean over the time, or its condition, or the reason why there is none.
    #[must_use]
    pub fn metrics(&self) -> Vec<Metric> {
        let sampled = self
            .series
            .iter()
            .map(|s| Metric::new(s.name.clone(), s.summary.clone()));
        let conditions = self.after.iter().chain(&self.before).cloned();
        let mut metrics = first_of_each(sampled.chain(conditions).collect());
        metrics.sort_by(|a, b| a.name.cmp(&b.name));
        metrics
    }
}

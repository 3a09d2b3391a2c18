//! One metric over time.

use crate::{Quality, Reading, Reason, Scope, Unit};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Points of one metric, all from one source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// Name of the metric.
    pub name: String,
    /// Unit of the values; absent where there never was one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub unit: Option<Unit>,
    /// Seconds since the first sample, rising.
    pub times: Vec<f64>,
    /// Values at these times.
    pub values: Vec<f64>,
    /// Mean over the whole time with its source, or why there is no value.
    pub summary: Reading,
}

impl Series {
    /// Highest value.
    #[must_use]
    pub fn highest(&self) -> Option<f64> {
        self.values.iter().copied().reduce(f64::max)
    }

    /// Lowest value.
    #[must_use]
    pub fn lowest(&self) -> Option<f64> {
        self.values.iter().copied().reduce(f64::min)
    }
}

/// What a metric has given so far.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// Where all points come from; another source would give another quantity.
    pub(super) kind: Option<Kind>,
    pub(super) times: Vec<f64>,
    pub(super) values: Vec<f64>,
    /// The last reason for having no value.
    pub(super) reason: Option<Reading>,
    /// How often the last value came in a row, bit for bit.
    pub(super) repeats: usize,
    /// Set when the counter was found dead; it is not believed again.
    pub(super) retired: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kind {
    pub(super) unit: Unit,
    pub(super) source: String,
    pub(super) quality: Quality,
    pub(super) scope: Scope,
}

impl Kind {
    pub(super) fn is_estimate(&self) -> bool {
        matches!(self.quality, Quality::Estimated { .. })
    }
}

/// Points that a series keeps; beyond them every second one is dropped, so that memory stays bounded.
pub(super) const MOST_POINTS: usize = 16_384;

impl Track {
    pub(super) fn push(&mut self, at: f64, value: f64) {
        let is_repeat = self
            .values
            .last()
            .is_some_and(|v| v.to_bits() == value.to_bits());
        self.repeats = if is_repeat { self.repeats + 1 } else { 1 };
        self.times.push(at);
        self.values.push(value);
        if self.values.len() > MOST_POINTS {
            every_second(&mut self.times);
            every_second(&mut self.values);
        }
    }

    /// Forgets the points that repeat each other, and everything that follows.
    pub(super) fn retire(&mut self, reason: Reading) {
        let kept = self.values.len().saturating_sub(self.repeats);
        self.times.truncate(kept);
        self.values.truncate(kept);
        self.reason = Some(reason);
        self.retired = true;
    }

    pub(super) fn finish(self, name: String, duration: Duration) -> Series {
        let summary = self.summary(duration);
        Series {
            name,
            unit: self
                .kind
                .filter(|_| !self.values.is_empty())
                .map(|k| k.unit),
            times: self.times,
            values: self.values,
            summary,
        }
    }

    fn summary(&self, duration: Duration) -> Reading {
        let Some(kind) = self.kind.as_ref().filter(|_| !self.values.is_empty()) else {
            return self.reason.clone().unwrap_or_else(|| {
                Reading::unavailable(Reason::NotRun, "the time was too short for a sample")
            });
        };
        let count = self.values.len();
        let mean = self.values.iter().sum::<f64>() / count as f64;
        let words = format!("mean of {count} samples");
        let source = kind.source.as_str();
        let reading = match &kind.quality {
            Quality::Measured => Reading::measured(mean, kind.unit, format!("{source}, {words}")),
            Quality::Estimated { method } => Reading::estimated(
                mean,
                kind.unit,
                format!("{source}, {words}"),
                method.as_str(),
            ),
            Quality::Derived { formula } => Reading::derived(
                mean,
                kind.unit,
                format!("{source}, {words}"),
                formula.as_str(),
            ),
        };
        reading.with_window(duration).with_scope(kind.scope)
    }
}

fn every_second(values: &mut Vec<f64>) {
    let mut n = 0;
    values.retain(|_| {
        n += 1;
        n % 2 == 1
    });
}

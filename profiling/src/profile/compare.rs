//! Two profiles side by side: ratios with their confidence, and which of them are regressions.

use serde::{Deserialize, Serialize};

use super::statistics::{self, RatioInterval};
use super::{ProfileReport, catalogue};
use crate::{Reading, Reason, Scope, Unit};

/// Two profiles, number by number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Version of this form.
    pub schema: String,
    /// Title of the first profile.
    pub base: String,
    /// Title of the second.
    pub other: String,
    /// Growth that counts as a regression, as a share of the first.
    pub limit: f64,
    /// Rows in the order of the catalogue.
    pub rows: Vec<ComparisonRow>,
    /// In what the two differ besides speed.
    pub notes: Vec<String>,
}

/// One number of both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ComparisonRow {
    /// Name of the metric.
    pub name: String,
    /// Value of the first.
    pub base: Reading,
    /// Value of the second.
    pub other: Reading,
    /// Second / first.
    pub ratio: Reading,
    /// 95 % interval of the ratio, where both kept their repetitions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<(f64, f64)>,
    /// What the ratio means.
    pub change: Change,
}

/// What a ratio means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Worse by more than the limit, and the interval lies above 1.
    Regressed,
    /// Better by more than the limit, and the interval lies below 1.
    Improved,
    /// Within the limit, or the interval holds 1.
    Same,
    /// It happens once in a profile: nobody knows how much it varies.
    OneSample,
    /// Too few repetitions on a side for an interval.
    FewSamples,
    /// One side has no value.
    Unknown,
}

impl Change {
    /// The change in a few words.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Regressed => "regressed",
            Self::Improved => "improved",
            Self::Same => "same",
            Self::OneSample => "one sample, not judged",
            Self::FewSamples => "too few samples, not judged",
            Self::Unknown => "not comparable",
        }
    }
}

/// Version of [`Comparison`]'s JSON form.
pub const SCHEMA: &str = "ncps.comparison/1";

/// What is compared: the metric, and the name of its repetitions if it is a time. Less is better throughout.
const COMPARED: [(&str, Option<&str>); 6] = [
    ("time.train_step.median", Some("train_step")),
    ("time.forward.median", Some("forward")),
    ("time.single_step.median", Some("single_step")),
    ("time.first_step", None),
    ("memory.mlx.peak", None),
    ("memory.process.peak", None),
];

impl Comparison {
    /// Whether anything is worse by more than the limit.
    #[must_use]
    pub fn has_regressed(&self) -> bool {
        self.rows.iter().any(|row| row.change == Change::Regressed)
    }
}

/// Compares `other` with `base`; a time regresses when its median grows by more than `limit` (0.05 is 5 %) and the 95 %
/// interval of the ratio lies above 1.
///
/// The first step and the peaks of memory occur once in a profile, so they are shown and not judged.
#[must_use]
pub fn compare(base: &ProfileReport, other: &ProfileReport, limit: f64) -> Comparison {
    let rows = COMPARED
        .iter()
        .filter(|(name, _)| base.metrics.contains_key(*name) || other.metrics.contains_key(*name))
        .map(|(name, samples)| row(base, other, name, *samples, limit))
        .collect();
    Comparison {
        schema: SCHEMA.to_owned(),
        base: base.title.clone(),
        other: other.title.clone(),
        limit,
        rows,
        notes: notes(base, other),
    }
}

fn row(
    base: &ProfileReport,
    other: &ProfileReport,
    name: &str,
    samples: Option<&str>,
    limit: f64,
) -> ComparisonRow {
    let (one, two) = (base.metric(name), other.metric(name));
    let resampled =
        samples.and_then(|key| statistics::ratio(base.samples.get(key)?, other.samples.get(key)?));
    let plain = one.value().zip(two.value()).map(|(a, b)| b / a);
    let (ratio, change) = match (plain, &resampled) {
        (Some(plain), Some(found)) => (derived(plain), judged(plain, found, limit)),
        (Some(plain), None) if samples.is_some() => (derived(plain), Change::FewSamples),
        (Some(plain), None) => (derived(plain), Change::OneSample),
        (None, _) => (
            Reading::unavailable(Reason::NotRun, "one of the two profiles has no value"),
            Change::Unknown,
        ),
    };
    ComparisonRow {
        name: name.to_owned(),
        base: one,
        other: two,
        ratio,
        interval: resampled.map(|found| (found.low, found.high)),
        change,
    }
}

fn derived(ratio: f64) -> Reading {
    Reading::derived(ratio, Unit::Ratio, "both profiles", "second / first")
        .with_scope(Scope::Process)
}

fn judged(ratio: f64, interval: &RatioInterval, limit: f64) -> Change {
    match ratio {
        r if r > 1.0 + limit && interval.low > 1.0 => Change::Regressed,
        r if r < 1.0 / (1.0 + limit) && interval.high < 1.0 => Change::Improved,
        _ => Change::Same,
    }
}

/// What makes a comparison unfair.
fn notes(base: &ProfileReport, other: &ProfileReport) -> Vec<String> {
    let mut notes = Vec::new();
    let mut differ = |what: &str, one: &dyn std::fmt::Debug, two: &dyn std::fmt::Debug| {
        let (one, two) = (format!("{one:?}"), format!("{two:?}"));
        if one != two {
            notes.push(format!("{what} differs: {one} and {two}"));
        }
    };
    let (a, b) = (&base.subject, &other.subject);
    differ("the machine", &base.machine.summary, &other.machine.summary);
    differ(
        "the program's version",
        &base.program.version,
        &other.program.version,
    );
    differ("libmlx", &base.program.mlx, &other.program.mlx);
    differ(
        "optimisation of the build",
        &base.program.is_optimised,
        &other.program.is_optimised,
    );
    differ("the network", &a.network, &b.network);
    differ("the device", &a.device, &b.device);
    differ("the implementation", &a.implementation, &b.implementation);
    differ("the way of f32 products", &a.products, &b.products);
    differ("the number of threads", &a.threads, &b.threads);
    differ("the batch", &a.batch, &b.batch);
    differ("the length of the sequences", &a.time, &b.time);
    differ("the number of parameters", &a.parameters, &b.parameters);
    notes
}

/// The comparison as a Markdown table, which reads as text too.
impl Comparison {
    /// A table with one row a number, and the notes below it.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = format!(
            "| | {} | {} | ratio | 95 % interval | |\n|---|---|---|---|---|---|\n",
            self.base, self.other
        );
        for row in &self.rows {
            let ratio = row
                .ratio
                .value()
                .map_or_else(|| "-".to_owned(), |r| format!("{r:.3}"));
            let interval = row.interval.map_or_else(
                || "-".to_owned(),
                |(low, high)| format!("{low:.3} to {high:.3}"),
            );
            let label = catalogue::label(&row.name);
            let cells = [&row.base, &row.other].map(|reading| {
                reading
                    .value()
                    .map_or_else(|| "-".to_owned(), |_| reading.to_string())
            });
            text += &format!(
                "| {label} | {} | {} | {ratio} | {interval} | {} |\n",
                cells[0],
                cells[1],
                row.change.word()
            );
        }
        for note in &self.notes {
            text += &format!("\nNote: {note}.\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::report;
    use super::*;

    fn slower(factor: f64) -> ProfileReport {
        let mut report = report();
        for values in report.samples.values_mut() {
            values.iter_mut().for_each(|value| *value *= factor);
        }
        for (name, reading) in &mut report.metrics {
            if name.starts_with("time.")
                && let Some(value) = reading.value()
            {
                *reading = Reading::measured(value * factor, Unit::Seconds, "clock");
            }
        }
        report
    }

    #[test]
    fn a_slower_program_has_regressed_and_a_faster_one_improved() {
        let base = report();
        let change = |factor| {
            let found = compare(&base, &slower(factor), 0.05);
            let row = &found.rows[0];
            assert_eq!(row.name, "time.train_step.median");
            let (low, high) = row.interval.unwrap();
            assert!(low <= factor && factor <= high, "{factor}: {low} {high}");
            assert_eq!(found.has_regressed(), row.change == Change::Regressed);
            row.change
        };
        assert_eq!(change(1.3), Change::Regressed);
        assert_eq!(change(0.7), Change::Improved);
        assert_eq!(change(1.01), Change::Same);
    }

    #[test]
    fn a_change_within_the_noise_is_no_regression() {
        let mut other = report();
        // Twice as slow for a third of the time: the median moves, and the interval reaches down to 1.
        let values = other.samples.get_mut("train_step").unwrap();
        let third = values.len() * 47 / 100;
        values[..third].iter_mut().for_each(|value| *value *= 2.0);
        let found = compare(&report(), &other, 0.0);
        assert_eq!(found.rows[0].change, Change::Same, "{:?}", found.rows[0]);
    }

    #[test]
    fn what_happened_once_is_shown_and_not_judged() {
        let with = |value| {
            let mut report = report();
            for name in ["time.first_step", "memory.mlx.peak"] {
                let reading = Reading::measured(value, Unit::Count, "once");
                report.metrics.insert(name.to_owned(), reading);
            }
            report
        };
        let found = compare(&with(1.0), &with(3.0), 0.05);
        assert!(!found.has_regressed());
        for name in ["time.first_step", "memory.mlx.peak"] {
            let row = found.rows.iter().find(|row| row.name == name).unwrap();
            assert_eq!((row.change, row.interval), (Change::OneSample, None));
            assert!((row.ratio.value().unwrap() - 3.0).abs() < 1e-12);
        }
        assert!(found.to_markdown().contains("| one sample, not judged |"));
        // A few repetitions are no better than one, however much slower they are.
        let mut short = slower(2.0);
        for values in short.samples.values_mut() {
            values.truncate(4);
        }
        let found = compare(&report(), &short, 0.05);
        assert_eq!(found.rows[0].change, Change::FewSamples);
        assert!(!found.has_regressed());
    }

    #[test]
    fn what_cannot_be_compared_says_so() {
        let mut other = report();
        other.metrics.remove("memory.mlx.peak");
        other.subject.batch = 1;
        let found = compare(&report(), &other, 0.05);
        let row = found
            .rows
            .iter()
            .find(|row| row.name == "memory.mlx.peak")
            .unwrap();
        assert_eq!((row.change, row.ratio.value()), (Change::Unknown, None));
        assert_eq!(found.notes.len(), 1);
        assert!(found.notes[0].contains("the batch differs"));
        assert!(found.to_markdown().contains("not comparable"));
        let json = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Comparison>(&json).unwrap(), found);
    }
}

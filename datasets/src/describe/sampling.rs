//! How a table is sampled: which column is time, how long its intervals are, which column tells series apart.

use std::collections::HashMap;

use super::{ColumnDescription, ColumnKind, IntervalBin, SamplingInterval};
use crate::frame::Frame;

/// Intervals that differ by less than this share count as regular.
const REGULAR: f64 = 0.05;
/// Borders of the histogram's bins, in medians.
const BORDERS: [f64; 6] = [0.5, 1.0 - REGULAR, 1.0 + REGULAR, 2.0, 10.0, 100.0];
/// A column that tells series apart has at least this many rows for each of its values.
const ROWS_A_SERIES: usize = 3;

/// The spacing of a column of dates, or of numbers with a name that speaks of time.
pub(super) fn sampling(
    frame: &Frame,
    column: &ColumnDescription,
    columns: &[ColumnDescription],
) -> Option<SamplingInterval> {
    let is_number = matches!(column.kind, ColumnKind::Integer | ColumnKind::Number);
    let is_time = column.kind == ColumnKind::Date || (is_number && speaks_of_time(&column.name));
    let (times, is_seconds) = frame.times(&column.name).ok().filter(|_| is_time)?;
    let is_backwards = times.windows(2).any(|pair| pair[1] < pair[0]);
    let series = if is_backwards {
        columns
            .iter()
            .filter(|other| other.name != column.name)
            .find_map(|other| groups(frame, other, &times).map(|keys| (other.name.clone(), keys)))
    } else {
        None
    };
    let mut last: HashMap<&str, f64> = HashMap::new();
    let mut steps: Vec<f64> = Vec::with_capacity(times.len());
    for (row, &time) in times.iter().enumerate() {
        let key = series.as_ref().map_or("", |(_, keys)| keys[row].as_str());
        if let Some(before) = last.insert(key, time) {
            steps.push(time - before);
        }
    }
    let backwards = steps.iter().filter(|step| **step < 0.0).count();
    steps.retain(|step| *step >= 0.0);
    if steps.is_empty() {
        return None;
    }
    steps.sort_by(f64::total_cmp);
    let median = steps[steps.len() / 2];
    let histogram = histogram(&steps, median);
    let regular = steps
        .iter()
        .filter(|step| (**step - median).abs() <= REGULAR * median)
        .count();
    Some(SamplingInterval {
        column: column.name.clone(),
        unit: if is_seconds { "second" } else { "column" },
        min: steps[0],
        median,
        max: steps[steps.len() - 1],
        is_regular: regular * 100 >= steps.len() * 95,
        backwards,
        repeated: steps.iter().filter(|step| **step <= 0.0).count(),
        shortest_series: series.as_ref().and_then(|(_, keys)| shortest(keys)),
        group: series.map(|(name, _)| name),
        histogram,
    })
}

fn shortest(keys: &[String]) -> Option<usize> {
    let mut rows: HashMap<&str, usize> = HashMap::new();
    for key in keys {
        *rows.entry(key).or_default() += 1;
    }
    rows.into_values().min()
}

/// A column's keys, if time never goes backwards within any of them.
fn groups(frame: &Frame, column: &ColumnDescription, times: &[f64]) -> Option<Vec<String>> {
    let may_name = matches!(column.kind, ColumnKind::Text | ColumnKind::Integer);
    if !may_name || column.missing > 0 {
        return None;
    }
    let keys = frame.keys(&column.name).ok()?;
    let mut last: HashMap<&str, f64> = HashMap::new();
    for (key, &time) in keys.iter().zip(times) {
        if last.insert(key, time).is_some_and(|before| before > time) {
            return None;
        }
    }
    let is_plausible = last.len() > 1 && times.len() >= ROWS_A_SERIES * last.len();
    is_plausible.then_some(keys)
}

/// How many intervals lie where, compared with the median; sorted intervals only.
fn histogram(steps: &[f64], median: f64) -> Vec<IntervalBin> {
    let mut bins = Vec::new();
    let (mut from, mut seen) = (0.0, steps.partition_point(|step| *step <= 0.0));
    if seen > 0 {
        bins.push(IntervalBin {
            from: 0.0,
            to: 0.0,
            intervals: seen,
        });
    }
    let longest = steps[steps.len() - 1];
    for border in BORDERS
        .map(|border| border * median)
        .into_iter()
        .chain([f64::INFINITY])
    {
        let end = steps.partition_point(|step| *step <= border);
        if end > seen {
            bins.push(IntervalBin {
                from,
                to: border.min(longest),
                intervals: end - seen,
            });
        }
        (from, seen) = (border, end);
    }
    bins
}

fn speaks_of_time(name: &str) -> bool {
    let name = name.to_lowercase();
    let words = [
        "time",
        "timestamp",
        "t",
        "date",
        "datetime",
        "second",
        "seconds",
        "hour",
        "hours",
        "minute",
        "minutes",
        "day",
        "days",
    ];
    name.split(|c: char| !c.is_alphanumeric())
        .any(|part| words.contains(&part))
}

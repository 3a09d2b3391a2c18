//! What each column holds.

use std::collections::BTreeMap;

use super::{ClassCount, ColumnDescription, ColumnKind};
use crate::frame::Column;

/// More different values than this are not listed as classes.
const MAX_LISTED_CLASSES: usize = 20;

pub(super) fn describe_column(name: &str, column: &Column) -> ColumnDescription {
    let mut description = ColumnDescription {
        name: name.to_owned(),
        kind: ColumnKind::Other,
        missing: 0,
        longest_gap: 0,
        min: None,
        max: None,
        mean: None,
        classes: None,
    };
    match column {
        Column::Number(values) => {
            let is_whole = values
                .iter()
                .all(|value| value.is_nan() || value.fract() == 0.0);
            description.kind = if is_whole {
                ColumnKind::Integer
            } else {
                ColumnKind::Number
            };
            describe_numbers(&mut description, values);
            if is_whole {
                description.classes =
                    classes(values.iter().filter(|v| !v.is_nan()).map(f64::to_string));
            }
        }
        Column::Instant(values) => {
            description.kind = ColumnKind::Date;
            describe_numbers(&mut description, values);
        }
        Column::Text(values) => {
            let present = || values.iter().flatten();
            description.missing = values.len() - present().count();
            description.longest_gap = longest_run(values.iter().map(Option::is_none));
            let is_date = present().count() > 0
                && present().all(|text| crate::time::parse_date(text).is_some());
            description.kind = if is_date {
                ColumnKind::Date
            } else {
                ColumnKind::Text
            };
            description.classes = classes(present().cloned()).filter(|_| !is_date);
        }
        Column::Other(_) => {}
    }
    description
}

fn describe_numbers(description: &mut ColumnDescription, values: &[f64]) {
    let present = || values.iter().copied().filter(|value| !value.is_nan());
    let count = present().count();
    description.missing = values.len() - count;
    description.longest_gap = longest_run(values.iter().map(|value| value.is_nan()));
    if count > 0 {
        description.min = Some(present().fold(f64::INFINITY, f64::min));
        description.max = Some(present().fold(f64::NEG_INFINITY, f64::max));
        description.mean = Some(present().sum::<f64>() / count as f64);
    }
}

fn classes(values: impl Iterator<Item = String>) -> Option<Vec<ClassCount>> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_insert(0) += 1;
        if counts.len() > MAX_LISTED_CLASSES {
            return None;
        }
    }
    let mut counts: Vec<ClassCount> = counts
        .into_iter()
        .map(|(value, rows)| ClassCount { value, rows })
        .collect();
    counts.sort_by_key(|class| std::cmp::Reverse(class.rows));
    Some(counts).filter(|counts| counts.len() > 1)
}

/// The most rows in a row for which something holds.
fn longest_run(holds: impl Iterator<Item = bool>) -> usize {
    let (mut longest, mut run) = (0, 0);
    for holds in holds {
        run = if holds { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

//! Whether one part of the data knows of another: rows that are in two parts, and series that are the same.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hasher};

use serde::{Deserialize, Serialize};

use crate::parallel;
use crate::series::RawSeries;
use crate::window::Window;

/// Shorter series may well be the same by chance.
pub(crate) const SHORTEST: usize = 16;

/// What is done about a leak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LeakPolicy {
    /// It is said.
    #[default]
    Warn,
    /// It is an error.
    Error,
    /// Nothing; for published protocols that are known to leak.
    Allow,
}

/// A way in which a part's data are known from another part.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Leak {
    /// Windows of a part have rows that training windows have too.
    SharedRows {
        /// `validation` or `test`.
        part: &'static str,
        /// Windows that share rows.
        windows: usize,
        /// All windows of the part.
        of: usize,
        /// The series of the first one.
        series: String,
        /// Its first row, counted from 1.
        row: usize,
    },
    /// A series of a part has the values of a training series.
    SameSeries {
        /// `validation` or `test`.
        part: &'static str,
        /// The series in the part.
        series: String,
        /// The training series.
        training: String,
    },
}

impl fmt::Display for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SharedRows {
                part,
                windows,
                of,
                series,
                row,
            } => write!(
                f,
                "{windows} of {of} {part} windows share rows with training windows, the first in series `{series}` at row {row}: \
                 their score says little about new data; split by time, series or group"
            ),
            Self::SameSeries {
                part,
                series,
                training,
            } => write!(
                f,
                "{part} series `{series}` has the same values as training series `{training}`: remove one, or keep both in one part"
            ),
        }
    }
}

/// Windows of the three parts over one list of series.
pub(crate) struct PartsSeen<'a> {
    pub(crate) series: &'a [RawSeries],
    pub(crate) train: &'a [Window],
    pub(crate) others: [(&'static str, &'a [Window]); 2],
    /// Rows that a target lies ahead.
    pub(crate) horizon: usize,
}

/// Finds what the other parts share with the training part.
pub(crate) fn find(parts: &PartsSeen<'_>) -> Vec<Leak> {
    let mut leaks = Vec::new();
    // The rows that training windows cover, series by series: starts rise, so reaches do.
    let mut spans: HashMap<usize, Vec<(usize, usize)>> = HashMap::new();
    for window in parts.train {
        let end = window.start + window.steps + parts.horizon;
        spans
            .entry(window.series)
            .or_default()
            .push((window.start, end));
    }
    for spans in spans.values_mut() {
        spans.sort_unstable();
    }
    // Prints are taken of series of equal length only: they cost a pass over the values.
    let mut used: Vec<usize> = spans.keys().copied().collect();
    used.sort_unstable();
    let others = parts.others.iter().flat_map(|(_, windows)| *windows);
    let lengths: HashSet<usize> = others.map(|one| parts.series[one.series].rows).collect();
    used.retain(|&series| lengths.contains(&parts.series[series].rows));
    let prints = parallel::map(used.clone(), |series| print(&parts.series[series]));
    let known: HashMap<u64, usize> = prints
        .into_iter()
        .zip(&used)
        .filter_map(|(print, &series)| Some((print?, series)))
        .collect();
    let training: HashSet<usize> = used.iter().map(|&one| parts.series[one].rows).collect();
    for (part, windows) in parts.others {
        let shares = |window: &&Window| {
            let end = window.start + window.steps + parts.horizon;
            spans.get(&window.series).is_some_and(|spans| {
                let after = spans.partition_point(|(start, _)| *start < end);
                // Training windows are of one length but for a last one, so the nearest few tell.
                spans[..after]
                    .iter()
                    .rev()
                    .take(2)
                    .any(|(_, reach)| *reach > window.start)
            })
        };
        let shared: Vec<&Window> = windows.iter().filter(shares).collect();
        if let Some(first) = shared.first() {
            leaks.push(Leak::SharedRows {
                part,
                windows: shared.len(),
                of: windows.len(),
                series: parts.series[first.series].name.clone(),
                row: first.start + 1,
            });
        }
        let mut used: Vec<usize> = windows.iter().map(|window| window.series).collect();
        used.dedup();
        for series in used {
            let one = &parts.series[series];
            if !training.contains(&one.rows) {
                continue;
            }
            let same = print(one).and_then(|print| known.get(&print));
            if let Some(&training) = same.filter(|training| **training != series) {
                leaks.push(Leak::SameSeries {
                    part,
                    series: parts.series[series].name.clone(),
                    training: parts.series[training].name.clone(),
                });
            }
        }
    }
    leaks
}

/// A number that two series share if their values are the same; `None` for short and constant ones.
fn print(series: &RawSeries) -> Option<u64> {
    let width = series.features.len() / series.rows.max(1);
    let is_constant = series.features.chunks_exact(width.max(1)).all(|row| {
        row.iter()
            .zip(&series.features)
            .all(|(a, b)| a.to_bits() == b.to_bits())
    });
    if series.rows < SHORTEST || is_constant {
        return None;
    }
    let mut hasher = DefaultHasher::new();
    for values in [&series.features, &series.targets] {
        // A few large writes: one for each value takes longer than reading it from a file.
        for block in values.chunks(1024) {
            let bytes: Vec<u8> = block.iter().flat_map(|value| value.to_le_bytes()).collect();
            hasher.write(&bytes);
        }
    }
    Some(hasher.finish())
}

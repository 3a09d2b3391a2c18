//! Rows of one series in the order of time, and rows of the same time.

use serde::{Deserialize, Serialize};

/// What becomes of rows of one series that have the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// All stay; the time between them is 0.
    #[default]
    Keep,
    /// They are an error that names the row.
    Error,
    /// The first one stays.
    First,
    /// The last one stays.
    Last,
    /// They become one row with the means of what was observed; a class label is the last one's.
    Mean,
}

/// What becomes of rows that lie, in time, before the row above them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum OutOfOrder {
    /// They are an error that names the row.
    #[default]
    Error,
    /// Rows are sorted by time; those of the same time keep their order.
    Sort,
    /// They are left out, as a recorder that never looks back would.
    Drop,
}

impl OutOfOrder {
    /// The rows in the order of time, or the first row that lies before the one above it.
    pub(crate) fn arrange(self, times: &[f64], mut rows: Vec<usize>) -> Result<Vec<usize>, usize> {
        match self {
            Self::Error => match rows.windows(2).find(|pair| times[pair[1]] < times[pair[0]]) {
                Some(pair) => Err(pair[1]),
                None => Ok(rows),
            },
            Self::Sort => {
                rows.sort_by(|a, b| times[*a].total_cmp(&times[*b]));
                Ok(rows)
            }
            Self::Drop => {
                let mut latest = f64::NEG_INFINITY;
                rows.retain(|&row| {
                    let is_later = times[row] >= latest;
                    latest = latest.max(times[row]);
                    is_later
                });
                Ok(rows)
            }
        }
    }
}

impl Duplicates {
    /// Runs of ordered rows that become one row each, or a repeated row.
    pub(crate) fn runs(self, times: &[f64], rows: Vec<usize>) -> Result<Runs, usize> {
        let is_rising = || rows.windows(2).all(|pair| times[pair[0]] < times[pair[1]]);
        if self == Self::Keep || is_rising() {
            return Ok(Runs::Single(rows));
        }
        let mut runs: Vec<Vec<usize>> = Vec::with_capacity(rows.len());
        for row in rows {
            match runs.last_mut() {
                Some(run) if self != Self::Keep && times[run[0]] >= times[row] => match self {
                    Self::Error => return Err(row),
                    Self::Last => *run = vec![row],
                    Self::Mean => run.push(row),
                    Self::Keep | Self::First => {}
                },
                _ => runs.push(vec![row]),
            }
        }
        Ok(Runs::Joined(runs))
    }
}

/// Rows in the order of time, some of which become one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Runs {
    /// Each stays one.
    Single(Vec<usize>),
    /// Those of a list become one.
    Joined(Vec<Vec<usize>>),
}

impl Runs {
    /// The first row of each.
    pub(crate) fn firsts(&self) -> Vec<usize> {
        match self {
            Self::Single(rows) => rows.clone(),
            Self::Joined(runs) => runs.iter().map(|run| run[0]).collect(),
        }
    }
}

/// The mean of the numbers that are there; NaN if none is.
pub(crate) fn mean_of(values: impl Iterator<Item = f32>) -> f32 {
    let (sum, count) = values
        .filter(|value| !value.is_nan())
        .fold((0.0, 0), |(sum, count), value| {
            (sum + f64::from(value), count + 1)
        });
    if count == 0 {
        f32::NAN
    } else {
        (sum / f64::from(count)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: [f64; 6] = [0.0, 2.0, 1.0, 2.0, 3.0, 3.0];

    fn arrange(order: OutOfOrder) -> Result<Vec<usize>, usize> {
        order.arrange(&TIMES, (0..6).collect())
    }

    #[test]
    fn rows_are_refused_sorted_or_dropped() {
        assert_eq!(arrange(OutOfOrder::Error), Err(2));
        assert_eq!(arrange(OutOfOrder::Sort), Ok(vec![0, 2, 1, 3, 4, 5]));
        assert_eq!(arrange(OutOfOrder::Drop), Ok(vec![0, 1, 3, 4, 5]));
    }

    #[test]
    fn rows_of_one_time_are_kept_chosen_or_joined() {
        let rows = [0, 2, 1, 3, 4, 5];
        let runs = |policy: Duplicates| policy.runs(&TIMES, rows.to_vec());
        let singles =
            |rows: &[usize]| Ok(Runs::Joined(rows.iter().map(|&row| vec![row]).collect()));
        assert_eq!(runs(Duplicates::Keep), Ok(Runs::Single(rows.to_vec())));
        let rising = Duplicates::Mean.runs(&TIMES, vec![0, 2, 3, 4]);
        assert_eq!(rising, Ok(Runs::Single(vec![0, 2, 3, 4])));
        assert_eq!(runs(Duplicates::Error), Err(3));
        assert_eq!(runs(Duplicates::First), singles(&[0, 2, 1, 4]));
        assert_eq!(runs(Duplicates::Last), singles(&[0, 2, 3, 5]));
        let joined = Runs::Joined(vec![vec![0], vec![2], vec![1, 3], vec![4, 5]]);
        assert_eq!(runs(Duplicates::Mean), Ok(joined));
    }

    #[test]
    fn means_leave_gaps_out() {
        assert!((mean_of([1.0, f32::NAN, 2.0].into_iter()) - 1.5).abs() < 1e-6);
        assert!(mean_of([f32::NAN].into_iter()).is_nan());
    }
}

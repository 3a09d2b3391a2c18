//! Long tables, one row an observation, made wide: one row a time step.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::frame::{Column, Frame};
use crate::order::Duplicates;

/// More channels than this are values in the wrong column.
const MAX_CHANNELS: usize = 4096;

/// A table with one row an observation: series, time, channel, value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct LongConfig {
    /// Column that names what was observed; each of its values becomes a column.
    pub channel: String,
    /// Column with the observed number.
    pub value: String,
}

/// One row for each series and time, one column for each channel; sorted by time within a series, empty where nothing was observed.
pub(crate) fn pivot(
    frame: &Frame,
    long: &LongConfig,
    time: &str,
    group: Option<&str>,
    duplicates: Duplicates,
) -> Result<Frame> {
    let (times, _) = frame.times_in(time, 0.0)?;
    let names = frame.keys(&long.channel)?;
    let values = frame.numbers(&long.value)?;
    let groups = group.map(|group| frame.keys(group)).transpose()?;
    let rows = rows_of(&times, groups.as_deref());
    let mut channels: Vec<&String> = names.iter().collect();
    channels.sort();
    channels.dedup();
    if channels.len() > MAX_CHANNELS {
        let reason = format!(
            "column `{}` has {} different values, too many to be channels",
            long.channel,
            channels.len()
        );
        return Err(crate::config::config("long", &reason));
    }
    let place: HashMap<&String, usize> = channels
        .iter()
        .enumerate()
        .map(|(place, name)| (*name, place))
        .collect();
    let mut cells = vec![Cell::default(); rows.firsts.len() * channels.len()];
    for row in 0..frame.rows() {
        let cell = &mut cells[rows.of[row] * channels.len() + place[&names[row]]];
        if !cell.add(values[row], duplicates) {
            return Err(Error::TimeTwice {
                path: frame.path().to_path_buf(),
                column: time.to_owned(),
                series: names[row].clone(),
                row: row + 1,
            });
        }
    }
    let mut wide = frame.take(group.into_iter().chain([time]), &rows.firsts)?;
    for (index, channel) in channels.iter().enumerate() {
        let column = cells.iter().skip(index).step_by(channels.len());
        let values: Vec<f64> = column.map(Cell::value).collect();
        wide.push(channel, Column::Number(values))?;
    }
    Ok(wide)
}

struct Rows {
    /// The wide row of each long row.
    of: Vec<usize>,
    /// The first long row of each wide row.
    firsts: Vec<usize>,
}

fn rows_of(times: &[f64], groups: Option<&[String]>) -> Rows {
    let mut order: Vec<usize> = (0..times.len()).collect();
    let mut ranks: HashMap<&str, usize> = HashMap::new();
    let rank: Vec<usize> = groups.map_or_else(Vec::new, |groups| {
        groups
            .iter()
            .map(|group| {
                let next = ranks.len();
                *ranks.entry(group).or_insert(next)
            })
            .collect()
    });
    let rank = |row: usize| rank.get(row).copied().unwrap_or(0);
    order.sort_by(|&a, &b| {
        rank(a)
            .cmp(&rank(b))
            .then(times[a].total_cmp(&times[b]))
            .then(a.cmp(&b))
    });
    let mut rows = Rows {
        of: vec![0; times.len()],
        firsts: Vec::new(),
    };
    for (at, &row) in order.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| order[at]);
        let is_new = before.is_none_or(|before| {
            rank(before) != rank(row) || times[before].total_cmp(&times[row]).is_ne()
        });
        if is_new {
            rows.firsts.push(row);
        }
        rows.of[row] = rows.firsts.len() - 1;
    }
    rows
}

/// What was observed of one channel at one time.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    sum: f64,
    count: u32,
}

impl Cell {
    /// Takes one more observation; `false` if there may be only one.
    fn add(&mut self, value: f64, duplicates: Duplicates) -> bool {
        if value.is_nan() {
            return true;
        }
        match duplicates {
            _ if self.count == 0 => (self.sum, self.count) = (value, 1),
            Duplicates::Error => return false,
            Duplicates::First => {}
            Duplicates::Keep | Duplicates::Last => self.sum = value,
            Duplicates::Mean => {
                self.sum += value;
                self.count += 1;
            }
        }
        true
    }

    fn value(&self) -> f64 {
        if self.count == 0 {
            f64::NAN
        } else {
            self.sum / f64::from(self.count)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(duplicates: Duplicates) -> Result<Frame> {
        let text = |values: &[&str]| values.iter().map(|text| (*text).to_owned()).collect();
        let frame = Frame::new()
            .with_text("id", text(&["b", "b", "a", "b", "b", "b"]))?
            .with_number("t", vec![2.0, 1.0, 5.0, 1.0, 2.0, 1.0])?
            .with_text("what", text(&["hr", "hr", "k", "k", "hr", "hr"]))?
            .with_number("v", vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
        let config = LongConfig {
            channel: "what".to_owned(),
            value: "v".to_owned(),
        };
        pivot(&frame, &config, "t", Some("id"), duplicates)
    }

    #[test]
    fn each_time_of_a_series_becomes_a_row() {
        let wide = long(Duplicates::Last).unwrap();
        assert_eq!(wide.names(), ["id", "t", "hr", "k"]);
        assert_eq!(wide.keys("id").unwrap(), ["b", "b", "a"]);
        assert_eq!(wide.numbers("t").unwrap(), [1.0, 2.0, 5.0]);
        let text = format!("{:?}", wide.numbers("hr").unwrap());
        assert_eq!(text, "[6.0, 5.0, NaN]");
        let text = format!("{:?}", wide.numbers("k").unwrap());
        assert_eq!(text, "[4.0, NaN, 3.0]");
    }

    #[test]
    fn two_observations_of_one_moment_follow_the_policy() {
        let mean = long(Duplicates::Mean).unwrap().numbers("hr").unwrap();
        assert_eq!(mean[..2], [4.0, 3.0]);
        let first = long(Duplicates::First).unwrap().numbers("hr").unwrap();
        assert_eq!(first[..2], [2.0, 1.0]);
        assert!(matches!(
            long(Duplicates::Error),
            Err(Error::TimeTwice { row: 5, .. })
        ));
    }
}

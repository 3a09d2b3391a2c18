//! A table's rows cut into one series a group, in the order of time.

use std::collections::HashMap;
use std::path::Path;

use crate::config::config;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::missing::{FeatureKind, Missing};
use crate::order::{Duplicates, OutOfOrder, Runs, mean_of};
use crate::parallel;
use crate::series::RawSeries;
use crate::time::{TimeConfig, TimeSchema, TimeUnit, parse_zone};

/// How times are read and put in order.
#[derive(Debug, Clone)]
pub(crate) struct TimeRules {
    column: String,
    unit: TimeUnit,
    /// Seconds east of UTC of dates that state no zone.
    offset: f64,
    duplicates: Duplicates,
    out_of_order: OutOfOrder,
}

impl TimeRules {
    pub(crate) fn of(time: &TimeConfig) -> Result<Self> {
        Ok(Self {
            column: time.column.clone(),
            unit: time.unit,
            offset: offset(time.zone.as_deref())?,
            duplicates: time.duplicates,
            out_of_order: time.out_of_order,
        })
    }

    pub(crate) fn of_schema(time: &TimeSchema) -> Result<Self> {
        Ok(Self {
            column: time.column.clone(),
            unit: time.unit,
            offset: offset(time.zone.as_deref())?,
            duplicates: time.duplicates,
            out_of_order: time.out_of_order,
        })
    }

    /// Times in a unit, kept as they are: numbers are in it already.
    pub(crate) fn plain(column: &str, unit: TimeUnit) -> Self {
        Self {
            column: column.to_owned(),
            unit,
            offset: 0.0,
            duplicates: Duplicates::Keep,
            out_of_order: OutOfOrder::Error,
        }
    }

    /// The frame's times in the unit.
    fn times(&self, frame: &Frame) -> Result<Vec<f64>> {
        let (mut times, is_seconds) = frame.times_in(&self.column, self.offset)?;
        if is_seconds {
            times
                .iter_mut()
                .for_each(|time| *time /= self.unit.seconds());
        }
        Ok(times)
    }
}

fn offset(zone: Option<&str>) -> Result<f64> {
    let Some(zone) = zone else { return Ok(0.0) };
    parse_zone(zone).ok_or_else(|| {
        config(
            "time",
            &format!(
                "zone `{zone}` is not understood: expected an offset such as \"+01:00\" or \"Z\"; the summer times of a named zone are not known here, so convert such dates to UTC"
            ),
        )
    })
}

/// How series are cut out of a table.
#[derive(Debug, Clone)]
pub(crate) struct SeriesRules<'a> {
    pub(crate) time: Option<TimeRules>,
    pub(crate) group: Option<&'a str>,
    /// Column that tells training, validation and test rows apart.
    pub(crate) part: Option<&'a str>,
    pub(crate) missing: Missing,
    pub(crate) kinds: &'a [FeatureKind],
    /// Targets are class ids, which have no mean.
    pub(crate) are_labels: bool,
}

/// Cuts a table's columns into one series a group (and part), ordered and filled as the rules say.
pub(crate) fn frame_series(
    frame: &Frame,
    features: &[Vec<f32>],
    targets: &[Vec<f32>],
    rules: &SeriesRules<'_>,
) -> Result<Vec<RawSeries>> {
    let times = rules
        .time
        .as_ref()
        .map(|time| time.times(frame))
        .transpose()?;
    let mut series = Vec::new();
    for Group { name, part, rows } in groups(frame, rules)? {
        let one = match (&times, &rules.time) {
            (Some(times), Some(time)) => {
                let runs = ordered(frame, time, times, rows, &name)?;
                let firsts = runs.firsts();
                RawSeries {
                    rows: firsts.len(),
                    times: Some(firsts.into_iter().map(|row| times[row]).collect()),
                    features: rows_of(features, &runs, false),
                    targets: rows_of(targets, &runs, rules.are_labels),
                    ..RawSeries::default()
                }
            }
            _ => RawSeries {
                rows: rows.len(),
                features: gather(features, &rows),
                targets: gather(targets, &rows),
                ..RawSeries::default()
            },
        };
        let features = rules
            .missing
            .prepare(one.features, rules.kinds, one.times.as_deref());
        series.push(RawSeries {
            name,
            part,
            features,
            ..one
        });
    }
    Ok(series)
}

/// Runs of rows, one run a step.
fn ordered(
    frame: &Frame,
    time: &TimeRules,
    times: &[f64],
    rows: Vec<usize>,
    series: &str,
) -> Result<Runs> {
    let rows = time
        .out_of_order
        .arrange(times, rows)
        .map_err(|row| Error::TimeBackwards {
            path: frame.path().to_path_buf(),
            column: time.column.clone(),
            series: series.to_owned(),
            row: row + 1,
        })?;
    time.duplicates
        .runs(times, rows)
        .map_err(|row| Error::TimeTwice {
            path: frame.path().to_path_buf(),
            column: time.column.clone(),
            series: series.to_owned(),
            row: row + 1,
        })
}

struct Group {
    name: String,
    part: Option<String>,
    rows: Vec<usize>,
}

/// The rows of each group in order of first appearance; without a group column, all rows under the file's name.
fn groups(frame: &Frame, rules: &SeriesRules<'_>) -> Result<Vec<Group>> {
    let names = rules.group.map(|group| frame.codes(group)).transpose()?;
    let parts = rules.part.map(|part| frame.codes(part)).transpose()?;
    let name = stem(frame.path());
    if names.is_none() && parts.is_none() {
        return Ok(vec![Group {
            name,
            part: None,
            rows: (0..frame.rows()).collect(),
        }]);
    }
    let code = |column: &Option<(Vec<u32>, Vec<String>)>, row: usize| {
        column.as_ref().map(|(codes, _)| codes[row])
    };
    let value = |column: &Option<(Vec<u32>, Vec<String>)>, code: Option<u32>| {
        let (_, values) = column.as_ref()?;
        values.get(code? as usize).cloned()
    };
    let mut places: HashMap<(Option<u32>, Option<u32>), usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    for row in 0..frame.rows() {
        let key = (code(&names, row), code(&parts, row));
        let place = *places.entry(key).or_insert_with(|| {
            groups.push(Group {
                name: value(&names, key.0).unwrap_or_else(|| name.clone()),
                part: value(&parts, key.1),
                rows: Vec::new(),
            });
            groups.len() - 1
        });
        groups[place].rows.push(row);
    }
    Ok(groups)
}

/// Rows that are gathered at once: their values stay in a core's cache while column after column is laid between them.
const GATHERED: usize = 2048;

/// Rows of columns, row-major.
fn gather(columns: &[Vec<f32>], rows: &[usize]) -> Vec<f32> {
    let width = columns.len();
    let mut all = vec![0.0; rows.len() * width];
    if all.is_empty() {
        return all;
    }
    let pieces = all.chunks_mut(GATHERED * width).zip(rows.chunks(GATHERED));
    parallel::map(pieces.collect(), |(piece, rows)| {
        for (index, column) in columns.iter().enumerate() {
            let places = piece[index..].iter_mut().step_by(width);
            for (place, &row) in places.zip(rows) {
                *place = column[row];
            }
        }
    });
    all
}

fn rows_of(columns: &[Vec<f32>], runs: &Runs, is_label: bool) -> Vec<f32> {
    match runs {
        Runs::Single(rows) => gather(columns, rows),
        Runs::Joined(runs) => join(columns, runs, is_label),
    }
}

/// One row a run, row-major: the mean of its rows, or the last one's value.
fn join(columns: &[Vec<f32>], runs: &[Vec<usize>], is_last: bool) -> Vec<f32> {
    let value = |run: &[usize], column: &Vec<f32>| match run {
        [only] => column[*only],
        [.., last] if is_last => column[*last],
        rows => mean_of(rows.iter().map(|&row| column[row])),
    };
    runs.iter()
        .flat_map(|run| columns.iter().map(move |column| value(run, column)))
        .collect()
}

/// A file's name without its ending.
pub(crate) fn stem(path: &Path) -> String {
    path.file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default()
}

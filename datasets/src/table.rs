//! From files to raw series: columns picked by role, groups told apart, labels turned into classes.

use std::collections::HashMap;
use std::path::Path;

use crate::assemble::{Assembly, TimePlan};
use crate::config::{NpyConfig, TableConfig, TaskConfig};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::frame::{Column, Frame};
use crate::readers::{Format, csv, delimiter_for, list_files, npy, parquet};
use crate::series::{RawSeries, check_times};
use crate::split::{files_in_use, split};
use crate::time::{TimeConfig, TimeUnit};

/// More classes than this are a quantity in disguise.
const MAX_CLASSES: usize = 1000;

/// Loads CSV or Parquet tables.
pub(crate) fn load(table: &TableConfig, format: Format, base_dir: &Path) -> Result<Dataset> {
    let files = list_files(&base_dir.join(&table.path), format)?;
    let used = files_in_use(&files, &table.split)?;
    let mut roles = Roles::new(table);
    let mut series = Vec::new();
    let mut labels = Labels::default();
    for &file in &used {
        let frame = roles.read(&files[file], format, table.delimiter)?;
        series.extend(roles.series(&frame, file, table, &mut labels)?);
    }
    let classes = if table.task.is_classification() {
        labels.finish(&roles.targets[0], &mut series)?
    } else {
        Vec::new()
    };
    let unit = table.time.as_ref().map(|time| time.unit);
    Assembly {
        parts: split(series, &files, &table.split, unit)?,
        features: roles.features,
        targets: roles.targets,
        task: table.task.clone(),
        classes,
        windows: table.windows(),
        normalise: table.normalise,
        time: table.time.as_ref().map(TimePlan::of),
        group: table.group.clone(),
        files: used.into_iter().map(|file| files[file].clone()).collect(),
    }
    .build()
}

/// Loads NumPy arrays.
pub(crate) fn load_npy(arrays: &NpyConfig, base_dir: &Path) -> Result<Dataset> {
    let files = list_files(&base_dir.join(&arrays.path), Format::Npy)?;
    let used = files_in_use(&files, &arrays.split)?;
    let mut series = Vec::new();
    let mut width = None;
    for &file in &used {
        let array = npy::read(&files[file])?;
        let columns = if array.shape.len() == 1 {
            1
        } else {
            array.shape[array.shape.len() - 1]
        };
        check_width(&files[file], columns, *width.get_or_insert(columns))?;
        series.extend(npy_series(&files[file], file, &array, columns)?);
    }
    let names: Vec<String> = (0..width.unwrap_or(0))
        .map(|column| format!("x{column}"))
        .collect();
    Assembly {
        parts: split(series, &files, &arrays.split, None)?,
        features: names.clone(),
        targets: names,
        task: TaskConfig::NextStep {
            horizon: arrays.horizon,
        },
        classes: Vec::new(),
        windows: arrays.windows(),
        normalise: arrays.normalise,
        time: None,
        group: None,
        files: used.into_iter().map(|file| files[file].clone()).collect(),
    }
    .build()
}

fn check_width(path: &Path, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    let reason =
        format!("it has {found} columns, the files before it {expected}: all files need the same");
    Err(Error::Malformed {
        path: path.to_path_buf(),
        format: "npy",
        reason,
    })
}

/// The series of one array: one for `[T]` and `[T, F]`, several for `[series, T, F]`.
pub(crate) fn npy_series(
    path: &Path,
    file: usize,
    array: &npy::NpyArray,
    width: usize,
) -> Result<Vec<RawSeries>> {
    if let Some(place) = array
        .values
        .iter()
        .position(|value| !(*value as f32).is_finite())
    {
        return Err(Error::NotFinite {
            path: path.to_path_buf(),
            column: format!("x{}", place % width),
            row: place / width + 1,
            found: if array.values[place].is_nan() {
                "missing or NaN"
            } else {
                "infinite"
            },
        });
    }
    let rows = if array.shape.len() == 3 {
        array.shape[1]
    } else {
        array.shape[0]
    };
    let stem = stem(path);
    let is_many = array.shape.len() == 3;
    let series = |(index, values): (usize, &[f64])| {
        let features: Vec<f32> = values.iter().map(|value| *value as f32).collect();
        let name = if is_many {
            format!("{stem}:{index}")
        } else {
            stem.clone()
        };
        RawSeries {
            name,
            file,
            rows,
            times: None,
            targets: features.clone(),
            features,
        }
    };
    Ok(array
        .values
        .chunks_exact(rows * width)
        .enumerate()
        .map(series)
        .collect())
}

pub(crate) fn stem(path: &Path) -> String {
    path.file_stem()
        .map(|stem| stem.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// Which columns play which role.
struct Roles {
    features: Vec<String>,
    targets: Vec<String>,
    /// A forecast's targets are inputs too: their past is what it is made from.
    are_targets_inputs: bool,
    time: Option<TimeConfig>,
    group: Option<String>,
}

impl Roles {
    fn new(table: &TableConfig) -> Self {
        Self {
            features: table.features.clone(),
            targets: table.targets.clone(),
            are_targets_inputs: table.task.horizon() > 0,
            time: table.time.clone(),
            group: table.group.clone(),
        }
    }

    /// Reads the columns that have a role; the first file settles roles that the config leaves open.
    fn read(&mut self, path: &Path, format: Format, delimiter: char) -> Result<Frame> {
        if self.features.is_empty() {
            let frame = read_as(path, format, delimiter, None)?;
            self.settle(&frame)?;
            return Ok(frame);
        }
        if self.targets.is_empty() {
            self.targets.clone_from(&self.features);
        }
        read_as(path, format, delimiter, Some(&self.columns()))
    }

    fn settle(&mut self, frame: &Frame) -> Result<()> {
        let outputs = if self.are_targets_inputs {
            &[]
        } else {
            self.targets.as_slice()
        };
        let time = self.time.as_ref().map(|time| &time.column);
        let taken: Vec<&String> = outputs.iter().chain(time).chain(&self.group).collect();
        let features: Vec<String> = frame
            .columns()
            .filter(|(name, column)| matches!(column, Column::Number(_)) && !taken.contains(name))
            .map(|(name, _)| name.clone())
            .collect();
        if features.is_empty() {
            let reason = format!(
                "`{}` has no column of numbers without another role: name the features",
                frame.path().display()
            );
            return Err(Error::Config {
                key: "features",
                reason,
            });
        }
        self.features = features;
        if self.targets.is_empty() {
            self.targets.clone_from(&self.features);
        }
        Ok(())
    }

    fn columns(&self) -> Vec<String> {
        let mut columns: Vec<String> = Vec::new();
        let time = self.time.as_ref().map(|time| &time.column);
        for name in self
            .features
            .iter()
            .chain(&self.targets)
            .chain(time)
            .chain(&self.group)
        {
            if !columns.contains(name) {
                columns.push(name.clone());
            }
        }
        columns
    }

    fn series(
        &self,
        frame: &Frame,
        file: usize,
        table: &TableConfig,
        labels: &mut Labels,
    ) -> Result<Vec<RawSeries>> {
        let features = columns_of(frame, &self.features)?;
        let targets = if table.task.is_classification() {
            vec![labels.ids(&frame.keys(&self.targets[0])?)]
        } else {
            columns_of(frame, &self.targets)?
        };
        let time = self
            .time
            .as_ref()
            .map(|time| (time.column.as_str(), time.unit));
        let mut series = frame_series(frame, &features, &targets, time, self.group.as_deref())?;
        series.iter_mut().for_each(|one| one.file = file);
        Ok(series)
    }
}

/// Cuts a table's columns into one series a group, in which time never goes backwards.
pub(crate) fn frame_series(
    frame: &Frame,
    features: &[Vec<f32>],
    targets: &[Vec<f32>],
    time: Option<(&str, TimeUnit)>,
    group: Option<&str>,
) -> Result<Vec<RawSeries>> {
    let times = time
        .map(|(column, unit)| times_in(frame, column, unit))
        .transpose()?;
    let mut series = Vec::new();
    for (name, rows) in groups(frame, group)? {
        let times = match (&times, time) {
            (Some(times), Some((column, _))) => {
                Some(rows_in_time(frame, column, times, &rows, &name)?)
            }
            _ => None,
        };
        series.push(RawSeries {
            name,
            file: 0,
            rows: rows.len(),
            times,
            features: gather(features, &rows),
            targets: gather(targets, &rows),
        });
    }
    Ok(series)
}

fn read_as(
    path: &Path,
    format: Format,
    delimiter: char,
    columns: Option<&[String]>,
) -> Result<Frame> {
    match format {
        Format::Csv => csv::read(path, delimiter_for(path, delimiter), columns),
        Format::Parquet => parquet::read(path, columns),
        Format::Npy => Frame::read(path, delimiter),
    }
}

/// Columns of finite numbers, as single precision.
pub(crate) fn columns_of(frame: &Frame, names: &[String]) -> Result<Vec<Vec<f32>>> {
    let column = |name: &String| {
        let values: Vec<f32> = frame
            .finite_numbers(name)?
            .into_iter()
            .map(|value| value as f32)
            .collect();
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(row) => Err(Error::NotFinite {
                path: frame.path().to_path_buf(),
                column: name.clone(),
                row: row + 1,
                found: "too large for single precision",
            }),
        }
    };
    names.iter().map(column).collect()
}

/// A time column in a unit: numbers are in it already, dates are converted.
fn times_in(frame: &Frame, column: &str, unit: TimeUnit) -> Result<Vec<f64>> {
    let (mut times, is_seconds) = frame.times(column)?;
    if is_seconds {
        times.iter_mut().for_each(|time| *time /= unit.seconds());
    }
    Ok(times)
}

/// The times of some rows, which must not go backwards.
fn rows_in_time(
    frame: &Frame,
    column: &str,
    times: &[f64],
    rows: &[usize],
    series: &str,
) -> Result<Vec<f64>> {
    let own: Vec<f64> = rows.iter().map(|&row| times[row]).collect();
    check_times(&own, rows, |row| Error::TimeBackwards {
        path: frame.path().to_path_buf(),
        column: column.to_owned(),
        series: series.to_owned(),
        row: row + 1,
    })?;
    Ok(own)
}

/// The rows of each group in order of first appearance; without a group column, all rows under the file's name.
fn groups(frame: &Frame, group: Option<&str>) -> Result<Vec<(String, Vec<usize>)>> {
    let Some(group) = group else {
        return Ok(vec![(stem(frame.path()), (0..frame.rows()).collect())]);
    };
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
    for (row, key) in frame.keys(group)?.into_iter().enumerate() {
        let place = *places.entry(key).or_insert_with_key(|key| {
            groups.push((key.clone(), Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(row);
    }
    Ok(groups)
}

/// Rows of columns, row-major.
fn gather(columns: &[Vec<f32>], rows: &[usize]) -> Vec<f32> {
    rows.iter()
        .flat_map(|&row| columns.iter().map(move |column| column[row]))
        .collect()
}

/// Class labels in order of first appearance.
#[derive(Default)]
struct Labels {
    ids: HashMap<String, usize>,
    names: Vec<String>,
}

impl Labels {
    fn ids(&mut self, labels: &[String]) -> Vec<f32> {
        let mut ids = Vec::with_capacity(labels.len());
        for label in labels {
            ids.push(match self.ids.get(label) {
                Some(id) => *id as f32,
                None => {
                    let id = self.names.len();
                    self.ids.insert(label.clone(), id);
                    self.names.push(label.clone());
                    id as f32
                }
            });
        }
        ids
    }

    /// Sorts the classes (numbers by value, text by letter) and renumbers the series' targets to match.
    fn finish(self, column: &str, series: &mut [RawSeries]) -> Result<Vec<String>> {
        let not_a_class = |reason| Error::NotAClass {
            column: column.to_owned(),
            reason,
        };
        if self.names.len() > MAX_CLASSES {
            return Err(not_a_class(format!(
                "it has {} different values",
                self.names.len()
            )));
        }
        let mut order: Vec<usize> = (0..self.names.len()).collect();
        let numbers: Option<Vec<f64>> = self.names.iter().map(|name| name.parse().ok()).collect();
        match &numbers {
            Some(numbers) => {
                if let Some(place) = numbers.iter().position(|number| number.fract() != 0.0) {
                    return Err(not_a_class(format!(
                        "`{}` is no whole number",
                        self.names[place]
                    )));
                }
                order.sort_by(|a, b| numbers[*a].total_cmp(&numbers[*b]));
            }
            None => order.sort_by_key(|id| &self.names[*id]),
        }
        let mut rank = vec![0.0f32; order.len()];
        order
            .iter()
            .enumerate()
            .for_each(|(place, &id)| rank[id] = place as f32);
        for one in series {
            one.targets
                .iter_mut()
                .for_each(|target| *target = rank[*target as usize]);
        }
        Ok(order.into_iter().map(|id| self.names[id].clone()).collect())
    }
}

//! From arrays of numbers (npy, npz, IDX) to raw series.

use std::path::Path;

use crate::assemble::{Assembly, TimePlan};
use crate::config::{IdxConfig, NpyConfig, NpzConfig, TaskConfig, config};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::readers::{Format, idx, list_files, npy, npz};
use crate::series::RawSeries;
use crate::split::{Parts, files_in_use, split};
use crate::table::stem;
use crate::time::TimeUnit;

/// Loads npy files: every column is input and target of a forecast.
pub(crate) fn load_npy(arrays: &NpyConfig, base_dir: &Path) -> Result<Dataset> {
    let files = list_files(&base_dir.join(&arrays.path), Format::Npy)?;
    let used = files_in_use(&files, &arrays.split)?;
    let mut series = Vec::new();
    let mut width = None;
    for &file in &used {
        let array = npy::read(&files[file])?;
        let columns = match array.shape.as_slice() {
            [_] => 1,
            shape => shape[shape.len() - 1],
        };
        check_width(&files[file], columns, *width.get_or_insert(columns))?;
        series.extend(npy_series(&files[file], file, &array, columns)?);
    }
    let names = numbered("x", width.unwrap_or(0));
    Assembly {
        parts: split(series, &files, &arrays.split, None)?,
        features: names.clone(),
        targets: names,
        task: TaskConfig::NextStep {
            horizon: arrays.horizon,
        },
        windows: arrays.windows(),
        normalise: arrays.normalise,
        augment: arrays.augment,
        buckets: arrays.buckets,
        leakage: Some(arrays.leakage),
        files: used.into_iter().map(|file| files[file].clone()).collect(),
        ..Assembly::default()
    }
    .build()
}

/// Loads npz files: one array of inputs and, where the task asks for them, one of targets and one of times.
pub(crate) fn load_npz(arrays: &NpzConfig, base_dir: &Path) -> Result<Dataset> {
    let files = list_files(&base_dir.join(&arrays.path), Format::Npz)?;
    let used = files_in_use(&files, &arrays.split)?;
    let mut series = Vec::new();
    let mut widths = None;
    for &file in &used {
        let path = &files[file];
        let all = npz::read(path)?;
        let x = npz::find(path, &all, &arrays.x)?;
        let y = match &arrays.y {
            Some(name) => npz::find(path, &all, name)?,
            None => x.clone(),
        };
        let times = arrays.t.as_ref().map(|name| npz::find(path, &all, name));
        let block = Block::new(path, x, y, times.transpose()?)?;
        let found = (block.features, block.targets);
        check_width(path, found.0, widths.get_or_insert(found).0)?;
        check_width(path, found.1, widths.get_or_insert(found).1)?;
        series.extend(block.series(path, file)?);
    }
    let (features, targets) = widths.unwrap_or((0, 0));
    let classes = match arrays.task.is_classification() {
        true if targets != 1 => {
            let reason = format!(
                "array `{}` has {targets} values a step: a class is one",
                arrays.y.as_deref().unwrap_or_default()
            );
            return Err(config("task", &reason));
        }
        true => number_classes(arrays.y.as_deref().unwrap_or_default(), &mut series)?,
        false => Vec::new(),
    };
    let features = numbered("x", features);
    let targets = match &arrays.y {
        Some(_) => numbered("y", targets),
        None => features.clone(),
    };
    Assembly {
        parts: split(
            series,
            &files,
            &arrays.split,
            arrays.t.as_ref().map(|_| TimeUnit::Second),
        )?,
        features,
        targets,
        task: arrays.task.clone(),
        classes,
        windows: arrays.windows(),
        normalise: arrays.normalise,
        augment: arrays.augment,
        buckets: arrays.buckets,
        leakage: Some(arrays.leakage),
        sampling: arrays.sampling,
        time: arrays
            .t
            .as_ref()
            .map(|name| TimePlan::new(name, TimeUnit::Second)),
        files: used.into_iter().map(|file| files[file].clone()).collect(),
        ..Assembly::default()
    }
    .build()
}

/// Loads IDX files of images: an image is a series, its rows are the steps, its label is the class.
pub(crate) fn load_idx(arrays: &IdxConfig, base_dir: &Path) -> Result<Dataset> {
    let read = |images: &Path, labels: &Path, name: &str| {
        labelled_images(
            &base_dir.join(images),
            &base_dir.join(labels),
            arrays.divisor,
            name,
        )
    };
    let mut train = read(&arrays.images, &arrays.labels, "train")?;
    let mut test = match (&arrays.test_images, &arrays.test_labels) {
        (Some(images), Some(labels)) => read(images, labels, "test")?,
        _ => Vec::new(),
    };
    let width = train.first().map_or(0, |one| one.features.len() / one.rows);
    let classes = {
        let mut all: Vec<RawSeries> = train.drain(..).chain(test.drain(..)).collect();
        let classes = number_classes("label", &mut all)?;
        let is_train = |one: &RawSeries| one.file == 0;
        (train, test) = all.into_iter().partition(is_train);
        classes
    };
    let kept = train.len() - (train.len() as f64 * arrays.validation) as usize;
    let validation = train.split_off(kept);
    let paths = [
        Some(&arrays.images),
        Some(&arrays.labels),
        arrays.test_images.as_ref(),
        arrays.test_labels.as_ref(),
    ];
    Assembly {
        parts: Parts {
            train,
            validation,
            test,
            ..Parts::default()
        },
        features: numbered("x", width),
        targets: vec!["label".to_owned()],
        task: TaskConfig::LabelLastStep,
        classes,
        normalise: arrays.normalise,
        files: paths
            .into_iter()
            .flatten()
            .map(|path| base_dir.join(path))
            .collect(),
        ..Assembly::default()
    }
    .build()
}

/// Images `[N, rows, columns]` with labels `[N]` as one series each; `file` is 0 for the part called `train`, else 1.
pub(crate) fn labelled_images(
    images: &Path,
    labels: &Path,
    divisor: f32,
    part: &str,
) -> Result<Vec<RawSeries>> {
    let pictures = idx::read(images)?;
    let classes = idx::read(labels)?;
    let malformed = |path: &Path, reason| Error::Malformed {
        path: path.to_path_buf(),
        format: "IDX",
        reason,
    };
    let [count, rows, columns] = *pictures.shape.as_slice() else {
        let reason = format!(
            "shape {:?} is no list of images: expected [count, rows, columns]",
            pictures.shape
        );
        return Err(malformed(images, reason));
    };
    if classes.shape != [count] {
        let reason = format!(
            "shape {:?} is not one label for each of {count} images: expected shape [{count}]",
            classes.shape
        );
        return Err(malformed(labels, reason));
    }
    if count * rows * columns == 0 {
        return Err(Error::EmptyFile {
            path: images.to_path_buf(),
        });
    }
    check_finite(images, &pictures.values, columns, "x")?;
    check_finite(labels, &classes.values, 1, "label")?;
    let series = |(index, (image, label)): (usize, (&[f32], &f32))| RawSeries {
        name: format!("{part}-{index}"),
        file: usize::from(part != "train"),
        rows,
        features: image.iter().map(|value| value / divisor).collect(),
        targets: vec![*label; rows],
        ..RawSeries::default()
    };
    let images = pictures.values.chunks_exact(rows * columns);
    Ok(images
        .zip(&classes.values)
        .enumerate()
        .map(series)
        .collect())
}

/// Names of columns that a file does not name.
pub(crate) fn numbered(letter: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|column| format!("{letter}{column}"))
        .collect()
}

/// Turns targets that are whole numbers into class ids, and names the classes by the numbers.
pub(crate) fn number_classes(column: &str, series: &mut [RawSeries]) -> Result<Vec<String>> {
    let mut values: Vec<f32> = series
        .iter()
        .flat_map(|one| one.targets.iter().copied())
        .collect();
    values.sort_by(f32::total_cmp);
    values.dedup();
    let odd = values.iter().find(|value| value.fract() != 0.0);
    if odd.is_some() || values.len() > 1000 {
        return Err(Error::NotAClass {
            column: column.to_owned(),
            reason: match odd {
                Some(value) => format!("`{value}` is no whole number"),
                None => format!("it has {} different values", values.len()),
            },
        });
    }
    for one in series {
        for target in &mut one.targets {
            *target = values.partition_point(|value| value < target) as f32;
        }
    }
    Ok(values.iter().map(f32::to_string).collect())
}

/// Arrays that belong together: inputs, targets and times of several series of one length.
struct Block {
    count: usize,
    rows: usize,
    features: usize,
    targets: usize,
    x: Vec<f64>,
    y: Vec<f64>,
    /// One value a step of each series, or of all.
    times: Option<Vec<f64>>,
}

impl Block {
    fn new(
        path: &Path,
        x: npy::NpyArray,
        y: npy::NpyArray,
        times: Option<npy::NpyArray>,
    ) -> Result<Self> {
        let malformed = |reason| Error::Malformed {
            path: path.to_path_buf(),
            format: "npz",
            reason,
        };
        let (count, rows, features) = match *x.shape.as_slice() {
            [rows] => (1, rows, 1),
            [rows, features] => (1, rows, features),
            [count, rows, features] => (count, rows, features),
            _ => {
                return Err(malformed(format!(
                    "inputs of shape {:?} are no series",
                    x.shape
                )));
            }
        };
        let steps = count * rows;
        if steps * features == 0 {
            return Err(Error::EmptyFile {
                path: path.to_path_buf(),
            });
        }
        // One target a step, or one a series, which then holds at all its steps.
        let (targets, y) = match y.values.len() {
            values if values % steps == 0 && values > 0 => (values / steps, y.values),
            values if values == count => {
                let repeat = |value: &f64| std::iter::repeat_n(*value, rows);
                (1, y.values.iter().flat_map(repeat).collect())
            }
            values => {
                let reason = format!(
                    "targets of shape {:?} ({values} values) do not fit inputs of shape {:?}: expected some for each step, or one for each series",
                    y.shape, x.shape
                );
                return Err(malformed(reason));
            }
        };
        let times = times.map(|times| match times.values.len() {
            values if values == steps || values == rows => Ok(times.values),
            _ => Err(malformed(format!(
                "times of shape {:?} do not fit inputs of shape {:?}: expected one for each step",
                times.shape, x.shape
            ))),
        });
        Ok(Self {
            count,
            rows,
            features,
            targets,
            x: x.values,
            y,
            times: times.transpose()?,
        })
    }

    fn series(&self, path: &Path, file: usize) -> Result<Vec<RawSeries>> {
        check_finite(path, &self.x, self.features, "x")?;
        check_finite(path, &self.y, self.targets, "y")?;
        check_finite(path, self.times.as_deref().unwrap_or_default(), 1, "t")?;
        let stem = stem(path);
        let single = |values: &[f64]| values.iter().map(|value| *value as f32).collect();
        let one = |index: usize| -> Result<RawSeries> {
            let name = if self.count == 1 {
                stem.clone()
            } else {
                format!("{stem}:{index}")
            };
            let steps = index * self.rows..(index + 1) * self.rows;
            let times = self.times.as_ref().map(|times| {
                if times.len() == self.rows {
                    times.clone()
                } else {
                    times[steps.clone()].to_vec()
                }
            });
            if let Some(row) = times
                .iter()
                .flat_map(|times| times.windows(2))
                .position(|pair| pair[1] < pair[0])
            {
                return Err(Error::TimeBackwards {
                    path: path.to_path_buf(),
                    column: "t".to_owned(),
                    series: name,
                    row: row + 2,
                });
            }
            Ok(RawSeries {
                name,
                file,
                rows: self.rows,
                times,
                features: single(&self.x[steps.start * self.features..steps.end * self.features]),
                targets: single(&self.y[steps.start * self.targets..steps.end * self.targets]),
                ..RawSeries::default()
            })
        };
        (0..self.count).map(one).collect()
    }
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

fn check_finite<T: Copy + Into<f64>>(
    path: &Path,
    values: &[T],
    width: usize,
    letter: &str,
) -> Result<()> {
    let value = |place: usize| -> f64 { values[place].into() };
    // Beyond the range of f32 is infinite.
    let Some(place) = (0..values.len()).find(|place| !(value(*place) as f32).is_finite()) else {
        return Ok(());
    };
    Err(Error::NotFinite {
        path: path.to_path_buf(),
        column: format!("{letter}{}", place % width),
        row: place / width + 1,
        found: if value(place).is_nan() {
            "missing or NaN"
        } else {
            "infinite"
        },
    })
}

/// The series of one array: one for `[T]` and `[T, F]`, several for `[series, T, F]`.
pub(crate) fn npy_series(
    path: &Path,
    file: usize,
    array: &npy::NpyArray,
    width: usize,
) -> Result<Vec<RawSeries>> {
    check_finite(path, &array.values, width, "x")?;
    let is_many = array.shape.len() == 3;
    let rows = array.shape[usize::from(is_many)];
    let stem = stem(path);
    let series = |(index, values): (usize, &[f64])| {
        let features: Vec<f32> = values.iter().map(|value| *value as f32).collect();
        RawSeries {
            name: if is_many {
                format!("{stem}:{index}")
            } else {
                stem.clone()
            },
            file,
            rows,
            targets: features.clone(),
            features,
            ..RawSeries::default()
        }
    };
    let values = array.values.chunks_exact(rows * width);
    Ok(values.enumerate().map(series).collect())
}

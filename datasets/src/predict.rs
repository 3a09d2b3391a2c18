//! Reading new files for a trained model: the stored schema says which columns, what scaling, what timespans.

use std::path::Path;

use crate::arrays::npy_series;
use crate::dataset::DataSchema;
use crate::error::{Error, Result};
use crate::readers::{Format, npy, read_frame};
use crate::series::RawSeries;
use crate::table::{InputColumn, SeriesRules, TimeRules, encode, frame_series, kinds_of, pivot};

/// One series of a file, ready to be a model's input.
#[derive(Debug, Clone, PartialEq)]
pub struct InputSeries {
    /// The group's value, or the file's name.
    pub name: String,
    /// Steps, T.
    pub steps: usize,
    /// Scaled inputs `[T, F]`.
    pub x: Vec<f32>,
    /// Scaled timespans `[T]`, where the model was trained with some.
    pub timespans: Option<Vec<f32>>,
    /// The file's times `[T]`, in the schema's unit (for dates: since 1970).
    pub times: Option<Vec<f64>>,
}

impl DataSchema {
    /// Reads every series of a CSV, TSV, Parquet or npy file as inputs of a model trained on this schema; targets are not needed.
    ///
    /// # Errors
    /// As reading for training: absent or malformed files, unknown columns, values that are no finite numbers, time that goes backwards.
    pub fn read(&self, path: &Path, delimiter: char) -> Result<Vec<InputSeries>> {
        let series = match Format::of(path) {
            Format::Npy => self.read_npy(path)?,
            Format::Csv | Format::Parquet | Format::Arrow | Format::Npz => {
                self.read_table(path, delimiter)?
            }
            // What pixels were divided by is no part of a schema.
            Format::Idx => {
                return Err(Error::Malformed {
                    path: path.to_path_buf(),
                    format: "a table or npy",
                    reason: "it holds IDX images: write them as npy [image, row, column], divided as for training"
                        .to_owned(),
                });
            }
        };
        Ok(series.into_iter().map(|one| self.input(one)).collect())
    }

    fn read_table(&self, path: &Path, delimiter: char) -> Result<Vec<RawSeries>> {
        let columns = self.input_columns();
        let time = self.time.as_ref();
        let rules = time.map(TimeRules::of_schema).transpose()?;
        let frame = match (&self.long, time) {
            (Some(long), Some(time)) => {
                let frame = read_frame(path, delimiter, None)?;
                let group = self.group.as_deref();
                pivot(&frame, long, &time.column, group, time.duplicates)?
            }
            _ => {
                let mut wanted: Vec<String> = Vec::new();
                let names = columns.iter().map(|column| &column.column);
                for name in names
                    .chain(time.map(|time| &time.column))
                    .chain(&self.group)
                {
                    if !wanted.contains(name) {
                        wanted.push(name.clone());
                    }
                }
                read_frame(path, delimiter, Some(&wanted))?
            }
        };
        let features = encode(&frame, &columns, self.missing, self.long.is_some())?;
        let kinds = kinds_of(&columns);
        let rules = SeriesRules {
            time: rules,
            group: self.group.as_deref(),
            part: None,
            missing: self.missing,
            kinds: &kinds,
            are_labels: false,
        };
        frame_series(&frame, &features, &[], &rules)
    }

    /// The columns that the features are made of.
    fn input_columns(&self) -> Vec<InputColumn> {
        if !self.columns.is_empty() {
            return self.columns.clone();
        }
        let column = |name: &String| InputColumn {
            column: name.clone(),
            categories: Vec::new(),
        };
        self.features.iter().map(column).collect()
    }

    fn read_npy(&self, path: &Path) -> Result<Vec<RawSeries>> {
        let malformed = |reason| Error::Malformed {
            path: path.to_path_buf(),
            format: "npy",
            reason,
        };
        if let Some(time) = &self.time {
            return Err(malformed(format!(
                "the model needs the time column `{}`: give a table",
                time.column
            )));
        }
        let array = npy::read(path)?;
        let width = if array.shape.len() == 1 {
            1
        } else {
            array.shape[array.shape.len() - 1]
        };
        if width != self.features.len() {
            let expected = self.features.len();
            return Err(malformed(format!(
                "it has {width} columns, the model takes {expected}: {}",
                self.features.join(", ")
            )));
        }
        npy_series(path, 0, &array, width)
    }

    fn input(&self, raw: RawSeries) -> InputSeries {
        let timespans = self
            .time
            .as_ref()
            .zip(raw.times.as_ref())
            .map(|(schema, times)| schema.spans(times, self.horizon));
        let mut x = raw.features;
        self.normaliser.inputs(&mut x);
        InputSeries {
            name: raw.name,
            steps: raw.rows,
            x,
            timespans,
            times: raw.times,
        }
    }
}

//! Reading new files for a trained model: the stored schema says which columns, what scaling, what timespans.

use std::path::Path;

use crate::dataset::DataSchema;
use crate::error::{Error, Result};
use crate::normalise::apply;
use crate::readers::{Format, npy, read_frame};
use crate::series::RawSeries;
use crate::table::{columns_of, frame_series, npy_series};

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
            Format::Csv | Format::Parquet => self.read_table(path, delimiter)?,
        };
        Ok(series.into_iter().map(|one| self.input(one)).collect())
    }

    fn read_table(&self, path: &Path, delimiter: char) -> Result<Vec<RawSeries>> {
        let mut columns = self.features.clone();
        let time = self
            .time
            .as_ref()
            .map(|time| (time.column.as_str(), time.unit));
        for name in time
            .map(|(column, _)| column)
            .into_iter()
            .chain(self.group.as_deref())
        {
            if !columns.iter().any(|known| known == name) {
                columns.push(name.to_owned());
            }
        }
        let frame = read_frame(path, delimiter, Some(&columns))?;
        let features = columns_of(&frame, &self.features)?;
        frame_series(&frame, &features, &[], time, self.group.as_deref())
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
        apply(&mut x, &self.normaliser.features);
        InputSeries {
            name: raw.name,
            steps: raw.rows,
            x,
            timespans,
            times: raw.times,
        }
    }
}

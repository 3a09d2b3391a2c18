//! `metrics.csv` and `metrics.parquet`: one row per log step and split.
//!
//! The rows hold nothing that depends on the clock, so the same run writes the same bytes, resumed or not.

use std::path::Path;

use ncps_core::checkpoint::atomic;
use ncps_core::train::{EpochReport, Metrics, StepReport};
use ncps_datasets::Frame;

use super::directory::{METRICS, METRICS_PARQUET, RunDirectory};
use crate::error::{Error, Result};

/// One row: where in the run, which split, and the values of the columns that follow.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    pub(crate) step: u64,
    /// Epochs done, with the part of the current one.
    pub(crate) epoch: f64,
    pub(crate) split: String,
    pub(crate) learning_rate: Option<f64>,
    pub(crate) gradient_norm: Option<f64>,
    pub(crate) update_ratio: Option<f64>,
    /// In the order of the table's metric columns; `loss` comes first.
    pub(crate) values: Vec<Option<f64>>,
}

/// The rows of one run. While it trains they are on the disk alone, so that a long run takes no more memory than a short one.
#[derive(Debug)]
pub(crate) struct MetricsTable {
    columns: Vec<String>,
    pub(crate) rows: Vec<Row>,
}

const FIXED: [&str; 6] = [
    "step",
    "epoch",
    "split",
    "learning_rate",
    "gradient_norm",
    "update_ratio",
];

impl MetricsTable {
    /// An empty table whose columns are the loss and the named metrics.
    pub(crate) fn new(metrics: &[&str]) -> Self {
        let mut columns = vec!["loss".to_owned()];
        columns.extend(
            metrics
                .iter()
                .filter(|name| **name != "loss")
                .map(|name| (*name).to_owned()),
        );
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Names the loss and the metrics, in the order of [`Row::values`].
    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Takes over the rows up to `step` of a file that an earlier sitting wrote.
    pub(crate) fn recover(&mut self, path: &Path, step: u64) -> Result<()> {
        self.load(path)?;
        // A test row ends a run; a run that goes on gets its own.
        self.rows
            .retain(|row| row.step <= step && row.split != "test");
        Ok(())
    }

    /// Reads all rows of a file; none where it has other columns or is not there.
    pub(crate) fn load(&mut self, path: &Path) -> Result<()> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => {
                return Err(Error::Read {
                    path: path.to_owned(),
                    what: "metrics",
                    source,
                });
            }
        };
        let mut lines = text.lines();
        if lines.next() != Some(self.header().as_str()) {
            return Ok(());
        }
        // A killed process may leave half a line at the end: what does not parse ends the table.
        self.rows = lines.map_while(|line| self.parse(line)).collect();
        Ok(())
    }

    fn header(&self) -> String {
        let names = FIXED
            .iter()
            .copied()
            .chain(self.columns.iter().map(String::as_str));
        names.collect::<Vec<_>>().join(",")
    }

    fn parse(&self, line: &str) -> Option<Row> {
        let cells: Vec<&str> = line.split(',').collect();
        if cells.len() != FIXED.len() + self.columns.len() {
            return None;
        }
        let number = |cell: &str| {
            if cell.is_empty() {
                Some(None)
            } else {
                cell.parse().ok().map(Some)
            }
        };
        Some(Row {
            step: cells[0].parse().ok()?,
            epoch: cells[1].parse().ok()?,
            split: cells[2].to_owned(),
            learning_rate: number(cells[3])?,
            gradient_norm: number(cells[4])?,
            update_ratio: number(cells[5])?,
            values: cells[FIXED.len()..]
                .iter()
                .map(|cell| number(cell))
                .collect::<Option<_>>()?,
        })
    }

    /// The row of a training step, if this step is logged.
    pub(crate) fn step_row(&self, report: &StepReport) -> Option<Row> {
        if !report.is_logged() {
            return None;
        }
        let mut values = vec![None; self.columns.len()];
        values[0] = Some(report.loss);
        Some(Row {
            step: report.step,
            epoch: report.step as f64 / report.steps_per_epoch.max(1) as f64,
            split: "train_step".into(),
            learning_rate: Some(report.learning_rate),
            gradient_norm: report.gradient_norm,
            update_ratio: report.update_ratio,
            values,
        })
    }

    /// The rows of an epoch: the training split's and, if there is one, the validation split's.
    pub(crate) fn epoch_rows(&self, report: &EpochReport) -> Vec<Row> {
        let splits = [
            ("train", Some(&report.train)),
            ("validation", report.validation.as_ref()),
        ];
        let rows = splits
            .into_iter()
            .filter_map(|(split, metrics)| Some((split, metrics?)));
        rows.map(|(split, metrics)| Row {
            learning_rate: (split == "train").then_some(report.learning_rate),
            ..self.final_row(report.step, report.epoch + 1, split, metrics)
        })
        .collect()
    }

    /// The row of one split's metrics.
    pub(crate) fn final_row(&self, step: u64, epochs: u64, split: &str, metrics: &Metrics) -> Row {
        Row {
            step,
            epoch: epochs as f64,
            split: split.to_owned(),
            learning_rate: None,
            gradient_norm: None,
            update_ratio: None,
            values: self
                .columns
                .iter()
                .map(|name| metrics.get(name).copied())
                .collect(),
        }
    }

    /// The whole table as CSV text.
    pub(crate) fn to_csv(&self) -> String {
        let mut text = self.header();
        text.push('\n');
        self.rows
            .iter()
            .for_each(|row| text.push_str(&line_of(row)));
        text
    }

    /// Writes `metrics.parquet`; a value that a row does not have becomes NaN.
    pub(crate) fn write_parquet(&self, directory: &RunDirectory) -> Result<()> {
        let column = |value: &dyn Fn(&Row) -> Option<f64>| -> Vec<f64> {
            self.rows
                .iter()
                .map(|row| value(row).unwrap_or(f64::NAN))
                .collect()
        };
        let mut frame = Frame::new()
            .with_number("step", column(&|row| Some(row.step as f64)))?
            .with_number("epoch", column(&|row| Some(row.epoch)))?
            .with_text(
                "split",
                self.rows.iter().map(|row| row.split.clone()).collect(),
            )?
            .with_number("learning_rate", column(&|row| row.learning_rate))?
            .with_number("gradient_norm", column(&|row| row.gradient_norm))?
            .with_number("update_ratio", column(&|row| row.update_ratio))?;
        for (index, name) in self.columns.iter().enumerate() {
            frame = frame.with_number(
                name,
                column(&|row| row.values.get(index).copied().flatten()),
            )?;
        }
        frame.write(&directory.join(METRICS_PARQUET))?;
        Ok(())
    }

    /// The values of one metric over the epochs of a split.
    pub(crate) fn curve(&self, split: &str, metric: &str) -> Vec<(f64, f64)> {
        let Some(index) = self.columns.iter().position(|name| name == metric) else {
            return Vec::new();
        };
        let rows = self.rows.iter().filter(|row| row.split == split);
        rows.filter_map(|row| Some((row.epoch, row.values.get(index).copied().flatten()?)))
            .collect()
    }
}

/// Appends finished lines to `metrics.csv`, one system call each, so that a killed run loses at most its last line.
#[derive(Debug)]
pub(crate) struct MetricsFile {
    file: std::fs::File,
    path: std::path::PathBuf,
}

impl MetricsFile {
    /// Writes what the table holds, empties it and opens the file for more.
    pub(crate) fn begin(directory: &RunDirectory, table: &mut MetricsTable) -> Result<Self> {
        let path = directory.join(METRICS);
        atomic::write_file(&path, table.to_csv().as_bytes())?;
        table.rows = Vec::new();
        Ok(Self {
            file: open(&path)?,
            path,
        })
    }

    /// Writes the file anew without the rows after a step, which a rollback has made void.
    pub(crate) fn go_back(&mut self, columns: &MetricsTable, step: u64) -> Result<()> {
        let mut table = MetricsTable {
            columns: columns.columns.clone(),
            rows: Vec::new(),
        };
        table.load(&self.path)?;
        table.rows.retain(|row| row.step <= step);
        atomic::write_file(&self.path, table.to_csv().as_bytes())?;
        self.file = open(&self.path)?;
        Ok(())
    }

    pub(crate) fn append(&mut self, rows: &[Row]) -> Result<()> {
        let lines: String = rows.iter().map(line_of).collect();
        Ok(atomic::append(
            &mut self.file,
            &self.path,
            lines.as_bytes(),
        )?)
    }
}

fn open(path: &Path) -> Result<std::fs::File> {
    let file = std::fs::OpenOptions::new().append(true).open(path);
    file.map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })
}

fn line_of(row: &Row) -> String {
    let cell = |value: &Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
    let mut cells = vec![
        row.step.to_string(),
        row.epoch.to_string(),
        row.split.clone(),
    ];
    cells.push(cell(&row.learning_rate));
    cells.push(cell(&row.gradient_norm));
    cells.push(cell(&row.update_ratio));
    cells.extend(row.values.iter().map(cell));
    cells.join(",") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> MetricsTable {
        let mut table = MetricsTable::new(&["loss", "mse"]);
        for step in [2, 4, 6] {
            let metrics = Metrics::from([
                ("loss".into(), 0.1 * step as f64),
                ("mse".into(), 1.0 / step as f64),
            ]);
            let row = table.final_row(step, step / 2, "validation", &metrics);
            table.rows.push(row);
        }
        table
    }

    #[test]
    fn rows_read_back_exactly_and_end_at_the_resumed_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        let written = table();
        // Half a line, as a killed process leaves it.
        std::fs::write(&path, written.to_csv() + "8,4,valid").unwrap();
        let mut read = MetricsTable::new(&["loss", "mse"]);
        read.recover(&path, 4).unwrap();
        assert_eq!(read.rows, written.rows[..2]);
        assert_eq!(read.curve("validation", "mse"), [(1.0, 0.5), (2.0, 0.25)]);
    }

    #[test]
    fn a_table_with_other_columns_is_not_taken_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.csv");
        std::fs::write(&path, table().to_csv()).unwrap();
        let mut other = MetricsTable::new(&["accuracy"]);
        other.recover(&path, 100).unwrap();
        assert!(other.rows.is_empty());
    }
}

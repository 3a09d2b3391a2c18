//! A small column table: what every tabular reader gives and every writer takes.

use std::collections::HashMap;
use std::hash::Hash;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result, nearest};
use crate::time::parse_date_in;

/// One column's values, all of the table's rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Column {
    /// Numbers; NaN where the file has no value.
    Number(Vec<f64>),
    /// Instants in seconds since 1970-01-01 UTC; NaN where the file has no value.
    Instant(Vec<f64>),
    /// Text; `None` where the file has no value.
    Text(Vec<Option<String>>),
    /// A type that we do not use, by its name (lists, binaries and the like).
    Other(String),
}

impl Column {
    /// The values of some rows.
    pub(crate) fn take(&self, rows: &[usize]) -> Self {
        let numbers = |values: &[f64]| rows.iter().map(|&row| values[row]).collect();
        match self {
            Self::Number(values) => Self::Number(numbers(values)),
            Self::Instant(values) => Self::Instant(numbers(values)),
            Self::Text(values) => Self::Text(rows.iter().map(|&row| values[row].clone()).collect()),
            Self::Other(kind) => Self::Other(kind.clone()),
        }
    }

    /// Adds the rows of a column of the same type; one of another type makes the whole unusable.
    pub(crate) fn append(&mut self, more: Self) {
        match (&mut *self, more) {
            (Self::Number(all), Self::Number(more)) | (Self::Instant(all), Self::Instant(more)) => {
                all.extend(more);
            }
            (Self::Text(all), Self::Text(more)) => all.extend(more),
            (Self::Other(_), _) => {}
            _ => *self = Self::Other("values of more than one type".to_owned()),
        }
    }
}

/// Named columns of equal length, read from a file or gathered to be written to one.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Frame {
    path: PathBuf,
    names: Vec<String>,
    columns: Vec<Column>,
    rows: usize,
}

impl Frame {
    /// Makes an empty table to add columns to.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a CSV, TSV, Parquet or npy file, chosen by its ending.
    ///
    /// The columns of an npy array of shape `[T, F]` are named `x0`, `x1`, ...; `delimiter` concerns CSV only.
    ///
    /// # Errors
    /// Any reading error of the format: absent, empty, ragged, truncated or foreign files.
    pub fn read(path: &Path, delimiter: char) -> Result<Self> {
        crate::readers::read_frame(path, delimiter, None)
    }

    pub(crate) fn from_columns(
        path: &Path,
        names: Vec<String>,
        columns: Vec<Column>,
        rows: usize,
    ) -> Self {
        Self {
            path: path.to_path_buf(),
            names,
            columns,
            rows,
        }
    }

    /// Adds a column of numbers.
    ///
    /// # Errors
    /// [`Error::DuplicateColumn`] for a name in use, [`Error::BatchMismatch`] for another number of rows.
    pub fn with_number(self, name: &str, values: Vec<f64>) -> Result<Self> {
        let rows = values.len();
        self.with_column(name, Column::Number(values), rows)
    }

    /// Adds a column of text.
    ///
    /// # Errors
    /// As [`Frame::with_number`].
    pub fn with_text(self, name: &str, values: Vec<String>) -> Result<Self> {
        let rows = values.len();
        let values = values.into_iter().map(Some).collect();
        self.with_column(name, Column::Text(values), rows)
    }

    fn with_column(mut self, name: &str, column: Column, rows: usize) -> Result<Self> {
        if self.names.iter().any(|known| known == name) {
            return Err(Error::DuplicateColumn {
                path: self.path,
                column: name.to_owned(),
            });
        }
        if !self.columns.is_empty() && rows != self.rows {
            let reason = format!("column `{name}` has {rows} rows, the table {}", self.rows);
            return Err(Error::BatchMismatch { reason });
        }
        self.rows = rows;
        self.names.push(name.to_owned());
        self.columns.push(column);
        Ok(self)
    }

    /// Writes the table as `.csv`, `.tsv`, `.parquet` or `.npy` (numbers only, f32 `[rows, columns]`), whole or not at all.
    ///
    /// # Errors
    /// [`Error::Config`] for another ending, [`Error::Write`] from the file system, [`Error::NotANumber`] for text in npy.
    pub fn write(&self, path: &Path) -> Result<()> {
        crate::write::write_frame(self, path)
    }

    /// The column names in file order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The file that the table came from; empty for one made in memory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn columns(&self) -> impl Iterator<Item = (&String, &Column)> {
        self.names.iter().zip(&self.columns)
    }

    pub(crate) fn column(&self, name: &str) -> Result<&Column> {
        let found = self.names.iter().position(|known| known == name);
        found
            .map(|index| &self.columns[index])
            .ok_or_else(|| unknown_column(&self.path, name, &self.names))
    }

    /// A column as numbers, with NaN where there is no value.
    ///
    /// # Errors
    /// [`Error::UnknownColumn`], or [`Error::NotANumber`] with the first row that holds something else.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        self.number_slice(name).map(<[f64]>::to_vec)
    }

    /// As [`Frame::numbers`], where they lie.
    pub(crate) fn number_slice(&self, name: &str) -> Result<&[f64]> {
        match self.column(name)? {
            Column::Number(values) => Ok(values),
            Column::Text(values) => Err(self.first_text(name, values)),
            Column::Instant(_) => Err(self.not_a_number(name, 1, "a date")),
            Column::Other(kind) => Err(self.not_a_number(name, 1, kind)),
        }
    }

    /// A column as numbers that are all there and finite.
    pub(crate) fn finite_numbers(&self, name: &str) -> Result<Vec<f64>> {
        let values = self.numbers(name)?;
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(values),
            Some(row) => Err(self.not_finite(name, row, values[row])),
        }
    }

    /// A column as numbers of its different values, in the order in which they first appear, and these values as of [`Frame::keys`].
    pub(crate) fn codes(&self, name: &str) -> Result<(Vec<u32>, Vec<String>)> {
        let missing = |row| self.not_finite(name, row, f64::NAN);
        match self.column(name)? {
            Column::Number(values) | Column::Instant(values) => {
                match values.iter().position(|value| value.is_nan()) {
                    Some(row) => Err(missing(row)),
                    None => Ok(coded(values.iter().map(|value| value.to_bits()), |bits| {
                        f64::from_bits(bits).to_string()
                    })),
                }
            }
            Column::Text(values) => match values.iter().position(Option::is_none) {
                Some(row) => Err(missing(row)),
                None => Ok(coded(values.iter().flatten(), String::clone)),
            },
            Column::Other(kind) => Err(self.not_a_number(name, 1, kind)),
        }
    }

    /// A column as text, numbers printed in the shortest form that reads back.
    pub(crate) fn keys(&self, name: &str) -> Result<Vec<String>> {
        let missing = |row| self.not_finite(name, row, f64::NAN);
        match self.column(name)? {
            Column::Number(values) | Column::Instant(values) => values
                .iter()
                .enumerate()
                .map(|(row, value)| {
                    if value.is_nan() {
                        Err(missing(row))
                    } else {
                        Ok(value.to_string())
                    }
                })
                .collect(),
            Column::Text(values) => values
                .iter()
                .enumerate()
                .map(|(row, value)| value.clone().ok_or_else(|| missing(row)))
                .collect(),
            Column::Other(kind) => Err(self.not_a_number(name, 1, kind)),
        }
    }

    /// A time column as numbers: dates in seconds since 1970, numbers as they are.
    ///
    /// # Errors
    /// [`Error::UnknownColumn`], [`Error::InvalidTime`] or [`Error::NotFinite`] with the row.
    pub fn elapsed(&self, name: &str) -> Result<Vec<f64>> {
        Ok(self.times(name)?.0)
    }

    /// The rows of one series: those with `value` in the column `group`, or with its first value; without a group, all.
    ///
    /// # Errors
    /// [`Error::UnknownColumn`] for the column, [`Error::Config`] for a value that it does not have.
    pub fn rows_of(&self, group: Option<&str>, value: Option<&str>) -> Result<Vec<usize>> {
        let Some(group) = group else {
            return Ok((0..self.rows).collect());
        };
        let keys = self.keys(group)?;
        let wanted = value
            .or(keys.first().map(String::as_str))
            .unwrap_or_default();
        let rows: Vec<usize> = (0..self.rows).filter(|&row| keys[row] == wanted).collect();
        if rows.is_empty() {
            let reason = format!("column `{group}` has no value `{wanted}`");
            return Err(crate::config::config("group", &reason));
        }
        Ok(rows)
    }

    /// A column as text, `None` where there is no value.
    pub(crate) fn keys_or_none(&self, name: &str) -> Result<Vec<Option<String>>> {
        match self.column(name)? {
            Column::Number(values) | Column::Instant(values) => {
                let text = |value: &f64| (!value.is_nan()).then(|| value.to_string());
                Ok(values.iter().map(text).collect())
            }
            Column::Text(values) => Ok(values.clone()),
            Column::Other(kind) => Err(self.not_a_number(name, 1, kind)),
        }
    }

    /// A column as numbers, finite or NaN.
    pub(crate) fn numbers_or_nan(&self, name: &str) -> Result<Vec<f64>> {
        let values = self.numbers(name)?;
        match values.iter().position(|value| value.is_infinite()) {
            None => Ok(values),
            Some(row) => Err(self.not_finite(name, row, values[row])),
        }
    }

    /// The named columns in the order of the names.
    pub(crate) fn select(mut self, names: &[String]) -> Result<Self> {
        let mut columns = Vec::with_capacity(names.len());
        for name in names {
            let place = self.names.iter().position(|known| known == name);
            let place = place.ok_or_else(|| unknown_column(&self.path, name, &self.names))?;
            let empty = Column::Number(Vec::new());
            columns.push(std::mem::replace(&mut self.columns[place], empty));
        }
        self.names = names.to_vec();
        self.columns = columns;
        Ok(self)
    }

    /// A table of some columns and rows.
    pub(crate) fn take<'a>(
        &self,
        names: impl Iterator<Item = &'a str>,
        rows: &[usize],
    ) -> Result<Self> {
        let mut taken = Self {
            path: self.path.clone(),
            rows: rows.len(),
            ..Self::default()
        };
        for name in names {
            taken.push(name, self.column(name)?.take(rows))?;
        }
        Ok(taken)
    }

    /// Adds a column of the table's length.
    pub(crate) fn push(&mut self, name: &str, column: Column) -> Result<()> {
        if self.names.iter().any(|known| known == name) {
            return Err(Error::DuplicateColumn {
                path: self.path.clone(),
                column: name.to_owned(),
            });
        }
        self.names.push(name.to_owned());
        self.columns.push(column);
        Ok(())
    }

    /// A time column: its values, and whether they are seconds (dates) or in the column's own unit (numbers).
    pub(crate) fn times(&self, name: &str) -> Result<(Vec<f64>, bool)> {
        self.times_in(name, 0.0)
    }

    /// As [`Frame::times`], with the offset in seconds of written dates that state no zone.
    pub(crate) fn times_in(&self, name: &str, offset: f64) -> Result<(Vec<f64>, bool)> {
        match self.column(name)? {
            Column::Number(_) => Ok((self.finite_numbers(name)?, false)),
            Column::Instant(values) => match values.iter().position(|value| !value.is_finite()) {
                None => Ok((values.clone(), true)),
                Some(row) => Err(self.not_finite(name, row, values[row])),
            },
            Column::Text(values) => {
                let dates: Result<Vec<f64>> = values
                    .iter()
                    .enumerate()
                    .map(|(row, value)| {
                        self.date(name, row, value.as_deref().unwrap_or(""), offset)
                    })
                    .collect();
                Ok((dates?, true))
            }
            Column::Other(kind) => Err(self.invalid_time(name, 0, kind)),
        }
    }

    fn date(&self, name: &str, row: usize, text: &str, offset: f64) -> Result<f64> {
        parse_date_in(text, offset).ok_or_else(|| self.invalid_time(name, row, text))
    }

    fn invalid_time(&self, name: &str, row: usize, value: &str) -> Error {
        Error::InvalidTime {
            path: self.path.clone(),
            column: name.to_owned(),
            row: row + 1,
            value: value.to_owned(),
        }
    }

    fn first_text(&self, name: &str, values: &[Option<String>]) -> Error {
        let is_text = |value: &Option<String>| {
            value
                .as_deref()
                .is_some_and(|text| text.trim().parse::<f64>().is_err())
        };
        let row = values.iter().position(is_text).unwrap_or(0);
        let value = values.get(row).and_then(Option::as_deref).unwrap_or("");
        self.not_a_number(name, row + 1, value)
    }

    fn not_a_number(&self, name: &str, row: usize, value: &str) -> Error {
        Error::NotANumber {
            path: self.path.clone(),
            column: name.to_owned(),
            row,
            value: value.to_owned(),
        }
    }

    fn not_finite(&self, name: &str, row: usize, value: f64) -> Error {
        let found = if value.is_infinite() {
            "infinite"
        } else {
            "missing or NaN"
        };
        Error::NotFinite {
            path: self.path.clone(),
            column: name.to_owned(),
            row: row + 1,
            found,
        }
    }
}

/// Numbers the different values in the order in which they first appear, and names them.
fn coded<T: Copy + Eq + Hash>(
    values: impl Iterator<Item = T>,
    name: impl Fn(T) -> String,
) -> (Vec<u32>, Vec<String>) {
    let mut known: HashMap<T, u32> = HashMap::new();
    let mut names = Vec::new();
    // Rows of one series mostly stand together.
    let mut last: Option<(T, u32)> = None;
    let codes = values.map(|value| {
        if let Some((_, code)) = last.filter(|(before, _)| *before == value) {
            return code;
        }
        let code = *known.entry(value).or_insert_with(|| {
            names.push(name(value));
            names.len() as u32 - 1
        });
        last = Some((value, code));
        code
    });
    (codes.collect(), names)
}

/// The error for a column that is not there, with the nearest name that is.
pub(crate) fn unknown_column(path: &Path, name: &str, available: &[String]) -> Error {
    Error::UnknownColumn {
        path: path.to_path_buf(),
        column: name.to_owned(),
        nearest: nearest(name, available.iter()),
        available: available.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_must_agree_in_length_and_differ_in_name() {
        let frame = Frame::new().with_number("a", vec![1.0, 2.0]).unwrap();
        let longer = frame.clone().with_number("b", vec![1.0]);
        assert!(matches!(longer, Err(Error::BatchMismatch { .. })));
        let twice = frame.with_text("a", vec!["x".into(), "y".into()]);
        assert!(matches!(twice, Err(Error::DuplicateColumn { column, .. }) if column == "a"));
    }

    #[test]
    fn text_among_numbers_is_named_by_row() {
        let text = ["1", "two", "3"].map(String::from).to_vec();
        let frame = Frame::new().with_text("a", text).unwrap();
        let error = frame.numbers("a").unwrap_err();
        assert!(matches!(error, Error::NotANumber { row: 2, ref value, .. } if value == "two"));
    }

    #[test]
    fn a_missing_number_is_named_by_row() {
        let frame = Frame::new().with_number("a", vec![1.0, f64::NAN]).unwrap();
        let error = frame.finite_numbers("a").unwrap_err();
        assert!(matches!(
            error,
            Error::NotFinite {
                row: 2,
                found: "missing or NaN",
                ..
            }
        ));
    }
}

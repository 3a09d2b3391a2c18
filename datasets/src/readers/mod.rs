//! Readers of single files and of folders of files.

pub(crate) mod csv;
pub(crate) mod npy;
pub(crate) mod parquet;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::frame::{Column, Frame};

/// File formats that tables come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    Parquet,
    Npy,
}

impl Format {
    /// Endings that a folder is searched for.
    pub(crate) fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Csv => &["csv", "tsv", "txt"],
            Self::Parquet => &["parquet"],
            Self::Npy => &["npy"],
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Npy => "npy",
        }
    }

    /// The format that a file's ending names; text without a known ending is taken for CSV.
    pub(crate) fn of(path: &Path) -> Self {
        match extension(path).as_str() {
            "parquet" | "pq" => Self::Parquet,
            "npy" => Self::Npy,
            _ => Self::Csv,
        }
    }
}

/// Reads one file as a table, all columns or the named ones.
pub(crate) fn read_frame(
    path: &Path,
    delimiter: char,
    columns: Option<&[String]>,
) -> Result<Frame> {
    match Format::of(path) {
        Format::Csv => csv::read(path, delimiter_for(path, delimiter), columns),
        Format::Parquet => parquet::read(path, columns),
        Format::Npy => npy::read(path).and_then(|array| array_frame(path, &array)),
    }
}

/// A `.tsv` file is split at tabs unless another delimiter than the comma was asked for.
pub(crate) fn delimiter_for(path: &Path, delimiter: char) -> char {
    if extension(path) == "tsv" && delimiter == ',' {
        '\t'
    } else {
        delimiter
    }
}

/// An array of numbers as a table with columns `x0`, `x1`, ...
pub(crate) fn array_frame(path: &Path, array: &npy::NpyArray) -> Result<Frame> {
    let [rows, width] = array.table_shape(path)?;
    let columns = (0..width)
        .map(|column| {
            array
                .values
                .iter()
                .skip(column)
                .step_by(width)
                .copied()
                .collect()
        })
        .map(Column::Number)
        .collect();
    let names = (0..width).map(|column| format!("x{column}")).collect();
    Ok(Frame::from_columns(path, names, columns, rows))
}

/// The files that a configured path stands for, sorted by name: the file itself, or those in the folder.
pub(crate) fn list_files(path: &Path, format: Format) -> Result<Vec<PathBuf>> {
    let metadata = std::fs::metadata(path).map_err(|source| Error::read(path, source))?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let entries = std::fs::read_dir(path).map_err(|source| Error::read(path, source))?;
    let mut files = Vec::new();
    for entry in entries {
        let file = entry.map_err(|source| Error::read(path, source))?.path();
        let is_wanted = format.extensions().contains(&extension(&file).as_str());
        if is_wanted && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        let extension = format.extensions().join("`, `.");
        return Err(Error::NoFiles {
            path: path.to_path_buf(),
            extension,
        });
    }
    files.sort();
    Ok(files)
}

fn extension(path: &Path) -> String {
    path.extension()
        .map(|ending| ending.to_string_lossy().to_lowercase())
        .unwrap_or_default()
}

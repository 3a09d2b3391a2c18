//! Readers of single files and of folders of files.

pub(crate) mod arrow;
pub(crate) mod csv;
mod csv_values;
pub(crate) mod idx;
pub(crate) mod npy;
pub(crate) mod npz;
pub(crate) mod parquet;
mod parquet_footer;
mod parquet_pages;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::frame::{Column, Frame};

pub(crate) use npy::half_to_f64;

/// File formats that tables come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Csv,
    Parquet,
    Arrow,
    Npy,
    Npz,
    Idx,
}

impl Format {
    /// Endings that a folder is searched for.
    pub(crate) fn extensions(self) -> &'static [&'static str] {
        match self {
            Self::Csv => &["csv", "tsv", "txt"],
            Self::Parquet => &["parquet"],
            Self::Arrow => &["arrow", "feather", "ipc"],
            Self::Npy => &["npy"],
            Self::Npz => &["npz"],
            Self::Idx => &["idx"],
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
            Self::Npy => "npy",
            Self::Npz => "npz",
            Self::Idx => "idx",
        }
    }

    /// The format that a file's ending names; of the others those that begin as IDX files do are IDX, whose published files have
    /// endings of all kinds, and all else is taken for CSV.
    pub(crate) fn of(path: &Path) -> Self {
        match extension(path).as_str() {
            "parquet" | "pq" => Self::Parquet,
            "arrow" | "feather" | "ipc" => Self::Arrow,
            "npy" => Self::Npy,
            "npz" => Self::Npz,
            "csv" | "tsv" | "txt" => Self::Csv,
            _ if idx::shape(path).is_some() => Self::Idx,
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
    read_as(path, Format::of(path), delimiter, columns)
}

/// Reads one file as a table of a format that the config states.
pub(crate) fn read_as(
    path: &Path,
    format: Format,
    delimiter: char,
    columns: Option<&[String]>,
) -> Result<Frame> {
    match format {
        Format::Csv => csv::read(path, delimiter_for(path, delimiter), columns),
        Format::Parquet => parquet::read(path, columns),
        Format::Arrow => arrow::read(path, columns),
        Format::Npy => npy::read(path).and_then(|array| array_frame(path, &array)),
        Format::Npz => npz_frame(path),
        Format::Idx => idx_frame(path),
    }
}

/// A file's content, whole.
///
/// # Errors
/// [`Error::Changed`] if the file was written to while it was read.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let failed = |source| Error::read(path, source);
    let mut file = File::open(path).map_err(failed)?;
    let before = Version::of(path, &file)?;
    let mut bytes = Vec::with_capacity(usize::try_from(before.length).unwrap_or(0));
    file.read_to_end(&mut bytes).map_err(failed)?;
    before.check(path, &file, bytes.len() as u64)?;
    Ok(bytes)
}

/// What tells whether a file was written to: its length and the time of the last write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    length: u64,
    modified: Option<std::time::SystemTime>,
}

impl Version {
    pub(crate) fn of(path: &Path, file: &File) -> Result<Self> {
        let metadata = file
            .metadata()
            .map_err(|source| Error::read(path, source))?;
        Ok(Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
        })
    }

    /// Refuses what was read of a file that has become another one meanwhile.
    pub(crate) fn check(self, path: &Path, file: &File, read: u64) -> Result<()> {
        let is_plain = file.metadata().is_ok_and(|metadata| metadata.is_file());
        if is_plain && (Self::of(path, file)? != self || read != self.length) {
            return Err(Error::Changed {
                path: path.to_path_buf(),
            });
        }
        Ok(())
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

/// The first image of an IDX file as a table: its rows are the steps.
fn idx_frame(path: &Path) -> Result<Frame> {
    let mut array = idx::read(path)?;
    match *array.shape.as_slice() {
        [_, rows, width] => {
            array.values.truncate(rows * width);
            array.shape.remove(0);
        }
        [_] | [_, _] => {}
        _ => {
            return Err(Error::Malformed {
                path: path.to_path_buf(),
                format: "IDX",
                reason: format!("shape {:?} is no list of images", array.shape),
            });
        }
    }
    let array = npy::NpyArray {
        shape: array.shape,
        values: array.values.into_iter().map(f64::from).collect(),
    };
    array_frame(path, &array)
}

/// The arrays of an npz file that are tables of the first one's length, with columns `x0`, `x1`, ..., named after the array.
fn npz_frame(path: &Path) -> Result<Frame> {
    let mut names: Vec<String> = Vec::new();
    let mut columns: Vec<Column> = Vec::new();
    let mut length = None;
    for (name, mut array) in npz::read(path)? {
        // Of several series, the first one stands for all.
        if let [_, rows, width] = *array.shape.as_slice() {
            array.values.truncate(rows * width);
            array.shape.remove(0);
        }
        let [rows, width] = array.table_shape(path)?;
        if rows == *length.get_or_insert(rows) {
            names.extend((0..width).map(|column| format!("{name}{column}")));
            let column = |column| {
                array
                    .values
                    .iter()
                    .skip(column)
                    .step_by(width)
                    .copied()
                    .collect()
            };
            columns.extend((0..width).map(column).map(Column::Number));
        }
    }
    Ok(Frame::from_columns(
        path,
        names,
        columns,
        length.unwrap_or(0),
    ))
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_that_changes_while_it_is_read_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data.csv");
        for (change, read) in [(&b""[..], 8), (b"5,6\n", 8), (b"5,6\n", 12), (b"", 4)] {
            std::fs::write(&path, "a,b\n1,2\n").unwrap();
            let file = File::open(&path).unwrap();
            let before = Version::of(&path, &file).unwrap();
            let mut writer = File::options().append(true).open(&path).unwrap();
            writer.write_all(change).unwrap();
            let checked = before.check(&path, &file, read);
            let Err(error) = checked else {
                assert!(change.is_empty() && read == 8);
                continue;
            };
            let message = error.to_string();
            for words in [
                "data.csv",
                "changed while it was read",
                "wait until its writer is done",
            ] {
                assert!(message.contains(words), "no `{words}` in: {message}");
            }
            assert!(!change.is_empty() || read != 8);
        }
    }
}

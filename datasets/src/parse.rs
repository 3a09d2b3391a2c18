//! The readers as plain functions of bytes, for fuzzing and for data that are in memory already.
//!
//! None of them panics or asks for memory out of proportion, whatever the bytes are.

use std::path::Path;

use crate::archive::zip;
use crate::error::{Error, Result};
use crate::frame::Frame;
use crate::readers::{array_frame, arrow, csv, idx, npy, npz, parquet};

/// What errors call the bytes.
const NAME: &str = "bytes in memory";

/// Reads a CSV text.
///
/// # Errors
/// As [`Frame::read`].
pub fn csv(bytes: &[u8], delimiter: char) -> Result<Frame> {
    csv::parse(Path::new(NAME), bytes, delimiter, None)
}

/// Reads an Arrow IPC file.
///
/// # Errors
/// As [`Frame::read`].
pub fn arrow(bytes: &[u8]) -> Result<Frame> {
    arrow::parse(Path::new(NAME), bytes, None)
}

/// Reads a Parquet file.
///
/// # Errors
/// As [`Frame::read`].
pub fn parquet(bytes: &[u8]) -> Result<Frame> {
    parquet::parse(Path::new(NAME), bytes)
}

/// Reads a npy array of shape `[T]` or `[T, F]`.
///
/// # Errors
/// As [`Frame::read`].
pub fn npy(bytes: &[u8]) -> Result<Frame> {
    array_frame(Path::new(NAME), &npy::parse(Path::new(NAME), bytes)?)
}

/// Reads a npz archive: the names and shapes of its arrays.
///
/// # Errors
/// [`Error::Malformed`] and [`Error::EmptyFile`].
pub fn npz(bytes: &[u8]) -> Result<Vec<(String, Vec<usize>)>> {
    let arrays = npz::parse(Path::new(NAME), bytes)?;
    Ok(arrays
        .into_iter()
        .map(|(name, array)| (name, array.shape))
        .collect())
}

/// Reads an IDX array, gzipped or not: its shape and values.
///
/// # Errors
/// [`Error::Malformed`] and [`Error::EmptyFile`].
pub fn idx(bytes: &[u8]) -> Result<(Vec<usize>, Vec<f32>)> {
    let array = idx::parse(Path::new(NAME), bytes)?;
    Ok((array.shape, array.values))
}

/// Reads a zip archive: the names and sizes of its members, each unpacked and checked.
///
/// # Errors
/// [`Error::Malformed`].
pub fn zip(bytes: &[u8]) -> Result<Vec<(String, usize)>> {
    let malformed = |reason| Error::Malformed {
        path: NAME.into(),
        format: "zip",
        reason,
    };
    let members = zip::members(bytes).map_err(malformed)?;
    let size = |member: zip::Member| {
        Ok((
            member.name.clone(),
            member.read(bytes).map_err(malformed)?.len(),
        ))
    };
    members.into_iter().map(size).collect()
}

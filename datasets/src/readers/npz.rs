//! NumPy's npz archives: one npy member an array.

use std::path::Path;

use super::npy::{self, NpyArray};
use crate::archive::zip;
use crate::error::{Error, Result, nearest};

/// The arrays of an npz file by name, in the archive's order.
pub(crate) fn read(path: &Path) -> Result<Vec<(String, NpyArray)>> {
    parse(path, &super::read_bytes(path)?)
}

/// Reads an npz file held in memory; `path` is what errors call it.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<Vec<(String, NpyArray)>> {
    let malformed = |reason| Error::Malformed {
        path: path.to_path_buf(),
        format: "npz",
        reason,
    };
    if bytes.is_empty() {
        return Err(Error::EmptyFile {
            path: path.to_path_buf(),
        });
    }
    let mut arrays = Vec::new();
    for member in zip::members(bytes).map_err(malformed)? {
        let Some(name) = member.name.strip_suffix(".npy") else {
            continue;
        };
        let content = member.read(bytes).map_err(malformed)?;
        let inner = path.join(&member.name);
        arrays.push((name.to_owned(), npy::parse(&inner, &content)?));
    }
    if arrays.is_empty() {
        return Err(malformed(
            "it holds no array: save some by numpy.savez".to_owned(),
        ));
    }
    Ok(arrays)
}

/// The array of a name.
pub(crate) fn find(path: &Path, arrays: &[(String, NpyArray)], name: &str) -> Result<NpyArray> {
    match arrays.iter().find(|(known, _)| known == name) {
        Some((_, array)) => Ok(array.clone()),
        None => {
            let names: Vec<String> = arrays.iter().map(|(known, _)| known.clone()).collect();
            Err(Error::UnknownColumn {
                path: path.to_path_buf(),
                column: name.to_owned(),
                nearest: nearest(name, names.iter()),
                available: names,
            })
        }
    }
}

//! The stores in a cache folder: what is there, and how it goes.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::store::Store;
use crate::error::{Error, Result};

/// Rows that a streamed load has unpacked and kept.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct KeptRows {
    /// Their folder.
    pub path: PathBuf,
    /// Bytes that it takes.
    pub bytes: u64,
    /// Rows; 0 if the folder is what a process that was killed has left.
    pub rows: u64,
    /// Values of a row.
    pub values: usize,
    /// The series' names, the first few.
    pub series: Vec<String>,
}

/// Series that are named.
const NAMED: usize = 3;

/// Lists what a cache folder keeps; an absent folder keeps nothing.
///
/// # Errors
/// [`Error::Read`] where the folder cannot be read.
pub fn kept_rows(cache: &Path) -> Result<Vec<KeptRows>> {
    let entries = match std::fs::read_dir(cache) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::read(cache, source)),
    };
    let mut kept = Vec::new();
    for entry in entries {
        let path = entry.map_err(|source| Error::read(cache, source))?.path();
        if !path.is_dir() {
            continue;
        }
        // What vanishes meanwhile takes no room.
        let sizes = std::fs::read_dir(&path).into_iter().flatten().flatten();
        let bytes = sizes
            .filter_map(|file| Some(file.metadata().ok()?.len()))
            .sum();
        let index = Store::index_of(&path);
        kept.push(KeptRows {
            bytes,
            rows: index
                .as_ref()
                .map_or(0, |index| index.series.iter().map(|one| one.rows).sum()),
            values: index.as_ref().map_or(0, |index| index.width),
            series: index.map_or_else(Vec::new, |index| {
                let names = index.series.into_iter().take(NAMED);
                names.map(|one| one.name).collect()
            }),
            path,
        });
    }
    kept.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(kept)
}

/// Removes kept rows; a run that reads them goes on where the system keeps open files alive.
///
/// # Errors
/// [`Error::Write`] where the system refuses.
pub fn remove_rows(kept: &KeptRows) -> Result<()> {
    std::fs::remove_dir_all(&kept.path)
        .map_err(|source| super::store::write_error(&kept.path, source))
}

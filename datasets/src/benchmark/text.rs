//! Plain text files of numbers, as old archives have them.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::readers::read_bytes;

/// A text file in memory.
pub(super) struct Text {
    path: PathBuf,
    text: String,
}

impl Text {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = read_bytes(path)?;
        // Some of the old files have a few Latin-1 letters in names that we do not use.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if text.trim().is_empty() {
            return Err(Error::EmptyFile {
                path: path.to_path_buf(),
            });
        }
        Ok(Self {
            path: path.to_path_buf(),
            text,
        })
    }

    /// Lines with something in them, with their numbers from 1.
    pub(super) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        lines
            .map(|(index, line)| (index + 1, line.trim_end()))
            .filter(|(_, line)| !line.is_empty())
    }

    /// A number of a line.
    pub(super) fn number(&self, line: usize, field: &str) -> Result<f64> {
        let number = field.trim().parse::<f64>().ok();
        number
            .filter(|number| number.is_finite())
            .ok_or_else(|| self.malformed(line, &format!("`{field}` is no number")))
    }

    /// Refuses a line of another number of fields.
    pub(super) fn check(&self, line: usize, found: usize, expected: usize) -> Result<()> {
        if found == expected {
            return Ok(());
        }
        Err(Error::RaggedRow {
            path: self.path.clone(),
            row: line,
            found,
            expected,
        })
    }

    pub(super) fn malformed(&self, line: usize, problem: &str) -> Error {
        Error::Malformed {
            path: self.path.clone(),
            format: "text",
            reason: format!("line {line}: {problem}"),
        }
    }
}

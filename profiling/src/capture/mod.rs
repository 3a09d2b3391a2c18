//! Keeping what a machine said, without what says whose it is, so that somebody without that machine
//! can look at it again.
//!
//! A capture is a folder of text files: one folder per answer with `argv`, `stdout`, `stderr` and
//! `status`, the files of the system below `root`, and `capture.json` with what was left out.
//! [`crate::device::Host::replay`] plays it back; [`write_tools`] turns it into programs.

mod recorder;
mod redact;
mod survey;
mod tools;

pub use recorder::{CaptureSummary, Recorder};
pub use redact::Redaction;
pub use survey::survey;
pub use tools::write_tools;

use crate::Error;
use std::path::Path;

/// Version of the form in files.
pub const SCHEMA: &str = "ncps.capture/1";

fn failure(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Recording {
        path: path.to_owned(),
        detail: error.to_string(),
    }
}

#[cfg(test)]
mod tests;

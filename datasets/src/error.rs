//! What can go wrong between a file and a batch, each case with its place and its remedy.

use std::path::PathBuf;

/// Result of this crate's fallible functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Whose fault an [`Error`] is, so that a program can choose its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The configuration asks for something impossible.
    Config,
    /// A file's content cannot be used.
    Data,
    /// The file system refused.
    Io,
}

/// Failure to read, split, window or write data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing exists at the configured path.
    #[error(
        "no file or folder at `{path}`: check the data path in the config, or override it with `--set data.path=...`"
    )]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file of a published benchmark is not there.
    #[error(
        "`{}` is missing: `ncps data get {benchmark}` downloads it where there is a network, and else says what to put there; or name its folder by `--set data.path=...`", .path.display()
    )]
    NoBenchmarkFile {
        /// The benchmark.
        benchmark: &'static str,
        /// Where the file belongs.
        path: PathBuf,
    },
    /// A downloaded file is not the one that it should be.
    #[error(
        "`{path}` has SHA-256 {found}, expected {expected}: remove it and download it again{}", if *is_kept { ", and its .sha256 file too if its publisher has changed it" } else { "" }
    )]
    Checksum {
        /// The file.
        path: PathBuf,
        /// What it should have.
        expected: String,
        /// What it has.
        found: String,
        /// Whether the expectation comes from an earlier download.
        is_kept: bool,
    },
    /// A folder holds no file of the format asked for.
    #[error(
        "no file ending in `.{extension}` in `{path}`: name a folder that has some, or one file"
    )]
    NoFiles {
        /// The folder.
        path: PathBuf,
        /// Endings that were looked for.
        extension: String,
    },
    /// The operating system could not read a file.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The operating system could not write a file.
    #[error("cannot write `{path}`: check free space and permissions")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file was written to while it was read.
    #[error("`{path}` changed while it was read: wait until its writer is done, or copy it first")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Rows of one series lie apart, which a stream cannot bring together.
    #[error(
        "`{path}`: the rows of series `{series}` are not together: sort the file by `data.group`, or set `data.streaming = false`"
    )]
    Scattered {
        /// The file.
        path: PathBuf,
        /// The series.
        series: String,
    },
    /// A row group of a streamed file is too large to be read within bounds.
    #[error(
        "`{path}`: row group {group} has {rows} rows, which take {bytes} bytes, and row groups are read whole: at most {limit} bytes are taken \
         while `data.streaming` is on. Write the file with row groups of {advised} rows (`row_group_size` of pyarrow and polars), or load \
         it into memory"
    )]
    LargeRowGroup {
        /// The file.
        path: PathBuf,
        /// The row group, counted from 1.
        group: usize,
        /// Its rows.
        rows: u64,
        /// Bytes of the columns that are read.
        bytes: u64,
        /// The most that are read.
        limit: u64,
        /// Rows of a group that would do.
        advised: u64,
    },
    /// A file has no data rows.
    #[error("`{path}` is empty: expected a header and at least one row of data")]
    EmptyFile {
        /// The file.
        path: PathBuf,
    },
    /// A file is not what its ending says, or is cut short.
    #[error("cannot read `{path}` as {format}: {reason}{}", remedy(.reason))]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Format that was expected.
        format: &'static str,
        /// What is wrong and, where known, what to do.
        reason: String,
    },
    /// A CSV row has more or fewer fields than the header.
    #[error(
        "`{path}`: data row {row} has {found} fields, the header has {expected}: fix the row, or check `data.delimiter`"
    )]
    RaggedRow {
        /// The file.
        path: PathBuf,
        /// Data row, counted from 1 below the header.
        row: usize,
        /// Fields in that row.
        found: usize,
        /// Fields in the header.
        expected: usize,
    },
    /// Two columns have one name.
    #[error("`{path}`: column `{column}` appears twice: rename or drop one")]
    DuplicateColumn {
        /// The file.
        path: PathBuf,
        /// The repeated name.
        column: String,
    },
    /// A configured column does not exist.
    #[error("`{path}` has no column `{column}`{}; it has: {}", suggestion(.nearest), .available.join(", "))]
    UnknownColumn {
        /// The file.
        path: PathBuf,
        /// The name asked for.
        column: String,
        /// The most similar name that exists.
        nearest: Option<String>,
        /// All names.
        available: Vec<String>,
    },
    /// Text stands where a number is needed.
    #[error(
        "`{path}`: column `{column}`, data row {row}: expected a number, found `{value}`: fix the value or drop the column from the features"
    )]
    NotANumber {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Data row, counted from 1.
        row: usize,
        /// What stands there.
        value: String,
    },
    /// A value is missing, NaN or infinite.
    #[error(
        "`{path}`: column `{column}`, data row {row}: the value is {found}: fill it, remove the row, or say with `data.missing` what stands for missing values"
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Data row, counted from 1.
        row: usize,
        /// `missing or NaN`, or `infinite`.
        found: &'static str,
    },
    /// A time stamp cannot be understood.
    #[error(
        "`{path}`: column `{column}`, data row {row}: `{value}` is no time: expected a number, or a date such as 2015-02-04 17:51:00"
    )]
    InvalidTime {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// Data row, counted from 1.
        row: usize,
        /// What stands there.
        value: String,
    },
    /// Time goes backwards within a series.
    #[error(
        "`{path}`: time column `{column}` goes backwards in series `{series}` at data row {row}: sort the rows by time, or name the column that tells series apart in `data.group`"
    )]
    TimeBackwards {
        /// The file.
        path: PathBuf,
        /// The time column.
        column: String,
        /// The series.
        series: String,
        /// Data row, counted from 1, whose time is before the row above it.
        row: usize,
    },
    /// Two rows of a series have one time, or one channel is observed twice at a time.
    #[error(
        "`{path}`: time column `{column}` has one time twice in `{series}` at data row {row}: remove a row, or set `duplicates` of `data.time` to \"first\", \"last\" or \"mean\""
    )]
    TimeTwice {
        /// The file.
        path: PathBuf,
        /// The time column.
        column: String,
        /// The series or channel.
        series: String,
        /// Data row, counted from 1, that repeats a time.
        row: usize,
    },
    /// A series has no row in the table of static features.
    #[error("`{path}` has no row for series `{series}`: add one, or check `data.statics.key`")]
    NoStatics {
        /// The table of static features.
        path: PathBuf,
        /// The series.
        series: String,
    },
    /// No series is as long as a window.
    #[error(
        "window of {window} steps is longer than the {part} data: its longest series gives {longest} steps; set `data.window` to {longest} or less, or leave it out to use whole series"
    )]
    WindowTooLong {
        /// Steps asked for.
        window: usize,
        /// Steps of the longest series.
        longest: usize,
        /// `training`, `validation` or `test`.
        part: &'static str,
    },
    /// A classification target has a single class in the training part.
    #[error(
        "target `{column}` has the one class `{class}` in the training part: nothing can be learned from it; choose another target or split"
    )]
    OneClass {
        /// The target column.
        column: String,
        /// Its only value.
        class: String,
    },
    /// A label column holds something that is no class.
    #[error(
        "target `{column}` is no class label: {reason}; for a quantity use the task `regression_each_step` or `regression_last_step`"
    )]
    NotAClass {
        /// The target column.
        column: String,
        /// Why not.
        reason: String,
    },
    /// One part of the data is known from another, and that was not to be.
    #[error("{leak}; or set `data.leakage` to \"warn\"")]
    Leak {
        /// What is known from where.
        leak: String,
    },
    /// A split leaves a part without data.
    #[error("the {part} part is empty: {reason}")]
    EmptyPart {
        /// `training`, `validation` or `test`.
        part: &'static str,
        /// Why, and what to do.
        reason: String,
    },
    /// A key of the data configuration has a value that cannot be.
    #[error("`data.{key}`: {reason}")]
    Config {
        /// Key below `[data]`.
        key: &'static str,
        /// What is wrong and what was expected.
        reason: String,
    },
    /// A batch buffer of another set, or a step past the end, was given to `fill`.
    #[error("batch request does not fit: {reason}")]
    BatchMismatch {
        /// What differs.
        reason: String,
    },
}

impl Error {
    /// Says whether the configuration, the data or the file system is at fault.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound { .. } | Self::NoFiles { .. } | Self::NoBenchmarkFile { .. } => {
                ErrorKind::Io
            }
            Self::Read { .. } | Self::Write { .. } | Self::Changed { .. } => ErrorKind::Io,
            Self::UnknownColumn { .. } | Self::WindowTooLong { .. } => ErrorKind::Config,
            Self::EmptyPart { .. } | Self::Config { .. } | Self::Leak { .. } => ErrorKind::Config,
            Self::BatchMismatch { .. } => ErrorKind::Config,
            _ => ErrorKind::Data,
        }
    }

    /// Counts rows from the file's begin, where the reader saw only those behind the first `before`.
    pub(crate) fn behind(mut self, before: usize) -> Self {
        match &mut self {
            Self::RaggedRow { row, .. }
            | Self::NotANumber { row, .. }
            | Self::NotFinite { row, .. }
            | Self::InvalidTime { row, .. }
            | Self::TimeBackwards { row, .. }
            | Self::TimeTwice { row, .. } => *row += before,
            _ => {}
        }
        self
    }

    /// Wraps a read failure; an absent file gets its own variant.
    pub(crate) fn read(path: &std::path::Path, source: std::io::Error) -> Self {
        let path = path.to_path_buf();
        if source.kind() == std::io::ErrorKind::NotFound {
            Self::NotFound { path }
        } else {
            Self::Read { path, source }
        }
    }
}

/// What helps against damage, behind a reason that says nothing of what to do.
fn remedy(reason: &str) -> &'static str {
    const SAID: [&str; 11] = [
        " expected",
        "need the same",
        "close ",
        "copy or download ",
        "double ",
        "pack it ",
        "put ",
        "remove ",
        "save ",
        "use ",
        "write ",
    ];
    if SAID.iter().any(|words| reason.contains(words)) {
        ""
    } else {
        "; copy or download it again"
    }
}

fn suggestion(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map(|name| format!(" (did you mean `{name}`?)"))
        .unwrap_or_default()
}

/// The candidate closest to `name` by edit distance, if it is close enough to be a slip.
pub(crate) fn nearest<'a>(
    name: &str,
    candidates: impl Iterator<Item = &'a String>,
) -> Option<String> {
    let lower = name.to_lowercase();
    candidates
        .map(|candidate| (edit_distance(&lower, &candidate.to_lowercase()), candidate))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= 1 + name.chars().count() / 3)
        .map(|(_, candidate)| candidate.clone())
}

fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edit_distance_counts_single_changes() {
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("same", "same"), 0);
    }

    #[test]
    fn nearest_offers_slips_only() {
        let names = ["Temperature".to_owned(), "Light".to_owned()];
        assert_eq!(
            nearest("temprature", names.iter()).as_deref(),
            Some("Temperature")
        );
        assert_eq!(nearest("pressure", names.iter()), None);
    }
}

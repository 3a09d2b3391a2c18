//! A first look at a file: what its columns hold, how it is sampled, and a config to begin with.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::Result;
use crate::frame::{Column, Frame};
use crate::readers::{Format, list_files, npy, read_frame};

/// More different values than this are not listed as classes.
const MAX_LISTED_CLASSES: usize = 20;
/// Longest window that is proposed.
const PROPOSED_WINDOW: usize = 32;
/// Intervals that differ by less than this share count as regular.
const REGULAR: f64 = 0.05;

/// What a file or folder holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// As given.
    pub path: PathBuf,
    /// `csv`, `parquet` or `npy`.
    pub format: &'static str,
    /// Files found; the columns are those of the first.
    pub files: Vec<PathBuf>,
    /// Rows of the first file.
    pub rows: usize,
    /// Its columns.
    pub columns: Vec<ColumnDescription>,
    /// Spacing of the column that looks like time, if one does.
    pub time: Option<SamplingInterval>,
    /// A `[data]` table to begin with, as TOML.
    pub proposed_config: String,
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ColumnDescription {
    /// Its name.
    pub name: String,
    /// Type of its values.
    pub kind: ColumnKind,
    /// Rows without a value.
    pub missing: usize,
    /// Smallest number.
    pub min: Option<f64>,
    /// Largest number.
    pub max: Option<f64>,
    /// Mean of the numbers.
    pub mean: Option<f64>,
    /// Rows of each value, most frequent first, where there are 2 to 20 different whole numbers or texts.
    pub classes: Option<Vec<ClassCount>>,
}

/// Type of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// Whole numbers.
    Integer,
    /// Numbers.
    Number,
    /// Dates.
    Date,
    /// Text.
    Text,
    /// Something that cannot be used.
    Other,
}

/// How often a value occurs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    /// The value.
    pub value: String,
    /// Rows that hold it.
    pub rows: usize,
}

/// Spacing of a time column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SamplingInterval {
    /// The column.
    pub column: String,
    /// `second` for dates, `column` for numbers, whose unit the file does not tell.
    pub unit: &'static str,
    /// Shortest interval.
    pub min: f64,
    /// Middle interval.
    pub median: f64,
    /// Longest interval.
    pub max: f64,
    /// Whether nearly all intervals equal the median (within 5 %).
    pub is_regular: bool,
    /// Intervals below zero: places where time goes backwards, or where another series begins.
    pub backwards: usize,
}

/// Describes a CSV, TSV, Parquet or npy file, or a folder of one of them.
///
/// # Errors
/// As reading: absent, empty, malformed files.
pub fn describe(path: &Path) -> Result<Description> {
    let format = format_of(path);
    let files = list_files(path, format)?;
    let frame = first_frame(&files[0])?;
    let columns: Vec<ColumnDescription> = frame
        .columns()
        .map(|(name, column)| describe_column(name, column))
        .collect();
    let time = columns.iter().find_map(|column| sampling(&frame, column));
    let mut description = Description {
        path: path.to_path_buf(),
        format: format.name(),
        rows: frame.rows(),
        files,
        columns,
        time,
        proposed_config: String::new(),
    };
    description.proposed_config = propose(&description);
    Ok(description)
}

/// A folder's format is the one that it has most files of.
fn format_of(path: &Path) -> Format {
    if !path.is_dir() {
        return Format::of(path);
    }
    let count = |format: &Format| list_files(path, *format).map_or(0, |files| files.len());
    [Format::Csv, Format::Parquet, Format::Npy]
        .into_iter()
        .max_by_key(count)
        .unwrap_or(Format::Csv)
}

/// The file as a table; of a `[series, time, features]` array, the first series.
fn first_frame(path: &Path) -> Result<Frame> {
    if Format::of(path) != Format::Npy {
        return read_frame(path, ',', None);
    }
    let mut array = npy::read(path)?;
    if let [_, rows, width] = *array.shape.as_slice() {
        array.values.truncate(rows * width);
        array.shape.remove(0);
    }
    crate::readers::array_frame(path, &array)
}

fn describe_column(name: &str, column: &Column) -> ColumnDescription {
    let mut description = ColumnDescription {
        name: name.to_owned(),
        kind: ColumnKind::Other,
        missing: 0,
        min: None,
        max: None,
        mean: None,
        classes: None,
    };
    match column {
        Column::Number(values) => {
            let is_whole = values
                .iter()
                .all(|value| value.is_nan() || value.fract() == 0.0);
            description.kind = if is_whole {
                ColumnKind::Integer
            } else {
                ColumnKind::Number
            };
            describe_numbers(&mut description, values);
            if is_whole {
                description.classes =
                    classes(values.iter().filter(|v| !v.is_nan()).map(f64::to_string));
            }
        }
        Column::Instant(values) => {
            description.kind = ColumnKind::Date;
            describe_numbers(&mut description, values);
        }
        Column::Text(values) => {
            let present = || values.iter().flatten();
            description.missing = values.len() - present().count();
            let is_date = present().count() > 0
                && present().all(|text| crate::time::parse_date(text).is_some());
            description.kind = if is_date {
                ColumnKind::Date
            } else {
                ColumnKind::Text
            };
            description.classes = classes(present().cloned()).filter(|_| !is_date);
        }
        Column::Other(_) => {}
    }
    description
}

fn describe_numbers(description: &mut ColumnDescription, values: &[f64]) {
    let present = || values.iter().copied().filter(|value| !value.is_nan());
    let count = present().count();
    description.missing = values.len() - count;
    if count > 0 {
        description.min = Some(present().fold(f64::INFINITY, f64::min));
        description.max = Some(present().fold(f64::NEG_INFINITY, f64::max));
        description.mean = Some(present().sum::<f64>() / count as f64);
    }
}

fn classes(values: impl Iterator<Item = String>) -> Option<Vec<ClassCount>> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for value in values {
        *counts.entry(value).or_insert(0) += 1;
        if counts.len() > MAX_LISTED_CLASSES {
            return None;
        }
    }
    let mut counts: Vec<ClassCount> = counts
        .into_iter()
        .map(|(value, rows)| ClassCount { value, rows })
        .collect();
    counts.sort_by_key(|class| std::cmp::Reverse(class.rows));
    Some(counts).filter(|counts| counts.len() > 1)
}

/// The spacing of a column of dates, or of numbers with a name that speaks of time.
fn sampling(frame: &Frame, column: &ColumnDescription) -> Option<SamplingInterval> {
    let is_number = matches!(column.kind, ColumnKind::Integer | ColumnKind::Number);
    let is_time = column.kind == ColumnKind::Date || (is_number && speaks_of_time(&column.name));
    let (times, is_seconds) = frame.times(&column.name).ok().filter(|_| is_time)?;
    let mut steps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let backwards = steps.iter().filter(|step| **step < 0.0).count();
    steps.retain(|step| *step >= 0.0);
    if steps.is_empty() {
        return None;
    }
    steps.sort_by(f64::total_cmp);
    let median = steps[steps.len() / 2];
    let regular = steps
        .iter()
        .filter(|step| (**step - median).abs() <= REGULAR * median)
        .count();
    Some(SamplingInterval {
        column: column.name.clone(),
        unit: if is_seconds { "second" } else { "column" },
        min: steps[0],
        median,
        max: steps[steps.len() - 1],
        is_regular: regular * 100 >= steps.len() * 95,
        backwards,
    })
}

fn speaks_of_time(name: &str) -> bool {
    let name = name.to_lowercase();
    let words = [
        "time",
        "timestamp",
        "t",
        "date",
        "datetime",
        "second",
        "seconds",
        "hour",
        "hours",
        "minute",
        "minutes",
        "day",
        "days",
    ];
    name.split(|c: char| !c.is_alphanumeric())
        .any(|part| words.contains(&part))
}

/// Names the roles that the columns seem to have; meant to be read and corrected.
fn propose(description: &Description) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "[data]\nkind = \"{}\"\npath = {}",
        description.format,
        quoted(&description.path.display().to_string())
    );
    if description.format != Format::Npy.name() {
        propose_columns(&mut text, description);
    }
    let window = PROPOSED_WINDOW.min(description.rows / 10).max(1);
    let _ = writeln!(text, "window = {window}\nstride = {}", window.div_ceil(2));
    let by = if description.files.len() >= 10 {
        "series"
    } else {
        "time"
    };
    let _ = writeln!(
        text,
        "split = {{ kind = \"fraction\", validation = 0.15, test = 0.15, by = \"{by}\" }}"
    );
    text
}

fn propose_columns(text: &mut String, description: &Description) {
    let time = description.time.as_ref().map(|time| time.column.as_str());
    let is_usable = |column: &&ColumnDescription| {
        Some(column.name.as_str()) != time
            && column.kind != ColumnKind::Other
            && column.missing == 0
    };
    let usable: Vec<&ColumnDescription> = description.columns.iter().filter(is_usable).collect();
    // The usual place of a label is the last column.
    let label = usable
        .last()
        .filter(|column| column.classes.is_some() && usable.len() > 1);
    let features: Vec<String> = usable
        .iter()
        .filter(|column| matches!(column.kind, ColumnKind::Number | ColumnKind::Integer))
        .filter(|column| {
            label.is_none_or(|label| label.name != column.name)
                && !counts_rows(column, description.rows)
        })
        .map(|column| quoted(&column.name))
        .collect();
    let _ = writeln!(text, "features = [{}]", features.join(", "));
    if let Some(label) = label {
        let _ = writeln!(
            text,
            "targets = [{}]\ntask = {{ kind = \"label_each_step\" }}",
            quoted(&label.name)
        );
    } else {
        let _ = writeln!(text, "task = {{ kind = \"next_step\" }}");
    }
    if let Some(time) = time {
        let _ = writeln!(
            text,
            "time = {{ column = {}, unit = \"second\" }}",
            quoted(time)
        );
    }
}

/// Whether a column merely numbers the rows.
fn counts_rows(column: &ColumnDescription, rows: usize) -> bool {
    let span = column.max.zip(column.min).map(|(max, min)| max - min);
    column.kind == ColumnKind::Integer
        && rows > 2
        && span.is_some_and(|span| (span - (rows - 1) as f64).abs() < 0.5)
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            plain => quoted.push(plain),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DataConfig;

    #[derive(serde::Deserialize)]
    struct Run {
        data: DataConfig,
    }

    fn described(name: &str, text: &str) -> (tempfile::TempDir, Description) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let description = describe(&path).unwrap();
        (folder, description)
    }

    fn sample() -> String {
        let mut text = String::from("no,date,temp,light,on\n");
        for row in 0..100 {
            let (hour, minute) = (row / 60, row % 60);
            text += &format!(
                "{row},2015-02-04 {hour:02}:{minute:02}:00,{}.5,{},{}\n",
                row % 7,
                row % 3 * 100 + row,
                row / 50
            );
        }
        text
    }

    #[test]
    fn columns_are_described() {
        let (_folder, description) = described("t.csv", &sample());
        let kinds: Vec<ColumnKind> = description
            .columns
            .iter()
            .map(|column| column.kind)
            .collect();
        use ColumnKind::{Date, Integer, Number};
        assert_eq!(kinds, [Integer, Date, Number, Integer, Integer]);
        let time = description.time.unwrap();
        assert_eq!(
            (time.column.as_str(), time.is_regular, time.backwards),
            ("date", true, 0)
        );
        assert!((time.median - 60.0).abs() < 1e-9);
        let balance = description.columns[4].classes.as_ref().unwrap();
        assert_eq!(
            balance.iter().map(|class| class.rows).collect::<Vec<_>>(),
            [50, 50]
        );
    }

    #[test]
    fn the_proposed_config_loads_the_file() {
        let (_folder, description) = described("t.csv", &sample());
        let run: Run = toml::from_str(&description.proposed_config).unwrap();
        let dataset = run
            .data
            .load(Path::new("."))
            .err()
            .map(|error| error.to_string());
        // Sorted by time, the label's second value fills validation and test, so a fraction by time sees both in training.
        assert_eq!(dataset, None, "{}", description.proposed_config);
    }

    #[test]
    fn arrays_are_described_too() {
        let folder = tempfile::tempdir().unwrap();
        let frame = Frame::new()
            .with_number("a", (0..40).map(f64::from).collect())
            .unwrap();
        for name in ["a.npy", "b.npy"] {
            frame.write(&folder.path().join(name)).unwrap();
        }
        let description = describe(folder.path()).unwrap();
        assert_eq!(
            (
                description.format,
                description.files.len(),
                description.rows
            ),
            ("npy", 2, 40)
        );
        let run: Run = toml::from_str(&description.proposed_config).unwrap();
        assert_eq!(run.data.load(Path::new(".")).unwrap().inputs(), 1);
    }

    #[test]
    fn quotes_and_control_characters_survive_toml() {
        for text in ["a\"b\\c", "tab\tend", "é"] {
            let parsed: BTreeMap<String, String> =
                toml::from_str(&format!("key = {}", quoted(text))).unwrap();
            assert_eq!(parsed["key"], text);
        }
    }
}

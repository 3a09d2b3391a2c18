//! A first look at a file: what its columns hold, how it is sampled, and a config to begin with.

mod columns;
mod images;
mod propose;
mod sampling;

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::Result;
use crate::frame::Frame;
use crate::readers::csv::likely_delimiter;
use crate::readers::{Format, delimiter_for, list_files, npy, read_frame};

use columns::describe_column;
use propose::propose;
use sampling::sampling;

/// What a file or folder holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Description {
    /// As given.
    pub path: PathBuf,
    /// `csv`, `parquet`, `arrow`, `npy`, `npz` or `idx`.
    pub format: &'static str,
    /// What separates the fields of a text, where it is no comma (and no tab in a file that says so by its ending).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<char>,
    /// Files found; the columns are those of the first.
    pub files: Vec<PathBuf>,
    /// Rows of the first file; of images, the rows of all.
    pub rows: usize,
    /// Number, rows and columns of images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<[usize; 3]>,
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
    /// The most rows without a value one behind another.
    pub longest_gap: usize,
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
    /// Intervals of zero: rows with the time of the row before.
    pub repeated: usize,
    /// The column that tells series apart, where time goes backwards but never within one of its values.
    pub group: Option<String>,
    /// Rows of the shortest series, where a column tells series apart.
    pub shortest_series: Option<usize>,
    /// How many intervals lie where.
    pub histogram: Vec<IntervalBin>,
}

/// A range of intervals between rows and how many fall into it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IntervalBin {
    /// Longer than this.
    pub from: f64,
    /// At most this long.
    pub to: f64,
    /// How many there are.
    pub intervals: usize,
}

/// Describes a CSV, TSV, Parquet, Arrow, npy or npz file, a folder of one of them, or images in IDX files with their labels.
///
/// # Errors
/// As reading: absent, empty, malformed files.
pub fn describe(path: &Path) -> Result<Description> {
    let format = format_of(path);
    if format == Format::Idx {
        return images::describe(path);
    }
    let files = list_files(path, format)?;
    let likely = match format {
        Format::Csv => likely_delimiter(&files[0])?,
        _ => ',',
    };
    let delimiter = Some(likely).filter(|likely| *likely != delimiter_for(&files[0], ','));
    let frame = first_frame(&files[0], delimiter.unwrap_or(','))?;
    let columns: Vec<ColumnDescription> = frame
        .columns()
        .map(|(name, column)| describe_column(name, column))
        .collect();
    let time = columns
        .iter()
        .find_map(|column| sampling(&frame, column, &columns));
    let mut description = Description {
        path: path.to_path_buf(),
        format: format.name(),
        delimiter,
        rows: frame.rows(),
        images: None,
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
    let count = |format: &Format| match format {
        Format::Idx => images::in_folder(path).len(),
        _ => list_files(path, *format).map_or(0, |files| files.len()),
    };
    [
        Format::Csv,
        Format::Parquet,
        Format::Arrow,
        Format::Npy,
        Format::Npz,
        Format::Idx,
    ]
    .into_iter()
    .rev()
    .max_by_key(count)
    .unwrap_or(Format::Csv)
}

/// The file as a table; of a `[series, time, features]` array, the first series.
fn first_frame(path: &Path, delimiter: char) -> Result<Frame> {
    if Format::of(path) != Format::Npy {
        return read_frame(path, delimiter, None);
    }
    let mut array = npy::read(path)?;
    if let [_, rows, width] = *array.shape.as_slice() {
        array.values.truncate(rows * width);
        array.shape.remove(0);
    }
    crate::readers::array_frame(path, &array)
}

#[cfg(test)]
mod tests {
    use super::propose::quoted;
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
    fn groups_gaps_and_categories_are_proposed() {
        let mut text = String::from("id,t,a,sky,b\n");
        for series in ["x", "y", "z"] {
            for row in 0..40 {
                let gap = if row % 9 == 4 {
                    String::new()
                } else {
                    format!("{row}.25")
                };
                let sky = ["clear", "rain"][row % 2];
                text += &format!("{series},{},{gap},{sky},{}.5\n", row + row / 10, row * 2);
            }
        }
        let (_folder, description) = described("t.csv", &text);
        let time = description.time.as_ref().unwrap();
        assert_eq!((time.group.as_deref(), time.backwards), (Some("id"), 0));
        let bins: Vec<usize> = time.histogram.iter().map(|bin| bin.intervals).collect();
        assert_eq!(bins, [3 * 36, 3 * 3]);
        assert_eq!(
            (
                description.columns[2].missing,
                description.columns[2].longest_gap
            ),
            (12, 1)
        );
        let run: Run = toml::from_str(&description.proposed_config).unwrap();
        let dataset = run.data.load(Path::new(".")).unwrap();
        let features = [
            "a",
            "sky=clear",
            "sky=rain",
            "b",
            "a observed",
            "b observed",
        ];
        assert_eq!(dataset.schema.features, features);
        assert_eq!(dataset.schema.group.as_deref(), Some("id"));
    }

    #[test]
    fn another_delimiter_than_the_comma_is_found_and_proposed() {
        let rows: String = (0..60)
            .map(|row| format!("{row}.5;{}\n", row % 9))
            .collect();
        let (_folder, description) = described("t.csv", &format!("\na;b\n{rows}"));
        assert_eq!(
            (description.delimiter, description.columns.len()),
            (Some(';'), 2)
        );
        let run: Run = toml::from_str(&description.proposed_config).unwrap();
        assert!(run.data.load(Path::new(".")).is_ok());
        let (_folder, tabs) = described("t.tsv", "a\tb\n1\t2\n3\t4\n");
        assert_eq!((tabs.delimiter, tabs.columns.len()), (None, 2));
        let (_folder, text) = described("t.txt", "a\tb\n1\t2\n3\t4\n");
        assert_eq!(text.delimiter, Some('\t'));
        let (_folder, comma) = described("t.csv", "a,b;c\n1,2\n3,4\n");
        assert_eq!((comma.delimiter, comma.columns.len()), (None, 2));
    }

    #[test]
    fn a_table_with_one_row_an_observation_is_proposed_as_one() {
        let mut text = "patient,hour,channel,value\n".to_owned();
        for row in 0..300 {
            let (patient, hour) = (row / 60, f64::from(row % 60) * 0.5);
            text += &format!(
                "p{patient},{hour},{},{}.25\n",
                ["hr", "bp"][row as usize % 2],
                row % 7
            );
        }
        let (_folder, description) = described("t.csv", &text);
        let run: Run = toml::from_str(&description.proposed_config).unwrap();
        let schema = run.data.load(Path::new(".")).unwrap().schema;
        assert_eq!(schema.features, ["bp", "hr", "bp observed", "hr observed"]);
        assert_eq!(schema.group.as_deref(), Some("patient"));
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
            let parsed: std::collections::BTreeMap<String, String> =
                toml::from_str(&format!("key = {}", quoted(text))).unwrap();
            assert_eq!(parsed["key"], text);
        }
    }
}

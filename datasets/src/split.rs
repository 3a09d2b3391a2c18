//! Telling training, validation and test part apart.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::config;
use crate::error::{Error, Result};
use crate::random::Random;
use crate::selection::Selection;
use crate::series::RawSeries;
use crate::time::{TimeUnit, parse_date};
use crate::window::{DrawnWindows, Window};

/// How the data is divided into training, validation and test part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum SplitConfig {
    /// By fractions of time, of series or of windows.
    Fraction(FractionSplit),
    /// By file.
    Files(SelectionSplit),
    /// By the values of the `group` column.
    Group(SelectionSplit),
    /// By points in time, the same for all series.
    Time(TimeSplit),
    /// By a column that names the part of each row.
    Column(ColumnSplit),
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self::Fraction(FractionSplit::default())
    }
}

/// Fractions for validation and test; training keeps the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct FractionSplit {
    /// Validation fraction, 0 to 1; 0.15 unless set.
    pub validation: f64,
    /// Test fraction, 0 to 1; 0.15 unless set.
    pub test: f64,
    /// What is divided; time unless set, the only choice that lets no future leak into training.
    pub by: FractionOf,
    /// Seed of the random choice (not used for time).
    pub seed: u64,
}

impl Default for FractionSplit {
    fn default() -> Self {
        Self {
            validation: 0.15,
            test: 0.15,
            by: FractionOf::Time,
            seed: 0,
        }
    }
}

/// What a fraction is taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FractionOf {
    /// Each series is cut in three, in order: training, validation, test.
    #[default]
    Time,
    /// Whole series, drawn at random.
    Series,
    /// Windows, drawn at random; overlapping ones share rows between the parts.
    Window,
}

/// Files or groups for each part; what is named nowhere is not used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SelectionSplit {
    /// Training part.
    pub train: Selection,
    /// Validation part; may be left out if `validation_fraction` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation: Option<Selection>,
    /// Test part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<Selection>,
    /// Fraction of the training windows to validate on instead, drawn at random.
    #[serde(default)]
    pub validation_fraction: f64,
    /// Seed of that draw.
    #[serde(default)]
    pub seed: u64,
}

/// A column whose values say to which part a row belongs; rows with another value are not used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct ColumnSplit {
    /// The column.
    pub column: String,
    /// Its value in training rows; `train` unless set.
    #[serde(default = "train_value")]
    pub train: String,
    /// Its value in validation rows; `validation` unless set.
    #[serde(default = "validation_value")]
    pub validation: String,
    /// Its value in test rows; `test` unless set.
    #[serde(default = "test_value")]
    pub test: String,
}

fn train_value() -> String {
    "train".to_owned()
}

fn validation_value() -> String {
    "validation".to_owned()
}

fn test_value() -> String {
    "test".to_owned()
}

/// Boundaries in time: numbers in the time column's unit, or dates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TimeSplit {
    /// Where training ends and validation begins.
    pub validation: TimePoint,
    /// Where validation ends and test begins.
    pub test: TimePoint,
}

/// A point of a time column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum TimePoint {
    /// A number, in the column's unit.
    Number(f64),
    /// An ISO 8601 date in quotes.
    Date(String),
}

impl SplitConfig {
    pub(crate) fn validate(&self) -> Result<()> {
        match self {
            Self::Fraction(split) => {
                check_fraction("split", split.validation)?;
                check_fraction("split", split.test)?;
                if split.validation + split.test >= 1.0 {
                    return Err(config(
                        "split",
                        "validation and test fraction leave nothing for training: their sum must stay below 1",
                    ));
                }
                Ok(())
            }
            Self::Files(split) | Self::Group(split) => {
                check_fraction("split", split.validation_fraction)?;
                if split.validation.is_some() && split.validation_fraction > 0.0 {
                    return Err(config(
                        "split",
                        "give either `validation` or `validation_fraction`",
                    ));
                }
                Ok(())
            }
            Self::Time(_) => Ok(()),
            Self::Column(split) => {
                let values = [&split.train, &split.validation, &split.test];
                if values[0] == values[1] || values[0] == values[2] || values[1] == values[2] {
                    return Err(config(
                        "split",
                        "the three parts need three different values",
                    ));
                }
                Ok(())
            }
        }
    }
}

fn check_fraction(key: &'static str, fraction: f64) -> Result<()> {
    if (0.0..1.0).contains(&fraction) {
        return Ok(());
    }
    Err(config(
        key,
        &format!("{fraction} is no fraction: expected 0 up to, but without, 1"),
    ))
}

/// The three parts of the data, as whole series or pieces of them.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) train: Vec<RawSeries>,
    pub(crate) validation: Vec<RawSeries>,
    pub(crate) test: Vec<RawSeries>,
    /// Windows to be taken out of the training part afterwards.
    pub(crate) drawn: Option<DrawnWindows>,
    /// Windows over the series of the training part, which then holds all series.
    pub(crate) chosen: Option<Chosen>,
}

/// Windows of each part, in the order of the data.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    pub(crate) train: Vec<Window>,
    pub(crate) validation: Vec<Window>,
    pub(crate) test: Vec<Window>,
}

/// Divides series; `time_unit` is that of their times, `None` for data without a time column.
pub(crate) fn split(
    series: Vec<RawSeries>,
    files: &[PathBuf],
    split: &SplitConfig,
    time_unit: Option<TimeUnit>,
) -> Result<Parts> {
    let first = |one: &RawSeries, point: f64| {
        let times = one.times.as_deref().unwrap_or_default();
        Ok(times.partition_point(|time| *time < point))
    };
    split_with(series, files, split, time_unit, first)
}

/// As [`split`]; `first` finds a series' first row at or after a point in time.
pub(crate) fn split_with(
    series: Vec<RawSeries>,
    files: &[PathBuf],
    split: &SplitConfig,
    time_unit: Option<TimeUnit>,
    first: impl Fn(&RawSeries, f64) -> Result<usize>,
) -> Result<Parts> {
    match split {
        SplitConfig::Fraction(fraction) => by_fraction(series, fraction),
        SplitConfig::Files(selection) => {
            let names: Vec<String> = files.iter().map(|file| file_name(file)).collect();
            by_selection(series, &names, selection, |series| series.file)
        }
        SplitConfig::Group(selection) => {
            let mut names: Vec<String> = series.iter().map(|one| one.name.clone()).collect();
            names.sort();
            names.dedup();
            let places = names.clone();
            by_selection(series, &names, selection, move |series| {
                places.binary_search(&series.name).unwrap_or(usize::MAX)
            })
        }
        SplitConfig::Time(points) => by_time(series, points, time_unit, first),
        SplitConfig::Column(column) => by_column(series, column),
    }
}

/// The files that a split by file uses, each with its place in the sorted list; other splits use all.
pub(crate) fn files_in_use(files: &[PathBuf], split: &SplitConfig) -> Result<Vec<usize>> {
    let SplitConfig::Files(selection) = split else {
        return Ok((0..files.len()).collect());
    };
    let names: Vec<String> = files.iter().map(|file| file_name(file)).collect();
    let part_of = assign(&names, selection)?;
    Ok((0..files.len())
        .filter(|&file| part_of[file].is_some())
        .collect())
}

fn file_name(file: &std::path::Path) -> String {
    file.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

fn by_fraction(series: Vec<RawSeries>, split: &FractionSplit) -> Result<Parts> {
    match split.by {
        FractionOf::Time => Ok(cut_in_time(series, split)),
        FractionOf::Series => draw_series(series, split),
        FractionOf::Window => Ok(Parts {
            train: series,
            drawn: Some(DrawnWindows {
                validation: split.validation,
                test: split.test,
                seed: split.seed,
            }),
            ..Parts::default()
        }),
    }
}

fn cut_in_time(series: Vec<RawSeries>, split: &FractionSplit) -> Parts {
    let mut parts = Parts::default();
    for one in series {
        let share = |fraction: f64| (one.rows as f64 * fraction).round() as usize;
        let test = one.rows - share(split.test);
        let validation = test - share(split.validation).min(test);
        push_cuts(&mut parts, one, validation, test);
    }
    parts
}

/// Gives rows `..validation` to training, `validation..test` to validation, the rest to test.
fn push_cuts(parts: &mut Parts, mut series: RawSeries, validation: usize, test: usize) {
    let later = [
        (validation, test, &mut parts.validation),
        (test, series.rows, &mut parts.test),
    ];
    for (from, to, part) in later {
        if from < to {
            part.push(series.slice(from, to));
        }
    }
    // The training part is mostly the largest, and is not copied.
    series.truncate(validation);
    if series.rows > 0 {
        parts.train.push(series);
    }
}

fn draw_series(series: Vec<RawSeries>, split: &FractionSplit) -> Result<Parts> {
    let count = series.len();
    let share = |fraction: f64| (count as f64 * fraction).round() as usize;
    let (validation, test) = (share(split.validation), share(split.test));
    for (part, fraction, drawn) in [
        ("validation", split.validation, validation),
        ("test", split.test, test),
    ] {
        if fraction > 0.0 && drawn == 0 {
            let reason = format!(
                "{fraction} of {count} series is less than one; use `by = \"time\"` or a larger fraction"
            );
            return Err(Error::EmptyPart { part, reason });
        }
    }
    let mut order: Vec<usize> = (0..count).collect();
    Random::new(split.seed, 0).shuffle(&mut order);
    let mut place = vec![0; count];
    order
        .iter()
        .enumerate()
        .for_each(|(rank, &index)| place[index] = rank);
    let mut parts = Parts::default();
    for (index, one) in series.into_iter().enumerate() {
        match place[index] {
            rank if rank < test => parts.test.push(one),
            rank if rank < test + validation => parts.validation.push(one),
            _ => parts.train.push(one),
        }
    }
    Ok(parts)
}

fn by_time(
    series: Vec<RawSeries>,
    split: &TimeSplit,
    unit: Option<TimeUnit>,
    first: impl Fn(&RawSeries, f64) -> Result<usize>,
) -> Result<Parts> {
    let unit = unit.ok_or_else(|| config("split", "a split by time needs `data.time`"))?;
    let (validation, test) = (split.validation.value(unit)?, split.test.value(unit)?);
    if validation > test {
        return Err(config(
            "split",
            "`validation` begins after `test`: give them in the order of time",
        ));
    }
    let mut parts = Parts::default();
    for one in series {
        let cuts = (first(&one, validation)?, first(&one, test)?);
        push_cuts(&mut parts, one, cuts.0, cuts.1);
    }
    Ok(parts)
}

fn by_column(series: Vec<RawSeries>, split: &ColumnSplit) -> Result<Parts> {
    let mut parts = Parts::default();
    let mut others: Vec<String> = Vec::new();
    for one in series {
        match one.part.clone().unwrap_or_default() {
            part if part == split.train => parts.train.push(one),
            part if part == split.validation => parts.validation.push(one),
            part if part == split.test => parts.test.push(one),
            other if others.contains(&other) => {}
            other => others.push(other),
        }
    }
    if parts.train.is_empty() {
        let reason = format!(
            "no row of column `{}` is `{}`; it has: {}",
            split.column,
            split.train,
            others.join(", ")
        );
        return Err(config("split", &reason));
    }
    Ok(parts)
}

impl TimePoint {
    fn value(&self, unit: TimeUnit) -> Result<f64> {
        match self {
            Self::Number(number) => Ok(*number),
            Self::Date(text) => parse_date(text).map(|seconds| seconds / unit.seconds()).ok_or_else(|| {
                config("split", &format!("`{text}` is no date: expected one such as \"2015-02-04\" or \"2015-02-04 17:51\""))
            }),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Train,
    Validation,
    Test,
}

fn by_selection(
    series: Vec<RawSeries>,
    names: &[String],
    selection: &SelectionSplit,
    place: impl Fn(&RawSeries) -> usize,
) -> Result<Parts> {
    let part_of = assign(names, selection)?;
    let mut parts = Parts::default();
    for one in series {
        match part_of.get(place(&one)).copied().flatten() {
            Some(Part::Train) => parts.train.push(one),
            Some(Part::Validation) => parts.validation.push(one),
            Some(Part::Test) => parts.test.push(one),
            None => {}
        }
    }
    if selection.validation_fraction > 0.0 {
        let (validation, seed) = (selection.validation_fraction, selection.seed);
        parts.drawn = Some(DrawnWindows {
            validation,
            test: 0.0,
            seed,
        });
    }
    Ok(parts)
}

fn assign(names: &[String], split: &SelectionSplit) -> Result<Vec<Option<Part>>> {
    let mut part_of = vec![None; names.len()];
    let selections = [
        (Some(&split.train), Part::Train),
        (split.validation.as_ref(), Part::Validation),
        (split.test.as_ref(), Part::Test),
    ];
    for (selection, part) in selections {
        let Some(selection) = selection else { continue };
        for index in selection.places(names)? {
            if part_of[index].is_some_and(|other| other != part) {
                let reason = format!(
                    "`{}` is in two parts: each file or group belongs to one",
                    names[index]
                );
                return Err(config("split", &reason));
            }
            part_of[index] = Some(part);
        }
    }
    Ok(part_of)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn series(name: &str, file: usize, rows: usize) -> RawSeries {
        let values: Vec<f32> = (0..rows).map(|row| (file * 1000 + row) as f32).collect();
        RawSeries {
            first: 0,
            name: name.to_owned(),
            file,
            part: None,
            rows,
            times: Some((0..rows).map(|row| row as f64).collect()),
            features: values.clone(),
            targets: values,
        }
    }

    fn many(count: usize) -> (Vec<RawSeries>, Vec<PathBuf>) {
        let names: Vec<String> = (0..count).map(|file| format!("f{file:02}.csv")).collect();
        let all = names
            .iter()
            .enumerate()
            .map(|(file, name)| series(name, file, 10))
            .collect();
        (all, names.into_iter().map(PathBuf::from).collect())
    }

    fn values(part: &[RawSeries]) -> Vec<u32> {
        part.iter()
            .flat_map(|one| one.features.iter().map(|value| *value as u32))
            .collect()
    }

    #[test]
    fn files_are_taken_by_name_or_place() {
        let (all, files) = many(6);
        let text = "kind = \"files\"\ntrain = { from = 3, to = 5 }\nvalidation = [\"f00.csv\"]\ntest = { from = 1, to = 3 }";
        let config: SplitConfig = toml::from_str(text).unwrap();
        assert_eq!(files_in_use(&files, &config).unwrap(), [0, 1, 2, 3, 4]);
        let parts = split(all, &files, &config, None).unwrap();
        let names = |part: &[RawSeries]| part.iter().map(|one| one.file).collect::<Vec<_>>();
        assert_eq!(names(&parts.train), [3, 4]);
        assert_eq!(names(&parts.validation), [0]);
        assert_eq!(names(&parts.test), [1, 2]);
    }

    #[test]
    fn a_file_belongs_to_one_part() {
        let (_, files) = many(3);
        let text = "kind = \"files\"\ntrain = [\"f01.csv\"]\ntest = [\"f01.csv\"]";
        let error = files_in_use(&files, &toml::from_str(text).unwrap()).unwrap_err();
        assert!(error.to_string().contains("in two parts"), "{error}");
    }

    #[test]
    fn groups_are_taken_by_value() {
        let all = vec![series("b", 0, 2), series("a", 0, 3), series("c", 0, 4)];
        let text = "kind = \"group\"\ntrain = [\"c\", \"a\"]\ntest = [\"b\"]";
        let parts = split(all, &[], &toml::from_str(text).unwrap(), None).unwrap();
        assert_eq!(parts.train.len(), 2);
        assert_eq!(parts.test[0].name, "b");
    }

    #[test]
    fn time_points_cut_every_series() {
        let text = "kind = \"time\"\nvalidation = 4\ntest = 7.5";
        let parts = split(
            vec![series("a", 0, 10)],
            &[],
            &toml::from_str(text).unwrap(),
            Some(TimeUnit::Second),
        );
        let parts = parts.unwrap();
        assert_eq!(values(&parts.train), [0, 1, 2, 3]);
        assert_eq!(values(&parts.validation), [4, 5, 6, 7]);
        assert_eq!(values(&parts.test), [8, 9]);
        let dates = "kind = \"time\"\nvalidation = \"1970-01-01T00:00:02Z\"\ntest = \"1970-01-01 00:00:03\"";
        let parts = split(
            vec![series("a", 0, 10)],
            &[],
            &toml::from_str(dates).unwrap(),
            Some(TimeUnit::Second),
        );
        assert_eq!(values(&parts.unwrap().train), [0, 1]);
    }

    #[test]
    fn a_time_split_needs_a_time_column() {
        let text = "kind = \"time\"\nvalidation = 1\ntest = 2";
        let error = split(vec![], &[], &toml::from_str(text).unwrap(), None).unwrap_err();
        assert!(error.to_string().contains("data.time"), "{error}");
    }

    #[test]
    fn too_few_series_for_a_fraction_is_an_error() {
        let config = SplitConfig::Fraction(FractionSplit {
            by: FractionOf::Series,
            ..Default::default()
        });
        let error = split(vec![series("a", 0, 5)], &[], &config, None).unwrap_err();
        assert!(matches!(
            error,
            Error::EmptyPart {
                part: "validation",
                ..
            }
        ));
    }

    proptest! {
        #![proptest_config(crate::property::cases(256))]

        #[test]
        fn parts_are_disjoint_and_lose_nothing(
            count in 4usize..30, validation in 0.0..0.45f64, test in 0.0..0.45f64, seed in any::<u64>(), by_series in any::<bool>(),
        ) {
            let (all, files) = many(count);
            let by = if by_series { FractionOf::Series } else { FractionOf::Time };
            let config = SplitConfig::Fraction(FractionSplit { validation, test, by, seed });
            let whole = values(&all);
            // Too small a fraction of the series is an error, tested above.
            let Ok(parts) = split(all, &files, &config, None) else { return Ok(()) };
            let mut found = values(&parts.train);
            found.extend(values(&parts.validation));
            found.extend(values(&parts.test));
            found.sort_unstable();
            prop_assert_eq!(found, whole);
        }
    }
}

//! Which columns play which role, and how they become a model's inputs.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::group::{SeriesRules, TimeRules, frame_series};
use super::labels::Labels;
use super::pivot::pivot;
use super::statics::Statics;
use crate::config::{TableConfig, config};
use crate::error::{Error, Result};
use crate::frame::{Column, Frame};
use crate::missing::{FeatureKind, Missing};
use crate::parallel;
use crate::readers::{Format, read_as};
use crate::series::RawSeries;
use crate::split::SplitConfig;

/// More categories than this are names in disguise.
const MAX_CATEGORIES: usize = 128;

/// A column of a table and how it becomes inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputColumn {
    /// Its name in the file.
    pub column: String,
    /// Values that become one input of 0 and 1 each, sorted; empty for a column of numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
}

/// Which columns play which role.
pub(crate) struct Roles<'a> {
    table: &'a TableConfig,
    format: Format,
    statics: Option<Statics>,
    /// Inputs; empty until the first file has settled what the config leaves open.
    pub(crate) columns: Vec<InputColumn>,
    pub(crate) targets: Vec<String>,
}

impl<'a> Roles<'a> {
    pub(crate) fn new(table: &'a TableConfig, format: Format, base_dir: &Path) -> Result<Self> {
        let statics = table.statics.as_ref();
        let mut roles = Self {
            table,
            format,
            statics: statics
                .map(|statics| Statics::read(statics, base_dir))
                .transpose()?,
            columns: plain(&table.features),
            targets: table.targets.clone(),
        };
        if roles.targets.is_empty() {
            roles.targets.clone_from(&table.features);
        }
        Ok(roles)
    }

    /// Whether all files must be seen before the first can be used.
    pub(crate) fn needs_survey(&self) -> bool {
        !self.table.categorical.is_empty() || self.table.long.is_some()
    }

    /// Reads one file as a wide table with all columns that have a role.
    pub(crate) fn read(&self, path: &Path) -> Result<Frame> {
        let wanted = self.wanted();
        let mut frame = read_as(path, self.format, self.table.delimiter, wanted.as_deref())?;
        if let (Some(long), Some(time)) = (&self.table.long, &self.table.time) {
            let group = self.table.group.as_deref();
            frame = pivot(&frame, long, &time.column, group, time.duplicates)?;
        }
        self.join(frame)
    }

    /// Joins the features of whole series.
    pub(crate) fn join(&self, frame: Frame) -> Result<Frame> {
        match &self.statics {
            Some(statics) => statics.join(frame, self.table.group.as_deref()),
            None => Ok(frame),
        }
    }

    /// The columns to read; `None` for all, where their names are not all known or others are joined.
    pub(crate) fn wanted(&self) -> Option<Vec<String>> {
        if self.columns.is_empty() || self.table.long.is_some() || self.statics.is_some() {
            return None;
        }
        let features = self.columns.iter().map(|column| &column.column);
        let mut wanted: Vec<String> = Vec::new();
        for name in features
            .chain(&self.targets)
            .chain(self.table.time.as_ref().map(|time| &time.column))
            .chain(&self.table.group)
            .chain(part_column(&self.table.split))
        {
            if !wanted.contains(name) {
                wanted.push(name.clone());
            }
        }
        Some(wanted)
    }

    /// Learns channels and categories from all files.
    pub(crate) fn survey(&mut self, frames: &[Frame]) -> Result<()> {
        let mut names: Vec<String> = Vec::new();
        for frame in frames {
            if self.table.features.is_empty() {
                let usable = self.usable(frame);
                names.extend(
                    usable
                        .into_iter()
                        .filter(|name| !names.contains(name))
                        .collect::<Vec<_>>(),
                );
            }
        }
        if self.table.long.is_some() {
            names.sort();
        }
        if self.table.features.is_empty() {
            self.open(names, frames.first())?;
        }
        for column in &mut self.columns {
            if self.table.categorical.contains(&column.column) {
                column.categories = categories(frames, &column.column)?;
            }
        }
        Ok(())
    }

    /// Takes what the config leaves open from the first file.
    pub(crate) fn settle(&mut self, frame: &Frame) -> Result<()> {
        if self.columns.is_empty() {
            self.open(self.usable(frame), Some(frame))?;
        }
        Ok(())
    }

    fn open(&mut self, names: Vec<String>, frame: Option<&Frame>) -> Result<()> {
        if names.is_empty() {
            let path = frame.map(|frame| frame.path().display().to_string());
            let reason = format!(
                "`{}` has no column of numbers without another role: name the features",
                path.unwrap_or_default()
            );
            return Err(Error::Config {
                key: "features",
                reason,
            });
        }
        self.columns = plain(&names);
        if self.targets.is_empty() {
            // A forecast of everything is one of quantities: categories have no next value.
            let is_number = |name: &String| !self.table.categorical.contains(name);
            self.targets = names.into_iter().filter(is_number).collect();
        }
        Ok(())
    }

    /// Columns of numbers, and of categories, that have no other role.
    fn usable(&self, frame: &Frame) -> Vec<String> {
        let outputs = if self.table.task.horizon() > 0 {
            &[]
        } else {
            self.targets.as_slice()
        };
        let time = self.table.time.as_ref().map(|time| &time.column);
        let taken: Vec<&String> = outputs
            .iter()
            .chain(time)
            .chain(&self.table.group)
            .chain(part_column(&self.table.split))
            .collect();
        frame
            .columns()
            .filter(|(name, column)| {
                let is_usable =
                    matches!(column, Column::Number(_)) || self.table.categorical.contains(name);
                is_usable && !taken.contains(name)
            })
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Names and kinds of all features.
    pub(crate) fn features(&self) -> (Vec<String>, Vec<FeatureKind>) {
        let (names, kinds) = encoded(&self.columns);
        self.table.missing.features(&names, &kinds)
    }

    pub(crate) fn series(
        &self,
        frame: &Frame,
        file: usize,
        labels: &mut Labels,
    ) -> Result<Vec<RawSeries>> {
        let table = self.table;
        let channels_may_lack = table.long.is_some();
        let features = encode(frame, &self.columns, table.missing, channels_may_lack)?;
        let targets = if table.task.is_classification() {
            vec![labels.ids(&self.labels(frame)?)]
        } else {
            columns_of(frame, &self.targets, table.missing, channels_may_lack)?
        };
        let (_, kinds) = encoded(&self.columns);
        let rules = SeriesRules {
            time: table.time.as_ref().map(TimeRules::of).transpose()?,
            group: table.group.as_deref(),
            part: part_column(&table.split).map(String::as_str),
            missing: table.missing,
            kinds: &kinds,
            are_labels: table.task.is_classification(),
        };
        let mut series = frame_series(frame, &features, &targets, &rules)?;
        series.iter_mut().for_each(|one| one.file = file);
        Ok(series)
    }

    fn labels(&self, frame: &Frame) -> Result<Vec<Option<String>>> {
        let name = &self.targets[0];
        if self.table.missing.is_error() {
            return Ok(frame.keys(name)?.into_iter().map(Some).collect());
        }
        frame.keys_or_none(name)
    }
}

fn plain(names: &[String]) -> Vec<InputColumn> {
    names.iter().map(|name| InputColumn::plain(name)).collect()
}

impl InputColumn {
    /// A column of numbers.
    pub(crate) fn plain(name: &str) -> Self {
        Self {
            column: name.to_owned(),
            categories: Vec::new(),
        }
    }
}

fn part_column(split: &SplitConfig) -> Option<&String> {
    match split {
        SplitConfig::Column(split) => Some(&split.column),
        _ => None,
    }
}

/// Different values of a column over all files, sorted.
fn categories(frames: &[Frame], name: &str) -> Result<Vec<String>> {
    let mut found = BTreeSet::new();
    for frame in frames {
        found.extend(frame.keys_or_none(name)?.into_iter().flatten());
        if found.len() > MAX_CATEGORIES {
            let reason = format!(
                "column `{name}` has more than {MAX_CATEGORIES} different values: leave it out, or group them"
            );
            return Err(config("categorical", &reason));
        }
    }
    Ok(found.into_iter().collect())
}

/// Names and kinds of the inputs that columns become, before masks.
fn encoded(columns: &[InputColumn]) -> (Vec<String>, Vec<FeatureKind>) {
    let mut names = Vec::new();
    let mut kinds = Vec::new();
    for column in columns {
        if column.categories.is_empty() {
            names.push(column.column.clone());
            kinds.push(FeatureKind::Value);
        }
        for category in &column.categories {
            names.push(format!("{}={category}", column.column));
            kinds.push(FeatureKind::Indicator);
        }
    }
    (names, kinds)
}

/// The kinds of a schema's inputs, before masks.
pub(crate) fn kinds_of(columns: &[InputColumn]) -> Vec<FeatureKind> {
    encoded(columns).1
}

/// The inputs that columns become, before masks: numbers as they are, one column of 0 and 1 for each category.
///
/// A value that is no known category has 0 in all of them. With `may_lack`, a column that is not there is missing throughout.
pub(crate) fn encode(
    frame: &Frame,
    columns: &[InputColumn],
    missing: Missing,
    may_lack: bool,
) -> Result<Vec<Vec<f32>>> {
    let is_plain = |column: &&InputColumn| column.categories.is_empty();
    let names: Vec<String> = columns
        .iter()
        .filter(is_plain)
        .map(|c| c.column.clone())
        .collect();
    let mut plain = columns_of(frame, &names, missing, may_lack)?.into_iter();
    let mut all = Vec::new();
    for column in columns {
        if column.categories.is_empty() {
            all.extend(plain.next());
            continue;
        }
        let keys = if missing.is_error() {
            frame.keys(&column.column)?.into_iter().map(Some).collect()
        } else {
            frame.keys_or_none(&column.column)?
        };
        for category in &column.categories {
            let is_it = |key: &Option<String>| f32::from(u8::from(key.as_ref() == Some(category)));
            all.push(keys.iter().map(is_it).collect());
        }
    }
    Ok(all)
}

/// Columns of numbers in single precision: finite throughout, or with NaN where the policy lets values be missing.
pub(crate) fn columns_of(
    frame: &Frame,
    names: &[String],
    missing: Missing,
    may_lack: bool,
) -> Result<Vec<Vec<f32>>> {
    let column = |name: &String| {
        if may_lack && !missing.is_error() && frame.column(name).is_err() {
            return Ok(vec![f32::NAN; frame.rows()]);
        }
        let values = frame.number_slice(name)?;
        let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
        // Without a way out of the loop it is a few vector instructions.
        if values
            .iter()
            .fold(true, |all, value| all & value.is_finite())
        {
            return Ok(values);
        }
        match missing.is_error() {
            true => frame.finite_numbers(name)?,
            false => frame.numbers_or_nan(name)?,
        };
        match values.iter().position(|value| value.is_infinite()) {
            None => Ok(values),
            Some(row) => Err(Error::NotFinite {
                path: frame.path().to_path_buf(),
                column: name.clone(),
                row: row + 1,
                found: "too large for single precision",
            }),
        }
    };
    parallel::map(names.iter().collect(), column)
        .into_iter()
        .collect()
}

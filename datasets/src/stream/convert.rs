//! From Parquet row groups to a store, one group in memory at a time.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::store::StoreWriter;
use crate::config::TableConfig;
use crate::error::{Error, Result};
use crate::readers::Format;
use crate::readers::parquet::RowGroups;
use crate::series::RawSeries;
use crate::stream::rows::own_targets;
use crate::table::{Labels, Roles};

/// Reads all files and writes their rows to `place`, whole or not at all.
pub(super) fn convert(
    table: &TableConfig,
    files: &[PathBuf],
    used: &[usize],
    base_dir: &Path,
    place: &Path,
    key: &str,
) -> Result<()> {
    let mut conversion = Conversion {
        roles: Roles::new(table, Format::Parquet, base_dir)?,
        labels: Labels::default(),
        table,
        place,
        key,
        writer: None,
        seen: HashSet::new(),
        latest: f64::NEG_INFINITY,
    };
    let read = used
        .iter()
        .try_for_each(|&file| conversion.file(&files[file], file));
    let Some(writer) = conversion.writer else {
        return read;
    };
    match read {
        Ok(()) => {
            let columns = conversion.roles.columns.iter();
            let columns = columns.map(|column| column.column.clone()).collect();
            let labels = conversion.labels.names().to_vec();
            writer.finish(columns, conversion.roles.targets, labels)
        }
        Err(error) => {
            writer.abandon();
            Err(error)
        }
    }
}

struct Conversion<'a> {
    roles: Roles<'a>,
    labels: Labels,
    table: &'a TableConfig,
    place: &'a Path,
    key: &'a str,
    /// Begun with the first rows, which tell how wide they are.
    writer: Option<StoreWriter>,
    /// Files, names and parts of the series that have rows.
    seen: HashSet<(usize, String, Option<String>)>,
    /// Time of the last row.
    latest: f64,
}

impl Conversion<'_> {
    fn file(&mut self, path: &Path, file: usize) -> Result<()> {
        let mut groups = RowGroups::open(path)?;
        while let Some((before, frame)) = groups.next(self.roles.wanted().as_deref())? {
            let frame = self.roles.join(frame)?;
            self.roles.settle(&frame)?;
            let series = self.roles.series(&frame, file, &mut self.labels);
            for one in series.map_err(|error| error.behind(before))? {
                self.add(path, one, before)?;
            }
        }
        Ok(())
    }

    /// Adds rows of one series, which go on where the row group before ended or begin a series.
    fn add(&mut self, path: &Path, one: RawSeries, before: usize) -> Result<()> {
        let (features, _) = self.roles.features();
        let is_classification = self.table.task.is_classification();
        let own = own_targets(&features, &self.roles.targets, is_classification);
        let width = features.len() + own.len();
        let writer = match &mut self.writer {
            Some(writer) => writer,
            empty => empty.insert(StoreWriter::create(
                self.place,
                self.key,
                width,
                one.times.is_some(),
            )?),
        };
        let times = one.times.as_deref();
        let first = times.and_then(<[f64]>::first).copied();
        let is_next = writer.last().is_some_and(|last| {
            last.name == one.name && last.file == one.file && last.part == one.part
        });
        if !is_next {
            let series = (one.file, one.name.clone(), one.part.clone());
            if !self.seen.insert(series) {
                return Err(Error::Scattered {
                    path: path.to_path_buf(),
                    series: one.name,
                });
            }
            writer.begin(one.name.clone(), one.file, one.part.clone());
        } else if first.is_some_and(|first| first < self.latest) {
            return Err(Error::TimeBackwards {
                path: path.to_path_buf(),
                column: self
                    .table
                    .time
                    .as_ref()
                    .map_or_else(String::new, |time| time.column.clone()),
                series: one.name,
                row: before + 1,
            });
        }
        self.latest = times
            .and_then(<[f64]>::last)
            .copied()
            .unwrap_or(self.latest);
        let all = one.targets.len() / one.rows.max(1);
        let mut rows = Vec::with_capacity(one.rows * width);
        for row in 0..one.rows {
            rows.extend_from_slice(&one.features[row * features.len()..(row + 1) * features.len()]);
            let targets = &one.targets[row * all..(row + 1) * all];
            rows.extend(own.iter().map(|&target| targets[target]));
        }
        writer.add(&rows, times)
    }
}

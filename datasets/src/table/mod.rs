//! From tables to raw series: columns picked by role, groups told apart, labels turned into classes.

mod group;
mod horizons;
mod labels;
mod pivot;
mod roles;
mod statics;

use std::path::Path;

use crate::assemble::{Assembly, TimePlan};
use crate::config::TableConfig;
use crate::dataset::Dataset;
use crate::error::Result;
use crate::readers::{Format, list_files};
use crate::split::{files_in_use, split};

pub(crate) use group::{SeriesRules, TimeRules, frame_series, stem};
pub use pivot::LongConfig;
pub(crate) use pivot::pivot;
pub use roles::InputColumn;
pub(crate) use roles::{columns_of, encode, kinds_of};
pub use statics::StaticsConfig;

pub(crate) use horizons::expand;
pub(crate) use labels::{Labels, renumber};
pub(crate) use roles::Roles;

/// Loads tables of a format.
pub(crate) fn load(
    table: &TableConfig,
    format: Format,
    base_dir: &Path,
    cache: Option<&Path>,
) -> Result<Dataset> {
    if table.streaming {
        return crate::stream::load(table, base_dir, cache);
    }
    let files = list_files(&base_dir.join(&table.path), format)?;
    let used = files_in_use(&files, &table.split)?;
    let mut roles = Roles::new(table, format, base_dir)?;
    let mut labels = Labels::default();
    let mut series = Vec::new();
    if roles.needs_survey() {
        // Categories and channels are those of all files, so all are read before the first is used.
        let frames = used
            .iter()
            .map(|&file| roles.read(&files[file]))
            .collect::<Result<Vec<_>>>()?;
        roles.survey(&frames)?;
        for (frame, &file) in frames.iter().zip(&used) {
            series.extend(roles.series(frame, file, &mut labels)?);
        }
    } else {
        for &file in &used {
            let frame = roles.read(&files[file])?;
            roles.settle(&frame)?;
            series.extend(roles.series(&frame, file, &mut labels)?);
        }
    }
    let classes = if table.task.is_classification() {
        let (classes, rank) = labels.finish(&roles.targets[0])?;
        for one in &mut series {
            renumber(&mut one.targets, &rank);
        }
        classes
    } else {
        Vec::new()
    };
    let horizons = table.task.horizons();
    let targets = expand(&mut series, roles.targets.clone(), &horizons);
    let (features, kinds) = roles.features();
    let unit = table.time.as_ref().map(|time| time.unit);
    Assembly {
        parts: split(series, &files, &table.split, unit)?,
        features,
        kinds,
        columns: roles.columns.clone(),
        missing: table.missing,
        long: table.long.clone(),
        targets,
        task: table.task.clone(),
        classes,
        windows: table.windows(),
        normalise: table.normalise,
        time: table.time.as_ref().map(TimePlan::of),
        group: table.group.clone(),
        sampling: table.sampling,
        augment: table.augment,
        buckets: table.buckets,
        leakage: Some(table.leakage),
        files: used.into_iter().map(|file| files[file].clone()).collect(),
    }
    .build()
}

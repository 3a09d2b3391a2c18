//! Tables larger than memory: their rows are unpacked once into a flat file, of which training reads block by block.
//!
//! Parquet gives back whole row groups only, while a window needs a few rows of one. So a first pass reads the row groups one at a
//! time and writes their rows as they are into a [store]; scaling, spans and splits are worked out from there, in passes that hold
//! a chunk of rows each, and give what they give for a table in memory, to the bit.
//!
//! The order of an epoch ([`Reader`]) is fixed by seed and epoch: see there.

mod convert;
mod kept;
mod leftover;
mod reader;
mod rows;
mod store;
mod windows;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

pub use kept::{KeptRows, kept_rows, remove_rows};
pub(crate) use reader::Reader;
pub(crate) use windows::StreamedWindows;

use crate::assemble::{Assembly, TimePlan, check_classes};
use crate::config::{TableConfig, config};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::leak::{Leak, LeakPolicy};
use crate::missing::Missing;
use crate::order::{Duplicates, OutOfOrder};
use crate::readers::{Format, list_files};
use crate::sampling::Sampling;
use crate::series::RawSeries;
use crate::split::{FractionOf, SplitConfig, files_in_use, split_with};
use crate::table::{InputColumn, Labels, expand, kinds_of};
use crate::window::{WindowSet, check_lengths};
use convert::convert;
use rows::{Columns, Piece, RawRows, StreamedRows};
use store::Store;
use windows::{Run, place_runs};

/// Refuses what needs more than a pass over the rows, or all of them at once.
pub(crate) fn check(table: &TableConfig) -> Result<()> {
    let refuse = |key, why: &str| Err(config(key, &format!("{why} while `streaming` is on")));
    if table.window.is_none() {
        return refuse("window", "windows need a length");
    }
    if table.long.is_some() {
        return refuse("long", "a table of observations cannot be read");
    }
    if !table.categorical.is_empty() {
        return refuse("categorical", "categories cannot be collected");
    }
    if matches!(table.missing, Missing::ForwardFill | Missing::MaskDelta) {
        return refuse(
            "missing",
            "values are not carried forward: use \"mean\", \"zero\" or \"mask\"",
        );
    }
    if table.buckets > 1 {
        return refuse("buckets", "windows are of one length");
    }
    if table.sampling == Sampling::Balanced {
        return refuse("sampling", "classes cannot be balanced");
    }
    if let Some(time) = &table.time
        && (time.duplicates != Duplicates::Keep || time.out_of_order != OutOfOrder::Error)
    {
        return refuse(
            "time",
            "rows must be in order and stay as they are: `duplicates = \"keep\"`, `out_of_order = \"error\"`",
        );
    }
    let draws_windows = match &table.split {
        SplitConfig::Fraction(split) => split.by == FractionOf::Window,
        SplitConfig::Files(split) | SplitConfig::Group(split) => split.validation_fraction > 0.0,
        _ => false,
    };
    if draws_windows {
        return refuse(
            "split",
            "windows are not drawn at random: split by time, series, group, file or column",
        );
    }
    Ok(())
}

/// Loads a Parquet table whose rows stay on the disk.
pub(crate) fn load(table: &TableConfig, base_dir: &Path, cache: Option<&Path>) -> Result<Dataset> {
    let files = list_files(&base_dir.join(&table.path), Format::Parquet)?;
    let used = files_in_use(&files, &table.split)?;
    let key = key(table, &files, &used, base_dir)?;
    let store = open(table, &files, &used, base_dir, cache, &key)?;
    let plan = table.time.as_ref().map(TimePlan::of);
    let unit = table.time.as_ref().map(|time| time.unit);

    let index = &store.index;
    let columns: Vec<InputColumn> = index
        .columns
        .iter()
        .map(|name| InputColumn::plain(name))
        .collect();
    let (features, kinds) = table.missing.features(&index.columns, &kinds_of(&columns));
    let is_classification = table.task.is_classification();
    let (classes, rank) = if is_classification {
        Labels::known(index.labels.clone()).finish(&index.targets[0])?
    } else {
        (Vec::new(), Vec::new())
    };
    let horizons = table.task.horizons();
    let layout = Columns::new(
        &features,
        &index.targets,
        is_classification,
        horizons.clone(),
    );
    let mut assembly = Assembly {
        targets: expand(&mut [], index.targets.clone(), &horizons),
        features,
        kinds,
        columns,
        missing: table.missing,
        task: table.task.clone(),
        classes,
        windows: table.windows(),
        normalise: table.normalise,
        time: plan,
        group: table.group.clone(),
        sampling: table.sampling,
        augment: table.augment,
        leakage: Some(table.leakage),
        files: used.iter().map(|&file| files[file].clone()).collect(),
        ..Assembly::default()
    };

    let hollow = index.series.iter().map(|one| RawSeries {
        name: one.name.clone(),
        file: one.file,
        part: one.part.clone(),
        rows: one.rows as usize,
        first: one.first,
        ..RawSeries::default()
    });
    let parts = split_with(
        hollow.collect(),
        &files,
        &table.split,
        unit,
        |one, point| rows::first_at(&store, one, point),
    )?;
    let mut pieces: Vec<Piece> = Vec::new();
    let mut placed: Vec<Vec<Run>> = Vec::new();
    for (part, stride, name) in [
        (parts.train, None, "training"),
        (parts.validation, None, "validation"),
        (parts.test, table.test_stride, "test"),
    ] {
        let horizon = table.task.horizon();
        let steps: Vec<(usize, usize)> = part
            .iter()
            .enumerate()
            .map(|(index, one)| (pieces.len() + index, one.rows.saturating_sub(horizon)))
            .collect();
        check_lengths(&steps, &assembly.windows, name)?;
        placed.push(place_runs(&steps, &assembly.windows, stride));
        pieces.extend(part.into_iter().map(Piece::of));
    }
    if placed[0].is_empty() {
        let reason = "the split leaves no series for it; change `data.split`".to_owned();
        return Err(Error::EmptyPart {
            part: "training",
            reason,
        });
    }

    let raw = RawRows::new(store, pieces, layout, rank, table.task.horizon());
    let time = match assembly.median_ahead() {
        Some(ahead) => assembly.time_schema_of(raw.median_step(&placed[0], ahead)?),
        None => None,
    };
    let normaliser = {
        let mut fitters = assembly.fitters();
        raw.fit(&placed[0], &mut fitters)?;
        assembly.normaliser(fitters, time.as_ref())
    };
    let leaks = leaks(&raw, &placed, table.leakage)?;
    let augment = assembly.augment(&normaliser);
    let length = table.window.unwrap_or(1);
    let has_mask = placed.iter().flatten().any(|run| run.steps < length);
    let layout = assembly.layout_of(length, time.is_some(), has_mask);
    let preparation = assembly.preparation(&normaliser, time.as_ref());
    let rows = Arc::new(StreamedRows::new(raw, preparation));
    let mut sets = placed
        .into_iter()
        .map(|runs| StreamedWindows::new(Arc::clone(&rows), runs))
        .map(|windows| WindowSet::streamed(windows, layout));
    let mut next = || {
        sets.next()
            .ok_or_else(|| config("split", "three parts are expected"))
    };
    let dataset = Dataset {
        train: next()?.for_training(table.sampling, augment, 1),
        validation: next()?,
        test: next()?,
        schema: assembly.schema(normaliser, time),
        files: assembly.files,
        leaks,
    };
    check_classes(&dataset)?;
    Ok(dataset)
}

fn leaks(raw: &RawRows, placed: &[Vec<Run>], policy: LeakPolicy) -> Result<Vec<Leak>> {
    if policy == LeakPolicy::Allow {
        return Ok(Vec::new());
    }
    // Parts are pieces of their own, so rows cannot be shared; whole series can be the same.
    let leaks = raw.same_series(placed)?;
    match leaks.first() {
        Some(leak) if policy == LeakPolicy::Error => Err(Error::Leak {
            leak: leak.to_string(),
        }),
        _ => Ok(leaks),
    }
}

/// The store of a table: the one that is kept, or one made now.
fn open(
    table: &TableConfig,
    files: &[PathBuf],
    used: &[usize],
    base_dir: &Path,
    cache: Option<&Path>,
    key: &str,
) -> Result<Store> {
    let place = match cache {
        Some(cache) => cache.join(&key[..32]),
        None => temporary(),
    };
    let is_temporary = cache.is_none();
    if let Some(cache) = cache {
        leftover::sweep(cache);
    }
    if place.is_dir() {
        match Store::open(&place, key, is_temporary) {
            Ok(store) => return Ok(store),
            Err(why) => tracing::warn!(
                "the unpacked rows in `{}` cannot be used ({why}): they are made again",
                place.display()
            ),
        }
    }
    if let Some(parent) = place.parent() {
        std::fs::create_dir_all(parent).map_err(|source| store::write_error(parent, source))?;
    }
    convert(table, files, used, base_dir, &place, key)?;
    Store::open(&place, key, is_temporary).map_err(|reason| Error::Malformed {
        path: place,
        format: "unpacked rows",
        reason,
    })
}

fn temporary() -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("ncps-rows-{}-{count}", std::process::id()))
}

/// What the unpacked rows depend on, as a SHA-256: the files' names and contents, and those settings that choose and read columns.
fn key(table: &TableConfig, files: &[PathBuf], used: &[usize], base_dir: &Path) -> Result<String> {
    let part = match &table.split {
        SplitConfig::Column(split) => Some(&split.column),
        _ => None,
    };
    let time = table
        .time
        .as_ref()
        .map(|time| (&time.column, time.unit, &time.zone));
    let settings = serde_json::json!({
        "features": table.features,
        "targets": table.targets,
        "missing": table.missing,
        "is_classification": table.task.is_classification(),
        "is_forecast": table.task.horizon() > 0,
        "time": time,
        "group": table.group,
        "part": part,
        "statics": table.statics,
    });
    let mut digest = Sha256::new();
    digest.update(settings.to_string());
    let statics = table
        .statics
        .as_ref()
        .map(|statics| base_dir.join(&statics.path));
    for path in used.iter().map(|&file| &files[file]).chain(&statics) {
        digest.update(path.file_name().unwrap_or_default().as_encoded_bytes());
        digest.update(crate::benchmark::sha256(path)?);
    }
    let bytes = digest.finalize();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

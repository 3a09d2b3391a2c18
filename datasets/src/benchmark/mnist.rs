//! Digits as sequences: row by row, or as the changes between ink and paper.

use std::path::{Path, PathBuf};

use super::{NAMES_OF_DIGITS, file};
use crate::arrays::{labelled_images, numbered};
use crate::assemble::{Assembly, TimePlan};
use crate::config::TaskConfig;
use crate::error::Result;
use crate::normalise::NormaliseConfig;
use crate::series::RawSeries;
use crate::split::Parts;
use crate::time::{Span, TimeUnit};

/// Pixels above this are ink.
const THRESHOLD: f32 = 128.0;
/// More events than this are cut off.
const MOST_EVENTS: usize = 256;

/// Digits of 28 steps of 28 pixels; the last tenth of the training images validates.
pub(super) fn rows(folder: &Path) -> Result<Assembly> {
    let parts = parts(folder, "smnist", 255.0)?;
    let width = parts
        .train
        .first()
        .map_or(28, |one| one.features.len() / one.rows);
    Ok(assembly(parts, numbered("pixel", width)))
}

/// Digits as events: an event at each pixel that differs from the one before it, with its value and the pixels passed since.
pub(super) fn events(folder: &Path) -> Result<Assembly> {
    let mut parts = parts(folder, "event_smnist", 1.0)?;
    for part in [&mut parts.train, &mut parts.validation, &mut parts.test] {
        part.iter_mut().for_each(to_events);
    }
    let mut assembly = assembly(parts, vec!["ink".to_owned()]);
    assembly.time = Some(TimePlan {
        span: Some(Span::SincePrevious),
        scale: Some(MOST_EVENTS as f64),
        // The first pixel is always an event, one pixel after the start.
        edge: Some(1.0),
        ..TimePlan::new("pixel", TimeUnit::Second)
    });
    Ok(assembly)
}

fn to_events(one: &mut RawSeries) {
    let mut events: Vec<(usize, bool)> = Vec::new();
    for (place, value) in one.features.iter().enumerate() {
        let is_ink = *value > THRESHOLD;
        if events.last().is_none_or(|(_, last)| *last != is_ink) {
            events.push((place + 1, is_ink));
        }
        if events.len() == MOST_EVENTS {
            break;
        }
    }
    let label = one.targets.first().copied().unwrap_or_default();
    one.rows = events.len();
    one.times = Some(events.iter().map(|(place, _)| *place as f64).collect());
    one.features = events
        .iter()
        .map(|(_, is_ink)| f32::from(u8::from(*is_ink)))
        .collect();
    one.targets = vec![label; one.rows];
}

fn parts(folder: &Path, name: &'static str, divisor: f32) -> Result<Parts> {
    let read = |part: &str, prefix: &str| {
        let images = either(folder, name, &format!("{prefix}-images-idx3-ubyte"))?;
        let labels = either(folder, name, &format!("{prefix}-labels-idx1-ubyte"))?;
        labelled_images(&images, &labels, divisor, part)
    };
    let mut train = read("train", "train")?;
    let test = read("test", "t10k")?;
    let validation = train.split_off((0.9 * train.len() as f64) as usize);
    Ok(Parts {
        train,
        validation,
        test,
        ..Parts::default()
    })
}

/// The file, or the gzipped one.
fn either(folder: &Path, name: &'static str, file_name: &str) -> Result<PathBuf> {
    let plain = folder.join(file_name);
    if plain.exists() {
        return Ok(plain);
    }
    file(folder, name, &format!("{file_name}.gz"))
}

fn assembly(parts: Parts, features: Vec<String>) -> Assembly {
    Assembly {
        parts,
        features,
        targets: vec!["digit".to_owned()],
        task: TaskConfig::LabelLastStep,
        classes: NAMES_OF_DIGITS.map(str::to_owned).to_vec(),
        normalise: NormaliseConfig::NONE,
        ..Assembly::default()
    }
}

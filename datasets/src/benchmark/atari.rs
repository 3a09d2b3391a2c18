//! Atari behaviour cloning: imitate an agent's actions from the frames that it saw.

use std::path::Path;

use super::files_below;
use crate::arrays::number_classes;
use crate::assemble::Assembly;
use crate::config::{TaskConfig, Windows};
use crate::error::{Error, Result};
use crate::normalise::NormaliseConfig;
use crate::readers::npz;
use crate::series::RawSeries;
use crate::split::Parts;
use crate::table::stem;

/// Side of the squares of pixels that are averaged, since these networks have no convolutions.
const SQUARE: usize = 4;
const STEPS: usize = 32;

/// Reads the sequences `train_*.npz` and `val_*.npz` with frames `obs` `[T, height, width, frames]` (published: 32 steps of 84 x 84 x 4)
/// and `actions` `[T]`; each square of 4 x 4 pixels becomes its mean, 0 to 1. The published code measures on the `val` files, so these
/// test, and every tenth training file validates; where there are `test_*.npz` files too, these test and the `val` files validate.
pub(super) fn load(folder: &Path) -> Result<Assembly> {
    let mut parts = Parts::default();
    let mut all: Vec<RawSeries> = Vec::new();
    let mut width = None;
    for path in files_below(folder, "atari", "npz")? {
        let arrays = npz::read(&path)?;
        let frames = npz::find(&path, &arrays, "obs")?;
        let actions = npz::find(&path, &arrays, "actions")?;
        let malformed = |reason: String| Error::Malformed {
            path: path.clone(),
            format: "npz",
            reason,
        };
        let [rows, high, wide, deep] = *frames.shape.as_slice() else {
            return Err(malformed(format!(
                "frames of shape {:?}: expected [time, height, width, frames]",
                frames.shape
            )));
        };
        let (down, across) = (high / SQUARE, wide / SQUARE);
        let features = down * across * deep;
        if actions.values.len() != rows
            || features != *width.get_or_insert(features)
            || features == 0
        {
            return Err(malformed(format!(
                "{rows} frames of {high} x {wide} x {deep} with {} actions are not like the others",
                actions.values.len()
            )));
        }
        let mut one = RawSeries {
            name: stem(&path),
            rows,
            targets: actions.values.iter().map(|action| *action as f32).collect(),
            features: Vec::with_capacity(rows * features),
            ..RawSeries::default()
        };
        for frame in frames.values.chunks_exact(high * wide * deep) {
            for place in 0..features {
                let (y, x, z) = (
                    place / (across * deep) * SQUARE,
                    place / deep % across * SQUARE,
                    place % deep,
                );
                let pixels = (0..SQUARE * SQUARE)
                    .map(|at| frame[((y + at / SQUARE) * wide + x + at % SQUARE) * deep + z]);
                one.features
                    .push((pixels.sum::<f64>() / (255 * SQUARE * SQUARE) as f64) as f32);
            }
        }
        all.push(one);
    }
    let classes = number_classes("actions", &mut all)?;
    for one in all {
        match one.name.split('_').next() {
            Some("test") => parts.test.push(one),
            Some("val" | "valid" | "validation") => parts.validation.push(one),
            _ => parts.train.push(one),
        }
    }
    if parts.test.is_empty() {
        parts.test = std::mem::take(&mut parts.validation);
    }
    if parts.validation.is_empty() {
        let all = std::mem::take(&mut parts.train);
        let kept = |index: usize| index % 10 == 9;
        for (index, one) in all.into_iter().enumerate() {
            if kept(index) {
                &mut parts.validation
            } else {
                &mut parts.train
            }
            .push(one);
        }
    }
    Ok(Assembly {
        parts,
        features: crate::arrays::numbered("pixel", width.unwrap_or(0)),
        targets: vec!["action".to_owned()],
        task: TaskConfig::LabelEachStep,
        classes,
        windows: Windows {
            length: Some(STEPS),
            stride: Some(STEPS),
            ..Windows::default()
        },
        normalise: NormaliseConfig::NONE,
        ..Assembly::default()
    })
}

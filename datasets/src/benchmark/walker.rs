//! Walker2d kinematics: the next frame of a simulated walker whose frames are observed at irregular times.

use std::path::Path;

use super::numpy::RandomState;
use super::{files_below, regression};
use crate::arrays::numbered;
use crate::assemble::{Assembly, TimePlan};
use crate::error::{Error, Result};
use crate::readers::npy;
use crate::series::RawSeries;
use crate::split::{Chosen, Parts};
use crate::table::stem;
use crate::time::{Span, TimeUnit};
use crate::window::Window;

use super::cut;

const STEPS: usize = 64;

/// Reads the rollouts: of the shuffled files 15 % test and the next 10 % validate; nine frames of ten are kept at random, with the frames
/// passed since as time; the target is the frame after each.
pub(super) fn load(folder: &Path) -> Result<Assembly> {
    let mut files = files_below(folder, "walker", "npy")?;
    RandomState::new(125_487).shuffle(&mut files);
    let count = files.len();
    let test = (0.15 * count as f64) as usize;
    let validation = ((0.15 + 0.1) * count as f64) as usize;
    let mut random = RandomState::new(891_374);
    let mut series = Vec::with_capacity(count);
    let mut width = None;
    // The draws run through the training files first, then validation and test.
    for path in files[validation..]
        .iter()
        .chain(&files[test..validation])
        .chain(&files[..test])
    {
        let array = npy::read(path)?;
        let [rows, columns] = array.table_shape(path)?;
        if columns != *width.get_or_insert(columns) || rows < 2 {
            return Err(Error::Malformed {
                path: path.clone(),
                format: "npy",
                reason: format!("shape {:?} is no rollout like the others", array.shape),
            });
        }
        series.push(observed(&array.values, columns, &mut random, stem(path)));
    }
    let windows = cut::cut(&series, STEPS, STEPS / 4);
    let of_files = |from: usize, to: usize| -> Vec<Window> {
        windows
            .iter()
            .filter(|window| (from..to).contains(&window.series))
            .copied()
            .collect()
    };
    let (trained, validated) = (count - validation, count - test);
    let parts = Parts {
        chosen: Some(Chosen {
            train: of_files(0, trained),
            validation: of_files(trained, validated),
            test: of_files(validated, count),
        }),
        train: series,
        ..Parts::default()
    };
    let names = numbered("x", width.unwrap_or(0));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut assembly = regression(parts, STEPS, &names, &names);
    assembly.time = Some(TimePlan {
        span: Some(Span::SincePrevious),
        scale: Some(1.0),
        edge: Some(1.0),
        ..TimePlan::new("frame", TimeUnit::Second)
    });
    Ok(assembly)
}

/// The frames that are kept, each with the frame after it.
fn observed(values: &[f64], width: usize, random: &mut RandomState, name: String) -> RawSeries {
    let frames: Vec<&[f64]> = values.chunks_exact(width).collect();
    let mut one = RawSeries {
        name,
        ..RawSeries::default()
    };
    let mut times = Vec::new();
    for (place, pair) in frames.windows(2).enumerate() {
        if random.uniform() < 0.9 {
            one.features
                .extend(pair[0].iter().map(|value| *value as f32));
            one.targets
                .extend(pair[1].iter().map(|value| *value as f32));
            times.push((place + 1) as f64);
        }
    }
    one.rows = times.len();
    one.times = Some(times);
    one
}

//! Lidar collision avoidance: imitate a driver's steering from a lidar's rays.

use std::path::Path;

use super::{cut, file, regression};
use crate::arrays::numbered;
use crate::assemble::Assembly;
use crate::error::{Error, Result};
use crate::readers::npz;
use crate::series::RawSeries;
use crate::split::{Chosen, Parts};
use crate::window::Window;

const STEPS: usize = 32;
const RECORDINGS: usize = 29;
/// The first seven of NumPy's `default_rng(20200822).shuffle` of 29 recordings, and the rest in its order.
const ORDER: [usize; RECORDINGS] = [
    6, 18, 9, 26, 7, 24, 22, 3, 1, 17, 19, 25, 28, 11, 15, 23, 27, 4, 2, 10, 5, 21, 16, 13, 12, 20,
    8, 0, 14,
];
const TESTED: usize = 7;
/// Of the training recordings, so many of the last validate; the published code has no validation part.
const VALIDATED: usize = 3;

/// Reads the packed recordings `x_0`, `y_0`, ...: windows of 32 steps every 16; each recording once more mirrored, with the steering
/// turned about.
pub(super) fn load(folder: &Path) -> Result<Assembly> {
    let path = file(folder, "lidar", "icra2020_imitation_data_packed.npz")?;
    let arrays = npz::read(&path)?;
    let malformed = |reason: String| Error::Malformed {
        path: path.clone(),
        format: "npz",
        reason,
    };
    let mut series = Vec::new();
    let mut width = None;
    for recording in ORDER {
        let x = npz::find(&path, &arrays, &format!("x_{recording}"))?;
        let y = npz::find(&path, &arrays, &format!("y_{recording}"))?;
        let [rows, rays] = x.table_shape(&path)?;
        if y.values.len() != rows || rays != *width.get_or_insert(rays) {
            return Err(malformed(format!(
                "recording {recording} has {rows} scans of {rays} rays and {} commands",
                y.values.len()
            )));
        }
        for is_mirrored in [false, true] {
            let sign = if is_mirrored { -1.0 } else { 1.0 };
            let scan = |scan: &[f64]| -> Vec<f32> {
                let rays = scan.iter().map(|value| *value as f32);
                if is_mirrored {
                    rays.rev().collect()
                } else {
                    rays.collect()
                }
            };
            series.push(RawSeries {
                name: format!("{recording}{}", if is_mirrored { " mirrored" } else { "" }),
                rows,
                features: x.values.chunks_exact(rays).flat_map(scan).collect(),
                targets: y.values.iter().map(|value| sign * *value as f32).collect(),
                ..RawSeries::default()
            });
        }
    }
    let windows = cut::cut(&series, STEPS, STEPS / 2);
    let recordings = |from: usize, to: usize| -> Vec<Window> {
        let range = 2 * from..2 * to;
        windows
            .iter()
            .filter(|window| range.contains(&window.series))
            .copied()
            .collect()
    };
    let chosen = Chosen {
        test: recordings(0, TESTED),
        train: recordings(TESTED, RECORDINGS - VALIDATED),
        validation: recordings(RECORDINGS - VALIDATED, RECORDINGS),
    };
    let parts = Parts {
        train: series,
        chosen: Some(chosen),
        ..Parts::default()
    };
    let names = numbered("ray", width.unwrap_or(0));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Ok(regression(parts, STEPS, &names, &["steering"]))
}

//! Gesture phases: which of five phases a gesturing person is in, from velocities and accelerations of hands and wrists.

use std::path::Path;

use super::{cut, file};
use crate::arrays::numbered;
use crate::assemble::Assembly;
use crate::config::TaskConfig;
use crate::error::{Error, Result};
use crate::missing::Missing;
use crate::normalise::{NormaliseConfig, Scaling};
use crate::readers::csv;
use crate::series::RawSeries;
use crate::table::{columns_of, stem};
use crate::window::Window;

const FILES: [&str; 7] = [
    "a3_va3.csv",
    "b1_va3.csv",
    "b3_va3.csv",
    "c1_va3.csv",
    "c3_va3.csv",
    "a2_va3.csv",
    "a1_va3.csv",
];
const PHASES: [&str; 5] = ["D", "P", "S", "H", "R"];
/// Velocities and accelerations of hands and wrists, as vectors and as numbers.
const MOTIONS: usize = 32;
const STEPS: usize = 32;

/// Reads the seven processed files. Windows of 32 follow one another, with others half a window later between them. The features
/// are standardised by the training windows, where the published code takes all windows.
pub(super) fn load(folder: &Path) -> Result<Assembly> {
    let mut series = Vec::new();
    for name in FILES {
        let path = file(folder, "gesture", name)?;
        let frame = csv::read(&path, ',', None)?;
        let phases = frame.keys("Phase")?;
        // As in the published code, a column counts by its place, whatever the file's header calls it.
        let names: Vec<String> = frame
            .names()
            .iter()
            .filter(|name| *name != "Phase")
            .cloned()
            .collect();
        if names.len() != MOTIONS {
            return Err(Error::Malformed {
                path,
                format: "CSV",
                reason: format!(
                    "{} columns beside `Phase`, expected {MOTIONS} velocities and accelerations (the `*_va3.csv` files have them, \
                     the `*_raw.csv` files do not)",
                    names.len()
                ),
            });
        }
        let columns = columns_of(&frame, &names, Missing::Error, false)?;
        let class = |phase: &String| {
            let place = PHASES.iter().position(|known| known == phase);
            place
                .map(|place| place as f32)
                .ok_or_else(|| Error::NotAClass {
                    column: "Phase".to_owned(),
                    reason: format!("`{phase}` is none of {}", PHASES.join(", ")),
                })
        };
        series.push(RawSeries {
            name: stem(&path),
            rows: frame.rows(),
            features: (0..frame.rows())
                .flat_map(|row| columns.iter().map(move |column| column[row]))
                .collect(),
            targets: phases.iter().map(class).collect::<Result<_>>()?,
            ..RawSeries::default()
        });
    }
    let windows = interleaved(&series);
    Ok(Assembly {
        parts: cut::draw(series, &windows, 23_489, 0.1, 0.15),
        features: numbered("motion", MOTIONS),
        targets: vec!["Phase".to_owned()],
        task: TaskConfig::LabelEachStep,
        classes: PHASES.map(str::to_owned).to_vec(),
        windows: crate::config::Windows {
            length: Some(STEPS),
            ..Default::default()
        },
        normalise: NormaliseConfig {
            features: Scaling::Standard,
            targets: Scaling::None,
        },
        ..Assembly::default()
    })
}

fn interleaved(series: &[RawSeries]) -> Vec<Window> {
    let mut windows = Vec::new();
    for (index, one) in series.iter().enumerate() {
        let whole = one.rows / STEPS;
        for place in 0..whole {
            let window = |start| Window {
                series: index,
                start,
                steps: STEPS,
            };
            windows.push(window(place * STEPS));
            if place + 1 < whole {
                windows.push(window(place * STEPS + STEPS / 2));
            }
        }
    }
    windows
}

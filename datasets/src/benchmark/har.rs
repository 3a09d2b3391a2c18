//! Human activity: six activities from 561 features of a smartphone's motion sensors.

use std::path::Path;

use super::text::Text;
use super::{cut, file};
use crate::arrays::numbered;
use crate::assemble::Assembly;
use crate::config::{TaskConfig, Windows};
use crate::error::Result;
use crate::normalise::NormaliseConfig;
use crate::series::RawSeries;
use crate::split::Parts;
use crate::window::Window;

const STEPS: usize = 16;
const FEATURES: usize = 561;
const ACTIVITIES: [&str; 6] = [
    "walking",
    "walking_upstairs",
    "walking_downstairs",
    "sitting",
    "standing",
    "laying",
];

/// Reads the archive's training and test folders: windows of 16 rows, stride 1 (8 in the test), a tenth of the training windows validates.
pub(super) fn load(folder: &Path) -> Result<Assembly> {
    let series = vec![read(folder, "train")?, read(folder, "test")?];
    let of_part = |part: usize, stride| -> Vec<Window> {
        let windows = cut::cut(&series[part..=part], STEPS, stride);
        windows
            .into_iter()
            .map(|window| Window {
                series: part,
                ..window
            })
            .collect()
    };
    let (train, test) = (of_part(0, 1), of_part(1, 8));
    let mut parts: Parts = cut::draw(series, &train, 893_429, 0.1, 0.0);
    if let Some(chosen) = &mut parts.chosen {
        chosen.test = test;
    }
    Ok(Assembly {
        parts,
        features: numbered("x", FEATURES),
        targets: vec!["activity".to_owned()],
        task: TaskConfig::LabelEachStep,
        classes: ACTIVITIES.map(str::to_owned).to_vec(),
        windows: Windows {
            length: Some(STEPS),
            ..Windows::default()
        },
        normalise: NormaliseConfig::NONE,
        ..Assembly::default()
    })
}

fn read(folder: &Path, part: &str) -> Result<RawSeries> {
    let place = |name: &str| format!("UCI HAR Dataset/{part}/{name}_{part}.txt");
    let inputs = Text::read(&file(folder, "har", &place("X"))?)?;
    let labels = Text::read(&file(folder, "har", &place("y"))?)?;
    let mut series = RawSeries {
        name: part.to_owned(),
        ..RawSeries::default()
    };
    for (line, text) in inputs.lines() {
        let before = series.features.len();
        for field in text.split_ascii_whitespace() {
            series.features.push(inputs.number(line, field)? as f32);
        }
        inputs.check(line, series.features.len() - before, FEATURES)?;
        series.rows += 1;
    }
    for (line, text) in labels.lines() {
        let class = labels.number(line, text)?;
        if !(1.0..=6.0).contains(&class) || class.fract() != 0.0 {
            return Err(labels.malformed(line, &format!("activity {text} is none of 1 to 6")));
        }
        series.targets.push(class as f32 - 1.0);
    }
    if series.targets.len() != series.rows {
        let problem = format!(
            "{} labels for {} rows of features",
            series.targets.len(),
            series.rows
        );
        return Err(labels.malformed(series.targets.len(), &problem));
    }
    Ok(series)
}

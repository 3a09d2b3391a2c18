//! Data sets that are part of the program, so that the first run needs no file.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::assemble::{Assembly, TimePlan};
use crate::config::{TaskConfig, Windows};
use crate::dataset::Dataset;
use crate::error::Result;
use crate::generate::drug_concentration;
use crate::missing::Missing;
use crate::normalise::NormaliseConfig;
use crate::readers::csv;
use crate::split::{FractionOf, FractionSplit, SplitConfig, split};
use crate::table::{SeriesRules, TimeRules, columns_of, frame_series};
use crate::time::TimeUnit;

const DRUG_CONCENTRATION: &str = include_str!("../data/drug_concentration.csv");

/// One of the embedded data sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EmbeddedConfig {
    /// Which one.
    pub name: EmbeddedName,
    /// Steps of a window; without it a window is a whole series (39 steps of each patient).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
    /// Steps from one window's start to the next; `window` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stride: Option<usize>,
    /// Seed of the draw of patients for validation and test (30 each of 200).
    #[serde(default)]
    pub split_seed: u64,
    /// Scaling, fitted on the training patients.
    #[serde(default)]
    pub normalise: NormaliseConfig,
}

/// Names of the embedded data sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EmbeddedName {
    /// Blood samples of 200 simulated patients under an oral drug, at irregular times: forecast the next
    /// concentration from this one, the dose just given and the hours until the next sample.
    DrugConcentration,
}

/// What an embedded data set is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EmbeddedInfo {
    /// Name in configs.
    pub name: &'static str,
    /// One sentence on content and task.
    pub title: &'static str,
    /// Rows of the table.
    pub rows: usize,
    /// Series, here patients.
    pub series: usize,
    /// Licence and origin.
    pub licence: &'static str,
}

/// Lists the embedded data sets.
pub fn embedded() -> &'static [EmbeddedInfo] {
    &[EmbeddedInfo {
        name: "drug_concentration",
        title: "drug concentration in the blood of 200 simulated patients, sampled at irregular times; forecast the next sample",
        rows: 8000,
        series: 200,
        licence: "simulated by this project, MIT OR Apache-2.0",
    }]
}

impl EmbeddedName {
    /// Simulates the data set anew, as CSV text; the embedded file is exactly this.
    pub fn generate(self) -> String {
        match self {
            Self::DrugConcentration => drug_concentration::csv(),
        }
    }
}

impl EmbeddedConfig {
    pub(crate) fn windows(&self) -> Windows {
        Windows {
            length: self.window,
            stride: self.stride,
            ..Windows::default()
        }
    }

    pub(crate) fn load(&self) -> Result<Dataset> {
        match self.name {
            EmbeddedName::DrugConcentration => self.drug_concentration(),
        }
    }

    fn drug_concentration(&self) -> Result<Dataset> {
        let path = Path::new("drug_concentration.csv (embedded)");
        let frame = csv::parse(path, DRUG_CONCENTRATION.as_bytes(), ',', None)?;
        let features = ["concentration_mg_per_l", "dose_mg_per_kg"]
            .map(str::to_owned)
            .to_vec();
        let targets = features[..1].to_vec();
        let (inputs, outputs) = (
            columns_of(&frame, &features, Missing::Error, false)?,
            columns_of(&frame, &targets, Missing::Error, false)?,
        );
        let rules = SeriesRules {
            time: Some(TimeRules::plain("hour", TimeUnit::Hour)),
            group: Some("patient"),
            part: None,
            missing: Missing::Error,
            kinds: &[],
            are_labels: false,
        };
        let series = frame_series(&frame, &inputs, &outputs, &rules)?;
        let by_patient = FractionSplit {
            by: FractionOf::Series,
            seed: self.split_seed,
            ..FractionSplit::default()
        };
        Assembly {
            parts: split(series, &[], &SplitConfig::Fraction(by_patient), None)?,
            features,
            targets,
            task: TaskConfig::NextStep { horizon: 1 },
            windows: self.windows(),
            normalise: self.normalise,
            time: Some(TimePlan::new("hour", TimeUnit::Hour)),
            group: Some("patient".to_owned()),
            ..Assembly::default()
        }
        .build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::drug_concentration::Kinetics;
    use crate::normalise::Scale;

    fn load() -> Dataset {
        let text = "name = \"drug_concentration\"";
        toml::from_str::<EmbeddedConfig>(text)
            .unwrap()
            .load()
            .unwrap()
    }

    #[test]
    fn patients_are_split_and_whole() {
        let dataset = load();
        assert_eq!(
            [
                dataset.train.len(),
                dataset.validation.len(),
                dataset.test.len()
            ],
            [140, 30, 30]
        );
        assert_eq!(
            (dataset.train.time(), dataset.train.has_mask()),
            (39, false)
        );
        assert_eq!((dataset.inputs(), dataset.outputs()), (2, 1));
        assert!(DRUG_CONCENTRATION.len() < 200_000);
        assert_eq!(DRUG_CONCENTRATION.lines().count() - 1, embedded()[0].rows);
    }

    #[test]
    fn the_committed_file_is_what_the_generator_makes() {
        // Set NCPS_WRITE_EMBEDDED=1 to write the file anew after a change to the generator.
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/data/drug_concentration.csv");
        let text = EmbeddedName::DrugConcentration.generate();
        if std::env::var_os("NCPS_WRITE_EMBEDDED").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(path).unwrap());
    }

    /// Mean squared error on the test part, in (mg/L)^2, of a forecast by the typical patient's kinetics, which sees each measured
    /// concentration and `hours` until the next sample (given the true span).
    fn kinetic_mse(hours: impl Fn(f64) -> f64) -> f64 {
        let dataset = load();
        let schema = &dataset.schema;
        let restore = |scale: &Scale, value: f32| scale.restore(f64::from(value));
        let hour = schema.time.as_ref().unwrap().scale;
        let mut batches = dataset.test.batches(30, None).unwrap();
        let mut batch = batches.host_batch();
        batches.fill(0, 0, &mut batch).unwrap();
        let (mut squared, mut gut) = (0.0, 0.0);
        for (step, inputs) in batch.x.chunks(2).enumerate() {
            let now = restore(&schema.normaliser.features[0], inputs[0]);
            let dose = restore(&schema.normaliser.features[1], inputs[1]);
            gut = dose + if step % batch.time == 0 { 0.0 } else { gut };
            let span = f64::from(batch.timespans.as_ref().unwrap()[step]) * hour;
            let next;
            (gut, next) = Kinetics::TYPICAL.after(gut, now, hours(span));
            squared += (next - restore(&schema.normaliser.targets[0], batch.targets[step])).powi(2);
        }
        squared / batch.targets.len() as f64
    }

    #[test]
    fn elapsed_time_is_what_makes_the_forecast() {
        let persistence = load().baseline();
        assert_eq!(persistence.name, "persistence");
        let (timed, untimed) = (kinetic_mse(|span| span), kinetic_mse(|_| 3.0));
        let found = [persistence.metrics["mse"], untimed, timed];
        for (found, stated) in found.into_iter().zip([12.2, 4.3, 1.9]) {
            assert!(
                (found - stated).abs() < 0.06,
                "{found}, the README says {stated}"
            );
        }
    }
}

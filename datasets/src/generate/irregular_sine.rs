//! A sine seen at irregular times: the task shows what the elapsed time is worth.

use std::f64::consts::TAU;

use serde::{Deserialize, Serialize};

use super::{Counts, assembly, check, exponential_wait, time_plan, trajectory};
use crate::assemble::Assembly;
use crate::config::TaskConfig;
use crate::error::Result;
use crate::random::Random;
use crate::series::RawSeries;

/// Observations of a sine of unknown phase and amplitude at random times; the task is the next observation.
///
/// ```text
/// x(t) = amplitude sin(phase + 2 pi t / period) + noise
/// ```
///
/// The network sees the value alone and the time until the next observation.
///
/// # Units
/// Second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct IrregularSine {
    /// Observations of a sequence; 49 unless set, which makes 48 steps with a target.
    pub steps: usize,
    /// Period in seconds; 6.2831853 (2 pi) unless set.
    pub period: f64,
    /// Mean time between observations in seconds; 0.5 unless set.
    pub interval: f64,
    /// Whether intervals are exponentially distributed; true unless set.
    pub irregular: bool,
    /// Standard deviation of the observation noise; 0.02 unless set.
    pub noise: f64,
    /// Training sequences; 400 unless set.
    pub train_sequences: usize,
    /// Validation sequences; 80 unless set.
    pub validation_sequences: usize,
    /// Test sequences; 80 unless set.
    pub test_sequences: usize,
    /// Seed of every draw.
    pub seed: u64,
}

impl Default for IrregularSine {
    fn default() -> Self {
        Self {
            steps: 49,
            period: TAU,
            interval: 0.5,
            irregular: true,
            noise: 0.02,
            train_sequences: 400,
            validation_sequences: 80,
            test_sequences: 80,
            seed: 0,
        }
    }
}

impl IrregularSine {
    pub(super) fn validate(&self) -> Result<()> {
        check("steps", self.steps as f64, 2.0, 1e6)?;
        check("period", self.period, 1e-6, 1e9)?;
        check("interval", self.interval, 1e-6, 1e9)?;
        check("noise", self.noise, 0.0, 10.0)?;
        self.counts().check()
    }

    pub(super) fn assembly(&self) -> Assembly {
        let parts = self.counts().parts(|index| self.sequence(index));
        let names = ["x"];
        Assembly {
            time: self.irregular.then(|| time_plan(Some(self.interval))),
            ..assembly(&names, &names, TaskConfig::NextStep { horizon: 1 }, parts)
        }
    }

    fn counts(&self) -> Counts {
        Counts {
            train: self.train_sequences,
            validation: self.validation_sequences,
            test: self.test_sequences,
        }
    }

    fn sequence(&self, index: u64) -> RawSeries {
        let mut random = Random::new(self.seed, index);
        let phase = random.between(0.0, TAU);
        let amplitude = random.between(0.5, 1.5);
        trajectory(
            format!("sine-{index}"),
            self.steps,
            [phase],
            &mut random,
            |[phase], random| [amplitude * phase.sin() + self.noise * random.normal()],
            |random| exponential_wait(self.interval, self.irregular, random),
            |[phase], wait| [phase + TAU * wait / self.period],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_follow_from_the_times() {
        let sine = IrregularSine {
            noise: 0.0,
            steps: 400,
            ..Default::default()
        };
        let series = sine.sequence(3);
        let times = series.times.unwrap();
        assert!(times.windows(2).any(|pair| pair[1] - pair[0] > 1.0));
        assert!(times.windows(2).any(|pair| pair[1] - pair[0] < 0.1));
        // Of a sine of angular frequency 1, two values give amplitude and phase, and these all others.
        let (first, second) = (f64::from(series.features[0]), f64::from(series.features[1]));
        let wait = times[1] - times[0];
        let cosine = (second - first * wait.cos()) / wait.sin();
        let amplitude = first.hypot(cosine);
        assert!((0.5..1.5).contains(&amplitude), "{amplitude}");
        for (value, time) in series.features.iter().zip(&times) {
            let expected = first * time.cos() + cosine * time.sin();
            assert!((f64::from(*value) - expected).abs() < 1e-4);
        }
    }
}

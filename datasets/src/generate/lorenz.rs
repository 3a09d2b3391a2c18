//! The Lorenz system: deterministic, bounded and chaotic.

use serde::{Deserialize, Serialize};

use super::{Counts, assembly, exponential_wait, integrate, time_plan, trajectory};
use crate::assemble::Assembly;
use crate::config::{TaskConfig, config};
use crate::error::Result;
use crate::random::Random;
use crate::series::RawSeries;

/// Longest integration step, in the system's time unit; the error of a trajectory then stays below f32's.
const LONGEST_STEP: f64 = 0.005;
/// Time after which a random start lies on the attractor.
const TRANSIENT: f64 = 10.0;

/// Trajectories on the Lorenz attractor; the task is the next observation.
///
/// ```text
/// x' = sigma (y - x)
/// y' = x (rho - z) - y
/// z' = x y - beta z        sigma = 10, rho = 28, beta = 8/3
/// ```
///
/// # Source
/// Lorenz, "Deterministic nonperiodic flow", J. Atmos. Sci. 20 (1963), equations 25 to 27.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Lorenz {
    /// Observations of a trajectory; 65 unless set, which makes 64 steps with a target.
    pub steps: usize,
    /// Mean time between observations; 0.05 unless set.
    pub interval: f64,
    /// Whether intervals are exponentially distributed; false unless set, all equal.
    pub irregular: bool,
    /// Training trajectories; 200 unless set.
    pub train_sequences: usize,
    /// Validation trajectories; 40 unless set.
    pub validation_sequences: usize,
    /// Test trajectories; 40 unless set.
    pub test_sequences: usize,
    /// Seed of starts and intervals.
    pub seed: u64,
}

impl Default for Lorenz {
    fn default() -> Self {
        Self {
            steps: 65,
            interval: 0.05,
            irregular: false,
            train_sequences: 200,
            validation_sequences: 40,
            test_sequences: 40,
            seed: 0,
        }
    }
}

impl Lorenz {
    pub(super) fn validate(&self) -> Result<()> {
        if self.steps < 2 {
            return Err(config(
                "generator.steps",
                "a forecast needs at least 2 observations",
            ));
        }
        if !(self.interval > 0.0 && self.interval <= 10.0) {
            return Err(config(
                "generator.interval",
                "expected a time above 0, at most 10",
            ));
        }
        self.counts().check()
    }

    pub(super) fn assembly(&self) -> Assembly {
        let parts = self.counts().parts(|index| self.sequence(index));
        let names = ["x", "y", "z"];
        let time = self.irregular.then(|| time_plan(Some(self.interval)));
        Assembly {
            time,
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
        let start = [
            random.between(-10.0, 10.0),
            random.between(-10.0, 10.0),
            random.between(10.0, 40.0),
        ];
        trajectory(
            format!("lorenz-{index}"),
            self.steps,
            integrate(start, TRANSIENT, LONGEST_STEP, slope),
            &mut random,
            |state, _| state,
            |random| exponential_wait(self.interval, self.irregular, random),
            |state, wait| integrate(state, wait, LONGEST_STEP, slope),
        )
    }
}

fn slope([x, y, z]: [f64; 3]) -> [f64; 3] {
    [10.0 * (y - x), x * (28.0 - z) - y, x * y - 8.0 / 3.0 * z]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trajectories_stay_on_the_attractor() {
        let lorenz = Lorenz {
            steps: 2000,
            ..Lorenz::default()
        };
        let series = lorenz.sequence(0);
        let z: Vec<f32> = series.features.iter().skip(2).step_by(3).copied().collect();
        assert!(z.iter().all(|z| (0.0..55.0).contains(z)));
        // The mean of z over the attractor is 23.55 (rho - 1 = 27 is only the fixed points' height).
        let mean = z.iter().sum::<f32>() / z.len() as f32;
        assert!((mean - 23.55).abs() < 0.5, "{mean}");
    }

    #[test]
    fn persistence_is_poor() {
        let small = Lorenz {
            train_sequences: 5,
            validation_sequences: 0,
            test_sequences: 5,
            ..Lorenz::default()
        };
        let baseline = small.assembly().build().unwrap().baseline();
        assert_eq!(baseline.name, "persistence");
        assert!(baseline.metrics["mse"] > 5.0, "{baseline:?}");
    }
}

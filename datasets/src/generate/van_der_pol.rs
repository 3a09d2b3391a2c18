//! The Van der Pol oscillator: whatever the start, it ends on one cycle.

use serde::{Deserialize, Serialize};

use super::{Counts, assembly, check, exponential_wait, integrate, time_plan, trajectory};
use crate::assemble::Assembly;
use crate::config::TaskConfig;
use crate::error::Result;
use crate::random::Random;
use crate::series::RawSeries;

/// Longest integration step, in the oscillator's time unit.
const LONGEST_STEP: f64 = 0.01;

/// Trajectories of the Van der Pol oscillator; the task is the next observation.
///
/// ```text
/// x'' = damping (1 - x^2) x' - x
/// ```
///
/// # Source
/// Van der Pol, "On relaxation-oscillations", Philosophical Magazine 2 (1926).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct VanDerPol {
    /// Observations of a trajectory; 65 unless set.
    pub steps: usize,
    /// Mean time between observations; 0.2 unless set (the cycle takes 6.66 for a damping of 1).
    pub interval: f64,
    /// Whether intervals are exponentially distributed; true unless set.
    pub irregular: bool,
    /// Damping; 1 unless set, larger ones make the cycle jerk.
    pub damping: f64,
    /// Standard deviation of the observation noise; 0 unless set.
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

impl Default for VanDerPol {
    fn default() -> Self {
        Self {
            steps: 65,
            interval: 0.2,
            irregular: true,
            damping: 1.0,
            noise: 0.0,
            train_sequences: 400,
            validation_sequences: 80,
            test_sequences: 80,
            seed: 0,
        }
    }
}

impl VanDerPol {
    pub(super) fn validate(&self) -> Result<()> {
        check("steps", self.steps as f64, 2.0, 1e6)?;
        check("interval", self.interval, 1e-6, 10.0)?;
        check("damping", self.damping, 0.0, 10.0)?;
        check("noise", self.noise, 0.0, 10.0)?;
        self.counts().check()
    }

    pub(super) fn assembly(&self) -> Assembly {
        let parts = self.counts().parts(|index| self.sequence(index));
        let names = ["x", "velocity"];
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
        let start = [random.between(-3.0, 3.0), random.between(-3.0, 3.0)];
        trajectory(
            format!("van-der-pol-{index}"),
            self.steps,
            start,
            &mut random,
            |state, random| state.map(|value| value + self.noise * random.normal()),
            |random| exponential_wait(self.interval, self.irregular, random),
            |state, wait| integrate(state, wait, LONGEST_STEP, |state| self.slope(state)),
        )
    }

    fn slope(&self, [x, velocity]: [f64; 2]) -> [f64; 2] {
        [velocity, self.damping * (1.0 - x * x) * velocity - x]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_ends_on_the_cycle() {
        let oscillator = VanDerPol::default();
        for start in [[0.1, 0.0], [3.0, -3.0]] {
            let mut state = integrate(start, 60.0, LONGEST_STEP, |state| oscillator.slope(state));
            // One cycle of 6.6633 returns to the same place, and reaches an amplitude of 2.0086.
            let begin = state;
            let mut widest: f64 = 0.0;
            for _ in 0..1000 {
                state = integrate(state, 6.663_287 / 1000.0, LONGEST_STEP, |state| {
                    oscillator.slope(state)
                });
                widest = widest.max(state[0].abs());
            }
            assert!(
                (state[0] - begin[0]).abs() < 1e-3 && (widest - 2.0086).abs() < 1e-3,
                "{state:?} {widest}"
            );
        }
    }
}

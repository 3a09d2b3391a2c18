//! A double pendulum: smooth, and chaotic for all but small swings.

use serde::{Deserialize, Serialize};

use super::{Counts, assembly, check, exponential_wait, integrate, time_plan, trajectory};
use crate::assemble::Assembly;
use crate::config::TaskConfig;
use crate::error::Result;
use crate::random::Random;
use crate::series::RawSeries;

/// Longest integration step in seconds.
const LONGEST_STEP: f64 = 0.005;
/// Gravity over length in 1/s^2, the same for both arms.
const GRAVITY: f64 = 9.81;

/// Swings of two equal arms with equal weights at their ends; the task is the next observation.
///
/// ```text
/// d = a1 - a2,   n = 3 - cos(2 d),   g = 9.81 / s^2
/// a1'' = (-3 g sin(a1) - g sin(a1 - 2 a2) - 2 sin(d) (a2'^2 + a1'^2 cos(d))) / n
/// a2'' = 2 sin(d) (2 a1'^2 + 2 g cos(a1) + a2'^2 cos(d)) / n
/// ```
///
/// Observed are sine, cosine and velocity of both angles. Energy is conserved.
///
/// # Units
/// Radian, second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct DoublePendulum {
    /// Observations of a swing; 65 unless set.
    pub steps: usize,
    /// Mean time between observations in seconds; 0.05 unless set.
    pub interval: f64,
    /// Whether intervals are exponentially distributed; false unless set.
    pub irregular: bool,
    /// Largest angle at the start in rad; 1.5 unless set, which is chaotic.
    pub amplitude: f64,
    /// Training sequences; 400 unless set.
    pub train_sequences: usize,
    /// Validation sequences; 80 unless set.
    pub validation_sequences: usize,
    /// Test sequences; 80 unless set.
    pub test_sequences: usize,
    /// Seed of every draw.
    pub seed: u64,
}

impl Default for DoublePendulum {
    fn default() -> Self {
        Self {
            steps: 65,
            interval: 0.05,
            irregular: false,
            amplitude: 1.5,
            train_sequences: 400,
            validation_sequences: 80,
            test_sequences: 80,
            seed: 0,
        }
    }
}

impl DoublePendulum {
    pub(super) fn validate(&self) -> Result<()> {
        check("steps", self.steps as f64, 2.0, 1e6)?;
        check("interval", self.interval, 1e-6, 10.0)?;
        check("amplitude", self.amplitude, 0.0, std::f64::consts::PI)?;
        self.counts().check()
    }

    pub(super) fn assembly(&self) -> Assembly {
        let parts = self.counts().parts(|index| self.sequence(index));
        let names = [
            "sin_1",
            "cos_1",
            "velocity_1",
            "sin_2",
            "cos_2",
            "velocity_2",
        ];
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
        let mut angle = || random.between(-self.amplitude, self.amplitude);
        let start = [angle(), 0.0, angle(), 0.0];
        trajectory(
            format!("double-pendulum-{index}"),
            self.steps,
            start,
            &mut random,
            |[one, velocity_1, two, velocity_2], _| {
                [
                    one.sin(),
                    one.cos(),
                    velocity_1,
                    two.sin(),
                    two.cos(),
                    velocity_2,
                ]
            },
            |random| exponential_wait(self.interval, self.irregular, random),
            |state, wait| integrate(state, wait, LONGEST_STEP, slope),
        )
    }
}

fn slope([one, velocity_1, two, velocity_2]: [f64; 4]) -> [f64; 4] {
    let apart = one - two;
    let (sine, cosine) = apart.sin_cos();
    let share = 3.0 - (2.0 * apart).cos();
    let (square_1, square_2) = (velocity_1 * velocity_1, velocity_2 * velocity_2);
    let pull = -3.0 * GRAVITY * one.sin() - GRAVITY * (one - 2.0 * two).sin();
    [
        velocity_1,
        (pull - 2.0 * sine * (square_2 + square_1 * cosine)) / share,
        velocity_2,
        2.0 * sine * (2.0 * square_1 + 2.0 * GRAVITY * one.cos() + square_2 * cosine) / share,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Energy over weight and length squared.
    fn energy([one, velocity_1, two, velocity_2]: [f64; 4]) -> f64 {
        let moving = velocity_1.powi(2)
            + 0.5 * velocity_2.powi(2)
            + velocity_1 * velocity_2 * (one - two).cos();
        moving - GRAVITY * (2.0 * one.cos() + two.cos())
    }

    #[test]
    fn energy_is_conserved() {
        let start = [1.4, 0.0, -0.9, 0.5];
        let end = integrate(start, 3.0, LONGEST_STEP, slope);
        assert!(
            (energy(end) - energy(start)).abs() < 1e-5,
            "{}",
            energy(end) - energy(start)
        );
        assert!((end[0] - start[0]).abs() > 0.1);
    }
}

//! A damped pendulum seen at irregular times: the next angle cannot be told without the time until then.

use serde::{Deserialize, Serialize};

use super::{Counts, assembly, integrate, time_plan, trajectory};
use crate::assemble::Assembly;
use crate::config::{TaskConfig, config};
use crate::error::Result;
use crate::random::Random;
use crate::series::RawSeries;

/// Longest integration step in seconds, a two-hundredth of the smallest period.
const LONGEST_STEP: f64 = 0.01;
/// Shortest time between observations, as a share of the mean.
const SHORTEST_WAIT: f64 = 0.1;

/// Swings of a damped pendulum; the task is the next observation.
///
/// ```text
/// angle'' = -damping angle' - (g / length) sin(angle),   g / length = 9.81 / s^2
/// ```
///
/// # Units
/// Radian, second.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct DampedPendulum {
    /// Observations of a swing; 33 unless set, which makes 32 steps with a target.
    pub steps: usize,
    /// Mean time between observations in seconds; 0.3 unless set (the period is about 2 s).
    pub interval: f64,
    /// Whether intervals vary (a tenth of the mean plus an exponential wait); true unless set.
    pub irregular: bool,
    /// Damping in 1/s; 0.3 unless set.
    pub damping: f64,
    /// Standard deviation of the observation noise in rad and rad/s; 0.02 unless set.
    pub noise: f64,
    /// Training swings; 400 unless set.
    pub train_sequences: usize,
    /// Validation swings; 80 unless set.
    pub validation_sequences: usize,
    /// Test swings; 80 unless set.
    pub test_sequences: usize,
    /// Seed of starts, intervals and noise.
    pub seed: u64,
}

impl Default for DampedPendulum {
    fn default() -> Self {
        Self {
            steps: 33,
            interval: 0.3,
            irregular: true,
            damping: 0.3,
            noise: 0.02,
            train_sequences: 400,
            validation_sequences: 80,
            test_sequences: 80,
            seed: 0,
        }
    }
}

impl DampedPendulum {
    pub(super) fn validate(&self) -> Result<()> {
        if self.steps < 2 {
            return Err(config(
                "generator.steps",
                "a forecast needs at least 2 observations",
            ));
        }
        if !(self.interval > 0.0 && self.interval <= 100.0) {
            return Err(config(
                "generator.interval",
                "expected seconds above 0, at most 100",
            ));
        }
        for (key, value) in [
            ("generator.damping", self.damping),
            ("generator.noise", self.noise),
        ] {
            if !(0.0..=10.0).contains(&value) {
                return Err(config(key, "expected 0 to 10"));
            }
        }
        self.counts().check()
    }

    pub(super) fn assembly(&self) -> Assembly {
        let parts = self.counts().parts(|index| self.sequence(index));
        let names = ["angle", "angular_velocity"];
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
        let start = [random.between(-2.5, 2.5), random.between(-2.0, 2.0)];
        trajectory(
            format!("pendulum-{index}"),
            self.steps,
            start,
            &mut random,
            |state, random| state.map(|value| value + self.noise * random.normal()),
            |random| {
                let share = SHORTEST_WAIT + (1.0 - SHORTEST_WAIT) * random.exponential();
                self.interval * if self.irregular { share } else { 1.0 }
            },
            |state, wait| integrate(state, wait, LONGEST_STEP, |state| self.slope(state)),
        )
    }

    fn slope(&self, [angle, velocity]: [f64; 2]) -> [f64; 2] {
        [velocity, -self.damping * velocity - 9.81 * angle.sin()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_swing_has_the_textbook_period_and_decay() {
        let pendulum = DampedPendulum {
            damping: 0.2,
            ..DampedPendulum::default()
        };
        // angle(t) = a exp(-damping t / 2) cos(omega t + ...) with omega^2 = g/l - damping^2 / 4.
        let omega = (9.81f64 - 0.01).sqrt();
        let period = std::f64::consts::TAU / omega;
        let start = [0.01, -0.001];
        let end = integrate(start, period, LONGEST_STEP, |state| pendulum.slope(state));
        let decay = (-0.1 * period).exp();
        assert!((end[0] - 0.01 * decay).abs() < 1e-6, "{end:?}");
    }

    #[test]
    fn observations_are_irregular_and_ordered() {
        let series = DampedPendulum::default().sequence(3);
        let times = series.times.unwrap();
        let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| *gap >= 0.03));
        let longest = gaps.iter().copied().fold(0.0, f64::max);
        let shortest = gaps.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(longest > 4.0 * shortest);
    }
}

//! A pole on a cart, kept upright by an expert who is to be imitated.

use serde::{Deserialize, Serialize};

use super::{Counts, assembly, check, integrate};
use crate::assemble::Assembly;
use crate::config::TaskConfig;
use crate::error::Result;
use crate::random::Random;
use crate::series::RawSeries;

/// Time between two actions in seconds.
const INTERVAL: f64 = 0.02;
/// Longest integration step in seconds.
const LONGEST_STEP: f64 = 0.01;
const GRAVITY: f64 = 9.8;
const CART: f64 = 1.0;
const POLE: f64 = 0.1;
/// Half of the pole's length in metres.
const HALF: f64 = 0.5;
/// Largest force in newtons.
const STRONGEST: f64 = 10.0;
/// The expert's gains on position, velocity, angle and angular velocity, of the order of a linear-quadratic regulator's.
const GAINS: [f64; 4] = [1.0, 2.2, 32.0, 7.0];

/// Recordings of an expert that balances a pole while random pushes disturb it; the task is the expert's force at every step.
///
/// ```text
/// force = clip(g1 x + g2 x' + g3 angle + g4 angle', -10 N, 10 N)
/// ```
///
/// Without velocities among the observations, which is the default, the force follows from the past only: a task for a network with a
/// state.
///
/// # Source
/// Dynamics of Barto, Sutton and Anderson, "Neuronlike adaptive elements that can solve difficult learning control problems" (1983),
/// without friction.
///
/// # Units
/// Metre, radian, second, newton; the target is the force divided by 10 N.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CartPole {
    /// Steps of a recording, 0.02 s each; 64 unless set.
    pub steps: usize,
    /// Standard deviation of the random force at each step in newtons; 1 unless set.
    pub push: f64,
    /// Whether velocities are observed; false unless set.
    pub velocities: bool,
    /// Training sequences; 300 unless set.
    pub train_sequences: usize,
    /// Validation sequences; 60 unless set.
    pub validation_sequences: usize,
    /// Test sequences; 60 unless set.
    pub test_sequences: usize,
    /// Seed of every draw.
    pub seed: u64,
}

impl Default for CartPole {
    fn default() -> Self {
        Self {
            steps: 64,
            push: 1.0,
            velocities: false,
            train_sequences: 300,
            validation_sequences: 60,
            test_sequences: 60,
            seed: 0,
        }
    }
}

impl CartPole {
    pub(super) fn validate(&self) -> Result<()> {
        check("steps", self.steps as f64, 2.0, 1e6)?;
        check("push", self.push, 0.0, 5.0)?;
        self.counts().check()
    }

    pub(super) fn assembly(&self) -> Assembly {
        let parts = self.counts().parts(|index| self.sequence(index));
        let names: &[&str] = if self.velocities {
            &["position", "velocity", "angle", "angular_velocity"]
        } else {
            &["position", "angle"]
        };
        assembly(names, &["force"], TaskConfig::RegressionEachStep, parts)
    }

    /// The expert's force on the cart in newtons, for a state of position, velocity, angle and angular velocity.
    pub fn expert(state: [f64; 4]) -> f64 {
        let force: f64 = GAINS
            .iter()
            .zip(state)
            .map(|(gain, value)| gain * value)
            .sum();
        force.clamp(-STRONGEST, STRONGEST)
    }

    /// The state 0.02 s later under a force in newtons, so that a policy can be tried where its actions count.
    pub fn advance(state: [f64; 4], force: f64) -> [f64; 4] {
        integrate(state, INTERVAL, LONGEST_STEP, |state| slope(state, force))
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
        let mut state = [0.5, 0.5, 0.15, 0.5].map(|range| random.between(-range, range));
        let (mut features, mut targets) = (Vec::new(), Vec::new());
        for _ in 0..self.steps {
            let force = Self::expert(state);
            let [position, velocity, angle, turning] = state.map(|value| value as f32);
            if self.velocities {
                features.extend([position, velocity, angle, turning]);
            } else {
                features.extend([position, angle]);
            }
            targets.push((force / STRONGEST) as f32);
            state = Self::advance(state, force + self.push * random.normal());
        }
        RawSeries {
            name: format!("cart-pole-{index}"),
            rows: self.steps,
            features,
            targets,
            ..RawSeries::default()
        }
    }
}

fn slope([_, velocity, angle, turning]: [f64; 4], force: f64) -> [f64; 4] {
    let all = CART + POLE;
    let (sine, cosine) = angle.sin_cos();
    let shared = (force + POLE * HALF * turning * turning * sine) / all;
    let bend =
        (GRAVITY * sine - cosine * shared) / (HALF * (4.0 / 3.0 - POLE * cosine * cosine / all));
    [
        velocity,
        shared - POLE * HALF * bend * cosine / all,
        turning,
        bend,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expert_balances_and_nothing_does_not() {
        let after = |control: fn([f64; 4]) -> f64| {
            let mut state = [0.5, -0.5, 0.15, -0.5];
            for _ in 0..1000 {
                state = CartPole::advance(state, control(state));
            }
            state
        };
        let balanced = after(CartPole::expert);
        assert!(
            balanced.iter().all(|value| value.abs() < 0.01),
            "{balanced:?}"
        );
        assert!(after(|_| 0.0)[2].abs() > 1.0);
    }

    #[test]
    fn pushes_keep_the_expert_at_work() {
        let one = CartPole::default().sequence(1);
        assert_eq!(one.features.len(), 2 * one.rows);
        let mean_square =
            one.targets.iter().map(|force| force * force).sum::<f32>() / one.rows as f32;
        assert!(
            mean_square > 1e-4 && one.features.iter().all(|value| value.abs() < 2.5),
            "{mean_square}"
        );
    }
}

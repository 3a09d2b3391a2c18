//! Spirals that turn left or right, seen at irregular times.

use serde::{Deserialize, Serialize};

use super::{Counts, assembly, check, time_plan};
use crate::assemble::Assembly;
use crate::config::TaskConfig;
use crate::error::Result;
use crate::random::Random;
use crate::series::RawSeries;

/// Points of noisy spirals; the class is the direction in which they turn.
///
/// ```text
/// radius = 0.3 + 0.1 angle,   angle = start + direction speed time
/// ```
///
/// # Source
/// The toy task of Chen et al., "Neural ordinary differential equations" (2018), section 5.1, as a classification.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Spiral {
    /// Points of a spiral; 40 unless set.
    pub steps: usize,
    /// Standard deviation of the noise; 0.3 unless set, so that a few points do not tell.
    pub noise: f64,
    /// Training sequences; 1000 unless set.
    pub train_sequences: usize,
    /// Validation sequences; 200 unless set.
    pub validation_sequences: usize,
    /// Test sequences; 200 unless set.
    pub test_sequences: usize,
    /// Seed of every draw.
    pub seed: u64,
}

impl Default for Spiral {
    fn default() -> Self {
        Self {
            steps: 40,
            noise: 0.3,
            train_sequences: 1000,
            validation_sequences: 200,
            test_sequences: 200,
            seed: 0,
        }
    }
}

impl Spiral {
    pub(super) fn validate(&self) -> Result<()> {
        check("steps", self.steps as f64, 2.0, 1e6)?;
        check("noise", self.noise, 0.0, 10.0)?;
        self.counts().check()
    }

    pub(super) fn assembly(&self) -> Assembly {
        let parts = self.counts().parts(|index| self.sequence(index));
        let mut assembly = assembly(
            &["x", "y"],
            &["direction"],
            TaskConfig::LabelLastStep,
            parts,
        );
        assembly.classes = vec!["right".to_owned(), "left".to_owned()];
        Assembly {
            time: Some(time_plan(None)),
            ..assembly
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
        let class = random.below(2);
        let direction = if class == 1 { 1.0 } else { -1.0 };
        let start = random.between(0.0, std::f64::consts::TAU);
        let mut turned = random.between(0.0, 4.0);
        let (mut times, mut values) = (Vec::new(), Vec::new());
        for _ in 0..self.steps {
            times.push(turned);
            let (sine, cosine) = (start + direction * turned).sin_cos();
            let radius = 0.3 + 0.1 * turned;
            let seen = [radius * cosine, radius * sine];
            values.extend(seen.map(|value| (value + self.noise * random.normal()) as f32));
            turned += 0.3 * random.exponential();
        }
        RawSeries {
            name: format!("spiral-{index}"),
            rows: self.steps,
            times: Some(times),
            targets: vec![class as f32; self.steps],
            features: values,
            ..RawSeries::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_points_turn_as_the_label_says() {
        let spiral = Spiral {
            noise: 0.0,
            ..Spiral::default()
        };
        for index in 0..50 {
            let one = spiral.sequence(index);
            // Twice the area that the ray from the centre sweeps, positive to the left.
            let points: Vec<&[f32]> = one.features.chunks_exact(2).collect();
            let area: f32 = points
                .windows(2)
                .map(|pair| pair[0][0] * pair[1][1] - pair[0][1] * pair[1][0])
                .sum();
            assert_eq!(area > 0.0, one.targets[0] > 0.5, "{index}");
        }
    }
}

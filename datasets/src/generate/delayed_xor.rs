//! Delayed XOR: whether two bits far apart differ.

use serde::{Deserialize, Serialize};

use super::{Counts, assembly, check};
use crate::assemble::Assembly;
use crate::config::TaskConfig;
use crate::error::Result;
use crate::random::Random;
use crate::series::RawSeries;

/// Two marked bits, a random wait apart, among noise; the class, at the last step, is whether they differ.
///
/// A network must keep the first bit: neither bit alone tells anything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct DelayedXor {
    /// Steps of a sequence; 40 unless set.
    pub steps: usize,
    /// Standard deviation of the noise on all steps; 0.3 unless set.
    pub noise: f64,
    /// Training sequences; 2000 unless set.
    pub train_sequences: usize,
    /// Validation sequences; 400 unless set.
    pub validation_sequences: usize,
    /// Test sequences; 400 unless set.
    pub test_sequences: usize,
    /// Seed of every draw.
    pub seed: u64,
}

impl Default for DelayedXor {
    fn default() -> Self {
        Self {
            steps: 40,
            noise: 0.3,
            train_sequences: 2000,
            validation_sequences: 400,
            test_sequences: 400,
            seed: 0,
        }
    }
}

impl DelayedXor {
    pub(super) fn validate(&self) -> Result<()> {
        check("steps", self.steps as f64, 4.0, 1e6)?;
        check("noise", self.noise, 0.0, 10.0)?;
        self.counts().check()
    }

    pub(super) fn assembly(&self) -> Assembly {
        let parts = self.counts().parts(|index| self.sequence(index));
        let mut assembly = assembly(
            &["signal", "mark"],
            &["xor"],
            TaskConfig::LabelLastStep,
            parts,
        );
        assembly.classes = vec!["same".to_owned(), "different".to_owned()];
        assembly
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
        let half = self.steps / 2;
        let marked = [random.below(half), half + random.below(self.steps - half)];
        let bits = [random.below(2), random.below(2)];
        let mut features = Vec::with_capacity(2 * self.steps);
        for step in 0..self.steps {
            let which = marked.iter().position(|place| *place == step);
            let signal = which.map_or(0.0, |which| 2.0 * bits[which] as f64 - 1.0);
            features.push((signal + self.noise * random.normal()) as f32);
            features.push(f32::from(u8::from(which.is_some())));
        }
        RawSeries {
            name: format!("delayed-xor-{index}"),
            rows: self.steps,
            features,
            targets: vec![(bits[0] ^ bits[1]) as f32; self.steps],
            ..RawSeries::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_is_the_xor_of_the_marked_signs() {
        let task = DelayedXor {
            noise: 0.0,
            ..DelayedXor::default()
        };
        for index in 0..50 {
            let one = task.sequence(index);
            let marked: Vec<f32> = one
                .features
                .chunks_exact(2)
                .filter(|row| row[1] > 0.5)
                .map(|row| row[0])
                .collect();
            assert_eq!(marked.len(), 2);
            assert_eq!(marked[0] * marked[1] < 0.0, one.targets[0] > 0.5);
        }
    }
}

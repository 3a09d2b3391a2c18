//! Adding: the sum of two marked numbers among many.

use serde::{Deserialize, Serialize};

use super::{Counts, assembly, check};
use crate::assemble::Assembly;
use crate::config::TaskConfig;
use crate::error::Result;
use crate::random::Random;
use crate::series::RawSeries;

/// Random numbers of which two are marked; the target, at the last step, is their sum.
///
/// Always answering 1, the mean, has a mean squared error of 1/6 (0.167).
///
/// # Source
/// Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9 (1997), experiment 4.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct AddingProblem {
    /// Numbers of a sequence; 50 unless set.
    pub steps: usize,
    /// Training sequences; 5000 unless set.
    pub train_sequences: usize,
    /// Validation sequences; 1000 unless set.
    pub validation_sequences: usize,
    /// Test sequences; 1000 unless set.
    pub test_sequences: usize,
    /// Seed of every draw.
    pub seed: u64,
}

impl Default for AddingProblem {
    fn default() -> Self {
        Self {
            steps: 50,
            train_sequences: 5000,
            validation_sequences: 1000,
            test_sequences: 1000,
            seed: 0,
        }
    }
}

impl AddingProblem {
    pub(super) fn validate(&self) -> Result<()> {
        check("steps", self.steps as f64, 2.0, 1e6)?;
        self.counts().check()
    }

    pub(super) fn assembly(&self) -> Assembly {
        let parts = self.counts().parts(|index| self.sequence(index));
        assembly(
            &["number", "mark"],
            &["sum"],
            TaskConfig::RegressionLastStep,
            parts,
        )
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
        let (mut features, mut sum) = (Vec::with_capacity(2 * self.steps), 0.0);
        for step in 0..self.steps {
            let number = random.uniform() as f32;
            let is_marked = marked.contains(&step);
            features.extend([number, f32::from(u8::from(is_marked))]);
            sum += if is_marked { number } else { 0.0 };
        }
        RawSeries {
            name: format!("adding-{index}"),
            rows: self.steps,
            features,
            targets: vec![sum; self.steps],
            ..RawSeries::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_answer_has_the_error_of_the_paper() {
        let task = AddingProblem::default();
        let errors: Vec<f64> = (0..4000)
            .map(|index| {
                let one = task.sequence(index);
                let marked: f32 = one
                    .features
                    .chunks_exact(2)
                    .map(|row| row[0] * row[1])
                    .sum();
                assert!((marked - one.targets[0]).abs() < 1e-6);
                (f64::from(one.targets[0]) - 1.0).powi(2)
            })
            .collect();
        let mean = errors.iter().sum::<f64>() / 4000.0;
        assert!((mean - 1.0 / 6.0).abs() < 0.01, "{mean}");
    }
}

//! Sine tracking: the usual first demonstration of a liquid network.

use serde::{Deserialize, Serialize};

use super::{Counts, assembly};
use crate::assemble::Assembly;
use crate::config::{TaskConfig, config};
use crate::error::Result;
use crate::random::Random;
use crate::series::RawSeries;
use crate::split::Parts;

/// Gives sin and cos of an angle and asks for the sine of twice the angle.
///
/// ```text
/// a_t = phase + 3 pi t / (steps - 1),   input (sin a_t, cos a_t),   target sin(2 a_t)
/// ```
///
/// # Source
/// The example task of the Python package `ncps` (48 steps, one sequence, phase 0).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct Sine {
    /// Steps of a sequence; 48 unless set.
    pub steps: usize,
    /// Training sequences; 1 unless set. The first has phase 0, the others random phases.
    pub train_sequences: usize,
    /// Validation sequences; 0 unless set: then the training sequences are validated on, as in the original demonstration.
    pub validation_sequences: usize,
    /// Test sequences; 0 unless set, with the same meaning.
    pub test_sequences: usize,
    /// Seed of the random phases.
    pub seed: u64,
}

impl Default for Sine {
    fn default() -> Self {
        Self {
            steps: 48,
            train_sequences: 1,
            validation_sequences: 0,
            test_sequences: 0,
            seed: 0,
        }
    }
}

impl Sine {
    pub(super) fn validate(&self) -> Result<()> {
        if self.steps < 2 {
            return Err(config("generator.steps", "a sine needs at least 2 steps"));
        }
        self.counts().check()
    }

    pub(super) fn assembly(&self) -> Assembly {
        let parts = self.counts().parts(|index| self.sequence(index));
        // Without sequences of its own a part shows how well the training ones were learned.
        let or_train = |part: Vec<RawSeries>| {
            if part.is_empty() {
                parts.train.clone()
            } else {
                part
            }
        };
        let parts = Parts {
            validation: or_train(parts.validation),
            test: or_train(parts.test),
            train: parts.train.clone(),
            ..Parts::default()
        };
        assembly(
            &["sin", "cos"],
            &["sin_double"],
            TaskConfig::RegressionEachStep,
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
        let phase = match index {
            0 => 0.0,
            _ => Random::new(self.seed, index).between(0.0, std::f64::consts::TAU),
        };
        let last = (self.steps - 1) as f64;
        let angle = |step: usize| phase + 3.0 * std::f64::consts::PI * step as f64 / last;
        RawSeries {
            name: format!("sine-{index}"),
            rows: self.steps,
            features: (0..self.steps)
                .flat_map(|step| [angle(step).sin() as f32, angle(step).cos() as f32])
                .collect(),
            targets: (0..self.steps)
                .map(|step| (2.0 * angle(step)).sin() as f32)
                .collect(),
            ..RawSeries::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demonstration_is_one_sequence_of_48_steps() {
        let dataset = Sine::default().assembly().build().unwrap();
        assert_eq!((dataset.train.len(), dataset.train.time()), (1, 48));
        assert_eq!((dataset.inputs(), dataset.outputs()), (2, 1));
        let mut batches = dataset.test.batches(1, None).unwrap();
        let mut batch = batches.host_batch();
        batches.fill(0, 0, &mut batch).unwrap();
        // Double-angle identity: sin 2a = 2 sin a cos a.
        for (inputs, target) in batch.x.chunks(2).zip(&batch.targets) {
            assert!((2.0 * inputs[0] * inputs[1] - target).abs() < 1e-6);
        }
        assert_eq!(batch.x[..2], [0.0, 1.0]);
    }
}

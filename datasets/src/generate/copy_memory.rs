//! Copying: repeat symbols after a long wait.

use serde::{Deserialize, Serialize};

use super::{Counts, assembly, check};
use crate::assemble::Assembly;
use crate::config::TaskConfig;
use crate::error::Result;
use crate::random::Random;
use crate::series::RawSeries;

/// Symbols to remember, a wait, a sign, and the symbols again as labels; at all other steps the label is `blank`.
///
/// An input is 1 for the symbol, blank or sign of its step. Always saying `blank` leaves `symbols` errors a sequence.
///
/// # Source
/// Hochreiter and Schmidhuber 1997, in the form of Arjovsky, Shah and Bengio, "Unitary evolution recurrent neural networks" (2016).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct CopyMemory {
    /// Steps to wait; 30 unless set.
    pub delay: usize,
    /// Symbols to remember; 5 unless set (10 in the paper).
    pub symbols: usize,
    /// Different symbols; 8 unless set.
    pub alphabet: usize,
    /// Training sequences; 2000 unless set.
    pub train_sequences: usize,
    /// Validation sequences; 400 unless set.
    pub validation_sequences: usize,
    /// Test sequences; 400 unless set.
    pub test_sequences: usize,
    /// Seed of every draw.
    pub seed: u64,
}

impl Default for CopyMemory {
    fn default() -> Self {
        Self {
            delay: 30,
            symbols: 5,
            alphabet: 8,
            train_sequences: 2000,
            validation_sequences: 400,
            test_sequences: 400,
            seed: 0,
        }
    }
}

impl CopyMemory {
    pub(super) fn validate(&self) -> Result<()> {
        check("delay", self.delay as f64, 1.0, 1e6)?;
        check("symbols", self.symbols as f64, 1.0, 1e4)?;
        check("alphabet", self.alphabet as f64, 2.0, 100.0)?;
        self.counts().check()
    }

    pub(super) fn assembly(&self) -> Assembly {
        let parts = self.counts().parts(|index| self.sequence(index));
        let symbols = (1..=self.alphabet).map(|symbol| format!("symbol_{symbol}"));
        let classes: Vec<String> = std::iter::once("blank".to_owned()).chain(symbols).collect();
        let inputs: Vec<&str> = classes.iter().map(String::as_str).chain(["sign"]).collect();
        let mut assembly = assembly(&inputs, &["recalled"], TaskConfig::LabelEachStep, parts);
        assembly.classes = classes;
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
        let remembered: Vec<usize> = (0..self.symbols)
            .map(|_| 1 + random.below(self.alphabet))
            .collect();
        let rows = 2 * self.symbols + self.delay;
        let width = self.alphabet + 2;
        let mut features = vec![0.0; rows * width];
        let mut targets = vec![0.0; rows];
        for row in 0..rows {
            let shown = match row {
                row if row < self.symbols => remembered[row],
                // The sign stands on the step before the first symbol is asked for.
                row if row + self.symbols + 1 == rows => self.alphabet + 1,
                _ => 0,
            };
            features[row * width + shown] = 1.0;
            if row >= rows - self.symbols {
                targets[row] = remembered[row + self.symbols - rows] as f32;
            }
        }
        RawSeries {
            name: format!("copy-{index}"),
            rows,
            features,
            targets,
            ..RawSeries::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_labels_are_the_first_symbols() {
        let task = CopyMemory::default();
        let one = task.sequence(3);
        let shown: Vec<usize> = one
            .features
            .chunks_exact(10)
            .map(|row| row.iter().position(|value| *value > 0.5).unwrap())
            .collect();
        let labels: Vec<usize> = one.targets.iter().map(|label| *label as usize).collect();
        assert_eq!(shown[..5], labels[35..]);
        assert_eq!((shown[34], shown[35..].iter().sum::<usize>()), (9, 0));
        assert!(labels[..35].iter().all(|label| *label == 0));
    }
}

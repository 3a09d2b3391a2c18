//! The state that samples carry from one batch to the next: truncated back-propagation through time.

use mlx_rs::{Array, ops};

use super::{Inputs, Model};
use crate::{Error, Result};

/// Where the samples of a batch ended, for those of the next batch that go on there.
#[derive(Debug, Clone, Default)]
pub struct Carried {
    /// As of [`Model::rest`]; empty before the first batch.
    arrays: Vec<Array>,
}

impl Carried {
    /// The state that a batch begins in: for each sample the one it ended in before, where `continues` says so, else rest.
    ///
    /// # Errors
    /// [`Error::Setting`] for a model without a state to carry, [`Error::Batch`] for another number of samples than before.
    pub(super) fn begin(
        &self,
        continues: &[bool],
        rest: impl FnOnce(usize) -> Vec<Array>,
    ) -> Result<Vec<Array>> {
        let rest = rest(continues.len());
        if rest.is_empty() {
            return Err(cannot_carry());
        }
        if !continues.contains(&true) {
            return Ok(rest);
        }
        let shapes = |arrays: &[Array]| -> Vec<Vec<i32>> {
            arrays.iter().map(|array| array.shape().to_vec()).collect()
        };
        let (found, expected) = (shapes(&self.arrays), shapes(&rest));
        if found != expected {
            return Err(Error::Batch {
                argument: "state",
                found: format!("{found:?}"),
                expected: format!(
                    "{expected:?}: samples that go on need a batch of as many before"
                ),
            });
        }
        if !continues.contains(&false) {
            return Ok(self.arrays.clone());
        }
        let pairs = self.arrays.iter().zip(&rest);
        // A product with 0 would keep a state that is not finite.
        let begun = pairs.map(|(carried, rest)| {
            let mut shape = vec![1; rest.ndim()];
            shape[0] = rest.dim(0);
            ops::select(Array::from_slice(continues, &shape), carried, rest)
        });
        let begun: std::result::Result<Vec<Array>, _> = begun.collect();
        begun.map_err(|source| Error::Mlx {
            operation: "carried state",
            source,
        })
    }

    /// Notes where the samples of a batch ended.
    pub(super) fn keep(&mut self, arrays: Vec<Array>) {
        self.arrays = arrays;
    }

    pub(super) fn arrays(&self) -> &[Array] {
        &self.arrays
    }

    /// Predicts for a batch outside of training and carries the states on; `continues` as of [`super::BatchSource::continues`].
    ///
    /// # Shapes
    /// As [`Model::forward`].
    ///
    /// # Errors
    /// Those of the model; [`Error::Setting`] for one without a state to carry.
    pub fn predict<M: Model + ?Sized>(
        &mut self,
        model: &mut M,
        inputs: &Inputs,
        continues: Option<&[bool]>,
    ) -> Result<Array> {
        let Some(continues) = continues else {
            return model.forward(inputs, None);
        };
        let state = self.begin(continues, |samples| model.rest(samples))?;
        let (predictions, state) = model.forward_from(inputs, &state, None)?;
        self.keep(state);
        Ok(predictions)
    }
}

/// The answer of models that have no state to go on from.
pub(super) fn cannot_carry() -> Error {
    Error::Setting {
        key: "stateful".to_owned(),
        value: "true".to_owned(),
        expected: "false for this model: it has no state to carry from one window to the next"
            .to_owned(),
    }
}

#[cfg(test)]
#[path = "carried_tests.rs"]
mod tests;

//! What a run would do, worked out before the first step.

use serde::Serialize;

/// Sizes and costs of a run, for `--dry-run`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plan {
    /// Number of trained values.
    pub parameters: usize,
    /// Training, validation and test windows.
    pub windows: [usize; 3],
    /// Steps of a window.
    pub time: usize,
    /// Features of a step.
    pub inputs: usize,
    /// Outputs of a step.
    pub outputs: usize,
    /// Share of an epoch's training steps that are padding, if all windows had the longest one's length, and in their buckets.
    pub padding: [f64; 2],
    /// Batches of an epoch.
    pub steps_per_epoch: usize,
    /// Batches of the whole run, if it does not stop early.
    pub steps: u64,
    /// Estimated memory in bytes: a rule of thumb, not a measurement.
    pub memory_estimate: MemoryEstimate,
}

/// An estimate of the memory that training takes, in bytes.
///
/// ```text
/// state       = 4 * parameters * (1 weight + 1 gradient + optimiser slots + 1 best copy)
/// data        = 4 * values of all three splits
/// activations = 4 * batch * time * sum over weight matrices of (rows * uses * 3)
/// ```
/// A layer keeps about three values per row of each weight matrix and time step for the backward pass; an LTC does so
/// in each of its unfolds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryEstimate {
    /// Weights, gradients and optimiser state.
    pub state: u64,
    /// The data, as windows share them.
    pub data: u64,
    /// What the backward pass needs of one batch.
    pub activations: u64,
    /// All together.
    pub total: u64,
}

/// What the estimate is made from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) parameters: usize,
    pub(crate) optimizer_slots: usize,
    pub(crate) data_values: usize,
    pub(crate) batch: usize,
    pub(crate) time: usize,
    /// Rows of all weight matrices, each times its uses in a step.
    pub(crate) rows: usize,
}

impl MemoryEstimate {
    pub(crate) fn of(sizes: Sizes) -> Self {
        let float = 4u64;
        let state = float * sizes.parameters as u64 * (3 + sizes.optimizer_slots as u64);
        let data = float * sizes.data_values as u64;
        let activations = float * sizes.batch as u64 * sizes.time as u64 * sizes.rows as u64 * 3;
        Self {
            state,
            data,
            activations,
            total: state + data + activations,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_its_formula() {
        let sizes = Sizes {
            parameters: 10,
            optimizer_slots: 2,
            data_values: 100,
            batch: 2,
            time: 3,
            rows: 5,
        };
        let estimate = MemoryEstimate::of(sizes);
        assert_eq!(
            estimate,
            MemoryEstimate {
                state: 200,
                data: 400,
                activations: 360,
                total: 960
            }
        );
    }
}

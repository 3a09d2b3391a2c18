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
/// activations = what a training step or an evaluation of a batch takes at most
/// ```
/// The last comes from the sizes that the kernels themselves use: a network that is one operation takes what the threads'
/// blocks of samples take, however large the batch is. It is what a run adds to the program, which takes some 80 MB itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryEstimate {
    /// Weights, gradients and optimiser state.
    pub state: u64,
    /// The data, as windows share them.
    pub data: u64,
    /// A batch, and what its step or its evaluation takes.
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
    /// Bytes of a batch and of the larger of its step and its evaluation.
    pub(crate) step: u64,
}

impl MemoryEstimate {
    pub(crate) fn of(sizes: Sizes) -> Self {
        let float = 4u64;
        let state = float * sizes.parameters as u64 * (3 + sizes.optimizer_slots as u64);
        let data = float * sizes.data_values as u64;
        Self {
            state,
            data,
            activations: sizes.step,
            total: (state + data).saturating_add(sizes.step),
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
            step: 360,
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

//! Training: a pure step over flat arrays, and the decisions around it.
//!
//! [`Trainer`] runs the loop. What it decides (learning rates, early stopping, what to keep) lives in
//! pure functions of [`schedule`] and [`progress`]; what it computes is one function from
//! (parameters, optimiser state, key, batch) to (loss, new state), traced once and compiled where that
//! pays. Its whole state is what a checkpoint holds, so that a resumed run ends in the same bytes.
//!
//! # Example
//! A line through three points; a network of this crate takes the place of `Line`.
//! ```
//! use mlx_rs::{Array, builder::Builder, macros::ModuleParameters, module::Module, nn};
//! use ncps_core::train::{Batch, BatchSource, Inputs, Model, TrainConfig, Trainer};
//!
//! #[derive(Debug, ModuleParameters)]
//! struct Line {
//!     #[param]
//!     linear: nn::Linear,
//! }
//!
//! impl Model for Line {
//!     fn forward(&mut self, inputs: &Inputs, _key: Option<&Array>) -> ncps_core::Result<Array> {
//!         let result = self.linear.forward(&inputs.x);
//!         result.map_err(|source| ncps_core::Error::Mlx { operation: "line", source })
//!     }
//! }
//!
//! struct Points;
//!
//! impl BatchSource for Points {
//!     fn steps(&self) -> usize {
//!         1
//!     }
//!     fn batch(&mut self, _epoch: u64, _step: usize) -> ncps_core::Result<Batch> {
//!         let x = Array::from_slice(&[-1.0f32, 0.0, 1.0], &[1, 3, 1]);
//!         let inputs = Inputs { x, timespans: None, mask: None };
//!         let targets = Array::from_slice(&[-1.0f32, 1.0, 3.0], &[1, 3, 1]);
//!         let weights = Array::from_slice(&[1.0f32], &[1]);
//!         Ok(Batch { inputs, targets, weights })
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = Line { linear: nn::LinearBuilder::new(1, 1).build()? };
//! let config = TrainConfig { epochs: 300, learning_rate: 0.05, ..TrainConfig::default() };
//! let mut trainer = Trainer::new(model, config, 1)?;
//! trainer.fit(&mut Points, None, &mut ())?;
//! assert!(trainer.evaluate(&mut Points)?["mse"] < 1e-3);
//! # Ok(())
//! # }
//! ```

mod anchor;
mod batch;
mod carried;
mod chained;
mod config;
mod epoch;
mod evaluate;
mod flat;
mod function;
mod fused_update;
mod keep;
pub mod loss;
pub mod metrics;
mod nonfinite;
pub mod optimizer;
mod precision;
pub mod progress;
mod regroup;
mod resume;
mod saving;
pub mod schedule;
mod stages;
mod step;
mod trainer;

#[cfg(test)]
mod network_tests;
#[cfg(test)]
mod testing;

use std::path::PathBuf;

use mlx_rs::Array;
use mlx_rs::module::ModuleParameters;
use serde::{Deserialize, Serialize};

pub use batch::{Batch, BatchSource, Inputs};
pub use carried::Carried;
pub use config::{
    CheckpointConfig, ClipConfig, CompileMode, DecayGroup, EarlyStopping, OnNonfinite, TrainConfig,
};
pub use evaluate::evaluate;
pub(crate) use flat::host;
pub use function::compilations;
pub use loss::LossConfig;
pub use metrics::{MetricName, Metrics, TargetUnits};
pub use optimizer::OptimizerConfig;
pub use precision::Precision;
pub use progress::Best;
pub use resume::Resumed;
pub use schedule::Schedule;
pub use stages::{StepHandover, StepStages};
pub use trainer::{Outcome, Summary, Trainer};

use crate::Result;
use crate::kernel::Chain;

/// A network that can be trained: its parameters and how they turn inputs into predictions.
pub trait Model: ModuleParameters {
    /// Predicts for one batch.
    ///
    /// # Shapes
    /// `inputs` as in [`Inputs`]; the result is [B, T, O], or [B, O] for one prediction a sequence.
    /// For classification these are logits.
    ///
    /// # Errors
    /// Whatever the layers refuse; `key` drives dropout and is `None` outside of training.
    fn forward(&mut self, inputs: &Inputs, key: Option<&Array>) -> Result<Array>;

    /// The state of `samples` sequences before their first step, as arrays [B, ...]; none, the default, for a model that has no
    /// state to carry from one window to the next.
    fn rest(&self, _samples: usize) -> Vec<Array> {
        Vec::new()
    }

    /// Predicts as [`Model::forward`] from a state in the form of [`Model::rest`], and gives the state after the last step.
    ///
    /// # Errors
    /// Those of [`Model::forward`]; [`crate::Error::Setting`] for a model without a state.
    fn forward_from(
        &mut self,
        _inputs: &Inputs,
        _state: &[Array],
        _key: Option<&Array>,
    ) -> Result<(Array, Vec<Array>)> {
        Err(carried::cannot_carry())
    }

    /// Names the parameters that must stay at or above zero (an LTC with explicit constraints).
    fn constrained_parameters(&self) -> Vec<String> {
        Vec::new()
    }

    /// Describes the model as stages that the kernels know, computing what [`Model::forward`] does; training on a CPU is
    /// then faster. `None`, the default, for any other model. It is asked for once, when a trainer is made.
    fn chain(&self) -> Option<Chain> {
        None
    }
}

impl<M: Model + ?Sized> Model for Box<M> {
    fn forward(&mut self, inputs: &Inputs, key: Option<&Array>) -> Result<Array> {
        self.as_mut().forward(inputs, key)
    }

    fn rest(&self, samples: usize) -> Vec<Array> {
        self.as_ref().rest(samples)
    }

    fn forward_from(
        &mut self,
        inputs: &Inputs,
        state: &[Array],
        key: Option<&Array>,
    ) -> Result<(Array, Vec<Array>)> {
        self.as_mut().forward_from(inputs, state, key)
    }

    fn constrained_parameters(&self) -> Vec<String> {
        self.as_ref().constrained_parameters()
    }

    fn chain(&self) -> Option<Chain> {
        self.as_ref().chain()
    }
}

/// One batch of training, as an [`Observer`] sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// Batches seen since the run began, this one included.
    pub step: u64,
    /// Parameter updates since the run began.
    pub updates: u64,
    /// Epoch, from 0.
    pub epoch: u64,
    /// Batches seen in this epoch, this one included.
    pub step_in_epoch: usize,
    /// Batches in an epoch.
    pub steps_per_epoch: usize,
    /// Loss of this batch, before its update.
    pub loss: f64,
    /// Norm of the gradient before clipping; `None` while gradients are still being accumulated.
    pub gradient_norm: Option<f64>,
    /// Learning rate of the update.
    pub learning_rate: f64,
    /// Length of the update over the length of the parameters before it, of logged steps with an update; about 1e-3 is
    /// usual, and much more means that the learning rate is too large.
    pub update_ratio: Option<f64>,
}

impl StepReport {
    /// Whether this is one of the about 20 steps of an epoch that are worth a row.
    pub fn is_logged(&self) -> bool {
        is_logged(self.step, self.steps_per_epoch)
    }
}

fn is_logged(step: u64, steps_per_epoch: usize) -> bool {
    const ROWS_PER_EPOCH: usize = 20;
    // Steps outside of epochs are of loops that keep no table.
    let every = (steps_per_epoch / ROWS_PER_EPOCH).max(1) as u64;
    steps_per_epoch > 0 && step.is_multiple_of(every)
}

/// A loss or gradient that was not finite, and what was done.
#[derive(Debug, Clone, PartialEq)]
pub struct NonfiniteReport {
    /// What was not finite, where and since when, in one line.
    pub cause: String,
    /// What was done.
    pub action: OnNonfinite,
    /// Batches seen that the run goes on from; later steps of before are void.
    pub resumes_at: u64,
    /// How often this was done in this run.
    pub count: u64,
    /// How often it may be done.
    pub limit: u64,
    /// Learning rate of the next update.
    pub learning_rate: f64,
}

/// One epoch; holds no times, so that two runs of one seed give equal reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochReport {
    /// Epoch, from 0.
    pub epoch: u64,
    /// Batches seen since the run began.
    pub step: u64,
    /// Learning rate of the epoch's last update.
    pub learning_rate: f64,
    /// `loss` over the epoch as it was trained; with `train_metrics` all metrics at its end.
    pub train: Metrics,
    /// Metrics of the validation split, when there is one.
    pub validation: Option<Metrics>,
    /// Whether these are the best weights so far.
    pub is_best: bool,
}

/// A checkpoint that was just written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointReport {
    /// Its directory.
    pub path: PathBuf,
    /// Batches seen since the run began.
    pub step: u64,
    /// Epoch that the run continues with.
    pub epoch: u64,
    /// Whether it holds the best weights so far.
    pub is_best: bool,
}

/// Watches a run and may end it.
pub trait Observer {
    /// Hears of each batch, at the latest when the next one is under way.
    fn on_step(&mut self, _report: &StepReport) {}

    /// Hears of each epoch.
    fn on_epoch(&mut self, _report: &EpochReport) {}

    /// Hears of each batch that was skipped and each rollback.
    fn on_nonfinite(&mut self, _report: &NonfiniteReport) {}

    /// Hears of each checkpoint.
    fn on_checkpoint(&mut self, _report: &CheckpointReport) {}

    /// Is asked before each batch; `true` saves a checkpoint and ends [`Trainer::fit`].
    fn should_stop(&mut self) -> bool {
        false
    }
}

/// Watches nothing.
impl Observer for () {}

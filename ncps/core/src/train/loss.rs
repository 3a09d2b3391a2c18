//! Losses: what is minimised, as sums over a batch, so that means over batches of any filling are exact.

use mlx_rs::error::Exception;
use mlx_rs::{Array, array, ops};
use serde::{Deserialize, Serialize};

use super::batch::Batch;
use super::config::{fraction, positive, setting};
use crate::{Error, Result};

type Mlx<T> = std::result::Result<T, Exception>;

/// What is minimised.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LossConfig {
    /// Mean squared error.
    Mse(PlainLoss),
    /// Mean absolute error.
    Mae(PlainLoss),
    /// Squared near zero, absolute further out.
    Huber(HuberLoss),
    /// Cross-entropy of logits against class ids.
    CrossEntropy(ClassLoss),
    /// Cross-entropy of one logit per label against 0 or 1.
    BinaryCrossEntropy(ClassLoss),
}

impl Default for LossConfig {
    fn default() -> Self {
        Self::Mse(PlainLoss::default())
    }
}

/// Where in a sequence predictions are judged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum At {
    /// At every step that the mask calls real.
    #[default]
    EveryStep,
    /// At the last step that the mask calls real.
    LastStep,
}

/// A loss without settings of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PlainLoss {
    /// Where in a sequence predictions are judged; default `every_step`.
    pub at: At,
}

/// Huber's loss.
///
/// ```text
/// |e| <= delta: e^2 / 2        else: delta (|e| - delta / 2)
/// ```
/// # Source
/// Huber 1964.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct HuberLoss {
    /// Error at which the square turns into a line, above 0, in target units; default 1.
    pub delta: f64,
    /// Where in a sequence predictions are judged; default `every_step`.
    pub at: At,
}

impl Default for HuberLoss {
    fn default() -> Self {
        Self {
            delta: 1.0,
            at: At::EveryStep,
        }
    }
}

/// Settings of both cross-entropies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ClassLoss {
    /// Weight of each class, in the order of their ids; empty (the default) weighs all alike.
    pub class_weights: Vec<f64>,
    /// Share of the target that is spread over all classes, in [0, 1); default 0.
    pub label_smoothing: f64,
    /// Where in a sequence predictions are judged; default `every_step`.
    pub at: At,
}

/// What kind of target a loss is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Numbers.
    Regression,
    /// One class out of several.
    Classes,
    /// Independent labels, each 0 or 1.
    Labels,
}

/// A loss over a batch, and what it was computed from, one row a judged position.
#[derive(Debug)]
pub(super) struct Terms {
    /// Sum of weight times loss.
    pub(super) loss: Array,
    /// Sum of weights (with class weights, of those).
    pub(super) weight: Array,
    /// [..., O]
    pub(super) predictions: Array,
    /// [..., O], or [...] for classes.
    pub(super) targets: Array,
    /// [...], without class weights.
    pub(super) weights: Array,
}

/// How many arrays [`Terms::judged`] gives.
pub(super) const JUDGED: usize = 5;

impl Terms {
    /// (loss, weight, predictions, targets, weights)
    pub(super) fn judged(self) -> Vec<Array> {
        vec![
            self.loss,
            self.weight,
            self.predictions,
            self.targets,
            self.weights,
        ]
    }
}

impl LossConfig {
    /// Gives the name under which a configuration chooses it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Mse(_) => "mse",
            Self::Mae(_) => "mae",
            Self::Huber(_) => "huber",
            Self::CrossEntropy(_) => "cross_entropy",
            Self::BinaryCrossEntropy(_) => "binary_cross_entropy",
        }
    }

    /// Tells what kind of target it is for.
    pub fn task(&self) -> Task {
        match self {
            Self::Mse(_) | Self::Mae(_) | Self::Huber(_) => Task::Regression,
            Self::CrossEntropy(_) => Task::Classes,
            Self::BinaryCrossEntropy(_) => Task::Labels,
        }
    }

    pub(super) fn at(&self) -> At {
        match self {
            Self::Mse(config) | Self::Mae(config) => config.at,
            Self::Huber(config) => config.at,
            Self::CrossEntropy(config) | Self::BinaryCrossEntropy(config) => config.at,
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        match self {
            Self::Mse(_) | Self::Mae(_) => Ok(()),
            Self::Huber(config) => positive("loss.delta", config.delta),
            Self::CrossEntropy(config) => config.validate(),
            Self::BinaryCrossEntropy(config) => {
                if !matches!(config.class_weights.len(), 0 | 2) {
                    let found = format!("{} numbers", config.class_weights.len());
                    let expected = "two numbers: the weights of label 0 and of label 1";
                    return Err(setting("loss.class_weights", found, expected));
                }
                config.validate()
            }
        }
    }

    /// Computes the loss of `predictions` over a batch.
    ///
    /// # Errors
    /// [`Error::Batch`] where shapes do not fit each other.
    pub(super) fn terms(&self, predictions: &Array, batch: &Batch) -> Result<Terms> {
        let lift = |source| Error::Mlx {
            operation: "loss",
            source,
        };
        let rows = Rows::judged(self.at(), self.task(), predictions, batch)?;
        if let Self::CrossEntropy(config) = self {
            config.check_classes(&rows.predictions)?;
        }
        let clean = rows.clean_targets().map_err(lift)?;
        let (losses, weights) = self.per_position(&rows, &clean).map_err(lift)?;
        let loss = losses.multiply(&rows.weights).and_then(|l| l.sum(None));
        let weight = weights.multiply(&rows.weights).and_then(|w| w.sum(None));
        Ok(Terms {
            loss: loss.map_err(lift)?,
            weight: weight.map_err(lift)?,
            predictions: rows.predictions,
            targets: rows.targets,
            weights: rows.weights,
        })
    }

    /// Gives each position's loss and the weight by which the mean divides.
    fn per_position(&self, rows: &Rows, targets: &Array) -> Mlx<(Array, Array)> {
        let even = || array!(1.0f32);
        let mean = |elements: Array| elements.mean_axis(-1, false);
        match self {
            Self::Mse(_) => {
                let squares = rows.predictions.subtract(targets)?.square()?;
                Ok((mean(squares)?, even()))
            }
            Self::Mae(_) => {
                let sizes = rows.predictions.subtract(targets)?.abs()?;
                Ok((mean(sizes)?, even()))
            }
            Self::Huber(config) => {
                let size = rows.predictions.subtract(targets)?.abs()?;
                // With q = min(|e|, delta) both branches are q (|e| - q / 2).
                let near = ops::minimum(&size, array!(config.delta as f32))?;
                let rest = size.subtract(near.multiply(array!(0.5f32))?)?;
                Ok((mean(near.multiply(rest)?)?, even()))
            }
            Self::CrossEntropy(config) => config.cross_entropy(&rows.predictions, targets),
            Self::BinaryCrossEntropy(config) => {
                let (losses, weights) = config.binary(&rows.predictions, targets)?;
                Ok((mean(losses)?, mean(weights)?))
            }
        }
    }
}

impl ClassLoss {
    fn validate(&self) -> Result<()> {
        for weight in &self.class_weights {
            positive("loss.class_weights", *weight)?;
        }
        fraction("loss.label_smoothing", self.label_smoothing)
    }

    fn check_classes(&self, logits: &Array) -> Result<()> {
        let classes = logits.dim(-1);
        if self.class_weights.is_empty() || self.class_weights.len() == classes as usize {
            return Ok(());
        }
        let found = format!("{} numbers", self.class_weights.len());
        let expected = format!("{classes}, one for each output of the model");
        Err(setting("loss.class_weights", found, expected))
    }

    /// ```text
    /// (1 - s) w[y] (-log p[y]) + s / C sum_c w[c] (-log p[c]),  divided by w[y] in the mean
    /// ```
    fn cross_entropy(&self, logits: &Array, targets: &Array) -> Mlx<(Array, Array)> {
        let logs = logits.subtract(ops::logsumexp_axis(logits, -1, true)?)?;
        let ids = targets.as_type::<i32>()?;
        let index = ids.expand_dims(-1)?;
        let chosen = ops::indexing::take_along_axis(&logs, &index, -1)?.squeeze_axes(&[-1])?;
        let weights = self.weights();
        let own = match &weights {
            Some(weights) => weights.take_axis(&ids, 0)?,
            None => array!(1.0f32),
        };
        let share = self.label_smoothing as f32;
        let sharp = chosen.multiply(&own)?.multiply(array!(share - 1.0))?;
        if share <= 0.0 {
            return Ok((sharp, own));
        }
        let weighed = match &weights {
            Some(weights) => logs.multiply(weights)?,
            None => logs,
        };
        let spread = weighed.mean_axis(-1, false)?.multiply(array!(share))?;
        Ok((sharp.subtract(spread)?, own))
    }

    /// log(1 + e^z) - z y, with y pulled towards 1/2 by half the smoothing on each side.
    fn binary(&self, logits: &Array, targets: &Array) -> Mlx<(Array, Array)> {
        let share = self.label_smoothing as f32;
        let smooth = targets
            .multiply(array!(1.0 - share))?
            .add(array!(0.5 * share))?;
        let losses = ops::logaddexp(logits, array!(0.0f32))?.subtract(logits.multiply(smooth)?)?;
        let [zero, one] = self.class_weights[..] else {
            return Ok((losses, ops::ones_like(targets)?));
        };
        let own = targets
            .multiply(array!((one - zero) as f32))?
            .add(array!(zero as f32))?;
        Ok((losses.multiply(&own)?, own))
    }

    fn weights(&self) -> Option<Array> {
        if self.class_weights.is_empty() {
            return None;
        }
        let host: Vec<f32> = self.class_weights.iter().map(|&w| w as f32).collect();
        Some(Array::from_slice(&host, &[host.len() as i32]))
    }
}

/// Predictions, targets and weights of the positions that count.
#[derive(Debug)]
struct Rows {
    predictions: Array,
    targets: Array,
    weights: Array,
}

impl Rows {
    fn judged(at: At, task: Task, predictions: &Array, batch: &Batch) -> Result<Self> {
        let lift = |source| Error::Mlx {
            operation: "loss",
            source,
        };
        let rows = match predictions.ndim() {
            2 => Self {
                predictions: predictions.clone(),
                targets: batch.targets.clone(),
                weights: batch.weights.clone(),
            },
            3 => {
                let every = Self::of_steps(predictions, batch)?;
                match at {
                    At::EveryStep => every,
                    At::LastStep => every.last(task, batch).map_err(lift)?,
                }
            }
            _ => {
                return Err(Error::Batch {
                    argument: "predictions",
                    found: format!("{:?}", predictions.shape()),
                    expected: "[B, T, O] or [B, O] from the model".to_owned(),
                });
            }
        };
        rows.checked(task)
    }

    /// Brings the weights to [B, T].
    fn of_steps(predictions: &Array, batch: &Batch) -> Result<Self> {
        let shape = [predictions.dim(0), predictions.dim(1)];
        let weights = match batch.weights.ndim() {
            1 => batch.weights.expand_dims(-1),
            _ => Ok(batch.weights.clone()),
        };
        let weights = weights.and_then(|weights| match &batch.inputs.mask {
            Some(mask) => weights.multiply(mask),
            None => ops::broadcast_to(&weights, &shape),
        });
        let expected = format!("{shape:?} or [{}], as the predictions need", shape[0]);
        match weights {
            Ok(weights) if weights.shape() == shape => Ok(Self {
                predictions: predictions.clone(),
                targets: batch.targets.clone(),
                weights,
            }),
            _ => Err(Error::Batch {
                argument: "weights",
                found: format!("{:?}", batch.weights.shape()),
                expected,
            }),
        }
    }

    /// Keeps the last real step of each sequence.
    fn last(self, task: Task, batch: &Batch) -> Mlx<Self> {
        let steps = self.predictions.dim(1);
        let chosen = last_step(batch.inputs.mask.as_ref(), steps)?;
        let full = match task {
            Task::Classes => 2,
            Task::Regression | Task::Labels => 3,
        };
        let targets = if self.targets.ndim() == full && self.targets.dim(1) == steps {
            pick(&self.targets, &chosen)?
        } else {
            self.targets
        };
        Ok(Self {
            predictions: pick(&self.predictions, &chosen)?,
            targets,
            weights: pick(&self.weights, &chosen)?,
        })
    }

    /// Gives the targets their final shape, or says which shape they should have had.
    fn checked(self, task: Task) -> Result<Self> {
        let shape = self.predictions.shape();
        let (positions, outputs) = shape.split_at(shape.len() - 1);
        let found = self.targets.shape().to_vec();
        let wanted = match task {
            Task::Classes => positions.to_vec(),
            Task::Regression | Task::Labels => shape.to_vec(),
        };
        let without_axis = task != Task::Classes && outputs == [1] && found == positions;
        if self.weights.shape() != positions {
            return Err(Error::Batch {
                argument: "weights",
                found: format!("{:?}", self.weights.shape()),
                expected: format!("{positions:?}, since the predictions are {shape:?}"),
            });
        }
        if found != wanted && !without_axis {
            return Err(Error::Batch {
                argument: "targets",
                found: format!("{found:?}"),
                expected: format!(
                    "{wanted:?}, since the predictions are {shape:?}; for one label a sequence \
                     set `loss.at` to \"last_step\""
                ),
            });
        }
        let targets = self.targets.reshape(&wanted).map_err(|source| Error::Mlx {
            operation: "loss",
            source,
        })?;
        Ok(Self { targets, ..self })
    }

    /// Puts 0 in place of targets that do not count, so that a missing label (NaN) stays harmless.
    fn clean_targets(&self) -> Mlx<Array> {
        let counts = self.weights.gt(array!(0.0f32))?;
        let counts = match self.targets.ndim() > counts.ndim() {
            true => counts.expand_dims(-1)?,
            false => counts,
        };
        ops::select(&counts, &self.targets, array!(0.0f32))
    }
}

/// Marks the last real step of each sequence with 1: [B, T], or [1, T] without a mask.
fn last_step(mask: Option<&Array>, steps: i32) -> Mlx<Array> {
    let order = Array::from_iter((0..steps).map(|step| step as f32), &[1, steps]);
    let last = match mask {
        Some(mask) => mask.multiply(&order)?.max_axis(1, true)?,
        None => Array::from_slice(&[(steps - 1) as f32], &[1, 1]),
    };
    order.eq(&last)?.as_type::<f32>()
}

/// Sums [B, T] or [B, T, O] over the steps that are marked; unmarked ones may hold anything.
fn pick(values: &Array, marks: &Array) -> Mlx<Array> {
    let marks = match values.ndim() {
        3 => marks.expand_dims(-1)?,
        _ => marks.clone(),
    };
    let zero = array!(0.0f32);
    ops::select(&marks.gt(&zero)?, values, &zero)?.sum_axis(1, false)
}

#[cfg(test)]
#[path = "loss_tests.rs"]
mod tests;

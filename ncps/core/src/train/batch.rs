//! What one step of training reads.

use mlx_rs::{Array, Dtype, ops};

use super::metrics::TargetUnits;
use crate::{Error, Result};

/// What a model sees of a batch.
#[derive(Debug, Clone)]
pub struct Inputs {
    /// Features [B, T, F].
    pub x: Array,
    /// Time since the previous step [B, T], in the data's unit; `None` where steps are even.
    pub timespans: Option<Array>,
    /// 1 where a step is real, 0 where it is padding [B, T]; `None` where all are real.
    pub mask: Option<Array>,
}

/// A batch: inputs, what should come out, and how much each sample or step counts.
#[derive(Debug, Clone)]
pub struct Batch {
    /// What the model sees.
    pub inputs: Inputs,
    /// Regression and binary labels [B, T, O] or [B, O] (the last axis may be missing where O is 1),
    /// class ids `[B, T]` or `[B]`; float32 throughout.
    pub targets: Array,
    /// Weight of each sample `[B]` or of each step `[B, T]`; 0 takes it out of loss and metrics.
    pub weights: Array,
}

impl Batch {
    /// A batch whose samples all count alike, without timespans and mask.
    ///
    /// # Shapes
    /// x: [B, T, F]; targets as the field.
    ///
    /// # Errors
    /// [`Error::Mlx`] if the weights cannot be made.
    pub fn new(x: Array, targets: Array) -> Result<Self> {
        let samples = x.shape().first().copied().unwrap_or(1);
        let weights = ops::ones::<f32>(&[samples]).map_err(|source| Error::Mlx {
            operation: "weights of a batch",
            source,
        })?;
        let inputs = Inputs {
            x,
            timespans: None,
            mask: None,
        };
        Ok(Self {
            inputs,
            targets,
            weights,
        })
    }

    pub(super) fn arrays(&self) -> Vec<(&'static str, Option<&Array>)> {
        vec![
            ("x", Some(&self.inputs.x)),
            ("timespans", self.inputs.timespans.as_ref()),
            ("mask", self.inputs.mask.as_ref()),
            ("targets", Some(&self.targets)),
            ("weights", Some(&self.weights)),
        ]
    }
}

/// Gives the batches of a split, all of the same shapes or of a few.
pub trait BatchSource {
    /// Counts the batches of an epoch; at least 1.
    fn steps(&self) -> usize;

    /// Makes batch `step` of `epoch`: the same arguments give the same batch, also in another process.
    ///
    /// # Errors
    /// Whatever the data refuses.
    fn batch(&mut self, epoch: u64, step: usize) -> Result<Batch>;

    /// Counts the different shapes that batches have, as those of sequences padded to a few lengths.
    fn shapes(&self) -> usize {
        1
    }

    /// Tells for each sample of a batch whether it goes on where the same sample of the batch before ended, so that the state is
    /// carried; `None`, the default, for sources whose samples all begin at rest. Samples of an epoch's first batch never go on.
    fn continues(&mut self, _epoch: u64, _step: usize) -> Option<Vec<bool>> {
        None
    }

    /// Names the samples of a batch for messages, such as `windows 3, 17`.
    fn samples(&mut self, _epoch: u64, _step: usize) -> Option<String> {
        None
    }

    /// Tells how targets were normalised, so that metrics come out in the data's own units.
    fn target_units(&self) -> Option<TargetUnits> {
        None
    }
}

/// Batches kept in memory, the same in every epoch.
impl BatchSource for Vec<Batch> {
    fn steps(&self) -> usize {
        self.len()
    }

    fn batch(&mut self, _epoch: u64, step: usize) -> Result<Batch> {
        self.get(step).cloned().ok_or_else(|| Error::Batch {
            argument: "step",
            found: step.to_string(),
            expected: format!("below {}", self.len()),
        })
    }
}

/// The shapes of a batch: what decides whether a function must be traced again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signature {
    parts: Vec<(&'static str, Option<Vec<i32>>)>,
}

impl Signature {
    fn of(batch: &Batch) -> Result<Self> {
        let mut parts = Vec::new();
        for (argument, array) in batch.arrays() {
            if let Some(array) = array
                && array.dtype() != Dtype::Float32
            {
                return Err(Error::Batch {
                    argument,
                    found: format!("of type {:?}", array.dtype()),
                    expected: "Float32".to_owned(),
                });
            }
            parts.push((argument, array.map(|array| array.shape().to_vec())));
        }
        Ok(Self { parts })
    }

    /// Adds a batch's shapes to those of a source, or refuses them where it would have more than it said.
    pub(super) fn admit(known: &mut Vec<Self>, batch: &Batch, shapes: usize) -> Result<()> {
        let found = Self::of(batch)?;
        if known.contains(&found) {
            return Ok(());
        }
        match known.first() {
            Some(first) if known.len() >= shapes => first.check(&found),
            _ => {
                known.push(found);
                Ok(())
            }
        }
    }

    /// Refuses a batch that would need another trace.
    fn check(&self, other: &Self) -> Result<()> {
        for ((argument, expected), (_, found)) in self.parts.iter().zip(&other.parts) {
            if expected != found {
                return Err(Error::Batch {
                    argument,
                    found: describe(found),
                    expected: format!(
                        "{} as in the first batch; pad the last batch and give the padding weight 0",
                        describe(expected)
                    ),
                });
            }
        }
        Ok(())
    }
}

fn describe(shape: &Option<Vec<i32>>) -> String {
    shape
        .as_ref()
        .map_or_else(|| "absent".to_owned(), |shape| format!("{shape:?}"))
}

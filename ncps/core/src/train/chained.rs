//! Loss and gradients in one operation, where a model is a chain that the kernels know.

use std::ops::Range;
use std::sync::Arc;

use mlx_rs::Array;

use super::Model;
use super::batch::Batch;
use super::config::TrainConfig;
use super::flat::Layout;
use super::loss::{At, ClassLoss, LossConfig};
use crate::array::{Mlx, dim};
use crate::cell::draw_dropout;
use crate::kernel::{Chain, ChainCache, GradientCall, Judgement, Loss, Stage, Strides};
use crate::{Error, Result};

/// A model as a chain, with the places of its parameters in the flat vector.
#[derive(Debug)]
pub(super) struct Chained {
    chain: Arc<Chain>,
    places: Arc<[Range<usize>]>,
    loss: Loss,
    at: At,
    /// Its kernels on a GPU.
    gpu: ChainCache,
}

/// The shape that an optional array must have.
fn has_shape(array: Option<&Array>, shape: &[i32]) -> bool {
    array.is_none_or(|array| array.shape() == shape)
}

impl Chained {
    /// None with a carried state or in half precision, where the model is no chain, or where some of its parameters are frozen or of other shapes than the chain says.
    pub(super) fn of<M: Model + ?Sized>(
        model: &M,
        layout: &Layout,
        config: &TrainConfig,
    ) -> Option<Self> {
        if config.stateful {
            tracing::info!(
                "state carried from window to window: each layer is one operation, not the whole network"
            );
            return None;
        }
        if config.precision.half().is_some() {
            tracing::info!(
                "half precision: gradients by MLX's differentiation, not by the one operation of a whole network"
            );
            return None;
        }
        let chain = model.chain()?;
        let loss = rule(&config.loss, chain.outputs())?;
        let places: Option<Vec<Range<usize>>> = chain
            .parameters()
            .iter()
            .map(|parameter| {
                let shape: Vec<i32> = parameter.shape.iter().map(|&size| dim(size)).collect();
                layout.place(&parameter.name, &shape)
            })
            .collect();
        let places = places?;
        let mut sorted = places.clone();
        sorted.sort_unstable_by_key(|place| place.start);
        let is_disjoint = sorted.windows(2).all(|pair| pair[0].end <= pair[1].start);
        let total: usize = places.iter().map(Range::len).sum();
        (is_disjoint && total == layout.total()).then(|| Self {
            chain: Arc::new(chain),
            places: places.into(),
            loss,
            at: config.loss.at(),
            gpu: ChainCache::default(),
        })
    }

    /// Number of outputs.
    pub(super) fn outputs(&self) -> usize {
        self.chain.outputs()
    }

    /// Sums of losses and of weights, and the flat gradients of the former; none where the operation does not serve: for
    /// arrays of unusual or wrong shapes, and on a GPU for chains that its kernels do not know.
    pub(super) fn gradients(
        &self,
        parameters: &Array,
        key: &Array,
        batch: &Batch,
    ) -> Result<Option<[Array; 3]>> {
        self.call(parameters, key, batch, |call| call.apply())
    }

    fn call(
        &self,
        parameters: &Array,
        key: &Array,
        batch: &Batch,
        apply: impl FnOnce(&GradientCall<'_>) -> Mlx<Option<[Array; 3]>>,
    ) -> Result<Option<[Array; 3]>> {
        let Some(judgement) = self.judgement(batch) else {
            return Ok(None);
        };
        let inputs = &batch.inputs;
        let dropout = self.dropout(key, inputs.x.dim(1), inputs.x.dim(0))?;
        let call = GradientCall {
            chain: &self.chain,
            places: &self.places,
            judgement,
            parameters,
            x: &inputs.x,
            timespans: inputs.timespans.as_ref(),
            mask: inputs.mask.as_ref(),
            dropout: &dropout,
            targets: &batch.targets,
            weights: &batch.weights,
            gpu: &self.gpu,
        };
        apply(&call).map_err(|source| Error::Mlx {
            operation: "gradients",
            source,
        })
    }

    /// The same factors as the layers draw.
    fn dropout(&self, key: &Array, time: i32, batch: i32) -> Result<Vec<Array>> {
        let mut all = Vec::new();
        for stage in self.chain.stages() {
            if let Stage::Sequence(stage) = stage
                && let Some((layers, width)) = stage.spec.backbone()
            {
                let shape = [time, batch, dim(width)];
                let drawn = draw_dropout(stage.dropout, layers, shape, mlx_rs::Dtype::Float32, key);
                let drawn = drawn.map_err(|source| Error::Mlx {
                    operation: "dropout",
                    source,
                })?;
                all.extend(drawn.into_iter().flatten());
            }
        }
        Ok(all)
    }

    /// How a batch is judged, if its shapes are what they should be.
    fn judgement(&self, batch: &Batch) -> Option<Judgement> {
        let inputs = &batch.inputs;
        let &[samples, time, features] = inputs.x.shape() else {
            return None;
        };
        let is_whole = samples > 0 && time > 0 && features == dim(self.chain.inputs());
        let steps = [samples, time];
        let are_steps = has_shape(inputs.timespans.as_ref(), &steps);
        if !is_whole || !are_steps || !has_shape(inputs.mask.as_ref(), &steps) {
            return None;
        }
        let is_one = self.chain.is_last_only();
        let outputs = dim(self.chain.outputs());
        let width = self.loss.target_width(self.chain.outputs());
        let is_class = matches!(self.loss, Loss::CrossEntropy { .. });
        let is_last_step = !is_one && self.at == At::LastStep;
        // [B, T, O] and [B, O], or without the last axis.
        let fits = |positions: &[i32]| {
            let found = batch.targets.shape();
            let full: Vec<i32> = positions.iter().copied().chain([outputs]).collect();
            match is_class {
                true => found == positions,
                false => found == full || (outputs == 1 && found == positions),
            }
        };
        let every = Strides {
            sample: time as usize * width,
            step: width,
        };
        let single = Strides {
            sample: width,
            step: 0,
        };
        // A target for each step is looked at as such before one for each sample, except where it lacks its last axis.
        let is_full = batch.targets.ndim() == if is_class { 2 } else { 3 };
        let targets = if !is_one && fits(&steps) && (!is_last_step || is_full) {
            every
        } else if (is_one || is_last_step) && fits(&steps[..1]) {
            single
        } else {
            return None;
        };
        let weights = match batch.weights.shape() {
            shape if !is_one && shape == steps => Strides {
                sample: time as usize,
                step: 1,
            },
            [count] if *count == samples => Strides { sample: 1, step: 0 },
            _ => return None,
        };
        Some(Judgement {
            loss: self.loss.clone(),
            targets,
            weights,
            is_last_step,
        })
    }
}

/// None for settings that the loss itself refuses.
fn rule(config: &LossConfig, outputs: usize) -> Option<Loss> {
    let class_weights = |config: &ClassLoss| -> Vec<f32> {
        config
            .class_weights
            .iter()
            .map(|&weight| weight as f32)
            .collect()
    };
    Some(match config {
        LossConfig::Mse(_) => Loss::Mse,
        LossConfig::Mae(_) => Loss::Mae,
        LossConfig::Huber(config) => Loss::Huber {
            delta: config.delta as f32,
        },
        LossConfig::CrossEntropy(config) => {
            let weights = class_weights(config);
            if !weights.is_empty() && weights.len() != outputs {
                return None;
            }
            Loss::CrossEntropy {
                weights,
                smoothing: config.label_smoothing as f32,
            }
        }
        LossConfig::BinaryCrossEntropy(config) => Loss::BinaryCrossEntropy {
            weights: match class_weights(config)[..] {
                [] => [1.0; 2],
                [zero, one] => [zero, one],
                _ => return None,
            },
            smoothing: config.label_smoothing as f32,
        },
    })
}

#[cfg(test)]
#[path = "chained_tests.rs"]
mod tests;

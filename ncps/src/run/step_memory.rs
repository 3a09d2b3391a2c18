//! The memory that training takes, from the sizes that the kernels themselves use.

use ncps_core::kernel::{SequenceOp, Stage};
use ncps_core::rnn::SequenceLayer;
use ncps_core::train::{Precision, TrainConfig};
use ncps_models::Network;

/// Bytes of a value.
const FLOAT: u64 = 4;
/// Arrays as large as the predictions that a loss, its metrics and their gradients make at once.
const JUDGED: u64 = 6;
/// Batches that exist at once: the one that is filled, and the one in MLX.
const BATCHES: u64 = 2;
/// Arrays as large as the dropped features: the factors, and a quarter for which of them stay.
const DROPOUT: f64 = 1.25;

/// What a batch looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchShape {
    pub(crate) batch: usize,
    pub(crate) time: usize,
    pub(crate) has_timespans: bool,
    pub(crate) has_mask: bool,
}

/// Bytes that a training step or an evaluation of a batch takes at most, without what lasts from step to step.
///
/// ```text
/// batch      = 2 x 4 B T (inputs + outputs + weight [+ timespan] [+ mask])
/// chain      = batch + kernels' buffers + dropout factors
/// layers     = batch + kernels' buffers of all layers + outputs of all stages, each with its gradient
/// plain      = batch + 4 B T x values that a step of each layer leaves for the way back
/// evaluation = batch + outputs of the two largest neighbouring stages
/// ```
/// A chain is one operation that works by blocks of samples; otherwise each fused layer is one.
pub(crate) fn bytes(
    network: &dyn Network,
    train: &TrainConfig,
    shape: BatchShape,
    is_gpu: bool,
) -> u64 {
    let steps = (shape.batch as u64).saturating_mul(shape.time as u64);
    let columns = network.inputs() as u64
        + network.outputs() as u64
        + 1
        + u64::from(shape.has_timespans)
        + u64::from(shape.has_mask);
    let batch = BATCHES * FLOAT * steps * columns;
    let judged = JUDGED * FLOAT * steps * network.outputs() as u64;
    let evaluation = FLOAT * steps * widest_pair(network) + judged;
    let layers = network.layers();
    let is_whole = !train.stateful && train.precision == Precision::F32;
    let training = match network.chain().filter(|_| is_whole) {
        // Kernels of a GPU leave their records in arrays of the whole batch.
        _ if is_gpu => FLOAT * steps * layers.iter().map(|l| plain_values(*l)).sum::<u64>(),
        Some(chain) => {
            let scratch = chain.scratch_bytes(shape.batch, shape.time, shape.has_timespans);
            scratch as u64 + dropout(chain.stages(), steps)
        }
        None => {
            let bytes = layers.iter().map(|layer| layer_bytes(*layer, shape));
            bytes.sum::<u64>() + judged
        }
    };
    batch + training.max(evaluation)
}

/// Values of a time step in the two neighbouring arrays that are largest together.
fn widest_pair(network: &dyn Network) -> u64 {
    let widths: Vec<usize> = network
        .layers()
        .iter()
        .map(|layer| layer.outputs())
        .collect();
    let all = [&[network.inputs()], &widths[..], &[network.outputs()]].concat();
    let pairs = all.windows(2).map(|pair| (pair[0] + pair[1]) as u64);
    pairs.max().unwrap_or(0)
}

/// The factors of dropout that a step draws.
fn dropout(stages: &[Stage], steps: u64) -> u64 {
    let rows = stages.iter().map(|stage| match stage {
        Stage::Sequence(stage) => stage.spec.dropout_rows(),
        Stage::Linear(_) | Stage::Activation(_) => 0,
    });
    let values: usize = rows.sum();
    (DROPOUT * (FLOAT * steps * values as u64) as f64) as u64
}

/// A layer that MLX differentiates: fused into one operation, or in MLX's own.
fn layer_bytes(layer: &dyn SequenceLayer, shape: BatchShape) -> u64 {
    let steps = (shape.batch as u64).saturating_mul(shape.time as u64);
    let Some(stages) = layer.stages() else {
        return FLOAT * steps * plain_values(layer);
    };
    let mut bytes = dropout(&stages, steps);
    let mut width = layer.inputs();
    for stage in &stages {
        match stage {
            Stage::Sequence(stage) => {
                width = stage.spec.outputs();
                // A specification that is refused here is refused when the layer runs.
                if let Ok(op) = SequenceOp::new((*stage.spec).clone()) {
                    let scratch = op.scratch_bytes(shape.batch, shape.time, shape.has_timespans);
                    bytes += scratch as u64;
                }
            }
            Stage::Linear(stage) => width = stage.outputs,
            Stage::Activation(_) => {}
        }
        bytes += 2 * FLOAT * steps * width as u64;
    }
    bytes
}

/// Values that a step of a layer in MLX's operations leaves for the way back, for one sample.
fn plain_values(layer: &dyn SequenceLayer) -> u64 {
    let parameters = layer.parameters().flatten();
    let shapes = parameters.values().filter(|array| array.ndim() == 2);
    let rows: u64 = shapes.map(|array| array.shape()[0] as u64).sum();
    3 * rows
}

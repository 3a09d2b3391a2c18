//! The memory that training takes, from the sizes that the kernels themselves use.

use mlx_rs::ops;
use ncps_core::kernel::{SequenceOp, Stage};
use ncps_core::rnn::SequenceLayer;
use ncps_core::train::loss::LossConfig;
use ncps_core::train::{Batch, CompileMode, Inputs, Precision, TrainConfig, Trainer};
use ncps_models::{ModelConfig, Network};

use crate::error::Result;

/// Bytes of a value.
const FLOAT: u64 = 4;
/// Arrays as large as the predictions that a loss, its metrics and their gradients make at once.
const JUDGED: u64 = 6;
/// Batches that exist at once: the one that is filled, and the one in MLX.
const BATCHES: u64 = 2;
/// Steps and samples of the largest graph that is gone through.
const LONGEST: usize = 32;
const MOST_SAMPLES: usize = 1024;
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
/// plain      = batch + what the arrays of the step's graph take at once, gone through in the order of its evaluation
/// evaluation = batch + outputs of the two largest neighbouring stages
/// ```
/// A chain is one operation that works by blocks of samples; otherwise each fused layer is one. `model` is what the network was built from.
///
/// # Errors
/// Those of building the network and of its first step, where it runs in MLX's operations.
pub(crate) fn bytes(
    network: &dyn Network,
    model: &ModelConfig,
    train: &TrainConfig,
    shape: BatchShape,
    is_gpu: bool,
) -> Result<u64> {
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
        None if layers.iter().any(|layer| layer.stages().is_none()) => {
            let scratch = layers.iter().map(|layer| scratch(*layer, shape));
            // One of the batches is among the arrays of the graph.
            let arrays = in_operations(network, model, train, shape)?;
            scratch.sum::<u64>() + arrays.saturating_sub(batch / BATCHES)
        }
        None => {
            let bytes = layers.iter().map(|layer| layer_bytes(*layer, shape));
            bytes.sum::<u64>() + judged
        }
    };
    Ok(batch + training.max(evaluation))
}

/// What the arrays of a step in MLX's operations take at once. Graphs of long sequences are longer and not different, so that they are
/// gone through for two shorter ones; large batches have larger arrays.
fn in_operations(
    network: &dyn Network,
    model: &ModelConfig,
    train: &TrainConfig,
    shape: BatchShape,
) -> Result<u64> {
    let samples = shape.batch.clamp(1, MOST_SAMPLES);
    let of = |time| {
        of_graph(
            network,
            model,
            train,
            BatchShape {
                batch: samples,
                time,
                ..shape
            },
        )
    };
    let bytes = match shape.time {
        time if time <= LONGEST => of(time)?,
        time => {
            let (half, whole) = (of(LONGEST / 2)?, of(LONGEST)?);
            let halves = (time - LONGEST) as f64 / (LONGEST / 2) as f64;
            whole + (whole.saturating_sub(half) as f64 * halves) as u64
        }
    };
    Ok((bytes as f64 * (shape.batch.max(1) as f64 / samples as f64)) as u64)
}

/// The same for a graph of these very sizes, of which nothing is computed.
fn of_graph(
    network: &dyn Network,
    model: &ModelConfig,
    train: &TrainConfig,
    shape: BatchShape,
) -> Result<u64> {
    let wrap = |source| ncps_core::Error::Mlx {
        operation: "sizes of a step",
        source,
    };
    let zeros = |sizes: &[i32]| ops::zeros::<f32>(sizes).map_err(wrap);
    let matrix = [shape.batch as i32, shape.time as i32];
    let optional = |is_there: bool| is_there.then(|| zeros(&matrix)).transpose();
    let inputs = Inputs {
        x: zeros(&[matrix[0], matrix[1], network.inputs() as i32])?,
        timespans: optional(shape.has_timespans)?,
        mask: optional(shape.has_mask)?,
    };
    let mut own = model.build(network.inputs(), network.outputs(), 0)?;
    // Any loss has arrays of the size of the predictions.
    let targets = zeros(own.forward(&inputs, None)?.shape())?;
    let batch = Batch {
        inputs,
        ..Batch::new(zeros(&[matrix[0], 1, 1])?, targets)?
    };
    let train = TrainConfig {
        batch_size: shape.batch,
        loss: LossConfig::default(),
        compile: CompileMode::Off,
        stateful: false,
        ..train.clone()
    };
    Ok(Trainer::new(own, train, 0)?.step_memory(&batch)?)
}

/// What the kernels of a layer's fused operations take inside.
fn scratch(layer: &dyn SequenceLayer, shape: BatchShape) -> u64 {
    let stages = layer.stages().unwrap_or_default();
    let of = |stage: &Stage| match stage {
        Stage::Sequence(stage) => SequenceOp::new((*stage.spec).clone()).map_or(0, |op| {
            op.scratch_bytes(shape.batch, shape.time, shape.has_timespans) as u64
        }),
        Stage::Linear(_) | Stage::Activation(_) => 0,
    };
    stages.iter().map(of).sum()
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

/// A fused layer that MLX differentiates.
fn layer_bytes(layer: &dyn SequenceLayer, shape: BatchShape) -> u64 {
    let steps = (shape.batch as u64).saturating_mul(shape.time as u64);
    let stages = layer.stages().unwrap_or_default();
    // A specification that is refused here is refused when the layer runs.
    let mut bytes = scratch(layer, shape) + dropout(&stages, steps);
    let mut width = layer.inputs();
    for stage in &stages {
        match stage {
            Stage::Sequence(stage) => width = stage.spec.outputs(),
            Stage::Linear(stage) => width = stage.outputs,
            Stage::Activation(_) => {}
        }
        bytes += 2 * FLOAT * steps * width as u64;
    }
    bytes
}

/// Values that a step of a layer leaves for the way back on a GPU, for one sample.
fn plain_values(layer: &dyn SequenceLayer) -> u64 {
    let parameters = layer.parameters().flatten();
    let shapes = parameters.values().filter(|array| array.ndim() == 2);
    let rows: u64 = shapes.map(|array| array.shape()[0] as u64).sum();
    3 * rows
}

#[cfg(test)]
mod tests {
    use mlx_rs::memory;
    use ncps_core::cell::Mode;
    use ncps_core::init::Initializer;
    use ncps_core::rnn::Implementation::Plain;
    use ncps_core::wiring::AutoNcp;
    use ncps_models::{CfcModel, Head, LtcModel};

    use super::*;

    /// The estimate of a step in MLX's operations over what MLX says that it took, the batch included.
    fn ratio(model: &ModelConfig, batch: usize, time: usize) -> f64 {
        let shape = BatchShape {
            batch,
            time,
            has_timespans: false,
            has_mask: false,
        };
        let train = TrainConfig::default();
        let network = model.build(5, 3, 1).unwrap();
        let estimated = in_operations(network.as_ref(), model, &train, shape).unwrap();
        assert!(bytes(network.as_ref(), model, &train, shape, false).unwrap() >= estimated);
        let draw = |last| Initializer::new(1).uniform(-1.0, 1.0, &[batch, time, last]);
        let batch = Batch::new(draw(5), draw(3)).unwrap();
        let mut trainer = Trainer::new(network, train, 1).unwrap();
        trainer.train_batch(&batch).unwrap();
        memory::clear_cache().unwrap();
        let before = memory::active_memory().unwrap();
        memory::reset_peak_memory().unwrap();
        trainer.train_batch(&batch).unwrap();
        let held: usize = batch.inputs.x.nbytes() + batch.targets.nbytes();
        let taken = memory::peak_memory().unwrap() - before + held;
        estimated as f64 / taken as f64
    }

    /// Says that the test has the process, and so MLX's allocator, for itself.
    const ALONE: &str = "NCPS_TEST_ALONE";

    #[test]
    fn what_a_step_in_operations_takes_is_known_before() {
        if std::env::var_os(ALONE).is_none() {
            let name = "run::step_memory::tests::what_a_step_in_operations_takes_is_known_before";
            let mut again = std::process::Command::new(std::env::current_exe().unwrap());
            again.args(["--exact", name, "--nocapture"]).env(ALONE, "1");
            let ended = again.output().unwrap();
            println!("{}", String::from_utf8_lossy(&ended.stdout));
            let said = String::from_utf8_lossy(&ended.stderr);
            assert!(ended.status.success(), "{said}");
            return;
        }
        let cfc = |units: usize, mode, backbone_layers| CfcModel {
            implementation: Plain,
            mode,
            backbone_units: 48,
            backbone_layers,
            head: Head::Linear,
            ..CfcModel::new(units)
        };
        let wired = CfcModel {
            implementation: Plain,
            head: Head::Linear,
            ..CfcModel::new(AutoNcp::new(24, 3))
        };
        let ltc = |units: usize, unfolds| LtcModel {
            implementation: Plain,
            unfolds,
            head: Head::Linear,
            ..LtcModel::new(units)
        };
        let models: [(ModelConfig, usize, usize); 7] = [
            (cfc(16, Mode::Default, 1).into(), 64, 12),
            (cfc(40, Mode::NoGate, 2).into(), 200, 40),
            (cfc(40, Mode::Pure, 0).into(), 128, 60),
            (wired.into(), 128, 20),
            (ltc(12, 6).into(), 64, 10),
            (ltc(24, 2).into(), 32, 40),
            (
                LtcModel {
                    implementation: Plain,
                    ..LtcModel::new(AutoNcp::new(24, 3))
                }
                .into(),
                100,
                16,
            ),
        ];
        let found = models
            .each_ref()
            .map(|(model, batch, time)| ratio(model, *batch, *time));
        println!("estimated over taken: {found:.2?}");
        // The first one is hardly longer than what the host may be ahead, and small.
        assert!((0.8..1.7).contains(&found[0]), "{found:.2?}");
        let is_near = |ratio: &f64| (0.8..1.3).contains(ratio);
        assert!(found[1..].iter().all(is_near), "{found:.2?}");
    }
}

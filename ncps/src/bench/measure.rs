//! Measures one case in this process.

use std::hint::black_box;

use mlx_rs::transforms::eval;
use mlx_rs::{Array, Device};
use ncps_core::init::Initializer;
use ncps_core::kernel::{self, Policy};
use ncps_core::rnn::{Implementation, Timespans};
use ncps_core::train::{Batch, Inputs, TrainConfig, Trainer};
use ncps_models::{ModelConfig, Network, RecurrentNetwork, Work};
use ncps_profiling::{Reading, memory};

use super::cases::Case;
use super::clock::{Budget, Laps, Moment, Times};
use super::record::Record;
use crate::error::{Error, Result};
use crate::run::arrays::host;
use crate::run::device::has_gpu;
use crate::run::plan::{MemoryEstimate, Sizes};
use crate::run::step_memory::{self, BatchShape};
use crate::workload;

/// Draws the network's parameters and the batch.
pub(super) const SEED: u64 = 1;

/// How to measure.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Seconds for the training steps, and the same for the inference steps; at least five steps of each run.
    pub seconds: f64,
    /// Whether to compute on the GPU.
    pub is_gpu: bool,
    /// Threads of the kernels, 0 for all cores. Matrix products of MLX take theirs from the environment of the process
    /// (see [`thread_variables`]).
    pub threads: usize,
    /// Whether to take the plain implementation.
    pub is_plain: bool,
}

/// The environment in which a process must be started so that all matrix products use `threads` threads.
pub fn thread_variables(threads: usize) -> [(&'static str, String); 2] {
    ["NCPS_BLAS_THREADS", "RAYON_NUM_THREADS"].map(|name| (name, threads.to_string()))
}

/// Measures a case: memory before anything is built, then training, then inference.
///
/// # Errors
/// [`Error::NoGpu`] where the GPU is asked for and there is none; otherwise those of building and training a network.
pub fn run(case: &Case, options: &Options) -> Result<Record> {
    let start = memory::rss();
    if options.is_gpu && !has_gpu() {
        return Err(Error::NoGpu);
    }
    let device = if options.is_gpu {
        Device::gpu()
    } else {
        Device::cpu()
    };
    Device::set_default(&device);
    kernel::set_threads(options.threads);
    let network = build(case, options)?;
    let work = Work::of_training_step(network.as_ref(), case.batch, case.time)?;
    let infer_flops = Work::of_step(network.as_ref())?.flops();
    let params = network.summary().parameters;
    let estimated = estimate(case, network.as_ref(), options)?;
    workload::reset_peak();
    let trained = train(network, case, options.seconds)?;
    let mlx_peak = workload::allocator().peak;
    let stepped = infer(trained.trainer.model().as_ref(), options)?;
    let measured = Measured {
        work,
        infer_flops,
        params,
        estimated,
        mlx_peak,
        trained,
        stepped,
        start,
        peak: memory::peak(),
    };
    Ok(measured.record(case, options))
}

struct Measured {
    work: Work,
    infer_flops: u64,
    params: usize,
    /// Bytes.
    estimated: u64,
    mlx_peak: Reading,
    trained: Trained,
    stepped: Stepped,
    start: Reading,
    peak: Reading,
}

impl Measured {
    fn record(&self, case: &Case, options: &Options) -> Record {
        let mut unavailable = Vec::new();
        let mut size = |name, reading| megabytes(name, reading, &mut unavailable);
        let peak = size("peak_rss_mb", &self.peak);
        let start = size("start_rss_mb", &self.start);
        let mlx_peak = size("mlx_peak_mb", &self.mlx_peak);
        let (train, infer) = (&self.trained.times, &self.stepped.times);
        Record {
            case: case.name.to_owned(),
            train_s_median: train.median.wall,
            train_s_min: train.shortest.wall,
            train_cpu_s_median: train.median.cpu,
            train_cpu_s_min: train.shortest.cpu,
            train_steps: train.steps,
            infer_ms_median: 1e3 * infer.median.wall,
            infer_ms_min: 1e3 * infer.shortest.wall,
            infer_cpu_ms_mean: 1e3 * infer.mean_cpu,
            infer_steps: infer.steps,
            infer_by: self.stepped.by.to_owned(),
            first_step_s: self.trained.first_step_s,
            peak_rss_mb: peak,
            start_rss_mb: start,
            peak_above_start_mb: peak.zip(start).map(|(peak, start)| peak - start),
            mlx_peak_mb: mlx_peak,
            estimated_mb: self.estimated as f64 * 1e-6,
            threads: kernel::threads(),
            device: device_name(options).to_owned(),
            vectors: kernel::level().name().to_owned(),
            implementation: implementation_name(implementation(options)).to_owned(),
            is_optimised: !cfg!(debug_assertions),
            batch: case.batch,
            time: case.time,
            inputs: case.inputs,
            outputs: case.outputs,
            params: self.params,
            flops: self.work.flops(),
            work: self.work,
            infer_flops: self.infer_flops,
            train_gflops: self.work.flops() as f64 * 1e-9 / train.median.wall,
            compilations: ncps_core::train::compilations(),
            bound: None,
            percent_of_bound: None,
            roofs: None,
            unavailable,
        }
    }
}

fn device_name(options: &Options) -> &'static str {
    if options.is_gpu { "gpu" } else { "cpu" }
}

fn megabytes(name: &str, reading: &Reading, unavailable: &mut Vec<String>) -> Option<f64> {
    if reading.value().is_none() {
        unavailable.push(format!("{name}: {reading}"));
    }
    reading.value().map(|bytes| bytes * 1e-6)
}

/// What is asked of the layers: on a CPU one or the other for certain, so that the record says what ran.
fn implementation(options: &Options) -> Implementation {
    match options {
        Options { is_plain: true, .. } => Implementation::Plain,
        Options { is_gpu: true, .. } => Implementation::Auto,
        _ => Implementation::Fused,
    }
}

fn implementation_name(implementation: Implementation) -> &'static str {
    match implementation {
        Implementation::Plain => "plain",
        Implementation::Fused => "fused",
        Implementation::Auto => "auto",
    }
}

/// The case's network with the implementation that was asked for.
fn config(case: &Case, options: &Options) -> ModelConfig {
    let mut config = case.config();
    let slot = match &mut config {
        ModelConfig::Cfc(model) => Some(&mut model.implementation),
        ModelConfig::Ltc(model) => Some(&mut model.implementation),
        ModelConfig::Lstm(model) => Some(&mut model.implementation),
        // No case has another kind of network.
        _ => None,
    };
    if let Some(slot) = slot {
        *slot = implementation(options);
    }
    config
}

pub(super) fn build(case: &Case, options: &Options) -> Result<Box<dyn Network>> {
    Ok(config(case, options).build(case.inputs, case.outputs, SEED)?)
}

/// The one batch that every step sees.
pub(super) fn batch(case: &Case) -> Batch {
    let mut random = Initializer::new(SEED);
    let mut draw = |last| random.uniform(-1.0, 1.0, &[case.batch, case.time, last]);
    let (x, targets) = (draw(case.inputs), draw(case.outputs));
    Batch {
        inputs: Inputs {
            x,
            timespans: None,
            mask: None,
        },
        targets,
        weights: Array::from_slice(&vec![1.0f32; case.batch], &[case.batch as i32]),
    }
}

struct Trained {
    trainer: Trainer<Box<dyn Network>>,
    first_step_s: f64,
    times: Times,
}

/// What training is estimated to take in memory beside its data.
fn estimate(case: &Case, network: &dyn Network, options: &Options) -> Result<u64> {
    let shape = BatchShape {
        batch: case.batch,
        time: case.time,
        has_timespans: false,
        has_mask: false,
    };
    let (model, train) = (config(case, options), TrainConfig::default());
    let step = step_memory::bytes(network, &model, &train, shape, options.is_gpu)?;
    let sizes = Sizes {
        parameters: network.summary().parameters,
        optimizer_slots: 2,
        data_values: 0,
        step,
    };
    Ok(MemoryEstimate::of(sizes).total)
}

fn train(network: Box<dyn Network>, case: &Case, seconds: f64) -> Result<Trained> {
    let config = TrainConfig {
        batch_size: case.batch,
        ..TrainConfig::default()
    };
    let mut trainer = Trainer::new(network, config, SEED)?;
    let batch = batch(case);
    let begin = Moment::now();
    trainer.train_batch(&batch)?;
    let first_step_s = begin.until(&Moment::now()).wall;
    let mut laps = Laps::start(Budget::of(seconds));
    loop {
        trainer.train_batch(&batch)?;
        if laps.lap() {
            break;
        }
    }
    trainer.synchronise()?;
    Ok(Trained {
        trainer,
        first_step_s,
        times: laps.times(),
    })
}

struct Stepped {
    by: &'static str,
    times: Times,
}

/// Different inputs in turn, so that no step repeats the one before it.
const TURNS: usize = 8;

fn infer(network: &dyn Network, options: &Options) -> Result<Stepped> {
    let laps = Laps::start(Budget::of(options.seconds));
    let x = Initializer::new(SEED).uniform(-1.0, 1.0, &[TURNS, network.inputs()]);
    // A policy computes on the CPU, with the kernels.
    if options.is_gpu || options.is_plain {
        return infer_by_layer(network, &x, laps);
    }
    match policy(network)? {
        Some(policy) => infer_by_policy(policy, &host(&x)?, laps),
        None => infer_by_layer(network, &x, laps),
    }
}

/// The network without MLX, if it is one layer and at most a linear map.
pub(crate) fn policy(network: &dyn Network) -> Result<Option<Policy>> {
    let Some(network) = network.as_any().downcast_ref::<RecurrentNetwork>() else {
        return Ok(None);
    };
    let policy = network.layer().policy()?;
    let Some(head) = network.head() else {
        return Ok(Some(policy));
    };
    let weights = host(&head.weight)?;
    let bias = match &head.bias.value {
        Some(bias) => host(bias)?,
        None => vec![0.0; weights.len() / policy.outputs()],
    };
    Ok(Some(policy.then_linear(&weights, &bias)?))
}

fn infer_by_policy(mut policy: Policy, x: &[f32], mut laps: Laps) -> Result<Stepped> {
    for row in x.chunks_exact(policy.inputs()).cycle() {
        black_box(policy.step(black_box(row), 1.0)?);
        if laps.short_lap() {
            break;
        }
    }
    Ok(Stepped {
        by: "policy",
        times: laps.times(),
    })
}

fn infer_by_layer(network: &dyn Network, x: &Array, mut laps: Laps) -> Result<Stepped> {
    let wrap = |source| ncps_core::Error::Mlx {
        operation: "inference step",
        source,
    };
    let rows = x.split_equal(TURNS as i32, 0).map_err(wrap)?;
    eval(&rows).map_err(wrap)?;
    let mut state = network.zero_state(1);
    for row in rows.iter().cycle() {
        let (outputs, next) = network.step(row, &Timespans::Unit, &state)?;
        let layers = next.layers.iter();
        let states = layers.flat_map(|state| [&state.hidden].into_iter().chain(&state.memory));
        eval(states.chain([&outputs])).map_err(wrap)?;
        state = next;
        if laps.short_lap() {
            break;
        }
    }
    Ok(Stepped {
        by: "layer",
        times: laps.times(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::cases;
    use crate::bench::roofs::{Roofs, short_arrays};

    #[test]
    fn a_case_gives_every_documented_figure() {
        let options = Options {
            seconds: 0.2,
            is_gpu: false,
            threads: 1,
            is_plain: false,
        };
        let case = cases::find("cfc-ncp-32").unwrap();
        let mut record = run(case, &options).unwrap();
        record.compare(&Roofs::measure(1, 0.03, &short_arrays()));
        let value = serde_json::to_value(&record).unwrap();
        for key in [
            "case",
            "train_s_median",
            "train_s_min",
            "infer_ms_median",
            "infer_ms_min",
            "first_step_s",
            "peak_rss_mb",
            "threads",
            "device",
            "params",
            "flops",
        ] {
            assert!(!value[key].is_null(), "{key} of {value}");
        }
        assert!(record.train_steps >= 5 && record.infer_steps >= 5);
        assert!(record.train_s_min > 0.0 && record.train_s_min <= record.train_s_median);
        assert!(record.infer_ms_min > 0.0 && record.infer_ms_min <= record.infer_ms_median);
        assert!(record.train_cpu_s_median > 0.0 && record.first_step_s > 0.0);
        assert!(record.peak_above_start_mb.unwrap() >= 0.0);
        assert!(record.percent_of_bound.unwrap() > 0.0);
        assert_eq!((record.threads, record.device.as_str()), (1, "cpu"));
        assert_eq!(
            (record.implementation.as_str(), record.infer_by.as_str()),
            ("fused", "policy")
        );
        let again: Record = serde_json::from_value(value).unwrap();
        assert_eq!(again.case, "cfc-ncp-32");
    }

    #[test]
    fn plain_is_said_and_a_gpu_must_be_there() {
        let case = cases::find("cfc-ncp-32").unwrap();
        let options = Options {
            seconds: 0.0,
            is_gpu: false,
            threads: 1,
            is_plain: true,
        };
        let record = run(case, &options).unwrap();
        assert_eq!(
            (record.implementation.as_str(), record.infer_by.as_str()),
            ("plain", "layer")
        );
        if !has_gpu() {
            let options = Options {
                is_gpu: true,
                ..options
            };
            assert!(matches!(run(case, &options), Err(Error::NoGpu)));
        }
    }

    #[test]
    fn the_policy_steps_as_the_network_does() {
        for name in ["cfc-default", "cfc-mixed-ncp-32", "ltc-ncp-32", "lstm-64"] {
            let case = cases::find(name).unwrap();
            let network = case.config().build(case.inputs, case.outputs, 1).unwrap();
            let mut policy = policy(network.as_ref()).unwrap().unwrap();
            let mut state = network.zero_state(1);
            for step in 0..3 {
                let x = Initializer::new(step).uniform(-1.0, 1.0, &[1, case.inputs]);
                let (outputs, next) = network.step(&x, &Timespans::Unit, &state).unwrap();
                state = next;
                let found = policy.step(&host(&x).unwrap(), 1.0).unwrap();
                let expected = host(&outputs).unwrap();
                assert_eq!(found.len(), expected.len(), "{name}");
                for (found, expected) in found.iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-5, "{name} {found} {expected}");
                }
            }
        }
    }
}

//! A configuration made ready to be run step by step: the trainer, its batches, and the network by itself.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use mlx_rs::transforms::eval;
use mlx_rs::{Array, Device};
use ncps_core::init::Initializer;
use ncps_core::kernel::{self, Policy};
use ncps_core::rnn::{Timespans, Units};
use ncps_core::train::{Batch, BatchSource, Trainer};
use ncps_models::{LayerConfig, ModelConfig, Network, NetworkState, Work};

use crate::bench::measure::policy;
use crate::config::{Loaded, RunConfig};
use crate::error::Result;
use crate::run::arrays::host;
use crate::run::{Session, Split, WindowSource};

/// Batches that training steps take in turn; they lie in memory before the clock runs.
const BATCHES: usize = 4;
/// Different inputs of single steps in turn.
const TURNS: usize = 8;

/// A configuration ready to be measured.
pub struct Subject {
    pub(super) session: Session,
    pub(super) trainer: Trainer<Box<dyn Network>>,
    pub(super) source: WindowSource,
    batches: Vec<Batch>,
    next: usize,
    network: Box<dyn Network>,
    stepper: Stepper,
    inputs: Array,
    threads: usize,
    /// Seconds of the very first training step, compilation included.
    pub(super) first_step_s: f64,
    /// Functions that were compiled meanwhile.
    pub(super) compilations: u64,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject")
            .field("name", &self.session.config().name())
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

/// What makes a single step.
enum Stepper {
    /// The kernels alone.
    Policy {
        policy: Box<Policy>,
        rows: Vec<f32>,
        /// Steps that are timed as one.
        block: usize,
    },
    /// The network in MLX operations.
    Network { state: NetworkState, turn: usize },
    /// A network that needs the whole sequence.
    None { reason: String },
}

impl Subject {
    /// Loads data and network, uploads some batches and makes the first training step.
    ///
    /// `threads` is the number of threads of the kernels, 0 for all cores.
    ///
    /// # Errors
    /// Those of [`Session::prepare`] and of the first training step.
    pub fn prepare(loaded: Loaded<RunConfig>, threads: usize) -> Result<Self> {
        let session = Session::prepare(loaded)?;
        kernel::set_threads(threads);
        let config = session.config();
        let mut source = session.source(Split::Train, Some(config.seed))?;
        let count = source.steps().clamp(1, BATCHES);
        let batches = (0..count)
            .map(|step| source.batch(0, step))
            .collect::<ncps_core::Result<Vec<_>>>()?;
        let network = session.build_network()?;
        let stepper = Stepper::of(network.as_ref(), session.device().backend == "gpu")?;
        let inputs = Initializer::new(config.seed).uniform(-1.0, 1.0, &[TURNS, network.inputs()]);
        let before = ncps_core::train::compilations();
        let mut trainer =
            Trainer::new(session.build_network()?, config.train.clone(), config.seed)?;
        trainer.admit_shapes(source.shapes());
        let begin = Instant::now();
        trainer.train_batch(&batches[0])?;
        let first_step_s = begin.elapsed().as_secs_f64();
        Ok(Self {
            session,
            trainer,
            source,
            batches,
            next: 0,
            network,
            stepper,
            inputs,
            threads,
            first_step_s,
            compilations: ncps_core::train::compilations() - before,
        })
    }

    /// The session behind it.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Sequences of a batch.
    pub fn batch_size(&self) -> usize {
        self.session.config().train.batch_size
    }

    /// Whether it computes on the GPU.
    pub fn is_gpu(&self) -> bool {
        self.session.device().backend == "gpu"
    }

    /// Makes its device and its threads those of the process: subjects can be measured in turn.
    pub fn activate(&self) {
        let device = if self.is_gpu() {
            Device::gpu()
        } else {
            Device::cpu()
        };
        Device::set_default(&device);
        kernel::set_threads(self.threads);
    }

    /// A batch that lies in memory.
    pub(super) fn batch(&mut self) -> Batch {
        self.next = (self.next + 1) % self.batches.len();
        self.batches[self.next].clone()
    }

    /// Makes a training step and gives its seconds, from handing over the batch to having read its loss.
    ///
    /// # Errors
    /// Those of training.
    pub fn train_step(&mut self) -> Result<f64> {
        let batch = self.batch();
        let begin = Instant::now();
        self.trainer.train_batch(&batch)?;
        Ok(begin.elapsed().as_secs_f64())
    }

    /// The operations of predicting for a batch, not evaluated.
    pub(super) fn forward_operations(&mut self) -> Result<BTreeMap<String, usize>> {
        let predicted = self.network.forward(&self.batches[0].inputs, None)?;
        kernel::graph::operations([&predicted]).map_err(|source| mlx("forward", source))
    }

    /// Recurrent layers of the network, both directions counted.
    pub(super) fn layers(&self) -> usize {
        match &self.session.config().model {
            ModelConfig::Stacked(model) => model.layers.len(),
            ModelConfig::Bidirectional(_) => 2,
            _ => 1,
        }
    }

    /// Predicts for a batch and gives the seconds until the predictions are there.
    ///
    /// # Errors
    /// Those of the network.
    pub fn forward(&mut self) -> Result<f64> {
        let batch = self.batch();
        let begin = Instant::now();
        let predicted = self.network.forward(&batch.inputs, None)?;
        predicted.eval().map_err(|source| mlx("forward", source))?;
        Ok(begin.elapsed().as_secs_f64())
    }

    /// What makes single steps, or why nothing does.
    pub(super) fn stepper(&self) -> std::result::Result<String, String> {
        match &self.stepper {
            Stepper::Policy { block, .. } => Ok(format!(
                "kernel policy without MLX, each repetition the mean of {block} steps"
            )),
            Stepper::Network { .. } => Ok("network in MLX operations, evaluated each step".into()),
            Stepper::None { reason } => Err(reason.clone()),
        }
    }

    /// Makes a single step of one sequence with its state carried and gives its seconds (the mean of a block where a step
    /// is too short for a clock); `None` for a network that needs the whole sequence.
    ///
    /// # Errors
    /// Those of the network.
    pub fn single_step(&mut self) -> Result<Option<f64>> {
        match &mut self.stepper {
            Stepper::Policy {
                policy,
                rows,
                block,
            } => {
                let inputs = policy.inputs();
                let begin = Instant::now();
                for row in rows.chunks_exact(inputs).cycle().take(*block) {
                    black_box(policy.step(black_box(row), 1.0)?);
                }
                Ok(Some(begin.elapsed().as_secs_f64() / *block as f64))
            }
            Stepper::Network { state, turn } => {
                *turn = (*turn + 1) % TURNS;
                let index = Array::from_slice(&[*turn as i32], &[1]);
                let x = self.inputs.take_axis(&index, 0);
                let x = x.map_err(|source| mlx("single step", source))?;
                x.eval().map_err(|source| mlx("single step", source))?;
                let begin = Instant::now();
                let (outputs, next) = self.network.step(&x, &Timespans::Unit, state)?;
                let states = next.layers.iter();
                let states = states.flat_map(|s| [&s.hidden].into_iter().chain(&s.memory));
                eval(states.chain([&outputs])).map_err(|source| mlx("single step", source))?;
                let seconds = begin.elapsed().as_secs_f64();
                *state = next;
                Ok(Some(seconds))
            }
            Stepper::None { .. } => Ok(None),
        }
    }

    /// The counted work of a training step and of predicting for one batch.
    ///
    /// # Errors
    /// Those of [`Work::of_step`].
    pub(super) fn work(&self) -> Result<(Work, Work)> {
        let plan = self.session.plan();
        let (batch, network) = (self.batch_size(), self.network.as_ref());
        let forward = Work::of_step(network)? * (batch * plan.time) as u64;
        Ok((Work::of_training_step(network, batch, plan.time)?, forward))
    }

    /// Bytes that a training step moves at least: the batch once; parameters, both moments and the gradient read and
    /// written.
    pub(super) fn least_bytes(&self) -> u64 {
        let batch = self.batches[0].inputs.x.size() + self.batches[0].targets.size();
        let spans = self.batches[0].inputs.timespans.as_ref();
        let values = batch + spans.map_or(0, Array::size) + 8 * self.session.plan().parameters;
        4 * values as u64
    }

    /// Bytes that predicting for one batch moves at least: inputs and parameters read, predictions written.
    pub(super) fn least_forward_bytes(&self) -> u64 {
        let plan = self.session.plan();
        let values = self.batches[0].inputs.x.size()
            + self.batch_size() * plan.time * plan.outputs
            + plan.parameters;
        4 * values as u64
    }

    /// The network in a few words.
    pub(super) fn describe(&self) -> String {
        describe(&self.session.config().model)
    }
}

impl Stepper {
    fn of(network: &dyn Network, is_gpu: bool) -> Result<Self> {
        // A policy computes on the CPU; on a GPU people step the network itself.
        if !is_gpu && let Ok(Some(policy)) = policy(network) {
            let mut stepper = Self::block(policy)?;
            stepper.settle()?;
            return Ok(stepper);
        }
        let state = network.zero_state(1);
        let x = mlx_rs::ops::zeros::<f32>(&[1, network.inputs() as i32]);
        let x = x.map_err(|source| mlx("single step", source))?;
        Ok(match network.step(&x, &Timespans::Unit, &state) {
            Ok(_) => Self::Network { state, turn: 0 },
            Err(error) => Self::None {
                reason: error.to_string(),
            },
        })
    }

    fn block(policy: Policy) -> Result<Self> {
        let shape = [TURNS, policy.inputs()];
        let rows = host(&Initializer::new(1).uniform(-1.0, 1.0, &shape))?;
        Ok(Self::Policy {
            policy: Box::new(policy),
            rows,
            block: 1,
        })
    }

    /// Finds a block that takes about 100 µs, so that reading the clock does not count.
    fn settle(&mut self) -> Result<()> {
        let Self::Policy {
            policy,
            rows,
            block,
        } = self
        else {
            return Ok(());
        };
        let inputs = policy.inputs();
        loop {
            let begin = Instant::now();
            for row in rows.chunks_exact(inputs).cycle().take(*block) {
                black_box(policy.step(black_box(row), 1.0)?);
            }
            if begin.elapsed().as_secs_f64() >= 1e-4 || *block >= 1 << 16 {
                return Ok(());
            }
            *block *= 2;
        }
    }
}

fn describe(model: &ModelConfig) -> String {
    let on = |units: &Units| match units {
        Units::Wired(wiring) => {
            // The kind stands in the configuration's own form, and nowhere else as a word.
            let value = serde_json::to_value(wiring).unwrap_or_default();
            let kind = value["kind"].as_str().unwrap_or("wiring").to_owned();
            match units.units() {
                Ok(count) => format!(" on {kind}, {count} units"),
                Err(_) => format!(" on {kind}"),
            }
        }
        Units::Dense(units) => format!(" {units}"),
    };
    let layer = |layer: &LayerConfig| match layer {
        LayerConfig::Cfc(model) => format!("cfc{}", on(&model.units)),
        LayerConfig::Ltc(model) => format!("ltc{}", on(&model.units)),
        LayerConfig::Lstm(model) => format!("lstm {}", model.units),
        LayerConfig::Gru(model) => format!("gru {}", model.units),
    };
    match model {
        ModelConfig::Cfc(model) => layer(&model.clone().into()),
        ModelConfig::Ltc(model) => layer(&model.clone().into()),
        ModelConfig::Lstm(model) => layer(&model.clone().into()),
        ModelConfig::Gru(model) => layer(&model.clone().into()),
        ModelConfig::Stacked(model) => {
            let layers: Vec<String> = model.layers.iter().map(layer).collect();
            format!("stacked {}", layers.join(" + "))
        }
        ModelConfig::Bidirectional(model) => format!("bidirectional {}", layer(&model.layer)),
    }
}

pub(super) fn mlx(operation: &'static str, source: mlx_rs::error::Exception) -> crate::Error {
    ncps_core::Error::Mlx { operation, source }.into()
}

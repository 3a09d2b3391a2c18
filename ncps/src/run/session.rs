//! `Session`: a checked configuration with its data and network, ready to train or to evaluate.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ncps_core::train::{Metrics, loss};
use ncps_datasets::{DataSchema, Dataset, Task, WindowSet};
use ncps_models::Network;
use ncps_profiling::device::Machine;

use super::Watcher;
use super::batches::WindowSource;
use super::device::{self, Chosen};
use super::directory::RunDirectory;
use super::memory;
use super::model_file::ModelDescription;
use super::plan::{MemoryEstimate, Plan, Sizes};
use super::step_memory::{self, BatchShape};
use super::stiffness;
use super::summary::{BaselineSummary, Summary};
use super::tf32::{self, Products};
use super::training;
use crate::config::{self, Loaded, RunConfig};
use crate::error::{Error, Result};

/// Batches that a thread makes ready where rows are read from a disk.
const STREAMED_AHEAD: usize = 2;

/// A checked configuration with its data and network.
#[derive(Debug)]
pub struct Session {
    pub(super) loaded: Loaded<RunConfig>,
    pub(crate) dataset: Dataset,
    pub(super) device: Chosen,
    pub(crate) products: Products,
    pub(crate) machine: Machine,
    pub(super) network: Box<dyn Network>,
    pub(super) plan: Plan,
    pub(super) may_data_differ: bool,
    remarks: Vec<String>,
}

/// What a session may take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Seconds for reading the data; none waits for ever.
    pub data_seconds: Option<u64>,
    /// Bytes that the run may be estimated to take; nine tenths of the device's memory where none are given.
    pub memory: Option<u64>,
    /// Whether nothing will be trained, so that only the network itself must fit.
    pub is_dry: bool,
    /// Whether a run may be continued with other data than it began with.
    pub may_data_differ: bool,
}

/// A part of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// What the network learns from.
    Train,
    /// What decides which weights are kept.
    Validation,
    /// What the result is measured on.
    Test,
}

impl Split {
    /// The name used in configurations and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

impl Session {
    /// Loads the data, chooses the device and builds the network.
    ///
    /// # Errors
    /// [`Error::Data`] and its like for data that cannot be used, [`Error::Config`] where loss and data do not go
    /// together, [`Error::Models`] for a network that cannot be built, [`Error::NoGpu`].
    pub fn prepare(loaded: Loaded<RunConfig>) -> Result<Self> {
        Self::prepare_within(loaded, Limits::default())
    }

    /// The same within limits of time and memory.
    ///
    /// # Errors
    /// Those of [`Session::prepare`]; [`Error::DataTimeout`], [`Error::OutOfMemory`].
    pub fn prepare_within(mut loaded: Loaded<RunConfig>, limits: Limits) -> Result<Self> {
        let machine = ncps_profiling::device::detect();
        let device = device::choose(&loaded.config.device, device::has_gpu(), &machine)?;
        device::apply(&device);
        let is_on = tf32::is_on_here();
        let products = Products::of(device.backend, &machine, is_on);
        if let (Some(value), "gpu") = (
            tf32::needed(loaded.config.products(), is_on),
            device.backend,
        ) {
            tracing::warn!(
                "`tf32` asks for other products than this process was started for: start it with {}={value}",
                tf32::VARIABLE
            );
        }
        let memory = limits
            .memory
            .or_else(|| memory::limit_of(&machine, device.backend));
        if let Ok(model) = serde_json::to_value(&loaded.config.model) {
            memory::check_model(&model, memory)?;
        }
        let dataset = load(&loaded, limits)?;
        let leaks = dataset.leaks.iter();
        let mut remarks: Vec<String> = leaks.map(|leak| format!("warning: {leak}")).collect();
        if loaded.config.train.stateful {
            check_lanes(&loaded, &dataset)?;
        }
        fit_loss_to_data(&mut loaded, &dataset)?;
        config::check_train(&loaded, &loaded.config.train)?;
        let config = &loaded.config;
        let network = config
            .model
            .build(dataset.inputs(), outputs(config, &dataset), config.seed);
        let network = network.map_err(|error| config::model_error(&loaded, error))?;
        let is_gpu = device.backend == "gpu";
        let plan = plan(config, &dataset, network.as_ref(), is_gpu)?;
        if !limits.is_dry {
            memory::check(&plan, &config.train, memory)?;
        }
        remarks.extend(stiffness::remarks(network.as_ref(), &dataset)?);
        Ok(Self {
            loaded,
            dataset,
            device,
            products,
            machine,
            network,
            plan,
            may_data_differ: limits.may_data_differ,
            remarks,
        })
    }

    /// What training another configuration of the same data would take, by its network.
    ///
    /// # Errors
    /// Those of building the network.
    pub(crate) fn memory_of(&self, config: &RunConfig, is_gpu: bool) -> Result<MemoryEstimate> {
        let outputs = outputs(config, &self.dataset);
        let network = config
            .model
            .build(self.dataset.inputs(), outputs, config.seed)?;
        memory_estimate(network.as_ref(), config, &self.dataset, is_gpu)
    }

    /// The configuration.
    pub fn config(&self) -> &RunConfig {
        &self.loaded.config
    }

    /// The configuration with the origin of its values.
    pub fn loaded(&self) -> &Loaded<RunConfig> {
        &self.loaded
    }

    /// The device that was chosen.
    pub fn device(&self) -> &Chosen {
        &self.device
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Sizes and costs.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What a person should know of the data and the network before it is trained, a line each.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// The layers of the network with their parameter counts, as text.
    pub fn describe_network(&self) -> String {
        self.network.summary().to_string()
    }

    /// Trains the network, evaluates the weights with the best validation result and fills the run directory.
    ///
    /// `config_path` is how the configuration was named, for the summary.
    ///
    /// # Errors
    /// [`Error::ResumeMismatch`] before the first step; [`Error::Core`] when training fails, after a summary that says
    /// so; [`Error::Write`] when the directory cannot be written.
    pub fn train(
        self,
        directory: &RunDirectory,
        config_path: &str,
        watcher: &mut dyn Watcher,
    ) -> Result<Summary> {
        training::run(self, directory, config_path, watcher)
    }

    /// A network with fresh weights from the seed.
    pub(crate) fn build_network(&self) -> Result<Box<dyn Network>> {
        let config = self.config();
        Ok(config.model.build(
            self.dataset.inputs(),
            outputs(config, &self.dataset),
            config.seed,
        )?)
    }

    pub(super) fn description(&self) -> ModelDescription {
        let config = self.config();
        ModelDescription::new(
            &config.model,
            self.dataset.inputs(),
            outputs(config, &self.dataset),
            &self.dataset.schema,
        )
    }

    /// Evaluates the weights saved in `folder` on one split.
    ///
    /// # Errors
    /// [`Error::OtherData`] where the data are not what the model was trained for, [`Error::Core`] for weights that do
    /// not fit.
    pub fn evaluate(
        &mut self,
        description: &ModelDescription,
        folder: &Path,
        split: Split,
    ) -> Result<Metrics> {
        if let Some(what) = difference(&description.data, &self.dataset.schema) {
            return Err(Error::OtherData {
                path: folder.to_owned(),
                what,
            });
        }
        let mut network = description.load_network(folder)?;
        let train = &self.loaded.config.train;
        let mut source = self.source(split, None)?;
        let names = train.metric_names();
        Ok(ncps_core::train::evaluate(
            &mut network,
            &mut source,
            &train.loss,
            &names,
        )?)
    }

    /// The trivial baseline on the test split.
    pub fn baseline(&self) -> BaselineSummary {
        let baseline = self.dataset.baseline();
        BaselineSummary {
            name: baseline.name.to_owned(),
            metrics: baseline.metrics.clone(),
        }
    }

    pub(crate) fn windows(&self, split: Split) -> &WindowSet {
        match split {
            Split::Train => &self.dataset.train,
            Split::Validation => &self.dataset.validation,
            Split::Test => &self.dataset.test,
        }
    }

    pub(crate) fn source(&self, split: Split, shuffle: Option<u64>) -> Result<WindowSource> {
        let config = self.config();
        let (windows, schema) = (self.windows(split), &self.dataset.schema);
        let batch_size = config.train.batch_size;
        let source = match config.train.stateful {
            true => WindowSource::in_lanes(windows, schema, batch_size, shuffle)?,
            false => WindowSource::new(windows, schema, batch_size, shuffle)?,
        };
        let usual = match self.windows(split).is_streamed() {
            true => STREAMED_AHEAD,
            false => 0,
        };
        Ok(source.ahead(config.loader.prefetch.unwrap_or(usual)))
    }
}

/// Where data are kept that took long to make ready: `data` in the cache folder; `None` where there is no such folder.
pub fn data_cache() -> Option<PathBuf> {
    let root = mlx_sys::wheel::cache_root(|name| std::env::var_os(name)).ok()?;
    Some(root.join("data"))
}

/// Reads the data, in a thread of its own where there is a limit of time.
fn load(loaded: &Loaded<RunConfig>, limits: Limits) -> Result<Dataset> {
    let data = loaded.config.data.clone();
    let cache = match loaded.config.loader.cache {
        true => data_cache(),
        false => None,
    };
    let found = match limits.data_seconds {
        None => data.load_with(Path::new(""), cache.as_deref()),
        Some(seconds) => {
            let (sender, receiver) = std::sync::mpsc::channel();
            let name = match loaded
                .resolved()
                .get("data")
                .and_then(|data| data.get("path"))
            {
                Some(path) => format!("the data {path}"),
                None => "the data".to_owned(),
            };
            // A thread that hangs in a read cannot be ended; it goes with the process.
            std::thread::spawn(move || {
                let _ = sender.send(data.load_with(Path::new(""), cache.as_deref()));
            });
            let waited = receiver.recv_timeout(Duration::from_secs(seconds));
            waited.map_err(|_| Error::DataTimeout {
                source_name: name,
                seconds,
            })?
        }
    };
    found.map_err(|error| config::data_error(loaded, error))
}

/// Refuses data through whose windows no state can be carried.
fn check_lanes(loaded: &Loaded<RunConfig>, dataset: &Dataset) -> Result<()> {
    let batch = loaded.config.train.batch_size;
    let sets = [&dataset.train, &dataset.validation, &dataset.test];
    for set in sets.into_iter().filter(|set| !set.is_empty()) {
        let lanes = set.lanes(batch, Some(loaded.config.seed));
        lanes.map_err(|error| config::data_error(loaded, error))?;
    }
    let count = dataset.train.len();
    if count > batch || dataset.train.is_empty() {
        return Ok(());
    }
    let message = format!(
        "`train.batch_size` is {batch} and there are {count} training windows: lanes of one window each carry no state"
    );
    let help = vec!["take fewer samples than windows, for example the number of series".to_owned()];
    Err(loaded.error_at("train.batch_size", message, help))
}

/// Outputs of the network: one logit for binary cross-entropy, else what the data ask for.
fn outputs(config: &RunConfig, dataset: &Dataset) -> usize {
    match config.train.loss.task() {
        loss::Task::Labels if matches!(dataset.schema.task, Task::Classification { .. }) => 1,
        _ => dataset.outputs(),
    }
}

/// Chooses the loss that goes with the data where the configuration leaves it open, and refuses one that does not.
fn fit_loss_to_data(loaded: &mut Loaded<RunConfig>, dataset: &Dataset) -> Result<()> {
    let classes = match &dataset.schema.task {
        Task::Regression => None,
        Task::Classification { classes } => Some(classes.len()),
    };
    loaded.derive(
        "train.loss.kind",
        if classes.is_some() {
            "cross_entropy"
        } else {
            "mse"
        },
    )?;
    loaded.derive(
        "train.loss.at",
        if dataset.schema.each_step {
            "every_step"
        } else {
            "last_step"
        },
    )?;
    let loss = &loaded.config.train.loss;
    let (found, fitting) = match (loss.task(), classes) {
        (loss::Task::Regression, Some(count)) => (format!("{count} classes"), "cross_entropy"),
        (loss::Task::Labels, Some(count)) if count != 2 => {
            (format!("{count} classes"), "cross_entropy")
        }
        (loss::Task::Classes | loss::Task::Labels, None) => ("numbers".to_owned(), "mse"),
        _ => return Ok(()),
    };
    let message = format!(
        "`train.loss.kind` is \"{}\", but the targets of the data are {found}",
        loss.kind()
    );
    Err(loaded.error_at(
        "train.loss.kind",
        message,
        vec![format!("use \"{fitting}\", or leave `loss` out")],
    ))
}

/// What training takes on a device.
fn memory_estimate(
    network: &dyn Network,
    config: &RunConfig,
    dataset: &Dataset,
    is_gpu: bool,
) -> Result<MemoryEstimate> {
    let train = &config.train;
    let sets = [&dataset.train, &dataset.validation, &dataset.test];
    let width = dataset.inputs() + dataset.outputs() + 1;
    let shape = BatchShape {
        batch: train.batch_size,
        time: dataset.train.time(),
        has_timespans: dataset.train.has_timespans(),
        has_mask: dataset.train.has_mask(),
    };
    Ok(MemoryEstimate::of(Sizes {
        parameters: network.summary().parameters,
        optimizer_slots: 2,
        data_values: sets.iter().map(|set| set.steps_held()).sum::<usize>() * width,
        step: step_memory::bytes(network, &config.model, train, shape, is_gpu)?,
    }))
}

fn plan(
    config: &RunConfig,
    dataset: &Dataset,
    network: &dyn Network,
    is_gpu: bool,
) -> Result<Plan> {
    let batch = config.train.batch_size;
    // Buckets of lengths have a last batch each, and lanes are of one length; a part without windows is refused later.
    let batches = match config.train.stateful {
        true => dataset.train.lanes(batch, Some(config.seed)),
        false => dataset.train.batches(batch, Some(config.seed)),
    };
    let steps_per_epoch = batches.map_or(0, |batches| batches.steps());
    let sets = [&dataset.train, &dataset.validation, &dataset.test];
    Ok(Plan {
        parameters: network.summary().parameters,
        windows: sets.map(WindowSet::len),
        time: dataset.train.time(),
        inputs: dataset.inputs(),
        outputs: dataset.outputs(),
        padding: dataset.train.padding(),
        steps_per_epoch,
        steps: steps_per_epoch as u64 * config.train.epochs,
        memory_estimate: memory_estimate(network, config, dataset, is_gpu)?,
    })
}

/// In what two data sets differ for a model, if in anything.
fn difference(trained: &DataSchema, here: &DataSchema) -> Option<&'static str> {
    [
        ("features", trained.features != here.features),
        ("targets", trained.targets != here.targets),
        (
            "task",
            trained.task != here.task || trained.horizon != here.horizon,
        ),
        (
            "normalisation, which follows from the training part,",
            trained.normaliser != here.normaliser,
        ),
        ("time column", trained.time != here.time),
    ]
    .into_iter()
    .find_map(|(what, differs)| differs.then_some(what))
}

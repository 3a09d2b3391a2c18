//! A run: its state, its epochs and the decisions between them.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::path::PathBuf;
use std::rc::Rc;

use mlx_rs::Array;

use super::anchor::Anchor;
use super::batch::{Batch, BatchSource, Signature};
use super::carried::Carried;
use super::chained::Chained;
use super::config::TrainConfig;
use super::epoch::steps_ahead;
use super::evaluate::over;
use super::flat::{Layout, host};
use super::function::device_name;
use super::loss::JUDGED;
use super::metrics::Metrics;
use super::progress::{Best, Progress};
use super::regroup::Regrouped;
use super::saving::Saver;
use super::step::{Form, Functions, Shared};
use super::{EpochReport, Model, Observer};
use crate::checkpoint::atomic;
use crate::{Error, Result};

/// How [`Trainer::fit`] ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All epochs are done.
    Completed,
    /// The metric of early stopping has not improved for too long.
    EarlyStopped,
    /// The observer asked for it; the run can be resumed.
    Interrupted,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// How it ended.
    pub outcome: Outcome,
    /// Epochs done.
    pub epochs: u64,
    /// Batches seen.
    pub steps: u64,
    /// Parameter updates made.
    pub updates: u64,
    /// The best weights.
    pub best: Option<Best>,
    /// Functions that this trainer had compiled.
    pub compilations: u64,
    /// The newest checkpoint.
    pub last_checkpoint: Option<PathBuf>,
}

/// Trains a model.
///
/// The trainer owns the model while it trains it; [`Trainer::model`] shows it with the newest weights.
#[derive(Debug)]
pub struct Trainer<M> {
    pub(super) shared: Rc<Shared<M>>,
    functions: Vec<(Form, Functions)>,
    pub(super) arrays: Arrays,
    pub(super) progress: Progress,
    pub(super) seed: u64,
    pub(super) directory: Option<PathBuf>,
    pub(super) last_checkpoint: Option<PathBuf>,
    pub(super) device: &'static str,
    /// Steps that are launched before the first of them is read.
    pub(super) ahead: usize,
    pub(super) is_compiled: bool,
    pub(super) best_parameters: Option<Vec<f32>>,
    pub(super) signatures: Vec<Signature>,
    /// How many shapes batches may have.
    pub(super) shapes: usize,
    /// What the run was before a resume in smaller batches.
    pub(super) regrouped: Option<Regrouped>,
    /// Where a rollback leads to.
    pub(super) anchor: Option<Anchor>,
    pub(super) saver: Saver,
    traces: Rc<Cell<u64>>,
}

/// The arrays that change from step to step, all flat; a clone shares them.
#[derive(Debug, Clone)]
pub(super) struct Arrays {
    pub(super) parameters: Array,
    pub(super) slots: Vec<Array>,
    /// Summed gradients and weight that wait for an update.
    pub(super) waiting: Option<(Array, Array)>,
    /// Where the samples of the batch before ended.
    pub(super) carried: Carried,
}

impl<M: Model + 'static> Trainer<M> {
    /// Prepares to train `model`; `seed` drives dropout.
    ///
    /// # Errors
    /// [`Error::Setting`] for a setting outside its limits or a model that cannot carry its state, [`Error::Parameter`] for a parameter that is
    /// not float32 or a name pattern that fits none.
    pub fn new(model: M, config: TrainConfig, seed: u64) -> Result<Self> {
        config.validate()?;
        if config.stateful && model.rest(1).is_empty() {
            return Err(super::carried::cannot_carry());
        }
        let layout = Layout::of(&model)?;
        let constrained = model.constrained_parameters();
        layout.check_names(&config, &constrained)?;
        let flat = layout.gather(&model)?;
        let device = device_name()?;
        let slots = config.optimizer.slots();
        let arrays = Arrays {
            parameters: vector(&flat),
            slots: vec![vector(&vec![0.0; flat.len()]); slots.len()],
            waiting: None,
            carried: Carried::default(),
        };
        let is_compiled = config.compile.is_on(device);
        let shared = Shared {
            frozen: layout.frozen(&model),
            decay: decay(&layout, &config),
            floor: floor(&layout, &constrained),
            chained: Chained::of(&model, &layout, &config),
            layout,
            config,
            model: RefCell::new(model),
            outputs: Cell::new(None),
        };
        Ok(Self {
            shared: Rc::new(shared),
            functions: Vec::new(),
            arrays,
            progress: Progress::default(),
            seed,
            directory: None,
            last_checkpoint: None,
            device,
            ahead: steps_ahead(device),
            is_compiled,
            best_parameters: None,
            signatures: Vec::new(),
            shapes: 1,
            regrouped: None,
            anchor: None,
            saver: Saver::default(),
            traces: Rc::default(),
        })
    }

    /// Names the directory that checkpoints go to; without one none are written.
    pub fn checkpoint_to(&mut self, directory: impl Into<PathBuf>) {
        self.directory = Some(directory.into());
    }

    /// Shows the model, outside of [`Trainer::fit`] with its newest weights.
    pub fn model(&self) -> Ref<'_, M> {
        self.shared.model.borrow()
    }

    /// Lends the model, for predictions; changes of its parameters do not reach the training.
    pub fn model_mut(&mut self) -> RefMut<'_, M> {
        self.shared.model.borrow_mut()
    }

    /// Shows the reports of the newest thousand epochs, those before a resume included.
    pub fn history(&self) -> &[EpochReport] {
        &self.progress.history
    }

    /// Counts the batches seen since the run began.
    pub fn step(&self) -> u64 {
        self.progress.step
    }

    /// Counts the epochs done.
    pub fn epoch(&self) -> u64 {
        self.progress.epoch
    }

    /// Trains until the epochs are done, early stopping says so or the observer does.
    ///
    /// # Errors
    /// [`Error::Diverged`] when the loss or a gradient is no finite number, [`Error::Batch`] where a
    /// batch does not fit, [`Error::ResumeMismatch`] where a resumed run has other data,
    /// [`Error::Io`] where a checkpoint cannot be written, and whatever the sources refuse.
    pub fn fit(
        &mut self,
        train: &mut dyn BatchSource,
        validation: Option<&mut dyn BatchSource>,
        observer: &mut dyn Observer,
    ) -> Result<Summary> {
        self.admit_shapes(train.shapes());
        let outcome = self.run(train, validation, observer);
        // Also a run that fails must not leave a checkpoint half way.
        let saved = self.finish_save(observer);
        let synchronised = self.synchronise();
        let outcome = outcome?;
        saved?;
        synchronised?;
        Ok(self.summary(outcome))
    }

    /// Lets batches have so many different shapes; [`Trainer::fit`] takes the number from its source.
    pub fn admit_shapes(&mut self, shapes: usize) {
        self.shapes = self.shapes.max(shapes);
    }

    /// Evaluates the newest weights on every batch of a source.
    ///
    /// # Errors
    /// [`Error::Batch`] where a batch does not fit, and whatever the source refuses.
    pub fn evaluate(&mut self, source: &mut dyn BatchSource) -> Result<Metrics> {
        let found = self.judge(source, &mut || false);
        self.synchronise()?;
        Ok(found?.unwrap_or_default())
    }

    /// Puts the best weights so far into the model; `false` if none are known.
    ///
    /// Training would go on from them, so this belongs after [`Trainer::fit`]. After a resume they are
    /// known if the best checkpoint was kept.
    ///
    /// # Errors
    /// [`Error::Mlx`] if the arrays cannot be made.
    pub fn restore_best(&mut self) -> Result<bool> {
        let Some(best) = &self.best_parameters else {
            return Ok(false);
        };
        self.arrays.parameters = vector(best);
        self.synchronise()?;
        Ok(true)
    }

    fn summary(&self, outcome: Outcome) -> Summary {
        Summary {
            outcome,
            epochs: self.progress.epoch,
            steps: self.progress.step,
            updates: self.progress.updates,
            best: self.progress.best.clone(),
            compilations: self.traces.get(),
            last_checkpoint: self.last_checkpoint.clone(),
        }
    }

    /// Puts the newest weights into the model; needed after [`Trainer::train_batch`] alone.
    ///
    /// # Errors
    /// [`Error::Mlx`] if they cannot be computed.
    pub fn synchronise(&self) -> Result<()> {
        let flat = host(&self.arrays.parameters)?;
        let arrays = self.shared.layout.arrays(&flat);
        let mut model = self.shared.model.borrow_mut();
        self.shared
            .layout
            .load(&mut *model, &arrays, &self.shared.frozen);
        Ok(())
    }

    fn run(
        &mut self,
        train: &mut dyn BatchSource,
        mut validation: Option<&mut dyn BatchSource>,
        observer: &mut dyn Observer,
    ) -> Result<Outcome> {
        self.start(train)?;
        loop {
            if self.progress.epoch >= self.shared.config.epochs {
                self.save(observer, true)?;
                return Ok(Outcome::Completed);
            }
            if self.is_stale() {
                self.save(observer, true)?;
                return Ok(Outcome::EarlyStopped);
            }
            let is_done = self.train_epoch(train, observer)?;
            let validation = validation
                .as_mut()
                .map(|source| &mut **source as &mut dyn BatchSource);
            if !is_done || !self.close_epoch(train, validation, observer)? {
                self.save(observer, true)?;
                return Ok(Outcome::Interrupted);
            }
        }
    }

    fn is_stale(&self) -> bool {
        let early = self.shared.config.early_stopping.as_ref();
        early.is_some_and(|early| self.progress.patience.is_over(early))
    }

    /// Checks the source against what the run has seen, and the directory against what it will write.
    fn start(&mut self, train: &dyn BatchSource) -> Result<()> {
        let steps = train.steps();
        if steps == 0 {
            return Err(Error::Batch {
                argument: "steps",
                found: "0: the training split is empty".to_owned(),
                expected: "at least one batch".to_owned(),
            });
        }
        if let Some(before) = self.regrouped.take() {
            before.check(steps)?;
        }
        if self.progress.steps_per_epoch == 0 {
            self.progress.steps_per_epoch = steps;
        }
        if self.progress.steps_per_epoch != steps {
            return Err(Error::ResumeMismatch {
                path: self.last_checkpoint.clone().unwrap_or_default(),
                key: "batches of an epoch (from the data and `batch_size`)".to_owned(),
                saved: self.progress.steps_per_epoch.to_string(),
                given: steps.to_string(),
            });
        }
        self.prepare_directory()
    }

    fn prepare_directory(&self) -> Result<()> {
        let Some(directory) = &self.directory else {
            return Ok(());
        };
        std::fs::create_dir_all(directory).map_err(|source| Error::Io {
            action: "create",
            path: directory.clone(),
            source,
        })?;
        let old = crate::checkpoint::steps(directory)?;
        if self.last_checkpoint.is_none() && !old.is_empty() {
            return Err(super::config::setting(
                "checkpoints",
                format!(
                    "`{}`, which holds {} already",
                    directory.display(),
                    old.len()
                ),
                "an empty directory; resume that run, choose another directory or remove them",
            ));
        }
        atomic::clean(directory)
    }

    /// Evaluates and decides; `false` if the observer asked to stop before that was done.
    fn close_epoch(
        &mut self,
        train: &mut dyn BatchSource,
        validation: Option<&mut dyn BatchSource>,
        observer: &mut dyn Observer,
    ) -> Result<bool> {
        let shared = Rc::clone(&self.shared);
        let config = &shared.config;
        let mut is_stopped = || observer.should_stop();
        let mut report = Metrics::new();
        if config.train_metrics {
            match self.judge(train, &mut is_stopped)? {
                Some(metrics) => report = metrics,
                None => return Ok(false),
            }
        } else if self.progress.weight > 0.0 {
            report.insert("loss".to_owned(), self.progress.loss / self.progress.weight);
        }
        let mut judged = None;
        if let Some(source) = validation {
            match self.judge(source, &mut is_stopped)? {
                Some(metrics) => judged = Some(metrics),
                None => return Ok(false),
            }
        }
        if self.is_rolled_back(judged.as_ref(), observer)? {
            return Ok(true);
        }
        let rate = self.progress.learning_rate(config);
        let report = self
            .progress
            .end_epoch(config, rate, report, judged)?
            .clone();
        if report.is_best {
            self.best_parameters = Some(host(&self.arrays.parameters)?);
        }
        observer.on_epoch(&report);
        let every = config.checkpoint.every;
        let is_due = every > 0 && self.progress.epoch.is_multiple_of(every);
        let is_among_best = self
            .progress
            .ranked
            .iter()
            .any(|best| best.step == report.step);
        if is_due || is_among_best {
            self.save(observer, false)?;
        }
        Ok(true)
    }

    fn judge(
        &mut self,
        source: &mut dyn BatchSource,
        is_stopped: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Metrics>> {
        let shared = Rc::clone(&self.shared);
        let config = &shared.config;
        let flat = host(&self.arrays.parameters)?;
        let mut fixed = shared.layout.arrays(&flat);
        fixed.extend(shared.frozen.iter().cloned());
        let mut signatures: Vec<Signature> = Vec::new();
        let shapes = source.shapes();
        let names = config.metric_names();
        let mut carried = Carried::default();
        let mut judge = |batch: &Batch, continues: Option<&[bool]>| {
            Signature::admit(&mut signatures, batch, shapes)?;
            let state = self.begun(&carried, continues)?;
            let mut arguments = fixed.clone();
            Form::append(&mut arguments, batch, &state);
            let functions = self.functions(Form::of(batch, &state));
            let mut judged = functions.evaluate.call(&arguments)?;
            carried.keep(judged.split_off(JUDGED.min(judged.len())));
            Ok(judged)
        };
        let task = config.loss.task();
        over(source, task, &names, is_stopped, &mut judge)
    }

    /// The state that a batch begins in; empty where all samples begin at rest as they do without lanes.
    pub(super) fn begun(
        &self,
        carried: &Carried,
        continues: Option<&[bool]>,
    ) -> Result<Vec<Array>> {
        match continues {
            Some(continues) => carried.begin(continues, |samples| self.model().rest(samples)),
            None => Ok(Vec::new()),
        }
    }

    pub(super) fn functions(&mut self, form: Form) -> &mut Functions {
        let known = self.functions.iter().position(|(found, _)| *found == form);
        let index = known.unwrap_or_else(|| {
            let built = Functions::new(&self.shared, form, self.is_compiled, &self.traces);
            self.functions.push((form, built));
            self.functions.len() - 1
        });
        &mut self.functions[index].1
    }
}

pub(super) fn vector(values: &[f32]) -> Array {
    Array::from_slice(values, &[values.len() as i32])
}

fn decay(layout: &Layout, config: &TrainConfig) -> Option<Array> {
    let values = layout.per_element(0.0, |name| config.decay_of(name) as f32)?;
    Some(vector(&values))
}

fn floor(layout: &Layout, constrained: &[String]) -> Option<Array> {
    let least = |name: &str| match constrained.iter().any(|other| other == name) {
        true => 0.0,
        false => f32::NEG_INFINITY,
    };
    Some(vector(&layout.per_element(f32::NEG_INFINITY, least)?))
}

#[cfg(test)]
#[path = "trainer_tests.rs"]
mod tests;

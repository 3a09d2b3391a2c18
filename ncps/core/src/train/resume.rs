//! Saving a run and taking it up again, bit for bit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mlx_rs::Array;
use serde::{Deserialize, Serialize};

use super::anchor::At;
use super::carried::Carried;
use super::config::{CompileMode, TrainConfig};
use super::flat::host;
use super::progress::Progress;
use super::regroup;
use super::saving::{Job, Snapshot};
use super::trainer::{Trainer, vector};
use super::{CheckpointReport, Model, Observer};
use crate::array::dim;
use crate::checkpoint::{self, MODEL, OPTIMIZER, STATE, Tensor};
use crate::{Error, Result};

const SCHEMA: u32 = 1;
/// The state that samples of the next batch may go on from, array by array.
const CARRIED: &str = "carried.";
const WAITING: &str = "waiting";
const WAITING_WEIGHT: &str = "waiting_weight";

/// Settings that may change between the parts of a run without changing what was done so far.
const FREE: [&str; 9] = [
    "epochs",
    "metrics",
    "train_metrics",
    "early_stopping",
    "checkpoint",
    "compile",
    "on_nonfinite",
    "nonfinite_limit",
    "rollback_factor",
];

/// A run that was taken up again.
#[derive(Debug)]
pub struct Resumed {
    /// The checkpoint.
    pub path: PathBuf,
    /// Epoch that the run goes on with.
    pub epoch: u64,
    /// Batches seen so far.
    pub step: u64,
    /// Newer checkpoints that are damaged, with the reasons.
    pub rejected: Vec<(PathBuf, Error)>,
    /// Whether the run will end in the same bits as without the pause: on the same kind of device.
    pub exact: bool,
    /// How many batches take the place of one from here on; 1 unless they became smaller.
    pub regrouped: usize,
}

/// The content of `state.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct State {
    schema: u32,
    version: String,
    seed: u64,
    device: String,
    compiled: bool,
    config: TrainConfig,
    progress: Progress,
    /// Where a rollback leads to, in the middle of an epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    anchor: Option<At>,
}

/// What the state files of all versions have. The manifest vouches for it, so that a damaged number is no other version.
#[derive(Debug, Deserialize)]
struct Head {
    schema: u32,
    version: String,
}

impl<M: Model + 'static> Trainer<M> {
    /// Takes up the newest checkpoint of the directory that verifies; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::CheckpointCorrupt`] if there are checkpoints and none verifies,
    /// [`Error::CheckpointMismatch`] if it is another model's, [`Error::ResumeMismatch`] if the seed or
    /// a setting that decides the result has changed, [`Error::Io`] if files cannot be read. Smaller batches of which as many
    /// more are accumulated are taken: the result is then the same up to rounding.
    pub fn resume(&mut self) -> Result<Option<Resumed>> {
        let Some(directory) = self.directory.clone() else {
            return Ok(None);
        };
        checkpoint::atomic::restore(&directory)?;
        let mut found = checkpoint::latest_valid(&directory)?;
        let Some(path) = found.path else {
            return match found.rejected.is_empty() {
                true => Ok(None),
                false => Err(found.rejected.swap_remove(0).1),
            };
        };
        let exact = self.restore(&path)?;
        self.last_checkpoint = Some(path.clone());
        self.synchronise()?;
        Ok(Some(Resumed {
            path,
            epoch: self.progress.epoch,
            step: self.progress.step,
            rejected: found.rejected,
            exact,
            regrouped: self.regrouped.map_or(1, |before| before.factor),
        }))
    }

    fn restore(&mut self, path: &Path) -> Result<bool> {
        let files = checkpoint::contents(path)?;
        let state = state(path, &files)?;
        self.check_state(path, &state)?;
        let is_same_device = state.device == self.device;
        let factor = regroup::factor(&state.config, &self.shared.config);
        if is_same_device && self.shared.config.compile == CompileMode::Auto {
            self.is_compiled = state.compiled;
        }
        let parameters = self.parameters(path, &files)?;
        let tensors = tensors(path, &files, OPTIMIZER)?;
        let layout = &self.shared.layout;
        let saved = |name: &str| {
            let flat = layout.find_tensors(&format!("{name}."), &tensors);
            flat.map_err(|problem| mismatch(&path.join(OPTIMIZER), problem))
        };
        let slots = self.shared.config.optimizer.slots();
        let slots: Result<Vec<Array>> =
            slots.iter().map(|name| Ok(vector(&saved(name)?))).collect();
        self.arrays.waiting = match tensors.get(WAITING_WEIGHT) {
            Some(weight) => Some((
                vector(&saved(WAITING)?),
                Array::from_f32(weight.values.first().copied().unwrap_or_default()),
            )),
            None => None,
        };
        self.arrays.carried = carried(&tensors);
        let anchor = state.anchor.map(|at| self.restored_anchor(at, &tensors));
        let problem = |problem| mismatch(&path.join(OPTIMIZER), problem);
        self.anchor = anchor.transpose().map_err(problem)?;
        self.arrays.slots = slots?;
        self.arrays.parameters = vector(&parameters);
        self.best_parameters = self.saved_best(path, &state.progress, &parameters);
        self.progress = state.progress;
        self.regrouped = factor.map(|factor| self.progress.regroup(factor));
        if let (Some(factor), Some(anchor)) = (factor, &mut self.anchor) {
            anchor.at.place.regroup(factor);
        }
        if self.progress.ranked.is_empty() {
            self.progress.ranked.extend(self.progress.best.clone());
        }
        self.progress
            .ranked
            .truncate(self.shared.config.checkpoint.keep_best);
        Ok(is_same_device && factor.is_none())
    }

    /// Reads the trainable parameters and checks that the frozen ones are the model's.
    fn parameters(&self, path: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<f32>> {
        let tensors = tensors(path, files, MODEL)?;
        let problem = |problem| mismatch(&path.join(MODEL), problem);
        let names = self.shared.layout.frozen_names();
        for (name, array) in names.iter().zip(&self.shared.frozen) {
            let saved = tensors.get(name).map(|tensor| &tensor.values);
            if saved != Some(&host(array)?) {
                return Err(problem(format!(
                    "the frozen parameter `{name}` has other values"
                )));
            }
        }
        let count = self.shared.layout.len() + names.len();
        if tensors.len() != count {
            let found = tensors.len();
            return Err(problem(format!(
                "it has {found} tensors, the model {count}"
            )));
        }
        self.shared
            .layout
            .find_tensors("", &tensors)
            .map_err(problem)
    }

    /// Finds the best weights of the run, which lie in a checkpoint of their own.
    fn saved_best(&self, path: &Path, progress: &Progress, newest: &[f32]) -> Option<Vec<f32>> {
        let best = progress.best.as_ref()?;
        if best.step == progress.step {
            return Some(newest.to_vec());
        }
        let path = path.with_file_name(checkpoint::step_name(best.step));
        let files = checkpoint::contents(&path).ok()?;
        self.parameters(&path, &files).ok()
    }

    fn check_state(&self, path: &Path, state: &State) -> Result<()> {
        let differs = |key: &str, saved: String, given: String| Error::ResumeMismatch {
            path: path.to_owned(),
            key: key.to_owned(),
            saved,
            given,
        };
        let config = &self.shared.config;
        if state.seed != self.seed {
            return Err(differs(
                "seed",
                state.seed.to_string(),
                self.seed.to_string(),
            ));
        }
        let mut saved = state.config.clone();
        if regroup::factor(&saved, config).is_some() {
            (saved.batch_size, saved.accumulate) = (config.batch_size, config.accumulate);
        }
        if let Some((key, saved, given)) = difference(&saved, config) {
            return Err(differs(&format!("train.{key}"), saved, given));
        }
        let is_fixed = config.compile != CompileMode::Auto;
        if is_fixed && state.compiled != config.compile.is_on(self.device) {
            let word = |is_on| if is_on { "on" } else { "off" }.to_owned();
            let given = word(!state.compiled);
            return Err(differs("train.compile", word(state.compiled), given));
        }
        Ok(())
    }

    /// Begins to write a checkpoint, if there is a directory for it; the end of a run is waited for.
    pub(super) fn save(&mut self, observer: &mut dyn Observer, is_last: bool) -> Result<()> {
        let Some(directory) = self.directory.clone() else {
            return Ok(());
        };
        self.finish_save(observer)?;
        let best = self.progress.best.as_ref().map(|best| best.step);
        let ranked = self.progress.ranked.iter().map(|best| best.step).collect();
        let report = CheckpointReport {
            path: directory.join(checkpoint::step_name(self.progress.step)),
            step: self.progress.step,
            epoch: self.progress.epoch,
            is_best: best == Some(self.progress.step),
        };
        self.saver.start(Job {
            directory,
            snapshot: self.snapshot()?,
            report,
            config: self.shared.config.checkpoint.clone(),
            best: ranked,
            is_last,
        })?;
        match is_last {
            true => self.finish_save(observer),
            false => Ok(()),
        }
    }

    /// Waits for the checkpoint that is being written and reports it.
    pub(super) fn finish_save(&mut self, observer: &mut dyn Observer) -> Result<()> {
        if let Some(report) = self.saver.wait()? {
            self.last_checkpoint = Some(report.path.clone());
            observer.on_checkpoint(&report);
        }
        Ok(())
    }

    fn snapshot(&self) -> Result<Snapshot> {
        let layout = &self.shared.layout;
        let parameters = host(&self.arrays.parameters)?;
        self.check_parameters(&parameters)?;
        let mut model = layout.tensors("", &parameters);
        for (name, array) in layout.frozen_names().iter().zip(&self.shared.frozen) {
            model.push(Tensor {
                name: name.clone(),
                shape: array.shape().iter().map(|&n| n as usize).collect(),
                values: host(array)?,
            });
        }
        let mut optimizer = Vec::new();
        let names = self.shared.config.optimizer.slots();
        for (name, slot) in names.iter().zip(&self.arrays.slots) {
            optimizer.extend(layout.tensors(&format!("{name}."), &host(slot)?));
        }
        if let Some((sum, weight)) = &self.arrays.waiting {
            optimizer.extend(layout.tensors(&format!("{WAITING}."), &host(sum)?));
            optimizer.push(Tensor {
                name: WAITING_WEIGHT.to_owned(),
                shape: vec![1],
                values: host(weight)?,
            });
        }
        // An epoch's first batch begins at rest.
        let is_inside = self.progress.step_in_epoch > 0;
        let states = self.arrays.carried.arrays().iter().enumerate();
        for (index, array) in states.filter(|_| is_inside) {
            optimizer.push(Tensor {
                name: format!("{CARRIED}{index}"),
                shape: array.shape().iter().map(|&n| n as usize).collect(),
                values: host(array)?,
            });
        }
        let anchor = self.saved_anchor()?.map(|(at, tensors)| {
            optimizer.extend(tensors);
            at
        });
        Ok(Snapshot {
            model,
            optimizer,
            state: State {
                schema: SCHEMA,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                seed: self.seed,
                device: self.device.to_owned(),
                compiled: self.is_compiled,
                config: self.shared.config.clone(),
                progress: self.progress.clone(),
                anchor,
            },
        })
    }

    /// A checkpoint must be a place to come back to.
    fn check_parameters(&self, parameters: &[f32]) -> Result<()> {
        match parameters.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(Error::Diverged {
                quantity: "parameters",
                value: f64::from(*value),
                step: self.progress.step,
                epoch: self.progress.epoch,
                origin: "an update took them out of range".into(),
                last_checkpoint: self.last_checkpoint.clone(),
                advice: super::nonfinite::ADVICE,
            }),
            None => Ok(()),
        }
    }
}

fn state(path: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<State> {
    let corrupt = |problem: String| Error::CheckpointCorrupt {
        path: path.join(STATE),
        problem,
    };
    let text = files
        .get(STATE)
        .ok_or_else(|| corrupt("it is missing".to_owned()))?;
    let head: Head = serde_json::from_slice(text).map_err(|error| corrupt(error.to_string()))?;
    if head.schema != SCHEMA {
        return Err(Error::CheckpointVersion {
            path: path.to_owned(),
            format: head.schema,
            known: SCHEMA,
            version: format!("ncps {}", head.version),
        });
    }
    serde_json::from_slice(text).map_err(|error| corrupt(error.to_string()))
}

fn tensors(
    path: &Path,
    files: &BTreeMap<String, Vec<u8>>,
    name: &str,
) -> Result<BTreeMap<String, Tensor>> {
    let file = path.join(name);
    let bytes = files.get(name).ok_or_else(|| Error::CheckpointCorrupt {
        path: file.clone(),
        problem: "it is missing".to_owned(),
    })?;
    checkpoint::decode(&file, bytes)
}

fn carried(tensors: &BTreeMap<String, Tensor>) -> Carried {
    let each = (0..).map_while(|index| tensors.get(&format!("{CARRIED}{index}")));
    let arrays = each.map(|tensor| {
        let shape: Vec<i32> = tensor.shape.iter().map(|&n| dim(n)).collect();
        Array::from_slice(&tensor.values, &shape)
    });
    let mut carried = Carried::default();
    carried.keep(arrays.collect());
    carried
}

fn mismatch(path: &Path, problem: String) -> Error {
    Error::CheckpointMismatch {
        path: path.to_owned(),
        problem,
    }
}

/// Finds the first setting that would make the rest of the run another run.
fn difference(saved: &TrainConfig, given: &TrainConfig) -> Option<(String, String, String)> {
    let fields = |config: &TrainConfig| match serde_json::to_value(config) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let (old, new) = (fields(saved), fields(given));
    let length_matters = given.schedule.depends_on_length();
    let is_free = |key: &str| FREE.contains(&key) && !(key == "epochs" && length_matters);
    let key = new
        .keys()
        .find(|key| !is_free(key) && old.get(*key) != new.get(*key))?;
    let text = |fields: &serde_json::Map<_, serde_json::Value>| {
        fields
            .get(key)
            .map_or_else(String::new, ToString::to_string)
    };
    Some((key.clone(), text(&old), text(&new)))
}

#[cfg(test)]
#[path = "resume_tests.rs"]
mod tests;

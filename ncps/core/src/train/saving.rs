//! Checkpoints beside the training: the trainer takes a snapshot, a thread puts it on the disk.
//!
//! Each checkpoint outlives the process as soon as it is named. The disk is made to have it at most once in
//! [`SYNC_INTERVAL`] and at the end of a run, since syncs cost more than whole epochs of a small network; the newest
//! checkpoint that the disk has for sure is kept beside those that retention keeps. So a killed process loses what
//! came after its last checkpoint, and a machine that stops at most [`SYNC_INTERVAL`] more.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::resume::State;
use super::{CheckpointConfig, CheckpointReport};
use crate::checkpoint::atomic::{self, Durability};
use crate::checkpoint::{self, MODEL, OPTIMIZER, STATE, Tensor};
use crate::{Error, Result};

/// Longest time between two checkpoints that outlive the machine, while checkpoints are written.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// A run at one moment, on the host.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) model: Vec<Tensor>,
    pub(super) optimizer: Vec<Tensor>,
    pub(super) state: State,
}

impl Snapshot {
    fn files(self, path: &Path) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let state =
            serde_json::to_vec_pretty(&self.state).map_err(|error| Error::CheckpointCorrupt {
                path: path.join(STATE),
                problem: error.to_string(),
            })?;
        let files = vec![
            (MODEL, checkpoint::encode(path, self.model)?),
            (OPTIMIZER, checkpoint::encode(path, self.optimizer)?),
            (STATE, state),
        ];
        checkpoint::with_manifest(path, files)
    }
}

/// Where a snapshot goes, and what it replaces there.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) directory: PathBuf,
    pub(super) snapshot: Snapshot,
    pub(super) report: CheckpointReport,
    pub(super) config: CheckpointConfig,
    /// Steps of the best weights so far.
    pub(super) best: Vec<u64>,
    /// Whether the run ends here.
    pub(super) is_last: bool,
}

/// Writes one checkpoint at a time.
#[derive(Debug, Default)]
pub(super) struct Saver {
    running: Option<(JoinHandle<Result<()>>, CheckpointReport, Durability)>,
    /// The newest checkpoint that the disk has for sure, and since when.
    durable: Option<(u64, Instant)>,
}

impl Saver {
    /// Begins to write; the one before must have been waited for.
    pub(super) fn start(&mut self, job: Job) -> Result<()> {
        let is_due = |(_, since): &(u64, Instant)| since.elapsed() >= SYNC_INTERVAL;
        let durability = match job.is_last || self.durable.as_ref().is_none_or(is_due) {
            true => Durability::Machine,
            false => Durability::Process,
        };
        let durable = self.durable.map(|(step, _)| step);
        let report = job.report.clone();
        let path = report.path.clone();
        let thread = std::thread::Builder::new().name("checkpoint".to_owned());
        let handle = thread
            .spawn(move || write(job, durability, durable))
            .map_err(|source| Error::Io {
                action: "start the thread that writes",
                path,
                source,
            })?;
        self.running = Some((handle, report, durability));
        Ok(())
    }

    /// Tells whether a checkpoint was written that nobody waited for yet.
    pub(super) fn is_done(&self) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|(handle, ..)| handle.is_finished())
    }

    /// Waits for the checkpoint that is being written, if there is one.
    pub(super) fn wait(&mut self) -> Result<Option<CheckpointReport>> {
        let Some((handle, report, durability)) = self.running.take() else {
            return Ok(None);
        };
        // A panic of the thread is one of this crate's own; it goes on where it would have been without a thread.
        handle
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        if durability == Durability::Machine {
            self.durable = Some((report.step, Instant::now()));
        }
        Ok(Some(report))
    }
}

/// Writes a checkpoint and removes outdated ones.
fn write(job: Job, durability: Durability, durable: Option<u64>) -> Result<()> {
    let files = job.snapshot.files(&job.report.path)?;
    atomic::write_directory(&job.report.path, &files, durability)?;
    let durable = match durability {
        Durability::Machine => Some(job.report.step),
        Durability::Process => durable,
    };
    let steps = checkpoint::steps(&job.directory)?;
    for step in checkpoint::outdated(&steps, job.config.keep_last, &job.best) {
        if Some(step) != durable {
            atomic::remove_directory(&job.directory.join(checkpoint::step_name(step)))?;
        }
    }
    Ok(())
}

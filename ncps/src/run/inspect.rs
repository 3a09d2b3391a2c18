//! What a run directory tells about its run, running or not.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ncps_core::checkpoint;
use serde::Serialize;
use serde_json::Value;

use super::directory::{CHECKPOINTS, CONFIG, LOCK, METRICS, SUMMARY};
use super::summary::{Status, Summary};
use crate::error::{Error, Result};

/// The part of a table of metrics that is read to find its last row.
const TAIL: u64 = 4096;
/// The largest file of a run that is read whole here.
const MAX_BYTES: u64 = 64 << 20;

/// What a run is doing, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// A process holds its directory.
    Running,
    /// All epochs are done, or it stopped early because validation no longer improved.
    Completed,
    /// Interrupted after saving; `--resume` continues it.
    Stopped,
    /// Ended by an error.
    Failed,
    /// Its process ended without a word; `--resume` continues it.
    Killed,
}

impl RunState {
    /// The word for tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Killed => "killed",
        }
    }

    /// Whether `--resume` would go on with it.
    pub fn is_resumable(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed | Self::Killed)
    }
}

/// The best value of the metric that decides.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BestValue {
    /// The metric.
    pub metric: String,
    /// Its value on the validation split, or on the training split where there is no other.
    pub value: f64,
    /// The epoch, from 0.
    pub epoch: u64,
}

/// A checkpoint of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointInfo {
    /// Its folder.
    pub path: PathBuf,
    /// What is wrong with it, if anything is.
    pub problem: Option<String>,
}

/// What a run directory tells.
#[derive(Clone, Debug, Serialize)]
pub struct RunInfo {
    /// The directory.
    pub path: PathBuf,
    /// What the run is doing.
    pub state: RunState,
    /// Batches seen, as far as the metrics tell.
    pub step: u64,
    /// Epochs done, with the part of the current one.
    pub epoch: f64,
    /// Epochs that the configuration asks for.
    pub epochs: Option<u64>,
    /// The best result so far.
    pub best: Option<BestValue>,
    /// Seconds of training in all sittings that ended with a word.
    pub seconds: Option<f64>,
    /// Bytes of all its files.
    pub bytes: u64,
    /// When its metrics were last written, in seconds since 1970.
    pub modified: Option<u64>,
    /// Why it failed.
    pub error: Option<String>,
}

/// Whether a folder is a run: it has a resolved configuration.
pub fn is_run(path: &Path) -> bool {
    path.join(CONFIG).is_file()
}

/// The runs directly inside a folder, by name.
///
/// # Errors
/// [`Error::Read`] for a folder that cannot be listed.
pub fn find_runs(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|source| Error::Read {
        path: folder.to_owned(),
        what: "folder of runs",
        source,
    })?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut runs: Vec<PathBuf> = paths.filter(|path| is_run(path)).collect();
    runs.sort();
    Ok(runs)
}

/// Reads what a run directory tells.
///
/// # Errors
/// [`Error::NotARun`] for a folder without a resolved configuration.
pub fn inspect(path: &Path) -> Result<RunInfo> {
    if !is_run(path) {
        return Err(Error::NotARun {
            path: path.to_owned(),
            missing: CONFIG,
        });
    }
    let summary: Option<Summary> =
        text(&path.join(SUMMARY)).and_then(|text| serde_json::from_str(&text).ok());
    let modified = |name| fs::metadata(path.join(name)).and_then(|file| file.modified());
    let (written, ended) = (modified(METRICS).ok(), modified(SUMMARY).ok());
    let state = match &summary {
        _ if is_held(path) => RunState::Running,
        // Rows that came after the summary are of a later sitting, which has left none.
        Some(summary) if written <= ended => match summary.status {
            Status::Completed => RunState::Completed,
            Status::Stopped => RunState::Stopped,
            Status::Failed => RunState::Failed,
        },
        _ => RunState::Killed,
    };
    let (step, epoch) = last_row(&path.join(METRICS)).unwrap_or_default();
    let config = text(&path.join(CONFIG)).and_then(|text| text.parse::<toml::Table>().ok());
    let epochs = config.and_then(|config| config.get("train")?.get("epochs")?.as_integer());
    Ok(RunInfo {
        path: path.to_owned(),
        state,
        step,
        epoch,
        epochs: epochs.and_then(|epochs| u64::try_from(epochs).ok()),
        best: best(path),
        seconds: summary.as_ref().map(|summary| summary.train_seconds),
        bytes: size(path),
        modified: written.and_then(seconds),
        error: summary.and_then(|summary| summary.error),
    })
}

/// The checkpoints of a run, oldest first, each read and compared with its manifest.
///
/// # Errors
/// [`Error::Core`] where their folder cannot be listed.
pub fn checkpoints(run: &Path) -> Result<Vec<CheckpointInfo>> {
    let steps = checkpoint::list(&run.join(CHECKPOINTS))?;
    let mut found = Vec::new();
    for path in steps {
        // A run that goes on may replace or remove a checkpoint while it is read: a second look tells.
        let verified = checkpoint::verify(&path).or_else(|_| checkpoint::verify(&path));
        if verified.is_ok() || path.exists() {
            found.push(CheckpointInfo {
                problem: verified.err().map(|error| error.to_string()),
                path,
            });
        }
    }
    Ok(found)
}

/// Whether a process writes to the run.
pub(crate) fn is_held(run: &Path) -> bool {
    let Ok(file) = File::open(run.join(LOCK)) else {
        return false;
    };
    matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

/// Bytes of all files below a folder; links are not followed.
pub(crate) fn size(path: &Path) -> u64 {
    let Ok(found) = fs::symlink_metadata(path) else {
        return 0;
    };
    if !found.is_dir() {
        return found.len();
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size(&entry.path())).sum()
}

fn seconds(time: SystemTime) -> Option<u64> {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(since.as_secs())
}

fn text(path: &Path) -> Option<String> {
    let length = fs::metadata(path).ok()?.len();
    (length <= MAX_BYTES).then(|| fs::read_to_string(path).ok())?
}

/// Step and epoch of the last whole row.
fn last_row(path: &Path) -> Option<(u64, f64)> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))
        .ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    let tail = String::from_utf8_lossy(&bytes);
    let whole = &tail[..tail.rfind('\n')?];
    let mut cells = whole.lines().next_back()?.split(',');
    Some((cells.next()?.parse().ok()?, cells.next()?.parse().ok()?))
}

/// The best value so far, from the newest checkpoint that can be read.
fn best(run: &Path) -> Option<BestValue> {
    let newest = checkpoint::list(&run.join(CHECKPOINTS)).ok()?.pop()?;
    let state: Value = serde_json::from_str(&text(&newest.join("state.json"))?).ok()?;
    let best = &state["progress"]["best"];
    Some(BestValue {
        metric: best["metric"].as_str()?.to_owned(),
        value: best["value"].as_f64()?,
        epoch: best["epoch"].as_u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Existing, RunDirectory};

    #[test]
    fn the_state_follows_from_lock_and_summary() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        let held = RunDirectory::open(&path, Existing::Refuse).unwrap();
        held.write(CONFIG, b"[train]\nepochs = 7\n").unwrap();
        held.write(
            METRICS,
            b"step,epoch,split\n1,0.5,train_step\n2,1,train\n3,1.5,tr",
        )
        .unwrap();
        let info = inspect(&path).unwrap();
        assert_eq!(info.state, RunState::Running);
        assert_eq!((info.step, info.epochs), (2, Some(7)));
        drop(held);
        assert_eq!(inspect(&path).unwrap().state, RunState::Killed);
        assert_eq!(find_runs(root.path()).unwrap(), [path]);
        assert!(matches!(inspect(root.path()), Err(Error::NotARun { .. })));
    }
}

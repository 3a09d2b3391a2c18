//! The directory of one run: made, locked, filled file by file without ever leaving half of one.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use ncps_core::checkpoint::atomic;

use crate::error::{Error, Result};

/// What to do when the directory holds a run already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Leave it alone and say so.
    Refuse,
    /// Continue it; begin it if there is none.
    Resume,
    /// Move it aside under another name and begin anew.
    Replace,
}

/// The directory of one run, held by this process until dropped.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    is_resumed: bool,
    replaced: Option<PathBuf>,
    // The lock lasts as long as the file is open.
    _lock: File,
}

/// The resolved configuration; the file that makes a directory a run.
pub(crate) const CONFIG: &str = "config.toml";
/// The weights with the best validation result.
pub(crate) const MODEL: &str = "model.safetensors";
/// What the weights belong to: network, sizes, data schema, normaliser.
pub(crate) const MODEL_CONFIG: &str = "config.json";
pub(crate) const CHECKPOINTS: &str = "checkpoints";
pub(crate) const METRICS: &str = "metrics.csv";
pub(crate) const METRICS_PARQUET: &str = "metrics.parquet";
pub(crate) const PLOTS: &str = "plots";
pub(crate) const REPORT: &str = "report.html";
pub(crate) const PROVENANCE: &str = "provenance.json";
pub(crate) const SUMMARY: &str = "summary.json";
pub(crate) const LOG: &str = "log.txt";
pub(crate) const LOCK: &str = ".lock";
/// How the names of TensorBoard's event files begin.
pub(crate) const EVENTS: &str = "events.out.tfevents.";

/// Everything that a run directory has, apart from event files and what is being written.
pub(crate) const FILES: [&str; 12] = [
    CONFIG,
    MODEL,
    MODEL_CONFIG,
    CHECKPOINTS,
    METRICS,
    METRICS_PARQUET,
    PLOTS,
    REPORT,
    SUMMARY,
    PROVENANCE,
    LOG,
    LOCK,
];

pub(crate) fn is_event_file(name: &str) -> bool {
    name.starts_with(EVENTS)
}

impl RunDirectory {
    /// Makes or takes over the directory at `path` and locks it against other processes.
    ///
    /// # Errors
    /// [`Error::RunExists`] where there is something already and `existing` refuses it, [`Error::NotARun`] where it is
    /// something else than a run, [`Error::RunLocked`] while another process writes to it, [`Error::Write`] without
    /// permission or space.
    pub fn open(path: &Path, existing: Existing) -> Result<Self> {
        let occupied = is_occupied(path)?;
        if occupied && existing == Existing::Refuse {
            return Err(Error::RunExists {
                path: path.to_owned(),
            });
        }
        if occupied && !path.join(CONFIG).is_file() {
            return Err(Error::NotARun {
                path: path.to_owned(),
                missing: CONFIG,
            });
        }
        let mut replaced = None;
        if occupied && existing == Existing::Replace {
            // Held while it is moved, so that no running process loses its directory.
            let _held = lock(path)?;
            let aside = free_name(path);
            fs::rename(path, &aside).map_err(|source| Error::Write {
                path: aside.clone(),
                source,
            })?;
            replaced = Some(aside);
        }
        fs::create_dir_all(path).map_err(|source| Error::Write {
            path: path.to_owned(),
            source,
        })?;
        let lock = lock(path)?;
        Ok(Self {
            path: path.to_owned(),
            is_resumed: occupied && existing == Existing::Resume,
            replaced,
            _lock: lock,
        })
    }

    /// The directory itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it held a run that is continued.
    pub fn is_resumed(&self) -> bool {
        self.is_resumed
    }

    /// Where the run that was here before has been moved.
    pub fn replaced(&self) -> Option<&Path> {
        self.replaced.as_deref()
    }

    /// The path of a file or folder inside.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file inside, whole or not at all; a folder of the directory is made where needed, the directory itself not.
    ///
    /// # Errors
    /// [`Error::Write`] or [`Error::Core`] without permission or space.
    pub fn write(&self, name: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
        let path = self.join(name);
        if let Some(folder) = path.parent()
            && folder != self.path
            && let Err(source) = fs::create_dir(folder)
            && source.kind() != ErrorKind::AlreadyExists
        {
            return Err(Error::Write {
                path: folder.to_owned(),
                source,
            });
        }
        atomic::write_file(&path, bytes)?;
        Ok(())
    }

    /// Opens `log.txt` to add lines at its end.
    ///
    /// # Errors
    /// [`Error::Write`] without permission or space.
    pub fn log_file(&self) -> Result<File> {
        self.append(LOG)
    }

    /// Opens a file inside to add lines at its end.
    pub(crate) fn append(&self, name: &str) -> Result<File> {
        let path = self.join(name);
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|source| Error::Write { path, source })
    }
}

/// Whether something would be lost by writing to `path`: any entry counts but our own lock and what a process left that was
/// killed before it had written its first file.
fn is_occupied(path: &Path) -> Result<bool> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(source) => {
            return Err(Error::Write {
                path: path.to_owned(),
                source,
            });
        }
    };
    // Where our lock lies, so may what is written before the configuration, and no more of a run than that.
    let has_lock = path.join(LOCK).exists();
    let mut names = entries.flatten().map(|entry| entry.file_name());
    let is_first = |name: &str| [LOG, PROVENANCE].contains(&name) || atomic::is_leftover(name);
    let is_nothing = |name: &str| name == LOCK || has_lock && is_first(name);
    Ok(names.any(|name| !name.to_str().is_some_and(is_nothing)))
}

fn lock(path: &Path) -> Result<File> {
    let file = path.join(LOCK);
    let wrap = |source| Error::Write {
        path: file.clone(),
        source,
    };
    let mut open = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&file)
        .map_err(wrap)?;
    match open.try_lock() {
        Ok(()) => {
            // For a person who wonders what holds the directory; nothing reads it.
            let _ = open
                .set_len(0)
                .and_then(|()| writeln!(open, "{}", std::process::id()));
            Ok(open)
        }
        Err(TryLockError::WouldBlock) => Err(Error::RunLocked {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(wrap(source)),
    }
}

/// `runs/m3.old-1`, `runs/m3.old-2`, ...: the first that is free.
fn free_name(path: &Path) -> PathBuf {
    let name = path
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    (1u32..)
        .map(|number| path.with_file_name(format!("{name}.old-{number}")))
        .find(|candidate| !candidate.exists())
        .unwrap_or_else(|| path.with_file_name(format!("{name}.old")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_run_is_refused_resumed_or_moved_aside() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        let first = RunDirectory::open(&path, Existing::Refuse).unwrap();
        first.write(CONFIG, b"seed = 1\n").unwrap();
        assert!(!first.is_resumed());
        drop(first);
        assert!(matches!(
            RunDirectory::open(&path, Existing::Refuse),
            Err(Error::RunExists { .. })
        ));
        assert!(
            RunDirectory::open(&path, Existing::Resume)
                .unwrap()
                .is_resumed()
        );
        let second = RunDirectory::open(&path, Existing::Replace).unwrap();
        let aside = second.replaced().unwrap();
        assert_eq!(fs::read(aside.join(CONFIG)).unwrap(), b"seed = 1\n");
        assert!(!path.join(CONFIG).exists());
    }

    #[test]
    fn a_run_that_was_killed_before_its_first_file_begins_anew() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        drop(RunDirectory::open(&path, Existing::Refuse).unwrap());
        fs::write(path.join(".config.toml.tmp-99"), "half").unwrap();
        fs::write(path.join(LOG), "begun").unwrap();
        for existing in [Existing::Resume, Existing::Refuse, Existing::Replace] {
            assert!(!RunDirectory::open(&path, existing).unwrap().is_resumed());
        }
    }

    #[test]
    fn two_writers_are_kept_apart() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a");
        let held = RunDirectory::open(&path, Existing::Refuse).unwrap();
        held.write(CONFIG, b"").unwrap();
        for existing in [Existing::Resume, Existing::Replace] {
            assert!(matches!(
                RunDirectory::open(&path, existing),
                Err(Error::RunLocked { .. })
            ));
        }
    }

    #[test]
    fn a_foreign_folder_is_never_touched() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("thesis.tex"), "years of work").unwrap();
        for existing in [Existing::Resume, Existing::Replace] {
            assert!(matches!(
                RunDirectory::open(root.path(), existing),
                Err(Error::NotARun { .. })
            ));
        }
        assert!(matches!(
            RunDirectory::open(&root.path().join("thesis.tex"), Existing::Replace),
            Err(Error::Write { .. })
        ));
        assert_eq!(
            fs::read(root.path().join("thesis.tex")).unwrap(),
            b"years of work"
        );
    }
}

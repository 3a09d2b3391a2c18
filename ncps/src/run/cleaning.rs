//! What can be removed from a folder of runs without losing a result, found first and removed only then.

use std::fs;
use std::path::{Path, PathBuf};

use ncps_core::checkpoint;
use serde::Serialize;

use super::directory::{CHECKPOINTS, CONFIG, Existing, FILES, RunDirectory, is_event_file};
use super::inspect::{self, RunState};
use crate::error::{Error, Result};

/// Why something can go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Waste {
    /// Temporary files of a process that was killed.
    Leftovers,
    /// Checkpoints of a completed run, whose weights are in its `model.safetensors`; more epochs then need a new run.
    Checkpoints,
    /// A run that was moved aside by `--force`.
    Replaced,
    /// A run that failed or was killed before its first checkpoint.
    Failed,
}

/// Something that can go.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Removable {
    /// The file or folder.
    pub path: PathBuf,
    /// Why.
    pub waste: Waste,
    /// Bytes that it takes.
    pub bytes: u64,
}

/// Finds what can go from the runs inside a folder; runs that a process holds are left out.
///
/// # Errors
/// [`Error::Read`] for a folder that cannot be listed.
pub fn find_waste(folder: &Path) -> Result<Vec<Removable>> {
    let mut found = Vec::new();
    for run in inspect::find_runs(folder)? {
        let info = inspect::inspect(&run)?;
        if info.state == RunState::Running {
            continue;
        }
        let name = run.file_name().unwrap_or_default().to_string_lossy();
        let is_replaced = name.rsplit_once(".old-").is_some_and(|(_, number)| {
            !number.is_empty() && number.chars().all(|c| c.is_ascii_digit())
        });
        let folder = run.join(CHECKPOINTS);
        let has_checkpoint = !checkpoint::list(&folder)?.is_empty();
        let is_lost = matches!(info.state, RunState::Failed | RunState::Killed) && !has_checkpoint;
        if is_replaced || is_lost {
            let waste = if is_replaced {
                Waste::Replaced
            } else {
                Waste::Failed
            };
            // Files of the person's own keep the whole run.
            if is_ours(&run) {
                found.push(removable(run, waste));
                continue;
            }
        }
        if info.state == RunState::Completed && has_checkpoint {
            found.push(removable(folder, Waste::Checkpoints));
        }
        let places = [run.clone(), run.join(CHECKPOINTS)];
        let hidden = places.iter().flat_map(|place| leftovers(place));
        found.extend(hidden.map(|path| removable(path, Waste::Leftovers)));
    }
    Ok(found)
}

/// Removes what [`find_waste`] found, if its run has no process and is still what it was.
///
/// # Errors
/// [`Error::RunLocked`] while a process holds the run, [`Error::Write`] without permission.
pub fn remove(item: &Removable) -> Result<()> {
    let parents = item.path.ancestors();
    let run = parents.into_iter().find(|path| inspect::is_run(path));
    let run = run.ok_or_else(|| Error::NotARun {
        path: item.path.clone(),
        missing: CONFIG,
    })?;
    let _held = RunDirectory::open(run, Existing::Resume)?;
    let removed = match fs::symlink_metadata(&item.path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(&item.path),
        _ => fs::remove_file(&item.path),
    };
    removed.map_err(|source| Error::Write {
        path: item.path.clone(),
        source,
    })
}

fn removable(path: PathBuf, waste: Waste) -> Removable {
    Removable {
        bytes: inspect::size(&path),
        path,
        waste,
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let mut names = names(folder);
    names.retain(|name| checkpoint::atomic::is_leftover(name));
    names.iter().map(|name| folder.join(name)).collect()
}

/// Whether everything in a run is what this program writes.
fn is_ours(run: &Path) -> bool {
    let is_known = |name: &String| {
        FILES.contains(&name.as_str())
            || checkpoint::atomic::is_leftover(name)
            || is_event_file(name)
    };
    names(run).iter().all(is_known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(root: &Path, name: &str) -> PathBuf {
        let path = root.join(name);
        fs::create_dir_all(path.join(CHECKPOINTS)).unwrap();
        fs::write(path.join(CONFIG), "").unwrap();
        path
    }

    #[test]
    fn only_what_is_known_goes_and_only_from_runs_without_a_process() {
        let root = tempfile::tempdir().unwrap();
        let killed = run(root.path(), "killed");
        let mine = run(root.path(), "mine");
        fs::write(mine.join("notes.md"), "keep").unwrap();
        fs::write(mine.join(".metrics.csv.tmp-99"), "half").unwrap();
        let replaced = run(root.path(), "m3.old-1");
        let busy = run(root.path(), "busy");
        let _held = RunDirectory::open(&busy, Existing::Resume).unwrap();
        fs::create_dir(root.path().join("no-run")).unwrap();

        let found = find_waste(root.path()).unwrap();
        let seen: Vec<(PathBuf, Waste)> = found
            .iter()
            .map(|item| (item.path.clone(), item.waste))
            .collect();
        assert_eq!(
            seen,
            [
                (killed.clone(), Waste::Failed),
                (replaced, Waste::Replaced),
                (mine.join(".metrics.csv.tmp-99"), Waste::Leftovers),
            ]
        );
        for item in &found {
            remove(item).unwrap();
        }
        assert!(!killed.exists() && mine.join("notes.md").exists());
        let held = removable(busy, Waste::Failed);
        assert!(matches!(remove(&held), Err(Error::RunLocked { .. })));
    }
}

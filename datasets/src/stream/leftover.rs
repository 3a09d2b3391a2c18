//! Folders of rows that a process was unpacking when it was killed.
//!
//! A folder that is being written has a file that its writer has locked; the system lets the lock go with the process.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const LOCK: &str = "writing.lock";
const UNFINISHED: &str = ".tmp-";
/// A folder without the file may have been made this moment; one of an older version is older than this.
const FRESH: Duration = Duration::from_secs(3600);

/// Where a store is written before it is moved to `place`, whose last part is `name`.
pub(super) fn unfinished(place: &Path, name: &str) -> PathBuf {
    place.with_file_name(format!(".{name}{UNFINISHED}{}", std::process::id()))
}

/// Marks a folder as being written. Where the system has no locks, the folder is left to `ncps data cache --remove`.
pub(super) fn lock(folder: &Path) -> std::io::Result<File> {
    let file = File::create(folder.join(LOCK))?;
    if let Err(TryLockError::Error(error)) = file.try_lock() {
        tracing::debug!("no lock on `{}`: {error}", folder.display());
    }
    Ok(file)
}

/// Takes the mark from a folder that is whole.
pub(super) fn unlock(lock: File, folder: &Path) {
    // One that cannot be removed is an empty file in a store that is not looked for it.
    let _ = std::fs::remove_file(folder.join(LOCK));
    drop(lock);
}

/// Removes unfinished folders whose writers are gone.
pub(super) fn sweep(cache: &Path) {
    let entries = std::fs::read_dir(cache).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let folder = entry.path();
        if !name.starts_with('.') || !name.contains(UNFINISHED) || !is_left(&folder) {
            continue;
        }
        match std::fs::remove_dir_all(&folder) {
            Ok(()) => tracing::info!(
                "removed `{}`, which a process that was killed has left",
                folder.display()
            ),
            Err(error) => tracing::warn!("cannot remove `{}`: {error}", folder.display()),
        }
    }
}

fn is_left(folder: &Path) -> bool {
    let lock = folder.join(LOCK);
    if let Ok(file) = File::open(&lock) {
        return file.try_lock().is_ok();
    }
    let modified = std::fs::metadata(folder).and_then(|metadata| metadata.modified());
    let age = modified.map(|time| SystemTime::now().duration_since(time));
    matches!(age, Ok(Ok(age)) if age > FRESH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_written_stays_and_what_was_left_goes() {
        let cache = tempfile::tempdir().unwrap();
        let place = |name: &str| cache.path().join(name);
        let folders = ["left", "written", "new"].map(|name| unfinished(&place(name), name));
        for folder in &folders {
            std::fs::create_dir(folder).unwrap();
        }
        std::fs::create_dir(place("whole")).unwrap();
        drop(lock(&folders[0]).unwrap());
        let held = lock(&folders[1]).unwrap();
        sweep(cache.path());
        let is_there = folders.each_ref().map(|folder| folder.is_dir());
        assert_eq!(is_there, [false, true, true]);
        assert!(place("whole").is_dir());
        unlock(held, &folders[1]);
        assert!(!folders[1].join(LOCK).exists());
    }
}

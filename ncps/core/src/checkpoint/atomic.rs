//! Files and directories that appear whole or not at all, also when the machine stops.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// Writes a file beside its place, syncs it and renames it over what is there.
///
/// # Errors
/// [`Error::Io`]; what was there before is then still there.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = sibling(path, "tmp");
    let written = put(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
        .and_then(|()| sync_parent(path))
        .map_err(io("write", path))
}

/// Writes a directory of files beside its place, syncs it and renames it there.
///
/// What is there already is replaced; if its files are the same, nothing is written.
///
/// # Errors
/// [`Error::Io`]; what was there before is then still there.
pub fn write_directory(path: &Path, files: &[(&str, Vec<u8>)]) -> Result<()> {
    if holds(path, files) {
        return Ok(());
    }
    let temporary = sibling(path, "tmp");
    let written = fill(&temporary, files).and_then(|()| replace(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_dir_all(&temporary);
    }
    written.map_err(io("write", path))
}

/// Removes a directory so that it is never seen half gone.
///
/// # Errors
/// [`Error::Io`].
pub fn remove_directory(path: &Path) -> Result<()> {
    let doomed = sibling(path, "old");
    let removed = fs::rename(path, &doomed).and_then(|()| fs::remove_dir_all(&doomed));
    removed.map_err(io("remove", path))
}

/// Removes what killed processes left of this module's work in a directory.
///
/// # Errors
/// [`Error::Io`]. The caller makes sure that no other process writes there.
pub fn clean(directory: &Path) -> Result<()> {
    let entries = fs::read_dir(directory).map_err(io("list", directory))?;
    for entry in entries {
        let path = entry.map_err(io("list", directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let is_ours = name.is_some_and(|name| {
            name.starts_with('.') && (name.contains(".tmp-") || name.contains(".old-"))
        });
        if is_ours {
            let removed = match path.is_dir() {
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            };
            removed.map_err(io("remove", &path))?;
        }
    }
    Ok(())
}

fn io(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Error {
    move |source| Error::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// A hidden name in the same directory, so that a rename stays on one file system.
fn sibling(path: &Path, role: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{role}-{}", std::process::id()))
}

fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn fill(directory: &Path, files: &[(&str, Vec<u8>)]) -> io::Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    for (name, bytes) in files {
        put(&directory.join(name), bytes)?;
    }
    sync_directory(directory)
}

fn replace(new: &Path, place: &Path) -> io::Result<()> {
    if place.exists() {
        let old = sibling(place, "old");
        fs::rename(place, &old)?;
        if let Err(error) = fs::rename(new, place) {
            fs::rename(&old, place)?;
            return Err(error);
        }
        fs::remove_dir_all(&old)?;
    } else {
        fs::rename(new, place)?;
    }
    sync_parent(place)
}

fn holds(directory: &Path, files: &[(&str, Vec<u8>)]) -> bool {
    let same = |(name, bytes): &(&str, Vec<u8>)| {
        fs::read(directory.join(name)).is_ok_and(|found| found == *bytes)
    };
    directory.is_dir() && files.iter().all(same)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}

/// Makes renames in a directory last.
fn sync_directory(path: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(path)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_file(&path, b"one").unwrap();
        write_file(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(folder.path()), ["a.txt"]);
    }

    #[test]
    fn a_file_that_cannot_be_written_names_its_path_and_keeps_the_old() {
        let folder = tempfile::tempdir().unwrap();
        // A directory in the way makes the rename fail after the bytes were written.
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "kept").unwrap();
        let error = write_file(&path, b"x").unwrap_err();
        assert!(matches!(error, Error::Io { .. }) && error.to_string().contains("taken"));
        assert_eq!(names(folder.path()), ["taken"]);
        assert_eq!(fs::read_to_string(path.join("inside")).unwrap(), "kept");
        let missing = folder.path().join("none").join("a.txt");
        assert!(write_file(&missing, b"x").is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error() {
        let error = put(Path::new("/dev/full"), b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_directory_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step");
        write_directory(&path, &[("a", b"1".to_vec()), ("b", b"2".to_vec())]).unwrap();
        write_directory(&path, &[("a", b"3".to_vec())]).unwrap();
        assert_eq!(names(folder.path()), ["step"]);
        assert_eq!(names(&path), ["a"]);
        assert_eq!(fs::read(path.join("a")).unwrap(), b"3");
    }

    #[test]
    fn a_failed_directory_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step");
        write_directory(&path, &[("a", b"1".to_vec())]).unwrap();
        // The second file's name has a directory that does not exist.
        let files = [("a", b"2".to_vec()), ("none/b", b"2".to_vec())];
        assert!(write_directory(&path, &files).is_err());
        assert_eq!(names(folder.path()), ["step"]);
        assert_eq!(fs::read(path.join("a")).unwrap(), b"1");
    }

    #[test]
    fn what_a_killed_process_left_is_cleaned_up() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join(".step-00000001.tmp-999")).unwrap();
        fs::write(folder.path().join(".model.safetensors.tmp-999"), "x").unwrap();
        fs::write(folder.path().join(".hidden"), "x").unwrap();
        fs::write(folder.path().join("kept"), "x").unwrap();
        clean(folder.path()).unwrap();
        assert_eq!(names(folder.path()), [".hidden", "kept"]);
    }

    #[test]
    fn a_removed_directory_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step");
        write_directory(&path, &[("a", b"1".to_vec())]).unwrap();
        remove_directory(&path).unwrap();
        assert!(names(folder.path()).is_empty());
        assert!(remove_directory(&path).is_err());
    }
}

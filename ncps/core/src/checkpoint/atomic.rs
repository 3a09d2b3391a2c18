//! Files and directories that appear whole or not at all, also when the machine stops.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

#[cfg(debug_assertions)]
use super::fault::{point, write_all};

use crate::{Error, Result};

/// The role of a directory that is being replaced.
const WAS: &str = "was";

/// What a write outlives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process: the operating system has the bytes. A machine that stops may lose them.
    Process,
    /// The end of the machine: the disk has the bytes.
    Machine,
}

/// Writes a file beside its place, syncs it and renames it over what is there.
///
/// # Errors
/// [`Error::Io`]; what was there before is then still there.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = sibling(path, "tmp");
    let written = put(&temporary, bytes, Durability::Machine).and_then(|()| {
        point(path)?;
        fs::rename(&temporary, path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
        .and_then(|()| sync_parent(path, Durability::Machine))
        .map_err(io("write", path))
}

/// Adds bytes at the end of an open file in one call; `path` is for messages.
///
/// # Errors
/// [`Error::Io`]; a part of the bytes may then be there.
pub fn append(file: &mut File, path: &Path, bytes: &[u8]) -> Result<()> {
    write_all(file, path, bytes).map_err(io("write", path))
}

/// Writes a directory of files beside its place and renames it there, synced as `durability` asks. Their names may lie in folders.
///
/// What is there already is replaced; if its files are the same, nothing is written.
///
/// # Errors
/// [`Error::Io`]; what was there before is then still there.
pub fn write_directory(
    path: &Path,
    files: &[(&str, Vec<u8>)],
    durability: Durability,
) -> Result<()> {
    if holds(path, files) {
        return match durability {
            Durability::Process => Ok(()),
            Durability::Machine => sync_files(path, files).map_err(io("sync", path)),
        };
    }
    let temporary = sibling(path, "tmp");
    let written =
        fill(&temporary, files, durability).and_then(|()| replace(&temporary, path, durability));
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
    let removed = point(path)
        .and_then(|()| fs::rename(path, &doomed))
        .and_then(|()| point(path))
        .and_then(|()| fs::remove_dir_all(&doomed));
    removed.map_err(io("remove", path))
}

/// Puts back directories whose replacement a killed process did not finish.
///
/// # Errors
/// [`Error::Io`]. The caller makes sure that no other process writes there.
pub fn restore(directory: &Path) -> Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(io("list", directory))?,
    };
    for entry in entries {
        let path = entry.map_err(io("list", directory))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let place = name.and_then(|name| name.strip_prefix('.')?.rsplit_once(&format!(".{WAS}-")));
        if let Some((place, _)) = place
            && !directory.join(place).exists()
        {
            fs::rename(&path, directory.join(place)).map_err(io("restore", &path))?;
        }
    }
    Ok(())
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
        if name.is_some_and(is_leftover) {
            let removed = match path.is_dir() {
                true => fs::remove_dir_all(&path),
                false => fs::remove_file(&path),
            };
            removed.map_err(io("remove", &path))?;
        }
    }
    Ok(())
}

/// Whether a name is one that this module gives to what it has not finished.
pub fn is_leftover(name: &str) -> bool {
    let roles = ["tmp", "old", WAS];
    name.starts_with('.') && roles.iter().any(|role| name.contains(&format!(".{role}-")))
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

#[cfg(not(debug_assertions))]
fn point(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(not(debug_assertions))]
fn write_all(file: &mut File, _: &Path, bytes: &[u8]) -> io::Result<()> {
    io::Write::write_all(file, bytes)
}

fn put(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    point(path)?;
    // Never through a link that someone has laid there.
    let mut file = match File::create_new(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            File::create_new(path)?
        }
        opened => opened?,
    };
    write_all(&mut file, path, bytes)?;
    sync(path, &file, durability)
}

fn sync(path: &Path, file: &File, durability: Durability) -> io::Result<()> {
    match durability {
        Durability::Process => Ok(()),
        Durability::Machine => point(path).and_then(|()| file.sync_all()),
    }
}

fn fill(directory: &Path, files: &[(&str, Vec<u8>)], durability: Durability) -> io::Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    point(directory)?;
    // Not its parents: where they have gone, the run's other files have gone with them.
    fs::create_dir(directory)?;
    for (name, bytes) in files {
        let path = directory.join(name);
        let folders = Path::new(name).ancestors().skip(1);
        let folders = folders.filter(|folder| !folder.as_os_str().is_empty());
        let folders: Vec<PathBuf> = folders.map(|folder| directory.join(folder)).collect();
        if let Some(folder) = folders.first() {
            fs::create_dir_all(folder)?;
        }
        put(&path, bytes, durability)?;
        for folder in folders {
            sync_directory(&folder, durability)?;
        }
    }
    sync_directory(directory, durability)
}

/// Makes files last that were written without.
fn sync_files(directory: &Path, files: &[(&str, Vec<u8>)]) -> io::Result<()> {
    for (name, _) in files {
        let path = directory.join(name);
        sync(&path, &File::open(&path)?, Durability::Machine)?;
    }
    sync_directory(directory, Durability::Machine)?;
    sync_parent(directory, Durability::Machine)
}

fn replace(new: &Path, place: &Path, durability: Durability) -> io::Result<()> {
    point(place)?;
    if place.exists() {
        let was = sibling(place, WAS);
        fs::rename(place, &was)?;
        // A process that ends here leaves nothing in the place, which `restore` mends.
        if let Err(error) = point(place).and_then(|()| fs::rename(new, place)) {
            fs::rename(&was, place)?;
            return Err(error);
        }
        fs::remove_dir_all(&was)?;
    } else {
        fs::rename(new, place)?;
    }
    sync_parent(place, durability)
}

fn holds(directory: &Path, files: &[(&str, Vec<u8>)]) -> bool {
    let same = |(name, bytes): &(&str, Vec<u8>)| {
        fs::read(directory.join(name)).is_ok_and(|found| found == *bytes)
    };
    directory.is_dir() && files.iter().all(same)
}

fn sync_parent(path: &Path, durability: Durability) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent, durability),
        _ => sync_directory(Path::new("."), durability),
    }
}

/// Makes renames in a directory last.
fn sync_directory(path: &Path, durability: Durability) -> io::Result<()> {
    if cfg!(unix) && durability == Durability::Machine {
        point(path)?;
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
        let mut full = File::options().write(true).open("/dev/full").unwrap();
        let error = write_all(&mut full, Path::new("/dev/full"), b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_way_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("a"), folder.path().join("victim"));
        fs::write(&victim, "kept").unwrap();
        std::os::unix::fs::symlink(&victim, sibling(&path, "tmp")).unwrap();
        write_file(&path, b"new").unwrap();
        // Nor one that lies at the place itself: it is replaced.
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        write_file(&path, b"new").unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"kept");
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(!path.is_symlink());
    }

    #[test]
    fn a_directory_that_has_gone_is_not_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let path = gone.join("step");
        assert!(write_directory(&path, &[("a", b"1".to_vec())], Durability::Process).is_err());
        assert!(!gone.exists());
    }

    #[test]
    fn a_directory_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step");
        write_directory(
            &path,
            &[("a", b"1".to_vec()), ("b", b"2".to_vec())],
            Durability::Machine,
        )
        .unwrap();
        let files = [("a", b"3".to_vec()), ("in/the/depth", b"4".to_vec())];
        write_directory(&path, &files, Durability::Machine).unwrap();
        assert_eq!(names(folder.path()), ["step"]);
        assert_eq!(names(&path), ["a", "in"]);
        assert_eq!(fs::read(path.join("in/the/depth")).unwrap(), b"4");
        assert_eq!(fs::read(path.join("a")).unwrap(), b"3");
    }

    #[test]
    fn a_failed_directory_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step");
        write_directory(&path, &[("a", b"1".to_vec())], Durability::Machine).unwrap();
        // The second file's name has a file for its folder.
        let files = [("a", b"2".to_vec()), ("a/b", b"2".to_vec())];
        assert!(write_directory(&path, &files, Durability::Machine).is_err());
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
    fn a_directory_whose_replacement_was_cut_short_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step");
        write_directory(&path, &[("a", b"1".to_vec())], Durability::Process).unwrap();
        fs::rename(&path, folder.path().join(".step.was-999")).unwrap();
        restore(folder.path()).unwrap();
        assert_eq!(fs::read(path.join("a")).unwrap(), b"1");
        // Where the replacement is there, what was replaced is waste.
        fs::create_dir(folder.path().join(".step.was-999")).unwrap();
        restore(folder.path()).unwrap();
        clean(folder.path()).unwrap();
        assert_eq!(names(folder.path()), ["step"]);
        restore(&folder.path().join("none")).unwrap();
    }

    #[test]
    fn a_removed_directory_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("step");
        write_directory(&path, &[("a", b"1".to_vec())], Durability::Machine).unwrap();
        remove_directory(&path).unwrap();
        assert!(names(folder.path()).is_empty());
        assert!(remove_directory(&path).is_err());
    }
}

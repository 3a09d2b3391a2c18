//! Archives: what `.npz` files are made of, and what published data come in.

pub(crate) mod tar;
pub(crate) mod zip;

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;

use crate::error::{Error, Result};

/// Unpacks a `.zip`, `.tar`, `.tar.gz` or `.gz` file below `folder`, and gives the files that it wrote.
///
/// Nothing is written outside of `folder`: names that would lead there are an error, links are passed over, and what is there
/// already is replaced only by plain files. At most `limit` bytes are written.
///
/// # Errors
/// [`Error::Malformed`] for a damaged or hostile archive, [`Error::Read`] and [`Error::Write`] from the file system.
pub fn unpack(archive: &Path, folder: &Path, limit: u64) -> Result<Vec<PathBuf>> {
    let name = archive.to_string_lossy().to_lowercase();
    let mut unpacker = Unpacker {
        archive,
        folder,
        left: limit,
        written: Vec::new(),
    };
    if name.ends_with(".zip") {
        let bytes = crate::readers::read_bytes(archive)?;
        for member in zip::members(&bytes).map_err(|problem| unpacker.malformed(problem))? {
            unpacker.check_size(&member.name, member.size)?;
            let content = member
                .read(&bytes)
                .map_err(|problem| unpacker.malformed(problem))?;
            unpacker.write(&member.name, &mut content.as_slice())?;
        }
        return Ok(unpacker.written);
    }
    let file = File::open(archive).map_err(|source| Error::read(archive, source))?;
    if name.ends_with(".tar") {
        unpacker.tar(file)?;
    } else if name.ends_with(".tar.gz") || name.ends_with(".tgz") {
        unpacker.tar(GzDecoder::new(file))?;
    } else if name.ends_with(".gz") {
        let stem = archive
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        unpacker.write(&stem, &mut GzDecoder::new(file))?;
    } else {
        return Err(unpacker.malformed("expected .zip, .tar, .tar.gz or .gz".to_owned()));
    }
    Ok(unpacker.written)
}

struct Unpacker<'a> {
    archive: &'a Path,
    folder: &'a Path,
    left: u64,
    written: Vec<PathBuf>,
}

impl Unpacker<'_> {
    fn malformed(&self, reason: String) -> Error {
        Error::Malformed {
            path: self.archive.to_path_buf(),
            format: "archive",
            reason,
        }
    }

    fn check_size(&self, name: &str, size: u64) -> Result<()> {
        if size <= self.left {
            return Ok(());
        }
        let reason = format!(
            "`{name}` would take it past {} more bytes, more than the data are known to need",
            self.left
        );
        Err(self.malformed(reason))
    }

    fn tar(&mut self, stream: impl Read) -> Result<()> {
        let mut failed = None;
        let result = tar::each(stream, |name, size, body| {
            let done = self
                .check_size(name, size)
                .and_then(|()| self.write(name, body));
            done.map_err(|error| {
                let text = error.to_string();
                failed = Some(error);
                text
            })
        });
        match failed {
            Some(error) => Err(error),
            None => result.map_err(|problem| self.malformed(problem)),
        }
    }

    /// Writes a member below the folder.
    fn write(&mut self, name: &str, content: &mut dyn Read) -> Result<()> {
        let target = self.folder.join(inside(name).ok_or_else(|| {
            self.malformed(format!(
                "member `{name}` would be written outside of the folder: remove it from the archive"
            ))
        })?);
        self.check_links(&target)?;
        let failed = |source| Error::Write {
            path: target.clone(),
            source,
        };
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let mut file = File::create(&target).map_err(failed)?;
        let mut buffer = vec![0u8; 1 << 16];
        loop {
            let count = content
                .read(&mut buffer)
                .map_err(|error| self.malformed(format!("member `{name}` is damaged: {error}")))?;
            if count == 0 {
                break;
            }
            self.check_size(name, count as u64)?;
            self.left -= count as u64;
            file.write_all(&buffer[..count]).map_err(failed)?;
        }
        self.written.push(target);
        Ok(())
    }

    /// Refuses to write through a link that lies below the folder.
    fn check_links(&self, target: &Path) -> Result<()> {
        let mut place = target;
        while place != self.folder {
            let is_link = std::fs::symlink_metadata(place).is_ok_and(|found| found.is_symlink());
            if is_link {
                return Err(self.malformed(format!(
                    "`{}` is a link, which may lead out of the folder: remove it",
                    place.display()
                )));
            }
            match place.parent() {
                Some(parent) => place = parent,
                None => break,
            }
        }
        Ok(())
    }
}

/// A member's name as a path below the folder; `None` if it would lead elsewhere.
fn inside(name: &str) -> Option<PathBuf> {
    if name.contains(['\0', '\\']) {
        return None;
    }
    let mut path = PathBuf::new();
    for component in Path::new(name).components() {
        match component {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path).filter(|path| !path.as_os_str().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: [&str; 6] = ["../out", "a/../../out", "/out", "a\\..\\out", "", ".."];

    fn unpack_all(
        name: &str,
        bytes: &[u8],
        limit: u64,
    ) -> (tempfile::TempDir, Result<Vec<PathBuf>>) {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join(name);
        std::fs::write(&archive, bytes).unwrap();
        let result = unpack(&archive, &folder.path().join("in"), limit);
        (folder, result)
    }

    #[test]
    fn zips_and_tars_are_unpacked() {
        let zip = zip::tests::archive(&[("d/a.txt", b"one"), ("b", b"two")], true);
        let tar = [
            tar::tests::member("d/a.txt", b'0', b"one"),
            tar::tests::member("b", b'0', b"two"),
        ]
        .concat();
        for (name, bytes) in [("x.zip", zip), ("x.tar", tar)] {
            let (folder, result) = unpack_all(name, &bytes, 6);
            assert_eq!(result.unwrap().len(), 2);
            let text = std::fs::read(folder.path().join("in/d/a.txt")).unwrap();
            assert_eq!(text, b"one");
        }
    }

    #[test]
    fn nothing_is_written_outside_of_the_folder() {
        for name in HOSTILE {
            let zip = zip::tests::archive(&[(name, b"x")], false);
            let tar = tar::tests::member(name, b'0', b"x");
            for (kind, bytes) in [("x.zip", zip), ("x.tar", tar)] {
                let (folder, result) = unpack_all(kind, &bytes, 100);
                assert!(
                    matches!(result, Err(Error::Malformed { .. })),
                    "{name} in {kind}"
                );
                let files = std::fs::read_dir(folder.path()).unwrap().count();
                assert_eq!(files, 1, "{name} in {kind} wrote something");
            }
        }
    }

    #[test]
    fn links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("in");
        std::fs::create_dir(&inner).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(folder.path(), inner.join("d")).unwrap();
        let archive = folder.path().join("x.tar");
        std::fs::write(&archive, tar::tests::member("d/out", b'0', b"x")).unwrap();
        let error = unpack(&archive, &inner, 100).unwrap_err().to_string();
        assert!(error.contains("is a link"), "{error}");
        assert!(!folder.path().join("out").exists());
    }

    #[test]
    fn an_archive_that_swells_is_stopped() {
        let zeros = vec![0u8; 1 << 20];
        let zip = zip::tests::archive(&[("a", &zeros)], true);
        let (_folder, result) = unpack_all("x.zip", &zip, 1000);
        assert!(result.unwrap_err().to_string().contains("past 1000"), "zip");
    }
}

//! Whether a downloaded file is the one that it should be.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Download;
use crate::error::{Error, Result};

impl Download {
    /// Checks a file in `folder` against its SHA-256; `false` if it is not there.
    ///
    /// Where the publisher's checksum is not known, the first file's is kept in `<file>.sha256` and holds from then on.
    ///
    /// # Errors
    /// [`Error::Checksum`] for another file than expected, [`Error::Read`] and [`Error::Write`] from the file system.
    pub fn check(&self, folder: &Path) -> Result<bool> {
        let path = folder.join(self.file);
        if !path.is_file() {
            return Ok(false);
        }
        let found = sha256(&path)?;
        let kept = kept_beside(&path);
        let (expected, is_kept) = match (self.sha256, std::fs::read_to_string(&kept)) {
            (Some(expected), _) => (expected.to_owned(), false),
            (None, Ok(text)) => (text.trim().to_owned(), true),
            (None, Err(_)) => {
                std::fs::write(&kept, format!("{found}\n"))
                    .map_err(|source| Error::Write { path: kept, source })?;
                return Ok(true);
            }
        };
        if found != expected {
            return Err(Error::Checksum {
                path,
                expected,
                found,
                is_kept,
            });
        }
        Ok(true)
    }
}

fn kept_beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sha256");
    PathBuf::from(name)
}

pub(crate) fn sha256(path: &Path) -> Result<String> {
    let failed = |source| Error::read(path, source);
    let mut file = File::open(path).map_err(failed)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        let count = file.read(&mut buffer).map_err(failed)?;
        if count == 0 {
            break;
        }
        digest.update(&buffer[..count]);
    }
    Ok(digest
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of `abc`, from FIPS 180-4.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn download(sha256: Option<&'static str>) -> Download {
        Download {
            url: "",
            file: "a",
            sha256,
            is_archive: false,
        }
    }

    #[test]
    fn a_file_is_held_to_its_checksum() {
        let folder = tempfile::tempdir().unwrap();
        let known = download(Some(ABC));
        assert!(!known.check(folder.path()).unwrap());
        std::fs::write(folder.path().join("a"), "abc").unwrap();
        assert!(known.check(folder.path()).unwrap());
        // Without a known one, the first download's counts.
        assert!(download(None).check(folder.path()).unwrap());
        std::fs::write(folder.path().join("a"), "abd").unwrap();
        for download in [known, download(None)] {
            let error = download.check(folder.path()).unwrap_err();
            assert!(
                matches!(&error, Error::Checksum { expected, .. } if expected == ABC),
                "{error}"
            );
        }
    }
}

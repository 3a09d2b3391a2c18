//! The manifest of a checkpoint: what tells a whole directory from a damaged one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, Result};

const NAME: &str = "MANIFEST.json";
const SCHEMA: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    schema: u32,
    files: BTreeMap<String, Entry>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    bytes: u64,
    sha256: String,
}

impl Entry {
    fn of(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.len() as u64,
            sha256: sha256(bytes),
        }
    }
}

/// The SHA-256 of bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Adds the manifest to the files of a checkpoint.
pub(crate) fn with_manifest<'a>(
    path: &Path,
    mut files: Vec<(&'a str, Vec<u8>)>,
) -> Result<Vec<(&'a str, Vec<u8>)>> {
    let entries = files
        .iter()
        .map(|(name, bytes)| ((*name).to_owned(), Entry::of(bytes)));
    let manifest = Manifest {
        schema: SCHEMA,
        files: entries.collect(),
    };
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| Error::CheckpointCorrupt {
        path: path.to_owned(),
        problem: error.to_string(),
    })?;
    files.push((NAME, text));
    Ok(files)
}

/// Checks that a checkpoint directory is whole.
///
/// # Errors
/// [`Error::CheckpointCorrupt`] names the first file that is missing, foreign or changed; [`Error::Io`]
/// if one cannot be read.
pub fn verify(path: &Path) -> Result<()> {
    contents(path).map(drop)
}

/// Reads the files of a checkpoint directory, checked against its manifest.
pub(crate) fn contents(path: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let corrupt = |problem: String| Error::CheckpointCorrupt {
        path: path.to_owned(),
        problem,
    };
    let text = read(path, NAME)?;
    let manifest: Manifest = serde_json::from_slice(&text)
        .map_err(|error| corrupt(format!("{NAME} cannot be parsed ({error})")))?;
    // Written by `with_manifest` and by nobody else: so a change of its white space is damage as well.
    if serde_json::to_vec_pretty(&manifest).ok().as_ref() != Some(&text) {
        return Err(corrupt(format!("{NAME} is not as it was written")));
    }
    if manifest.schema != SCHEMA {
        let schema = manifest.schema;
        return Err(corrupt(format!(
            "{NAME} has schema {schema}, expected {SCHEMA}"
        )));
    }
    let mut files = BTreeMap::new();
    for (name, expected) in manifest.files {
        if Path::new(&name).file_name().and_then(|n| n.to_str()) != Some(name.as_str()) {
            return Err(corrupt(format!(
                "{NAME} names `{name}`, which is no plain file name"
            )));
        }
        let bytes = read(path, &name)?;
        let found = Entry::of(&bytes);
        if found.bytes != expected.bytes {
            let (found, expected) = (found.bytes, expected.bytes);
            return Err(corrupt(format!(
                "{name} has {found} bytes, expected {expected}"
            )));
        }
        if found != expected {
            return Err(corrupt(format!(
                "{name} does not have the SHA-256 of {NAME}"
            )));
        }
        files.insert(name, bytes);
    }
    Ok(files)
}

fn read(directory: &Path, name: &str) -> Result<Vec<u8>> {
    let path = directory.join(name);
    fs::read(&path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => Error::CheckpointCorrupt {
            path: directory.to_owned(),
            problem: format!("{name} is missing"),
        },
        _ => Error::Io {
            action: "read",
            path,
            source,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::atomic;

    fn checkpoint(folder: &Path) -> std::path::PathBuf {
        let path = folder.join("step-00000001");
        let files = vec![("a.bin", vec![1, 2, 3]), ("b.json", b"{}".to_vec())];
        let files = with_manifest(&path, files).unwrap();
        atomic::write_directory(&path, &files, atomic::Durability::Process).unwrap();
        path
    }

    #[track_caller]
    fn refused(path: &Path, part: &str) {
        let error = verify(path).unwrap_err();
        assert!(matches!(error, Error::CheckpointCorrupt { .. }), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }

    #[test]
    fn a_fresh_one_verifies_and_gives_its_files() {
        let folder = tempfile::tempdir().unwrap();
        let files = contents(&checkpoint(folder.path())).unwrap();
        assert_eq!(files["a.bin"], [1, 2, 3]);
        assert_eq!(files.len(), 2);
    }

    #[test]
    fn each_damage_has_its_message() {
        let folder = tempfile::tempdir().unwrap();
        let path = checkpoint(folder.path());
        let file = path.join("a.bin");
        fs::write(&file, [1, 2]).unwrap();
        refused(&path, "a.bin has 2 bytes, expected 3");
        fs::write(&file, [1, 2, 4]).unwrap();
        refused(&path, "SHA-256");
        fs::remove_file(&file).unwrap();
        refused(&path, "a.bin is missing");
        let manifest = path.join(NAME);
        fs::write(&manifest, "{").unwrap();
        refused(&path, "cannot be parsed");
        let write = |schema: u32, name: &str| {
            let entry = (name.to_owned(), Entry::of(b"x"));
            let forged = Manifest {
                schema,
                files: BTreeMap::from([entry]),
            };
            fs::write(&manifest, serde_json::to_vec_pretty(&forged).unwrap()).unwrap();
        };
        write(9, "a.bin");
        refused(&path, "schema 9");
        for outside in ["../x", "/etc/passwd", "..", "a/b", ""] {
            write(1, outside);
            refused(&path, "no plain file name");
        }
        fs::remove_file(&manifest).unwrap();
        refused(&path, "MANIFEST.json is missing");
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = checkpoint(folder.path());
        for name in ["a.bin", "b.json", NAME] {
            let file = path.join(name);
            let good = fs::read(&file).unwrap();
            for bit in 0..good.len() * 8 {
                let mut bad = good.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                fs::write(&file, &bad).unwrap();
                assert!(verify(&path).is_err(), "{name} bit {bit}");
            }
            fs::write(&file, &good).unwrap();
        }
    }
}

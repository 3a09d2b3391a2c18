//! Machine code for NVIDIA GPUs: compiled once, in the background where it is known to be needed, and kept on disk.
//!
//! MLX would compile custom kernels too, but with all its headers before them, which takes ten times as long as the kernel
//! itself, one after the other, and anew in each process.

use std::collections::HashMap;
use std::ffi::{CString, c_char, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

/// Files that the folder keeps; the oldest go first. One has tens of kilobytes.
const MOST_FILES: usize = 1000;
const DIGEST: usize = 32;

static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// Keeps the machine code of GPU kernels in this folder from now on, so that the next process need not compile them.
///
/// The first call decides; the folder is made when there is something to keep. What is damaged there is compiled again.
pub fn keep_compiled_kernels(folder: impl Into<PathBuf>) {
    let _ = FOLDER.set(folder.into());
}

/// Code, or why there is none.
type Code = Result<Arc<[u8]>, String>;

/// What one process has compiled, by source.
static KNOWN: Mutex<Option<HashMap<String, Arc<OnceLock<Code>>>>> = Mutex::new(None);

unsafe extern "C" {
    fn ncps_nvrtc_version() -> i32;
    fn ncps_nvrtc_compile(
        source: *const c_char,
        capability: i32,
        context: *mut c_void,
        take: extern "C" fn(*mut c_void, *const c_char, usize),
        message: *mut c_char,
        capacity: usize,
    ) -> i32;
}

fn place(source: &str) -> Arc<OnceLock<Code>> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    match known.get(source) {
        Some(place) => Arc::clone(place),
        None => Arc::clone(known.entry(source.to_owned()).or_default()),
    }
}

/// The code of a CUDA source for a compute capability; waits where it is just being compiled.
pub(super) fn code(source: &str, capability: i32) -> Code {
    place(source)
        .get_or_init(|| load_or_compile(source, capability))
        .clone()
}

/// Begins to compile a source that will be needed soon.
pub(super) fn begin(source: String, capability: i32) {
    let place = place(&source);
    if place.get().is_none() {
        let run = move || {
            place.get_or_init(|| load_or_compile(&source, capability));
        };
        // Without a thread it is compiled when it is asked for.
        let _ = std::thread::Builder::new()
            .name("ncps-compile".to_owned())
            .spawn(run);
    }
}

fn load_or_compile(source: &str, capability: i32) -> Code {
    // SAFETY: asks a library for a number.
    let version = unsafe { ncps_nvrtc_version() };
    let file = FOLDER
        .get()
        .map(|folder| folder.join(file_name(source, capability, version)));
    if let Some(code) = file.as_deref().and_then(read) {
        return Ok(code);
    }
    let code = compile(source, capability)?;
    if let Some(file) = &file
        && let Err(error) = write(file, &code)
    {
        tracing::debug!(%error, "a compiled kernel cannot be kept");
    }
    Ok(code)
}

fn compile(source: &str, capability: i32) -> Code {
    extern "C" fn take(context: *mut c_void, code: *const c_char, size: usize) {
        // SAFETY: `context` is the vector of `compile`; the code has that size.
        unsafe {
            let code = std::slice::from_raw_parts(code.cast::<u8>(), size);
            (*context.cast::<Vec<u8>>()).extend_from_slice(code);
        }
    }
    let text = CString::new(source).map_err(|error| error.to_string())?;
    let mut code: Vec<u8> = Vec::new();
    let mut message = [0u8; 2048];
    // SAFETY: the text ends with a zero; `take` gets back the vector that is lent to it, only while the call lasts.
    let status = unsafe {
        ncps_nvrtc_compile(
            text.as_ptr(),
            capability,
            (&raw mut code).cast(),
            take,
            message.as_mut_ptr().cast(),
            message.len(),
        )
    };
    match status {
        0 => Ok(code.into()),
        _ => Err(super::launch::failure(&message).to_string()),
    }
}

fn file_name(source: &str, capability: i32, version: i32) -> String {
    let mut digest = Sha256::new();
    digest.update(format!("{capability} {version}\n"));
    digest.update(source);
    let digest = digest.finalize();
    let hex: String = digest[..16].iter().map(|b| format!("{b:02x}")).collect();
    format!("{hex}.cubin")
}

/// The code in a file, if it is whole: a digest, then what it is of.
fn read(file: &Path) -> Option<Arc<[u8]>> {
    let bytes = std::fs::read(file).ok()?;
    let (digest, code) = bytes.split_at_checked(DIGEST)?;
    (Sha256::digest(code).as_slice() == digest).then(|| code.into())
}

fn write(file: &Path, code: &[u8]) -> std::io::Result<()> {
    let Some(folder) = file.parent() else {
        return Ok(());
    };
    std::fs::create_dir_all(folder)?;
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    std::io::Write::write_all(&mut temporary, &Sha256::digest(code))?;
    std::io::Write::write_all(&mut temporary, code)?;
    temporary.persist(file)?;
    thin_out(folder, MOST_FILES)
}

/// Removes the oldest files where there are more than `most`.
fn thin_out(folder: &Path, most: usize) -> std::io::Result<()> {
    let mut files: Vec<(SystemTime, PathBuf)> = std::fs::read_dir(folder)?
        .flatten()
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    if files.len() > most {
        files.sort();
        for (_, file) in &files[..files.len() - most] {
            // Another process may have been faster.
            let _ = std::fs::remove_file(file);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_comes_back_unless_its_file_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("below").join("a.cubin");
        write(&file, b"machine code").unwrap();
        assert_eq!(read(&file).as_deref(), Some(&b"machine code"[..]));
        let bytes = std::fs::read(&file).unwrap();
        let mut other = bytes.clone();
        other[DIGEST] ^= 1;
        for damaged in [&other[..], &bytes[..bytes.len() - 1], &bytes[..3], &[]] {
            std::fs::write(&file, damaged).unwrap();
            assert_eq!(read(&file), None);
        }
    }

    #[test]
    fn names_differ_with_source_device_and_compiler() {
        let names = [("a", 90, 1), ("b", 90, 1), ("a", 80, 1), ("a", 90, 2)]
            .map(|(source, capability, version)| file_name(source, capability, version));
        let unique: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(unique.len(), names.len());
    }

    #[test]
    fn the_oldest_files_go() {
        let folder = tempfile::tempdir().unwrap();
        let start = SystemTime::UNIX_EPOCH;
        for age in 0..5 {
            let file = std::fs::File::create(folder.path().join(format!("{age}"))).unwrap();
            file.set_modified(start + std::time::Duration::from_secs(100 - age))
                .unwrap();
        }
        thin_out(folder.path(), 2).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["0", "1"]);
    }

    #[test]
    fn a_process_without_the_compiler_says_so() {
        // The CPU library brings none.
        let error = code("no source", 90).unwrap_err();
        assert!(error.contains("libnvrtc"), "{error}");
    }
}

//! Fetching a pinned wheel with pip, checking it, and unpacking it once.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use sha2::{Digest, Sha256};

use super::{MLX_VERSION, Python, Wheel, is_complete, unpacked_dir};
use crate::error::{Error, Result, io};

/// Makes sure that a wheel lies unpacked in the cache, and gives its prefix (the folder with `lib/` and `include/`).
///
/// A lock file keeps concurrent builds apart; the folder appears by one rename, so nobody sees half of it.
///
/// # Errors
/// Every reason why the wheel cannot be fetched, checked or unpacked, as a variant of [`Error`].
pub fn ensure(
    root: &Path,
    wheel: &'static Wheel,
    python: impl FnOnce() -> Result<Python>,
    given: Option<OsString>,
) -> Result<PathBuf> {
    let dir = unpacked_dir(root, wheel);
    let prefix = dir.join("mlx");
    let library = super::library_file(if wheel.package == "mlx-metal" {
        "macos"
    } else {
        "linux"
    });
    if is_complete(&prefix, library) {
        return Ok(prefix);
    }
    fs::create_dir_all(root).map_err(io("create", root))?;
    let lock_path = root.join("lock");
    let lock = File::create(&lock_path).map_err(io("create", &lock_path))?;
    lock.lock().map_err(io("lock", &lock_path))?;
    if !is_complete(&prefix, library) {
        fetch_into(&dir, wheel, &python()?, given)?;
    }
    if is_complete(&prefix, library) {
        return Ok(prefix);
    }
    Err(Error::Incomplete {
        path: prefix,
        missing: format!("lib/{library} and include/mlx/version.h of {MLX_VERSION}"),
    })
}

fn fetch_into(
    dir: &Path,
    wheel: &'static Wheel,
    python: &Python,
    given: Option<OsString>,
) -> Result<()> {
    let work = dir.with_extension(format!("{}.partial", std::process::id()));
    let _ = fs::remove_dir_all(&work);
    fs::create_dir_all(&work).map_err(io("create", &work))?;
    let result = fill(&work, dir, wheel, python, given);
    let _ = fs::remove_dir_all(&work);
    result
}

fn fill(
    work: &Path,
    dir: &Path,
    wheel: &'static Wheel,
    python: &Python,
    given: Option<OsString>,
) -> Result<()> {
    let file = match given {
        Some(path) => PathBuf::from(path),
        None => download(work, wheel, python)?,
    };
    check_digest(&file, wheel.sha256)?;
    let unpacked = work.join("unpacked");
    unpack(&file, &unpacked, wheel, python)?;
    if dir.exists() {
        fs::remove_dir_all(dir).map_err(io("replace", dir))?;
    }
    fs::rename(&unpacked, dir).map_err(io("move the unpacked wheel to", dir))
}

fn download(work: &Path, wheel: &'static Wheel, python: &Python) -> Result<PathBuf> {
    if !python.has_pip {
        return Err(Error::NoPip {
            python: python.program.to_string_lossy().into_owned(),
            file: wheel.file,
        });
    }
    let arguments = download_arguments(wheel);
    let output = Command::new(&python.program)
        .args(&arguments)
        .arg("--dest")
        .arg(work)
        .output()
        .map_err(io("run", Path::new(&python.program)))?;
    let file = work.join(wheel.file);
    if output.status.success() && file.is_file() {
        return Ok(file);
    }
    let command = format!(
        "{} {}",
        python.program.to_string_lossy(),
        arguments.join(" ")
    );
    Err(explain(wheel, &text_of(&output), command))
}

/// Arguments that make any pip, on any host, fetch exactly this wheel.
fn download_arguments(wheel: &Wheel) -> Vec<String> {
    let wanted = format!("{}=={MLX_VERSION}", wheel.package);
    let fixed = "-m pip download --disable-pip-version-check --no-input --retries 2 --no-deps --only-binary=:all: \
                 --python-version 3.12 --implementation py --abi none --platform";
    let mut arguments: Vec<String> = fixed.split_whitespace().map(str::to_owned).collect();
    arguments.extend([wheel.platform.to_owned(), wanted]);
    arguments
}

/// Finds the cause in what pip printed.
fn explain(wheel: &'static Wheel, said: &str, command: String) -> Error {
    // pip reports an unreachable index as "no matching distribution" at the end, so the connection is looked for first.
    const NETWORK: [&str; 8] = [
        "NewConnectionError",
        "ConnectionError",
        "Failed to establish",
        "name resolution",
        "Max retries",
        "timed out",
        "ProxyError",
        "SSLError",
    ];
    let shows_network = |line: &&str| NETWORK.iter().any(|sign| line.contains(sign));
    if let Some(line) = said.lines().find(shows_network) {
        let detail = line.trim().to_owned();
        return Error::NoNetwork {
            file: wheel.file,
            detail,
        };
    }
    let detail = last_line(said);
    if said.contains("No matching distribution") || said.contains("Could not find a version") {
        let (package, file) = (wheel.package, wheel.file);
        return Error::NoSuchWheel {
            package,
            file,
            expected: MLX_VERSION,
            detail,
        };
    }
    Error::Pip {
        package: wheel.package,
        detail,
        command,
    }
}

fn unpack(file: &Path, into: &Path, wheel: &'static Wheel, python: &Python) -> Result<()> {
    let output = Command::new(&python.program)
        .args(["-m", "zipfile", "-e"])
        .arg(file)
        .arg(into)
        .output()
        .map_err(io("run", Path::new(&python.program)))?;
    if output.status.success() {
        return Ok(());
    }
    let command = format!(
        "python3 -m zipfile -e {} {}",
        file.display(),
        into.display()
    );
    Err(Error::Pip {
        package: wheel.package,
        detail: last_line(&text_of(&output)),
        command,
    })
}

fn check_digest(path: &Path, expected: &str) -> Result<()> {
    let found = digest(path)?;
    if found == expected {
        return Ok(());
    }
    Err(Error::Checksum {
        path: path.to_path_buf(),
        expected: expected.to_owned(),
        found,
    })
}

fn digest(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(io("open", path))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let count = file.read(&mut buffer).map_err(io("read", path))?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
    }
    Ok(hasher
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// Installs packages into a folder with pip, showing pip's own output.
///
/// # Errors
/// `NoPip` if that Python has none, `Pip` if it fails.
pub fn pip_install(
    python: &Python,
    into: &Path,
    package: &'static str,
    wanted: &[&str],
) -> Result<()> {
    if !python.has_pip {
        return Err(Error::NoPip {
            python: python.program.to_string_lossy().into_owned(),
            file: package,
        });
    }
    let status = Command::new(&python.program)
        .args([
            "-m",
            "pip",
            "install",
            "--disable-pip-version-check",
            "--upgrade",
            "--target",
        ])
        .arg(into)
        .args(wanted)
        .status()
        .map_err(io("run", Path::new(&python.program)))?;
    if status.success() {
        return Ok(());
    }
    let command = format!(
        "python3 -m pip install --target {} {}",
        into.display(),
        wanted.join(" ")
    );
    Err(Error::Pip {
        package,
        detail: format!("it ended with {status}"),
        command,
    })
}

fn text_of(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    line.unwrap_or("nothing").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::CPU_X86_64;
    use super::*;

    #[test]
    fn pip_failures_are_told_apart() {
        let network = "WARNING: Retrying after connection broken by 'NewConnectionError(...)'\n\
                       ERROR: No matching distribution found for mlx-cpu==0.32.2\n";
        let error = explain(&CPU_X86_64, network, String::new());
        assert!(matches!(error, Error::NoNetwork { .. }));
        assert!(
            error
                .to_string()
                .contains("Retrying after connection broken")
        );
        assert!(
            error.to_string().contains("NCPS_MLX_WHEEL")
                && error.to_string().contains("HTTPS_PROXY")
        );

        let absent = "ERROR: No matching distribution found for mlx-cpu==0.32.2\n";
        let error = explain(&CPU_X86_64, absent, String::new());
        assert!(matches!(error, Error::NoSuchWheel { .. }));
        assert!(error.to_string().contains("mlx-cpu==0.32.2"));

        let error = explain(
            &CPU_X86_64,
            "OSError: disk full\n",
            "python3 -m pip download".into(),
        );
        assert!(
            error.to_string().contains("disk full")
                && error.to_string().contains("python3 -m pip download")
        );
    }

    #[test]
    fn digests_are_compared() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("abc");
        fs::write(&file, "abc").unwrap();
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        check_digest(&file, known).unwrap();
        let error = check_digest(&file, CPU_X86_64.sha256)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("checksum mismatch") && error.contains(known),
            "{error}"
        );
    }

    #[test]
    fn a_python_without_pip_is_refused_before_any_download() {
        let dir = tempfile::tempdir().unwrap();
        let python = Python {
            program: "python3".into(),
            has_pip: false,
            mlx: None,
        };
        let error = ensure(dir.path(), &CPU_X86_64, || Ok(python), None).unwrap_err();
        assert!(matches!(error, Error::NoPip { .. }), "{error}");
        assert!(error.to_string().contains("python3-pip"));
    }

    #[test]
    fn a_given_wheel_is_checked_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let wheel = dir.path().join("forged.whl");
        fs::write(&wheel, "not the wheel").unwrap();
        let root = dir.path().join("cache");
        let python = Python {
            program: "python3".into(),
            has_pip: true,
            mlx: None,
        };
        let error = ensure(&root, &CPU_X86_64, || Ok(python), Some(wheel.into())).unwrap_err();
        assert!(matches!(error, Error::Checksum { .. }), "{error}");
        let left: Vec<_> = fs::read_dir(&root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["lock"]);
    }
}

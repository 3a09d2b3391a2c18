//! The C++ sources of mlx-c, which ship inside the published package that this one replaces.
//!
//! A patched package cannot depend on the one it replaces, so Cargo fetches (and checks) it for a throw-away manifest.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::failure::{Failure, Outcome, io};

/// Version of the published package.
const VERSION: &str = "0.7.0";

/// The empty workspace table keeps Cargo from taking the manifest for a member of the workspace around the target folder.
const MANIFEST: &str = "[package]\nname = \"mlx-c-sources\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
                        [workspace]\n\n[lib]\npath = \"lib.rs\"\n\n[dependencies]\nmlx-sys = \"=0.7.0\"\n";

/// Finds the folder of mlx-c: the one given, else the one in Cargo's registry, fetched if need be.
pub(crate) fn find(out_dir: &Path, cargo: &OsString, given: Option<OsString>) -> Outcome<PathBuf> {
    if let Some(path) = given {
        return check(PathBuf::from(path));
    }
    let dir = out_dir.join("mlx-c-sources");
    fs::create_dir_all(&dir).map_err(io("create", &dir))?;
    let manifest = dir.join("Cargo.toml");
    fs::write(&manifest, MANIFEST).map_err(io("write", &manifest))?;
    fs::write(dir.join("lib.rs"), "").map_err(io("write", &dir))?;
    // Offline first: a second build must not need a network, nor wait for one.
    if run(cargo, &dir, &["fetch", "--offline", "--quiet"]).is_err() {
        run(cargo, &dir, &["fetch", "--quiet"])?;
    }
    let metadata = run(
        cargo,
        &dir,
        &["metadata", "--offline", "--quiet", "--format-version", "1"],
    )?;
    let package = package_dir(&metadata)
        .ok_or_else(|| missing("cargo metadata named no mlx-sys package".to_owned()))?;
    check(package.join("src/mlx-c"))
}

fn check(path: PathBuf) -> Outcome<PathBuf> {
    if path.join("mlx/c/array.cpp").is_file() {
        Ok(path)
    } else {
        Err(Failure::BadSources { path })
    }
}

fn run(cargo: &OsString, dir: &Path, arguments: &[&str]) -> Outcome<String> {
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(dir)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .output()
        .map_err(io("run", Path::new(cargo)))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(missing(
        String::from_utf8_lossy(&output.stderr)
            .trim()
            .replace('\n', " "),
    ))
}

fn missing(detail: String) -> Failure {
    Failure::NoSources {
        version: VERSION,
        detail,
    }
}

/// Folder of the package in the output of `cargo metadata`.
///
/// One path is all we want, and a JSON reader would be one more dependency of everybody's build.
pub(crate) fn package_dir(metadata: &str) -> Option<PathBuf> {
    let ending = format!("mlx-sys-{VERSION}/Cargo.toml");
    metadata
        .split("\"manifest_path\":\"")
        .skip(1)
        .find_map(|rest| {
            let quoted = &rest[..rest.find("\",")?];
            let path = quoted.replace("\\\\", "\\").replace("\\\"", "\"");
            let path = path
                .strip_suffix("/Cargo.toml")
                .filter(|_| path.ends_with(&ending))?;
            Some(PathBuf::from(path))
        })
}

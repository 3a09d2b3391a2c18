//! A program that is asked for another libmlx starts itself again and then has it.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test stops where its set-up fails")]

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use mlx_sys::{facts, select};

/// Set for the program that is started by these tests.
const CHILD: &str = "NCPS_TEST_CHILD";

/// Runs `reports_its_library` alone in a process of its own.
fn start(wanted: &str) -> Output {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "reports_its_library", "--nocapture"])
        .env(CHILD, "1")
        .env(select::VARIABLE, wanted)
        .output()
        .unwrap()
}

#[test]
fn reports_its_library() {
    let result = select::apply();
    if env::var_os(CHILD).is_some() {
        let library = facts::library_path().unwrap();
        println!(
            "result={result:?} version={} library={}",
            facts::version(),
            library.display()
        );
    } else {
        result.unwrap();
        assert_eq!(facts::version(), mlx_sys::wheel::MLX_VERSION);
    }
}

/// Lays out the linked library a second time, with its BLAS beside it.
fn copy_of_library(site: &Path) -> PathBuf {
    let linked = facts::library_path().unwrap().canonicalize().unwrap();
    let dir = site.join("mlx/lib");
    fs::create_dir_all(&dir).unwrap();
    fs::copy(&linked, dir.join("libmlx.so")).unwrap();
    let blas = linked.ancestors().nth(3).unwrap().join("mlx_cpu.libs");
    if blas.is_dir() {
        symlink(blas, site.join("mlx_cpu.libs")).unwrap();
    }
    dir
}

#[test]
fn the_named_folder_is_loaded() {
    let site = tempfile::tempdir().unwrap();
    let dir = copy_of_library(site.path());
    let output = start(dir.to_str().unwrap());
    let text = String::from_utf8(output.stdout).unwrap();
    let expected = format!(
        "result=Ok(()) version=0.32.2 library={}",
        dir.join("libmlx.so").display()
    );
    assert!(text.contains(&expected), "{text}");
}

#[test]
fn missing_parts_are_named_before_the_loader_gives_up() {
    let site = tempfile::tempdir().unwrap();
    let dir = copy_of_library(site.path());
    fs::remove_file(site.path().join("mlx_cpu.libs")).unwrap_or_default();
    let text = String::from_utf8(start(dir.to_str().unwrap()).stdout).unwrap();
    let has_own_blas = mlx_sys::cuda::missing_parts(&dir.join("libmlx.so"), None).is_empty();
    assert!(
        has_own_blas || text.contains("MissingParts") && text.contains("libblas"),
        "{text}"
    );
}

#[test]
fn a_wish_that_cannot_be_met_changes_nothing() {
    let text = String::from_utf8(start("gpu").stdout).unwrap();
    assert!(
        text.contains("BadChoice { value: \"gpu\" }") && text.contains("version=0.32.2"),
        "{text}"
    );
}

//! The parts of the build script that decide and explain, reached without running a build.

#![allow(clippy::unwrap_used, reason = "a test stops where its set-up fails")]

#[path = "../src/error.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the library")]
mod error;
#[path = "../src/wheel/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "shared with the library"
)]
mod wheel;

#[path = "../build/compile.rs"]
#[allow(dead_code, reason = "the tests reach parts of it")]
mod compile;
#[path = "../build/failure.rs"]
#[allow(dead_code, reason = "the tests reach parts of it")]
mod failure;
#[path = "../build/locate.rs"]
#[allow(dead_code, reason = "the tests reach parts of it")]
mod locate;
#[path = "../build/sources.rs"]
#[allow(dead_code, reason = "the tests reach parts of it")]
mod sources;

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use error::Error;
use failure::Failure;
use sha2::Digest as _;

fn make_prefix(dir: &Path, patch: u32) {
    fs::create_dir_all(dir.join("include/mlx")).unwrap();
    fs::create_dir_all(dir.join("lib")).unwrap();
    fs::write(dir.join("lib/libmlx.so"), "").unwrap();
    let header = format!(
        "#define MLX_VERSION_MAJOR 0\n#define MLX_VERSION_MINOR 32\n#define MLX_VERSION_PATCH {patch}\n"
    );
    fs::write(dir.join("include/mlx/version.h"), header).unwrap();
}

fn script(dir: &Path, name: &str, body: &str) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

const LINUX: wheel::Target<'static> = wheel::Target {
    os: "linux",
    arch: "x86_64",
    env: "gnu",
    macos: "",
};

#[test]
fn a_named_prefix_wins_and_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let find = |value: &Path| {
        let value = value.as_os_str().to_owned();
        locate::find(LINUX, &move |name| {
            (name == "NCPS_MLX_PREFIX").then(|| value.clone())
        })
    };
    let error = find(dir.path()).unwrap_err();
    assert!(
        matches!(error, Error::BadPrefix { .. }) && error.to_string().contains("lib/libmlx.so"),
        "{error}"
    );
    make_prefix(&dir.path().join("mlx"), 2);
    assert_eq!(
        find(dir.path()).unwrap().dir,
        dir.path().join("mlx"),
        "site-packages is taken for its mlx folder"
    );
    let found = find(&dir.path().join("mlx")).unwrap();
    assert_eq!(
        (found.dir, found.origin),
        (dir.path().join("mlx"), "prefix")
    );
    make_prefix(&dir.path().join("mlx"), 1);
    let error = find(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("expected version 0.32.2, found 0.32.1"),
        "{error}"
    );
}

#[test]
fn the_active_python_is_next_if_its_version_matches() {
    let dir = tempfile::tempdir().unwrap();
    let site = dir.path().join("site-packages");
    make_prefix(&site.join("mlx"), 2);
    let answer = format!(
        "printf 'python 3\\npip 0\\nmlx {}\\n'",
        site.join("mlx").display()
    );
    let python = script(dir.path(), "python3", &answer);
    let cache = dir.path().join("cache");
    let find = || {
        let (python, cache) = (
            python.clone().into_os_string(),
            cache.clone().into_os_string(),
        );
        locate::find(LINUX, &move |name| match name {
            "NCPS_PYTHON" => Some(python.clone()),
            "XDG_CACHE_HOME" => Some(cache.clone()),
            _ => None,
        })
    };
    assert_eq!(find().unwrap().origin, "python");
    // The CUDA build links only where NVIDIA's libraries are, and another version is of no use: both go on to the wheel.
    fs::create_dir_all(site.join("mlx_cuda_12.libs")).unwrap();
    assert!(matches!(find(), Err(Error::NoPip { .. })));
    fs::remove_dir(site.join("mlx_cuda_12.libs")).unwrap();
    make_prefix(&site.join("mlx"), 1);
    assert!(matches!(find(), Err(Error::NoPip { .. })));
    // A wheel unpacked earlier needs no Python, no pip and no network.
    make_prefix(&cache.join("ncps/mlx-0.32.2-cpu-x86_64/mlx"), 2);
    assert_eq!(find().unwrap().origin, "wheel");
}

#[test]
fn pip_without_network_and_forged_downloads_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let find = |name: &str, body: &str| {
        let question = "case \"$1\" in -c) printf 'python 3\\npip 1\\n'; exit 0;; esac";
        let python = script(dir.path(), name, &format!("{question}\n{body}")).into_os_string();
        let cache = dir.path().join("cache").into_os_string();
        locate::find(LINUX, &move |name| match name {
            "NCPS_PYTHON" => Some(python.clone()),
            "XDG_CACHE_HOME" => Some(cache.clone()),
            _ => None,
        })
        .unwrap_err()
    };
    let error = find(
        "offline",
        "echo 'NewConnectionError: Temporary failure in name resolution' >&2; exit 1",
    );
    assert!(matches!(error, Error::NoNetwork { .. }), "{error}");
    // The last argument of pip is the folder.
    let error = find(
        "forged",
        "for dir; do :; done; echo x > \"$dir/mlx_cpu-0.32.2-py3-none-manylinux_2_35_x86_64.whl\"",
    );
    assert!(matches!(error, Error::Checksum { .. }), "{error}");
}

#[test]
fn old_c_libraries_are_refused() {
    locate::check_glibc(Some("2.35")).unwrap();
    locate::check_glibc(Some("3.0")).unwrap();
    locate::check_glibc(None).unwrap();
    let error = locate::check_glibc(Some("2.31")).unwrap_err().to_string();
    assert!(
        error.contains("glibc 2.31") && error.contains("2.35"),
        "{error}"
    );
}

#[test]
fn compilers_that_lack_or_are_missing_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let missing =
        compile::check_compiler(dir.path(), &Command::new("/nonexistent/g++")).unwrap_err();
    assert!(matches!(missing, Failure::NoCompiler { .. }), "{missing}");
    assert!(missing.to_string().contains("apt install g++"));
    let old = script(
        dir.path(),
        "old-g++",
        "echo \"error: unrecognized option '-std=c++20'\" >&2; exit 1",
    );
    let old = compile::check_compiler(dir.path(), &Command::new(old)).unwrap_err();
    assert!(
        matches!(old, Failure::NoCxx20 { .. }) && old.to_string().contains("GCC 12"),
        "{old}"
    );
}

#[test]
fn sources_are_found_in_cargo_metadata() {
    let metadata = r#"{"packages":[{"name":"cc","manifest_path":"/r/cc-1.0.0/Cargo.toml","edition":"2018"},
        {"name":"mlx-sys","manifest_path":"/r/my \"r\"/mlx-sys-0.7.0/Cargo.toml","edition":"2021"}]}"#
        .replace("my \"r\"", "my \\\"r\\\"");
    assert_eq!(
        sources::package_dir(&metadata),
        Some(PathBuf::from("/r/my \"r\"/mlx-sys-0.7.0"))
    );
    assert_eq!(sources::package_dir("{}"), None);
}

#[test]
fn sources_that_cannot_be_had_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let cargo = script(
        dir.path(),
        "cargo",
        "echo 'error: failed to download from index' >&2; exit 101",
    );
    let error = sources::find(dir.path(), &cargo.into_os_string(), None)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("no network") && error.contains("NCPS_MLX_C_DIR"),
        "{error}"
    );
    let wrong = Some(OsString::from(dir.path()));
    let error = sources::find(dir.path(), &OsString::from("cargo"), wrong).unwrap_err();
    assert!(matches!(error, Failure::BadSources { .. }), "{error}");
}

/// A wheel of our own, and a Python whose pip hands it out and counts how often.
fn fake_index(dir: &Path) -> (&'static wheel::Wheel, wheel::Python) {
    make_prefix(&dir.join("content/mlx"), 2);
    let file = "tiny-0.32.2-py3-none-any.whl";
    let made = Command::new("python3")
        .args(["-m", "zipfile", "-c"])
        .arg(dir.join(file))
        .arg(dir.join("content/mlx"))
        .status();
    assert!(made.unwrap().success());
    let digest = sha2::Sha256::digest(fs::read(dir.join(file)).unwrap());
    let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let wheel = wheel::Wheel {
        package: "tiny",
        flavour: "tiny",
        platform: "any",
        file,
        sha256: sha256.leak(),
    };
    let body = format!(
        "if [ \"$2\" = zipfile ]; then exec python3 \"$@\"; fi\n\
         for dir; do :; done; echo once >> '{count}'; sleep 0.2; cp '{wheel}' \"$dir\"",
        count = dir.join("count").display(),
        wheel = dir.join(file).display(),
    );
    let python = wheel::Python {
        program: script(dir, "fake-python", &body).into_os_string(),
        has_pip: true,
        mlx: None,
    };
    (Box::leak(Box::new(wheel)), python)
}

#[test]
fn concurrent_builds_share_one_download() {
    let dir = tempfile::tempdir().unwrap();
    let (wheel, python) = fake_index(dir.path());
    let root = dir.path().join("cache");
    std::thread::scope(|scope| {
        let work = || wheel::ensure(&root, wheel, || Ok(python.clone()), None).unwrap();
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            assert_eq!(thread.join().unwrap(), root.join("mlx-0.32.2-tiny/mlx"));
        }
    });
    assert_eq!(
        fs::read_to_string(dir.path().join("count")).unwrap(),
        "once\n"
    );
    // A library that went missing is fetched again.
    fs::remove_file(root.join("mlx-0.32.2-tiny/mlx/lib/libmlx.so")).unwrap();
    wheel::ensure(&root, wheel, || Ok(python.clone()), None).unwrap();
    assert_eq!(
        fs::read_to_string(dir.path().join("count")).unwrap(),
        "once\nonce\n"
    );
}

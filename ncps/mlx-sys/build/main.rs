//! Finds libmlx, compiles mlx-c and tells Cargo how to link both. README.md lists the variables that it reads.

#![allow(
    clippy::print_stdout,
    reason = "Cargo reads a build script's standard output"
)]

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

mod compile;
mod failure;
#[cfg(feature = "generate")]
mod generate;
mod locate;
mod sources;

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use compile::Includes;
use failure::{Outcome, io};
use locate::Prefix;
use wheel::{MLX_VERSION, Target};

/// Variables that change what is built.
const VARIABLES: [&str; 8] = [
    "NCPS_MLX_PREFIX",
    "NCPS_MLX_WHEEL",
    "NCPS_MLX_C_DIR",
    "NCPS_PYTHON",
    "XDG_CACHE_HOME",
    "VIRTUAL_ENV",
    "MACOSX_DEPLOYMENT_TARGET",
    "CXX",
];

fn main() -> ExitCode {
    for name in VARIABLES {
        println!("cargo::rerun-if-env-changed={name}");
    }
    for path in ["build", "native", "src/wheel", "src/error.rs"] {
        println!("cargo::rerun-if-changed={path}");
    }
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            println!("cargo::error={}", failure.to_string().replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn build() -> Outcome<()> {
    let text = |name: &str| env::var(name).unwrap_or_default();
    let (os, arch, libc) = (
        text("CARGO_CFG_TARGET_OS"),
        text("CARGO_CFG_TARGET_ARCH"),
        text("CARGO_CFG_TARGET_ENV"),
    );
    let macos = macos_version();
    let target = Target {
        os: &os,
        arch: &arch,
        env: &libc,
        macos: &macos,
    };
    let out_dir = PathBuf::from(text("OUT_DIR"));
    let crate_dir = PathBuf::from(text("CARGO_MANIFEST_DIR"));

    let prefix = locate::find(target, &|name| env::var_os(name))?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mlx_c = sources::find(&out_dir, &cargo, env::var_os("NCPS_MLX_C_DIR"))?;
    #[cfg(feature = "generate")]
    generate::bindings(&mlx_c, &crate_dir)?;
    let include = prefix.dir.join("include");
    let metal = include.join("metal_cpp");
    let mlx = [include, metal]
        .into_iter()
        .filter(|dir| dir.is_dir())
        .collect();
    let includes = Includes { mlx, mlx_c };
    // Rust's own default, macOS 11, lacks the parts of libc++ that C++20 needs.
    let deployment_target = (os == "macos").then(|| wheel::oldest_macos(&macos));
    let compat = crate_dir.join("native/mlx_c_compat.h");
    compile::mlx_c(&out_dir, &compat, &includes, deployment_target)?;
    link(&out_dir, &prefix)?;
    publish(&prefix, &includes, deployment_target);
    Ok(())
}

/// macOS version to build for: the deployment target if set, else that of this machine; empty off macOS.
fn macos_version() -> String {
    env::var("MACOSX_DEPLOYMENT_TARGET")
        .ok()
        .filter(|version| !version.is_empty())
        .unwrap_or_else(|| {
            let output = Command::new("sw_vers").arg("-productVersion").output();
            output
                .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
                .unwrap_or_default()
        })
}

/// Links libmlx through a folder inside OUT_DIR, the only kind that `cargo run` and `cargo test` put on the library path.
fn link(out_dir: &Path, prefix: &Prefix) -> Outcome<()> {
    let reachable = out_dir.join("mlx");
    let _ = fs::remove_file(&reachable);
    // A link to the whole prefix: libmlx finds its BLAS by a path relative to its own folder.
    std::os::unix::fs::symlink(&prefix.dir, &reachable).map_err(io("create", &reachable))?;
    println!(
        "cargo::rustc-link-search=native={}",
        reachable.join("lib").display()
    );
    println!("cargo::rustc-link-lib=dylib=mlx");
    // A cache that was emptied is filled again by the next build.
    for file in ["libmlx.so", "libmlx.dylib"] {
        let library = prefix.dir.join("lib").join(file);
        if library.is_file() {
            println!("cargo::rerun-if-changed={}", library.display());
        }
    }
    // For this package's own tests and examples; Cargo cannot hand an rpath on to dependents.
    println!(
        "cargo::rustc-link-arg=-Wl,-rpath,{}",
        prefix.dir.join("lib").display()
    );
    Ok(())
}

/// What dependents read as `DEP_MLX_*`, the first three being upstream's.
fn publish(prefix: &Prefix, includes: &Includes, deployment_target: Option<&str>) {
    let dirs = includes.mlx.iter().chain([&includes.mlx_c]);
    let include = env::join_paths(dirs).unwrap_or_default();
    println!("cargo::metadata=include={}", include.display());
    println!("cargo::metadata=defines=");
    println!("cargo::metadata=version={MLX_VERSION}");
    println!("cargo::metadata=root={}", prefix.dir.display());
    println!(
        "cargo::metadata=lib_dir={}",
        prefix.dir.join("lib").display()
    );
    println!("cargo::metadata=origin={}", prefix.origin);
    if let Some(version) = deployment_target {
        println!("cargo::metadata=macos_deployment_target={version}");
    }
    // An unoptimised build keeps the wheel's BLAS, which is then the faster one.
    println!(
        "cargo::rustc-env=NCPS_MLX_OPT_LEVEL={}",
        env::var("OPT_LEVEL").unwrap_or_default()
    );
    println!(
        "cargo::rustc-env=NCPS_MLX_BUILD_PREFIX={}",
        prefix.dir.display()
    );
    println!("cargo::rustc-env=NCPS_MLX_BUILD_ORIGIN={}", prefix.origin);
}

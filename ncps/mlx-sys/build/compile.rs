//! Compiling mlx-c with the C++ compiler of the system.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::failure::{Failure, Outcome, io};

/// Smallest program that needs the language and library of C++20 that MLX's headers use.
const PROBE: &str = "#include <concepts>\n#include <span>\ntemplate <std::integral T> T twice(T x) { return x + x; }\n\
                     int probe(std::span<int> v) { return twice(v[0]); }\n";

/// Folders that a compilation against MLX needs.
#[derive(Debug)]
pub(crate) struct Includes {
    /// The include folders of MLX itself.
    pub(crate) mlx: Vec<PathBuf>,
    /// The root of mlx-c.
    pub(crate) mlx_c: PathBuf,
}

/// Compiles all of mlx-c into `libmlxc.a` and tells Cargo to link it.
///
/// The files share nearly all of their headers, so one translation unit takes a sixth of the time.
pub(crate) fn mlx_c(
    out_dir: &Path,
    compat: &Path,
    includes: &Includes,
    deployment_target: Option<&str>,
) -> Outcome<()> {
    let unit = out_dir.join("mlx_c.cpp");
    fs::write(&unit, unit_text(&sources(&includes.mlx_c)?)).map_err(io("write", &unit))?;
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++20")
        // Glue code: its speed does not depend on the profile, its size does.
        .opt_level(1)
        .debug(false)
        .pic(true)
        .warnings(false)
        .cargo_warnings(false)
        .flag("-include")
        .flag(compat)
        .include(&includes.mlx_c)
        .file(&unit);
    for dir in &includes.mlx {
        build.flag("-isystem").flag(dir);
    }
    if let Some(version) = deployment_target {
        build.env("MACOSX_DEPLOYMENT_TARGET", version);
    }
    let compiler = build.get_compiler();
    check_compiler(out_dir, &compiler.to_command())?;
    build.try_compile("mlxc").map_err(|error| Failure::Compile {
        compiler: compiler.path().display().to_string(),
        detail: error.to_string(),
    })
}

/// Tells a missing compiler from one that is too old, before pages of errors hide which it is.
pub(crate) fn check_compiler(out_dir: &Path, compiler: &Command) -> Outcome<()> {
    let name = compiler.get_program().to_string_lossy().into_owned();
    let probe = out_dir.join("cxx20_probe.cpp");
    fs::write(&probe, PROBE).map_err(io("write", &probe))?;
    let output = Command::new(compiler.get_program())
        .args(["-std=c++20", "-fsyntax-only"])
        .arg(&probe)
        .output()
        .map_err(|error| Failure::NoCompiler {
            compiler: name.clone(),
            detail: error.to_string(),
        })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let detail = said
        .lines()
        .find(|line| line.contains("error"))
        .unwrap_or("it refused -std=c++20");
    Err(Failure::NoCxx20 {
        compiler: name,
        detail: detail.trim().to_owned(),
    })
}

/// All `.cpp` files of mlx-c, in a fixed order.
fn sources(mlx_c: &Path) -> Outcome<Vec<PathBuf>> {
    let dir = mlx_c.join("mlx/c");
    let entries = fs::read_dir(&dir).map_err(io("list", &dir))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "cpp"))
        .collect();
    files.sort();
    Ok(files)
}

fn unit_text(files: &[PathBuf]) -> String {
    files.iter().fold(String::new(), |mut text, file| {
        let _ = writeln!(text, "#include \"{}\"", file.display());
        text
    })
}

//! Where libmlx is taken from: a named prefix, the active Python, or the pinned wheel.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    error::{Error, Result},
    wheel::{self, MLX_VERSION, Target},
};

/// A libmlx to compile and link against.
#[derive(Debug)]
pub(crate) struct Prefix {
    /// Folder with `lib/` and `include/`.
    pub(crate) dir: PathBuf,
    /// Where it came from, in a word.
    pub(crate) origin: &'static str,
}

/// Finds libmlx for a target; `variable` reads the environment.
pub(crate) fn find(
    target: Target<'_>,
    variable: &dyn Fn(&str) -> Option<OsString>,
) -> Result<Prefix> {
    let library = wheel::library_file(target.os);
    if let Some(named) = variable("NCPS_MLX_PREFIX").filter(|value| !value.is_empty()) {
        let dir = check_named(Path::new(&named), library)?;
        return Ok(Prefix {
            dir,
            origin: "prefix",
        });
    }
    let wheel = wheel::for_target(target)?;
    if target.os == "linux" {
        check_glibc(glibc_version().as_deref())?;
    }
    let python = wheel::find_python(variable);
    if let Some(dir) = python
        .as_ref()
        .ok()
        .and_then(|python| python.mlx.clone())
        .filter(|dir| suits(dir, library))
    {
        return Ok(Prefix {
            dir,
            origin: "python",
        });
    }
    let root = wheel::cache_root(variable)?;
    let dir = wheel::ensure(&root, wheel, || python, variable("NCPS_MLX_WHEEL"))?;
    Ok(Prefix {
        dir,
        origin: "wheel",
    })
}

/// Checks the prefix that the user named, or the `mlx` folder in it.
pub(crate) fn check_named(named: &Path, library: &str) -> Result<PathBuf> {
    let inner = named.join("mlx");
    let dir = if inner.join("lib").join(library).is_file() {
        inner
    } else {
        named.to_path_buf()
    };
    let missing = [format!("lib/{library}"), "include/mlx/version.h".to_owned()]
        .into_iter()
        .find(|file| !dir.join(file).is_file());
    if let Some(missing) = missing {
        return Err(Error::BadPrefix {
            path: named.to_path_buf(),
            missing,
        });
    }
    let found = wheel::version_of_prefix(&dir)
        .unwrap_or_else(|| "no version in include/mlx/version.h".to_owned());
    if found != MLX_VERSION {
        return Err(Error::WrongVersion {
            path: named.to_path_buf(),
            expected: MLX_VERSION,
            found,
        });
    }
    Ok(dir)
}

/// True if Python's own MLX will do: the right version, and not the CUDA one, which links only where its parts are.
pub(crate) fn suits(dir: &Path, library: &str) -> bool {
    let cuda = dir.parent().is_some_and(|site| {
        ["mlx_cuda_12.libs", "mlx_cuda_13.libs"]
            .iter()
            .any(|libs| site.join(libs).is_dir())
    });
    wheel::is_complete(dir, library) && !cuda
}

/// Checks that the C library is new enough for the wheel; an unknown version is left to the linker.
pub(crate) fn check_glibc(version: Option<&str>) -> Result<()> {
    let Some(found) = version else { return Ok(()) };
    let mut parts = found
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    let numbers = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if numbers < (2, 35) {
        return Err(Error::GlibcTooOld {
            found: found.to_owned(),
        });
    }
    Ok(())
}

fn glibc_version() -> Option<String> {
    let output = Command::new("getconf")
        .arg("GNU_LIBC_VERSION")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.trim().strip_prefix("glibc ").map(str::to_owned)
}

//! The NVIDIA parts of MLX's CUDA library: which are missing, and what brings them.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    elf,
    error::{Error, Result},
    wheel::{self, CUDA_12, CUDA_13, Wheel},
};

/// A library by the start of its name, with the package that holds it for CUDA 12 and 13.
const PARTS: [(&str, &str, &str); 6] = [
    ("libnccl.so", "nvidia-nccl-cu12", "nvidia-nccl-cu13"),
    (
        "libcublasLt.so",
        "nvidia-cublas-cu12==12.9.*",
        "nvidia-cublas==13.*",
    ),
    (
        "libcufft.so",
        "nvidia-cufft-cu12==11.4.*",
        "nvidia-cufft==12.*",
    ),
    (
        "libnvrtc.so",
        "nvidia-cuda-nvrtc-cu12==12.9.*",
        "nvidia-cuda-nvrtc==13.*",
    ),
    (
        "libcudnn.so",
        "nvidia-cudnn-cu12==9.*",
        "nvidia-cudnn-cu13==9.*",
    ),
    (
        HEADERS,
        "nvidia-cuda-runtime-cu12==12.9.*",
        "nvidia-cuda-runtime==13.*",
    ),
];

/// The headers that MLX's run-time compiler includes.
const HEADERS: &str = "the CUDA headers (cuda_fp16.h)";

/// The driver's own library, which no package brings.
const DRIVER: &str = "libcuda.so";

/// Folders that the loader searches without being told.
const SYSTEM_FOLDERS: [&str; 6] = [
    "/lib64",
    "/usr/lib64",
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib/aarch64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
];

/// The pip command that installs the CUDA library with all its parts where it looks for them.
pub fn install_command(root: &Path, wheel: &Wheel) -> String {
    let dir = wheel::unpacked_dir(root, wheel);
    // The package for CUDA 12 does not ask for the headers that its run-time compiler includes.
    let headers = if *wheel == CUDA_13 {
        ""
    } else {
        " 'nvidia-cuda-runtime-cu12==12.9.*'"
    };
    let (dir, package) = (dir.display(), wheel.package);
    format!(
        "python3 -m pip install --target {dir} {package}=={}{headers}",
        wheel::MLX_VERSION
    )
}

/// Fetches MLX's CUDA library (checked against its pinned digest) and NVIDIA's parts into the cache; gives its folder.
///
/// # Errors
/// As [`wheel::ensure`] for the library, `Pip` for the parts.
pub fn fetch(
    wheel: &'static Wheel,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<PathBuf> {
    let root = wheel::cache_root(&variable)?;
    let python = wheel::find_python(&variable)?;
    let prefix = wheel::ensure(&root, wheel, || Ok(python.clone()), None)?;
    let parts: Vec<&str> = PARTS
        .iter()
        .map(|part| if *wheel == CUDA_13 { part.2 } else { part.1 })
        .collect();
    wheel::pip_install(
        &python,
        &wheel::unpacked_dir(&root, wheel),
        wheel.package,
        &parts,
    )?;
    Ok(prefix.join("lib"))
}

/// Names of everything that a library needs and that the loader would not find, in the order of its file.
///
/// An empty list for a file that is not ELF: the loader itself will say so.
pub fn missing_parts(library: &Path, library_path: Option<&OsString>) -> Vec<String> {
    let Some(dynamic) = elf::read(library) else {
        return Vec::new();
    };
    let origin = library.parent().unwrap_or(Path::new("."));
    let own = dynamic
        .run_paths
        .iter()
        .map(|path| match path.strip_prefix("$ORIGIN") {
            Some(rest) => origin.join(rest.trim_start_matches('/')),
            None => PathBuf::from(path),
        });
    let given: Vec<PathBuf> = library_path
        .map(|list| env::split_paths(list).collect())
        .unwrap_or_default();
    let folders: Vec<PathBuf> = own
        .chain(given)
        .chain(SYSTEM_FOLDERS.map(PathBuf::from))
        .collect();
    let cache = fs::read("/etc/ld.so.cache").unwrap_or_default();
    let is_found = |name: &String| {
        folders.iter().any(|folder| folder.join(name).exists())
            || cached_path(&cache, name).is_some()
    };
    let mut missing: Vec<String> = dynamic
        .needed
        .iter()
        .filter(|name| !is_found(name))
        .cloned()
        .collect();
    let is_cuda = dynamic.needed.iter().any(|name| name.starts_with(DRIVER));
    if is_cuda && !has_headers(origin, |name| env::var_os(name)) {
        missing.push(HEADERS.to_owned());
    }
    missing
}

/// The loader's cache holds each path as plain text after the name table; a path that still exists is an answer.
fn cached_path(cache: &[u8], name: &str) -> Option<PathBuf> {
    let ending = format!("/{name}");
    cache
        .split(|byte| *byte == 0)
        .filter_map(|text| std::str::from_utf8(text).ok())
        .filter(|text| text.starts_with('/') && text.ends_with(&ending))
        .map(PathBuf::from)
        .find(|path| path.exists())
}

/// True if the headers lie where MLX's compiler of CUDA kernels looks for them.
fn has_headers(origin: &Path, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    let site = origin.join("../..");
    let packaged = ["nvidia/cuda_runtime/include", "nvidia/cu13/include"].map(|dir| site.join(dir));
    let named = ["CUDA_HOME", "CUDA_PATH"]
        .into_iter()
        .filter_map(variable)
        .map(|dir| PathBuf::from(dir).join("include"));
    let mut dirs = packaged
        .into_iter()
        .chain(named)
        .chain([PathBuf::from("/usr/local/cuda/include")]);
    dirs.any(|dir| dir.join("cuda_fp16.h").is_file())
}

/// Fails with the list of missing parts and the command that brings each, if any is missing.
///
/// # Errors
/// `MissingParts`.
pub fn check_parts(library: &Path, missing: &[String]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::MissingParts {
        library: library.to_path_buf(),
        missing: missing.join(", "),
        remedy: remedy(library, missing),
    })
}

fn remedy(library: &Path, missing: &[String]) -> String {
    let site = library.ancestors().nth(3).unwrap_or(Path::new("."));
    let is_13 = site.join("mlx_cuda_13.libs").is_dir();
    let packages: Vec<String> = PARTS
        .iter()
        .filter(|part| missing.iter().any(|name| name.starts_with(part.0)))
        .map(|part| format!("'{}'", if is_13 { part.2 } else { part.1 }))
        .collect();
    let mut steps = Vec::new();
    if !packages.is_empty() {
        steps.push(format!(
            "install the parts with `python3 -m pip install --target {} {}`",
            site.display(),
            packages.join(" ")
        ));
    }
    if missing.iter().any(|name| name.starts_with(DRIVER)) {
        steps.push(
            "install the NVIDIA driver, which brings libcuda.so.1 (check with nvidia-smi)"
                .to_owned(),
        );
    }
    let is_known = |name: &String| {
        name.starts_with(DRIVER) || PARTS.iter().any(|part| name.starts_with(part.0))
    };
    let unknown: Vec<&str> = missing
        .iter()
        .filter(|name| !is_known(name))
        .map(String::as_str)
        .collect();
    if !unknown.is_empty() {
        steps.push(format!(
            "add the folder of {} to LD_LIBRARY_PATH",
            unknown.join(", ")
        ));
    }
    steps.join("; ")
}

/// Folders in which a CUDA build of MLX may lie: our cache, then the active virtual environment.
pub(crate) fn candidates(root: &Path, virtual_env: Option<&Path>) -> Vec<PathBuf> {
    let cached = [&CUDA_12, &CUDA_13].map(|wheel| wheel::unpacked_dir(root, wheel));
    let pythons = virtual_env
        .and_then(|env| fs::read_dir(env.join("lib")).ok())
        .into_iter()
        .flatten();
    let sites =
        pythons.filter_map(|entry| entry.ok().map(|entry| entry.path().join("site-packages")));
    let is_cuda = |site: &PathBuf| {
        ["mlx_cuda_12.libs", "mlx_cuda_13.libs"]
            .iter()
            .any(|libs| site.join(libs).is_dir())
    };
    cached
        .into_iter()
        .chain(sites.filter(is_cuda))
        .map(|site| site.join("mlx/lib"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_part_gets_its_remedy() {
        let missing = ["libcudnn.so.9", "libcuda.so.1", "libodd.so.3"].map(str::to_owned);
        let error = check_parts(Path::new("/c/site/mlx/lib/libmlx.so"), &missing)
            .unwrap_err()
            .to_string();
        for part in [
            "libcudnn.so.9",
            "--target /c/site 'nvidia-cudnn-cu12==9.*'",
            "NVIDIA driver",
            "folder of libodd.so.3",
        ] {
            assert!(error.contains(part), "{part}: {error}");
        }
        check_parts(Path::new("/c"), &[]).unwrap();
    }

    #[test]
    fn cuda_13_takes_its_own_packages() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("mlx_cuda_13.libs")).unwrap();
        let advice = remedy(
            &dir.path().join("mlx/lib/libmlx.so"),
            &["libcublasLt.so.13".to_owned()],
        );
        assert!(advice.contains("'nvidia-cublas==13.*'"), "{advice}");
    }

    #[test]
    fn the_command_installs_into_the_cache() {
        let command = install_command(Path::new("/c/ncps"), &CUDA_12);
        let expected = "python3 -m pip install --target /c/ncps/mlx-0.32.2-cuda-12 mlx-cuda-12==0.32.2 \
                        'nvidia-cuda-runtime-cu12==12.9.*'";
        assert_eq!(command, expected);
    }

    #[test]
    fn the_loader_cache_is_searched_for_whole_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("libpart.so.1");
        fs::write(&path, "").unwrap();
        let cache = format!("glibc-ld.so.cache1.1\0libpart.so.1\0{}\0", path.display());
        assert_eq!(cached_path(cache.as_bytes(), "libpart.so.1"), Some(path));
        assert_eq!(cached_path(cache.as_bytes(), "part.so.1"), None);
    }

    #[test]
    fn this_test_program_has_all_its_parts() {
        let program = env::current_exe().unwrap();
        if let Some(dynamic) = elf::read(&program) {
            assert!(
                dynamic.needed.iter().any(|name| name == "libmlx.so"),
                "{dynamic:?}"
            );
            let lib = PathBuf::from(env!("NCPS_MLX_BUILD_PREFIX")).join("lib");
            assert_eq!(
                missing_parts(&program, Some(&lib.into_os_string())),
                Vec::<String>::new()
            );
        }
    }
}

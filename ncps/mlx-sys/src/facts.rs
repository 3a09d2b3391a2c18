//! What `ncps doctor` wants to know: the libmlx in this process and what it can do here.

use std::{
    env,
    ffi::{CStr, OsStr, OsString, c_char, c_void},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    mlx_cuda_is_available, mlx_device_free, mlx_device_is_available, mlx_device_new_type,
    mlx_device_type__MLX_GPU, mlx_metal_is_available, mlx_string_data, mlx_string_free,
    mlx_string_new, mlx_version, wheel::MLX_VERSION,
};

/// Kind of device that the loaded library serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Apple's GPUs.
    Metal,
    /// NVIDIA's GPUs.
    Cuda,
    /// The processor alone.
    Cpu,
}

/// The compiler that MLX calls when a compiled function first runs on the CPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeCompiler {
    /// Program that MLX's text calls; neither CXX nor any other variable changes it.
    pub program: &'static str,
    /// Where it lies on `PATH`; without it MLX cannot compile on the CPU.
    pub path: Option<PathBuf>,
    /// First line of its version.
    pub version: Option<String>,
}

/// Facts about the libmlx in this process.
#[derive(Debug, Clone)]
pub struct Facts {
    /// File that is loaded.
    pub library: Option<PathBuf>,
    /// Version that it states.
    pub version: String,
    /// Version that this program was built for.
    pub expected_version: &'static str,
    /// What it runs on here.
    pub backend: Backend,
    /// Prefix that the program was linked with.
    pub build_prefix: PathBuf,
    /// Where that prefix came from: `prefix`, `python` or `wheel`.
    pub build_origin: &'static str,
    /// Compiler for compiled functions on the CPU.
    pub compiler: RuntimeCompiler,
}

/// Gathers all facts.
pub fn facts() -> Facts {
    Facts {
        library: library_path(),
        version: version(),
        expected_version: MLX_VERSION,
        backend: backend(),
        build_prefix: PathBuf::from(env!("NCPS_MLX_BUILD_PREFIX")),
        build_origin: env!("NCPS_MLX_BUILD_ORIGIN"),
        compiler: runtime_compiler(),
    }
}

unsafe extern "C" {
    /// `mlx::core::version()`, which lives in libmlx itself.
    #[link_name = "_ZN3mlx4core7versionEv"]
    fn mlx_core_version() -> *const c_char;
}

/// Path of the libmlx that the loader took.
pub fn library_path() -> Option<PathBuf> {
    let mut found = libc::Dl_info {
        dli_fname: std::ptr::null(),
        dli_fbase: std::ptr::null_mut(),
        dli_sname: std::ptr::null(),
        dli_saddr: std::ptr::null_mut(),
    };
    let address = mlx_core_version as *const c_void;
    // SAFETY: `dladdr` accepts any address and fills the structure.
    let status = unsafe { libc::dladdr(address, &mut found) };
    if status == 0 || found.dli_fname.is_null() {
        return None;
    }
    // SAFETY: after success this is a NUL-terminated path that lives as long as the library.
    let name = unsafe { CStr::from_ptr(found.dli_fname) };
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

/// Version that the loaded library states.
pub fn version() -> String {
    // SAFETY: the handle is ours, and its text is copied before it is freed.
    unsafe {
        let mut handle = mlx_string_new();
        let status = mlx_version(&mut handle);
        let data = if status == 0 {
            mlx_string_data(handle)
        } else {
            std::ptr::null()
        };
        let text = if data.is_null() {
            String::new()
        } else {
            CStr::from_ptr(data).to_string_lossy().into_owned()
        };
        mlx_string_free(handle);
        text
    }
}

/// What the loaded library runs on here.
pub fn backend() -> Backend {
    let (mut metal, mut cuda) = (false, false);
    // SAFETY: both write one flag.
    let states = unsafe {
        (
            mlx_metal_is_available(&mut metal),
            mlx_cuda_is_available(&mut cuda),
        )
    };
    match states {
        (0, _) if metal => Backend::Metal,
        (_, 0) if cuda => Backend::Cuda,
        _ => Backend::Cpu,
    }
}

/// Whether this library has a GPU here, whatever device is the default now.
pub fn has_gpu() -> bool {
    let mut is_available = false;
    // SAFETY: the device is ours until it is freed; the call writes one flag.
    let status = unsafe {
        let device = mlx_device_new_type(mlx_device_type__MLX_GPU, 0);
        let status = mlx_device_is_available(&mut is_available, device);
        mlx_device_free(device);
        status
    };
    status == 0 && is_available
}

/// The compiler that MLX 0.32 calls for compiled functions on the CPU: `g++`, found on `PATH`, on every system.
pub fn runtime_compiler() -> RuntimeCompiler {
    let program = "g++";
    let path = find_program(program, env::var_os("PATH").as_ref());
    let version = path.as_deref().and_then(first_version_line);
    RuntimeCompiler {
        program,
        path,
        version,
    }
}

fn find_program(program: &str, search: Option<&OsString>) -> Option<PathBuf> {
    env::split_paths(search?)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file())
}

fn first_version_line(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .next()
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loaded_library_is_the_one_built_for() {
        let facts = facts();
        assert_eq!(facts.version, facts.expected_version);
        let library = facts.library.unwrap();
        assert!(
            library.is_file() && library.to_string_lossy().contains("libmlx"),
            "{library:?}"
        );
        assert!(["prefix", "python", "wheel"].contains(&facts.build_origin));
    }

    #[test]
    fn a_gpu_is_there_where_the_library_has_a_backend_for_one() {
        assert!(backend() != Backend::Cpu || !has_gpu());
    }

    #[test]
    fn a_program_is_searched_along_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let search = env::join_paths([Path::new("/nonexistent"), dir.path()]).unwrap();
        assert_eq!(find_program("g++", Some(&search)), None);
        std::fs::write(dir.path().join("g++"), "").unwrap();
        assert_eq!(
            find_program("g++", Some(&search)),
            Some(dir.path().join("g++"))
        );
        assert_eq!(find_program("g++", None), None);
    }
}

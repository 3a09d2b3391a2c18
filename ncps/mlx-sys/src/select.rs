//! Choosing libmlx at run time on Linux, by `NCPS_MLX_LIBRARY=cpu|cuda|<folder of libmlx.so>`.
//!
//! The loader takes libmlx in before `main` runs, so a program that wants another one starts itself again, once, with
//! `LD_LIBRARY_PATH` set. Call [`apply`] first thing in `main`, before any call of MLX. macOS has one library.

use std::{
    env,
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    cuda,
    error::{Error, Result},
    facts, wheel,
};

/// Variable that names the library.
pub const VARIABLE: &str = "NCPS_MLX_LIBRARY";

/// Variable that holds the wish for which we started a program again, so that it does so once.
const MARK: &str = "NCPS_MLX_RESTARTED";

const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// MLX's switch for submitting work to CUDA as graphs, on unless it is 0. A train step of a small network is so few kernels
/// that making a graph of them takes longer than launching them one by one: 0.40 and 0.33 ms for `cfc-default` on an H200.
const CUDA_GRAPHS: &str = "MLX_USE_CUDA_GRAPHS";

/// What the choice depends on.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Value of `NCPS_MLX_LIBRARY`.
    pub wanted: Option<OsString>,
    /// Operating system, as `std::env::consts::OS`.
    pub os: String,
    /// The library in this process.
    pub loaded: Option<PathBuf>,
    /// Value of `LD_LIBRARY_PATH`.
    pub library_path: Option<OsString>,
    /// True in a program that was started again.
    pub is_restarted: bool,
    /// Our cache folder.
    pub cache_root: PathBuf,
    /// Folder of the library that the program was linked with.
    pub linked_dir: PathBuf,
    /// The active Python environment.
    pub virtual_env: Option<PathBuf>,
}

/// What to do about the choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// The right library is loaded.
    Keep,
    /// Start again with this `LD_LIBRARY_PATH`.
    Restart {
        /// Value for the variable.
        library_path: OsString,
    },
}

impl Surroundings {
    /// Reads the surroundings of this process.
    ///
    /// # Errors
    /// `NoCacheFolder`.
    pub fn of_this_process() -> Result<Self> {
        Ok(Self {
            wanted: env::var_os(VARIABLE).filter(|value| !value.is_empty()),
            os: env::consts::OS.to_owned(),
            loaded: facts::library_path(),
            library_path: env::var_os(LIBRARY_PATH),
            // The value is compared, because programs that this one starts inherit the variable.
            is_restarted: env::var_os(MARK).is_some_and(|mark| env::var_os(VARIABLE) == Some(mark)),
            cache_root: wheel::cache_root(|name| env::var_os(name))?,
            linked_dir: PathBuf::from(env!("NCPS_MLX_BUILD_PREFIX")).join("lib"),
            virtual_env: env::var_os("VIRTUAL_ENV").map(PathBuf::from),
        })
    }
}

/// Decides what to do; touches nothing.
///
/// # Errors
/// `BadChoice`, `NoChoiceHere`, `NoCuda` or `MissingParts` for a library that cannot be taken, `NotTaken` if a restart
/// did not bring it.
pub fn plan(surroundings: &Surroundings) -> Result<Plan> {
    let Some(wanted) = &surroundings.wanted else {
        return Ok(Plan::Keep);
    };
    if surroundings.os != "linux" {
        return Err(Error::NoChoiceHere {
            value: wanted.to_string_lossy().into_owned(),
        });
    }
    let dir = chosen_dir(surroundings, wanted)?;
    let library = dir.join("libmlx.so");
    let is_loaded = surroundings
        .loaded
        .as_deref()
        .is_some_and(|loaded| is_same(loaded, &library));
    if is_loaded {
        return Ok(Plan::Keep);
    }
    if surroundings.is_restarted {
        let loaded = surroundings
            .loaded
            .clone()
            .unwrap_or_else(|| PathBuf::from("no libmlx"));
        return Err(Error::NotTaken {
            wanted: library,
            loaded,
        });
    }
    cuda::check_parts(
        &library,
        &cuda::missing_parts(&library, surroundings.library_path.as_ref()),
    )?;
    let given = surroundings.library_path.iter().flat_map(env::split_paths);
    let library_path =
        env::join_paths([dir].into_iter().chain(given)).map_err(|_| Error::BadChoice {
            value: wanted.to_string_lossy().into_owned(),
        })?;
    Ok(Plan::Restart { library_path })
}

/// Does what the environment asks for: returns if the right library is loaded, else starts this program again.
///
/// # Errors
/// Those of [`plan`], and `Restart` if the program cannot be started.
pub fn apply() -> Result<()> {
    if env::var_os(VARIABLE).is_none_or(|value| value.is_empty()) {
        return Ok(());
    }
    match plan(&Surroundings::of_this_process()?)? {
        Plan::Keep => Ok(()),
        Plan::Restart { library_path } => restart(&library_path),
    }
}

fn restart(library_path: &OsStr) -> Result<()> {
    let program = env::current_exe().unwrap_or_default();
    let mut arguments = env::args_os();
    let name = arguments
        .next()
        .unwrap_or_else(|| program.clone().into_os_string());
    let source = Command::new(&program)
        .arg0(name)
        .args(arguments)
        .env(LIBRARY_PATH, library_path)
        .env(MARK, env::var_os(VARIABLE).unwrap_or_default())
        .env(
            CUDA_GRAPHS,
            env::var_os(CUDA_GRAPHS).unwrap_or_else(|| "0".into()),
        )
        .exec();
    Err(Error::Restart {
        program,
        library_path: library_path.to_string_lossy().into_owned(),
        source,
    })
}

fn chosen_dir(surroundings: &Surroundings, wanted: &OsStr) -> Result<PathBuf> {
    match wanted.to_str() {
        Some("cpu") => Ok(cpu_dir(surroundings)),
        Some("cuda") => cuda_dir(surroundings),
        _ => {
            let dir = Path::new(wanted);
            let bad = || Error::BadChoice {
                value: wanted.to_string_lossy().into_owned(),
            };
            (dir.is_absolute() && dir.join("libmlx.so").is_file())
                .then(|| dir.to_path_buf())
                .ok_or_else(bad)
        }
    }
}

/// The cached CPU library, else the one linked with, which is a CPU one on Linux unless a prefix was named.
fn cpu_dir(surroundings: &Surroundings) -> PathBuf {
    let wheel = if cfg!(target_arch = "aarch64") {
        &wheel::CPU_AARCH64
    } else {
        &wheel::CPU_X86_64
    };
    let cached = wheel::unpacked_dir(&surroundings.cache_root, wheel).join("mlx/lib");
    if cached.join("libmlx.so").is_file() {
        cached
    } else {
        surroundings.linked_dir.clone()
    }
}

/// The first CUDA library that has all its parts, else the first one, whose missing parts are then named.
fn cuda_dir(surroundings: &Surroundings) -> Result<PathBuf> {
    let candidates = cuda::candidates(
        &surroundings.cache_root,
        surroundings.virtual_env.as_deref(),
    );
    let present: Vec<&PathBuf> = candidates
        .iter()
        .filter(|dir| dir.join("libmlx.so").is_file())
        .collect();
    let is_whole = |dir: &&&PathBuf| {
        cuda::missing_parts(&dir.join("libmlx.so"), surroundings.library_path.as_ref()).is_empty()
    };
    let chosen = present.iter().find(is_whole).or(present.first());
    chosen
        .map(|dir| dir.to_path_buf())
        .ok_or_else(|| Error::NoCuda {
            looked: candidates
                .iter()
                .map(|dir| dir.display().to_string())
                .collect::<Vec<_>>()
                .join(", "),
            command: cuda::install_command(&surroundings.cache_root, &wheel::CUDA_12),
        })
}

/// True if two paths name one file, however they reach it.
fn is_same(left: &Path, right: &Path) -> bool {
    left == right
        || matches!((left.canonicalize(), right.canonicalize()), (Ok(left), Ok(right)) if left == right)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    struct Place {
        dir: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            Self {
                dir: tempfile::tempdir().unwrap(),
            }
        }

        /// Makes a folder with a file that is no ELF, so that it needs nothing.
        fn library(&self, name: &str) -> PathBuf {
            let dir = self.dir.path().join(name);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("libmlx.so"), "").unwrap();
            dir
        }

        fn surroundings(&self, wanted: &str) -> Surroundings {
            Surroundings {
                wanted: Some(wanted.into()),
                os: "linux".to_owned(),
                cache_root: self.dir.path().join("cache"),
                linked_dir: self.library("linked"),
                ..Surroundings::default()
            }
        }
    }

    #[test]
    fn no_wish_keeps_what_is_loaded() {
        assert_eq!(plan(&Surroundings::default()).unwrap(), Plan::Keep);
    }

    #[test]
    fn a_folder_goes_before_the_given_library_path() {
        let place = Place::new();
        let dir = place.library("other");
        let mut surroundings = place.surroundings(dir.to_str().unwrap());
        surroundings.library_path = Some("/x:/y".into());
        let library_path = format!("{}:/x:/y", dir.display()).into();
        assert_eq!(plan(&surroundings).unwrap(), Plan::Restart { library_path });
        surroundings.loaded = Some(dir.join("../other/libmlx.so"));
        assert_eq!(plan(&surroundings).unwrap(), Plan::Keep);
    }

    #[test]
    fn cpu_prefers_the_cache_and_falls_back_to_the_linked_one() {
        let place = Place::new();
        let surroundings = place.surroundings("cpu");
        assert_eq!(
            chosen_dir(&surroundings, OsStr::new("cpu")).unwrap(),
            surroundings.linked_dir
        );
        let flavour = if cfg!(target_arch = "aarch64") {
            "cpu-aarch64"
        } else {
            "cpu-x86_64"
        };
        let cached = place.library(&format!("cache/mlx-0.32.2-{flavour}/mlx/lib"));
        assert_eq!(
            chosen_dir(&surroundings, OsStr::new("cpu")).unwrap(),
            cached
        );
    }

    #[test]
    fn cuda_is_found_in_the_cache_or_the_environment() {
        let place = Place::new();
        let mut surroundings = place.surroundings("cuda");
        let error = plan(&surroundings).unwrap_err().to_string();
        assert!(
            error.contains("mlx-0.32.2-cuda-12/mlx/lib") && error.contains("pip install --target"),
            "{error}"
        );
        let site = place.dir.path().join("venv/lib/python3.12/site-packages");
        fs::create_dir_all(site.join("mlx_cuda_13.libs")).unwrap();
        let dir = place.library("venv/lib/python3.12/site-packages/mlx/lib");
        surroundings.virtual_env = Some(place.dir.path().join("venv"));
        assert_eq!(
            plan(&surroundings).unwrap(),
            Plan::Restart {
                library_path: dir.into_os_string()
            }
        );
    }

    #[test]
    fn one_restart_is_tried() {
        let place = Place::new();
        let mut surroundings = place.surroundings("cpu");
        surroundings.is_restarted = true;
        surroundings.loaded = Some("/elsewhere/libmlx.so".into());
        let error = plan(&surroundings).unwrap_err().to_string();
        assert!(
            error.contains("/elsewhere/libmlx.so") && error.contains("LD_PRELOAD"),
            "{error}"
        );
    }

    #[test]
    fn wrong_wishes_say_what_would_be_right() {
        let place = Place::new();
        let error = plan(&place.surroundings("gpu")).unwrap_err().to_string();
        assert!(
            error.contains("NCPS_MLX_LIBRARY=gpu") && error.contains("cpu, cuda"),
            "{error}"
        );
        let mut elsewhere = place.surroundings("cuda");
        elsewhere.os = "macos".to_owned();
        assert!(matches!(plan(&elsewhere), Err(Error::NoChoiceHere { .. })));
    }
}

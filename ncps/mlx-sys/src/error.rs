//! Ways in which finding, fetching or choosing libmlx can fail, each with its remedy.

use std::path::PathBuf;

/// Failure to find, fetch or choose a libmlx.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No published wheel fits the target.
    #[error(
        "no published MLX wheel fits {target}: expected Linux (glibc) on x86_64 or aarch64, or macOS on aarch64; \
         on another system build MLX {expected} yourself and name its prefix by NCPS_MLX_PREFIX"
    )]
    UnsupportedTarget {
        /// Operating system, architecture and C library asked for.
        target: String,
        /// MLX version needed.
        expected: &'static str,
    },

    /// The macOS version is older than every published wheel.
    #[error(
        "macOS {found} is too old for the published libmlx: expected 14.0 or newer; update macOS, raise \
         MACOSX_DEPLOYMENT_TARGET, or name an MLX of your own by NCPS_MLX_PREFIX"
    )]
    MacTooOld {
        /// Deployment target asked for.
        found: String,
    },

    /// The C library is older than the wheel needs.
    #[error(
        "glibc {found} is too old for the published libmlx: expected 2.35 or newer (Debian 12, Ubuntu 22.04); build on a \
         newer system or in a container, or name an MLX of your own by NCPS_MLX_PREFIX"
    )]
    GlibcTooOld {
        /// Version found.
        found: String,
    },

    /// No Python to fetch the wheel with.
    #[error(
        "no Python 3 found (tried {tried}), which fetches libmlx: install it (Debian: apt install python3 python3-pip; \
         macOS: xcode-select --install), name one by NCPS_PYTHON, or name an unpacked MLX by NCPS_MLX_PREFIX"
    )]
    NoPython {
        /// Programs that were tried.
        tried: String,
    },

    /// Python has no pip.
    #[error(
        "{python} has no pip, which fetches libmlx: install it (Debian: apt install python3-pip; elsewhere: {python} -m \
         ensurepip --user), or download {file} elsewhere and name the file by NCPS_MLX_WHEEL"
    )]
    NoPip {
        /// Python that was asked.
        python: String,
        /// Wheel wanted.
        file: &'static str,
    },

    /// The package index could not be reached.
    #[error(
        "no network: pip could not reach the package index for {file}; connect once (later builds work offline), set \
         PIP_INDEX_URL or HTTPS_PROXY for a mirror or proxy, or download the file elsewhere and name it by \
         NCPS_MLX_WHEEL; pip said: {detail}"
    )]
    NoNetwork {
        /// Wheel wanted.
        file: &'static str,
        /// Last line of pip.
        detail: String,
    },

    /// The package index lacks the wheel.
    #[error(
        "the package index that pip uses has no {file}: expected {package}=={expected}; check `pip config list` for a \
         mirror that lacks it, or download the file elsewhere and name it by NCPS_MLX_WHEEL; pip said: {detail}"
    )]
    NoSuchWheel {
        /// Package wanted.
        package: &'static str,
        /// Wheel wanted.
        file: &'static str,
        /// Version wanted.
        expected: &'static str,
        /// Last line of pip.
        detail: String,
    },

    /// pip failed in another way.
    #[error("pip failed while fetching {package}: {detail}; run `{command}` by hand to see why")]
    Pip {
        /// Package wanted.
        package: &'static str,
        /// Last lines of pip.
        detail: String,
        /// Command that failed.
        command: String,
    },

    /// A wheel's bytes are not the published ones.
    #[error(
        "checksum mismatch for {path}: expected SHA-256 {expected}, found {found}; delete the file and try again, and if \
         it stays so, do not trust the mirror or proxy that served it"
    )]
    Checksum {
        /// File that was read.
        path: PathBuf,
        /// Pinned digest.
        expected: String,
        /// Digest of the file.
        found: String,
    },

    /// A wheel unpacked to something unexpected.
    #[error("{path} is no usable MLX: expected {missing} in it; delete that folder and try again")]
    Incomplete {
        /// Folder that was looked at.
        path: PathBuf,
        /// What it lacks.
        missing: String,
    },

    /// The prefix holds another version.
    #[error(
        "wrong MLX under NCPS_MLX_PREFIX={path}: expected version {expected}, found {found}; install mlx=={expected} \
         there, or unset the variable to let the build fetch it"
    )]
    WrongVersion {
        /// Prefix looked at.
        path: PathBuf,
        /// Version needed.
        expected: &'static str,
        /// Version found.
        found: String,
    },

    /// The prefix holds no MLX.
    #[error(
        "no MLX under NCPS_MLX_PREFIX={path}: expected {missing}; name the folder that holds lib/ and include/ \
         (in a Python environment: site-packages/mlx), or unset the variable to let the build fetch MLX"
    )]
    BadPrefix {
        /// Prefix looked at.
        path: PathBuf,
        /// File that is missing.
        missing: String,
    },

    /// There is no place to keep libmlx.
    #[error(
        "no cache folder for libmlx: neither XDG_CACHE_HOME nor HOME is set; set one of them to a folder that survives"
    )]
    NoCacheFolder,

    /// The run-time choice names nothing that we know.
    #[error(
        "NCPS_MLX_LIBRARY={value} names no libmlx: expected cpu, cuda, or an absolute folder that holds libmlx.so (in a \
         Python environment: site-packages/mlx/lib)"
    )]
    BadChoice {
        /// Value of the variable.
        value: String,
    },

    /// The run-time choice exists on Linux alone.
    #[error(
        "NCPS_MLX_LIBRARY={value} has no effect on this system: expected Linux; unset it (macOS has one library, with Metal)"
    )]
    NoChoiceHere {
        /// Value of the variable.
        value: String,
    },

    /// No CUDA library is installed.
    #[error(
        "NCPS_MLX_LIBRARY=cuda, but no CUDA build of MLX is installed: looked in {looked}; fetch it (3.2 GB on disk) with `{command}`"
    )]
    NoCuda {
        /// Places that were searched.
        looked: String,
        /// Command that installs it.
        command: String,
    },

    /// A library cannot be loaded because of what it needs.
    #[error("{library} cannot be loaded, for it needs {missing}; {remedy}")]
    MissingParts {
        /// The library.
        library: PathBuf,
        /// What it needs and is not found, separated by commas.
        missing: String,
        /// How to get it.
        remedy: String,
    },

    /// The restarted program still has another library.
    #[error(
        "NCPS_MLX_LIBRARY asks for {wanted}, but {loaded} was loaded: another libmlx stands first on LD_LIBRARY_PATH or in \
         LD_PRELOAD, or the program was linked with an RPATH; remove it"
    )]
    NotTaken {
        /// Library asked for.
        wanted: PathBuf,
        /// Library found in the process.
        loaded: PathBuf,
    },

    /// The program could not be started again.
    #[error(
        "cannot restart {program} with another libmlx: {source}; set LD_LIBRARY_PATH={library_path} by hand"
    )]
    Restart {
        /// Program that was to be started.
        program: PathBuf,
        /// What LD_LIBRARY_PATH should hold.
        library_path: String,
        /// Why it failed.
        source: std::io::Error,
    },

    /// A file operation failed.
    #[error("cannot {action} {path}: {source}; check permissions and free space")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// Result of finding, fetching or choosing libmlx.
pub type Result<T> = std::result::Result<T, Error>;

/// Turns an I/O error into ours, with the action and the path.
pub(crate) fn io(
    action: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_path_buf();
    move |source| Error::Io {
        action,
        path,
        source,
    }
}

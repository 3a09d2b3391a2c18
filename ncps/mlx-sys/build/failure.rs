//! Ways in which compiling the C layer can fail, each with its remedy.

use std::path::PathBuf;

/// Failure of the build script.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Library(#[from] crate::error::Error),

    #[error(
        "no C++ compiler: `{compiler}` could not be run ({detail}); install one (Debian: apt install g++; macOS: \
         xcode-select --install), or name one by CXX"
    )]
    NoCompiler { compiler: String, detail: String },

    #[error(
        "`{compiler}` does not compile C++20: {detail}; expected GCC 12, Clang 15, Apple Clang 15 or newer; install one \
         (Debian: apt install g++) or name one by CXX"
    )]
    NoCxx20 { compiler: String, detail: String },

    #[error(
        "mlx-c did not compile with `{compiler}`: {detail}; please report this with the compiler's version"
    )]
    Compile { compiler: String, detail: String },

    #[error(
        "no network: cargo could not fetch the sources of mlx-c (package mlx-sys {version}); connect once (later builds \
         work offline), or name an unpacked mlx-c by NCPS_MLX_C_DIR; cargo said: {detail}"
    )]
    NoSources {
        version: &'static str,
        detail: String,
    },

    #[error(
        "no mlx-c in {path}: expected the folder mlx/c with its .cpp and .h files; correct or unset NCPS_MLX_C_DIR"
    )]
    BadSources { path: PathBuf },

    #[error("cannot {action} {path}: {source}; check permissions and free space")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
}

/// Result of one part of the build script.
pub(crate) type Outcome<T> = Result<T, Failure>;

/// Turns an I/O error into ours, with the action and the path.
pub(crate) fn io(
    action: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(std::io::Error) -> Failure {
    let path = path.to_path_buf();
    move |source| Failure::Io {
        action,
        path,
        source,
    }
}

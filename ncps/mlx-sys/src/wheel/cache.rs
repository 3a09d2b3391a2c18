//! Where an unpacked wheel is kept, and whether what lies there is whole.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use super::{MLX_VERSION, Wheel};
use crate::error::{Error, Result};

/// Folder for our downloads: `$XDG_CACHE_HOME/ncps`, else `$HOME/.cache/ncps`.
///
/// # Errors
/// `NoCacheFolder` if neither variable holds an absolute path.
pub fn cache_root(variable: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let absolute = |name| {
        variable(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|root| root.join("ncps"))
        .ok_or(Error::NoCacheFolder)
}

/// Folder of one unpacked wheel below the cache root.
pub fn unpacked_dir(root: &Path, wheel: &Wheel) -> PathBuf {
    root.join(format!("mlx-{MLX_VERSION}-{}", wheel.flavour))
}

/// True if a prefix holds the library and headers of the right version.
pub fn is_complete(prefix: &Path, library: &str) -> bool {
    prefix.join("lib").join(library).is_file()
        && version_of_prefix(prefix).as_deref() == Some(MLX_VERSION)
}

/// Version that the headers of a prefix state, if it has such headers.
pub fn version_of_prefix(prefix: &Path) -> Option<String> {
    let text = fs::read_to_string(prefix.join("include/mlx/version.h")).ok()?;
    version_in_header(&text)
}

fn version_in_header(text: &str) -> Option<String> {
    let part = |name: &str| {
        text.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            let found = words.next() == Some("#define") && words.next() == Some(name);
            found
                .then(|| words.next().and_then(|word| word.parse::<u32>().ok()))
                .flatten()
        })
    };
    let (major, minor) = (part("MLX_VERSION_MAJOR")?, part("MLX_VERSION_MINOR")?);
    Some(format!("{major}.{minor}.{}", part("MLX_VERSION_PATCH")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_follows_the_xdg_rules() {
        let with = |xdg: Option<&str>, home: Option<&str>| {
            let (xdg, home) = (xdg.map(OsString::from), home.map(OsString::from));
            cache_root(move |name| {
                if name == "HOME" {
                    home.clone()
                } else {
                    xdg.clone()
                }
            })
        };
        assert_eq!(with(Some("/c"), Some("/h")).unwrap(), Path::new("/c/ncps"));
        assert_eq!(
            with(Some("relative"), Some("/h")).unwrap(),
            Path::new("/h/.cache/ncps")
        );
        assert_eq!(with(None, Some("/h")).unwrap(), Path::new("/h/.cache/ncps"));
        assert!(matches!(with(None, None), Err(Error::NoCacheFolder)));
    }

    #[test]
    fn version_is_read_from_the_defines() {
        let header = "#pragma once\n#define MLX_VERSION_MAJOR 0\n#define MLX_VERSION_MINOR 32\n#define MLX_VERSION_PATCH 2\n\
                      #define MLX_VERSION_NUMERIC \\\n  (1000 * MLX_VERSION_MAJOR)\n";
        assert_eq!(version_in_header(header).as_deref(), Some("0.32.2"));
        assert_eq!(version_in_header("#define MLX_VERSION_MAJOR 0\n"), None);
    }

    #[test]
    fn a_half_removed_prefix_is_not_complete() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("include/mlx")).unwrap();
        fs::create_dir_all(dir.path().join("lib")).unwrap();
        let header = "#define MLX_VERSION_MAJOR 0\n#define MLX_VERSION_MINOR 32\n#define MLX_VERSION_PATCH 2\n";
        fs::write(dir.path().join("include/mlx/version.h"), header).unwrap();
        assert!(!is_complete(dir.path(), "libmlx.so"));
        fs::write(dir.path().join("lib/libmlx.so"), "").unwrap();
        assert!(is_complete(dir.path(), "libmlx.so"));
    }
}

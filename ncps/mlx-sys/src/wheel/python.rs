//! The Python that fetches wheels, and the MLX that it may already have.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use crate::error::{Error, Result};

/// A working Python 3.
#[derive(Debug, Clone)]
pub struct Python {
    /// Program to call.
    pub program: OsString,
    /// Whether `-m pip` works.
    pub has_pip: bool,
    /// Folder of the installed `mlx` package, if there is one.
    pub mlx: Option<PathBuf>,
}

/// Asks Python for pip and for the folder of `mlx` without importing either, since an import would load libmlx.
const QUESTION: &str = "
import importlib.util as u, sys
spec = u.find_spec('mlx')
places = list(spec.submodule_search_locations or []) if spec else []
print('python', sys.version_info[0])
print('pip', int(u.find_spec('pip') is not None))
for place in places:
    print('mlx', place)
";

/// Finds a Python 3: the one that `NCPS_PYTHON` names, else `python3`, else `python`.
///
/// # Errors
/// `NoPython` if none of them runs and is a Python 3.
pub fn find_python(variable: impl Fn(&str) -> Option<OsString>) -> Result<Python> {
    let candidates = match variable("NCPS_PYTHON") {
        Some(named) => vec![named],
        None => vec!["python3".into(), "python".into()],
    };
    candidates
        .iter()
        .find_map(ask)
        .ok_or_else(|| Error::NoPython {
            tried: candidates
                .iter()
                .map(|name| name.to_string_lossy())
                .collect::<Vec<_>>()
                .join(", "),
        })
}

fn ask(program: &OsString) -> Option<Python> {
    let output = Command::new(program).args(["-c", QUESTION]).output().ok()?;
    if !output.status.success() {
        return None;
    }
    read_answer(program, &String::from_utf8_lossy(&output.stdout))
}

fn read_answer(program: &OsString, answer: &str) -> Option<Python> {
    let values = |key: &str| {
        let key = format!("{key} ");
        answer
            .lines()
            .filter_map(move |line| line.strip_prefix(key.as_str()).map(str::to_owned))
    };
    if values("python").next()? != "3" {
        return None;
    }
    Some(Python {
        program: program.clone(),
        has_pip: values("pip").next().as_deref() == Some("1"),
        mlx: values("mlx")
            .map(PathBuf::from)
            .find(|place| Path::new(place).join("lib").is_dir()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_line_by_line() {
        let python = read_answer(&"p".into(), "python 3\npip 1\nmlx /nowhere/mlx\n").unwrap();
        assert!(python.has_pip);
        assert_eq!(python.mlx, None, "a folder without lib/ holds no libmlx");
        assert!(
            !read_answer(&"p".into(), "python 3\npip 0\n")
                .unwrap()
                .has_pip
        );
        assert!(read_answer(&"p".into(), "python 2\npip 1\n").is_none());
        assert!(read_answer(&"p".into(), "").is_none());
    }

    #[test]
    fn a_missing_python_is_named() {
        let error = find_python(|_| Some("/nonexistent/python9".into()))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("/nonexistent/python9") && error.contains("apt install python3"),
            "{error}"
        );
    }
}

//! Checkpoints: directories that exist whole or not at all.
//!
//! ```text
//! <directory>/step-00000123/
//!   model.safetensors      every parameter, by name
//!   optimizer.safetensors  what the optimiser carries, by slot and name
//!   state.json             where the run stands
//!   MANIFEST.json          size and SHA-256 of the other files, written last
//! ```
//! A directory is written beside its place and renamed, so a killed process leaves the old checkpoints
//! as they were. A directory whose manifest does not verify is not used.

pub mod atomic;
#[cfg(debug_assertions)]
pub mod fault;
mod manifest;
mod tensors;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mlx_rs::Array;
use mlx_rs::module::ModuleParameters;

pub(crate) use manifest::{contents, with_manifest};
pub use manifest::{sha256, verify};
pub use tensors::{Tensor, read_tensors};
pub(crate) use tensors::{decode, encode};

use crate::{Error, Result};

pub(crate) const MODEL: &str = "model.safetensors";
pub(crate) const OPTIMIZER: &str = "optimizer.safetensors";
pub(crate) const STATE: &str = "state.json";
const PREFIX: &str = "step-";

/// Writes every parameter of a model to one safetensors file, atomically.
///
/// The same parameters give the same bytes.
///
/// # Errors
/// [`Error::Mlx`] if a parameter cannot be computed, [`Error::Io`] if the file cannot be written.
pub fn save_model(path: &Path, model: &impl ModuleParameters) -> Result<()> {
    let parameters = model.parameters().flatten();
    let mut tensors = Vec::with_capacity(parameters.len());
    for (name, array) in parameters {
        tensors.push(Tensor {
            name: name.to_string(),
            shape: array.shape().iter().map(|&n| n as usize).collect(),
            values: crate::train::host(array)?,
        });
    }
    atomic::write_file(path, &encode(path, tensors)?)
}

/// Reads every parameter of a model from a safetensors file.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::CheckpointCorrupt`] if it is malformed or holds a value that is not
/// finite, [`Error::CheckpointMismatch`] if its names or shapes are not the model's; the model is then unchanged.
pub fn load_model(path: &Path, model: &mut impl ModuleParameters) -> Result<()> {
    let mut tensors = read_tensors(path)?;
    for tensor in tensors.values() {
        if let Some(value) = tensor.values.iter().find(|value| !value.is_finite()) {
            return Err(Error::CheckpointCorrupt {
                path: path.to_owned(),
                problem: format!("tensor `{}` holds {value}", tensor.name),
            });
        }
    }
    let mut slots = model.parameters_mut().flatten();
    let mismatch = |problem: String| Error::CheckpointMismatch {
        path: path.to_owned(),
        problem,
    };
    let mut arrays = BTreeMap::new();
    for (name, slot) in &slots {
        let tensor = tensors
            .remove(&**name)
            .ok_or_else(|| mismatch(format!("it has no tensor `{name}`")))?;
        let shape: Vec<usize> = slot.shape().iter().map(|&n| n as usize).collect();
        if tensor.shape != shape {
            let found = &tensor.shape;
            return Err(mismatch(format!(
                "`{name}` is {found:?} there and {shape:?} in the model"
            )));
        }
        arrays.insert(
            name.clone(),
            Array::from_slice(&tensor.values, slot.shape()),
        );
    }
    if let Some(name) = tensors.keys().next() {
        return Err(mismatch(format!("its tensor `{name}` is not in the model")));
    }
    for (name, array) in arrays {
        if let Some(slot) = slots.get_mut(&name) {
            **slot = array;
        }
    }
    Ok(())
}

/// What [`latest_valid`] found.
#[derive(Debug, Default)]
pub struct Found {
    /// The newest checkpoint that verifies.
    pub path: Option<PathBuf>,
    /// Newer ones that do not, with the reasons.
    pub rejected: Vec<(PathBuf, Error)>,
}

/// Finds the newest checkpoint of a directory that verifies; a missing directory holds none.
///
/// # Errors
/// [`Error::Io`] if the directory cannot be listed.
pub fn latest_valid(directory: &Path) -> Result<Found> {
    let mut found = Found::default();
    for step in steps(directory)?.into_iter().rev() {
        let path = directory.join(step_name(step));
        match verify(&path) {
            Ok(()) => {
                found.path = Some(path);
                break;
            }
            Err(error) => found.rejected.push((path, error)),
        }
    }
    Ok(found)
}

/// Lists the checkpoints of a directory, sound or not, oldest first; a missing directory holds none.
///
/// # Errors
/// [`Error::Io`] if the directory cannot be listed.
pub fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    let steps = steps(directory)?;
    let paths = steps
        .into_iter()
        .map(|step| directory.join(step_name(step)));
    Ok(paths.collect())
}

/// Lists the steps that have a checkpoint directory, oldest first.
pub(crate) fn steps(directory: &Path) -> Result<Vec<u64>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let io = |source| Error::Io {
        action: "list",
        path: directory.to_owned(),
        source,
    };
    let mut steps = Vec::new();
    for entry in fs::read_dir(directory).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        steps.extend(name.to_str().and_then(step_of));
    }
    steps.sort_unstable();
    Ok(steps)
}

/// Names the directory of a step; sorts as the steps do up to 10^8.
pub(crate) fn step_name(step: u64) -> String {
    format!("{PREFIX}{step:08}")
}

fn step_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?;
    let step = digits.parse().ok()?;
    (step_name(step) == name).then_some(step)
}

/// Chooses which checkpoints go: all but the newest `keep_last` and the `best`.
///
/// `steps` is sorted, oldest first.
pub fn outdated(steps: &[u64], keep_last: usize, best: &[u64]) -> Vec<u64> {
    let old = &steps[..steps.len().saturating_sub(keep_last.max(1))];
    old.iter()
        .copied()
        .filter(|step| !best.contains(step))
        .collect()
}

#[cfg(test)]
mod tests {
    use mlx_rs::builder::Builder;
    use mlx_rs::nn::{Linear, LinearBuilder};

    use super::*;

    fn linear(outputs: i32) -> Linear {
        LinearBuilder::new(3, outputs).build().unwrap()
    }

    #[test]
    fn the_newest_and_the_best_stay() {
        assert_eq!(outdated(&[1, 2, 3, 4], 2, &[1]), [2]);
        assert_eq!(outdated(&[1, 2, 3, 4], 1, &[]), [1, 2, 3]);
        assert_eq!(outdated(&[1, 2], 5, &[]), [0u64; 0]);
        assert_eq!(outdated(&[1, 2], 0, &[9]), [1]);
        assert_eq!(outdated(&[1, 2, 3, 4, 5], 1, &[4, 2]), [1, 3]);
        assert_eq!(outdated(&[], 2, &[]), [0u64; 0]);
    }

    #[test]
    fn foreign_names_are_not_steps() {
        assert_eq!(step_of("step-00000012"), Some(12));
        assert_eq!(step_of("step-123456789"), Some(123_456_789));
        for name in [
            "step-12",
            "step-+0000012",
            "step-0000001x",
            ".step-00000012.tmp-1",
            "12",
        ] {
            assert_eq!(step_of(name), None, "{name}");
        }
    }

    #[test]
    fn a_model_survives_a_round_trip_with_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        let model = linear(2);
        save_model(&a, &model).unwrap();
        let mut other = linear(2);
        load_model(&a, &mut other).unwrap();
        save_model(&b, &other).unwrap();
        assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
        assert_eq!(
            model.weight.as_slice::<f32>(),
            other.weight.as_slice::<f32>()
        );
    }

    #[test]
    fn a_foreign_model_is_refused_and_nothing_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        save_model(&path, &linear(2)).unwrap();
        let mut other = linear(4);
        let before = other.weight.as_slice::<f32>().to_vec();
        let error = load_model(&path, &mut other).unwrap_err();
        assert!(matches!(error, Error::CheckpointMismatch { .. }), "{error}");
        assert_eq!(other.weight.as_slice::<f32>(), before);
        let mut without_bias = LinearBuilder::new(3, 2).bias(false).build().unwrap();
        let error = load_model(&path, &mut without_bias)
            .unwrap_err()
            .to_string();
        assert!(error.contains("`bias`"), "{error}");
    }

    #[test]
    fn values_that_are_not_finite_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let mut model = linear(2);
        model.weight.value = Array::from_slice(&[0.0, 1.0, f32::NAN, 0.0, 0.0, 0.0], &[2, 3]);
        save_model(&path, &model).unwrap();
        let error = load_model(&path, &mut linear(2)).unwrap_err().to_string();
        assert!(error.contains("`weight` holds NaN"), "{error}");
    }

    #[test]
    fn a_missing_directory_holds_no_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let found = latest_valid(&folder.path().join("none")).unwrap();
        assert!(found.path.is_none() && found.rejected.is_empty());
    }
}

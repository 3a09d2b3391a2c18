//! All trainable parameters as one vector, and back.

use std::collections::BTreeMap;
use std::ops::Range;

use mlx_rs::error::Exception;
use mlx_rs::{Array, Dtype, ops};

use super::Model;
use super::config::TrainConfig;
use crate::checkpoint::Tensor;
use crate::kernel;
use crate::{Error, Result};

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    name: String,
    shape: Vec<i32>,
    start: usize,
    length: usize,
}

/// Where each parameter lies in the vector, in the order of the names.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout {
    entries: Vec<Entry>,
    frozen: Vec<String>,
    total: usize,
}

impl Layout {
    /// Reads names and shapes off a model.
    pub(super) fn of<M: Model + ?Sized>(model: &M) -> Result<Self> {
        let trainable: BTreeMap<_, _> =
            model.trainable_parameters().flatten().into_iter().collect();
        let all: BTreeMap<_, _> = model.parameters().flatten().into_iter().collect();
        let mut entries = Vec::new();
        let mut total = 0;
        for (name, array) in &trainable {
            check_parameter(name, array)?;
            entries.push(Entry {
                name: name.to_string(),
                shape: array.shape().to_vec(),
                start: total,
                length: array.size(),
            });
            total += array.size();
        }
        if entries.is_empty() {
            return Err(Error::Parameter {
                name: "*".to_owned(),
                found: "frozen or absent".to_owned(),
                expected: "at least one that can be trained".to_owned(),
            });
        }
        let frozen = all.into_keys().filter(|name| !trainable.contains_key(name));
        Ok(Self {
            entries,
            frozen: frozen.map(|name| name.to_string()).collect(),
            total,
        })
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Where a parameter lies in the vector; none if it is not there, or has another shape.
    pub(super) fn place(&self, name: &str, shape: &[i32]) -> Option<Range<usize>> {
        let is_it = |entry: &&Entry| entry.name == name && entry.shape == shape;
        let entry = self.entries.iter().find(is_it)?;
        Some(entry.start..entry.start + entry.length)
    }

    /// How many arrays [`Layout::split`] gives.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Copies the trainable parameters to the host.
    pub(super) fn gather<M: Model + ?Sized>(&self, model: &M) -> Result<Vec<f32>> {
        let parameters = model.parameters().flatten();
        let mut flat = Vec::with_capacity(self.total);
        for entry in &self.entries {
            flat.extend(host(parameters[entry.name.as_str()])?);
        }
        Ok(flat)
    }

    /// Gives the parameters that stay as they are, in the order that [`Layout::load`] expects.
    pub(super) fn frozen<M: Model + ?Sized>(&self, model: &M) -> Vec<Array> {
        let parameters = model.parameters().flatten();
        self.frozen
            .iter()
            .map(|name| parameters[name.as_str()].clone())
            .collect()
    }

    /// Names the parameters that stay as they are, in the order of [`Layout::frozen`].
    pub(super) fn frozen_names(&self) -> &[String] {
        &self.frozen
    }

    /// Names the parameter that an element of the vector belongs to.
    pub(super) fn name_at(&self, index: usize) -> &str {
        let after = self.entries.partition_point(|entry| entry.start <= index);
        let entry = after.checked_sub(1).and_then(|at| self.entries.get(at));
        entry.map_or("", |entry| &entry.name)
    }

    /// Cuts the vector into the parameters.
    pub(super) fn split(&self, flat: &Array) -> Result<Vec<Array>, Exception> {
        let shapes: Vec<Vec<i32>> = self
            .entries
            .iter()
            .map(|entry| entry.shape.clone())
            .collect();
        if let Some(parts) = kernel::split(flat, &shapes)? {
            return Ok(parts);
        }
        let cuts: Vec<i32> = self.entries[1..]
            .iter()
            .map(|entry| entry.start as i32)
            .collect();
        let parts = match cuts.is_empty() {
            true => vec![flat.clone()],
            false => ops::split_at_indices(flat, &cuts, 0)?,
        };
        parts
            .iter()
            .zip(&self.entries)
            .map(|(part, entry)| part.reshape(&entry.shape))
            .collect()
    }

    /// Cuts a host copy into parameters that share no memory.
    pub(super) fn arrays(&self, flat: &[f32]) -> Vec<Array> {
        self.entries
            .iter()
            .map(|entry| Array::from_slice(&flat[entry.start..][..entry.length], &entry.shape))
            .collect()
    }

    /// Joins gradients to one vector.
    pub(super) fn join(gradients: &[Array]) -> Result<Array, Exception> {
        if let Some(flat) = kernel::join(gradients)? {
            return Ok(flat);
        }
        let flat: Result<Vec<Array>, _> = gradients.iter().map(|g| g.reshape(&[-1])).collect();
        ops::concatenate(&flat?, 0)
    }

    /// Puts arrays into a model: the trainable ones, then the frozen ones.
    pub(super) fn load<M: Model + ?Sized>(
        &self,
        model: &mut M,
        trainable: &[Array],
        frozen: &[Array],
    ) {
        let mut slots = model.parameters_mut().flatten();
        let names = self.entries.iter().map(|entry| &entry.name);
        for (name, array) in names
            .chain(&self.frozen)
            .zip(trainable.iter().chain(frozen))
        {
            if let Some(slot) = slots.get_mut(name.as_str()) {
                **slot = array.clone();
            }
        }
    }

    /// Empties a model, so that it keeps no traced or outdated array alive.
    pub(super) fn clear<M: Model + ?Sized>(&self, model: &mut M) {
        let nothing = Array::from_f32(0.0);
        for slot in model.parameters_mut().flatten().into_values() {
            *slot = nothing.clone();
        }
    }

    /// Names the pieces of a vector for a file.
    pub(super) fn tensors(&self, prefix: &str, flat: &[f32]) -> Vec<Tensor> {
        self.entries
            .iter()
            .map(|entry| Tensor {
                name: format!("{prefix}{}", entry.name),
                shape: entry.shape.iter().map(|&n| n as usize).collect(),
                values: flat[entry.start..][..entry.length].to_vec(),
            })
            .collect()
    }

    /// Finds the pieces of a vector among the tensors of a file.
    pub(super) fn find_tensors(
        &self,
        prefix: &str,
        tensors: &BTreeMap<String, Tensor>,
    ) -> Result<Vec<f32>, String> {
        let mut flat = Vec::with_capacity(self.total);
        for entry in &self.entries {
            let name = format!("{prefix}{}", entry.name);
            let tensor = tensors
                .get(&name)
                .ok_or_else(|| format!("it has no tensor `{name}`"))?;
            let shape: Vec<usize> = entry.shape.iter().map(|&n| n as usize).collect();
            if tensor.shape != shape {
                let found = &tensor.shape;
                return Err(format!(
                    "`{name}` is {found:?} there and {shape:?} in the model"
                ));
            }
            flat.extend(&tensor.values);
        }
        Ok(flat)
    }

    /// Gives one number for each element of the vector, from the parameter's name; `None` where all
    /// are `usual`.
    pub(super) fn per_element(&self, usual: f32, of: impl Fn(&str) -> f32) -> Option<Vec<f32>> {
        let mut values = Vec::with_capacity(self.total);
        for entry in &self.entries {
            values.resize(values.len() + entry.length, of(&entry.name));
        }
        values
            .iter()
            .any(|value| value.to_bits() != usual.to_bits())
            .then_some(values)
    }

    /// Checks that each decay group and each constrained name means something.
    pub(super) fn check_names(&self, config: &TrainConfig, constrained: &[String]) -> Result<()> {
        let known = |pattern: &str| {
            let matches = |name: &String| super::config::matches_pattern(pattern, name);
            let mut names = self.entries.iter().map(|entry| &entry.name);
            names.any(matches) || self.frozen.iter().any(matches)
        };
        let patterns = config.decay_groups.iter().map(|group| &group.pattern);
        for pattern in patterns.chain(constrained) {
            if !known(pattern) {
                let names: Vec<&str> = self.entries.iter().map(|e| e.name.as_str()).collect();
                return Err(Error::Parameter {
                    name: pattern.clone(),
                    found: "not in the model".to_owned(),
                    expected: format!("one of {}, or a pattern with `*`", names.join(", ")),
                });
            }
        }
        Ok(())
    }
}

fn check_parameter(name: &str, array: &Array) -> Result<()> {
    if array.dtype() != Dtype::Float32 || array.size() == 0 {
        return Err(Error::Parameter {
            name: name.to_owned(),
            found: format!("{:?} of shape {:?}", array.dtype(), array.shape()),
            expected: "Float32 with at least one element; freeze it or convert it".to_owned(),
        });
    }
    Ok(())
}

/// Copies an array of any layout to the host.
pub(crate) fn host(array: &Array) -> Result<Vec<f32>> {
    if array.size() == 0 {
        return Ok(Vec::new());
    }
    let lift = |source| Error::Mlx {
        operation: "copy to the host",
        source,
    };
    let even = array.contiguous().map_err(lift)?;
    even.to_vec_cast::<f32>()
        .map_err(|error| lift(Exception::custom(error.to_string())))
}

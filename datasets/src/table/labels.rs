//! Class labels: texts or whole numbers to ids.

use std::collections::HashMap;

use crate::error::{Error, Result};

/// More classes than this are a quantity in disguise.
const MAX_CLASSES: usize = 1000;

/// Class labels in order of first appearance.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    ids: HashMap<String, usize>,
    names: Vec<String>,
}

impl Labels {
    /// Ids of a column's labels; NaN where there is none.
    pub(crate) fn ids(&mut self, labels: &[Option<String>]) -> Vec<f32> {
        let mut ids = Vec::with_capacity(labels.len());
        for label in labels {
            let Some(label) = label else {
                ids.push(f32::NAN);
                continue;
            };
            ids.push(match self.ids.get(label) {
                Some(id) => *id as f32,
                None => {
                    let id = self.names.len();
                    self.ids.insert(label.clone(), id);
                    self.names.push(label.clone());
                    id as f32
                }
            });
        }
        ids
    }

    /// Labels with these numbers already given.
    pub(crate) fn known(names: Vec<String>) -> Self {
        let ids = names.iter().cloned().zip(0..).collect();
        Self { ids, names }
    }

    /// The labels in the order of their numbers.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Sorts the classes (numbers by value, text by letter): their names, and the new number of each old one.
    pub(crate) fn finish(self, column: &str) -> Result<(Vec<String>, Vec<f32>)> {
        let not_a_class = |reason| Error::NotAClass {
            column: column.to_owned(),
            reason,
        };
        if self.names.len() > MAX_CLASSES {
            return Err(not_a_class(format!(
                "it has {} different values",
                self.names.len()
            )));
        }
        let mut order: Vec<usize> = (0..self.names.len()).collect();
        let numbers: Option<Vec<f64>> = self.names.iter().map(|name| name.parse().ok()).collect();
        match &numbers {
            Some(numbers) => {
                if let Some(place) = numbers.iter().position(|number| number.fract() != 0.0) {
                    return Err(not_a_class(format!(
                        "`{}` is no whole number",
                        self.names[place]
                    )));
                }
                order.sort_by(|a, b| numbers[*a].total_cmp(&numbers[*b]));
            }
            None => order.sort_by_key(|id| &self.names[*id]),
        }
        let mut rank = vec![0.0f32; order.len()];
        order
            .iter()
            .enumerate()
            .for_each(|(place, &id)| rank[id] = place as f32);
        let names = order.into_iter().map(|id| self.names[id].clone()).collect();
        Ok((names, rank))
    }
}

/// Gives targets their classes' new numbers.
pub(crate) fn renumber(targets: &mut [f32], rank: &[f32]) {
    for target in targets.iter_mut().filter(|target| !target.is_nan()) {
        *target = rank.get(*target as usize).copied().unwrap_or(f32::NAN);
    }
}

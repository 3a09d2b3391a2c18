//! Class labels: texts or whole numbers to ids.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::series::RawSeries;

/// More classes than this are a quantity in disguise.
const MAX_CLASSES: usize = 1000;

/// Class labels in order of first appearance.
#[derive(Default)]
pub(super) struct Labels {
    ids: HashMap<String, usize>,
    names: Vec<String>,
}

impl Labels {
    /// Ids of a column's labels; NaN where there is none.
    pub(super) fn ids(&mut self, labels: &[Option<String>]) -> Vec<f32> {
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

    /// Sorts the classes (numbers by value, text by letter) and renumbers the series' targets to match.
    pub(super) fn finish(self, column: &str, series: &mut [RawSeries]) -> Result<Vec<String>> {
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
        for one in series {
            let known = one.targets.iter_mut().filter(|target| !target.is_nan());
            known.for_each(|target| *target = rank[*target as usize]);
        }
        Ok(order.into_iter().map(|id| self.names[id].clone()).collect())
    }
}

//! What can be had without learning: the number that a trained model must beat.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::dataset::{DataSchema, Dataset, Task};
use crate::window::WindowSet;

/// A trivial prediction and how good it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Baseline {
    /// `persistence` (a forecast repeats the present value), `mean` (of the training targets) or `majority` (class of the training part).
    pub name: &'static str,
    /// `mse`, `mae`, `r2` in the targets' own units, or `accuracy`, `balanced_accuracy`, `f1`; a metric that is undefined on the part is absent.
    pub metrics: BTreeMap<String, f64>,
}

/// Measures the baseline that suits the task on one part; targets count as often as they are in a window.
pub(crate) fn baseline(dataset: &Dataset, part: &WindowSet) -> Baseline {
    if let Task::Classification { classes } = &dataset.schema.task {
        let majority = majority(&dataset.train);
        return Baseline {
            name: "majority",
            metrics: constant_class(part, majority, classes.len()),
        };
    }
    match persistent_features(&dataset.schema) {
        Some(features) => Baseline {
            name: "persistence",
            metrics: persistence(&dataset.schema, part, &features),
        },
        None => Baseline {
            name: "mean",
            metrics: mean(dataset, part),
        },
    }
}

/// For a forecast whose targets are all inputs too: the inputs that repeat them.
fn persistent_features(schema: &DataSchema) -> Option<Vec<usize>> {
    if schema.horizon == 0 {
        return None;
    }
    let place = |target| schema.features.iter().position(|feature| feature == target);
    schema.targets.iter().map(place).collect()
}

fn persistence(schema: &DataSchema, part: &WindowSet, features: &[usize]) -> BTreeMap<String, f64> {
    let scales = &schema.normaliser.features;
    let mut errors = Errors::new(features.len());
    for window in part.windows() {
        for (now, target) in part.feature_rows(window).zip(part.target_rows(window)) {
            for (column, &feature) in features.iter().enumerate() {
                let predicted = scales[feature].restore(f64::from(now[feature]));
                errors.add(column, predicted, raw_target(schema, column, target));
            }
        }
    }
    errors.finish()
}

fn mean(dataset: &Dataset, part: &WindowSet) -> BTreeMap<String, f64> {
    let schema = &dataset.schema;
    let width = schema.targets.len();
    let mut sums = vec![0.0; width];
    let mut count = 0.0;
    for window in dataset.train.windows() {
        for target in dataset.train.target_rows(window) {
            (0..width).for_each(|column| sums[column] += raw_target(schema, column, target));
            count += 1.0;
        }
    }
    let mut errors = Errors::new(width);
    for window in part.windows() {
        for target in part.target_rows(window) {
            for (column, sum) in sums.iter().enumerate() {
                errors.add(column, sum / count, raw_target(schema, column, target));
            }
        }
    }
    errors.finish()
}

fn raw_target(schema: &DataSchema, column: usize, target: &[f32]) -> f64 {
    schema.normaliser.targets[column].restore(f64::from(target[column]))
}

/// Sums of errors over targets, and of the targets' own spread (Welford 1962) for R2.
struct Errors {
    squared: f64,
    absolute: f64,
    count: f64,
    columns: Vec<(f64, f64, f64)>,
}

impl Errors {
    fn new(width: usize) -> Self {
        Self {
            squared: 0.0,
            absolute: 0.0,
            count: 0.0,
            columns: vec![(0.0, 0.0, 0.0); width],
        }
    }

    fn add(&mut self, column: usize, predicted: f64, target: f64) {
        self.squared += (predicted - target).powi(2);
        self.absolute += (predicted - target).abs();
        self.count += 1.0;
        let (count, mean, spread) = &mut self.columns[column];
        *count += 1.0;
        let before = target - *mean;
        *mean += before / *count;
        *spread += before * (target - *mean);
    }

    fn finish(self) -> BTreeMap<String, f64> {
        let mut metrics = BTreeMap::new();
        if self.count > 0.0 {
            metrics.insert("mse".to_owned(), self.squared / self.count);
            metrics.insert("mae".to_owned(), self.absolute / self.count);
        }
        let spread: f64 = self.columns.iter().map(|(_, _, spread)| spread).sum();
        if spread > 0.0 {
            metrics.insert("r2".to_owned(), 1.0 - self.squared / spread);
        }
        metrics
    }
}

/// The most frequent class of the training targets; the first of equals.
fn majority(train: &WindowSet) -> usize {
    let counts = train.class_counts().unwrap_or_default();
    let most = counts.iter().copied().max().unwrap_or(0);
    counts.iter().position(|count| *count == most).unwrap_or(0)
}

/// Metrics of always answering `class`; `f1` is that of class 1 for two classes, else the mean over classes.
fn constant_class(part: &WindowSet, class: usize, classes: usize) -> BTreeMap<String, f64> {
    let counts = part.class_counts().unwrap_or_default();
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return BTreeMap::new();
    }
    let accuracy = counts[class] as f64 / total as f64;
    let present = counts.iter().filter(|count| **count > 0).count();
    let recall_sum = if counts[class] > 0 { 1.0 } else { 0.0 };
    // Precision is the accuracy and recall is 1, so F1 of the answered class is 2a / (a + 1); of any other class it is 0.
    let own_f1 = 2.0 * accuracy / (accuracy + 1.0);
    let f1 = match classes {
        2 if class == 1 => own_f1,
        2 => 0.0,
        _ => own_f1 / (present + usize::from(counts[class] == 0)) as f64,
    };
    BTreeMap::from([
        ("accuracy".to_owned(), accuracy),
        ("balanced_accuracy".to_owned(), recall_sum / present as f64),
        ("f1".to_owned(), f1),
    ])
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn errors_match_a_computation_by_hand() {
        let mut errors = Errors::new(1);
        for (predicted, target) in [(1.0, 2.0), (2.0, 2.0), (3.0, 5.0)] {
            errors.add(0, predicted, target);
        }
        let metrics = errors.finish();
        assert_relative_eq!(metrics["mse"], 5.0 / 3.0);
        assert_relative_eq!(metrics["mae"], 1.0);
        // Targets 2, 2, 5 have mean 3 and squared deviations 1 + 1 + 4.
        assert_relative_eq!(metrics["r2"], 1.0 - 5.0 / 6.0);
    }

    #[test]
    fn r2_of_constant_targets_is_absent() {
        let mut errors = Errors::new(1);
        errors.add(0, 1.0, 2.0);
        assert!(!errors.finish().contains_key("r2"));
    }
}

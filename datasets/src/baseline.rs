//! What can be had without learning: the number that a trained model must beat.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::dataset::{DataSchema, Dataset, Task};
use crate::error::Result;
use crate::window::WindowSet;

/// A trivial prediction and how good it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Baseline {
    /// `persistence` (a forecast repeats the present value), `mean` (of the training targets) or `majority` (class of the training part).
    pub name: &'static str,
    /// `mse`, `mae`, `r2` in the targets' own units, or `accuracy`, `balanced_accuracy`, `f1`; a metric that is undefined on the part is absent,
    /// and so are all where a streamed file can no longer be read.
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
    let width = schema.targets.len() / schema.horizons.len().max(1);
    let place = |(index, target): (usize, &String)| {
        // A forecast at several distances calls its targets `a+1`, `a+4`, ...
        let horizon = schema.horizons.get(index / width.max(1));
        let suffix = horizon.map(|horizon| format!("+{horizon}"));
        let name = suffix
            .as_deref()
            .and_then(|suffix| target.strip_suffix(suffix))
            .unwrap_or(target);
        schema.features.iter().position(|feature| feature == name)
    };
    schema.targets.iter().enumerate().map(place).collect()
}

fn persistence(schema: &DataSchema, part: &WindowSet, features: &[usize]) -> BTreeMap<String, f64> {
    let scales = &schema.normaliser.features;
    let mut errors = Errors::new(features.len());
    let visited = part.each(|placed| {
        let pairs = placed.feature_rows().zip(placed.target_rows());
        for (now, target) in pairs.filter(|(_, target)| is_there(target)) {
            for (column, &feature) in features.iter().enumerate() {
                let predicted = scales[feature].restore(f64::from(now[feature]));
                errors.add(column, predicted, raw_target(schema, column, target));
            }
        }
    });
    told(visited, errors)
}

fn mean(dataset: &Dataset, part: &WindowSet) -> BTreeMap<String, f64> {
    let schema = &dataset.schema;
    let width = schema.targets.len();
    let mut sums = vec![0.0; width];
    let mut count = 0.0;
    let summed = dataset.train.each(|placed| {
        for target in placed.target_rows().filter(|row| is_there(row)) {
            (0..width).for_each(|column| sums[column] += raw_target(schema, column, target));
            count += 1.0;
        }
    });
    let mut errors = Errors::new(width);
    let visited = part.each(|placed| {
        for target in placed.target_rows().filter(|row| is_there(row)) {
            for (column, sum) in sums.iter().enumerate() {
                errors.add(column, sum / count, raw_target(schema, column, target));
            }
        }
    });
    told(summed.and(visited), errors)
}

/// The metrics, or none and a word of why.
fn told(visited: Result<()>, errors: Errors) -> BTreeMap<String, f64> {
    match visited {
        Ok(()) => errors.finish(),
        Err(error) => {
            tracing::warn!("there is no baseline: {error}");
            BTreeMap::new()
        }
    }
}

/// Whether a step has all its targets.
fn is_there(target: &[f32]) -> bool {
    target.iter().all(|value| !value.is_nan())
}

fn raw_target(schema: &DataSchema, column: usize, target: &[f32]) -> f64 {
    schema.normaliser.targets[column].restore(f64::from(target[column]))
}

/// Errors of each output; metrics are averaged over outputs, as a trained model's are.
struct Errors(Vec<Output>);

/// Sums of one output's errors, and its targets' mean and squared deviations so far (Welford 1962).
#[derive(Debug, Clone, Copy, Default)]
struct Output {
    squared: f64,
    absolute: f64,
    count: f64,
    mean: f64,
    deviation: f64,
}

impl Errors {
    fn new(width: usize) -> Self {
        Self(vec![Output::default(); width])
    }

    fn add(&mut self, column: usize, predicted: f64, target: f64) {
        let output = &mut self.0[column];
        output.squared += (predicted - target).powi(2);
        output.absolute += (predicted - target).abs();
        output.count += 1.0;
        let before = target - output.mean;
        output.mean += before / output.count;
        output.deviation += before * (target - output.mean);
    }

    fn finish(self) -> BTreeMap<String, f64> {
        let outputs: Vec<Output> = self
            .0
            .into_iter()
            .filter(|output| output.count > 0.0)
            .collect();
        if outputs.is_empty() {
            return BTreeMap::new();
        }
        let average =
            |of: fn(&Output) -> f64| outputs.iter().map(of).sum::<f64>() / outputs.len() as f64;
        BTreeMap::from([
            (
                "mse".to_owned(),
                average(|output| output.squared / output.count),
            ),
            (
                "mae".to_owned(),
                average(|output| output.absolute / output.count),
            ),
            ("r2".to_owned(), average(Output::r2)),
        ])
    }
}

impl Output {
    /// A constant target is explained fully or not at all.
    fn r2(&self) -> f64 {
        if self.deviation > 0.0 {
            1.0 - self.squared / self.deviation
        } else if self.squared > 0.0 {
            0.0
        } else {
            1.0
        }
    }
}

/// The most frequent class of the training targets; the first of equals.
fn majority(train: &WindowSet) -> usize {
    let counts = train.class_counts().unwrap_or_default();
    let most = counts.iter().copied().max().unwrap_or(0);
    counts.iter().position(|count| *count == most).unwrap_or(0)
}

/// Metrics of always answering `class`, defined as for a trained model.
fn constant_class(part: &WindowSet, class: usize, classes: usize) -> BTreeMap<String, f64> {
    let counts = part.class_counts().unwrap_or_default();
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return BTreeMap::new();
    }
    let accuracy = counts[class] as f64 / total as f64;
    let present = counts.iter().filter(|count| **count > 0).count();
    let recall_sum = if counts[class] > 0 { 1.0 } else { 0.0 };
    let mut metrics = BTreeMap::from([
        ("accuracy".to_owned(), accuracy),
        ("balanced_accuracy".to_owned(), recall_sum / present as f64),
    ]);
    if let Some(f1) = constant_f1(&counts, class, classes, accuracy) {
        metrics.insert("f1".to_owned(), f1);
    }
    metrics
}

/// F1 of always answering `class`; `None` where two classes leave class 1 neither present nor answered.
fn constant_f1(counts: &[u64], class: usize, classes: usize, accuracy: f64) -> Option<f64> {
    // Precision is the accuracy and recall is 1, so F1 of the answered class is 2a / (a + 1); of any other class it is 0.
    let own = 2.0 * accuracy / (accuracy + 1.0);
    let judged = (0..classes).filter(|&other| counts[other] > 0 || other == class);
    match classes {
        2 if class == 1 => Some(own),
        2 => (counts[1] > 0).then_some(0.0),
        _ => Some(own / judged.count() as f64),
    }
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
    fn metrics_are_averaged_over_outputs() {
        let mut errors = Errors::new(2);
        for (column, predicted, target) in
            [(0, 1.0, 3.0), (0, 1.0, 1.0), (1, 5.0, 5.0), (1, 5.0, 5.0)]
        {
            errors.add(column, predicted, target);
        }
        let metrics = errors.finish();
        assert_relative_eq!(metrics["mse"], 1.0);
        // The first output's targets 3 and 1 deviate by 1 + 1, its errors are 4; the second is constant and exact.
        assert_relative_eq!(metrics["r2"], ((1.0 - 4.0 / 2.0) + 1.0) / 2.0);
        assert!(Errors::new(2).finish().is_empty());
    }

    #[test]
    fn a_constant_answer_is_scored_by_hand() {
        // Answering class 1 of counts 20 and 80: precision 0.8, recall 1.
        assert_relative_eq!(constant_f1(&[20, 80], 1, 2, 0.8).unwrap(), 1.6 / 1.8);
        assert_relative_eq!(constant_f1(&[80, 20], 0, 2, 0.8).unwrap(), 0.0);
        assert_eq!(constant_f1(&[80, 0], 0, 2, 1.0), None);
        // Three classes, of which one neither occurs nor is answered: the mean of 2/3 and 0.
        assert_relative_eq!(constant_f1(&[5, 5, 0], 0, 3, 0.5).unwrap(), 1.0 / 3.0);
    }
}

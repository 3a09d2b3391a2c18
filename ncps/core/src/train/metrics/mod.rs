//! Metrics: exact over a whole split, accumulated in float64 from what the device hands back.
//!
//! Each accumulator sees every judged position once, with its weight; none averages averages. A
//! metric that the data leave undefined (AUROC where only one class occurs) is absent from the result
//! rather than made up.

mod classification;
mod ranking;
mod regression;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use self::classification::Confusion;
use self::ranking::Ranking;
use self::regression::Regression;
use super::loss::Task;

/// Metrics by name, as [`MetricName::name`] gives it.
pub type Metrics = BTreeMap<String, f64>;

/// A metric that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum MetricName {
    /// The weighted mean of what is minimised.
    Loss,
    /// Mean squared error, in squared target units.
    Mse,
    /// Mean absolute error, in target units.
    Mae,
    /// 1 - squared error / variance of the targets, averaged over outputs.
    R2,
    /// Share of positions whose most likely class is the right one.
    Accuracy,
    /// Recall, averaged over the classes that occur.
    BalancedAccuracy,
    /// Harmonic mean of precision and recall: of class 1 where there are two, else averaged over classes.
    F1,
    /// Area under the receiver operating characteristic; one class against the rest, averaged, where
    /// there are more than two.
    Auroc,
}

impl MetricName {
    /// Gives the name used in configurations and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Loss => "loss",
            Self::Mse => "mse",
            Self::Mae => "mae",
            Self::R2 => "r2",
            Self::Accuracy => "accuracy",
            Self::BalancedAccuracy => "balanced_accuracy",
            Self::F1 => "f1",
            Self::Auroc => "auroc",
        }
    }

    /// Tells whether a larger value is the better one.
    pub fn is_higher_better(self) -> bool {
        !matches!(self, Self::Loss | Self::Mse | Self::Mae)
    }

    /// Tells whether `value` is better than `best` by more than `delta`.
    pub fn improves(self, value: f64, best: f64, delta: f64) -> bool {
        if self.is_higher_better() {
            value > best + delta
        } else {
            value < best - delta
        }
    }

    /// Lists the metrics that go with a task.
    pub(super) fn usual(task: Task) -> &'static [Self] {
        match task {
            Task::Regression => &[Self::Mse, Self::Mae, Self::R2],
            Task::Classes | Task::Labels => &[
                Self::Accuracy,
                Self::BalancedAccuracy,
                Self::F1,
                Self::Auroc,
            ],
        }
    }
}

/// How targets were normalised, one entry an output.
///
/// ```text
/// original = offset + scale * normalised
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetUnits {
    /// What is added, in target units.
    pub offset: Vec<f64>,
    /// What is multiplied with first.
    pub scale: Vec<f64>,
}

/// Judged positions of a batch, on the host: `weights.len()` rows.
#[derive(Debug)]
pub(super) struct HostRows<'a> {
    /// Loss times weight, summed.
    pub(super) loss: f64,
    /// Weights that the loss divides by, summed.
    pub(super) weight: f64,
    /// Row-major, `outputs` a row.
    pub(super) predictions: &'a [f32],
    /// Row-major; one a row for classes, else `outputs`.
    pub(super) targets: &'a [f32],
    pub(super) weights: &'a [f32],
    pub(super) outputs: usize,
}

/// Accumulates the metrics of one evaluation.
#[derive(Debug)]
pub(super) struct MetricSet {
    names: Vec<MetricName>,
    task: Task,
    loss: f64,
    weight: f64,
    regression: Regression,
    confusions: Vec<Confusion>,
    rankings: Vec<Ranking>,
}

impl MetricSet {
    pub(super) fn new(names: &[MetricName], task: Task, units: Option<TargetUnits>) -> Self {
        Self {
            names: names.to_vec(),
            task,
            loss: 0.0,
            weight: 0.0,
            regression: Regression::new(units),
            confusions: Vec::new(),
            rankings: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, rows: &HostRows<'_>) {
        self.loss += rows.loss;
        self.weight += rows.weight;
        match self.task {
            Task::Regression => self.regression.add(rows),
            Task::Classes => self.add_classes(rows),
            Task::Labels => self.add_labels(rows),
        }
    }

    fn wants(&self, name: MetricName) -> bool {
        self.names.contains(&name)
    }

    fn add_classes(&mut self, rows: &HostRows<'_>) {
        let classes = rows.outputs;
        if self.confusions.is_empty() {
            self.confusions.push(Confusion::new(classes));
            self.rankings = vec![Ranking::default(); if classes == 2 { 1 } else { classes }];
        }
        let ranks = self.wants(MetricName::Auroc);
        for (row, weight) in weighted(rows.weights) {
            let logits = &rows.predictions[row * classes..][..classes];
            let class = rows.targets[row] as usize;
            self.confusions[0].add(class, largest(logits), weight);
            if ranks {
                self.rank(logits, class, weight);
            }
        }
    }

    fn rank(&mut self, logits: &[f32], class: usize, weight: f64) {
        if let [zero, one] = logits {
            let score = f64::from(*one) - f64::from(*zero);
            self.rankings[0].add(score, class == 1, weight);
            return;
        }
        // Rows are compared with each other, so scores must be probabilities, not logits.
        let top = f64::from(logits[largest(logits)]);
        let total: f64 = logits.iter().map(|&z| (f64::from(z) - top).exp()).sum();
        for (index, (ranking, &logit)) in self.rankings.iter_mut().zip(logits).enumerate() {
            let score = (f64::from(logit) - top).exp() / total;
            ranking.add(score, class == index, weight);
        }
    }

    fn add_labels(&mut self, rows: &HostRows<'_>) {
        let labels = rows.outputs;
        if self.confusions.is_empty() {
            self.confusions = vec![Confusion::new(2); labels];
            self.rankings = vec![Ranking::default(); labels];
        }
        let ranks = self.wants(MetricName::Auroc);
        for (row, weight) in weighted(rows.weights) {
            for label in 0..labels {
                let logit = rows.predictions[row * labels + label];
                let is_set = rows.targets[row * labels + label] > 0.5;
                let found = usize::from(logit > 0.0);
                self.confusions[label].add(usize::from(is_set), found, weight);
                if ranks {
                    self.rankings[label].add(f64::from(logit), is_set, weight);
                }
            }
        }
    }

    /// Gives the metrics that are defined.
    pub(super) fn finish(mut self) -> Metrics {
        let names = std::mem::take(&mut self.names);
        names
            .into_iter()
            .filter_map(|name| Some((name.name().to_owned(), self.value(name)?)))
            .collect()
    }

    fn value(&mut self, name: MetricName) -> Option<f64> {
        match name {
            MetricName::Loss => (self.weight > 0.0).then(|| self.loss / self.weight),
            MetricName::Mse => self.regression.mse(),
            MetricName::Mae => self.regression.mae(),
            MetricName::R2 => self.regression.r2(),
            MetricName::Accuracy => average(self.confusions.iter().map(Confusion::accuracy)),
            MetricName::BalancedAccuracy => {
                average(self.confusions.iter().map(Confusion::balanced_accuracy))
            }
            MetricName::F1 => average(self.confusions.iter().map(Confusion::f1)),
            MetricName::Auroc => average(self.rankings.iter_mut().map(Ranking::auroc)),
        }
    }
}

/// Rows that count, with their weights.
fn weighted(weights: &[f32]) -> impl Iterator<Item = (usize, f64)> {
    weights
        .iter()
        .enumerate()
        .filter(|(_, weight)| **weight > 0.0)
        .map(|(row, weight)| (row, f64::from(*weight)))
}

/// The first of the largest.
fn largest(values: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = index;
        }
    }
    best
}

/// The mean of those that are defined.
fn average(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let defined: Vec<f64> = values.flatten().collect();
    (!defined.is_empty()).then(|| defined.iter().sum::<f64>() / defined.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(task: Task, outputs: usize, batches: &[(&[f32], &[f32], &[f32])]) -> Metrics {
        let mut names = vec![MetricName::Loss];
        names.extend(MetricName::usual(task));
        let mut set = MetricSet::new(&names, task, None);
        for (predictions, targets, weights) in batches {
            set.add(&HostRows {
                loss: 3.0,
                weight: f64::from(weights.iter().sum::<f32>()),
                predictions,
                targets,
                weights,
                outputs,
            });
        }
        set.finish()
    }

    #[track_caller]
    fn near(metrics: &Metrics, name: &str, expected: f64) {
        let found = metrics[name];
        assert!(
            (found - expected).abs() < 1e-12,
            "{name}: {found} {expected}"
        );
    }

    #[test]
    fn the_loss_is_one_mean_over_uneven_batches() {
        let found = run(
            Task::Regression,
            1,
            &[
                (&[0.0; 3], &[0.0; 3], &[1.0; 3]),
                (&[0.0; 3], &[0.0; 3], &[1.0, 0.0, 0.0]),
            ],
        );
        near(&found, "loss", 6.0 / 4.0);
    }

    #[test]
    fn two_classes_are_scored_for_class_one() {
        // Targets 1 1 0 0 1; chosen 1 0 0 1 1: tp 2, fn 1, fp 1, tn 1. Score differences
        // 3 -1 -2 1 2: of the six pairs (1 against 0) 3>1, 3>-2, -1>-2, 2>1, 2>-2 are in order.
        let logits = [0.0, 3.0, 0.0, -1.0, 0.0, -2.0, 0.0, 1.0, 0.0, 2.0];
        let found = run(
            Task::Classes,
            2,
            &[
                (&logits[..4], &[1.0, 1.0], &[1.0, 1.0]),
                (&logits[4..], &[0.0, 0.0, 1.0], &[1.0, 1.0, 1.0]),
            ],
        );
        near(&found, "accuracy", 3.0 / 5.0);
        near(&found, "balanced_accuracy", (2.0 / 3.0 + 1.0 / 2.0) / 2.0);
        near(&found, "f1", 4.0 / 6.0);
        near(&found, "auroc", 5.0 / 6.0);
    }

    #[test]
    fn several_classes_are_averaged() {
        // Targets 0 1 2 2; chosen 0 2 2 1.
        let p = |a: f32, b: f32, c: f32| [a.ln(), b.ln(), c.ln()];
        let logits = [
            p(0.65, 0.25, 0.1),
            p(0.2, 0.3, 0.5),
            p(0.1, 0.2, 0.7),
            p(0.2, 0.5, 0.3),
        ]
        .concat();
        let found = run(
            Task::Classes,
            3,
            &[(&logits, &[0.0, 1.0, 2.0, 2.0], &[1.0; 4])],
        );
        near(&found, "accuracy", 0.5);
        near(&found, "balanced_accuracy", (1.0 + 0.0 + 0.5) / 3.0);
        // F1: class 0 tp 1 -> 1; class 1 fp 1 fn 1 -> 0; class 2 tp 1 fp 1 fn 1 -> 1/2.
        near(&found, "f1", 0.5);
        // One against the rest: class 0 is on top (1); class 1 has 0.3 against 0.25 0.2 0.5 (2/3);
        // class 2 has 0.7 and 0.3 against 0.1 and 0.5 (3/4).
        let found = found["auroc"];
        assert!(
            (found - (1.0 + 2.0 / 3.0 + 0.75) / 3.0).abs() < 1e-6,
            "{found}"
        );
    }

    #[test]
    fn labels_are_scored_one_by_one() {
        // Label 0: targets 1 0, chosen 1 1. Label 1: targets 0 1, chosen 0 1.
        let logits = [2.0, -1.0, 1.0, 3.0];
        let found = run(
            Task::Labels,
            2,
            &[(&logits, &[1.0, 0.0, 0.0, 1.0], &[1.0, 1.0])],
        );
        near(&found, "accuracy", (0.5 + 1.0) / 2.0);
        near(&found, "balanced_accuracy", (0.5 + 1.0) / 2.0);
        near(&found, "f1", (2.0 / 3.0 + 1.0) / 2.0);
        near(&found, "auroc", 1.0);
    }

    #[test]
    fn rows_without_weight_do_not_count() {
        let found = run(
            Task::Classes,
            2,
            &[(&[1.0, 0.0, f32::NAN, 0.0], &[0.0, f32::NAN], &[2.0, 0.0])],
        );
        near(&found, "accuracy", 1.0);
        assert!(
            !found.contains_key("auroc"),
            "one class alone has no ranking"
        );
        assert!(
            !found.contains_key("f1"),
            "class 1 neither occurs nor is chosen"
        );
    }

    #[test]
    fn nothing_judged_gives_nothing() {
        assert!(run(Task::Regression, 1, &[]).is_empty());
        assert!(run(Task::Classes, 2, &[]).is_empty());
    }

    #[test]
    fn improvement_knows_its_direction() {
        assert!(MetricName::Loss.improves(0.5, 1.0, 0.1));
        assert!(!MetricName::Loss.improves(0.95, 1.0, 0.1));
        assert!(MetricName::F1.improves(0.9, 0.5, 0.1));
        assert!(!MetricName::F1.improves(0.5, 0.5, 0.0));
    }
}

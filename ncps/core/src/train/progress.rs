//! Where a run stands, and the decisions that follow from it.

use serde::{Deserialize, Serialize};

use super::config::TrainConfig;
use super::metrics::{MetricName, Metrics};
use super::precision::LossScale;
use super::schedule::{Plateau, Position};
use super::{EarlyStopping, EpochReport};
use crate::{Error, Result};

/// The best weights so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// Name of the metric that decides.
    pub metric: String,
    /// Its value.
    pub value: f64,
    /// Epoch, from 0.
    pub epoch: u64,
    /// Batches seen since the run began.
    pub step: u64,
}

/// What early stopping remembers from epoch to epoch.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Patience {
    /// Best value so far.
    pub best: Option<f64>,
    /// Epochs since then.
    pub stale: u64,
}

impl Patience {
    /// Gives what is remembered after an epoch that ended with `value`.
    pub fn after_epoch(&self, config: &EarlyStopping, metric: MetricName, value: f64) -> Self {
        let better = |best| metric.improves(value, best, config.min_delta);
        if self.best.is_none_or(better) {
            return Self {
                best: Some(value),
                stale: 0,
            };
        }
        Self {
            best: self.best,
            stale: self.stale + 1,
        }
    }

    /// Tells whether the run has waited long enough.
    pub fn is_over(&self, config: &EarlyStopping) -> bool {
        self.stale >= config.patience
    }
}

/// Reports of epochs that are kept.
const REPORTS: usize = 1000;

/// Everything about a run that is not an array; a checkpoint holds it whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Batches seen.
    pub(super) step: u64,
    /// Updates made.
    pub(super) updates: u64,
    /// Epoch that is under way.
    pub(super) epoch: u64,
    /// Batches seen of it.
    pub(super) step_in_epoch: usize,
    /// Batches of every epoch; 0 before the first.
    pub(super) steps_per_epoch: usize,
    /// Batches whose gradients wait for an update.
    pub(super) waiting: usize,
    /// Loss times weight over this epoch.
    pub(super) loss: f64,
    /// Weight over this epoch.
    pub(super) weight: f64,
    pub(super) best: Option<Best>,
    /// The best epochs whose checkpoints stay, best first.
    #[serde(default)]
    pub(super) ranked: Vec<Best>,
    pub(super) patience: Patience,
    pub(super) plateau: Plateau,
    pub(super) history: Vec<EpochReport>,
    /// Factor of the loss in f16.
    #[serde(default)]
    pub(super) scale: LossScale,
    /// Batches left out because their loss or gradient was not finite.
    #[serde(default)]
    pub(super) skipped: u64,
    /// How often the run went back to an earlier state, each time with a smaller learning rate.
    #[serde(default)]
    pub(super) rollbacks: u64,
}

/// The place of a run: what a batch moves on.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) step: u64,
    updates: u64,
    epoch: u64,
    pub(super) step_in_epoch: usize,
    pub(super) waiting: usize,
    pub(super) scale: LossScale,
}

impl Place {
    pub(super) fn is_same_epoch(&self, progress: &Progress) -> bool {
        self.epoch == progress.epoch
    }
}

impl Progress {
    /// Gives the place of the next update in the schedule.
    pub(super) fn position(&self, config: &TrainConfig) -> Position {
        let per_epoch = self.steps_per_epoch.div_ceil(config.accumulate) as u64;
        Position {
            update: self.updates,
            per_epoch,
            total: per_epoch * config.epochs,
        }
    }

    pub(super) fn learning_rate(&self, config: &TrainConfig) -> f64 {
        let at = self.position(config);
        let rate = config
            .schedule
            .learning_rate(config.learning_rate, at, &self.plateau);
        match self.rollbacks {
            0 => rate,
            count => rate * config.rollback_factor.powi(count as i32),
        }
    }

    pub(super) fn place(&self) -> Place {
        Place {
            step: self.step,
            updates: self.updates,
            epoch: self.epoch,
            step_in_epoch: self.step_in_epoch,
            waiting: self.waiting,
            scale: self.scale,
        }
    }

    /// Goes back to an earlier place.
    pub(super) fn go_back(&mut self, place: Place) {
        self.step = place.step;
        self.updates = place.updates;
        self.epoch = place.epoch;
        self.step_in_epoch = place.step_in_epoch;
        self.waiting = place.waiting;
        self.scale = place.scale;
    }

    /// Counts a batch that was left out.
    pub(super) fn skip(&mut self) {
        self.step += 1;
        self.step_in_epoch += 1;
        self.skipped += 1;
    }

    /// Tells whether the next batch makes an update: each `accumulate`th and the last of an epoch.
    pub(super) fn is_update_due(&self, config: &TrainConfig) -> bool {
        self.waiting + 1 == config.accumulate || self.step_in_epoch + 1 == self.steps_per_epoch
    }

    /// Counts a batch.
    pub(super) fn count(&mut self, is_update: bool) {
        self.step += 1;
        self.step_in_epoch += 1;
        self.waiting = if is_update { 0 } else { self.waiting + 1 };
        self.updates += u64::from(is_update);
        if is_update {
            self.scale = self.scale.after_update();
        }
    }

    /// Ends an epoch: notes its report and takes the decisions that wait for it.
    ///
    /// # Errors
    /// [`Error::Setting`] if a metric that decides is undefined on the data.
    pub(super) fn end_epoch(
        &mut self,
        config: &TrainConfig,
        learning_rate: f64,
        train: Metrics,
        validation: Option<Metrics>,
    ) -> Result<&EpochReport> {
        let judged = validation.as_ref().unwrap_or(&train);
        let value = decisive(config.best_metric, judged)?;
        let is_best = self
            .best
            .as_ref()
            .is_none_or(|best| config.best_metric.improves(value, best.value, 0.0));
        let here = Best {
            metric: config.best_metric.name().to_owned(),
            value,
            epoch: self.epoch,
            step: self.step,
        };
        self.rank(config, here.clone());
        if is_best {
            self.best = Some(here);
        }
        let higher = config.best_metric.is_higher_better();
        self.plateau = config.schedule.after_epoch(&self.plateau, value, higher);
        if let Some(early) = &config.early_stopping {
            let metric = config.stopping_metric();
            let value = decisive(metric, judged)?;
            self.patience = self.patience.after_epoch(early, metric, value);
        }
        self.history.push(EpochReport {
            epoch: self.epoch,
            step: self.step,
            learning_rate,
            train,
            validation,
            is_best,
        });
        // A checkpoint holds the reports, so that they must not grow with the run.
        let old = self.history.len().saturating_sub(REPORTS);
        self.history.drain(..old);
        self.epoch += 1;
        self.step_in_epoch = 0;
        self.loss = 0.0;
        self.weight = 0.0;
        Ok(&self.history[self.history.len() - 1])
    }

    /// Puts an epoch in its place among the best, behind equals that came before it.
    fn rank(&mut self, config: &TrainConfig, new: Best) {
        let is_behind = |other: &Best| config.best_metric.improves(new.value, other.value, 0.0);
        let at = self.ranked.iter().position(is_behind);
        self.ranked.insert(at.unwrap_or(self.ranked.len()), new);
        self.ranked.truncate(config.checkpoint.keep_best);
    }
}

fn decisive(metric: MetricName, metrics: &Metrics) -> Result<f64> {
    let name = metric.name();
    metrics.get(name).copied().ok_or_else(|| Error::Setting {
        key: "best_metric".to_owned(),
        value: format!("`{name}`, which is undefined on this validation split"),
        expected: "a metric that is defined there (`auroc` and `f1` need both classes), for \
                   example \"loss\"; without a validation split only \"loss\", or set \
                   `train_metrics = true`"
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(name: &str, value: f64) -> Metrics {
        Metrics::from([(name.to_owned(), value)])
    }

    #[test]
    fn patience_runs_out_after_stale_epochs() {
        let config = EarlyStopping {
            patience: 2,
            min_delta: 0.1,
            metric: None,
        };
        let mut patience = Patience::default();
        let mut over = Vec::new();
        for value in [1.0, 0.95, 0.8, 0.75, 0.72] {
            patience = patience.after_epoch(&config, MetricName::Loss, value);
            over.push(patience.is_over(&config));
        }
        // 0.95 gains too little; 0.8 is measured against 1.0; then two stale ones.
        assert_eq!(over, [false, false, false, false, true]);
        assert_eq!(patience.best, Some(0.8));
    }

    #[test]
    fn updates_fall_due_at_each_group_and_at_the_end_of_an_epoch() {
        let config = TrainConfig {
            accumulate: 2,
            epochs: 3,
            ..TrainConfig::default()
        };
        let mut progress = Progress {
            steps_per_epoch: 5,
            ..Progress::default()
        };
        let mut due = Vec::new();
        for _ in 0..5 {
            let is_update = progress.is_update_due(&config);
            due.push(is_update);
            progress.count(is_update);
        }
        assert_eq!(due, [false, true, false, true, true]);
        assert_eq!((progress.updates, progress.waiting), (3, 0));
        assert_eq!(progress.position(&config).total, 9);
    }

    #[test]
    fn the_best_epoch_is_the_first_of_equals() {
        let config = TrainConfig {
            best_metric: MetricName::Accuracy,
            ..TrainConfig::default()
        };
        let mut progress = Progress::default();
        for value in [0.5, 0.7, 0.7, 0.6] {
            progress.step += 10;
            let row = metrics("accuracy", value);
            progress
                .end_epoch(&config, 0.1, metrics("loss", 1.0), Some(row))
                .unwrap();
        }
        let best = progress.best.unwrap();
        assert_eq!((best.epoch, best.step), (1, 20));
        let flags: Vec<bool> = progress.history.iter().map(|row| row.is_best).collect();
        assert_eq!(flags, [true, true, false, false]);
    }

    #[test]
    fn the_best_epochs_are_ranked_and_old_reports_go() {
        let mut config = TrainConfig::default();
        config.checkpoint.keep_best = 3;
        let mut progress = Progress::default();
        for value in [0.5, 0.9, 0.3, 0.4, 0.3, 0.8] {
            progress.step += 1;
            let metrics = metrics("loss", value);
            progress.end_epoch(&config, 0.1, metrics, None).unwrap();
        }
        let steps: Vec<u64> = progress.ranked.iter().map(|best| best.step).collect();
        assert_eq!(steps, [3, 5, 4]);
        for _ in 0..REPORTS {
            let metrics = metrics("loss", 1.0);
            progress.end_epoch(&config, 0.1, metrics, None).unwrap();
        }
        assert_eq!(progress.history.len(), REPORTS);
        assert_eq!(progress.history[0].epoch, 6);
    }

    #[test]
    fn an_undefined_deciding_metric_is_an_error() {
        let config = TrainConfig {
            best_metric: MetricName::Auroc,
            ..TrainConfig::default()
        };
        let row = metrics("loss", 1.0);
        let error = Progress::default()
            .end_epoch(&config, 0.1, row, None)
            .unwrap_err();
        assert!(error.to_string().contains("auroc"), "{error}");
    }
}

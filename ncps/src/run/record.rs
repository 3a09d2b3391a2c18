//! Between the trainer and the watcher: keeps the rows of metrics as they come.

use ncps_core::train::{
    CheckpointReport, EpochReport, NonfiniteReport, Observer, OnNonfinite, StepReport,
};

use super::Watcher;
use super::metrics::{MetricsFile, MetricsTable};
use super::tensorboard::EventFile;
use crate::error::Error;

/// Writes rows of metrics to the run directory and passes everything on to a watcher.
pub(crate) struct Recorder<'a> {
    pub(crate) table: MetricsTable,
    pub(crate) steps: u64,
    /// Steps and epochs of the run so far.
    pub(crate) step: u64,
    pub(crate) epochs: u64,
    file: MetricsFile,
    events: Option<EventFile>,
    watcher: &'a mut dyn Watcher,
    failure: Option<Error>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(
        table: MetricsTable,
        file: MetricsFile,
        events: Option<EventFile>,
        watcher: &'a mut dyn Watcher,
    ) -> Self {
        Self {
            table,
            file,
            events,
            watcher,
            steps: 0,
            step: 0,
            epochs: 0,
            failure: None,
        }
    }

    /// Why the metrics could not be written, which has stopped the run.
    pub(crate) fn take_failure(&mut self) -> Option<Error> {
        self.failure.take()
    }

    pub(crate) fn watcher(&mut self) -> &mut dyn Watcher {
        self.watcher
    }

    /// Adds rows to the files.
    pub(crate) fn add(&mut self, rows: impl IntoIterator<Item = super::metrics::Row>) {
        let rows: Vec<super::metrics::Row> = rows.into_iter().collect();
        let events = self.events.as_mut();
        let written = self
            .file
            .append(&rows)
            .and_then(|()| events.map_or(Ok(()), |events| events.add(self.table.columns(), &rows)));
        if let Err(error) = written {
            self.failure.get_or_insert(error);
        }
    }
}

impl Observer for Recorder<'_> {
    fn on_step(&mut self, report: &StepReport) {
        self.steps += 1;
        self.step = report.step;
        if let Some(row) = self.table.step_row(report) {
            self.add([row]);
        }
        self.watcher.on_step(report);
    }

    fn on_epoch(&mut self, report: &EpochReport) {
        self.epochs = report.epoch + 1;
        let rows = self.table.epoch_rows(report);
        self.add(rows);
        self.watcher.on_epoch(report);
    }

    fn on_nonfinite(&mut self, report: &NonfiniteReport) {
        let events = self.events.as_mut();
        let written = self
            .file
            .go_back(&self.table, report.resumes_at)
            .and_then(|()| events.map_or(Ok(()), |events| events.go_back(report.resumes_at)));
        if let Err(error) = written {
            self.failure.get_or_insert(error);
        }
        self.step = report.resumes_at;
        self.watcher.on_nonfinite(report);
        let done = match report.action {
            OnNonfinite::Rollback => format!(
                "went back to step {} with a learning rate of {}",
                report.resumes_at, report.learning_rate
            ),
            _ => "left this batch out".to_owned(),
        };
        self.watcher.note(&format!(
            "{}; {done} ({} of at most {})",
            report.cause, report.count, report.limit
        ));
    }

    fn on_checkpoint(&mut self, report: &CheckpointReport) {
        self.watcher.on_checkpoint(report);
    }

    /// A full disk stops the run as a signal does: nothing more could be kept.
    fn should_stop(&mut self) -> bool {
        self.failure.is_some() || self.watcher.should_stop()
    }
}

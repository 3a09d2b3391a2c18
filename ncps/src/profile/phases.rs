//! Where the time of a training iteration goes: everything that `ncps train` does for a batch, piece by piece.

use std::time::{Duration, Instant};

use ncps_core::train::{Batch, BatchSource, Observer, StepReport};
use ncps_profiling::profile::Phase;
use ncps_profiling::profile::statistics::median;
use ncps_profiling::{Reading, Reason, Scope, Unit};

use super::subject::Subject;
use crate::error::{Error, Result};
use crate::run::metrics::{MetricsFile, MetricsTable};
use crate::run::record::Recorder;
use crate::run::{Existing, RunDirectory, Split, WindowSource};

/// Batches that a validation pass is measured on; the whole pass is in proportion.
const VALIDATION_BATCHES: usize = 16;
/// Steps whose logging is timed.
const LOGGED: usize = 200;

/// Seconds of the parts of one iteration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Parts {
    pub(super) data: f64,
    pub(super) upload: f64,
    /// Building the graph; the four stages are those of a step that is not compiled.
    pub(super) build: f64,
    pub(super) forward: f64,
    /// `None` where one operation, timed as `forward`, goes both ways.
    pub(super) backward: Option<f64>,
    pub(super) update: f64,
    /// Host's work on a step as it is run, and its wait for the device after that.
    pub(super) host: f64,
    pub(super) wait: f64,
    /// Validation's share of one step; `None` without validation data.
    pub(super) evaluation: Option<f64>,
    /// Metrics rows' share of one step.
    pub(super) logging: f64,
}

impl Parts {
    /// Times the parts for about `budget`.
    pub(super) fn measure(subject: &mut Subject, budget: Duration) -> Result<Self> {
        subject.activate();
        let begin = Instant::now();
        let mut samples: [Vec<f64>; 6] = Default::default();
        let mut is_one_pass = false;
        let steps = subject.source.steps();
        let mut step = 0;
        while step < 5 || begin.elapsed() < budget.mul_f64(0.4) {
            let clock = Instant::now();
            subject
                .source
                .fill(step as u64 / steps as u64, step % steps)?;
            let filled = Instant::now();
            let batch = subject.source.upload()?;
            let uploaded = Instant::now();
            let stages = subject.trainer.staged_batch(&batch)?;
            is_one_pass = stages.backward.is_none();
            if step > 0 {
                let parts = [
                    filled - clock,
                    uploaded - filled,
                    stages.build,
                    stages.forward,
                    stages.backward.unwrap_or_default(),
                    stages.update,
                ];
                for (list, part) in samples.iter_mut().zip(parts) {
                    list.push(part.as_secs_f64());
                }
            }
            step += 1;
        }
        let [data, upload, build, forward, backward, update] =
            samples.map(|list| median(&list).unwrap_or(f64::NAN));
        let [host, wait] = handover(subject, budget.mul_f64(0.2))?;
        Ok(Self {
            host,
            wait,
            data,
            upload,
            build,
            forward,
            backward: (!is_one_pass).then_some(backward),
            update,
            evaluation: evaluation(subject, budget.mul_f64(0.3))?,
            logging: logging(subject)?,
        })
    }

    /// Data and upload alone.
    pub(super) fn batch(&self) -> f64 {
        self.data + self.upload
    }

    /// The iteration around a train step of so many seconds.
    pub(super) fn iteration(&self, step: f64) -> f64 {
        self.batch() + step + self.evaluation.unwrap_or(0.0) + self.logging
    }

    /// Share of a step, taken apart, in which the host builds its graph.
    pub(super) fn host_share(&self) -> f64 {
        self.build / (self.build + self.forward + self.backward.unwrap_or(0.0) + self.update)
    }

    /// The rows of the tree.
    pub(super) fn rows(&self, step: f64, is_compiled: bool) -> Vec<Phase> {
        let whole = self.iteration(step);
        let time = |seconds: f64, source: &str| {
            Reading::measured(seconds, Unit::Seconds, source).with_scope(Scope::Process)
        };
        let row = |name: &str, depth, reading| Phase::new(name, depth, reading, Some(whole));
        let apart = if is_compiled {
            "median of steps taken apart, not compiled"
        } else {
            "median of steps taken apart"
        };
        let stage = |name: &str, seconds| row(name, 2, time(seconds, apart));
        let sum = Reading::derived(whole, Unit::Seconds, "the rows below", "sum")
            .with_scope(Scope::Process);
        let evaluation = match self.evaluation {
            Some(seconds) => Reading::derived(
                seconds,
                Unit::Seconds,
                "validation pass",
                "time of a pass / steps of an epoch",
            )
            .with_scope(Scope::Process),
            None => {
                Reading::unavailable(Reason::NotRun, "the configuration has no validation data")
            }
        };
        let logging = Reading::derived(
            self.logging,
            Unit::Seconds,
            "rows written to metrics.csv",
            "mean over all steps, logged or not",
        )
        .with_scope(Scope::Process);
        let mut rows = vec![
            row("iteration", 0, sum),
            row("data", 1, time(self.data, "median of waiting for a batch")),
            row(
                "upload",
                1,
                time(self.upload, "median of copying a batch into arrays"),
            ),
            row("train step", 1, time(step, "median of whole steps")),
            stage("graph (host)", self.build),
        ];
        match self.backward {
            Some(backward) => {
                rows.push(stage("forward", self.forward));
                rows.push(stage("backward", backward));
            }
            None => rows.push(stage("forward and backward", self.forward)),
        }
        rows.push(stage("optimiser", self.update));
        rows.push(row("evaluation", 1, evaluation));
        rows.push(row("logging", 1, logging));
        rows
    }
}

/// Seconds of the host's work on a step and of its wait after that, medians.
fn handover(subject: &mut Subject, budget: Duration) -> Result<[f64; 2]> {
    let mut samples: [Vec<f64>; 2] = Default::default();
    let begin = Instant::now();
    // The first one is not counted: its caches are cold after other work.
    let mut is_warm = false;
    while samples[0].len() < 5 || begin.elapsed() < budget {
        let batch = subject.batch();
        let found = subject.trainer.handed_over_batch(&batch)?;
        if is_warm {
            samples[0].push(found.host.as_secs_f64());
            samples[1].push(found.wait.as_secs_f64());
        }
        is_warm = true;
    }
    Ok(samples.map(|list| median(&list).unwrap_or(f64::NAN)))
}

/// The first batches of a source.
struct First {
    source: WindowSource,
    steps: usize,
}

impl BatchSource for First {
    fn steps(&self) -> usize {
        self.steps
    }

    fn batch(&mut self, epoch: u64, step: usize) -> ncps_core::Result<Batch> {
        self.source.batch(epoch, step)
    }
}

/// Seconds of a validation pass that fall on one training step.
fn evaluation(subject: &mut Subject, budget: Duration) -> Result<Option<f64>> {
    if subject.session.windows(Split::Validation).is_empty() {
        return Ok(None);
    }
    let source = subject.session.source(Split::Validation, None)?;
    let all = source.steps();
    let mut first = First {
        source,
        steps: all.min(VALIDATION_BATCHES),
    };
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.len() < 2 || begin.elapsed() < budget {
        let clock = Instant::now();
        subject.trainer.evaluate(&mut first)?;
        times.push(clock.elapsed().as_secs_f64());
        if times.len() == 2 && begin.elapsed() > budget {
            break;
        }
    }
    // The first pass traces and allocates.
    let pass = median(&times[1..]).unwrap_or(f64::NAN) * all as f64 / first.steps as f64;
    Ok(Some(
        pass / subject.session.plan().steps_per_epoch.max(1) as f64,
    ))
}

/// Mean seconds that writing rows of metrics takes for one step, in a folder of its own.
fn logging(subject: &Subject) -> Result<f64> {
    let folder = tempfile::tempdir().map_err(|source| Error::Write {
        path: std::env::temp_dir(),
        source,
    })?;
    let directory = RunDirectory::open(&folder.path().join("run"), Existing::Refuse)?;
    let mut table = MetricsTable::new(&["loss"]);
    let file = MetricsFile::begin(&directory, &mut table)?;
    let mut watcher = ();
    let mut recorder = Recorder::new(table, file, None, &mut watcher);
    let plan = subject.session.plan();
    let begin = Instant::now();
    for step in 1..=LOGGED {
        recorder.on_step(&StepReport {
            step: step as u64,
            updates: step as u64,
            epoch: 0,
            step_in_epoch: step,
            steps_per_epoch: plan.steps_per_epoch,
            loss: 0.5,
            gradient_norm: Some(1.0),
            update_ratio: Some(1e-3),
            learning_rate: 1e-3,
        });
    }
    let seconds = begin.elapsed().as_secs_f64();
    match recorder.take_failure() {
        Some(error) => Err(error),
        None => Ok(seconds / LOGGED as f64),
    }
}

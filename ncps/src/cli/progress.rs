//! Progress on a terminal: loss, speed, time left. Off a terminal: one plain line an epoch, rarely.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ncps::run::{Plan, Watcher};
use ncps::train::{CheckpointReport, EpochReport, Observer, StepReport};

use super::output::{Output, short};
use super::signals::StopRequest;

/// Off a terminal a line is written at most this often.
const PLAIN_INTERVAL: Duration = Duration::from_secs(30);

/// Shows a run at the terminal and passes a signal on to it.
#[derive(Debug)]
pub(crate) struct Progress {
    output: Output,
    stop: StopRequest,
    bar: Option<ProgressBar>,
    last_plain: Option<Instant>,
    epochs: u64,
    validation: String,
    was_asked: bool,
}

impl Progress {
    pub(crate) fn new(output: &Output, stop: StopRequest, plan: &Plan) -> Self {
        let drawn = io::stderr().is_terminal() && !output.quiet;
        let epochs = plan.steps / (plan.steps_per_epoch as u64).max(1);
        Self {
            output: *output,
            stop,
            bar: drawn.then(|| bar(plan.steps)),
            last_plain: None,
            epochs,
            validation: String::new(),
            was_asked: false,
        }
    }

    /// Takes the bar away and leaves what was printed.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None if self.output.quiet => {}
            None => {
                let _ = writeln!(io::stderr().lock(), "{text}");
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

fn bar(steps: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr_with_hz(8));
    let template = "{bar:24} {pos}/{len} steps  {per_sec}  {elapsed} + {eta}  {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

impl Observer for Progress {
    fn on_step(&mut self, report: &StepReport) {
        if let Some(bar) = &self.bar {
            if bar.position() == 0 && report.step > 1 {
                // A resumed run: what was done before does not count for the speed.
                bar.set_position(report.step - 1);
                bar.reset_eta();
            }
            bar.set_position(report.step);
            bar.set_message(format!(
                "epoch {}/{}  loss {}{}",
                report.epoch + 1,
                self.epochs,
                short(report.loss),
                self.validation
            ));
        }
    }

    fn on_epoch(&mut self, report: &EpochReport) {
        let loss = |metrics: &ncps::train::Metrics| {
            metrics.get("loss").map(|v| short(*v)).unwrap_or_default()
        };
        self.validation = report
            .validation
            .as_ref()
            .map(|m| format!("  validation {}", loss(m)))
            .unwrap_or_default();
        let number = |metrics: Option<&ncps::train::Metrics>| metrics?.get("loss").copied();
        tracing::info!(
            epoch = report.epoch + 1,
            step = report.step,
            loss = number(Some(&report.train)),
            validation_loss = number(report.validation.as_ref()),
            "epoch done"
        );
        let due = self
            .last_plain
            .is_none_or(|last| last.elapsed() >= PLAIN_INTERVAL)
            || report.epoch + 1 == self.epochs;
        if self.bar.is_none() && due {
            self.last_plain = Some(Instant::now());
            let best = if report.is_best { "  best so far" } else { "" };
            self.say(&format!(
                "epoch {}/{}  loss {}{}{best}",
                report.epoch + 1,
                self.epochs,
                loss(&report.train),
                self.validation
            ));
        }
    }

    fn on_checkpoint(&mut self, report: &CheckpointReport) {
        tracing::info!(path = %report.path.display(), step = report.step, best = report.is_best, "checkpoint written");
    }

    fn should_stop(&mut self) -> bool {
        let asked = self.stop.is_set();
        if asked && !self.was_asked {
            self.was_asked = true;
            self.say("stopping after this step and saving; the same signal again ends at once");
        }
        asked
    }
}

impl Watcher for Progress {
    fn note(&mut self, text: &str) {
        tracing::info!("{text}");
        self.say(&format!("{} {text}", self.output.paint("36", "note:")));
    }
}

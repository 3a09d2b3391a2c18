//! One tool on one thread: asked again and again, or printing a line a second.

use super::cost::Meter;
use super::pause::Pause;
use crate::Reason;
use crate::device::{Host, reason_of};
use crate::probe::{Metric, Source};
use crate::runner::{CommandLine, CommandRunner, RunFailure};
use crate::telemetry::EventKind;
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Tells threads to end, also while they wait.
#[derive(Debug, Default)]
pub(super) struct Halt {
    is_halted: Mutex<bool>,
    changed: Condvar,
}

impl Halt {
    pub(super) fn halt(&self) {
        *self
            .is_halted
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Waits for `time`; true if it is time to end.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let guard = self
            .is_halted
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let result = self
            .changed
            .wait_timeout_while(guard, time, |is_halted| !*is_halted);
        *result.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// What a tool gave since it was asked last.
pub(super) enum News {
    /// Nothing.
    None,
    /// Readings.
    Metrics(Vec<Metric>),
    /// It failed: what happened, and the reason for each of its metrics.
    Trouble(EventKind, String, Vec<Metric>),
}

/// Answers that wait to be fetched; older ones give way, so memory stays bounded.
const MOST_ANSWERS: usize = 64;
/// Failures in a row after which a tool is not asked any more.
const MOST_FAILURES: u32 = 3;
/// Equal lines in a row after which a tool is taken for stuck: its lines carry the time.
const MOST_REPEATS: u32 = 3;

#[derive(Default)]
struct Slot {
    answers: Vec<String>,
    failure: Option<(EventKind, Reason, String)>,
    has_ended: bool,
}

/// A tool and its thread.
pub(super) struct Feed {
    source: Source,
    slot: Arc<Mutex<Slot>>,
    halt: Arc<Halt>,
    done: mpsc::Receiver<()>,
    last_news: Instant,
    patience: Duration,
    is_silent: bool,
}

impl Feed {
    pub(super) fn start<R: CommandRunner + 'static>(
        host: Arc<Host<R>>,
        source: Source,
        interval: Duration,
        meter: Arc<Meter>,
        pause: Arc<Pause>,
    ) -> Self {
        let slot = Arc::new(Mutex::new(Slot::default()));
        let halt = Arc::new(Halt::default());
        let (sender, done) = mpsc::channel();
        let worker = Worker {
            host,
            source: source.clone(),
            slot: Arc::clone(&slot),
            halt: Arc::clone(&halt),
            pause,
            // An interval below a second is for tests and short runs: keep the proportions.
            period: source.period.mul_f64(interval.as_secs_f64().min(1.0)),
        };
        let patience = source.command.timeout + 3 * worker.period;
        thread::spawn(move || {
            match worker.source.stream.clone() {
                Some(command) => worker.follow(&command),
                None => worker.repeat(),
            }
            worker.slot().has_ended = true;
            meter.bill_this_thread();
            let _ = sender.send(());
        });
        Self {
            source,
            slot,
            halt,
            done,
            last_news: Instant::now(),
            patience,
            is_silent: false,
        }
    }

    pub(super) fn news(&mut self) -> News {
        let (answers, failure, has_ended) = {
            let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
            let answers = std::mem::take(&mut slot.answers);
            (answers, slot.failure.take(), slot.has_ended)
        };
        if let Some((kind, reason, detail)) = failure {
            self.last_news = Instant::now();
            let metrics = self.source.failed(reason, &detail);
            return News::Trouble(kind, format!("{}: {detail}", self.source.name), metrics);
        }
        if !answers.is_empty() {
            self.last_news = Instant::now();
            self.is_silent = false;
            // The newest first: it is the one that is kept of each metric.
            let answers = answers.iter().rev();
            return News::Metrics(answers.flat_map(|text| (self.source.parse)(text)).collect());
        }
        let is_late = self.last_news.elapsed() > self.patience;
        if is_late && !has_ended && !std::mem::replace(&mut self.is_silent, true) {
            let seconds = self.last_news.elapsed().as_secs_f64();
            let detail = format!("{} gave nothing for {seconds:.1} s", self.source.name);
            let metrics = self.source.failed(Reason::TimedOut, &detail);
            return News::Trouble(EventKind::ToolSilent, detail, metrics);
        }
        News::None
    }

    /// Ends the tool; one that does not end by the deadline is left to its own.
    pub(super) fn end(self, deadline: Instant) {
        self.halt.halt();
        let left = deadline.saturating_duration_since(Instant::now());
        let _ = self.done.recv_timeout(left);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.halt.halt();
    }
}

struct Worker<R: CommandRunner> {
    host: Arc<Host<R>>,
    source: Source,
    slot: Arc<Mutex<Slot>>,
    halt: Arc<Halt>,
    pause: Arc<Pause>,
    period: Duration,
}

impl<R: CommandRunner> Worker<R> {
    fn slot(&self) -> std::sync::MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, text: String) {
        let mut slot = self.slot();
        if slot.answers.len() == MOST_ANSWERS {
            slot.answers.remove(0);
        }
        slot.answers.push(text);
    }

    fn fail(&self, kind: EventKind, reason: Reason, detail: String) {
        self.slot().failure = Some((kind, reason, detail));
    }

    /// Asks again and again, not more often than the period.
    fn repeat(&self) {
        let mut failures = 0;
        loop {
            let start = Instant::now();
            match self.host.ask(&self.source.command) {
                Ok(output) => {
                    failures = 0;
                    self.put(output.stdout);
                }
                Err((reason, detail)) => {
                    failures += 1;
                    let is_final = self.source.ask_once
                        || reason == Reason::ToolMissing
                        || failures == MOST_FAILURES;
                    if is_final || failures == 1 {
                        self.fail(EventKind::ToolFailed, reason, detail);
                    }
                    if is_final {
                        return;
                    }
                }
            }
            if self.halt.wait(self.period.saturating_sub(start.elapsed())) {
                return;
            }
            self.pause.pass();
        }
    }

    /// Follows a program that prints a line a second.
    fn follow(&self, command: &CommandLine) {
        let failed = |failure: &RunFailure| {
            self.fail(
                EventKind::ToolFailed,
                reason_of(failure),
                failure.to_string(),
            );
        };
        let mut stream = match self.host.runner.lines(command) {
            Ok(stream) => stream,
            Err(failure) => return failed(&failure),
        };
        let mut last = String::new();
        let mut repeats = 0;
        while !self.halt.wait(Duration::ZERO) {
            match stream.next_line(Duration::from_millis(100)) {
                Ok(Some(line)) => {
                    repeats = if line == last { repeats + 1 } else { 0 };
                    if repeats == MOST_REPEATS {
                        let detail = "prints the same line again and again, time stamp included";
                        let kind = EventKind::CounterFrozen;
                        self.fail(kind, Reason::CounterFrozen, detail.to_owned());
                    }
                    if repeats < MOST_REPEATS {
                        // The line feed shows the parser that the line is whole.
                        self.put(format!("{line}\n"));
                    }
                    last = line;
                }
                Ok(None) => {}
                Err(failure) => return failed(&failure),
            }
        }
    }
}

//! Watching the machine once a second on a thread of its own, while the program works.
//!
//! Each tool runs on a thread of its own, so that one that hangs holds up nothing. What the sampler
//! costs is measured and reported with what it saw.

mod cost;
mod feed;
mod pause;

use crate::device::{Host, System};
use crate::probe::{LinuxFiles, Metric, Permission, Source, conditions, first_of_each, sources};
use crate::runner::CommandRunner;
use crate::telemetry::{Collector, Event, EventKind, Moment, SCHEMA, Telemetry};
use cost::Meter;
use feed::{Feed, Halt, News};
use pause::Pause;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

/// How to sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamplerOptions {
    /// Time between two samples; one second disturbs least and is what the tools are made for.
    pub interval: Duration,
    /// What may be tried.
    pub permission: Permission,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            permission: Permission::default(),
        }
    }
}

/// A running sampler. Dropping it ends its threads and tools.
///
/// # Example
/// ```
/// use ncps_profiling::device::Host;
/// use ncps_profiling::sampler::{Sampler, SamplerOptions};
/// use std::time::Duration;
/// let options = SamplerOptions { interval: Duration::from_millis(20), ..SamplerOptions::default() };
/// let sampler = Sampler::start(Host::this_machine(), options);
/// std::thread::sleep(Duration::from_millis(100));
/// let telemetry = sampler.stop();
/// assert!(telemetry.cost.ticks >= 2);
/// assert_eq!(telemetry.reading("ane.busy").value(), None);
/// ```
#[derive(Debug)]
pub struct Sampler {
    halt: Arc<Halt>,
    pause: Arc<Pause>,
    readings: Arc<AtomicU64>,
    latest: Arc<Mutex<BTreeMap<String, Metric>>>,
    thread: Option<JoinHandle<Telemetry>>,
}

impl Sampler {
    /// Starts to sample `host`; returns at once.
    #[must_use]
    pub fn start<R: CommandRunner + 'static>(host: Host<R>, options: SamplerOptions) -> Self {
        let halt = Arc::new(Halt::default());
        let latest = Arc::new(Mutex::new(BTreeMap::new()));
        let pause = Arc::new(Pause::default());
        let readings = Arc::new(AtomicU64::new(0));
        let worker = Worker {
            host: Arc::new(host),
            interval: options.interval.max(Duration::from_millis(10)),
            permission: options.permission,
            halt: Arc::clone(&halt),
            pause: Arc::clone(&pause),
            readings: Arc::clone(&readings),
            latest: Arc::clone(&latest),
        };
        Self {
            halt,
            pause,
            readings,
            latest,
            thread: Some(thread::spawn(move || worker.work())),
        }
    }

    /// The newest value of each metric, for a live display.
    #[must_use]
    pub fn latest(&self) -> Vec<Metric> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.values().cloned().collect()
    }

    /// Reads nothing and asks no tool until [`Self::resume`]. Tools that print a line a second by themselves go on.
    pub fn pause(&self) {
        self.pause.set(true);
    }

    /// Goes on after a pause.
    pub fn resume(&self) {
        self.pause.set(false);
    }

    /// How often the counters have been read.
    #[must_use]
    pub fn readings(&self) -> u64 {
        self.readings.load(Ordering::Relaxed)
    }

    /// Ends the sampling and returns what was seen; takes as long as the tools need to end, at most
    /// a few seconds.
    #[must_use]
    pub fn stop(mut self) -> Telemetry {
        self.halt.halt();
        self.resume();
        let ended = self.thread.take().and_then(|thread| thread.join().ok());
        ended.unwrap_or_else(|| nothing("the sampler ended early"))
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.halt.halt();
        self.resume();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn nothing(detail: &str) -> Telemetry {
    Telemetry {
        schema: SCHEMA.to_owned(),
        interval_s: 0.0,
        duration_s: 0.0,
        series: Vec::new(),
        events: vec![Event {
            at_s: 0.0,
            kind: EventKind::Gap,
            detail: detail.to_owned(),
        }],
        before: Vec::new(),
        after: Vec::new(),
        cost: cost::unknown(detail),
    }
}

/// Patience with tools at the end; one that hangs is left to its own deadline.
const LAST_WORDS: Duration = Duration::from_secs(3);

struct Worker<R: CommandRunner> {
    host: Arc<Host<R>>,
    interval: Duration,
    permission: Permission,
    halt: Arc<Halt>,
    pause: Arc<Pause>,
    readings: Arc<AtomicU64>,
    latest: Arc<Mutex<BTreeMap<String, Metric>>>,
}

impl<R: CommandRunner + 'static> Worker<R> {
    fn work(self) -> Telemetry {
        let (start, wall_start) = (Instant::now(), SystemTime::now());
        let meter = Arc::new(Meter::start(&self.host));
        let before = self.conditions(&meter);
        let mut feeds = self.feeds(&meter);
        let mut files = LinuxFiles::default();
        let mut collector = Collector::new(self.interval);
        let mut due = Duration::ZERO;
        loop {
            let moment = Moment {
                steady: start.elapsed(),
                wall: since(wall_start),
            };
            let (metrics, events) = self.look(&mut feeds, &mut files, moment.steady);
            self.publish(&metrics);
            collector.tick(moment, metrics);
            self.readings.fetch_add(1, Ordering::Relaxed);
            for (kind, detail) in events {
                collector.event(kind, detail);
            }
            due += self.interval;
            // A machine that slept does not catch up on samples.
            due = due.max(start.elapsed().saturating_sub(self.interval));
            if self.halt.wait(due.saturating_sub(start.elapsed())) {
                break;
            }
            self.pause.pass();
        }
        let duration = start.elapsed();
        let deadline = Instant::now() + LAST_WORDS;
        for feed in feeds {
            feed.end(deadline);
        }
        let after = self.conditions(&meter);
        let conditions = [before, after].map(|answer| {
            let left = deadline.saturating_duration_since(Instant::now());
            answer.recv_timeout(left).unwrap_or_default()
        });
        let [before, after] = conditions;
        let ticks = collector.ticks();
        let (series, events) = collector.finish(duration);
        Telemetry {
            schema: SCHEMA.to_owned(),
            interval_s: self.interval.as_secs_f64(),
            duration_s: duration.as_secs_f64(),
            series,
            events,
            before,
            after,
            cost: meter.finish(&self.host, ticks),
        }
    }

    /// Asks for the conditions on another thread: their tools may hang like all others.
    fn conditions(&self, meter: &Arc<Meter>) -> mpsc::Receiver<Vec<Metric>> {
        let (sender, receiver) = mpsc::channel();
        let (host, meter) = (Arc::clone(&self.host), Arc::clone(meter));
        thread::spawn(move || {
            let metrics = first_of_each(conditions(&host));
            meter.bill_this_thread();
            let _ = sender.send(metrics);
        });
        receiver
    }

    fn feeds(&self, meter: &Arc<Meter>) -> Vec<Feed> {
        let sources = sources(&self.host, self.permission);
        let start = |source: Source| {
            let host = Arc::clone(&self.host);
            let pause = Arc::clone(&self.pause);
            Feed::start(host, source, self.interval, Arc::clone(meter), pause)
        };
        sources.into_iter().map(start).collect()
    }

    fn look(
        &self,
        feeds: &mut [Feed],
        files: &mut LinuxFiles,
        at: Duration,
    ) -> (Vec<Metric>, Vec<(EventKind, String)>) {
        let (mut metrics, mut events) = (Vec::new(), Vec::new());
        for feed in feeds {
            match feed.news() {
                News::Metrics(read) => metrics.extend(read),
                News::Trouble(kind, detail, read) => {
                    metrics.extend(read);
                    events.push((kind, detail));
                }
                News::None => {}
            }
        }
        if self.host.system == System::Linux {
            metrics.extend(files.read(&self.host, at));
        }
        (metrics, events)
    }

    fn publish(&self, metrics: &[Metric]) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        for metric in first_of_each(metrics.to_vec()) {
            latest.insert(metric.name.clone(), metric);
        }
    }
}

/// Seconds on the wall clock, negative if it was set back.
fn since(start: SystemTime) -> f64 {
    match SystemTime::now().duration_since(start) {
        Ok(forward) => forward.as_secs_f64(),
        Err(back) => -back.duration().as_secs_f64(),
    }
}

#[cfg(test)]
mod tests;

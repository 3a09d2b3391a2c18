//! Turning samples into series: one source a series, dead counters retired, jumps of the clock noticed.
//!
//! No clock is read here: the caller says when a sample was taken, so that tests can let clocks jump.

use super::series::{Kind, Series, Track};
use super::{Event, EventKind};
use crate::probe::Metric;
use crate::{Reading, Reason};
use std::collections::BTreeMap;
use std::time::Duration;

/// When a sample was taken, by two clocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Moment {
    /// Time since the first sample by a clock that only runs forward.
    pub(crate) steady: Duration,
    /// Seconds since the first sample by the clock on the wall, which may be set either way.
    pub(crate) wall: f64,
}

/// Wall clock and steady clock may part by this much between two samples: clocks are slewed slowly.
const JUMP: f64 = 0.5;
/// Intervals without a sample after which there is a gap.
const GAP: u32 = 3;
/// Equal values in a row after which a counter that should never repeat itself is dead.
const REPEATS: usize = 5;
/// Events that are kept.
const MOST_EVENTS: usize = 1000;

/// Collects samples.
#[derive(Debug)]
pub(crate) struct Collector {
    interval: Duration,
    tracks: BTreeMap<String, Track>,
    events: Vec<Event>,
    last: Option<Moment>,
    ticks: u32,
}

impl Collector {
    pub(crate) fn new(interval: Duration) -> Self {
        Self {
            interval,
            tracks: BTreeMap::new(),
            events: Vec::new(),
            last: None,
            ticks: 0,
        }
    }

    /// Samples so far.
    pub(crate) fn ticks(&self) -> u32 {
        self.ticks
    }

    /// Notes something at the moment of the last sample.
    pub(crate) fn event(&mut self, kind: EventKind, detail: String) {
        let at_s = self.last.map_or(0.0, |last| last.steady.as_secs_f64());
        if self.events.len() < MOST_EVENTS {
            self.events.push(Event { at_s, kind, detail });
        }
    }

    /// Takes one sample. Values that were taken over a window are left out when the clock jumped or
    /// samples are missing: nobody knows how long that window was.
    pub(crate) fn tick(&mut self, moment: Moment, metrics: Vec<Metric>) {
        let disturbed = self.notice_clocks(moment);
        self.ticks = self.ticks.saturating_add(1);
        self.last = Some(moment);
        for metric in metrics {
            let is_windowed = matches!(
                metric.reading,
                Reading::Available {
                    window: Some(_),
                    ..
                }
            );
            if !(disturbed && is_windowed) {
                self.take(moment.steady.as_secs_f64(), metric);
            }
        }
        self.retire_dead();
    }

    fn notice_clocks(&mut self, moment: Moment) -> bool {
        let Some(last) = self.last else {
            return false;
        };
        let steady = moment.steady.saturating_sub(last.steady);
        let apart = (moment.wall - last.wall) - steady.as_secs_f64();
        let has_jumped = apart.abs() > JUMP;
        let has_gap = steady > self.interval * GAP;
        self.last = Some(moment);
        if has_jumped {
            let detail = format!(
                "the wall clock moved {apart:+.1} s against the steady clock: it was set, or the \
                 machine slept"
            );
            self.event(EventKind::ClockJumped, detail);
        }
        if has_gap {
            let seconds = steady.as_secs_f64();
            self.event(EventKind::Gap, format!("no sample for {seconds:.1} s"));
        }
        has_jumped || has_gap
    }

    fn take(&mut self, at: f64, metric: Metric) {
        let track = self.tracks.entry(metric.name).or_default();
        match metric.reading {
            Reading::Available {
                value,
                unit,
                source,
                quality,
                scope,
                ..
            } => {
                let kind = Kind {
                    unit,
                    source,
                    quality,
                    scope,
                };
                let is_same = track.kind.get_or_insert_with(|| kind.clone()) == &kind;
                // Two sources may both answer; the first that did is kept.
                let is_new = track.times.last().is_none_or(|&last| at > last);
                if is_same && is_new && !track.retired {
                    track.push(at, value);
                }
            }
            reading @ Reading::Unavailable { .. } => {
                let known = track.reason.as_ref().map_or(0, telling);
                if !track.retired && telling(&reading) >= known {
                    track.reason = Some(reading);
                }
            }
        }
    }

    /// A modelled power that repeats itself bit for bit while its part of the machine works is not
    /// alive. The Neural Engine's may stay at 0 as long as the processor's moves.
    fn retire_dead(&mut self) {
        let is_busy = |names: &[&str]| {
            names.iter().any(|name| {
                let last = self.tracks.get(*name).and_then(|t| t.values.last());
                last.is_some_and(|&share| share > 0.01)
            })
        };
        let gpu_works = is_busy(&["gpu.busy"]);
        let machine_works = gpu_works || is_busy(&["cpu.busy", "cpu.fast.busy"]);
        let mut dead = Vec::new();
        for (name, track) in &self.tracks {
            let should_move = match name.as_str() {
                "gpu.power" => gpu_works,
                "ane.power" => machine_works && track.values.last().is_some_and(|&w| w > 0.0),
                _ => machine_works && name.ends_with(".power"),
            };
            let is_modelled = track.kind.as_ref().is_some_and(Kind::is_estimate);
            if should_move && is_modelled && !track.retired && track.repeats >= REPEATS {
                dead.push(name.clone());
            }
        }
        let is_neighbour = self.tracks.get("ane.power").is_some_and(|t| !t.retired);
        if dead.iter().any(|name| name == "cpu.power") && is_neighbour {
            dead.retain(|name| name != "ane.power");
            dead.push("ane.power".to_owned());
        }
        for name in dead {
            let Some(track) = self.tracks.get_mut(&name) else {
                continue;
            };
            let detail = format!(
                "the counter gave the same value {} times in a row while the machine worked",
                track.repeats
            );
            if name == "ane.power" {
                // It stands beside the processor's counter: nothing it said can be believed.
                track.repeats = track.values.len();
            }
            track.retire(Reading::unavailable(Reason::CounterFrozen, detail.clone()));
            self.event(EventKind::CounterFrozen, format!("{name}: {detail}"));
        }
    }

    /// Ends the collection.
    pub(crate) fn finish(self, duration: Duration) -> (Vec<Series>, Vec<Event>) {
        let series = self
            .tracks
            .into_iter()
            .map(|(name, track)| track.finish(name, duration))
            .collect();
        (series, self.events)
    }
}

/// How much a reason tells: a tool that is there and fails says more than one that is missing.
fn telling(reading: &Reading) -> u8 {
    match reading {
        Reading::Unavailable { reason, .. } => match reason {
            Reason::ToolMissing => 1,
            Reason::NeedsRoot => 3,
            Reason::CounterFrozen => 4,
            _ => 2,
        },
        Reading::Available { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Unit;

    fn collector() -> Collector {
        Collector::new(Duration::from_secs(1))
    }

    fn at(seconds: u64) -> Moment {
        Moment {
            steady: Duration::from_secs(seconds),
            wall: seconds as f64,
        }
    }

    fn share(name: &str, value: f64) -> Metric {
        let reading = Reading::measured(value, Unit::Ratio, "t");
        Metric::new(name, reading.with_window(Duration::from_secs(1)))
    }

    fn power(name: &str, value: f64) -> Metric {
        Metric::new(name, Reading::estimated(value, Unit::Watts, "t", "model"))
    }

    fn of<'a>(series: &'a [Series], name: &str) -> &'a Series {
        series.iter().find(|s| s.name == name).unwrap()
    }

    fn reason(series: &Series) -> Reason {
        match &series.summary {
            Reading::Unavailable { reason, .. } => *reason,
            Reading::Available { .. } => panic!("{} has a value", series.name),
        }
    }

    #[test]
    fn a_series_has_its_points_and_their_mean() {
        let mut collector = collector();
        for n in 0..4 {
            collector.tick(at(n), vec![share("gpu.busy", n as f64 / 10.0)]);
        }
        let (series, events) = collector.finish(Duration::from_secs(4));
        let busy = of(&series, "gpu.busy");
        assert_eq!(busy.times, [0.0, 1.0, 2.0, 3.0]);
        assert!((busy.summary.value().unwrap() - 0.15).abs() < 1e-12);
        assert_eq!((busy.lowest(), busy.highest()), (Some(0.0), Some(0.3)));
        assert!(events.is_empty());
    }

    #[test]
    fn a_clock_that_is_set_is_told_and_its_window_left_out() {
        for step in [3600.0, -3600.0, 0.6] {
            let mut collector = collector();
            collector.tick(at(0), vec![share("gpu.busy", 0.1)]);
            let jumped = Moment {
                wall: 1.0 + step,
                ..at(1)
            };
            collector.tick(jumped, vec![share("gpu.busy", 0.9)]);
            let after = Moment {
                wall: 2.0 + step,
                ..at(2)
            };
            collector.tick(after, vec![share("gpu.busy", 0.3)]);
            let (series, events) = collector.finish(Duration::from_secs(3));
            assert_eq!(of(&series, "gpu.busy").values, [0.1, 0.3], "{step}");
            assert_eq!(events.len(), 1);
            assert_eq!(events[0].kind, EventKind::ClockJumped);
        }
    }

    #[test]
    fn a_slow_clock_is_no_jump_and_a_gap_is_told() {
        let mut collector = collector();
        let slewed = |n: u64| Moment {
            wall: n as f64 * 1.01,
            ..at(n)
        };
        collector.tick(slewed(0), Vec::new());
        collector.tick(slewed(1), Vec::new());
        collector.tick(slewed(30), vec![share("cpu.busy", 0.5)]);
        let (series, events) = collector.finish(Duration::from_secs(31));
        assert!(series.is_empty(), "{series:?}");
        let kinds: Vec<EventKind> = events.iter().map(|e| e.kind).collect();
        assert_eq!(kinds, [EventKind::Gap]);
    }

    #[test]
    fn a_power_that_repeats_itself_under_load_is_dead_and_takes_its_neighbour_along() {
        let mut collector = collector();
        for n in 0..12 {
            let watts = if n < 3 { 3.0 + n as f64 } else { 4.25 };
            let metrics = vec![
                share("cpu.busy", 0.5),
                power("cpu.power", watts),
                power("ane.power", 0.0),
                power("gpu.power", 1.0 + n as f64),
            ];
            collector.tick(at(n), metrics);
        }
        let (series, events) = collector.finish(Duration::from_secs(12));
        assert_eq!(of(&series, "cpu.power").values, [3.0, 4.0, 5.0]);
        assert_eq!(reason(of(&series, "ane.power")), Reason::CounterFrozen);
        assert_eq!(of(&series, "gpu.power").values.len(), 12);
        assert!(events.iter().all(|e| e.kind == EventKind::CounterFrozen));
        assert_eq!(events.len(), 2, "{events:?}");
    }

    #[test]
    fn an_idle_machine_may_repeat_itself_and_an_unused_engine_too() {
        let mut collector = collector();
        for n in 0..10 {
            collector.tick(at(n), vec![power("gpu.power", 0.1), share("gpu.busy", 0.0)]);
        }
        for n in 10..20 {
            let metrics = vec![
                share("cpu.busy", 0.5),
                power("cpu.power", n as f64),
                power("ane.power", 0.0),
            ];
            collector.tick(at(n), metrics);
        }
        let (series, _) = collector.finish(Duration::from_secs(20));
        assert_eq!(of(&series, "ane.power").summary.value(), Some(0.0));
    }

    #[test]
    fn a_second_source_does_not_mix_in() {
        let mut collector = collector();
        let other = Reading::measured(0.9, Unit::Ratio, "other");
        let metrics = vec![
            share("gpu.busy", 0.1),
            Metric::new("gpu.busy", other.clone()),
        ];
        collector.tick(at(0), metrics);
        collector.tick(at(1), vec![Metric::new("gpu.busy", other)]);
        let (series, _) = collector.finish(Duration::from_secs(2));
        assert_eq!(of(&series, "gpu.busy").values, [0.1]);
    }

    #[test]
    fn a_metric_that_never_came_says_why() {
        let mut collector = collector();
        let missing = Reading::unavailable(Reason::ToolMissing, "no macmon");
        let refused = Reading::unavailable(Reason::NeedsRoot, "sudo wants a password");
        collector.tick(at(0), vec![Metric::new("cpu.power", refused)]);
        let metric = |name: &str| Metric::new(name, missing.clone());
        collector.tick(at(1), vec![metric("ane.power"), metric("cpu.power")]);
        let (series, _) = collector.finish(Duration::from_secs(1));
        assert_eq!(reason(of(&series, "ane.power")), Reason::ToolMissing);
        assert_eq!(reason(of(&series, "cpu.power")), Reason::NeedsRoot);
        assert_eq!(of(&series, "ane.power").unit, None);
    }

    #[test]
    fn a_long_run_does_not_fill_the_memory() {
        let mut collector = collector();
        for n in 0..40_000 {
            collector.tick(at(n), vec![share("gpu.busy", (n % 7) as f64 / 10.0)]);
        }
        let (series, _) = collector.finish(Duration::from_secs(40_000));
        let busy = of(&series, "gpu.busy");
        assert!(busy.values.len() <= super::super::series::MOST_POINTS);
        assert!(busy.times.is_sorted());
        assert!(busy.times.last().is_some_and(|&t| t > 39_000.0));
    }
}

//! What reading the machine's counters costs training: slices with many readings and slices with none, in turn.

use std::time::{Duration, Instant};

use ncps_profiling::profile::statistics::{RatioInterval, paired};
use ncps_profiling::sampler::{Sampler, SamplerOptions};
use ncps_profiling::{Reading, Reason, Scope, Unit};

use super::subject::Subject;
use super::{Options, SETTLE};
use crate::error::Result;

/// Length of a slice: short beside the minutes over which a machine's speed drifts, long beside a step.
const SLICE: Duration = Duration::from_millis(50);
/// Time between two readings in a slice that has some. More often than in a report, so that their cost shows; not so
/// often that tools cannot keep up.
const INTERVAL: Duration = Duration::from_millis(25);
/// Readings a second in a report.
const USUAL: f64 = 1.0;
/// Slowdown that sampling should stay below.
pub(super) const LIMIT: f64 = 0.01;

/// Seconds of a step in slices, by pairs, and the readings in those that had some.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Trial {
    /// Without readings.
    pub(super) without: Vec<f64>,
    /// With readings, next to the slice without.
    pub(super) with: Vec<f64>,
    /// Readings in all slices with.
    pub(super) readings: u64,
    /// Seconds of all slices with.
    pub(super) seconds: f64,
}

impl Trial {
    /// Trains in pairs of slices for about `budget`; tools that run by themselves do so in both slices of a pair.
    ///
    /// # Errors
    /// Those of training.
    pub(super) fn run(subject: &mut Subject, options: &Options, budget: Duration) -> Result<Self> {
        let watch = SamplerOptions {
            permission: options.permission,
            interval: INTERVAL,
        };
        subject.activate();
        let sampler = Sampler::start(options.host.clone(), watch);
        // As in the profile itself: the start of tools is no cost of reading them.
        slice(subject, (budget / 8).min(SETTLE))?;
        let mut found = Self::default();
        let begin = Instant::now();
        while begin.elapsed() < budget {
            // Each second pair the other way round, so that a steady drift cancels.
            for is_watched in [found.with.len() % 2 == 0, found.with.len() % 2 == 1] {
                if is_watched {
                    sampler.resume();
                    let (before, clock) = (sampler.readings(), Instant::now());
                    let step = slice(subject, SLICE)?;
                    sampler.pause();
                    found.readings += sampler.readings() - before;
                    found.seconds += clock.elapsed().as_secs_f64();
                    found.with.push(step);
                } else {
                    sampler.pause();
                    found.without.push(slice(subject, SLICE)?);
                }
            }
        }
        Ok(found)
    }

    /// By what share a reading a second slows training down, with the 95 % interval; none with too few pairs or readings.
    pub(super) fn slowdown(&self) -> Option<RatioInterval> {
        let found = paired(&self.without, &self.with).filter(|_| self.readings > 0)?;
        let scale = USUAL * self.seconds / self.readings as f64;
        let cost = |ratio: f64| (ratio - 1.0) * scale;
        Some(RatioInterval {
            ratio: cost(found.ratio),
            low: cost(found.low),
            high: cost(found.high),
        })
    }

    /// The slowdown and the ends of its interval as named readings; the reason alone where there is none.
    pub(super) fn metrics(&self) -> Vec<(&'static str, Reading)> {
        const NAMES: [&str; 3] = [
            "sampling.slowdown",
            "sampling.slowdown.low",
            "sampling.slowdown.high",
        ];
        let Some(found) = self.slowdown() else {
            let count = self.with.len();
            let detail =
                format!("time was enough for {count} of at least 6 pairs of slices to compare");
            let missing = Reading::unavailable(Reason::NotRun, detail)
                .with_remedy("more --seconds, or a smaller batch");
            return vec![(NAMES[0], missing)];
        };
        let often = self.readings as f64 / self.seconds;
        let formula = format!(
            "median over {} pairs of {} ms of (step with {often:.0} readings a second / step with none - 1) / {often:.0}",
            self.with.len(),
            SLICE.as_millis()
        );
        let of = |value| {
            Reading::derived(value, Unit::Ratio, "measured times", formula.clone())
                .with_window(Duration::from_secs_f64(2.0 * self.seconds))
                .with_scope(Scope::Process)
        };
        let values = [found.ratio, found.low, found.high];
        NAMES.into_iter().zip(values.map(of)).collect()
    }

    /// What a reader should know before he trusts it.
    pub(super) fn note(&self) -> Option<String> {
        let found = self.slowdown()?;
        let percent = |share: f64| 100.0 * share;
        if found.low > LIMIT {
            let (low, high) = (percent(found.low), percent(found.high));
            return Some(format!(
                "sampling the counters slows training down by {low:.1} to {high:.1} %, more than it should"
            ));
        }
        (found.high > LIMIT).then(|| {
            let (low, high) = (percent(found.low), percent(found.high));
            format!(
                "the machine was too unsteady to show that sampling costs less than {:.0} %: between {low:.1} and {high:.1} % \
                 by the 95 % interval; --seconds 60 makes it narrower",
                percent(LIMIT)
            )
        })
    }
}

/// Trains for a while, at least one step, and gives the mean seconds of a step.
fn slice(subject: &mut Subject, budget: Duration) -> Result<f64> {
    let begin = Instant::now();
    let mut steps = 0.0;
    loop {
        subject.train_step()?;
        steps += 1.0;
        let elapsed = begin.elapsed();
        if elapsed >= budget {
            return Ok(elapsed.as_secs_f64() / steps);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(costs: &[f64]) -> Trial {
        // A machine that becomes slower meanwhile.
        let without: Vec<f64> = (0..costs.len())
            .map(|i| 1e-3 * (1.0 + 0.1 * i as f64))
            .collect();
        let with = without
            .iter()
            .zip(costs)
            .map(|(step, cost)| step * (1.0 + cost));
        Trial {
            with: with.collect(),
            without,
            readings: 20,
            seconds: 1.0,
        }
    }

    #[test]
    fn a_reading_costs_what_many_cost_divided_by_their_number() {
        let sure = trial(&[0.02, 0.022, 0.018, 0.02, 0.021, 0.019, 0.02, 0.02]);
        let found = sure.slowdown().unwrap();
        assert!((found.ratio - 0.001).abs() < 1e-9, "{found:?}");
        assert!(found.low < found.ratio && found.ratio < found.high);
        assert_eq!(sure.note(), None);
        let values: Vec<_> = sure.metrics().iter().map(|(_, r)| r.value()).collect();
        assert_eq!(values, [found.ratio, found.low, found.high].map(Some));
    }

    #[test]
    fn what_is_too_dear_or_too_uncertain_is_said() {
        let dear = trial(&[0.4; 8]).note().unwrap();
        assert!(dear.contains("by 2.0 to 2.0 %"), "{dear}");
        let mut noisy = [0.5, -0.5, 0.4, -0.4, 0.3, -0.3, 0.2, -0.2];
        let unsteady = trial(&noisy).note().unwrap();
        assert!(
            unsteady.contains("too unsteady") && unsteady.contains("-2.5 and 2.5 %"),
            "{unsteady}"
        );
        noisy = [0.0; 8];
        for silent in [
            trial(&noisy[..5]),
            Trial {
                readings: 0,
                ..trial(&noisy)
            },
        ] {
            let found = silent.metrics();
            assert_eq!((found.len(), found[0].1.value()), (1, None));
            assert_eq!(silent.note(), None);
        }
    }
}

//! Wall time and processor time of repeated steps.

use std::time::Instant;

use rustix::time::{ClockId, clock_gettime};

/// Durations kept for the median; more are thinned out evenly, so that a long run takes no more memory.
const MOST_LAPS: usize = 1 << 14;

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    wall: Instant,
    /// Seconds of all threads of this process so far, user and system.
    cpu: f64,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self {
            cpu: cpu_seconds(),
            wall: Instant::now(),
        }
    }

    /// Seconds from here to `later`.
    pub(super) fn until(&self, later: &Self) -> Seconds {
        Seconds {
            wall: later.wall.duration_since(self.wall).as_secs_f64(),
            cpu: later.cpu - self.cpu,
        }
    }
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// A duration by both clocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seconds {
    pub(super) wall: f64,
    pub(super) cpu: f64,
}

/// When to begin to count and when to stop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    /// Seconds of counted steps.
    pub(super) seconds: f64,
    /// Fewest counted steps, also where they take longer.
    pub(super) steps: usize,
    /// Fewest steps, and seconds, before the first counted one: for caches and clock rates to settle.
    pub(super) warm_up: (usize, f64),
}

impl Budget {
    pub(super) fn of(seconds: f64) -> Self {
        Self {
            seconds,
            steps: 5,
            warm_up: (2, 0.1 * seconds),
        }
    }
}

/// The durations of repeated steps.
#[derive(Debug)]
pub(super) struct Laps {
    budget: Budget,
    is_warm: bool,
    begin: Moment,
    last: Moment,
    /// Steps of the warm-up, then counted steps.
    steps: usize,
    shortest: Seconds,
    kept: Vec<Seconds>,
    /// One of so many laps is kept.
    stride: usize,
}

impl Laps {
    pub(super) fn start(budget: Budget) -> Self {
        let now = Moment::now();
        Self {
            budget,
            is_warm: false,
            begin: now,
            last: now,
            steps: 0,
            shortest: Seconds {
                wall: f64::INFINITY,
                cpu: f64::INFINITY,
            },
            kept: Vec::with_capacity(MOST_LAPS),
            stride: 1,
        }
    }

    /// Notes the end of a step; `true` once there are enough.
    pub(super) fn lap(&mut self) -> bool {
        self.lap_at(Moment::now())
    }

    /// As [`Laps::lap`] for steps of microseconds: asking for the processor time takes too long to do it each time, so only
    /// its mean is known in the end.
    pub(super) fn short_lap(&mut self) -> bool {
        let was_warm = self.is_warm;
        let wall = Instant::now();
        let is_done = self.lap_at(Moment { wall, ..self.last });
        if was_warm != self.is_warm {
            self.last = Moment::now();
            self.begin = self.last;
        } else if is_done {
            self.last.cpu = cpu_seconds();
        }
        is_done
    }

    fn lap_at(&mut self, now: Moment) -> bool {
        let lap = self.last.until(&now);
        self.last = now;
        self.steps += 1;
        if self.is_warm {
            self.count(lap);
        } else {
            let (steps, seconds) = self.budget.warm_up;
            self.is_warm = self.steps >= steps && self.total().wall >= seconds;
            if self.is_warm {
                (self.begin, self.steps) = (now, 0);
            }
        }
        self.is_done()
    }

    fn count(&mut self, lap: Seconds) {
        self.shortest.wall = self.shortest.wall.min(lap.wall);
        self.shortest.cpu = self.shortest.cpu.min(lap.cpu);
        if !self.steps.is_multiple_of(self.stride) {
            return;
        }
        if self.kept.len() == MOST_LAPS {
            let mut index = 0;
            self.kept.retain(|_| {
                index += 1;
                index % 2 == 0
            });
            self.stride *= 2;
        }
        self.kept.push(lap);
    }

    fn is_done(&self) -> bool {
        self.is_warm && self.steps >= self.budget.steps && self.total().wall >= self.budget.seconds
    }

    fn total(&self) -> Seconds {
        self.begin.until(&self.last)
    }

    /// What was counted; without a counted step all is infinite.
    pub(super) fn times(&self) -> Times {
        let median = |of: fn(&Seconds) -> f64| median(self.kept.iter().map(of).collect());
        Times {
            median: Seconds {
                wall: median(|lap| lap.wall),
                cpu: median(|lap| lap.cpu),
            },
            shortest: self.shortest,
            mean_cpu: self.total().cpu / self.steps as f64,
            steps: if self.is_warm { self.steps } else { 0 },
        }
    }
}

/// Durations of a step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) median: Seconds,
    pub(super) shortest: Seconds,
    /// Processor seconds of all counted steps, divided by their number.
    pub(super) mean_cpu: f64,
    /// Counted steps.
    pub(super) steps: usize,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::INFINITY,
        odd if odd % 2 == 1 => values[middle],
        _ => 0.5 * (values[middle - 1] + values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Laps of these many milliseconds, each with half its time on the processor.
    fn run(budget: Budget, milliseconds: impl IntoIterator<Item = u64>) -> (Laps, usize) {
        let mut laps = Laps::start(budget);
        let mut now = laps.begin;
        let mut number = 0;
        for duration in milliseconds {
            now.wall += Duration::from_millis(duration);
            now.cpu += duration as f64 * 5e-4;
            number += 1;
            if laps.lap_at(now) {
                break;
            }
        }
        (laps, number)
    }

    #[test]
    fn the_warm_up_is_not_counted() {
        let budget = Budget {
            seconds: 0.05,
            steps: 3,
            warm_up: (2, 0.1),
        };
        // 200 + 10 ms of warm-up, then 30, 10 and 20 ms.
        let (laps, number) = run(budget, [200, 10, 30, 10, 20, 7, 7]);
        let times = laps.times();
        assert_eq!((number, times.steps), (5, 3));
        assert!(
            (times.median.wall - 0.02).abs() < 1e-9 && (times.shortest.wall - 0.01).abs() < 1e-9
        );
        assert!((times.median.cpu - 0.01).abs() < 1e-9 && (times.mean_cpu - 0.01).abs() < 1e-9);
    }

    #[test]
    fn slow_steps_are_still_counted_five_times() {
        let (laps, number) = run(Budget::of(0.2), std::iter::repeat_n(1000, 20));
        assert_eq!((laps.times().steps, number), (5, 7));
    }

    #[test]
    fn a_long_run_keeps_its_median_and_its_shortest_step() {
        let budget = Budget {
            seconds: 1e9,
            steps: 1,
            warm_up: (1, 0.0),
        };
        let laps = (0..=100_000u64).map(|i| if i == 77_777 { 1 } else { 10 + i % 3 });
        let (laps, _) = run(budget, laps);
        let times = laps.times();
        assert_eq!(times.steps, 100_000);
        assert!(laps.kept.len() <= MOST_LAPS && laps.kept.len() > MOST_LAPS / 4);
        assert!(
            (times.median.wall - 0.011).abs() < 1e-9 && (times.shortest.wall - 0.001).abs() < 1e-9
        );
    }

    #[test]
    fn short_laps_know_the_mean_of_the_processor_time() {
        let mut laps = Laps::start(Budget {
            seconds: 0.02,
            steps: 5,
            warm_up: (2, 0.0),
        });
        let mut sum = 0u64;
        loop {
            sum = (0..1000u64).fold(sum, |a, b| std::hint::black_box(a.wrapping_add(b * b)));
            if laps.short_lap() {
                break;
            }
        }
        let times = laps.times();
        // A busy loop beside other tests: some of one processor, and no more than all of them.
        let total = laps.total().wall;
        let busy = times.mean_cpu * times.steps as f64;
        let cores = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
        assert!(busy > 0.02 * total, "{busy} {total} {sum}");
        assert!(busy < 1.5 * cores * total, "{busy} {total} {sum}");
        assert!(times.shortest.wall > 0.0 && times.median.wall >= times.shortest.wall);
    }

    #[test]
    fn nothing_counted_is_no_number() {
        assert!(
            Laps::start(Budget::of(1.0))
                .times()
                .median
                .wall
                .is_infinite()
        );
    }

    #[test]
    fn work_takes_processor_time() {
        let begin = Moment::now();
        let mut sum = 0u64;
        while begin.until(&Moment::now()).cpu < 1e-3 {
            sum = (0..1000u64).fold(sum, |a, b| std::hint::black_box(a.wrapping_add(b * b)));
        }
        assert!(begin.until(&Moment::now()).wall > 0.0, "{sum}");
    }
}

//! Times of a subject: its kinds of work run in turn, so that a slow moment of the machine falls on all alike.

use std::time::{Duration, Instant};

use super::subject::Subject;
use crate::error::Result;

/// Seconds of single repetitions, in the order in which they ran.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Times {
    /// Training steps.
    pub train: Vec<f64>,
    /// Predictions for a batch.
    pub forward: Vec<f64>,
    /// Single steps of one sequence; empty for a network that needs the whole sequence.
    pub single: Vec<f64>,
}

/// Repetitions that are kept of each kind; a longer run thins them out evenly.
const MOST: usize = 4000;
/// Share of a round for training steps, predictions and single steps.
const SHARES: [f64; 3] = [0.6, 0.25, 0.15];
/// Rounds in a measurement.
const ROUNDS: u32 = 20;
/// Fewest repetitions of each kind, also where they take longer than the budget.
const LEAST: usize = 5;

impl Times {
    /// Runs all kinds of work in turn for about `budget`.
    ///
    /// # Errors
    /// Those of the subject.
    pub fn measure(subject: &mut Subject, budget: Duration) -> Result<Self> {
        let mut times = Self::default();
        subject.activate();
        let round = budget / ROUNDS;
        let begin = Instant::now();
        loop {
            run(round.mul_f64(SHARES[0]), &mut times.train, || {
                subject.train_step().map(Some)
            })?;
            run(round.mul_f64(SHARES[1]), &mut times.forward, || {
                subject.forward().map(Some)
            })?;
            run(round.mul_f64(SHARES[2]), &mut times.single, || {
                subject.single_step()
            })?;
            let kinds = [&times.train, &times.forward];
            if begin.elapsed() >= budget && kinds.iter().all(|kind| kind.len() >= LEAST) {
                return Ok(times.thinned());
            }
        }
    }

    /// The repetitions of another measurement of the same subject behind these.
    pub fn extend(&mut self, other: Self) {
        self.train.extend(other.train);
        self.forward.extend(other.forward);
        self.single.extend(other.single);
    }

    fn thinned(self) -> Self {
        let thin = |values: Vec<f64>| {
            let stride = values.len().div_ceil(MOST).max(1);
            values.into_iter().step_by(stride).collect()
        };
        Self {
            train: thin(self.train),
            forward: thin(self.forward),
            single: thin(self.single),
        }
    }
}

/// Repeats some work for a while, at least once; the first repetition after other work is not counted, because its caches
/// are cold.
fn run(
    budget: Duration,
    times: &mut Vec<f64>,
    mut work: impl FnMut() -> Result<Option<f64>>,
) -> Result<()> {
    let begin = Instant::now();
    if work()?.is_none() {
        return Ok(());
    }
    loop {
        times.extend(work()?);
        if begin.elapsed() >= budget {
            return Ok(());
        }
    }
}

/// Train steps of several subjects in turn, round after round, for about `budget` in all: the fair way to compare them.
///
/// # Errors
/// Those of the subjects.
pub fn in_turn(subjects: &mut [&mut Subject], budget: Duration) -> Result<Vec<Vec<f64>>> {
    let mut times = vec![Vec::new(); subjects.len()];
    let count = u32::try_from(subjects.len()).unwrap_or(u32::MAX).max(1);
    let slice = (budget / ROUNDS / count).max(Duration::from_millis(2));
    let begin = Instant::now();
    loop {
        for (subject, times) in subjects.iter_mut().zip(&mut times) {
            subject.activate();
            run(slice, times, || subject.train_step().map(Some))?;
        }
        if begin.elapsed() >= budget && times.iter().all(|times| times.len() >= LEAST) {
            return Ok(times);
        }
    }
}

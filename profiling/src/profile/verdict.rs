//! What holds some work back, decided from measured shares.

use serde::{Deserialize, Serialize};

use crate::{Reading, Scope, Unit};

/// What limits the speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Preparing and uploading batches.
    Data,
    /// Building graphs, scheduling and launching operations.
    Launch,
    /// Moving data between memory and processor.
    Memory,
    /// Arithmetic and functions.
    Compute,
    /// None of these alone: steps that wait for each other, caches, small loops.
    Mixed,
}

impl Bound {
    /// The verdict as people say it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Data => "data-bound",
            Self::Launch => "launch-bound",
            Self::Memory => "memory-bound",
            Self::Compute => "compute-bound",
            Self::Mixed => "bound by no single limit",
        }
    }
}

/// How much of a training step's wall time each limit would take by itself; they may overlap or leave a rest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shares {
    /// Preparing and uploading a batch / time of a whole training iteration.
    pub data: f64,
    /// Graph building and launches / time of a train step.
    pub launch: f64,
    /// Least memory traffic at the measured bandwidth / time of a train step.
    pub memory: f64,
    /// Counted work at the measured rates / time of a train step.
    pub compute: f64,
}

/// A limit explains a step when it takes at least this share of it.
const EXPLAINS: f64 = 0.4;

/// What holds the work back, with the shares behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The limit.
    pub bound: Bound,
    /// The verdict in a sentence.
    pub text: String,
    /// Share of the time that each limit explains.
    pub shares: Vec<(Bound, Reading)>,
}

impl Verdict {
    /// The largest share decides; below 40 % none does.
    #[must_use]
    pub fn of(shares: Shares) -> Self {
        let all = [
            (Bound::Data, shares.data),
            (Bound::Launch, shares.launch),
            (Bound::Memory, shares.memory),
            (Bound::Compute, shares.compute),
        ];
        let largest = all
            .into_iter()
            .filter(|(_, share)| share.is_finite())
            .max_by(|a, b| a.1.total_cmp(&b.1));
        let (bound, share) = match largest {
            Some((bound, share)) if share >= EXPLAINS => (bound, share),
            Some((_, share)) => (Bound::Mixed, share),
            None => (Bound::Mixed, 0.0),
        };
        Self {
            bound,
            text: sentence(bound, share),
            shares: all
                .into_iter()
                .map(|(bound, share)| (bound, reading(bound, share)))
                .collect(),
        }
    }
}

fn sentence(bound: Bound, share: f64) -> String {
    let percent = (100.0 * share).min(100.0).round();
    match bound {
        Bound::Data => format!(
            "data-bound: preparing and uploading batches takes {percent} % of an iteration, so a faster step would hardly help"
        ),
        Bound::Launch => format!(
            "launch-bound: building, scheduling and launching operations takes {percent} % of a step, so the processor waits for work"
        ),
        Bound::Memory => format!(
            "memory-bound: moving the data that must move takes {percent} % of a step at the measured bandwidth"
        ),
        Bound::Compute => format!(
            "compute-bound: the counted arithmetic takes {percent} % of a step at the measured rates"
        ),
        Bound::Mixed => format!(
            "bound by no single limit: the largest explains {percent} % of a step; the rest are time steps that wait for the one before, caches and loops too short to fill the machine"
        ),
    }
}

fn reading(bound: Bound, share: f64) -> Reading {
    let formula = match bound {
        Bound::Data => "(data + upload) / iteration",
        Bound::Launch => "(graph building + operations x launch latency) / train step",
        Bound::Memory => "least bytes / measured bandwidth / train step",
        _ => "counted work / measured rates / train step",
    };
    Reading::derived(share, Unit::Ratio, "measured times and roofs", formula)
        .with_scope(Scope::Process)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(data: f64, launch: f64, memory: f64, compute: f64) -> Shares {
        Shares {
            data,
            launch,
            memory,
            compute,
        }
    }

    #[test]
    fn the_largest_share_decides_and_small_ones_do_not() {
        for (given, bound) in [
            (shares(0.7, 0.2, 0.1, 0.1), Bound::Data),
            (shares(0.1, 0.9, 0.1, 0.3), Bound::Launch),
            (shares(0.1, 0.1, 0.6, 0.3), Bound::Memory),
            (shares(0.0, 0.3, 0.1, 0.5), Bound::Compute),
            (shares(0.1, 0.39, 0.1, 0.2), Bound::Mixed),
            (shares(f64::NAN, 0.1, f64::NAN, 0.8), Bound::Compute),
            (shares(f64::NAN, f64::NAN, f64::NAN, f64::NAN), Bound::Mixed),
        ] {
            let verdict = Verdict::of(given);
            assert_eq!(verdict.bound, bound, "{given:?}");
            assert!(verdict.text.starts_with(bound.word()), "{}", verdict.text);
        }
    }

    #[test]
    fn a_share_that_is_not_known_is_not_shown_as_a_number() {
        let verdict = Verdict::of(shares(f64::NAN, 0.1, 0.2, 0.8));
        assert_eq!(verdict.shares[0].1.value(), None);
        assert_eq!(verdict.shares[3].1.value(), Some(0.8));
    }
}

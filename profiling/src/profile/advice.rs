//! What might be changed, and what came of it where it was tried.

use serde::{Deserialize, Serialize};

use crate::Reading;

/// One change that may help.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Advice {
    /// The change in words, such as `batch 32 -> 128`.
    pub change: String,
    /// The same as `key=value` for `--set`, and flags.
    pub settings: Vec<String>,
    /// Why it may help.
    pub why: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of an advice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// Nobody tried.
    Untested,
    /// It was tried in turn with the original.
    Measured(Box<Gain>),
    /// It could not be tried here.
    Impossible {
        /// Why.
        reason: String,
    },
}

/// What a change brought.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gain {
    /// Sequences per second as it was.
    pub before: Reading,
    /// Sequences per second with the change.
    pub after: Reading,
    /// `after / before`, from the medians.
    pub gain: Reading,
    /// 95 % interval of the gain, where there are samples enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<(f64, f64)>,
}

impl Outcome {
    /// What came of it, in words.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Untested => "not tried; --advise measures it".to_owned(),
            Self::Impossible { reason } => format!("cannot be tried here: {reason}"),
            Self::Measured(gain) => gain.text(),
        }
    }
}

impl Gain {
    fn text(&self) -> String {
        let Some(gain) = self.gain.value() else {
            return format!("tried, {}", self.gain);
        };
        let word = match self.interval {
            Some((low, high)) if low <= 1.0 && 1.0 <= high => "no certain change",
            _ if gain > 1.0 => "faster",
            _ => "slower",
        };
        let interval = self.interval.map_or_else(String::new, |(low, high)| {
            format!(", 95 % interval {low:.2} to {high:.2}")
        });
        let [before, after] = [&self.before, &self.after].map(|rate| {
            rate.value()
                .map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}"))
        });
        format!("measured: {gain:.2} x ({word}), {before} -> {after} sequences/s{interval}")
    }
}

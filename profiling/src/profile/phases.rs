//! Where the time of a training step goes, as a tree in rows.

use serde::{Deserialize, Serialize};

use crate::Reading;

/// One part of a training step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// What is done.
    pub name: String,
    /// 0 for the whole, 1 for its parts, and so on.
    pub depth: usize,
    /// Time a step.
    pub time: Reading,
    /// Share of the whole.
    pub share: Reading,
}

impl Phase {
    /// A row of the tree; `whole` is the time of the first row.
    #[must_use]
    pub fn new(name: &str, depth: usize, time: Reading, whole: Option<f64>) -> Self {
        let share = match (&time, whole) {
            (Reading::Unavailable { .. }, _) => time.clone(),
            (Reading::Available { value, source, .. }, Some(whole)) if whole > 0.0 => {
                Reading::derived(
                    value / whole,
                    crate::Unit::Ratio,
                    source.clone(),
                    "time of the phase / time of all",
                )
                .with_scope(crate::Scope::Process)
            }
            _ => Reading::unavailable(crate::Reason::NotRun, "the whole was not measured"),
        };
        Self {
            name: name.to_owned(),
            depth,
            time,
            share,
        }
    }

    /// A bar of at most `width` blocks for the share, in eighths of a block.
    #[must_use]
    pub fn bar(&self, width: usize) -> String {
        const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
        let share = self.share.value().unwrap_or(0.0).clamp(0.0, 1.0);
        let eighths = (share * width as f64 * 8.0).round() as usize;
        format!("{}{}", "█".repeat(eighths / 8), PARTS[eighths % 8])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reason, Unit};

    #[test]
    fn bars_are_as_long_as_their_share() {
        let of = |seconds| {
            let time = Reading::measured(seconds, Unit::Seconds, "clock");
            Phase::new("forward", 1, time, Some(1.0)).bar(10)
        };
        assert_eq!(of(0.5), "█████");
        assert_eq!(of(0.05), "▌");
        assert_eq!(of(0.0), "");
    }

    #[test]
    fn a_phase_that_was_not_measured_has_no_share() {
        let missing = Reading::unavailable(Reason::NotRun, "no validation data");
        let phase = Phase::new("evaluation", 1, missing, Some(1.0));
        assert_eq!(phase.share.value(), None);
        assert!(phase.bar(10).is_empty());
    }
}

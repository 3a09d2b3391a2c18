//! Learning-rate schedules, as pure functions of the progress of a run.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use super::config::{at_least_one, fraction, not_negative, positive, setting};
use crate::Result;

/// How the learning rate changes over a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// The base rate throughout.
    Constant {},
    /// A rise over the first updates, then half a cosine down to the last one.
    Cosine(CosineConfig),
    /// A drop every few epochs.
    Step(StepConfig),
    /// A drop after each epoch.
    Exponential(ExponentialConfig),
    /// One rise and one long fall; `learning_rate` is the peak.
    OneCycle(OneCycleConfig),
    /// A drop whenever the best metric has not improved for a while.
    ReduceOnPlateau(PlateauConfig),
}

impl Default for Schedule {
    fn default() -> Self {
        Self::Constant {}
    }
}

/// Cosine annealing with a linear warm-up.
///
/// ```text
/// update u < warmup_steps:  base (u + 1) / warmup_steps
/// after:                    base (f + (1 - f) (1 + cos(pi x)) / 2),  x from 0 to 1 over the rest
/// ```
/// # Source
/// Loshchilov and Hutter 2017, equation 5, without restarts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct CosineConfig {
    /// Updates over which the rate rises from near 0 to the base rate; default 0.
    pub warmup_steps: u64,
    /// What is left of the base rate at the last update, in [0, 1); default 0.
    pub final_factor: f64,
}

/// base factor^(floor(epoch / every)).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct StepConfig {
    /// Epochs between two drops; default 10.
    pub every: u64,
    /// What a drop leaves of the rate, above 0; default 0.5.
    pub factor: f64,
}

impl Default for StepConfig {
    fn default() -> Self {
        Self {
            every: 10,
            factor: 0.5,
        }
    }
}

/// base factor^epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ExponentialConfig {
    /// What an epoch leaves of the rate, above 0; default 0.95.
    pub factor: f64,
}

impl Default for ExponentialConfig {
    fn default() -> Self {
        Self { factor: 0.95 }
    }
}

/// One cycle: half a cosine up from `base / initial_divisor` to `base`, half a cosine down to
/// `base / (initial_divisor final_divisor)`.
///
/// # Source
/// Smith and Topin 2018, with two cosine phases as in PyTorch's `OneCycleLR`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct OneCycleConfig {
    /// Share of the updates that the rise takes, in [0, 1); default 0.3.
    pub warmup_fraction: f64,
    /// Peak over first rate, above 0; default 25.
    pub initial_divisor: f64,
    /// First over last rate, above 0; default 10000.
    pub final_divisor: f64,
}

impl Default for OneCycleConfig {
    fn default() -> Self {
        Self {
            warmup_fraction: 0.3,
            initial_divisor: 25.0,
            final_divisor: 1e4,
        }
    }
}

/// A drop after `patience` epochs in which the best metric has not improved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PlateauConfig {
    /// What a drop leaves of the rate, in (0, 1); default 0.5.
    pub factor: f64,
    /// Epochs without an improvement that are put up with; default 5.
    pub patience: u64,
    /// Smallest change that counts as an improvement; default 1e-4.
    pub min_delta: f64,
    /// Epochs after a drop that do not count; default 0.
    pub cooldown: u64,
    /// The rate never drops below this; default 0.
    pub min_learning_rate: f64,
}

impl Default for PlateauConfig {
    fn default() -> Self {
        Self {
            factor: 0.5,
            patience: 5,
            min_delta: 1e-4,
            cooldown: 0,
            min_learning_rate: 0.0,
        }
    }
}

/// What [`Schedule::ReduceOnPlateau`] remembers from epoch to epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    /// Product of all drops so far.
    pub scale: f64,
    /// Best value of the metric, in the sense of the metric.
    pub best: Option<f64>,
    /// Epochs since then.
    pub stale: u64,
    /// Epochs that still do not count.
    pub cooling: u64,
}

impl Default for Plateau {
    fn default() -> Self {
        Self {
            scale: 1.0,
            best: None,
            stale: 0,
            cooling: 0,
        }
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Updates made so far: 0 for the first.
    pub update: u64,
    /// Updates of an epoch.
    pub per_epoch: u64,
    /// Updates of the whole run.
    pub total: u64,
}

impl Schedule {
    /// Gives the name under which a configuration chooses it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Constant {} => "constant",
            Self::Cosine(_) => "cosine",
            Self::Step(_) => "step",
            Self::Exponential(_) => "exponential",
            Self::OneCycle(_) => "one_cycle",
            Self::ReduceOnPlateau(_) => "reduce_on_plateau",
        }
    }

    /// Tells whether the rates depend on how many epochs the run has.
    pub(super) fn depends_on_length(&self) -> bool {
        matches!(self, Self::Cosine(_) | Self::OneCycle(_))
    }

    /// Gives the learning rate of one update.
    pub fn learning_rate(&self, base: f64, at: Position, plateau: &Plateau) -> f64 {
        let epoch = at.update / at.per_epoch.max(1);
        match self {
            Self::Constant {} => base,
            Self::Cosine(config) => base * cosine(config, at),
            Self::Step(config) => base * config.factor.powf((epoch / config.every) as f64),
            Self::Exponential(config) => base * config.factor.powf(epoch as f64),
            Self::OneCycle(config) => one_cycle(config, base, at),
            Self::ReduceOnPlateau(config) => {
                // A floor above the base rate must not raise it.
                (base * plateau.scale).max(config.min_learning_rate.min(base))
            }
        }
    }

    /// Gives what is remembered after an epoch that ended with `value` of the best metric.
    pub fn after_epoch(&self, old: &Plateau, value: f64, higher_is_better: bool) -> Plateau {
        let Self::ReduceOnPlateau(config) = self else {
            return old.clone();
        };
        let better = old.best.is_none_or(|best| {
            let gain = if higher_is_better {
                value - best
            } else {
                best - value
            };
            gain > config.min_delta
        });
        let cooling = old.cooling.saturating_sub(1);
        let stale = if better || old.cooling > 0 {
            0
        } else {
            old.stale + 1
        };
        let best = if better { Some(value) } else { old.best };
        if stale > config.patience {
            return Plateau {
                scale: old.scale * config.factor,
                best,
                stale: 0,
                cooling: config.cooldown,
            };
        }
        Plateau {
            scale: old.scale,
            best,
            stale,
            cooling,
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        match self {
            Self::Constant {} => Ok(()),
            Self::Cosine(config) => fraction("schedule.final_factor", config.final_factor),
            Self::Step(config) => {
                at_least_one("schedule.every", config.every)?;
                positive("schedule.factor", config.factor)
            }
            Self::Exponential(config) => positive("schedule.factor", config.factor),
            Self::OneCycle(config) => {
                fraction("schedule.warmup_fraction", config.warmup_fraction)?;
                positive("schedule.initial_divisor", config.initial_divisor)?;
                positive("schedule.final_divisor", config.final_divisor)
            }
            Self::ReduceOnPlateau(config) => {
                if !(config.factor > 0.0 && config.factor < 1.0) {
                    let value = config.factor.to_string();
                    return Err(setting("schedule.factor", value, "above 0 and below 1"));
                }
                not_negative("schedule.min_delta", config.min_delta)?;
                not_negative("schedule.min_learning_rate", config.min_learning_rate)
            }
        }
    }
}

/// Half a cosine from `from` to `to` while `x` goes from 0 to 1.
fn half_cosine(from: f64, to: f64, x: f64) -> f64 {
    to + (from - to) * (1.0 + (PI * x.clamp(0.0, 1.0)).cos()) / 2.0
}

fn cosine(config: &CosineConfig, at: Position) -> f64 {
    if at.update < config.warmup_steps {
        return (at.update + 1) as f64 / config.warmup_steps as f64;
    }
    let last = at.total.saturating_sub(1);
    let length = last.saturating_sub(config.warmup_steps).max(1);
    let x = (at.update - config.warmup_steps) as f64 / length as f64;
    half_cosine(1.0, config.final_factor, x)
}

fn one_cycle(config: &OneCycleConfig, peak: f64, at: Position) -> f64 {
    let first = peak / config.initial_divisor;
    let last = first / config.final_divisor;
    let end = at.total.saturating_sub(1) as f64;
    let top = (config.warmup_fraction * at.total as f64 - 1.0).clamp(0.0, end);
    let update = at.update as f64;
    if update <= top && top > 0.0 {
        return half_cosine(first, peak, update / top);
    }
    let length = (end - top).max(1.0);
    half_cosine(peak, last, (update - top) / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(text: &str, updates: &[u64]) -> Vec<f64> {
        let schedule: Schedule = toml::from_str(text).unwrap();
        schedule.validate().unwrap();
        updates
            .iter()
            .map(|&update| {
                let at = Position {
                    update,
                    per_epoch: 10,
                    total: 101,
                };
                schedule.learning_rate(2.0, at, &Plateau::default())
            })
            .collect()
    }

    fn check(text: &str, updates: &[u64], expected: &[f64]) {
        let found = rates(text, updates);
        for ((found, expected), update) in found.iter().zip(expected).zip(updates) {
            assert!(
                (found - expected).abs() < 1e-9,
                "{text} at {update}: {found} {expected}"
            );
        }
    }

    #[test]
    fn constant_stays() {
        check("kind = \"constant\"", &[0, 100], &[2.0, 2.0]);
    }

    #[test]
    fn cosine_rises_then_falls() {
        // After 20 warm-up updates, 80 are left: half way (update 60) the cosine is 0.
        let text = "kind = \"cosine\"\nwarmup_steps = 20\nfinal_factor = 0.1";
        check(
            text,
            &[0, 9, 19, 20, 60, 100],
            &[0.1, 1.0, 2.0, 2.0, 1.1, 0.2],
        );
        check("kind = \"cosine\"", &[0, 50, 100], &[2.0, 1.0, 0.0]);
    }

    #[test]
    fn step_drops_every_few_epochs() {
        let text = "kind = \"step\"\nevery = 2\nfactor = 0.1";
        check(text, &[0, 19, 20, 40], &[2.0, 2.0, 0.2, 0.02]);
    }

    #[test]
    fn exponential_drops_each_epoch() {
        check(
            "kind = \"exponential\"\nfactor = 0.5",
            &[9, 10, 30],
            &[2.0, 1.0, 0.25],
        );
    }

    #[test]
    fn one_cycle_rises_to_the_peak_and_falls_below_its_start() {
        // The top lies at 0.3 * 101 - 1 = 29.3; from there to update 100 the rate falls.
        let found = rates("kind = \"one_cycle\"", &[0, 29, 30, 100]);
        assert!((found[0] - 0.08).abs() < 1e-9);
        assert!(found[1] > 1.99 && found[2] > 1.99);
        assert!((found[3] - 0.08 / 1e4).abs() < 1e-9);
    }

    #[test]
    fn a_run_of_one_update_has_a_finite_rate() {
        for kind in ["cosine", "one_cycle"] {
            let schedule: Schedule = toml::from_str(&format!("kind = \"{kind}\"")).unwrap();
            let at = Position {
                update: 0,
                per_epoch: 1,
                total: 1,
            };
            let rate = schedule.learning_rate(1.0, at, &Plateau::default());
            assert!(rate.is_finite() && rate > 0.0, "{kind} {rate}");
        }
    }

    #[test]
    fn a_plateau_drops_after_its_patience_and_cools_down() {
        let text = "kind = \"reduce_on_plateau\"\nfactor = 0.5\npatience = 1\ncooldown = 1\nmin_learning_rate = 0.6";
        let schedule: Schedule = toml::from_str(text).unwrap();
        let mut plateau = Plateau::default();
        let mut scales = Vec::new();
        for value in [1.0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.4] {
            plateau = schedule.after_epoch(&plateau, value, false);
            scales.push(plateau.scale);
        }
        // Two stale epochs make a drop; the epoch after it does not count.
        assert_eq!(scales, [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25]);
        let at = Position {
            update: 0,
            per_epoch: 1,
            total: 1,
        };
        let rate = schedule.learning_rate(2.0, at, &plateau);
        assert!((rate - 0.6).abs() < 1e-12);
    }

    #[test]
    fn a_plateau_of_a_score_watches_for_higher_values() {
        let schedule = Schedule::ReduceOnPlateau(PlateauConfig {
            patience: 0,
            ..PlateauConfig::default()
        });
        let first = schedule.after_epoch(&Plateau::default(), 0.5, true);
        assert!((schedule.after_epoch(&first, 0.6, true).scale - 1.0).abs() < 1e-12);
        assert!((schedule.after_epoch(&first, 0.4, true).scale - 0.5).abs() < 1e-12);
    }
}

//! Variations of training windows: noise, scale, warped time, hidden observations. Each is fixed by seed, epoch and window.

use serde::{Deserialize, Serialize};

use crate::batch::HostBatch;
use crate::config::config;
use crate::error::Result;
use crate::missing::FeatureKind;
use crate::random::Random;

/// Stretches of a window that each have a speed of their own.
const STRETCHES: usize = 4;
/// Keeps these draws apart from those of the shuffles.
const STREAM: u64 = 0x5eed_a06e_0000_0000;

/// How training windows are varied; every amount is 0 unless set, which leaves it out.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct AugmentConfig {
    /// Standard deviation of noise on each value, after scaling.
    pub jitter: f64,
    /// Standard deviation of a factor around 1 for each feature of a window.
    pub scale: f64,
    /// Largest change of speed along a window, as a share below 1: features, targets and timespans are stretched together.
    pub time_warp: f64,
    /// Probability that a value is hidden: it becomes what stands for a missing one (the mean, where none may be missing), and 0 in its mask.
    pub dropout: f64,
}

impl AugmentConfig {
    pub(crate) fn validate(&self, is_forecast: bool) -> Result<()> {
        for (name, value, most) in [
            ("jitter", self.jitter, 10.0),
            ("scale", self.scale, 1.0),
            ("time_warp", self.time_warp, 0.9),
            ("dropout", self.dropout, 0.9),
        ] {
            if !(0.0..=most).contains(&value) {
                return Err(config(
                    "augment",
                    &format!("`{name}` is {value}, expected 0 to {most}"),
                ));
            }
        }
        if is_forecast && self.time_warp > 0.0 {
            return Err(config(
                "augment",
                "`time_warp` would part a forecast's steps from their targets: use it for the other tasks",
            ));
        }
        Ok(())
    }
}

/// The variations of one data set.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Augment {
    pub(crate) config: AugmentConfig,
    /// One a feature.
    pub(crate) kinds: Vec<FeatureKind>,
    /// Scaled value of each feature where it is hidden.
    pub(crate) hidden: Vec<f32>,
    /// The mask of each feature that has one.
    pub(crate) masks: Vec<Option<usize>>,
}

impl Augment {
    /// Finds the masks: the indicators behind the columns' own features, in the order of the quantities.
    pub(crate) fn new(
        config: AugmentConfig,
        kinds: Vec<FeatureKind>,
        hidden: Vec<f32>,
        has_masks: bool,
    ) -> Self {
        let quantities = kinds
            .iter()
            .filter(|kind| **kind == FeatureKind::Value)
            .count();
        let sinces = kinds
            .iter()
            .filter(|kind| **kind == FeatureKind::Since)
            .count();
        let first = kinds.len() - sinces - quantities;
        let mut next = first;
        let mask = |kind: &FeatureKind| {
            let has_one = has_masks && *kind == FeatureKind::Value;
            has_one.then(|| {
                next += 1;
                next - 1
            })
        };
        let masks = kinds.iter().map(mask).collect();
        Self {
            config,
            kinds,
            hidden,
            masks,
        }
    }

    /// Varies the first `steps` steps of a batch's slot.
    pub(crate) fn apply(&self, batch: &mut HostBatch, slot: usize, steps: usize, draw: Draw) {
        let mut random = Random::new(
            draw.seed ^ STREAM,
            draw.epoch << 32 | u64::from(draw.window),
        );
        if self.config.time_warp > 0.0 && steps > 2 {
            self.warp(batch, slot, steps, &mut random);
        }
        let width = self.kinds.len();
        let start = slot * batch.time * width;
        let rows = &mut batch.x[start..start + steps * width];
        for feature in 0..width {
            if self.kinds[feature] != FeatureKind::Value {
                continue;
            }
            let factor = 1.0 + self.config.scale * random.normal();
            for row in rows.chunks_exact_mut(width) {
                if self.config.scale > 0.0 || self.config.jitter > 0.0 {
                    let noise = self.config.jitter * random.normal();
                    row[feature] = (f64::from(row[feature]) * factor + noise) as f32;
                }
                if self.config.dropout > 0.0 && random.uniform() < self.config.dropout {
                    row[feature] = self.hidden[feature];
                    if let Some(mask) = self.masks[feature] {
                        row[mask] = 0.0;
                    }
                }
            }
        }
    }

    fn warp(&self, batch: &mut HostBatch, slot: usize, steps: usize, random: &mut Random) {
        let places = self.places(steps, random);
        let time = batch.time;
        let width = self.kinds.len();
        let start = slot * time * width;
        let before = batch.x[start..start + steps * width].to_vec();
        for (step, place) in places.iter().enumerate() {
            for feature in 0..width {
                let value = |row: usize| before[row * width + feature];
                batch.x[start + step * width + feature] = match self.kinds[feature] {
                    FeatureKind::Indicator => value(place.nearest()),
                    _ => place.between(value),
                };
            }
        }
        if let Some(spans) = &mut batch.timespans {
            let spans = &mut spans[slot * time..slot * time + steps];
            // Times of the steps, from the spans since the previous ones.
            let mut times = vec![0.0f32; steps];
            for step in 1..steps {
                times[step] = times[step - 1] + spans[step];
            }
            let warped: Vec<f32> = places
                .iter()
                .map(|place| place.between(|row| times[row]))
                .collect();
            for step in 1..steps {
                spans[step] = (warped[step] - warped[step - 1]).max(0.0);
            }
        }
        if batch.weights_shape.len() == 2 {
            let width = batch.targets.len() / (batch.batch * time);
            let start = slot * time;
            let targets = batch.targets[start * width..(start + steps) * width].to_vec();
            let weights = batch.weights[start..start + steps].to_vec();
            for (step, place) in places.iter().enumerate() {
                let row = place.nearest();
                batch.targets[(start + step) * width..(start + step + 1) * width]
                    .copy_from_slice(&targets[row * width..(row + 1) * width]);
                batch.weights[start + step] = weights[row];
            }
        }
    }

    /// Where in the window each step is taken from: rising, from the first to the last.
    fn places(&self, steps: usize, random: &mut Random) -> Vec<Place> {
        let limit = self.config.time_warp;
        let speeds: [f64; STRETCHES] = std::array::from_fn(|_| 1.0 + random.between(-limit, limit));
        let mut passed = vec![0.0];
        for step in 1..steps {
            let stretch = (step - 1) * STRETCHES / (steps - 1);
            passed.push(passed[step - 1] + speeds[stretch]);
        }
        let scale = (steps - 1) as f64 / passed[steps - 1];
        passed
            .into_iter()
            .map(|place| Place::new(place * scale, steps))
            .collect()
    }
}

/// What fixes a window's variation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw {
    pub(crate) seed: u64,
    pub(crate) epoch: u64,
    pub(crate) window: u32,
}

/// A place between two steps.
#[derive(Debug, Clone, Copy)]
struct Place {
    row: usize,
    next: usize,
    share: f32,
}

impl Place {
    fn new(place: f64, steps: usize) -> Self {
        let row = (place as usize).min(steps - 1);
        Self {
            row,
            next: (row + 1).min(steps - 1),
            share: (place - row as f64).clamp(0.0, 1.0) as f32,
        }
    }

    fn nearest(self) -> usize {
        if self.share > 0.5 {
            self.next
        } else {
            self.row
        }
    }

    fn between(self, value: impl Fn(usize) -> f32) -> f32 {
        value(self.row) + self.share * (value(self.next) - value(self.row))
    }
}

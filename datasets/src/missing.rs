//! Values that a file does not have: what a model sees in their place.

use serde::{Deserialize, Serialize};

/// What stands for a missing feature.
///
/// Missing targets are never filled: outside of `error`, a step without its target has weight 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Missing {
    /// A missing value is an error that names its place.
    #[default]
    Error,
    /// The last value of the same series; before the first one, the training mean.
    ForwardFill,
    /// The mean over the training part.
    Mean,
    /// The number 0 in the column's own unit.
    Zero,
    /// The training mean, and one more feature a column that is 1 where it was observed and 0 elsewhere.
    Mask,
    /// The last value, a mask as above, and the time since the column was last observed (GRU-D's inputs, Che et al. 2018).
    MaskDelta,
}

/// What a feature is, which decides how it is scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FeatureKind {
    /// A quantity, scaled as configured.
    Value,
    /// 0 or 1, never scaled.
    Indicator,
    /// Time since the last observation, scaled as timespans are.
    Since,
}

impl Missing {
    pub(crate) fn is_error(self) -> bool {
        self == Self::Error
    }

    fn carries(self) -> bool {
        matches!(self, Self::ForwardFill | Self::MaskDelta)
    }

    fn has_mask(self) -> bool {
        matches!(self, Self::Mask | Self::MaskDelta)
    }

    /// Names and kinds of all features, given those of the columns: values, then masks, then times since.
    pub(crate) fn features(
        self,
        names: &[String],
        kinds: &[FeatureKind],
    ) -> (Vec<String>, Vec<FeatureKind>) {
        let quantities = || {
            names
                .iter()
                .zip(kinds)
                .filter(|(_, kind)| **kind == FeatureKind::Value)
                .map(|(name, _)| name)
        };
        let (mut all, mut all_kinds) = (names.to_vec(), kinds.to_vec());
        if self.has_mask() {
            all.extend(quantities().map(|name| format!("{name} observed")));
        }
        if self == Self::MaskDelta {
            all.extend(quantities().map(|name| format!("{name} since")));
        }
        let masks = if self.has_mask() {
            quantities().count()
        } else {
            0
        };
        all_kinds.extend(vec![FeatureKind::Indicator; masks]);
        all_kinds.resize(all.len(), FeatureKind::Since);
        (all, all_kinds)
    }

    /// Fills one series' rows `[rows, columns]` as far as the series itself tells, and adds masks and times.
    ///
    /// Looks back only, so that no part of the data learns of a later one. What is left NaN takes the training mean or 0.
    pub(crate) fn prepare(
        self,
        values: Vec<f32>,
        kinds: &[FeatureKind],
        times: Option<&[f64]>,
    ) -> Vec<f32> {
        if !self.carries() && !self.has_mask() {
            return values;
        }
        let width = kinds.len();
        let quantities: Vec<usize> = (0..width)
            .filter(|&column| kinds[column] == FeatureKind::Value)
            .collect();
        let mut last: Vec<f32> = vec![f32::NAN; width];
        let mut seen: Vec<Option<f64>> = vec![None; width];
        let mut all = Vec::with_capacity(values.len() * 3);
        for (row, now) in values.chunks_exact(width).enumerate() {
            let time = times.map_or(row as f64, |times| times[row]);
            let start = times.map_or(0.0, |times| times[0]);
            let carried = now.iter().zip(&last).map(|(value, last)| {
                if value.is_nan() && self.carries() {
                    *last
                } else {
                    *value
                }
            });
            all.extend(carried);
            if self.has_mask() {
                all.extend(
                    quantities
                        .iter()
                        .map(|&column| f32::from(u8::from(!now[column].is_nan()))),
                );
            }
            if self == Self::MaskDelta {
                // Since the observation before this step, or since the start: what the network cannot see at this step.
                all.extend(
                    quantities
                        .iter()
                        .map(|&column| (time - seen[column].unwrap_or(start)) as f32),
                );
            }
            for &column in &quantities {
                if !now[column].is_nan() {
                    last[column] = now[column];
                    seen[column] = Some(time);
                }
            }
        }
        all
    }

    /// The raw value for what is still missing, given the training mean.
    pub(crate) fn rest(self, mean: f64) -> f64 {
        if self == Self::Zero { 0.0 } else { mean }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GAP: f32 = f32::NAN;

    fn prepare(missing: Missing, times: Option<&[f64]>) -> Vec<f32> {
        let kinds = [FeatureKind::Value, FeatureKind::Indicator];
        missing.prepare(vec![GAP, 1.0, 2.0, 0.0, GAP, 1.0, 5.0, 1.0], &kinds, times)
    }

    fn text(values: &[f32]) -> String {
        format!("{values:?}")
    }

    #[test]
    fn forward_fill_looks_back_only() {
        let filled = prepare(Missing::ForwardFill, None);
        assert_eq!(text(&filled), "[NaN, 1.0, 2.0, 0.0, 2.0, 1.0, 5.0, 1.0]");
        assert_eq!(
            text(&prepare(Missing::Mean, None)),
            "[NaN, 1.0, 2.0, 0.0, NaN, 1.0, 5.0, 1.0]"
        );
    }

    #[test]
    fn masks_and_times_since_follow_the_values() {
        let filled = prepare(Missing::MaskDelta, Some(&[10.0, 11.0, 14.0, 15.0]));
        assert_eq!(
            text(&filled),
            "[NaN, 1.0, 0.0, 0.0, 2.0, 0.0, 1.0, 1.0, 2.0, 1.0, 0.0, 3.0, 5.0, 1.0, 1.0, 4.0]"
        );
        let names = ["a", "wet"].map(str::to_owned);
        let kinds = [FeatureKind::Value, FeatureKind::Indicator];
        let (names, kinds) = Missing::MaskDelta.features(&names, &kinds);
        assert_eq!(names, ["a", "wet", "a observed", "a since"]);
        assert_eq!(kinds[2..], [FeatureKind::Indicator, FeatureKind::Since]);
    }
}

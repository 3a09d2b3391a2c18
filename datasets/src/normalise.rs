//! Scaling of features and targets, fitted on the training part alone.

use serde::{Deserialize, Serialize};

use crate::parallel;

/// What to scale, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct NormaliseConfig {
    /// Scaling of each feature; `standard` unless set.
    pub features: Scaling,
    /// Scaling of each target of a regression; `standard` unless set. Class labels are never scaled.
    pub targets: Scaling,
}

impl Default for NormaliseConfig {
    fn default() -> Self {
        Self {
            features: Scaling::Standard,
            targets: Scaling::Standard,
        }
    }
}

impl NormaliseConfig {
    /// Leaves all values in their own units.
    pub const NONE: Self = Self {
        features: Scaling::None,
        targets: Scaling::None,
    };
}

/// How a column is scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// Values stay as they are.
    None,
    /// Mean 0 and (population) standard deviation 1.
    #[default]
    Standard,
    /// Smallest value 0, largest 1.
    MinMax,
}

/// The scaling of every feature and target, to be stored with a model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normaliser {
    /// One a feature.
    pub features: Vec<Scale>,
    /// One a target; of a classification, one identity.
    pub targets: Vec<Scale>,
    /// Raw value of each feature where it is missing; empty where none may be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fill: Vec<f64>,
}

impl Normaliser {
    /// Fills and scales rows of features in place.
    pub(crate) fn inputs(&self, values: &mut [f32]) {
        if !self.fill.is_empty() {
            for row in values.chunks_exact_mut(self.fill.len()) {
                for (value, fill) in row.iter_mut().zip(&self.fill) {
                    if value.is_nan() {
                        *value = *fill as f32;
                    }
                }
            }
        }
        apply(values, &self.features);
    }
}

/// One column's scaling.
///
/// ```text
/// scaled = (raw - shift) / scale
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// Subtracted first, in the column's unit.
    pub shift: f64,
    /// Divided by, in the column's unit; never 0.
    pub scale: f64,
}

impl Scale {
    /// Changes nothing.
    pub const IDENTITY: Self = Self {
        shift: 0.0,
        scale: 1.0,
    };

    /// Scales a raw value.
    pub fn apply(&self, raw: f64) -> f64 {
        (raw - self.shift) / self.scale
    }

    /// Gives the raw value of a scaled one.
    pub fn restore(&self, scaled: f64) -> f64 {
        scaled * self.scale + self.shift
    }

    fn is_identity(&self) -> bool {
        *self == Self::IDENTITY
    }
}

/// Collects a table's columns row by row, to fit their scaling.
#[derive(Debug)]
pub(crate) struct Fitter {
    scaling: Scaling,
    columns: Vec<Moments>,
}

/// Running mean, squared deviations (Welford 1962) and range of one column.
#[derive(Debug, Clone, Copy)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
    min: f64,
    max: f64,
}

impl Fitter {
    pub(crate) fn new(scaling: Scaling, width: usize) -> Self {
        let empty = Moments {
            count: 0.0,
            mean: 0.0,
            squares: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        };
        Self {
            scaling,
            columns: vec![empty; width],
        }
    }

    pub(crate) fn add(&mut self, row: &[f32]) {
        for (column, value) in self.columns.iter_mut().zip(row) {
            if value.is_nan() {
                continue;
            }
            let value = f64::from(*value);
            column.count += 1.0;
            let before = value - column.mean;
            column.mean += before / column.count;
            column.squares += before * (value - column.mean);
            column.min = column.min.min(value);
            column.max = column.max.max(value);
        }
    }

    /// The means of what was added; 0 for a column without a value.
    pub(crate) fn means(&self) -> Vec<f64> {
        self.columns.iter().map(|column| column.mean).collect()
    }

    /// The fitted scales; a constant column is only shifted.
    pub(crate) fn finish(self) -> Vec<Scale> {
        let scaling = self.scaling;
        let scale = |column: Moments| {
            let (shift, scale) = match scaling {
                _ if column.count < 1.0 => return Scale::IDENTITY,
                Scaling::None => return Scale::IDENTITY,
                Scaling::Standard => (column.mean, (column.squares / column.count).sqrt()),
                Scaling::MinMax => (column.min, column.max - column.min),
            };
            // Rounding alone can leave a constant column with a deviation of this order.
            let is_constant = scale <= shift.abs() * 1e-7;
            Scale {
                shift,
                scale: if is_constant { 1.0 } else { scale },
            }
        };
        self.columns.into_iter().map(scale).collect()
    }
}

/// Rows that one core scales at once; more are worth another core's while.
const SCALED: usize = 1 << 14;

/// Scales rows of values in place; identities leave every bit alone.
pub(crate) fn apply(values: &mut [f32], scales: &[Scale]) {
    if scales.iter().all(Scale::is_identity) {
        return;
    }
    let pieces = values.chunks_mut(SCALED * scales.len());
    parallel::map(pieces.collect(), |piece| {
        for row in piece.chunks_exact_mut(scales.len()) {
            for (value, scale) in row.iter_mut().zip(scales) {
                *value = scale.apply(f64::from(*value)) as f32;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    fn fit(scaling: Scaling, rows: &[[f32; 2]]) -> Vec<Scale> {
        let mut fitter = Fitter::new(scaling, 2);
        rows.iter().for_each(|row| fitter.add(row));
        fitter.finish()
    }

    #[test]
    fn standard_scaling_uses_the_population_deviation() {
        let scales = fit(Scaling::Standard, &[[1.0, 7.0], [3.0, 7.0], [5.0, 7.0]]);
        assert_relative_eq!(scales[0].shift, 3.0);
        assert_relative_eq!(scales[0].scale, (8.0f64 / 3.0).sqrt(), epsilon = 1e-12);
        assert_eq!(
            scales[1],
            Scale {
                shift: 7.0,
                scale: 1.0
            }
        );
    }

    #[test]
    fn min_max_scaling_fills_the_unit_interval() {
        let scales = fit(Scaling::MinMax, &[[1.0, -2.0], [3.0, 0.0], [5.0, 2.0]]);
        let mut values = [1.0, 2.0, 5.0, -2.0];
        apply(&mut values, &scales);
        assert_eq!(
            values.map(f32::to_bits),
            [0.0f32, 1.0, 1.0, 0.0].map(f32::to_bits)
        );
    }

    #[test]
    fn none_is_exact() {
        let scales = fit(Scaling::None, &[[0.1, 0.2]]);
        let mut values = [0.1f32, 0.3];
        apply(&mut values, &scales);
        assert_eq!(values.map(f32::to_bits), [0.1f32, 0.3].map(f32::to_bits));
    }

    #[test]
    fn restoring_undoes_scaling() {
        let scale = Scale {
            shift: 20.5,
            scale: 3.25,
        };
        assert_relative_eq!(scale.restore(scale.apply(-7.125)), -7.125);
    }
}

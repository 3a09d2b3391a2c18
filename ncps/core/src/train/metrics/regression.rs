//! Squared and absolute errors and the share of variance explained.

use super::{HostRows, TargetUnits, weighted};

#[derive(Debug, Clone, Default)]
struct Output {
    weight: f64,
    squared: f64,
    absolute: f64,
    mean: f64,
    /// Weighted sum of squared deviations of the targets from their mean so far.
    deviation: f64,
}

impl Output {
    /// Welford's update for weighted samples (West 1979), which does not cancel as sums of squares do.
    fn add(&mut self, prediction: f64, target: f64, weight: f64) {
        let error = prediction - target;
        self.squared += weight * error * error;
        self.absolute += weight * error.abs();
        self.weight += weight;
        let from_old = target - self.mean;
        self.mean += from_old * weight / self.weight;
        self.deviation += weight * from_old * (target - self.mean);
    }

    /// A constant target is explained fully or not at all.
    fn r2(&self) -> f64 {
        if self.deviation > 0.0 {
            1.0 - self.squared / self.deviation
        } else if self.squared > 0.0 {
            0.0
        } else {
            1.0
        }
    }
}

/// Accumulates the regression metrics, each averaged over outputs.
#[derive(Debug)]
pub(super) struct Regression {
    units: Option<TargetUnits>,
    outputs: Vec<Output>,
}

impl Regression {
    pub(super) fn new(units: Option<TargetUnits>) -> Self {
        Self {
            units,
            outputs: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, rows: &HostRows<'_>) {
        let count = rows.outputs;
        self.outputs.resize(count, Output::default());
        for (row, weight) in weighted(rows.weights) {
            for output in 0..count {
                let at = row * count + output;
                let prediction = self.in_units(output, rows.predictions[at]);
                let target = self.in_units(output, rows.targets[at]);
                self.outputs[output].add(prediction, target, weight);
            }
        }
    }

    fn in_units(&self, output: usize, value: f32) -> f64 {
        let value = f64::from(value);
        match &self.units {
            Some(units) => units.offset[output] + units.scale[output] * value,
            None => value,
        }
    }

    fn average(&self, of: impl Fn(&Output) -> f64) -> Option<f64> {
        let seen = self.outputs.iter().filter(|output| output.weight > 0.0);
        super::average(seen.map(|output| Some(of(output))))
    }

    pub(super) fn mse(&self) -> Option<f64> {
        self.average(|output| output.squared / output.weight)
    }

    pub(super) fn mae(&self) -> Option<f64> {
        self.average(|output| output.absolute / output.weight)
    }

    pub(super) fn r2(&self) -> Option<f64> {
        self.average(Output::r2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows<'a>(
        predictions: &'a [f32],
        targets: &'a [f32],
        weights: &'a [f32],
        outputs: usize,
    ) -> HostRows<'a> {
        HostRows {
            loss: 0.0,
            weight: 0.0,
            predictions,
            targets,
            weights,
            outputs,
        }
    }

    #[track_caller]
    fn near(found: Option<f64>, expected: f64) {
        let found = found.unwrap();
        assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    }

    #[test]
    fn two_outputs_in_two_batches() {
        let mut metrics = Regression::new(None);
        // Output 0: targets 1 2 6, predictions 1 3 4; output 1: targets 0 0 3, predictions 0 0 0.
        metrics.add(&rows(
            &[1.0, 0.0, 3.0, 0.0],
            &[1.0, 0.0, 2.0, 0.0],
            &[1.0, 1.0],
            2,
        ));
        metrics.add(&rows(&[4.0, 0.0], &[6.0, 3.0], &[1.0], 2));
        near(metrics.mse(), (5.0 / 3.0 + 9.0 / 3.0) / 2.0);
        near(metrics.mae(), (3.0 / 3.0 + 3.0 / 3.0) / 2.0);
        // Squared deviations 4 + 1 + 9 = 14 and 1 + 1 + 4 = 6.
        near(metrics.r2(), ((1.0 - 5.0 / 14.0) + (1.0 - 9.0 / 6.0)) / 2.0);
    }

    #[test]
    fn weights_count_as_repetitions() {
        let mut weighed = Regression::new(None);
        weighed.add(&rows(
            &[1.0, 5.0, 9.0],
            &[2.0, 3.0, 7.0],
            &[2.0, 1.0, 0.0],
            1,
        ));
        let mut repeated = Regression::new(None);
        repeated.add(&rows(&[1.0, 1.0, 5.0], &[2.0, 2.0, 3.0], &[1.0; 3], 1));
        near(weighed.mse(), repeated.mse().unwrap());
        near(weighed.r2(), repeated.r2().unwrap());
    }

    #[test]
    fn units_turn_normalised_errors_into_errors() {
        let units = TargetUnits {
            offset: vec![100.0],
            scale: vec![10.0],
        };
        let mut metrics = Regression::new(Some(units));
        metrics.add(&rows(&[0.5, 0.0], &[0.0, 1.0], &[1.0, 1.0], 1));
        near(metrics.mse(), (25.0 + 100.0) / 2.0);
        near(metrics.mae(), 7.5);
        near(metrics.r2(), 1.0 - 125.0 / 50.0);
    }

    #[test]
    fn r2_survives_a_large_mean() {
        let mut metrics = Regression::new(Some(TargetUnits {
            offset: vec![1e9],
            scale: vec![1.0],
        }));
        metrics.add(&rows(&[1.0, 2.0, 4.0], &[1.0, 2.0, 3.0], &[1.0; 3], 1));
        let found = metrics.r2().unwrap();
        assert!((found - 0.5).abs() < 1e-6, "{found}");
    }

    #[test]
    fn a_constant_target_has_a_stated_r2() {
        let mut exact = Regression::new(None);
        exact.add(&rows(&[2.0, 2.0], &[2.0, 2.0], &[1.0; 2], 1));
        near(exact.r2(), 1.0);
        let mut wrong = Regression::new(None);
        wrong.add(&rows(&[2.0, 3.0], &[2.0, 2.0], &[1.0; 2], 1));
        near(wrong.r2(), 0.0);
    }
}

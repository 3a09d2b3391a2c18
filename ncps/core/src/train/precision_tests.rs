use mlx_rs::Array;

use super::*;
use crate::cell::ParamConstraints;
use crate::train::flat::host;
use crate::train::network_tests::{Samples, cfc, ltc};
use crate::train::testing::{Tiny, Waves, config};
use crate::train::{
    BatchSource, EpochReport, Metrics, Model, NonfiniteReport, Observer, StepReport, Trainer,
};

impl LossScale {
    /// A scale that is doubled at the fourth update from now.
    pub(in crate::train) fn almost_doubled(factor: f32) -> Self {
        Self {
            factor,
            updates: PATIENCE - 4,
        }
    }
}

#[test]
fn a_scale_is_halved_at_once_and_doubled_with_patience() {
    let mut scale = LossScale::almost_doubled(8.0);
    for expected in [8.0, 8.0, 8.0, 16.0, 16.0] {
        scale = scale.after_update();
        assert_eq!(scale.factor().to_bits(), f32::to_bits(expected));
    }
    let halved = scale.halved().unwrap();
    assert_eq!(
        (halved.factor().to_bits(), halved.updates),
        (8_f32.to_bits(), 0)
    );
    let least = std::iter::successors(Some(scale), |scale| scale.halved()).last();
    assert_eq!(least.unwrap().factor().to_bits(), LEAST.to_bits());
    let largest = LossScale::almost_doubled(LARGEST);
    let later = (0..4).fold(largest, |scale, _| scale.after_update());
    assert_eq!(later.factor().to_bits(), LARGEST.to_bits());
}

/// Gradients of one batch, as a vector.
fn gradients<M: Model + 'static>(model: M, precision: &str) -> Vec<f32> {
    let text = format!("precision = \"{precision}\"");
    let mut trainer = Trainer::new(model, config(&text), 3).unwrap();
    trainer.progress.scale.factor = 64.0;
    let batch = Samples.batch(0, 0).unwrap();
    let key = trainer.key(0);
    let parameters = &trainer.arrays.parameters;
    let scale = trainer.scale();
    assert_eq!(scale.is_some(), precision == "f16");
    let shared = &trainer.shared;
    let found = shared.traced_gradients(parameters, &[], &key, scale.as_ref(), (&batch, &[]));
    host(&found.unwrap().flat).unwrap()
}

/// The length of the difference of two vectors over that of the first.
fn apart(one: &[f32], other: &[f32]) -> f32 {
    let length = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
    let difference = length(&mut one.iter().zip(other).map(|(a, b)| a - b));
    difference / length(&mut one.iter().copied())
}

#[test]
fn gradients_in_half_precision_are_those_of_f32_up_to_its_digits() {
    let network = |name| match name {
        "cfc" => cfc(),
        _ => ltc(ParamConstraints::Implicit),
    };
    for name in ["cfc", "ltc"] {
        let exact = gradients(network(name), "f32");
        // A few units in the last of 11 and of 8 binary digits.
        for (precision, limit) in [("f16", 2e-3), ("bf16", 1.6e-2)] {
            let half = gradients(network(name), precision);
            assert!(half.iter().all(|value| value.is_finite()));
            let apart = apart(&exact, &half);
            assert!(
                (1e-6..limit).contains(&apart),
                "{name} {precision}: {apart}"
            );
        }
    }
}

/// Notes what a run tells.
#[derive(Default)]
struct Heard {
    steps: Vec<u64>,
    nonfinite: usize,
    last: Metrics,
}

impl Observer for Heard {
    fn on_step(&mut self, report: &StepReport) {
        self.steps.push(report.step);
    }
    fn on_epoch(&mut self, report: &EpochReport) {
        self.last = report.train.clone();
    }
    fn on_nonfinite(&mut self, _: &NonfiniteReport) {
        self.nonfinite += 1;
    }
}

#[test]
fn training_in_half_precision_ends_near_that_in_f32() {
    let losses = ["f32", "f16", "bf16"].map(|precision| {
        let text = format!("epochs = 60\nlearning_rate = 0.05\nprecision = \"{precision}\"");
        let mut trainer = Trainer::new(ltc(ParamConstraints::Implicit), config(&text), 3).unwrap();
        let mut heard = Heard::default();
        trainer.fit(&mut Samples, None, &mut heard).unwrap();
        heard.last["loss"]
    });
    let [exact, f16, bf16] = losses;
    assert!(exact < 0.2, "{losses:?}");
    assert!((f16 / exact - 1.0).abs() < 0.02, "{losses:?}");
    assert!((bf16 / exact - 1.0).abs() < 0.1, "{losses:?}");
}

/// Trains with a first loss scale far beyond what f16 can hold, and gives the weights.
fn trained(more: &str, scale: LossScale) -> (Vec<f32>, Heard, LossScale) {
    let text = format!("epochs = 2\nlearning_rate = 0.02\nprecision = \"f16\"\n{more}");
    let mut trainer = Trainer::new(Tiny::new(1), config(&text), 3).unwrap();
    trainer.progress.scale = scale;
    let mut heard = Heard::default();
    trainer
        .fit(&mut Waves::new(4, 18), None, &mut heard)
        .unwrap();
    let values = trainer.model().values();
    (values, heard, trainer.progress.scale)
}

#[test]
fn a_gradient_beyond_f16_lowers_the_scale_and_loses_no_batch() {
    for more in ["", "accumulate = 3"] {
        let high = LossScale {
            factor: LARGEST,
            updates: 0,
        };
        let (values, heard, scale) = trained(more, high);
        assert_eq!(heard.steps, (1..=10).collect::<Vec<u64>>());
        assert_eq!(heard.nonfinite, 0);
        assert!(scale.factor() < LARGEST, "{scale:?}");
        let (usual, _, _) = trained(more, LossScale::default());
        // Powers of two change no digit, so that only what vanishes below f16's range can differ.
        let apart = apart(&usual, &values);
        assert!(apart < 1e-4, "{apart}");
    }
}

#[test]
fn single_steps_lower_the_scale_too() {
    let text = "learning_rate = 0.02\nprecision = \"f16\"";
    let mut trainer = Trainer::new(Tiny::new(1), config(text), 3).unwrap();
    trainer.progress.scale.factor = LARGEST;
    let report = trainer
        .train_batch(&Waves::new(4, 18).batch(0, 0).unwrap())
        .unwrap();
    assert!(report.gradient_norm.unwrap().is_finite());
    assert!(trainer.progress.scale.factor() < LARGEST);
    assert_eq!((trainer.step(), report.step), (1, 1));
}

/// A loss that is not finite in f32 is no matter of the scale.
#[test]
fn bad_data_are_an_error_in_half_precision_as_well() {
    for precision in ["f16", "bf16"] {
        let text = format!("precision = \"{precision}\"");
        let mut trainer = Trainer::new(Tiny::new(1), config(&text), 3).unwrap();
        let mut batch = Waves::new(4, 18).batch(0, 0).unwrap();
        batch.targets = Array::from_slice(&[f32::NAN; 12], &[4, 3]);
        let error = trainer.train_batch(&batch).unwrap_err();
        assert!(error.to_string().contains("`targets`"), "{error}");
    }
}

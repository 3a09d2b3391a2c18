//! Each loss against numbers computed by hand.

use super::*;
use crate::train::batch::Inputs;

fn batch(targets: Array, weights: Array, mask: Option<Array>) -> Batch {
    Batch {
        inputs: Inputs {
            x: Array::from_slice(&[0.0f32], &[1, 1, 1]),
            timespans: None,
            mask,
        },
        targets,
        weights,
    }
}

fn loss(text: &str) -> LossConfig {
    let config: LossConfig = toml::from_str(text).unwrap();
    config.validate().unwrap();
    config
}

fn mean(text: &str, predictions: &Array, batch: &Batch) -> f64 {
    let terms = loss(text).terms(predictions, batch).unwrap();
    f64::from(terms.loss.item_exact::<f32>()) / f64::from(terms.weight.item_exact::<f32>())
}

#[track_caller]
fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-6, "{found} {expected}");
}

/// Two sequences of two steps with two outputs; errors 1, -2, 3, 0 and 0.5, 0, 0, -4.
fn errors() -> Array {
    Array::from_slice(&[1.0f32, -2.0, 3.0, 0.0, 0.5, 0.0, 0.0, -4.0], &[2, 2, 2])
}

fn zeros() -> Array {
    Array::from_slice(&[0.0f32; 8], &[2, 2, 2])
}

fn ones() -> Array {
    Array::from_slice(&[1.0f32, 1.0], &[2])
}

#[test]
fn regression_losses_average_over_everything() {
    let batch = batch(zeros(), ones(), None);
    near(mean("kind = \"mse\"", &errors(), &batch), 30.25 / 8.0);
    near(mean("kind = \"mae\"", &errors(), &batch), 10.5 / 8.0);
    // delta 1: 0.5, 1.5, 2.5, 0, 0.125, 0, 0, 3.5
    near(mean("kind = \"huber\"", &errors(), &batch), 8.125 / 8.0);
    let half = "kind = \"huber\"\ndelta = 0.5";
    // 0.5 (|e| - 0.25) beyond 0.5: 0.375, 0.875, 1.375, 0, 0.125, 0, 0, 1.875
    near(mean(half, &errors(), &batch), 4.625 / 8.0);
}

#[test]
fn masks_and_weights_choose_what_counts() {
    let mask = Array::from_slice(&[1.0f32, 0.0, 1.0, 1.0], &[2, 2]);
    let weights = Array::from_slice(&[2.0f32, 1.0], &[2]);
    // Position means 2.5, 4.5, 0.125, 8 with weights 2, 0, 1, 1.
    let masked = batch(zeros(), weights, Some(mask));
    near(mean("kind = \"mse\"", &errors(), &masked), 13.125 / 4.0);
    let per_step = Array::from_slice(&[0.0f32, 1.0, 0.0, 3.0], &[2, 2]);
    let weighted = batch(zeros(), per_step, None);
    near(mean("kind = \"mse\"", &errors(), &weighted), 28.5 / 4.0);
}

#[test]
fn a_missing_target_without_weight_is_harmless() {
    let targets = Array::from_slice(&[f32::NAN, 0.0], &[2, 1]);
    let weights = Array::from_slice(&[0.0f32, 1.0], &[2]);
    let predictions = Array::from_slice(&[1.0f32, 3.0], &[2, 1]);
    near(
        mean(
            "kind = \"mse\"",
            &predictions,
            &batch(targets, weights, None),
        ),
        9.0,
    );
}

#[test]
fn the_last_real_step_is_judged() {
    let mask = Array::from_slice(&[1.0f32, 0.0, 1.0, 1.0], &[2, 2]);
    let targets = Array::from_slice(&[0.0f32; 4], &[2, 2]);
    let text = "kind = \"mse\"\nat = \"last_step\"";
    // Step 0 of the first sequence, step 1 of the second.
    let masked = batch(targets.clone(), ones(), Some(mask));
    near(mean(text, &errors(), &masked), (2.5 + 8.0) / 2.0);
    near(
        mean(text, &errors(), &batch(targets, ones(), None)),
        (4.5 + 8.0) / 2.0,
    );
    // Targets for every step are cut down to the last one too.
    near(
        mean(text, &errors(), &batch(zeros(), ones(), None)),
        (4.5 + 8.0) / 2.0,
    );
}

/// Logits whose softmax is (1/6, 2/6, 3/6) and (1/2, 1/4, 1/4).
fn logits() -> Array {
    let values = [1.0f32, 2.0, 3.0, 2.0, 1.0, 1.0].map(f32::ln);
    Array::from_slice(&values, &[2, 3])
}

fn classes() -> Array {
    Array::from_slice(&[2.0f32, 1.0], &[2])
}

#[test]
fn cross_entropy_is_the_mean_surprise() {
    let batch = batch(classes(), ones(), None);
    near(
        mean("kind = \"cross_entropy\"", &logits(), &batch),
        (2f64.ln() + 4f64.ln()) / 2.0,
    );
}

#[test]
fn class_weights_and_smoothing_follow_the_usual_definition() {
    let batch = batch(classes(), ones(), None);
    let weights = "kind = \"cross_entropy\"\nclass_weights = [1.0, 3.0, 2.0]";
    near(
        mean(weights, &logits(), &batch),
        (2.0 * 2f64.ln() + 3.0 * 4f64.ln()) / 5.0,
    );
    let first = [6f64.ln(), 3f64.ln(), 2f64.ln()];
    let second = [2f64.ln(), 4f64.ln(), 4f64.ln()];
    let spread = |row: [f64; 3], w: [f64; 3]| (row[0] * w[0] + row[1] * w[1] + row[2] * w[2]) / 3.0;
    let even = [1.0; 3];
    let smooth = "kind = \"cross_entropy\"\nlabel_smoothing = 0.1";
    near(
        mean(smooth, &logits(), &batch),
        (0.9 * (2f64.ln() + 4f64.ln()) + 0.1 * (spread(first, even) + spread(second, even))) / 2.0,
    );
    let both = format!("{weights}\nlabel_smoothing = 0.1");
    let w = [1.0, 3.0, 2.0];
    near(
        mean(&both, &logits(), &batch),
        (0.9 * (2.0 * 2f64.ln() + 3.0 * 4f64.ln()) + 0.1 * (spread(first, w) + spread(second, w)))
            / 5.0,
    );
}

#[test]
fn binary_cross_entropy_is_stable_and_weighs_labels() {
    // p = 0.75 and 0.2.
    let logits = Array::from_slice(&[3f32.ln(), -(4f32.ln())], &[2, 1]);
    let targets = Array::from_slice(&[1.0f32, 1.0], &[2]);
    let plain = batch(targets, ones(), None);
    let kind = "kind = \"binary_cross_entropy\"";
    let (a, b) = (-(0.75f64.ln()), -(0.2f64.ln()));
    near(mean(kind, &logits, &plain), (a + b) / 2.0);
    let mixed = batch(Array::from_slice(&[1.0f32, 0.0], &[2, 1]), ones(), None);
    let weighted = format!("{kind}\nclass_weights = [2.0, 3.0]");
    near(
        mean(&weighted, &logits, &mixed),
        (3.0 * a - 2.0 * 0.8f64.ln()) / 5.0,
    );
    let smooth = format!("{kind}\nlabel_smoothing = 0.2");
    near(
        mean(&smooth, &logits, &mixed),
        (0.9 * a - 0.1 * 0.25f64.ln() - 0.9 * 0.8f64.ln() + 0.1 * b) / 2.0,
    );
    let far = Array::from_slice(&[1000.0f32, -1000.0], &[2, 1]);
    near(mean(kind, &far, &mixed), 0.0);
}

#[test]
fn a_batch_of_padding_alone_has_no_weight() {
    let none = Array::from_slice(&[0.0f32, 0.0], &[2]);
    let terms = loss("kind = \"mse\"")
        .terms(&errors(), &batch(zeros(), none, None))
        .unwrap();
    near(f64::from(terms.loss.item_exact::<f32>()), 0.0);
    near(f64::from(terms.weight.item_exact::<f32>()), 0.0);
}

#[test]
fn shapes_that_do_not_fit_are_named() {
    let refused = |text: &str, predictions: &Array, batch: &Batch| {
        loss(text)
            .terms(predictions, batch)
            .unwrap_err()
            .to_string()
    };
    let three = Array::from_slice(&[0.0f32; 3], &[3]);
    let message = refused(
        "kind = \"mse\"",
        &errors(),
        &batch(zeros(), three.clone(), None),
    );
    assert!(
        message.contains("`weights`") && message.contains("[3]"),
        "{message}"
    );
    let message = refused("kind = \"mse\"", &errors(), &batch(three, ones(), None));
    assert!(
        message.contains("`targets`") && message.contains("[2, 2, 2]"),
        "{message}"
    );
    let label = batch(ones(), ones(), None);
    let message = refused("kind = \"cross_entropy\"", &errors(), &label);
    assert!(message.contains("last_step"), "{message}");
    let message = refused("kind = \"mse\"", &ones(), &batch(ones(), ones(), None));
    assert!(message.contains("`predictions`"), "{message}");
    let weights = "kind = \"cross_entropy\"\nclass_weights = [1.0, 1.0]";
    let message = refused(weights, &logits(), &batch(classes(), ones(), None));
    assert!(message.contains("loss.class_weights"), "{message}");
}

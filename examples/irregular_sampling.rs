//! Elapsed time as an input that decides: a swing seen at irregular times, with and without knowing them.

#![allow(clippy::print_stdout, reason = "a program for people")]

use anyhow::Result;
use mlx_rs::Array;
use ncps::models::{CfcModel, ModelConfig};
use ncps::train::{Batch, TrainConfig, Trainer};

const SEQUENCES: i32 = 32;
const STEPS: i32 = 24;

fn main() -> Result<()> {
    let epochs = 60;
    println!(
        "error knowing the elapsed times:     {:.4}",
        run(epochs, true)?
    );
    println!(
        "error not knowing the elapsed times: {:.4}",
        run(epochs, false)?
    );
    Ok(())
}

/// Numbers in 0..1 that look random and are always the same.
fn random(state: &mut u64) -> f32 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 40) as f32 / (1u64 << 24) as f32
}

/// Where a swing is and how fast it moves; to be told: where it is one irregular span later.
fn batch(knows_time: bool) -> Result<Batch> {
    let mut state = 11;
    let (mut x, mut spans, mut targets) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..SEQUENCES {
        let mut angle = std::f32::consts::TAU * random(&mut state);
        for _ in 0..STEPS {
            let span = 0.1 + 1.9 * random(&mut state);
            x.extend([angle.sin(), angle.cos()]);
            angle += span;
            spans.push(span);
            targets.push(angle.sin());
        }
    }
    let x = Array::from_slice(&x, &[SEQUENCES, STEPS, 2]);
    let mut batch = Batch::new(x, Array::from_slice(&targets, &[SEQUENCES, STEPS, 1]))?;
    if knows_time {
        batch.inputs.timespans = Some(Array::from_slice(&spans, &[SEQUENCES, STEPS]));
    }
    Ok(batch)
}

fn run(epochs: u64, knows_time: bool) -> Result<f64> {
    let model = CfcModel {
        backbone_units: 32,
        ..CfcModel::new(32)
    };
    let network = ModelConfig::from(model).build(2, 1, 3)?;
    let config = TrainConfig {
        epochs,
        learning_rate: 0.01,
        ..TrainConfig::default()
    };
    let mut trainer = Trainer::new(network, config, 3)?;
    let mut data = vec![batch(knows_time)?; 4];
    trainer.fit(&mut data, None, &mut ())?;
    Ok(trainer.evaluate(&mut data)?["mse"])
}

#[cfg(test)]
mod tests {
    #[test]
    fn elapsed_times_help() {
        assert!(super::run(25, true).unwrap() < 0.7 * super::run(25, false).unwrap());
    }
}

//! Train a liquid network on arrays of one's own: sin t and cos t in, sin 2t out.

#![allow(clippy::print_stdout, reason = "a program for people")]

use anyhow::Result;
use mlx_rs::{Array, ops};
use ncps::AutoNcp;
use ncps::models::{LtcModel, ModelConfig};
use ncps::train::{Batch, TrainConfig, Trainer};

fn main() -> Result<()> {
    println!("mean squared error after 150 epochs: {:.4}", run(150)?);
    Ok(())
}

fn run(epochs: u64) -> Result<f64> {
    let angles: Vec<f32> = (0..48)
        .map(|i| i as f32 * 3.0 * std::f32::consts::PI / 47.0)
        .collect();
    let t = Array::from_slice(&angles, &[1, 48, 1]); // [batch, time, features]
    let inputs = ops::concatenate(&[ops::sin(&t)?, ops::cos(&t)?], -1)?;
    let targets = ops::sin(&t.multiply(Array::from_f32(2.0))?)?;

    let network = ModelConfig::from(LtcModel::new(AutoNcp::new(16, 1))).build(2, 1, 7)?;
    let config = TrainConfig {
        epochs,
        learning_rate: 0.01,
        ..TrainConfig::default()
    };
    let mut trainer = Trainer::new(network, config, 7)?;
    let mut data = vec![Batch::new(inputs, targets)?];
    trainer.fit(&mut data, None, &mut ())?;
    Ok(trainer.evaluate(&mut data)?["mse"])
}

#[cfg(test)]
mod tests {
    #[test]
    fn training_reduces_the_error() {
        assert!(super::run(40).unwrap() < super::run(1).unwrap());
    }
}

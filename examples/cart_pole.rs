//! Imitation from recordings to the closed loop: a policy that sees positions only keeps a pole upright on its cart.

#![allow(clippy::print_stdout, reason = "a program for people")]

use std::path::Path;

use anyhow::Result;
use mlx_rs::Array;
use ncps::datasets::{
    CartPole, DataConfig, Dataset, GeneratedConfig, Generator, HostBatch, NormaliseConfig, Scaling,
    WindowSet,
};
use ncps::models::{CfcModel, ModelConfig};
use ncps::train::{Batch, TrainConfig, Trainer};
use ncps::{AutoNcp, Timespans};

/// Steps of 0.02 s that the policy must last.
const STEPS: usize = 500;
const START: [f64; 4] = [0.3, 0.0, 0.08, 0.0];
/// An angle in rad from which the pole counts as fallen.
const FALLEN: f64 = 0.5;

fn main() -> Result<()> {
    let idle = steps_upright(|_| Ok(0.0))?;
    let policy = steps_upright(policy(60)?)?;
    println!(
        "upright for {idle} of {STEPS} steps without a force, for {policy} under the learned policy"
    );
    Ok(())
}

/// The expert's recordings: positions and angles in, force over 10 N out.
fn recordings() -> Result<Dataset> {
    let config = DataConfig::Generated(GeneratedConfig {
        generator: Generator::CartPole(CartPole::default()),
        normalise: NormaliseConfig {
            features: Scaling::Standard,
            targets: Scaling::None,
        },
        buckets: 1,
    });
    Ok(config.load(Path::new("."))?)
}

/// The batches of one epoch.
fn batches(windows: &WindowSet, size: usize) -> Result<Vec<Batch>> {
    let mut source = windows.batches(size, Some(1))?;
    let mut batch = source.host_batch();
    let count = windows.len() / size;
    (0..count)
        .map(|step| {
            source.fill(0, step, &mut batch)?;
            arrays(&batch)
        })
        .collect()
}

fn arrays(batch: &HostBatch) -> Result<Batch> {
    let [samples, steps, features] = [batch.batch, batch.time, batch.features].map(|n| n as i32);
    let x = Array::from_slice(&batch.x, &[samples, steps, features]);
    let targets = Array::from_slice(&batch.targets, &[samples, steps, 1]);
    Ok(Batch::new(x, targets)?)
}

/// Learns from the recordings; gives what maps a state to a force in newtons and remembers what it saw.
fn policy(epochs: u64) -> Result<impl FnMut([f64; 4]) -> Result<f64>> {
    let data = recordings()?;
    let network = ModelConfig::from(CfcModel::new(AutoNcp::new(24, 1))).build(2, 1, 1)?;
    let config = TrainConfig {
        epochs,
        learning_rate: 0.01,
        ..TrainConfig::default()
    };
    let mut trainer = Trainer::new(network, config, 1)?;
    trainer.fit(&mut batches(&data.train, 30)?, None, &mut ())?;
    let scales = data.schema.normaliser.features;
    let mut memory = trainer.model().zero_state(1);
    Ok(move |[position, _, angle, _]: [f64; 4]| {
        let seen: Vec<f32> = [position, angle]
            .iter()
            .zip(&scales)
            .map(|(value, scale)| ((value - scale.shift) / scale.scale) as f32)
            .collect();
        let x = Array::from_slice(&seen, &[1, 2]);
        let (force, next) = trainer.model().step(&x, &Timespans::Unit, &memory)?;
        force.eval()?;
        memory = next;
        Ok(10.0 * f64::from(force.try_as_slice::<f32>()?[0]))
    })
}

/// How many steps the pole stays up where the actions count.
fn steps_upright(mut act: impl FnMut([f64; 4]) -> Result<f64>) -> Result<usize> {
    let mut state = START;
    for step in 0..STEPS {
        if state[2].abs() > FALLEN {
            return Ok(step);
        }
        state = CartPole::advance(state, act(state)?.clamp(-10.0, 10.0));
    }
    Ok(STEPS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_keeps_the_pole_up() {
        let idle = steps_upright(|_| Ok(0.0)).unwrap();
        let expert = steps_upright(|state| Ok(CartPole::expert(state))).unwrap();
        let learned = steps_upright(policy(30).unwrap()).unwrap();
        assert!(idle < 100 && expert == STEPS, "{idle} {expert}");
        assert_eq!(learned, STEPS);
    }
}

//! Learn a controller from demonstrations, then close the loop: a cart is brought to rest at the origin.

#![allow(clippy::print_stdout, reason = "a program for people")]

use anyhow::Result;
use mlx_rs::Array;
use ncps::models::{CfcModel, ModelConfig};
use ncps::train::{Batch, TrainConfig, Trainer};
use ncps::{AutoNcp, Timespans};

const CARTS: i32 = 32;
const STEPS: i32 = 40;
const STEP_SECONDS: f32 = 0.1;

fn main() -> Result<()> {
    let [start, end] = run(80)?;
    println!(
        "distance to the goal: {start:.2} m at the start, {end:.2} m after {STEPS} steps of the learned policy"
    );
    Ok(())
}

/// A cart on rails: position in m, velocity in m/s.
#[derive(Clone, Copy)]
struct Cart {
    position: f32,
    velocity: f32,
}

impl Cart {
    fn push(&mut self, acceleration: f32) {
        self.velocity += STEP_SECONDS * acceleration;
        self.position += STEP_SECONDS * self.velocity;
    }

    /// The teacher: a spring and a damper with a limit.
    fn teacher(self) -> f32 {
        (-1.5 * self.position - 2.0 * self.velocity).clamp(-1.0, 1.0)
    }
}

fn start(number: i32) -> Cart {
    let share = number as f32 / (CARTS - 1) as f32;
    Cart {
        position: 2.0 * share - 1.0,
        velocity: 0.8 * (7.0 * share).sin(),
    }
}

/// What the teacher saw and did.
fn demonstrations() -> Result<Batch> {
    let (mut seen, mut done) = (Vec::new(), Vec::new());
    for number in 0..CARTS {
        let mut cart = start(number);
        for _ in 0..STEPS {
            seen.extend([cart.position, cart.velocity]);
            done.push(cart.teacher());
            cart.push(cart.teacher());
        }
    }
    let x = Array::from_slice(&seen, &[CARTS, STEPS, 2]);
    Ok(Batch::new(x, Array::from_slice(&done, &[CARTS, STEPS, 1]))?)
}

/// Distance to the goal before and after the learned policy has driven a cart that it has not seen.
fn run(epochs: u64) -> Result<[f32; 2]> {
    let network = ModelConfig::from(CfcModel::new(AutoNcp::new(16, 1))).build(2, 1, 5)?;
    let config = TrainConfig {
        epochs,
        learning_rate: 0.02,
        ..TrainConfig::default()
    };
    let mut trainer = Trainer::new(network, config, 5)?;
    trainer.fit(&mut vec![demonstrations()?; 4], None, &mut ())?;
    let policy = trainer.model();
    let mut cart = Cart {
        position: 0.9,
        velocity: 0.1,
    };
    let before = cart.position.abs();
    let mut state = policy.zero_state(1);
    for _ in 0..STEPS {
        let x = Array::from_slice(&[cart.position, cart.velocity], &[1, 2]);
        let (action, next) = policy.step(&x, &Timespans::Unit, &state)?;
        action.eval()?;
        cart.push(action.try_as_slice::<f32>()?[0].clamp(-1.0, 1.0));
        state = next;
    }
    Ok([before, cart.position.abs()])
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_policy_brings_the_cart_nearer() {
        let [start, end] = super::run(40).unwrap();
        assert!(end < 0.5 * start, "{start} -> {end}");
    }
}

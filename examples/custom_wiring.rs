//! A graph drawn by hand, and what it rules out: each motor neuron hears one of two inputs only.

#![allow(clippy::print_stdout, reason = "a program for people")]

use anyhow::Result;
use mlx_rs::Array;
use ncps::{CustomWiring, Ltc, LtcConfig, SequenceInput, SequenceLayer};

fn main() -> Result<()> {
    let [own, other] = run()?;
    println!("changing input 0 moves output 0 by {own:.4} and output 1 by {other:.4}");
    Ok(())
}

/// Neurons 0 and 1 are motor neurons, 2 and 3 stand between them and the inputs:
/// input 0 excites 2, which drives 0; input 1 excites 3, which inhibits 1.
fn wiring() -> CustomWiring {
    let between_neurons = [(2, 0, 1), (3, 1, -1)];
    let from_inputs = [(0, 2, 1), (1, 3, 1)];
    CustomWiring::from_edges(4, 2, between_neurons, from_inputs)
        .with_layers(vec![vec![2, 3], vec![0, 1]])
}

/// How far each output moves when input 0 changes.
fn run() -> Result<[f32; 2]> {
    let graph = wiring().build(2)?;
    println!("{}", graph.to_dot());
    // An LTC has exactly the synapses of its graph; a wired CfC joins the neurons of a layer with each other, too.
    let layer = LtcConfig::new(2, wiring()).build(1)?;
    let (calm, excited) = (outputs(&layer, 0.0)?, outputs(&layer, 1.0)?);
    Ok([(calm[0] - excited[0]).abs(), (calm[1] - excited[1]).abs()])
}

/// The outputs after ten steps with `value` on input 0 and a constant on input 1.
fn outputs(layer: &Ltc, value: f32) -> Result<[f32; 2]> {
    let steps: Vec<f32> = (0..10).flat_map(|_| [value, 0.5]).collect();
    let x = Array::from_slice(&steps, &[1, 10, 2]);
    let output = layer.sequence(&SequenceInput::new(&x))?.outputs;
    output.eval()?;
    let values = output.try_as_slice::<f32>()?;
    Ok([values[values.len() - 2], values[values.len() - 1]])
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_input_moves_only_the_output_that_it_reaches() {
        let [own, other] = super::run().unwrap();
        assert!(own > 1e-4, "{own}");
        assert!(other < 1e-7, "{other}");
    }
}

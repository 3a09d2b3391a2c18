//! One observation in, one action out, with the state carried: the same numbers as the whole sequence at once.

#![allow(clippy::print_stdout, reason = "a program for people")]

use anyhow::Result;
use mlx_rs::Array;
use ncps::{AutoNcp, CfcConfig, SequenceInput, SequenceLayer};

const STEPS: usize = 50;

fn main() -> Result<()> {
    println!(
        "largest difference between streaming and the whole sequence: {:.1e}",
        run()?
    );
    Ok(())
}

/// A sensor that reports at irregular times: two values and the seconds since the report before.
fn report(step: usize) -> ([f32; 2], f32) {
    let t = step as f32 * 0.3;
    ([t.sin(), (0.7 * t).cos()], 0.2 + 0.1 * (step % 4) as f32)
}

fn run() -> Result<f32> {
    let layer = CfcConfig::new(2, AutoNcp::new(20, 2)).build(1)?;
    // A copy of the layer without MLX: a step takes microseconds, allocates nothing, and may live on another thread.
    let mut policy = layer.policy()?;
    let mut streamed = Vec::new();
    for step in 0..STEPS {
        let (values, elapsed_time) = report(step);
        streamed.extend_from_slice(policy.step(&values, elapsed_time)?);
    }

    let reports: Vec<_> = (0..STEPS).map(report).collect();
    let values: Vec<f32> = reports.iter().flat_map(|(values, _)| *values).collect();
    let spans: Vec<f32> = reports.iter().map(|(_, span)| *span).collect();
    let x = Array::from_slice(&values, &[1, STEPS as i32, 2]);
    let input = SequenceInput::new(&x).timespans(Array::from_slice(&spans, &[1, STEPS as i32]));
    let whole = layer.sequence(&input)?.outputs;
    whole.eval()?;
    let differences = whole
        .try_as_slice::<f32>()?
        .iter()
        .zip(&streamed)
        .map(|(a, b)| (a - b).abs());
    Ok(differences.fold(0.0, f32::max))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_stream_gives_what_the_sequence_gives() {
        assert!(super::run().unwrap() < 1e-5);
    }
}

//! Initial parameter values as a pure function of the seed.
//!
//! The ranges are the reference package's (each cell names its own); the random numbers are ours
//! (ChaCha with 8 rounds), so that a seed means the same weights on every machine and backend.

use std::f64::consts::TAU;

use mlx_rs::Array;
use mlx_rs::module::Param;
use mlx_rs::nn::Linear;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

use crate::array::dim;

/// Draws initial values, in the order in which they are asked for.
#[derive(Debug)]
pub struct Initializer {
    rng: ChaCha8Rng,
}

impl Initializer {
    /// Starts the sequence of draws that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// An array of draws from U(low, high).
    pub fn uniform(&mut self, low: f32, high: f32, shape: &[usize]) -> Array {
        let size = shape.iter().product();
        let values: Vec<f32> = (0..size)
            .map(|_| low + (high - low) * self.unit())
            .collect();
        from_values(&values, shape)
    }

    /// Xavier (Glorot) uniform: U(-a, a) with a = sqrt(6 / (fan_in + fan_out)).
    pub fn xavier_uniform(&mut self, fan_out: usize, fan_in: usize) -> Array {
        let bound = (6.0 / (fan_in + fan_out) as f32).sqrt();
        self.uniform(-bound, bound, &[fan_out, fan_in])
    }

    /// A row [1, units] of Xavier draws, as the reference starts the parameters of mode `pure`.
    pub fn xavier_row(&mut self, units: usize) -> Array {
        self.xavier_uniform(1, units)
    }

    /// The default bias of a linear layer: U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)).
    pub fn linear_bias(&mut self, fan_in: usize, fan_out: usize) -> Array {
        let bound = 1.0 / (fan_in.max(1) as f32).sqrt();
        self.uniform(-bound, bound, &[fan_out])
    }

    /// A linear layer with Xavier weights and the default bias.
    pub fn xavier_linear(&mut self, fan_in: usize, fan_out: usize) -> Linear {
        let weight = self.xavier_uniform(fan_out, fan_in);
        let bias = self.linear_bias(fan_in, fan_out);
        linear(weight, Some(bias))
    }

    /// A linear layer as PyTorch starts it: weight and bias from U(-1 / sqrt(fan_in), 1 / sqrt(fan_in)).
    pub fn linear(&mut self, fan_in: usize, fan_out: usize) -> Linear {
        let bound = 1.0 / (fan_in.max(1) as f32).sqrt();
        let weight = self.uniform(-bound, bound, &[fan_out, fan_in]);
        let bias = self.linear_bias(fan_in, fan_out);
        linear(weight, Some(bias))
    }

    /// A matrix with orthonormal columns (`rows >= columns`), uniformly distributed.
    pub fn orthogonal(&mut self, rows: usize, columns: usize) -> Array {
        let mut basis: Vec<Vec<f64>> = Vec::with_capacity(columns);
        while basis.len() < columns {
            let draw = (0..rows).map(|_| self.normal()).collect();
            basis.extend(orthonormal_part(draw, &basis));
        }
        let values: Vec<f32> = (0..rows)
            .flat_map(|row| basis.iter().map(move |column| column[row] as f32))
            .collect();
        from_values(&values, &[rows, columns])
    }

    /// One draw from U[0, 1) with 24 bits.
    fn unit(&mut self) -> f32 {
        (self.rng.next_u32() >> 8) as f32 / (1_u32 << 24) as f32
    }

    /// One draw from N(0, 1), by the Box-Muller transform.
    fn normal(&mut self) -> f64 {
        let radius = 1.0 - f64::from(self.unit());
        let angle = f64::from(self.unit());
        (-2.0 * radius.ln()).sqrt() * (TAU * angle).cos()
    }
}

/// The seed of part `index` of a network, so that parts with equal shapes start differently.
pub fn child_seed(seed: u64, index: u64) -> u64 {
    // SplitMix64's finaliser (Steele, Lea and Flood 2014): equal inputs only give equal outputs.
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A linear layer from its arrays: weight [outputs, inputs] and bias [outputs].
pub(crate) fn linear(weight: Array, bias: Option<Array>) -> Linear {
    Linear {
        weight: Param::new(weight),
        bias: Param::new(bias),
    }
}

/// An array from row-major host values.
pub(crate) fn from_values(values: &[f32], shape: &[usize]) -> Array {
    let shape: Vec<i32> = shape.iter().map(|&size| dim(size)).collect();
    Array::from_slice(values, &shape)
}

/// `draw` without its part in the span of `basis`, with length 1; none if nothing is left.
fn orthonormal_part(mut draw: Vec<f64>, basis: &[Vec<f64>]) -> Option<Vec<f64>> {
    // Twice is enough: the second pass removes what rounding left in the first one.
    for _ in 0..2 {
        for column in basis {
            let overlap: f64 = draw.iter().zip(column).map(|(a, b)| a * b).sum();
            draw.iter_mut()
                .zip(column)
                .for_each(|(a, b)| *a -= overlap * b);
        }
    }
    let length = draw.iter().map(|a| a * a).sum::<f64>().sqrt();
    (length > 1e-6).then(|| draw.into_iter().map(|a| a / length).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_values_and_others_do_not() {
        let draw = |seed| {
            let mut init = Initializer::new(seed);
            init.xavier_uniform(4, 3).as_slice::<f32>().to_vec()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_ne!(child_seed(7, 0), child_seed(7, 1));
    }

    #[test]
    fn uniform_draws_fill_their_range() {
        let values = Initializer::new(1).uniform(3.0, 8.0, &[10_000]);
        let values = values.as_slice::<f32>();
        assert!(values.iter().all(|v| (3.0..8.0).contains(v)));
        let mean = values.iter().sum::<f32>() / values.len() as f32;
        assert!((mean - 5.5).abs() < 0.05, "mean {mean}");
    }

    #[test]
    fn orthogonal_columns_are_orthonormal() {
        let (rows, columns) = (12, 3);
        let matrix = Initializer::new(3).orthogonal(rows, columns);
        let values = matrix.as_slice::<f32>();
        for i in 0..columns {
            for j in 0..columns {
                let product: f32 = (0..rows)
                    .map(|r| values[r * columns + i] * values[r * columns + j])
                    .sum();
                let expected = if i == j { 1.0 } else { 0.0 };
                assert!((product - expected).abs() < 1e-6, "{i} {j}: {product}");
            }
        }
    }

    #[test]
    fn linear_layers_start_within_the_documented_bounds() {
        let layer = Initializer::new(5).linear(16, 3);
        let bound = 0.25;
        assert_eq!(layer.weight.shape(), &[3, 16]);
        let bias = layer.bias.value.as_ref().unwrap();
        for value in layer.weight.as_slice::<f32>().iter().chain(bias.as_slice()) {
            assert!(value.abs() <= bound);
        }
    }
}

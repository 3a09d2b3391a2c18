//! Random draws that a seed fixes for good, whatever version of `rand` is in use.

use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};

/// A stream of draws; streams of one seed are independent.
#[derive(Debug)]
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Self(generator)
    }

    /// Uniform in [0, 1), 53 bits.
    pub(crate) fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in [from, to).
    pub(crate) fn between(&mut self, from: f64, to: f64) -> f64 {
        from + (to - from) * self.uniform()
    }

    /// Standard normal (Box and Muller 1958, cosine branch).
    pub(crate) fn normal(&mut self) -> f64 {
        // 1 - u lies in (0, 1], where the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Exponential with mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -(1.0 - self.uniform()).ln()
    }

    /// Uniform among 0..bound; the bias of the multiply-shift is below 2^-32 for the sizes that we draw from.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.0.next_u64()) * bound as u128) >> 64) as usize
    }

    /// A seed for a stream of its own.
    pub(crate) fn seed(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Uniform order (Fisher and Yates, from the end).
    pub(crate) fn shuffle<T>(&mut self, values: &mut [T]) {
        for end in (1..values.len()).rev() {
            values.swap(end, self.below(end + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_the_moments_they_should() {
        type Draw = fn(&mut Random) -> f64;
        let mean = |draw: Draw| {
            let mut random = Random::new(1, 0);
            (0..100_000).map(|_| draw(&mut random)).sum::<f64>() / 1e5
        };
        let cases: [(Draw, f64); 4] = [
            (Random::uniform, 0.5),
            (Random::exponential, 1.0),
            (Random::normal, 0.0),
            (|random| random.normal().powi(2), 1.0),
        ];
        for (draw, expected) in cases {
            let found = mean(draw);
            assert!((found - expected).abs() < 0.02, "{found} for {expected}");
        }
    }

    #[test]
    fn every_order_of_three_is_as_likely() {
        let mut random = Random::new(2, 0);
        let mut counts = std::collections::HashMap::new();
        for _ in 0..6000 {
            let mut values = [0, 1, 2];
            random.shuffle(&mut values);
            *counts.entry(values).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 6);
        assert!(
            counts.values().all(|count| (850..1150).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn streams_differ_and_repeat() {
        let draw = |seed, stream| Random::new(seed, stream).below(1 << 30);
        assert_eq!(draw(5, 1), draw(5, 1));
        assert_ne!(draw(5, 1), draw(5, 2));
        assert_ne!(draw(5, 1), draw(6, 1));
    }
}

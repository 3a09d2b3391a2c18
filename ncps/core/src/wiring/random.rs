//! A given share of all possible synapses.

use serde::{Deserialize, Serialize};

use super::Wiring;
use super::draft::{Draft, argument_error, check_sizes};
use super::fully_connected::default_seed;
use super::numpy_random::Pcg64;
use crate::error::Result;

/// A wiring with `round(U * U * (1 - sparsity))` synapses among neurons, and
/// `round(F * U * (1 - sparsity))` from sensory neurons, each set drawn without replacement.
///
/// A synapse is excitatory with probability 2/3. Halves round to even.
///
/// # Source
/// `Random` of the Python package `ncps` 1.0.1. There a graph whose output cannot depend on the
/// input is accepted; here it is an error.
///
/// # Example
/// ```
/// use ncps_core::wiring::Random;
///
/// let wiring = Random::new(12, 3, 0.5).build(5)?;
/// assert_eq!((wiring.synapse_count(), wiring.sensory_synapse_count()), (72, 30));
/// # Ok::<(), ncps_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Random {
    /// Number of neurons, 1 to 8192.
    pub units: usize,
    /// Number of motor neurons, 1 to `units`; all units when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<usize>,
    /// Share of the possible synapses that are left out, from 0 to less than 1; 0 when absent.
    #[serde(default)]
    pub sparsity: f64,
    /// Seed of synapses and polarities; 1111 when absent, as in the reference package.
    #[serde(default = "default_seed")]
    pub seed: u64,
}

impl Random {
    /// A random wiring with the default seed.
    pub fn new(units: usize, outputs: usize, sparsity: f64) -> Self {
        Self {
            units,
            outputs: Some(outputs),
            sparsity,
            seed: default_seed(),
        }
    }

    /// Builds the graph for a number of input features.
    ///
    /// # Errors
    /// [`Error::WiringArgument`](crate::Error::WiringArgument) for a size or sparsity outside its
    /// limits, [`Error::WiringUnreachable`](crate::Error::WiringUnreachable) when the draw leaves
    /// a motor neuron without a path from the input.
    pub fn build(&self, inputs: usize) -> Result<Wiring> {
        let outputs = self.outputs.unwrap_or(self.units);
        check_sizes(self.units, inputs, outputs)?;
        if !(0.0..1.0).contains(&self.sparsity) {
            return Err(argument_error(
                "sparsity",
                self.sparsity,
                "at least 0 and less than 1",
            ));
        }
        let mut rng = Pcg64::new(self.seed);
        let mut draft = Draft::flat(self.units, inputs, outputs);
        for pair in self.drawn_pairs(self.units, &mut rng) {
            draft.connect(pair / self.units, pair % self.units, rng.polarity());
        }
        for pair in self.drawn_pairs(inputs, &mut rng) {
            // The reference draws the polarity of a sensory synapse twice and uses the second.
            rng.polarity();
            draft.connect_sensory(pair / self.units, pair % self.units, rng.polarity());
        }
        draft.finish("lower `sparsity` or choose another `seed`")
    }

    /// Draws pairs (source, target), numbered row by row.
    fn drawn_pairs(&self, sources: usize, rng: &mut Pcg64) -> impl Iterator<Item = usize> + use<> {
        let pairs = sources * self.units;
        let count = (pairs as f64 * (1.0 - self.sparsity)).round_ties_even();
        rng.sample(pairs as u32, count as u32)
            .into_iter()
            .map(|pair| pair as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    #[test]
    fn halves_of_a_synapse_round_to_even() {
        // 3 * 3 * 0.5 = 4.5 and 1 * 3 * 0.5 = 1.5.
        let config = Random {
            seed: 5,
            ..Random::new(3, 1, 0.5)
        };
        let wiring = config.build(1).unwrap();
        assert_eq!(
            (wiring.synapse_count(), wiring.sensory_synapse_count()),
            (4, 2)
        );
    }

    #[test]
    fn a_graph_that_ignores_its_input_is_refused() {
        let error = Random::new(4, 1, 0.99).build(1).unwrap_err();
        assert!(
            matches!(error, Error::WiringUnreachable { motor: 0, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("`sparsity`"), "{error}");
    }
}

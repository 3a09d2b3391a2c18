//! Every neuron connected to every neuron.

use serde::{Deserialize, Serialize};

use super::Wiring;
use super::draft::{Draft, check_sizes};
use super::numpy_random::Pcg64;
use crate::error::Result;

/// A wiring with all synapses: every sensory neuron to every neuron, every neuron to every neuron.
///
/// A synapse is excitatory with probability 2/3.
///
/// # Source
/// `FullyConnected` of the Python package `ncps` 1.0.1. There a sequence layer on it gives all
/// units as outputs whatever `output_dim` says; here it gives `outputs` of them.
///
/// # Example
/// ```
/// use ncps_core::wiring::FullyConnected;
///
/// let wiring = FullyConnected::new(8, 4).build(3)?;
/// assert_eq!((wiring.synapse_count(), wiring.sensory_synapse_count()), (64, 24));
/// # Ok::<(), ncps_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct FullyConnected {
    /// Number of neurons, 1 to 8192.
    pub units: usize,
    /// Number of motor neurons, 1 to `units`; all units when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<usize>,
    /// Seed of the polarities; 1111 when absent, as in the reference package.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Whether a neuron has a synapse to itself; true when absent.
    #[serde(default = "default_self_connections")]
    pub self_connections: bool,
}

pub(super) fn default_seed() -> u64 {
    1111
}

fn default_self_connections() -> bool {
    true
}

impl FullyConnected {
    /// A fully connected wiring with the default seed and with self-connections.
    pub fn new(units: usize, outputs: usize) -> Self {
        Self {
            units,
            outputs: Some(outputs),
            seed: default_seed(),
            self_connections: default_self_connections(),
        }
    }

    /// Builds the graph for a number of input features.
    ///
    /// # Errors
    /// [`Error::WiringArgument`](crate::Error::WiringArgument) for a size outside its limits.
    pub fn build(&self, inputs: usize) -> Result<Wiring> {
        let outputs = self.outputs.unwrap_or(self.units);
        check_sizes(self.units, inputs, outputs)?;
        let mut rng = Pcg64::new(self.seed);
        let mut draft = Draft::flat(self.units, inputs, outputs);
        for source in 0..self.units {
            for target in 0..self.units {
                if source != target || self.self_connections {
                    draft.connect(source, target, rng.polarity());
                }
            }
        }
        for source in 0..inputs {
            for target in 0..self.units {
                draft.connect_sensory(source, target, rng.polarity());
            }
        }
        draft.finish("give the wiring at least one input")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn self_connections_can_be_left_out() {
        let mut config = FullyConnected::new(5, 2);
        config.self_connections = false;
        let wiring = config.build(3).unwrap();
        assert_eq!(wiring.synapse_count(), 20);
        assert!(
            wiring
                .synapses()
                .all(|synapse| synapse.source != synapse.target)
        );
    }

    #[test]
    fn outputs_default_to_all_units() {
        let config: FullyConnected = toml::from_str("units = 6").unwrap();
        assert_eq!(config.seed, 1111);
        assert_eq!(config.build(1).unwrap().outputs(), 6);
    }
}

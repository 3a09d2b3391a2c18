//! Neural circuit policies from a size and a sparsity.

use serde::{Deserialize, Serialize};

use super::draft::{MAX_UNITS, argument_error, check_range};
use super::ncp::default_seed;
use super::{Ncp, Wiring};
use crate::error::Result;

/// A neural circuit policy whose layer sizes and fan-outs follow from `units`, `outputs` and
/// `sparsity`.
///
/// ```text
/// density        = 1 - sparsity
/// command        = max(floor(0.4 * (units - outputs)), 1)
/// inter          = units - outputs - command
/// sensory_fanout = max(floor(inter * density), 1)
/// inter_fanout   = max(floor(command * density), 1)
/// recurrent      = max(floor(2 * command * density), 1)
/// motor_fanin    = max(floor(command * density), 1)
/// ```
///
/// # Source
/// `AutoNCP` of the Python package `ncps` 1.0.1. Its error message names 0.0 to 0.9 as the limits
/// of the sparsity, its check takes 0.1 to 1.0; we keep what it takes, since graphs with those
/// sparsities are in use. At 1.0 every fan-out is 1.
///
/// # Example
/// ```
/// use ncps_core::wiring::AutoNcp;
///
/// let wiring = AutoNcp::new(28, 4).build(20)?;
/// assert_eq!((wiring.synapse_count(), wiring.sensory_synapse_count()), (84, 140));
/// # Ok::<(), ncps_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct AutoNcp {
    /// Number of neurons, `outputs + 3` to 8192.
    pub units: usize,
    /// Number of motor neurons, 1 to `units - 3`.
    pub outputs: usize,
    /// Share of the synapses between two layers that are left out, 0.1 to 1.0; 0.5 when absent.
    #[serde(default = "default_sparsity")]
    pub sparsity: f64,
    /// Seed of the graph, 0 to 4294967295; 22222 when absent, as in the reference package.
    #[serde(default = "default_seed")]
    pub seed: u64,
}

fn default_sparsity() -> f64 {
    0.5
}

impl AutoNcp {
    /// A neural circuit policy with the default sparsity and seed.
    pub fn new(units: usize, outputs: usize) -> Self {
        Self {
            units,
            outputs,
            sparsity: default_sparsity(),
            seed: default_seed(),
        }
    }

    /// Works out layer sizes and fan-outs.
    ///
    /// # Errors
    /// [`Error::WiringArgument`](crate::Error::WiringArgument) for a size or sparsity outside its
    /// limits.
    pub fn to_ncp(&self) -> Result<Ncp> {
        let why = "two inter neurons, a command neuron and a motor neuron at least";
        check_range("units", self.units, (4, MAX_UNITS), why)?;
        let why = "three of the units are needed for the other layers";
        check_range("outputs", self.outputs, (1, self.units - 3), why)?;
        if !(0.1..=1.0).contains(&self.sparsity) {
            return Err(argument_error("sparsity", self.sparsity, "0.1 to 1.0"));
        }
        let density = 1.0 - self.sparsity;
        let hidden = self.units - self.outputs;
        let command = at_least_one(0.4 * hidden as f64);
        let inter = hidden - command;
        Ok(Ncp {
            inter_neurons: inter,
            command_neurons: command,
            motor_neurons: self.outputs,
            sensory_fanout: at_least_one(inter as f64 * density),
            inter_fanout: at_least_one(command as f64 * density),
            recurrent_command_synapses: at_least_one(command as f64 * density * 2.0),
            motor_fanin: at_least_one(command as f64 * density),
            seed: self.seed,
        })
    }

    /// Builds the graph for a number of input features.
    ///
    /// # Errors
    /// As [`AutoNcp::to_ncp`], and for an input count or seed outside its limits.
    pub fn build(&self, inputs: usize) -> Result<Wiring> {
        self.to_ncp()?.build(inputs)
    }
}

/// The whole part of a size, but never 0.
fn at_least_one(size: f64) -> usize {
    (size as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_from_units_and_outputs() {
        let ncp = AutoNcp::new(28, 4).to_ncp().unwrap();
        assert_eq!(
            (ncp.inter_neurons, ncp.command_neurons, ncp.motor_neurons),
            (15, 9, 4)
        );
        assert_eq!((ncp.sensory_fanout, ncp.inter_fanout), (7, 4));
        assert_eq!((ncp.recurrent_command_synapses, ncp.motor_fanin), (9, 4));
    }

    #[test]
    fn the_smallest_policy_has_one_command_neuron() {
        let ncp = AutoNcp::new(4, 1).to_ncp().unwrap();
        assert_eq!(
            (ncp.inter_neurons, ncp.command_neurons, ncp.motor_neurons),
            (2, 1, 1)
        );
    }

    #[test]
    fn both_ends_of_the_sparsity_build() {
        for sparsity in [0.1, 1.0] {
            AutoNcp {
                sparsity,
                ..AutoNcp::new(20, 5)
            }
            .build(7)
            .unwrap();
        }
    }
}

//! Neural circuit policies with every size and fan-out given.

use serde::{Deserialize, Serialize};

use super::Wiring;
use super::draft::{Draft, MAX_SENSORY_ENTRIES, MAX_UNITS, argument_error};
use super::draft::{check_range, check_sizes};
use super::numpy_random::Mt19937;
use crate::error::Result;

/// A neural circuit policy: sensory -> inter -> command -> motor neurons, sparse between the
/// layers, with recurrent synapses among the command neurons.
///
/// Neuron ids are motor `[0, M)`, then command, then inter neurons. Both polarities have the same
/// probability. A neuron that the fan-outs leave without input, or a command neuron without a
/// motor neuron, is connected to about as many partners as the others have on average.
///
/// # Source
/// M. Lechner et al., "Neural circuit policies enabling auditable autonomy", 2020, Algorithm 1;
/// graphs as drawn by `NCP` of the Python package `ncps` 1.0.1.
///
/// # Example
/// ```
/// use ncps_core::wiring::Ncp;
///
/// let config = Ncp {
///     inter_neurons: 12,
///     command_neurons: 6,
///     motor_neurons: 1,
///     sensory_fanout: 4,
///     inter_fanout: 5,
///     recurrent_command_synapses: 4,
///     motor_fanin: 4,
///     seed: 22222,
/// };
/// assert_eq!(config.build(32)?.synapse_count(), 70);
/// # Ok::<(), ncps_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Ncp {
    /// Number of inter neurons, at least 1.
    pub inter_neurons: usize,
    /// Number of command neurons, at least 1.
    pub command_neurons: usize,
    /// Number of motor neurons (outputs), at least 1.
    pub motor_neurons: usize,
    /// Inter neurons that each sensory neuron has a synapse to, 1 to `inter_neurons`.
    pub sensory_fanout: usize,
    /// Command neurons that each inter neuron has a synapse to, 1 to `command_neurons`.
    pub inter_fanout: usize,
    /// Synapses drawn among command neurons; as a pair can be drawn again, an upper bound.
    pub recurrent_command_synapses: usize,
    /// Command neurons that each motor neuron has a synapse from, 1 to `command_neurons`.
    pub motor_fanin: usize,
    /// Seed of the graph, 0 to 4294967295; 22222 when absent, as in the reference package.
    #[serde(default = "default_seed")]
    pub seed: u64,
}

pub(super) fn default_seed() -> u64 {
    22222
}

impl Ncp {
    /// Number of neurons of all three layers.
    pub fn units(&self) -> usize {
        self.inter_neurons
            .saturating_add(self.command_neurons)
            .saturating_add(self.motor_neurons)
    }

    /// Builds the graph for a number of input features.
    ///
    /// # Errors
    /// [`Error::WiringArgument`](crate::Error::WiringArgument) for a size, fan-out or seed outside
    /// its limits.
    pub fn build(&self, inputs: usize) -> Result<Wiring> {
        let seed = self.check(inputs)?;
        let command_start = self.motor_neurons;
        let inter_start = command_start + self.command_neurons;
        let layers = vec![
            (inter_start..self.units()).collect(),
            (command_start..inter_start).collect(),
            (0..self.motor_neurons).collect(),
        ];
        let draft = Draft::new(inputs, self.motor_neurons, layers);
        let mut drawing = Drawing {
            config: self,
            inputs,
            rng: Mt19937::new(seed),
            draft,
        };
        drawing.sensory_to_inter(inter_start);
        drawing.inter_to_command(inter_start, command_start);
        drawing.among_command(command_start);
        drawing.command_to_motor(command_start);
        drawing.draft.finish("raise the fan-outs")
    }

    /// Checks every argument and gives the seed in the generator's type.
    fn check(&self, inputs: usize) -> Result<u32> {
        let layer_limit = (1, MAX_UNITS);
        let why = "a layer needs a neuron, and this is the most neurons of a wiring";
        check_range("inter_neurons", self.inter_neurons, layer_limit, why)?;
        check_range("command_neurons", self.command_neurons, layer_limit, why)?;
        check_range("motor_neurons", self.motor_neurons, layer_limit, why)?;
        check_sizes(self.units(), inputs, self.motor_neurons)?;
        let inter = (1, self.inter_neurons);
        let command = (1, self.command_neurons);
        check_range(
            "sensory_fanout",
            self.sensory_fanout,
            inter,
            "the number of inter neurons",
        )?;
        let why = "the number of command neurons";
        check_range("inter_fanout", self.inter_fanout, command, why)?;
        check_range("motor_fanin", self.motor_fanin, command, why)?;
        let recurrent = self.recurrent_command_synapses;
        let why = "the most synapses of a wiring";
        check_range(
            "recurrent_command_synapses",
            recurrent,
            (0, MAX_SENSORY_ENTRIES),
            why,
        )?;
        check_seed(self.seed)
    }
}

/// Gives the seed in the type that the legacy generator takes.
fn check_seed(seed: u64) -> Result<u32> {
    let limits = "0 to 4294967295 (a seed of the generator that draws these graphs)";
    u32::try_from(seed).map_err(|_| argument_error("seed", seed, limits))
}

/// The graph, the generator, and the order of draws that both share.
struct Drawing<'a> {
    config: &'a Ncp,
    inputs: usize,
    rng: Mt19937,
    draft: Draft,
}

impl Drawing<'_> {
    fn sensory_to_inter(&mut self, inter_start: usize) {
        let Ncp {
            inter_neurons,
            sensory_fanout,
            ..
        } = *self.config;
        let mut reached = vec![false; inter_neurons];
        for source in 0..self.inputs {
            for index in self.rng.sample(inter_neurons, sensory_fanout) {
                reached[index] = true;
                self.connect_sensory(source, inter_start + index);
            }
        }
        let fanin = mean_degree(self.inputs * sensory_fanout, inter_neurons, self.inputs);
        for index in unset(&reached) {
            for source in self.rng.sample(self.inputs, fanin) {
                self.connect_sensory(source, inter_start + index);
            }
        }
    }

    fn inter_to_command(&mut self, inter_start: usize, command_start: usize) {
        let Ncp {
            inter_neurons,
            command_neurons,
            inter_fanout,
            ..
        } = *self.config;
        let mut reached = vec![false; command_neurons];
        for source in 0..inter_neurons {
            for index in self.rng.sample(command_neurons, inter_fanout) {
                reached[index] = true;
                self.connect(inter_start + source, command_start + index);
            }
        }
        // The reference limits this by the command neurons, where the inter neurons are meant.
        let fanin = mean_degree(
            inter_neurons * inter_fanout,
            command_neurons,
            command_neurons,
        );
        for index in unset(&reached) {
            for source in self.rng.sample(inter_neurons, fanin) {
                self.connect(inter_start + source, command_start + index);
            }
        }
    }

    fn among_command(&mut self, command_start: usize) {
        let Ncp {
            command_neurons,
            recurrent_command_synapses,
            ..
        } = *self.config;
        for _ in 0..recurrent_command_synapses {
            let source = self.rng.index(command_neurons);
            let target = self.rng.index(command_neurons);
            self.connect(command_start + source, command_start + target);
        }
    }

    fn command_to_motor(&mut self, command_start: usize) {
        let Ncp {
            command_neurons,
            motor_neurons,
            motor_fanin,
            ..
        } = *self.config;
        let mut used = vec![false; command_neurons];
        for motor in 0..motor_neurons {
            for index in self.rng.sample(command_neurons, motor_fanin) {
                used[index] = true;
                self.connect(command_start + index, motor);
            }
        }
        let fanout = mean_degree(motor_neurons * motor_fanin, command_neurons, motor_neurons);
        for index in unset(&used) {
            for motor in self.rng.sample(motor_neurons, fanout) {
                self.connect(command_start + index, motor);
            }
        }
    }

    fn connect(&mut self, source: usize, target: usize) {
        let polarity = self.rng.polarity();
        self.draft.connect(source, target, polarity);
    }

    fn connect_sensory(&mut self, source: usize, target: usize) {
        let polarity = self.rng.polarity();
        self.draft.connect_sensory(source, target, polarity);
    }
}

/// Synapses that each of `neurons` has on average, at least 1 and at most `limit`.
fn mean_degree(synapses: usize, neurons: usize, limit: usize) -> usize {
    (synapses / neurons).clamp(1, limit)
}

fn unset(flags: &[bool]) -> impl Iterator<Item = usize> + '_ {
    flags
        .iter()
        .enumerate()
        .filter(|(_, flag)| !**flag)
        .map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Ncp {
        Ncp {
            inter_neurons: 10,
            command_neurons: 8,
            motor_neurons: 4,
            sensory_fanout: 4,
            inter_fanout: 5,
            recurrent_command_synapses: 6,
            motor_fanin: 4,
            seed: 22222,
        }
    }

    #[test]
    fn fan_outs_are_exact_where_no_neuron_was_left_out() {
        let wiring = config().build(6).unwrap();
        let units = wiring.units();
        let inter = &wiring.layers()[0];
        for &source in inter {
            let row = &wiring.adjacency()[source * units..(source + 1) * units];
            assert_eq!(row.iter().filter(|&&polarity| polarity != 0).count(), 5);
        }
    }

    #[test]
    fn one_neuron_in_each_layer_is_enough() {
        let config = Ncp {
            inter_neurons: 1,
            command_neurons: 1,
            motor_neurons: 1,
            sensory_fanout: 1,
            inter_fanout: 1,
            recurrent_command_synapses: 0,
            motor_fanin: 1,
            seed: 0,
        };
        let wiring = config.build(1).unwrap();
        assert_eq!(
            (wiring.synapse_count(), wiring.sensory_synapse_count()),
            (2, 1)
        );
    }

    #[test]
    fn neurons_left_out_are_connected() {
        // Two synapses reach at most two of ten inter neurons; the other eight get one each.
        let wiring = Ncp {
            sensory_fanout: 1,
            ..config()
        }
        .build(2)
        .unwrap();
        assert_eq!(wiring.sensory_synapse_count(), 10);
    }
}

//! The finished graph.

use super::{NeuronKind, Synapse};

/// A wiring: neurons in layers, and signed synapses between them.
///
/// A value of this type has been checked: its layers are a partition of the neurons, every
/// polarity is -1, 0 or +1, and every motor neuron can be reached from a sensory neuron. It never
/// changes; to edit one, turn it into a [`CustomWiring`](super::CustomWiring) and build that.
///
/// # Two orders of neurons
/// Ids, matrices and the state of an LTC follow `[motor | command | inter]`. The state of a CfC on
/// a wiring follows [`Wiring::layers`], `[inter | command | motor]`. [`Wiring::layer_order`]
/// gives the permutation between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wiring {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) layers: Vec<Vec<usize>>,
    pub(super) kinds: Vec<NeuronKind>,
    pub(super) adjacency: Vec<i32>,
    pub(super) sensory_adjacency: Vec<i32>,
}

impl Wiring {
    /// Number of neurons, `U`; sensory neurons are not counted.
    pub fn units(&self) -> usize {
        self.kinds.len()
    }

    /// Number of sensory neurons, `F`: one for each input feature.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of motor neurons, `M`; their ids are `0..M`.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Polarities of the synapses among neurons: -1, 0 (no synapse) or +1.
    ///
    /// # Shapes
    /// `[U, U]` row by row; row = source, column = target.
    pub fn adjacency(&self) -> &[i32] {
        &self.adjacency
    }

    /// Polarities of the synapses from sensory neurons: -1, 0 (no synapse) or +1.
    ///
    /// # Shapes
    /// `[F, U]` row by row; row = sensory source, column = target.
    pub fn sensory_adjacency(&self) -> &[i32] {
        &self.sensory_adjacency
    }

    /// Ids of the neurons of each layer, from the input to the output.
    ///
    /// A neural circuit policy has three layers, `[inter, command, motor]`. Fully connected and
    /// random wirings have one, with ids in order. The last layer always starts with the motor
    /// neurons `0..M` in order, so a network run layer by layer finds its outputs there.
    pub fn layers(&self) -> &[Vec<usize>] {
        &self.layers
    }

    /// All neuron ids layer after layer: position in a layered state -> neuron id.
    pub fn layer_order(&self) -> Vec<usize> {
        self.layers.concat()
    }

    /// What the neuron is for.
    ///
    /// Motor neurons are the ids `0..M`. With three layers or more, the other members of the layer
    /// before the last are command neurons. All others are inter neurons.
    ///
    /// # Panics
    /// If there is no neuron `id`, as indexing a slice does.
    pub fn kind(&self, id: usize) -> NeuronKind {
        self.kinds[id]
    }

    /// What each neuron is for, by id.
    pub fn kinds(&self) -> &[NeuronKind] {
        &self.kinds
    }

    /// The synapses among neurons, ordered by source, then target.
    pub fn synapses(&self) -> impl Iterator<Item = Synapse> + '_ {
        synapses_of(&self.adjacency, self.units())
    }

    /// The synapses from sensory neurons, ordered by source, then target.
    pub fn sensory_synapses(&self) -> impl Iterator<Item = Synapse> + '_ {
        synapses_of(&self.sensory_adjacency, self.units())
    }

    /// Number of synapses among neurons.
    pub fn synapse_count(&self) -> usize {
        count(&self.adjacency)
    }

    /// Number of synapses from sensory neurons.
    pub fn sensory_synapse_count(&self) -> usize {
        count(&self.sensory_adjacency)
    }

    /// The share of the `U * U` possible synapses among neurons that do not exist, in `0..=1`.
    pub fn sparsity(&self) -> f64 {
        1.0 - self.synapse_count() as f64 / self.adjacency.len() as f64
    }

    /// Number of synapses that end at each neuron, those from sensory neurons included, by id.
    pub fn in_degrees(&self) -> Vec<usize> {
        let mut degrees = vec![0; self.units()];
        for synapse in self.synapses().chain(self.sensory_synapses()) {
            degrees[synapse.target] += 1;
        }
        degrees
    }

    /// Number of synapses that start at each neuron, by id.
    pub fn out_degrees(&self) -> Vec<usize> {
        self.adjacency.chunks(self.units()).map(count).collect()
    }
}

fn count(matrix: &[i32]) -> usize {
    matrix.iter().filter(|&&polarity| polarity != 0).count()
}

fn synapses_of(matrix: &[i32], units: usize) -> impl Iterator<Item = Synapse> + '_ {
    matrix
        .iter()
        .enumerate()
        .filter(|(_, polarity)| **polarity != 0)
        .map(move |(index, &polarity)| Synapse {
            source: index / units,
            target: index % units,
            polarity,
        })
}

//! The synapses of LTC neurons as the kernels walk them: by target on the way forward, by source on the way back.

use crate::array::dim;
use crate::kernel::spec::LtcSpec;

/// Synapses that meet at each neuron or feature: the largest number of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Degrees {
    /// Recurrent synapses into a neuron.
    pub(crate) incoming: usize,
    /// Recurrent synapses from a neuron.
    pub(crate) outgoing: usize,
    /// Sensory synapses from an input feature.
    pub(crate) sensing: usize,
}

/// Index arrays of a wiring.
#[derive(Clone, Debug)]
pub(crate) struct Wires {
    pub(crate) own: usize,
    pub(crate) senses: usize,
    pub(crate) degrees: Degrees,
    /// First synapse of each target, recurrent `[U + 1]` then sensory `[U + 1]`.
    pub(crate) target_starts: Vec<i32>,
    /// Source of each synapse by target, recurrent then sensory.
    pub(crate) sources: Vec<i32>,
    /// First synapse of each source, recurrent `[U + 1]` then sensory `[F + 1]`.
    pub(crate) source_starts: Vec<i32>,
    /// Target of each synapse by source, recurrent then sensory.
    pub(crate) targets: Vec<i32>,
    /// Entry in the parameter matrices of each synapse by target, then of each by source.
    pub(crate) order: Vec<i32>,
    /// For each entry of the matrices [U, U] and [F, U] its synapse by source, or -1.
    pub(crate) places: Vec<i32>,
}

impl Wires {
    pub(crate) fn new(spec: &LtcSpec) -> Self {
        let (inputs, units) = (spec.inputs, spec.units);
        let by_target = |pairs: &[(usize, usize)]| {
            let mut pairs = pairs.to_vec();
            pairs.sort_by_key(|&(source, target)| (target, source));
            pairs
        };
        let by_source = |pairs: &[(usize, usize)]| {
            let mut pairs = pairs.to_vec();
            pairs.sort_unstable();
            pairs
        };
        let incoming = [by_target(&spec.synapses), by_target(&spec.sensory_synapses)];
        let outgoing = [by_source(&spec.synapses), by_source(&spec.sensory_synapses)];
        let (own, senses) = (incoming[0].len(), incoming[1].len());
        let starts = |pairs: &[(usize, usize)], ends: usize, end: fn(&(usize, usize)) -> usize| {
            (0..=ends)
                .map(|e| pairs.partition_point(|pair| end(pair) < e))
                .collect::<Vec<_>>()
        };
        let target_starts = [
            starts(&incoming[0], units, |pair| pair.1),
            starts(&incoming[1], units, |pair| pair.1),
        ];
        let source_starts = [
            starts(&outgoing[0], units, |pair| pair.0),
            starts(&outgoing[1], inputs, |pair| pair.0),
        ];
        let widest = |starts: &[usize]| {
            let degrees = starts.windows(2).map(|pair| pair[1] - pair[0]);
            degrees.max().unwrap_or(0)
        };
        let degrees = Degrees {
            incoming: widest(&target_starts[0]),
            outgoing: widest(&source_starts[0]),
            sensing: widest(&source_starts[1]),
        };
        let mut places = vec![-1; (units + inputs) * units];
        for (q, (source, target)) in outgoing[0].iter().enumerate() {
            places[source * units + target] = dim(q);
        }
        for (q, (source, target)) in outgoing[1].iter().enumerate() {
            places[(units + source) * units + target] = dim(own + q);
        }
        let entry = |pair: &(usize, usize)| pair.0 * units + pair.1;
        let all = |lists: &[Vec<(usize, usize)>; 2], number: fn(&(usize, usize)) -> usize| {
            indices(lists.iter().flatten().map(number))
        };
        Self {
            own,
            senses,
            degrees,
            target_starts: indices(target_starts.into_iter().flatten()),
            sources: all(&incoming, |pair| pair.0),
            source_starts: indices(source_starts.into_iter().flatten()),
            targets: all(&outgoing, |pair| pair.1),
            order: indices(incoming.iter().chain(&outgoing).flatten().map(entry)),
            places,
        }
    }

    /// Synapses of both kinds.
    pub(crate) fn synapses(&self) -> usize {
        self.own + self.senses
    }
}

/// Indices as the device counts; never empty, because an array there cannot be.
fn indices(values: impl Iterator<Item = usize>) -> Vec<i32> {
    let mut values: Vec<i32> = values.map(dim).collect();
    if values.is_empty() {
        values.push(0);
    }
    values
}

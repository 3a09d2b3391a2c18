//! How fast an LTC's neurons can be, against the steps that its solver takes.

use std::ops::Range;

use mlx_rs::module::ModuleParameters;

use super::fused::host;
use crate::cell::{LtcCell, ParamConstraints};
use crate::error::Result;
use crate::kernel::positive;

/// The fastest neuron of an LTC layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FastestNeuron {
    /// Its number.
    pub neuron: usize,
    /// Its time constant with all its synapses open, in the unit of the timespans.
    pub time_constant: f32,
    /// Sub-steps of the layer's solver for each step of the data.
    pub unfolds: usize,
}

impl FastestNeuron {
    /// Sub-step of a step that lasts `span`, over the time constant. The solver is stable at any value, but above about 10
    /// it no longer follows the neuron's way to its equilibrium.
    pub fn stiffness(&self, span: f32) -> f32 {
        span / self.unfolds.max(1) as f32 / self.time_constant
    }
}

/// Finds the fastest neuron of a cell.
///
/// A neuron i follows `cm_i dv/dt = gleak_i (vleak_i - v) + sum_j w_ji s_ji (E_ji - v)` with gates s from 0 to 1, so that
/// its time constant is at least `cm_i / (gleak_i + sum_j w_ji)`, over the synapses of neurons and of inputs.
pub(super) fn fastest_neuron(cell: &LtcCell) -> Result<Option<FastestNeuron>> {
    let named = cell.parameters().flatten();
    let (units, config) = (cell.units(), cell.config());
    let of = |name: &str| {
        named
            .get(name)
            .map_or_else(|| Ok(Vec::new()), |array| host(array))
    };
    let mut rates = conductances(&of("gleak")?, 0..units, config.constraints);
    let groups = [
        (of("w")?, cell.synapses()),
        (of("sensory_w")?, cell.sensory_synapses()),
    ];
    for (weights, synapses) in groups {
        for &(source, target) in synapses.pairs() {
            let at = source * units + target;
            rates[target] += conductances(&weights, at..at + 1, config.constraints)[0];
        }
    }
    let capacities = conductances(&of("cm")?, 0..units, config.constraints);
    let constants = capacities.iter().zip(&rates).map(|(cm, rate)| cm / rate);
    let fastest = constants
        .enumerate()
        .filter(|(_, constant)| constant.is_finite() && *constant > 0.0)
        .min_by(|a, b| a.1.total_cmp(&b.1));
    Ok(fastest.map(|(neuron, time_constant)| FastestNeuron {
        neuron,
        time_constant,
        unfolds: config.unfolds,
    }))
}

fn conductances(values: &[f32], at: Range<usize>, constraints: ParamConstraints) -> Vec<f32> {
    let count = at.len();
    match values.get(at) {
        Some(values) => values.iter().map(|&v| positive(v, constraints)).collect(),
        None => vec![0.0; count],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rnn::{Implementation, LtcConfig, SequenceLayer};
    use crate::wiring::FullyConnected;
    use mlx_rs::Array;

    #[test]
    fn the_time_constant_is_that_of_the_equation() {
        let mut config = LtcConfig::new(1, FullyConnected::new(2, 1));
        config.constraints = ParamConstraints::Explicit;
        config.unfolds = 4;
        let mut layer = config.build(1).unwrap();
        for (name, slot) in layer.parameters_mut().flatten() {
            let value = match &*name {
                "rnn_cell.cm" => 0.5,
                "rnn_cell.gleak" => 1.0,
                "rnn_cell.w" | "rnn_cell.sensory_w" => 3.0,
                _ => continue,
            };
            let values: Vec<f32> = vec![value; slot.size()];
            *slot = Array::from_slice(&values, slot.shape());
        }
        for implementation in [Implementation::Auto, Implementation::Plain] {
            layer.implementation = implementation;
            // Two synapses of neurons and one of the input: 0.5 / (1 + 3 * 3).
            let found = layer.fastest_neuron().unwrap().unwrap();
            assert!((found.time_constant - 0.05).abs() < 1e-6, "{found:?}");
            assert!((found.stiffness(2.0) - 10.0).abs() < 1e-4, "{found:?}");
        }
    }
}

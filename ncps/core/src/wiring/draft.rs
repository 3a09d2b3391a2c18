//! A wiring in the making: sizes are checked first, synapses added, invariants checked last.

use super::{NeuronKind, Wiring};
use crate::error::{Error, Result};

/// The most neurons that a wiring may have; its adjacency matrix then takes 256 MiB.
pub const MAX_UNITS: usize = 8_192;

/// The most sensory neurons (input features) that a wiring may have.
pub const MAX_INPUTS: usize = 65_536;

/// The most entries of a wiring's sensory matrix, inputs times units: as many as the adjacency
/// matrix may have.
pub const MAX_SENSORY_ENTRIES: usize = MAX_UNITS * MAX_UNITS;

/// Returns the error for an argument outside its limits.
pub(super) fn argument_error(
    argument: &'static str,
    found: impl ToString,
    expected: impl Into<String>,
) -> Error {
    Error::WiringArgument {
        argument,
        found: found.to_string(),
        expected: expected.into(),
    }
}

/// Checks that `value` is in `low..=high`; `why` says what the upper limit comes from.
pub(super) fn check_range(
    argument: &'static str,
    value: usize,
    (low, high): (usize, usize),
    why: &str,
) -> Result<()> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(argument_error(
        argument,
        value,
        format!("{low} to {high} ({why})"),
    ))
}

/// Checks the sizes of a graph, alone and together, before anything is allocated.
pub(super) fn check_sizes(units: usize, inputs: usize, outputs: usize) -> Result<()> {
    check_range(
        "units",
        units,
        (1, MAX_UNITS),
        "the most neurons of a wiring",
    )?;
    check_range(
        "inputs",
        inputs,
        (1, MAX_INPUTS),
        "the most input features of a wiring",
    )?;
    check_range(
        "outputs",
        outputs,
        (1, units),
        "every output is one of the units",
    )?;
    let room = format!("with {units} units, the most that the sensory matrix has room for");
    check_range("inputs", inputs, (1, MAX_SENSORY_ENTRIES / units), &room)
}

/// A graph whose synapses are still being added.
#[derive(Debug)]
pub(super) struct Draft {
    units: usize,
    wiring: Wiring,
}

impl Draft {
    /// A graph without synapses. The caller has passed the sizes through [`check_sizes`].
    pub(super) fn new(inputs: usize, outputs: usize, layers: Vec<Vec<usize>>) -> Self {
        let units = layers.iter().map(Vec::len).sum();
        let kinds = kinds_of(units, outputs, &layers);
        let wiring = Wiring {
            inputs,
            outputs,
            layers,
            kinds,
            adjacency: vec![0; units * units],
            sensory_adjacency: vec![0; inputs * units],
        };
        Self { units, wiring }
    }

    /// A graph of one layer with ids in order.
    pub(super) fn flat(units: usize, inputs: usize, outputs: usize) -> Self {
        Self::new(inputs, outputs, vec![(0..units).collect()])
    }

    /// Adds a synapse among neurons, in the place of one that is already there.
    pub(super) fn connect(&mut self, source: usize, target: usize, polarity: i32) {
        self.wiring.adjacency[source * self.units + target] = polarity;
    }

    /// Adds a synapse from a sensory neuron, in the place of one that is already there.
    pub(super) fn connect_sensory(&mut self, source: usize, target: usize, polarity: i32) {
        self.wiring.sensory_adjacency[source * self.units + target] = polarity;
    }

    /// Checks that every motor neuron can be reached, and gives the finished wiring.
    pub(super) fn finish(self, remedy: &'static str) -> Result<Wiring> {
        let reached = self.reached();
        match (0..self.wiring.outputs).find(|&motor| !reached[motor]) {
            Some(motor) => Err(Error::WiringUnreachable { motor, remedy }),
            None => Ok(self.wiring),
        }
    }

    /// For each neuron, whether a path leads to it from a sensory neuron.
    fn reached(&self) -> Vec<bool> {
        let mut reached = vec![false; self.units];
        let mut open = Vec::new();
        let mut visit = |row: &[i32], open: &mut Vec<usize>| {
            for (target, &polarity) in row.iter().enumerate() {
                if polarity != 0 && !reached[target] {
                    reached[target] = true;
                    open.push(target);
                }
            }
        };
        for row in self.wiring.sensory_adjacency.chunks(self.units) {
            visit(row, &mut open);
        }
        while let Some(source) = open.pop() {
            let start = source * self.units;
            visit(&self.wiring.adjacency[start..start + self.units], &mut open);
        }
        reached
    }
}

/// See [`Wiring::kind`] for the rule.
fn kinds_of(units: usize, outputs: usize, layers: &[Vec<usize>]) -> Vec<NeuronKind> {
    let mut kinds = vec![NeuronKind::Inter; units];
    if let [_, .., command, _] = layers {
        for &id in command {
            kinds[id] = NeuronKind::Command;
        }
    }
    kinds[..outputs].fill(NeuronKind::Motor);
    kinds
}

//! LTC cells as operations.

use super::builder::{Builder, Value};
use super::graph::Op;
use super::linear::places;
use crate::cell::{LtcCell, Synapses};
use crate::error::Result;
use crate::kernel::{self, LEAST_CAPACITY};
use crate::rnn::host;

/// Writes the potentials after one step: all sub-steps, one after the other.
pub(crate) fn ltc(
    graph: &mut Builder,
    cell: &LtcCell,
    x: &Value,
    hidden: &Value,
    elapsed: &Value,
) -> Result<Value> {
    let config = cell.config();
    let x = mapped(graph, x, &cell.input_w.value, &cell.input_b.value)?;
    let sensory = Currents::new(
        graph,
        cell.sensory_synapses(),
        cell.units(),
        &SynapseValues {
            w: positive(cell, &cell.sensory_w)?,
            sigma: host(&cell.sensory_sigma)?,
            mu: host(&cell.sensory_mu)?,
            erev: host(&cell.sensory_erev)?,
        },
    );
    let own = Currents::new(
        graph,
        cell.synapses(),
        cell.units(),
        &SynapseValues {
            w: positive(cell, &cell.w)?,
            sigma: host(&cell.sigma)?,
            mu: host(&cell.mu)?,
            erev: host(&cell.erev)?,
        },
    );
    let (leak, resting) = (positive(cell, &cell.gleak)?, host(&cell.vleak)?);
    let driven = leak.iter().zip(&resting).map(|(leak, v)| leak * v);
    let total = leak.iter().map(|leak| leak + config.epsilon);
    let leak: Vec<f32> = driven.chain(total).collect();
    let leak = graph.constant("leak", &[leak.len()], &leak);
    let base = sensory.of(graph, &x, &leak);
    let capacity: Vec<f32> = positive(cell, &cell.cm)?
        .iter()
        .map(|capacity| capacity + LEAST_CAPACITY)
        .collect();
    let capacity = graph.constant("capacity", &[cell.units()], &capacity);
    let unfolds = graph.number(config.unfolds as f32);
    let substep = graph.div(elapsed, &unfolds);

    let mut v = hidden.clone();
    for _ in 0..config.unfolds {
        let currents = own.of(graph, &v, &base);
        let currents = graph.mul(&currents, &substep);
        let parts = graph.split(&currents, &[cell.units(), cell.units()]);
        let (driven, total) = (&parts[0], &parts[1]);
        let lost = graph.mul(&v, total);
        let net = graph.sub(driven, &lost);
        let inertia = graph.add(&capacity, total);
        let change = graph.div(&net, &inertia);
        v = graph.add(&v, &change);
    }
    Ok(v)
}

/// Writes the outputs of the motor neurons.
pub(crate) fn motor_outputs(graph: &mut Builder, cell: &LtcCell, hidden: &Value) -> Result<Value> {
    let motor: Vec<usize> = (0..cell.outputs()).collect();
    let motor = places(graph, hidden, &motor, cell.units());
    mapped(graph, &motor, &cell.output_w.value, &cell.output_b.value)
}

fn mapped(
    graph: &mut Builder,
    x: &Value,
    scale: &Option<mlx_rs::Array>,
    shift: &Option<mlx_rs::Array>,
) -> Result<Value> {
    let mut mapped = x.clone();
    if let Some(scale) = scale {
        let scale = host(scale)?;
        let scale = graph.constant("scale", &[scale.len()], &scale);
        mapped = graph.mul(&mapped, &scale);
    }
    if let Some(shift) = shift {
        let shift = host(shift)?;
        let shift = graph.constant("shift", &[shift.len()], &shift);
        mapped = graph.add(&mapped, &shift);
    }
    Ok(mapped)
}

/// A parameter as the equations use it.
fn positive(cell: &LtcCell, x: &mlx_rs::Array) -> Result<Vec<f32>> {
    let constraints = cell.config().constraints;
    let values = host(x)?.into_iter();
    Ok(values.map(|x| kernel::positive(x, constraints)).collect())
}

/// Parameters of all possible synapses, each [sources, targets].
struct SynapseValues {
    w: Vec<f32>,
    sigma: Vec<f32>,
    mu: Vec<f32>,
    erev: Vec<f32>,
}

/// Synaptic currents, in the form that needs less work; see [`Synapses`].
enum Currents {
    None,
    /// Two products with one row for each existing synapse.
    Sparse {
        slope: Value,
        offset: Value,
        outward: Value,
    },
    /// One broadcast over all pairs of neurons.
    Dense {
        sigma: Value,
        mu: Value,
        drive: Value,
        conductance: Value,
    },
}

impl Currents {
    fn new(
        graph: &mut Builder,
        synapses: &Synapses,
        targets: usize,
        values: &SynapseValues,
    ) -> Self {
        let pairs = synapses.pairs();
        if pairs.is_empty() {
            return Self::None;
        }
        let sources = values.w.len() / targets;
        if pairs.len() * 4 < values.w.len() {
            return Self::sparse(graph, pairs, [sources, targets], values);
        }
        let mut conductance = vec![0.0; values.w.len()];
        for (source, target) in pairs {
            let place = source * targets + target;
            conductance[place] = values.w[place];
        }
        let drive: Vec<f32> = conductance
            .iter()
            .zip(&values.erev)
            .map(|(w, erev)| w * erev)
            .collect();
        let mut matrix = |what, values: &[f32]| graph.constant(what, &[sources, targets], values);
        Self::Dense {
            sigma: matrix("sigma", &values.sigma),
            mu: matrix("mu", &values.mu),
            drive: matrix("drive", &drive),
            conductance: matrix("conductance", &conductance),
        }
    }

    fn sparse(
        graph: &mut Builder,
        pairs: &[(usize, usize)],
        [sources, targets]: [usize; 2],
        values: &SynapseValues,
    ) -> Self {
        let count = pairs.len();
        let mut slope = vec![0.0; count * sources];
        let mut offset = Vec::with_capacity(count);
        let mut outward = vec![0.0; 2 * targets * count];
        for (synapse, &(source, target)) in pairs.iter().enumerate() {
            let place = source * targets + target;
            slope[synapse * sources + source] = values.sigma[place];
            offset.push(-values.sigma[place] * values.mu[place]);
            outward[target * count + synapse] = values.w[place] * values.erev[place];
            outward[(targets + target) * count + synapse] = values.w[place];
        }
        Self::Sparse {
            slope: graph.constant("slope", &[count, sources], &slope),
            offset: graph.constant("offset", &[count], &offset),
            outward: graph.constant("outward", &[2 * targets, count], &outward),
        }
    }

    /// Currents and conductances [B, 2 targets] for potentials [B, sources], added to `base`.
    fn of(&self, graph: &mut Builder, potentials: &Value, base: &Value) -> Value {
        let sum = match self {
            Self::None => return base.clone(),
            Self::Sparse {
                slope,
                offset,
                outward,
            } => {
                let open = graph.gemm(potentials, slope, Some(offset));
                let open = graph.unary(Op::Sigmoid, &open);
                graph.gemm(&open, outward, None)
            }
            Self::Dense {
                sigma,
                mu,
                drive,
                conductance,
            } => {
                let column = graph.unary(Op::Unsqueeze { axis: 2 }, potentials);
                let distance = graph.sub(&column, mu);
                let open = graph.mul(&distance, sigma);
                let open = graph.unary(Op::Sigmoid, &open);
                let [driven, total] = [drive, conductance].map(|factor| {
                    let each = graph.mul(&open, factor);
                    graph.unary(Op::ReduceSum { axis: 1 }, &each)
                });
                graph.concat(&[&driven, &total])
            }
        };
        graph.add(&sum, base)
    }
}

//! The liquid time-constant (LTC) cell.

use mlx_rs::macros::ModuleParameters;
use mlx_rs::module::Param;
use mlx_rs::{Array, ops};
use serde::{Deserialize, Serialize};

use super::synapses::{Currents, SynapseValues};
use super::{Advance, Elapsed, Mapping, ParamConstraints, Synapses};
use crate::array::{Mlx, dim, halves, scalar, take_features, time_steps};
use crate::error::{Error, Result};
use crate::init::{Initializer, from_values};
use crate::wiring::Wiring;

/// Keeps the division defined for a neuron without capacity in a step without duration.
const LEAST_CAPACITY: f32 = 1e-12;

/// What an LTC cell is built from, besides its wiring.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct LtcCellConfig {
    /// Solver sub-steps per input, at least 1.
    pub unfolds: usize,
    /// Added to each neuron's total conductance, at least 0.
    pub epsilon: f32,
    /// How conductances and capacities are kept positive.
    pub constraints: ParamConstraints,
    /// What is done to each input feature before the sensory synapses.
    pub input_mapping: Mapping,
    /// What is done to each motor neuron to give the output.
    pub output_mapping: Mapping,
}

impl Default for LtcCellConfig {
    fn default() -> Self {
        Self {
            unfolds: 6,
            epsilon: 1e-8,
            constraints: ParamConstraints::default(),
            input_mapping: Mapping::default(),
            output_mapping: Mapping::default(),
        }
    }
}

impl LtcCellConfig {
    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Layer`] for no unfolds or an epsilon that is negative or not finite.
    pub fn validate(&self) -> Result<()> {
        if self.unfolds == 0 {
            return Err(Error::Layer {
                layer: "ltc",
                key: "unfolds",
                found: "0".to_owned(),
                expected: "at least 1 solver step per input (the usual number is 6)".to_owned(),
            });
        }
        if !(self.epsilon >= 0.0 && self.epsilon.is_finite()) {
            return Err(Error::Layer {
                layer: "ltc",
                key: "epsilon",
                found: self.epsilon.to_string(),
                expected: "a finite number of at least 0 (the usual one is 1e-8)".to_owned(),
            });
        }
        Ok(())
    }

    /// A cell on `wiring`, with values that depend on the draws of `init` only.
    pub(crate) fn build(&self, wiring: &Wiring, init: &mut Initializer) -> LtcCell {
        let (inputs, units, outputs) = (wiring.inputs(), wiring.units(), wiring.outputs());
        let (own, sensory) = ([units, units], [inputs, units]);
        let mut draw = |low, high, shape: &[usize]| Param::new(init.uniform(low, high, shape));
        LtcCell {
            gleak: draw(0.001, 1.0, &[units]),
            vleak: draw(-0.2, 0.2, &[units]),
            cm: draw(0.4, 0.6, &[units]),
            w: draw(0.001, 1.0, &own),
            sigma: draw(3.0, 8.0, &own),
            mu: draw(0.3, 0.8, &own),
            erev: polarities(wiring.adjacency(), &own),
            sensory_w: draw(0.001, 1.0, &sensory),
            sensory_sigma: draw(3.0, 8.0, &sensory),
            sensory_mu: draw(0.3, 0.8, &sensory),
            sensory_erev: polarities(wiring.sensory_adjacency(), &sensory),
            input_w: constant(self.input_mapping != Mapping::None, 1.0, inputs),
            input_b: constant(self.input_mapping == Mapping::Affine, 0.0, inputs),
            output_w: constant(self.output_mapping != Mapping::None, 1.0, outputs),
            output_b: constant(self.output_mapping == Mapping::Affine, 0.0, outputs),
            synapses: Synapses::new(wiring.adjacency(), units, units),
            sensory_synapses: Synapses::new(wiring.sensory_adjacency(), inputs, units),
            config: self.clone(),
            inputs,
            units,
            outputs,
        }
    }
}

/// Neurons with liquid time constants, joined by the synapses of a wiring.
///
/// ```text
/// P(.)  = softplus (implicit constraints) or identity (explicit)
/// a_ij  = P(w_ij) sigmoid(sigma_ij (v_i - mu_ij))             for each synapse i -> j
/// I_j   = P(gleak_j) vleak_j + sum_i a_ij erev_ij + sensory   the same sums over the input features
/// G_j   = P(gleak_j) + sum_i a_ij + sensory + epsilon
/// v_j  <- v_j + d (I_j - v_j G_j) / (P(cm_j) + d G_j),        d = elapsed / unfolds, `unfolds` times
/// out   = v[motor] output_w + output_b
/// ```
///
/// The update is the semi-implicit Euler step of `cm dv/dt = I - v G`, which the reference writes
/// as `(C v + I) / (C + G)` with `C = cm / d`: equal, except that there an elapsed time of 0
/// divides by zero, while here it leaves the state as it is, exactly.
///
/// # Source
/// Hasani et al. 2021, "Liquid time-constant networks", algorithm 1; parameters, names and ranges as in the
/// PyTorch package `ncps` 1.0.1.
///
/// # Shapes
/// `gleak`, `vleak`, `cm`: `[U]`; `w`, `sigma`, `mu`, `erev`: [U, U]; `sensory_*`: [F, U];
/// `input_w`, `input_b`: `[F]`; `output_w`, `output_b`: `[M]`.
#[derive(Debug, Clone, ModuleParameters)]
pub struct LtcCell {
    /// Leak conductances.
    #[param]
    pub gleak: Param<Array>,
    /// Leak (resting) potentials.
    #[param]
    pub vleak: Param<Array>,
    /// Membrane capacities.
    #[param]
    pub cm: Param<Array>,
    /// Synaptic conductances.
    #[param]
    pub w: Param<Array>,
    /// Slopes of the synapses' sigmoids.
    #[param]
    pub sigma: Param<Array>,
    /// Potentials at which the synapses are half open.
    #[param]
    pub mu: Param<Array>,
    /// Reversal potentials, at first the polarities of the wiring.
    #[param]
    pub erev: Param<Array>,
    /// Conductances of the sensory synapses.
    #[param]
    pub sensory_w: Param<Array>,
    /// Slopes of the sensory synapses' sigmoids.
    #[param]
    pub sensory_sigma: Param<Array>,
    /// Inputs at which the sensory synapses are half open.
    #[param]
    pub sensory_mu: Param<Array>,
    /// Reversal potentials of the sensory synapses.
    #[param]
    pub sensory_erev: Param<Array>,
    /// Scale of each input feature.
    #[param]
    pub input_w: Param<Option<Array>>,
    /// Shift of each input feature.
    #[param]
    pub input_b: Param<Option<Array>>,
    /// Scale of each motor neuron.
    #[param]
    pub output_w: Param<Option<Array>>,
    /// Shift of each motor neuron.
    #[param]
    pub output_b: Param<Option<Array>>,
    synapses: Synapses,
    sensory_synapses: Synapses,
    config: LtcCellConfig,
    inputs: usize,
    units: usize,
    outputs: usize,
}

impl LtcCell {
    /// The settings that the cell was built from.
    pub fn config(&self) -> &LtcCellConfig {
        &self.config
    }

    /// Number of input features.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Number of neurons.
    pub fn units(&self) -> usize {
        self.units
    }

    /// Number of motor neurons.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The synapses among the neurons.
    pub fn synapses(&self) -> &Synapses {
        &self.synapses
    }

    /// The synapses from the input features.
    pub fn sensory_synapses(&self) -> &Synapses {
        &self.sensory_synapses
    }

    /// The outputs [..., M] of states [..., U].
    pub(crate) fn readout(&self, hidden: &Array) -> Mlx {
        let motor: Vec<usize> = (0..self.outputs).collect();
        let motor = take_features(hidden, &motor)?;
        mapped(motor, &self.output_w.value, &self.output_b.value)
    }

    fn positive(&self, x: &Array) -> Mlx {
        match self.config.constraints {
            ParamConstraints::Implicit => ops::logaddexp(x, scalar(0.0, x)?),
            ParamConstraints::Explicit => Ok(x.clone()),
        }
    }

    /// Prepares a sequence x [T, B, F].
    pub(crate) fn run(&self, x: &Array, elapsed: &Elapsed) -> Mlx<LtcRun> {
        let unfolds = self.config.unfolds as f32;
        // A span that all steps share goes into the conductances; others multiply the currents.
        let scale = elapsed.constant().map(|span| span / unfolds);
        let x = mapped(x.clone(), &self.input_w.value, &self.input_b.value)?;
        let sensory = SynapseValues {
            w: &self.positive(&self.sensory_w)?,
            sigma: &self.sensory_sigma,
            mu: &self.sensory_mu,
            erev: &self.sensory_erev,
        };
        let sensory = self.sensory_synapses.currents(&sensory, scale)?;
        let own = SynapseValues {
            w: &self.positive(&self.w)?,
            sigma: &self.sigma,
            mu: &self.mu,
            erev: &self.erev,
        };
        let capacity = self.positive(&self.cm)?;
        Ok(LtcRun {
            base: time_steps(&self.with_leak(&x, &sensory, scale)?)?,
            currents: self.synapses.currents(&own, scale)?,
            capacity: capacity.add(scalar(LEAST_CAPACITY, &capacity)?)?,
            unfolds: self.config.unfolds,
            units: dim(self.units),
            substeps: substeps(elapsed, unfolds)?,
        })
    }

    /// Leak and sensory currents [T, B, 2U] of all steps.
    fn with_leak(&self, x: &Array, sensory: &Currents, scale: Option<f32>) -> Mlx {
        let leak = self.positive(&self.gleak)?;
        let total = leak.add(scalar(self.config.epsilon, &leak)?)?;
        let mut leak = ops::concatenate(&[leak.multiply(&self.vleak)?, total], -1)?;
        if let Some(scale) = scale {
            leak = leak.multiply(scalar(scale, &leak)?)?;
        }
        sensory.of(x, &leak)
    }
}

/// An LTC cell with everything but the recurrence of one sequence done.
#[derive(Debug)]
pub(crate) struct LtcRun {
    base: Vec<Array>,
    currents: Currents,
    capacity: Array,
    unfolds: usize,
    units: i32,
    substeps: Option<Vec<Array>>,
}

impl Advance for LtcRun {
    fn advance(&self, t: usize, hidden: &Array) -> Mlx {
        let substep = self.substeps.as_ref().map(|steps| &steps[t]);
        let mut v = hidden.clone();
        for _ in 0..self.unfolds {
            let mut currents = self.currents.of(&v, &self.base[t])?;
            if let Some(substep) = substep {
                currents = currents.multiply(substep)?;
            }
            let (driven, total) = halves(&currents, self.units)?;
            let net = driven.subtract(v.multiply(&total)?)?;
            v = v.add(net.divide(self.capacity.add(total)?)?)?;
        }
        Ok(v)
    }
}

/// The solver's step lengths, where they differ between steps.
fn substeps(elapsed: &Elapsed, unfolds: f32) -> Mlx<Option<Vec<Array>>> {
    match elapsed {
        Elapsed::Constant(_) => Ok(None),
        Elapsed::Steps(steps) => {
            let divide = |span: &Array| span.divide(scalar(unfolds, span)?);
            Ok(Some(steps.iter().map(divide).collect::<Mlx<_>>()?))
        }
    }
}

fn mapped(x: Array, scale: &Option<Array>, shift: &Option<Array>) -> Mlx {
    let scaled = match scale {
        Some(scale) => x.multiply(scale)?,
        None => x,
    };
    match shift {
        Some(shift) => scaled.add(shift),
        None => Ok(scaled),
    }
}

fn polarities(adjacency: &[i32], shape: &[usize]) -> Param<Array> {
    let values: Vec<f32> = adjacency.iter().map(|&a| a as f32).collect();
    Param::new(from_values(&values, shape))
}

fn constant(wanted: bool, value: f32, size: usize) -> Param<Option<Array>> {
    Param::new(wanted.then(|| from_values(&vec![value; size], &[size])))
}

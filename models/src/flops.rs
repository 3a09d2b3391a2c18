//! How much arithmetic a network asks for, counted from its structure: only synapses that exist.
//!
//! # Counting rules
//! One step of one sample, forwards:
//!
//! | part | products (2 for each multiply-add) | arithmetic | functions |
//! |---|---|---|---|
//! | linear map `I -> O` | 2 I O | O (bias) | |
//! | backbone layer of width K, from W features | 2 W K | K, and per feature 2 (`lecun_tanh`), 1 (`relu`, `silu`), 3 (`gelu`) | K tanh (`lecun_tanh`, `tanh`), sigmoid (`silu`) or exp (`gelu`) |
//! | CfC heads, U neurons, from W features | 2 for each weight that the mask leaves, of 4 heads (1 in mode `pure`) | 10 U (`default`), 8 U (`no_gate`), 6 U (`pure`) | 2 U tanh and U sigmoid; U exp in mode `pure` |
//! | LTC, S synapses and `unfolds` sub-steps | | (6 S + 4 U) `unfolds` + 6 for each sensory synapse + 2 for each affine (1 for each linear) input or output | a sigmoid per synapse and sub-step, and per sensory synapse |
//! | LSTM, or the memory of a mixed-memory layer | 8 U (F + U) | 8 U | 3 U sigmoid, 2 U tanh |
//! | GRU | 6 U (F + U) | 11 U | 2 U sigmoid, U tanh |
//!
//! A synapse's 6 are three multiply-adds: the sigmoid's argument, the current and the conductance. A neuron's 4 are
//! `(C v + I) / (C + G)`. The backward pass counts twice the forward one in products and arithmetic (a gradient for each
//! of the two factors) and needs no function values of its own. A training step adds 4 for each prediction (mean
//! squared error) and 13 for each parameter (Adam). Work that does not grow with batch and time, such as the softplus of
//! the LTC's parameters, is left out. A network is taken to predict at every step.

use std::ops::{Add, Mul};

use mlx_rs::Array;
use ncps_core::Error as CoreError;
use ncps_core::cell::{Activation, CfcCell, Mapping, Mode};
use ncps_core::rnn::{Cfc, CfcNeurons, Gru, Lstm, Ltc, SequenceLayer};
use serde::{Deserialize, Serialize};

use crate::encoder::Encoder;
use crate::error::Result;
use crate::network::Network;
use crate::stacked::StackedNetwork;

/// Arithmetic for each prediction of the mean squared error, both ways.
const LOSS: u64 = 4;
/// Arithmetic for each parameter of an Adam update: 3 and 4 for the moments, 6 for the step.
const ADAM: u64 = 13;

/// An amount of work, by kind, since each kind has a speed of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Work {
    /// Floating-point operations in matrix products.
    pub products: u64,
    /// Floating-point operations elsewhere: element by element and along sparse synapses.
    pub arithmetic: u64,
    /// Values of the sigmoid.
    pub sigmoids: u64,
    /// Values of the hyperbolic tangent.
    pub tanhs: u64,
    /// Values of the exponential (where it stands alone).
    pub exps: u64,
}

impl Work {
    /// All floating-point operations; values of functions are not among them.
    pub fn flops(&self) -> u64 {
        self.products + self.arithmetic
    }

    /// Values of functions of all kinds.
    pub fn functions(&self) -> u64 {
        self.sigmoids + self.tanhs + self.exps
    }

    /// One step of one sample, forwards.
    ///
    /// # Errors
    /// [`crate::Error::Core`] if a mask cannot be read, or for a kind of layer without a count.
    pub fn of_step(network: &dyn Network) -> Result<Self> {
        let mut work = Self::default();
        for layer in network.layers() {
            work = work + of_layer(layer)?;
        }
        let parts = network.summary().layers;
        for head in parts.iter().filter(|part| part.name == "head") {
            work = work + linear(head.inputs, head.outputs);
        }
        let stacked = network.as_any().downcast_ref::<StackedNetwork>();
        let encoder = stacked.and_then(StackedNetwork::encoder);
        Ok(work + encoder.map(of_encoder).unwrap_or_default())
    }

    /// One training step: forwards, mean squared error, backwards and Adam, on a batch of `batch` sequences of `time`
    /// steps.
    ///
    /// # Errors
    /// Those of [`Work::of_step`].
    pub fn of_training_step(network: &dyn Network, batch: usize, time: usize) -> Result<Self> {
        let samples = count(batch * time);
        let forward = Self::of_step(network)? * samples;
        let predictions = samples * count(network.outputs());
        let parameters = count(network.summary().parameters);
        Ok(Self {
            products: 3 * forward.products,
            arithmetic: 3 * forward.arithmetic + LOSS * predictions + ADAM * parameters,
            ..forward
        })
    }
}

impl Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            products: self.products + other.products,
            arithmetic: self.arithmetic + other.arithmetic,
            sigmoids: self.sigmoids + other.sigmoids,
            tanhs: self.tanhs + other.tanhs,
            exps: self.exps + other.exps,
        }
    }
}

impl Mul<u64> for Work {
    type Output = Self;

    fn mul(self, times: u64) -> Self {
        Self {
            products: self.products * times,
            arithmetic: self.arithmetic * times,
            sigmoids: self.sigmoids * times,
            tanhs: self.tanhs * times,
            exps: self.exps * times,
        }
    }
}

fn count(number: usize) -> u64 {
    number as u64
}

fn linear(inputs: usize, outputs: usize) -> Work {
    Work {
        products: 2 * count(inputs * outputs),
        arithmetic: count(outputs),
        ..Work::default()
    }
}

fn of_encoder(encoder: &Encoder) -> Work {
    let mut work = Work::default();
    let mut width = encoder.inputs();
    for layer in &encoder.layers {
        let features = usize::try_from(layer.weight.dim(0)).unwrap_or(0);
        work = work + linear(width, features) + activation(encoder.activation(), features);
        width = features;
    }
    work
}

fn of_layer(layer: &dyn SequenceLayer) -> Result<Work> {
    let any = layer.as_any();
    if let Some(layer) = any.downcast_ref::<Cfc>() {
        return of_cfc(layer);
    }
    if let Some(layer) = any.downcast_ref::<Ltc>() {
        return Ok(of_ltc(layer));
    }
    if any.is::<Lstm>() {
        return Ok(memory(layer.inputs(), layer.state_units()));
    }
    if any.is::<Gru>() {
        let (f, u) = (layer.inputs(), layer.state_units());
        return Ok(Work {
            products: 6 * count(u * (f + u)),
            arithmetic: 11 * count(u),
            sigmoids: 2 * count(u),
            tanhs: count(u),
            exps: 0,
        });
    }
    Err(crate::Error::Setting {
        key: "layer".to_owned(),
        found: "of a kind whose work is not counted".to_owned(),
        expected: "cfc, ltc, lstm or gru".to_owned(),
    })
}

fn memory(f: usize, u: usize) -> Work {
    Work {
        products: 8 * count(u * (f + u)),
        arithmetic: 8 * count(u),
        sigmoids: 3 * count(u),
        tanhs: 2 * count(u),
        exps: 0,
    }
}

fn of_cfc(layer: &Cfc) -> Result<Work> {
    let mut work = Work::default();
    match &layer.rnn_cell {
        CfcNeurons::Dense(cell) => work = work + of_cfc_cell(cell)?,
        CfcNeurons::Wired(cell) => {
            for cell in cell.layers() {
                work = work + of_cfc_cell(cell)?;
            }
        }
    }
    if layer.has_memory() {
        work = work + memory(layer.inputs(), layer.state_units());
    }
    if layer.config().projection.is_some() {
        work = work + linear(layer.output_places().len(), layer.outputs());
    }
    Ok(work)
}

fn of_cfc_cell(cell: &CfcCell) -> Result<Work> {
    let config = cell.config();
    let mut work = Work::default();
    let mut width = cell.inputs() + cell.units();
    for _ in 0..config.backbone_layers {
        work = work + linear(width, config.backbone_units);
        work = work + activation(config.activation, config.backbone_units);
        width = config.backbone_units;
    }
    let dense = count(width * cell.units());
    let masked = match cell.mask() {
        Some(mask) => ones(mask)?,
        None => dense,
    };
    let units = count(cell.units());
    let heads = match config.mode {
        Mode::Default | Mode::NoGate => Work {
            products: 2 * (2 * masked + 2 * dense),
            arithmetic: units * if config.mode == Mode::Default { 10 } else { 8 },
            sigmoids: units,
            tanhs: 2 * units,
            exps: 0,
        },
        Mode::Pure => Work {
            products: 2 * masked,
            arithmetic: 6 * units,
            exps: units,
            ..Work::default()
        },
    };
    Ok(work + heads)
}

fn activation(kind: Activation, features: usize) -> Work {
    let features = count(features);
    let none = Work::default();
    match kind {
        Activation::LecunTanh => Work {
            arithmetic: 2 * features,
            tanhs: features,
            ..none
        },
        Activation::Tanh => Work {
            tanhs: features,
            ..none
        },
        Activation::Relu => Work {
            arithmetic: features,
            ..none
        },
        Activation::Silu => Work {
            arithmetic: features,
            sigmoids: features,
            ..none
        },
        Activation::Gelu => Work {
            arithmetic: 3 * features,
            exps: features,
            ..none
        },
    }
}

fn of_ltc(layer: &Ltc) -> Work {
    let cell = &layer.rnn_cell;
    let config = cell.config();
    let unfolds = count(config.unfolds);
    let synapses = count(cell.synapses().pairs().len());
    let sensory = count(cell.sensory_synapses().pairs().len());
    let map = |mapping, size| match mapping {
        Mapping::Affine => 2 * count(size),
        Mapping::Linear => count(size),
        Mapping::None => 0,
    };
    let maps =
        map(config.input_mapping, cell.inputs()) + map(config.output_mapping, cell.outputs());
    let work = Work {
        arithmetic: (6 * synapses + 4 * count(cell.units())) * unfolds + 6 * sensory + maps,
        sigmoids: synapses * unfolds + sensory,
        ..Work::default()
    };
    match layer.has_memory() {
        true => work + memory(layer.inputs(), layer.state_units()),
        false => work,
    }
}

/// How many entries of a mask of zeros and ones are 1.
fn ones(mask: &Array) -> Result<u64> {
    let lift = |source| CoreError::Mlx {
        operation: "counting a mask",
        source,
    };
    let sum = mask.sum(None).map_err(lift)?;
    let sum = sum.try_item_exact::<f32>();
    let sum = sum.map_err(|error| lift(error.to_string().as_str().into()))?;
    // A mask has far fewer than 2^24 entries, so that the sum is exact.
    Ok(sum as u64)
}

#[cfg(test)]
#[path = "flops_tests.rs"]
mod tests;

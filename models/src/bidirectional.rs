//! `kind = "bidirectional"`: one layer forwards in time and one backwards.

use std::any::Any;

use mlx_rs::error::Exception;
use mlx_rs::macros::ModuleParameters;
use mlx_rs::nn::Linear;
use mlx_rs::{Array, ops, random};
use ncps_core::export::{Builder, StateValues, Value};
use ncps_core::init::child_seed;
use ncps_core::rnn::{SequenceLayer, Timespans};
use ncps_core::train::{Inputs, Model};
use serde::{Deserialize, Serialize};

use crate::config::LayerConfig;
use crate::error::{Error, Result};
use crate::head::{Head, apply, outputs};
use crate::network::{Network, NetworkState, constrained, during, sequence_input};
use crate::summary::{Summary, of_head, of_layer};

/// One layer forwards in time and one backwards, with the same configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BidirectionalModel {
    /// The layer of either direction.
    pub layer: LayerConfig,
    /// The map from both layers' outputs to the task's.
    #[serde(default)]
    pub head: Head,
}

impl BidirectionalModel {
    /// Both directions with a linear head where one is needed.
    pub fn new(layer: impl Into<LayerConfig>) -> Self {
        Self {
            layer: layer.into(),
            head: Head::default(),
        }
    }

    /// Builds the network.
    ///
    /// # Errors
    /// [`Error::Setting`] for a head inside the layer; the errors of the layer.
    pub fn build(&self, inputs: usize, outputs: usize, seed: u64) -> Result<BidirectionalNetwork> {
        if self.layer.head() != Head::Auto {
            return Err(Error::Setting {
                key: "layer.head".to_owned(),
                found: "given".to_owned(),
                expected: "to be left out: `head` belongs to the whole network".to_owned(),
            });
        }
        let forward = self.layer.build_layer(inputs, child_seed(seed, 0))?;
        let backward = self.layer.build_layer(inputs, child_seed(seed, 1))?;
        let features = forward.outputs() + backward.outputs();
        Ok(BidirectionalNetwork {
            head: self.head.build(features, outputs, false, seed)?,
            forward,
            backward,
            kind: self.layer.kind(),
            every_step: self.layer.return_sequences(),
        })
    }
}

/// A layer forwards in time and one backwards, side by side, with a head.
///
/// ```text
/// y_t = head([forward(x)_t ; backward(reversed x)_t])
/// ```
///
/// Backwards in time each step keeps its own time span, and padding stays padding. Without
/// `return_sequences` both layers give the state after all steps.
///
/// # Source
/// Schuster and Paliwal 1997, "Bidirectional recurrent neural networks".
///
/// # Shapes
/// x: [B, T, F]; predictions: [B, T, O], or [B, O] without `return_sequences`.
#[derive(Debug, ModuleParameters)]
pub struct BidirectionalNetwork {
    #[param]
    forward: Box<dyn SequenceLayer>,
    #[param]
    backward: Box<dyn SequenceLayer>,
    #[param]
    head: Option<Linear>,
    kind: &'static str,
    every_step: bool,
}

fn no_step() -> Error {
    Error::NoStep {
        kind: "bidirectional",
        reason: "its second layer begins at the end of the sequence; give it whole sequences, \
                 or train another kind of model for control",
    }
}

/// Reverses the second axis.
fn reversed(x: &Array) -> Result<Array, Exception> {
    let order: Vec<i32> = (0..x.dim(1)).rev().collect();
    x.take_axis(Array::from_slice(&order, &[x.dim(1)]), 1)
}

fn reversed_inputs(inputs: &Inputs) -> Result<Inputs, Exception> {
    Ok(Inputs {
        x: reversed(&inputs.x)?,
        timespans: inputs.timespans.as_ref().map(reversed).transpose()?,
        mask: inputs.mask.as_ref().map(reversed).transpose()?,
    })
}

impl Model for BidirectionalNetwork {
    fn forward(&mut self, inputs: &Inputs, key: Option<&Array>) -> ncps_core::Result<Array> {
        if inputs.x.ndim() != 3 {
            return Err(ncps_core::Error::Shape {
                layer: "bidirectional",
                argument: "x",
                found: inputs.x.shape().to_vec(),
                expected: format!("[B, T, {}]", self.inputs()),
            });
        }
        let keys = match key {
            Some(key) => Some(during(random::split(key, 2), "dropout key")?),
            None => None,
        };
        let (first, second) = keys.as_ref().map(|(a, b)| (a, b)).unzip();
        let ahead = sequence_input(inputs, &inputs.x, None, first);
        let ahead = self.forward.sequence(&ahead)?.outputs;
        let back_inputs = during(reversed_inputs(inputs), "reversed sequence")?;
        let back = sequence_input(&back_inputs, &back_inputs.x, None, second);
        let mut back = self.backward.sequence(&back)?.outputs;
        if self.every_step {
            back = during(reversed(&back), "reversed outputs")?;
        }
        let both = during(ops::concatenate(&[ahead, back], -1), "both directions")?;
        match &self.head {
            Some(head) => apply(head, &both),
            None => Ok(both),
        }
    }

    fn constrained_parameters(&self) -> Vec<String> {
        let mut names = constrained("forward", self.forward.as_ref());
        names.extend(constrained("backward", self.backward.as_ref()));
        names
    }
}

impl Network for BidirectionalNetwork {
    fn step(
        &self,
        _x: &Array,
        _elapsed_time: &Timespans,
        _state: &NetworkState,
    ) -> Result<(Array, NetworkState)> {
        Err(no_step())
    }

    fn export_step(
        &self,
        _graph: &mut Builder,
        _x: &Value,
        _elapsed_time: &Value,
        _state: &[StateValues],
    ) -> Result<(Value, Vec<StateValues>)> {
        Err(no_step())
    }

    fn zero_state(&self, batch: usize) -> NetworkState {
        NetworkState {
            layers: vec![
                self.forward.zero_state(batch),
                self.backward.zero_state(batch),
            ],
        }
    }

    fn inputs(&self) -> usize {
        self.forward.inputs()
    }

    fn outputs(&self) -> usize {
        let features = self.forward.outputs() + self.backward.outputs();
        outputs(self.head.as_ref(), features)
    }

    fn layers(&self) -> Vec<&dyn SequenceLayer> {
        vec![self.forward.as_ref(), self.backward.as_ref()]
    }

    fn summary(&self) -> Summary {
        let layers = [("forward", &self.forward), ("backward", &self.backward)];
        let layers = layers.map(|(name, layer)| of_layer(name, self.kind, layer.as_ref()));
        let parts = layers.into_iter().chain(of_head(self.head.as_ref()));
        Summary::new("bidirectional", parts.collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

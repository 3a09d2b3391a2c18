//! `kind = "stacked"`: an encoder and several recurrent layers.

use std::any::Any;

use mlx_rs::macros::ModuleParameters;
use mlx_rs::nn::Linear;
use mlx_rs::{Array, random};
use ncps_core::export::{Builder, StateValues, Value, activation, linear};
use ncps_core::init::child_seed;
use ncps_core::kernel::{Chain, Stage};
use ncps_core::rnn::{SequenceLayer, Timespans};
use ncps_core::train::{Inputs, Model};
use serde::{Deserialize, Serialize};

use crate::config::LayerConfig;
use crate::encoder::{Encoder, EncoderConfig};
use crate::error::{Error, Result};
use crate::head::{Head, apply, outputs, stage};
use crate::network::{
    Network, NetworkState, check_parts, constrained, during, sequence_input, stages,
};
use crate::summary::{LayerSummary, Summary, of_head, of_layer, trained_numbers};

/// Distinguishes the encoder's initial values from those of the layers.
const ENCODER: u64 = 2 << 32;

/// Recurrent layers on top of each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StackedModel {
    /// A feed-forward encoder in front of the layers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encoder: Option<EncoderConfig>,
    /// The layers, first layer first; all but the last give all steps.
    pub layers: Vec<LayerConfig>,
    /// The map from the last layer's outputs to the task's.
    #[serde(default)]
    pub head: Head,
}

impl StackedModel {
    /// Layers without an encoder.
    pub fn new(layers: Vec<LayerConfig>) -> Self {
        Self {
            encoder: None,
            layers,
            head: Head::default(),
        }
    }

    /// Builds the network.
    ///
    /// # Errors
    /// [`Error::Setting`] for no layers, a head inside the stack, or a layer before the last that gives its
    /// last step only; the errors of the layers.
    pub fn build(&self, inputs: usize, outputs: usize, seed: u64) -> Result<StackedNetwork> {
        let Some(last) = self.layers.last() else {
            return Err(Error::Setting {
                key: "layers".to_owned(),
                found: "empty".to_owned(),
                expected: "at least one recurrent layer".to_owned(),
            });
        };
        self.check_inner()?;
        let encoder = match &self.encoder {
            Some(encoder) => Some(encoder.build(inputs, child_seed(seed, ENCODER))?),
            None => None,
        };
        let mut width = self
            .encoder
            .as_ref()
            .map_or(inputs, |encoder| encoder.units);
        let mut layers = Vec::with_capacity(self.layers.len());
        for (index, config) in (0..).zip(&self.layers) {
            let layer = config.build_layer(width, child_seed(seed, index))?;
            width = layer.outputs();
            layers.push(layer);
        }
        let scales_itself = last.scales_itself();
        Ok(StackedNetwork {
            encoder,
            layers,
            head: self.head.build(width, outputs, scales_itself, seed)?,
            kinds: self.layers.iter().map(LayerConfig::kind).collect(),
        })
    }

    fn check_inner(&self) -> Result<()> {
        for (index, layer) in self.layers.iter().enumerate() {
            let refuse = |key: &str, found: &str, expected: &str| {
                Err(Error::Setting {
                    key: format!("layers[{index}].{key}"),
                    found: found.to_owned(),
                    expected: expected.to_owned(),
                })
            };
            if layer.head() != Head::Auto {
                return refuse(
                    "head",
                    "given",
                    "to be left out: `head` belongs to the stack",
                );
            }
            let is_last = index + 1 == self.layers.len();
            if !is_last && !layer.return_sequences() {
                let expected = "true: the next layer needs every step";
                return refuse("return_sequences", "false", expected);
            }
        }
        Ok(())
    }
}

/// An encoder, recurrent layers on top of each other, and a head.
///
/// # Shapes
/// x: [B, T, F]; predictions: [B, T, O], or [B, O] without `return_sequences` of the last layer.
#[derive(Debug, ModuleParameters)]
pub struct StackedNetwork {
    #[param]
    encoder: Option<Encoder>,
    #[param]
    layers: Vec<Box<dyn SequenceLayer>>,
    #[param]
    head: Option<Linear>,
    kinds: Vec<&'static str>,
}

impl StackedNetwork {
    /// The encoder, where there is one.
    pub fn encoder(&self) -> Option<&Encoder> {
        self.encoder.as_ref()
    }

    fn encode(&self, x: &Array) -> ncps_core::Result<Array> {
        match &self.encoder {
            Some(encoder) => encoder.encode(x),
            None => Ok(x.clone()),
        }
    }

    fn readout(&self, features: Array) -> ncps_core::Result<Array> {
        match &self.head {
            Some(head) => apply(head, &features),
            None => Ok(features),
        }
    }

    fn run(
        &self,
        inputs: &Inputs,
        state: Option<&NetworkState>,
        key: Option<&Array>,
    ) -> ncps_core::Result<(Array, NetworkState)> {
        let mut features = self.encode(&inputs.x)?;
        let keys = self.keys(key)?;
        let mut layers = Vec::with_capacity(self.layers.len());
        for (index, (layer, key)) in self.layers.iter().zip(&keys).enumerate() {
            let begun = state.and_then(|state| state.layers.get(index));
            let input = sequence_input(inputs, &features, begun, key.as_ref());
            let result = layer.sequence(&input)?;
            features = result.outputs;
            layers.push(result.state);
        }
        Ok((self.readout(features)?, NetworkState { layers }))
    }

    /// One key of dropout for each layer.
    fn keys(&self, key: Option<&Array>) -> ncps_core::Result<Vec<Option<Array>>> {
        let Some(key) = key else {
            return Ok(vec![None; self.layers.len()]);
        };
        let mut rest = key.clone();
        let mut keys = Vec::with_capacity(self.layers.len());
        for _ in &self.layers {
            let (next, own) = during(random::split(&rest, 2), "dropout key")?;
            rest = next;
            keys.push(Some(own));
        }
        Ok(keys)
    }
}

impl Model for StackedNetwork {
    fn forward(&mut self, inputs: &Inputs, key: Option<&Array>) -> ncps_core::Result<Array> {
        Ok(self.run(inputs, None, key)?.0)
    }

    fn rest(&self, samples: usize) -> Vec<Array> {
        self.zero_state(samples).into_arrays()
    }

    fn forward_from(
        &mut self,
        inputs: &Inputs,
        state: &[Array],
        key: Option<&Array>,
    ) -> ncps_core::Result<(Array, Vec<Array>)> {
        let state = NetworkState::of_arrays(state, self.layers().into_iter())?;
        let (predictions, next) = self.run(inputs, Some(&state), key)?;
        Ok((predictions, next.into_arrays()))
    }

    fn constrained_parameters(&self) -> Vec<String> {
        let layers = self.layers.iter().enumerate();
        layers
            .flat_map(|(index, layer)| constrained(&format!("layers.{index}"), layer.as_ref()))
            .collect()
    }

    fn chain(&self) -> Option<Chain> {
        let mut all = Vec::new();
        if let Some(encoder) = &self.encoder {
            for (index, layer) in encoder.layers.iter().enumerate() {
                all.push(stage(&format!("encoder.layers.{index}"), layer));
                all.push(Stage::Activation(encoder.activation()));
            }
        }
        for (index, layer) in self.layers.iter().enumerate() {
            all.extend(stages(&format!("layers.{index}"), layer.as_ref())?);
        }
        all.extend(self.head.as_ref().map(|head| stage("head", head)));
        // Each layer draws its dropout from a key of its own, which a chain does not know.
        let drops = |stage: &Stage| matches!(stage, Stage::Sequence(stage) if stage.dropout > 0.0);
        if all.iter().any(drops) {
            return None;
        }
        Chain::new(self.inputs(), all).ok()
    }
}

impl Network for StackedNetwork {
    fn step(
        &self,
        x: &Array,
        elapsed_time: &Timespans,
        state: &NetworkState,
    ) -> Result<(Array, NetworkState)> {
        state.check(self.layers.len())?;
        let mut features = self.encode(x)?;
        let mut layers = Vec::with_capacity(self.layers.len());
        for (layer, state) in self.layers.iter().zip(&state.layers) {
            let (outputs, next) = layer.step(&features, elapsed_time, state)?;
            features = outputs;
            layers.push(next);
        }
        Ok((self.readout(features)?, NetworkState { layers }))
    }

    fn export_step(
        &self,
        graph: &mut Builder,
        x: &Value,
        elapsed_time: &Value,
        state: &[StateValues],
    ) -> Result<(Value, Vec<StateValues>)> {
        check_parts(state.len(), self.layers.len())?;
        let mut features = x.clone();
        if let Some(encoder) = &self.encoder {
            for layer in &encoder.layers {
                features = linear(graph, layer, &features)?;
                features = activation(graph, encoder.activation(), &features);
            }
        }
        let mut next = Vec::with_capacity(self.layers.len());
        for (layer, state) in self.layers.iter().zip(state) {
            let (outputs, after) = layer.export_step(graph, &features, elapsed_time, state)?;
            features = outputs;
            next.push(after);
        }
        let outputs = match &self.head {
            Some(head) => linear(graph, head, &features)?,
            None => features,
        };
        Ok((outputs, next))
    }

    fn zero_state(&self, batch: usize) -> NetworkState {
        let layers = self.layers.iter().map(|layer| layer.zero_state(batch));
        NetworkState {
            layers: layers.collect(),
        }
    }

    fn inputs(&self) -> usize {
        let first = self.layers.first().map_or(0, |layer| layer.inputs());
        self.encoder.as_ref().map_or(first, Encoder::inputs)
    }

    fn outputs(&self) -> usize {
        let last = self.layers.last().map_or(0, |layer| layer.outputs());
        outputs(self.head.as_ref(), last)
    }

    fn layers(&self) -> Vec<&dyn SequenceLayer> {
        self.layers.iter().map(AsRef::as_ref).collect()
    }

    fn summary(&self) -> Summary {
        let encoder = self.encoder.as_ref().map(|encoder| LayerSummary {
            name: "encoder".to_owned(),
            kind: "linear".to_owned(),
            inputs: encoder.inputs(),
            units: None,
            outputs: self.layers.first().map_or(0, |layer| layer.inputs()),
            parameters: trained_numbers(encoder),
        });
        let layers = self.layers.iter().zip(&self.kinds).enumerate();
        let layers = layers.map(|(index, (layer, kind))| {
            of_layer(&format!("layers.{index}"), kind, layer.as_ref())
        });
        let parts = encoder
            .into_iter()
            .chain(layers)
            .chain(of_head(self.head.as_ref()));
        Summary::new("stacked", parts.collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

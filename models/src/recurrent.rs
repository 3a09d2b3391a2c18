//! One recurrent layer with a head: the network of `cfc`, `ltc`, `lstm` and `gru`.

use std::any::Any;

use mlx_rs::Array;
use mlx_rs::macros::ModuleParameters;
use mlx_rs::nn::Linear;
use ncps_core::export::{Builder, StateValues, Value, linear};
use ncps_core::kernel::Chain;
use ncps_core::rnn::{SequenceLayer, State, Timespans};
use ncps_core::train::{Inputs, Model};

use crate::config::LayerConfig;
use crate::error::Result;
use crate::head::{apply, outputs, stage};
use crate::network::{Network, NetworkState, check_parts, constrained, sequence_input, stages};
use crate::summary::{Summary, of_head, of_layer};

/// One recurrent layer with a head.
///
/// ```text
/// y_t = head(layer(x)_t)
/// ```
///
/// # Shapes
/// x: [B, T, F]; predictions: [B, T, O], or [B, O] without `return_sequences`.
#[derive(Debug, ModuleParameters)]
pub struct RecurrentNetwork {
    #[param]
    layer: Box<dyn SequenceLayer>,
    #[param]
    head: Option<Linear>,
    kind: &'static str,
}

impl RecurrentNetwork {
    /// Builds the network of a layer's configuration.
    pub(crate) fn new(
        config: &LayerConfig,
        inputs: usize,
        outputs: usize,
        seed: u64,
    ) -> Result<Self> {
        let layer = config.build_layer(inputs, seed)?;
        let scales_itself = config.scales_itself();
        let head = config
            .head()
            .build(layer.outputs(), outputs, scales_itself, seed)?;
        Ok(Self {
            layer,
            head,
            kind: config.kind(),
        })
    }

    /// The recurrent layer.
    pub fn layer(&self) -> &dyn SequenceLayer {
        self.layer.as_ref()
    }

    /// The head, where there is one.
    pub fn head(&self) -> Option<&Linear> {
        self.head.as_ref()
    }

    fn run(
        &self,
        inputs: &Inputs,
        state: Option<&State>,
        key: Option<&Array>,
    ) -> ncps_core::Result<(Array, State)> {
        let input = sequence_input(inputs, &inputs.x, state, key);
        let result = self.layer.sequence(&input)?;
        Ok((self.readout(result.outputs)?, result.state))
    }

    fn readout(&self, features: Array) -> ncps_core::Result<Array> {
        match &self.head {
            Some(head) => apply(head, &features),
            None => Ok(features),
        }
    }
}

impl Model for RecurrentNetwork {
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
        let (predictions, next) = self.run(inputs, state.layers.first(), key)?;
        let layers = vec![next];
        Ok((predictions, NetworkState { layers }.into_arrays()))
    }

    fn constrained_parameters(&self) -> Vec<String> {
        constrained("layer", self.layer.as_ref())
    }

    fn chain(&self) -> Option<Chain> {
        let mut all = stages("layer", self.layer.as_ref())?;
        all.extend(self.head.as_ref().map(|head| stage("head", head)));
        Chain::new(self.layer.inputs(), all).ok()
    }
}

impl Network for RecurrentNetwork {
    fn step(
        &self,
        x: &Array,
        elapsed_time: &Timespans,
        state: &NetworkState,
    ) -> Result<(Array, NetworkState)> {
        state.check(1)?;
        let (features, next) = self.layer.step(x, elapsed_time, &state.layers[0])?;
        let layers: Vec<State> = vec![next];
        Ok((self.readout(features)?, NetworkState { layers }))
    }

    fn export_step(
        &self,
        graph: &mut Builder,
        x: &Value,
        elapsed_time: &Value,
        state: &[StateValues],
    ) -> Result<(Value, Vec<StateValues>)> {
        check_parts(state.len(), 1)?;
        let (features, next) = self.layer.export_step(graph, x, elapsed_time, &state[0])?;
        let outputs = match &self.head {
            Some(head) => linear(graph, head, &features)?,
            None => features,
        };
        Ok((outputs, vec![next]))
    }

    fn zero_state(&self, batch: usize) -> NetworkState {
        NetworkState {
            layers: vec![self.layer.zero_state(batch)],
        }
    }

    fn inputs(&self) -> usize {
        self.layer.inputs()
    }

    fn outputs(&self) -> usize {
        outputs(self.head.as_ref(), self.layer.outputs())
    }

    fn layers(&self) -> Vec<&dyn SequenceLayer> {
        vec![self.layer.as_ref()]
    }

    fn summary(&self) -> Summary {
        let layer = of_layer("layer", self.kind, self.layer.as_ref());
        let parts = [layer].into_iter().chain(of_head(self.head.as_ref()));
        Summary::new(self.kind, parts.collect())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

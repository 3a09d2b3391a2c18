//! What all networks can do.

use std::any::Any;
use std::fmt::Debug;

use mlx_rs::Array;
use mlx_rs::error::Exception;
use ncps_core::export::{Builder, StateValues, Value};
use ncps_core::kernel::Stage;
use ncps_core::rnn::{SequenceInput, SequenceLayer, State, Timespans};
use ncps_core::train::{Inputs, Model};

use crate::error::{Error, Result};
use crate::summary::Summary;

/// The state of a network between two steps: that of each recurrent layer, first layer first.
#[derive(Debug, Clone)]
pub struct NetworkState {
    /// The layers' states.
    pub layers: Vec<State>,
}

impl NetworkState {
    /// Refuses a state with another number of parts than there are layers.
    pub(crate) fn check(&self, layers: usize) -> Result<()> {
        check_parts(self.layers.len(), layers)
    }
}

/// Refuses a state with another number of parts than there are layers.
pub(crate) fn check_parts(found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::State { found, expected })
}

impl NetworkState {
    /// The arrays of all layers, in the order of the layers: hidden state, then memory where there is one.
    pub(crate) fn into_arrays(self) -> Vec<Array> {
        let parts = self.layers.into_iter();
        parts
            .flat_map(|state| [Some(state.hidden), state.memory])
            .flatten()
            .collect()
    }

    /// The state of layers from arrays as [`NetworkState::into_arrays`] gives them.
    pub(crate) fn of_arrays<'a>(
        arrays: &[Array],
        layers: impl Iterator<Item = &'a dyn SequenceLayer>,
    ) -> ncps_core::Result<Self> {
        let mut rest = arrays.iter().cloned();
        let (mut states, mut expected) = (Vec::new(), 0);
        for layer in layers {
            expected += 1 + usize::from(layer.has_memory());
            let hidden = rest.next();
            let memory = layer.has_memory().then(|| rest.next()).flatten();
            states.extend(hidden.map(|hidden| State { hidden, memory }));
        }
        if arrays.len() != expected {
            return Err(ncps_core::Error::Batch {
                argument: "state",
                found: format!("{} arrays", arrays.len()),
                expected: format!("{expected}, as `rest` gives them"),
            });
        }
        Ok(Self { layers: states })
    }
}

/// A network that trains on sequences and runs on them, or step by step with its state carried.
pub trait Network: Model + Debug {
    /// Runs one step: the outputs and the state after it.
    ///
    /// # Shapes
    /// x: [B, F] or `[F]`; outputs: [B, O] or `[O]`.
    ///
    /// # Errors
    /// [`Error::Core`] for a wrong shape, [`Error::NoStep`] for a network that needs the whole
    /// sequence, [`Error::State`] for the state of another network.
    fn step(
        &self,
        x: &Array,
        elapsed_time: &Timespans,
        state: &NetworkState,
    ) -> Result<(Array, NetworkState)>;

    /// Writes one step into a graph: the outputs [B, O] and the layers' states after it, for inputs [B, F], elapsed time [B, 1] and
    /// the layers' states before.
    ///
    /// # Errors
    /// [`Error::Core`] for a layer without such a form, and as [`Network::step`].
    fn export_step(
        &self,
        graph: &mut Builder,
        x: &Value,
        elapsed_time: &Value,
        state: &[StateValues],
    ) -> Result<(Value, Vec<StateValues>)>;

    /// The state before the first step, for `batch` samples.
    fn zero_state(&self, batch: usize) -> NetworkState;

    /// Number of input features.
    fn inputs(&self) -> usize;

    /// Number of outputs.
    fn outputs(&self) -> usize;

    /// The recurrent layers, first layer first.
    fn layers(&self) -> Vec<&dyn SequenceLayer>;

    /// What the network consists of.
    fn summary(&self) -> Summary;

    /// The concrete network, for callers that know a faster way for some of them.
    fn as_any(&self) -> &dyn Any;
}

/// The recurrent layer's view of a batch.
pub(crate) fn sequence_input<'a>(
    inputs: &'a Inputs,
    x: &'a Array,
    state: Option<&'a State>,
    key: Option<&'a Array>,
) -> SequenceInput<'a> {
    let timespans = inputs.timespans.clone();
    SequenceInput {
        x,
        timespans: timespans.map_or(Timespans::Unit, Timespans::Array),
        mask: inputs.mask.as_ref(),
        state,
        training: key,
    }
}

/// Names a failing MLX operation.
pub(crate) fn during<T>(
    result: std::result::Result<T, Exception>,
    operation: &'static str,
) -> ncps_core::Result<T> {
    result.map_err(|source| ncps_core::Error::Mlx { operation, source })
}

/// A layer's stages with names under the layer's name in the network.
pub(crate) fn stages(prefix: &str, layer: &dyn SequenceLayer) -> Option<Vec<Stage>> {
    let stages = layer.stages()?.into_iter();
    Some(stages.map(|stage| stage.below(prefix)).collect())
}

/// A layer's constrained parameters under the layer's name in the network.
pub(crate) fn constrained(prefix: &str, layer: &dyn SequenceLayer) -> Vec<String> {
    let names = layer.constrained_parameters();
    names
        .iter()
        .map(|name| format!("{prefix}.{name}"))
        .collect()
}

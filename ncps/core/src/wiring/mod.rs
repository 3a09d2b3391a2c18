//! Wirings: which neuron is connected to which, and with what sign.
//!
//! A wiring is a directed graph over `U` neurons and `F` sensory neurons (the input features).
//! Neuron ids are `0..U`; the motor neurons, whose states are the outputs, are `0..M`. Sensory
//! neurons have ids of their own, `0..F`. Every synapse has a polarity: +1 excitatory, -1
//! inhibitory.
//!
//! A configuration ([`AutoNcp`], [`Ncp`], [`Random`], [`FullyConnected`], [`CustomWiring`], or any
//! of them as a [`WiringConfig`]) is a few numbers; its `build(inputs)` gives the [`Wiring`].
//! `build` is a pure function: the same configuration and input count give the same graph, and
//! one configuration serves any number of input counts.
//!
//! # Source
//! M. Lechner et al., "Neural circuit policies enabling auditable autonomy", Nature Machine
//! Intelligence 2, 2020. The graph of a seed is the one that the Python package `ncps` 1.0.1 draws.
//!
//! # Example
//! ```
//! use ncps_core::wiring::{AutoNcp, NeuronKind};
//!
//! let wiring = AutoNcp::new(32, 4).build(5)?;
//! assert_eq!(wiring.units(), 32);
//! assert_eq!(wiring.synapse_count(), 116);
//! assert_eq!(wiring.kind(0), NeuronKind::Motor);
//! # Ok::<(), ncps_core::Error>(())
//! ```

#[cfg(test)]
mod argument_tests;
mod auto_ncp;
mod custom;
#[cfg(test)]
mod custom_tests;
mod dot;
mod draft;
mod edge_list;
mod file;
mod fully_connected;
#[cfg(test)]
mod golden;
mod graph;
mod json;
mod ncp;
mod numpy_random;
#[cfg(test)]
mod properties;
mod random;

use serde::{Deserialize, Serialize};

use crate::error::Result;

pub use auto_ncp::AutoNcp;
pub use custom::CustomWiring;
pub use draft::{MAX_INPUTS, MAX_SENSORY_ENTRIES, MAX_UNITS};
pub use fully_connected::FullyConnected;
pub use graph::Wiring;
pub use ncp::Ncp;
pub use random::Random;

/// What a neuron of a wiring is for.
///
/// Sensory neurons are not among them: they have their own ids and no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NeuronKind {
    /// Takes input from the sensory neurons, or has no special place.
    Inter,
    /// Decides: the layer before the motor neurons, with recurrent synapses among its members.
    Command,
    /// Its state is an output of the network.
    Motor,
}

/// One directed synapse, written as `[source, target, polarity]` in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(from = "(usize, usize, i32)", into = "(usize, usize, i32)")]
pub struct Synapse {
    /// Id of the neuron (or sensory neuron) where the synapse starts.
    pub source: usize,
    /// Id of the neuron where it ends.
    pub target: usize,
    /// +1 excitatory, -1 inhibitory.
    pub polarity: i32,
}

impl From<(usize, usize, i32)> for Synapse {
    fn from((source, target, polarity): (usize, usize, i32)) -> Self {
        Self {
            source,
            target,
            polarity,
        }
    }
}

impl From<Synapse> for (usize, usize, i32) {
    fn from(synapse: Synapse) -> Self {
        (synapse.source, synapse.target, synapse.polarity)
    }
}

/// Any wiring configuration, chosen by its `kind`.
///
/// # Example
/// ```
/// use ncps_core::wiring::WiringConfig;
///
/// let config: WiringConfig = toml::from_str("kind = 'auto_ncp'\nunits = 16\noutputs = 1")?;
/// assert_eq!(config.build(2)?.synapse_count(), 39);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WiringConfig {
    /// Every neuron connected to every neuron.
    FullyConnected(FullyConnected),
    /// A given share of all possible synapses, drawn at random.
    Random(Random),
    /// A neural circuit policy with every size and fan-out given.
    Ncp(Ncp),
    /// A neural circuit policy from its number of units, outputs and a sparsity.
    AutoNcp(AutoNcp),
    /// A graph of your own.
    Custom(CustomWiring),
}

impl WiringConfig {
    /// Builds the graph for a number of input features.
    ///
    /// # Errors
    /// Those of the `build` of the configuration inside.
    pub fn build(&self, inputs: usize) -> Result<Wiring> {
        match self {
            Self::FullyConnected(config) => config.build(inputs),
            Self::Random(config) => config.build(inputs),
            Self::Ncp(config) => config.build(inputs),
            Self::AutoNcp(config) => config.build(inputs),
            Self::Custom(config) => config.build(inputs),
        }
    }

    /// The number of neurons that `build` will make.
    ///
    /// # Errors
    /// Only a custom wiring can fail here, when its file cannot be read or its description gives
    /// no size.
    pub fn units(&self) -> Result<usize> {
        match self {
            Self::FullyConnected(config) => Ok(config.units),
            Self::Random(config) => Ok(config.units),
            Self::Ncp(config) => Ok(config.units()),
            Self::AutoNcp(config) => Ok(config.units),
            Self::Custom(config) => config.units(),
        }
    }

    /// The number of motor neurons that `build` will make.
    ///
    /// # Errors
    /// As [`WiringConfig::units`].
    pub fn outputs(&self) -> Result<usize> {
        match self {
            Self::FullyConnected(config) => Ok(config.outputs.unwrap_or(config.units)),
            Self::Random(config) => Ok(config.outputs.unwrap_or(config.units)),
            Self::Ncp(config) => Ok(config.motor_neurons),
            Self::AutoNcp(config) => Ok(config.outputs),
            Self::Custom(config) => config.outputs(),
        }
    }

    /// Reads a custom wiring's file, taken from `base_dir` if its path is relative, and puts its
    /// contents in the configuration's place; any other configuration comes back as it is.
    ///
    /// The result no longer depends on where the program runs, so that it can be stored with a
    /// trained model.
    ///
    /// # Errors
    /// As [`CustomWiring::inlined`].
    pub fn inlined(&self, base_dir: &std::path::Path) -> Result<Self> {
        match self {
            Self::Custom(config) => config.inlined(base_dir).map(Self::Custom),
            other => Ok(other.clone()),
        }
    }
}

impl From<FullyConnected> for WiringConfig {
    fn from(config: FullyConnected) -> Self {
        Self::FullyConnected(config)
    }
}

impl From<Random> for WiringConfig {
    fn from(config: Random) -> Self {
        Self::Random(config)
    }
}

impl From<Ncp> for WiringConfig {
    fn from(config: Ncp) -> Self {
        Self::Ncp(config)
    }
}

impl From<AutoNcp> for WiringConfig {
    fn from(config: AutoNcp) -> Self {
        Self::AutoNcp(config)
    }
}

impl From<CustomWiring> for WiringConfig {
    fn from(config: CustomWiring) -> Self {
        Self::Custom(config)
    }
}

//! The map from a layer's outputs to the task's.

use mlx_rs::Array;
use mlx_rs::error::Exception;
use mlx_rs::nn::Linear;
use ncps_core::init::{Initializer, child_seed};
use ncps_core::kernel::{LinearStage, Stage};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Distinguishes the head's initial values from those of the layers.
const HEAD: u64 = 1 << 32;

/// Whether a linear map stands between the last layer and the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// None after an LTC with as many motor neurons as outputs (it scales its outputs itself), else linear.
    #[default]
    Auto,
    /// A linear map with a bias.
    Linear,
    /// None: the layer's outputs are the outputs, and there must be as many.
    None,
}

impl Head {
    /// The linear map from `features` to `outputs`, where there is to be one.
    ///
    /// # Errors
    /// [`Error::Setting`] if there is to be none and the numbers differ.
    pub(crate) fn build(
        self,
        features: usize,
        outputs: usize,
        scales_itself: bool,
        seed: u64,
    ) -> Result<Option<Linear>> {
        if outputs == 0 {
            return Err(Error::Setting {
                key: "outputs".to_owned(),
                found: "0".to_owned(),
                expected: "at least 1: the data must have a target".to_owned(),
            });
        }
        let is_linear = match self {
            Self::Auto => !(scales_itself && features == outputs),
            Self::Linear => true,
            Self::None => false,
        };
        if !is_linear && features != outputs {
            return Err(Error::Setting {
                key: "head".to_owned(),
                found: "none".to_owned(),
                expected: format!(
                    "linear: the layer has {features} outputs and the data {outputs} (or give the \
                     wiring {outputs} motor neurons)"
                ),
            });
        }
        Ok(is_linear.then(|| Initializer::new(child_seed(seed, HEAD)).linear(features, outputs)))
    }
}

/// Applies a linear map to the last axis.
pub(crate) fn apply(layer: &Linear, x: &Array) -> ncps_core::Result<Array> {
    let product = |layer: &Linear| -> Result<Array, Exception> {
        let weight = layer.weight.transpose()?;
        match &layer.bias.value {
            Some(bias) => mlx_rs::ops::addmm(bias, x, weight, None, None),
            None => x.matmul(weight),
        }
    };
    product(layer).map_err(|source| ncps_core::Error::Mlx {
        operation: "linear layer",
        source,
    })
}

/// A linear map as a stage, its parameters below `name`.
pub(crate) fn stage(name: &str, layer: &Linear) -> Stage {
    let size = |axis| usize::try_from(layer.weight.dim(axis)).unwrap_or(0);
    let has_bias = layer.bias.value.is_some();
    Stage::Linear(LinearStage {
        inputs: size(1),
        outputs: size(0),
        weight: format!("{name}.weight"),
        bias: has_bias.then(|| format!("{name}.bias")),
    })
}

/// Number of outputs of a linear map, or of the layer where there is none.
pub(crate) fn outputs(head: Option<&Linear>, features: usize) -> usize {
    match head {
        Some(head) => usize::try_from(head.weight.dim(0)).unwrap_or(0),
        None => features,
    }
}

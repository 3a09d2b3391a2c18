//! The closed set of networks that a configuration can name.

use ncps_core::rnn::{SequenceLayer, Units};
use ncps_core::wiring::Wiring;
use serde::{Deserialize, Serialize};

use crate::bidirectional::BidirectionalModel;
use crate::cfc::CfcModel;
use crate::error::Result;
use crate::gru::GruModel;
use crate::head::Head;
use crate::lstm::LstmModel;
use crate::ltc::LtcModel;
use crate::network::Network;
use crate::recurrent::RecurrentNetwork;
use crate::stacked::StackedModel;

/// One recurrent layer, chosen by its `kind`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum LayerConfig {
    /// Closed-form continuous-time neurons.
    Cfc(CfcModel),
    /// Liquid time-constant neurons.
    Ltc(LtcModel),
    /// Long short-term memory.
    Lstm(LstmModel),
    /// Gated recurrent units.
    Gru(GruModel),
}

impl LayerConfig {
    /// The `kind` in the configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Cfc(_) => "cfc",
            Self::Ltc(_) => "ltc",
            Self::Lstm(_) => "lstm",
            Self::Gru(_) => "gru",
        }
    }

    /// Builds the layer alone.
    ///
    /// # Errors
    /// Those of the layer.
    pub fn build_layer(&self, inputs: usize, seed: u64) -> Result<Box<dyn SequenceLayer>> {
        Ok(match self {
            Self::Cfc(model) => Box::new(model.build_layer(inputs, seed)?),
            Self::Ltc(model) => Box::new(model.build_layer(inputs, seed)?),
            Self::Lstm(model) => Box::new(model.build_layer(inputs, seed)?),
            Self::Gru(model) => Box::new(model.build_layer(inputs, seed)?),
        })
    }

    pub(crate) fn head(&self) -> Head {
        match self {
            Self::Cfc(model) => model.head,
            Self::Ltc(model) => model.head,
            Self::Lstm(model) => model.head,
            Self::Gru(model) => model.head,
        }
    }

    pub(crate) fn return_sequences(&self) -> bool {
        match self {
            Self::Cfc(model) => model.return_sequences,
            Self::Ltc(model) => model.return_sequences,
            Self::Lstm(model) => model.return_sequences,
            Self::Gru(model) => model.return_sequences,
        }
    }

    /// Whether the layer's outputs have a scale and shift of their own, or are not bounded.
    pub(crate) fn scales_itself(&self) -> bool {
        match self {
            Self::Ltc(model) => model.output_mapping == ncps_core::cell::Mapping::Affine,
            Self::Cfc(model) => model.projection.is_some(),
            Self::Lstm(_) | Self::Gru(_) => false,
        }
    }

    fn units(&self) -> Option<&Units> {
        match self {
            Self::Cfc(model) => Some(&model.units),
            Self::Ltc(model) => Some(&model.units),
            Self::Lstm(_) | Self::Gru(_) => None,
        }
    }
}

/// A network, chosen by its `kind`.
///
/// # Example
/// ```
/// use ncps_models::ModelConfig;
///
/// let text = r#"{"kind": "ltc", "units": {"kind": "auto_ncp", "units": 16, "outputs": 1}}"#;
/// let config: ModelConfig = serde_json::from_str(text)?;
/// let network = config.build(2, 1, 7)?;
/// assert_eq!(network.summary().parameters, 16 * 3 + 4 * 16 * 16 + 4 * 2 * 16 + 2 * 2 + 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ModelConfig {
    /// Closed-form continuous-time neurons.
    Cfc(CfcModel),
    /// Liquid time-constant neurons.
    Ltc(LtcModel),
    /// Long short-term memory, a baseline.
    Lstm(LstmModel),
    /// Gated recurrent units, a baseline.
    Gru(GruModel),
    /// Layers on top of each other, behind an encoder.
    Stacked(StackedModel),
    /// One layer forwards in time and one backwards.
    Bidirectional(BidirectionalModel),
}

impl ModelConfig {
    /// The `kind` in the configuration.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Cfc(_) => "cfc",
            Self::Ltc(_) => "ltc",
            Self::Lstm(_) => "lstm",
            Self::Gru(_) => "gru",
            Self::Stacked(_) => "stacked",
            Self::Bidirectional(_) => "bidirectional",
        }
    }

    /// Builds the network; equal configurations, sizes and seeds give equal parameters.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] and the errors of the layers.
    pub fn build(&self, inputs: usize, outputs: usize, seed: u64) -> Result<Box<dyn Network>> {
        let single = |layer: LayerConfig| -> Result<Box<dyn Network>> {
            Ok(Box::new(RecurrentNetwork::new(
                &layer, inputs, outputs, seed,
            )?))
        };
        match self {
            Self::Cfc(model) => single(model.clone().into()),
            Self::Ltc(model) => single(model.clone().into()),
            Self::Lstm(model) => single(model.clone().into()),
            Self::Gru(model) => single(model.clone().into()),
            Self::Stacked(model) => Ok(Box::new(model.build(inputs, outputs, seed)?)),
            Self::Bidirectional(model) => Ok(Box::new(model.build(inputs, outputs, seed)?)),
        }
    }

    /// The recurrent layers, first layer first; both directions count as one.
    fn layers(&self) -> Vec<LayerConfig> {
        match self {
            Self::Cfc(model) => vec![model.clone().into()],
            Self::Ltc(model) => vec![model.clone().into()],
            Self::Lstm(model) => vec![model.clone().into()],
            Self::Gru(model) => vec![model.clone().into()],
            Self::Stacked(model) => model.layers.clone(),
            Self::Bidirectional(model) => vec![model.layer.clone()],
        }
    }

    /// The wirings of the layers that have one, first layer first, for a number of input features.
    ///
    /// # Errors
    /// Those of the layers and their wirings.
    pub fn wirings(&self, inputs: usize) -> Result<Vec<Wiring>> {
        let mut width = match self {
            Self::Stacked(model) => model.encoder.as_ref().map_or(inputs, |e| e.units),
            _ => inputs,
        };
        let mut wirings = Vec::new();
        for layer in self.layers() {
            if let Some(Units::Wired(wiring)) = layer.units() {
                wirings.push(wiring.build(width)?);
            }
            width = layer.build_layer(width, 0)?.outputs();
        }
        Ok(wirings)
    }
}

impl From<CfcModel> for LayerConfig {
    fn from(model: CfcModel) -> Self {
        Self::Cfc(model)
    }
}

impl From<LtcModel> for LayerConfig {
    fn from(model: LtcModel) -> Self {
        Self::Ltc(model)
    }
}

impl From<LstmModel> for LayerConfig {
    fn from(model: LstmModel) -> Self {
        Self::Lstm(model)
    }
}

impl From<GruModel> for LayerConfig {
    fn from(model: GruModel) -> Self {
        Self::Gru(model)
    }
}

impl From<LayerConfig> for ModelConfig {
    fn from(layer: LayerConfig) -> Self {
        match layer {
            LayerConfig::Cfc(model) => Self::Cfc(model),
            LayerConfig::Ltc(model) => Self::Ltc(model),
            LayerConfig::Lstm(model) => Self::Lstm(model),
            LayerConfig::Gru(model) => Self::Gru(model),
        }
    }
}

impl From<CfcModel> for ModelConfig {
    fn from(model: CfcModel) -> Self {
        Self::Cfc(model)
    }
}

impl From<LtcModel> for ModelConfig {
    fn from(model: LtcModel) -> Self {
        Self::Ltc(model)
    }
}

impl From<LstmModel> for ModelConfig {
    fn from(model: LstmModel) -> Self {
        Self::Lstm(model)
    }
}

impl From<GruModel> for ModelConfig {
    fn from(model: GruModel) -> Self {
        Self::Gru(model)
    }
}

impl From<StackedModel> for ModelConfig {
    fn from(model: StackedModel) -> Self {
        Self::Stacked(model)
    }
}

impl From<BidirectionalModel> for ModelConfig {
    fn from(model: BidirectionalModel) -> Self {
        Self::Bidirectional(model)
    }
}

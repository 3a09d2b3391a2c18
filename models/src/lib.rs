//! Ready networks built from `ncps-core`: a recurrent layer (or several) with what a task needs
//! around it, described by a [`ModelConfig`] and used through the [`Network`] trait.
//!
//! # Example
//! ```
//! use ncps_core::wiring::AutoNcp;
//! use ncps_models::{CfcModel, ModelConfig};
//!
//! let config = ModelConfig::from(CfcModel::new(AutoNcp::new(16, 2)));
//! let network = config.build(5, 2, 1)?;
//! assert_eq!((network.inputs(), network.outputs()), (5, 2));
//! # Ok::<(), ncps_models::Error>(())
//! ```

mod bidirectional;
mod cfc;
mod config;
mod encoder;
mod error;
mod flops;
mod gru;
mod head;
mod lstm;
mod ltc;
mod network;
mod recurrent;
mod stacked;
mod summary;
#[cfg(test)]
mod tests;

pub use bidirectional::{BidirectionalModel, BidirectionalNetwork};
pub use cfc::CfcModel;
pub use config::{LayerConfig, ModelConfig};
pub use encoder::{Encoder, EncoderConfig};
pub use error::{Error, Result};
pub use flops::Work;
pub use gru::GruModel;
pub use head::Head;
pub use lstm::LstmModel;
pub use ltc::LtcModel;
pub use network::{Network, NetworkState};
pub use recurrent::RecurrentNetwork;
pub use stacked::{StackedModel, StackedNetwork};
pub use summary::{LayerSummary, Summary};

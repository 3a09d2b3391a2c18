//! Train neural circuit policies (LTC and CfC networks on wiring graphs) on MLX.
//!
//! ```
//! use ncps::{AutoNcp, Cfc, CfcConfig, SequenceInput, SequenceLayer};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layer: Cfc = CfcConfig::new(8, AutoNcp::new(32, 4)).build(1)?;
//! let x = mlx_rs::ops::zeros::<f32>(&[16, 20, 8])?; // [batch, time, features]
//! let output = layer.sequence(&SequenceInput::new(&x))?;
//! assert_eq!(output.outputs.shape(), [16, 20, 4]);
//! # Ok(())
//! # }
//! ```
//!
//! The crate is a table of contents: layers and training come from `ncps-core`, ready networks from `ncps-models`,
//! data from `ncps-datasets` (feature `datasets`), machines, plots and reports from `ncps-profiling` (feature
//! `profiling`, with [`workload`] to profile networks). The feature `cli` adds [`config`] and [`run`]: a whole run from a configuration file, [`profile`] and [`tune`].

#[cfg(feature = "cli")]
pub mod bench;
#[cfg(feature = "cli")]
pub mod config;
#[cfg(feature = "cli")]
mod error;
#[cfg(feature = "cli")]
pub mod export;
#[cfg(feature = "cli")]
pub mod profile;
#[cfg(feature = "cli")]
pub mod run;
#[cfg(feature = "cli")]
pub mod tune;
#[cfg(feature = "profiling")]
pub mod workload;

pub use ncps_core::export as graph;
pub use ncps_core::rnn::{
    Cfc, CfcConfig, Gru, GruConfig, Lstm, LstmConfig, Ltc, LtcConfig, SequenceInput, SequenceLayer,
    SequenceOutput, State, Timespans, Units,
};
pub use ncps_core::wiring::{
    AutoNcp, CustomWiring, FullyConnected, Ncp, Random, Wiring, WiringConfig,
};
pub use ncps_core::{cell, checkpoint, import, init, kernel, rnn, selftest, train, wiring};
#[cfg(feature = "datasets")]
pub use ncps_datasets as datasets;
pub use ncps_models as models;
#[cfg(feature = "profiling")]
pub use ncps_profiling as profiling;

#[cfg(feature = "cli")]
pub use error::{Error, ErrorKind, Result};

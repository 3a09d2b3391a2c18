//! Wirings, LTC and CfC cells, sequence layers, fused kernels and training for neural circuit
//! policies on MLX.

mod array;
pub mod cell;
pub mod checkpoint;
pub mod error;
pub mod export;
pub mod import;
pub mod init;
pub mod kernel;
#[cfg(test)]
mod property;
pub mod rnn;
pub mod selftest;
pub mod train;
pub mod wiring;

pub use error::{Error, Result};

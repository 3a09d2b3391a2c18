//! Wirings, LTC and CfC cells, sequence layers, fused kernels and training for neural circuit
//! policies on MLX.

pub mod error;
pub mod kernel;
pub mod wiring;

pub use error::{Error, Result};

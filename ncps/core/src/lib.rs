//! Wirings, cells, sequence layers, fused kernels and training for neural circuit policies on MLX.

pub mod kernel;
pub mod wiring;

//! Train neural circuit policies on MLX.

pub use ncps_core::wiring;

//! Weights made by other programs.

pub mod torch;

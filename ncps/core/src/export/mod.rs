//! A network's step as a graph of standard operations, for programs that know nothing of MLX.
//!
//! Each layer writes its plain form into a [`Builder`]; what depends on the parameters alone is computed while it does so. The
//! operations are few and found in every runtime ([`Op`]); [`evaluate`] runs a graph, to check what was written against MLX.

mod builder;
mod cfc;
mod evaluate;
mod gated;
mod graph;
mod linear;
mod ltc;
#[cfg(test)]
mod tests;

pub use builder::{Builder, StateValues, Value};
pub use evaluate::{Tensor, evaluate};
pub use graph::{Constant, Dim, Element, Graph, Node, Op, Port};
pub use linear::{activation, linear};

pub(crate) use cfc::{dense_cfc, wired_cfc};
pub(crate) use gated::{gru, remembered};
pub(crate) use linear::places;
pub(crate) use ltc::{ltc, motor_outputs};

//! Sequence layers as kernels of a GPU: one launch for all steps forward, one for all steps back.
//!
//! # Design
//! - **One text for all languages.** A kernel body (`bodies/*.inc`) is written in what Metal, CUDA and C++ have in common, with
//!   a prologue of macros for each ([`source`]). MLX compiles it for the device when it is first used; sizes are constants of
//!   the source. The tests compile the same text as C++ and run it thread by thread (`emulator`).
//! - **The recurrence inside, the rest outside.** A group of threads keeps the state of some samples in shared memory over all
//!   steps. The forward pass leaves each product's operands, the backward pass the gradients by its results; the gradients of
//!   weights are then a few large matrix products of MLX, which are deterministic.
//! - **Graph.** [`differentiable`] gives a layer's graph its own derivative, so that it works under `grad` and `compile`.
//! - What a kernel cannot serve is refused with a reason, and the layer takes its plain form.

mod cfc;
mod cfc_gradients;
mod cfc_layout;
mod cfc_places;
mod cfc_shape;
mod chain;
mod chain_cache;
mod chain_products;
mod declaration;
mod differentiable;
#[cfg(all(test, target_os = "linux"))]
mod emulator;
mod join;
mod launch;
mod ltc;
mod ltc_given;
mod ltc_launch;
mod ltc_spread;
mod ltc_wires;
mod machine;
mod plan;
mod source;
mod update;
#[cfg(test)]
mod written;

pub(crate) use chain_cache::ChainCache;
#[cfg(all(test, target_os = "linux"))]
pub(crate) use emulator::Order;
pub(crate) use launch::{Backend, rehearse};
pub use machine::keep_compiled_kernels;
pub(crate) use plan::Plan;
#[cfg(test)]
pub(crate) use {
    chain::{ChainGeometry, ChainKernels},
    launch::ASSUMED,
    written::Written,
};

use std::sync::atomic::{AtomicBool, Ordering};

use mlx_rs::Array;

use crate::array::Mlx;
use crate::kernel::op::UpdateCall;

/// Whether layers may take these kernels.
static IS_TRUSTED: AtomicBool = AtomicBool::new(true);

/// Makes later layers of this process take their plain form on a GPU, or its kernels again.
///
/// For a program that has found its kernels wrong on a device, with [`crate::selftest`].
pub fn trust_gpu_kernels(is_trusted: bool) {
    IS_TRUSTED.store(is_trusted, Ordering::Relaxed);
}

/// Whether they may.
fn are_trusted() -> bool {
    IS_TRUSTED.load(Ordering::Relaxed)
}

/// All elements of f32 arrays in one vector; none if the kernels are not trusted.
pub(crate) fn join(arrays: &[Array], backend: Backend) -> Mlx<Option<Array>> {
    are_trusted()
        .then(|| join::join(arrays, backend))
        .transpose()
}

/// The norm of the mean gradient, the new parameters and the new slots; none if the kernels are not trusted.
pub(crate) fn update(call: &UpdateCall<'_>, backend: Backend) -> Mlx<Option<Vec<Array>>> {
    are_trusted()
        .then(|| update::update(call, backend))
        .transpose()
}

/// How the steps' durations are given.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Spans {
    /// All steps last the same.
    Constant(f32),
    /// `[1, T]`.
    Shared,
    /// `[B, T]`.
    PerSample,
}

impl Spans {
    /// Whether there is an array of them.
    fn is_given(self) -> bool {
        !matches!(self, Self::Constant(_))
    }
}

/// What a layer's kernels depend on besides its specification.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Geometry {
    pub(crate) batch: usize,
    pub(crate) time: usize,
    pub(crate) spans: Spans,
    pub(crate) has_mask: bool,
    /// Number of dropout arrays.
    pub(crate) dropout: usize,
    pub(crate) is_last_only: bool,
    pub(crate) is_training: bool,
    /// Bytes that the forward pass may leave for the way back.
    pub(crate) record_limit: usize,
}

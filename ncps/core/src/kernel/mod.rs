//! Fused sequence kernels: a whole sequence layer as one MLX op on the CPU, forward and backward.
//!
//! # Design
//! - **Lanes are samples.** A block of up to 32 samples is stored `[rows, lanes]`, a row for each neuron or feature. Every
//!   weight is then one scalar times vectors of samples: sparse synapses need no gather, odd sizes waste no lanes, and
//!   dense products ([`matmul`]) run near the processor's peak. [`simd`] holds the vectors and the functions on them.
//! - **Specification, network, plan.** [`spec`] says what is computed, without values. [`network`] packs the weights once a
//!   call and chains the stages of a step: memory ([`lstm`]), then cell ([`cfc`], one or more layers; or [`ltc`]).
//!   [`sequence`] and [`sequence_backward`] run a block over all steps, with masks, time spans and segments.
//! - **Records.** In training a step leaves a record (its activations, not its inputs' products). The backward pass turns it
//!   into gradients of products, and one product over many steps gives the gradients of the weights. Where the records
//!   exceed a limit, only the states at the starts of segments of sqrt(T) steps are kept and the segments run again.
//! - **Threads** share blocks ([`pool`]); results do not depend on their number.
//! - **Chains.** In training a network of such layers and linear maps, its loss and the way back are one computation
//!   ([`chain`]), block by block.
//! - **MLX** sees one primitive ([`op`]) whose derivative is another. It runs on CPU streams; on a GPU the caller takes the
//!   plain implementation.
//!
//! Only this module and `mlx-sys` hold unsafe code: intrinsics behind a token that proves that they exist, the inner loops
//! of [`matmul`] and [`ltc`] whose bounds are asserted before, and the border to C++ in [`op`].

#![allow(
    unsafe_code,
    reason = "vector intrinsics, unchecked inner loops and the border to MLX's C++"
)]
#![allow(
    rustdoc::private_intra_doc_links,
    reason = "the design is for those who read the source"
)]

mod activation;
mod buffer;
mod cfc;
mod cfc_backward;
mod chain;
mod dense;
mod gpu;
pub mod graph;
mod lstm;
mod ltc;
mod ltc_backward;
mod matmul;
mod network;
mod op;
mod policy;
mod pool;
pub mod roofs;
mod sequence;
mod sequence_backward;
mod simd;
mod spec;
mod steps;
#[cfg(test)]
mod tests;
mod update;

pub use chain::{Chain, LinearStage, SequenceStage, Stage};
pub(crate) use chain::{Judgement, Loss, Strides};
#[cfg(all(test, target_os = "linux"))]
pub(crate) use gpu::{Backend, Order};
pub(crate) use gpu::{ChainCache, rehearse};
pub use gpu::{keep_compiled_kernels, trust_gpu_kernels};
pub(crate) use ltc::positive;
pub use op::{
    CallSpans, RecordReport, SequenceArrays, SequenceCall, SequenceOp, record_limit,
    set_record_limit,
};
pub(crate) use op::{GradientCall, UpdateCall, join, split};
pub use policy::Policy;
pub use pool::{set_threads, threads};
pub use sequence::Keep;
pub use simd::{Level, force, level};
pub(crate) use spec::LEAST_CAPACITY;
pub use spec::{CellSpec, CfcLayer, CfcSpec, LtcSpec, ParameterSpec, SequenceSpec};
pub use update::norm;
pub(crate) use update::{Clip, Rule};

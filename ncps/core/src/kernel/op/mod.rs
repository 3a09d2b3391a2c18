//! Kernels as MLX ops.

pub(super) mod ffi;
mod flat;
mod gradient;
mod records;
mod run;
mod sequence;
mod update;

pub(crate) use flat::{join, split};
pub(crate) use gradient::GradientCall;
pub use sequence::{
    CallSpans, RecordReport, SequenceArrays, SequenceCall, SequenceOp, record_limit,
    set_record_limit,
};
pub(crate) use update::UpdateCall;

//! Kernels as MLX ops.

mod ffi;
mod sequence;

pub(crate) use ffi::is_cpu as runs_on;
pub use sequence::{
    CallSpans, RecordReport, SequenceArrays, SequenceCall, SequenceOp, set_record_limit,
};

//! Graphs as ONNX files (operator set 17, representation 8, which every runtime of the last years reads), and back.

mod proto;
mod read;
mod write;

pub use read::decode;
pub use write::encode;

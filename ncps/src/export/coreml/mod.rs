//! Graphs of one step as Core ML packages (ML Programs of specification 7: macOS 13 and iOS 16 or newer).

mod package;
mod program;
mod proto;
mod weights;

pub(super) use package::Package;

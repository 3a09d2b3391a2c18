//! The configuration of one run: what to learn from, which network, how to train it.
//!
//! Three layers lie over each other: documented defaults, the file, `--set`. Nothing else, no environment variables.

mod check;
mod diagnostic;
mod document;
mod layers;
mod limits;
mod load;
mod nearest;
mod resolved;
mod run_config;

pub(crate) use limits::{check_train, data_error, model_error};

pub use diagnostic::{Diagnostic, Place};
pub use layers::{Origin, Override};
pub use load::Loaded;
pub use run_config::{DeviceChoice, LoaderConfig, LogConfig, RunConfig, Tf32Choice, schema};

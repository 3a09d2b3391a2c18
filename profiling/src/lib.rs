//! What this machine is, what was measured on it, and how to show both without inventing a number.
//!
//! Every metric is a [`Reading`]: either a value with its unit, source and scope, or the reason why
//! there is none. [`device`] finds out what the machine is; [`plot`] and [`report`] show what a run did.
//! Nothing here depends on MLX.

pub mod capture;
pub mod chips;
pub mod cpu_time;
pub mod device;
mod error;
pub mod memory;
pub mod page;
pub mod plot;
pub mod probe;
pub mod profile;
#[cfg(test)]
mod property;
mod reading;
pub mod report;
pub mod runner;
pub mod sampler;
pub mod table;
pub mod telemetry;

pub use error::{Error, Result};
pub use profile::Profiler;
pub use reading::{Quality, Reading, Reason, Scope, Unit};

//! `ncps tune`: the batch, width, device and implementation that train fastest here, within a memory and a time limit.
//!
//! [`Space`] lists the settings to try, [`halving`] decides which of them get more of the time, [`tune`] measures them and
//! [`Tuned`] holds what was found: a configuration fragment and a row for the device table.

pub mod halving;
mod report;
mod run;
mod space;
mod tuned;

pub use run::{Limits, tune};
pub(crate) use space::implementation_keys;
pub use space::{Setting, Space};
pub use tuned::{Fate, Measured, Tuned};

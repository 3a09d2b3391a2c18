//! A run from configuration to results: data, network, training, evaluation, run directory.

pub(crate) mod arrays;
mod batches;
mod cleaning;
pub mod device;
mod directory;
mod figures;
mod inspect;
mod memory;
pub(crate) mod metrics;
mod model_file;
pub(crate) mod plan;
mod predictor;
mod prefetch;
mod provenance;
pub(crate) mod record;
mod report;
mod resume;
mod seeds;
mod session;
mod sizes;
pub(crate) mod step_memory;
mod stiffness;
mod summary;
mod tensorboard;
pub mod tf32;
mod training;
mod verify;

use std::path::Path;

use ncps_core::train::Observer;

use crate::error::Result;

pub(crate) use arrays::host;
pub use batches::WindowSource;
pub use cleaning::{Removable, Waste, find_waste, remove};
pub use directory::{Existing, RunDirectory};
pub use figures::wiring_graph;
pub use inspect::{
    BestValue, CheckpointInfo, RunInfo, RunState, checkpoints, find_runs, inspect, is_run,
};
pub use memory::smaller;
pub use model_file::{ModelDescription, load_description};
pub use plan::{MemoryEstimate, Plan};
pub use predictor::{Carried, Predictor};
pub use seeds::{SeedGroup, seed_groups};
pub use session::{Limits, Session, Split, data_cache};
pub use summary::{BaselineSummary, SCHEMA, Status, Summary};
pub use verify::Verification;
pub(crate) use verify::in_plain_operations;

/// Watches a run: the training observer's reports and what else a person should know.
pub trait Watcher: Observer {
    /// Hears a remark in one line.
    fn note(&mut self, _text: &str) {}
}

impl Watcher for () {}

/// Writes a file, whole or not at all.
///
/// # Errors
/// [`crate::Error::Core`] without permission or space.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    Ok(ncps_core::checkpoint::atomic::write_file(path, bytes)?)
}

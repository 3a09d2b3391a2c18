//! Batches from host memory to MLX arrays.

use ncps_core::train::{Batch, BatchSource, TargetUnits};
use ncps_datasets::{Batches, DataSchema, HostBatch, Task, WindowSet};

use super::arrays::to_arrays;
use crate::error::Result;

/// Windows that a message names; a batch may have thousands.
const SHOWN: usize = 8;

/// A window set as a source of training batches of one static shape.
#[derive(Debug)]
pub struct WindowSource {
    batches: Batches,
    host: HostBatch,
    units: Option<TargetUnits>,
}

impl WindowSource {
    /// Batches of `windows`, in an order that depends on `shuffle` and the epoch alone; none keeps the data's order.
    ///
    /// # Errors
    /// [`crate::Error::Data`] for a split without windows.
    pub fn new(
        windows: &WindowSet,
        schema: &DataSchema,
        batch_size: usize,
        shuffle: Option<u64>,
    ) -> Result<Self> {
        let batches = windows.batches(batch_size, shuffle)?;
        let host = batches.host_batch();
        Ok(Self {
            batches,
            host,
            units: target_units(schema),
        })
    }
}

impl WindowSource {
    /// Fills the batch in host memory; [`WindowSource::upload`] makes arrays of it.
    pub(crate) fn fill(&mut self, epoch: u64, step: usize) -> ncps_core::Result<()> {
        let filled = self.batches.fill(epoch, step, &mut self.host);
        filled.map_err(|error| ncps_core::Error::Batch {
            argument: "batch",
            found: error.to_string(),
            expected: "a batch of this source".to_owned(),
        })
    }

    /// The batch in host memory as arrays.
    pub(crate) fn upload(&self) -> Batch {
        to_arrays(&self.host)
    }
}

/// How normalised targets go back to the data's unit.
fn target_units(schema: &DataSchema) -> Option<TargetUnits> {
    match schema.task {
        Task::Regression => Some(TargetUnits {
            offset: schema
                .normaliser
                .targets
                .iter()
                .map(|scale| scale.shift)
                .collect(),
            scale: schema
                .normaliser
                .targets
                .iter()
                .map(|scale| scale.scale)
                .collect(),
        }),
        Task::Classification { .. } => None,
    }
}

impl BatchSource for WindowSource {
    fn steps(&self) -> usize {
        self.batches.steps()
    }

    fn batch(&mut self, epoch: u64, step: usize) -> ncps_core::Result<Batch> {
        self.fill(epoch, step)?;
        Ok(self.upload())
    }

    fn samples(&mut self, epoch: u64, step: usize) -> Option<String> {
        let windows = self.batches.samples(epoch, step).ok()?;
        let shown: Vec<String> = windows.iter().take(SHOWN).map(u32::to_string).collect();
        let rest = windows.len().saturating_sub(SHOWN);
        let more = if rest > 0 {
            format!(" and {rest} more")
        } else {
            String::new()
        };
        Some(format!("windows {}{more}", shown.join(", ")))
    }

    fn target_units(&self) -> Option<TargetUnits> {
        self.units.clone()
    }
}

//! Batches from host memory to MLX arrays.

use ncps_core::train::{Batch, BatchSource, TargetUnits};
use ncps_datasets::{Batches, DataSchema, HostBatch, Task, WindowSet};

use super::arrays::to_arrays;
use super::prefetch::Prefetch;
use crate::error::Result;

/// Windows that a message names; a batch may have thousands.
const SHOWN: usize = 8;

/// A window set as a source of training batches of one static shape.
#[derive(Debug)]
pub struct WindowSource {
    batches: Batches,
    units: Option<TargetUnits>,
    /// Batches that a thread may have ready; 0 fills each when it is asked for.
    prefetch: usize,
    filler: Option<Filler>,
}

/// Who fills batches, made with the first of them.
#[derive(Debug)]
enum Filler {
    /// The caller's thread, in these buffers.
    Here(Box<HostBatch>),
    /// A thread of its own; the batch was taken from it and not yet given on.
    Ahead(Prefetch, Option<Batch>),
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
        Ok(Self {
            batches: windows.batches(batch_size, shuffle)?,
            units: target_units(schema),
            prefetch: 0,
            filler: None,
        })
    }

    /// Lets a thread make up to `batches` batches ready ahead of the one in use; their order and bytes stay the same.
    pub fn ahead(mut self, batches: usize) -> Self {
        self.prefetch = batches;
        self
    }
}

impl WindowSource {
    /// Makes a batch ready in host memory, or waits for the thread that does; [`WindowSource::upload`] gives it.
    pub(crate) fn fill(&mut self, epoch: u64, step: usize) -> ncps_core::Result<()> {
        let filler = match &mut self.filler {
            Some(filler) => filler,
            empty => empty.insert(match self.prefetch {
                0 => Filler::Here(Box::new(self.batches.host_batch())),
                depth => Filler::Ahead(Prefetch::new(self.batches.clone(), depth)?, None),
            }),
        };
        match filler {
            Filler::Here(host) => fill(&mut self.batches, epoch, step, host),
            Filler::Ahead(ahead, taken) => {
                *taken = Some(ahead.take(epoch, step)?);
                Ok(())
            }
        }
    }

    /// The batch that was made ready, as arrays.
    pub(crate) fn upload(&mut self) -> ncps_core::Result<Batch> {
        let batch = match &mut self.filler {
            Some(Filler::Here(host)) => Some(to_arrays(host)),
            Some(Filler::Ahead(_, taken)) => taken.take(),
            None => None,
        };
        batch.ok_or_else(|| ncps_core::Error::Batch {
            argument: "batch",
            found: "none that was made ready".to_owned(),
            expected: "a call of `fill` before".to_owned(),
        })
    }
}

/// Fills the host's buffers with a batch.
pub(super) fn fill(
    batches: &mut Batches,
    epoch: u64,
    step: usize,
    host: &mut HostBatch,
) -> ncps_core::Result<()> {
    let filled = batches.fill(epoch, step, host);
    filled.map_err(|error| ncps_core::Error::Batch {
        argument: "batch",
        found: error.to_string(),
        expected: "a batch of this source".to_owned(),
    })
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
        self.upload()
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

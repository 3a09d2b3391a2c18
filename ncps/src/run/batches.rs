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
        Ok(Self::over(windows.batches(batch_size, shuffle)?, schema))
    }

    /// The same for a state that is carried from window to window: the samples of a batch are lanes, `batch_size` of them where they
    /// are shuffled, else at most so many (see [`WindowSet::lanes`]).
    ///
    /// # Errors
    /// [`crate::Error::Data`] for a split without windows, or with windows that do not follow one another.
    pub fn in_lanes(
        windows: &WindowSet,
        schema: &DataSchema,
        batch_size: usize,
        shuffle: Option<u64>,
    ) -> Result<Self> {
        Ok(Self::over(windows.lanes(batch_size, shuffle)?, schema))
    }

    fn over(batches: Batches, schema: &DataSchema) -> Self {
        Self {
            batches,
            units: target_units(schema),
            prefetch: 0,
            filler: None,
        }
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

    fn shapes(&self) -> usize {
        self.batches.shapes()
    }

    fn continues(&mut self, epoch: u64, step: usize) -> Option<Vec<bool>> {
        self.batches.continues(epoch, step).ok().flatten()
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

#[cfg(test)]
mod tests {
    use mlx_rs::Array;
    use ncps_core::train::{Inputs, LossConfig, MetricName, Metrics, evaluate};
    use ncps_core::wiring::AutoNcp;
    use ncps_datasets::{DataConfig, Dataset};
    use ncps_models::{CfcModel, ModelConfig};

    use super::super::arrays::host;
    use super::*;

    /// Series of 4 to 40 steps, whole.
    fn dataset(buckets: usize) -> Dataset {
        let folder = tempfile::tempdir().unwrap();
        let mut text = "id,x,y\n".to_owned();
        for series in 0..24usize {
            for step in 0..4 + series * series * 7 % 37 {
                let x = ((series + step) as f64 * 0.7).sin();
                text.push_str(&format!("{series},{x},{}\n", x * x));
            }
        }
        std::fs::write(folder.path().join("t.csv"), text).unwrap();
        let config = format!(
            "kind = \"csv\"\npath = \"t.csv\"\ngroup = \"id\"\nfeatures = [\"x\"]\ntargets = [\"y\"]\ntask = {{ kind = \"regression_each_step\" }}\nbuckets = {buckets}\nsplit = {{ kind = \"fraction\", by = \"series\", validation = 0.0, test = 0.0 }}"
        );
        let config: DataConfig = toml::from_str(&config).unwrap();
        config.load(folder.path()).unwrap()
    }

    fn measured(source: &mut dyn BatchSource) -> Metrics {
        let model = ModelConfig::from(CfcModel::new(AutoNcp::new(12, 1)));
        let mut network = model.build(1, 1, 3).unwrap();
        let loss = LossConfig::Mse(Default::default());
        evaluate(&mut network, source, &loss, &[MetricName::Loss]).unwrap()
    }

    /// Each sample alone, without its padding.
    fn unpadded(dataset: &Dataset) -> Vec<Batch> {
        let mut source = WindowSource::new(&dataset.train, &dataset.schema, 1, None).unwrap();
        let real = |array: &Array, steps: usize| {
            let values = host(array).unwrap();
            Array::from_slice(&values[..steps], &[1, steps as i32, 1])
        };
        let one = |(step, window): (usize, ncps_datasets::Window)| {
            let batch = source.batch(0, step).unwrap();
            let inputs = Inputs {
                x: real(&batch.inputs.x, window.steps),
                timespans: None,
                mask: None,
            };
            Batch {
                inputs,
                targets: real(&batch.targets, window.steps),
                weights: Array::from_slice(&vec![1.0f32; window.steps], &[1, window.steps as i32]),
            }
        };
        dataset.train.windows().enumerate().map(one).collect()
    }

    #[test]
    fn buckets_change_what_is_padded_and_nothing_else() {
        let (one, four) = (dataset(1), dataset(4));
        let alone = measured(&mut unpadded(&one))["loss"];
        let [without, with] = four.train.padding();
        assert!(with < 0.5 * without, "{with} {without}");
        for data in [&one, &four] {
            let source = WindowSource::new(&data.train, &data.schema, 5, Some(2));
            let mut source = source.unwrap().ahead(2);
            let mut shapes: Vec<Vec<i32>> = (0..source.steps())
                .map(|step| source.batch(0, step).unwrap().inputs.x.shape().to_vec())
                .collect();
            shapes.sort();
            shapes.dedup();
            assert_eq!(shapes.len(), source.shapes());
            let loss = measured(&mut source)["loss"];
            assert!((loss - alone).abs() <= 1e-6 * alone, "{loss} {alone}");
        }
        assert_eq!(four.train.batches(5, Some(1)).unwrap().shapes(), 4);
    }
}

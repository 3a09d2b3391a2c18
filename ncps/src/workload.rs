//! Networks as workloads of a [`Profiler`](ncps_profiling::Profiler), and what MLX's allocator says about itself.

use mlx_rs::{Array, memory};
use mlx_sys::facts::{self, Backend};
use ncps_core::train::{Batch, Inputs, Model, Trainer};
use ncps_core::{Error, Result};
use ncps_models::{Network, Work};
use ncps_profiling::profile::{AllocatorMemory, Workload};
use ncps_profiling::{Reading, Reason, Scope, Unit};

/// Predicting for one batch, until the predictions are there.
///
/// # Example
/// ```
/// use ncps::{AutoNcp, models::{CfcModel, ModelConfig}, profiling::{Profiler, profile::Budget}, workload::ForwardPass};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let network = ModelConfig::from(CfcModel::new(AutoNcp::new(16, 2))).build(3, 2, 7)?;
/// let x = mlx_rs::ops::zeros::<f32>(&[8, 10, 3])?; // [batch, time, features]
/// let budget = Budget { time: Duration::from_millis(20), ..Budget::default() };
/// let mut profiler = Profiler::new("forward", ForwardPass::new(network, x)).with_budget(budget);
/// assert!(profiler.profile_compute()?.get("tflops").value().is_some());
/// assert!(profiler.profile_memory()?.get("peak_usage").value().is_some());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ForwardPass {
    network: Box<dyn Network>,
    inputs: Inputs,
    flops: Option<u64>,
}

impl ForwardPass {
    /// Predictions of `network` for x [B, T, F].
    pub fn new(network: Box<dyn Network>, x: Array) -> Self {
        Self::of(
            network,
            Inputs {
                x,
                timespans: None,
                mask: None,
            },
        )
    }

    /// The same with time spans and mask.
    pub fn of(network: Box<dyn Network>, inputs: Inputs) -> Self {
        let samples = samples(&inputs.x) as u64;
        // A network of a kind whose work is not counted has no count, and the profiler says so.
        let flops = Work::of_step(network.as_ref()).ok();
        Self {
            flops: flops.map(|work| (work * samples).flops()),
            network,
            inputs,
        }
    }
}

impl Workload for ForwardPass {
    type Error = Error;

    fn run(&mut self) -> Result<()> {
        let predicted = self.network.forward(&self.inputs, None)?;
        predicted.eval().map_err(|source| Error::Mlx {
            operation: "forward pass",
            source,
        })
    }

    fn flops(&self) -> Option<u64> {
        self.flops
    }

    fn least_bytes(&self) -> Option<u64> {
        let parameters = self.network.summary().parameters;
        let outputs = samples(&self.inputs.x) * self.network.outputs();
        Some(4 * (self.inputs.x.size() + parameters + outputs) as u64)
    }

    fn samples(&self) -> Option<usize> {
        Some(samples(&self.inputs.x))
    }

    fn allocator(&self) -> Option<AllocatorMemory> {
        Some(allocator())
    }

    fn reset_peak(&mut self) {
        reset_peak();
    }
}

/// One training step on one batch, until its loss has been read.
#[derive(Debug)]
pub struct TrainStep {
    trainer: Trainer<Box<dyn Network>>,
    batch: Batch,
    flops: Option<u64>,
}

impl TrainStep {
    /// Steps of `trainer` on `batch`.
    pub fn new(trainer: Trainer<Box<dyn Network>>, batch: Batch) -> Self {
        let shape = batch.inputs.x.shape();
        let size = |axis: usize| shape.get(axis).map_or(1, |&n| n.max(1) as usize);
        let work = Work::of_training_step(trainer.model().as_ref(), size(0), size(1)).ok();
        Self {
            flops: work.map(|work| work.flops()),
            trainer,
            batch,
        }
    }
}

impl Workload for TrainStep {
    type Error = Error;

    fn run(&mut self) -> Result<()> {
        self.trainer.train_batch(&self.batch).map(|_| ())
    }

    fn flops(&self) -> Option<u64> {
        self.flops
    }

    fn samples(&self) -> Option<usize> {
        Some(samples(&self.batch.inputs.x))
    }

    fn allocator(&self) -> Option<AllocatorMemory> {
        Some(allocator())
    }

    fn reset_peak(&mut self) {
        reset_peak();
    }
}

/// Time steps of all sequences of x [B, T, F].
fn samples(x: &Array) -> usize {
    let shape = x.shape();
    shape.iter().take(2).map(|&n| n.max(1) as usize).product()
}

/// Active, peak and cached bytes of MLX in this process.
pub fn allocator() -> AllocatorMemory {
    AllocatorMemory {
        active: bytes(memory::active_memory(), "mlx_get_active_memory"),
        peak: bytes(memory::peak_memory(), "mlx_get_peak_memory"),
        cache: match facts::backend() {
            Backend::Cpu => Reading::unavailable(
                Reason::UnsupportedByHardware,
                "MLX's allocator for a CPU gives freed memory back at once and keeps no cache",
            ),
            _ => bytes(memory::cache_memory(), "mlx_get_cache_memory"),
        },
    }
}

/// Sets the peak to what is active now; where MLX refuses, the peak stays that of the process.
pub(crate) fn reset_peak() {
    let _ = memory::reset_peak_memory();
}

fn bytes(asked: mlx_rs::error::Result<usize>, source: &str) -> Reading {
    match asked {
        Ok(bytes) => {
            Reading::measured(bytes as f64, Unit::Bytes, source).with_scope(Scope::Process)
        }
        Err(error) => Reading::unavailable(Reason::ToolFailed, format!("{source}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlx_rs::ops;
    use ncps_core::train::TrainConfig;
    use ncps_core::wiring::AutoNcp;
    use ncps_models::{CfcModel, ModelConfig};
    use ncps_profiling::Profiler;
    use ncps_profiling::profile::Budget;
    use std::time::Duration;

    fn network() -> Box<dyn Network> {
        let config = ModelConfig::from(CfcModel::new(AutoNcp::new(16, 2)));
        config.build(3, 2, 7).unwrap()
    }

    fn budget() -> Budget {
        Budget {
            time: Duration::from_millis(10),
            ..Budget::default()
        }
    }

    #[test]
    fn forward_and_training_have_all_numbers_of_a_model() {
        let x = ops::ones::<f32>(&[8, 10, 3]).unwrap();
        let step_flops = Work::of_step(network().as_ref()).unwrap().flops();
        let pass = ForwardPass::new(network(), x.clone());
        let mut forward = Profiler::new("forward", pass).with_budget(budget());
        let [compute, memory, hardware] = forward.profile_all().unwrap();
        assert_eq!(compute.get("flops").value(), Some((80 * step_flops) as f64));
        assert!(compute.get("samples_per_second").value().unwrap() > 0.0);
        // Inputs and predictions are alive while it runs.
        assert!(memory.get("peak_usage").value().unwrap() >= 4.0 * 240.0);
        assert_eq!(hardware.get("ne_utilization").value(), None);

        let trainer = Trainer::new(network(), TrainConfig::default(), 1).unwrap();
        let batch = Batch::new(x, ops::zeros::<f32>(&[8, 10, 2]).unwrap()).unwrap();
        let mut train =
            Profiler::new("train", TrainStep::new(trainer, batch)).with_budget(budget());
        let trained = train.profile_compute().unwrap();
        assert!(trained.get("flops").value().unwrap() > 2.0 * (80 * step_flops) as f64);
        assert_eq!(train.history().len(), 1);
    }
}

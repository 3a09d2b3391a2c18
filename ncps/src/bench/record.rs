//! What is known of a case after it ran: one line of JSON.

use ncps_models::Work;
use serde::{Deserialize, Serialize};

use super::roofs::{Bound, Roofs};

/// The figures of one case. Times without `cpu` in their name are wall time; a figure that could not be had is `null` and
/// named in `unavailable`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Name of the case.
    pub case: String,
    /// Median time of a training step, seconds.
    pub train_s_median: f64,
    /// Shortest training step, seconds.
    pub train_s_min: f64,
    /// Median processor time (user and system, all threads) of a training step, seconds.
    pub train_cpu_s_median: f64,
    /// Least processor time of a training step, seconds.
    pub train_cpu_s_min: f64,
    /// Training steps that these are taken from.
    pub train_steps: usize,
    /// Median time of an inference step at batch 1 with the state carried, milliseconds.
    pub infer_ms_median: f64,
    /// Shortest inference step, milliseconds.
    pub infer_ms_min: f64,
    /// Mean processor time of an inference step, milliseconds.
    pub infer_cpu_ms_mean: f64,
    /// Inference steps that these are taken from.
    pub infer_steps: usize,
    /// What ran the inference steps: `policy` (no graph) or `layer` (one step in MLX operations).
    pub infer_by: String,
    /// From handing over the batch to knowing the first loss, compilation included, seconds.
    pub first_step_s: f64,
    /// Most resident memory of the process, 10^6 bytes.
    pub peak_rss_mb: Option<f64>,
    /// Resident memory before anything was built, 10^6 bytes.
    pub start_rss_mb: Option<f64>,
    /// The difference of these two, 10^6 bytes.
    pub peak_above_start_mb: Option<f64>,
    /// Most memory of live arrays in MLX while it trained, 10^6 bytes; the kernels have buffers of their own.
    pub mlx_peak_mb: Option<f64>,
    /// What `ncps train` would say beforehand that a run takes beside its data, 10^6 bytes.
    pub estimated_mb: f64,
    /// Threads of the kernels and of matrix products.
    pub threads: usize,
    /// `cpu` or `gpu`.
    pub device: String,
    /// The vectors that the kernels compute with.
    pub vectors: String,
    /// `plain` (MLX operations step by step), `fused` (one operation for the sequence) or, on a GPU, `auto` (the best there).
    pub implementation: String,
    /// Whether the program was built with optimisation; without it its own kernels are many times slower.
    pub is_optimised: bool,
    /// Sequences of a training batch.
    pub batch: usize,
    /// Steps of a sequence.
    pub time: usize,
    /// Features.
    pub inputs: usize,
    /// Outputs.
    pub outputs: usize,
    /// Trained numbers.
    pub params: usize,
    /// Floating-point operations of a training step, counted from the network (`work.products + work.arithmetic`).
    pub flops: u64,
    /// The same by kind, with the values of functions beside it.
    pub work: Work,
    /// Floating-point operations of an inference step.
    pub infer_flops: u64,
    /// `flops` by the median time, GFLOP/s.
    pub train_gflops: f64,
    /// Functions traced for compilation.
    pub compilations: u64,
    /// The shortest time that a training step can take here; on a CPU only.
    pub bound: Option<Bound>,
    /// The share of the possible speed that the median training step reached.
    pub percent_of_bound: Option<f64>,
    /// The rates behind the bound, measured in the same call.
    pub roofs: Option<Roofs>,
    /// Why a figure is missing.
    pub unavailable: Vec<String>,
}

impl Record {
    /// Bytes that a training step moves to and from memory at least (see [`Bound`]).
    pub fn least_bytes(&self) -> u64 {
        let batch = self.batch * self.time * (self.inputs + self.outputs) + self.batch;
        4 * (batch + 8 * self.params) as u64
    }

    /// Adds what the machine can do at most.
    pub fn compare(&mut self, roofs: &Roofs) {
        let bound = roofs.bound(&self.work, self.least_bytes());
        self.percent_of_bound = Some(bound.percent(self.train_s_median));
        self.bound = Some(bound);
        self.roofs = Some(roofs.clone());
    }
}

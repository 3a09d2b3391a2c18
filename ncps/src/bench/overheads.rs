//! What a run does beside its steps: filling batches, checking each step, writing checkpoints.

use std::path::Path;
use std::time::Instant;

use ncps_core::kernel;
use ncps_core::train::{
    Batch, BatchSource, CheckpointConfig, CheckpointReport, Observer, TrainConfig, Trainer,
};
use ncps_datasets::{
    DataConfig, Dataset, FractionSplit, Frame, LeakPolicy, NormaliseConfig, NpyConfig, SplitConfig,
};
use ncps_models::Network;
use ncps_profiling::profile::statistics::median;
use serde::{Deserialize, Serialize};

use super::cases::Case;
use super::measure::{self, Options, SEED};
use crate::error::{Error, Result};
use crate::run::WindowSource;
use crate::run::arrays::host;

/// Wall seconds of the steps of one block.
const BLOCK: f64 = 4e-3;
/// Batches of the windows that are shuffled.
const BATCHES: usize = 20;
/// Steps between two checkpoints, and checkpoints of a run.
const STEPS: usize = 16;
const CHECKPOINTS: u64 = 20;
/// Fewest blocks, and fewest runs with and without checkpoints.
const LEAST: usize = 5;

/// The figures of one case; wall time, medians of blocks that are measured in turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overheads {
    /// Name of the case.
    pub case: String,
    /// A training step with all checks, its batch in memory; seconds.
    pub train_s: f64,
    /// Gathering a batch of shuffled windows and handing it to MLX; seconds.
    pub data_s: f64,
    /// That beside step and batch together, in percent.
    pub data_percent: f64,
    /// What the checks of a step take: keeping what it began from, the gradient's norm, and reading loss and norm; seconds. The same
    /// step without them is measured in turn, and the norm, which is part of the update, by itself.
    pub checks_s: f64,
    /// Their quartiles over the blocks.
    pub checks_range_s: [f64; 2],
    /// The gradient's norm in that.
    pub norm_s: f64,
    /// Checks beside the step, in percent.
    pub checks_percent: f64,
    /// What a checkpoint adds to training, from runs with and without in turn; seconds.
    pub checkpoint_s: f64,
    /// The smallest and the largest such difference of two runs.
    pub checkpoint_range_s: [f64; 2],
    /// Bytes of a checkpoint.
    pub checkpoint_bytes: u64,
    /// Blocks of each kind of step, and runs with checkpoints.
    pub repeats: [usize; 2],
    /// Threads of the kernels.
    pub threads: usize,
    /// Whether the program was built with optimisation.
    pub is_optimised: bool,
}

/// Measures a case on the CPU in this process; its data and checkpoints lie in `folder` while that lasts.
///
/// # Errors
/// Those of building and training a network, and of the file system.
pub fn run(case: &Case, options: &Options, folder: &Path) -> Result<Overheads> {
    mlx_rs::Device::set_default(&mlx_rs::Device::cpu());
    kernel::set_threads(options.threads);
    let batch = measure::batch(case);
    let steps = steps(case, options, folder, &batch)?;
    let saved = checkpoints(case, options, folder, &batch)?;
    Ok(Overheads {
        case: case.name.to_owned(),
        data_percent: 100.0 * steps.data / (steps.data + steps.train),
        checks_percent: 100.0 * steps.checks[1] / steps.train,
        train_s: steps.train,
        data_s: steps.data,
        checks_s: steps.checks[1],
        checks_range_s: [steps.checks[0], steps.checks[2]],
        norm_s: steps.norm,
        checkpoint_s: saved.each[1],
        checkpoint_range_s: [saved.each[0], saved.each[2]],
        checkpoint_bytes: saved.bytes,
        repeats: [steps.blocks, saved.runs],
        threads: kernel::threads(),
        is_optimised: !cfg!(debug_assertions),
    })
}

struct Steps {
    train: f64,
    data: f64,
    norm: f64,
    /// Lower quartile, median, upper quartile.
    checks: [f64; 3],
    blocks: usize,
}

fn trainer(
    case: &Case,
    options: &Options,
    checkpoint: CheckpointConfig,
) -> Result<Trainer<Box<dyn Network>>> {
    let config = TrainConfig {
        batch_size: case.batch,
        epochs: CHECKPOINTS,
        checkpoint,
        ..TrainConfig::default()
    };
    Ok(Trainer::new(measure::build(case, options)?, config, SEED)?)
}

/// Seconds of one of `count` calls.
fn timed(count: usize, mut call: impl FnMut() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    for _ in 0..count {
        call()?;
    }
    Ok(begin.elapsed().as_secs_f64() / count as f64)
}

fn steps(case: &Case, options: &Options, folder: &Path, batch: &Batch) -> Result<Steps> {
    let mut trainer = trainer(case, options, CheckpointConfig::default())?;
    let dataset = windows(case, folder)?;
    let mut source = WindowSource::new(&dataset.train, &dataset.schema, case.batch, Some(SEED))?;
    let gradients = {
        let model = trainer.model();
        let mut values = Vec::new();
        for array in model.parameters().flatten().values() {
            values.extend(host(array)?);
        }
        values
    };
    // Of the fourth step on: the first ones also trace and touch memory.
    timed(3, || Ok(trainer.train_batch(batch).map(drop)?))?;
    let one = timed(3, || Ok(trainer.train_batch(batch).map(drop)?))?;
    let count = ((BLOCK / one) as usize).max(1);
    let (mut trained, mut filled, mut norms, mut checks) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let begin = Instant::now();
    let mut taken = 0;
    while trained.len() < LEAST || begin.elapsed().as_secs_f64() < options.seconds {
        let mut checked = || timed(count, || Ok(trainer.train_batch(batch).map(drop)?));
        let first = checked()?;
        let bare = timed(count, || Ok(trainer.handed_over_batch(batch).map(drop)?))?;
        let mut checked = || timed(count, || Ok(trainer.train_batch(batch).map(drop)?));
        // The same before and behind, so that a machine that becomes slower counts for nothing.
        let both = 0.5 * (first + checked()?);
        let norm = timed(16, || {
            std::hint::black_box(kernel::norm(std::hint::black_box(&gradients)));
            Ok(())
        })?;
        let data = timed(count.min(BATCHES), || {
            let step = taken % source.steps();
            std::hint::black_box(source.batch((taken / source.steps()) as u64, step)?);
            taken += 1;
            Ok(())
        })?;
        trained.push(both);
        filled.push(data);
        norms.push(norm);
        checks.push(both - bare + norm);
    }
    Ok(Steps {
        blocks: trained.len(),
        train: middle(trained)[1],
        data: middle(filled)[1],
        norm: middle(norms)[1],
        checks: middle(checks),
    })
}

/// Lower quartile, median and upper quartile.
fn middle(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_unstable_by(f64::total_cmp);
    let at = |quarter: usize| values.get(values.len() * quarter / 4).copied();
    let known = |value: Option<f64>| value.unwrap_or(f64::NAN);
    [known(at(1)), known(median(&values)), known(at(3))]
}

/// Windows of the case's sizes from a file, shuffled over some batches; their targets are all features one step ahead.
fn windows(case: &Case, folder: &Path) -> Result<Dataset> {
    let rows = BATCHES * case.batch + case.time;
    let mut frame = Frame::new();
    for column in 0..case.inputs {
        let value = |row: usize| ((row * (column + 3)) as f64 * 0.37).sin();
        frame = frame.with_number(&format!("x{column}"), (0..rows).map(value).collect())?;
    }
    frame.write(&folder.join("data.npy"))?;
    let config = DataConfig::Npy(NpyConfig {
        path: "data.npy".into(),
        horizon: 1,
        window: Some(case.time),
        stride: Some(1),
        test_stride: None,
        split: SplitConfig::Fraction(FractionSplit {
            validation: 0.0,
            test: 0.0,
            ..FractionSplit::default()
        }),
        normalise: NormaliseConfig::default(),
        pad: false,
        augment: None,
        leakage: LeakPolicy::default(),
        buckets: 1,
    });
    Ok(config.load(folder)?)
}

struct Saved {
    /// Smallest, median and largest.
    each: [f64; 3],
    bytes: u64,
    runs: usize,
}

/// Hears of checkpoints, and how large they are.
#[derive(Default)]
struct Heard {
    checkpoints: usize,
    bytes: u64,
}

impl Observer for Heard {
    fn on_checkpoint(&mut self, report: &CheckpointReport) {
        self.checkpoints += 1;
        let files = std::fs::read_dir(&report.path)
            .into_iter()
            .flatten()
            .flatten();
        let sizes = files.map(|file| file.metadata().map_or(0, |metadata| metadata.len()));
        self.bytes = self.bytes.max(sizes.sum());
    }
}

fn checkpoints(case: &Case, options: &Options, folder: &Path, batch: &Batch) -> Result<Saved> {
    let mut batches = vec![batch.clone(); STEPS];
    let mut train = |every: u64| -> Result<(f64, Heard)> {
        let keep = CheckpointConfig {
            every,
            keep_last: 2,
            keep_best: 0,
        };
        let mut trainer = trainer(case, options, keep)?;
        let into = folder.join("checkpoints");
        trainer.checkpoint_to(&into);
        let mut heard = Heard::default();
        let begin = Instant::now();
        trainer.fit(&mut batches, None, &mut heard)?;
        let seconds = begin.elapsed().as_secs_f64();
        let removed = std::fs::remove_dir_all(&into);
        removed.map_err(|source| Error::Write { path: into, source })?;
        Ok((seconds, heard))
    };
    let (mut each, mut bytes) = (Vec::new(), 0);
    let begin = Instant::now();
    while each.len() < LEAST || begin.elapsed().as_secs_f64() < options.seconds {
        let (with, many) = train(1)?;
        let (without, last) = train(0)?;
        bytes = many.bytes;
        each.push((with - without) / (many.checkpoints - last.checkpoints).max(1) as f64);
    }
    each.sort_unstable_by(f64::total_cmp);
    let known = |value: Option<f64>| value.unwrap_or(f64::NAN);
    Ok(Saved {
        runs: each.len(),
        each: [
            known(each.first().copied()),
            known(median(&each)),
            known(each.last().copied()),
        ],
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::cases;

    #[test]
    fn every_figure_is_measured() {
        let options = Options {
            seconds: 0.0,
            is_gpu: false,
            threads: 1,
            is_plain: false,
        };
        let folder = tempfile::tempdir().unwrap();
        let mut case = *cases::find("cfc-ncp-32").unwrap();
        (case.batch, case.time) = (4, 3);
        let found = run(&case, &options, folder.path()).unwrap();
        assert!(found.train_s > 0.0 && found.norm_s > 0.0, "{found:?}");
        assert!((0.0..100.0).contains(&found.data_percent), "{found:?}");
        assert!(found.checks_s.is_finite() && found.checkpoint_s.is_finite());
        let share = 100.0 * found.checks_s / found.train_s;
        assert!((found.checks_percent - share).abs() < 1e-9);
        // Weights and two moments of each, with names and digests.
        let params = measure::build(&case, &options)
            .unwrap()
            .summary()
            .parameters as u64;
        assert!(
            (12 * params..24 * params).contains(&found.checkpoint_bytes),
            "{found:?}"
        );
        assert_eq!(found.repeats, [LEAST, LEAST]);
        // Nothing but the data is left.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn quartiles_by_hand() {
        let found = middle(vec![4.0, 1.0, 2.0, 3.0, 5.0]);
        let expected = [2.0, 3.0, 4.0];
        assert!(
            found
                .iter()
                .zip(expected)
                .all(|(a, b)| (a - b).abs() < 1e-12)
        );
    }
}

//! `ncps data speed`: how fast a configuration's data are loaded and cut into batches on this machine.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use ncps::config::{Loaded, Override, RunConfig};
use ncps::datasets::{DataConfig, Dataset, Frame};
use ncps::run::data_cache;
use serde::Serialize;

use super::output::{Output, bytes, seconds, short};

/// Batches are filled for at least this long, in seconds.
const SHORTEST: f64 = 1.0;
/// And timed so many times, of which the median counts.
const REPEATS: usize = 5;

/// What was measured.
#[derive(Debug, Serialize)]
struct Speed {
    /// Bytes of the files that were read.
    file_bytes: u64,
    /// Seconds from files to windows: reading, splitting, scaling.
    load_seconds: f64,
    /// Seconds for reading the files of tables once more, as columns alone.
    read_seconds: Option<f64>,
    /// Training windows.
    windows: usize,
    /// Steps of a window.
    time: usize,
    /// Values of a step.
    features: usize,
    /// Windows of a batch.
    batch: usize,
    /// Shuffled windows filled in a second, median of the repeats.
    windows_per_second: f64,
    /// Steps of them.
    steps_per_second: f64,
    /// The slowest and the fastest repeat.
    range: [f64; 2],
}

pub(crate) fn run(path: &Path, overrides: Vec<Override>, output: &Output) -> Result<()> {
    let loaded: Loaded<RunConfig> = RunConfig::load(path, overrides)?;
    let config = &loaded.config;
    let begin = Instant::now();
    let cache = data_cache().filter(|_| config.loader.cache);
    let dataset = config
        .data
        .load_with(Path::new(""), cache.as_deref())
        .map_err(ncps::Error::from)?;
    let load_seconds = begin.elapsed().as_secs_f64();
    let read_seconds = read(&config.data, &dataset)?;
    let batch_size = config.train.batch_size;
    let mut batches = dataset
        .train
        .batches(batch_size, Some(config.seed))
        .map_err(ncps::Error::from)?;
    let mut batch = batches.host_batch();
    let mut rates = Vec::new();
    let mut epoch = 0;
    for _ in 0..REPEATS {
        let begin = Instant::now();
        let mut filled = 0;
        while begin.elapsed().as_secs_f64() < SHORTEST / REPEATS as f64 {
            for step in 0..batches.steps() {
                batches
                    .fill(epoch, step, &mut batch)
                    .map_err(ncps::Error::from)?;
            }
            filled += dataset.train.len();
            epoch += 1;
        }
        rates.push(filled as f64 / begin.elapsed().as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    let speed = Speed {
        file_bytes: dataset.files.iter().map(size).sum(),
        load_seconds,
        read_seconds,
        windows: dataset.train.len(),
        time: dataset.train.time(),
        features: dataset.inputs(),
        batch: batch_size,
        windows_per_second: rates[REPEATS / 2],
        steps_per_second: rates[REPEATS / 2] * dataset.train.time() as f64,
        range: [rates[0], rates[REPEATS - 1]],
    };
    if output.json {
        output.json_line(&speed)?;
        return Ok(());
    }
    let from_files = if speed.file_bytes > 0 {
        let rate = |seconds: f64| short(speed.file_bytes as f64 / 1e6 / seconds);
        let alone = speed.read_seconds.map_or_else(String::new, |seconds| {
            format!("; reading alone {} MB/s", rate(seconds))
        });
        format!(
            "{} of files in {}, {} MB/s{alone}",
            bytes(speed.file_bytes),
            seconds(speed.load_seconds),
            rate(speed.load_seconds),
        )
    } else {
        format!("no files; made in {}", seconds(speed.load_seconds))
    };
    output.print(format!(
        "load     {from_files} (once, from reading to scaled windows)\nbatches  {} shuffled windows of {} steps and {} features a second ({} steps), in batches of {} (median of {REPEATS}; {} to {})\n",
        short(speed.windows_per_second),
        speed.time,
        speed.features,
        short(speed.steps_per_second),
        speed.batch,
        short(speed.range[0]),
        short(speed.range[1]),
    ))?;
    Ok(())
}

/// Seconds that tables in memory take to be read, without what is made of them.
fn read(data: &DataConfig, dataset: &Dataset) -> Result<Option<f64>> {
    let (DataConfig::Csv(table) | DataConfig::Parquet(table) | DataConfig::Arrow(table)) = data
    else {
        return Ok(None);
    };
    if table.streaming {
        return Ok(None);
    }
    let begin = Instant::now();
    for file in &dataset.files {
        std::hint::black_box(Frame::read(file, table.delimiter).map_err(ncps::Error::from)?);
    }
    Ok(Some(begin.elapsed().as_secs_f64()))
}

fn size(path: &PathBuf) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| {
        if metadata.is_file() {
            metadata.len()
        } else {
            0
        }
    })
}

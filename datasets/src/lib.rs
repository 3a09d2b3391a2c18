//! Time-series readers, windows, splits and batches, without MLX.
//!
//! A [`DataConfig`] (the `[data]` table of a run) is loaded into a [`Dataset`]: three [`WindowSet`]s and the [`DataSchema`] that a
//! model needs to be used on other files. A set's [`Batches`] fill [`HostBatch`] buffers of one static shape.
//!
//! ```
//! use ncps_datasets::DataConfig;
//!
//! let config: DataConfig = toml::from_str("kind = \"embedded\"\nname = \"drug_concentration\"")?;
//! let dataset = config.load(".".as_ref())?;
//! let mut batches = dataset.train.batches(32, Some(1))?;
//! let mut batch = batches.host_batch();
//! batches.fill(0, 0, &mut batch)?;
//! assert_eq!(batch.x.len(), 32 * 39 * 2);
//! assert_eq!(dataset.baseline().name, "persistence");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod archive;
mod arrays;
mod assemble;
mod augment;
mod baseline;
mod batch;
mod benchmark;
mod bucket;
mod config;
mod dataset;
mod describe;
mod embedded;
mod error;
mod fingerprint;
mod frame;
mod generate;
mod lane;
mod leak;
mod missing;
mod normalise;
mod order;
mod parallel;
pub mod parse;
mod predict;
#[cfg(test)]
mod property;
mod random;
mod readers;
mod sampling;
mod selection;
mod series;
mod split;
mod stream;
mod table;
mod time;
mod window;
mod write;

pub use archive::unpack;
pub use augment::AugmentConfig;
pub use baseline::Baseline;
pub use batch::{Batches, HostBatch};
pub use benchmark::{BenchmarkConfig, BenchmarkInfo, BenchmarkName, Download, Fact, benchmarks};
pub use config::{DataConfig, IdxConfig, NpyConfig, NpzConfig, TableConfig, TaskConfig};
pub use dataset::{DataSchema, Dataset, Task};
pub use describe::{
    ClassCount, ColumnDescription, ColumnKind, Description, IntervalBin, SamplingInterval, describe,
};
pub use embedded::{EmbeddedConfig, EmbeddedInfo, EmbeddedName, embedded};
pub use error::{Error, ErrorKind, Result};
pub use frame::Frame;
pub use generate::{
    AddingProblem, CartPole, CopyMemory, DampedPendulum, DelayedXor, DoublePendulum,
    GeneratedConfig, Generator, IrregularSine, IrregularXor, Lorenz, Sine, Spiral, VanDerPol,
};
pub use leak::{Leak, LeakPolicy};
pub use missing::Missing;
pub use normalise::{NormaliseConfig, Normaliser, Scale, Scaling};
pub use order::{Duplicates, OutOfOrder};
pub use predict::InputSeries;
pub use sampling::Sampling;
pub use selection::{Selection, SelectionRange};
pub use split::{
    ColumnSplit, FractionOf, FractionSplit, SelectionSplit, SplitConfig, TimePoint, TimeSplit,
};
pub use stream::{KeptRows, kept_rows, remove_rows};
pub use table::{InputColumn, LongConfig, StaticsConfig};
pub use time::{Span, TimeConfig, TimeScale, TimeSchema, TimeUnit};
pub use window::{Window, WindowSet};

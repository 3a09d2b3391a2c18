//! What can go wrong between a configuration and a finished run.

use std::io;
use std::path::PathBuf;

use crate::config::Diagnostic;

/// Result with this package's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong between a configuration and a finished run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration holds an unknown key, a wrong type or an impossible value.
    #[error("{diagnostic}")]
    Config {
        /// What is wrong, where it was written, what to write instead.
        diagnostic: Box<Diagnostic>,
    },
    /// The configuration file is too large to have been written by hand.
    #[error("`{}` has {bytes} bytes, more than the {limit} of any configuration: is it the right file?", path.display())]
    ConfigTooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
        /// The largest size that is read.
        limit: u64,
    },
    /// The resolved configuration cannot be written as TOML.
    #[error("the resolved configuration cannot be written as TOML")]
    Unwritable {
        /// What the writer says.
        source: toml::ser::Error,
    },
    /// A file cannot be read.
    #[error("cannot read the {what} `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A file or folder cannot be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The run directory exists already.
    #[error("the run directory `{}` exists already; continue it with --resume, start anew with --force (the old one is kept under another name), or choose another with --out", path.display())]
    RunExists {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds something that is not a run.
    #[error("`{}` is not a run directory: it has no `{missing}`; `ncps runs` lists those there are, and `ncps train --out` makes one elsewhere", path.display())]
    NotARun {
        /// The directory.
        path: PathBuf,
        /// The file that a run directory would have.
        missing: &'static str,
    },
    /// The results of a run lack a metric.
    #[error("the run `{}` has no metric `{metric}` on its test part; it has {known}", path.display())]
    UnknownMetric {
        /// The run's directory.
        path: PathBuf,
        /// The metric that was asked for.
        metric: String,
        /// Those that it has.
        known: String,
    },
    /// Another process writes to the run directory.
    #[error("the run directory `{}` is in use by another process; wait for it or choose another with --out", path.display())]
    RunLocked {
        /// The directory.
        path: PathBuf,
    },
    /// The run is to be resumed with another configuration than it was begun with.
    #[error("`{key}` was {was} when the run in `{}` began and is {now} now; resume with the same configuration, or start a new run with --out or --force", path.display())]
    ResumeMismatch {
        /// The run directory.
        path: PathBuf,
        /// The key that differs.
        key: String,
        /// The value in the run directory.
        was: String,
        /// The value asked for.
        now: String,
    },
    /// The run is to be resumed with other data than it was begun with.
    #[error("the data are not those that the run in `{}` has learnt from so far; put them back, start a new run with --out or --force, or continue with --changed-data", path.display())]
    DataChanged {
        /// The run directory.
        path: PathBuf,
    },
    /// A deterministic run is to be resumed under other conditions than it was begun under.
    #[error("the run in `{}` is deterministic and began with the {what} `{was}`; here it is `{now}`, which may give other bits: continue it there, or start a new run with --out or --force", path.display())]
    OtherConditions {
        /// The run directory.
        path: PathBuf,
        /// The condition that differs.
        what: &'static str,
        /// What it was.
        was: String,
        /// What it is now.
        now: String,
    },
    /// The GPU is asked for where MLX has none.
    #[error(
        "`device` is \"gpu\", but MLX has no GPU here; use \"auto\" or \"cpu\", and `ncps doctor` to see what is missing"
    )]
    NoGpu,
    /// A model folder or its description is damaged or was written by something else.
    #[error("`{}` does not describe a model of this program: {problem}", path.display())]
    ForeignModel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A network has no form that can be exported as asked.
    #[error("the model cannot be exported as {problem}; {remedy}")]
    NotExportable {
        /// What cannot be, and why.
        problem: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// An exported file does not compute what MLX does.
    #[error(
        "the exported output `{output}` differs by {difference:.1e} from MLX's, more than {limit:.0e}; nothing was written: train with \
         smaller weights (`train.weight_decay`) or export in f32"
    )]
    ExportDiffers {
        /// The output.
        output: String,
        /// The difference.
        difference: f64,
        /// What would have been let pass.
        limit: f64,
    },
    /// The data's files cannot be read.
    #[error("{source}; the head of `{}` says where the files come from, and --set data.path=PATH names their place", config.display())]
    DataFiles {
        /// The configuration that names them.
        config: PathBuf,
        /// The data package's error.
        source: ncps_datasets::Error,
    },
    /// The data are not what a trained model takes.
    #[error("the model in `{}` was trained on other data: the {what} differs; predict new data with `ncps predict`", path.display())]
    OtherData {
        /// The model's folder.
        path: PathBuf,
        /// What differs.
        what: &'static str,
    },
    /// The run is estimated to need more memory than there is.
    #[error("the run would take about {} of memory, and it may take {}; {advice}; --max-memory sets another limit", size(*needed), size(*limit))]
    OutOfMemory {
        /// Estimated bytes.
        needed: u64,
        /// Bytes that it may take.
        limit: u64,
        /// What to change.
        advice: String,
    },
    /// The data did not come in time.
    #[error(
        "{source_name} was not read within {seconds} s: is its disk or network there? --data-timeout gives it longer"
    )]
    DataTimeout {
        /// What was read.
        source_name: String,
        /// The time it had.
        seconds: u64,
    },
    /// The core package's error: wiring, layers, training, checkpoints.
    #[error(transparent)]
    Core(#[from] ncps_core::Error),
    /// The model package's error.
    #[error(transparent)]
    Models(#[from] ncps_models::Error),
    /// The data package's error.
    #[error(transparent)]
    Data(#[from] ncps_datasets::Error),
    /// The profiling package's error: plots and device tables.
    #[error(transparent)]
    Profiling(#[from] ncps_profiling::Error),
}

/// The broad kind of an error, for exit codes and for programs that react to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration or the arguments are wrong.
    Config,
    /// Training left the finite numbers.
    Diverged,
    /// A checkpoint, model or data file is damaged or does not fit.
    Corrupt,
    /// There is not enough memory.
    Memory,
    /// A file cannot be read or written.
    Io,
    /// Anything else.
    Other,
}

impl Error {
    /// The broad kind of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Config { .. } | Self::ConfigTooLarge { .. } | Self::Unwritable { .. } => {
                ErrorKind::Config
            }
            Self::OtherData { .. }
            | Self::RunExists { .. }
            | Self::NotARun { .. }
            | Self::UnknownMetric { .. }
            | Self::ResumeMismatch { .. }
            | Self::DataChanged { .. }
            | Self::OtherConditions { .. }
            | Self::NotExportable { .. }
            | Self::NoGpu => ErrorKind::Config,
            Self::Read { .. }
            | Self::Write { .. }
            | Self::DataFiles { .. }
            | Self::DataTimeout { .. }
            | Self::Profiling(ncps_profiling::Error::Recording { .. }) => ErrorKind::Io,
            Self::OutOfMemory { .. } => ErrorKind::Memory,
            Self::ForeignModel { .. }
            | Self::Profiling(ncps_profiling::Error::ProfileReport { .. }) => ErrorKind::Corrupt,
            Self::RunLocked { .. } | Self::ExportDiffers { .. } | Self::Profiling(_) => {
                ErrorKind::Other
            }
            Self::Core(error) => kind_of_core(error),
            Self::Models(ncps_models::Error::Core(error)) => kind_of_core(error),
            // Settings, and a network asked for what it cannot do.
            Self::Models(_) => ErrorKind::Config,
            Self::Data(error) => match error.kind() {
                ncps_datasets::ErrorKind::Config => ErrorKind::Config,
                ncps_datasets::ErrorKind::Data => ErrorKind::Corrupt,
                ncps_datasets::ErrorKind::Io => ErrorKind::Io,
            },
        }
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000_000 => format!("{:.1} MB", bytes as f64 * 1e-6),
        _ => format!("{:.1} GB", bytes as f64 * 1e-9),
    }
}

fn kind_of_core(error: &ncps_core::Error) -> ErrorKind {
    use ncps_core::Error as Core;
    match error {
        Core::Diverged { .. } => ErrorKind::Diverged,
        Core::CheckpointCorrupt { .. }
        | Core::CheckpointMismatch { .. }
        | Core::CheckpointVersion { .. } => ErrorKind::Corrupt,
        Core::Import { .. } | Core::ImportRead { .. } => ErrorKind::Corrupt,
        Core::Io { .. } | Core::WiringRead { .. } => ErrorKind::Io,
        // MLX throws its allocator's refusals as plain exceptions.
        Core::Mlx { source, .. } if source.what().contains("Unable to allocate") => {
            ErrorKind::Memory
        }
        Core::Mlx { .. } => ErrorKind::Other,
        // What is left are settings, sizes and wirings that cannot be built.
        _ => ErrorKind::Config,
    }
}

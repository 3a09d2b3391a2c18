//! `ncps init`: a configuration to begin with.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;
use ncps::config::{Loaded, RunConfig};
use ncps::datasets;
use ncps::run::write_file;

use super::exit::UsageError;
use super::output::Output;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ncps init sine --out sine.toml\n  ncps init --data measurements.csv --out mine.toml\n  ncps init cheetah"
)]
pub(crate) struct InitArguments {
    /// A task that comes with the program.
    #[arg(value_enum, conflicts_with = "data")]
    task: Option<Task>,
    /// Propose a configuration for your own data; the same as `ncps data init`.
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Write to this file instead of stdout; an existing file is left alone.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Task {
    /// Track sin(2t) from sin(t) and cos(t); no files needed.
    Sine,
    /// XOR of a bit stream with irregular gaps; no files needed.
    Xor,
    /// Forecast a drug's concentration from irregular samples; embedded data.
    Drug,
    /// Imitate an expert that balances a pole; no files needed.
    #[value(name = "cart_pole")]
    CartPole,
    /// Forecast a sine seen at irregular times; no files needed.
    #[value(name = "irregular_sine")]
    IrregularSine,
    /// Forecast a damped pendulum at irregular times; no files needed.
    #[value(name = "damped_pendulum")]
    DampedPendulum,
    /// Forecast a double pendulum; no files needed.
    #[value(name = "double_pendulum")]
    DoublePendulum,
    /// Forecast the Lorenz system; no files needed.
    Lorenz,
    /// Forecast the Van der Pol oscillator; no files needed.
    #[value(name = "van_der_pol")]
    VanDerPol,
    /// Tell which way a spiral turns; no files needed.
    Spiral,
    /// Add two marked numbers among many; no files needed.
    #[value(name = "adding_problem")]
    AddingProblem,
    /// Tell whether two marked bits differ; no files needed.
    #[value(name = "delayed_xor")]
    DelayedXor,
    /// Repeat symbols after a wait; no files needed.
    #[value(name = "copy_memory")]
    CopyMemory,
    /// Forecast the half-cheetah's next frame; needs its files.
    Cheetah,
    /// The same by liquid time-constant neurons; needs its files.
    #[value(name = "cheetah_ltc")]
    CheetahLtc,
    /// Tell from its air whether an office is occupied; needs its files.
    Occupancy,
    /// Tell the phase of a gesture; needs its files.
    Gesture,
    /// Tell what somebody does from a smartphone; needs its files.
    Har,
    /// Tell a digit from its rows; needs its files.
    Smnist,
    /// Estimate traffic from weather and time; needs its files.
    Traffic,
    /// Estimate a household's power; needs its files.
    Power,
    /// Tell ozone days; needs its files.
    Ozone,
    /// Tell what somebody does from tags seen at irregular times; needs its files.
    Person,
    /// Forecast death in intensive care from irregular measurements; needs its files.
    Physionet,
    /// Forecast a walker's next frame at irregular times; needs its files.
    Walker,
    /// Tell a digit from its changes of colour; needs its files.
    #[value(name = "event_smnist")]
    EventSmnist,
    /// Tell whether a film review is positive; needs its files.
    Imdb,
    /// Imitate a driver's steering from lidar; needs its files.
    Lidar,
    /// Imitate an agent's actions from frames; needs its files.
    Atari,
}

impl Task {
    fn text(self) -> &'static str {
        match self {
            Self::Sine => include_str!("../../../configs/sine.toml"),
            Self::Xor => include_str!("../../../configs/xor.toml"),
            Self::Drug => include_str!("../../../configs/drug.toml"),
            Self::CartPole => include_str!("../../../configs/cart_pole.toml"),
            Self::IrregularSine => include_str!("../../../configs/irregular_sine.toml"),
            Self::DampedPendulum => include_str!("../../../configs/damped_pendulum.toml"),
            Self::DoublePendulum => include_str!("../../../configs/double_pendulum.toml"),
            Self::Lorenz => include_str!("../../../configs/lorenz.toml"),
            Self::VanDerPol => include_str!("../../../configs/van_der_pol.toml"),
            Self::Spiral => include_str!("../../../configs/spiral.toml"),
            Self::AddingProblem => include_str!("../../../configs/adding_problem.toml"),
            Self::DelayedXor => include_str!("../../../configs/delayed_xor.toml"),
            Self::CopyMemory => include_str!("../../../configs/copy_memory.toml"),
            Self::Cheetah => include_str!("../../../configs/cheetah.toml"),
            Self::CheetahLtc => include_str!("../../../configs/cheetah_ltc.toml"),
            Self::Occupancy => include_str!("../../../configs/occupancy.toml"),
            Self::Gesture => include_str!("../../../configs/gesture.toml"),
            Self::Har => include_str!("../../../configs/har.toml"),
            Self::Smnist => include_str!("../../../configs/smnist.toml"),
            Self::Traffic => include_str!("../../../configs/traffic.toml"),
            Self::Power => include_str!("../../../configs/power.toml"),
            Self::Ozone => include_str!("../../../configs/ozone.toml"),
            Self::Person => include_str!("../../../configs/person.toml"),
            Self::Physionet => include_str!("../../../configs/physionet.toml"),
            Self::Walker => include_str!("../../../configs/walker.toml"),
            Self::EventSmnist => include_str!("../../../configs/event_smnist.toml"),
            Self::Imdb => include_str!("../../../configs/imdb.toml"),
            Self::Lidar => include_str!("../../../configs/lidar.toml"),
            Self::Atari => include_str!("../../../configs/atari.toml"),
        }
    }
}

/// The part of a proposed configuration that does not depend on the data.
const MODEL_AND_TRAINING: &str = r#"
[model]
kind = "cfc"
# A neural circuit policy: 32 neurons, of which the motor neurons give the outputs. A plain number makes a dense layer.
units = { kind = "auto_ncp", units = 32, outputs = OUTPUTS }

[train]
epochs = 50
batch_size = 32
learning_rate = 0.005
clip = { norm = 1.0 }
schedule = { kind = "cosine", warmup_steps = 20 }
early_stopping = { patience = 10 }
# The loss follows from the task: mse for numbers, cross_entropy for classes.
"#;

pub(crate) fn run(arguments: &InitArguments, output: &Output) -> Result<()> {
    let text = match (&arguments.data, arguments.task) {
        (Some(path), _) => propose(path)?,
        (None, Some(task)) => task.text().to_owned(),
        (None, None) => {
            return Err(UsageError::new(
                "name a task (ncps init --help lists them), or give --data with your own file",
            )
            .into());
        }
    };
    write(&text, arguments.out.as_deref(), output)
}

/// A configuration for a file of one's own.
pub(crate) fn own_data(path: &Path, out: Option<&Path>, output: &Output) -> Result<()> {
    write(&propose(path)?, out, output)
}

fn write(text: &str, out: Option<&Path>, output: &Output) -> Result<()> {
    let Some(path) = out else {
        output.print(text)?;
        return Ok(());
    };
    if path.exists() {
        return Err(UsageError::new(format!(
            "`{}` exists already; choose another name with --out",
            path.display()
        ))
        .into());
    }
    write_file(path, text.as_bytes())?;
    output.note(format!(
        "wrote {0}; train with: ncps train {0}",
        path.display()
    ));
    Ok(())
}

/// A configuration for data that nobody has described: what the columns suggest, checked by loading it.
fn propose(path: &Path) -> Result<String> {
    let description = datasets::describe(path).map_err(ncps::Error::from)?;
    let stem = path
        .file_stem()
        .map(|s| s.to_string_lossy().into_owned())
        .unwrap_or_default();
    let head = format!(
        "# Proposed for {}; look through it before you trust it.\n# `ncps data describe {0}` shows what it was made from.\n\nseed = 1\n",
        path.display()
    );
    let text = |outputs: usize| {
        let model = MODEL_AND_TRAINING.replace("OUTPUTS", &outputs.to_string());
        format!("{head}\n{}\n{model}", description.proposed_config.trim())
    };
    let name = PathBuf::from(format!("{stem}.toml"));
    let draft = Loaded::<RunConfig>::from_text(&name, text(1), Vec::new())?;
    // The motor neurons answer for the outputs, so their number follows from the data.
    let outputs = match draft.config.data.load(Path::new("")) {
        Ok(data) => data.outputs(),
        Err(error) => return Err(ncps::Error::from(error).into()),
    };
    Ok(text(outputs))
}

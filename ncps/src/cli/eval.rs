//! `ncps eval`: the metrics of a trained run.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use ncps::config::{Override, RunConfig};
use ncps::run::{Session, Split, load_description};
use serde_json::json;

use super::output::{Output, columns, short};
use super::tf32;
use super::train::{Device, Overrides};
use super::trust;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ncps eval runs/m3\n  ncps eval runs/m3 --split validation --json\n  ncps eval runs/cheetah --set data.path=/data/cheetah"
)]
pub(crate) struct EvalArguments {
    /// The run directory.
    run: PathBuf,
    /// The part of the data to evaluate on.
    #[arg(long, value_enum, default_value_t = Part::Test)]
    split: Part,
    #[command(flatten)]
    overrides: Overrides,
    /// What to compute on.
    #[arg(long, value_enum, value_name = "DEVICE")]
    device: Option<Device>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Part {
    Train,
    Validation,
    Test,
}

pub(crate) fn run(arguments: &EvalArguments, output: &Output) -> Result<()> {
    let description = load_description(&arguments.run)?;
    let mut overrides = arguments.overrides.parse()?;
    overrides.extend(
        arguments
            .device
            .map(|device| Override::of_flag("device", device.name())),
    );
    let loaded = RunConfig::load(&arguments.run.join("config.toml"), overrides)?;
    tf32::apply(&loaded.config, output)?;
    let mut session = Session::prepare(loaded)?;
    if let Some(note) = &session.device().note {
        output.note(note);
    }
    trust::kernels(
        &session.config().model,
        session.device(),
        session.machine(),
        session.config().deterministic,
        output,
    )?;
    let split = match arguments.split {
        Part::Train => Split::Train,
        Part::Validation => Split::Validation,
        Part::Test => Split::Test,
    };
    let metrics = session.evaluate(&description, &arguments.run, split)?;
    let baseline = session.baseline();
    if output.json {
        let baseline = (split == Split::Test).then_some(baseline);
        let value = json!({ "run": arguments.run, "split": split.name(), split.name(): metrics, "baseline": baseline });
        return Ok(output.json_line(&value)?);
    }
    let mut rows = vec![vec!["metric".to_owned(), split.name().into()]];
    if split == Split::Test {
        rows[0].push(format!("baseline ({})", baseline.name));
    }
    for (name, value) in &metrics {
        let mut row = vec![name.clone(), short(*value)];
        if split == Split::Test {
            row.push(
                baseline
                    .metrics
                    .get(name)
                    .map(|value| short(*value))
                    .unwrap_or_default(),
            );
        }
        rows.push(row);
    }
    output.print(columns(&rows))?;
    Ok(())
}

//! `ncps train`: from a configuration file to a run directory.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use ncps::config::{Loaded, Override, RunConfig};
use ncps::run::{Existing, RunDirectory, Session, Status, Summary};

use super::exit::{Interrupted, UsageError};
use super::logging;
use super::output::{Output, bytes, columns, seconds, short};
use super::progress::Progress;
use super::signals::StopRequest;
use super::trust;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ncps train configs/m3.toml\n  ncps train configs/m3.toml --set train.epochs=5 --set model.mode=pure\n  ncps train configs/m3.toml --resume\n  ncps train configs/cheetah.toml --set data.path=/data/cheetah --dry-run"
)]
pub(crate) struct TrainArguments {
    /// The configuration file.
    config: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
    /// Run directory; runs/<name> by default.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Continue the run in the run directory, or begin it if there is none.
    #[arg(long, conflicts_with = "force")]
    resume: bool,
    /// Begin anew where a run exists; the old one is moved aside.
    #[arg(long)]
    force: bool,
    /// Check everything and show what would be done, without doing it.
    #[arg(long)]
    dry_run: bool,
    /// What to compute on.
    #[arg(long, value_enum, value_name = "DEVICE")]
    device: Option<Device>,
    /// Seed of weights, batch order and dropout.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    seed: Option<i64>,
}

/// Values that lie over those of the file.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Overrides {
    /// Set a value, in TOML syntax or as a bare word; can be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Overrides {
    pub(crate) fn parse(&self) -> Result<Vec<Override>> {
        let parsed = self.set.iter().map(|text| Override::parse(text));
        Ok(parsed
            .collect::<Result<_, _>>()
            .map_err(|message| UsageError::new(format!("--set: {message}")))?)
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Device {
    Auto,
    Cpu,
    Gpu,
}

impl Device {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
        }
    }
}

pub(crate) fn run(arguments: &TrainArguments, output: &Output) -> Result<()> {
    let loaded = RunConfig::load(&arguments.config, overrides(arguments)?)?;
    if arguments.dry_run {
        return dry_run(loaded, output);
    }
    let existing = match (arguments.resume, arguments.force) {
        (true, _) => Existing::Resume,
        (_, true) => Existing::Replace,
        _ => Existing::Refuse,
    };
    let session = Session::prepare(loaded)?;
    let directory = RunDirectory::open(&session.config().directory(), existing)?;
    logging::attach(directory.log_file()?);
    announce(&session, &directory, output);
    trust::kernels(
        &session.config().model,
        session.device(),
        session.machine(),
        output,
    )?;
    let stop = StopRequest::listen()?;
    let mut progress = Progress::new(output, stop.clone(), session.plan());
    let config = arguments.config.display().to_string();
    let summary = session.train(&directory, &config, &mut progress)?;
    progress.finish();
    report(&summary, &directory, output)?;
    match summary.status {
        Status::Stopped => Err(Interrupted {
            code: stop.exit_code(),
        }
        .into()),
        _ => Ok(()),
    }
}

fn overrides(arguments: &TrainArguments) -> Result<Vec<Override>> {
    let mut all = arguments.overrides.parse()?;
    if let Some(device) = arguments.device {
        all.push(Override::of_flag("device", device.name()));
    }
    if let Some(seed) = arguments.seed {
        all.push(Override::of_flag("seed", seed));
    }
    if let Some(out) = &arguments.out {
        let Some(text) = out.to_str() else {
            return Err(UsageError::new(format!(
                "--out: `{}` is not valid Unicode",
                out.display()
            ))
            .into());
        };
        all.push(Override::of_flag("output", text));
    }
    Ok(all)
}

fn announce(session: &Session, directory: &RunDirectory, output: &Output) {
    let device = session.device();
    if let Some(note) = &device.note {
        output.note(note);
    }
    if let Some(aside) = directory.replaced() {
        output.note(format!(
            "the run that was in `{}` is now in `{}`",
            directory.path().display(),
            aside.display()
        ));
    }
    let plan = session.plan();
    output.note(format!(
        "{} parameters, {} training windows of {} steps, {} batches an epoch, on {}; run directory `{}`",
        plan.parameters,
        plan.windows[0],
        plan.time,
        plan.steps_per_epoch,
        device.label(),
        directory.path().display()
    ));
}

fn dry_run(loaded: Loaded<RunConfig>, output: &Output) -> Result<()> {
    let session = Session::prepare(loaded)?;
    let plan = session.plan();
    if output.json {
        let value = serde_json::json!({
            "config": session.loaded().resolved(),
            "device": session.device().label(),
            "directory": session.config().directory(),
            "plan": plan,
        });
        return Ok(output.json_line(&value)?);
    }
    if let Some(note) = &session.device().note {
        output.note(note);
    }
    output.line("# resolved configuration")?;
    output.print(session.loaded().to_toml_with_origins())?;
    let estimate = plan.memory_estimate;
    output.line(format!(
        "\n# network\n{}",
        session.describe_network().trim_end()
    ))?;
    let rows = [
        ("device", session.device().label()),
        (
            "run directory",
            session.config().directory().display().to_string(),
        ),
        ("parameters", plan.parameters.to_string()),
        (
            "windows",
            format!(
                "{} training, {} validation, {} test, {} steps each",
                plan.windows[0], plan.windows[1], plan.windows[2], plan.time
            ),
        ),
        (
            "steps",
            format!("{} ({} an epoch)", plan.steps, plan.steps_per_epoch),
        ),
        (
            "memory (estimate)",
            format!(
                "{}: state {}, data {}, activations {}",
                bytes(estimate.total),
                bytes(estimate.state),
                bytes(estimate.data),
                bytes(estimate.activations)
            ),
        ),
    ];
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    output.line(format!("\n# plan\n{}", columns(&rows).trim_end()))?;
    output.line("\nnothing was written; leave out --dry-run to train")?;
    Ok(())
}

/// The result: the test metrics beside the trivial baseline's.
fn report(summary: &Summary, directory: &RunDirectory, output: &Output) -> Result<()> {
    if output.json {
        let mut value = serde_json::to_value(summary)?;
        value["directory"] = directory.path().display().to_string().into();
        return Ok(output.json_line(&value)?);
    }
    if summary.status == Status::Stopped {
        output.line(format!(
            "stopped after step {} and saved; continue with --resume",
            summary.steps
        ))?;
        return Ok(());
    }
    output.print(result_table(summary))?;
    let rate = summary
        .sequences_per_second
        .map(|rate| format!(", {} sequences/s", short(rate)))
        .unwrap_or_default();
    output.line(format!(
        "\n{} epochs, {} steps in {}{rate}; report: {}",
        summary.epochs,
        summary.steps,
        seconds(summary.train_seconds),
        directory.join("report.html").display()
    ))?;
    Ok(())
}

/// One row per metric, one column per split and one for the baseline.
pub(crate) fn result_table(summary: &Summary) -> String {
    let baseline = format!("baseline ({})", summary.baseline.name);
    let mut rows = vec![vec![
        "metric".to_owned(),
        "train".into(),
        "validation".into(),
        "test".into(),
        baseline,
    ]];
    let mut names: Vec<&String> = summary
        .test
        .keys()
        .chain(summary.validation.keys())
        .collect();
    names.sort();
    names.dedup();
    for name in names {
        let cell = |metrics: &ncps::train::Metrics| {
            metrics
                .get(name)
                .map(|value| short(*value))
                .unwrap_or_default()
        };
        rows.push(vec![
            name.clone(),
            cell(&summary.train),
            cell(&summary.validation),
            cell(&summary.test),
            cell(&summary.baseline.metrics),
        ]);
    }
    columns(&rows)
}

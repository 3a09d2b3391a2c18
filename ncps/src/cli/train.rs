//! `ncps train`: from a configuration file to a run directory.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use ncps::config::{Loaded, Override, RunConfig};
use ncps::run::{Existing, Limits, RunDirectory, Session, Status, Summary, smaller};

use super::exit::{Interrupted, UsageError};
use super::logging;
use super::output::{Output, bytes, columns, seconds, short};
use super::progress::Progress;
use super::signals::StopRequest;
use super::supervise;
use super::tf32;
use super::trust;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ncps train configs/m3.toml\n  ncps train configs/m3.toml --set train.epochs=5 --set model.mode=pure\n  ncps train configs/m3.toml --resume\n  ncps train configs/m3.toml --verify 20\n  ncps train configs/m3.toml --supervise --auto-batch\n  ncps train configs/cheetah.toml --set data.path=/data/cheetah --dry-run"
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
    /// Continue although the data have changed since the run began.
    #[arg(long, requires = "resume")]
    changed_data: bool,
    /// Begin anew where a run exists; the old one is moved aside.
    #[arg(long)]
    force: bool,
    /// Check everything and show what would be done, without doing it.
    #[arg(long)]
    dry_run: bool,
    /// Train N steps by the plain and by the usual implementation side by side, report the largest difference, write nothing.
    #[arg(long, value_name = "N", conflicts_with_all = ["resume", "force", "dry_run"])]
    verify: Option<std::num::NonZeroU64>,
    /// Halve the batch and double the accumulation until the run fits into memory.
    #[arg(long)]
    auto_batch: bool,
    /// Memory that the run may be estimated to take, such as 8GB; nine tenths of the device's by default.
    #[arg(long, value_name = "SIZE", value_parser = memory_size)]
    max_memory: Option<u64>,
    /// Train in a process of its own, so that a lack of memory that ends it is told and, with --auto-batch, made up for.
    #[arg(long)]
    supervise: bool,
    /// Keep no unpacked rows of streamed data for the next run, and use none.
    #[arg(long)]
    no_cache: bool,
    /// Seconds for reading the data.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    data_timeout: u64,
    /// What to compute on.
    #[arg(long, value_enum, value_name = "DEVICE")]
    device: Option<Device>,
    /// Let nothing that surrounds the run decide about its bits; the same as `deterministic = true`.
    #[arg(long)]
    deterministic: bool,
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
    if loaded.config.deterministic && arguments.auto_batch {
        let message = "--auto-batch lets this machine's memory choose the batch, which a deterministic run cannot have: set \
                       `train.batch_size` and `train.accumulate` instead";
        return Err(UsageError::new(message).into());
    }
    if arguments.supervise {
        return supervised(arguments, &loaded, output);
    }
    tf32::apply(&loaded.config, output)?;
    if arguments.dry_run {
        return dry_run(loaded, arguments, output);
    }
    if let Some(steps) = arguments.verify {
        return verify(loaded, arguments, steps.get(), output);
    }
    let mut existing = match (arguments.resume, arguments.force) {
        (true, _) => Existing::Resume,
        (_, true) => Existing::Replace,
        _ => Existing::Refuse,
    };
    let stop = StopRequest::listen()?;
    let mut session = fitting(loaded, arguments, output)?;
    let mut halvings = 0;
    loop {
        let train = session.config().train.clone();
        let error = match attempt(session, existing, arguments, &stop, output) {
            Err(error) => error,
            Ok(()) => return Ok(()),
        };
        let next = smaller(&train).filter(|_| {
            arguments.auto_batch
                && halvings < supervise::MOST_HALVINGS
                && super::exit::code(&error) == super::exit::MEMORY
        });
        let Some((batch, accumulate)) = next else {
            return Err(error);
        };
        output.note(format!(
            "{error}; going on with batch_size = {batch} and accumulate = {accumulate}"
        ));
        let mut all = overrides(arguments)?;
        all.extend(halved(batch, accumulate));
        session = fitting(RunConfig::load(&arguments.config, all)?, arguments, output)?;
        (halvings, existing) = (halvings + 1, Existing::Resume);
    }
}

fn attempt(
    session: Session,
    existing: Existing,
    arguments: &TrainArguments,
    stop: &StopRequest,
    output: &Output,
) -> Result<()> {
    let directory = RunDirectory::open(&session.config().directory(), existing)?;
    logging::attach(directory.log_file()?);
    announce(&session, &directory, output);
    trust::kernels(
        &session.config().model,
        session.device(),
        session.machine(),
        session.config().deterministic,
        output,
    )?;
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

impl TrainArguments {
    fn limits(&self) -> Limits {
        Limits {
            data_seconds: Some(self.data_timeout),
            memory: self.max_memory,
            is_dry: self.dry_run || self.verify.is_some(),
            may_data_differ: self.changed_data,
        }
    }
}

/// Reads `8GB`, `500 MB`, `200kB` or a number of bytes.
fn memory_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
    let factor = match text[digits.len()..].trim().to_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        _ => f64::NAN,
    };
    let bytes = digits.parse::<f64>().unwrap_or(f64::NAN) * factor;
    match bytes.is_finite() && bytes >= 1.0 {
        true => Ok(bytes as u64),
        false => Err("expected a size such as 8GB, 500MB or a number of bytes".to_owned()),
    }
}

fn halved(batch: usize, accumulate: usize) -> [Override; 2] {
    [
        Override::of_flag("train.batch_size", batch as i64),
        Override::of_flag("train.accumulate", accumulate as i64),
    ]
}

/// Prepares a session whose estimate fits, with smaller batches where that is wanted and needed.
fn fitting(
    mut loaded: Loaded<RunConfig>,
    arguments: &TrainArguments,
    output: &Output,
) -> Result<Session> {
    loop {
        let next = smaller(&loaded.config.train).filter(|_| arguments.auto_batch);
        let prepared = Session::prepare_within(loaded, arguments.limits());
        let (Err(ncps::Error::OutOfMemory { needed, limit, .. }), Some((batch, accumulate))) =
            (&prepared, next)
        else {
            return Ok(prepared?);
        };
        output.note(format!(
            "about {} of memory would be needed where {} may be taken: batch_size = {batch} and accumulate = {accumulate} \
             give the same result up to rounding",
            bytes(*needed),
            bytes(*limit)
        ));
        let mut all = overrides(arguments)?;
        all.extend(halved(batch, accumulate));
        loaded = RunConfig::load(&arguments.config, all)?;
    }
}

fn supervised(
    arguments: &TrainArguments,
    loaded: &Loaded<RunConfig>,
    output: &Output,
) -> Result<()> {
    let train = loaded.config.train.clone();
    let directory = loaded.config.directory();
    supervise::run(&directory, output, &|halvings| {
        let mut train = train.clone();
        for _ in 0..halvings {
            let next = smaller(&train).filter(|_| arguments.auto_batch);
            (train.batch_size, train.accumulate) = next?;
        }
        Some((train.batch_size, train.accumulate))
    })
}

fn verify(
    loaded: Loaded<RunConfig>,
    arguments: &TrainArguments,
    steps: u64,
    output: &Output,
) -> Result<()> {
    let session = Session::prepare_within(loaded, arguments.limits())?;
    let found = session.verify(steps)?;
    if output.json {
        return Ok(output.json_line(&found)?);
    }
    let number = |value: f64| format!("{value:.1e}");
    let rows = [
        ["largest difference over", &format!("{steps} steps")],
        ["loss", &number(found.loss)],
        ["gradient norm", &number(found.gradient_norm)],
        [
            "parameter",
            &format!("{} {}", number(found.parameter), found.name),
        ],
    ];
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.map(str::to_owned).to_vec())
        .collect();
    output.print(columns(&rows))?;
    Ok(())
}

fn overrides(arguments: &TrainArguments) -> Result<Vec<Override>> {
    let mut all = arguments.overrides.parse()?;
    if let Some(device) = arguments.device {
        all.push(Override::of_flag("device", device.name()));
    }
    if arguments.deterministic {
        all.push(Override::of_flag("deterministic", true));
    }
    if arguments.no_cache {
        all.push(Override::of_flag("loader.cache", false));
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
    for remark in session.remarks() {
        output.note(remark);
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

fn dry_run(loaded: Loaded<RunConfig>, arguments: &TrainArguments, output: &Output) -> Result<()> {
    let session = Session::prepare_within(loaded, arguments.limits())?;
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
    for remark in session.remarks() {
        output.note(remark);
    }
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
            "padding",
            match plan.padding {
                [_, share] if share <= 0.0 => "none".to_owned(),
                [all, share] if (all - share).abs() < 1e-12 => {
                    format!("{:.1} % of the training steps", 100.0 * share)
                }
                [all, share] => format!(
                    "{:.1} % of the training steps; {:.1} % without buckets",
                    100.0 * share,
                    100.0 * all
                ),
            },
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

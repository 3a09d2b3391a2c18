//! `ncps profile`: how fast, how near to what the machine can do, what holds it back, what to change.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ncps::bench::measure::thread_variables;
use ncps::config::Override;
use ncps::profile::{self, Options, SharedRunner, Source};
use ncps::profiling::capture::{self, Recorder};
use ncps::profiling::device::{self, Host};
use ncps::profiling::probe::Permission;
use ncps::profiling::profile::{Comparison, ProfileReport, catalogue, compare};
use ncps::profiling::report::ReportFigure;
use ncps::profiling::runner::SystemRunner;
use ncps::run::write_file;
use ncps::tune::Tuned;

use super::exit::{EndedAlready, UsageError};
use super::output::Output;
use super::tf32;
use super::train::{Device, Overrides};

#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  ncps profile\n  ncps profile configs/m3.toml --advise\n  ncps profile sine.toml --out sine-profile --json > sine.json\n  ncps profile compare before.json after.json --limit 0.05\n  ncps profile --explain memory.bandwidth\n\nWithout a configuration the drug task runs with the sizes for this machine. Times are wall times of repeated, evaluated steps; every number of --json has its unit, window and source or the reason why it is missing."
)]
pub(crate) struct ProfileArguments {
    #[command(subcommand)]
    command: Option<ProfileCommand>,
    /// The configuration file; without it the program's own for this machine.
    config: Option<PathBuf>,
    #[command(flatten)]
    overrides: Overrides,
    /// Seconds of measuring steps; taking them apart, roofs and advice come on top.
    #[arg(
        long,
        value_name = "S",
        default_value_t = 8.0,
        allow_negative_numbers = true
    )]
    seconds: f64,
    /// What to compute on.
    #[arg(long, value_enum, value_name = "DEVICE")]
    device: Option<Device>,
    /// Threads of the kernels and of matrix products; 0 for all cores.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Try every piece of advice in turn with the original and show what it brings.
    #[arg(long)]
    advise: bool,
    /// Measure the roofs of this machine again instead of taking those of the last time.
    #[arg(long)]
    fresh_roofs: bool,
    /// Write report.json, report.md, report.html and the plots into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write the report as Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write the report as one HTML file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Put the curves of a tune.json, which `ncps tune --out` wrote, into the HTML report.
    #[arg(long, value_name = "FILE")]
    tuned: Option<PathBuf>,
    /// Say what a metric means, where it comes from and what limits it, and stop; `all` for every one.
    #[arg(long, value_name = "METRIC")]
    explain: Option<String>,
    /// Fail unless this metric could be had; may be repeated.
    #[arg(long, value_name = "METRIC")]
    require: Vec<String>,
    /// Let probes call `sudo -n`, which never asks for a password (powermetrics on a Mac).
    #[arg(long)]
    allow_sudo: bool,
    /// Show the Neural Engine's power as a share of so many watts that you assume to be its most.
    #[arg(long, value_name = "W", allow_negative_numbers = true)]
    assume_ane_watts: Option<f64>,
    /// Keep the answers of this machine's tools in this folder, without names and serial numbers, to be replayed elsewhere.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["replay", "tools"])]
    record: Option<PathBuf>,
    /// Take the answers of a machine's tools from a folder that --record wrote.
    #[arg(long, value_name = "DIR", conflicts_with = "tools")]
    replay: Option<PathBuf>,
    /// Look for the system's tools in this folder alone.
    #[arg(long, value_name = "DIR", hide = true)]
    tools: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum ProfileCommand {
    /// Compare two reports: ratios with 95 % intervals, and failure where something got worse.
    Compare(CompareArguments),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ncps profile compare before.json after.json\n  ncps profile compare before.json after.json --limit 0.1 --json\n\nA time regresses when its median grows by more than the limit and the 95 % interval of the ratio lies above 1; what happened once (first step, peaks of memory) is shown and not judged. Exit code 1 for any regression."
)]
pub(crate) struct CompareArguments {
    /// The report of before, from --json or --out.
    base: PathBuf,
    /// The report of after.
    other: PathBuf,
    /// Growth that counts as a regression, as a share: 0.05 is 5 %.
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.05,
        allow_negative_numbers = true
    )]
    limit: f64,
}

/// Files of `--out`.
const REPORT: &str = "report";

pub(crate) fn run(arguments: &ProfileArguments, output: &Output) -> Result<()> {
    if let Some(ProfileCommand::Compare(arguments)) = &arguments.command {
        return run_compare(arguments, output);
    }
    if let Some(name) = &arguments.explain {
        return explain(name, output);
    }
    check(arguments)?;
    if in_right_surroundings(arguments.threads)? {
        return Ok(());
    }
    let source = source(arguments, &device::detect())?;
    tf32::apply(&source.load(&[])?.config, output)?;
    // What cannot be kept should not be measured first.
    if let Some(folder) = &arguments.record {
        Recorder::<SystemRunner>::check(folder).map_err(ncps::Error::from)?;
    }
    let tuned = arguments.tuned.as_deref().map(read_tuned).transpose()?;
    let more: Vec<ReportFigure> = tuned.iter().filter_map(Tuned::figure).collect();
    let recorder = arguments
        .record
        .is_some()
        .then(|| Recorder::new(SystemRunner::default()));
    let host = host(arguments, recorder.clone())?;
    let permission = Permission {
        sudo: arguments.allow_sudo,
    };
    let options = Options {
        host: host.clone(),
        permission,
        ane_watts: arguments.assume_ane_watts,
        seconds: arguments.seconds,
        threads: arguments.threads,
        advise: arguments.advise,
        fresh_roofs: arguments.fresh_roofs,
        cache: profile::cache_folder(),
    };
    let report = profile::profile(&source, &options, &mut |text| output.note(text))?;
    if let (Some(folder), Some(recorder)) = (&arguments.record, recorder) {
        output.note("asking every tool of this machine once for the recording");
        capture::survey(&host, permission);
        let found = recorder.write(folder).map_err(ncps::Error::from)?;
        output.note(format_args!(
            "recorded {} answers in {}, {} places made anonymous; look through them before you send them",
            found.answers,
            folder.display(),
            found.redactions
        ));
    }
    write(arguments, &report, &more, output)?;
    if output.json {
        output.print(report.to_json())?;
    } else {
        output.print(report.to_text())?;
    }
    require(&arguments.require, &report)
}

/// Whose counters are read.
fn host(
    arguments: &ProfileArguments,
    recorder: Option<Recorder<SystemRunner>>,
) -> Result<Host<SharedRunner>> {
    if let Some(folder) = &arguments.replay {
        return Ok(Host::replay(folder).map_err(ncps::Error::from)?.shared());
    }
    if let Some(folder) = &arguments.tools {
        return Ok(Host::with_tools(folder).shared());
    }
    let here = Host::this_machine();
    Ok(match recorder {
        Some(recorder) => here.map_runner(|_| recorder).shared(),
        None => here.shared(),
    })
}

fn check(arguments: &ProfileArguments) -> Result<()> {
    if arguments
        .assume_ane_watts
        .is_some_and(|watts| !(watts > 0.0 && watts.is_finite()))
    {
        return Err(
            UsageError::new("--assume-ane-watts: expected a number of watts above 0").into(),
        );
    }
    if !(0.0..=3600.0).contains(&arguments.seconds) {
        let message = format!("--seconds is {}, expected 0 to 3600", arguments.seconds);
        return Err(UsageError::new(message).into());
    }
    // A name that no report can have is a mistake of typing, found before the measurement.
    for name in &arguments.require {
        if catalogue::explain(name).is_none() {
            return Err(unknown_metric("--require", name).into());
        }
    }
    Ok(())
}

fn unknown_metric(flag: &str, name: &str) -> UsageError {
    let near: Vec<&str> = catalogue::all()
        .map(|(name, _)| name)
        .filter(|other| {
            other
                .split('.')
                .any(|part| part.len() > 2 && name.contains(part))
        })
        .take(6)
        .collect();
    let hint = match near.is_empty() {
        true => "`ncps profile --explain all` lists the names".to_owned(),
        false => format!("near it: {}", near.join(", ")),
    };
    UsageError::new(format!("{flag}: there is no metric `{name}`; {hint}"))
}

fn explain(name: &str, output: &Output) -> Result<()> {
    if name == "all" {
        let all: Vec<(&str, &str)> = catalogue::all().collect();
        if output.json {
            let all = all
                .iter()
                .map(|(name, meaning)| serde_json::json!({ "metric": name, "meaning": meaning }));
            return Ok(output.json_line(&all.collect::<Vec<_>>())?);
        }
        for (name, meaning) in all {
            output.line(format!("{name}: {meaning}"))?;
        }
        return Ok(());
    }
    let Some(meaning) = catalogue::explain(name) else {
        return Err(unknown_metric("--explain", name).into());
    };
    if output.json {
        let value = serde_json::json!({ "metric": name, "meaning": meaning });
        return Ok(output.json_line(&value)?);
    }
    Ok(output.line(format!("{name} ({}): {meaning}", catalogue::label(name)))?)
}

/// Matrix products take their threads from the environment of the process: where it says otherwise the program runs again
/// with the right one, and `true` comes back once it has.
fn in_right_surroundings(threads: usize) -> Result<bool> {
    let variables = thread_variables(threads);
    let is_right =
        |(name, value): &(&str, String)| std::env::var(name).is_ok_and(|found| found == *value);
    if threads == 0 || variables.iter().all(is_right) {
        return Ok(false);
    }
    let program = std::env::current_exe().context("the program cannot find itself")?;
    let ended = std::process::Command::new(program)
        .args(std::env::args_os().skip(1))
        .envs(variables)
        .status()
        .context("the program cannot start itself")?;
    match ended.success() {
        true => Ok(true),
        false => Err(EndedAlready::new(ended.code()).into()),
    }
}

fn source(arguments: &ProfileArguments, machine: &device::Machine) -> Result<Source> {
    let mut overrides = arguments.overrides.parse()?;
    if let Some(device) = arguments.device {
        overrides.push(Override::of_flag("device", device.name()));
    }
    Ok(match &arguments.config {
        Some(path) => Source::file(path, overrides),
        None => Source::of_machine(machine, overrides),
    })
}

fn write(
    arguments: &ProfileArguments,
    report: &ProfileReport,
    more: &[ReportFigure],
    output: &Output,
) -> Result<()> {
    let put = |path: PathBuf, text: &str| -> Result<()> {
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make `{}`", folder.display()))?;
        }
        write_file(&path, text.as_bytes())?;
        output.note(format_args!("wrote {}", path.display()));
        Ok(())
    };
    if let Some(path) = &arguments.markdown {
        put(path.clone(), &report.to_markdown())?;
    }
    if let Some(path) = &arguments.html {
        put(path.clone(), &report.to_html(more))?;
    }
    let Some(folder) = &arguments.out else {
        return Ok(());
    };
    let file = |extension: &str| folder.join(REPORT).with_extension(extension);
    put(file("json"), &report.to_json())?;
    put(file("md"), &report.to_markdown())?;
    put(file("html"), &report.to_html(more))?;
    for (name, figure) in report.figures() {
        put(folder.join(format!("plots/{name}.svg")), &figure.svg)?;
    }
    Ok(())
}

fn require(names: &[String], report: &ProfileReport) -> Result<()> {
    let missing: Vec<String> = names
        .iter()
        .map(|name| (name, report.metric(name)))
        .filter(|(_, reading)| reading.value().is_none())
        .map(|(name, reading)| format!("{name}: {reading}"))
        .collect();
    match missing.is_empty() {
        true => Ok(()),
        false => Err(anyhow::anyhow!(
            "required and missing: {}",
            missing.join("; ")
        )),
    }
}

fn run_compare(arguments: &CompareArguments, output: &Output) -> Result<()> {
    if !(0.0..=10.0).contains(&arguments.limit) {
        let message = format!("--limit is {}, expected 0 to 10", arguments.limit);
        return Err(UsageError::new(message).into());
    }
    let (base, other) = (read(&arguments.base)?, read(&arguments.other)?);
    let mut found = compare(&base, &other, arguments.limit);
    if found.base == found.other {
        (found.base, found.other) = (name(&arguments.base), name(&arguments.other));
    }
    if output.json {
        output.json_line(&found)?;
    } else {
        output.print(found.to_markdown())?;
    }
    regressions(&found)
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

fn read(path: &Path) -> Result<ProfileReport> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the report `{}`", path.display()))?;
    Ok(ProfileReport::from_json(&text, path).map_err(ncps::Error::from)?)
}

fn read_tuned(path: &Path) -> Result<Tuned> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the result of tuning `{}`", path.display()))?;
    Ok(Tuned::from_json(&text, path)?)
}

fn regressions(found: &Comparison) -> Result<()> {
    use ncps::profiling::profile::compare::Change;
    let worse: Vec<&str> = found
        .rows
        .iter()
        .filter(|row| row.change == Change::Regressed)
        .map(|row| row.name.as_str())
        .collect();
    match worse.is_empty() {
        true => Ok(()),
        false => Err(anyhow::anyhow!(
            "worse by more than {} %: {}",
            100.0 * found.limit,
            worse.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_that_does_not_exist_is_answered_with_those_near_it() {
        let message = unknown_metric("--require", "memory.bandwith").message;
        assert!(message.contains("memory.bandwidth"), "{message}");
        let message = unknown_metric("--explain", "xy").message;
        assert!(message.contains("--explain all"), "{message}");
    }
}

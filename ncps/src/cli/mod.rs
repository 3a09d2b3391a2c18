//! The command line: arguments, one module per command.

mod bench;
mod clean;
mod completions;
mod config;
mod data;
mod data_cache;
mod data_describe;
mod data_get;
mod data_plot;
mod data_speed;
mod devices;
mod doctor;
mod eval;
mod exit;
mod export;
mod init;
mod logging;
mod output;
mod predict;
mod profile;
mod progress;
mod runs;
mod selftest;
mod signals;
mod status;
mod stream;
mod supervise;
mod tf32;
mod train;
mod trust;
mod tune;
mod wiring;

use std::ffi::OsString;

use clap::{Parser, Subcommand};

use logging::{LogFormat, LogLevel};
use output::{ColorChoice, Output};

/// Train neural circuit policies: LTC and CfC networks on wiring graphs.
///
/// Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 diverged, 4 corrupt checkpoint or data,
/// 5 out of memory, 6 input or output, 129, 130 and 143 stopped by a signal after saving.
#[derive(Debug, Parser)]
#[command(
    name = "ncps",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
#[command(
    after_help = "Examples:\n  ncps train configs/m3.toml\n  ncps init sine > sine.toml && ncps train sine.toml\n  ncps doctor"
)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct Common {
    /// Print one JSON object (or a line of JSON per item) on stdout instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// No progress and no notes on stderr.
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Log more to stderr: -v information, -vv details.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// How log lines are written, on stderr and in a run's log.txt.
    #[arg(
        long = "log",
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT"
    )]
    log_format: LogFormat,
    /// The least level that goes to a run's log.txt.
    #[arg(long, global = true, value_enum, default_value_t = LogLevel::Info, value_name = "LEVEL")]
    log_level: LogLevel,
    /// When to colour messages.
    #[arg(long, global = true, value_enum, default_value_t = ColorChoice::Auto, value_name = "WHEN")]
    color: ColorChoice,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a network from a configuration file and evaluate it.
    Train(train::TrainArguments),
    /// Evaluate a trained run on its data, or on other data.
    Eval(eval::EvalArguments),
    /// Predict with a trained run: a file in, a file out, or line by line.
    Predict(predict::PredictArguments),
    /// Write a trained run's model as ONNX or Core ML, for machines without this program.
    Export(export::ExportArguments),
    /// List the runs of a folder: state, best result, time, size.
    Runs(runs::RunsArguments),
    /// Show what one run is doing and whether its checkpoints are sound.
    Status(status::StatusArguments),
    /// Show what can be removed from a folder of runs, and remove it with --yes.
    Clean(clean::CleanArguments),
    /// Look into data files.
    #[command(subcommand)]
    Data(data::DataCommand),
    /// Print or draw a wiring.
    #[command(subcommand)]
    Wiring(wiring::WiringCommand),
    /// Write a starter configuration for a task or for your own data.
    Init(init::InitArguments),
    /// Show a configuration with its defaults, or the schema of all keys.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Show this machine and the sizes that suit it.
    Devices(devices::DevicesArguments),
    /// Check what MLX needs here and say what is missing.
    Doctor(doctor::DoctorArguments),
    /// Measure speed and memory of fixed networks, beside what this machine can do at most.
    Bench(bench::BenchArguments),
    /// Find out how fast a configuration trains here, what holds it back and what to change.
    Profile(Box<profile::ProfileArguments>),
    /// Find the batch, width and device that train a configuration fastest here.
    Tune(Box<tune::TuneArguments>),
    /// Print a completion script for a shell.
    Completions(completions::CompletionsArguments),
}

/// Runs the program with the given arguments, its own name first.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    let common = arguments.common;
    let output = Output::new(common.json, common.quiet, common.color);
    logging::start(common.verbose, common.log_format, common.log_level);
    if let Ok(folder) = mlx_sys::wheel::cache_root(|name| std::env::var_os(name)) {
        ncps::kernel::keep_compiled_kernels(folder.join("kernels"));
    }
    #[cfg(debug_assertions)]
    if let Err(error) = arm_fault() {
        output.error(&error);
        return exit::USAGE;
    }
    let result = choose_library(&arguments.command, &output)
        .and_then(|()| dispatch(arguments.command, &output));
    match result {
        Ok(()) => exit::OK,
        Err(error) => {
            let code = exit::code(&error);
            if code != exit::OK && !exit::is_told(&error) {
                output.error(&error);
            }
            code
        }
    }
}

/// Lets a test make the n-th file operation fail: see [`ncps::checkpoint::fault`].
#[cfg(debug_assertions)]
fn arm_fault() -> anyhow::Result<()> {
    if let Ok(text) = std::env::var("NCPS_FAULT") {
        let plan = text.parse().map_err(exit::UsageError::new);
        ncps::checkpoint::fault::arm(plan?);
    }
    Ok(())
}

/// Help and version go to stdout with code 0, wrong usage to stderr with code 2; a closed pipe harms neither.
fn usage(error: &clap::Error) -> u8 {
    let _ = error.print();
    if error.use_stderr() {
        exit::USAGE
    } else {
        exit::OK
    }
}

/// Starts the program again with the libmlx that `NCPS_MLX_LIBRARY` names, unless it is loaded already.
///
/// `doctor` goes on without it, since it is there to say and fetch what is missing.
fn choose_library(command: &Command, output: &Output) -> anyhow::Result<()> {
    let Err(error) = mlx_sys::select::apply() else {
        return Ok(());
    };
    let error = anyhow::Error::from(exit::UsageError::new(error.to_string()));
    if matches!(command, Command::Doctor(_)) {
        output.error(&error);
        return Ok(());
    }
    Err(error)
}

fn dispatch(command: Command, output: &Output) -> anyhow::Result<()> {
    match command {
        Command::Train(arguments) => train::run(&arguments, output),
        Command::Eval(arguments) => eval::run(&arguments, output),
        Command::Predict(arguments) => predict::run(&arguments, output),
        Command::Export(arguments) => export::run(&arguments, output),
        Command::Runs(arguments) => runs::run(&arguments, output),
        Command::Status(arguments) => status::run(&arguments, output),
        Command::Clean(arguments) => clean::run(&arguments, output),
        Command::Data(command) => data::run(&command, output),
        Command::Wiring(command) => wiring::run(&command, output),
        Command::Init(arguments) => init::run(&arguments, output),
        Command::Config(command) => config::run(&command, output),
        Command::Devices(arguments) => devices::run(&arguments, output),
        Command::Doctor(arguments) => doctor::run(&arguments, output),
        Command::Bench(arguments) => bench::run(&arguments, output),
        Command::Profile(arguments) => profile::run(&arguments, output),
        Command::Tune(arguments) => tune::run(&arguments, output),
        Command::Completions(arguments) => completions::run(&arguments, output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_shows_examples() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let inner = command.get_subcommands().filter(|c| c.get_name() != "help");
            inner.for_each(|c| check(c, &path));
            if !command.is_subcommand_required_set() {
                let help = command
                    .get_after_help()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                assert!(help.contains("Example"), "`{path}` has no example");
            }
        }
        Arguments::command()
            .get_subcommands()
            .for_each(|command| check(command, "ncps"));
    }
}

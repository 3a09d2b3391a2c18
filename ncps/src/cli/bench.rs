//! `ncps bench`: speed and memory of fixed cases, each in a process of its own.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use ncps::Error;
use ncps::bench::cases::{self, CASES, Case};
use ncps::bench::measure::{self, Options};
use ncps::bench::{self, Arrays, Record, Roofs};
use ncps::kernel::{self, Level};
use ncps::profiling::device::detect;
use ncps::run::device::has_gpu;

use super::exit::UsageError;
use super::output::{Output, columns, short};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ncps bench\n  ncps bench --case cfc-default --case ltc-ncp-32 --threads 1\n  ncps bench --plain --json > plain.jsonl\n  ncps bench --overheads --threads 1\n  ncps bench --list\n\nEach case runs in a process of its own, so that its peak memory is its own. The bound is the share of the speed that this machine can reach at most, from rates that are measured first; --json gives all figures."
)]
pub(crate) struct BenchArguments {
    /// Run this case only; may be repeated. Without it all cases that suit the device run.
    #[arg(long = "case", value_name = "NAME", value_parser = PossibleValuesParser::new(CASES.map(|case| case.name)), hide_possible_values = true)]
    cases: Vec<String>,
    /// List the cases and stop.
    #[arg(long)]
    list: bool,
    /// What to compute on; without it the GPU where MLX has one.
    #[arg(long, value_enum, value_name = "DEVICE")]
    device: Option<BenchDevice>,
    /// Seconds for the training steps of a case, and again for its inference steps; at least 5 steps of each run.
    #[arg(
        long,
        value_name = "S",
        default_value_t = 2.0,
        allow_negative_numbers = true
    )]
    seconds: f64,
    /// Threads of the kernels and of matrix products; 0 for all cores.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Use the plain implementation, step by step in MLX operations.
    #[arg(long)]
    plain: bool,
    /// Vectors of the kernels: portable, avx2, avx512 or neon; without it the widest of this processor.
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    vectors: Option<Level>,
    /// Measure what a run does beside its training steps instead: filling batches, checking each step, writing checkpoints
    /// (below the current folder, on the CPU).
    #[arg(long, conflicts_with = "plain")]
    overheads: bool,
    /// Measure the one named case in this process, as the program calls itself.
    #[arg(long, hide = true)]
    here: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum BenchDevice {
    Cpu,
    Gpu,
}

impl BenchDevice {
    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
        }
    }
}

fn level(name: &str) -> Result<Level, String> {
    match Level::from_name(name) {
        Some(level) if level.is_available() => Ok(level),
        Some(_) => Err("this processor does not have it".to_owned()),
        None => Err("expected portable, avx2, avx512 or neon".to_owned()),
    }
}

pub(crate) fn run(arguments: &BenchArguments, output: &Output) -> Result<()> {
    if arguments.list {
        return list(output);
    }
    if !(0.0..=3600.0).contains(&arguments.seconds) {
        let message = format!("--seconds is {}, expected 0 to 3600", arguments.seconds);
        return Err(UsageError::new(message).into());
    }
    if let Some(level) = arguments.vectors {
        kernel::force(level);
    }
    if arguments.here {
        return here(arguments, output);
    }
    if arguments.overheads {
        return overheads(arguments, output);
    }
    compare(arguments, output)
}

fn list(output: &Output) -> Result<()> {
    if output.json {
        for case in &CASES {
            output.json_line(&serde_json::json!({
                "case": case.name, "model": case.model, "inputs": case.inputs, "outputs": case.outputs,
                "batch": case.batch, "time": case.time, "only_named_on_cpu": case.is_large,
            }))?;
        }
        return Ok(());
    }
    let heads = ["case", "model", "inputs", "batch", "time", ""];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(CASES.iter().map(|case| {
        let numbers = [case.inputs, case.batch, case.time].map(|number| number.to_string());
        let remark = if case.is_large {
            "for a GPU; on a CPU only when named"
        } else {
            ""
        };
        let mut row = vec![case.name.to_owned(), case.model.to_owned()];
        row.extend(numbers);
        row.push(remark.to_owned());
        row
    }));
    Ok(output.print(columns(&rows))?)
}

/// The inner call: one case, one line.
fn here(arguments: &BenchArguments, output: &Output) -> Result<()> {
    let [name] = arguments.cases.as_slice() else {
        return Err(UsageError::new("--here takes exactly one --case").into());
    };
    let case = cases::find(name).context("the case is in the list of cases")?;
    let options = Options {
        seconds: arguments.seconds,
        is_gpu: arguments.device == Some(BenchDevice::Gpu),
        threads: arguments.threads,
        is_plain: arguments.plain,
    };
    Ok(output.json_line(&measure::run(case, &options)?)?)
}

/// What is beside the steps, case by case in this process.
fn overheads(arguments: &BenchArguments, output: &Output) -> Result<()> {
    if arguments.device == Some(BenchDevice::Gpu) {
        let message = "--overheads are measured on the CPU: leave out --device gpu";
        return Err(UsageError::new(message).into());
    }
    if cfg!(debug_assertions) {
        output.note("built without optimisation: the figures say nothing about a release build");
    }
    let options = Options {
        seconds: arguments.seconds,
        is_gpu: false,
        threads: arguments.threads,
        is_plain: false,
    };
    // Checkpoints go where those of a run would go, since their cost is that of the disk too.
    let folder = tempfile::Builder::new()
        .prefix(".ncps-bench-")
        .tempdir_in(".")
        .context("the current folder cannot be written to, where checkpoints are to be measured")?;
    let mut rows = vec![
        [
            "case",
            "train ms",
            "data us",
            "% of both",
            "checks us",
            "% of step",
            "checkpoint ms",
            "from",
            "to",
            "kB",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for case in cases::select(&arguments.cases, false) {
        output.note(format_args!("case {}", case.name));
        let found = bench::overheads::run(case, &options, folder.path())?;
        if output.json {
            output.json_line(&found)?;
        }
        rows.push(vec![
            found.case,
            short(1e3 * found.train_s),
            short(1e6 * found.data_s),
            short(found.data_percent),
            short(1e6 * found.checks_s),
            short(found.checks_percent),
            short(1e3 * found.checkpoint_s),
            short(1e3 * found.checkpoint_range_s[0]),
            short(1e3 * found.checkpoint_range_s[1]),
            short(1e-3 * found.checkpoint_bytes as f64),
        ]);
    }
    if !output.json {
        output.print(columns(&rows))?;
        output.line(
            "\nWall time, medians of blocks in turn. Data: gathering a batch of shuffled windows in memory and handing it to MLX. Checks: keeping\n\
             what a step began from, the gradient's norm, reading loss and norm. Checkpoint: what each adds to training.",
        )?;
    }
    Ok(())
}

/// The outer call: the machine's own rates, then each case in a process.
fn compare(arguments: &BenchArguments, output: &Output) -> Result<()> {
    let device = device(arguments)?;
    let is_gpu = device == BenchDevice::Gpu;
    kernel::set_threads(arguments.threads);
    let threads = kernel::threads();
    if cfg!(debug_assertions) {
        output.note("built without optimisation: the figures say nothing about a release build");
    }
    let roofs = match is_gpu {
        true => None,
        false => {
            output.note("measuring what this machine can do at most");
            let arrays = Arrays::for_machine(&detect());
            let seconds = 1.5f64.min(arguments.seconds);
            Some(Roofs::measure(threads, seconds, &arrays))
        }
    };
    let cases = cases::select(&arguments.cases, is_gpu);
    let mut records = Vec::with_capacity(cases.len());
    for (index, case) in cases.iter().enumerate() {
        output.note(format_args!(
            "case {} ({} of {})",
            case.name,
            index + 1,
            cases.len()
        ));
        let mut record = child(case, arguments, device, threads)?;
        match &roofs {
            Some(roofs) => record.compare(roofs),
            None => record
                .unavailable
                .push("bound: the rates of a GPU are not measured".to_owned()),
        }
        if output.json {
            output.json_line(&record)?;
        }
        records.push(record);
    }
    if !output.json {
        output.print(table(&records))?;
        if let Some(roofs) = &roofs {
            output.line(summary(roofs))?;
        }
    }
    Ok(())
}

fn device(arguments: &BenchArguments) -> Result<BenchDevice> {
    let has_gpu = has_gpu();
    match arguments.device {
        Some(BenchDevice::Gpu) if !has_gpu => Err(Error::NoGpu.into()),
        Some(device) => Ok(device),
        None if has_gpu => Ok(BenchDevice::Gpu),
        None => Ok(BenchDevice::Cpu),
    }
}

/// Measures a case in a process of its own; what it says on stderr is seen as it is.
fn child(
    case: &Case,
    arguments: &BenchArguments,
    device: BenchDevice,
    threads: usize,
) -> Result<Record> {
    let program = std::env::current_exe().context("the program cannot find itself")?;
    let mut command = Command::new(program);
    command.args([
        "bench",
        "--here",
        "--json",
        "--case",
        case.name,
        "--device",
        device.name(),
    ]);
    command.args([
        "--seconds",
        &arguments.seconds.to_string(),
        "--threads",
        &threads.to_string(),
    ]);
    if arguments.plain {
        command.arg("--plain");
    }
    if let Some(level) = arguments.vectors {
        command.args(["--vectors", level.name()]);
    }
    command
        .envs(measure::thread_variables(threads))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let ended = command
        .output()
        .context("the program cannot start itself")?;
    if !ended.status.success() {
        bail!(
            "case {}: its process ended with {}",
            case.name,
            ended.status
        );
    }
    serde_json::from_slice(&ended.stdout)
        .with_context(|| format!("case {}: its process gave no figures", case.name))
}

fn table(records: &[Record]) -> String {
    let heads = [
        "case",
        "train ms",
        "min",
        "cpu ms",
        "GFLOP/s",
        "% of bound",
        "infer us",
        "min",
        "first step s",
        "peak MB",
        "params",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    rows.extend(records.iter().map(|record| {
        let known = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), short);
        vec![
            record.case.clone(),
            short(1e3 * record.train_s_median),
            short(1e3 * record.train_s_min),
            short(1e3 * record.train_cpu_s_median),
            short(record.train_gflops),
            known(record.percent_of_bound),
            short(1e3 * record.infer_ms_median),
            short(1e3 * record.infer_ms_min),
            short(record.first_step_s),
            known(record.peak_above_start_mb),
            record.params.to_string(),
        ]
    }));
    columns(&rows)
}

fn summary(roofs: &Roofs) -> String {
    format!(
        "\nTimes are medians of wall time; cpu is processor time of all threads; peak is above start-up.\n\
         Bound: products {} and arithmetic {} GFLOP/s, sigmoid {}, tanh {}, exp {} x 10^9/s, copy {} GB/s \
         ({} thread{}, {} vectors).",
        short(roofs.products_gflops),
        short(roofs.arithmetic_gflops),
        short(roofs.sigmoid_gps),
        short(roofs.tanh_gps),
        short(roofs.exp_gps),
        short(roofs.copy_gbps),
        roofs.threads,
        if roofs.threads == 1 { "" } else { "s" },
        roofs.vectors,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_must_exist_and_be_here() {
        assert!(level("portable").is_ok());
        assert!(level("mmx").unwrap_err().contains("expected"));
        let other = if cfg!(target_arch = "x86_64") {
            "neon"
        } else {
            "avx2"
        };
        assert!(level(other).is_err());
    }

    #[test]
    fn the_summary_names_every_rate() {
        let arrays = Arrays {
            bytes: 1 << 20,
            last_level_bytes: None,
        };
        let roofs = Roofs::measure(1, 0.0, &arrays);
        let text = summary(&roofs);
        assert!(
            text.contains(&short(roofs.sigmoid_gps)) && text.contains("1 thread,"),
            "{text}"
        );
    }
}

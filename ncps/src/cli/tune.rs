//! `ncps tune`: the batch, width, device and implementation that train a configuration fastest here.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::ValueEnum;
use ncps::profile::Source;
use ncps::profiling::plot::Figure;
use ncps::run::write_file;
use ncps::tune::{self, Fate, Limits, Space, Tuned};

use super::exit::UsageError;
use super::output::{Output, bytes, columns, short};
use super::train::Overrides;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ncps tune configs/m3.toml\n  ncps tune sine.toml --batch 16,32,64,128 --implementation fused --seconds 20\n  ncps tune configs/m3.toml --width 1,2,4 --memory 2 --out tuned\n\nThe choice is the smallest batch that reaches 95 % of the highest rate, at the configuration's own width; wider networks are other networks, so their rates are only shown. --out writes tune.json, the fragment, the row for the device table and the plot."
)]
pub(crate) struct TuneArguments {
    /// The configuration file.
    config: PathBuf,
    #[command(flatten)]
    overrides: Overrides,
    /// Batch sizes to try; by default powers of two and the configuration's own.
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    batch: Vec<usize>,
    /// Multiples of the configuration's width to try.
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1")]
    width: Vec<usize>,
    /// Devices to try; by default all that MLX has here.
    #[arg(long, value_enum, value_name = "DEVICE,...", value_delimiter = ',')]
    device: Vec<TuneDevice>,
    /// Implementations to try; by default fused and plain on a CPU.
    #[arg(long, value_enum, value_name = "NAME,...", value_delimiter = ',')]
    implementation: Vec<TuneImplementation>,
    /// Type of all numbers.
    #[arg(long, value_enum, value_name = "TYPE", default_value_t = TuneDtype::F32)]
    dtype: TuneDtype,
    /// Seconds for everything.
    #[arg(
        long,
        value_name = "S",
        default_value_t = 60.0,
        allow_negative_numbers = true
    )]
    seconds: f64,
    /// Memory for MLX's arrays in GB (10^9 bytes); by default 70 % of the device's.
    #[arg(long, value_name = "GB", allow_negative_numbers = true)]
    memory: Option<f64>,
    /// Threads of the kernels; 0 for all cores.
    #[arg(long, value_name = "N", default_value_t = 0)]
    threads: usize,
    /// Sequences N whose time the plot shows.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    sequences: u64,
    /// Write what was found into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TuneDevice {
    Cpu,
    Gpu,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TuneImplementation {
    Auto,
    Fused,
    Plain,
}

/// Training computes in one type; the option names it, so that a script can state it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TuneDtype {
    F32,
}

pub(crate) fn run(arguments: &TuneArguments, output: &Output) -> Result<()> {
    check(arguments)?;
    let TuneDtype::F32 = arguments.dtype;
    let source = Source::file(&arguments.config, arguments.overrides.parse()?);
    let name = |value: &dyn std::fmt::Debug| format!("{value:?}").to_lowercase();
    let space = Space {
        batches: arguments.batch.clone(),
        widths: arguments.width.clone(),
        devices: arguments.device.iter().map(|d| name(d)).collect(),
        implementations: arguments.implementation.iter().map(|i| name(i)).collect(),
    };
    let limits = Limits {
        seconds: arguments.seconds,
        memory_bytes: arguments.memory.map(|gigabytes| gigabytes * 1e9),
        threads: arguments.threads,
    };
    let tuned = tune::tune(&source, &space, &limits, &mut |text| output.note(text))?;
    write(arguments, &tuned, output)?;
    if output.json {
        output.json_line(&tuned)?;
    } else {
        output.print(text(&tuned))?;
    }
    match tuned.best {
        Some(_) => Ok(()),
        None => Err(anyhow::anyhow!(
            "no setting could be measured; the reasons stand above"
        )),
    }
}

fn check(arguments: &TuneArguments) -> Result<()> {
    let refuse = |message: String| Err(UsageError::new(message).into());
    if !(0.0..=86_400.0).contains(&arguments.seconds) {
        return refuse(format!(
            "--seconds is {}, expected 0 to 86400",
            arguments.seconds
        ));
    }
    if arguments
        .memory
        .is_some_and(|memory| !(memory > 0.0 && memory.is_finite()))
    {
        return refuse("--memory: expected a number of GB above 0".to_owned());
    }
    if arguments.batch.contains(&0) || arguments.width.contains(&0) {
        return refuse("--batch and --width: expected numbers from 1".to_owned());
    }
    Ok(())
}

fn text(tuned: &Tuned) -> String {
    let heads = [
        "batch",
        "setting",
        "sequences/s",
        "peak memory",
        "rounds",
        "",
    ];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for found in &tuned.candidates {
        let is_best = tuned.best.as_ref() == Some(&found.setting);
        let remark = match &found.fate {
            Fate::Measured if is_best => "chosen".to_owned(),
            Fate::Measured if found.setting == tuned.own => "the configuration's own".to_owned(),
            Fate::Measured => String::new(),
            Fate::OverMemory { bytes: size } => {
                format!("over the memory budget: {}", bytes(*size as u64))
            }
            Fate::OutOfMemory => "out of memory".to_owned(),
            Fate::Failed { reason } => format!("failed: {}", reason.lines().next().unwrap_or("")),
            Fate::NotReached => "not reached in time".to_owned(),
        };
        let known = |value: Option<f64>, show: fn(f64) -> String| {
            value.map_or_else(|| "-".to_owned(), show)
        };
        rows.push(vec![
            found.setting.batch.to_string(),
            found.setting.family(),
            known(found.rate.value(), short),
            known(found.peak.value(), |size| bytes(size as u64)),
            found.rounds.to_string(),
            remark,
        ]);
    }
    let mut text = columns(&rows);
    if let Some(gain) = tuned.gain.value() {
        let interval = tuned.interval.map_or_else(String::new, |(low, high)| {
            format!(" (95 % interval {low:.2} to {high:.2})")
        });
        text += &format!(
            "\n{gain:.2} x the rate of the configuration's own setting, measured in turn{interval}\n"
        );
    }
    for note in &tuned.notes {
        text += &format!("note: {note}\n");
    }
    if !tuned.fragment.is_empty() {
        text += &format!("\n{}", tuned.fragment);
    }
    if let Some(row) = &tuned.row {
        text += &format!("\n# row for the device table\n{}\n", row.to_line().trim());
    }
    text
}

fn write(arguments: &TuneArguments, tuned: &Tuned, output: &Output) -> Result<()> {
    let Some(folder) = &arguments.out else {
        return Ok(());
    };
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make `{}`", folder.display()))?;
    let put = |name: &str, bytes: &[u8]| -> Result<()> {
        let path = folder.join(name);
        write_file(&path, bytes)?;
        output.note(format_args!("wrote {}", path.display()));
        Ok(())
    };
    put("tune.json", serde_json::to_string_pretty(tuned)?.as_bytes())?;
    if !tuned.fragment.is_empty() {
        put("fragment.toml", tuned.fragment.as_bytes())?;
    }
    if let Some(row) = &tuned.row {
        let table = format!("device = [\n{}]\n", row.to_line());
        put("device.toml", table.as_bytes())?;
    }
    match tuned.curve(arguments.sequences as f64).svg() {
        Ok(svg) => put("tune.svg", svg.as_bytes()),
        // Nothing measured is nothing drawn; the table says why.
        Err(error) => {
            output.note(error);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ncps::config::Override;

    #[test]
    fn overrides_of_the_command_line_lie_below_what_is_tried() {
        let own = Override::parse("train.batch_size=4").unwrap();
        let source = Source::of_machine(&ncps::profiling::device::detect(), vec![own]);
        let tried = [Override::of_flag("train.batch_size", 16)];
        assert_eq!(source.load(&tried).unwrap().config.train.batch_size, 16);
    }
}

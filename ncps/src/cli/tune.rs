//! `ncps tune`: the batch, width, device and implementation that train a configuration fastest here.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use ncps::profile::Source;
use ncps::run::write_file;
use ncps::tune::{self, Limits, Space, Tuned};

use super::exit::UsageError;
use super::output::{Output, columns};
use super::tf32;
use super::train::Overrides;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ncps tune configs/m3.toml\n  ncps tune sine.toml --batch 16,32,64,128 --implementation fused --seconds 20\n  ncps tune configs/m3.toml --width 1,2,4 --memory 2 --out tuned\n  ncps tune configs/m3.toml --dtype f32,bf16 --html tune.html\n\nThe choice is the smallest batch that reaches 95 % of the highest rate, at the configuration's own width; wider networks are other networks, so their rates are only shown. Where no batch fits into the memory, the smallest is halved until one does."
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
    /// Types of the network's numbers to try (`train.precision`); by default the configuration's own.
    #[arg(long, value_enum, value_name = "TYPE,...", value_delimiter = ',')]
    dtype: Vec<TuneDtype>,
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
    /// Sequences N whose time the table and the plot show.
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    sequences: u64,
    /// Write tune.json, tune.html, the fragment, the row for the device table and the plot into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write what was found as one HTML file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum TuneDtype {
    F32,
    F16,
    Bf16,
}

pub(crate) fn run(arguments: &TuneArguments, output: &Output) -> Result<()> {
    check(arguments)?;
    let source = Source::file(&arguments.config, arguments.overrides.parse()?);
    let name = |value: &dyn std::fmt::Debug| format!("{value:?}").to_lowercase();
    let space = Space {
        batches: arguments.batch.clone(),
        widths: arguments.width.clone(),
        devices: arguments.device.iter().map(|d| name(d)).collect(),
        implementations: arguments.implementation.iter().map(|i| name(i)).collect(),
        dtypes: arguments.dtype.iter().map(|d| name(d)).collect(),
    };
    let limits = Limits {
        seconds: arguments.seconds,
        memory_bytes: arguments.memory.map(|gigabytes| gigabytes * 1e9),
        threads: arguments.threads,
        sequences: arguments.sequences,
    };
    tf32::apply(&source.load(&[])?.config, output)?;
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
    let heads = tuned.heads().into_iter().map(|(head, _)| head).collect();
    let rows: Vec<Vec<String>> = std::iter::once(heads).chain(tuned.rows()).collect();
    let mut text = columns(&rows);
    if let Some(finding) = tuned.finding() {
        text += &format!("\n{finding}\n");
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
    let put_at = |path: &Path, bytes: &[u8]| -> Result<()> {
        let folder = path.parent().unwrap_or(Path::new(""));
        if !folder.as_os_str().is_empty() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("cannot make `{}`", folder.display()))?;
        }
        write_file(path, bytes)?;
        output.note(format_args!("wrote {}", path.display()));
        Ok(())
    };
    if let Some(path) = &arguments.html {
        put_at(path, tuned.to_html().as_bytes())?;
    }
    let Some(folder) = &arguments.out else {
        return Ok(());
    };
    let put = |name: &str, bytes: &[u8]| put_at(&folder.join(name), bytes);
    put("tune.html", tuned.to_html().as_bytes())?;
    put("tune.json", serde_json::to_string_pretty(tuned)?.as_bytes())?;
    if !tuned.fragment.is_empty() {
        put("fragment.toml", tuned.fragment.as_bytes())?;
    }
    if let Some(row) = &tuned.row {
        let table = format!("device = [\n{}]\n", row.to_line());
        put("device.toml", table.as_bytes())?;
    }
    // Nothing measured is nothing drawn; the table says why.
    match tuned.figure() {
        Some(figure) => put("tune.svg", figure.svg.as_bytes()),
        None => Ok(()),
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

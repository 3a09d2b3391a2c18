//! `ncps data`: what is in a data file, and which data sets there are.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use ncps::datasets::{self, Fact};

use super::data_describe::text;
use super::output::{Output, columns};
use super::train::Overrides;
use super::{data_cache, data_get, data_plot, data_speed, init};

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Describe a CSV, Parquet, Arrow, npy or npz file, a folder of them, or images and labels in IDX files: columns, ranges, gaps, sampling, a configuration to begin with.
    #[command(
        after_help = "Examples:\n  ncps data describe measurements.csv\n  ncps data describe data/cheetah --json"
    )]
    Describe {
        /// The file or folder.
        path: PathBuf,
    },
    /// Write a configuration for a file or folder of your own, as its description suggests.
    #[command(
        after_help = "Example:\n  ncps data init measurements.csv --out mine.toml && ncps train mine.toml"
    )]
    Init {
        /// The file or folder.
        path: PathBuf,
        /// Write to this file instead of stdout; an existing file is left alone.
        #[arg(short, long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Draw the columns of a file over time, gaps as gaps.
    #[command(
        after_help = "Examples:\n  ncps data plot measurements.csv --out data.svg\n  ncps data plot trips.parquet --series 17 --columns speed,wind --out trip.png"
    )]
    Plot(data_plot::PlotArguments),
    /// Measure how fast a configuration's data are loaded and cut into batches.
    #[command(after_help = "Example:\n  ncps data speed configs/drug.toml")]
    Speed {
        /// The configuration.
        config: PathBuf,
        #[command(flatten)]
        overrides: Overrides,
    },
    /// List the rows that streamed runs have unpacked and kept, or remove them.
    #[command(after_help = "Examples:\n  ncps data cache\n  ncps data cache --remove")]
    Cache {
        /// Remove them all.
        #[arg(long)]
        remove: bool,
    },
    /// List the data sets that come with the program and the published benchmarks.
    #[command(after_help = "Example:\n  ncps data list")]
    List,
    /// Download a published benchmark, check it and unpack it; without a network, say which file to put where.
    #[command(
        after_help = "Examples:\n  ncps data get gesture\n  ncps data get person --into /data/person"
    )]
    Get {
        /// Its name, as `ncps data list` gives it.
        name: String,
        /// Folder for its files; `data/NAME` unless given.
        #[arg(long, value_name = "FOLDER")]
        into: Option<PathBuf>,
    },
}

pub(crate) fn run(command: &DataCommand, output: &Output) -> Result<()> {
    match command {
        DataCommand::Describe { path } => {
            let description = datasets::describe(path).map_err(ncps::Error::from)?;
            if output.json {
                output.json_line(&description)?
            } else {
                output.print(text(&description))?
            }
            Ok(())
        }
        DataCommand::Init { path, out } => init::own_data(path, out.as_deref(), output),
        DataCommand::Plot(arguments) => data_plot::run(arguments, output),
        DataCommand::Speed { config, overrides } => {
            data_speed::run(config, overrides.parse()?, output)
        }
        DataCommand::Cache { remove } => data_cache::run(*remove, output),
        DataCommand::List => list(output),
        DataCommand::Get { name, into } => data_get::run(name, into.as_deref(), output),
    }
}

fn list(output: &Output) -> Result<()> {
    if output.json {
        for set in datasets::embedded() {
            output.json_line(set)?;
        }
        for benchmark in datasets::benchmarks() {
            output.json_line(benchmark)?;
        }
        return Ok(());
    }
    let heading = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let mut own = vec![heading(&[
        "part of the program",
        "what",
        "series",
        "rows",
        "licence",
    ])];
    for set in datasets::embedded() {
        own.push(vec![
            set.name.to_string(),
            set.title.to_string(),
            set.series.to_string(),
            set.rows.to_string(),
            set.licence.to_string(),
        ]);
    }
    let mut published = vec![heading(&[
        "published",
        "what",
        "MB",
        "to reach",
        "licence",
        "here",
    ])];
    for benchmark in datasets::benchmarks() {
        let folder = PathBuf::from("data").join(benchmark.name);
        let is_here = benchmark.lacking(&folder).is_empty();
        let fact = |fact: Fact, text: String| {
            if benchmark.unverified.contains(&fact) {
                text + " (unverified)"
            } else {
                text
            }
        };
        published.push(vec![
            benchmark.name.to_owned(),
            benchmark.title.to_owned(),
            fact(Fact::Megabytes, benchmark.megabytes.to_string()),
            benchmark.published.to_owned(),
            fact(Fact::Licence, benchmark.licence.to_owned()),
            if is_here { "yes" } else { "no" }.to_owned(),
        ]);
    }
    output.print(format!(
        "{}\n{}\n`ncps data get NAME` fetches one into data/NAME; `ncps init NAME` prints its configuration\n",
        columns(&own),
        columns(&published)
    ))?;
    Ok(())
}

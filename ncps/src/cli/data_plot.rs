//! `ncps data plot`: the columns of a file over time.

use std::path::PathBuf;

use anyhow::{Context, Result};
use ncps::datasets::Frame;
use ncps::profiling::plot::{Columns, Figure};
use ncps::run::write_file;

use super::exit::UsageError;
use super::output::Output;

#[derive(Debug, clap::Args)]
pub(crate) struct PlotArguments {
    /// The file.
    path: PathBuf,
    /// The picture: a name that ends in .svg or .png.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Columns to draw; all numbers unless given, the first eight of them.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    columns: Vec<String>,
    /// The series to draw, by its name, where a column tells series apart; the first unless given.
    #[arg(long, value_name = "NAME")]
    series: Option<String>,
}

pub(crate) fn run(arguments: &PlotArguments, output: &Output) -> Result<()> {
    let path = &arguments.path;
    let description = ncps::datasets::describe(path).map_err(ncps::Error::from)?;
    let file = description.files.first().unwrap_or(path);
    let delimiter = description.delimiter.unwrap_or(',');
    let frame = Frame::read(file, delimiter).map_err(ncps::Error::from)?;
    let time = description.time.as_ref();
    let group = time.and_then(|time| time.group.as_deref());
    let rows = frame
        .rows_of(group, arguments.series.as_deref())
        .map_err(ncps::Error::from)?;
    let pick = |values: Vec<f64>| rows.iter().map(|&row| values[row]).collect::<Vec<f64>>();
    let (x, x_label) = match time {
        Some(time) => {
            let times = pick(frame.elapsed(&time.column).map_err(ncps::Error::from)?);
            let first = times.first().copied().unwrap_or(0.0);
            let unit = if time.unit == "second" {
                "s"
            } else {
                "its own unit"
            };
            let since = times.iter().map(|time| time - first).collect();
            (
                since,
                format!("`{}` since the first row ({unit})", time.column),
            )
        }
        None => (
            (0..rows.len()).map(|row| row as f64).collect(),
            "row".to_owned(),
        ),
    };
    let names: Vec<String> = if arguments.columns.is_empty() {
        let is_drawn = |name: &&String| {
            time.is_none_or(|time| time.column != **name) && group != Some(name.as_str())
        };
        frame
            .names()
            .iter()
            .filter(is_drawn)
            .filter(|name| frame.numbers(name).is_ok())
            .cloned()
            .collect()
    } else {
        arguments.columns.clone()
    };
    let mut columns = Vec::new();
    for name in names {
        let values = frame.numbers(&name).map_err(ncps::Error::from)?;
        columns.push((name, pick(values)));
    }
    let name = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let figure = Columns {
        title: match (group, &arguments.series) {
            (Some(group), Some(series)) => format!("{name}, {group} {series}"),
            (Some(group), None) => format!("{name}, the first {group}"),
            _ => name,
        },
        x_label,
        x,
        columns,
    };
    let out = &arguments.out;
    let bytes = match out.extension().and_then(|ending| ending.to_str()) {
        Some("svg") => figure.svg()?.into_bytes(),
        Some("png") => figure.png()?,
        _ => {
            let message = format!(
                "--out: `{}` ends neither in .svg nor in .png",
                out.display()
            );
            return Err(UsageError::new(message).into());
        }
    };
    write_file(out, &bytes).with_context(|| format!("cannot write `{}`", out.display()))?;
    output.note(format!("wrote {}", out.display()));
    Ok(())
}

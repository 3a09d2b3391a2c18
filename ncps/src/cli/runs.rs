//! `ncps runs`: a table of the runs in a folder.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use ncps::run::{RunInfo, SeedGroup, find_runs, inspect, seed_groups};

use super::output::{Output, bytes, columns, seconds, short};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ncps runs\n  ncps runs experiments --json\n  for s in 11 12 13; do ncps train configs/sine.toml --seed $s --out runs/sine-$s; done; ncps runs --seeds"
)]
pub(crate) struct RunsArguments {
    /// The folder that holds the run directories.
    #[arg(default_value = "runs")]
    folder: PathBuf,
    /// One row for completed runs that differ in the seed only: mean and standard deviation on the test part.
    #[arg(long)]
    seeds: bool,
    /// The metric of that row; by default the one that decided which weights are kept (for the loss: mse or accuracy).
    #[arg(long, value_name = "NAME", requires = "seeds")]
    metric: Option<String>,
    /// That table in Markdown.
    #[arg(long, requires = "seeds", conflicts_with = "json")]
    markdown: bool,
}

pub(crate) fn run(arguments: &RunsArguments, output: &Output) -> Result<()> {
    let runs = find_runs(&arguments.folder)?;
    if arguments.seeds {
        let groups = seed_groups(&runs, arguments.metric.as_deref())?;
        return over_seeds(&groups, arguments, output);
    }
    let infos: Vec<RunInfo> = runs
        .iter()
        .map(|run| inspect(run))
        .collect::<Result<_, _>>()?;
    if output.json {
        for info in &infos {
            output.json_line(info)?;
        }
        return Ok(());
    }
    if infos.is_empty() {
        output.note(format!("no runs in `{}`", arguments.folder.display()));
        return Ok(());
    }
    let head = ["run", "state", "epoch", "best", "time", "size", "written"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(infos.iter().map(row));
    output.print(columns(&rows))?;
    Ok(())
}

fn over_seeds(groups: &[SeedGroup], arguments: &RunsArguments, output: &Output) -> Result<()> {
    if output.json {
        for group in groups {
            output.json_line(group)?;
        }
        return Ok(());
    }
    if groups.is_empty() {
        output.note(format!(
            "no completed runs in `{}`",
            arguments.folder.display()
        ));
        return Ok(());
    }
    let head = [
        "runs",
        "seeds",
        "test metric",
        "mean",
        "deviation",
        "min",
        "max",
        "trivial",
        "parameters",
        "time",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(groups.iter().map(group_row));
    output.print(if arguments.markdown {
        markdown(&rows)
    } else {
        columns(&rows)
    })?;
    Ok(())
}

fn group_row(group: &SeedGroup) -> Vec<String> {
    let seeds: Vec<String> = group.seeds.iter().map(u64::to_string).collect();
    let least = group.values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = group
        .values
        .iter()
        .copied()
        .fold(f64::NEG_INFINITY, f64::max);
    let trivial = group
        .baseline
        .map(|value| format!("{} ({})", short(value), group.baseline_name));
    vec![
        group.name.clone(),
        seeds.join(" "),
        group.metric.clone(),
        short(group.mean),
        group.deviation.map(short).unwrap_or_default(),
        short(least),
        short(most),
        trivial.unwrap_or_default(),
        group.parameters.to_string(),
        seconds(group.seconds),
    ]
}

/// Rows of text as a Markdown table, the first row being the heads.
fn markdown(rows: &[Vec<String>]) -> String {
    let line = |row: &[String]| {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        text += &line(row);
        if index == 0 {
            text += &format!("|{}\n", "---|".repeat(row.len()));
        }
    }
    text
}

fn row(info: &RunInfo) -> Vec<String> {
    let name = info.path.file_name().unwrap_or_default();
    vec![
        name.to_string_lossy().into_owned(),
        info.state.name().to_owned(),
        epochs(info),
        best(info),
        info.seconds.map(seconds).unwrap_or_default(),
        bytes(info.bytes),
        info.modified.map(age).unwrap_or_default(),
    ]
}

/// `12/30`, or `12.4/30` inside an epoch.
pub(crate) fn epochs(info: &RunInfo) -> String {
    let done = (info.epoch * 10.0).floor() / 10.0;
    match info.epochs {
        Some(all) => format!("{done}/{all}"),
        None => done.to_string(),
    }
}

/// The metric that decides, and its best value.
pub(crate) fn best(info: &RunInfo) -> String {
    let best = info.best.as_ref();
    best.map_or_else(String::new, |best| {
        format!("{} {}", best.metric, short(best.value))
    })
}

/// How long ago a time was.
pub(crate) fn age(written: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let ago = now.map_or(0, |now| now.as_secs().saturating_sub(written));
    match ago {
        0..60 => format!("{ago} s ago"),
        60..3600 => format!("{} min ago", ago / 60),
        3600..86_400 => format!("{} h ago", ago / 3600),
        _ => format!("{} d ago", ago / 86_400),
    }
}

//! `ncps runs`: a table of the runs in a folder.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use ncps::run::{RunInfo, find_runs, inspect};

use super::output::{Output, bytes, columns, seconds, short};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  ncps runs\n  ncps runs experiments --json")]
pub(crate) struct RunsArguments {
    /// The folder that holds the run directories.
    #[arg(default_value = "runs")]
    folder: PathBuf,
}

pub(crate) fn run(arguments: &RunsArguments, output: &Output) -> Result<()> {
    let runs = find_runs(&arguments.folder)?;
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

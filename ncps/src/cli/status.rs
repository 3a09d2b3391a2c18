//! `ncps status`: what one run is doing, whether its checkpoints are sound, how to go on.

use std::path::PathBuf;

use anyhow::Result;
use ncps::run::{CheckpointInfo, RunInfo, RunState, checkpoints, inspect};
use serde_json::json;

use super::output::{Output, bytes, columns, seconds};
use super::runs::{age, best, epochs};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  ncps status runs/m3\n  ncps status runs/m3 --json")]
pub(crate) struct StatusArguments {
    /// The run directory.
    run: PathBuf,
}

pub(crate) fn run(arguments: &StatusArguments, output: &Output) -> Result<()> {
    let info = inspect(&arguments.run)?;
    let saved = checkpoints(&arguments.run)?;
    if output.json {
        let value = json!({ "run": info, "checkpoints": saved });
        return Ok(output.json_line(&value)?);
    }
    let rows = [
        ("run", info.path.display().to_string()),
        ("state", info.state.name().to_owned()),
        ("epoch", epochs(&info)),
        ("step", info.step.to_string()),
        ("best", best(&info)),
        ("time", info.seconds.map(seconds).unwrap_or_default()),
        ("size", bytes(info.bytes)),
        ("written", info.modified.map(age).unwrap_or_default()),
        ("checkpoints", sound(&saved)),
        ("error", info.error.clone().unwrap_or_default()),
    ];
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    output.print(columns(&rows))?;
    for problem in saved.iter().filter_map(|one| one.problem.as_ref()) {
        output.note(problem);
    }
    if let Some(advice) = advice(&info) {
        output.note(advice);
    }
    Ok(())
}

fn sound(saved: &[CheckpointInfo]) -> String {
    let good: Vec<&CheckpointInfo> = saved.iter().filter(|one| one.problem.is_none()).collect();
    let newest = good.last().and_then(|one| one.path.file_name());
    let newest = newest.map(|name| name.to_string_lossy().into_owned());
    let damaged = saved.len() - good.len();
    let mut text = match newest {
        Some(name) => format!("{} sound, newest {name}", good.len()),
        None => "none".to_owned(),
    };
    if damaged > 0 {
        text.push_str(&format!(", {damaged} damaged"));
    }
    text
}

fn advice(info: &RunInfo) -> Option<String> {
    let run = info.path.display();
    match info.state {
        state if state.is_resumable() => Some(format!(
            "continue with `ncps train {run}/config.toml --out {run} --resume`"
        )),
        RunState::Completed => Some(format!("evaluate with `ncps eval {run}`")),
        _ => None,
    }
}

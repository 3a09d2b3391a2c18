//! `ncps clean`: shows what can be removed from a folder of runs, and removes it when told so.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use ncps::run::{Removable, Waste, find_waste, remove};

use super::output::{Output, bytes, columns};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ncps clean\n  ncps clean --only leftovers --yes\n  ncps clean experiments --only checkpoints --only replaced"
)]
pub(crate) struct CleanArguments {
    /// The folder that holds the run directories.
    #[arg(default_value = "runs")]
    folder: PathBuf,
    /// Only this kind of waste; can be given several times.
    #[arg(long, value_enum, value_name = "KIND")]
    only: Vec<Kind>,
    /// Remove what is shown; without it nothing is removed.
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Temporary files of killed processes.
    Leftovers,
    /// Checkpoints of completed runs; their models stay.
    Checkpoints,
    /// Runs that --force has moved aside.
    Replaced,
    /// Runs that failed or were killed before their first checkpoint.
    Failed,
}

impl Kind {
    fn of(waste: Waste) -> (Self, &'static str) {
        match waste {
            Waste::Leftovers => (Self::Leftovers, "leftovers"),
            Waste::Checkpoints => (Self::Checkpoints, "checkpoints"),
            Waste::Replaced => (Self::Replaced, "replaced"),
            Waste::Failed => (Self::Failed, "failed"),
        }
    }
}

pub(crate) fn run(arguments: &CleanArguments, output: &Output) -> Result<()> {
    let mut found = find_waste(&arguments.folder)?;
    found.retain(|item| {
        arguments.only.is_empty() || arguments.only.contains(&Kind::of(item.waste).0)
    });
    if arguments.yes {
        for item in &found {
            remove(item)?;
        }
    }
    if output.json {
        for item in &found {
            let mut value = serde_json::to_value(item)?;
            value["removed"] = arguments.yes.into();
            output.json_line(&value)?;
        }
        return Ok(());
    }
    if found.is_empty() {
        output.note(format!(
            "nothing to remove in `{}`",
            arguments.folder.display()
        ));
        return Ok(());
    }
    let mut rows = vec![["kind", "size", "path"].map(str::to_owned).to_vec()];
    rows.extend(found.iter().map(row));
    output.print(columns(&rows))?;
    let total = bytes(found.iter().map(|item| item.bytes).sum());
    output.line(match arguments.yes {
        true => format!("\nremoved {total}"),
        false => {
            format!("\n{total} could go; nothing was removed: add --yes, and --only KIND to choose")
        }
    })?;
    Ok(())
}

fn row(item: &Removable) -> Vec<String> {
    vec![
        Kind::of(item.waste).1.to_owned(),
        bytes(item.bytes),
        item.path.display().to_string(),
    ]
}

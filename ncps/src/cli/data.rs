//! `ncps data`: what is in a data file, and which data sets come with the program.

use std::path::PathBuf;

use anyhow::Result;
use clap::Subcommand;
use ncps::datasets::{self, ColumnDescription, Description};

use super::output::{Output, columns, short};

#[derive(Debug, Subcommand)]
pub(crate) enum DataCommand {
    /// Describe a CSV, Parquet or npy file or a folder of them: columns, ranges, gaps, sampling, a configuration to begin with.
    #[command(
        after_help = "Examples:\n  ncps data describe measurements.csv\n  ncps data describe data/cheetah --json"
    )]
    Describe {
        /// The file or folder.
        path: PathBuf,
    },
    /// List the data sets that come with the program.
    #[command(after_help = "Example:\n  ncps data list")]
    List,
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
        }
        DataCommand::List => {
            let mut rows = vec![
                ["name", "what", "series", "rows", "licence"]
                    .map(str::to_owned)
                    .to_vec(),
            ];
            for set in datasets::embedded() {
                if output.json {
                    output.json_line(set)?;
                }
                rows.push(vec![
                    set.name.to_string(),
                    set.title.to_string(),
                    set.series.to_string(),
                    set.rows.to_string(),
                    set.licence.to_string(),
                ]);
            }
            if !output.json {
                output.print(columns(&rows))?;
            }
        }
    }
    Ok(())
}

/// A description for people.
fn text(description: &Description) -> String {
    let files = match description.files.len() {
        0 | 1 => String::new(),
        count => format!(", the first of {count} files"),
    };
    let mut text = format!(
        "{}: {}, {} rows{files}\n\n",
        description.path.display(),
        description.format,
        description.rows
    );
    let mut rows = vec![
        ["column", "type", "missing", "min", "mean", "max", "values"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(description.columns.iter().map(column_row));
    text.push_str(&columns(&rows));
    if let Some(time) = &description.time {
        let unit = if time.unit == "second" { " s" } else { "" };
        let evenly = if time.is_regular {
            "evenly"
        } else {
            "unevenly"
        };
        text.push_str(&format!(
            "\n`{}` looks like time: {evenly} spaced, interval {} to {}{unit}, median {}{unit}\n",
            time.column,
            short(time.min),
            short(time.max),
            short(time.median)
        ));
        if time.backwards > 0 {
            text.push_str(&format!(
                "it goes back {} times: several series, or rows out of order\n",
                time.backwards
            ));
        }
    }
    text.push_str(&format!(
        "\nto begin with (`ncps init --data` makes a whole configuration of it):\n\n{}\n",
        description.proposed_config.trim()
    ));
    text
}

fn column_row(column: &ColumnDescription) -> Vec<String> {
    let number = |value: Option<f64>| value.map(short).unwrap_or_default();
    let classes = column.classes.as_ref().map(|classes| {
        let shown = classes
            .iter()
            .take(4)
            .map(|class| format!("{} ({})", class.value, class.rows));
        let more = if classes.len() > 4 { ", ..." } else { "" };
        shown.collect::<Vec<_>>().join(", ") + more
    });
    vec![
        column.name.clone(),
        format!("{:?}", column.kind).to_lowercase(),
        column.missing.to_string(),
        number(column.min),
        number(column.mean),
        number(column.max),
        classes.unwrap_or_default(),
    ]
}

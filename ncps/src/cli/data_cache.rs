//! `ncps data cache`: rows that streamed runs have unpacked and kept, listed or removed.

use anyhow::Result;
use ncps::datasets::{KeptRows, kept_rows, remove_rows};
use ncps::run::data_cache;

use super::output::{Output, bytes, columns};

pub(crate) fn run(remove: bool, output: &Output) -> Result<()> {
    let kept = match data_cache() {
        Some(folder) => kept_rows(&folder).map_err(ncps::Error::from)?,
        None => Vec::new(),
    };
    if remove {
        for one in &kept {
            remove_rows(one).map_err(ncps::Error::from)?;
        }
    }
    if output.json {
        for one in &kept {
            output.json_line(one)?;
        }
        return Ok(());
    }
    if kept.is_empty() {
        output.note("no rows are kept");
        return Ok(());
    }
    let mut rows = vec![
        ["size", "rows", "values", "series", "folder"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(kept.iter().map(row));
    output.print(columns(&rows))?;
    let total = bytes(kept.iter().map(|one| one.bytes).sum());
    output.line(match remove {
        true => format!("\nremoved {total}"),
        false => format!(
            "\n{total}; --remove removes all, and the next streamed run unpacks its file again"
        ),
    })?;
    Ok(())
}

fn row(one: &KeptRows) -> Vec<String> {
    vec![
        bytes(one.bytes),
        match one.rows {
            0 => "unfinished".to_owned(),
            rows => rows.to_string(),
        },
        one.values.to_string(),
        one.series.join(", "),
        one.path.display().to_string(),
    ]
}

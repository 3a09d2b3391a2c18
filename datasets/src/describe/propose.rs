//! A configuration to begin with, from what a file seems to hold.

use std::fmt::Write as _;

use super::{ColumnDescription, ColumnKind, Description, SamplingInterval};
use crate::readers::Format;

/// Longest window that is proposed.
const PROPOSED_WINDOW: usize = 32;

/// Names the roles that the columns seem to have; meant to be read and corrected.
pub(super) fn propose(description: &Description) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "[data]\nkind = \"{}\"\npath = {}",
        description.format,
        quoted(&description.path.display().to_string())
    );
    if let Some(delimiter) = description.delimiter {
        let _ = writeln!(text, "delimiter = {}", quoted(&delimiter.to_string()));
    }
    if ![Format::Npy.name(), Format::Npz.name()].contains(&description.format) {
        propose_columns(&mut text, description);
    }
    // A tenth of a series fits into its validation and test parts, of 0.15 each, with a row left to predict.
    let shortest = description
        .time
        .as_ref()
        .and_then(|time| time.shortest_series);
    let rows = shortest.unwrap_or(description.rows);
    // How many steps the observations of a series make is not known here: its windows are whole series.
    if observations(description).is_none() {
        let window = PROPOSED_WINDOW.min(rows / 10).max(1);
        let _ = writeln!(text, "window = {window}\nstride = {}", window.div_ceil(2));
    }
    let by = if description.files.len() >= 10 {
        "series"
    } else {
        "time"
    };
    let _ = writeln!(
        text,
        "split = {{ kind = \"fraction\", validation = 0.15, test = 0.15, by = \"{by}\" }}"
    );
    text
}

fn propose_columns(text: &mut String, description: &Description) {
    let time = description.time.as_ref();
    let group = time.and_then(|time| time.group.as_deref());
    let is_usable = |column: &&ColumnDescription| {
        time.is_none_or(|time| time.column != column.name)
            && group != Some(column.name.as_str())
            && column.missing < description.rows
            && match column.kind {
                ColumnKind::Number | ColumnKind::Integer => true,
                ColumnKind::Text => column.classes.is_some(),
                ColumnKind::Date | ColumnKind::Other => false,
            }
    };
    if let Some([channel, value]) = observations(description) {
        propose_long(text, description, channel, value);
        return;
    }
    let usable: Vec<&ColumnDescription> = description.columns.iter().filter(is_usable).collect();
    // The usual place of a label is the last column.
    let label = usable
        .last()
        .filter(|column| column.classes.is_some() && usable.len() > 1);
    let features: Vec<&ColumnDescription> = usable
        .iter()
        .copied()
        .filter(|column| {
            label.is_none_or(|label| label.name != column.name)
                && !counts_rows(column, description.rows)
        })
        .collect();
    let list = |columns: &mut dyn Iterator<Item = &&ColumnDescription>| {
        columns
            .map(|column| quoted(&column.name))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let is_text = |column: &&&ColumnDescription| column.kind == ColumnKind::Text;
    let _ = writeln!(text, "features = [{}]", list(&mut features.iter()));
    if features.iter().any(|column| is_text(&column)) {
        let _ = writeln!(
            text,
            "categorical = [{}]",
            list(&mut features.iter().filter(is_text))
        );
    }
    if let Some(label) = label {
        let _ = writeln!(
            text,
            "targets = [{}]\ntask = {{ kind = \"label_each_step\" }}",
            quoted(&label.name)
        );
    } else {
        if features.iter().any(|column| is_text(&column)) {
            let numbers = &mut features.iter().filter(|column| !is_text(column));
            let _ = writeln!(text, "targets = [{}]", list(numbers));
        }
        let _ = writeln!(text, "task = {{ kind = \"next_step\" }}");
    }
    let has_gaps = features
        .iter()
        .chain(label)
        .any(|column| column.missing > 0);
    if has_gaps {
        let _ = writeln!(
            text,
            "missing = \"mask\"   # or error, forward_fill, mean, zero, mask_delta"
        );
    }
    if let Some(time) = time {
        let _ = writeln!(text, "{}", time_line(time));
    }
    if let Some(group) = group {
        let _ = writeln!(text, "group = {}", quoted(group));
    }
}

/// Names that tables with one row an observation give to what was observed, and to its number.
const CHANNELS: [&str; 8] = [
    "channel",
    "variable",
    "parameter",
    "sensor",
    "signal",
    "feature",
    "quantity",
    "item",
];
const VALUES: [&str; 5] = ["value", "val", "reading", "measurement", "result"];

/// The columns that name and hold an observation, where there are such, and a time.
fn observations(description: &Description) -> Option<[&str; 2]> {
    description.time.as_ref()?;
    let find = |names: &[&str], is_text: bool| {
        let mut columns = description.columns.iter();
        let found = columns.find(|column| {
            (column.kind == ColumnKind::Text) == is_text
                && names.contains(&column.name.to_lowercase().as_str())
        });
        found.map(|column| column.name.as_str())
    };
    Some([find(&CHANNELS, true)?, find(&VALUES, false)?])
}

fn propose_long(text: &mut String, description: &Description, channel: &str, value: &str) {
    let time = description.time.as_ref();
    let is_time = |name: &str| time.is_some_and(|time| time.column == name);
    // What is left over with few enough values tells series apart.
    let left = description.columns.iter().find(|column| {
        ![channel, value].contains(&column.name.as_str())
            && !is_time(&column.name)
            && matches!(column.kind, ColumnKind::Text | ColumnKind::Integer)
    });
    let group = time.and_then(|time| time.group.as_deref());
    let group = group.or(left.map(|column| column.name.as_str()));
    let _ = writeln!(
        text,
        "long = {{ channel = {}, value = {} }}\ntask = {{ kind = \"next_step\" }}\nmissing = \"mask\"   # or forward_fill, mean, zero, mask_delta",
        quoted(channel),
        quoted(value)
    );
    if let Some(time) = time {
        let _ = writeln!(text, "{}", time_line(time));
    }
    if let Some(group) = group {
        let _ = writeln!(text, "group = {}", quoted(group));
    }
}

fn time_line(time: &SamplingInterval) -> String {
    let unit = match time.median {
        _ if time.unit != "second" => "second",
        median if median >= 43_200.0 => "day",
        median if median >= 1800.0 => "hour",
        median if median >= 30.0 => "minute",
        median if median > 0.0 && median < 0.1 => "millisecond",
        _ => "second",
    };
    let order = if time.backwards > 0 {
        ", out_of_order = \"sort\""
    } else {
        ""
    };
    format!(
        "time = {{ column = {}, unit = \"{unit}\"{order} }}",
        quoted(&time.column)
    )
}

/// Whether a column merely numbers the rows.
fn counts_rows(column: &ColumnDescription, rows: usize) -> bool {
    let span = column.max.zip(column.min).map(|(max, min)| max - min);
    column.kind == ColumnKind::Integer
        && rows > 2
        && span.is_some_and(|span| (span - (rows - 1) as f64).abs() < 0.5)
}

/// A TOML basic string.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            plain => quoted.push(plain),
        }
    }
    quoted + "\""
}

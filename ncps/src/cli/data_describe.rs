//! A description of a data file, for people.

use ncps::datasets::{ColumnDescription, Description, IntervalBin, SamplingInterval};

use super::output::{columns, short};

/// A description for people.
pub(crate) fn text(description: &Description) -> String {
    let files = match description.files.len() {
        0 | 1 => String::new(),
        count => format!(", the first of {count} files"),
    };
    let size = match description.images {
        Some([count, rows, columns]) => {
            format!("{count} labelled images of {rows} rows and {columns} columns")
        }
        None => format!("{} rows{files}", description.rows),
    };
    let mut text = format!(
        "{}: {}, {size}\n\n",
        description.path.display(),
        description.format,
    );
    let mut rows = vec![
        [
            "column",
            "type",
            "missing",
            "longest gap",
            "min",
            "mean",
            "max",
            "values",
        ]
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
        for bin in &time.histogram {
            text.push_str(&interval_line(bin, time));
        }
        if let Some(group) = &time.group {
            text.push_str(&format!(
                "it begins anew in places, but never within one value of `{group}`, which so tells series apart\n"
            ));
        }
        if time.repeated > 0 {
            text.push_str(&format!(
                "{} rows have the time of the row before: see `duplicates` of `data.time`\n",
                time.repeated
            ));
        }
        if time.backwards > 0 {
            text.push_str(&format!(
                "it goes back {} times: several series, or rows out of order\n",
                time.backwards
            ));
        }
    }
    for column in &description.columns {
        if let Some(line) = imbalance(column) {
            text.push_str(&line);
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
        column.longest_gap.to_string(),
        number(column.min),
        number(column.mean),
        number(column.max),
        classes.unwrap_or_default(),
    ]
}

/// Widest bar of the histogram of intervals.
const BAR: usize = 30;

fn interval_line(bin: &IntervalBin, time: &SamplingInterval) -> String {
    let all: usize = time.histogram.iter().map(|bin| bin.intervals).sum();
    let share = bin.intervals as f64 / all.max(1) as f64;
    let range = if bin.to > 0.0 {
        format!("{} to {}", short(bin.from), short(bin.to))
    } else {
        "0".to_owned()
    };
    let bar = "#".repeat(((share * BAR as f64).round() as usize).max(1));
    format!("  {range:>20} {:>8}  {bar}\n", bin.intervals)
}

/// Says how unequal a column's classes are, where one has more than twice the rows of another.
fn imbalance(column: &ColumnDescription) -> Option<String> {
    let classes = column.classes.as_ref()?;
    let (most, least) = (classes.first()?, classes.last()?);
    if most.rows < 2 * least.rows {
        return None;
    }
    let all: usize = classes.iter().map(|class| class.rows).sum();
    Some(format!(
        "`{}` is unbalanced: {} has {:.1} % of the rows, {} has {:.1} %; an answer that is always {} is right that often\n",
        column.name,
        most.value,
        100.0 * most.rows as f64 / all as f64,
        least.value,
        100.0 * least.rows as f64 / all as f64,
        most.value
    ))
}

//! The resolved configuration as TOML text, with or without the origin of each value.

use toml::{Table, Value};

use super::layers::Origin;

/// Writes `table` as TOML: plain values first, then one section per sub-table, in the order of the table.
///
/// `note` gives the comment behind a value, if any.
pub(crate) fn write(table: &Table, note: &dyn Fn(&[String]) -> Option<Origin>) -> String {
    let mut lines = Vec::new();
    section(table, &mut Vec::new(), note, &mut lines);
    align(&lines)
}

/// A line and the comment behind it.
type Line = (String, Option<String>);

fn section(
    table: &Table,
    path: &mut Vec<String>,
    note: &dyn Fn(&[String]) -> Option<Origin>,
    lines: &mut Vec<Line>,
) {
    let (tables, plain): (Vec<_>, Vec<_>) = table
        .iter()
        .partition(|(_, value)| is_section(value, path.len()));
    if !path.is_empty() && (!plain.is_empty() || tables.is_empty()) {
        if !lines.is_empty() {
            lines.push((String::new(), None));
        }
        let header: Vec<String> = path.iter().map(|part| key(part)).collect();
        lines.push((format!("[{}]", header.join(".")), None));
    }
    for (name, value) in plain {
        path.push(name.clone());
        let comment = note(path).map(|origin| origin.to_string());
        lines.push((format!("{} = {}", key(name), inline(value)), comment));
        path.pop();
    }
    for (name, value) in tables {
        if let Value::Table(inner) = value {
            path.push(name.clone());
            section(inner, path, note, lines);
            path.pop();
        }
    }
}

/// Tables near the root get a section; small ones further down (`clip = { norm = 1.0 }`) stay on their line.
fn is_section(value: &Value, depth: usize) -> bool {
    match value {
        Value::Table(table) => depth == 0 || table.len() > 6 || table.values().any(Value::is_table),
        _ => false,
    }
}

fn align(lines: &[Line]) -> String {
    let width = lines
        .iter()
        .filter(|(_, note)| note.is_some())
        .map(|(text, _)| text.chars().count())
        .max();
    let width = width.unwrap_or(0).min(60);
    let mut out = String::new();
    for (text, note) in lines {
        out.push_str(text);
        if let Some(note) = note {
            let gap = width.saturating_sub(text.chars().count()) + 2;
            out.push_str(&" ".repeat(gap));
            out.push_str("# ");
            out.push_str(note);
        }
        out.push('\n');
    }
    out
}

fn key(name: &str) -> String {
    let bare = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    if bare {
        name.to_owned()
    } else {
        Value::String(name.to_owned()).to_string()
    }
}

fn inline(value: &Value) -> String {
    match value {
        Value::Float(number) => float(*number),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Table(table) => {
            let entries: Vec<String> = table
                .iter()
                .map(|(name, value)| format!("{} = {}", key(name), inline(value)))
                .collect();
            if entries.is_empty() {
                "{}".into()
            } else {
                format!("{{ {} }}", entries.join(", "))
            }
        }
        other => other.to_string(),
    }
}

/// The shortest text that reads back as the same number; 32-bit values are not padded with the digits of a 64-bit one.
fn float(number: f64) -> String {
    let narrow = number as f32;
    let is_narrow = f64::from(narrow).to_bits() == number.to_bits();
    let text = if is_narrow {
        format!("{narrow:?}")
    } else {
        format!("{number:?}")
    };
    text.replace("NaN", "nan")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_and_inline_tables_read_back() {
        let text = "seed = 1\n[train]\nepochs = 3\nclip = { norm = 1.0 }\n\"odd key\" = \"a\\nb\"\n[train.deep]\nx = { y = { z = [1, 2] } }\n";
        let table: Table = toml::from_str(text).unwrap();
        let written = write(&table, &|_| None);
        assert_eq!(
            toml::from_str::<Table>(&written).unwrap(),
            table,
            "{written}"
        );
        assert!(written.contains("clip = { norm = 1.0 }"), "{written}");
        assert!(written.starts_with("seed = 1\n\n[train]\n"), "{written}");
    }

    #[test]
    fn floats_are_short_and_exact() {
        for (number, text) in [
            (f64::from(0.005_f32), "0.005"),
            (0.005, "0.005"),
            (1.0, "1.0"),
            (1e-8, "1e-8"),
            (0.1 + 0.2, "0.30000000000000004"),
        ] {
            assert_eq!(float(number), text);
        }
        assert_eq!(float(f64::INFINITY), "inf");
        assert_eq!(float(f64::NAN), "nan");
    }

    #[test]
    fn origins_stand_behind_their_values() {
        let table: Table = toml::from_str("seed = 1\n[train]\nepochs = 30\n").unwrap();
        let note = |path: &[String]| {
            Some(if path.len() == 1 {
                Origin::Default
            } else {
                Origin::File { line: 4 }
            })
        };
        assert_eq!(
            write(&table, &note),
            "seed = 1     # default\n\n[train]\nepochs = 30  # file:4\n"
        );
    }
}

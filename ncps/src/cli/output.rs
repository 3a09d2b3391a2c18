//! What goes to the terminal: results on stdout, everything else on stderr, colours only where wanted.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;

/// When to colour messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb.
    #[default]
    Auto,
    Always,
    Never,
}

/// The ways out of the program, decided once at the start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// One JSON object on stdout instead of text.
    pub(crate) json: bool,
    /// No progress and no notes on stderr.
    pub(crate) quiet: bool,
    color: bool,
}

/// What decides about colours, taken from the process's surroundings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings {
    pub(crate) is_terminal: bool,
    pub(crate) no_color: bool,
    pub(crate) force_color: bool,
    pub(crate) dumb_terminal: bool,
}

impl Surroundings {
    pub(crate) fn read() -> Self {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        Self {
            is_terminal: io::stderr().is_terminal(),
            no_color: set("NO_COLOR"),
            force_color: std::env::var_os("CLICOLOR_FORCE")
                .is_some_and(|value| value != "0" && !value.is_empty()),
            dumb_terminal: std::env::var_os("TERM").is_some_and(|value| value == "dumb"),
        }
    }
}

fn wants_color(choice: ColorChoice, here: Surroundings) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto if here.no_color => false,
        ColorChoice::Auto => here.force_color || (here.is_terminal && !here.dumb_terminal),
    }
}

impl Output {
    pub(crate) fn new(json: bool, quiet: bool, choice: ColorChoice) -> Self {
        Self {
            json,
            quiet,
            color: wants_color(choice, Surroundings::read()),
        }
    }

    /// Prints a result as it is. A reader that has gone away is an error of kind `BrokenPipe`, which ends the program well.
    pub(crate) fn print(&self, text: impl Display) -> io::Result<()> {
        let mut out = io::stdout().lock();
        write!(out, "{text}")?;
        out.flush()
    }

    /// Prints a line of results.
    pub(crate) fn line(&self, text: impl Display) -> io::Result<()> {
        self.print(format_args!("{text}\n"))
    }

    /// Prints one JSON value on its own line.
    pub(crate) fn json_line(&self, value: &impl serde::Serialize) -> io::Result<()> {
        self.line(serde_json::to_string(value)?)
    }

    /// A remark for the person at the terminal.
    pub(crate) fn note(&self, text: impl Display) {
        tracing::info!("{text}");
        if !self.quiet {
            self.stderr(format_args!("{} {text}", self.paint("36", "note:")));
        }
    }

    /// The error that ends the program: the cause first, then what led to it.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        let mut lines = format!("{} {error}", self.paint("31;1", "error:"));
        let mut said = error.to_string();
        for cause in error.chain().skip(1) {
            let text = cause.to_string();
            // Wrappers often repeat the message that they wrap.
            if !said.contains(&text) {
                lines.push_str(&format!("\n  caused by: {text}"));
                said = text;
            }
        }
        tracing::error!("{error:#}");
        self.stderr(lines);
    }

    pub(crate) fn paint(&self, code: &str, text: &str) -> String {
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    fn stderr(&self, text: impl Display) {
        // Nobody is left to tell when stderr is gone.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }
}

/// Rows of text in columns, the first row being the heads; numbers to the right.
pub(crate) fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |index: usize| {
        rows.iter()
            .filter_map(|row| row.get(index))
            .map(|c| c.chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let numeric: Vec<bool> = (0..count).map(|index| is_numeric(rows, index)).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .enumerate()
            .map(|(index, cell)| {
                let space = " ".repeat(widths[index].saturating_sub(cell.chars().count()));
                if numeric[index] {
                    format!("{space}{cell}")
                } else {
                    format!("{cell}{space}")
                }
            })
            .collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn is_numeric(rows: &[Vec<String>], index: usize) -> bool {
    let mut cells = rows
        .iter()
        .skip(1)
        .filter_map(|row| row.get(index))
        .filter(|cell| !cell.is_empty())
        .peekable();
    cells.peek().is_some()
        && cells.all(|cell| cell.starts_with(|c: char| c.is_ascii_digit() || c == '-'))
}

/// A number with four significant digits, without a tail of zeros.
pub(crate) fn short(number: f64) -> String {
    if !number.is_finite() {
        return number.to_string();
    }
    let size = number.abs();
    if size != 0.0 && !(1e-4..1e7).contains(&size) {
        return format!("{number:.3e}");
    }
    let magnitude = if size > 0.0 {
        size.log10().floor() as i32
    } else {
        0
    };
    let text = format!("{number:.*}", (3 - magnitude).max(0) as usize);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A size in bytes for people.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut size = count as f64;
    let mut unit = "B";
    for next in UNITS {
        if size < 1000.0 {
            break;
        }
        size /= 1000.0;
        unit = next;
    }
    format!("{size:.1} {unit}")
}

/// A duration for people.
pub(crate) fn seconds(value: f64) -> String {
    let whole = value.round() as u64;
    match whole {
        0..10 => format!("{value:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_surroundings() {
        let terminal = Surroundings {
            is_terminal: true,
            no_color: false,
            force_color: false,
            dumb_terminal: false,
        };
        for (choice, here, expected) in [
            (ColorChoice::Auto, terminal, true),
            (
                ColorChoice::Auto,
                Surroundings {
                    no_color: true,
                    ..terminal
                },
                false,
            ),
            (
                ColorChoice::Auto,
                Surroundings {
                    dumb_terminal: true,
                    ..terminal
                },
                false,
            ),
            (
                ColorChoice::Auto,
                Surroundings {
                    is_terminal: false,
                    ..terminal
                },
                false,
            ),
            (
                ColorChoice::Auto,
                Surroundings {
                    is_terminal: false,
                    force_color: true,
                    ..terminal
                },
                true,
            ),
            (
                ColorChoice::Always,
                Surroundings {
                    no_color: true,
                    ..terminal
                },
                true,
            ),
            (ColorChoice::Never, terminal, false),
        ] {
            assert_eq!(wants_color(choice, here), expected, "{choice:?} {here:?}");
        }
    }

    #[test]
    fn numbers_are_short() {
        for (number, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (62.7134, "62.71"),
            (0.123456, "0.1235"),
            (0.0123456, "0.01235"),
            (1234.56, "1235"),
            (1e-9, "1.000e-9"),
            (-2.5, "-2.5"),
        ] {
            assert_eq!(short(number), text);
        }
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1_500_000), "1.5 MB");
        assert_eq!(seconds(75.0), "1 min 15 s");
    }

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["name".to_owned(), "mse".into()],
            vec!["a".into(), "10.5".into()],
        ];
        assert_eq!(columns(&rows), "name   mse\na     10.5\n");
    }
}

//! A configuration error that shows where it is: file, line, column, caret, and what to write instead.

use std::fmt;
use std::path::PathBuf;

/// Where in the input a configuration error lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A stretch of one line of a file.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// Column in characters, from 1.
        column: usize,
        /// Length of the marked stretch in characters, at least 1.
        width: usize,
        /// The text of the line.
        text: String,
    },
    /// A `--set` argument as it was written.
    Override(String),
    /// Nowhere in particular: a value that is missing from the file named here.
    Whole(PathBuf),
}

impl Place {
    /// The place of a byte range of `text`, cut at the end of its first line.
    pub(crate) fn in_file(path: PathBuf, text: &str, range: std::ops::Range<usize>) -> Self {
        let start = floor_boundary(text, range.start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = floor_boundary(text, range.end).clamp(start, line_end);
        Self::File {
            path,
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            width: text[start..end].chars().count().max(1),
            text: text[line_start..line_end].trim_end_matches('\r').to_owned(),
        }
    }
}

/// The nearest character boundary at or before `index`.
fn floor_boundary(text: &str, index: usize) -> usize {
    let mut index = index.min(text.len());
    while !text.is_char_boundary(index) {
        index -= 1;
    }
    index
}

/// What is wrong with a configuration, where, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// The problem in one line.
    pub message: String,
    /// Where it was written.
    pub place: Place,
    /// What to do, one line each.
    pub help: Vec<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        let margin = match &self.place {
            Place::File {
                path,
                line,
                column,
                width,
                text,
            } => {
                let number = line.to_string();
                let margin = " ".repeat(number.len());
                // A tab is shown as one space, so that the caret stays below its letter.
                let shown = text.replace('\t', " ");
                let indent = " ".repeat(column - 1);
                write!(f, "\n{margin}--> {}:{line}:{column}", path.display())?;
                write!(
                    f,
                    "\n{margin} |\n{number} | {shown}\n{margin} | {indent}{}",
                    "^".repeat(*width)
                )?;
                margin
            }
            Place::Override(argument) => {
                write!(f, "\n --> --set {argument}")?;
                " ".to_owned()
            }
            Place::Whole(path) => {
                write!(f, "\n --> {}", path.display())?;
                " ".to_owned()
            }
        };
        for line in &self.help {
            write!(f, "\n{margin} = {line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_is_below_the_key() {
        let text = "seed = 1\n\n[train]\nepoch = 3\n";
        let at = text.find("epoch").unwrap();
        let diagnostic = Diagnostic {
            message: "unknown key `epoch` in [train]".into(),
            place: Place::in_file("m3.toml".into(), text, at..at + 5),
            help: vec!["did you mean `epochs`?".into()],
        };
        assert_eq!(
            diagnostic.to_string(),
            "unknown key `epoch` in [train]\n --> m3.toml:4:1\n  |\n4 | epoch = 3\n  | ^^^^^\n  = did you mean `epochs`?"
        );
    }

    #[test]
    fn places_survive_multibyte_text_and_ranges_beyond_the_end() {
        let text = "name = \"ä\"\nü = 1";
        let at = text.find('ü').unwrap();
        let Place::File {
            line,
            column,
            width,
            ..
        } = Place::in_file("x".into(), text, at..at + 2)
        else {
            panic!("a file place is expected");
        };
        assert_eq!((line, column, width), (2, 1, 1));
        let Place::File { line, .. } = Place::in_file("x".into(), text, 999..1000) else {
            panic!("a file place is expected");
        };
        assert_eq!(line, 2);
    }
}

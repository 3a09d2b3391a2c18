//! One TOML file with the position of every key, so that errors can point at them.

use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::{Diagnostic, Place};

/// The text of a configuration file and the table that it holds.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
    pub(crate) table: toml::Table,
}

/// Which part of an entry an error points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Key,
    Value,
}

impl Document {
    /// Parses `text`, which was read from `path`.
    pub(crate) fn parse(path: &Path, text: String) -> Result<Self, Box<Diagnostic>> {
        match toml::from_str::<toml::Table>(&text) {
            Ok(table) => Ok(Self {
                path: path.to_owned(),
                text,
                table,
            }),
            Err(error) => {
                let range = error.span().unwrap_or(0..0);
                Err(Box::new(Diagnostic {
                    message: format!("not valid TOML: {}", error.message()),
                    place: Place::in_file(path.to_owned(), &text, range),
                    help: Vec::new(),
                }))
            }
        }
    }

    /// The place of the entry at `path` (array elements by number), if the file has it.
    pub(crate) fn place(&self, path: &[String], part: Part) -> Option<Place> {
        let range = self.range(path, part)?;
        Some(Place::in_file(self.path.clone(), &self.text, range))
    }

    /// The line of the entry at `path`, from 1.
    pub(crate) fn line(&self, path: &[String]) -> Option<usize> {
        let range = self.range(path, Part::Key)?;
        Some(self.text.get(..range.start)?.matches('\n').count() + 1)
    }

    fn range(&self, path: &[String], part: Part) -> Option<Range<usize>> {
        let root = DeTable::parse(&self.text).ok()?;
        let (last, parents) = path.split_last()?;
        let mut table = Some(root.get_ref());
        let mut value: Option<&Spanned<DeValue<'_>>> = None;
        for step in parents {
            value = Some(child(table, value, step)?.1);
            table = value.and_then(|v| v.get_ref().as_table());
        }
        let (key, found) = child(table, value, last)?;
        Some(match (part, key) {
            (Part::Key, Some(key)) => key,
            _ => found.span(),
        })
    }
}

type Child<'a, 'i> = (Option<Range<usize>>, &'a Spanned<DeValue<'i>>);

/// One step down: a key of `table`, or an element of the array in `value`.
fn child<'a, 'i>(
    table: Option<&'a DeTable<'i>>,
    value: Option<&'a Spanned<DeValue<'i>>>,
    step: &str,
) -> Option<Child<'a, 'i>> {
    if let Some(table) = table {
        let (key, value) = table.iter().find(|(key, _)| key.get_ref() == step)?;
        return Some((Some(key.span()), value));
    }
    let element = value?
        .get_ref()
        .as_array()?
        .get(step.parse::<usize>().ok()?)?;
    Some((None, element))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('.').map(str::to_owned).collect()
    }

    fn document() -> Document {
        let text = "seed = 1\n[train]\nepochs = 3\n[model]\nlayers = [{ kind = \"cfc\" }, { kind = \"ltc\" }]\n";
        Document::parse(Path::new("a.toml"), text.into()).unwrap()
    }

    #[test]
    fn keys_and_values_have_places() {
        let document = document();
        assert_eq!(document.line(&path("seed")), Some(1));
        assert_eq!(document.line(&path("train.epochs")), Some(3));
        let Some(Place::File {
            line,
            column,
            width,
            ..
        }) = document.place(&path("model.layers.1.kind"), Part::Value)
        else {
            panic!("the value is in the file");
        };
        assert_eq!((line, column, width), (5, 38, 5));
        assert_eq!(document.place(&path("train.lr"), Part::Key), None);
        assert_eq!(document.place(&path("seed.x"), Part::Key), None);
    }

    #[test]
    fn broken_toml_says_where() {
        let error = Document::parse(Path::new("a.toml"), "seed = 1\nx = [1,\n".into()).unwrap_err();
        assert!(error.message.starts_with("not valid TOML"), "{error}");
        assert!(error.to_string().contains("a.toml:"), "{error}");
    }
}

//! Defaults, file and `--set` laid over each other, with the origin of every value.

use std::fmt;

use toml::{Table, Value};

use super::document::Document;

/// Where a value of the resolved configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Not written anywhere: the documented default.
    Default,
    /// The configuration file, at this line (from 1; 0 where the line is not known).
    File {
        /// Line number in the file.
        line: usize,
    },
    /// A `--set` argument or a flag that stands for one.
    Override,
    /// Not written anywhere: it follows from other values or from the data.
    Derived,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::File { line } => write!(f, "file:{line}"),
            Self::Override => write!(f, "--set"),
            Self::Derived => write!(f, "derived"),
        }
    }
}

/// One `key=value` given on the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Override {
    /// Keys from the root; array elements by number.
    pub(crate) path: Vec<String>,
    pub(crate) value: Value,
    /// The argument as it was written.
    pub(crate) text: String,
}

impl Override {
    /// Reads `key.subkey=value`: the value in TOML syntax, or else as a bare string.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the argument.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((key, value)) = text.split_once('=') else {
            return Err(format!(
                "`{text}` has no `=`: write key=value, for example train.epochs=20"
            ));
        };
        let path: Vec<String> = key
            .trim()
            .split('.')
            .map(|part| part.trim().trim_matches('"').to_owned())
            .collect();
        if path.iter().any(String::is_empty) {
            return Err(format!(
                "`{text}` has an empty key: write key=value, for example train.epochs=20"
            ));
        }
        Ok(Self {
            path,
            value: parse_value(value.trim(), text)?,
            text: text.to_owned(),
        })
    }

    /// An override made by a flag such as `--seed`.
    pub fn of_flag(key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        Self {
            path: key.split('.').map(str::to_owned).collect(),
            text: format!("{key}={value}"),
            value,
        }
    }

    /// Puts the value into `table`, making tables on the way.
    pub(crate) fn apply(&self, table: &mut Table) -> Result<(), String> {
        let mut root = Value::Table(std::mem::take(table));
        let done = set(&mut root, &self.path, &self.value, 0);
        if let Value::Table(filled) = root {
            *table = filled;
        }
        done
    }
}

fn parse_value(value: &str, argument: &str) -> Result<Value, String> {
    match toml::from_str::<Table>(&format!("value = {value}")) {
        Ok(mut table) if table.len() == 1 => table
            .remove("value")
            .ok_or_else(|| format!("`{argument}` holds no value")),
        _ if value.starts_with(['[', '{', '"', '\'']) => Err(format!(
            "the value of `{argument}` begins like a TOML array, table or string, but is not complete; \
             quote it for the shell, for example --set 'train.clip={{ norm = 1.0 }}'"
        )),
        _ => Ok(Value::String(value.to_owned())),
    }
}

fn set(node: &mut Value, path: &[String], value: &Value, depth: usize) -> Result<(), String> {
    let here = || path[..depth].join(".");
    let Some(step) = path.get(depth) else {
        *node = value.clone();
        return Ok(());
    };
    match node {
        Value::Table(table) => {
            let missing = || Value::Table(Table::new());
            let child = table.entry(step.clone()).or_insert_with(missing);
            set(child, path, value, depth + 1)
        }
        Value::Array(items) => {
            let count = items.len();
            match step
                .parse::<usize>()
                .ok()
                .and_then(|index| items.get_mut(index))
            {
                Some(item) => set(item, path, value, depth + 1),
                None => Err(format!(
                    "`{}` has {count} elements, counted from 0; `{step}` is none of them",
                    here()
                )),
            }
        }
        other => Err(format!(
            "`{}` is {other}, not a table; set it as a whole, for example --set '{}={{ ... }}'",
            here(),
            here()
        )),
    }
}

/// File and overrides laid over each other, before the defaults are filled in.
#[derive(Clone, Debug)]
pub(crate) struct Layers {
    pub(crate) document: Document,
    pub(crate) overrides: Vec<Override>,
    /// Values that follow from others.
    pub(crate) derived: Vec<Override>,
    /// The file's table with the overrides applied.
    pub(crate) merged: Table,
}

impl Layers {
    pub(crate) fn origin(&self, path: &[String]) -> Origin {
        if self.override_of(path).is_some() {
            return Origin::Override;
        }
        if self.derived.iter().any(|item| path.starts_with(&item.path)) {
            return Origin::Derived;
        }
        let known = lookup(&self.document.table, path).is_some();
        match known.then(|| self.document.line(path)) {
            Some(line) => Origin::File {
                line: line.unwrap_or(0),
            },
            None => Origin::Default,
        }
    }

    /// The last override that set the value at `path` or one above it.
    pub(crate) fn override_of(&self, path: &[String]) -> Option<&Override> {
        self.overrides.iter().rev().find(|o| {
            path.starts_with(&o.path) && lookup_value(&o.value, &path[o.path.len()..]).is_some()
        })
    }
}

/// The value at `path`, array elements by number.
pub(crate) fn lookup<'t>(table: &'t Table, path: &[String]) -> Option<&'t Value> {
    let (first, rest) = path.split_first()?;
    lookup_value(table.get(first)?, rest)
}

fn lookup_value<'t>(value: &'t Value, path: &[String]) -> Option<&'t Value> {
    path.iter().try_fold(value, |value, step| match value {
        Value::Table(table) => table.get(step),
        Value::Array(items) => items.get(step.parse::<usize>().ok()?),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(file: &str, overrides: &[&str]) -> Result<Table, String> {
        let mut table: Table = toml::from_str(file).unwrap();
        for text in overrides {
            Override::parse(text)?.apply(&mut table)?;
        }
        Ok(table)
    }

    #[test]
    fn values_are_toml_or_bare_strings() {
        for (text, expected) in [
            ("a=1", Value::Integer(1)),
            ("a=1.5", Value::Float(1.5)),
            ("a=true", Value::Boolean(true)),
            ("a=\"x y\"", Value::String("x y".into())),
            ("a=../shared/data", Value::String("../shared/data".into())),
            ("a=", Value::String(String::new())),
            ("a=1 = 2", Value::String("1 = 2".into())),
            (
                "a=[1, 2]",
                Value::Array(vec![Value::Integer(1), Value::Integer(2)]),
            ),
        ] {
            assert_eq!(Override::parse(text).unwrap().value, expected, "{text}");
        }
        assert!(
            Override::parse("a=[1,")
                .unwrap_err()
                .contains("not complete")
        );
        assert!(Override::parse("epochs").unwrap_err().contains("key=value"));
        assert!(
            Override::parse("train..x=1")
                .unwrap_err()
                .contains("empty key")
        );
    }

    #[test]
    fn overrides_reach_tables_and_arrays() {
        let file = "seed = 1\nlayers = [{ units = 1 }, { units = 2 }]";
        let table = applied(file, &["layers.1.units=9", "train.clip.norm=0.5", "seed=4"]).unwrap();
        assert_eq!(table["layers"][1]["units"].as_integer(), Some(9));
        assert_eq!(table["train"]["clip"]["norm"].as_float(), Some(0.5));
        assert_eq!(table["seed"].as_integer(), Some(4));
        assert!(
            applied(file, &["seed.x=1"])
                .unwrap_err()
                .contains("not a table")
        );
        assert!(
            applied(file, &["layers.7.units=1"])
                .unwrap_err()
                .contains("2 elements")
        );
    }
}

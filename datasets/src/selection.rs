//! Choosing some of a sorted list of files or groups.

use serde::{Deserialize, Serialize};

use crate::config::config;
use crate::error::{Result, nearest};

/// Some of a sorted list of names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(untagged)]
pub enum Selection {
    /// These names, in this order.
    Names(Vec<String>),
    /// Places in the sorted list.
    Range(SelectionRange),
}

/// Places `from` up to, but without, `to`, counted from 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct SelectionRange {
    /// First place.
    pub from: usize,
    /// Place after the last.
    pub to: usize,
}

impl Selection {
    pub(crate) fn places(&self, names: &[String]) -> Result<Vec<usize>> {
        match self {
            Self::Range(range) if range.from < range.to && range.to <= names.len() => {
                Ok((range.from..range.to).collect())
            }
            Self::Range(range) => {
                let reason = format!(
                    "range {}..{} does not lie within the {} that there are",
                    range.from,
                    range.to,
                    names.len()
                );
                Err(config("split", &reason))
            }
            Self::Names(wanted) => wanted.iter().map(|name| place(name, names)).collect(),
        }
    }
}

fn place(wanted: &str, names: &[String]) -> Result<usize> {
    names.iter().position(|name| name == wanted).ok_or_else(|| {
        let hint = nearest(wanted, names.iter())
            .map(|name| format!("; did you mean `{name}`?"))
            .unwrap_or_default();
        config(
            "split",
            &format!("there is no file or group `{wanted}`{hint}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(text: &str) -> Result<Vec<usize>> {
        let names = ["a.csv", "b.csv", "c.csv"].map(str::to_owned);
        let table: std::collections::BTreeMap<String, Selection> = toml::from_str(text).unwrap();
        table["chosen"].places(&names)
    }

    #[test]
    fn names_keep_their_order_and_ranges_end_before_their_end() {
        assert_eq!(places("chosen = [\"c.csv\", \"a.csv\"]").unwrap(), [2, 0]);
        assert_eq!(places("chosen = { from = 1, to = 3 }").unwrap(), [1, 2]);
    }

    #[test]
    fn what_is_not_there_is_named() {
        for (text, expected) in [
            ("chosen = [\"b.cvs\"]", "did you mean `b.csv`?"),
            ("chosen = { from = 0, to = 4 }", "does not lie within the 3"),
            ("chosen = { from = 2, to = 2 }", "range 2..2"),
        ] {
            let error = places(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}

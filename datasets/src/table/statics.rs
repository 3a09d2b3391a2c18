//! Features of whole series (age of a patient, type of a machine), kept in a table of their own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::frame::{Column, Frame};
use crate::readers::read_frame;

/// A table with one row a series, whose columns are joined to all steps of the series.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct StaticsConfig {
    /// The table.
    pub path: PathBuf,
    /// Its column with the series' names: the values of `group`, or file names without ending.
    pub key: String,
    /// Columns to join; all but the key unless set.
    #[serde(default)]
    pub columns: Vec<String>,
}

/// The table of static features, ready to be joined.
#[derive(Debug)]
pub(super) struct Statics {
    frame: Frame,
    columns: Vec<String>,
    rows: HashMap<String, usize>,
}

impl Statics {
    pub(super) fn read(config: &StaticsConfig, base_dir: &Path) -> Result<Self> {
        let frame = read_frame(&base_dir.join(&config.path), ',', None)?;
        let mut rows = HashMap::new();
        for (row, key) in frame.keys(&config.key)?.into_iter().enumerate() {
            if rows.insert(key.clone(), row).is_some() {
                let reason = format!(
                    "`{key}` has two rows in `{}`: keep one",
                    frame.path().display()
                );
                return Err(crate::config::config("statics", &reason));
            }
        }
        let is_wanted = |name: &&String| **name != config.key;
        let columns = if config.columns.is_empty() {
            frame.names().iter().filter(is_wanted).cloned().collect()
        } else {
            config.columns.clone()
        };
        Ok(Self {
            frame,
            columns,
            rows,
        })
    }

    /// Joins the columns to a table's rows, by the series that each row belongs to.
    pub(super) fn join(&self, frame: Frame, group: Option<&str>) -> Result<Frame> {
        let keys = match group {
            Some(group) => frame.keys(group)?,
            None => vec![super::stem(frame.path()); frame.rows()],
        };
        let places: Vec<usize> = keys
            .iter()
            .map(|key| {
                self.rows.get(key).copied().ok_or_else(|| Error::NoStatics {
                    path: self.frame.path().to_path_buf(),
                    series: key.clone(),
                })
            })
            .collect::<Result<_>>()?;
        let mut joined = frame;
        for name in &self.columns {
            let column: Column = self.frame.column(name)?.take(&places);
            joined.push(name, column)?;
        }
        Ok(joined)
    }
}

//! Where a configuration comes from, so that variants of it can be loaded.

use std::path::{Path, PathBuf};

use ncps_profiling::device::Machine;
use ncps_profiling::table::DeviceTable;

use crate::config::{Loaded, Override, RunConfig};
use crate::error::Result;

/// A configuration file, or the program's own configuration for this machine, with what lies over it.
#[derive(Debug, Clone)]
pub struct Source {
    path: PathBuf,
    /// The text, where there is no file.
    text: Option<String>,
    overrides: Vec<Override>,
}

impl Source {
    /// A file and what was given on the command line.
    #[must_use]
    pub fn file(path: &Path, overrides: Vec<Override>) -> Self {
        Self {
            path: path.to_owned(),
            text: None,
            overrides,
        }
    }

    /// The drug task of the device configurations, with the batch and the units that the device table has for this
    /// machine; needs no files.
    #[must_use]
    pub fn of_machine(machine: &Machine, overrides: Vec<Override>) -> Self {
        let row = DeviceTable::embedded().for_machine(machine).row;
        // As in the configurations per device: more than 64 units have more motor neurons.
        let motors: i64 = if row.backbone_units > 64 { 8 } else { 4 };
        let units = i64::from(row.backbone_units);
        let mut all = vec![
            Override::of_flag("name", row.device()),
            Override::of_flag("device", "auto"),
            Override::of_flag("train.batch_size", i64::from(row.batch)),
            Override::of_flag("model.units.units", units),
            Override::of_flag("model.units.outputs", motors),
        ];
        all.extend(overrides);
        Self {
            path: PathBuf::from("cpu.toml"),
            text: Some(include_str!("../../../configs/cpu.toml").to_owned()),
            overrides: all,
        }
    }

    /// The configuration with `more` over everything else.
    ///
    /// # Errors
    /// Those of [`RunConfig::load`].
    pub fn load(&self, more: &[Override]) -> Result<Loaded<RunConfig>> {
        let overrides = self.overrides.iter().chain(more).cloned().collect();
        match &self.text {
            Some(text) => RunConfig::load_text(&self.path, text.clone(), overrides),
            None => RunConfig::load(&self.path, overrides),
        }
    }

    /// The file, if it is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.text.is_none().then_some(&*self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machines_own_configuration_has_the_sizes_of_its_row() {
        let machine = ncps_profiling::device::detect();
        let row = DeviceTable::embedded().for_machine(&machine).row;
        let source = Source::of_machine(&machine, vec![]);
        let loaded = source.load(&[]).unwrap();
        assert_eq!(loaded.config.train.batch_size, row.batch as usize);
        assert_eq!(loaded.config.name(), row.device());
        let more = [Override::of_flag("train.batch_size", 7)];
        assert_eq!(source.load(&more).unwrap().config.train.batch_size, 7);
        assert_eq!(source.path(), None);
    }
}

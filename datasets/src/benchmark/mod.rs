//! Published benchmarks: each reads the original files and cuts and divides them as its paper's code does.

mod atari;
mod catalogue;
mod checksum;
mod cut;
mod gesture;
mod har;
mod imdb;
mod lidar;
mod mnist;
mod numpy;
mod ozone;
mod person;
mod physionet;
mod power;
mod text;
mod traffic;
mod walker;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use catalogue::{BenchmarkInfo, Download, Fact, benchmarks};
pub(crate) use checksum::sha256;

use crate::assemble::Assembly;
use crate::config::{TaskConfig, Windows};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::normalise::{NormaliseConfig, Scaling};
use crate::split::Parts;

const NAMES_OF_DIGITS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
const NAMES_OF_OPINIONS: [&str; 2] = ["negative", "positive"];

/// One of the published benchmarks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct BenchmarkConfig {
    /// Which one.
    pub name: BenchmarkName,
    /// Folder with its files; `data/<name>` unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Scaling instead of the benchmark's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub normalise: Option<NormaliseConfig>,
}

/// Names of the published benchmarks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum BenchmarkName {
    /// Gesture phases.
    Gesture,
    /// Human activity by smartphone.
    Har,
    /// Sequential MNIST.
    Smnist,
    /// Traffic on a motorway.
    Traffic,
    /// Power of a household.
    Power,
    /// Ozone days.
    Ozone,
    /// Person activity by tags.
    Person,
    /// PhysioNet 2012.
    Physionet,
    /// Walker2d kinematics.
    Walker,
    /// Event-based sequential MNIST.
    EventSmnist,
    /// Film reviews.
    Imdb,
    /// Lidar collision avoidance.
    Lidar,
    /// Atari behaviour cloning.
    Atari,
}

impl BenchmarkName {
    fn folder(self) -> &'static str {
        match self {
            Self::Gesture => "gesture",
            Self::Har => "har",
            Self::Smnist => "smnist",
            Self::Traffic => "traffic",
            Self::Power => "power",
            Self::Ozone => "ozone",
            Self::Person => "person",
            Self::Physionet => "physionet",
            Self::Walker => "walker",
            Self::EventSmnist => "event_smnist",
            Self::Imdb => "imdb",
            Self::Lidar => "lidar",
            Self::Atari => "atari",
        }
    }
}

impl BenchmarkConfig {
    pub(crate) fn load(&self, base_dir: &Path) -> Result<Dataset> {
        let folder = match &self.path {
            Some(path) => base_dir.join(path),
            None => base_dir.join("data").join(self.name.folder()),
        };
        let mut assembly = match self.name {
            BenchmarkName::Gesture => gesture::load(&folder),
            BenchmarkName::Har => har::load(&folder),
            BenchmarkName::Smnist => mnist::rows(&folder),
            BenchmarkName::Traffic => traffic::load(&folder),
            BenchmarkName::Power => power::load(&folder),
            BenchmarkName::Ozone => ozone::load(&folder),
            BenchmarkName::Person => person::load(&folder),
            BenchmarkName::Physionet => physionet::load(&folder),
            BenchmarkName::Walker => walker::load(&folder),
            BenchmarkName::EventSmnist => mnist::events(&folder),
            BenchmarkName::Imdb => imdb::load(&folder),
            BenchmarkName::Lidar => lidar::load(&folder),
            BenchmarkName::Atari => atari::load(&folder),
        }?;
        if let Some(normalise) = self.normalise {
            assembly.normalise = normalise;
        }
        assembly.files = vec![folder];
        assembly.build()
    }
}

/// A file of a benchmark, or the error that says where it belongs and how to get it.
fn file(folder: &Path, benchmark: &'static str, name: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::NoBenchmarkFile { benchmark, path })
}

/// The files of a folder with an ending, sorted; folders inside it are searched too.
fn files_below(folder: &Path, benchmark: &'static str, ending: &str) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            break;
        };
        for entry in entries {
            let path = entry.map_err(|source| Error::read(&folder, source))?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == ending) {
                files.push(path);
            }
        }
    }
    if files.is_empty() {
        return Err(Error::NoBenchmarkFile {
            benchmark,
            path: folder.join(format!("*.{ending}")),
        });
    }
    files.sort();
    Ok(files)
}

fn windows(steps: usize) -> Windows {
    Windows {
        length: Some(steps),
        ..Windows::default()
    }
}

/// Values at every step of windows that were chosen, scaled already.
fn regression(parts: Parts, steps: usize, features: &[&str], targets: &[&str]) -> Assembly {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Assembly {
        parts,
        features: owned(features),
        targets: owned(targets),
        task: TaskConfig::RegressionEachStep,
        windows: windows(steps),
        normalise: NormaliseConfig {
            features: Scaling::Standard,
            targets: Scaling::None,
        },
        ..Assembly::default()
    }
}

/// Classes at every step of windows that were chosen.
fn labels(
    parts: Parts,
    steps: usize,
    features: Vec<String>,
    target: &str,
    classes: &[&str],
) -> Assembly {
    Assembly {
        parts,
        features,
        targets: vec![target.to_owned()],
        task: TaskConfig::LabelEachStep,
        classes: classes.iter().map(|class| (*class).to_owned()).collect(),
        windows: windows(steps),
        normalise: NormaliseConfig::NONE,
        ..Assembly::default()
    }
}

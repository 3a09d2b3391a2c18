//! Reading a configuration: file, overrides, checks, defaults.

use std::path::Path;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use toml::Table;

use super::check::{self, Fault};
use super::diagnostic::{Diagnostic, Place};
use super::document::{Document, Part};
use super::layers::{Layers, Override, lookup};
use super::resolved;
use crate::error::{Error, Result};

/// The largest configuration file that is read; hand-written ones have a few kilobytes.
const MAX_BYTES: u64 = 4 << 20;

/// A checked configuration with what is needed to say where each value comes from.
#[derive(Clone, Debug)]
pub struct Loaded<C> {
    /// The configuration itself, defaults filled in.
    pub config: C,
    layers: Layers,
    resolved: Table,
}

impl<C: DeserializeOwned + Serialize + JsonSchema> Loaded<C> {
    /// Reads the file at `path` and lays `overrides` over it.
    ///
    /// # Errors
    /// [`Error::Read`] for a file that cannot be read, [`Error::Config`] for everything that is wrong inside it.
    pub fn from_file(path: &Path, overrides: Vec<Override>) -> Result<Self> {
        let text = read(path)?;
        Self::from_text(path, text, overrides)
    }

    /// The same for text that is already in memory; `path` is only used in messages.
    ///
    /// # Errors
    /// [`Error::Config`] for everything that is wrong inside the text.
    pub fn from_text(path: &Path, text: String, overrides: Vec<Override>) -> Result<Self> {
        let document = Document::parse(path, text).map_err(config_error)?;
        let layers = lay(document, overrides).map_err(config_error)?;
        let schema = schemars::schema_for!(C).to_value();
        let config = parse(&schema, &layers).map_err(config_error)?;
        let resolved = Table::try_from(&config).map_err(|source| Error::Unwritable { source })?;
        Ok(Self {
            config,
            layers,
            resolved,
        })
    }

    /// Gives `key` (dotted) a value that follows from others, unless the file or an override has set it.
    ///
    /// # Errors
    /// [`Error::Config`] if the value does not fit.
    pub fn derive(&mut self, key: &str, value: impl Into<toml::Value>) -> Result<()> {
        let item = Override::of_flag(key, value);
        if lookup(&self.layers.merged, &item.path).is_some() {
            return Ok(());
        }
        let mut layers = self.layers.clone();
        let refused = |message| Diagnostic {
            message,
            place: Place::Override(item.text.clone()),
            help: Vec::new(),
        };
        item.apply(&mut layers.merged)
            .map_err(|message| config_error(Box::new(refused(message))))?;
        layers.derived.push(item.clone());
        let schema = schemars::schema_for!(C).to_value();
        self.config = parse(&schema, &layers).map_err(config_error)?;
        self.resolved =
            Table::try_from(&self.config).map_err(|source| Error::Unwritable { source })?;
        self.layers = layers;
        Ok(())
    }

    /// Whether the file, an override or a derived value gives `key` (dotted).
    pub(crate) fn is_set(&self, key: &str) -> bool {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        lookup(&self.layers.merged, &path).is_some()
    }

    /// The file that it was read from.
    pub fn path(&self) -> &Path {
        &self.layers.document.path
    }

    /// The resolved configuration as TOML that reads back to the same value.
    pub fn to_toml(&self) -> String {
        resolved::write(&self.resolved, &|_| None)
    }

    /// The resolved configuration with `# default`, `# file:LINE` or `# --set` behind each value.
    pub fn to_toml_with_origins(&self) -> String {
        resolved::write(&self.resolved, &|path| Some(self.layers.origin(path)))
    }

    /// The resolved configuration as a table, for output as JSON.
    pub fn resolved(&self) -> &Table {
        &self.resolved
    }

    /// A configuration error at the value of `key` (dotted), wherever it was written.
    pub fn error_at(&self, key: &str, message: String, help: Vec<String>) -> Error {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        let place = place_of(&self.layers, &path, Part::Value);
        Error::Config {
            diagnostic: Box::new(Diagnostic {
                message,
                place,
                help,
            }),
        }
    }
}

fn config_error(diagnostic: Box<Diagnostic>) -> Error {
    Error::Config { diagnostic }
}

fn read(path: &Path) -> Result<String> {
    let wrap = |source| Error::Read {
        path: path.to_owned(),
        what: "configuration",
        source,
    };
    let length = std::fs::metadata(path).map_err(wrap)?.len();
    if length > MAX_BYTES {
        return Err(Error::ConfigTooLarge {
            path: path.to_owned(),
            bytes: length,
            limit: MAX_BYTES,
        });
    }
    std::fs::read_to_string(path).map_err(wrap)
}

fn lay(document: Document, overrides: Vec<Override>) -> Result<Layers, Box<Diagnostic>> {
    let mut merged = document.table.clone();
    for item in &overrides {
        item.apply(&mut merged).map_err(|message| {
            Box::new(Diagnostic {
                message,
                place: Place::Override(item.text.clone()),
                help: Vec::new(),
            })
        })?;
    }
    Ok(Layers {
        document,
        overrides,
        derived: Vec::new(),
        merged,
    })
}

fn parse<C: DeserializeOwned>(schema: &Json, layers: &Layers) -> Result<C, Box<Diagnostic>> {
    check::check(schema, &layers.merged).map_err(|fault| Box::new(locate(layers, fault)))?;
    // What a schema cannot say (limits that depend on each other) is found by the types themselves.
    layers
        .merged
        .clone()
        .try_into::<C>()
        .map_err(|error| Box::new(from_serde(layers, &error)))
}

fn locate(layers: &Layers, fault: Fault) -> Diagnostic {
    let place = place_of(layers, &fault.path, fault.part);
    Diagnostic {
        message: fault.message,
        place,
        help: fault.help,
    }
}

/// The place of the entry, or of the nearest table above it that was written somewhere.
fn place_of(layers: &Layers, path: &[String], part: Part) -> Place {
    for depth in (1..=path.len()).rev() {
        let part = if depth == path.len() { part } else { Part::Key };
        if let Some(item) = layers.override_of(&path[..depth]) {
            return Place::Override(item.text.clone());
        }
        if let Some(place) = layers.document.place(&path[..depth], part) {
            return place;
        }
    }
    let by_override = layers
        .overrides
        .iter()
        .rev()
        .find(|o| !path.is_empty() && o.path.starts_with(path));
    match by_override {
        Some(item) => Place::Override(item.text.clone()),
        None => Place::Whole(layers.document.path.clone()),
    }
}

/// Serde names the innermost table that it knows, as a last line "in `a.b`"; the value is searched below it.
fn from_serde(layers: &Layers, error: &toml::de::Error) -> Diagnostic {
    let shown = error.to_string();
    let path: Vec<String> = shown
        .lines()
        .find_map(|line| line.strip_prefix("in `")?.strip_suffix('`'))
        .map(|keys| keys.split('.').map(str::to_owned).collect())
        .unwrap_or_default();
    let message = error.message().to_owned();
    let path = lookup(&layers.merged, &path).map_or_else(Vec::new, |_| path);
    let message = format!("{message}, {}", check::table_name(&path));
    Diagnostic {
        message,
        place: place_of(layers, &path, Part::Key),
        help: Vec::new(),
    }
}

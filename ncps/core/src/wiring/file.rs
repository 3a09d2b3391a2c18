//! Reading a custom wiring's file.

use std::fs::File;
use std::io::{Error as IoError, ErrorKind, Read};
use std::path::Path;

use super::{CustomWiring, edge_list};
use crate::error::{Error, Result};

/// A format that a wiring can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Toml,
    EdgeList,
}

impl Format {
    /// The format that a file's extension names.
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "json" => Some(Self::Json),
            "toml" => Some(Self::Toml),
            "edges" | "txt" => Some(Self::EdgeList),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Json => "a wiring in JSON",
            Self::Toml => "a wiring in TOML",
            Self::EdgeList => "an edge list",
        }
    }

    /// The longest text that is read, in bytes. The TOML parser keeps a tree many times the size
    /// of its text; the others do not.
    fn byte_limit(self) -> u64 {
        match self {
            Self::Toml => 4 << 20,
            Self::Json | Self::EdgeList => 64 << 20,
        }
    }
}

/// Reads a description from a file, in the format that its extension names.
pub(super) fn read(path: &Path) -> Result<CustomWiring> {
    let origin = format!("file `{}`", path.display());
    let format = Format::of(path).ok_or_else(|| Error::WiringParse {
        origin: origin.clone(),
        format: "a wiring's file",
        problem: "its name must end in .json, .toml, .edges or .txt".to_owned(),
    })?;
    let text = read_limited(path, format.byte_limit()).map_err(|source| Error::WiringRead {
        path: path.to_path_buf(),
        source,
    })?;
    parse(&text, format, &origin)
}

/// Reads a regular file of at most `limit` bytes.
fn read_limited(path: &Path, limit: u64) -> std::io::Result<String> {
    // Looked at before it is opened: opening a named pipe would wait for a writer.
    if !std::fs::metadata(path)?.is_file() {
        return Err(IoError::new(
            ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let mut text = String::new();
    let read = File::open(path)?
        .take(limit + 1)
        .read_to_string(&mut text)? as u64;
    if read > limit {
        let problem = format!("it is larger than {limit} bytes, the most for its format");
        return Err(IoError::new(ErrorKind::FileTooLarge, problem));
    }
    Ok(text)
}

/// Reads a description from text; `origin` names the text in errors.
pub(super) fn parse(text: &str, format: Format, origin: &str) -> Result<CustomWiring> {
    let refuse = |problem: String| Error::WiringParse {
        origin: origin.to_owned(),
        format: format.name(),
        problem,
    };
    let config: CustomWiring = match format {
        Format::Json => serde_json::from_str(text).map_err(|error| refuse(error.to_string()))?,
        Format::Toml => toml::from_str(text).map_err(|error| refuse(error.to_string()))?,
        Format::EdgeList => return edge_list::parse(text, origin),
    };
    if config.file.is_some() {
        return Err(refuse(
            "it names another `file`; write the synapses in its place".to_owned(),
        ));
    }
    Ok(config)
}

//! Everything that reads bytes which others may have made, as functions of these bytes alone.
//!
//! A [`Target`] must end in a value or an error for any bytes: never in a panic, an abort or an endless loop.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ncps::checkpoint;
use ncps::config::{Loaded, Override, RunConfig};
use ncps::datasets::{DataConfig, parse, unpack};
use ncps::profiling::device::{Host, System, detect_on};
use ncps::profiling::profile::ProfileReport;
use ncps::profiling::runner::{CommandLine, CommandOutput, CommandRunner, LineStream, RunFailure};
use ncps::profiling::table::DeviceTable;
use ncps::run::load_description;
use ncps::{CustomWiring, Wiring};

/// What reads the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A configuration, and a value of `--set`.
    Config,
    /// A safetensors file.
    Tensors,
    /// `config.json`, a line `---`, and `model.safetensors`.
    Model,
    /// A wiring as JSON or as a list of edges.
    Wiring,
    /// A table: `c` and CSV, or `n` and npy.
    Data,
    /// A Parquet file.
    Parquet,
    /// An Arrow or Feather file.
    Arrow,
    /// A npz archive.
    Npz,
    /// An IDX array, gzipped or not.
    Idx,
    /// An archive of published data: `z` and zip, `t` and tar, `g` and gzipped tar; unpacked in a folder.
    Archive,
    /// The manifest of a checkpoint whose other files are sound.
    Manifest,
    /// What the system's tools and files say, a device table, a profile.
    Profiler,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Config,
        Self::Tensors,
        Self::Model,
        Self::Wiring,
        Self::Data,
        Self::Parquet,
        Self::Arrow,
        Self::Npz,
        Self::Idx,
        Self::Archive,
        Self::Manifest,
        Self::Profiler,
    ];

    /// The name of its fuzz target and of the folder of its corpus.
    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Tensors => "tensors",
            Self::Model => "model",
            Self::Wiring => "wiring",
            Self::Data => "data",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
            Self::Npz => "npz",
            Self::Idx => "idx",
            Self::Archive => "archive",
            Self::Manifest => "manifest",
            Self::Profiler => "profiler",
        }
    }

    /// Reads the bytes; `folder` is for those that come as files.
    ///
    /// # Errors
    /// Only where the folder cannot be written; whatever the bytes are refused for is not one.
    pub fn feed(self, bytes: &[u8], folder: &Path) -> std::io::Result<()> {
        match self {
            Self::Config => config(bytes),
            Self::Tensors => tensors(bytes, folder)?,
            Self::Model => model(bytes, folder)?,
            Self::Wiring => wiring(bytes, folder)?,
            Self::Data => data(bytes, folder)?,
            Self::Parquet => drop(parse::parquet(bytes)),
            Self::Arrow => drop(parse::arrow(bytes)),
            Self::Npz => drop(parse::npz(bytes)),
            Self::Idx => drop(parse::idx(bytes)),
            Self::Archive => archive(bytes, folder)?,
            Self::Manifest => manifest(bytes, folder)?,
            Self::Profiler => profiler(bytes),
        }
        Ok(())
    }
}

fn config(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let _ = Override::parse(text.lines().next().unwrap_or_default());
    if let Ok(loaded) = Loaded::<RunConfig>::from_text(Path::new("run.toml"), text, Vec::new()) {
        let _ = loaded.config.train.validate();
        let _ = loaded.config.data.validate();
        let _ = loaded.to_toml_with_origins();
    }
}

fn tensors(bytes: &[u8], folder: &Path) -> std::io::Result<()> {
    let path = folder.join("model.safetensors");
    fs::write(&path, bytes)?;
    let _ = checkpoint::read_tensors(&path);
    Ok(())
}

fn model(bytes: &[u8], folder: &Path) -> std::io::Result<()> {
    const LINE: &[u8] = b"\n---\n";
    let at = bytes.windows(LINE.len()).position(|part| part == LINE);
    let (description, weights) = match at {
        Some(at) => (&bytes[..at], &bytes[at + LINE.len()..]),
        None => (bytes, &[][..]),
    };
    fs::write(folder.join("config.json"), description)?;
    fs::write(folder.join("model.safetensors"), weights)?;
    if let Ok(description) = load_description(folder) {
        let _ = description.load_network(folder);
    }
    Ok(())
}

fn wiring(bytes: &[u8], folder: &Path) -> std::io::Result<()> {
    let text = String::from_utf8_lossy(bytes);
    let _ = Wiring::from_json(&text);
    for name in ["wiring.json", "wiring.csv"] {
        let path = folder.join(name);
        fs::write(&path, bytes)?;
        let custom = CustomWiring {
            file: Some(path),
            ..CustomWiring::default()
        };
        let _ = custom.build(2);
    }
    Ok(())
}

fn data(bytes: &[u8], folder: &Path) -> std::io::Result<()> {
    let (kind, content) = bytes.split_first().unwrap_or((&b'c', &[]));
    let name = if *kind == b'n' { "x.npy" } else { "x.csv" };
    fs::write(folder.join(name), content)?;
    let text = match name {
        "x.npy" => "kind = \"npy\"\npath = \"x.npy\"\nwindow = 4".to_owned(),
        _ => "kind = \"csv\"\npath = \"x.csv\"\nwindow = 4\ntargets = [\"a\"]".to_owned(),
    };
    if let Ok(config) = toml::from_str::<DataConfig>(&text) {
        let _ = config.load(folder);
    }
    Ok(())
}

/// More than any file of the corpus unpacks to.
const UNPACKED: u64 = 1 << 20;

/// Unpacks, and panics if anything was written outside of the folder for it.
fn archive(bytes: &[u8], folder: &Path) -> std::io::Result<()> {
    let (kind, content) = bytes.split_first().unwrap_or((&b'z', &[]));
    let name = match kind {
        b't' => "x.tar",
        b'g' => "x.tar.gz",
        _ => "x.zip",
    };
    let (outer, inner) = (folder.join("archive"), folder.join("archive/inside"));
    if outer.exists() {
        fs::remove_dir_all(&outer)?;
    }
    fs::create_dir_all(&inner)?;
    let path = outer.join(name);
    fs::write(&path, content)?;
    if let Ok(written) = unpack(&path, &inner, UNPACKED) {
        for file in written {
            let place = fs::canonicalize(&file)?;
            assert!(
                place.starts_with(fs::canonicalize(&inner)?),
                "{}",
                place.display()
            );
        }
    }
    let beside = fs::read_dir(&outer)?.count();
    assert_eq!(beside, 2, "a file was written outside of its folder");
    Ok(())
}

/// Verifies a checkpoint of one sound file.
fn manifest(bytes: &[u8], folder: &Path) -> std::io::Result<()> {
    let checkpoint = folder.join("checkpoints/step-00000001");
    fs::create_dir_all(&checkpoint)?;
    fs::write(checkpoint.join("state.json"), b"{}\n")?;
    fs::write(checkpoint.join("MANIFEST.json"), bytes)?;
    let _ = checkpoint::verify(&checkpoint);
    let _ = checkpoint::latest_valid(&folder.join("checkpoints"));
    Ok(())
}

fn profiler(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let _ = DeviceTable::parse(&text, Path::new("devices.toml"));
    let _ = ProfileReport::from_json(&text, Path::new("profile.json"));
    for system in [System::Linux, System::Macos] {
        let host = Host {
            system,
            root: "/".into(),
            runner: Says(text.clone()),
        };
        let _ = detect_on(&host);
    }
}

/// A machine whose every tool and file says the same.
struct Says(String);

impl CommandRunner for Says {
    fn run(&self, _: &CommandLine) -> Result<CommandOutput, RunFailure> {
        Ok(CommandOutput {
            status: Some(0),
            stdout: self.0.clone(),
            stderr: String::new(),
            wall: Duration::ZERO,
        })
    }

    fn lines(&self, command: &CommandLine) -> Result<Box<dyn LineStream>, RunFailure> {
        Err(RunFailure::Missing {
            program: command.program.clone(),
        })
    }

    fn read(&self, _: &Path, _: &str) -> Option<String> {
        Some(self.0.clone())
    }
}

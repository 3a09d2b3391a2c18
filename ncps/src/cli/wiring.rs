//! `ncps wiring`: a wiring as a table, a DOT graph, JSON or a picture.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Subcommand, ValueEnum};
use ncps::config::{Loaded, RunConfig};
use ncps::profiling::plot::Figure;
use ncps::run::{load_description, wiring_graph, write_file};
use ncps::wiring::{NeuronKind, Wiring, WiringConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::exit::UsageError;
use super::output::{Output, columns};

#[derive(Debug, Subcommand)]
pub(crate) enum WiringCommand {
    /// Print a wiring as a table, as a DOT graph or as JSON.
    #[command(
        after_help = "Examples:\n  ncps wiring print 'auto_ncp(32, 4)' --inputs 8\n  ncps wiring print runs/m3 --format dot | dot -Tpdf > m3.pdf"
    )]
    Print {
        #[command(flatten)]
        source: Source,
        /// How to print it.
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Draw a wiring to an SVG or PNG file.
    #[command(
        after_help = "Examples:\n  ncps wiring draw 'auto_ncp(16, 1)' --inputs 2 --out wiring.svg\n  ncps wiring draw runs/m3 --out wiring.png"
    )]
    Draw {
        #[command(flatten)]
        source: Source,
        /// The picture: a name that ends in .svg or .png.
        #[arg(short, long, value_name = "FILE")]
        out: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Source {
    /// A run directory, a configuration (.toml), a wiring (.json), a TOML table such as
    /// '{ kind = "random", units = 20, sparsity = 0.5 }', or short 'auto_ncp(UNITS, OUTPUTS)'.
    wiring: String,
    /// Number of input features; taken from the run or the data where there are any.
    #[arg(long, value_name = "N")]
    inputs: Option<usize>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    Table,
    Dot,
    Json,
}

/// A wiring and the names of its inputs.
struct Named {
    wiring: Wiring,
    title: String,
    features: Option<Vec<String>>,
}

pub(crate) fn run(command: &WiringCommand, output: &Output) -> Result<()> {
    match command {
        WiringCommand::Print { source, format } => {
            let named = find(source)?;
            match format {
                _ if output.json => output.print(named.wiring.to_json() + "\n")?,
                Format::Json => output.print(named.wiring.to_json() + "\n")?,
                Format::Dot => output.print(named.wiring.to_dot())?,
                Format::Table => output.print(table(&named))?,
            }
        }
        WiringCommand::Draw { source, out } => draw(&find(source)?, out, output)?,
    }
    Ok(())
}

fn draw(named: &Named, out: &Path, output: &Output) -> Result<()> {
    let graph = wiring_graph(
        &named.wiring,
        named.title.clone(),
        named.features.as_deref(),
    );
    let extension = out
        .extension()
        .map(|e| e.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let bytes = match extension.as_str() {
        "svg" => graph.svg()?.into_bytes(),
        "png" => graph.png()?,
        _ => {
            return Err(UsageError::new(format!(
                "--out: `{}` ends neither in .svg nor in .png",
                out.display()
            ))
            .into());
        }
    };
    write_file(out, &bytes)?;
    output.note(format!("wrote {}", out.display()));
    Ok(())
}

fn find(source: &Source) -> Result<Named> {
    let text = source.wiring.trim();
    let path = Path::new(text);
    if path.is_dir() {
        return of_run(path, source);
    }
    if path.is_file() && path.extension().is_some_and(|e| e == "json") {
        let json =
            std::fs::read_to_string(path).with_context(|| format!("cannot read `{text}`"))?;
        let wiring = Wiring::from_json(&json).map_err(ncps::Error::from)?;
        return Ok(Named {
            wiring,
            title: text.to_owned(),
            features: None,
        });
    }
    if path.is_file() || path.extension().is_some_and(|e| e == "toml") {
        return of_config(path, source);
    }
    let config = inline(text)?;
    let Some(inputs) = source.inputs else {
        return Err(UsageError::new("give the number of input features with --inputs").into());
    };
    named(&config, inputs, text.to_owned(), None)
}

fn named(
    config: &WiringConfig,
    inputs: usize,
    title: String,
    features: Option<Vec<String>>,
) -> Result<Named> {
    let wiring = config.build(inputs).map_err(ncps::Error::from)?;
    Ok(Named {
        wiring,
        title,
        features,
    })
}

fn of_run(path: &Path, source: &Source) -> Result<Named> {
    let description = load_description(path)?;
    let inputs = source.inputs.unwrap_or(description.inputs);
    let features = (inputs == description.inputs).then(|| description.data.features.clone());
    let wiring = description
        .model
        .wirings(inputs)
        .map_err(ncps::Error::from)?;
    wired(wiring, path, features)
}

fn of_config(path: &Path, source: &Source) -> Result<Named> {
    let config = RunConfig::load(path, Vec::new())?.config;
    let (inputs, features) = match source.inputs {
        Some(inputs) => (inputs, None),
        None => {
            let data = config.data.load(Path::new("")).map_err(ncps::Error::from);
            let data = data.context(
                "the number of inputs follows from the data; without them give --inputs",
            )?;
            (data.inputs(), Some(data.schema.features.clone()))
        }
    };
    let wiring = config.model.wirings(inputs).map_err(ncps::Error::from)?;
    wired(wiring, path, features)
}

/// The wiring of the first layer that has one.
fn wired(wirings: Vec<Wiring>, path: &Path, features: Option<Vec<String>>) -> Result<Named> {
    let title = path.display().to_string();
    match wirings.into_iter().next() {
        Some(wiring) => {
            let features = features.filter(|names| names.len() == wiring.inputs());
            Ok(Named {
                wiring,
                title,
                features,
            })
        }
        None => Err(UsageError::new(format!(
            "the model of `{title}` has no wiring: its neurons are all connected"
        ))
        .into()),
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Inline {
    wiring: WiringConfig,
}

/// `auto_ncp(32, 4)`, or a TOML table.
fn inline(text: &str) -> Result<WiringConfig> {
    let table = match text
        .strip_prefix("auto_ncp(")
        .and_then(|rest| rest.strip_suffix(')'))
    {
        Some(sizes) => {
            let sizes: Vec<&str> = sizes.split(',').map(str::trim).collect();
            let [units, outputs] = sizes[..] else {
                return Err(
                    UsageError::new(format!("`{text}`: write auto_ncp(UNITS, OUTPUTS)")).into(),
                );
            };
            format!("{{ kind = \"auto_ncp\", units = {units}, outputs = {outputs} }}")
        }
        None if text.starts_with('{') => text.to_owned(),
        None => {
            let message = format!(
                "`{text}` is neither a file or folder nor a wiring such as 'auto_ncp(32, 4)'"
            );
            return Err(UsageError::new(message).into());
        }
    };
    let loaded = Loaded::<Inline>::from_text(
        Path::new("argument"),
        format!("wiring = {table}\n"),
        Vec::new(),
    )?;
    Ok(loaded.config.wiring)
}

fn table(named: &Named) -> String {
    let wiring = &named.wiring;
    let count = |kind: NeuronKind| wiring.kinds().iter().filter(|k| **k == kind).count();
    let synapses = wiring.synapses().chain(wiring.sensory_synapses());
    let excitatory = synapses.filter(|s| s.polarity > 0).count();
    let total = wiring.synapse_count() + wiring.sensory_synapse_count();
    let mut text = String::new();
    let facts = [
        (
            "neurons",
            format!(
                "{} ({} inter, {} command, {} motor)",
                wiring.units(),
                count(NeuronKind::Inter),
                count(NeuronKind::Command),
                count(NeuronKind::Motor)
            ),
        ),
        ("inputs", wiring.inputs().to_string()),
        ("outputs", wiring.outputs().to_string()),
        (
            "synapses",
            format!(
                "{} between neurons, {} from inputs",
                wiring.synapse_count(),
                wiring.sensory_synapse_count()
            ),
        ),
        (
            "polarity",
            format!("{excitatory} excitatory, {} inhibitory", total - excitatory),
        ),
        ("sparsity", format!("{:.2}", wiring.sparsity())),
    ];
    let facts: Vec<Vec<String>> = facts
        .into_iter()
        .map(|(name, value)| vec![name.to_owned(), value])
        .collect();
    text.push_str(&columns(&facts));
    let _ = writeln!(text);
    let (ins, outs) = (wiring.in_degrees(), wiring.out_degrees());
    let mut rows = vec![
        ["neuron", "kind", "synapses in", "synapses out"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend((0..wiring.units()).map(|id| {
        vec![
            id.to_string(),
            format!("{:?}", wiring.kind(id)).to_lowercase(),
            ins[id].to_string(),
            outs[id].to_string(),
        ]
    }));
    text.push_str(&columns(&rows));
    text
}

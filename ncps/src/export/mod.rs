//! A trained network as a file that other programs run: no MLX, no Rust, no state between calls but what they are given.
//!
//! What is written takes observations in the data's own units and gives what [`crate::run::Predictor`] gives. It is read back and
//! run beside MLX before it counts as exported.

mod check;
mod coreml;
mod metadata;
mod onnx;
mod sequence;
mod step;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use ncps_core::export::{Element, Graph};
use ncps_models::{ModelConfig, Network};

use crate::error::{Error, Result};
use crate::run::{self, ModelDescription, load_description};

use coreml::Package;

pub use check::{Deviation, Values};
pub use onnx::{decode, encode};

/// Steps of the comparison with MLX.
const STEPS: usize = 32;

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For ONNX Runtime and others.
    Onnx,
    /// For Apple's devices; one step only.
    CoreMl,
}

/// What a file computes in one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One step, with the state as inputs and outputs: for control loops.
    Step,
    /// All steps of sequences of any length.
    Sequence,
}

impl Form {
    /// Its name in the names of files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Sequence => "sequence",
        }
    }
}

/// What to write.
#[derive(Clone, Debug)]
pub struct Options {
    /// The kind of file.
    pub format: Format,
    /// The forms, each in a file of its own; Core ML gets the step alone.
    pub forms: Vec<Form>,
    /// The type that the network computes in; what enters and leaves is f32 in any case.
    pub element: Element,
    /// Whether the inputs and results of the comparison are written too.
    pub values: bool,
}

/// A file that was written.
#[derive(Clone, Debug)]
pub struct Written {
    /// What it computes.
    pub form: Form,
    /// Where it is.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its operations and its inputs and outputs.
    pub graph: Graph,
}

/// What an export has given.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The files.
    pub files: Vec<Written>,
    /// The inputs and results of the comparison, where they were asked for.
    pub values: Option<PathBuf>,
    /// How far the step is from MLX.
    pub deviation: Deviation,
}

/// Writes the model in `folder` to files in `out`, after comparing them with MLX.
///
/// # Errors
/// [`Error::NotARun`], [`Error::ForeignModel`] or [`Error::Core`] for a folder without a sound model, [`Error::Models`] for a network
/// without a step, [`Error::NotExportable`] for one that half precision does not suit, [`Error::ExportDiffers`] if a file does not
/// compute what MLX does, [`Error::Write`] without permission or space.
pub fn export(folder: &Path, out: &Path, options: &Options) -> Result<Exported> {
    let mut description = load_description(folder)?;
    if options.format == Format::CoreMl && !options.forms.contains(&Form::Step) {
        return Err(Error::NotExportable {
            problem: "sequences for Core ML, which has no loop that keeps a state",
            remedy: "leave out --form, and carry the state from step to step",
        });
    }
    description.model = run::in_plain_operations(&description.model)?;
    let network = description.load_network(folder)?;
    let source = Source {
        description: &description,
        network: network.as_ref(),
        element: options.element,
    };
    source.check_precision()?;
    let origin = metadata::Origin::read(folder, &description)?;
    let step = source.write(Form::Step, &origin)?;
    let (deviation, values) = check::against_mlx(&source, &step.graph)?;
    let sequence = source.write(Form::Sequence, &origin)?;
    let values = check::sequence(&step.graph, &sequence.graph, values)?;
    let package = match options.format {
        Format::Onnx => None,
        Format::CoreMl => {
            let metadata = origin.metadata(&source, Form::Step, &step.graph);
            Some(Package::new(&step.graph, &metadata)?)
        }
    };
    std::fs::create_dir_all(out).map_err(|source| Error::Write {
        path: out.to_owned(),
        source,
    })?;
    let mut files = Vec::new();
    match package {
        Some(package) => {
            let path = out.join("model.mlpackage");
            package.write(&path)?;
            files.push(step.written(path, package.bytes()));
        }
        None => {
            let wanted = |file: &File| options.forms.contains(&file.form);
            for file in [step, sequence].into_iter().filter(wanted) {
                let path = out.join(format!("model.{}.onnx", file.form.name()));
                run::write_file(&path, &file.bytes)?;
                let bytes = file.bytes.len() as u64;
                files.push(file.written(path, bytes));
            }
        }
    }
    let path = out.join("model.values.json");
    if options.values {
        run::write_file(&path, values.to_json()?.as_bytes())?;
    }
    Ok(Exported {
        files,
        values: options.values.then_some(path),
        deviation,
    })
}

/// What is exported.
struct Source<'a> {
    description: &'a ModelDescription,
    network: &'a dyn Network,
    element: Element,
}

/// A file's content, and the graph that was read from it again.
struct File {
    form: Form,
    bytes: Vec<u8>,
    graph: Graph,
}

impl File {
    fn written(self, path: PathBuf, bytes: u64) -> Written {
        Written {
            form: self.form,
            path,
            bytes,
            graph: self.graph,
        }
    }
}

impl Source<'_> {
    fn write(&self, form: Form, origin: &metadata::Origin) -> Result<File> {
        let graph = match form {
            Form::Step => step::graph(self, &step::Place::ALONE)?,
            Form::Sequence => sequence::graph(self)?,
        };
        let metadata = origin.metadata(self, form, &graph);
        let bytes = encode(&graph, form.name(), &metadata);
        // What counts from here on is what a reader of the file sees.
        let graph = decode(&bytes)?;
        Ok(File { form, bytes, graph })
    }

    fn check_precision(&self) -> Result<()> {
        if self.element == Element::F16 && has_ltc(&self.description.model) {
            return Err(Error::NotExportable {
                problem: "an LTC in f16: its solver divides by short sub-steps, which eleven bits of a number do not bear",
                remedy: "leave out --dtype, or train a CfC",
            });
        }
        Ok(())
    }

    /// The largest difference from MLX that is let pass, in units of a state or of a target's scale.
    fn limit(&self) -> f64 {
        match self.element {
            Element::F32 => 1e-5,
            Element::F16 => 5e-3,
        }
    }
}

fn has_ltc(model: &ModelConfig) -> bool {
    use ncps_models::LayerConfig;
    match model {
        ModelConfig::Ltc(_) => true,
        ModelConfig::Stacked(stack) => {
            let mut layers = stack.layers.iter();
            layers.any(|layer| matches!(layer, LayerConfig::Ltc(_)))
        }
        ModelConfig::Cfc(_)
        | ModelConfig::Lstm(_)
        | ModelConfig::Gru(_)
        | ModelConfig::Bidirectional(_) => false,
    }
}

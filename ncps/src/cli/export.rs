//! `ncps export`: a trained model as a file for machines without this program.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use ncps::config::DeviceChoice;
use ncps::export::{self, Exported, Form, Options};
use ncps::graph::{Dim, Element, Port};
use ncps::run::device;
use serde_json::json;

use super::output::{Output, bytes, columns};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ncps export runs/m3\n  ncps export runs/m3 --form step --out robot/policy\n  ncps export runs/cheetah --dtype f16 --json\n  ncps export runs/m3 --format coreml"
)]
pub(crate) struct ExportArguments {
    /// The run directory, or another folder with model.safetensors and config.json.
    run: PathBuf,
    /// What kind of file.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// One step with the state carried by the caller, whole sequences, or a file of each.
    #[arg(long, value_enum, default_value_t)]
    form: FormChoice,
    /// What the network computes in; inputs and outputs stay f32.
    #[arg(long, value_enum, default_value_t)]
    dtype: Precision,
    /// The folder for the files; `export` in the run directory unless given.
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Also write model.values.json: inputs and results to test the files with where they go.
    #[arg(long)]
    values: bool,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// model.step.onnx and model.sequence.onnx, operator set 17.
    #[default]
    Onnx,
    /// model.mlpackage, one step, for macOS 13, iOS 16 or newer (not yet tried there).
    Coreml,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum FormChoice {
    Step,
    Sequence,
    #[default]
    Both,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Precision {
    #[default]
    F32,
    F16,
}

pub(crate) fn run(arguments: &ExportArguments, output: &Output) -> Result<()> {
    // The measure is the processor's f32, whatever the machine has.
    let choice = DeviceChoice::from("cpu".to_owned());
    let machine = ncps::profiling::device::detect();
    device::apply(&device::choose(&choice, false, &machine)?);
    let folder = arguments.out.clone();
    let folder = folder.unwrap_or_else(|| arguments.run.join("export"));
    let options = Options {
        format: match arguments.format {
            Format::Onnx => export::Format::Onnx,
            Format::Coreml => export::Format::CoreMl,
        },
        forms: match arguments.form {
            FormChoice::Step => vec![Form::Step],
            FormChoice::Sequence => vec![Form::Sequence],
            FormChoice::Both => vec![Form::Step, Form::Sequence],
        },
        element: match arguments.dtype {
            Precision::F32 => Element::F32,
            Precision::F16 => Element::F16,
        },
        values: arguments.values,
    };
    let exported = export::export(&arguments.run, &folder, &options)?;
    if let (export::Format::CoreMl, Element::F32) = (options.format, options.element) {
        output.note("the Neural Engine computes in f16; what is in f32 runs on the processor or the GPU (`--dtype f16` suits all but LTC)");
    }
    if output.json {
        return Ok(output.json_line(&as_json(&exported))?);
    }
    let deviation = &exported.deviation;
    let mut rows = vec![vec!["file".to_owned(), "size".into(), "operations".into()]];
    for file in &exported.files {
        let count = file.graph.nodes.len().to_string();
        rows.push(vec![
            file.path.display().to_string(),
            bytes(file.bytes),
            count,
        ]);
    }
    output.print(columns(&rows))?;
    for file in &exported.files {
        let ports = [
            ("takes", &file.graph.inputs),
            ("gives", &file.graph.outputs),
        ];
        for (verb, ports) in ports {
            let ports: Vec<String> = ports.iter().map(shown).collect();
            output.line(format!("{} {verb} {}", file.form.name(), ports.join(", ")))?;
        }
    }
    output.line(format!(
        "largest difference from MLX over {} steps: {:.1e} (`{}`; {:.0e} would be let pass)",
        deviation.steps, deviation.largest, deviation.output, deviation.limit
    ))?;
    Ok(())
}

fn shown(port: &Port) -> String {
    let sizes: Vec<String> = port.shape.iter().map(size).collect();
    format!("{} [{}]", port.name, sizes.join(", "))
}

fn size(dim: &Dim) -> String {
    match dim {
        Dim::Size(size) => size.to_string(),
        Dim::Name(name) => name.clone(),
    }
}

fn as_json(exported: &Exported) -> serde_json::Value {
    let ports = |ports: &[Port]| -> Vec<serde_json::Value> {
        let of = |port: &Port| {
            let shape: Vec<String> = port.shape.iter().map(size).collect();
            json!({ "name": port.name, "shape": shape, "meaning": port.meaning })
        };
        ports.iter().map(of).collect()
    };
    let files = exported.files.iter().map(|file| {
        json!({
            "form": file.form.name(),
            "path": file.path,
            "bytes": file.bytes,
            "operations": file.graph.nodes.len(),
            "inputs": ports(&file.graph.inputs),
            "outputs": ports(&file.graph.outputs),
        })
    });
    let deviation = &exported.deviation;
    json!({
        "files": files.collect::<Vec<_>>(),
        "values": exported.values,
        "steps": deviation.steps,
        "difference": deviation.largest,
        "limit": deviation.limit,
    })
}

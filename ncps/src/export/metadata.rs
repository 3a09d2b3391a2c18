//! What a file says about itself.

use std::path::Path;

use ncps_core::checkpoint::sha256;
use ncps_core::export::{Element, Graph, Port};
use ncps_datasets::Task;
use serde_json::{Map, Value, json};

use super::{Form, Source, step};
use crate::error::{Error, Result};
use crate::run::ModelDescription;

/// Where the model comes from.
pub(super) struct Origin {
    weights: String,
    config: String,
    parameters: usize,
}

impl Origin {
    pub(super) fn read(folder: &Path, description: &ModelDescription) -> Result<Self> {
        let digest = |name: &str, what| {
            let path = folder.join(name);
            let bytes = std::fs::read(&path);
            bytes
                .map(|bytes| sha256(&bytes))
                .map_err(|source| Error::Read { path, what, source })
        };
        let network = description
            .model
            .build(description.inputs, description.outputs, 0)?;
        Ok(Self {
            weights: digest("model.safetensors", "weights")?,
            config: digest("config.json", "model description")?,
            parameters: network.summary().parameters,
        })
    }

    /// Keys and values, sorted by key.
    pub(super) fn metadata(
        &self,
        source: &Source<'_>,
        form: Form,
        graph: &Graph,
    ) -> Vec<(String, String)> {
        let data = &source.description.data;
        let dtype = match source.element {
            Element::F32 => "f32",
            Element::F16 => "f16",
        };
        let names = match &data.task {
            Task::Regression => &data.targets,
            Task::Classification { classes } => classes,
        };
        let mut all = vec![
            ("config_sha256", self.config.clone()),
            ("dtype", dtype.to_owned()),
            ("features", json!(data.features).to_string()),
            ("form", form.name().to_owned()),
            ("inputs", meanings(&graph.inputs)),
            ("kind", source.description.model.kind().to_owned()),
            ("outputs", meanings(&graph.outputs)),
            ("parameters", self.parameters.to_string()),
            ("program", "ncps".to_owned()),
            ("results", json!(names).to_string()),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("weights_sha256", self.weights.clone()),
        ];
        let time = data.time.as_ref();
        all.extend(time.map(|time| ("time_unit", step::unit(time.unit).to_owned())));
        if !data.normaliser.fill.is_empty() {
            all.push(("fill", json!(data.normaliser.fill).to_string()));
        }
        all.sort_unstable();
        all.into_iter()
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }
}

fn meanings(ports: &[Port]) -> String {
    let of = |port: &Port| (port.name.clone(), Value::from(port.meaning.as_str()));
    Value::Object(ports.iter().map(of).collect::<Map<_, _>>()).to_string()
}

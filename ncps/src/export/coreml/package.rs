//! The folder that Core ML takes for a model.

use std::path::Path;

use ncps_core::checkpoint::atomic::{Durability, write_directory};
use ncps_core::checkpoint::sha256;
use ncps_core::export::{Graph, Port};
use prost::Message;
use serde_json::json;

use super::program::{program, sizes};
use super::proto::{ARRAY_F32, ArrayType, Description, Feature, FeatureType, Metadata, Model};
use crate::error::Result;

/// macOS 13, iOS 16.
const SPECIFICATION: i32 = 7;
const AUTHOR: &str = "com.apple.CoreML";

/// A package in memory: names below the folder, and contents.
pub(in crate::export) struct Package {
    files: Vec<(&'static str, Vec<u8>)>,
}

impl Package {
    /// The package of a step; equal arguments give equal bytes.
    ///
    /// # Errors
    /// Those of [`program`].
    pub(in crate::export) fn new(graph: &Graph, metadata: &[(String, String)]) -> Result<Self> {
        let (program, weights) = program(graph)?;
        let features = |ports: &[Port]| ports.iter().map(feature).collect();
        let model = Model {
            version: SPECIFICATION,
            description: Some(Description {
                input: features(&graph.inputs),
                output: features(&graph.outputs),
                metadata: Some(Metadata {
                    description: "one step of a network trained by ncps; the state goes in and out"
                        .to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    user: metadata.iter().cloned().collect(),
                }),
            }),
            program: Some(program),
        };
        let model = model.encode_to_vec();
        let manifest = manifest(&model, &weights);
        Ok(Self {
            files: vec![
                ("Manifest.json", manifest.into_bytes()),
                ("Data/com.apple.CoreML/model.mlmodel", model),
                ("Data/com.apple.CoreML/weights/weight.bin", weights),
            ],
        })
    }

    pub(in crate::export) fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes.len() as u64).sum()
    }

    /// Writes the folder, which appears whole, in place of one that is there.
    ///
    /// # Errors
    /// [`crate::Error::Core`] without permission or space; what was there before is then still there.
    pub(in crate::export) fn write(&self, path: &Path) -> Result<()> {
        Ok(write_directory(path, &self.files, Durability::Machine)?)
    }
}

fn feature(port: &Port) -> Feature {
    Feature {
        name: port.name.clone(),
        description: port.meaning.clone(),
        kind: Some(FeatureType {
            array: Some(ArrayType {
                shape: sizes(port).into_iter().map(|size| size as i64).collect(),
                element: ARRAY_F32,
            }),
        }),
    }
}

fn manifest(model: &[u8], weights: &[u8]) -> String {
    let item = |name: &str, description: &str| {
        let path = format!("{AUTHOR}/{name}");
        json!({ "author": AUTHOR, "description": description, "name": name, "path": path })
    };
    let (model, weights) = (identifier(model), identifier(weights));
    let manifest = json!({
        "fileFormatVersion": "1.0.0",
        "itemInfoEntries": {
            &model: item("model.mlmodel", "CoreML Model Specification"),
            &weights: item("weights", "CoreML Model Weights"),
        },
        "rootModelIdentifier": &model,
    });
    format!("{manifest:#}\n")
}

/// An identifier that depends on the content only, in the form of a UUID.
fn identifier(bytes: &[u8]) -> String {
    let digest = sha256(bytes).to_uppercase();
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    parts.map(|range| digest[range].to_owned()).join("-")
}

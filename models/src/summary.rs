//! What a network consists of, for people.

use std::fmt;

use mlx_rs::module::ModuleParameters;
use mlx_rs::nn::Linear;
use ncps_core::rnn::SequenceLayer;
use serde::Serialize;

/// One part of a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerSummary {
    /// Name of the part, as in the parameters' names.
    pub name: String,
    /// What it is, for example `cfc`.
    pub kind: String,
    /// Number of input features.
    pub inputs: usize,
    /// Number of neurons of a recurrent layer.
    pub units: Option<usize>,
    /// Number of outputs.
    pub outputs: usize,
    /// Number of trained numbers.
    pub parameters: usize,
}

/// What a network consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Kind of the network, as in its configuration.
    pub kind: String,
    /// Its parts, in the order in which data passes them.
    pub layers: Vec<LayerSummary>,
    /// Number of trained numbers of all parts.
    pub parameters: usize,
}

impl Summary {
    pub(crate) fn new(kind: &str, layers: Vec<LayerSummary>) -> Self {
        Self {
            kind: kind.to_owned(),
            parameters: layers.iter().map(|layer| layer.parameters).sum(),
            layers,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<12} {:<8} {:>8} {:>8} {:>8} {:>12}",
            "part", "kind", "inputs", "units", "outputs", "parameters"
        )?;
        for layer in &self.layers {
            let units = layer
                .units
                .map_or("-".to_owned(), |units| units.to_string());
            writeln!(
                f,
                "{:<12} {:<8} {:>8} {:>8} {:>8} {:>12}",
                layer.name, layer.kind, layer.inputs, units, layer.outputs, layer.parameters
            )?;
        }
        write!(f, "{:<47} {:>13}", self.kind, self.parameters)
    }
}

/// The numbers that training changes in a module.
pub(crate) fn trained_numbers(module: &dyn ModuleParameters) -> usize {
    let parameters = module.trainable_parameters().flatten();
    parameters.values().map(|array| array.size()).sum()
}

pub(crate) fn of_layer(name: &str, kind: &str, layer: &dyn SequenceLayer) -> LayerSummary {
    LayerSummary {
        name: name.to_owned(),
        kind: kind.to_owned(),
        inputs: layer.inputs(),
        units: Some(layer.state_units()),
        outputs: layer.outputs(),
        parameters: layer
            .trainable_parameters()
            .flatten()
            .values()
            .map(|array| array.size())
            .sum(),
    }
}

pub(crate) fn of_head(head: Option<&Linear>) -> Option<LayerSummary> {
    let head = head?;
    let size = |axis| usize::try_from(head.weight.dim(axis)).unwrap_or(0);
    Some(LayerSummary {
        name: "head".to_owned(),
        kind: "linear".to_owned(),
        inputs: size(1),
        units: None,
        outputs: size(0),
        parameters: trained_numbers(head),
    })
}

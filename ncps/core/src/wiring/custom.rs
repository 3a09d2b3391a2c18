//! A graph of your own, from code, a configuration or a file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::draft::{Draft, argument_error, check_sizes};
use super::{Synapse, Wiring, edge_list, file};
use crate::error::{Error, Result};

/// A wiring given synapse by synapse, with any number of layers.
///
/// The synapses among neurons are `edges` or an `adjacency` matrix, those from sensory neurons
/// `sensory_edges` or a `sensory_adjacency` matrix; or `file` names a file that holds all of it.
///
/// # Files
/// `.toml` and `.json`: the other keys of this structure. `.edges` and `.txt`: lines of
/// `source target polarity`, a sensory source being written `s0`, `s1`, ..., with the sizes and
/// layers in lines of their own; `#` starts a comment:
///
/// ```text
/// units 3
/// inputs 2
/// outputs 1
/// layer 1 2
/// layer 0
/// s0 1 +1
/// s1 2 -1
/// 1 0 +1
/// 2 0 +1
/// ```
///
/// # Example
/// ```
/// use ncps_core::wiring::CustomWiring;
///
/// let wiring = CustomWiring::from_edges(3, 1, [(1, 0, 1), (2, 0, -1)], [(0, 1, 1), (1, 2, 1)])
///     .with_layers(vec![vec![1, 2], vec![0]])
///     .build(2)?;
/// assert_eq!(wiring.adjacency(), [0, 0, 0, 1, 0, 0, -1, 0, 0]);
/// # Ok::<(), ncps_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct CustomWiring {
    /// File that describes the wiring; no other key may then be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// Number of neurons, 1 to 8192; the number of rows of `adjacency` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<usize>,
    /// Number of sensory neurons; when absent, the number of rows of `sensory_adjacency` or, with
    /// `sensory_edges`, whatever the data has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<usize>,
    /// Number of motor neurons, 1 to `units`; they are the neurons `0..outputs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<usize>,
    /// Neuron ids of each layer from input to output: a partition whose last layer starts with
    /// the motor neurons in order. One layer with ids in order when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<Vec<usize>>>,
    /// Polarities [U, U] (row = source) of -1, 0 and 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adjacency: Option<Vec<Vec<i32>>>,
    /// Polarities [F, U] (row = sensory source) of -1, 0 and 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensory_adjacency: Option<Vec<Vec<i32>>>,
    /// Synapses among neurons, each `[source, target, polarity]` with polarity -1 or 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edges: Option<Vec<Synapse>>,
    /// Synapses from sensory neurons, each `[source, target, polarity]` with polarity -1 or 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensory_edges: Option<Vec<Synapse>>,
}

impl CustomWiring {
    /// A wiring of one layer from lists of `(source, target, polarity)`.
    pub fn from_edges<E: Into<Synapse>, S: Into<Synapse>>(
        units: usize,
        outputs: usize,
        edges: impl IntoIterator<Item = E>,
        sensory_edges: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            units: Some(units),
            outputs: Some(outputs),
            edges: Some(edges.into_iter().map(Into::into).collect()),
            sensory_edges: Some(sensory_edges.into_iter().map(Into::into).collect()),
            ..Self::default()
        }
    }

    /// A wiring of one layer from the rows of its two matrices, `[U, U]` and `[F, U]`.
    pub fn from_adjacency(
        outputs: usize,
        adjacency: Vec<Vec<i32>>,
        sensory_adjacency: Vec<Vec<i32>>,
    ) -> Self {
        Self {
            outputs: Some(outputs),
            adjacency: Some(adjacency),
            sensory_adjacency: Some(sensory_adjacency),
            ..Self::default()
        }
    }

    /// A wiring whose description is read from a file when it is built.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self {
            file: Some(path.into()),
            ..Self::default()
        }
    }

    /// Reads a description in JSON, such as [`Wiring::to_json`] writes.
    ///
    /// # Errors
    /// [`Error::WiringParse`] for text that is not JSON of this structure's keys.
    pub fn from_json(text: &str) -> Result<Self> {
        file::parse(text, file::Format::Json, "text")
    }

    /// Reads a description in TOML.
    ///
    /// # Errors
    /// [`Error::WiringParse`] for text that is not TOML of this structure's keys.
    pub fn from_toml(text: &str) -> Result<Self> {
        file::parse(text, file::Format::Toml, "text")
    }

    /// Reads an edge list, such as [`Wiring::to_edge_list`] writes.
    ///
    /// # Errors
    /// [`Error::WiringParse`] with the number of the first line that is not of this format.
    pub fn from_edge_list(text: &str) -> Result<Self> {
        edge_list::parse(text, "text")
    }

    /// The same wiring with its neurons in these layers, from input to output.
    pub fn with_layers(mut self, layers: Vec<Vec<usize>>) -> Self {
        self.layers = Some(layers);
        self
    }

    /// Reads the description's file, taken from `base_dir` if its path is relative; a description
    /// without a file comes back as it is.
    ///
    /// # Errors
    /// [`Error::WiringRead`] for a file that cannot be read or is too large,
    /// [`Error::WiringParse`] for one with other contents, [`Error::WiringArgument`] when other
    /// keys stand beside `file`.
    pub fn inlined(&self, base_dir: &Path) -> Result<Self> {
        let Some(path) = &self.file else {
            return Ok(self.clone());
        };
        let alone = Self::from_file(path);
        if *self != alone {
            let limits = "no other key beside it; move the other keys into the file";
            return Err(argument_error("file", path.display(), limits));
        }
        file::read(&base_dir.join(path))
    }

    /// The number of neurons.
    ///
    /// # Errors
    /// As [`CustomWiring::inlined`], and [`Error::WiringArgument`] when the description has no
    /// size.
    pub fn units(&self) -> Result<usize> {
        if self.file.is_some() {
            return self.inlined(Path::new(""))?.units();
        }
        let rows = self.adjacency.as_ref().map(Vec::len);
        let limits = "the number of neurons, which `edges` do not tell";
        self.units
            .or(rows)
            .ok_or_else(|| argument_error("units", "absent", limits))
    }

    /// The number of motor neurons.
    ///
    /// # Errors
    /// As [`CustomWiring::units`].
    pub fn outputs(&self) -> Result<usize> {
        if self.file.is_some() {
            return self.inlined(Path::new(""))?.outputs();
        }
        let limits = "the number of motor neurons, at least 1";
        self.outputs
            .ok_or_else(|| argument_error("outputs", "absent", limits))
    }

    /// Builds the graph for a number of input features.
    ///
    /// A relative `file` is taken from the current directory; see [`CustomWiring::inlined`].
    ///
    /// # Errors
    /// As [`CustomWiring::units`]; [`Error::WiringInputs`] for another input count than described,
    /// [`Error::WiringShape`] for a matrix of the wrong size, [`Error::WiringPolarity`],
    /// [`Error::WiringRange`] and [`Error::WiringDuplicate`] for a wrong synapse,
    /// [`Error::WiringLayers`] for layers that are no partition, and
    /// [`Error::WiringUnreachable`] for a motor neuron without a path from the input.
    pub fn build(&self, inputs: usize) -> Result<Wiring> {
        if self.file.is_some() {
            return self.inlined(Path::new(""))?.build(inputs);
        }
        let (units, outputs) = (self.units()?, self.outputs()?);
        self.check_inputs(inputs)?;
        check_sizes(units, inputs, outputs)?;
        check_one_of("edges", self.edges.is_some(), self.adjacency.is_some())?;
        let sensory = (
            self.sensory_edges.is_some(),
            self.sensory_adjacency.is_some(),
        );
        check_one_of("sensory_edges", sensory.0, sensory.1)?;
        let layers = self
            .layers
            .clone()
            .unwrap_or_else(|| vec![(0..units).collect()]);
        check_layers(&layers, units, outputs)?;
        let [inner, outer] = self.synapse_lists(units, inputs);
        inner.check()?;
        outer.check()?;
        // Only now: a short file must not make us allocate what its numbers alone ask for.
        let mut draft = Draft::new(inputs, outputs, layers);
        inner.each(|synapse| draft.connect(synapse.source, synapse.target, synapse.polarity))?;
        outer.each(|synapse| {
            draft.connect_sensory(synapse.source, synapse.target, synapse.polarity)
        })?;
        draft.finish("add the missing synapses to `edges` or `sensory_edges`, or to the matrices")
    }

    /// The number of sensory neurons that the description fixes, if it does.
    pub(super) fn described_inputs(&self) -> Option<usize> {
        self.inputs
            .or(self.sensory_adjacency.as_ref().map(Vec::len))
    }

    fn check_inputs(&self, found: usize) -> Result<()> {
        match self.described_inputs() {
            Some(expected) if expected != found => Err(Error::WiringInputs { expected, found }),
            _ => Ok(()),
        }
    }

    fn synapse_lists(&self, units: usize, inputs: usize) -> [SynapseList<'_>; 2] {
        let inner = SynapseList {
            names: ("edges", "adjacency"),
            sources: units,
            units,
            edges: self.edges.as_deref().unwrap_or_default(),
            rows: self.adjacency.as_deref(),
        };
        let outer = SynapseList {
            names: ("sensory_edges", "sensory_adjacency"),
            sources: inputs,
            units,
            edges: self.sensory_edges.as_deref().unwrap_or_default(),
            rows: self.sensory_adjacency.as_deref(),
        };
        [inner, outer]
    }
}

impl From<&Wiring> for CustomWiring {
    /// Describes a finished wiring, so that its synapses can be edited and built again.
    fn from(wiring: &Wiring) -> Self {
        let mut config = Self::from_edges(
            wiring.units(),
            wiring.outputs(),
            wiring.synapses(),
            wiring.sensory_synapses(),
        );
        config.inputs = Some(wiring.inputs());
        config.with_layers(wiring.layers().to_vec())
    }
}

/// The synapses of one kind, as a list or as the rows of a matrix.
struct SynapseList<'a> {
    names: (&'static str, &'static str),
    sources: usize,
    units: usize,
    edges: &'a [Synapse],
    rows: Option<&'a [Vec<i32>]>,
}

impl SynapseList<'_> {
    fn check(&self) -> Result<()> {
        self.edges
            .iter()
            .try_for_each(|synapse| self.check_edge(*synapse))?;
        self.rows.map_or(Ok(()), |rows| self.check_rows(rows))
    }

    fn check_edge(&self, synapse: Synapse) -> Result<()> {
        let Synapse { source, target, .. } = synapse;
        let list = self.names.0;
        for (end, id, limit) in [
            ("source", source, self.sources),
            ("target", target, self.units),
        ] {
            if id >= limit {
                return Err(Error::WiringRange {
                    list,
                    source_id: source,
                    target,
                    end,
                    limit,
                });
            }
        }
        check_polarity(list, synapse, &[-1, 1], "-1 or 1")
    }

    fn check_rows(&self, rows: &[Vec<i32>]) -> Result<()> {
        let (matrix, units) = (self.names.1, self.units);
        if rows.len() != self.sources {
            let problem = format!(
                "has {} rows, expected {}, one for each source",
                rows.len(),
                self.sources
            );
            return Err(Error::WiringShape { matrix, problem });
        }
        for (source, row) in rows.iter().enumerate() {
            if row.len() != units {
                let problem = format!(
                    "has {} entries in row {source}, expected {units}, one for each neuron",
                    row.len()
                );
                return Err(Error::WiringShape { matrix, problem });
            }
            for (target, &polarity) in row.iter().enumerate() {
                let synapse = Synapse {
                    source,
                    target,
                    polarity,
                };
                check_polarity(matrix, synapse, &[-1, 0, 1], "-1, 0 or 1")?;
            }
        }
        Ok(())
    }

    /// Hands on every synapse; the list must not hold the same one twice.
    fn each(&self, mut connect: impl FnMut(Synapse)) -> Result<()> {
        let mut sorted: Vec<_> = self
            .edges
            .iter()
            .map(|edge| (edge.source, edge.target))
            .collect();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            let (source_id, target) = pair[0];
            return Err(Error::WiringDuplicate {
                list: self.names.0,
                source_id,
                target,
            });
        }
        self.edges.iter().for_each(|edge| connect(*edge));
        for (source, row) in self.rows.unwrap_or_default().iter().enumerate() {
            for (target, &polarity) in row.iter().enumerate() {
                connect(Synapse {
                    source,
                    target,
                    polarity,
                });
            }
        }
        Ok(())
    }
}

fn check_polarity(
    list: &'static str,
    synapse: Synapse,
    allowed: &[i32],
    expected: &'static str,
) -> Result<()> {
    let Synapse {
        source,
        target,
        polarity,
    } = synapse;
    if allowed.contains(&polarity) {
        return Ok(());
    }
    Err(Error::WiringPolarity {
        list,
        source_id: source,
        target,
        found: polarity,
        expected,
    })
}

fn check_one_of(argument: &'static str, edges: bool, matrix: bool) -> Result<()> {
    let found = match (edges, matrix) {
        (true, true) => "given beside the matrix",
        (false, false) => "absent, and so is the matrix",
        _ => return Ok(()),
    };
    let matrix = argument.replace("edges", "adjacency");
    Err(argument_error(
        argument,
        found,
        format!("either `{argument}` or `{matrix}`"),
    ))
}

/// Checks that the layers are a partition of `0..units` that ends with the motor neurons.
fn check_layers(layers: &[Vec<usize>], units: usize, outputs: usize) -> Result<()> {
    let refuse = |problem: String| Err(Error::WiringLayers { problem });
    let total: usize = layers.iter().map(Vec::len).sum();
    if total != units {
        return refuse(format!(
            "hold {total} neurons, expected each of the {units} once"
        ));
    }
    if let Some(empty) = layers.iter().position(Vec::is_empty) {
        return refuse(format!("have no neuron in layer {empty}; leave it out"));
    }
    let mut seen = vec![false; units];
    for &id in layers.iter().flatten() {
        match seen.get_mut(id) {
            None => return refuse(format!("name neuron {id}, expected ids below {units}")),
            Some(true) => return refuse(format!("name neuron {id} twice, expected once")),
            Some(seen) => *seen = true,
        }
    }
    let last = layers.last().map_or(&[][..], Vec::as_slice);
    if !last.iter().copied().take(outputs).eq(0..outputs) {
        return refuse(format!(
            "must end with a layer that starts with the motor neurons 0 to {} in order",
            outputs - 1
        ));
    }
    Ok(())
}

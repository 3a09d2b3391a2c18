//! The one error type of this crate.

use std::path::PathBuf;

/// What the functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in this crate, each with what was expected and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument of a wiring lies outside its limits.
    #[error("wiring: `{argument}` is {found}, expected {expected}")]
    WiringArgument {
        /// Name of the argument, as in the configuration.
        argument: &'static str,
        /// The value that was given.
        found: String,
        /// The limits, and what they come from.
        expected: String,
    },
    /// A graph cannot be run as it is.
    #[error("graph: {node}: {problem}; export the model again")]
    Graph {
        /// The operation and its output, or the port.
        node: String,
        /// What is wrong and what was expected.
        problem: String,
    },
    /// A custom wiring was described for another number of input features than the data has.
    #[error(
        "wiring: `inputs` is {found}, but the wiring's file or matrices describe {expected} sensory \
         neurons; give it data with {expected} features or describe {found} sensory neurons"
    )]
    WiringInputs {
        /// Sensory neurons that the description has.
        expected: usize,
        /// Input features that were asked for.
        found: usize,
    },
    /// A matrix of a custom wiring has the wrong size.
    #[error("wiring: `{matrix}` {problem}")]
    WiringShape {
        /// `adjacency` or `sensory_adjacency`.
        matrix: &'static str,
        /// What is wrong, what was expected and where.
        problem: String,
    },
    /// A synapse of a custom wiring has a polarity other than those that exist.
    #[error(
        "wiring: polarity {found} of the synapse {source_id} -> {target} in `{list}`, expected {expected}"
    )]
    WiringPolarity {
        /// The matrix or list that holds the synapse.
        list: &'static str,
        /// Where the synapse starts.
        source_id: usize,
        /// Where the synapse ends.
        target: usize,
        /// The polarity that was given.
        found: i32,
        /// The polarities that are allowed there.
        expected: &'static str,
    },
    /// A synapse starts or ends at a neuron that does not exist.
    #[error(
        "wiring: the synapse {source_id} -> {target} in `{list}` has no such {end}; expected an id \
         below {limit}"
    )]
    WiringRange {
        /// The list that holds the synapse.
        list: &'static str,
        /// Where the synapse starts.
        source_id: usize,
        /// Where the synapse ends.
        target: usize,
        /// `source` or `target`.
        end: &'static str,
        /// Number of neurons that this end can choose from.
        limit: usize,
    },
    /// The same synapse is listed twice.
    #[error(
        "wiring: the synapse {source_id} -> {target} is listed twice in `{list}`; keep one of them"
    )]
    WiringDuplicate {
        /// The list that holds the synapses.
        list: &'static str,
        /// Where the synapse starts.
        source_id: usize,
        /// Where the synapse ends.
        target: usize,
    },
    /// The layers are not a partition of the neurons that ends with the motor neurons.
    #[error("wiring: `layers` {problem}")]
    WiringLayers {
        /// What is wrong and what was expected.
        problem: String,
    },
    /// No path leads from the input features to a motor neuron.
    #[error(
        "wiring: no path of synapses leads from a sensory neuron to motor neuron {motor}, so its \
         output could not depend on the input; {remedy}"
    )]
    WiringUnreachable {
        /// Id of the first such motor neuron.
        motor: usize,
        /// What to change.
        remedy: &'static str,
    },
    /// A wiring's file cannot be read.
    #[error("wiring: cannot read `{}`; check the path and its permissions", path.display())]
    WiringRead {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A wiring's text is not what its format asks for.
    #[error("wiring: {origin} is not {format}: {problem}")]
    WiringParse {
        /// The file or text, for example `file graph.json`.
        origin: String,
        /// The format that was expected.
        format: &'static str,
        /// What is wrong and where.
        problem: String,
    },
    /// MLX refused an operation.
    #[error("mlx: {operation} failed: {}", source.what())]
    Mlx {
        /// What was being computed.
        operation: &'static str,
        /// MLX's own message.
        source: mlx_rs::error::Exception,
    },
    /// A training setting lies outside its limits.
    #[error("train: `{key}` is {value}, expected {expected}")]
    Setting {
        /// The key, as in the `[train]` table.
        key: String,
        /// The value that was given.
        value: String,
        /// The limits, and what to write instead.
        expected: String,
    },
    /// A batch does not have the form that the model or the loss needs.
    #[error("train: `{argument}` of a batch is {found}, expected {expected}")]
    Batch {
        /// The part of the batch.
        argument: &'static str,
        /// What it is.
        found: String,
        /// What is needed, and what to change.
        expected: String,
    },
    /// A parameter cannot be trained as it is.
    #[error("train: parameter `{name}` is {found}, expected {expected}")]
    Parameter {
        /// Name of the parameter, or the pattern that should have named one.
        name: String,
        /// What it is.
        found: String,
        /// What is needed, and what to change.
        expected: String,
    },
    /// Training left the finite numbers.
    #[error(
        "train: the {quantity} became {value} at step {step} (epoch {epoch}): {origin}; {}; {advice}",
        match last_checkpoint {
            Some(path) => format!("the last good checkpoint is `{}`", path.display()),
            None => "no checkpoint was written yet".to_owned(),
        }
    )]
    Diverged {
        /// `loss`, `gradient norm` or `validation loss`.
        quantity: &'static str,
        /// Its value: NaN or infinite.
        value: f64,
        /// The batch at which it happened, counted from 1 over the whole run.
        step: u64,
        /// The epoch, counted from 0.
        epoch: u64,
        /// The samples of the batch, where the source tells, and where it began: data, a parameter, the forward pass or
        /// the gradient of a parameter.
        origin: Box<str>,
        /// The newest checkpoint, written while all was finite.
        last_checkpoint: Option<PathBuf>,
        /// What usually helps.
        advice: &'static str,
    },
    /// A checkpoint or a tensor file is damaged.
    #[error("checkpoint: `{}` is damaged: {problem}; use an older checkpoint", path.display())]
    CheckpointCorrupt {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A checkpoint is sound, but of a format that this version does not know.
    #[error(
        "checkpoint: `{}` has format {format}, written by {version}; this version, {}, knows format {known}: \
         continue with the version that wrote it, or begin a new run",
        path.display(),
        env!("CARGO_PKG_VERSION")
    )]
    CheckpointVersion {
        /// The checkpoint.
        path: PathBuf,
        /// Its format.
        format: u32,
        /// The format that is known.
        known: u32,
        /// The program that wrote it, by its own word.
        version: String,
    },
    /// A tensor file is sound but belongs to another model.
    #[error("checkpoint: `{}` does not fit the model: {problem}", path.display())]
    CheckpointMismatch {
        /// The file.
        path: PathBuf,
        /// Which tensor differs, and how.
        problem: String,
    },
    /// A run cannot be resumed with other settings than it was started with.
    #[error(
        "checkpoint: `{key}` was {saved} when `{}` was written and is {given} now; resume with the \
         old value or start a new run",
        path.display()
    )]
    ResumeMismatch {
        /// The checkpoint.
        path: PathBuf,
        /// The setting, as in the configuration.
        key: String,
        /// Its value in the checkpoint.
        saved: String,
        /// Its value now.
        given: String,
    },
    /// The operating system refused to read or write a file.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried, for example `write`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A setting of a layer lies outside its limits.
    #[error("{layer}: `{key}` is {found}, expected {expected}")]
    Layer {
        /// The layer, for example `cfc`.
        layer: &'static str,
        /// The key, as in the configuration.
        key: &'static str,
        /// The value that was given.
        found: String,
        /// The limits, and what to write instead.
        expected: String,
    },
    /// An array given to a layer has the wrong shape.
    #[error("{layer}: `{argument}` has shape {found:?}, expected {expected}")]
    Shape {
        /// The layer, for example `cfc`.
        layer: &'static str,
        /// Name of the argument.
        argument: &'static str,
        /// Its shape.
        found: Vec<i32>,
        /// The shape or shapes that are accepted, in axis letters and numbers.
        expected: String,
    },
    /// An array given to a layer has an element type that it cannot compute with.
    #[error(
        "{layer}: `{argument}` has elements of type {found:?}, expected floating-point numbers; convert it first"
    )]
    ElementType {
        /// The layer, for example `cfc`.
        layer: &'static str,
        /// Name of the argument.
        argument: &'static str,
        /// Its element type.
        found: mlx_rs::Dtype,
    },
    /// Tensors made by another program do not describe this layer.
    #[error("import: {problem}")]
    Import {
        /// Which tensors, what was found, what was expected, and what to change.
        problem: String,
    },
    /// A file of tensors cannot be read.
    #[error("import: `{}` is not a readable safetensors file: {problem}", path.display())]
    ImportRead {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

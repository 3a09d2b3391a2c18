//! The errors of this crate. A machine that cannot be identified is not one of them.

use std::path::PathBuf;

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong when a table is read or a figure is drawn.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A device table is not valid TOML or has a row with impossible values.
    #[error("{}: {detail}", path.display())]
    DeviceTable {
        /// File that was read.
        path: PathBuf,
        /// What is wrong and what was expected.
        detail: String,
    },
    /// A folder of recorded commands cannot be replayed.
    #[error("{}: {detail}", path.display())]
    Recording {
        /// File or folder of the recording.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// A file is not a profile report of this version.
    #[error("{}: {detail}", path.display())]
    ProfileReport {
        /// File that was read.
        path: PathBuf,
        /// What is wrong with it and what was expected.
        detail: String,
    },
    /// A figure was asked for without any finite value to show.
    #[error("nothing to draw in the {figure} figure: {missing}")]
    NothingToDraw {
        /// Kind of figure.
        figure: &'static str,
        /// What has to be there.
        missing: &'static str,
    },
    /// Two columns of a figure have different lengths.
    #[error(
        "`{column}` has {found} values, expected {expected} as many as there are on the x axis"
    )]
    LengthMismatch {
        /// Name of the column.
        column: String,
        /// Values that it has.
        found: usize,
        /// Values that the x axis has.
        expected: usize,
    },
    /// An edge of a wiring names a neuron that is not there.
    #[error(
        "edge {edge} of the wiring joins neurons {from} and {to}, but there are only {neurons}"
    )]
    EdgeOutOfRange {
        /// Position of the edge.
        edge: usize,
        /// Source that it names.
        from: usize,
        /// Target that it names.
        to: usize,
        /// Neurons in the figure.
        neurons: usize,
    },
    /// The drawing library refused a shape.
    #[error("cannot draw the figure: {detail}")]
    Drawing {
        /// Message of the drawing library.
        detail: String,
    },
    /// The pixels could not be written as PNG.
    #[error("cannot encode the figure as PNG")]
    Png {
        /// Error of the encoder.
        #[from]
        source: png::EncodingError,
    },
}

//! The one error type of this crate.

/// What the functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A layer or its wiring refused its settings or its input.
    #[error(transparent)]
    Core(#[from] ncps_core::Error),
    /// A setting of a model lies outside its limits.
    #[error("model: `{key}` is {found}, expected {expected}")]
    Setting {
        /// The key, as in the `[model]` table.
        key: String,
        /// The value that was given.
        found: String,
        /// The limits, and what to write instead.
        expected: String,
    },
    /// A network that needs the whole sequence was asked for one step.
    #[error("model: a {kind} network cannot run step by step: {reason}")]
    NoStep {
        /// Kind of the network.
        kind: &'static str,
        /// Why not, and what to use instead.
        reason: &'static str,
    },
    /// A state does not have one part for each layer.
    #[error(
        "model: the state has {found} parts, expected {expected}, one for each layer; start from `zero_state`"
    )]
    State {
        /// Number of parts.
        found: usize,
        /// Number of layers.
        expected: usize,
    },
}

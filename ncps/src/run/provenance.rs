//! `provenance.json`: what a run depends on apart from its configuration.

use serde::{Deserialize, Serialize};

use super::directory::{PROVENANCE, RunDirectory};
use super::session::Session;
use crate::error::{Error, Result};

/// What a run depends on apart from its configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Provenance {
    /// Version of the program.
    version: String,
    /// Version of libmlx.
    mlx: String,
    /// What the run computes on.
    device: String,
    /// Threads of the kernels on a CPU.
    threads: usize,
    /// Vector instructions of the kernels on a CPU.
    vectors: String,
    /// Fingerprint of the training, validation and test data.
    data: String,
}

impl Provenance {
    /// # Errors
    /// [`Error::Data`] where a file that was streamed can no longer be read.
    pub(super) fn of(session: &Session) -> Result<Self> {
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mlx: mlx_sys::facts::version(),
            device: session.device().label(),
            threads: ncps_core::kernel::threads(),
            vectors: format!("{:?}", ncps_core::kernel::level()).to_lowercase(),
            data: session.dataset.fingerprint()?,
        })
    }

    /// Compares the data with those that the run has seen so far, and notes what holds from now on.
    ///
    /// # Errors
    /// [`Error::DataChanged`] for other data, unless they `may_differ`.
    pub(super) fn record(&self, directory: &RunDirectory, may_differ: bool) -> Result<()> {
        let earlier = std::fs::read(directory.join(PROVENANCE)).ok();
        let earlier = earlier.and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        if let Some(earlier) = earlier.filter(|_| directory.is_resumed()) {
            if earlier.data != self.data && !may_differ {
                return Err(Error::DataChanged {
                    path: directory.path().to_owned(),
                });
            }
            if earlier != *self {
                tracing::info!(?earlier, now = ?self, "the run goes on under other conditions");
            }
        }
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        directory.write(PROVENANCE, text.as_bytes())
    }
}

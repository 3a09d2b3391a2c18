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
    /// How f32 products come about.
    #[serde(default)]
    f32_products: String,
    /// Fingerprint of the training, validation and test data.
    data: String,
}

/// What may differ from the conditions under which a run began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Freedom {
    /// The data.
    pub(super) data: bool,
    /// Whatever may change the last bits.
    pub(super) bits: bool,
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
            f32_products: session.products.text().to_owned(),
            data: session.dataset.fingerprint()?,
        })
    }

    /// The first condition on which the last bits of a result may depend and that is another one now; threads are none.
    fn other_bits(&self, now: &Self) -> Option<(&'static str, String, String)> {
        let conditions = [
            ("version", &self.version, &now.version),
            ("libmlx", &self.mlx, &now.mlx),
            ("device", &self.device, &now.device),
            ("vector instructions", &self.vectors, &now.vectors),
            (
                "kind of f32 products",
                &self.f32_products,
                &now.f32_products,
            ),
        ];
        let mut conditions = conditions.into_iter();
        let (what, was, now) = conditions.find(|(_, was, now)| was != now)?;
        Some((what, was.clone(), now.clone()))
    }

    /// Compares the data with those that the run has seen so far, and notes what holds from now on.
    ///
    /// # Errors
    /// [`Error::DataChanged`] and [`Error::OtherConditions`] for what differs and may not.
    pub(super) fn record(&self, directory: &RunDirectory, freedom: Freedom) -> Result<()> {
        let earlier = std::fs::read(directory.join(PROVENANCE)).ok();
        let earlier = earlier.and_then(|text| serde_json::from_slice::<Self>(&text).ok());
        if let Some(earlier) = earlier.filter(|_| directory.is_resumed()) {
            if earlier.data != self.data && !freedom.data {
                return Err(Error::DataChanged {
                    path: directory.path().to_owned(),
                });
            }
            if let Some((what, was, now)) = earlier.other_bits(self).filter(|_| !freedom.bits) {
                return Err(Error::OtherConditions {
                    path: directory.path().to_owned(),
                    what,
                    was,
                    now,
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

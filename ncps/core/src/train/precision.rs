//! Half precision: what the network computes in, and the scale that keeps small gradients of f16 from vanishing.
//!
//! Parameters, optimiser, loss and sums of gradients stay in f32; the network gets copies of the parameters and of its
//! inputs in half precision (Micikevicius et al. 2018, "Mixed precision training"). A fused layer stores its arrays in
//! half precision and computes inside in f32.

use mlx_rs::Dtype;
use serde::{Deserialize, Serialize};

/// What the network computes in while it trains. Parameters are kept, updated, evaluated and saved in f32 in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits throughout.
    #[default]
    F32,
    /// 16 bits, 11 of them for the digits; the loss is scaled, so that small gradients do not vanish.
    F16,
    /// 16 bits, 8 of them for the digits, with the range of f32.
    Bf16,
}

impl Precision {
    /// The element type of the network's arrays, where it is not f32.
    pub(super) fn half(self) -> Option<Dtype> {
        match self {
            Self::F32 => None,
            Self::F16 => Some(Dtype::Float16),
            Self::Bf16 => Some(Dtype::Bfloat16),
        }
    }

    /// Whether gradients can leave the range of the type, so that the loss is scaled.
    pub(super) fn is_scaled(self) -> bool {
        self == Self::F16
    }
}

/// First scale; below the usual 2^16, because losses are summed over the batch and not averaged.
const FIRST: f32 = 4096.0;
/// Limits of the scale; below the lower one a gradient beyond all numbers is an error like any other.
const LEAST: f32 = 1.0 / 16384.0;
const LARGEST: f32 = 16_777_216.0;
/// Updates after which a scale that was never too large is doubled.
const PATIENCE: u32 = 2000;

/// The factor of the loss in f16, a power of two, so that scaling changes no digit.
///
/// It is halved where a gradient has left the range of f16, after which the batch is tried again, and doubled after many
/// updates without.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct LossScale {
    factor: f32,
    /// Updates since it last changed.
    updates: u32,
}

impl Default for LossScale {
    fn default() -> Self {
        Self {
            factor: FIRST,
            updates: 0,
        }
    }
}

impl LossScale {
    pub(super) fn factor(self) -> f32 {
        self.factor
    }

    /// The scale after an update.
    pub(super) fn after_update(self) -> Self {
        match self.updates + 1 {
            PATIENCE => Self {
                factor: (self.factor * 2.0).min(LARGEST),
                updates: 0,
            },
            updates => Self { updates, ..self },
        }
    }

    /// Half the scale; none where it is as small as it may be.
    pub(super) fn halved(self) -> Option<Self> {
        (self.factor > LEAST).then(|| Self {
            factor: self.factor / 2.0,
            updates: 0,
        })
    }
}

#[cfg(test)]
#[path = "precision_tests.rs"]
mod tests;

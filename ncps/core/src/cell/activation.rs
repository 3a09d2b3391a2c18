//! Activations of the CfC backbone.

use mlx_rs::error::Exception;
use mlx_rs::{Array, ops};
use serde::{Deserialize, Serialize};

use crate::array::scalar;

/// The function after each backbone layer of a CfC cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `1.7159 tanh(0.666 z)` (LeCun et al. 1998, "Efficient BackProp", with the reference's rounded slope).
    #[default]
    LecunTanh,
    /// `z sigmoid(z)`.
    Silu,
    /// `max(z, 0)`.
    Relu,
    /// `tanh(z)`.
    Tanh,
    /// `z (1 + erf(z / sqrt(2))) / 2`, the exact form.
    Gelu,
}

impl Activation {
    /// Applies the function to each element.
    ///
    /// # Errors
    /// MLX's own, for an element type without these functions.
    pub fn apply(self, z: &Array) -> Result<Array, Exception> {
        match self {
            Self::LecunTanh => {
                ops::tanh(z.multiply(scalar(0.666, z)?)?)?.multiply(scalar(1.7159, z)?)
            }
            Self::Silu => z.multiply(ops::sigmoid(z)?),
            Self::Relu => ops::maximum(z, scalar(0.0, z)?),
            Self::Tanh => ops::tanh(z),
            Self::Gelu => {
                let erf = ops::erf(z.multiply(scalar(std::f32::consts::FRAC_1_SQRT_2, z)?)?)?;
                z.multiply(scalar(0.5, z)?)?
                    .multiply(erf.add(scalar(1.0, z)?)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(activation: Activation, z: f32) -> f32 {
        activation
            .apply(&Array::from_f32(z))
            .unwrap()
            .item_exact::<f32>()
    }

    #[test]
    fn values_at_one_and_minus_two() {
        let expected = [
            (Activation::LecunTanh, 0.999_241_5, -1.492_382_2),
            (Activation::Silu, 0.731_058_6, -0.238_405_8),
            (Activation::Relu, 1.0, 0.0),
            (Activation::Tanh, 0.761_594_2, -0.964_027_6),
            (Activation::Gelu, 0.841_344_7, -0.045_500_3),
        ];
        for (activation, at_one, at_minus_two) in expected {
            let (a, b) = (apply(activation, 1.0), apply(activation, -2.0));
            assert!((a - at_one).abs() < 2e-5, "{activation:?}(1) = {a}");
            assert!((b - at_minus_two).abs() < 2e-5, "{activation:?}(-2) = {b}");
        }
    }

    #[test]
    fn large_arguments_stay_finite() {
        for activation in [
            Activation::LecunTanh,
            Activation::Silu,
            Activation::Relu,
            Activation::Tanh,
            Activation::Gelu,
        ] {
            for z in [-1e4_f32, 1e4] {
                assert!(apply(activation, z).is_finite(), "{activation:?}({z})");
            }
        }
    }
}

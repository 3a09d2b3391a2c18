//! Optimisers, as pure functions over one flat vector of all parameters.
//!
//! One vector for the whole model means that an update costs a dozen array operations however many
//! parameters there are. Numbers that change from step to step enter as arrays, so that a
//! schedule never makes a compiled step be traced again.

use mlx_rs::error::Exception;
use mlx_rs::{Array, array, ops};
use serde::{Deserialize, Serialize};

use super::config::{fraction, positive, setting};
use crate::Result;

type Mlx<T> = std::result::Result<T, Exception>;

/// How gradients become updates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OptimizerConfig {
    /// Adam; weight decay is added to the gradient.
    Adam(AdamConfig),
    /// Adam with decoupled weight decay.
    #[serde(rename = "adamw")]
    AdamW(AdamConfig),
    /// Stochastic gradient descent with or without momentum.
    Sgd(SgdConfig),
    /// RMSprop.
    #[serde(rename = "rmsprop")]
    RmsProp(RmsPropConfig),
    /// Lion; weight decay is decoupled.
    Lion(LionConfig),
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Adam(AdamConfig::default())
    }
}

/// Adam and AdamW.
///
/// ```text
/// m' = beta1 m + (1 - beta1) g        v' = beta2 v + (1 - beta2) g^2
/// p' = p - rate (m' / (1 - beta1^t)) / (sqrt(v' / (1 - beta2^t)) + epsilon)
/// ```
/// # Source
/// Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2, for the decoupled decay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct AdamConfig {
    /// Memory of the mean gradient, in [0, 1); default 0.9.
    pub beta1: f64,
    /// Memory of the mean squared gradient, in [0, 1); default 0.999.
    pub beta2: f64,
    /// Added to the denominator, above 0; default 1e-8.
    pub epsilon: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
        }
    }
}

/// Stochastic gradient descent.
///
/// ```text
/// b' = momentum b + g        p' = p - rate b'        (Nesterov: p - rate (g + momentum b'))
/// ```
/// # Source
/// Sutskever et al. 2013, in the form that keeps the learning rate out of the momentum.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct SgdConfig {
    /// Memory of past gradients, in [0, 1); default 0.
    pub momentum: f64,
    /// Whether the gradient is taken as if one step ahead; needs momentum.
    pub nesterov: bool,
}

/// RMSprop.
///
/// ```text
/// v' = alpha v + (1 - alpha) g^2     u = g / (sqrt(v') + epsilon)
/// p' = p - rate u                    (with momentum: b' = momentum b + u, p' = p - rate b')
/// ```
/// # Source
/// Tieleman and Hinton 2012, lecture 6.5.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RmsPropConfig {
    /// Memory of the mean squared gradient, in [0, 1); default 0.99.
    pub alpha: f64,
    /// Added to the denominator, above 0; default 1e-8.
    pub epsilon: f64,
    /// Memory of past updates, in [0, 1); default 0.
    pub momentum: f64,
}

impl Default for RmsPropConfig {
    fn default() -> Self {
        Self {
            alpha: 0.99,
            epsilon: 1e-8,
            momentum: 0.0,
        }
    }
}

/// Lion.
///
/// ```text
/// p' = p - rate (sign(beta1 m + (1 - beta1) g) + decay p)        m' = beta2 m + (1 - beta2) g
/// ```
/// # Source
/// Chen et al. 2023, algorithm 2. Learning rates are 3 to 10 times smaller than Adam's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct LionConfig {
    /// Share of the memory in the update, in [0, 1); default 0.9.
    pub beta1: f64,
    /// Memory of the mean gradient, in [0, 1); default 0.99.
    pub beta2: f64,
}

impl Default for LionConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.99,
        }
    }
}

/// How many numbers [`OptimizerConfig::scalars`] gives.
pub(super) const SCALARS: usize = 3;

/// What an update reads, all flat [P] apart from the scalars.
#[derive(Debug)]
pub(super) struct Update<'a> {
    pub(super) parameters: &'a Array,
    pub(super) gradients: &'a Array,
    pub(super) slots: &'a [Array],
    /// As [`OptimizerConfig::scalars`] gave them.
    pub(super) scalars: &'a [Array],
    /// Weight decay per element, or one for all.
    pub(super) decay: Option<&'a Array>,
}

impl OptimizerConfig {
    /// Names the vectors that the optimiser carries from step to step, all zero at first.
    pub(super) fn slots(&self) -> &'static [&'static str] {
        match self {
            Self::Adam(_) | Self::AdamW(_) => &["mean", "square"],
            Self::Sgd(config) if config.momentum > 0.0 => &["momentum"],
            Self::Sgd(_) => &[],
            Self::RmsProp(config) if config.momentum > 0.0 => &["square", "momentum"],
            Self::RmsProp(_) => &["square"],
            Self::Lion(_) => &["mean"],
        }
    }

    pub(super) fn usual_weight_decay(&self) -> f64 {
        match self {
            Self::AdamW(_) => 0.01,
            _ => 0.0,
        }
    }

    /// Gives what changes with the step: the rate, Adam's corrected rate, Adam's root correction.
    /// `update` counts from 1.
    pub(super) fn scalars(&self, rate: f64, update: u64) -> [f32; SCALARS] {
        match self {
            Self::Adam(config) | Self::AdamW(config) => {
                let steps = update as f64;
                let mean = 1.0 - config.beta1.powf(steps);
                let square = 1.0 - config.beta2.powf(steps);
                [
                    rate as f32,
                    (rate / mean) as f32,
                    square.sqrt().recip() as f32,
                ]
            }
            _ => [rate as f32, rate as f32, 1.0],
        }
    }

    /// Gives the new parameters and the new slots.
    pub(super) fn update(&self, update: &Update<'_>) -> Mlx<(Array, Vec<Array>)> {
        match self {
            Self::Adam(config) => adam(config, &coupled(update)?, update),
            Self::AdamW(config) => {
                let shrunk = decoupled(update)?;
                let update = Update {
                    parameters: &shrunk,
                    ..*update
                };
                adam(config, update.gradients, &update)
            }
            Self::Sgd(config) => sgd(config, coupled(update)?, update),
            Self::RmsProp(config) => rmsprop(config, &coupled(update)?, update),
            Self::Lion(config) => lion(config, update),
        }
    }

    pub(super) fn validate(&self) -> Result<()> {
        match self {
            Self::Adam(config) | Self::AdamW(config) => {
                fraction("optimizer.beta1", config.beta1)?;
                fraction("optimizer.beta2", config.beta2)?;
                positive("optimizer.epsilon", config.epsilon)
            }
            Self::Sgd(config) => {
                fraction("optimizer.momentum", config.momentum)?;
                if config.nesterov && config.momentum <= 0.0 {
                    let expected = "false, or a momentum above 0 beside it";
                    return Err(setting("optimizer.nesterov", "true", expected));
                }
                Ok(())
            }
            Self::RmsProp(config) => {
                fraction("optimizer.alpha", config.alpha)?;
                fraction("optimizer.momentum", config.momentum)?;
                positive("optimizer.epsilon", config.epsilon)
            }
            Self::Lion(config) => {
                fraction("optimizer.beta1", config.beta1)?;
                fraction("optimizer.beta2", config.beta2)
            }
        }
    }
}

/// Weight decay as part of the gradient: g + decay p.
fn coupled(update: &Update<'_>) -> Mlx<Array> {
    match update.decay {
        Some(decay) => decay.multiply(update.parameters)?.add(update.gradients),
        None => Ok(update.gradients.clone()),
    }
}

/// Weight decay beside the gradient: p - rate decay p.
fn decoupled(update: &Update<'_>) -> Mlx<Array> {
    match update.decay {
        Some(decay) => {
            let loss = decay
                .multiply(&update.scalars[0])?
                .multiply(update.parameters)?;
            update.parameters.subtract(loss)
        }
        None => Ok(update.parameters.clone()),
    }
}

/// memory * old + (1 - memory) * new.
fn blend(memory: f64, old: &Array, new: &Array) -> Mlx<Array> {
    let kept = old.multiply(array!(memory as f32))?;
    kept.add(new.multiply(array!((1.0 - memory) as f32))?)
}

fn adam(config: &AdamConfig, gradients: &Array, update: &Update<'_>) -> Mlx<(Array, Vec<Array>)> {
    let mean = blend(config.beta1, &update.slots[0], gradients)?;
    let square = blend(config.beta2, &update.slots[1], &gradients.square()?)?;
    let root = square.sqrt()?.multiply(&update.scalars[2])?;
    let below = root.add(array!(config.epsilon as f32))?;
    let change = mean.divide(below)?.multiply(&update.scalars[1])?;
    let parameters = update.parameters.subtract(change)?;
    Ok((parameters, vec![mean, square]))
}

fn sgd(config: &SgdConfig, gradients: Array, update: &Update<'_>) -> Mlx<(Array, Vec<Array>)> {
    let rate = &update.scalars[0];
    let Some(old) = update.slots.first() else {
        let change = gradients.multiply(rate)?;
        return Ok((update.parameters.subtract(change)?, Vec::new()));
    };
    let momentum = array!(config.momentum as f32);
    let buffer = old.multiply(&momentum)?.add(&gradients)?;
    let direction = if config.nesterov {
        buffer.multiply(&momentum)?.add(&gradients)?
    } else {
        buffer.clone()
    };
    let parameters = update.parameters.subtract(direction.multiply(rate)?)?;
    Ok((parameters, vec![buffer]))
}

fn rmsprop(
    config: &RmsPropConfig,
    gradients: &Array,
    update: &Update<'_>,
) -> Mlx<(Array, Vec<Array>)> {
    let square = blend(config.alpha, &update.slots[0], &gradients.square()?)?;
    let below = square.sqrt()?.add(array!(config.epsilon as f32))?;
    let mut direction = gradients.divide(below)?;
    let mut slots = vec![square];
    if let Some(old) = update.slots.get(1) {
        direction = old
            .multiply(array!(config.momentum as f32))?
            .add(direction)?;
        slots.push(direction.clone());
    }
    let change = direction.multiply(&update.scalars[0])?;
    Ok((update.parameters.subtract(change)?, slots))
}

fn lion(config: &LionConfig, update: &Update<'_>) -> Mlx<(Array, Vec<Array>)> {
    let mean = &update.slots[0];
    let direction = ops::sign(blend(config.beta1, mean, update.gradients)?)?;
    let change = direction.multiply(&update.scalars[0])?;
    let parameters = decoupled(update)?.subtract(change)?;
    let mean = blend(config.beta2, mean, update.gradients)?;
    Ok((parameters, vec![mean]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three updates of two parameters with gradients that change sign and size; the expected
    /// numbers were computed in float64 by a separate script from the equations above.
    fn trajectory(config: &OptimizerConfig, decay: Option<f32>) -> Vec<[f32; 2]> {
        let gradients = [[0.5f32, -1.0], [0.25, 2.0], [-1.5, 0.125]];
        let mut parameters = Array::from_slice(&[1.0f32, -2.0], &[2]);
        let mut slots: Vec<Array> = config
            .slots()
            .iter()
            .map(|_| Array::from_slice(&[0.0f32, 0.0], &[2]))
            .collect();
        let decay = decay.map(Array::from_f32);
        let mut seen = Vec::new();
        for (index, gradient) in gradients.iter().enumerate() {
            let scalars = config.scalars(0.1, index as u64 + 1).map(Array::from_f32);
            let update = Update {
                parameters: &parameters,
                gradients: &Array::from_slice(gradient, &[2]),
                slots: &slots,
                scalars: &scalars,
                decay: decay.as_ref(),
            };
            let (next, next_slots) = config.update(&update).unwrap();
            let host = next.to_vec_exact::<f32>().unwrap();
            seen.push([host[0], host[1]]);
            parameters = next;
            slots = next_slots;
        }
        seen
    }

    fn check(text: &str, decay: Option<f32>, expected: [[f64; 2]; 3]) {
        let config: OptimizerConfig = toml::from_str(text).unwrap();
        let found = trajectory(&config, decay);
        for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
            for (found, expected) in found.iter().zip(expected) {
                let difference = (f64::from(*found) - expected).abs();
                assert!(difference < 2e-6, "{text}, step {step}: {found} {expected}");
            }
        }
    }

    #[test]
    fn adam_follows_its_equations() {
        check(
            "kind = \"adam\"",
            None,
            [
                [0.900000002, -1.900000001],
                [0.806782040, -1.936610353],
                [0.841504391, -1.968433738],
            ],
        );
    }

    #[test]
    fn adam_with_decay_in_the_gradient_follows_its_equations() {
        check(
            "kind = \"adam\"",
            Some(0.1),
            [
                [0.900000002, -1.900000001],
                [0.805009766, -1.925017878],
                [0.830414228, -1.942361458],
            ],
        );
    }

    #[test]
    fn adamw_follows_its_equations() {
        check(
            "kind = \"adamw\"",
            Some(0.1),
            [
                [0.890000002, -1.880000001],
                [0.787882040, -1.897810353],
                [0.814725570, -1.910655634],
            ],
        );
    }

    #[test]
    fn sgd_follows_its_equations() {
        check(
            "kind = \"sgd\"",
            None,
            [
                [0.950000000, -1.900000000],
                [0.925000000, -2.100000000],
                [1.075000000, -2.112500000],
            ],
        );
    }

    #[test]
    fn sgd_with_momentum_and_decay_follows_its_equations() {
        check(
            "kind = \"sgd\"\nmomentum = 0.9",
            Some(0.1),
            [
                [0.940000000, -1.880000000],
                [0.851600000, -1.953200000],
                [0.913524000, -2.012048000],
            ],
        );
    }

    #[test]
    fn sgd_with_nesterov_follows_its_equations() {
        check(
            "kind = \"sgd\"\nmomentum = 0.9\nnesterov = true",
            None,
            [
                [0.905000000, -1.810000000],
                [0.817000000, -2.109000000],
                [1.045300000, -2.221850000],
            ],
        );
    }

    #[test]
    fn rmsprop_follows_its_equations() {
        check(
            "kind = \"rmsprop\"",
            None,
            [
                [0.000000200, -1.000000100],
                [-0.449012974, -1.895323022],
                [0.489055110, -1.951473880],
            ],
        );
    }

    #[test]
    fn rmsprop_with_momentum_follows_its_equations() {
        check(
            "kind = \"rmsprop\"\nmomentum = 0.5",
            None,
            [
                [0.000000200, -1.000000100],
                [-0.949012874, -1.395323072],
                [-0.485451327, -1.649135416],
            ],
        );
    }

    #[test]
    fn lion_follows_its_equations() {
        check(
            "kind = \"lion\"",
            None,
            [
                [0.900000000, -1.900000000],
                [0.800000000, -2.000000000],
                [0.900000000, -2.100000000],
            ],
        );
    }

    #[test]
    fn lion_with_decay_follows_its_equations() {
        check(
            "kind = \"lion\"",
            Some(0.1),
            [
                [0.890000000, -1.880000000],
                [0.781100000, -1.961200000],
                [0.873289000, -2.041588000],
            ],
        );
    }
}

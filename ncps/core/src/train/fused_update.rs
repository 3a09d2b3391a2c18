//! From the optimiser's settings to the fused update.

use mlx_rs::Array;
use mlx_rs::error::Exception;

use super::config::TrainConfig;
use super::optimizer::{OptimizerConfig, Update};
use crate::kernel::{Clip, Rule, UpdateCall};

/// Gives norm, parameters and slots in one operation, or nothing where it does not serve (see
/// [`UpdateCall::apply`]); `update.gradients` are sums over samples whose weights sum to `weight`.
pub(super) fn update(
    config: &TrainConfig,
    update: &Update<'_>,
    weight: &Array,
    floor: Option<&Array>,
) -> Result<Option<Vec<Array>>, Exception> {
    let call = UpdateCall {
        rule: rule(&config.optimizer),
        clip: Clip {
            norm: config.clip.norm.map(|limit| limit as f32),
            value: config.clip.value.map(|limit| limit as f32),
        },
        parameters: update.parameters,
        gradients: update.gradients,
        weight,
        scalars: update.scalars,
        slots: update.slots,
        decay: update.decay,
        floor,
    };
    call.apply()
}

fn rule(config: &OptimizerConfig) -> Rule {
    match config {
        OptimizerConfig::Adam(adam) | OptimizerConfig::AdamW(adam) => Rule::Adam {
            beta1: adam.beta1 as f32,
            beta2: adam.beta2 as f32,
            epsilon: adam.epsilon as f32,
            is_decoupled: matches!(config, OptimizerConfig::AdamW(_)),
        },
        OptimizerConfig::Sgd(sgd) => Rule::Sgd {
            momentum: sgd.momentum as f32,
            is_nesterov: sgd.nesterov,
        },
        OptimizerConfig::RmsProp(rmsprop) => Rule::RmsProp {
            alpha: rmsprop.alpha as f32,
            epsilon: rmsprop.epsilon as f32,
            momentum: rmsprop.momentum as f32,
        },
        OptimizerConfig::Lion(lion) => Rule::Lion {
            beta1: lion.beta1 as f32,
            beta2: lion.beta2 as f32,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlx_rs::array;

    fn wave(len: usize, phase: f32) -> Array {
        let values: Vec<f32> = (0..len).map(|i| (i as f32 * 0.7 + phase).sin()).collect();
        Array::from_slice(&values, &[len as i32])
    }

    /// The fused update against the one in MLX operations, on lengths around the vector widths.
    fn check(optimizer: &str, decay: Option<&Array>, len: usize) {
        let text = format!("optimizer = {optimizer}\nclip = {{ norm = 2.0, value = 0.3 }}");
        let config: TrainConfig = toml::from_str(&text).unwrap();
        let (parameters, summed) = (wave(len, 0.0), wave(len, 1.0));
        let slots: Vec<Array> = config
            .optimizer
            .slots()
            .iter()
            .enumerate()
            .map(|(i, _)| wave(len, 2.0 + i as f32).abs().unwrap())
            .collect();
        let scalars = config.optimizer.scalars(0.01, 3).map(Array::from_f32);
        let weight = array!(4.0_f32);
        let floor = array!(-0.5_f32)
            .multiply(Array::ones::<f32>(&[len as i32]).unwrap())
            .unwrap();
        let of = |gradients| Update {
            parameters: &parameters,
            gradients,
            slots: &slots,
            scalars: &scalars,
            decay,
        };
        let fused = update(&config, &of(&summed), &weight, Some(&floor))
            .unwrap()
            .unwrap();
        let mean = summed.divide(&weight).unwrap();
        let norm = mean.square().unwrap().sum(None).unwrap().sqrt().unwrap();
        let scale = (2.0 / norm.item_exact::<f32>()).min(1.0);
        let clipped = mean.multiply(array!(scale)).unwrap();
        let clipped = mlx_rs::ops::clip(&clipped, (-0.3_f32, 0.3)).unwrap();
        let (new, new_slots) = config.optimizer.update(&of(&clipped)).unwrap();
        let new = mlx_rs::ops::maximum(&new, &floor).unwrap();
        let expected = [vec![norm, new], new_slots].concat();
        assert_eq!(fused.len(), expected.len());
        for (fused, expected) in fused.iter().zip(&expected) {
            let close = fused.all_close(expected, 1e-5, 1e-6, None).unwrap();
            assert!(close, "{optimizer} {len}: {fused} {expected}");
        }
    }

    #[test]
    fn every_rule_agrees_with_its_operations() {
        for optimizer in [
            "{ kind = \"adam\" }",
            "{ kind = \"adamw\", beta2 = 0.99 }",
            "{ kind = \"sgd\" }",
            "{ kind = \"sgd\", momentum = 0.9 }",
            "{ kind = \"sgd\", momentum = 0.9, nesterov = true }",
            "{ kind = \"rmsprop\" }",
            "{ kind = \"rmsprop\", momentum = 0.5 }",
            "{ kind = \"lion\" }",
        ] {
            for len in [1, 7, 16, 33, 5000] {
                check(optimizer, None, len);
                check(optimizer, Some(&array!(0.1_f32)), len);
                check(optimizer, Some(&wave(len, 5.0)), len);
            }
        }
    }
}

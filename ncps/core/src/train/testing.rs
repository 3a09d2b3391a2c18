//! A small model and small data for the tests of this folder.

use mlx_rs::macros::ModuleParameters;
use mlx_rs::module::Param;
use mlx_rs::{Array, ops, random};

use super::{Batch, BatchSource, Inputs, Model, TrainConfig};
use crate::{Error, Result};

/// tanh(x W1 + b1), dropout, W2: two layers, so that names, shapes and keys all matter.
#[derive(Debug, Clone, ModuleParameters)]
pub(super) struct Tiny {
    #[param]
    pub(super) hidden: Param<Array>,
    #[param]
    pub(super) bias: Param<Array>,
    #[param]
    pub(super) output: Param<Array>,
    pub(super) dropout: f32,
    pub(super) constrained: Vec<String>,
}

impl Tiny {
    pub(super) fn new(outputs: i32) -> Self {
        let values = |count: i32, scale: f32| -> Vec<f32> {
            (0..count)
                .map(|i| ((i * 7 + 3) % 11) as f32 * scale - 5.0 * scale)
                .collect()
        };
        Self {
            hidden: Param::new(Array::from_slice(&values(8, 0.1), &[2, 4])),
            bias: Param::new(Array::from_slice(&values(4, 0.05), &[4])),
            output: Param::new(Array::from_slice(&values(4 * outputs, 0.1), &[4, outputs])),
            dropout: 0.0,
            constrained: Vec::new(),
        }
    }

    pub(super) fn values(&self) -> Vec<f32> {
        [&self.hidden, &self.bias, &self.output]
            .iter()
            .flat_map(|p| p.value.as_slice::<f32>().to_vec())
            .collect()
    }
}

impl Model for Tiny {
    fn forward(&mut self, inputs: &Inputs, key: Option<&Array>) -> Result<Array> {
        let forward = || {
            let hidden = ops::tanh(&inputs.x.matmul(&self.hidden)?.add(&self.bias)?)?;
            let hidden = match key {
                Some(key) if self.dropout > 0.0 => {
                    let keep = 1.0 - self.dropout;
                    let kept = random::bernoulli(&Array::from_f32(keep), hidden.shape(), key)?;
                    hidden
                        .multiply(kept.as_type::<f32>()?)?
                        .multiply(Array::from_f32(keep.recip()))?
                }
                _ => hidden,
            };
            hidden.matmul(&self.output)
        };
        forward().map_err(|source| Error::Mlx {
            operation: "tiny model",
            source,
        })
    }

    fn constrained_parameters(&self) -> Vec<String> {
        self.constrained.clone()
    }
}

/// Sequences of three steps of a smooth function; the last batch is padded.
#[derive(Debug, Clone)]
pub(super) struct Waves {
    pub(super) batch: usize,
    pub(super) samples: usize,
    pub(super) is_class: bool,
    /// Step of an epoch whose data are not a number.
    pub(super) poison: Option<(u64, usize)>,
}

pub(super) const STEPS: usize = 3;

impl Waves {
    pub(super) fn new(batch: usize, samples: usize) -> Self {
        Self {
            batch,
            samples,
            is_class: false,
            poison: None,
        }
    }
}

impl BatchSource for Waves {
    fn steps(&self) -> usize {
        self.samples.div_ceil(self.batch)
    }

    fn batch(&mut self, epoch: u64, step: usize) -> Result<Batch> {
        let (mut x, mut targets, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..self.batch {
            let place = step * self.batch + row;
            // Another order in each epoch, the same for each run.
            let sample = (place + epoch as usize * 5) % self.samples;
            for time in 0..STEPS {
                let phase = sample as f32 * 0.7 + time as f32 * 0.3;
                x.extend([phase.sin(), phase.cos()]);
                let target = (phase + 0.4).sin();
                targets.push(if self.is_class {
                    f32::from(target > 0.0)
                } else {
                    target
                });
            }
            weights.push(f32::from(u8::from(place < self.samples)));
        }
        if self.poison == Some((epoch, step)) {
            x[0] = f32::NAN;
        }
        let (rows, time) = (self.batch as i32, STEPS as i32);
        Ok(Batch {
            inputs: Inputs {
                x: Array::from_slice(&x, &[rows, time, 2]),
                timespans: None,
                mask: None,
            },
            targets: Array::from_slice(&targets, &[rows, time]),
            weights: Array::from_slice(&weights, &[rows]),
        })
    }
}

pub(super) fn config(text: &str) -> TrainConfig {
    toml::from_str(text).unwrap()
}

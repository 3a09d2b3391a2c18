//! `Predictor`: a trained run that predicts for new data, whole series or step by step.

use std::path::Path;

use mlx_rs::Array;
use ncps_core::kernel::Policy;
use ncps_core::rnn::Timespans;
use ncps_core::train::{Inputs, Model};
use ncps_datasets::{InputSeries, Task};
use ncps_models::{Network, NetworkState, RecurrentNetwork};

use super::arrays;
use super::model_file::{ModelDescription, load_description};
use crate::error::Result;

/// A trained network with what it needs to read new data.
#[derive(Debug)]
pub struct Predictor {
    description: ModelDescription,
    network: Box<dyn Network>,
}

/// The state between two steps of one series.
#[derive(Debug)]
pub struct Carried {
    by: Stepper,
}

/// What makes the steps.
#[derive(Debug)]
enum Stepper {
    /// The kernels alone: no graph, no allocation.
    Policy(Box<Policy>),
    /// The network in MLX operations, where there is no kernel for it.
    Network(NetworkState),
}

impl Predictor {
    /// Loads the model of a run directory (or of any folder with its `model.safetensors` and `config.json`).
    ///
    /// # Errors
    /// [`crate::Error::NotARun`], [`crate::Error::ForeignModel`] or [`crate::Error::Core`] for a folder, description or weight file that is
    /// missing, damaged or foreign.
    pub fn load(folder: &Path) -> Result<Self> {
        let description = load_description(folder)?;
        let network = description.load_network(folder)?;
        Ok(Self {
            description,
            network,
        })
    }

    /// What the model is and which data it takes.
    pub fn description(&self) -> &ModelDescription {
        &self.description
    }

    /// Names of the values of a prediction: targets, or one probability per class.
    pub fn output_names(&self) -> Vec<String> {
        match &self.description.data.task {
            Task::Regression => self.description.data.targets.clone(),
            Task::Classification { classes } => classes
                .iter()
                .map(|class| format!("probability_{class}"))
                .collect(),
        }
    }

    /// Predicts for a series that begins at rest: a row of outputs per step, or one for the whole series, in the data's unit.
    ///
    /// # Errors
    /// [`crate::Error::Core`] when the network refuses the series.
    pub fn predict(&mut self, series: &InputSeries) -> Result<Vec<Vec<f32>>> {
        let (steps, features) = (series.steps as i32, self.description.inputs as i32);
        let inputs = Inputs {
            x: Array::from_slice(&series.x, &[1, steps, features]),
            timespans: series
                .timespans
                .as_ref()
                .map(|spans| Array::from_slice(spans, &[1, steps])),
            mask: None,
        };
        let predicted = self.network.forward(&inputs, None)?;
        let width = predicted.shape().last().copied().unwrap_or(1).max(1) as usize;
        let flat = arrays::host(&predicted)?;
        let mut rows: Vec<Vec<f32>> = flat
            .chunks(width)
            .map(|row| self.description.finish(row))
            .collect();
        if !self.description.data.each_step {
            rows.drain(..rows.len().saturating_sub(1));
        }
        Ok(rows)
    }

    /// The state at the beginning of a series.
    pub fn rest(&self) -> Carried {
        let by = match policy(self.network.as_ref()) {
            Some(policy) => Stepper::Policy(Box::new(policy)),
            None => Stepper::Network(self.network.zero_state(1)),
        };
        Carried { by }
    }

    /// Predicts for one step and carries the state on; `elapsed_time` as in training, 1 where the data have no time.
    ///
    /// # Errors
    /// [`crate::Error::Models`] or [`crate::Error::Core`] when the network refuses the step or needs the whole series.
    pub fn step(
        &mut self,
        features: &[f32],
        elapsed_time: Option<f32>,
        carried: &mut Carried,
    ) -> Result<Vec<f32>> {
        let state = match &mut carried.by {
            Stepper::Policy(policy) => {
                let predicted = policy.step(features, elapsed_time.unwrap_or(1.0))?;
                return Ok(self.description.finish(predicted));
            }
            Stepper::Network(state) => state,
        };
        let x = Array::from_slice(features, &[1, features.len() as i32]);
        let span = elapsed_time.map_or(Timespans::Unit, Timespans::Scalar);
        let (predicted, next) = self.network.step(&x, &span, state)?;
        *state = next;
        Ok(self.description.finish(&arrays::host(&predicted)?))
    }
}

/// The network without MLX, if it is one layer with a kernel and at most a linear map.
fn policy(network: &dyn Network) -> Option<Policy> {
    let network = network.as_any().downcast_ref::<RecurrentNetwork>()?;
    let policy = network.layer().policy().ok()?;
    let Some(head) = network.head() else {
        return Some(policy);
    };
    let weights = arrays::host(&head.weight).ok()?;
    let bias = match &head.bias.value {
        Some(bias) => arrays::host(bias).ok()?,
        None => vec![0.0; weights.len() / policy.outputs()],
    };
    policy.then_linear(&weights, &bias).ok()
}

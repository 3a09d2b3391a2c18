//! A network as a chain of stages, whose loss and gradients are one computation.
//!
//! Each block of samples goes through all stages forward, through the loss, and back again, before the next block starts:
//! its records are then still in the cache, only those of a few blocks exist at a time, and threads have whole blocks to
//! work on. Between stages features stay in lanes, `[T, features, lanes]`.

mod block;
mod gradient;
mod loss;
mod memory;
mod pointwise;
mod prepared;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::spec::{ParameterSpec, SequenceSpec};
use crate::cell::Activation;
use crate::error::{Error, Result};

pub(crate) use gradient::{ChainPlan, Inputs, Judgement, Strides};
pub(crate) use loss::Loss;

/// A sequence layer up to its projection.
#[derive(Clone, Debug)]
pub struct SequenceStage {
    /// What it computes.
    pub spec: Arc<SequenceSpec>,
    /// Names of its parameters in the model, in the order of the specification.
    pub parameters: Vec<String>,
    /// Probability of dropping a feature of the backbone layers that the specification marks.
    pub dropout: f32,
    /// Whether it gives the outputs of the last step alone.
    pub is_last_only: bool,
}

/// `y = W x + b` at each step.
#[derive(Clone, Debug)]
pub struct LinearStage {
    /// Features in.
    pub inputs: usize,
    /// Features out.
    pub outputs: usize,
    /// Name of the weights `[outputs, inputs]` in the model.
    pub weight: String,
    /// Name of the bias `[outputs]`, where there is one.
    pub bias: Option<String>,
}

/// One stage of a [`Chain`].
#[derive(Clone, Debug)]
pub enum Stage {
    /// A sequence layer.
    Sequence(SequenceStage),
    /// A linear map.
    Linear(LinearStage),
    /// A function of each feature.
    Activation(Activation),
}

impl Stage {
    /// The stage with its parameters' names below `prefix`.
    #[must_use]
    pub fn below(mut self, prefix: &str) -> Self {
        let names = match &mut self {
            Self::Sequence(stage) => stage.parameters.iter_mut().collect(),
            Self::Linear(stage) => [&mut stage.weight]
                .into_iter()
                .chain(stage.bias.as_mut())
                .collect(),
            Self::Activation(_) => Vec::new(),
        };
        for name in names {
            *name = format!("{prefix}.{name}");
        }
        self
    }

    fn parameters(&self) -> Vec<ParameterSpec> {
        let parameter = |name: &String, shape: Vec<usize>| ParameterSpec {
            name: name.clone(),
            shape,
        };
        match self {
            Self::Sequence(stage) => {
                let specs = stage.spec.parameters().into_iter().zip(&stage.parameters);
                specs
                    .map(|(spec, name)| parameter(name, spec.shape))
                    .collect()
            }
            Self::Linear(stage) => {
                let weight = parameter(&stage.weight, vec![stage.outputs, stage.inputs]);
                let bias = stage.bias.as_ref();
                let bias = bias.map(|name| parameter(name, vec![stage.outputs]));
                [weight].into_iter().chain(bias).collect()
            }
            Self::Activation(_) => Vec::new(),
        }
    }

    /// Features out, for `inputs` features in; none if it takes another number.
    fn outputs(&self, inputs: usize) -> Option<usize> {
        match self {
            Self::Sequence(stage) => (stage.spec.inputs == inputs).then(|| stage.spec.outputs()),
            Self::Linear(stage) => (stage.inputs == inputs).then_some(stage.outputs),
            Self::Activation(_) => Some(inputs),
        }
    }
}

/// Stages in a row, each fed by the one before.
#[derive(Clone, Debug)]
pub struct Chain {
    stages: Vec<Stage>,
    inputs: usize,
    outputs: usize,
}

impl Chain {
    /// Joins stages, the first of which takes `inputs` features.
    ///
    /// # Errors
    /// [`Error::Layer`] if there is none, if one does not take what the one before gives, or if a sequence layer follows
    /// one that gives its last step alone.
    pub fn new(inputs: usize, stages: Vec<Stage>) -> Result<Self> {
        let refuse = |found: String, expected: &str| Error::Layer {
            layer: "chain",
            key: "stages",
            found,
            expected: expected.to_owned(),
        };
        let (mut width, mut is_one_step) = (inputs, false);
        for (index, stage) in stages.iter().enumerate() {
            width = stage.outputs(width).ok_or_else(|| {
                let found = format!("stage {index}, which does not take {width} features");
                refuse(found, "stages that take what the one before gives")
            })?;
            if let Stage::Sequence(stage) = stage {
                stage.spec.check()?;
                let names = stage.parameters.len();
                if is_one_step || names != stage.spec.parameters().len() {
                    let found = format!("stage {index} with {names} parameters");
                    let expected = "a name for each parameter, and all steps to run over";
                    return Err(refuse(found, expected));
                }
                is_one_step = stage.is_last_only;
            }
        }
        if stages.is_empty() {
            return Err(refuse("none".to_owned(), "at least one"));
        }
        Ok(Self {
            stages,
            inputs,
            outputs: width,
        })
    }

    /// The stages, first to last.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Features in.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Features out.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Whether the chain gives one prediction for a whole sequence.
    pub fn is_last_only(&self) -> bool {
        let is_last = |stage: &Stage| matches!(stage, Stage::Sequence(stage) if stage.is_last_only);
        self.stages.iter().any(is_last)
    }

    /// All parameters, stage by stage.
    pub fn parameters(&self) -> Vec<ParameterSpec> {
        self.stages.iter().flat_map(Stage::parameters).collect()
    }
}

//! Stages with their weights packed, and the layout of their gradients.

use std::ops::Range;
use std::sync::Arc;

use super::super::dense::{Allotment, Dense, Preparation};
use super::super::network::{GradientWriter, Network};
use super::super::sequence::{Keep, Plan};
use super::gradient::ChainPlan;
use super::{LinearStage, Stage};
use crate::cell::Activation;

/// A stage prepared for a call.
#[derive(Debug)]
pub(super) enum Prepared {
    Sequence {
        plan: Plan,
        network: Network,
        /// How many it has.
        parameters: usize,
        /// Place of its gradients in a group's sums.
        sums: Range<usize>,
    },
    Linear {
        dense: Dense,
        has_bias: bool,
    },
    Activation(Activation),
}

/// All stages, and the length of their gradients together.
#[derive(Debug)]
pub(super) struct Stages {
    pub(super) all: Vec<Prepared>,
    pub(super) gradient_len: usize,
    /// The first stage that has parameters: what comes before it needs no gradient.
    first: usize,
}

impl Stages {
    /// Packs `parameters`, given stage by stage.
    pub(super) fn new(of: &ChainPlan, parameters: &[&[f32]]) -> Self {
        let chain = &of.chain;
        let mut places = Allotment::default();
        let mut rest = parameters;
        let mut all = Vec::with_capacity(chain.stages.len());
        let first = chain.stages.iter().position(|stage| stage_len(stage) > 0);
        let first = first.unwrap_or(chain.stages.len());
        for (index, stage) in chain.stages.iter().enumerate() {
            let (own, others) = rest.split_at(stage_len(stage));
            rest = others;
            let preparation = Preparation {
                tile: of.level.tile_rows(),
                is_forward: true,
                is_backward: true,
                wants_inputs: index > first,
                span: of.span,
            };
            all.push(match stage {
                Stage::Sequence(stage) => {
                    let network = Network::new(&stage.spec, own, preparation);
                    let sums = places.take(network.gradient_len);
                    Prepared::Sequence {
                        plan: Plan {
                            spec: Arc::clone(&stage.spec),
                            batch: of.batch,
                            time: of.time,
                            span: of.span,
                            is_last_only: stage.is_last_only,
                            level: of.level,
                            keep: Keep::All,
                        },
                        network,
                        parameters: own.len(),
                        sums,
                    }
                }
                Stage::Linear(stage) => Prepared::Linear {
                    dense: linear(stage, own, preparation, &mut places),
                    has_bias: stage.bias.is_some(),
                },
                Stage::Activation(activation) => Prepared::Activation(*activation),
            });
        }
        Self {
            all,
            gradient_len: places.total(),
            first,
        }
    }

    /// Rows of all records of a step.
    pub(super) fn tape_rows(&self) -> usize {
        let rows = self.all.iter().map(|stage| match stage {
            Prepared::Sequence { network, .. } => network.tape_rows,
            Prepared::Linear { .. } | Prepared::Activation(_) => 0,
        });
        rows.sum()
    }

    /// Says what the sequence stages leave for the way back.
    pub(super) fn keep(&mut self, all: Keep) {
        for stage in &mut self.all {
            if let Prepared::Sequence { plan, .. } = stage {
                plan.keep = all;
            }
        }
    }

    /// Whether nobody wants the gradient of the stage's inputs.
    pub(super) fn is_first(&self, index: usize) -> bool {
        index <= self.first
    }

    /// The factors of dropout from the stage on.
    pub(super) fn dropout_from<'b>(
        &self,
        index: usize,
        dropout: &'b [&'b [f32]],
    ) -> &'b [&'b [f32]] {
        let before = self.all[..index].iter().map(|stage| match stage {
            Prepared::Sequence { plan, .. } => plan.spec.dropout_arrays(),
            Prepared::Linear { .. } | Prepared::Activation(_) => 0,
        });
        &dropout[before.sum::<usize>()..]
    }

    /// Writes the gradients of all parameters, given their values, stage by stage.
    pub(super) fn emit(&self, parameters: &[&[f32]], sums: &[f32], out: &mut [&mut [f32]]) {
        let mut out = GradientWriter::new(out);
        let mut rest = parameters;
        for stage in &self.all {
            match stage {
                Prepared::Sequence {
                    network,
                    parameters,
                    sums: own,
                    ..
                } => {
                    network.emit(rest, &sums[own.clone()], &mut out);
                    rest = &rest[*parameters..];
                }
                Prepared::Linear { dense, has_bias } => {
                    out.write(&sums[dense.weight_place.clone()]);
                    if *has_bias {
                        out.write(&sums[dense.bias_place.clone()]);
                    }
                    rest = &rest[1 + usize::from(*has_bias)..];
                }
                Prepared::Activation(_) => {}
            }
        }
    }
}

fn stage_len(stage: &Stage) -> usize {
    match stage {
        Stage::Sequence(stage) => stage.parameters.len(),
        Stage::Linear(stage) => 1 + usize::from(stage.bias.is_some()),
        Stage::Activation(_) => 0,
    }
}

fn linear(
    stage: &LinearStage,
    parameters: &[&[f32]],
    preparation: Preparation,
    places: &mut Allotment,
) -> Dense {
    let bias = match parameters.get(1) {
        Some(bias) => bias.to_vec(),
        None => vec![0.0; stage.outputs],
    };
    let skipped = if preparation.wants_inputs {
        0
    } else {
        stage.inputs
    };
    Dense::new(parameters[0], bias, skipped, preparation, places)
}

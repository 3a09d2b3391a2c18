//! What loss and gradients of a chain take in memory on a CPU, from the sizes that the computation itself uses.

use std::sync::Arc;

use super::super::op::record_limit;
use super::super::pool;
use super::super::sequence::{BLOCK, Block};
use super::super::sequence_backward::GROUPS;
use super::super::simd;
use super::gradient::{ChainPlan, Judgement, Strides};
use super::prepared::{Prepared, Stages};
use super::{Chain, Loss};

impl Chain {
    /// Bytes of the kernels' own buffers in a training step, with the threads that are set now: packed weights, sums of
    /// gradients, and for each thread the values of one block of samples through all stages and back.
    pub fn scratch_bytes(&self, batch: usize, time: usize, has_timespans: bool) -> usize {
        self.scratch_within((batch, time), has_timespans, record_limit())
    }

    fn scratch_within(
        &self,
        (batch, time): (usize, usize),
        has_timespans: bool,
        record_limit: usize,
    ) -> usize {
        // All blocks but the last are alike, and each thread has one at a time.
        let batch = batch.min(BLOCK * GROUPS);
        let nowhere = Strides { sample: 0, step: 0 };
        let plan = ChainPlan {
            chain: Arc::new(self.clone()),
            judgement: Judgement {
                loss: Loss::Mse,
                targets: nowhere,
                weights: nowhere,
                is_last_step: false,
            },
            batch,
            time,
            span: (!has_timespans).then_some(1.0),
            level: simd::level(),
            record_limit,
        };
        let zeros: Vec<Vec<f32>> = self
            .parameters()
            .iter()
            .map(|parameter| vec![0.0; parameter.len()])
            .collect();
        let zeros: Vec<&[f32]> = zeros.iter().map(Vec::as_slice).collect();
        let mut stages = Stages::new(&plan, &zeros);
        let blocks = Block::all(batch, plan.level);
        stages.keep(plan.keep(stages.tape_rows(), &blocks));
        let groups = blocks.len().clamp(1, GROUPS);
        let lanes = blocks.iter().map(|block| block.lanes).max().unwrap_or(0);
        let at_work = groups.min(pool::threads());
        // Weights are packed once for either direction.
        let packed = 2 * zeros.iter().map(|values| values.len()).sum::<usize>();
        let values = at_work * lanes * self.block_rows(&stages, time)
            + groups * stages.gradient_len
            + packed;
        values * size_of::<f32>()
    }

    /// Values of one lane that exist at once, at most.
    fn block_rows(&self, stages: &Stages, time: usize) -> usize {
        let (mut steps, mut width) = (time, self.inputs);
        // What the stages were given and left.
        let mut held = steps * width;
        let mut back = 0;
        for (index, stage) in stages.all.iter().enumerate() {
            let given = if stages.is_first(index) {
                0
            } else {
                steps * width
            };
            let mut work = 0;
            match stage {
                Prepared::Sequence { plan, network, .. } => {
                    held += plan.saved_rows(network.tape_rows);
                    work = plan.work_rows(network);
                    width = plan.spec.outputs();
                    if plan.is_last_only {
                        steps = 1;
                    }
                }
                Prepared::Linear { dense, .. } => width = dense.outputs,
                Prepared::Activation(_) => {}
            }
            held += steps * width;
            // The gradient of what a stage gave, that of what it was given, and its own work.
            back = back.max(steps * width + given + work);
        }
        held + back
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::buffer::spare_values;
    use super::super::super::sequence::Spans;
    use super::super::super::spec::{CfcLayer, CfcSpec, SequenceSpec};
    use super::super::gradient::Inputs;
    use super::super::{LinearStage, Stage};
    use super::*;
    use crate::cell::{Activation, Mode};

    fn layer(spec: SequenceSpec) -> Stage {
        super::super::tests::layer(spec, false)
    }

    fn linear(inputs: usize) -> Stage {
        Stage::Linear(LinearStage {
            inputs,
            outputs: 4,
            weight: "head.weight".to_owned(),
            bias: None,
        })
    }

    fn cfc(inputs: usize, units: usize) -> SequenceSpec {
        let layer = CfcLayer {
            inputs,
            units,
            mask: None,
        };
        let cfc = CfcSpec {
            layers: vec![layer],
            mode: Mode::Default,
            activation: Activation::Tanh,
            backbone_units: 48,
            backbone_layers: 1,
            dropped: Vec::new(),
        };
        SequenceSpec::cfc(cfc, false)
    }

    /// Bytes of all buffers that a thread has after one block of samples.
    fn taken(chain: &Chain, time: usize, record_limit: usize) -> usize {
        let values: Vec<Vec<f32>> = chain
            .parameters()
            .iter()
            .map(|parameter| vec![0.01; parameter.len()])
            .collect();
        let parameters: Vec<&[f32]> = values.iter().map(Vec::as_slice).collect();
        let mut gradients = values.clone();
        let mut out: Vec<&mut [f32]> = gradients.iter_mut().map(Vec::as_mut_slice).collect();
        let plan = ChainPlan {
            chain: Arc::new(chain.clone()),
            judgement: Judgement {
                loss: Loss::Mse,
                targets: Strides {
                    sample: time * chain.outputs(),
                    step: chain.outputs(),
                },
                weights: Strides { sample: 1, step: 0 },
                is_last_step: false,
            },
            batch: BLOCK,
            time,
            span: Some(1.0),
            level: simd::level(),
            record_limit,
        };
        let inputs = Inputs {
            parameters: &parameters,
            x: &vec![0.5; BLOCK * time * chain.inputs()],
            spans: Spans::Constant,
            mask: None,
            dropout: &[],
            targets: &vec![0.0; BLOCK * time * chain.outputs()],
            weights: &[1.0; BLOCK],
        };
        let totals = plan.gradients(inputs, &mut out);
        assert!(totals[1] > 0.0);
        size_of::<f32>() * spare_values()
    }

    #[test]
    fn the_estimate_is_near_what_a_thread_takes() {
        for (stages, time) in [
            (vec![layer(SequenceSpec::lstm(8, 64)), linear(64)], 120),
            (vec![layer(SequenceSpec::lstm(3, 24)), linear(24)], 33),
            (vec![layer(cfc(8, 64)), linear(64)], 64),
            (vec![layer(cfc(8, 32)), layer(cfc(32, 40)), linear(40)], 90),
        ] {
            let chain = Chain::new(if time == 33 { 3 } else { 8 }, stages).unwrap();
            // Everything kept, and the segments run again.
            for limit in [usize::MAX, 1 << 10] {
                let estimate = chain.scratch_within((BLOCK, time), false, limit);
                let packed: usize = chain.parameters().iter().map(|p| 2 * p.len()).sum();
                let estimate = (estimate - packed * size_of::<f32>()) as f64;
                // A thread of its own begins without buffers.
                let taken = std::thread::scope(|scope| {
                    let run = scope.spawn(|| taken(&chain, time, limit));
                    run.join().unwrap() as f64
                });
                let ratio = estimate / taken;
                assert!(
                    (0.85..1.2).contains(&ratio),
                    "{time} {limit}: {estimate} {taken}"
                );
            }
        }
    }

    #[test]
    fn only_the_threads_of_a_large_batch_take_memory() {
        let chain = Chain::new(8, vec![layer(SequenceSpec::lstm(8, 64)), linear(64)]).unwrap();
        let of = |batch| chain.scratch_bytes(batch, 50, true);
        assert_eq!(of(BLOCK * GROUPS), of(1 << 40));
        assert!(of(BLOCK) > of(1));
    }
}

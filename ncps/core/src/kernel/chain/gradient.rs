//! Loss and gradients of a chain over a batch: blocks on threads, then the sum of what they found.

use std::sync::Arc;

use super::super::buffer::Buffer;
use super::super::pool;
use super::super::sequence::{Block, Keep, Spans};
use super::super::sequence_backward::{GROUPS, segment_length};
use super::super::simd::Level;
use super::block::BlockGradient;
use super::prepared::Stages;
use super::{Chain, Loss};

/// Where the values of a sample and step lie: at `b * sample + t * step`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strides {
    pub(crate) sample: usize,
    pub(crate) step: usize,
}

/// How predictions are judged.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Judgement {
    pub(crate) loss: Loss,
    pub(crate) targets: Strides,
    pub(crate) weights: Strides,
    /// Whether only the last step that the mask calls real counts.
    pub(crate) is_last_step: bool,
}

/// Everything about a call but the values.
#[derive(Clone, Debug)]
pub(crate) struct ChainPlan {
    pub(crate) chain: Arc<Chain>,
    pub(crate) judgement: Judgement,
    pub(crate) batch: usize,
    pub(crate) time: usize,
    /// How long every step lasts; none where the call is given timespans.
    pub(crate) span: Option<f32>,
    pub(crate) level: Level,
    /// Bytes of records that may exist at a time.
    pub(crate) record_limit: usize,
}

/// The values of a call: row-major, of the lengths that the plan implies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs<'a> {
    /// Stage by stage.
    pub(crate) parameters: &'a [&'a [f32]],
    /// `[B, T, F]`.
    pub(crate) x: &'a [f32],
    pub(crate) spans: Spans<'a>,
    /// `[B, T]`.
    pub(crate) mask: Option<&'a [f32]>,
    /// For each dropped backbone layer of each stage `[T, B, K]`.
    pub(crate) dropout: &'a [&'a [f32]],
    /// Of the strides and the width that the judgement says.
    pub(crate) targets: &'a [f32],
    pub(crate) weights: &'a [f32],
}

/// What blocks of a group add up to.
struct Group<'a> {
    blocks: &'a [Block],
    sums: Buffer,
    /// Loss and weight.
    totals: [f64; 2],
}

impl ChainPlan {
    /// Gives the sums of losses and of weights, and writes the gradients of the former.
    pub(crate) fn gradients(&self, inputs: Inputs<'_>, out: &mut [&mut [f32]]) -> [f32; 2] {
        let mut stages = Stages::new(self, inputs.parameters);
        let blocks = Block::all(self.batch, self.level);
        stages.keep(self.keep(stages.tape_rows(), &blocks));
        let count = blocks.len().clamp(1, GROUPS);
        let first = |group: usize| (group * blocks.len()).div_ceil(count);
        let mut groups: Vec<Group<'_>> = (0..count)
            .map(|group| Group {
                blocks: &blocks[first(group)..first(group + 1)],
                sums: Buffer::zeros(stages.gradient_len),
                totals: [0.0; 2],
            })
            .collect();
        pool::for_each(groups.iter_mut().collect(), |group: &mut Group<'_>| {
            for &block in group.blocks {
                let one = BlockGradient {
                    plan: self,
                    stages: &stages,
                    inputs,
                    block,
                };
                let found = one.add_to(&mut group.sums);
                group.totals[0] += found[0];
                group.totals[1] += found[1];
            }
        });
        let mut totals = [0.0; 2];
        if let Some((whole, others)) = groups.split_first_mut() {
            totals = whole.totals;
            for other in others {
                totals[0] += other.totals[0];
                totals[1] += other.totals[1];
                let sums = whole.sums.iter_mut().zip(other.sums.iter());
                sums.for_each(|(sum, value)| *sum += value);
            }
            stages.emit(inputs.parameters, &whole.sums, out);
        }
        totals.map(|total| total as f32)
    }

    /// All records, if those of the blocks at work fit.
    pub(super) fn keep(&self, tape_rows: usize, blocks: &[Block]) -> Keep {
        let lanes: usize = blocks.iter().take(GROUPS).map(|block| block.lanes).sum();
        if self.time * tape_rows * lanes * size_of::<f32>() <= self.record_limit {
            return Keep::All;
        }
        let length = segment_length(self.time);
        tracing::debug!(
            batch = self.batch,
            time = self.time,
            length,
            "records exceed their limit: segments are run again"
        );
        Keep::Segments(length)
    }
}

//! One block of samples through all stages, the loss, and back.

use super::super::buffer::Buffer;
use super::super::sequence::{self, Block, BlockForward, Plan, Readout};
use super::super::sequence_backward::{BlockBackward, Cotangents, Sink, WithSums};
use super::super::steps::to_lanes;
use super::gradient::{ChainPlan, Inputs};
use super::loss::Position;
use super::pointwise::{Apply, Differentiate, LinearBackward, LinearForward};
use super::prepared::{Prepared, Stages};

/// What is computed on which samples. Only what it calls is compiled once per instruction set.
#[derive(Clone, Copy)]
pub(super) struct BlockGradient<'a> {
    pub(super) plan: &'a ChainPlan,
    pub(super) stages: &'a Stages,
    pub(super) inputs: Inputs<'a>,
    pub(super) block: Block,
}

/// What a stage was given and what it left for the way back.
struct Trace {
    /// [steps, features, lanes].
    features: Buffer,
    /// Of a sequence stage.
    saved: Buffer,
}

impl BlockGradient<'_> {
    /// Adds the block's gradients to the sums, and gives its sums of losses and of weights.
    pub(super) fn add_to(&self, sums: &mut [f32]) -> [f64; 2] {
        let (traces, predictions, steps) = self.forward();
        let mut gradient = Buffer::take(predictions.len());
        let totals = self.judge(&predictions, steps, &mut gradient);
        self.backward(&traces, (&predictions, gradient), sums);
        totals
    }

    /// All stages; gives the traces, the predictions and their number of steps.
    fn forward(&self) -> (Vec<Trace>, Buffer, usize) {
        let level = self.plan.level;
        let (lanes, mut steps) = (self.block.lanes, self.plan.time);
        let mut traces = Vec::with_capacity(self.stages.all.len());
        let mut features = self.load_x();
        for (index, stage) in self.stages.all.iter().enumerate() {
            let mut saved = Buffer::take(0);
            let next = match stage {
                Prepared::Sequence { plan, network, .. } => {
                    saved = Buffer::take(plan.saved_rows(network.tape_rows) * lanes);
                    if plan.is_last_only {
                        steps = 1;
                    }
                    let mut y = Buffer::take(steps * plan.spec.outputs() * lanes);
                    level.run(BlockForward {
                        plan,
                        network,
                        inputs: self.sequence_inputs(plan, index),
                        features: Some(&features),
                        block: self.block,
                        out: Readout::Lanes(&mut y),
                        saved: &mut saved,
                    });
                    y
                }
                Prepared::Linear { dense, .. } => {
                    let mut y = Buffer::take(steps * dense.outputs * lanes);
                    level.run(LinearForward {
                        dense,
                        x: &features,
                        y: &mut y,
                        lanes,
                    });
                    y
                }
                Prepared::Activation(function) => {
                    let mut y = Buffer::take(features.len());
                    y.copy_from_slice(&features);
                    level.run(Apply(*function, &mut y));
                    y
                }
            };
            let features = std::mem::replace(&mut features, next);
            traces.push(Trace { features, saved });
        }
        (traces, features, steps)
    }

    /// All stages backward, from the gradient of the predictions.
    fn backward(
        &self,
        traces: &[Trace],
        (predictions, mut gradient): (&[f32], Buffer),
        all_sums: &mut [f32],
    ) {
        let (level, lanes) = (self.plan.level, self.block.lanes);
        let mut values = predictions;
        for (index, (stage, trace)) in self.stages.all.iter().zip(traces).enumerate().rev() {
            let features = &trace.features[..];
            let is_first = self.stages.is_first(index);
            let mut next = Buffer::take(if is_first { 0 } else { features.len() });
            match stage {
                Prepared::Sequence {
                    plan,
                    network,
                    sums,
                    ..
                } => {
                    let job = BlockBackward {
                        plan,
                        network,
                        inputs: self.sequence_inputs(plan, index),
                        features: Some(features),
                        keep: plan.keep,
                        block: self.block,
                        saved: &trace.saved,
                        cotangents: Cotangents {
                            y: Some(&gradient),
                            hidden: None,
                            memory: None,
                        },
                        x: if is_first {
                            Sink::Rows(&mut [])
                        } else {
                            Sink::Lanes(&mut next)
                        },
                        timespans: &mut [],
                        hidden: &mut [],
                        memory: &mut [],
                    };
                    let sums = &mut all_sums[sums.clone()];
                    level.run(WithSums { block: job, sums });
                }
                Prepared::Linear { dense, .. } => level.run(LinearBackward {
                    dense,
                    x: features,
                    y_gradient: &gradient,
                    x_gradient: &mut next,
                    sums: all_sums,
                    lanes,
                }),
                Prepared::Activation(function) => {
                    level.run(Differentiate {
                        function: *function,
                        arguments: features,
                        values,
                        gradient: &mut gradient,
                    });
                    next = gradient;
                }
            }
            (gradient, values) = (next, features);
        }
    }

    /// The inputs of all steps in lanes; zeros where they are masked.
    fn load_x(&self) -> Buffer {
        let Block {
            start,
            samples,
            lanes,
        } = self.block;
        let (time, width) = (self.plan.time, self.plan.chain.inputs());
        let mut features = Buffer::take(time * width * lanes);
        if samples < lanes {
            features.fill(0.0);
        }
        for (t, rows) in features.chunks_exact_mut(width * lanes).enumerate() {
            let first = (start * time + t) * width;
            let from = &self.inputs.x[first..];
            to_lanes(from, (samples, time * width), rows, (width, lanes));
            if let Some(mask) = self.inputs.mask {
                for lane in 0..samples {
                    if mask[(start + lane) * time + t] == 0.0 {
                        rows.iter_mut()
                            .skip(lane)
                            .step_by(lanes)
                            .for_each(|x| *x = 0.0);
                    }
                }
            }
        }
        features
    }

    /// Inputs of the sequence stage in place `index`, but its features.
    fn sequence_inputs(&self, plan: &Plan, index: usize) -> sequence::Inputs<'_> {
        let dropout = self.stages.dropout_from(index, self.inputs.dropout);
        sequence::Inputs {
            parameters: &[],
            x: &[],
            spans: self.inputs.spans,
            mask: self.inputs.mask,
            hidden: None,
            memory: None,
            dropout: &dropout[..plan.spec.dropout_arrays()],
        }
    }

    /// The loss of all steps and its gradient.
    fn judge(&self, predictions: &[f32], steps: usize, gradient: &mut [f32]) -> [f64; 2] {
        let Block {
            start,
            samples,
            lanes,
        } = self.block;
        let judgement = &self.plan.judgement;
        let inputs = &self.inputs;
        let size = predictions.len() / steps;
        let width = judgement.loss.target_width(size / lanes);
        let last = judgement.is_last_step.then(|| self.last_steps(steps));
        // A single prediction for a sequence is judged whatever the mask says.
        let mask = inputs.mask.filter(|_| !self.plan.chain.is_last_only());
        let mut sums = Buffer::zeros(2 * lanes);
        let mut weights = Buffer::zeros(lanes);
        let mut targets = Buffer::zeros(width * lanes);
        let steps = predictions.chunks_exact(size);
        let steps = steps.zip(gradient.chunks_exact_mut(size)).enumerate();
        for (t, (predictions, gradients)) in steps {
            for (lane, weight) in weights[..samples].iter_mut().enumerate() {
                let places = judgement.weights;
                let b = start + lane;
                *weight = inputs.weights[b * places.sample + t * places.step];
                if let Some(mask) = mask {
                    *weight *= mask[b * self.plan.time + t];
                }
                if let Some(last) = &last
                    && last[lane].to_bits() != (t as f32).to_bits()
                {
                    *weight = 0.0;
                }
            }
            let places = judgement.targets;
            let first = start * places.sample + t * places.step;
            to_lanes(
                &inputs.targets[first..],
                (samples, places.sample),
                &mut targets,
                (width, lanes),
            );
            // What does not count may be missing (NaN).
            for row in targets.chunks_exact_mut(lanes) {
                for (target, weight) in row.iter_mut().zip(weights.iter()) {
                    *target = if *weight > 0.0 { *target } else { 0.0 };
                }
            }
            judgement.loss.judge(
                self.plan.level,
                Position {
                    predictions,
                    targets: &targets,
                    weights: &weights,
                    gradients,
                    sums: &mut sums,
                },
            );
        }
        let total = |row: usize| {
            let row = &sums[row * lanes..][..samples];
            row.iter().map(|value| f64::from(*value)).sum()
        };
        [total(0), total(1)]
    }

    /// The last real step of each sample of the block.
    fn last_steps(&self, steps: usize) -> Vec<f32> {
        let time = self.plan.time;
        let last = |b: usize| match self.inputs.mask {
            None => (steps - 1) as f32,
            Some(mask) => {
                let row = mask[b * time..][..time].iter().enumerate();
                row.map(|(t, real)| t as f32 * real)
                    .fold(f32::NEG_INFINITY, f32::max)
            }
        };
        let Block { start, samples, .. } = self.block;
        (start..start + samples).map(last).collect()
    }
}

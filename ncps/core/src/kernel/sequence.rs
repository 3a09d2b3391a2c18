//! A layer over a whole sequence, forward.
//!
//! The batch is cut into blocks of up to 32 samples, which do not depend on the number of threads; a block is run over all
//! steps before its state leaves the cache. Inputs `[B, T, F]` are turned into lanes step by step. In masked steps the state
//! is carried on, and what the inputs hold there is never read.

use std::sync::Arc;

use super::buffer::{Buffer, LINE, misalignment};
use super::dense::Preparation;
use super::network::{Cell, Network};
use super::simd::{Kernel, Level, Simd, each};
use super::spec::SequenceSpec;
use super::steps::{State, Steps, from_lanes};

/// Samples in a full block.
pub(crate) const BLOCK: usize = 32;

/// How long each step lasts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spans<'a> {
    /// The same for all steps and samples, as the plan says.
    Constant,
    /// `[T]`, the same for all samples.
    Shared(&'a [f32]),
    /// `[B, T]`.
    PerSample(&'a [f32]),
}

/// What the forward pass leaves for the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing: the backward pass runs the sequence forward again.
    Nothing,
    /// The record of every step.
    All,
    /// The state at the start of every segment of so many steps; the backward pass runs each segment again.
    Segments(usize),
}

/// Everything about a call but the values.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) spec: Arc<SequenceSpec>,
    pub(crate) batch: usize,
    pub(crate) time: usize,
    /// How long every step lasts; none where the call is given timespans.
    pub(crate) span: Option<f32>,
    pub(crate) is_last_only: bool,
    pub(crate) level: Level,
    pub(crate) keep: Keep,
}

/// The values of a call: row-major, of the lengths that the plan implies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs<'a> {
    pub(crate) parameters: &'a [&'a [f32]],
    /// `[B, T, F]`.
    pub(crate) x: &'a [f32],
    pub(crate) spans: Spans<'a>,
    /// `[B, T]`, 0 where a step is not real.
    pub(crate) mask: Option<&'a [f32]>,
    /// `[B, U]`.
    pub(crate) hidden: Option<&'a [f32]>,
    /// `[B, U]`.
    pub(crate) memory: Option<&'a [f32]>,
    /// For each dropped backbone layer `[T, B, K]`.
    pub(crate) dropout: &'a [&'a [f32]],
}

/// Where the results of a forward call go.
#[derive(Debug)]
pub(crate) struct Outputs<'a> {
    /// `[B, T, O]`, or `[B, O]` if only the last step is wanted.
    pub(crate) y: &'a mut [f32],
    /// `[B, U]`.
    pub(crate) hidden: &'a mut [f32],
    /// `[B, U]`, empty without a memory.
    pub(crate) memory: &'a mut [f32],
    /// `Plan::saved_len` values.
    pub(crate) saved: &'a mut [f32],
}

/// Some samples that are computed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) start: usize,
    pub(crate) samples: usize,
    /// `samples`, rounded up to whole vectors.
    pub(crate) lanes: usize,
}

impl Block {
    /// Cuts a batch.
    pub(crate) fn all(batch: usize, level: Level) -> Vec<Self> {
        let starts = (0..batch).step_by(BLOCK);
        let block = |start: usize| {
            let samples = BLOCK.min(batch - start);
            Self {
                start,
                samples,
                lanes: samples.next_multiple_of(level.lanes()),
            }
        };
        starts.map(block).collect()
    }
}

impl Plan {
    pub(crate) fn blocks(&self) -> Vec<Block> {
        Block::all(self.batch, self.level)
    }

    pub(crate) fn preparation(
        &self,
        is_forward: bool,
        is_backward: bool,
        wants_inputs: bool,
    ) -> Preparation {
        Preparation {
            tile: self.level.tile_rows(),
            is_forward,
            is_backward,
            wants_inputs,
            span: self.span,
        }
    }

    /// Rows of the state: hidden and memory.
    pub(crate) fn state_rows(&self) -> usize {
        self.spec.units * if self.spec.has_memory { 2 } else { 1 }
    }

    /// Values that one lane leaves for the backward pass.
    pub(crate) fn saved_rows(&self, tape_rows: usize) -> usize {
        match self.keep {
            Keep::Nothing => 0,
            Keep::All => self.time * tape_rows,
            Keep::Segments(length) => self.time.div_ceil(length.max(1)) * self.state_rows(),
        }
    }

    /// Length of the array that carries the saved values; one line of it is for alignment.
    pub(crate) fn saved_len(&self, tape_rows: usize) -> usize {
        let lanes: usize = self.blocks().iter().map(|block| block.lanes).sum();
        match self.saved_rows(tape_rows) * lanes {
            0 => 0,
            len => len + 2 * LINE,
        }
    }

    /// Cuts the saved array's values into those of the blocks.
    pub(crate) fn saved_blocks<'a>(
        &self,
        saved: &'a mut [f32],
        tape_rows: usize,
    ) -> Vec<&'a mut [f32]> {
        let rows = self.saved_rows(tape_rows);
        let mut rest = saved;
        if !rest.is_empty() {
            // The first value says where the others start: a copy of the array may be aligned differently.
            let start = 1 + misalignment(&rest[1..]);
            rest[0] = start as f32;
            rest = &mut rest[start..];
        }
        let blocks = self.blocks().into_iter().map(|block| {
            let (own, others) = std::mem::take(&mut rest).split_at_mut(rows * block.lanes);
            rest = others;
            own
        });
        blocks.collect()
    }

    /// Runs the whole batch.
    pub(crate) fn forward(&self, inputs: Inputs<'_>, out: Outputs<'_>) {
        let preparation = self.preparation(true, false, false);
        let network = Network::new(&self.spec, inputs.parameters, preparation);
        let steps = if self.is_last_only { 1 } else { self.time };
        let y_len = steps * self.spec.outputs();
        let memory_len = if self.spec.has_memory {
            self.spec.units
        } else {
            0
        };
        let mut saved = self.saved_blocks(out.saved, network.tape_rows).into_iter();
        let (mut y, mut hidden, mut memory) = (out.y, out.hidden, out.memory);
        let jobs = self.blocks().into_iter().map(|block| BlockForward {
            plan: self,
            network: &network,
            inputs,
            features: None,
            block,
            out: Readout::Rows {
                y: take(&mut y, block.samples * y_len),
                hidden: take(&mut hidden, block.samples * self.spec.units),
                memory: take(&mut memory, block.samples * memory_len),
            },
            saved: saved.next().unwrap_or_default(),
        });
        super::pool::for_each(jobs.collect(), |job| self.level.run(job));
    }
}

/// Splits off the first `len` values.
pub(crate) fn take<'a>(rest: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    let (own, others) = std::mem::take(rest).split_at_mut(len);
    *rest = others;
    own
}

/// Where the results of a block go.
pub(crate) enum Readout<'a> {
    /// The block's part of the arrays of [`Outputs`].
    Rows {
        y: &'a mut [f32],
        hidden: &'a mut [f32],
        memory: &'a mut [f32],
    },
    /// Outputs alone, in lanes: [T, O, lanes], or [1, O, lanes] if only the last step is wanted.
    Lanes(&'a mut [f32]),
}

/// One block over all steps.
pub(crate) struct BlockForward<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) network: &'a Network,
    pub(crate) inputs: Inputs<'a>,
    /// Inputs in lanes, instead of `inputs.x`.
    pub(crate) features: Option<&'a [f32]>,
    pub(crate) block: Block,
    pub(crate) out: Readout<'a>,
    pub(crate) saved: &'a mut [f32],
}

impl Kernel for BlockForward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let Self {
            plan,
            network,
            block,
            ..
        } = self;
        let lanes = block.lanes;
        let mut state = State::new(plan, block, self.inputs.hidden, self.inputs.memory);
        let mut steps = Steps::new(plan, network, block, self.inputs, self.features);
        let record = network.tape_rows * lanes;
        let mut spare = Buffer::take(if plan.keep == Keep::All { 0 } else { record });
        let mut readout = Buffer::take(plan.spec.outputs() * lanes);
        for t in 0..plan.time {
            if let Keep::Segments(length) = plan.keep
                && t % length == 0
            {
                let size = plan.state_rows() * lanes;
                state.save(&mut self.saved[t / length * size..][..size]);
            }
            let tape = match plan.keep {
                Keep::All => &mut self.saved[t * record..(t + 1) * record],
                Keep::Nothing | Keep::Segments(_) => &mut spare[..],
            };
            steps.forward(s, t, &mut state, tape);
            if !plan.is_last_only || t + 1 == plan.time {
                network.read_out(s, &state.hidden, &mut readout, lanes);
                let place = if plan.is_last_only { 0 } else { t };
                self.out.write(plan, block, place, &readout);
            }
        }
        self.out.finish(plan, block, &state);
    }
}

impl Readout<'_> {
    /// Puts the outputs of one step into place `step`.
    fn write(&mut self, plan: &Plan, block: Block, step: usize, readout: &[f32]) {
        let outputs = plan.spec.outputs();
        match self {
            Self::Lanes(y) => y[step * readout.len()..][..readout.len()].copy_from_slice(readout),
            Self::Rows { y, .. } => {
                let steps = if plan.is_last_only { 1 } else { plan.time };
                from_lanes(
                    readout,
                    (outputs, block.lanes),
                    &mut y[step * outputs..],
                    (block.samples, steps * outputs),
                );
            }
        }
    }

    fn finish(&mut self, plan: &Plan, block: Block, state: &State) {
        let Self::Rows { hidden, memory, .. } = self else {
            return;
        };
        let (from, to) = (
            (plan.spec.units, block.lanes),
            (block.samples, plan.spec.units),
        );
        from_lanes(&state.hidden, from, hidden, to);
        if plan.spec.has_memory {
            from_lanes(&state.memory, from, memory, to);
        }
    }
}

impl Network {
    /// The outputs [O, lanes] of a state [U, lanes].
    #[inline(always)]
    pub(crate) fn read_out<S: Simd>(&self, s: S, hidden: &[f32], out: &mut [f32], lanes: usize) {
        let outputs = self.spec.outputs();
        if let Cell::Ltc(ltc) = &self.cell {
            for m in 0..outputs {
                let (scale, shift) = (s.splat(ltc.output_scale[m]), s.splat(ltc.output_shift[m]));
                let row = m * lanes..(m + 1) * lanes;
                each!(
                    s,
                    lanes,
                    [v = &hidden[row.clone()]],
                    [_old = &mut out[row]],
                    [s.mul_add(v, scale, shift)]
                );
            }
        } else {
            for (row, &place) in out.chunks_exact_mut(lanes).zip(&self.spec.output_places) {
                row.copy_from_slice(&hidden[place * lanes..(place + 1) * lanes]);
            }
        }
    }
}

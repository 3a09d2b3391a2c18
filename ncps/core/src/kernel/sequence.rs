//! A layer over a whole sequence, forward.
//!
//! The batch is cut into blocks of up to 32 samples, which do not depend on the number of threads; a block is run over all
//! steps before its state leaves the cache. Inputs `[B, T, F]` are turned into lanes step by step. In masked steps the state
//! is carried on, and what the inputs hold there is never read.

use std::sync::Arc;

use super::buffer::{Buffer, LINE, misalignment};
use super::cfc::StepInput;
use super::dense::Preparation;
use super::network::{Cell, Network, StateMut};
use super::simd::{Kernel, Level, Simd, each};
use super::spec::SequenceSpec;

/// Samples in a full block.
const BLOCK: usize = 32;

/// How long each step lasts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spans<'a> {
    /// The same for all steps and samples, as the plan says.
    Constant,
    /// [T], the same for all samples.
    Shared(&'a [f32]),
    /// [B, T].
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
    /// [B, T, F].
    pub(crate) x: &'a [f32],
    pub(crate) spans: Spans<'a>,
    /// [B, T], 0 where a step is not real.
    pub(crate) mask: Option<&'a [f32]>,
    /// [B, U].
    pub(crate) hidden: Option<&'a [f32]>,
    /// [B, U].
    pub(crate) memory: Option<&'a [f32]>,
    /// For each dropped backbone layer [T, B, K].
    pub(crate) dropout: &'a [&'a [f32]],
}

/// Where the results of a forward call go.
#[derive(Debug)]
pub(crate) struct Outputs<'a> {
    /// [B, T, O], or [B, O] if only the last step is wanted.
    pub(crate) y: &'a mut [f32],
    /// [B, U].
    pub(crate) hidden: &'a mut [f32],
    /// [B, U], empty without a memory.
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

impl Plan {
    pub(crate) fn blocks(&self) -> Vec<Block> {
        let starts = (0..self.batch).step_by(BLOCK);
        let block = |start: usize| {
            let samples = BLOCK.min(self.batch - start);
            Block {
                start,
                samples,
                lanes: samples.next_multiple_of(self.level.lanes()),
            }
        };
        starts.map(block).collect()
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
            block,
            y: take(&mut y, block.samples * y_len),
            hidden: take(&mut hidden, block.samples * self.spec.units),
            memory: take(&mut memory, block.samples * memory_len),
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

/// One block over all steps.
struct BlockForward<'a> {
    plan: &'a Plan,
    network: &'a Network,
    inputs: Inputs<'a>,
    block: Block,
    y: &'a mut [f32],
    hidden: &'a mut [f32],
    memory: &'a mut [f32],
    saved: &'a mut [f32],
}

impl Kernel for BlockForward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            plan,
            network,
            block,
            ..
        } = self;
        let lanes = block.lanes;
        let mut state = State::new(plan, block, self.inputs.hidden, self.inputs.memory);
        let mut steps = Steps::new(plan, network, block, self.inputs);
        let record = network.tape_rows * lanes;
        let mut spare = Buffer::take(if plan.keep == Keep::All { 0 } else { record });
        let outputs = plan.spec.outputs();
        let mut readout = Buffer::take(outputs * lanes);
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
                let (stride, first) = if plan.is_last_only {
                    (outputs, 0)
                } else {
                    (plan.time * outputs, t * outputs)
                };
                from_lanes(
                    &readout,
                    (outputs, lanes),
                    &mut self.y[first..],
                    (block.samples, stride),
                );
            }
        }
        let units = plan.spec.units;
        from_lanes(
            &state.hidden,
            (units, lanes),
            self.hidden,
            (block.samples, units),
        );
        if plan.spec.has_memory {
            from_lanes(
                &state.memory,
                (units, lanes),
                self.memory,
                (block.samples, units),
            );
        }
    }
}

/// The state of a block, in lanes.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) hidden: Buffer,
    pub(crate) memory: Buffer,
}

impl State {
    /// From [B, U] arrays, or zero.
    pub(crate) fn new(
        plan: &Plan,
        block: Block,
        hidden: Option<&[f32]>,
        memory: Option<&[f32]>,
    ) -> Self {
        let units = plan.spec.units;
        let load = |from: Option<&[f32]>, units: usize| {
            let mut to = Buffer::zeros(units * block.lanes);
            if let Some(from) = from {
                to_lanes(
                    &from[block.start * units..],
                    (block.samples, units),
                    &mut to,
                    (units, block.lanes),
                );
            }
            to
        };
        Self {
            hidden: load(hidden, units),
            memory: load(memory, if plan.spec.has_memory { units } else { 0 }),
        }
    }

    pub(crate) fn save(&self, to: &mut [f32]) {
        let (hidden, memory) = to.split_at_mut(self.hidden.len());
        hidden.copy_from_slice(&self.hidden);
        memory.copy_from_slice(&self.memory);
    }

    pub(crate) fn restore(&mut self, from: &[f32]) {
        let (hidden, memory) = from.split_at(self.hidden.len());
        self.hidden.copy_from_slice(hidden);
        self.memory.copy_from_slice(memory);
    }
}

/// Runs single steps of a block, with the inputs of each step turned into lanes.
#[derive(Debug)]
pub(crate) struct Steps<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) network: &'a Network,
    pub(crate) block: Block,
    pub(crate) inputs: Inputs<'a>,
    x: Buffer,
    elapsed: Buffer,
    dropout: Buffer,
    mask: Buffer,
    next: State,
    scratch: Buffer,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(
        plan: &'a Plan,
        network: &'a Network,
        block: Block,
        inputs: Inputs<'a>,
    ) -> Self {
        let lanes = block.lanes;
        let mut elapsed = Buffer::take(lanes);
        elapsed.fill(1.0);
        Self {
            plan,
            network,
            block,
            inputs,
            x: Buffer::zeros(plan.spec.inputs * lanes),
            elapsed,
            dropout: Buffer::zeros(plan.spec.dropout_rows() * lanes),
            mask: Buffer::zeros(lanes),
            next: State::new(plan, block, None, None),
            scratch: Buffer::take(network.scratch_rows * lanes),
        }
    }

    /// Reads mask, elapsed times and dropout factors of step `t`; a masked step gets an elapsed time of 1.
    pub(crate) fn load(&mut self, t: usize) {
        let Block {
            start,
            samples,
            lanes,
        } = self.block;
        let time = self.plan.time;
        if let Some(mask) = self.inputs.mask {
            for (lane, to) in self.mask[..samples].iter_mut().enumerate() {
                *to = mask[(start + lane) * time + t];
            }
        }
        match self.inputs.spans {
            Spans::Constant => {}
            Spans::Shared(spans) => self.elapsed[..samples].fill(spans[t]),
            Spans::PerSample(spans) => {
                for (lane, to) in self.elapsed[..samples].iter_mut().enumerate() {
                    *to = spans[(start + lane) * time + t];
                }
            }
        }
        if self.inputs.mask.is_some() {
            for (elapsed, mask) in self.elapsed.iter_mut().zip(self.mask.iter()) {
                *elapsed = if *mask == 0.0 { 1.0 } else { *elapsed };
            }
        }
        let mut first = 0;
        for factors in self.inputs.dropout {
            let width = factors.len() / (time * self.plan.batch);
            let from = &factors[(t * self.plan.batch + start) * width..];
            to_lanes(
                from,
                (samples, width),
                &mut self.dropout[first * lanes..],
                (width, lanes),
            );
            first += width;
        }
    }

    /// Reads the inputs of step `t`: zeros in masked lanes.
    fn load_x(&mut self, t: usize) {
        let Block {
            start,
            samples,
            lanes,
        } = self.block;
        let features = self.plan.spec.inputs;
        for lane in 0..samples {
            let is_masked = self.inputs.mask.is_some() && self.mask[lane] == 0.0;
            let from =
                &self.inputs.x[((start + lane) * self.plan.time + t) * features..][..features];
            for (feature, value) in from.iter().enumerate() {
                self.x[feature * lanes + lane] = if is_masked { 0.0 } else { *value };
            }
        }
    }

    /// What a step reads, after `load`.
    #[inline(always)]
    pub(crate) fn step(&self) -> StepInput<'_> {
        step_input(
            self.plan,
            &self.x,
            &self.elapsed,
            &self.dropout,
            self.block.lanes,
        )
    }

    /// The mask of the loaded step, if there is one.
    #[inline(always)]
    pub(crate) fn mask(&self) -> Option<&[f32]> {
        self.inputs.mask.map(|_| &self.mask[..])
    }

    /// Runs step `t`, filling its record.
    #[inline(always)]
    pub(crate) fn forward<S: Simd>(&mut self, s: S, t: usize, state: &mut State, tape: &mut [f32]) {
        s.dispatch(StepForward {
            steps: self,
            t,
            state,
            tape,
        });
    }

    #[inline(always)]
    fn run<S: Simd>(&mut self, s: S, t: usize, state: &mut State, tape: &mut [f32]) {
        self.load(t);
        self.load_x(t);
        let next = StateMut {
            hidden: &mut self.next.hidden,
            memory: &mut self.next.memory,
        };
        let step = step_input(
            self.plan,
            &self.x,
            &self.elapsed,
            &self.dropout,
            self.block.lanes,
        );
        let old = (&state.hidden[..], &state.memory[..]);
        self.network
            .forward(s, step, old, (tape, &mut self.scratch), next);
        if self.inputs.mask.is_some() {
            carry(s, &self.mask, &state.hidden, &mut self.next.hidden);
            carry(s, &self.mask, &state.memory, &mut self.next.memory);
        }
        std::mem::swap(state, &mut self.next);
    }
}

/// One step, a function of its own.
struct StepForward<'a, 'b> {
    steps: &'a mut Steps<'b>,
    t: usize,
    state: &'a mut State,
    tape: &'a mut [f32],
}

impl Kernel for StepForward<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.steps.run(s, self.t, self.state, self.tape);
    }
}

#[inline(always)]
fn step_input<'a>(
    plan: &Plan,
    x: &'a [f32],
    elapsed: &'a [f32],
    dropout: &'a [f32],
    lanes: usize,
) -> StepInput<'a> {
    StepInput {
        x,
        span: plan.span.unwrap_or(1.0),
        elapsed: plan.span.is_none().then_some(elapsed),
        dropout,
        lanes,
    }
}

/// Puts `old` back into the lanes of `new` that the mask leaves out.
#[inline(always)]
pub(crate) fn carry<S: Simd>(s: S, mask: &[f32], old: &[f32], new: &mut [f32]) {
    let lanes = mask.len();
    for (old, new) in old.chunks_exact(lanes).zip(new.chunks_exact_mut(lanes)) {
        each(s, lanes, [mask, old], [new], |[mask, old], [new]| {
            [s.select_eq(mask, s.splat(0.0), old, new)]
        });
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
                each(
                    s,
                    lanes,
                    [&hidden[row.clone()]],
                    [&mut out[row]],
                    |[v], _| [s.mul_add(v, scale, shift)],
                );
            }
        } else {
            for (row, &place) in out.chunks_exact_mut(lanes).zip(&self.spec.output_places) {
                row.copy_from_slice(&hidden[place * lanes..(place + 1) * lanes]);
            }
        }
    }
}

/// Copies rows of samples, `stride` apart, to one row of lanes per column.
pub(crate) fn to_lanes(
    from: &[f32],
    (samples, stride): (usize, usize),
    to: &mut [f32],
    (columns, lanes): (usize, usize),
) {
    for lane in 0..samples {
        let row = &from[lane * stride..][..columns];
        for (column, value) in row.iter().enumerate() {
            to[column * lanes + lane] = *value;
        }
    }
}

/// Copies rows of lanes to one row per sample, `stride` apart.
pub(crate) fn from_lanes(
    from: &[f32],
    (columns, lanes): (usize, usize),
    to: &mut [f32],
    (samples, stride): (usize, usize),
) {
    for lane in 0..samples {
        let row = &mut to[lane * stride..][..columns];
        for (column, value) in row.iter_mut().enumerate() {
            *value = from[column * lanes + lane];
        }
    }
}

//! A layer over a whole sequence, backward.
//!
//! Blocks form a fixed number of groups, each with a gradient buffer of its own; groups run on any number of threads and
//! are added up in order, so gradients do not depend on the number of threads. The products that give the weights'
//! gradients are done once for a chunk of steps.

use super::buffer::Buffer;
use super::network::{Cell, GradientWriter, Network, StateMut, StepGradient};
use super::sequence::{Block, Inputs, Keep, Plan, take};
use super::simd::{Kernel, Simd, add, each};
use super::steps::{State, Steps, from_lanes, to_lanes};

/// Steps whose weight gradients are one product.
const CHUNK: usize = 32;
/// Groups of blocks.
pub(crate) const GROUPS: usize = 8;

/// Gradients of the outputs; none where nothing depends on them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cotangents<'a> {
    pub(crate) y: Option<&'a [f32]>,
    pub(crate) hidden: Option<&'a [f32]>,
    pub(crate) memory: Option<&'a [f32]>,
}

/// Where gradients go; an empty slice is not written, nor (for `x`) computed.
#[derive(Debug)]
pub(crate) struct Gradients<'a, 'b> {
    /// One for each parameter, in order.
    pub(crate) parameters: &'a mut [&'b mut [f32]],
    /// `[B, T, F]`.
    pub(crate) x: &'a mut [f32],
    /// `[B, T]`.
    pub(crate) timespans: &'a mut [f32],
    /// `[B, U]`.
    pub(crate) hidden: &'a mut [f32],
    /// `[B, U]`.
    pub(crate) memory: &'a mut [f32],
}

impl Plan {
    /// Runs the whole batch backward. `saved` is what `forward` left, or empty if it kept nothing.
    pub(crate) fn backward(
        &self,
        inputs: Inputs<'_>,
        saved: &[f32],
        cotangents: Cotangents<'_>,
        out: Gradients<'_, '_>,
    ) {
        let keep = if saved.is_empty() {
            Keep::Nothing
        } else {
            self.keep
        };
        let preparation = self.preparation(keep != Keep::All, true, !out.x.is_empty());
        let network = Network::new(&self.spec, inputs.parameters, preparation);
        let blocks = self.blocks();
        let groups = blocks.len().clamp(1, GROUPS);
        let mut sums: Vec<Buffer> = (0..groups)
            .map(|_| Buffer::zeros(network.gradient_len))
            .collect();
        let rows = self.saved_rows(network.tape_rows);
        let mut saved = saved
            .get(saved.first().map_or(0, |start| *start as usize)..)
            .unwrap_or_default();
        let Gradients {
            mut x,
            mut timespans,
            mut hidden,
            mut memory,
            parameters,
        } = out;
        let (x_len, units) = (self.time * self.spec.inputs, self.spec.units);
        let mut jobs: Vec<Vec<BlockBackward<'_>>> = (0..groups).map(|_| Vec::new()).collect();
        for (index, &block) in blocks.iter().enumerate() {
            let (own_saved, others) = saved.split_at(if keep == Keep::Nothing {
                0
            } else {
                rows * block.lanes
            });
            saved = others;
            jobs[index * groups / blocks.len()].push(BlockBackward {
                plan: self,
                network: &network,
                inputs,
                features: None,
                keep,
                block,
                saved: own_saved,
                cotangents,
                x: Sink::Rows(take_wanted(&mut x, block.samples * x_len)),
                timespans: take_wanted(&mut timespans, block.samples * self.time),
                hidden: take_wanted(&mut hidden, block.samples * units),
                memory: take_wanted(&mut memory, block.samples * units),
            });
        }
        let jobs: Vec<_> = jobs.into_iter().zip(sums.iter_mut()).collect();
        super::pool::for_each(jobs, |(blocks, sums)| {
            for block in blocks {
                self.level.run(WithSums { block, sums });
            }
        });
        if let Some((first, others)) = sums.split_first_mut() {
            for other in others {
                first
                    .iter_mut()
                    .zip(other.iter())
                    .for_each(|(sum, value)| *sum += value);
            }
            network.emit(
                inputs.parameters,
                first,
                &mut GradientWriter::new(parameters),
            );
        }
    }
}

fn take_wanted<'a>(rest: &mut &'a mut [f32], len: usize) -> &'a mut [f32] {
    if rest.is_empty() {
        &mut []
    } else {
        take(rest, len)
    }
}

/// Where the gradient of the inputs goes.
pub(crate) enum Sink<'a> {
    /// The block's part of `[B, T, F]`; empty if nobody wants it.
    Rows(&'a mut [f32]),
    /// [T, F, lanes].
    Lanes(&'a mut [f32]),
}

/// One block over all steps, backward.
pub(crate) struct BlockBackward<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) network: &'a Network,
    pub(crate) inputs: Inputs<'a>,
    /// Inputs in lanes, instead of `inputs.x`; gradients of the outputs are then in lanes too.
    pub(crate) features: Option<&'a [f32]>,
    pub(crate) keep: Keep,
    pub(crate) block: Block,
    pub(crate) saved: &'a [f32],
    pub(crate) cotangents: Cotangents<'a>,
    pub(crate) x: Sink<'a>,
    pub(crate) timespans: &'a mut [f32],
    pub(crate) hidden: &'a mut [f32],
    pub(crate) memory: &'a mut [f32],
}

pub(crate) struct WithSums<'a, 'b> {
    pub(crate) block: BlockBackward<'a>,
    pub(crate) sums: &'b mut [f32],
}

impl Kernel for WithSums<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            block: mut job,
            sums,
        } = self;
        let (plan, lanes) = (job.plan, job.block.lanes);
        let state = State::new(
            plan,
            job.block,
            job.cotangents.hidden,
            job.cotangents.memory,
        );
        let mut work = Work::new(&job, state);
        let record = job.network.tape_rows * lanes;
        match job.keep {
            Keep::All => {
                let saved = job.saved;
                for first in (0..plan.time).step_by(CHUNK).rev() {
                    let last = plan.time.min(first + CHUNK);
                    work.chunk(
                        s,
                        &mut job,
                        &saved[first * record..last * record],
                        first,
                        sums,
                    );
                }
            }
            Keep::Nothing | Keep::Segments(_) => {
                let (length, starts) = segment_starts(s, &job, &mut work.steps);
                let mut tape = Buffer::take(length.min(plan.time) * record);
                let size = plan.state_rows() * lanes;
                let mut state = State::new(plan, job.block, None, None);
                for (segment, start) in starts.chunks_exact(size).enumerate().rev() {
                    let first = segment * length;
                    let last = plan.time.min(first + length);
                    state.restore(start);
                    for t in first..last {
                        let at = (t - first) * record;
                        work.steps
                            .forward(s, t, &mut state, &mut tape[at..at + record]);
                    }
                    for chunk in (first..last).step_by(CHUNK).rev() {
                        let end = last.min(chunk + CHUNK);
                        let tape = &tape[(chunk - first) * record..(end - first) * record];
                        work.chunk(s, &mut job, tape, chunk, sums);
                    }
                }
            }
        }
        let units = plan.spec.units;
        if !job.hidden.is_empty() {
            from_lanes(
                &work.state.hidden,
                (units, lanes),
                job.hidden,
                (job.block.samples, units),
            );
        }
        if !job.memory.is_empty() {
            from_lanes(
                &work.state.memory,
                (units, lanes),
                job.memory,
                (job.block.samples, units),
            );
        }
    }
}

/// The length of segments and the states at their starts: as saved, or by running the block once more.
#[inline(always)]
fn segment_starts<S: Simd>(
    s: S,
    job: &BlockBackward<'_>,
    steps: &mut Steps<'_>,
) -> (usize, Buffer) {
    let (plan, lanes) = (job.plan, job.block.lanes);
    let size = plan.state_rows() * lanes;
    if let Keep::Segments(length) = job.keep {
        let mut starts = Buffer::take(job.saved.len());
        starts.copy_from_slice(job.saved);
        return (length, starts);
    }
    let length = segment_length(plan.time);
    let mut starts = Buffer::take(plan.time.div_ceil(length) * size);
    let mut state = State::new(plan, job.block, job.inputs.hidden, job.inputs.memory);
    let mut tape = Buffer::take(job.network.tape_rows * lanes);
    for t in 0..plan.time {
        if t % length == 0 {
            state.save(&mut starts[t / length * size..][..size]);
        }
        steps.forward(s, t, &mut state, &mut tape);
    }
    (length, starts)
}

impl Plan {
    /// Values that the way back over one lane takes, without the record, the gradients of outputs and of inputs.
    pub(crate) fn work_rows(&self, network: &Network) -> usize {
        let again = |length: usize| {
            let starts = self.time.div_ceil(length) * self.state_rows();
            length.min(self.time) * network.tape_rows + starts
        };
        let again = match self.keep {
            Keep::All => 0,
            Keep::Segments(length) => again(length.max(1)),
            Keep::Nothing => again(segment_length(self.time)) + network.tape_rows,
        };
        // Two sets of running states and of scratch: one to run forward again, one to go back.
        let running = 2 * (network.scratch_rows + 2 * self.state_rows() + self.spec.inputs);
        CHUNK.min(self.time) * network.record_rows + again + running
    }
}

/// About sqrt(T), so that starts and one segment's records take the least memory together.
pub(crate) fn segment_length(time: usize) -> usize {
    (time as f64).sqrt().ceil().max(1.0) as usize
}

/// Running gradients of a block.
struct Work<'a> {
    steps: Steps<'a>,
    state: State,
    previous: Buffer,
    carried: State,
    x: Buffer,
    elapsed: Buffer,
    records: Buffer,
    scratch: Buffer,
    readout: Buffer,
}

impl<'a> Work<'a> {
    fn new(job: &BlockBackward<'a>, state: State) -> Self {
        let (plan, network, lanes) = (job.plan, job.network, job.block.lanes);
        Self {
            steps: Steps::new(plan, network, job.block, job.inputs, job.features),
            previous: Buffer::take(state.hidden.len()),
            carried: State::new(plan, job.block, None, None),
            state,
            x: Buffer::zeros(plan.spec.inputs * lanes),
            elapsed: Buffer::zeros(lanes),
            records: Buffer::take(CHUNK.min(plan.time) * network.record_rows * lanes),
            scratch: Buffer::take(network.scratch_rows * lanes),
            readout: Buffer::zeros(plan.spec.outputs() * lanes),
        }
    }

    /// Steps `first..`, whose records are `tape`, and the weights' gradients over them.
    #[inline(always)]
    fn chunk<S: Simd>(
        &mut self,
        s: S,
        job: &mut BlockBackward<'a>,
        tape: &[f32],
        first: usize,
        sums: &mut [f32],
    ) {
        let lanes = job.block.lanes;
        let (rows, record_rows) = (
            job.network.tape_rows * lanes,
            job.network.record_rows * lanes,
        );
        let steps = tape.len() / rows;
        for i in (0..steps).rev() {
            let records = i * record_rows..(i + 1) * record_rows;
            let tape = &tape[i * rows..(i + 1) * rows];
            s.dispatch(StepBackward {
                work: self,
                job,
                tape,
                t: first + i,
                records,
                sums,
            });
        }
        job.network
            .accumulate(s, tape, &self.records, (steps, lanes), sums);
    }

    #[inline(always)]
    fn step<S: Simd>(
        &mut self,
        s: S,
        job: &mut BlockBackward<'a>,
        tape: &[f32],
        (t, records): (usize, std::ops::Range<usize>),
        sums: &mut [f32],
    ) {
        let lanes = job.block.lanes;
        self.steps.load(t);
        self.add_output(s, job, tape, t, sums);
        if let Some(mask) = self.steps.mask() {
            split(s, mask, &mut self.state.hidden, &mut self.carried.hidden);
            split(s, mask, &mut self.state.memory, &mut self.carried.memory);
        }
        self.x.fill(0.0);
        self.elapsed.fill(0.0);
        let out = StepGradient {
            hidden: &mut self.previous,
            x: &mut self.x,
            elapsed: &mut self.elapsed,
            records: &mut self.records[records],
            sums,
            scratch: &mut self.scratch,
        };
        let next = StateMut {
            hidden: &mut self.state.hidden,
            memory: &mut self.state.memory,
        };
        job.network.backward(s, self.steps.step(), tape, next, out);
        std::mem::swap(&mut self.state.hidden, &mut self.previous);
        flush(s, &mut self.state.hidden);
        flush(s, &mut self.state.memory);
        if self.steps.mask().is_some() {
            add(
                s,
                self.carried.hidden.len(),
                &self.carried.hidden,
                &mut self.state.hidden,
            );
            add(
                s,
                self.carried.memory.len(),
                &self.carried.memory,
                &mut self.state.memory,
            );
        }
        let (samples, time) = (job.block.samples, job.plan.time);
        let features = job.plan.spec.inputs;
        match &mut job.x {
            Sink::Rows([]) => {}
            Sink::Rows(x) => from_lanes(
                &self.x,
                (features, lanes),
                &mut x[t * features..],
                (samples, time * features),
            ),
            Sink::Lanes(x) => x[t * self.x.len()..][..self.x.len()].copy_from_slice(&self.x),
        }
        if !job.timespans.is_empty() {
            self.mask_elapsed();
            from_lanes(
                &self.elapsed,
                (1, lanes),
                &mut job.timespans[t..],
                (samples, time),
            );
        }
    }

    /// A masked step lasts 1 whatever its timespan says.
    fn mask_elapsed(&mut self) {
        if let Some(mask) = self.steps.mask() {
            for (gradient, mask) in self.elapsed.iter_mut().zip(mask) {
                *gradient = if *mask == 0.0 { 0.0 } else { *gradient };
            }
        }
    }

    /// Adds the gradient of step `t`'s output to that of the state, and to the output map's.
    #[inline(always)]
    fn add_output<S: Simd>(
        &mut self,
        s: S,
        job: &BlockBackward<'a>,
        tape: &[f32],
        t: usize,
        sums: &mut [f32],
    ) {
        let plan = job.plan;
        let Some(y) = job.cotangents.y else { return };
        if plan.is_last_only && t + 1 != plan.time {
            return;
        }
        let (outputs, lanes) = (plan.spec.outputs(), job.block.lanes);
        let steps = if plan.is_last_only { 1 } else { plan.time };
        let place = if plan.is_last_only { 0 } else { t };
        if job.features.is_some() {
            let size = outputs * lanes;
            self.readout.copy_from_slice(&y[place * size..][..size]);
        } else {
            to_lanes(
                &y[(job.block.start * steps + place) * outputs..],
                (job.block.samples, steps * outputs),
                &mut self.readout,
                (outputs, lanes),
            );
        }
        if let Cell::Ltc(ltc) = &job.network.cell {
            let cell_tape = &tape[(job.network.tape_rows - ltc.tape_rows) * lanes..];
            // Either record of a step begins with the inputs and the old state.
            let carried = &tape[plan.spec.inputs * lanes..];
            ltc.output_backward(
                s,
                (cell_tape, carried),
                self.steps.mask(),
                (&mut self.readout, lanes),
                sums,
            );
            add(s, outputs * lanes, &self.readout, &mut self.state.hidden);
        } else {
            for (row, &place) in self
                .readout
                .chunks_exact(lanes)
                .zip(&plan.spec.output_places)
            {
                add(s, lanes, row, &mut self.state.hidden[place * lanes..]);
            }
        }
    }
}

/// Ends what has faded away, see [`Simd::flush`].
#[inline(always)]
fn flush<S: Simd>(s: S, gradients: &mut [f32]) {
    let len = gradients.len();
    each!(s, len, [], [g = gradients], [s.flush(g)]);
}

/// One step, a function of its own.
struct StepBackward<'a, 'b> {
    work: &'a mut Work<'b>,
    job: &'a mut BlockBackward<'b>,
    tape: &'a [f32],
    t: usize,
    records: std::ops::Range<usize>,
    sums: &'a mut [f32],
}

impl Kernel for StepBackward<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.work
            .step(s, self.job, self.tape, (self.t, self.records), self.sums);
    }
}

/// Moves the masked lanes of `gradient` to `carried`.
#[inline(always)]
fn split<S: Simd>(s: S, mask: &[f32], gradient: &mut [f32], carried: &mut [f32]) {
    let lanes = mask.len();
    let zero = s.splat(0.0);
    for (gradient, carried) in gradient
        .chunks_exact_mut(lanes)
        .zip(carried.chunks_exact_mut(lanes))
    {
        each!(s, lanes, [mask = mask], [g = gradient, _old = carried], {
            [
                s.select_eq(mask, zero, zero, g),
                s.select_eq(mask, zero, g, zero),
            ]
        });
    }
}

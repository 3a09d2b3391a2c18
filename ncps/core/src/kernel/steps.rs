//! Single steps of a block, and the way between rows of samples and lanes.

use super::buffer::Buffer;
use super::cfc::StepInput;
use super::network::{Network, StateMut};
use super::sequence::{Block, Inputs, Plan, Spans};
use super::simd::{Kernel, Simd, each};

/// The state of a block, in lanes.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) hidden: Buffer,
    pub(crate) memory: Buffer,
}

impl State {
    /// From `[B, U]` arrays, or zero.
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
    /// What the layer reads instead of `inputs.x`, already in lanes and finite where masked: [T, F, lanes].
    features: Option<&'a [f32]>,
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
        features: Option<&'a [f32]>,
    ) -> Self {
        let lanes = block.lanes;
        let mut elapsed = Buffer::take(lanes);
        elapsed.fill(1.0);
        Self {
            plan,
            network,
            block,
            inputs,
            features,
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

    /// Reads the inputs of step `t`; of rows zeros in masked lanes.
    fn load_x(&mut self, t: usize) {
        let Block {
            start,
            samples,
            lanes,
        } = self.block;
        let features = self.plan.spec.inputs;
        if let Some(from) = self.features {
            let size = features * lanes;
            self.x.copy_from_slice(&from[t * size..(t + 1) * size]);
            return;
        }
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
fn carry<S: Simd>(s: S, mask: &[f32], old: &[f32], new: &mut [f32]) {
    let lanes = mask.len();
    for (old, new) in old.chunks_exact(lanes).zip(new.chunks_exact_mut(lanes)) {
        each!(s, lanes, [mask = mask, old = old], [new = new], {
            [s.select_eq(mask, s.splat(0.0), old, new)]
        });
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

//! A whole layer prepared for a call: optional memory, then the cell.

use std::sync::Arc;

use super::cfc::{Layer, StepInput};
use super::dense::{Allotment, Preparation};
use super::lstm::Lstm;
use super::ltc::Ltc;
use super::simd::{Kernel, Simd};
use super::spec::{CellSpec, SequenceSpec};

/// Where a step backward puts its results.
#[derive(Debug)]
pub(crate) struct StepGradient<'a> {
    /// Gradient of the old state, overwritten.
    pub(crate) hidden: &'a mut [f32],
    /// Gradient of the inputs, added to.
    pub(crate) x: &'a mut [f32],
    /// Gradient of the elapsed time, added to.
    pub(crate) elapsed: &'a mut [f32],
    /// Gradients of the products, overwritten.
    pub(crate) records: &'a mut [f32],
    /// The flat gradient buffer, of which lane sums are added to.
    pub(crate) sums: &'a mut [f32],
    pub(crate) scratch: &'a mut [f32],
}

/// Writes parameter gradients one after the other into the caller's arrays.
#[derive(Debug)]
pub(crate) struct GradientWriter<'a, 'b> {
    out: &'a mut [&'b mut [f32]],
    next: usize,
}

impl<'a, 'b> GradientWriter<'a, 'b> {
    pub(crate) fn new(out: &'a mut [&'b mut [f32]]) -> Self {
        Self { out, next: 0 }
    }

    pub(crate) fn write(&mut self, values: &[f32]) {
        self.out[self.next].copy_from_slice(values);
        self.next += 1;
    }

    pub(crate) fn write_scaled(&mut self, values: &[f32], factor: f32) {
        for (out, value) in self.out[self.next].iter_mut().zip(values) {
            *out = value * factor;
        }
        self.next += 1;
    }

    pub(crate) fn write_product(&mut self, values: &[f32], factors: &[f32]) {
        for ((out, value), factor) in self.out[self.next].iter_mut().zip(values).zip(factors) {
            *out = value * factor;
        }
        self.next += 1;
    }
}

/// The prepared cell.
#[derive(Debug)]
pub(crate) enum Cell {
    Cfc(Vec<Layer>),
    Ltc(Box<Ltc>),
    PassThrough,
}

/// A layer with its weights packed, and the layout of its records.
#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) spec: Arc<SequenceSpec>,
    pub(crate) memory: Option<Lstm>,
    pub(crate) cell: Cell,
    /// Rows of a step's record.
    pub(crate) tape_rows: usize,
    /// Rows of the gradients of products in one step.
    pub(crate) record_rows: usize,
    /// Rows of scratch of one step.
    pub(crate) scratch_rows: usize,
    /// Length of the flat gradient buffer.
    pub(crate) gradient_len: usize,
}

/// Hidden state and memory of a block; the memory is empty where the layer has none.
#[derive(Debug)]
pub(crate) struct StateMut<'a> {
    pub(crate) hidden: &'a mut [f32],
    pub(crate) memory: &'a mut [f32],
}

impl Network {
    /// Packs `parameters`, which are in the order and of the lengths of `spec.parameters()`.
    pub(crate) fn new(
        spec: &Arc<SequenceSpec>,
        parameters: &[&[f32]],
        preparation: Preparation,
    ) -> Self {
        let mut places = Allotment::default();
        let (memory_parameters, rest) = parameters.split_at(if spec.has_memory { 3 } else { 0 });
        let sizes = (spec.inputs, spec.units);
        let memory = spec
            .has_memory
            .then(|| Lstm::new(sizes, memory_parameters, preparation, &mut places));
        let cell = match &spec.cell {
            CellSpec::Cfc(cfc) => {
                let mut rest = rest;
                let mut layers = Vec::with_capacity(cfc.layers.len());
                let each = rest.len() / cfc.layers.len().max(1);
                for (l, layer) in cfc.layers.iter().enumerate() {
                    let (own, others) = rest.split_at(each);
                    rest = others;
                    let wants_inputs = preparation.wants_inputs || l > 0;
                    let preparation = Preparation {
                        wants_inputs,
                        ..preparation
                    };
                    layers.push(Layer::new(cfc, layer, own, preparation, &mut places));
                }
                Cell::Cfc(layers)
            }
            CellSpec::Ltc(ltc) => {
                Cell::Ltc(Box::new(Ltc::new(ltc, rest, preparation, &mut places)))
            }
            CellSpec::PassThrough => Cell::PassThrough,
        };
        Self::laid_out(Arc::clone(spec), memory, cell, places.total())
    }

    fn laid_out(
        spec: Arc<SequenceSpec>,
        memory: Option<Lstm>,
        cell: Cell,
        gradient_len: usize,
    ) -> Self {
        let (mut tape_rows, mut record_rows, mut scratch_rows) = match &cell {
            Cell::Cfc(layers) => {
                let widest = layers.iter().map(|layer| {
                    let joined = layer.inputs + layer.units;
                    layer
                        .backbone
                        .iter()
                        .map(|b| b.dense.outputs)
                        .max()
                        .unwrap_or(0)
                        .max(joined)
                });
                (
                    layers.iter().map(|layer| layer.tape_rows).sum(),
                    layers.iter().map(|layer| layer.record_rows).sum(),
                    widest.max().unwrap_or(0),
                )
            }
            Cell::Ltc(ltc) => (ltc.tape_rows, 0, ltc.scratch_rows()),
            Cell::PassThrough => (0, 0, 0),
        };
        if let Some(memory) = &memory {
            tape_rows += memory.tape_rows();
            record_rows += memory.record_rows();
            // The state between memory and cell lies behind the scratch of either.
            scratch_rows = scratch_rows.max(memory.scratch_rows()) + spec.units;
        }
        Self {
            spec,
            memory,
            cell,
            tape_rows,
            record_rows,
            scratch_rows,
            gradient_len,
        }
    }

    /// One step: fills the record and the new state.
    #[inline(always)]
    pub(crate) fn forward<S: Simd>(
        &self,
        s: S,
        step: StepInput<'_>,
        (hidden, memory): (&[f32], &[f32]),
        (tape, scratch): (&mut [f32], &mut [f32]),
        next: StateMut<'_>,
    ) {
        let lanes = step.lanes;
        let Some(lstm) = &self.memory else {
            return self.cell_forward(s, step, hidden, (tape, scratch), next.hidden);
        };
        let (tape, cell_tape) = tape.split_at_mut(lstm.tape_rows() * lanes);
        if let Cell::PassThrough = self.cell {
            let next = (next.hidden, next.memory);
            return s.dispatch(LstmForward {
                lstm,
                step,
                old: (hidden, memory),
                tape,
                next,
            });
        }
        let between = (self.scratch_rows - self.spec.units) * lanes;
        let (scratch, inner) = scratch.split_at_mut(between);
        let next_memory = (&mut *inner, next.memory);
        s.dispatch(LstmForward {
            lstm,
            step,
            old: (hidden, memory),
            tape,
            next: next_memory,
        });
        self.cell_forward(s, step, inner, (cell_tape, scratch), next.hidden);
    }

    #[inline(always)]
    fn cell_forward<S: Simd>(
        &self,
        s: S,
        step: StepInput<'_>,
        hidden: &[f32],
        (mut tape, scratch): (&mut [f32], &mut [f32]),
        next: &mut [f32],
    ) {
        match &self.cell {
            Cell::Ltc(ltc) => ltc.forward(s, step, hidden, (tape, scratch), next),
            Cell::PassThrough => {}
            Cell::Cfc(layers) => {
                let (mut first, mut inputs) = (0, 0);
                for layer in layers {
                    let (own, others) = tape.split_at_mut(layer.tape_rows * step.lanes);
                    tape = others;
                    let size = layer.units * step.lanes;
                    let (before, own_next) = next.split_at_mut(first);
                    let x = if first == 0 {
                        step.x
                    } else {
                        &before[inputs..]
                    };
                    let step = StepInput { x, ..step };
                    let hidden = &hidden[first..];
                    s.dispatch(LayerForward {
                        layer,
                        step,
                        hidden,
                        tape: own,
                        next: own_next,
                    });
                    (inputs, first) = (first, first + size);
                }
            }
        }
    }

    /// One step backward: `next` holds the gradients of the new state and memory; the memory's becomes that of the old.
    #[inline(always)]
    pub(crate) fn backward<S: Simd>(
        &self,
        s: S,
        step: StepInput<'_>,
        tape: &[f32],
        next: StateMut<'_>,
        out: StepGradient<'_>,
    ) {
        let lanes = step.lanes;
        let Some(lstm) = &self.memory else {
            return self.cell_backward(s, step, tape, next.hidden, out);
        };
        let (tape, cell_tape) = tape.split_at(lstm.tape_rows() * lanes);
        let (records, cell_records) = out.records.split_at_mut(lstm.record_rows() * lanes);
        let between = (self.scratch_rows - self.spec.units) * lanes;
        let (scratch, inner) = out.scratch.split_at_mut(between);
        let inner: &[f32] = if let Cell::PassThrough = self.cell {
            next.hidden
        } else {
            let cell_out = StepGradient {
                hidden: &mut *inner,
                x: &mut *out.x,
                elapsed: out.elapsed,
                records: cell_records,
                sums: out.sums,
                scratch: &mut *scratch,
            };
            self.cell_backward(s, step, cell_tape, next.hidden, cell_out);
            inner
        };
        s.dispatch(LstmBackward {
            lstm,
            lanes,
            tape,
            next: (inner, next.memory),
            out: (out.hidden, out.x),
            work: (records, scratch),
        });
    }

    #[inline(always)]
    fn cell_backward<S: Simd>(
        &self,
        s: S,
        step: StepInput<'_>,
        tape: &[f32],
        next: &mut [f32],
        out: StepGradient<'_>,
    ) {
        let layers = match &self.cell {
            Cell::Cfc(layers) => layers,
            Cell::Ltc(ltc) => return ltc.backward(s, step, tape, next, out),
            Cell::PassThrough => return,
        };
        let lanes = step.lanes;
        let StepGradient {
            hidden,
            x,
            elapsed,
            records,
            sums,
            scratch,
        } = out;
        let (mut state_end, mut tape_end, mut record_end) = (
            self.spec.units,
            self.cell_tape_rows(),
            self.cell_record_rows(),
        );
        for (l, layer) in layers.iter().enumerate().rev() {
            let (state, tape_start, record) = (
                state_end - layer.units,
                tape_end - layer.tape_rows,
                record_end - layer.record_rows,
            );
            // A layer's inputs are the new state of the layer before it.
            let (before, own) = next.split_at_mut(state * lanes);
            let x = match l {
                0 => &mut *x,
                _ => &mut before[(state - layer.inputs) * lanes..],
            };
            let out = StepGradient {
                hidden: &mut hidden[state * lanes..state_end * lanes],
                x,
                elapsed: &mut *elapsed,
                records: &mut records[record * lanes..record_end * lanes],
                sums: &mut *sums,
                scratch: &mut *scratch,
            };
            let tape = &tape[tape_start * lanes..tape_end * lanes];
            s.dispatch(LayerBackward {
                layer,
                step,
                tape,
                next: own,
                out,
            });
            (state_end, tape_end, record_end) = (state, tape_start, record);
        }
    }

    fn cell_tape_rows(&self) -> usize {
        self.tape_rows - self.memory.as_ref().map_or(0, Lstm::tape_rows)
    }

    fn cell_record_rows(&self) -> usize {
        self.record_rows - self.memory.as_ref().map_or(0, Lstm::record_rows)
    }

    /// Adds the weights' gradients over the steps of a chunk; strides are whole records.
    #[inline(always)]
    pub(crate) fn accumulate<S: Simd>(
        &self,
        s: S,
        tape: &[f32],
        records: &[f32],
        (steps, lanes): (usize, usize),
        gradients: &mut [f32],
    ) {
        let (tape_stride, record_stride) = (self.tape_rows * lanes, self.record_rows * lanes);
        let (mut tape_row, mut record_row) = (0, 0);
        if let Some(lstm) = &self.memory {
            lstm.accumulate(
                s,
                (tape, tape_stride),
                (records, record_stride),
                (steps, lanes),
                gradients,
            );
            (tape_row, record_row) = (lstm.tape_rows(), lstm.record_rows());
        }
        if let Cell::Cfc(layers) = &self.cell {
            for layer in layers {
                let tape = (&tape[tape_row * lanes..], tape_stride);
                let records = (&records[record_row * lanes..], record_stride);
                layer.accumulate(s, tape, records, (steps, lanes), gradients);
                tape_row += layer.tape_rows;
                record_row += layer.record_rows;
            }
        }
    }

    /// Writes the gradients of all parameters, given their values, in the order of the specification.
    pub(crate) fn emit(
        &self,
        parameters: &[&[f32]],
        gradients: &[f32],
        out: &mut GradientWriter<'_, '_>,
    ) {
        if let Some(memory) = &self.memory {
            memory.emit(gradients, out);
        }
        let own = &parameters[if self.memory.is_some() { 3 } else { 0 }..];
        match &self.cell {
            Cell::Cfc(layers) => layers.iter().for_each(|layer| layer.emit(gradients, out)),
            Cell::Ltc(ltc) => ltc.emit(own, gradients, out),
            Cell::PassThrough => {}
        }
    }
}

// Each stage is a function of its own: inlined into one, unoptimised builds would need megabytes of stack.

struct LayerForward<'a> {
    layer: &'a Layer,
    step: StepInput<'a>,
    hidden: &'a [f32],
    tape: &'a mut [f32],
    next: &'a mut [f32],
}

impl Kernel for LayerForward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.layer
            .forward(s, self.step, self.hidden, self.tape, self.next);
    }
}

struct LayerBackward<'a> {
    layer: &'a Layer,
    step: StepInput<'a>,
    tape: &'a [f32],
    next: &'a [f32],
    out: StepGradient<'a>,
}

impl Kernel for LayerBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.layer
            .backward(s, self.step, self.tape, self.next, self.out);
    }
}

struct LstmForward<'a> {
    lstm: &'a Lstm,
    step: StepInput<'a>,
    old: (&'a [f32], &'a [f32]),
    tape: &'a mut [f32],
    next: (&'a mut [f32], &'a mut [f32]),
}

impl Kernel for LstmForward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.lstm
            .forward(s, self.step, self.old, self.tape, self.next);
    }
}

struct LstmBackward<'a> {
    lstm: &'a Lstm,
    lanes: usize,
    tape: &'a [f32],
    next: (&'a [f32], &'a mut [f32]),
    out: (&'a mut [f32], &'a mut [f32]),
    work: (&'a mut [f32], &'a mut [f32]),
}

impl Kernel for LstmBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.lstm
            .backward(s, self.lanes, self.tape, self.next, self.out, self.work);
    }
}

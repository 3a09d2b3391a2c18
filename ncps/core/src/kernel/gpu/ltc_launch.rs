//! The launches of an LTC call: constants, shapes and arrays of each kernel.

use std::sync::Arc;

use mlx_rs::error::Exception;
use mlx_rs::{Array, ops};

use super::cfc_shape::Shape;
use super::launch::Backend;
use super::ltc::MEMORY_ROWS;
use super::ltc_given::Given;
use super::ltc_spread::Spread;
use super::ltc_wires::Wires;
use super::source::{Body, Constants};
use super::{Geometry, Spans};
use crate::array::{dim, zeros};
use crate::cell::{Mapping, ParamConstraints};
use crate::kernel::spec::{LEAST_CAPACITY, LtcSpec, SequenceSpec};

type Mlx<T = Array> = Result<T, Exception>;

static PREPARE: Body = Body::new(include_str!("bodies/ltc_prepare.inc"));
static FORWARD: Body = Body::new(include_str!("bodies/ltc_forward.inc"));
static BACKWARD: Body = Body::new(include_str!("bodies/ltc_backward.inc"));
static GRADIENTS: Body = Body::new(include_str!("bodies/ltc_gradients.inc"));

/// Bytes of sums that the groups of the way back may leave.
const ROWS_LIMIT: usize = 64 << 20;

/// What all launches of a call share.
#[derive(Debug)]
pub(super) struct LtcLaunch {
    pub(super) spec: Arc<SequenceSpec>,
    pub(super) ltc: LtcSpec,
    pub(super) geometry: Geometry,
    wires: Wires,
    backend: Backend,
    forward: Spread,
    backward: Spread,
}

/// The parameters in the kernels' two orders.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) by_target: Array,
    pub(super) by_source: Array,
}

/// What a part of the sequence gives on the way forward; a single number stands for what it does not.
#[derive(Debug)]
pub(super) struct Run {
    /// `[B, t, M]`, or `[B, M]` of the last step.
    pub(super) y: Array,
    pub(super) hidden: Array,
    pub(super) memory: Array,
    /// Potential, denominator and perhaps rate of each sub-step, [B, t, unfolds, 2 or 3, U].
    pub(super) record: Array,
    /// `[B, t, 6, U]`.
    pub(super) memory_record: Array,
}

/// What a part gives on the way back.
#[derive(Debug)]
pub(super) struct Back {
    pub(super) x: Array,
    pub(super) spans: Array,
    pub(super) hidden: Array,
    pub(super) memory: Array,
    /// `[B, t, 4U]`.
    pub(super) gates: Array,
    /// Sums of all groups.
    pub(super) sums: Array,
}

impl LtcLaunch {
    pub(super) fn new(
        spec: &Arc<SequenceSpec>,
        ltc: &LtcSpec,
        geometry: Geometry,
        backend: Backend,
    ) -> Result<Self, String> {
        let limits = backend.limits();
        // A group runs one sample, whose neurons have no use for more.
        let threads = limits.threads.min(256);
        let wires = Wires::new(ltc);
        let sizes = (ltc.units, ltc.inputs);
        let found = Self {
            forward: Spread::forward(ltc.units, wires.degrees, geometry.batch, threads)?,
            backward: Spread::backward(sizes, wires.degrees, geometry.batch, threads)?,
            spec: Arc::clone(spec),
            ltc: ltc.clone(),
            geometry,
            wires,
            backend,
        };
        if found.shared() > limits.shared {
            return Err(format!(
                "{} neurons and {} inputs need {} bytes of shared memory, the device has {}",
                ltc.units,
                ltc.inputs,
                4 * found.shared(),
                4 * limits.shared
            ));
        }
        Ok(found)
    }

    /// Numbers that a neuron keeps of a sub-step; the third is for the gradient of the spans.
    pub(super) fn records(&self) -> usize {
        if self.geometry.spans.is_given() { 3 } else { 2 }
    }

    fn units(&self) -> i32 {
        dim(self.ltc.units)
    }

    fn batch(&self) -> i32 {
        dim(self.geometry.batch)
    }

    /// Floats of shared memory of the recurrent kernels: currents and their sums, inputs, gates.
    fn shared(&self) -> usize {
        let gates = if self.spec.has_memory { 4 } else { 0 };
        (7 + gates) * self.ltc.units + self.ltc.inputs
    }

    fn sums_len(&self) -> usize {
        4 * self.wires.synapses() + 3 * self.ltc.units + 2 * self.ltc.outputs
    }

    /// Groups of the way back: their rows stay below the limit, and none has more samples than it must.
    fn groups(&self) -> usize {
        let most = ROWS_LIMIT / (size_of::<f32>() * self.sums_len());
        let rounds = self
            .geometry
            .batch
            .div_ceil(most.clamp(1, self.geometry.batch));
        self.geometry.batch.div_ceil(rounds)
    }

    /// The shape, or that of a single number where the layer has no memory.
    fn of_memory(&self, shape: &[i32]) -> Vec<i32> {
        if self.spec.has_memory {
            shape.to_vec()
        } else {
            vec![1]
        }
    }

    /// The value of a constant that does not depend on the part or the pass.
    fn constant(&self, name: &str) -> Option<i32> {
        let level = |mapping| match mapping {
            Mapping::None => 0,
            Mapping::Linear => 1,
            Mapping::Affine => 2,
        };
        Some(match name {
            "BATCH" => self.batch(),
            "INPUTS" => dim(self.ltc.inputs),
            "UNITS" => self.units(),
            "OUTPUTS" => dim(self.ltc.outputs),
            "UNFOLDS" => dim(self.ltc.unfolds),
            "OWN" => dim(self.wires.own),
            "SENSES" => dim(self.wires.senses),
            "IS_IMPLICIT" => i32::from(self.ltc.constraints == ParamConstraints::Implicit),
            "MAPS_INPUT" => level(self.ltc.input_mapping),
            "MAPS_OUTPUT" => level(self.ltc.output_mapping),
            "HAS_SPANS" => i32::from(self.geometry.spans.is_given()),
            "IS_SHARED" => i32::from(self.geometry.spans == Spans::Shared),
            "HAS_MASK" => i32::from(self.geometry.has_mask),
            "HAS_MEMORY" => i32::from(self.spec.has_memory),
            "IS_LAST_ONLY" => i32::from(self.geometry.is_last_only),
            _ => return None,
        })
    }

    /// The constants that a body declares; `own` are those of the pass.
    fn constants(&self, body: &'static Body, own: &[(&str, usize)]) -> Mlx<Constants> {
        let declared = body.declaration().map_err(Exception::custom)?;
        let size = |name: &'static String| {
            let own = own.iter().find(|(other, _)| other == name);
            let value = own.map(|&(_, value)| dim(value));
            let value = value.or_else(|| self.constant(name));
            let missing = || Exception::custom(format!("the LTC kernels know no constant {name}"));
            Ok((name.as_str(), value.ok_or_else(missing)?))
        };
        let span = match self.geometry.spans {
            Spans::Constant(span) => span,
            Spans::Shared | Spans::PerSample => 1.0,
        };
        let real = |name: &'static String| match name.as_str() {
            "SPAN" => Ok((name.as_str(), span)),
            "EPSILON" => Ok((name.as_str(), self.ltc.epsilon)),
            "LEAST_CAPACITY" => Ok((name.as_str(), LEAST_CAPACITY)),
            _ => Err(Exception::custom(format!(
                "the LTC kernels know no constant {name}"
            ))),
        };
        Ok(Constants {
            sizes: declared.sizes.iter().map(size).collect::<Mlx<_>>()?,
            reals: declared.reals.iter().map(real).collect::<Mlx<_>>()?,
            tables: Vec::new(),
        })
    }

    /// A thread for each of `numbers`.
    fn plain(&self, body: &'static Body, numbers: usize) -> Mlx<Shape> {
        let threads = self.backend.limits().threads;
        Ok(Shape {
            groups: numbers.div_ceil(threads),
            threads,
            shared: 0,
            constants: self.constants(body, &[])?,
        })
    }

    /// Groups that each run samples over the steps of a part.
    fn recurrent(
        &self,
        body: &'static Body,
        spread: Spread,
        (steps, records, groups): (usize, usize, usize),
    ) -> Mlx<Shape> {
        let own = [
            ("GROUPS", groups),
            ("TIME", steps),
            ("RECORDS", records),
            ("PARTS", spread.parts),
            ("SLOTS", spread.slots),
            ("ROUNDS", self.ltc.inputs.div_ceil(spread.threads)),
            ("SENSE_PARTS", spread.sense_parts),
            ("SENSE_SLOTS", spread.sense_slots),
            ("SENSE_ROUNDS", spread.sense_rounds),
        ];
        Ok(Shape {
            groups,
            threads: spread.threads,
            shared: self.shared(),
            constants: self.constants(body, &own)?,
        })
    }

    fn prepare_shape(&self) -> Mlx<Shape> {
        let synapses = self.wires.synapses();
        self.plain(&PREPARE, 2 * synapses + self.ltc.units + self.ltc.outputs)
    }

    fn forward_shape(&self, steps: usize, records: usize) -> Mlx<Shape> {
        let sizes = (steps, records, self.geometry.batch);
        self.recurrent(&FORWARD, self.forward, sizes)
    }

    fn backward_shape(&self, steps: usize) -> Mlx<Shape> {
        let sizes = (steps, self.records(), self.groups());
        self.recurrent(&BACKWARD, self.backward, sizes)
    }

    fn gradients_shape(&self) -> Mlx<Shape> {
        let (inputs, units) = (self.ltc.inputs, self.ltc.units);
        let numbers = (units + inputs) * units + units + inputs + self.ltc.outputs;
        self.plain(&GRADIENTS, numbers)
    }

    /// The kernels of a call in one part, with their shapes.
    pub(super) fn shapes(&self) -> Mlx<Vec<(&'static Body, Shape)>> {
        let time = self.geometry.time;
        Ok(vec![
            (&PREPARE, self.prepare_shape()?),
            (&FORWARD, self.forward_shape(time, self.records())?),
            (&BACKWARD, self.backward_shape(time)?),
            (&GRADIENTS, self.gradients_shape()?),
        ])
    }

    fn launch(
        &self,
        body: &'static Body,
        shape: Shape,
        inputs: Vec<&Array>,
        outputs: Vec<Vec<i32>>,
    ) -> Mlx<Vec<Array>> {
        shape.launch(body, inputs, outputs, self.backend)
    }

    /// Brings the parameters into the kernels' order.
    pub(super) fn prepare(&self, given: &Given) -> Mlx<Prepared> {
        let len = vec![dim(self.sums_len())];
        let (nothing, order) = (zeros(&[1]), indices(&self.wires.order));
        let mut inputs: Vec<&Array> = given.cell.iter().collect();
        inputs.extend(
            given
                .maps
                .iter()
                .map(|map| map.as_ref().unwrap_or(&nothing)),
        );
        inputs.push(&order);
        let outputs = vec![len.clone(), len];
        let all = self.launch(&PREPARE, self.prepare_shape()?, inputs, outputs)?;
        let [by_target, by_source] = exactly(all)?;
        Ok(Prepared {
            by_target,
            by_source,
        })
    }

    /// The steps that `given` holds, from a state; `records` numbers of each sub-step are kept.
    pub(super) fn forward(
        &self,
        given: &Given,
        prepared: &Prepared,
        (hidden, memory): (&Array, &Array),
        records: usize,
    ) -> Mlx<Run> {
        let (batch, units, steps) = (self.batch(), self.units(), given.x.dim(1));
        let nothing = zeros(&[1]);
        let gates = match &given.lstm {
            Some([input, bias, _]) => ops::addmm(bias, &given.x, input.t(), None, None)?,
            None => nothing.clone(),
        };
        let y = match self.geometry.is_last_only {
            true => vec![batch, dim(self.ltc.outputs)],
            false => vec![batch, steps, dim(self.ltc.outputs)],
        };
        let kept = |shape: Vec<i32>| if records > 0 { shape } else { vec![1] };
        let outputs = vec![
            y,
            vec![batch, units],
            self.of_memory(&[batch, units]),
            kept(vec![
                batch,
                steps,
                dim(self.ltc.unfolds),
                dim(records),
                units,
            ]),
            kept(self.of_memory(&[batch, steps, dim(MEMORY_ROWS), units])),
        ];
        let starts = indices(&self.wires.target_starts);
        let sources = indices(&self.wires.sources);
        let inputs = vec![
            &given.x,
            given.spans.as_ref().unwrap_or(&nothing),
            given.mask.as_ref().unwrap_or(&nothing),
            hidden,
            memory,
            &prepared.by_target,
            &starts,
            &sources,
            &gates,
            given.lstm.as_ref().map_or(&nothing, |lstm| &lstm[2]),
        ];
        let shape = self.forward_shape(steps as usize, records)?;
        let all = self.launch(&FORWARD, shape, inputs, outputs)?;
        let [y, hidden, memory, record, memory_record] = exactly(all)?;
        Ok(Run {
            y,
            hidden,
            memory,
            record,
            memory_record,
        })
    }

    /// The same steps back, from the gradients of the outputs and of the state after them.
    pub(super) fn backward(
        &self,
        given: &Given,
        prepared: &Prepared,
        run: &Run,
        (g_y, g_hidden, g_memory): (&Array, &Array, &Array),
    ) -> Mlx<Back> {
        let (batch, units, steps) = (self.batch(), self.units(), given.x.dim(1));
        let (nothing, groups) = (zeros(&[1]), self.groups());
        let spans = match self.geometry.spans.is_given() {
            true => vec![batch, steps],
            false => vec![1],
        };
        let outputs = vec![
            vec![batch, steps, dim(self.ltc.inputs)],
            spans,
            vec![batch, units],
            self.of_memory(&[batch, units]),
            self.of_memory(&[batch, steps, 4 * units]),
            vec![dim(groups), dim(self.sums_len())],
        ];
        let starts = indices(&self.wires.source_starts);
        let targets = indices(&self.wires.targets);
        let inputs = vec![
            &given.x,
            given.spans.as_ref().unwrap_or(&nothing),
            given.mask.as_ref().unwrap_or(&nothing),
            &prepared.by_source,
            &starts,
            &targets,
            given.lstm.as_ref().map_or(&nothing, |lstm| &lstm[2]),
            &run.hidden,
            &run.record,
            &run.memory_record,
            g_y,
            g_hidden,
            g_memory,
        ];
        let shape = self.backward_shape(steps as usize)?;
        let all = self.launch(&BACKWARD, shape, inputs, outputs)?;
        let [x, spans, hidden, memory, gates, rows] = exactly(all)?;
        Ok(Back {
            x,
            spans,
            hidden,
            memory,
            gates,
            sums: rows.sum_axis(0, false)?,
        })
    }

    /// Gradients of the cell's parameters, in the order of the specification, from the sums of all groups.
    pub(super) fn gradients(&self, given: &Given, sums: &Array) -> Mlx<Vec<Array>> {
        let (f, u, m) = (dim(self.ltc.inputs), self.units(), dim(self.ltc.outputs));
        let mut outputs = vec![vec![u]; 3];
        outputs.extend(vec![vec![u, u]; 4]);
        outputs.extend(vec![vec![f, u]; 4]);
        outputs.push(vec![2 * (f + m)]);
        let nothing = zeros(&[1]);
        let indices = [
            &self.wires.places,
            &self.wires.source_starts,
            &self.wires.targets,
        ]
        .map(|values| indices(values));
        let mut inputs = vec![sums];
        inputs.extend(&given.cell);
        inputs.extend(
            given.maps[..2]
                .iter()
                .map(|map| map.as_ref().unwrap_or(&nothing)),
        );
        inputs.extend(&indices);
        let mut all = self.launch(&GRADIENTS, self.gradients_shape()?, inputs, outputs)?;
        let maps = match all.pop() {
            Some(maps) => maps.split_at_indices(&[f, 2 * f, 2 * f + m], 0)?,
            None => Vec::new(),
        };
        let present = given.maps.iter().zip(maps).filter(|(map, _)| map.is_some());
        all.extend(present.map(|(_, gradient)| gradient));
        Ok(all)
    }
}

fn indices(values: &[i32]) -> Array {
    Array::from_slice(values, &[dim(values.len())])
}

fn exactly<const N: usize>(arrays: Vec<Array>) -> Mlx<[Array; N]> {
    <[Array; N]>::try_from(arrays).map_err(|found| {
        Exception::custom(format!("a kernel gave {} arrays, not {N}", found.len()))
    })
}

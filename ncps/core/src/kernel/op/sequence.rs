//! The fused sequence op: one node of the graph for a whole sequence, with its own derivative.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use mlx_rs::{Array, Dtype, Stream};

use super::ffi::apply;
use super::records::TOKEN;
use super::run::{Forward, Layout};
use crate::array::{During, dim};
use crate::error::{Error, Result};
use crate::kernel::gpu::{self, Backend, Geometry};
use crate::kernel::network::Network;
use crate::kernel::pool;
use crate::kernel::sequence::{Keep, Plan};
use crate::kernel::sequence_backward::{GROUPS, segment_length};
use crate::kernel::simd;
use crate::kernel::spec::SequenceSpec;

const LAYER: &str = "fused sequence op";

/// Bytes of records that a forward pass may leave for the backward pass.
pub(super) static RECORD_LIMIT: AtomicUsize = AtomicUsize::new(256 << 20);

/// Bytes of records that one op may keep in training.
pub fn record_limit() -> usize {
    RECORD_LIMIT.load(Ordering::Relaxed)
}

/// Sets how many bytes of records one op may keep in training; above it, steps are run again on the way back.
pub fn set_record_limit(bytes: usize) {
    RECORD_LIMIT.store(bytes, Ordering::Relaxed);
}

/// What a training call keeps for the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordReport {
    /// Everything, or the states at the starts of segments.
    pub keep: Keep,
    /// Bytes kept.
    pub bytes: usize,
    /// Bytes that keeping everything takes.
    pub all_bytes: usize,
}

/// Spans as the op takes them.
#[derive(Clone, Copy, Debug)]
pub enum CallSpans<'a> {
    /// All steps last the same.
    Constant(f32),
    /// [1, T], shared by the samples, or `[B, T]`.
    Array(&'a Array),
}

/// The arrays of one call. Half precision is computed in f32 and given back in the type of `x`.
#[derive(Clone, Debug)]
pub struct SequenceCall<'a> {
    /// In the order of [`SequenceOp::parameters`].
    pub parameters: Vec<&'a Array>,
    /// `[B, T, F]`.
    pub x: &'a Array,
    /// How long the steps last.
    pub spans: CallSpans<'a>,
    /// `[B, T]`, 0 or false where a step is not real.
    pub mask: Option<&'a Array>,
    /// `[B, U]`; zeros if absent.
    pub hidden: Option<&'a Array>,
    /// `[B, U]`; zeros if absent.
    pub memory: Option<&'a Array>,
    /// For each dropped backbone layer `[T, B, K]`.
    pub dropout: Vec<&'a Array>,
    /// Whether only the last step's outputs are wanted.
    pub is_last_only: bool,
    /// Whether gradients will probably be asked for; they are right in any case.
    pub is_training: bool,
}

/// What a call gives.
#[derive(Debug)]
pub struct SequenceArrays {
    /// `[B, T, O]`, or `[B, O]` if only the last step is wanted.
    pub outputs: Array,
    /// `[B, U]`.
    pub hidden: Array,
    /// `[B, U]` of a layer with a memory.
    pub memory: Option<Array>,
}

/// A sequence layer as one op, made once and called with any arrays.
#[derive(Clone, Debug)]
pub struct SequenceOp {
    spec: Arc<SequenceSpec>,
    parameters: Arc<[crate::kernel::spec::ParameterSpec]>,
    tape_rows: [usize; 2],
    /// A GPU's kernels for the geometries that were asked for, or why there are none.
    gpu_plans: Arc<Mutex<Vec<(Geometry, Backend, GpuPlan)>>>,
}

type GpuPlan = std::result::Result<gpu::Plan, String>;

impl SequenceOp {
    /// Checks the specification.
    ///
    /// # Errors
    /// [`Error::Layer`] for sizes that do not fit together.
    pub fn new(spec: SequenceSpec) -> Result<Self> {
        spec.check()?;
        let spec = Arc::new(spec);
        let parameters: Arc<[_]> = spec.parameters().into();
        let rows = |span: Option<f32>| {
            let zeros: Vec<Vec<f32>> = parameters.iter().map(|p| vec![0.0; p.len()]).collect();
            let zeros: Vec<&[f32]> = zeros.iter().map(Vec::as_slice).collect();
            let plan = Plan {
                spec: Arc::clone(&spec),
                batch: 1,
                time: 1,
                span,
                is_last_only: false,
                level: simd::level(),
                keep: Keep::Nothing,
            };
            Network::new(&spec, &zeros, plan.preparation(false, false, false)).tape_rows
        };
        let tape_rows = [rows(Some(1.0)), rows(None)];
        Ok(Self {
            spec,
            parameters,
            tape_rows,
            gpu_plans: Arc::default(),
        })
    }

    /// What the op computes.
    pub fn spec(&self) -> &SequenceSpec {
        &self.spec
    }

    /// Names and shapes of the parameters, in the order in which a call takes them.
    pub fn parameters(&self) -> &[crate::kernel::spec::ParameterSpec] {
        &self.parameters
    }

    fn tape_rows(&self, span: Option<f32>) -> usize {
        self.tape_rows[usize::from(span.is_none())]
    }

    /// What a training call of that size keeps, and how much memory that takes.
    pub fn records(&self, batch: usize, time: usize, has_timespans: bool) -> RecordReport {
        let span = (!has_timespans).then_some(1.0);
        let bytes = |keep| {
            size_of::<f32>()
                * self
                    .plan(batch, time, span, false, keep)
                    .saved_len(self.tape_rows(span))
        };
        let all_bytes = bytes(Keep::All);
        let is_small = all_bytes <= RECORD_LIMIT.load(Ordering::Relaxed);
        let keep = if is_small {
            Keep::All
        } else {
            Keep::Segments(segment_length(time))
        };
        RecordReport {
            keep,
            bytes: bytes(keep),
            all_bytes,
        }
    }

    /// Bytes of the kernels' own buffers in a training call on a CPU, with the threads that are set now: what the forward
    /// pass leaves for the way back, packed weights, sums of gradients, and the values of one block for each thread.
    pub fn scratch_bytes(&self, batch: usize, time: usize, has_timespans: bool) -> usize {
        let span = (!has_timespans).then_some(1.0);
        // So many that what they leave is cut down anyway; beyond, it grows with the batch.
        let counted = batch.min(1 << 20);
        let times = batch.div_ceil(counted.max(1));
        let records = self.records(counted, time, has_timespans);
        let batch = counted;
        let plan = self.plan(batch, time, span, false, records.keep);
        let zeros: Vec<Vec<f32>> = self.parameters.iter().map(|p| vec![0.0; p.len()]).collect();
        let zeros: Vec<&[f32]> = zeros.iter().map(Vec::as_slice).collect();
        let network = Network::new(&self.spec, &zeros, plan.preparation(true, true, true));
        let blocks = plan.blocks();
        let groups = blocks.len().clamp(1, GROUPS);
        let lanes = blocks.iter().map(|block| block.lanes).max().unwrap_or(0);
        let packed = 2 * zeros.iter().map(|values| values.len()).sum::<usize>();
        let values = groups.min(pool::threads()) * lanes * plan.work_rows(&network)
            + groups * network.gradient_len
            + packed;
        records.bytes.saturating_mul(times) + values * size_of::<f32>()
    }

    fn plan(
        &self,
        batch: usize,
        time: usize,
        span: Option<f32>,
        is_last_only: bool,
        keep: Keep,
    ) -> Plan {
        let spec = Arc::clone(&self.spec);
        Plan {
            spec,
            batch,
            time,
            span,
            is_last_only,
            level: simd::level(),
            keep,
        }
    }

    /// Adds the op to the graph, on the default stream.
    ///
    /// # Shapes
    /// See [`SequenceCall`] and [`SequenceArrays`].
    ///
    /// # Errors
    /// [`Error::Shape`] and [`Error::ElementType`] name the argument; [`Error::Layer`] if the stream is a GPU's for which there
    /// is no kernel of this layer.
    pub fn call(&self, call: &SequenceCall<'_>) -> Result<SequenceArrays> {
        self.serve(call)?.map_err(|reason| Error::Layer {
            layer: LAYER,
            key: "device",
            found: format!("a GPU without a kernel for this: {reason}"),
            expected: "a layer that it serves, a CPU stream or the plain implementation".to_owned(),
        })
    }

    /// As [`SequenceOp::call`]; gives the reason where a GPU has no kernel.
    pub(crate) fn serve(
        &self,
        call: &SequenceCall<'_>,
    ) -> Result<std::result::Result<SequenceArrays, String>> {
        let stream = Stream::thread_local_or_default();
        let (batch, time) = self.check(call)?;
        if let Some(backend) = Backend::of(&stream) {
            return match self.gpu_plan(call, (batch, time), backend) {
                Ok(plan) => self.apply_gpu(call, &plan).map(Ok),
                Err(reason) => Ok(Err(reason)),
            };
        }
        let span = match call.spans {
            CallSpans::Constant(span) => Some(span),
            CallSpans::Array(_) => None,
        };
        let keep = match call.is_training {
            true => self.records(batch, time, span.is_none()).keep,
            false => Keep::Nothing,
        };
        let plan = self.plan(batch, time, span, call.is_last_only, keep);
        if let Keep::Segments(length) = keep {
            tracing::debug!(
                batch,
                time,
                length,
                "records exceed their limit: segments are run again"
            );
        }
        self.apply(call, plan, &stream).map(Ok)
    }

    /// The kernels for a call's shapes, chosen once.
    fn gpu_plan(
        &self,
        call: &SequenceCall<'_>,
        (batch, time): (usize, usize),
        backend: Backend,
    ) -> GpuPlan {
        let geometry = Geometry {
            batch,
            time,
            spans: match call.spans {
                CallSpans::Constant(span) => gpu::Spans::Constant(span),
                CallSpans::Array(spans) if spans.shape()[0] as usize == batch => {
                    gpu::Spans::PerSample
                }
                CallSpans::Array(_) => gpu::Spans::Shared,
            },
            has_mask: call.mask.is_some(),
            dropout: call.dropout.len(),
            is_last_only: call.is_last_only,
            is_training: call.is_training,
            record_limit: RECORD_LIMIT.load(Ordering::Relaxed),
        };
        let mut plans = self
            .gpu_plans
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = plans
            .iter()
            .find(|(g, b, _)| *g == geometry && *b == backend);
        if let Some((_, _, plan)) = known {
            return plan.clone();
        }
        let plan = gpu::Plan::new(&self.spec, geometry, backend);
        plans.push((geometry, backend, plan.clone()));
        plan
    }

    fn apply_gpu(&self, call: &SequenceCall<'_>, plan: &gpu::Plan) -> Result<SequenceArrays> {
        let zeros = crate::array::zeros(&[call.x.shape()[0], dim(self.spec.units)]);
        let mut given = call.parameters.clone();
        given.push(call.x);
        if let CallSpans::Array(spans) = call.spans {
            given.push(spans);
        }
        given.extend(call.mask);
        given.push(call.hidden.unwrap_or(&zeros));
        if self.spec.has_memory {
            given.push(call.memory.unwrap_or(&zeros));
        }
        given.extend(&call.dropout);
        let converted: Vec<Option<Array>> = given
            .iter()
            .map(|array| as_f32(array))
            .collect::<Result<_>>()?;
        let inputs: Vec<&Array> = given
            .iter()
            .zip(&converted)
            .map(|(array, converted)| converted.as_ref().unwrap_or(array))
            .collect();
        let arrays = plan.call(&inputs).during(LAYER)?;
        self.outputs_of(arrays, call.x.dtype())
    }

    /// The arrays of a call by name, in the type of `x`.
    fn outputs_of(&self, arrays: Vec<Array>, dtype: Dtype) -> Result<SequenceArrays> {
        let mut arrays = arrays.into_iter().map(|array| match dtype {
            Dtype::Float32 => Ok(array),
            other => array.as_dtype(other).during(LAYER),
        });
        let mut next = || arrays.next().unwrap_or_else(|| Err(missing_output()));
        let (outputs, hidden) = (next()?, next()?);
        let memory = if self.spec.has_memory {
            Some(next()?)
        } else {
            None
        };
        Ok(SequenceArrays {
            outputs,
            hidden,
            memory,
        })
    }

    fn apply(
        &self,
        call: &SequenceCall<'_>,
        plan: Plan,
        stream: &Stream,
    ) -> Result<SequenceArrays> {
        let layout = Layout {
            parameters: call.parameters.len(),
            has_timespans: plan.span.is_none(),
            has_mask: call.mask.is_some(),
            has_hidden: call.hidden.is_some(),
            has_memory: call.memory.is_some(),
            dropout: call.dropout.len(),
        };
        let mut given = call.parameters.clone();
        given.push(call.x);
        if let CallSpans::Array(spans) = call.spans {
            given.push(spans);
        }
        given.extend([call.mask, call.hidden, call.memory].into_iter().flatten());
        given.extend(&call.dropout);
        let converted: Vec<Option<Array>> = given
            .iter()
            .map(|array| as_f32(array))
            .collect::<Result<_>>()?;
        let inputs: Vec<&Array> = given
            .iter()
            .zip(&converted)
            .map(|(array, converted)| converted.as_ref().unwrap_or(array))
            .collect();
        let (batch, units, outputs) = (
            dim(plan.batch),
            dim(self.spec.units),
            dim(self.spec.outputs()),
        );
        let mut shapes = vec![
            if plan.is_last_only {
                vec![batch, outputs]
            } else {
                vec![batch, dim(plan.time), outputs]
            },
            vec![batch, units],
        ];
        shapes.extend(self.spec.has_memory.then(|| vec![batch, units]));
        let saved_len = plan.saved_len(self.tape_rows(plan.span));
        let saved = (saved_len > 0).then_some(shapes.len());
        shapes.extend(saved.map(|_| vec![dim(TOKEN)]));
        let op = Forward {
            plan: Arc::new(plan),
            layout,
            saved_len,
        };
        let arrays = apply(op, &inputs, &shapes, saved, stream).during(LAYER)?;
        self.outputs_of(arrays, call.x.dtype())
    }

    fn check(&self, call: &SequenceCall<'_>) -> Result<(usize, usize)> {
        let features = self.spec.inputs;
        let &[batch, time, f] = call.x.shape() else {
            return Err(shape_error("x", call.x, format!("[B, T, {features}]")));
        };
        if f != dim(features) || batch < 1 || time < 1 {
            return Err(shape_error(
                "x",
                call.x,
                format!("[B, T, {features}] with B and T of at least 1"),
            ));
        }
        self.check_parameters(call)?;
        let state = [batch, dim(self.spec.units)];
        if let CallSpans::Array(spans) = call.spans {
            expect("timespans", spans, &[&[batch, time], &[1, time]])?;
        }
        for (name, array, shape) in [
            ("mask", call.mask, [batch, time]),
            ("hidden", call.hidden, state),
            ("memory", call.memory, state),
        ] {
            array.map_or(Ok(()), |array| expect(name, array, &[&shape]))?;
        }
        if let (Some(memory), false) = (call.memory, self.spec.has_memory) {
            return Err(shape_error(
                "memory",
                memory,
                "nothing: this layer has no memory".to_owned(),
            ));
        }
        let rows = self.spec.dropout_rows();
        let arrays = call.dropout.len().max(1);
        let width = dim(rows / arrays);
        if !rows.is_multiple_of(arrays) || (rows > 0) == call.dropout.is_empty() {
            let found = call.dropout.len().to_string();
            let expected = "one array for each dropped backbone layer".to_owned();
            return Err(Error::Layer {
                layer: LAYER,
                key: "dropout",
                found,
                expected,
            });
        }
        for factors in &call.dropout {
            expect("dropout", factors, &[&[time, batch, width]])?;
        }
        Ok((batch as usize, time as usize))
    }

    fn check_parameters(&self, call: &SequenceCall<'_>) -> Result<()> {
        if call.parameters.len() != self.parameters.len() {
            return Err(Error::Layer {
                layer: LAYER,
                key: "parameters",
                found: format!("{} arrays", call.parameters.len()),
                expected: format!("{}", self.parameters.len()),
            });
        }
        for (array, parameter) in call.parameters.iter().zip(self.parameters.iter()) {
            let shape: Vec<i32> = parameter.shape.iter().map(|&size| dim(size)).collect();
            if array.shape() != shape {
                let expected = format!("{shape:?} for `{}`", parameter.name);
                return Err(shape_error("parameters", array, expected));
            }
        }
        Ok(())
    }
}

fn missing_output() -> Error {
    Error::Layer {
        layer: LAYER,
        key: "outputs",
        found: "too few".to_owned(),
        expected: "one array for each output".to_owned(),
    }
}

fn shape_error(argument: &'static str, array: &Array, expected: String) -> Error {
    Error::Shape {
        layer: LAYER,
        argument,
        found: array.shape().to_vec(),
        expected,
    }
}

fn expect(argument: &'static str, array: &Array, shapes: &[&[i32]]) -> Result<()> {
    if shapes.contains(&array.shape()) {
        return Ok(());
    }
    let expected = shapes
        .iter()
        .map(|shape| format!("{shape:?}"))
        .collect::<Vec<_>>()
        .join(" or ");
    Err(shape_error(argument, array, expected))
}

/// A conversion where one is needed.
fn as_f32(array: &Array) -> Result<Option<Array>> {
    match array.dtype() {
        Dtype::Float32 => Ok(None),
        Dtype::Float16 | Dtype::Bfloat16 | Dtype::Bool => {
            Ok(Some(array.as_dtype(Dtype::Float32).during(LAYER)?))
        }
        found => Err(Error::ElementType {
            layer: LAYER,
            argument: "an input",
            found,
        }),
    }
}

//! The fused sequence op: one node of the graph for a whole sequence, with its own derivative.

use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mlx_rs::{Array, Dtype, Stream};

use super::ffi::{Never, Op, Tensor, apply, is_cpu};
use crate::array::{During, dim};
use crate::error::{Error, Result};
use crate::kernel::network::Network;
use crate::kernel::sequence::{Inputs, Keep, Outputs, Plan, Spans};
use crate::kernel::sequence_backward::{Cotangents, Gradients, segment_length};
use crate::kernel::simd;
use crate::kernel::spec::SequenceSpec;

const LAYER: &str = "fused sequence op";

/// Bytes of records that a forward pass may leave for the backward pass.
static RECORD_LIMIT: AtomicUsize = AtomicUsize::new(256 << 20);

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
    /// [1, T], shared by the samples, or [B, T].
    Array(&'a Array),
}

/// The arrays of one call. Half precision is computed in f32 and given back in the type of `x`.
#[derive(Clone, Debug)]
pub struct SequenceCall<'a> {
    /// In the order of [`SequenceOp::parameters`].
    pub parameters: Vec<&'a Array>,
    /// [B, T, F].
    pub x: &'a Array,
    /// How long the steps last.
    pub spans: CallSpans<'a>,
    /// [B, T], 0 or false where a step is not real.
    pub mask: Option<&'a Array>,
    /// [B, U]; zeros if absent.
    pub hidden: Option<&'a Array>,
    /// [B, U]; zeros if absent.
    pub memory: Option<&'a Array>,
    /// For each dropped backbone layer [T, B, K].
    pub dropout: Vec<&'a Array>,
    /// Whether only the last step's outputs are wanted.
    pub is_last_only: bool,
    /// Whether gradients will probably be asked for; they are right in any case.
    pub is_training: bool,
}

/// What a call gives.
#[derive(Debug)]
pub struct SequenceArrays {
    /// [B, T, O], or [B, O] if only the last step is wanted.
    pub outputs: Array,
    /// [B, U].
    pub hidden: Array,
    /// [B, U] of a layer with a memory.
    pub memory: Option<Array>,
}

/// A sequence layer as one op, made once and called with any arrays.
#[derive(Clone, Debug)]
pub struct SequenceOp {
    spec: Arc<SequenceSpec>,
    parameters: Arc<[crate::kernel::spec::ParameterSpec]>,
    tape_rows: [usize; 2],
}

/// Which optional inputs follow the parameters and x.
#[derive(Clone, Copy, Debug)]
struct Layout {
    parameters: usize,
    has_timespans: bool,
    has_mask: bool,
    has_hidden: bool,
    has_memory: bool,
    dropout: usize,
}

/// What an input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Parameter(usize),
    X,
    Timespans,
    Mask,
    Hidden,
    Memory,
    Dropout,
}

impl Layout {
    fn roles(&self) -> Vec<Role> {
        let mut roles: Vec<Role> = (0..self.parameters).map(Role::Parameter).collect();
        roles.push(Role::X);
        let optional = [
            (self.has_timespans, Role::Timespans),
            (self.has_mask, Role::Mask),
            (self.has_hidden, Role::Hidden),
            (self.has_memory, Role::Memory),
        ];
        roles.extend(
            optional
                .iter()
                .filter(|(is_given, _)| *is_given)
                .map(|(_, role)| *role),
        );
        roles.extend((0..self.dropout).map(|_| Role::Dropout));
        roles
    }
}

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
    /// [`Error::Shape`] and [`Error::ElementType`] name the argument; [`Error::Layer`] if the stream is not a CPU's.
    pub fn call(&self, call: &SequenceCall<'_>) -> Result<SequenceArrays> {
        let stream = Stream::thread_local_or_default();
        if !is_cpu(&stream) {
            return Err(Error::Layer {
                layer: LAYER,
                key: "device",
                found: "a GPU stream".to_owned(),
                expected: "a CPU stream; choose the plain implementation on a GPU".to_owned(),
            });
        }
        let (batch, time) = self.check(call)?;
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
        self.apply(call, plan, &stream)
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
        shapes.extend(saved.map(|_| vec![dim(saved_len)]));
        let op = Forward {
            plan: Arc::new(plan),
            layout,
        };
        let arrays = apply(op, &inputs, &shapes, saved, stream).during(LAYER)?;
        let dtype = call.x.dtype();
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

/// The op forward.
#[derive(Debug)]
struct Forward {
    plan: Arc<Plan>,
    layout: Layout,
}

impl Op for Forward {
    const NAME: &'static CStr = c"NcpsSequence";
    type Derivative = Backward;

    fn run(&self, inputs: &[Tensor<'_>], outputs: &mut [&mut [f32]]) -> Result<(), String> {
        let plan = &self.plan;
        let given = Given::new(plan, &self.layout, inputs);
        let mut outputs = outputs.iter_mut();
        let mut next = |wanted: bool| -> &mut [f32] {
            if wanted {
                outputs.next().map_or(&mut [], |out| &mut **out)
            } else {
                &mut []
            }
        };
        let (y, hidden, memory) = (next(true), next(true), next(plan.spec.has_memory));
        let saved = next(plan.keep != Keep::Nothing);
        plan.forward(
            given.inputs(),
            Outputs {
                y,
                hidden,
                memory,
                saved,
            },
        );
        Ok(())
    }

    fn differentiate(&self, wanted: &[usize]) -> Option<Backward> {
        let roles = self.layout.roles();
        let wanted: Vec<Role> = wanted
            .iter()
            .filter_map(|&i| roles.get(i).copied())
            .collect();
        // Factors of dropout are drawn, not computed from anything that has a gradient.
        if wanted.contains(&Role::Dropout) {
            return None;
        }
        Some(Backward {
            plan: Arc::clone(&self.plan),
            layout: self.layout,
            wanted,
        })
    }
}

/// The op's derivative.
#[derive(Debug)]
struct Backward {
    plan: Arc<Plan>,
    layout: Layout,
    wanted: Vec<Role>,
}

impl Op for Backward {
    const NAME: &'static CStr = c"NcpsSequenceGradient";
    type Derivative = Never;

    fn run(&self, inputs: &[Tensor<'_>], outputs: &mut [&mut [f32]]) -> Result<(), String> {
        let plan = &self.plan;
        let count = self.layout.roles().len();
        let given = Given::new(plan, &self.layout, &inputs[..count]);
        let mut rest = inputs[count..].iter();
        let saved = if plan.keep == Keep::Nothing {
            None
        } else {
            rest.next()
        };
        let mut cotangent = || {
            rest.next()
                .filter(|tensor| !tensor.is_zero)
                .map(|tensor| &*tensor.values)
        };
        let (y, hidden) = (cotangent(), cotangent());
        let memory = if plan.spec.has_memory {
            cotangent()
        } else {
            None
        };
        let cotangents = Cotangents { y, hidden, memory };
        let saved: &[f32] = saved.map_or(&[], |tensor| &tensor.values);
        self.gradients(given.inputs(), saved, cotangents, outputs);
        Ok(())
    }

    fn differentiate(&self, _: &[usize]) -> Option<Never> {
        None
    }
}

impl Backward {
    fn gradients(
        &self,
        inputs: Inputs<'_>,
        saved: &[f32],
        cotangents: Cotangents<'_>,
        outputs: &mut [&mut [f32]],
    ) {
        let plan = &self.plan;
        // Gradients of parameters come together; what nobody asked for goes to a spare.
        let mut spare: Vec<Vec<f32>> = inputs.parameters.iter().map(|_| Vec::new()).collect();
        for (index, parameter) in inputs.parameters.iter().enumerate() {
            if !self.wanted.contains(&Role::Parameter(index)) {
                spare[index].resize(parameter.len(), 0.0);
            }
        }
        let mut parameters: Vec<&mut [f32]> = spare.iter_mut().map(Vec::as_mut_slice).collect();
        let (mut x, mut hidden, mut memory): (&mut [f32], &mut [f32], &mut [f32]) =
            (&mut [], &mut [], &mut []);
        let mut spans_out: &mut [f32] = &mut [];
        for (role, out) in self.wanted.iter().zip(outputs.iter_mut()) {
            match role {
                Role::Parameter(index) => parameters[*index] = out,
                Role::X => x = out,
                Role::Timespans => spans_out = out,
                Role::Hidden => hidden = out,
                Role::Memory => memory = out,
                Role::Mask | Role::Dropout => out.fill(0.0),
            }
        }
        let is_shared = spans_out.len() < plan.batch * plan.time;
        let mut each = vec![
            0.0;
            if spans_out.is_empty() || !is_shared {
                0
            } else {
                plan.batch * plan.time
            }
        ];
        let timespans: &mut [f32] = if each.is_empty() {
            &mut *spans_out
        } else {
            &mut each
        };
        let parameters = &mut parameters;
        plan.backward(
            inputs,
            saved,
            cotangents,
            Gradients {
                parameters,
                x,
                timespans,
                hidden,
                memory,
            },
        );
        if !each.is_empty() {
            spans_out.fill(0.0);
            for row in each.chunks_exact(plan.time) {
                spans_out
                    .iter_mut()
                    .zip(row)
                    .for_each(|(sum, value)| *sum += value);
            }
        }
    }
}

/// The inputs of a call by their roles.
struct Given<'a> {
    parameters: Vec<&'a [f32]>,
    dropout: Vec<&'a [f32]>,
    x: &'a [f32],
    spans: Spans<'a>,
    mask: Option<&'a [f32]>,
    hidden: Option<&'a [f32]>,
    memory: Option<&'a [f32]>,
}

impl<'a> Given<'a> {
    fn new(plan: &Plan, layout: &Layout, inputs: &'a [Tensor<'_>]) -> Self {
        let mut given = Self {
            parameters: Vec::with_capacity(layout.parameters),
            dropout: Vec::new(),
            x: &[],
            spans: Spans::Constant,
            mask: None,
            hidden: None,
            memory: None,
        };
        for (role, tensor) in layout.roles().into_iter().zip(inputs) {
            let values: &'a [f32] = &tensor.values;
            match role {
                Role::Parameter(_) => given.parameters.push(values),
                Role::X => given.x = values,
                Role::Timespans if values.len() == plan.batch * plan.time => {
                    given.spans = Spans::PerSample(values)
                }
                Role::Timespans => given.spans = Spans::Shared(values),
                Role::Mask => given.mask = Some(values),
                Role::Hidden => given.hidden = Some(values),
                Role::Memory => given.memory = Some(values),
                Role::Dropout => given.dropout.push(values),
            }
        }
        given
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            parameters: &self.parameters,
            x: self.x,
            spans: self.spans,
            mask: self.mask,
            hidden: self.hidden,
            memory: self.memory,
            dropout: &self.dropout,
        }
    }
}

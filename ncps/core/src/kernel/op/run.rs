//! The sequence op and its derivative as they run: from arrays by position to arrays by role.

use std::ffi::CStr;
use std::sync::Arc;

use super::ffi::{Never, Op, Tensor};
use super::records;
use crate::kernel::sequence::{Inputs, Keep, Outputs, Plan, Spans};
use crate::kernel::sequence_backward::{Cotangents, Gradients};

/// Which optional inputs follow the parameters and x.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) parameters: usize,
    pub(super) has_timespans: bool,
    pub(super) has_mask: bool,
    pub(super) has_hidden: bool,
    pub(super) has_memory: bool,
    pub(super) dropout: usize,
}

/// What an input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
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

/// The op forward.
#[derive(Debug)]
pub(super) struct Forward {
    pub(super) plan: Arc<Plan>,
    pub(super) layout: Layout,
    /// Length of the record that is kept.
    pub(super) saved_len: usize,
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
        let token = next(self.saved_len > 0);
        let mut record = records::take(self.saved_len);
        let saved = &mut record[..];
        plan.forward(
            given.inputs(),
            Outputs {
                y,
                hidden,
                memory,
                saved,
            },
        );
        if self.saved_len > 0 {
            records::keep(record, token);
        }
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
pub(super) struct Backward {
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
        // Without its record the sequence is run forward again.
        let record = saved.and_then(|token| records::find(&token.values));
        let saved: &[f32] = record.as_deref().map_or(&[], Vec::as_slice);
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
pub(super) struct Given<'a> {
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

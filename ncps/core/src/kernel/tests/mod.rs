//! Kernels against the reference package's numbers and against an independent f64 form.

#[cfg(target_os = "linux")]
mod emulated;
mod golden;
mod op;
mod policy;
mod properties;
mod reference;
#[cfg(target_os = "linux")]
mod sources;
mod vmap;

use std::sync::Arc;

use super::sequence::{Inputs, Keep, Outputs, Plan, Spans};
use super::sequence_backward::{Cotangents, Gradients};
use super::simd::Level;
use super::spec::SequenceSpec;

/// A call with everything it owns.
#[derive(Clone, Debug)]
struct Case {
    spec: SequenceSpec,
    batch: usize,
    time: usize,
    parameters: Vec<Vec<f32>>,
    x: Vec<f32>,
    /// How long every step lasts where `timespans` is empty.
    span: f32,
    /// Empty, [T] or [B, T].
    timespans: Vec<f32>,
    mask: Option<Vec<f32>>,
    hidden: Option<Vec<f32>>,
    memory: Option<Vec<f32>>,
    dropout: Vec<Vec<f32>>,
    is_last_only: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Values {
    y: Vec<f32>,
    hidden: Vec<f32>,
    memory: Vec<f32>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Derivatives {
    parameters: Vec<Vec<f32>>,
    x: Vec<f32>,
    timespans: Vec<f32>,
    hidden: Vec<f32>,
    memory: Vec<f32>,
}

fn levels() -> Vec<Level> {
    let all = [Level::Portable, Level::Avx2, Level::Avx512, Level::Neon];
    all.into_iter()
        .filter(|level| level.is_available())
        .collect()
}

impl Case {
    fn plan(&self, level: Level, keep: Keep) -> Plan {
        Plan {
            spec: Arc::new(self.spec.clone()),
            batch: self.batch,
            time: self.time,
            span: self.timespans.is_empty().then_some(self.span),
            is_last_only: self.is_last_only,
            level,
            keep,
        }
    }

    fn is_shared(&self) -> bool {
        self.timespans.len() == self.time && self.batch != 1
    }

    fn memory_len(&self) -> usize {
        if self.spec.has_memory {
            self.batch * self.spec.units
        } else {
            0
        }
    }

    /// Forward, then backward from the cotangents that `loss` makes of the outputs.
    fn run(
        &self,
        level: Level,
        keep: Keep,
        loss: impl Fn(&Values) -> Values,
    ) -> (Values, Derivatives) {
        let plan = self.plan(level, keep);
        let parameters: Vec<&[f32]> = self.parameters.iter().map(Vec::as_slice).collect();
        let dropout: Vec<&[f32]> = self.dropout.iter().map(Vec::as_slice).collect();
        let spans = match self.timespans.len() {
            0 => Spans::Constant,
            _ if self.is_shared() => Spans::Shared(&self.timespans),
            _ => Spans::PerSample(&self.timespans),
        };
        let inputs = Inputs {
            parameters: &parameters,
            x: &self.x,
            spans,
            mask: self.mask.as_deref(),
            hidden: self.hidden.as_deref(),
            memory: self.memory.as_deref(),
            dropout: &dropout,
        };
        let tape_rows = super::network::Network::new(
            &plan.spec,
            &parameters,
            plan.preparation(false, false, true),
        )
        .tape_rows;
        let mut saved = vec![f32::NAN; plan.saved_len(tape_rows)];
        let steps = if self.is_last_only { 1 } else { self.time };
        let mut values = Values {
            y: vec![f32::NAN; self.batch * steps * self.spec.outputs()],
            hidden: vec![f32::NAN; self.batch * self.spec.units],
            memory: vec![f32::NAN; self.memory_len()],
        };
        plan.forward(
            inputs,
            Outputs {
                y: &mut values.y,
                hidden: &mut values.hidden,
                memory: &mut values.memory,
                saved: &mut saved,
            },
        );
        let cotangents = loss(&values);
        let derivatives = self.backward(&plan, inputs, &saved, &cotangents);
        (values, derivatives)
    }

    fn backward(
        &self,
        plan: &Plan,
        inputs: Inputs<'_>,
        saved: &[f32],
        cotangents: &Values,
    ) -> Derivatives {
        let nan = |len: usize| vec![f32::NAN; len];
        let mut out = Derivatives {
            parameters: self.parameters.iter().map(|p| nan(p.len())).collect(),
            x: nan(self.x.len()),
            timespans: nan(if self.timespans.is_empty() {
                0
            } else {
                self.batch * self.time
            }),
            hidden: nan(self.batch * self.spec.units),
            memory: nan(self.memory_len()),
        };
        let mut parameters: Vec<&mut [f32]> =
            out.parameters.iter_mut().map(Vec::as_mut_slice).collect();
        let present = |values: &'_ [f32]| !values.is_empty();
        plan.backward(
            inputs,
            saved,
            Cotangents {
                y: present(&cotangents.y).then_some(&cotangents.y[..]),
                hidden: present(&cotangents.hidden).then_some(&cotangents.hidden[..]),
                memory: present(&cotangents.memory).then_some(&cotangents.memory[..]),
            },
            Gradients {
                parameters: &mut parameters,
                x: &mut out.x,
                timespans: &mut out.timespans,
                hidden: &mut out.hidden,
                memory: &mut out.memory,
            },
        );
        if self.is_shared() {
            let rows = out.timespans.chunks_exact(self.time);
            out.timespans = (0..self.time)
                .map(|t| rows.clone().map(|row| row[t]).sum())
                .collect();
        }
        out
    }
}

//! One sample, step by step, with the state carried: for control loops and streams.

use std::sync::Arc;

use super::buffer::Buffer;
use super::cfc::StepInput;
use super::dense::Preparation;
use super::network::{Network, StateMut};
use super::simd::{Kernel, Level, Simd, level};
use super::spec::SequenceSpec;
use crate::error::{Error, Result};

/// A trained layer that takes one observation and gives one output at a time.
///
/// It holds a copy of the parameters, builds no MLX graph and allocates nothing after it was made. It is `Send`: make it
/// on one thread, use it on another.
///
/// # Shapes
/// One step: `[F]` to `[O]`, where O is the size after the last linear map.
#[derive(Debug)]
pub struct Policy {
    network: Network,
    level: Level,
    lanes: usize,
    x: Buffer,
    elapsed: Buffer,
    hidden: Buffer,
    memory: Buffer,
    next_hidden: Buffer,
    next_memory: Buffer,
    tape: Buffer,
    scratch: Buffer,
    readout: Buffer,
    linear: Vec<Linear>,
}

/// A linear map behind the layer.
#[derive(Debug)]
struct Linear {
    /// [inputs, outputs]: a row for each input, so that the outputs are one loop.
    weights: Vec<f32>,
    bias: Vec<f32>,
    values: Vec<f32>,
}

impl Policy {
    /// From values in the order of `spec.parameters()`.
    ///
    /// # Errors
    /// [`Error::Layer`] if the specification is wrong, or a parameter is missing or has the wrong length.
    pub fn new(spec: SequenceSpec, parameters: &[Vec<f32>]) -> Result<Self> {
        spec.check()?;
        let expected = spec.parameters();
        if parameters.len() != expected.len() {
            return Err(refuse(
                "parameters",
                parameters.len(),
                format!("{} arrays", expected.len()),
            ));
        }
        for (values, parameter) in parameters.iter().zip(&expected) {
            if values.len() != parameter.len() {
                let expected = format!("{} values for `{}`", parameter.len(), parameter.name);
                return Err(refuse("parameters", values.len(), expected));
            }
        }
        if spec.dropout_rows() > 0 {
            return Err(refuse(
                "dropped",
                spec.dropout_rows(),
                "none: a policy does not drop features".to_owned(),
            ));
        }
        let level = level();
        let preparation = Preparation {
            tile: level.tile_rows(),
            is_forward: true,
            is_backward: false,
            wants_inputs: false,
            span: None,
        };
        let parameters: Vec<&[f32]> = parameters.iter().map(Vec::as_slice).collect();
        Ok(Self::laid_out(
            Network::new(&Arc::new(spec), &parameters, preparation),
            level,
        ))
    }

    fn laid_out(network: Network, level: Level) -> Self {
        let lanes = level.lanes();
        let (inputs, units, outputs) = (
            network.spec.inputs,
            network.spec.units,
            network.spec.outputs(),
        );
        let memory = if network.spec.has_memory { units } else { 0 };
        let rows = |rows: usize| Buffer::zeros(rows * lanes);
        Self {
            level,
            lanes,
            x: rows(inputs),
            elapsed: rows(1),
            hidden: rows(units),
            memory: rows(memory),
            next_hidden: rows(units),
            next_memory: rows(memory),
            tape: rows(network.tape_rows),
            scratch: rows(network.scratch_rows),
            readout: rows(outputs),
            linear: Vec::new(),
            network,
        }
    }

    /// Adds a linear map behind the outputs: weights `[O', O]` row-major, bias `[O']`.
    ///
    /// # Errors
    /// [`Error::Layer`] if the weights do not fit.
    pub fn then_linear(mut self, weights: &[f32], bias: &[f32]) -> Result<Self> {
        let (inputs, outputs) = (self.outputs(), bias.len());
        if outputs == 0 || weights.len() != inputs * outputs {
            let expected = format!("{} values: [{outputs}, {inputs}]", inputs * outputs);
            return Err(refuse("weights", weights.len(), expected));
        }
        let columns = (0..inputs).flat_map(|i| (0..outputs).map(move |o| weights[o * inputs + i]));
        let linear = Linear {
            weights: columns.collect(),
            bias: bias.to_vec(),
            values: vec![0.0; outputs],
        };
        self.linear.push(linear);
        Ok(self)
    }

    /// Number of features of an observation.
    pub fn inputs(&self) -> usize {
        self.network.spec.inputs
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.linear
            .last()
            .map_or(self.network.spec.outputs(), |linear| linear.bias.len())
    }

    /// Number of neurons in the state.
    pub fn units(&self) -> usize {
        self.network.spec.units
    }

    /// Sets hidden state and memory to zero.
    pub fn reset(&mut self) {
        self.hidden.fill(0.0);
        self.memory.fill(0.0);
    }

    /// Copies the hidden state `[U]`, and the memory `[U]` where there is one, to `to`.
    pub fn state(&self, hidden: &mut [f32], memory: &mut [f32]) {
        for (to, from) in [(hidden, &self.hidden), (memory, &self.memory)] {
            to.iter_mut()
                .zip(from.iter().step_by(self.lanes))
                .for_each(|(to, from)| *to = *from);
        }
    }

    /// Takes over a hidden state `[U]` and, where there is one, a memory `[U]`.
    ///
    /// # Errors
    /// [`Error::Layer`] if a length is wrong.
    pub fn set_state(&mut self, hidden: &[f32], memory: &[f32]) -> Result<()> {
        for (key, from, to) in [
            ("hidden", hidden, &mut self.hidden),
            ("memory", memory, &mut self.memory),
        ] {
            if from.len() * self.lanes != to.len() {
                return Err(refuse(
                    key,
                    from.len(),
                    format!("{} values", to.len() / self.lanes),
                ));
            }
            to.iter_mut()
                .step_by(self.lanes)
                .zip(from)
                .for_each(|(to, from)| *to = *from);
        }
        Ok(())
    }

    /// One step: the outputs for observation `x` after `elapsed_time`.
    ///
    /// # Units
    /// `elapsed_time` in the unit of the training data's timespans; 1 where it had none.
    ///
    /// # Errors
    /// [`Error::Layer`] if `x` has the wrong length.
    pub fn step(&mut self, x: &[f32], elapsed_time: f32) -> Result<&[f32]> {
        if x.len() != self.inputs() {
            return Err(refuse("x", x.len(), format!("{} features", self.inputs())));
        }
        self.x
            .iter_mut()
            .step_by(self.lanes)
            .zip(x)
            .for_each(|(to, from)| *to = *from);
        self.elapsed.fill(1.0);
        self.elapsed[0] = elapsed_time;
        self.level.run(Step { policy: self });
        std::mem::swap(&mut self.hidden, &mut self.next_hidden);
        std::mem::swap(&mut self.memory, &mut self.next_memory);
        // The layer's outputs lie in the first lane; from here on values lie side by side.
        let outputs = self.network.spec.outputs();
        for i in 1..outputs {
            self.readout[i] = self.readout[i * self.lanes];
        }
        let mut values: &[f32] = &self.readout[..outputs];
        for linear in &mut self.linear {
            values = linear.apply(values);
        }
        Ok(values)
    }
}

impl Linear {
    fn apply(&mut self, x: &[f32]) -> &[f32] {
        self.values.copy_from_slice(&self.bias);
        for (x, row) in x.iter().zip(self.weights.chunks_exact(self.bias.len())) {
            self.values
                .iter_mut()
                .zip(row)
                .for_each(|(value, weight)| *value += weight * x);
        }
        &self.values
    }
}

fn refuse(key: &'static str, found: usize, expected: String) -> Error {
    Error::Layer {
        layer: "policy",
        key,
        found: found.to_string(),
        expected,
    }
}

struct Step<'a> {
    policy: &'a mut Policy,
}

impl Kernel for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let p = self.policy;
        let step = StepInput {
            x: &p.x,
            span: 1.0,
            elapsed: Some(&p.elapsed),
            dropout: &[],
            lanes: p.lanes,
        };
        let next = StateMut {
            hidden: &mut p.next_hidden,
            memory: &mut p.next_memory,
        };
        p.network.forward(
            s,
            step,
            (&p.hidden, &p.memory),
            (&mut p.tape, &mut p.scratch),
            next,
        );
        p.network
            .read_out(s, &p.next_hidden, &mut p.readout, p.lanes);
    }
}

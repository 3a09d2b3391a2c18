//! The public border: checks what a sequence layer is given, once.

use mlx_rs::{Array, Dtype, ops};

use super::{SequenceInput, SequenceOutput, State, Timespans};
use crate::array::{During, Mlx, dim, is_real, swap_batch_and_time};
use crate::cell::Elapsed;
use crate::error::{Error, Result};

/// What the border needs to know of a layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Border {
    pub(crate) layer: &'static str,
    pub(crate) inputs: usize,
    pub(crate) units: usize,
    pub(crate) has_memory: bool,
}

/// How long the steps of a checked sequence last.
#[derive(Debug, Clone)]
pub(crate) enum Spans {
    /// All the same.
    Constant(f32),
    /// [1, T], shared by the samples, or [B, T].
    Array(Array),
}

/// A sequence whose shapes and element types are right.
#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    /// [B, T, F], with zeros at masked steps.
    pub(crate) x: Array,
    pub(crate) spans: Spans,
    /// [B, T] of truth values.
    pub(crate) mask: Option<Array>,
    /// [B, U].
    pub(crate) state: State,
    pub(crate) batch: i32,
    pub(crate) time: i32,
    unbatched: bool,
}

impl Border {
    /// Checks the input and gives everything a batch axis.
    pub(crate) fn check(&self, input: &SequenceInput<'_>) -> Result<Sequence> {
        let x = self.features(input.x)?;
        let unbatched = input.x.ndim() == 2;
        let (batch, time) = (x.dim(0), x.dim(1));
        let mask = match input.mask {
            Some(mask) => Some(self.mask(mask, batch, time)?),
            None => None,
        };
        let spans = self.spans(&input.timespans, &x, unbatched)?;
        let mut sequence = Sequence {
            state: self.state(input.state, &x, unbatched)?,
            x,
            spans,
            mask,
            batch,
            time,
            unbatched,
        };
        sequence.clear_padding().during("mask")?;
        Ok(sequence)
    }

    fn shape_error(&self, argument: &'static str, found: &Array, expected: String) -> Error {
        Error::Shape {
            layer: self.layer,
            argument,
            found: found.shape().to_vec(),
            expected,
        }
    }

    fn real(&self, argument: &'static str, array: &Array) -> Result<()> {
        if is_real(array.dtype()) {
            return Ok(());
        }
        Err(Error::ElementType {
            layer: self.layer,
            argument,
            found: array.dtype(),
        })
    }

    fn features(&self, x: &Array) -> Result<Array> {
        let shape = x.shape();
        let fits = matches!(shape.len(), 2 | 3) && shape.last() == Some(&dim(self.inputs));
        if !fits {
            let expected = format!("[B, T, {0}] or [T, {0}]", self.inputs);
            return Err(self.shape_error("x", x, expected));
        }
        if shape.contains(&0) {
            let expected = "at least one sample (B >= 1) and one step (T >= 1)".to_owned();
            return Err(self.shape_error("x", x, expected));
        }
        self.real("x", x)?;
        if shape.len() == 3 {
            return Ok(x.clone());
        }
        x.expand_dims(0).during("batch axis")
    }

    fn mask(&self, mask: &Array, batch: i32, time: i32) -> Result<Array> {
        let fits = match mask.shape() {
            [b, t] => *b == batch && *t == time,
            [t] => batch == 1 && *t == time,
            _ => false,
        };
        if !fits {
            let expected = format!("[{batch}, {time}] ([B, T]; 1 = real step, 0 = padding)");
            return Err(self.shape_error("mask", mask, expected));
        }
        mask.reshape(&[batch, time])
            .and_then(|mask| mask.as_dtype(Dtype::Bool))
            .during("mask")
    }

    fn spans(&self, timespans: &Timespans, x: &Array, unbatched: bool) -> Result<Spans> {
        let spans = match timespans {
            Timespans::Unit => return Ok(Spans::Constant(1.0)),
            Timespans::Scalar(span) => return self.scalar_span(*span),
            Timespans::Array(spans) => spans,
        };
        if spans.ndim() == 0 {
            return self.spans_as([1, 1], spans, x);
        }
        let (batch, time) = (x.dim(0), x.dim(1));
        let rows = match spans.shape() {
            [t] if *t == time => 1,
            [t, 1] if unbatched && *t == time => 1,
            [b, t] | [b, t, 1] if *t == time && (*b == batch || *b == 1) => *b,
            _ => {
                let expected = format!(
                    "[{time}] (shared by the samples), [{batch}, {time}] or [{batch}, {time}, 1]"
                );
                return Err(self.shape_error("timespans", spans, expected));
            }
        };
        self.spans_as([rows, time], spans, x)
    }

    fn spans_as(&self, [rows, columns]: [i32; 2], spans: &Array, x: &Array) -> Result<Spans> {
        let shaped = spans.reshape(&[rows, columns]);
        let spans = shaped.and_then(|spans| {
            let spans = spans.as_dtype(x.dtype())?;
            match columns == x.dim(1) {
                true => Ok(spans),
                false => ops::broadcast_to(&spans, &[rows, x.dim(1)]),
            }
        });
        Ok(Spans::Array(spans.during("timespans")?))
    }

    fn scalar_span(&self, span: f32) -> Result<Spans> {
        if span.is_finite() && span >= 0.0 {
            return Ok(Spans::Constant(span));
        }
        Err(Error::Layer {
            layer: self.layer,
            key: "timespans",
            found: span.to_string(),
            expected: "a finite duration of at least 0".to_owned(),
        })
    }

    fn state(&self, state: Option<&State>, x: &Array, unbatched: bool) -> Result<State> {
        let (batch, units) = (x.dim(0), dim(self.units));
        let Some(state) = state else {
            let mut zero = State::zeros(
                x.shape()[0].unsigned_abs() as usize,
                self.units,
                self.has_memory,
            );
            if x.dtype() != Dtype::Float32 {
                zero.hidden = zero.hidden.as_dtype(x.dtype()).during("state")?;
                zero.memory = match zero.memory {
                    Some(memory) => Some(memory.as_dtype(x.dtype()).during("state")?),
                    None => None,
                };
            }
            return Ok(zero);
        };
        let shaped = |argument: &'static str, part: &Array| {
            let fits = match part.shape() {
                [b, u] => *b == batch && *u == units,
                [u] => unbatched && *u == units,
                _ => false,
            };
            if !fits {
                let expected = if unbatched {
                    format!("[{units}] for input without a batch axis")
                } else {
                    format!("[{batch}, {units}] ([B, U])")
                };
                return Err(self.shape_error(argument, part, expected));
            }
            self.real(argument, part)?;
            part.reshape(&[batch, units]).during("state")
        };
        let memory = match (&state.memory, self.has_memory) {
            (Some(memory), true) => Some(shaped("state.memory", memory)?),
            (None, false) => None,
            (found, _) => return Err(self.memory_error(found.is_some())),
        };
        Ok(State {
            hidden: shaped("state.hidden", &state.hidden)?,
            memory,
        })
    }

    fn memory_error(&self, is_given: bool) -> Error {
        let (found, expected) = if is_given {
            ("given", "absent: this layer has no memory".to_owned())
        } else {
            (
                "absent",
                format!("an array [B, {}]: this layer has a memory", self.units),
            )
        };
        Error::Layer {
            layer: self.layer,
            key: "state.memory",
            found: found.to_owned(),
            expected,
        }
    }
}

impl Sequence {
    /// Zeros at masked steps: what stands in padding, even NaN, must not reach a gradient.
    fn clear_padding(&mut self) -> Mlx<()> {
        let Some(mask) = &self.mask else {
            return Ok(());
        };
        let zero = Array::from_f32(0.0).as_dtype(self.x.dtype())?;
        self.x = ops::select(mask.expand_dims(-1)?, &self.x, &zero)?;
        if let Spans::Array(spans) = &self.spans {
            self.spans = Spans::Array(ops::select(mask, spans, &zero)?);
        }
        Ok(())
    }

    /// [T, B, F].
    pub(crate) fn time_major(&self) -> Mlx {
        swap_batch_and_time(&self.x)
    }

    /// The spans in the form that the cells use.
    pub(crate) fn elapsed(&self) -> Mlx<Elapsed> {
        match &self.spans {
            Spans::Constant(span) => Ok(Elapsed::Constant(*span)),
            Spans::Array(spans) => Elapsed::from_spans(spans),
        }
    }

    /// Takes the batch axis off again where the input had none.
    pub(crate) fn output(&self, outputs: Array, state: State) -> Result<SequenceOutput> {
        if !self.unbatched {
            return Ok(SequenceOutput { outputs, state });
        }
        let first = |array: Array| array.squeeze_axes(&[0]).during("batch axis");
        Ok(SequenceOutput {
            outputs: first(outputs)?,
            state: State {
                hidden: first(state.hidden)?,
                memory: state.memory.map(first).transpose()?,
            },
        })
    }
}

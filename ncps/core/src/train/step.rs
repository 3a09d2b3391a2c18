//! The functions of a run: (parameters, optimiser state, key, batch) -> (loss, new state), and the
//! evaluation of a batch.
//!
//! Gradients are of the *sum* of the losses, divided by the summed weights only at the update, so
//! that batches with padding and accumulated batches weigh every sample alike.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use mlx_rs::error::Exception;
use mlx_rs::transforms::value_and_grad_with_argnums;
use mlx_rs::{Array, Dtype, array, ops};

use super::Model;
use super::batch::{Batch, Inputs};
use super::chained::Chained;
use super::config::TrainConfig;
use super::flat::Layout;
use super::function::{Function, Stash};
use super::fused_update;
use super::optimizer::{SCALARS, Update};
use crate::Result;

type Mlx<T> = std::result::Result<T, Exception>;

/// Keeps a division by an empty batch's weight finite.
const LEAST_WEIGHT: f32 = 1e-12;

/// A function before it is wrapped.
type Body<M> = fn(&Shared<M>, Form, &[Array]) -> Result<Vec<Array>>;

/// What all functions of a run share; nothing here changes while it lasts, apart from the model,
/// which is only a vessel for the arrays that a function is called with.
#[derive(Debug)]
pub(super) struct Shared<M> {
    pub(super) model: RefCell<M>,
    pub(super) layout: Layout,
    pub(super) config: TrainConfig,
    /// The model as the kernels know it.
    pub(super) chained: Option<Chained>,
    /// Parameters that stay as they are.
    pub(super) frozen: Vec<Array>,
    /// Weight decay per element.
    pub(super) decay: Option<Array>,
    /// Least value per element.
    pub(super) floor: Option<Array>,
    /// Outputs of the model, known after the first trace.
    pub(super) outputs: Cell<Option<usize>>,
}

/// The functions of a run, each traced when it is first called.
#[derive(Debug)]
pub(super) struct Functions {
    /// Gradients and update at once.
    pub(super) step: Function,
    /// Gradients, added to those that wait.
    pub(super) accumulate: Function,
    /// Update from those that wait.
    pub(super) apply: Function,
    /// Predictions and loss.
    pub(super) evaluate: Function,
}

/// Walks through the flat arguments of a function.
struct Arguments<'a>(std::slice::Iter<'a, Array>);

impl<'a> Arguments<'a> {
    fn of(arrays: &'a [Array]) -> Self {
        Self(arrays.iter())
    }

    fn next(&mut self) -> Result<&'a Array> {
        self.0.next().ok_or(crate::Error::Batch {
            argument: "arguments",
            found: "one too few".to_owned(),
            expected: "as many as the function was built for".to_owned(),
        })
    }

    fn take(&mut self, count: usize) -> Result<Vec<Array>> {
        (0..count).map(|_| self.next().cloned()).collect()
    }

    /// A batch and the state that it begins in.
    fn batch(&mut self, form: Form) -> Result<(Batch, Vec<Array>)> {
        let x = self.next()?.clone();
        let timespans = form
            .has_timespans
            .then(|| self.next())
            .transpose()?
            .cloned();
        let mask = form.has_mask.then(|| self.next()).transpose()?.cloned();
        let batch = Batch {
            inputs: Inputs { x, timespans, mask },
            targets: self.next()?.clone(),
            weights: self.next()?.clone(),
        };
        Ok((batch, self.take(form.states)?))
    }
}

/// Which optional parts a batch has; the same for all batches of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) has_timespans: bool,
    pub(super) has_mask: bool,
    /// Arrays of the state that it begins in; 0 where it begins at rest.
    pub(super) states: usize,
}

impl Form {
    pub(super) fn of(batch: &Batch, state: &[Array]) -> Self {
        Self {
            has_timespans: batch.inputs.timespans.is_some(),
            has_mask: batch.inputs.mask.is_some(),
            states: state.len(),
        }
    }

    /// Puts a batch and the state that it begins in behind other arguments.
    pub(super) fn append(arguments: &mut Vec<Array>, batch: &Batch, state: &[Array]) {
        arguments.extend(
            batch
                .arrays()
                .into_iter()
                .filter_map(|(_, array)| array)
                .chain(state)
                .cloned(),
        );
    }
}

impl Functions {
    pub(super) fn new<M: Model + 'static>(
        shared: &Rc<Shared<M>>,
        form: Form,
        is_compiled: bool,
        traces: &Rc<Cell<u64>>,
    ) -> Self {
        let build = |name, body: Body<M>| {
            let shared = Rc::clone(shared);
            Function::new(name, is_compiled, Rc::clone(traces), move |arrays| {
                body(&shared, form, arrays)
            })
        };
        Self {
            step: build("train step", |shared, form, arrays| {
                shared.step(form, arrays)
            }),
            accumulate: build("gradients", |shared, form, arrays| {
                shared.accumulate(form, arrays)
            }),
            apply: build("update", |shared, _, arrays| shared.apply(arrays)),
            evaluate: build("evaluation", |shared, form, arrays| {
                shared.evaluate(form, arrays)
            }),
        }
    }
}

/// Gradients of a batch: of the summed loss, with the sums themselves.
pub(super) struct Gradients {
    pub(super) loss: Array,
    pub(super) weight: Array,
    pub(super) flat: Array,
    /// Where the samples ended, if they began in a state that was given.
    pub(super) state: Vec<Array>,
    /// Whether a single operation of the graph gives them all.
    pub(super) is_one_operation: bool,
}

impl<M: Model> Shared<M> {
    /// (parameters, slots, scalars, constants, frozen, key, scale, batch, state) ->
    /// (loss, weight, state, norm, parameters, slots)
    fn step(&self, form: Form, arrays: &[Array]) -> Result<Vec<Array>> {
        let mut arguments = Arguments::of(arrays);
        let state = self.state(&mut arguments)?;
        let frozen = arguments.take(self.frozen.len())?;
        let key = arguments.next()?;
        let scale = self.scale(&mut arguments)?;
        let (batch, begun) = arguments.batch(form)?;
        let found = self.gradients(&state.parameters, &frozen, key, scale, (&batch, &begun))?;
        let mut outputs = vec![found.loss.clone(), found.weight.clone()];
        outputs.extend(found.state);
        outputs.extend(lift(self.update(&state, &found.flat, &found.weight))?);
        Ok(outputs)
    }

    /// (parameters, frozen, waiting gradients, waiting weight, key, scale, batch, state) ->
    /// (loss, weight, state, waiting gradients, waiting weight)
    fn accumulate(&self, form: Form, arrays: &[Array]) -> Result<Vec<Array>> {
        let mut arguments = Arguments::of(arrays);
        let parameters = arguments.next()?;
        let frozen = arguments.take(self.frozen.len())?;
        let waiting = arguments.next()?;
        let weight = arguments.next()?;
        let key = arguments.next()?;
        let scale = self.scale(&mut arguments)?;
        let (batch, begun) = arguments.batch(form)?;
        let found = self.gradients(parameters, &frozen, key, scale, (&batch, &begun))?;
        let mut outputs = vec![found.loss, found.weight.clone()];
        outputs.extend(found.state);
        outputs.push(lift(waiting.add(&found.flat))?);
        outputs.push(lift(weight.add(&found.weight))?);
        Ok(outputs)
    }

    /// (parameters, slots, scalars, constants, waiting gradients, waiting weight) ->
    /// (norm, parameters, slots)
    fn apply(&self, arrays: &[Array]) -> Result<Vec<Array>> {
        let mut arguments = Arguments::of(arrays);
        let state = self.state(&mut arguments)?;
        let waiting = arguments.next()?;
        let weight = arguments.next()?;
        lift(self.update(&state, waiting, weight))
    }

    /// (parameters one by one, frozen, batch, state) -> (loss, weight, predictions, targets, weights, state)
    fn evaluate(&self, form: Form, arrays: &[Array]) -> Result<Vec<Array>> {
        let mut arguments = Arguments::of(arrays);
        let parameters = arguments.take(self.layout.len())?;
        let frozen = arguments.take(self.frozen.len())?;
        let (batch, begun) = arguments.batch(form)?;
        let (predictions, state) =
            self.predict(&parameters, &frozen, None, &batch.inputs, &begun)?;
        let terms = self.config.loss.terms(&predictions, &batch)?;
        let mut outputs = terms.judged();
        outputs.extend(state);
        Ok(outputs)
    }

    fn state(&self, arguments: &mut Arguments<'_>) -> Result<State> {
        Ok(State {
            parameters: arguments.next()?.clone(),
            slots: arguments.take(self.config.optimizer.slots().len())?,
            scalars: arguments.take(SCALARS)?,
            decay: self
                .decay
                .as_ref()
                .map(|_| arguments.next().cloned())
                .transpose()?,
            floor: self
                .floor
                .as_ref()
                .map(|_| arguments.next().cloned())
                .transpose()?,
        })
    }

    /// The factor of the loss, an argument in f16 only.
    fn scale<'a>(&self, arguments: &mut Arguments<'a>) -> Result<Option<&'a Array>> {
        let is_scaled = self.config.precision.is_scaled();
        is_scaled.then(|| arguments.next()).transpose()
    }

    fn predict(
        &self,
        parameters: &[Array],
        frozen: &[Array],
        key: Option<&Array>,
        inputs: &Inputs,
        begun: &[Array],
    ) -> Result<(Array, Vec<Array>)> {
        let mut model = self.model.borrow_mut();
        self.layout.load(&mut *model, parameters, frozen);
        let found = match begun {
            [] => model.forward(inputs, key).map(|found| (found, Vec::new())),
            state => model.forward_from(inputs, state, key),
        };
        // The model must not keep traced arrays, and with them the step's whole graph, alive.
        self.layout.clear(&mut *model);
        let (predictions, state) = found?;
        let outputs = predictions.shape().last().map(|&outputs| outputs as usize);
        self.outputs.set(outputs);
        Ok((predictions, state))
    }

    /// Gradients of a batch that begins in a state, or at rest if that is empty.
    pub(super) fn gradients(
        &self,
        parameters: &Array,
        frozen: &[Array],
        key: &Array,
        scale: Option<&Array>,
        (batch, begun): (&Batch, &[Array]),
    ) -> Result<Gradients> {
        if let Some(chained) = self.chained.as_ref().filter(|_| begun.is_empty())
            && let Some([loss, weight, flat]) = chained.gradients(parameters, key, batch)?
        {
            self.outputs.set(Some(chained.outputs()));
            return Ok(Gradients {
                loss,
                weight,
                flat,
                state: Vec::new(),
                is_one_operation: true,
            });
        }
        self.traced_gradients(parameters, frozen, key, scale, (batch, begun))
    }

    /// The gradients of any model, by MLX.
    pub(super) fn traced_gradients(
        &self,
        parameters: &Array,
        frozen: &[Array],
        key: &Array,
        scale: Option<&Array>,
        (batch, begun): (&Batch, &[Array]),
    ) -> Result<Gradients> {
        let stash = Stash::default();
        let half = self.config.precision.half();
        let loss = |parts: &[Array]| -> Mlx<Vec<Array>> {
            let (predictions, state) = match half {
                None => stash.hide(self.predict(parts, frozen, Some(key), &batch.inputs, begun))?,
                Some(dtype) => {
                    let (parts, frozen) = (all_as(parts, dtype)?, all_as(frozen, dtype)?);
                    let begun = all_as(begun, dtype)?;
                    let mut inputs = batch.inputs.clone();
                    inputs.x = inputs.x.as_dtype(dtype)?;
                    let predicted = self.predict(&parts, &frozen, Some(key), &inputs, &begun);
                    let (predictions, state) = stash.hide(predicted)?;
                    let predictions = predictions.as_dtype(Dtype::Float32)?;
                    (predictions, all_as(&state, Dtype::Float32)?)
                }
            };
            let terms = stash.hide(self.config.loss.terms(&predictions, batch))?;
            let scaled = match scale {
                Some(scale) => terms.loss.multiply(scale)?,
                None => terms.loss.clone(),
            };
            let mut values = vec![scaled, terms.weight, terms.loss];
            values.extend(state);
            Ok(values)
        };
        let parts = lift(self.layout.split(parameters))?;
        let all: Vec<i32> = (0..parts.len() as i32).collect();
        let found = value_and_grad_with_argnums(loss, &all[..])(&parts);
        let (values, gradients) = stash.show("gradients", found)?;
        let mut values = values.into_iter();
        let mut next = || values.next().ok_or_else(|| Exception::custom("no loss"));
        lift(next())?;
        let (weight, loss) = (lift(next())?, lift(next())?);
        let flat = lift(Layout::join(&gradients))?;
        let flat = match scale {
            Some(scale) => lift(flat.divide(scale))?,
            None => flat,
        };
        Ok(Gradients {
            loss,
            weight,
            flat,
            state: values.collect(),
            is_one_operation: false,
        })
    }

    /// Gives (norm, parameters, slots).
    pub(super) fn update(&self, state: &State, summed: &Array, weight: &Array) -> Mlx<Vec<Array>> {
        let fused = Update {
            parameters: &state.parameters,
            gradients: summed,
            slots: &state.slots,
            scalars: &state.scalars,
            decay: state.decay.as_ref(),
        };
        let floor = state.floor.as_ref();
        if let Some(outputs) = fused_update::update(&self.config, &fused, weight, floor)? {
            return Ok(outputs);
        }
        let below = ops::maximum(weight, array!(LEAST_WEIGHT))?;
        let mean = summed.divide(below)?;
        let norm = mean.square()?.sum(None)?.sqrt()?;
        let gradients = self.clip(mean, &norm)?;
        let (parameters, slots) = self.config.optimizer.update(&Update {
            parameters: &state.parameters,
            gradients: &gradients,
            slots: &state.slots,
            scalars: &state.scalars,
            decay: state.decay.as_ref(),
        })?;
        let parameters = match &state.floor {
            Some(floor) => ops::maximum(&parameters, floor)?,
            None => parameters,
        };
        let mut outputs = vec![norm, parameters];
        outputs.extend(slots);
        Ok(outputs)
    }

    fn clip(&self, mut gradients: Array, norm: &Array) -> Mlx<Array> {
        if let Some(limit) = self.config.clip.norm {
            let limit = array!(limit as f32);
            // min(1, limit / norm), written so that a norm of 0 gives 1.
            let scale = limit.divide(ops::maximum(norm, &limit)?)?;
            gradients = gradients.multiply(scale)?;
        }
        if let Some(limit) = self.config.clip.value {
            let limit = limit as f32;
            gradients = ops::clip(&gradients, (-limit, limit))?;
        }
        Ok(gradients)
    }
}

/// What an update carries from step to step.
pub(super) struct State {
    pub(super) parameters: Array,
    pub(super) slots: Vec<Array>,
    pub(super) scalars: Vec<Array>,
    pub(super) decay: Option<Array>,
    pub(super) floor: Option<Array>,
}

fn all_as(arrays: &[Array], dtype: Dtype) -> Mlx<Vec<Array>> {
    arrays.iter().map(|array| array.as_dtype(dtype)).collect()
}

fn lift<T>(result: Mlx<T>) -> Result<T> {
    result.map_err(|source| crate::Error::Mlx {
        operation: "train step",
        source,
    })
}

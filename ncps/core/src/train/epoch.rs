//! One epoch: launch a step, then read an earlier one.

use std::collections::VecDeque;
use std::rc::Rc;

use mlx_rs::transforms::async_eval;
use mlx_rs::{Array, ops};

use super::batch::{Batch, BatchSource, Signature};
use super::evaluate::check_targets;
use super::flat::host;
use super::nonfinite::{ADVICE, Before, nonfinite};
use super::step::Form;
use super::trainer::{Trainer, vector};
use super::{Model, Observer, StepReport};
use crate::{Error, Result};

/// Steps that a GPU is given before the first of them is read: launching kernels and waiting for a number take longer than a
/// small network's step.
const GPU_AHEAD: usize = 4;

/// Steps that a device is given before the first of them is read.
pub(super) fn steps_ahead(device: &str) -> usize {
    if device == "gpu" { GPU_AHEAD } else { 1 }
}

/// A step that was launched and not yet read.
struct Flight {
    report: StepReport,
    before: Before,
    loss: Array,
    weight: Array,
    norm: Option<Array>,
    /// Norm of the gradients that wait for an update, in f16.
    waiting_norm: Option<Array>,
    ratio: Option<Array>,
}

impl<M: Model + 'static> Trainer<M> {
    /// Trains the rest of an epoch; `false` if the observer asked to stop before its end.
    pub(super) fn train_epoch(
        &mut self,
        train: &mut dyn BatchSource,
        observer: &mut dyn Observer,
    ) -> Result<bool> {
        self.drop_anchor();
        // Steps in the order in which they were launched. Reading an old one leaves the device the others to work on.
        let mut flights: VecDeque<Flight> = VecDeque::new();
        loop {
            let is_over = self.progress.step_in_epoch >= self.progress.steps_per_epoch;
            let is_stopped = !is_over && observer.should_stop();
            let is_last = is_over || is_stopped;
            if !is_last {
                flights.push_back(self.launch_next(train)?);
            }
            while flights.len() > if is_last { 0 } else { self.ahead }
                && let Some(oldest) = flights.pop_front()
            {
                if !self.land(&oldest, train, observer)? {
                    // What was launched on top of a bad step goes with it.
                    flights.clear();
                    break;
                }
            }
            if self.saver.is_done() {
                self.finish_save(observer)?;
            }
            // A bad step at the end leaves steps to be made again.
            let is_over = self.progress.step_in_epoch >= self.progress.steps_per_epoch;
            if flights.is_empty() && (is_over || is_stopped) {
                return Ok(!is_stopped);
            }
        }
    }

    fn launch_next(&mut self, train: &mut dyn BatchSource) -> Result<Flight> {
        let (epoch, step) = (self.progress.epoch, self.progress.step_in_epoch);
        let batch = train.batch(epoch, step)?;
        self.check_batch(&batch)?;
        let continues = train.continues(epoch, step);
        if continues.is_some() != self.shared.config.stateful {
            let word = |is_so| if is_so { "lanes" } else { "no lanes" }.to_owned();
            return Err(Error::Batch {
                argument: "continues",
                found: word(continues.is_some()),
                expected: format!("{} as `stateful` says", word(continues.is_none())),
            });
        }
        let state = self.begun(&self.arrays.carried, continues.as_deref())?;
        self.launch(&batch, state)
    }

    pub(super) fn check_batch(&mut self, batch: &Batch) -> Result<()> {
        Signature::admit(&mut self.signatures, batch, self.shapes)
    }

    /// Builds the graph of one step and hands it to the device; the batch begins in `state`, or at rest if that is empty.
    fn launch(&mut self, batch: &Batch, state: Vec<Array>) -> Result<Flight> {
        let shared = Rc::clone(&self.shared);
        let config = &shared.config;
        let rate = self.progress.learning_rate(config);
        let is_update = self.progress.is_update_due(config);
        let before = Before {
            arrays: self.arrays.clone(),
            place: self.progress.place(),
            state,
        };
        let state = &before.state;
        let (loss, weight, norm) = match config.accumulate {
            1 => self.step_at_once(batch, state, rate)?,
            _ => self.step_in_parts(batch, state, rate, is_update)?,
        };
        if self.progress.epoch == 0 {
            self.check_classes(batch)?;
        }
        let ratio = self.update_ratio(&before, is_update)?;
        let waiting_norm = self.waiting_norm()?;
        let state = [&self.arrays.parameters, &loss, &weight].into_iter();
        let state = state.chain(self.arrays.carried.arrays());
        let waiting = self
            .arrays
            .waiting
            .iter()
            .flat_map(|(sum, weight)| [sum, weight]);
        let norms = norm.iter().chain(&waiting_norm);
        let read = norms.chain(&ratio).chain(waiting);
        async_eval(state.chain(&self.arrays.slots).chain(read)).map_err(lift)?;
        self.progress.count(is_update);
        Ok(Flight {
            report: StepReport {
                step: self.progress.step,
                updates: self.progress.updates,
                epoch: self.progress.epoch,
                step_in_epoch: self.progress.step_in_epoch,
                steps_per_epoch: self.progress.steps_per_epoch,
                loss: 0.0,
                gradient_norm: None,
                learning_rate: rate,
                update_ratio: None,
            },
            before,
            loss,
            weight,
            norm,
            waiting_norm,
            ratio,
        })
    }

    /// |new - old| / |old| over all parameters, for steps that are logged.
    fn update_ratio(&self, before: &Before, is_update: bool) -> Result<Option<Array>> {
        let (step, steps) = (before.place.step + 1, self.progress.steps_per_epoch);
        if !is_update || !super::is_logged(step, steps) {
            return Ok(None);
        }
        let old = &before.arrays.parameters;
        let length = |array: &Array| array.square()?.sum(None)?.sqrt();
        let ratio = self
            .arrays
            .parameters
            .subtract(old)
            .and_then(|change| length(&change)?.divide(length(old)?));
        ratio.map(Some).map_err(lift)
    }

    fn step_at_once(
        &mut self,
        batch: &Batch,
        state: &[Array],
        rate: f64,
    ) -> Result<(Array, Array, Option<Array>)> {
        let mut arguments = self.state_arguments(rate);
        arguments.extend(self.shared.frozen.iter().cloned());
        arguments.push(self.key(self.progress.step));
        arguments.extend(self.scale());
        Form::append(&mut arguments, batch, state);
        let functions = self.functions(Form::of(batch, state));
        let outputs = functions.step.call(&arguments)?;
        let [loss, weight, rest @ ..] = &outputs[..] else {
            return Err(lift("the train step lost its outputs".into()));
        };
        let updated = self.take_carried(rest, state.len())?;
        let norm = self.take_state(updated)?;
        Ok((loss.clone(), weight.clone(), Some(norm)))
    }

    fn step_in_parts(
        &mut self,
        batch: &Batch,
        state: &[Array],
        rate: f64,
        is_update: bool,
    ) -> Result<(Array, Array, Option<Array>)> {
        let zero = || {
            (
                vector(&vec![0.0; self.shared.layout.total()]),
                Array::from_f32(0.0),
            )
        };
        let (sum, weight) = self.arrays.waiting.clone().unwrap_or_else(zero);
        let mut arguments = vec![self.arrays.parameters.clone()];
        arguments.extend(self.shared.frozen.iter().cloned());
        arguments.extend([sum, weight, self.key(self.progress.step)]);
        arguments.extend(self.scale());
        Form::append(&mut arguments, batch, state);
        let form = Form::of(batch, state);
        let outputs = self.functions(form).accumulate.call(&arguments)?;
        let lost = || lift("the gradients lost their outputs".into());
        let [loss, weight, rest @ ..] = &outputs[..] else {
            return Err(lost());
        };
        let [sum, total] = self.take_carried(rest, state.len())? else {
            return Err(lost());
        };
        let (loss, weight) = (loss.clone(), weight.clone());
        if !is_update {
            self.arrays.waiting = Some((sum.clone(), total.clone()));
            return Ok((loss, weight, None));
        }
        let mut arguments = self.state_arguments(rate);
        arguments.extend([sum.clone(), total.clone()]);
        let outputs = self.functions(form).apply.call(&arguments)?;
        let norm = self.take_state(&outputs)?;
        self.arrays.waiting = None;
        Ok((loss, weight, Some(norm)))
    }

    /// Parameters, slots, scalars and constants, in the order of the functions.
    pub(super) fn state_arguments(&self, rate: f64) -> Vec<Array> {
        let optimizer = &self.shared.config.optimizer;
        let scalars = optimizer.scalars(rate, self.progress.updates + 1);
        let mut arguments = vec![self.arrays.parameters.clone()];
        arguments.extend(self.arrays.slots.iter().cloned());
        arguments.extend(scalars.map(Array::from_f32));
        arguments.extend(self.shared.decay.iter().chain(&self.shared.floor).cloned());
        arguments
    }

    /// Keeps where the samples ended and gives the outputs behind it.
    fn take_carried<'a>(&mut self, outputs: &'a [Array], states: usize) -> Result<&'a [Array]> {
        let Some((state, rest)) = outputs.split_at_checked(states) else {
            return Err(lift("the step lost its state".into()));
        };
        self.arrays.carried.keep(state.to_vec());
        Ok(rest)
    }

    /// Keeps (parameters, slots) of (norm, parameters, slots) and gives the norm.
    pub(super) fn take_state(&mut self, outputs: &[Array]) -> Result<Array> {
        let [norm, parameters, slots @ ..] = outputs else {
            return Err(lift("the update lost its outputs".into()));
        };
        self.arrays.parameters = parameters.clone();
        self.arrays.slots = slots.to_vec();
        Ok(norm.clone())
    }

    /// The factor of the loss, an argument in f16 only.
    pub(super) fn scale(&self) -> Option<Array> {
        let is_scaled = self.shared.config.precision.is_scaled();
        is_scaled.then(|| Array::from_f32(self.progress.scale.factor()))
    }

    /// A gradient beyond the range of f16 must not hide among those that wait.
    fn waiting_norm(&self) -> Result<Option<Array>> {
        let is_scaled = self.shared.config.precision.is_scaled();
        let waiting = self.arrays.waiting.as_ref().filter(|_| is_scaled);
        let norm = waiting.map(|(sum, _)| sum.square()?.sum(None)?.sqrt());
        norm.transpose().map_err(lift)
    }

    /// A key from (seed, step) alone: there is no hidden random state to save.
    pub(super) fn key(&self, step: u64) -> Array {
        let mixed = mix(self.seed ^ mix(step));
        Array::from_slice(&[(mixed >> 32) as u32, mixed as u32], &[2])
    }

    /// Looks through the targets once, in the first epoch, before the device reads by them.
    fn check_classes(&self, batch: &Batch) -> Result<()> {
        let task = self.shared.config.loss.task();
        let Some(outputs) = self.shared.outputs.get() else {
            return Ok(());
        };
        if task == super::loss::Task::Regression {
            return Ok(());
        }
        check_targets(task, outputs, &host(&batch.targets)?, &counting(batch)?)
    }

    /// Makes one step on a batch and waits for it: for loops of one's own and for measuring.
    ///
    /// The batch begins at rest. Epochs, metrics, early stopping and checkpoints belong to [`Trainer::fit`]. Call
    /// [`Trainer::synchronise`] before looking at the model.
    ///
    /// # Errors
    /// [`Error::Batch`] where the batch does not fit the model, the loss or the batch before,
    /// [`Error::Diverged`] when the loss or the gradient is no finite number.
    pub fn train_batch(&mut self, batch: &Batch) -> Result<StepReport> {
        self.check_batch(batch)?;
        let (flight, report) = loop {
            let flight = self.launch(batch, Vec::new())?;
            let report = self.read(&flight)?;
            if !self.is_beyond_half(&flight, &report)? || !self.lower_scale(&flight.before) {
                break (flight, report);
            }
        };
        let Some((quantity, value)) = nonfinite(&report) else {
            return Ok(report);
        };
        Err(Error::Diverged {
            quantity,
            value,
            step: report.step,
            epoch: report.epoch,
            origin: self.origin(&flight.before, batch).into(),
            last_checkpoint: self.last_checkpoint.clone(),
            advice: ADVICE,
        })
    }

    /// Waits for a step and reports it; `false` if it was not finite and the run went back to before it.
    fn land(
        &mut self,
        flight: &Flight,
        train: &mut dyn BatchSource,
        observer: &mut dyn Observer,
    ) -> Result<bool> {
        let report = self.read(flight)?;
        if self.is_beyond_half(flight, &report)? && self.lower_scale(&flight.before) {
            return Ok(false);
        }
        if let Some(quantity) = nonfinite(&report) {
            self.recover(quantity, &report, &flight.before, train, observer)?;
            return Ok(false);
        }
        let weight = item(&flight.weight)?;
        self.progress.loss += item(&flight.loss)?;
        self.progress.weight += weight;
        observer.on_step(&report);
        Ok(true)
    }

    /// Whether the loss is finite and its gradient is beyond the range of f16.
    fn is_beyond_half(&self, flight: &Flight, report: &StepReport) -> Result<bool> {
        if !self.shared.config.precision.is_scaled() || !report.loss.is_finite() {
            return Ok(false);
        }
        let waiting = flight.waiting_norm.as_ref().map(item).transpose()?;
        let mut norms = report.gradient_norm.into_iter().chain(waiting);
        Ok(norms.any(|norm| !norm.is_finite()))
    }

    fn read(&self, flight: &Flight) -> Result<StepReport> {
        let loss = item(&flight.loss)?;
        let weight = item(&flight.weight)?;
        Ok(StepReport {
            loss: if weight > 0.0 { loss / weight } else { 0.0 },
            gradient_norm: flight.norm.as_ref().map(item).transpose()?,
            update_ratio: flight.ratio.as_ref().map(item).transpose()?,
            ..flight.report.clone()
        })
    }
}

/// The weight of each target of a batch, with the mask in it.
fn counting(batch: &Batch) -> Result<Vec<f32>> {
    let combined = match &batch.inputs.mask {
        Some(mask) if batch.targets.ndim() > 1 => {
            let weights = match batch.weights.ndim() {
                1 => batch.weights.expand_dims(-1).map_err(lift)?,
                _ => batch.weights.clone(),
            };
            ops::multiply(&weights, mask).map_err(lift)?
        }
        _ => batch.weights.clone(),
    };
    host(&combined)
}

fn item(array: &Array) -> Result<f64> {
    let value = array.try_item_exact::<f32>();
    let value = value.map_err(|error| lift(error.to_string().as_str().into()))?;
    Ok(f64::from(value))
}

/// SplitMix64's output function (Steele et al. 2014): spreads neighbouring numbers over all bits.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn lift(source: mlx_rs::error::Exception) -> Error {
    Error::Mlx {
        operation: "train step",
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_depend_on_seed_and_step() {
        let mixed: Vec<u64> = (0..4)
            .flat_map(|seed| (0..4).map(move |step| mix(seed ^ mix(step))))
            .collect();
        let mut unique = mixed.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), mixed.len());
    }

    #[test]
    fn masked_steps_do_not_count() {
        let array = |values: &[f32], shape: &[i32]| Array::from_slice(values, shape);
        let batch = Batch {
            inputs: crate::train::Inputs {
                x: array(&[0.0; 4], &[2, 2, 1]),
                timespans: None,
                mask: Some(array(&[1.0, 0.0, 1.0, 1.0], &[2, 2])),
            },
            targets: array(&[0.0; 4], &[2, 2]),
            weights: array(&[2.0, 1.0], &[2]),
        };
        assert_eq!(counting(&batch).unwrap(), [2.0, 0.0, 1.0, 1.0]);
    }
}

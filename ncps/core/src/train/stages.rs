//! A step taken apart, for measuring: the graph is built first, then evaluated piece by piece.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use mlx_rs::Array;
use mlx_rs::transforms::{async_eval, eval};

use super::Model;
use super::batch::Batch;
use super::step::{Form, State};
use super::trainer::Trainer;
use crate::kernel::graph;
use crate::{Error, Result};

/// Wall time of the parts of one train step, not compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepStages {
    /// Building the graph of the whole step: nothing is computed yet.
    pub build: Duration,
    /// Predictions and loss, with what the backward pass needs to keep; the gradients too where `backward` is none.
    pub forward: Duration,
    /// Gradients of all parameters; none where one operation gives them together with the loss.
    pub backward: Option<Duration>,
    /// Clipping, optimiser and new parameters.
    pub update: Duration,
}

/// Wall time of one train step as it is run, from the host's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepHandover {
    /// Building the graph, scheduling and launching it.
    pub host: Duration,
    /// Waiting for the device after that: for so long at least the device was busy.
    pub wait: Duration,
}

impl<M: Model + 'static> Trainer<M> {
    /// Makes one step on a batch as [`Trainer::train_batch`] does, compiled or not, and times how long the host works on it
    /// and how long it then waits for the device. Gradients are not accumulated over batches: every call updates.
    ///
    /// # Errors
    /// Those of [`Trainer::train_batch`], [`Error::Diverged`] apart.
    pub fn handed_over_batch(&mut self, batch: &Batch) -> Result<StepHandover> {
        self.check_batch(batch)?;
        let begin = Instant::now();
        let outputs = self.step_graph(batch)?;
        async_eval(&outputs).map_err(lift)?;
        let launched = Instant::now();
        eval(&outputs).map_err(lift)?;
        let done = Instant::now();
        let [_, _, updated @ ..] = &outputs[..] else {
            return Err(lift("the step lost its outputs".into()));
        };
        self.take_state(updated)?;
        self.progress.count(true);
        Ok(StepHandover {
            host: launched - begin,
            wait: done - launched,
        })
    }

    /// Makes one step on a batch as [`Trainer::train_batch`] does, but evaluates loss, gradients and update one after the
    /// other and times each. Gradients are not accumulated over batches: every call updates.
    ///
    /// A model that is a [`Model::chain`] goes forward and backward in one operation on the CPU, which cannot be taken apart.
    ///
    /// # Errors
    /// Those of [`Trainer::train_batch`], [`Error::Diverged`] apart.
    pub fn staged_batch(&mut self, batch: &Batch) -> Result<StepStages> {
        self.check_batch(batch)?;
        let shared = Rc::clone(&self.shared);
        let begin = Instant::now();
        let state = self.staged_state();
        let parameters = &self.arrays.parameters;
        let scale = self.scale();
        let found = shared.gradients(
            parameters,
            &shared.frozen,
            &self.key(self.progress.step),
            scale.as_ref(),
            (batch, &[]),
        )?;
        let updated = shared
            .update(&state, &found.flat, &found.weight)
            .map_err(lift)?;
        let built = Instant::now();
        eval([&found.loss, &found.weight]).map_err(lift)?;
        let forward = Instant::now();
        eval([&found.flat]).map_err(lift)?;
        let backward = Instant::now();
        eval(&updated).map_err(lift)?;
        let done = Instant::now();
        self.take_state(&updated)?;
        self.progress.count(true);
        Ok(StepStages {
            build: built - begin,
            forward: forward - built,
            backward: (!found.is_one_operation).then(|| backward - forward),
            update: done - backward,
        })
    }

    /// How often each operation stands in the graph of one train step as it is run, compiled or not; computes nothing.
    ///
    /// # Errors
    /// Those of [`Trainer::train_batch`], [`Error::Diverged`] apart.
    pub fn step_operations(&mut self, batch: &Batch) -> Result<BTreeMap<String, usize>> {
        self.check_batch(batch)?;
        let outputs = self.step_graph(batch)?;
        graph::operations(&outputs).map_err(lift)
    }

    /// The most bytes that the arrays of one train step take at once on the CPU (see [`graph::peak_bytes`]); computes nothing, so
    /// neither do arrays of the batch that are not evaluated yet.
    ///
    /// # Errors
    /// Those of [`Trainer::train_batch`], [`Error::Diverged`] apart.
    pub fn step_memory(&mut self, batch: &Batch) -> Result<u64> {
        self.check_batch(batch)?;
        let outputs = self.step_graph(batch)?;
        graph::peak_bytes(&outputs).map_err(lift)
    }

    /// Loss, weight, norm and new state of one step, not evaluated.
    fn step_graph(&mut self, batch: &Batch) -> Result<Vec<Array>> {
        let rate = self.progress.learning_rate(&self.shared.config);
        let mut arguments = self.state_arguments(rate);
        arguments.extend(self.shared.frozen.iter().cloned());
        arguments.push(self.key(self.progress.step));
        arguments.extend(self.scale());
        Form::append(&mut arguments, batch, &[]);
        self.functions(Form::of(batch, &[])).step.call(&arguments)
    }

    /// Whether the functions of this trainer are compiled.
    pub fn is_compiled(&self) -> bool {
        self.is_compiled
    }

    fn staged_state(&self) -> State {
        let config = &self.shared.config;
        let rate = self.progress.learning_rate(config);
        let scalars = config.optimizer.scalars(rate, self.progress.updates + 1);
        State {
            parameters: self.arrays.parameters.clone(),
            slots: self.arrays.slots.clone(),
            scalars: scalars.map(Array::from_f32).to_vec(),
            decay: self.shared.decay.clone(),
            floor: self.shared.floor.clone(),
        }
    }
}

fn lift(source: mlx_rs::error::Exception) -> Error {
    Error::Mlx {
        operation: "staged train step",
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Tiny, Waves, config};
    use super::super::{BatchSource, Trainer};

    #[test]
    fn a_staged_step_is_a_step() {
        let config = config("learning_rate = 0.05\nclip = { norm = 0.1 }\nweight_decay = 0.01");
        let mut source = Waves::new(2, 4);
        let mut whole = Trainer::new(Tiny::new(1), config.clone(), 3).unwrap();
        let mut staged = Trainer::new(Tiny::new(1), config, 3).unwrap();
        for step in 0..2 {
            let batch = source.batch(0, step).unwrap();
            whole.train_batch(&batch).unwrap();
            let stages = staged.staged_batch(&batch).unwrap();
            let backward = stages.backward.unwrap();
            for part in [stages.build, stages.forward, backward, stages.update] {
                assert!(!part.is_zero(), "{stages:?}");
            }
            let batch = source.batch(1, step).unwrap();
            whole.train_batch(&batch).unwrap();
            assert!(!staged.handed_over_batch(&batch).unwrap().host.is_zero());
        }
        assert_eq!(whole.step(), staged.step());
        whole.synchronise().unwrap();
        staged.synchronise().unwrap();
        let pairs = whole
            .model()
            .values()
            .into_iter()
            .zip(staged.model().values());
        for (one, other) in pairs {
            assert!((one - other).abs() < 1e-6, "{one} {other}");
        }
    }

    #[test]
    fn the_operations_of_a_step_are_counted_without_making_it() {
        let mut trainer = Trainer::new(Tiny::new(1), config(""), 3).unwrap();
        let batch = Waves::new(2, 4).batch(0, 0).unwrap();
        let found = trainer.step_operations(&batch).unwrap();
        // Two products forwards; backwards one for each weight and one for the hidden values.
        assert_eq!(found["Matmul"], 5, "{found:?}");
        assert_eq!(found["Tanh"], 1, "{found:?}");
        assert_eq!(trainer.step(), 0);
        assert_eq!(trainer.step_operations(&batch).unwrap(), found);
    }
}

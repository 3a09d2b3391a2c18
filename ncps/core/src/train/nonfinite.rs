//! What happens when a loss or gradient is not finite: find where it began, then end, skip or go back.

use mlx_rs::Array;

use super::batch::{Batch, BatchSource};
use super::config::OnNonfinite;
use super::flat::host;
use super::metrics::Metrics;
use super::progress::Place;
use super::step::Form;
use super::trainer::{Arrays, Trainer, vector};
use super::{Model, NonfiniteReport, Observer, StepReport};
use crate::{Error, Result};

pub(super) const ADVICE: &str = "lower `train.learning_rate`, set `train.clip.norm` (1.0 is usual), check the data for \
                      values that are not finite or not normalised, or let `train.on_nonfinite` be \"skip\" or \"rollback\"";

/// What a step began from.
#[derive(Debug)]
pub(super) struct Before {
    pub(super) arrays: Arrays,
    pub(super) place: Place,
    /// As of [`super::Carried`]; empty where the batch began at rest.
    pub(super) state: Vec<Array>,
}

/// A quantity that should be finite.
pub(super) type Quantity = (&'static str, f64);

/// Finds the first quantity of a step that is not finite.
pub(super) fn nonfinite(report: &StepReport) -> Option<Quantity> {
    let norm = report.gradient_norm.unwrap_or(0.0);
    [("loss", report.loss), ("gradient norm", norm)]
        .into_iter()
        .find(|(_, value)| !value.is_finite())
}

impl<M: Model + 'static> Trainer<M> {
    /// Goes back to before a step whose gradient left the range of f16, to try its batch again with half the scale of the
    /// loss; `false` if the scale is as small as it may be.
    pub(super) fn lower_scale(&mut self, before: &Before) -> bool {
        let Some(scale) = before.place.scale.halved() else {
            return false;
        };
        self.arrays = before.arrays.clone();
        self.progress.go_back(before.place);
        self.progress.scale = scale;
        tracing::debug!(
            step = before.place.step + 1,
            scale = f64::from(scale.factor()),
            "a gradient is beyond the range of f16: the batch is tried again with a smaller loss scale"
        );
        true
    }

    /// Deals with a step that was not finite; the caller drops what was launched on top of it.
    ///
    /// # Errors
    /// [`Error::Diverged`] where the run is to end, or has no more skips or rollbacks left.
    pub(super) fn recover(
        &mut self,
        (quantity, value): Quantity,
        report: &StepReport,
        before: &Before,
        source: &mut dyn BatchSource,
        observer: &mut dyn Observer,
    ) -> Result<()> {
        let step = report.step_in_epoch.saturating_sub(1);
        let batch = source.batch(report.epoch, step)?;
        let error = Error::Diverged {
            quantity,
            value,
            step: report.step,
            epoch: report.epoch,
            origin: (samples(source, report.epoch, step) + &self.origin(before, &batch)).into(),
            last_checkpoint: None,
            advice: ADVICE,
        };
        let error = self.with_checkpoint(error, observer)?;
        match self.shared.config.on_nonfinite {
            OnNonfinite::Skip if self.progress.skipped < self.shared.config.nonfinite_limit => {
                self.arrays = before.arrays.clone();
                self.progress.go_back(before.place);
                self.progress.skip();
                if quantity != "loss" && self.shared.config.accumulate > 1 {
                    // Any of the waiting batches may be the one.
                    self.arrays.waiting = None;
                    self.progress.waiting = 0;
                }
                self.tell(observer, cause(&error), self.progress.skipped);
                Ok(())
            }
            OnNonfinite::Rollback => self.roll_back(error, observer),
            _ => Err(error),
        }
    }

    /// Goes back to the anchor, if the run may and there is one; else the error is the end.
    fn roll_back(&mut self, error: Error, observer: &mut dyn Observer) -> Result<()> {
        let is_spent = self.progress.rollbacks >= self.shared.config.nonfinite_limit;
        let Some(anchor) = self.anchor.as_ref().filter(|_| !is_spent) else {
            return Err(error);
        };
        self.arrays = anchor.arrays.clone();
        self.progress.go_back(anchor.at.place);
        (self.progress.loss, self.progress.weight) = (anchor.at.loss, anchor.at.weight);
        self.progress.rollbacks += 1;
        self.tell(observer, cause(&error), self.progress.rollbacks);
        Ok(())
    }

    fn tell(&self, observer: &mut dyn Observer, cause: String, count: u64) {
        let config = &self.shared.config;
        observer.on_nonfinite(&NonfiniteReport {
            cause,
            action: config.on_nonfinite,
            resumes_at: self.progress.step,
            count,
            limit: config.nonfinite_limit,
            learning_rate: self.progress.learning_rate(config),
        });
    }

    /// Checks the validation loss; `true` if the run went back because of it.
    pub(super) fn is_rolled_back(
        &mut self,
        validation: Option<&Metrics>,
        observer: &mut dyn Observer,
    ) -> Result<bool> {
        let loss = validation.and_then(|metrics| metrics.get("loss")).copied();
        let Some(value) = loss.filter(|value| !value.is_finite()) else {
            return Ok(false);
        };
        let flat = host(&self.arrays.parameters)?;
        let origin = self.bad_parameter(&flat).unwrap_or_else(|| {
            "all parameters are finite, so it began in the forward pass or in the validation data"
                .to_owned()
        });
        let error = Error::Diverged {
            quantity: "validation loss",
            value,
            step: self.progress.step,
            epoch: self.progress.epoch,
            origin: origin.into(),
            last_checkpoint: None,
            advice: ADVICE,
        };
        let error = self.with_checkpoint(error, observer)?;
        match self.shared.config.on_nonfinite {
            OnNonfinite::Rollback => self.roll_back(error, observer).map(|()| true),
            _ => Err(error),
        }
    }

    /// Fills in the newest checkpoint, which may still be on its way.
    fn with_checkpoint(&mut self, mut error: Error, observer: &mut dyn Observer) -> Result<Error> {
        self.finish_save(observer)?;
        if let Error::Diverged {
            last_checkpoint, ..
        } = &mut error
        {
            last_checkpoint.clone_from(&self.last_checkpoint);
        }
        Ok(error)
    }

    /// Says in words where a step left the finite numbers: data, parameters, forward pass, gradient, in this order.
    pub(super) fn origin(&mut self, before: &Before, batch: &Batch) -> String {
        self.search(before, batch)
            .unwrap_or_else(|error| format!("where it began could not be found ({error})"))
    }

    fn search(&mut self, before: &Before, batch: &Batch) -> Result<String> {
        for (argument, array) in batch.arrays() {
            let Some(array) = array else { continue };
            if let Some((at, value)) = first(&host(array)?) {
                let place = place(at, array.shape());
                return Ok(format!("`{argument}` of the batch is {value} at {place}"));
            }
        }
        let flat = host(&before.arrays.parameters)?;
        if let Some(found) = self.bad_parameter(&flat) {
            return Ok(found);
        }
        let form = Form::of(batch, &before.state);
        let mut arguments = self.shared.layout.arrays(&flat);
        arguments.extend(self.shared.frozen.iter().cloned());
        Form::append(&mut arguments, batch, &before.state);
        let judged = self.functions(form).evaluate.call(&arguments)?;
        if let Some(predictions) = judged.get(2)
            && let Some((at, value)) = first(&host(predictions)?)
        {
            let place = place(at, predictions.shape());
            let (name, largest) = self.largest_parameter(&flat);
            return Ok(format!(
                "data and parameters are finite, but the forward pass gives {value} at {place}; the largest \
                 parameter is {largest} in `{name}`"
            ));
        }
        if let Some(loss) = judged.first()
            && let Some((_, value)) = first(&host(loss)?)
        {
            return Ok(format!(
                "the predictions are finite, but their loss is {value}"
            ));
        }
        let mut arguments = vec![before.arrays.parameters.clone()];
        arguments.extend(self.shared.frozen.iter().cloned());
        arguments.extend([vector(&vec![0.0; flat.len()]), Array::from_f32(0.0)]);
        arguments.push(self.key(before.place.step));
        arguments.extend(self.scale());
        Form::append(&mut arguments, batch, &before.state);
        let found = self.functions(form).accumulate.call(&arguments)?;
        let gradient = found
            .get(2 + before.state.len())
            .map(host)
            .transpose()?
            .unwrap_or_default();
        Ok(match first(&gradient) {
            Some((at, value)) => {
                let name = self.shared.layout.name_at(at);
                format!("the loss is finite, but the gradient of `{name}` is {value}")
            }
            None => "the gradient is finite, but the sum of its squares is not".to_owned(),
        })
    }

    fn bad_parameter(&self, flat: &[f32]) -> Option<String> {
        let (at, value) = first(flat)?;
        let name = self.shared.layout.name_at(at);
        Some(format!("the parameter `{name}` is {value}"))
    }

    fn largest_parameter(&self, flat: &[f32]) -> (String, f32) {
        let largest = flat
            .iter()
            .copied()
            .enumerate()
            .max_by(|(_, a), (_, b)| a.abs().total_cmp(&b.abs()));
        largest.map_or_else(Default::default, |(at, value)| {
            (self.shared.layout.name_at(at).to_owned(), value)
        })
    }
}

fn samples(source: &mut dyn BatchSource, epoch: u64, step: usize) -> String {
    let samples = source.samples(epoch, step);
    samples.map_or_else(String::new, |samples| format!("in {samples}, "))
}

/// The error's own text up to the advice, which is for runs that end.
fn cause(error: &Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("train: ").unwrap_or(&text);
    text.split(';').next().unwrap_or(text).to_owned()
}

fn first(values: &[f32]) -> Option<(usize, f32)> {
    let mut values = values.iter().copied().enumerate();
    values.find(|(_, value)| !value.is_finite())
}

/// Names an element of [B, T, F], [B, T] or `[B]` by its indices.
fn place(mut at: usize, shape: &[i32]) -> String {
    const NAMES: [&str; 3] = ["sample", "step", "feature"];
    let mut parts = Vec::new();
    for (axis, &size) in shape.iter().enumerate().rev() {
        let size = size.max(1) as usize;
        let name = NAMES.get(axis).unwrap_or(&"axis");
        parts.push(format!("{name} {}", at % size));
        at /= size;
    }
    parts.reverse();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::TrainConfig;
    use crate::train::testing::{Tiny, Waves, config};

    /// Passes on a source whose data are poisoned in some (epoch, step), once or always.
    struct Poisoned {
        waves: Waves,
        at: Vec<(u64, usize)>,
        target: f32,
        is_once: bool,
        asked: usize,
    }

    impl BatchSource for Poisoned {
        fn steps(&self) -> usize {
            self.waves.steps()
        }

        fn batch(&mut self, epoch: u64, step: usize) -> Result<Batch> {
            let mut batch = self.waves.batch(epoch, step)?;
            if self.at.contains(&(epoch, step)) && !(self.is_once && self.asked > 1) {
                self.asked += 1;
                let shape = batch.targets.shape().to_vec();
                let mut values = host(&batch.targets)?;
                values[4] = self.target;
                batch.targets = Array::from_slice(&values, &shape);
            }
            Ok(batch)
        }

        fn samples(&mut self, _: u64, step: usize) -> Option<String> {
            Some(format!("windows of step {step}"))
        }
    }

    fn poisoned(at: &[(u64, usize)], target: f32, is_once: bool) -> Poisoned {
        Poisoned {
            waves: Waves::new(4, 18),
            at: at.to_vec(),
            target,
            is_once,
            asked: 0,
        }
    }

    #[derive(Default)]
    struct Heard {
        steps: Vec<u64>,
        reports: Vec<NonfiniteReport>,
    }

    impl Observer for Heard {
        fn on_step(&mut self, report: &StepReport) {
            assert!(report.loss.is_finite());
            self.steps.push(report.step);
        }
        fn on_nonfinite(&mut self, report: &NonfiniteReport) {
            self.reports.push(report.clone());
        }
    }

    fn fit(text: &str, source: &mut Poisoned) -> (Result<Vec<f32>>, Heard) {
        fit_ahead(1, text, source)
    }

    /// With that many steps launched before the first of them is read.
    fn fit_ahead(ahead: usize, text: &str, source: &mut Poisoned) -> (Result<Vec<f32>>, Heard) {
        let mut trainer = Trainer::new(Tiny::new(1), config(text), 3).unwrap();
        trainer.ahead = ahead;
        let mut heard = Heard::default();
        let fitted = trainer.fit(source, None, &mut heard);
        let values = fitted.map(|_| trainer.model().values());
        (values, heard)
    }

    const BASE: &str = "epochs = 3\nlearning_rate = 0.02\ncompile = \"off\"\n";

    #[test]
    fn the_error_tells_batch_and_origin() {
        for (target, words) in [
            (
                f32::NAN,
                "`targets` of the batch is NaN at sample 1, step 1",
            ),
            // Finite data whose squared error is not.
            (3e30, "the predictions are finite, but their loss is inf"),
        ] {
            let (fitted, _) = fit(BASE, &mut poisoned(&[(1, 2)], target, false));
            let error = fitted.unwrap_err().to_string();
            for part in ["step 8", "(epoch 1): in windows of step 2, ", words] {
                assert!(error.contains(part), "no `{part}` in: {error}");
            }
        }
    }

    #[test]
    fn a_gradient_and_a_forward_pass_are_named() {
        let mut trainer = Trainer::new(Tiny::new(1), config(BASE), 3).unwrap();
        let batch = Waves::new(4, 18).batch(0, 0).unwrap();
        let mut origin = |model: Option<Tiny>, batch: &Batch| {
            if let Some(model) = model {
                trainer = Trainer::new(model, config(BASE), 3).unwrap();
            }
            let before = Before {
                arrays: trainer.arrays.clone(),
                place: trainer.progress.place(),
                state: Vec::new(),
            };
            trainer.origin(&before, batch)
        };
        let mut model = Tiny::new(1);
        model.output.value = Array::from_slice(&[3e38_f32; 4], &[4, 1]);
        model.bias.value = Array::from_slice(&[9.0_f32; 4], &[4]);
        let found = origin(Some(model), &batch);
        assert!(found.contains("the forward pass gives inf"), "{found}");
        assert!(found.contains("`output`"), "{found}");
        // Predictions of about 1e18 from hidden values of about 1e-3: a finite loss with a slope beyond all numbers.
        let mut model = Tiny::new(1);
        model.hidden.value = Array::from_slice(&[1e-3_f32; 8], &[2, 4]);
        model.bias.value = Array::from_slice(&[0.0_f32; 4], &[4]);
        model.output.value = Array::from_slice(&[5e20_f32; 4], &[4, 1]);
        let found = origin(Some(model), &batch);
        assert!(found.contains("the gradient of `"), "{found}");
        let mut model = Tiny::new(1);
        model.bias.value = Array::from_slice(&[f32::NAN; 4], &[4]);
        let found = origin(Some(model), &batch);
        assert_eq!(found, "the parameter `bias` is NaN");
    }

    #[test]
    fn a_skipped_batch_leaves_no_trace_in_the_weights() {
        let text = format!("{BASE}on_nonfinite = \"skip\"");
        let (fitted, heard) = fit(&text, &mut poisoned(&[(0, 1), (2, 4)], f32::NAN, false));
        let values = fitted.unwrap();
        assert!(values.iter().all(|value| value.is_finite()));
        assert_eq!(heard.reports.len(), 2);
        assert_eq!(heard.reports[0].resumes_at, 2);
        assert!(heard.reports[0].cause.contains("windows of step 1"));
        // Every other batch is heard of once.
        let expected: Vec<u64> = (1..=15).filter(|step| ![2, 15].contains(step)).collect();
        assert_eq!(heard.steps, expected);
        // As if the two had had no weight at all: the update without a gradient of plain descent changes nothing.
        let sgd = format!("{text}\noptimizer = {{ kind = \"sgd\" }}");
        let (skipped, _) = fit(&sgd, &mut poisoned(&[(0, 1)], f32::NAN, false));
        let mut weightless = Trainer::new(Tiny::new(1), config(&sgd), 3).unwrap();
        struct Weightless(Waves);
        impl BatchSource for Weightless {
            fn steps(&self) -> usize {
                self.0.steps()
            }
            fn batch(&mut self, epoch: u64, step: usize) -> Result<Batch> {
                let mut batch = self.0.batch(epoch, step)?;
                if (epoch, step) == (0, 1) {
                    batch.weights = Array::from_slice(&[0.0_f32; 4], &[4]);
                }
                Ok(batch)
            }
        }
        weightless
            .fit(&mut Weightless(Waves::new(4, 18)), None, &mut ())
            .unwrap();
        assert_eq!(skipped.unwrap(), weightless.model().values());
    }

    #[test]
    fn skips_are_counted_and_end() {
        let text = format!("{BASE}on_nonfinite = \"skip\"\nnonfinite_limit = 2");
        let (fitted, heard) = fit(
            &text,
            &mut poisoned(&[(0, 1), (0, 2), (0, 3)], f32::NAN, false),
        );
        assert!(matches!(fitted, Err(Error::Diverged { step: 4, .. })));
        assert_eq!(heard.reports.len(), 2);
    }

    #[test]
    fn skipping_works_between_accumulated_batches() {
        let text = format!("{BASE}on_nonfinite = \"skip\"\naccumulate = 2");
        for at in [(0, 0), (0, 1), (1, 4)] {
            let (fitted, heard) = fit(&text, &mut poisoned(&[at], f32::NAN, false));
            assert!(fitted.unwrap().iter().all(|value| value.is_finite()));
            assert_eq!(heard.reports.len(), 1, "{at:?}");
            assert_eq!(heard.steps.len(), 14, "{at:?}");
        }
    }

    #[test]
    fn a_rollback_repeats_the_epoch_with_a_smaller_rate() {
        let text = format!("{BASE}on_nonfinite = \"rollback\"");
        // The second look at the batch, after the rollback, finds it sound.
        let (fitted, heard) = fit(&text, &mut poisoned(&[(1, 2)], f32::NAN, true));
        assert!(fitted.unwrap().iter().all(|value| value.is_finite()));
        let report = &heard.reports[0];
        assert_eq!((report.resumes_at, report.count), (5, 1));
        assert!((report.learning_rate - 0.01).abs() < 1e-12);
        assert_eq!(
            heard.steps,
            [1, 2, 3, 4, 5, 6, 7, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
        );
        // Bad data stay bad: three rollbacks, then the error.
        let (fitted, heard) = fit(&text, &mut poisoned(&[(1, 2)], f32::NAN, false));
        assert!(matches!(fitted, Err(Error::Diverged { step: 8, .. })));
        assert_eq!(heard.reports.len(), 3);
    }

    /// Steps launched on top of a bad one leave nothing: reports, steps, weights and errors are those of a loop that
    /// waits for each step, wherever in an epoch the bad steps lie.
    #[test]
    fn a_deep_queue_changes_nothing() {
        const TEXTS: [&str; 6] = [
            "",
            "on_nonfinite = \"skip\"",
            "on_nonfinite = \"skip\"\naccumulate = 2",
            "on_nonfinite = \"skip\"\nnonfinite_limit = 1",
            "on_nonfinite = \"rollback\"",
            "on_nonfinite = \"rollback\"\naccumulate = 2",
        ];
        // Five steps an epoch: the first, the last, neighbours, two in one queue, two in different epochs.
        const PLACES: [&[(u64, usize)]; 5] = [
            &[(0, 0)],
            &[(1, 4)],
            &[(1, 1), (1, 2)],
            &[(0, 1), (0, 3)],
            &[(0, 4), (1, 0)],
        ];
        for text in TEXTS.map(|text| format!("{BASE}{text}")) {
            for (at, is_once) in PLACES.iter().flat_map(|at| [(at, false), (at, true)]) {
                if is_once && at.len() > 1 {
                    continue;
                }
                let run = |ahead| {
                    let mut source = poisoned(at, f32::NAN, is_once);
                    let (fitted, heard) = fit_ahead(ahead, &text, &mut source);
                    let values = fitted.map_err(|error| error.to_string());
                    (values, heard.steps, heard.reports)
                };
                let waiting = run(0);
                let bad = at[0].0 * 5 + at[0].1 as u64 + 1;
                let named = match &waiting {
                    (Err(error), _, reports) if reports.is_empty() => error,
                    (_, _, reports) => &reports[0].cause,
                };
                assert!(named.contains(&format!("step {bad} ")), "{bad}: {named}");
                for ahead in [1, 4, 9] {
                    assert_eq!(run(ahead), waiting, "{ahead} {text} {at:?} {is_once}");
                }
            }
        }
    }

    #[test]
    fn limits_of_the_factor_are_checked() {
        let config: TrainConfig = toml::from_str("rollback_factor = 1.5").unwrap();
        assert!(config.validate().is_err());
    }
}

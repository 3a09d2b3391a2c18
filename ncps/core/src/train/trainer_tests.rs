//! Runs of a tiny model.

use mlx_rs::ops;

use super::*;
use crate::train::testing::{Tiny, Waves, config};
use crate::train::{Batch, MetricName, StepReport, compilations, evaluate};

/// Notes what it hears, and stops after some batches.
#[derive(Default)]
struct Notes {
    steps: Vec<StepReport>,
    epochs: Vec<EpochReport>,
    stop_after: Option<usize>,
}

impl Observer for Notes {
    fn on_step(&mut self, report: &StepReport) {
        self.steps.push(report.clone());
    }

    fn on_epoch(&mut self, report: &EpochReport) {
        self.epochs.push(report.clone());
    }

    fn should_stop(&mut self) -> bool {
        self.stop_after
            .is_some_and(|limit| self.steps.len() >= limit)
    }
}

fn fit(text: &str, source: &Waves) -> (Trainer<Tiny>, Summary, Notes) {
    let mut trainer = Trainer::new(Tiny::new(1), config(text), 7).unwrap();
    let mut notes = Notes::default();
    let summary = trainer.fit(&mut source.clone(), None, &mut notes).unwrap();
    (trainer, summary, notes)
}

#[test]
fn the_loss_falls_and_every_batch_is_reported() {
    let (trainer, summary, notes) = fit("epochs = 40\nlearning_rate = 0.02", &Waves::new(4, 10));
    assert_eq!(summary.outcome, Outcome::Completed);
    assert_eq!(
        (summary.steps, summary.updates, summary.epochs),
        (120, 120, 40)
    );
    assert_eq!(notes.steps.len(), 120);
    assert_eq!(notes.steps[119].step, 120);
    assert_eq!(notes.epochs, trainer.history());
    let (first, last) = (
        notes.epochs[0].train["loss"],
        notes.epochs[39].train["loss"],
    );
    assert!(last < first / 20.0, "{first} {last}");
}

#[test]
fn every_optimizer_learns() {
    for (kind, rate) in [
        ("adam", 0.02),
        ("adamw", 0.02),
        ("sgd", 0.2),
        ("rmsprop", 0.01),
        ("lion", 0.01),
    ] {
        let text =
            format!("epochs = 20\nlearning_rate = {rate}\noptimizer = {{ kind = \"{kind}\" }}");
        let (_, _, notes) = fit(&text, &Waves::new(5, 10));
        let (first, last) = (
            notes.epochs[0].train["loss"],
            notes.epochs[19].train["loss"],
        );
        assert!(last < first / 3.0, "{kind}: {first} {last}");
    }
}

#[test]
fn one_seed_gives_one_result() {
    let run = |seed| {
        let mut model = Tiny::new(1);
        model.dropout = 0.3;
        let mut trainer = Trainer::new(model, config("epochs = 3"), seed).unwrap();
        trainer.fit(&mut Waves::new(4, 10), None, &mut ()).unwrap();
        let values = trainer.model().values();
        values.iter().map(|v| v.to_bits()).collect::<Vec<u32>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2), "the seed drives dropout");
}

/// One step of plain descent on a model with known gradient, by finite differences.
#[test]
fn the_gradient_is_that_of_the_mean_loss() {
    let source = Waves::new(4, 3);
    let loss = |model: &Tiny| {
        let mut model = model.clone();
        let loss = crate::train::LossConfig::default();
        evaluate(&mut model, &mut source.clone(), &loss, &[MetricName::Loss]).unwrap()["loss"]
    };
    let text = "epochs = 1\nlearning_rate = 1.0\noptimizer = { kind = \"sgd\" }";
    let (trainer, _, notes) = fit(text, &source);
    let (before, after) = (Tiny::new(1), trainer.model().values());
    let mut squares = 0.0;
    for (index, value) in before.values().iter().enumerate() {
        let shifted = |by: f32| {
            let mut model = before.clone();
            let (slot, at) = match index {
                0..8 => (&mut model.hidden, index),
                8..12 => (&mut model.bias, index - 8),
                _ => (&mut model.output, index - 12),
            };
            let mut host = slot.value.as_slice::<f32>().to_vec();
            host[at] += by;
            slot.value = Array::from_slice(&host, slot.value.shape());
            loss(&model)
        };
        let slope = (shifted(1e-2) - shifted(-1e-2)) / 2e-2;
        let step = f64::from(value - after[index]);
        assert!((slope - step).abs() < 2e-4, "{index}: {slope} {step}");
        squares += slope * slope;
    }
    let norm = notes.steps[0].gradient_norm.unwrap();
    assert!((norm - squares.sqrt()).abs() < 1e-3, "{norm}");
}

#[test]
fn clipping_limits_the_step() {
    let change = |clip: &str| {
        let text =
            format!("epochs = 1\nlearning_rate = 1.0\noptimizer = {{ kind = \"sgd\" }}\n{clip}");
        let (trainer, _, _) = fit(&text, &Waves::new(4, 4));
        let (before, after) = (Tiny::new(1).values(), trainer.model().values());
        before
            .iter()
            .zip(after)
            .map(|(a, b)| a - b)
            .collect::<Vec<f32>>()
    };
    let norm = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    let free = change("");
    let short = change("clip = { norm = 0.01 }");
    assert!(norm(&free) > 0.1 && (norm(&short) - 0.01).abs() < 1e-5);
    assert!(
        (short[3] / norm(&short) - free[3] / norm(&free)).abs() < 1e-3,
        "same direction"
    );
    let loose = change("clip = { norm = 1000.0 }");
    assert!(free.iter().zip(&loose).all(|(a, b)| (a - b).abs() < 1e-7));
    let flat = change("clip = { value = 0.02 }");
    for (cut, whole) in flat.iter().zip(&free) {
        assert!(
            (cut - whole.clamp(-0.02, 0.02)).abs() < 1e-6,
            "{cut} {whole}"
        );
    }
}

#[test]
fn accumulated_batches_equal_one_large_batch() {
    // 10 samples: 5 batches of 2 in groups of 2, 2 and 1 against batches of 4 with padding.
    let (small, summary, notes) = fit("epochs = 4\naccumulate = 2", &Waves::new(2, 10));
    let (large, other, _) = fit("epochs = 4", &Waves::new(4, 10));
    assert_eq!((summary.steps, summary.updates), (20, 12));
    assert_eq!(other.updates, 12);
    for (a, b) in small.model().values().iter().zip(large.model().values()) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    assert!(notes.steps[0].gradient_norm.is_none() && notes.steps[1].gradient_norm.is_some());
}

#[test]
fn weight_decay_groups_leave_out_what_they_name() {
    let after = |groups: &str| {
        let text = format!(
            "epochs = 1\nlearning_rate = 0.1\noptimizer = {{ kind = \"adamw\" }}\nweight_decay = 0.5\n{groups}"
        );
        fit(&text, &Waves::new(4, 4)).0.model().values()
    };
    let all = after("");
    let some = after("decay_groups = [{ pattern = \"*bias\", weight_decay = 0.0 }]");
    let start = Tiny::new(1).values();
    for index in 0..16 {
        let expected = if (8..12).contains(&index) {
            0.05 * start[index]
        } else {
            0.0
        };
        assert!(
            (some[index] - all[index] - expected).abs() < 1e-6,
            "{index}"
        );
    }
}

#[test]
fn constrained_parameters_stay_at_or_above_zero() {
    let mut model = Tiny::new(1);
    model.constrained = vec!["hidden".into()];
    let mut trainer = Trainer::new(model, config("epochs = 3"), 7).unwrap();
    trainer.fit(&mut Waves::new(4, 10), None, &mut ()).unwrap();
    let model = trainer.model();
    let hidden = model.hidden.value.as_slice::<f32>();
    assert!(hidden.iter().all(|v| *v >= 0.0) && hidden.contains(&0.0));
    assert!(
        model
            .output
            .value
            .as_slice::<f32>()
            .iter()
            .any(|v| *v < 0.0)
    );
}

#[test]
fn a_loop_of_ones_own_gives_the_same_weights() {
    let mut trainer = Trainer::new(Tiny::new(1), config("epochs = 2"), 7).unwrap();
    let mut source = Waves::new(4, 10);
    let mut reports = Vec::new();
    for (epoch, step) in (0..2).flat_map(|epoch| (0..3).map(move |step| (epoch, step))) {
        let batch = source.batch(epoch, step).unwrap();
        reports.push(trainer.train_batch(&batch).unwrap());
    }
    trainer.synchronise().unwrap();
    let (other, _, notes) = fit("epochs = 2", &Waves::new(4, 10));
    assert_eq!(trainer.model().values(), other.model().values());
    let losses =
        |reports: &[StepReport]| reports.iter().map(|r| r.loss.to_bits()).collect::<Vec<_>>();
    assert_eq!(losses(&reports), losses(&notes.steps));
}

#[test]
fn a_boxed_model_trains_like_a_plain_one() {
    let boxed: Box<dyn Model> = Box::new(Tiny::new(1));
    let mut trainer = Trainer::new(boxed, config("epochs = 2"), 7).unwrap();
    trainer.fit(&mut Waves::new(4, 10), None, &mut ()).unwrap();
    let (plain, _, _) = fit("epochs = 2", &Waves::new(4, 10));
    assert_eq!(trainer.history(), plain.history());
}

#[test]
fn frozen_parameters_stay_as_they_are() {
    use mlx_rs::module::Parameter;
    let mut model = Tiny::new(1);
    model.hidden.freeze(true);
    let before = model.hidden.value.as_slice::<f32>().to_vec();
    let mut trainer = Trainer::new(model, config("epochs = 3"), 7).unwrap();
    trainer.fit(&mut Waves::new(4, 10), None, &mut ()).unwrap();
    let model = trainer.model();
    assert_eq!(model.hidden.value.as_slice::<f32>(), before);
    assert_ne!(
        model.bias.value.as_slice::<f32>(),
        Tiny::new(1).bias.value.as_slice::<f32>()
    );
}

#[test]
fn names_that_fit_no_parameter_are_errors() {
    let mut model = Tiny::new(1);
    model.constrained = vec!["gleak".into()];
    let error = Trainer::new(model, config(""), 1).unwrap_err().to_string();
    assert!(
        error.contains("`gleak`") && error.contains("hidden"),
        "{error}"
    );
    let text = "decay_groups = [{ pattern = \"rnn.*\", weight_decay = 0.1 }]";
    let error = Trainer::new(Tiny::new(1), config(text), 1)
        .unwrap_err()
        .to_string();
    assert!(error.contains("`rnn.*`"), "{error}");
}

#[test]
fn a_loss_that_is_no_number_names_its_step() {
    for (epoch, step) in [(0, 0), (0, 2), (1, 1)] {
        let source = Waves {
            poison: Some((epoch, step)),
            ..Waves::new(4, 12)
        };
        let mut trainer = Trainer::new(Tiny::new(1), config("epochs = 3"), 7).unwrap();
        let error = trainer.fit(&mut source.clone(), None, &mut ()).unwrap_err();
        let Error::Diverged {
            step: found,
            epoch: at,
            quantity,
            ..
        } = &error
        else {
            unreachable!("{error}");
        };
        assert_eq!(
            (*found, *at, *quantity),
            (epoch * 3 + step as u64 + 1, epoch, "loss")
        );
        assert!(error.to_string().contains("learning_rate"), "{error}");
    }
}

#[test]
fn a_validation_loss_that_is_no_number_is_an_error() {
    let mut bad = Waves {
        poison: Some((0, 0)),
        ..Waves::new(4, 4)
    };
    let mut trainer = Trainer::new(Tiny::new(1), config("epochs = 1"), 7).unwrap();
    let error = trainer
        .fit(&mut Waves::new(4, 4), Some(&mut bad), &mut ())
        .unwrap_err();
    assert!(error.to_string().contains("validation loss"), "{error}");
}

#[test]
fn early_stopping_ends_a_run_and_the_best_weights_come_back() {
    // Steps this large make the loss rise again.
    let text = "epochs = 50\nlearning_rate = 0.5\nearly_stopping = { patience = 3 }";
    let mut trainer = Trainer::new(Tiny::new(1), config(text), 7).unwrap();
    let mut held_out = Waves::new(4, 9);
    let summary = trainer
        .fit(&mut Waves::new(4, 10), Some(&mut held_out), &mut ())
        .unwrap();
    assert_eq!(summary.outcome, Outcome::EarlyStopped);
    let best = summary.best.unwrap();
    assert_eq!(summary.epochs, best.epoch + 1 + 3);
    let rows = trainer.history();
    let lowest = rows
        .iter()
        .map(|row| row.validation.as_ref().unwrap()["loss"])
        .fold(f64::MAX, f64::min);
    assert_eq!(best.value.to_bits(), lowest.to_bits());
    let last = trainer.evaluate(&mut held_out).unwrap()["loss"];
    assert!(trainer.restore_best().unwrap());
    let restored = trainer.evaluate(&mut held_out).unwrap()["loss"];
    assert_eq!(restored.to_bits(), lowest.to_bits());
    assert!(restored < last);
}

#[test]
fn a_plateau_lowers_the_rate() {
    let text = "epochs = 30\nlearning_rate = 0.5\nschedule = { kind = \"reduce_on_plateau\", patience = 0 }";
    let (_, _, notes) = fit(text, &Waves::new(4, 10));
    assert!(notes.epochs[29].learning_rate < 0.5);
}

#[test]
fn metrics_of_the_trainer_and_of_evaluate_agree() {
    let (mut trainer, _, _) = fit("epochs = 2\ntrain_metrics = true", &Waves::new(4, 10));
    let mut source = Waves::new(3, 10);
    let ours = trainer.evaluate(&mut source).unwrap();
    let loss = crate::train::LossConfig::default();
    let names = [
        MetricName::Loss,
        MetricName::Mse,
        MetricName::Mae,
        MetricName::R2,
    ];
    let free = evaluate(&mut *trainer.model_mut(), &mut source, &loss, &names).unwrap();
    assert_eq!(ours, free);
    assert!((ours["loss"] - ours["mse"]).abs() < 1e-6);
    // The batch size does not change an epoch's metric, padding included.
    let whole = trainer.evaluate(&mut Waves::new(10, 10)).unwrap();
    assert!((whole["r2"] - ours["r2"]).abs() < 1e-6);
    let last = trainer.history().last().unwrap();
    assert!((last.train["mae"] - whole["mae"]).abs() < 1e-6);
}

#[test]
fn classes_are_learnt_and_judged() {
    let text = "epochs = 40\nlearning_rate = 0.05\nloss = { kind = \"cross_entropy\" }\nbest_metric = \"accuracy\"";
    let source = Waves {
        is_class: true,
        ..Waves::new(4, 10)
    };
    let mut trainer = Trainer::new(Tiny::new(2), config(text), 7).unwrap();
    let mut held_out = source.clone();
    trainer
        .fit(&mut source.clone(), Some(&mut held_out), &mut ())
        .unwrap();
    let found = trainer.evaluate(&mut held_out).unwrap();
    assert!(
        found["accuracy"] > 0.9 && found["auroc"] > 0.95,
        "{found:?}"
    );
    assert!(
        found["f1"] > 0.9 && found["balanced_accuracy"] > 0.9,
        "{found:?}"
    );
}

#[test]
fn a_target_that_is_no_class_is_an_error() {
    let text = "epochs = 1\nloss = { kind = \"cross_entropy\" }";
    let mut trainer = Trainer::new(Tiny::new(2), config(text), 7).unwrap();
    let error = trainer
        .fit(&mut Waves::new(4, 10), None, &mut ())
        .unwrap_err();
    assert!(error.to_string().contains("`targets`"), "{error}");
}

#[test]
fn batches_of_other_shapes_are_refused() {
    struct Ragged(Waves);
    impl BatchSource for Ragged {
        fn steps(&self) -> usize {
            2
        }
        fn batch(&mut self, epoch: u64, step: usize) -> Result<Batch> {
            self.0.batch = 4 - step;
            self.0.batch(epoch, step)
        }
    }
    let mut trainer = Trainer::new(Tiny::new(1), config("epochs = 1"), 7).unwrap();
    let error = trainer
        .fit(&mut Ragged(Waves::new(4, 8)), None, &mut ())
        .unwrap_err();
    assert!(error.to_string().contains("pad the last batch"), "{error}");
}

#[test]
fn an_empty_source_is_refused() {
    let mut trainer = Trainer::new(Tiny::new(1), config("epochs = 1"), 7).unwrap();
    let error = trainer
        .fit(&mut Waves::new(4, 0), None, &mut ())
        .unwrap_err();
    assert!(error.to_string().contains("empty"), "{error}");
}

#[test]
fn each_function_is_compiled_once_and_agrees_with_the_plain_one() {
    // A changing rate, padding and validation: nothing of it may cause another trace.
    let text = "epochs = 3\nschedule = { kind = \"cosine\", warmup_steps = 2 }";
    let run = |mode: &str, accumulate: usize| {
        let text = format!("{text}\ncompile = \"{mode}\"\naccumulate = {accumulate}");
        let mut trainer = Trainer::new(Tiny::new(1), config(&text), 7).unwrap();
        let mut held_out = Waves::new(4, 6);
        let summary = trainer
            .fit(&mut Waves::new(4, 10), Some(&mut held_out), &mut ())
            .unwrap();
        let values = trainer.model().values();
        (summary.compilations, values)
    };
    let before = compilations();
    let (count, compiled) = run("on", 1);
    assert_eq!(count, 2, "the step and the evaluation");
    assert_eq!(compilations() - before, 2);
    let (count, plain) = run("off", 1);
    assert_eq!(count, 0);
    for (a, b) in compiled.iter().zip(&plain) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    // A second compiled trainer in the process has its own functions.
    let (count, again) = run("on", 1);
    assert_eq!((count, again), (2, compiled));
    let (count, _) = run("on", 2);
    assert_eq!(count, 3, "gradients, update and evaluation");
}

#[test]
fn two_trainers_side_by_side_do_not_mix() {
    let alone = fit("epochs = 2\ncompile = \"on\"", &Waves::new(4, 10))
        .0
        .model()
        .values();
    let text = "epochs = 1\ncompile = \"on\"";
    let mut a = Trainer::new(Tiny::new(1), config("epochs = 2\ncompile = \"on\""), 7).unwrap();
    let mut b = Trainer::new(Tiny::new(3), config(text), 7).unwrap();
    let mut notes = Notes {
        stop_after: Some(2),
        ..Notes::default()
    };
    let first = a.fit(&mut Waves::new(4, 10), None, &mut notes).unwrap();
    assert_eq!(first.outcome, Outcome::Interrupted);
    struct Wide(Waves);
    impl BatchSource for Wide {
        fn steps(&self) -> usize {
            self.0.steps()
        }
        fn batch(&mut self, epoch: u64, step: usize) -> Result<Batch> {
            let mut batch = self.0.batch(epoch, step)?;
            let wide = [batch.targets.dim(0), batch.targets.dim(1), 3];
            let targets = batch.targets.expand_dims(-1).unwrap();
            batch.targets = ops::broadcast_to(&targets, &wide).unwrap();
            Ok(batch)
        }
    }
    b.fit(&mut Wide(Waves::new(2, 6)), None, &mut ()).unwrap();
    a.fit(&mut Waves::new(4, 10), None, &mut ()).unwrap();
    assert_eq!(a.model().values(), alone);
}

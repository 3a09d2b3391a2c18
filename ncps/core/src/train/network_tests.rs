//! The recurrent layers of this crate, trained: timespans, masks, dropout, constraints, resuming.

use mlx_rs::macros::ModuleParameters;
use mlx_rs::{Array, memory};

use super::testing::config;
use super::{
    Batch, BatchSource, EpochReport, Inputs, Model, Observer, Outcome, StepReport, Trainer,
};
use crate::Result;
use crate::cell::ParamConstraints;
use crate::kernel::Chain;
use crate::rnn::{CfcConfig, LtcConfig, SequenceInput, SequenceLayer, SequenceOutput, State};
use crate::wiring::AutoNcp;

const TIME: usize = 4;

#[derive(Debug, ModuleParameters)]
pub(super) struct Net {
    #[param]
    layer: Box<dyn SequenceLayer>,
}

impl Net {
    pub(super) fn of(layer: Box<dyn SequenceLayer>) -> Self {
        Self { layer }
    }

    fn run(
        &self,
        inputs: &Inputs,
        state: Option<&State>,
        key: Option<&Array>,
    ) -> Result<SequenceOutput> {
        let mut input = SequenceInput::new(&inputs.x);
        input.state = state;
        if let Some(timespans) = &inputs.timespans {
            input = input.timespans(timespans.clone());
        }
        if let Some(mask) = &inputs.mask {
            input = input.mask(mask);
        }
        if let Some(key) = key {
            input = input.training(key);
        }
        self.layer.sequence(&input)
    }
}

impl Model for Net {
    fn forward(&mut self, inputs: &Inputs, key: Option<&Array>) -> Result<Array> {
        Ok(self.run(inputs, None, key)?.outputs)
    }

    fn rest(&self, samples: usize) -> Vec<Array> {
        vec![self.layer.zero_state(samples).hidden]
    }

    fn forward_from(
        &mut self,
        inputs: &Inputs,
        state: &[Array],
        key: Option<&Array>,
    ) -> Result<(Array, Vec<Array>)> {
        let state = State::new(state[0].clone());
        let found = self.run(inputs, Some(&state), key)?;
        Ok((found.outputs, vec![found.state.hidden]))
    }

    fn constrained_parameters(&self) -> Vec<String> {
        let names = self.layer.constrained_parameters();
        names
            .into_iter()
            .map(|name| format!("layer.{name}"))
            .collect()
    }

    fn chain(&self) -> Option<Chain> {
        let stages = self.layer.stages()?.into_iter();
        let stages = stages.map(|stage| stage.below("layer")).collect();
        Some(Chain::new(self.layer.inputs(), stages).unwrap())
    }
}

pub(super) fn cfc() -> Net {
    let mut config = CfcConfig::new(2, 6);
    config.backbone_units = 8;
    config.backbone_layers = 2;
    config.backbone_dropout = 0.2;
    config.projection = Some(1);
    Net {
        layer: Box::new(config.build(5).unwrap()),
    }
}

pub(super) fn ltc(constraints: ParamConstraints) -> Net {
    let mut config = LtcConfig::new(2, AutoNcp::new(8, 1));
    config.constraints = constraints;
    Net {
        layer: Box::new(config.build(5).unwrap()),
    }
}

/// Irregular samples of a sine, of three or four steps.
pub(super) struct Samples;

impl BatchSource for Samples {
    fn steps(&self) -> usize {
        3
    }

    fn batch(&mut self, epoch: u64, step: usize) -> Result<Batch> {
        let (mut x, mut spans, mut mask, mut targets) = (vec![], vec![], vec![], vec![]);
        for row in 0..4u32 {
            let sample = (step as u32 * 4 + row + epoch as u32) % 12;
            let mut phase = sample as f32 * 0.5;
            for time in 0..TIME as u32 {
                let span = 0.2 + 0.1 * ((sample + time) % 3) as f32;
                phase += span;
                x.extend([phase.sin(), phase.cos()]);
                spans.push(span);
                mask.push(if time == 3 && row % 2 == 1 { 0.0 } else { 1.0 });
                targets.push((phase + 0.5).sin());
            }
        }
        let shape = [4, TIME as i32];
        Ok(Batch {
            inputs: Inputs {
                x: Array::from_slice(&x, &[4, TIME as i32, 2]),
                timespans: Some(Array::from_slice(&spans, &shape)),
                mask: Some(Array::from_slice(&mask, &shape)),
            },
            targets: Array::from_slice(&targets, &shape),
            weights: Array::from_slice(&[1.0f32; 4], &[4]),
        })
    }
}

/// Notes the memory in use after each epoch; may stop a run.
#[derive(Default)]
struct Watch {
    seen: usize,
    stop_after: Option<usize>,
    memory: Vec<usize>,
}

impl Observer for Watch {
    fn on_step(&mut self, _: &StepReport) {
        self.seen += 1;
    }

    fn on_epoch(&mut self, _: &EpochReport) {
        self.memory.push(memory::active_memory().unwrap());
    }

    fn should_stop(&mut self) -> bool {
        self.stop_after.is_some_and(|after| self.seen >= after)
    }
}

fn losses(model: Net, text: &str) -> (Trainer<Net>, Vec<f64>) {
    let mut trainer = Trainer::new(model, config(text), 1).unwrap();
    trainer
        .fit(&mut Samples, Some(&mut Samples), &mut ())
        .unwrap();
    let rows = trainer.history().iter();
    let losses = rows
        .map(|row| row.validation.as_ref().unwrap()["loss"])
        .collect();
    (trainer, losses)
}

#[track_caller]
fn falls(losses: &[f64], factor: f64) {
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    assert!(last < first * factor, "{first} {last}");
}

#[test]
fn a_cfc_learns() {
    let (_, losses) = losses(
        cfc(),
        "epochs = 15\nlearning_rate = 0.01\nclip = { norm = 1.0 }",
    );
    falls(&losses, 0.5);
}

#[test]
fn an_ltc_learns_and_keeps_its_constraints() {
    let text = "epochs = 8\nlearning_rate = 0.2\noptimizer = { kind = \"rmsprop\" }";
    let (trainer, _) = losses(ltc(ParamConstraints::Explicit), text);
    let names = trainer.model().constrained_parameters();
    assert!(
        names.iter().any(|name| name.ends_with("gleak")),
        "{names:?}"
    );
    let model = trainer.model();
    let parameters = mlx_rs::module::ModuleParameters::parameters(&*model).flatten();
    let mut touched = false;
    for name in &names {
        let values = parameters[name.as_str()].as_slice::<f32>();
        assert!(values.iter().all(|value| *value >= 0.0), "{name}");
        touched |= values.contains(&0.0);
    }
    assert!(touched, "such large steps must have met the limit");
    let (_, gentle) = losses(
        ltc(ParamConstraints::Implicit),
        "epochs = 40\nlearning_rate = 0.05",
    );
    falls(&gentle, 0.8);
}

/// Runs with a stop in the middle of an epoch and compares the bytes with a run without.
fn check_resume(build: impl Fn() -> Net) {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, stop_after| {
        let mut trainer = Trainer::new(build(), config("epochs = 4"), 1).unwrap();
        trainer.checkpoint_to(folder.path().join(name));
        trainer.resume().unwrap();
        let mut watch = Watch {
            stop_after,
            ..Watch::default()
        };
        trainer
            .fit(&mut Samples, Some(&mut Samples), &mut watch)
            .unwrap()
    };
    let whole = run("whole", None).last_checkpoint.unwrap();
    assert_eq!(run("parts", Some(4)).outcome, Outcome::Interrupted);
    let parts = run("parts", None).last_checkpoint.unwrap();
    for file in ["model.safetensors", "optimizer.safetensors", "state.json"] {
        let read = |path: &std::path::Path| std::fs::read(path.join(file)).unwrap();
        assert!(read(&whole) == read(&parts), "{file} differs");
    }
}

#[test]
fn a_cfc_with_dropout_resumes_exactly() {
    check_resume(cfc);
}

#[test]
fn an_ltc_resumes_exactly() {
    check_resume(|| ltc(ParamConstraints::Explicit));
}

const ALONE: &str = "NCPS_TEST_ALONE";

#[test]
fn memory_does_not_grow_from_epoch_to_epoch() {
    // MLX counts the memory of the whole process, so other tests' arrays would be in the figures.
    if std::env::var_os(ALONE).is_none() {
        let test = "train::network_tests::memory_does_not_grow_from_epoch_to_epoch";
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .env(ALONE, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("1 passed"), "{said}");
        return;
    }
    let mut trainer = Trainer::new(cfc(), config("epochs = 12"), 1).unwrap();
    let mut watch = Watch::default();
    trainer
        .fit(&mut Samples, Some(&mut Samples), &mut watch)
        .unwrap();
    // A graph kept alive would add the activations of every step.
    let (early, late) = (watch.memory[3], watch.memory[11]);
    assert!(late <= early + early / 10, "{early} bytes, later {late}");
}

#[test]
fn a_compiled_recurrent_step_is_traced_once() {
    let text = "epochs = 3\ncompile = \"on\"";
    let mut compiled = Trainer::new(cfc(), config(text), 1).unwrap();
    let summary = compiled
        .fit(&mut Samples, Some(&mut Samples), &mut ())
        .unwrap();
    assert_eq!(summary.compilations, 2, "the step and the evaluation");
    let (plain, _) = losses(cfc(), "epochs = 3");
    for (a, b) in compiled.history().iter().zip(plain.history()) {
        let (a, b) = (a.train["loss"], b.train["loss"]);
        assert!((a - b).abs() < 1e-4 * b, "{a} {b}");
    }
}

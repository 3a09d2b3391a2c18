//! States carried from window to window: what is learnt, what is resumed, what is refused.

use super::super::network_tests::{Net, cfc};
use super::super::testing::{Tiny, config};
use super::super::{Batch, BatchSource, Observer, Outcome, StepReport, Trainer, evaluate};
use super::super::{LossConfig, MetricName};
use super::*;
use crate::rnn::CfcConfig;

/// Steps of a window.
const TIME: usize = 5;
/// Steps from one pulse to the next.
const BETWEEN: usize = 17;
const WINDOWS: usize = 24;

/// Lanes of rare pulses of either sign; the target is the sign of the last one, which mostly lies windows back.
struct Pulses {
    /// The first lane's number; other lanes have other pulses.
    first: usize,
    lanes: usize,
    is_stateful: bool,
}

impl Pulses {
    fn sign(lane: usize, time: usize) -> f32 {
        let mixed =
            (lane as u64 * 31 + (time / BETWEEN) as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        if (mixed ^ (mixed >> 29)).count_ones().is_multiple_of(2) {
            1.0
        } else {
            -1.0
        }
    }
}

impl BatchSource for Pulses {
    fn steps(&self) -> usize {
        WINDOWS
    }

    fn batch(&mut self, _epoch: u64, step: usize) -> Result<Batch> {
        let (mut x, mut targets) = (Vec::new(), Vec::new());
        for lane in self.first..self.first + self.lanes {
            for time in step * TIME..(step + 1) * TIME {
                let sign = Self::sign(lane, time);
                x.push(if time.is_multiple_of(BETWEEN) {
                    sign
                } else {
                    0.0
                });
                targets.push(sign);
            }
        }
        let shape = [self.lanes as i32, TIME as i32, 1];
        Batch::new(
            Array::from_slice(&x, &shape),
            Array::from_slice(&targets, &shape),
        )
    }

    fn continues(&mut self, _epoch: u64, step: usize) -> Option<Vec<bool>> {
        self.is_stateful.then(|| vec![step > 0; self.lanes])
    }
}

fn net() -> Net {
    let mut config = CfcConfig::new(1, 8);
    config.backbone_units = 16;
    config.projection = Some(1);
    Net::of(Box::new(config.build(5).unwrap()))
}

/// Loss on other pulses after some epochs.
fn learnt(is_stateful: bool) -> f64 {
    let text = format!("epochs = 25\nlearning_rate = 0.02\nstateful = {is_stateful}");
    let mut trainer = Trainer::new(net(), config(&text), 1).unwrap();
    let mut source = Pulses {
        first: 0,
        lanes: 32,
        is_stateful,
    };
    trainer.fit(&mut source, None, &mut ()).unwrap();
    source.first = 100;
    let found = trainer.evaluate(&mut source).unwrap()["loss"];
    // The same by the model alone.
    let loss = LossConfig::Mse(Default::default());
    let mut model = trainer.model_mut();
    let alone = evaluate(&mut *model, &mut source, &loss, &[MetricName::Loss]).unwrap();
    assert!((alone["loss"] - found).abs() < 1e-6, "{found} {alone:?}");
    found
}

#[test]
fn what_lies_windows_back_is_remembered_if_the_state_is_carried() {
    let (windows, carried) = (learnt(false), learnt(true));
    // Windows without a pulse, about two of three, leave a window alone with nothing to know the sign by.
    assert!(windows > 0.5, "{windows}");
    assert!(carried < 0.1, "{carried}");
}

/// Stops after some batches.
struct Stop(usize);

impl Observer for Stop {
    fn on_step(&mut self, _: &StepReport) {
        self.0 = self.0.saturating_sub(1);
    }

    fn should_stop(&mut self) -> bool {
        self.0 == 0
    }
}

#[test]
fn a_run_stopped_between_two_windows_resumes_exactly() {
    for more in [
        "",
        "accumulate = 2",
        "precision = \"bf16\"",
        "compile = \"on\"",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let run = |name: &str, after| {
            let text = format!("epochs = 2\nstateful = true\n{more}");
            let mut trainer = Trainer::new(net(), config(&text), 1).unwrap();
            trainer.checkpoint_to(folder.path().join(name));
            trainer.resume().unwrap();
            let mut source = Pulses {
                first: 0,
                lanes: 3,
                is_stateful: true,
            };
            trainer.fit(&mut source, None, &mut Stop(after)).unwrap()
        };
        let whole = run("whole", usize::MAX).last_checkpoint.unwrap();
        let stopped = run("parts", 7);
        assert_eq!(stopped.outcome, Outcome::Interrupted);
        assert!(stopped.steps > 0 && !(stopped.steps as usize).is_multiple_of(WINDOWS));
        let parts = run("parts", usize::MAX).last_checkpoint.unwrap();
        for file in ["model.safetensors", "optimizer.safetensors", "state.json"] {
            let read = |path: &std::path::Path| std::fs::read(path.join(file)).unwrap();
            assert!(read(&whole) == read(&parts), "{more}: {file} differs");
        }
    }
}

#[test]
fn samples_that_do_not_go_on_begin_at_rest() {
    let array = |values: &[f32]| Array::from_slice(values, &[3, 1]);
    let mut carried = Carried::default();
    let rest = |samples: usize| vec![array(&vec![0.0; samples])];
    assert!(carried.begin(&[true, false, true], rest).is_err());
    let begun = carried.begin(&[false; 3], rest).unwrap();
    assert_eq!(begun[0].as_slice::<f32>(), [0.0; 3]);
    carried.keep(vec![array(&[1.0, f32::NAN, 3.0])]);
    let begun = carried.begin(&[true, false, true], rest).unwrap();
    assert_eq!(begun[0].as_slice::<f32>(), [1.0, 0.0, 3.0]);
}

#[test]
fn models_and_sources_that_do_not_go_with_it_are_refused() {
    let refused = Trainer::new(Tiny::new(1), config("stateful = true"), 1).unwrap_err();
    assert!(refused.to_string().contains("stateful"), "{refused}");
    for is_stateful in [false, true] {
        let text = format!("stateful = {is_stateful}");
        let mut trainer = Trainer::new(net(), config(&text), 1).unwrap();
        let mut source = Pulses {
            first: 0,
            lanes: 2,
            is_stateful: !is_stateful,
        };
        let refused = trainer.fit(&mut source, None, &mut ()).unwrap_err();
        assert!(refused.to_string().contains("lanes"), "{refused}");
    }
    // A step of one's own begins at rest.
    let mut trainer = Trainer::new(cfc(), config("stateful = true"), 1).unwrap();
    let batch = super::super::network_tests::Samples.batch(0, 0).unwrap();
    assert!(trainer.train_batch(&batch).unwrap().loss > 0.0);
}

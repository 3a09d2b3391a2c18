//! The library as a research program uses it: layers, training and checkpoints without the command line.

use mlx_rs::{Array, ops};
use ncps::models::{CfcModel, LtcModel, ModelConfig};
use ncps::train::{Batch, TrainConfig, Trainer};
use ncps::{AutoNcp, CfcConfig, LtcConfig, SequenceInput, SequenceLayer, Timespans};

/// Sixteen steps of sin t and cos t, and sin 2t to be told.
fn waves() -> Vec<Batch> {
    let angles: Vec<f32> = (0..64).map(|i| i as f32 * 0.2).collect();
    let t = Array::from_slice(&angles, &[4, 16, 1]);
    let x = ops::concatenate(&[ops::sin(&t).unwrap(), ops::cos(&t).unwrap()], -1).unwrap();
    let target = ops::sin(t.multiply(Array::from_f32(2.0)).unwrap()).unwrap();
    vec![Batch::new(x, target).unwrap()]
}

fn trained(config: &ModelConfig, epochs: u64) -> f64 {
    let settings = TrainConfig {
        epochs,
        learning_rate: 0.02,
        ..TrainConfig::default()
    };
    let mut trainer = Trainer::new(config.build(2, 1, 1).unwrap(), settings, 1).unwrap();
    let mut data = waves();
    trainer.fit(&mut data, None, &mut ()).unwrap();
    trainer.evaluate(&mut data).unwrap()["mse"]
}

#[test]
fn layers_run_on_wirings_and_plain_numbers_of_units() {
    let x = ops::ones::<f32>(&[3, 5, 8]).unwrap();
    let input = SequenceInput::new(&x);
    let cfc = CfcConfig::new(8, AutoNcp::new(20, 4)).build(1).unwrap();
    assert_eq!(cfc.sequence(&input).unwrap().outputs.shape(), [3, 5, 4]);
    let ltc = LtcConfig::new(8, AutoNcp::new(20, 4)).build(1).unwrap();
    assert_eq!(ltc.sequence(&input).unwrap().outputs.shape(), [3, 5, 4]);
    let dense = CfcConfig::new(8, 20).build(1).unwrap();
    assert_eq!(dense.sequence(&input).unwrap().outputs.shape(), [3, 5, 20]);
}

#[test]
fn networks_learn_through_the_facade() {
    for config in [
        ModelConfig::from(CfcModel::new(AutoNcp::new(12, 1))),
        ModelConfig::from(LtcModel::new(AutoNcp::new(12, 1))),
    ] {
        let (before, after) = (trained(&config, 1), trained(&config, 30));
        assert!(
            after < 0.8 * before,
            "{}: {before} -> {after}",
            config.kind()
        );
    }
}

#[test]
fn a_saved_model_comes_back_with_its_answers() {
    let config = ModelConfig::from(CfcModel::new(AutoNcp::new(12, 2)));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let saved = config.build(3, 2, 1).unwrap();
    ncps::checkpoint::save_model(&path, &saved).unwrap();
    let mut loaded = config.build(3, 2, 99).unwrap();
    ncps::checkpoint::load_model(&path, &mut loaded).unwrap();
    let x = ops::ones::<f32>(&[1, 3]).unwrap();
    let answer = |network: &dyn ncps::models::Network| {
        let (output, _) = network
            .step(&x, &Timespans::Unit, &network.zero_state(1))
            .unwrap();
        output.eval().unwrap();
        output.try_as_slice::<f32>().unwrap().to_vec()
    };
    assert_eq!(answer(saved.as_ref()), answer(loaded.as_ref()));
}

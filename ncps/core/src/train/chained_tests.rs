//! The one operation against the plain layers, differentiated by MLX: every loss, layer and optional part of a batch.

use mlx_rs::macros::ModuleParameters;
use mlx_rs::module::ModuleParameters as _;
use mlx_rs::nn::Linear;
use mlx_rs::{Array, random};

use super::*;
use crate::array::affine;
use crate::cell::{Activation, Mode};
use crate::init::Initializer;
use crate::kernel::{LinearStage, set_record_limit};
use crate::rnn::{
    CfcConfig, Implementation, LstmConfig, LtcConfig, SequenceInput, SequenceLayer, Timespans,
};
use crate::train::step::Gradients;
use crate::train::testing::config;
use crate::train::{Inputs, Trainer};
use crate::wiring::AutoNcp;

const INPUTS: usize = 3;

/// An encoder, layers and a head, each of which may be absent.
#[derive(Debug, ModuleParameters)]
struct Net {
    #[param]
    encoder: Option<Linear>,
    #[param]
    layers: Vec<Box<dyn SequenceLayer>>,
    #[param]
    head: Option<Linear>,
}

fn apply(layer: &Linear, x: &Array) -> Result<Array> {
    let bias = layer.bias.value.as_ref().unwrap();
    let product = layer.weight.transpose().and_then(|w| affine(bias, x, &w));
    product.map_err(|source| Error::Mlx {
        operation: "test",
        source,
    })
}

fn stage(name: &str, layer: &Linear) -> Stage {
    Stage::Linear(LinearStage {
        inputs: layer.weight.dim(1) as usize,
        outputs: layer.weight.dim(0) as usize,
        weight: format!("{name}.weight"),
        bias: Some(format!("{name}.bias")),
    })
}

impl Model for Net {
    fn forward(&mut self, inputs: &Inputs, key: Option<&Array>) -> Result<Array> {
        let mut x = inputs.x.clone();
        if let Some(encoder) = &self.encoder {
            x = Activation::Silu.apply(&apply(encoder, &x)?).unwrap();
        }
        for layer in &self.layers {
            let spans = inputs.timespans.clone();
            let input = SequenceInput {
                x: &x,
                timespans: spans.map_or(Timespans::Unit, Timespans::Array),
                mask: inputs.mask.as_ref(),
                state: None,
                training: key,
            };
            x = layer.sequence(&input)?.outputs;
        }
        match &self.head {
            Some(head) => apply(head, &x),
            None => Ok(x),
        }
    }

    fn chain(&self) -> Option<Chain> {
        let mut stages = Vec::new();
        if let Some(encoder) = &self.encoder {
            stages.extend([
                stage("encoder", encoder),
                Stage::Activation(Activation::Silu),
            ]);
        }
        for (index, layer) in self.layers.iter().enumerate() {
            let own = layer.stages()?.into_iter();
            stages.extend(own.map(|stage| stage.below(&format!("layers.{index}"))));
        }
        stages.extend(self.head.as_ref().map(|head| stage("head", head)));
        Some(Chain::new(INPUTS, stages).unwrap())
    }
}

/// The kinds of networks; `outputs` is the size of a prediction.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Dropping,
    Pure,
    Wired,
    Mixed,
    Ltc,
    Lstm,
    Last,
    Stack,
}

const KINDS: [Kind; 8] = [
    Kind::Dropping,
    Kind::Pure,
    Kind::Wired,
    Kind::Mixed,
    Kind::Ltc,
    Kind::Lstm,
    Kind::Last,
    Kind::Stack,
];

fn cfc(inputs: usize, change: impl Fn(&mut CfcConfig)) -> CfcConfig {
    let mut config = CfcConfig::new(inputs, 7);
    (config.backbone_units, config.backbone_layers) = (9, 2);
    change(&mut config);
    config
}

fn net(kind: Kind, outputs: usize, implementation: Implementation) -> Net {
    let dense = |inputs, change: &dyn Fn(&mut CfcConfig)| -> Box<dyn SequenceLayer> {
        let mut layer = cfc(inputs, change).build(1).unwrap();
        layer.implementation = implementation;
        Box::new(layer)
    };
    let wired = |has_memory| -> Box<dyn SequenceLayer> {
        let mut config = CfcConfig::new(INPUTS, AutoNcp::new(12, outputs));
        config.mixed_memory = has_memory;
        let mut layer = config.build(2).unwrap();
        layer.implementation = implementation;
        Box::new(layer)
    };
    let ltc = |inputs, outputs| -> Box<dyn SequenceLayer> {
        let mut layer = LtcConfig::new(inputs, AutoNcp::new(10, outputs))
            .build(3)
            .unwrap();
        layer.implementation = implementation;
        Box::new(layer)
    };
    let lstm = || -> Box<dyn SequenceLayer> {
        let mut layer = LstmConfig::new(INPUTS, 6).build(4).unwrap();
        layer.implementation = implementation;
        Box::new(layer)
    };
    let linear = |inputs, outputs| Some(Initializer::new(5).linear(inputs, outputs));
    let (mut encoder, mut head) = (None, None);
    let layers = match kind {
        Kind::Dropping => vec![dense(INPUTS, &|config| {
            (config.backbone_dropout, config.projection) = (0.4, Some(outputs));
        })],
        Kind::Pure => {
            head = linear(7, outputs);
            vec![dense(INPUTS, &|config| config.mode = Mode::Pure)]
        }
        Kind::Wired => vec![wired(false)],
        Kind::Mixed => vec![wired(true)],
        Kind::Ltc => vec![ltc(INPUTS, outputs)],
        Kind::Lstm => {
            head = linear(6, outputs);
            vec![lstm()]
        }
        Kind::Last => {
            head = linear(7, outputs);
            vec![dense(INPUTS, &|config| config.return_sequences = false)]
        }
        Kind::Stack => {
            (encoder, head) = (linear(INPUTS, 5), linear(4, outputs));
            vec![dense(5, &|config| config.projection = Some(6)), ltc(6, 4)]
        }
    };
    Net {
        encoder,
        layers,
        head,
    }
}

fn uniform(seed: u64, low: f32, high: f32, shape: &[usize]) -> Array {
    Initializer::new(seed).uniform(low, high, shape)
}

/// Which optional parts a batch has.
#[derive(Clone, Copy, Debug)]
struct Form {
    batch: usize,
    time: usize,
    has_spans: bool,
    has_mask: bool,
    has_step_weights: bool,
}

const FORMS: [Form; 3] = [
    Form {
        batch: 35,
        time: 5,
        has_spans: true,
        has_mask: true,
        has_step_weights: false,
    },
    Form {
        batch: 3,
        time: 1,
        has_spans: false,
        has_mask: false,
        has_step_weights: false,
    },
    Form {
        batch: 2,
        time: 7,
        has_spans: false,
        has_mask: true,
        has_step_weights: true,
    },
];

/// Random inputs, with NaN wherever a value must not be looked at.
fn batch(form: Form, loss: &LossConfig, outputs: usize, is_one: bool) -> Batch {
    let Form { batch, time, .. } = form;
    let is_every = !is_one && loss.at() == At::EveryStep;
    let mut targets: Vec<usize> = vec![batch];
    targets.extend(is_every.then_some(time));
    let targets = match loss {
        LossConfig::CrossEntropy(_) => uniform(3, 0.0, outputs as f32 - 0.01, &targets)
            .floor()
            .unwrap(),
        LossConfig::BinaryCrossEntropy(_) => {
            targets.push(outputs);
            uniform(3, 0.0, 2.0, &targets).floor().unwrap()
        }
        _ => {
            targets.push(outputs);
            uniform(3, -2.0, 2.0, &targets)
        }
    };
    // Sequences end after different numbers of steps; the first is whole.
    let mask: Vec<f32> = (0..batch * time)
        .map(|i| f32::from(u8::from(i % time <= (i / time) % time || i < time)))
        .collect();
    let mut weights: Vec<usize> = vec![batch];
    weights.extend((form.has_step_weights && !is_one).then_some(time));
    let weights = uniform(4, 0.5, 2.0, &weights);
    let shape = [batch as i32, time as i32];
    let mask = form.has_mask.then(|| Array::from_slice(&mask, &shape));
    // What padding holds must not matter; MLX's own gradient of an encoder is not safe from NaN there.
    let x = uniform(1, -1.0, 1.0, &[batch, time, INPUTS]);
    Batch {
        inputs: Inputs {
            x,
            timespans: form.has_spans.then(|| uniform(2, 0.1, 2.0, &[batch, time])),
            mask,
        },
        targets,
        weights,
    }
}

fn values(array: &Array) -> Vec<f32> {
    crate::train::host(array).unwrap()
}

#[track_caller]
fn assert_close(found: &Array, expected: &Array, what: &str) {
    let (found, expected) = (values(found), values(expected));
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = expected.iter().fold(1.0f32, |size, x| size.max(x.abs()));
    for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
        assert!(
            (a - b).abs() <= 2e-5 * size,
            "{what}, element {i}: {a} and {b}"
        );
    }
}

fn check(kind: Kind, loss: &str, form: Form, outputs: usize) {
    let what = format!("{kind:?}, {loss}, {form:?}");
    let text = format!("loss = {{ {loss} }}");
    let trainer = |implementation| {
        let net = net(kind, outputs, implementation);
        Trainer::new(net, config(&text), 1).unwrap()
    };
    let (plain, fused) = (
        trainer(Implementation::Plain),
        trainer(Implementation::Auto),
    );
    assert!(plain.shared.chained.is_none());
    let chained = fused.shared.chained.as_ref().unwrap();
    let is_one = chained.chain.is_last_only();
    let batch = batch(form, &plain.shared.config.loss, outputs, is_one);
    let key = random::key(7).unwrap();
    let parameters = &fused.arrays.parameters;
    let expected = plain
        .shared
        .traced_gradients(parameters, &[], &key, None, (&batch, &[]));
    let Gradients {
        loss, weight, flat, ..
    } = expected.unwrap();
    let found = chained.gradients(parameters, &key, &batch).unwrap();
    let found = found.unwrap_or_else(|| panic!("{what}: refused"));
    assert_close(&found[0], &loss, &format!("{what}: loss"));
    assert_close(&found[1], &weight, &format!("{what}: weight"));
    assert_close(&found[2], &flat, &format!("{what}: gradient"));
}

#[test]
fn every_kind_of_network_has_the_gradients_of_its_plain_form() {
    for kind in KINDS {
        for form in FORMS {
            check(kind, "kind = \"mse\"", form, 2);
        }
    }
}

/// The GPU's kernels, emulated, against the CPU's; gives whether they serve the network.
#[cfg(target_os = "linux")]
fn check_gpu(kind: Kind, loss: &str, form: Form, outputs: usize) -> bool {
    use crate::kernel::{Backend, Order};
    let what = format!("{kind:?}, {loss}, {form:?}");
    let text = format!("loss = {{ {loss} }}");
    let net = net(kind, outputs, Implementation::Auto);
    let trainer = Trainer::new(net, config(&text), 1).unwrap();
    let chained = trainer.shared.chained.as_ref().unwrap();
    let is_one = chained.chain.is_last_only();
    let batch = batch(form, &trainer.shared.config.loss, outputs, is_one);
    let key = random::key(7).unwrap();
    let parameters = &trainer.arrays.parameters;
    let expected = chained
        .gradients(parameters, &key, &batch)
        .unwrap()
        .unwrap();
    let mut first: Option<Vec<Vec<f32>>> = None;
    for (order, most_work) in [
        (Order::Ascending, usize::MAX),
        (Order::Descending, usize::MAX),
        // Products for the gradients of weights by MLX.
        (Order::Ascending, 0),
    ] {
        let cache = ChainCache::with_most_work(most_work);
        let on = |call: &GradientCall<'_>| {
            let gpu = &cache;
            let call = GradientCall {
                gpu,
                ..call.clone()
            };
            call.apply_on(Some(Backend::Emulator(order)))
        };
        let Some(found) = chained.call(parameters, &key, &batch, on).unwrap() else {
            return false;
        };
        for (index, part) in ["loss", "weight", "gradient"].into_iter().enumerate() {
            assert_eq!(
                found[index].shape(),
                expected[index].shape(),
                "{what}: {part}"
            );
            assert_close(&found[index], &expected[index], &format!("{what}: {part}"));
        }
        let found = found.iter().map(values).collect();
        match &first {
            None => first = Some(found),
            Some(first) if most_work > 0 => assert_eq!(first, &found, "{what}"),
            Some(_) => {}
        }
    }
    true
}

/// Every loss but the mean squared error.
const LOSSES: [&str; 6] = [
    "kind = \"mae\"",
    "kind = \"huber\", delta = 0.7",
    "kind = \"cross_entropy\"",
    "kind = \"cross_entropy\", label_smoothing = 0.2, class_weights = [1.0, 0.5, 2.0]",
    "kind = \"binary_cross_entropy\"",
    "kind = \"binary_cross_entropy\", label_smoothing = 0.1, class_weights = [1.0, 3.0]",
];

#[test]
#[cfg(target_os = "linux")]
fn the_kernels_of_a_gpu_give_the_same() {
    for kind in KINDS {
        for form in FORMS {
            let is_served = check_gpu(kind, "kind = \"mse\"", form, 2);
            let is_known = !matches!(kind, Kind::Stack);
            assert_eq!(is_served, is_known, "{kind:?}");
        }
    }
    for loss in LOSSES {
        for form in FORMS {
            assert!(check_gpu(Kind::Last, loss, form, 3));
            let last = format!("{loss}, at = \"last_step\"");
            assert!(check_gpu(Kind::Pure, &last, form, 3));
            assert!(check_gpu(Kind::Ltc, &last, form, 3));
        }
    }
}

#[test]
fn every_loss_has_the_gradients_of_its_operations() {
    for loss in LOSSES {
        for form in FORMS {
            check(Kind::Pure, loss, form, 3);
            check(Kind::Last, loss, form, 3);
            check(Kind::Ltc, &format!("{loss}, at = \"last_step\""), form, 3);
        }
    }
}

#[test]
fn padding_may_hold_anything() {
    let trainer = Trainer::new(
        net(Kind::Stack, 2, Implementation::Auto),
        config("loss = { kind = \"mse\" }"),
        1,
    )
    .unwrap();
    let loss = &trainer.shared.config.loss;
    let clean = batch(FORMS[0], loss, 2, false);
    let mask = clean.inputs.mask.as_ref().unwrap();
    let is_real = mask.gt(Array::from_f32(0.5)).unwrap();
    let nan = Array::from_f32(f32::NAN);
    let dirty = |array: &Array, is_real: &Array| mlx_rs::ops::select(is_real, array, &nan).unwrap();
    let rows = is_real.expand_dims(-1).unwrap();
    let spoilt = Batch {
        inputs: Inputs {
            x: dirty(&clean.inputs.x, &rows),
            timespans: clean
                .inputs
                .timespans
                .as_ref()
                .map(|spans| dirty(spans, &is_real)),
            mask: clean.inputs.mask.clone(),
        },
        targets: dirty(&clean.targets, &rows),
        weights: clean.weights.clone(),
    };
    let chained = trainer.shared.chained.as_ref().unwrap();
    let key = random::key(1).unwrap();
    let of = |batch: &Batch| {
        let found = chained.gradients(&trainer.arrays.parameters, &key, batch);
        found.unwrap().unwrap().map(|array| values(&array))
    };
    assert_eq!(of(&clean), of(&spoilt));
}

#[test]
fn segments_that_are_run_again_give_the_same() {
    let trainer = Trainer::new(
        net(Kind::Stack, 2, Implementation::Auto),
        config("loss = { kind = \"mse\" }"),
        1,
    )
    .unwrap();
    let chained = trainer.shared.chained.as_ref().unwrap();
    let batch = batch(FORMS[0], &trainer.shared.config.loss, 2, false);
    let key = random::key(1).unwrap();
    let of = || {
        let found = chained.gradients(&trainer.arrays.parameters, &key, &batch);
        let found = found.unwrap().unwrap();
        found[2].eval().unwrap();
        found
    };
    let expected = of();
    set_record_limit(1000);
    let again = of();
    set_record_limit(256 << 20);
    for (again, expected) in again.iter().zip(&expected) {
        assert_close(again, expected, "segments");
    }
}

#[test]
fn unusual_batches_and_models_go_the_general_way() {
    let text = "loss = { kind = \"mse\" }";
    let trainer = Trainer::new(net(Kind::Pure, 1, Implementation::Auto), config(text), 1).unwrap();
    let chained = trainer.shared.chained.as_ref().unwrap();
    let good = batch(FORMS[0], &trainer.shared.config.loss, 1, false);
    assert!(chained.judgement(&good).is_some());
    let without_axis = Batch {
        targets: good.targets.squeeze_axes(&[-1]).unwrap(),
        ..good.clone()
    };
    assert!(chained.judgement(&without_axis).is_some());
    let mut wrong: Vec<Batch> = (0..4).map(|_| good.clone()).collect();
    wrong[0].targets = uniform(1, 0.0, 1.0, &[35, 4, 1]);
    wrong[1].weights = uniform(1, 0.0, 1.0, &[34]);
    wrong[2].inputs.timespans = Some(uniform(1, 0.0, 1.0, &[5]));
    wrong[3].inputs.x = uniform(1, 0.0, 1.0, &[35, 5, 2]);
    for batch in &wrong {
        assert!(chained.judgement(batch).is_none());
    }
    // The shared time spans are right, and the rest is an error that names its argument.
    let key = random::key(1).unwrap();
    let run = |batch: &Batch| {
        let shared = &trainer.shared;
        shared.gradients(&trainer.arrays.parameters, &[], &key, None, (batch, &[]))
    };
    assert!(run(&wrong[2]).is_ok());
    for (index, name) in [(0, "targets"), (1, "weights"), (3, "x")] {
        let message = run(&wrong[index]).err().unwrap().to_string();
        assert!(message.contains(&format!("`{name}`")), "{message}");
    }
    let mut frozen = net(Kind::Pure, 1, Implementation::Auto);
    frozen.head.as_mut().unwrap().freeze_parameters(true);
    let trainer = Trainer::new(frozen, config(text), 1).unwrap();
    assert!(trainer.shared.chained.is_none());
}

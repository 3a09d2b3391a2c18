//! The fused ops and policies on the benchmark cases: a forward pass, a forward pass with gradients, one policy step.
//!
//! `cargo bench -p ncps-core --bench kernels -- ltc` runs the cases with that in their name. One thread unless the
//! variable `NCPS_BENCH_THREADS` says otherwise.

use std::collections::HashMap;
use std::hint::black_box;
use std::rc::Rc;

use criterion::{Criterion, criterion_group, criterion_main};
use mlx_rs::error::Exception;
use mlx_rs::transforms::{eval, keyed_value_and_grad};
use mlx_rs::{Array, Device, DeviceType, random};
use ncps_core::cell::Mode;
use ncps_core::rnn::{CfcConfig, LstmConfig, LtcConfig, SequenceInput, SequenceLayer};
use ncps_core::wiring::{AutoNcp, FullyConnected};
use ncps_core::{Result, kernel};

const INPUTS: usize = 8;
const BATCH: i32 = 64;
const TIME: i32 = 32;

type Named = HashMap<Rc<str>, Array>;

fn dense(mode: Mode) -> CfcConfig {
    let mut config = CfcConfig::new(INPUTS, 64);
    (config.mode, config.backbone_units) = (mode, 128);
    config
}

fn wired(units: usize, outputs: usize, has_memory: bool) -> CfcConfig {
    let mut config = CfcConfig::new(INPUTS, AutoNcp::new(units, outputs));
    config.mixed_memory = has_memory;
    config
}

fn gradients<L: SequenceLayer + Clone>(layer: &L, x: &Array, key: &Array) -> Result<(), Exception> {
    let variables: Named = layer
        .parameters()
        .flatten()
        .into_iter()
        .map(|(name, array)| (name, array.clone()))
        .collect();
    let loss = |variables: Named, (): ()| -> Result<Vec<Array>, Exception> {
        let mut layer = layer.clone();
        for (name, slot) in layer.parameters_mut().flatten() {
            *slot = variables[&name].clone();
        }
        let input = SequenceInput::new(x).training(key);
        let result = layer
            .sequence(&input)
            .map_err(|error| Exception::custom(error.to_string()))?;
        Ok(vec![result.outputs.square()?.sum(None)?])
    };
    let (values, gradients) = keyed_value_and_grad(loss)(variables, ())?;
    eval(values.iter().chain(gradients.values()))
}

fn bench<L: SequenceLayer + Clone>(criterion: &mut Criterion, name: &str, layer: Result<L>) {
    let run = |criterion: &mut Criterion| -> Result<(), Box<dyn std::error::Error>> {
        let layer = layer?;
        let key = random::key(1)?;
        let shape = [BATCH, TIME, INPUTS as i32];
        let x = random::normal::<f32>(&shape[..], None, None, Some(&key))?;
        x.eval()?;
        criterion.bench_function(&format!("{name}/forward"), |b| {
            b.iter(|| {
                let outputs = layer
                    .sequence(&SequenceInput::new(&x))
                    .map(|result| result.outputs);
                black_box(outputs.map(|outputs| outputs.eval().is_ok()).ok())
            });
        });
        gradients(&layer, &x, &key)?;
        criterion.bench_function(&format!("{name}/gradients"), |b| {
            b.iter(|| black_box(gradients(&layer, &x, &key).is_ok()));
        });
        let mut policy = layer.policy()?;
        criterion.bench_function(&format!("{name}/policy step"), |b| {
            b.iter(|| black_box(policy.step(black_box(&[0.1; INPUTS]), 1.0).is_ok()));
        });
        Ok(())
    };
    let outcome = run(criterion);
    assert!(outcome.is_ok(), "{name}: {outcome:?}");
}

fn all(criterion: &mut Criterion) {
    Device::set_default(&Device::new(DeviceType::Cpu, 0));
    let threads = std::env::var("NCPS_BENCH_THREADS")
        .ok()
        .and_then(|text| text.parse().ok());
    kernel::set_threads(threads.unwrap_or(1));
    bench(criterion, "cfc-default", dense(Mode::Default).build(1));
    bench(criterion, "cfc-pure", dense(Mode::Pure).build(1));
    bench(criterion, "cfc-no_gate", dense(Mode::NoGate).build(1));
    bench(criterion, "cfc-ncp-32", wired(32, 4, false).build(1));
    bench(criterion, "cfc-ncp-64", wired(64, 8, false).build(1));
    bench(criterion, "cfc-mixed-ncp-32", wired(32, 4, true).build(1));
    bench(
        criterion,
        "ltc-ncp-32",
        LtcConfig::new(INPUTS, AutoNcp::new(32, 4)).build(1),
    );
    bench(
        criterion,
        "ltc-ncp-64",
        LtcConfig::new(INPUTS, AutoNcp::new(64, 8)).build(1),
    );
    bench(
        criterion,
        "ltc-fc-64",
        LtcConfig::new(INPUTS, FullyConnected::new(64, 4)).build(1),
    );
    bench(criterion, "lstm-64", LstmConfig::new(INPUTS, 64).build(1));
}

criterion_group!(
    name = kernels;
    config = Criterion::default().sample_size(20);
    targets = all
);
criterion_main!(kernels);

//! A made-up report for the tests of this folder.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::{Reason, Unit};

/// A report with something in every part of it.
pub(crate) fn report() -> ProfileReport {
    let clock = |seconds| {
        Reading::measured(seconds, Unit::Seconds, "wall clock")
            .with_window(Duration::from_secs(3))
            .with_scope(crate::Scope::Process)
    };
    let samples: Vec<f64> = (0..400)
        .map(|i| 1e-3 * (1.0 + 0.04 * (f64::from(i) * 0.9).sin()))
        .collect();
    let bytes = |value| Reading::measured(value, Unit::Bytes, "MLX");
    let rate = |value| Reading::measured(value, Unit::FlopPerSecond, "bench");
    let metrics = [
        ("time.train_step.median", clock(1e-3)),
        ("time.train_step.p95", clock(1.04e-3)),
        ("memory.mlx.peak", bytes(3e6)),
        ("roof.matmul_f32", rate(200e9)),
        (
            "ne_utilization",
            Reading::unavailable(Reason::NoSuchCounter, "macOS has no <counter>"),
        ),
    ];
    ProfileReport {
        schema: SCHEMA.to_owned(),
        title: "m3 <test>".to_owned(),
        taken_at: 1_800_000_000,
        program: Program {
            version: "0.1.0".into(),
            mlx: Some("0.32.2".into()),
            is_optimised: true,
        },
        machine: MachineLine {
            name: "Test processor".into(),
            summary: "Test processor, 2 CPU cores".into(),
            system: "Linux".into(),
        },
        subject: Subject {
            config: Some("m3.toml".into()),
            network: "cfc".into(),
            device: "cpu".into(),
            implementation: "fused".into(),
            batch: 32,
            time: 20,
            inputs: 3,
            outputs: 1,
            parameters: 1000,
            threads: 2,
            ..Subject::default()
        },
        metrics: metrics
            .map(|(name, reading)| (name.to_owned(), reading))
            .into(),
        samples: BTreeMap::from([("train_step".to_owned(), samples)]),
        phases: vec![
            Phase::new("iteration", 0, clock(2e-3), Some(2e-3)),
            Phase::new("forward", 1, clock(1e-3), Some(2e-3)),
        ],
        roofline: Some(Roofline {
            ceilings: vec![Ceiling {
                name: "products f32".into(),
                rate: rate(200e9),
            }],
            bandwidth: Reading::measured(30e9, Unit::BytesPerSecond, "bench"),
            points: vec![RooflinePoint {
                name: "train step".into(),
                intensity: Reading::derived(20.0, Unit::Count, "counted", "operations / bytes"),
                rate: rate(8e9),
            }],
        }),
        verdict: Some(Verdict::of(Shares {
            data: 0.1,
            launch: 0.6,
            memory: 0.01,
            compute: 0.2,
        })),
        advice: vec![Advice {
            change: "batch 32 -> 64".into(),
            settings: vec!["--set train.batch_size=64".into()],
            why: "fewer launches".into(),
            outcome: Outcome::Measured(Box::new(Gain {
                before: Reading::measured(100.0, Unit::PerSecond, "clock"),
                after: Reading::measured(150.0, Unit::PerSecond, "clock"),
                gain: Reading::derived(1.5, Unit::Ratio, "clock", "after / before"),
                interval: Some((1.4, 1.6)),
            })),
        }],
        telemetry: Some(telemetry()),
        notes: vec!["a <note>".into()],
    }
}

/// Two counters over three seconds.
fn telemetry() -> Telemetry {
    use crate::telemetry::{SamplerCost, Series};
    let series = |name: &str, unit, values: [f64; 3]| Series {
        name: name.to_owned(),
        unit: Some(unit),
        times: vec![0.0, 1.0, 2.0],
        values: values.to_vec(),
        summary: Reading::measured(values[1], unit, "test"),
    };
    let cost = || Reading::measured(0.001, Unit::Ratio, "test");
    Telemetry {
        schema: crate::telemetry::SCHEMA.to_owned(),
        interval_s: 1.0,
        duration_s: 3.0,
        series: vec![
            series("cpu.busy", Unit::Ratio, [0.5, 0.6, 0.7]),
            series("memory.used", Unit::Bytes, [1e9, 2e9, 2e9]),
        ],
        events: vec![],
        before: vec![],
        after: vec![],
        cost: SamplerCost {
            ticks: 3,
            sampler_cpu: Reading::measured(0.003, Unit::Seconds, "test"),
            tools_cpu: Reading::measured(0.0, Unit::Seconds, "test"),
            share_of_core: cost(),
            share_of_machine: cost(),
        },
    }
}

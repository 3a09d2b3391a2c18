use super::*;
use crate::config::Override;
use ncps_profiling::profile::{Bound, Outcome, catalogue};

fn source(more: &[(&str, i64)]) -> Source {
    let mut overrides = vec![
        Override::of_flag("device", "cpu"),
        Override::of_flag("train.batch_size", 8),
        Override::of_flag("model.units.units", 8),
        Override::of_flag("model.units.outputs", 2),
    ];
    overrides.extend(
        more.iter()
            .map(|(key, value)| Override::of_flag(key, *value)),
    );
    Source::of_machine(&ncps_profiling::device::detect(), overrides)
}

/// A folder with made-up roofs of this machine: measuring them takes seconds without optimisation.
fn roofs() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    ncps_core::kernel::set_threads(1);
    let products = crate::run::tf32::Products::OnCpu.text();
    let key = RoofKey::here(&ncps_profiling::device::detect(), false, products);
    roofs::made_up(&key).keep(&folder.path().join(key.file()));
    folder
}

#[test]
fn a_profile_has_every_documented_number_and_none_twice() {
    let mut heard = Vec::new();
    let folder = roofs();
    let options = Options {
        host: Host::this_machine().shared(),
        permission: Permission::default(),
        ane_watts: Some(8.0),
        seconds: 0.2,
        threads: 1,
        advise: false,
        fresh_roofs: false,
        cache: Some(folder.path().to_owned()),
    };
    let report = profile(&source(&[]), &options, &mut |text| {
        heard.push(text.to_owned())
    })
    .unwrap();
    for name in [
        "time.train_step.median",
        "time.forward.p95",
        "time.single_step.min",
        "throughput.samples",
        "work.flops",
        "compute.share_of_bound",
        "memory.bandwidth",
        "memory.mlx.peak",
        "memory.process.resident",
        "graph.operations",
        "graph.host_share",
        "graph.host_time",
        "graph.device_share",
        "roof.triad",
        "roof.launch",
        "profile.seconds",
        "sampling.share_of_machine",
    ] {
        let value = report.metric(name).value();
        assert!(
            value.is_some_and(|v| v > 0.0),
            "{name}: {}",
            report.metric(name)
        );
    }
    // Nothing was compiled and this processor has no table: such numbers are absent, not zero.
    for name in [
        "compile.time",
        "memory.mlx.cache",
        "ne_utilization",
        "cache_hit_rate",
    ] {
        assert_eq!(report.metric(name).value(), None, "{name}");
    }
    for name in report.metrics.keys() {
        assert!(
            catalogue::explain(name).is_some(),
            "`{name}` is not explained"
        );
        let is_listed = |listed: &str| match listed.strip_suffix('*') {
            Some(family) => name.starts_with(family),
            None => listed == name,
        };
        assert!(
            catalogue::all().any(|(listed, _)| is_listed(listed)),
            "{name} is not listed"
        );
    }
    assert_eq!(report.subject.implementation, "fused");
    assert!(report.samples["train_step"].len() >= 5 && heard.len() >= 3);
    // The parts of an iteration are its whole.
    let time = |name: &str| {
        report
            .phases
            .iter()
            .find(|p| p.name == name)
            .unwrap()
            .time
            .value()
            .unwrap()
    };
    let parts: f64 = ["data", "upload", "train step", "evaluation", "logging"]
        .map(time)
        .iter()
        .sum();
    assert!((parts / time("iteration") - 1.0).abs() < 1e-9);
    assert!(
        report
            .advice
            .iter()
            .all(|advice| advice.outcome == Outcome::Untested)
    );
    assert!(report.to_text().contains("Verdict"));
}

#[test]
fn advice_is_tried_in_turn_and_says_what_it_brought() {
    let source = source(&[]);
    let mut subject = Subject::prepare(source.load(&[]).unwrap(), 1).unwrap();
    let candidates = advise::candidates(&subject, Bound::Launch, false, 1).unwrap();
    let find = |words: &str| {
        let found = candidates.iter().find(|c| c.advice.change == words);
        found.unwrap_or_else(|| panic!("no {words}")).clone()
    };
    assert!(find("plain -> fused").trial.is_some());
    let advice = advise::tried(
        find("batch 8 -> 16"),
        &mut subject,
        &source,
        Duration::from_millis(100),
    );
    let Outcome::Measured(gain) = &advice.outcome else {
        panic!("{advice:?}");
    };
    let (before, after) = (gain.before.value().unwrap(), gain.after.value().unwrap());
    assert!((gain.gain.value().unwrap() / (after / before) - 1.0).abs() < 1e-9);
    assert_eq!(advice.settings, ["--set train.batch_size=16"]);
    // What cannot be tried is no gain.
    let mut broken = find("batch 8 -> 16");
    broken.trial.as_mut().unwrap().overrides = vec![Override::of_flag("train.batch_size", 0)];
    let advice = advise::tried(broken, &mut subject, &source, Duration::ZERO);
    assert!(matches!(advice.outcome, Outcome::Impossible { .. }));
}

#[test]
fn only_work_with_heavy_arithmetic_is_advised_to_round() {
    let source = source(&[]);
    let subject = Subject::prepare(source.load(&[]).unwrap(), 1).unwrap();
    let changes = |bound| -> Vec<String> {
        let found = advise::candidates(&subject, bound, true, 1).unwrap();
        found.into_iter().map(|c| c.advice.change).collect()
    };
    let rounding = "precision f32 -> bf16".to_owned();
    assert!(changes(Bound::Compute).contains(&rounding));
    assert!(!changes(Bound::Launch).contains(&rounding));
    assert!(!changes(Bound::Compute).contains(&"plain -> fused".to_owned()));
}

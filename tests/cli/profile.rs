//! `ncps profile` and its comparison, on this machine and on the recorded tools of others.

use std::path::Path;
use std::sync::OnceLock;

use ncps::profiling::capture::write_tools;
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{Ended, Workplace};

/// Roofs are measured once for all tests.
fn cache() -> &'static Path {
    static CACHE: OnceLock<TempDir> = OnceLock::new();
    CACHE.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

fn run(here: &Workplace, more: &[&str]) -> Ended {
    let usual = [
        "profile",
        "tiny.toml",
        "--seconds",
        "0.2",
        "--device",
        "cpu",
        "--threads",
        "1",
    ];
    let mut command = here.command(&[&usual, more].concat());
    command.env("XDG_CACHE_HOME", cache());
    Ended::from(command.output().unwrap())
}

fn report(here: &Workplace, more: &[&str]) -> Value {
    let ended = run(here, &[&["--json", "--quiet"], more].concat());
    assert_eq!(ended.code, Some(0), "{more:?}: {}", ended.stderr);
    serde_json::from_str(&ended.stdout).unwrap()
}

/// Every metric says how it came about, and a missing one has no value.
fn check_metrics(report: &Value, machine: &str) {
    let metrics = report["metrics"].as_object().unwrap();
    for (name, metric) in metrics {
        let status = metric["status"].as_str().unwrap();
        if status == "unavailable" {
            assert!(metric.get("value").is_none(), "{machine}: {name}");
            assert!(
                metric["reason"].is_string() && metric["detail"].is_string(),
                "{machine}: {name}"
            );
        } else {
            assert!(metric["value"].is_number(), "{machine}: {name}");
            assert!(
                metric["unit"].is_string() && metric["source"].is_string(),
                "{machine}: {name}"
            );
        }
    }
    for name in ["ne_utilization", "cache_hit_rate"] {
        assert_eq!(metrics[name]["status"], "unavailable", "{machine}: {name}");
    }
    assert!(metrics["time.train_step.median"]["value"].as_f64().unwrap() > 0.0);
    assert!(metrics["sampling.share_of_machine"].is_object());
}

#[test]
fn every_recorded_machine_is_named_and_none_gets_invented_numbers() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profiling/fixtures");
    for (machine, chip, bandwidth) in [
        ("m1-macos13", Some("Apple M1"), Some(68.25e9)),
        ("m3-max-macos15", Some("Apple M3 Max"), None),
        ("m5-max-macos26", Some("Apple M5 Max"), None),
        ("m6-macos27", Some("Apple M6"), None),
        ("nothing", None, None),
    ] {
        let here = Workplace::tiny();
        let tools = here.path("tools");
        std::fs::create_dir(&tools).unwrap();
        write_tools(&fixtures.join(machine), &tools).unwrap();
        let report = report(&here, &["--tools", "tools", "--assume-ane-watts", "8"]);
        check_metrics(&report, machine);
        let metrics = &report["metrics"];
        let nominal = &metrics["nominal.bandwidth"];
        match chip {
            Some(chip) => {
                assert_eq!(report["machine"]["name"], chip);
                assert_eq!(nominal["status"], "estimated", "{machine}");
            }
            None => assert_eq!(nominal["status"], "unavailable", "{machine}"),
        }
        if let Some(bandwidth) = bandwidth {
            assert_eq!(nominal["value"].as_f64(), Some(bandwidth));
        }
        // A share of an assumed power exists only where the power does, and says that it is assumed.
        let (power, share) = (&metrics["ane.power"], &metrics["ane.assumed_share"]);
        if power["value"].is_number() {
            assert!(
                share["method"]
                    .as_str()
                    .unwrap()
                    .contains("of an assumed 8 W"),
                "{machine}: {share}"
            );
        } else {
            assert_eq!(share["status"], "unavailable", "{machine}");
        }
        assert!(
            report["telemetry"]["cost"]["ticks"].as_u64().unwrap() >= 1,
            "{machine}"
        );
    }
}

#[test]
fn a_report_is_written_in_every_form_and_compared_with_itself() {
    let here = Workplace::tiny();
    let ended = run(
        &here,
        &[
            "--out",
            "out",
            "--markdown",
            "more/one.md",
            "--html",
            "one.html",
        ],
    );
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for words in [
        "train step, median",
        "Where the time of a training step goes",
        "Verdict",
        "Not available",
    ] {
        assert!(
            ended.stdout.contains(words),
            "no `{words}` in:\n{}",
            ended.stdout
        );
    }
    assert!(here.read("out/report.md").starts_with("# Profile of tiny"));
    assert!(here.read("more/one.md").contains("| train step, median |"));
    for name in ["out/report.html", "one.html"] {
        let html = here.read(name);
        assert!(
            html.matches("<svg").count() >= 2 && !html.contains("<script"),
            "{name}"
        );
    }
    assert!(here.read("out/plots/roofline.svg").starts_with("<svg"));

    let same = here.ok(&["profile", "compare", "out/report.json", "out/report.json"]);
    assert!(
        same.stdout.contains("| same |") && !same.stdout.contains("regressed"),
        "{}",
        same.stdout
    );
    // The same program, twice as slow at its slowest.
    let mut slow = here.json("out/report.json");
    for samples in slow["samples"].as_object_mut().unwrap().values_mut() {
        let samples = samples.as_array_mut().unwrap();
        let most = samples.iter().filter_map(Value::as_f64).fold(0.0, f64::max);
        samples
            .iter_mut()
            .for_each(|value| *value = (2.0 * most).into());
    }
    for (name, metric) in slow["metrics"].as_object_mut().unwrap() {
        if name.starts_with("time.") && metric["value"].is_number() {
            metric["value"] = (2.0 * metric["value"].as_f64().unwrap()).into();
        }
    }
    here.write("slow.json", slow.to_string());
    let ended = here.fails(
        &[
            "profile",
            "compare",
            "out/report.json",
            "slow.json",
            "--limit",
            "0.5",
        ],
        1,
        &["worse by more than 50 %", "time.train_step.median"],
    );
    assert!(ended.stdout.contains("2.000"), "{}", ended.stdout);
    here.ok(&[
        "profile",
        "compare",
        "slow.json",
        "out/report.json",
        "--json",
    ]);
    here.write("empty.json", "{}");
    here.fails(
        &["profile", "compare", "out/report.json", "empty.json"],
        4,
        &["empty.json", "schema"],
    );
    here.fails(
        &["profile", "compare", "out/report.json", "none.json"],
        6,
        &["none.json"],
    );
    here.fails(
        &[
            "profile",
            "compare",
            "slow.json",
            "slow.json",
            "--limit",
            "-1",
        ],
        2,
        &["--limit"],
    );
}

#[test]
fn metrics_are_explained_and_can_be_required() {
    let here = Workplace::tiny();
    let text = here
        .ok(&["profile", "--explain", "memory.bandwidth"])
        .stdout;
    assert!(
        text.contains("derived") && text.contains("median"),
        "{text}"
    );
    let all = here.ok(&["profile", "--explain", "all"]).stdout;
    for name in [
        "time.iteration",
        "gpu.busy",
        "machine.thermal_pressure",
        "cpu.*",
    ] {
        assert!(
            all.lines()
                .any(|line| line.starts_with(&format!("{name}: "))),
            "{name}"
        );
    }
    assert!(
        here.ok(&["profile", "--explain", "ane.power"])
            .stdout
            .contains("ane.power")
    );
    here.fails(
        &["profile", "--explain", "memory.bandwith"],
        2,
        &["memory.bandwidth"],
    );
    here.fails(
        &["profile", "tiny.toml", "--require", "gpu.magic"],
        2,
        &["gpu.magic"],
    );
    here.fails(
        &["profile", "tiny.toml", "--seconds", "-1"],
        2,
        &["--seconds"],
    );
    here.fails(&["profile", "none.toml"], 6, &["none.toml"]);
    let ended = run(
        &here,
        &[
            "--require",
            "time.forward.min",
            "--require",
            "ne_utilization",
        ],
    );
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("ne_utilization: not available"),
        "{}",
        ended.stderr
    );
    assert!(
        !ended.stderr.contains("time.forward.min"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_recording_is_replayed() {
    let here = Workplace::tiny();
    let recorded = report(&here, &["--record", "capture"]);
    let replayed = report(&here, &["--replay", "capture"]);
    assert_eq!(recorded["machine"]["system"], replayed["machine"]["system"]);
    check_metrics(&replayed, "replayed");
    // A folder that cannot take the recording is told before anything is measured.
    here.write("file", "");
    for folder in ["capture", "file/below"] {
        let ended = run(&here, &["--record", folder]);
        assert_eq!(ended.code, Some(6), "{folder}: {}", ended.stderr);
        assert!(
            ended.stderr.contains(folder) && !ended.stderr.contains("measuring"),
            "{}",
            ended.stderr
        );
    }
    let ended = run(&here, &["--replay", "nowhere"]);
    assert!(
        ended.code != Some(0) && ended.stderr.contains("nowhere"),
        "{}",
        ended.stderr
    );
}

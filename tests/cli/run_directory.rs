//! What a run leaves behind.

use crate::support::Workplace;

#[test]
fn a_finished_run_leaves_every_file() {
    let here = Workplace::tiny();
    let ended = here.ok(&["train", "tiny.toml"]);
    for file in [
        "config.toml",
        "config.json",
        "model.safetensors",
        "metrics.csv",
        "metrics.parquet",
        "summary.json",
        "report.html",
        "log.txt",
        "plots/learning_curve.svg",
        "plots/learning_curve.png",
        "plots/wiring.svg",
        "plots/wiring.png",
        "plots/predictions.svg",
        "plots/predictions.png",
    ] {
        assert!(
            !here.bytes(&format!("runs/tiny/{file}")).is_empty(),
            "{file}"
        );
    }
    assert!(here.path("runs/tiny/checkpoints").is_dir());
    assert!(ended.stdout.contains("baseline (mean)"), "{}", ended.stdout);
    assert!(
        !ended.stderr.contains('\r'),
        "no progress bar off a terminal: {:?}",
        ended.stderr
    );
    assert!(
        here.read("runs/tiny/plots/wiring.svg")
            .trim_start()
            .starts_with('<')
    );
    assert!(
        here.bytes("runs/tiny/plots/wiring.png")
            .starts_with(b"\x89PNG")
    );
    assert!(here.read("runs/tiny/log.txt").contains("epoch done"));
    let html = here.read("runs/tiny/report.html");
    assert!(
        html.contains("<svg") && html.contains("learning_rate"),
        "the report shows curves and configuration"
    );
}

#[test]
fn the_summary_keeps_its_contract() {
    let here = Workplace::tiny();
    let ended = here.ok(&["train", "tiny.toml", "--json", "--seed", "5"]);
    let summary = here.json("runs/tiny/summary.json");
    for (key, expected) in [
        ("schema", 1.into()),
        ("status", "completed".into()),
        ("config", "tiny.toml".into()),
        ("seed", 5.into()),
        ("epochs", 3.into()),
        ("steps", 6.into()),
    ] {
        let expected: serde_json::Value = expected;
        assert_eq!(summary[key], expected, "{key}");
    }
    for key in [
        "parameters",
        "train_seconds",
        "sequences_per_second",
        "peak_memory_bytes",
    ] {
        assert!(summary[key].as_f64().unwrap() > 0.0, "{key}");
    }
    for split in ["train", "validation", "test"] {
        for metric in ["loss", "mse", "mae", "r2"] {
            assert!(summary[split][metric].is_number(), "{split}.{metric}");
        }
    }
    assert_eq!(summary["baseline"]["name"], "mean");
    assert!(summary["baseline"]["mse"].as_f64().unwrap() > 0.0);
    // The same object on stdout, with the directory that holds it.
    let mut printed: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(
        printed
            .as_object_mut()
            .unwrap()
            .remove("directory")
            .unwrap(),
        "runs/tiny"
    );
    assert_eq!(printed, summary);
}

#[test]
fn metrics_have_a_row_per_log_step_and_split() {
    let here = Workplace::tiny();
    here.ok(&["train", "tiny.toml"]);
    let text = here.read("runs/tiny/metrics.csv");
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(
        lines[0][..7],
        [
            "step",
            "epoch",
            "split",
            "learning_rate",
            "gradient_norm",
            "update_ratio",
            "loss"
        ]
    );
    let count = |split: &str| lines[1..].iter().filter(|line| line[2] == split).count();
    assert_eq!(
        (
            count("train_step"),
            count("train"),
            count("validation"),
            count("test")
        ),
        (6, 3, 3, 1)
    );
    assert!(lines.iter().all(|line| line.len() == lines[0].len()));
}

#[test]
fn one_seed_gives_one_result() {
    let here = Workplace::tiny();
    here.ok(&["train", "tiny.toml", "--out", "a"]);
    here.ok(&["train", "tiny.toml", "--out", "b"]);
    here.ok(&["train", "tiny.toml", "--out", "c", "--seed", "4"]);
    assert_eq!(
        here.bytes("a/model.safetensors"),
        here.bytes("b/model.safetensors")
    );
    assert_eq!(here.bytes("a/metrics.csv"), here.bytes("b/metrics.csv"));
    assert_ne!(
        here.bytes("a/model.safetensors"),
        here.bytes("c/model.safetensors")
    );
}

#[test]
fn the_resolved_configuration_trains_to_the_same_result() {
    let here = Workplace::tiny();
    here.ok(&["train", "tiny.toml", "--set", "train.epochs=2"]);
    here.ok(&["train", "runs/tiny/config.toml", "--out", "again"]);
    assert_eq!(
        here.bytes("runs/tiny/model.safetensors"),
        here.bytes("again/model.safetensors")
    );
}

#[test]
fn eval_gives_the_numbers_of_the_summary() {
    let here = Workplace::tiny();
    here.ok(&["train", "tiny.toml"]);
    let summary = here.json("runs/tiny/summary.json");
    for split in ["validation", "test"] {
        let ended = here.ok(&["eval", "runs/tiny", "--split", split, "--json"]);
        let value: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(value[split], summary[split]);
    }
}

#[test]
fn a_device_that_is_not_here_is_said_in_one_line() {
    let here = Workplace::tiny();
    let ended = here.ok(&["train", "tiny.toml", "--set", "device=m99-ultra"]);
    let lines: Vec<&str> = ended
        .stderr
        .lines()
        .filter(|line| line.contains("m99-ultra"))
        .collect();
    assert_eq!(lines.len(), 1, "{}", ended.stderr);
    assert!(lines[0].contains("computes on its"), "{}", lines[0]);
}

#[test]
fn a_dry_run_shows_the_plan_and_writes_nothing() {
    let here = Workplace::tiny();
    let ended = here.ok(&["train", "tiny.toml", "--dry-run"]);
    for words in [
        "# default",
        "# file:12",
        "parameters",
        "6 (2 an epoch)",
        "memory (estimate)",
    ] {
        assert!(
            ended.stdout.contains(words),
            "no `{words}` in:\n{}",
            ended.stdout
        );
    }
    assert!(!here.path("runs").exists());
    let ended = here.ok(&["train", "tiny.toml", "--dry-run", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(value["plan"]["steps"], 6);
    assert!(value["plan"]["memory_estimate"]["total"].as_u64().unwrap() > 0);
}

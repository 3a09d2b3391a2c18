//! Stopped, killed and resumed runs end as if nothing had happened.

use std::io::Read;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::Workplace;

const LONG: [&str; 2] = ["--set", "train.epochs=4000"];

/// Waits until a run has written its first checkpoint.
fn wait_for_checkpoint(here: &Workplace, run: &str) {
    let folder = here.path(format!("{run}/checkpoints"));
    let started = Instant::now();
    while std::fs::read_dir(&folder).map_or(0, Iterator::count) == 0 {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "no checkpoint within a minute"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(name: &str, process: u32) {
    assert!(
        Command::new("kill")
            .args([name, &process.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_resumed_run_equals_one_that_never_stopped() {
    let here = Workplace::tiny();
    here.ok(&[
        "train",
        "tiny.toml",
        "--out",
        "whole",
        "--set",
        "train.epochs=6",
    ]);
    here.ok(&["train", "tiny.toml", "--out", "parts"]);
    let ended = here.ok(&[
        "train",
        "tiny.toml",
        "--out",
        "parts",
        "--set",
        "train.epochs=6",
        "--resume",
    ]);
    assert!(ended.stderr.contains("continuing from"), "{}", ended.stderr);
    for file in ["model.safetensors", "metrics.csv"] {
        here.assert_same(&format!("whole/{file}"), &format!("parts/{file}"));
    }
    let (whole, parts) = (
        here.json("whole/summary.json"),
        here.json("parts/summary.json"),
    );
    for key in ["steps", "epochs", "test", "validation"] {
        assert_eq!(whole[key], parts[key], "{key}");
    }
}

#[test]
fn resume_begins_a_run_that_is_not_there() {
    let here = Workplace::tiny();
    here.ok(&["train", "tiny.toml", "--resume"]);
    assert_eq!(here.json("runs/tiny/summary.json")["epochs"], 3);
}

#[test]
fn resuming_with_another_meaning_is_refused() {
    let here = Workplace::tiny();
    here.ok(&["train", "tiny.toml"]);
    let before = here.bytes("runs/tiny/config.toml");
    here.fails(
        &[
            "train",
            "tiny.toml",
            "--resume",
            "--set",
            "train.learning_rate=0.5",
        ],
        2,
        &["`train.learning_rate` was 0.01", "0.5 now"],
    );
    assert_eq!(here.bytes("runs/tiny/config.toml"), before);
}

#[cfg(unix)]
#[test]
fn a_signal_saves_and_ends_with_its_code() {
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        let here = Workplace::tiny();
        let mut child = here.start(&[&["train", "tiny.toml"], &LONG[..]].concat());
        wait_for_checkpoint(&here, "runs/tiny");
        signal(name, child.id());
        let status = child.wait().unwrap();
        let mut stderr = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut stderr)
            .unwrap();
        assert_eq!(status.code(), Some(code), "{stderr}");
        let summary = here.json("runs/tiny/summary.json");
        assert_eq!(summary["status"], "stopped");
        let steps = summary["steps"].as_u64().unwrap();
        assert!(steps > 0);
        // The folder is a model already, and the run goes on where it stopped.
        here.ok(&["eval", "runs/tiny"]);
        let epochs = format!("train.epochs={}", summary["epochs"].as_u64().unwrap() + 2);
        here.ok(&["train", "tiny.toml", "--resume", "--set", &epochs]);
        let after = here.json("runs/tiny/summary.json");
        assert_eq!(after["status"], "completed");
        assert!(after["steps"].as_u64().unwrap() > steps);
    }
}

#[cfg(unix)]
#[test]
fn a_killed_run_leaves_a_readable_directory_and_resumes() {
    let here = Workplace::tiny();
    let mut child = here.start(&[&["train", "tiny.toml"], &LONG[..]].concat());
    wait_for_checkpoint(&here, "runs/tiny");
    signal("-KILL", child.id());
    child.wait().unwrap();
    assert!(here.read("runs/tiny/metrics.csv").lines().count() > 1);
    let done = here
        .read("runs/tiny/metrics.csv")
        .lines()
        .filter(|line| line.contains(",validation,"))
        .count();
    let epochs = format!("train.epochs={}", done + 2);
    here.ok(&["train", "tiny.toml", "--resume", "--set", &epochs]);
    here.ok(&["train", "tiny.toml", "--out", "whole", "--set", &epochs]);
    for file in ["model.safetensors", "metrics.csv"] {
        here.assert_same(&format!("whole/{file}"), &format!("runs/tiny/{file}"));
    }
}

#[cfg(unix)]
#[test]
fn two_processes_do_not_share_a_directory() {
    let here = Workplace::tiny();
    let mut child = here.start(&[&["train", "tiny.toml"], &LONG[..]].concat());
    wait_for_checkpoint(&here, "runs/tiny");
    for flag in ["--resume", "--force"] {
        here.fails(
            &["train", "tiny.toml", flag],
            1,
            &["runs/tiny", "another process"],
        );
    }
    signal("-TERM", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

/// Copies a folder with all that is in it.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(std::fs::copy(&path, &target).unwrap()),
        }
    }
}

/// `tests/data/run-0.1.0` was written before `provenance.json`, `train.precision` and a number in `keep_best`.
#[test]
fn a_run_of_an_earlier_version_goes_on() {
    let here = Workplace::tiny();
    let saved = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/run-0.1.0");
    copy(&saved, &here.path("old"));
    let ended = here.ok(&["train", "tiny.toml", "--out", "old", "--resume"]);
    let said = &ended.stderr;
    assert!(
        said.contains("continuing from `old/checkpoints/step-00000004`"),
        "{said}"
    );
    assert_eq!(here.json("old/summary.json")["epochs"], 3);
    let before = std::fs::read_to_string(saved.join("metrics.csv")).unwrap();
    let after = std::fs::read_to_string(here.path("old/metrics.csv")).unwrap();
    let rows: Vec<&str> = before
        .lines()
        .filter(|row| !row.contains(",test,"))
        .collect();
    assert_eq!(after.lines().take(rows.len()).collect::<Vec<_>>(), rows);
    assert!(here.json("old/provenance.json")["data"].is_string());
}

#[test]
fn other_data_than_before_are_refused() {
    let here = Workplace::new();
    let rows: Vec<String> = (0..80)
        .map(|i| format!("{},{}", i * 7 % 11, i % 5))
        .collect();
    here.write("x.csv", format!("a,b\n{}\n", rows.join("\n")));
    here.write(
        "run.toml",
        "[data]\nkind = \"csv\"\npath = \"x.csv\"\nwindow = 4\ntargets = [\"a\"]\n\
         [model]\nkind = \"cfc\"\nunits = 4\n[train]\nepochs = 1\n",
    );
    let train = ["train", "run.toml", "--out", "run"];
    here.ok(&train);
    here.write(
        "x.csv",
        format!("a,b\n{}\n", rows.join("\n").replace("10,", "9,")),
    );
    let more = ["--resume", "--set", "train.epochs=2"];
    let refused = here.run(&[&train[..], &more].concat());
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("--changed-data"),
        "{}",
        refused.stderr
    );
    assert_eq!(here.json("run/summary.json")["epochs"], 1);
    here.ok(&[&train[..], &more, &["--changed-data"]].concat());
    assert_eq!(here.json("run/summary.json")["epochs"], 2);
}

#[test]
fn a_stiff_solver_is_told() {
    let here = Workplace::tiny();
    let ltc = here.read("tiny.toml").replace("cfc", "ltc");
    here.write(
        "ltc.toml",
        ltc.replace("auto_ncp\", units = 8", "fully_connected\", units = 32"),
    );
    let usual = here.ok(&["train", "ltc.toml", "--dry-run"]);
    assert!(!usual.stderr.contains("stiff"), "{}", usual.stderr);
    let one = ["--set", "model.unfolds=1"];
    let plain = [&one[..], &["--set", "model.implementation=plain"]].concat();
    for settings in [&one[..], &plain] {
        let stiff = here.ok(&[&["train", "ltc.toml", "--dry-run"], settings].concat());
        let said = &stiff.stderr;
        assert!(
            said.contains("an LTC layer is stiff") && said.contains("`unfolds`"),
            "{said}"
        );
    }
}

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

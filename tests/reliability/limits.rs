//! Runs that do not fit into memory or wait for data that do not come.

#![cfg(unix)]

use std::process::Command;

use super::program::{CFC, Place};

/// A few sequences in batches of another size.
fn batches_of(batch: u64) -> Place {
    let config = CFC.replace("batch_size = 4", &format!("batch_size = {batch}"));
    Place::new(&config.replace("epochs = 60", "epochs = 2"))
}

#[test]
fn a_run_that_cannot_fit_is_refused_before_it_begins() {
    let place = batches_of(1 << 40);
    let code = place.code_of(place.train("run", &[]));
    let said = place.said();
    assert_eq!(code, 5, "{said}");
    for words in [
        "GB of memory",
        "train.batch_size=549755813888",
        "--auto-batch",
    ] {
        assert!(said.contains(words), "no `{words}` in: {said}");
    }
    assert!(!place.path("run").exists());
    let network = ["--set", "model.units=4000000000000"];
    assert_eq!(
        place.code_of(place.train("run", &network)),
        5,
        "{}",
        place.said()
    );
}

#[test]
fn a_batch_is_halved_until_it_fits() {
    let place = batches_of(64);
    place.finish("whole", &[]);
    let code = place.code_of(place.train("run", &["--max-memory", "200kB"]));
    assert_eq!(code, 5, "{}", place.said());
    place.finish("run", &["--max-memory", "200kB", "--auto-batch"]);
    assert!(place.said().contains("the same result up to rounding"));
    let config = String::from_utf8(place.bytes("run/config.toml")).unwrap();
    let number = |key: &str| -> u64 {
        let line = config.lines().find(|line| line.starts_with(key)).unwrap();
        line.split('=').nth(1).unwrap().trim().parse().unwrap()
    };
    assert_eq!(number("batch_size") * number("accumulate"), 64);
    assert!(number("accumulate") > 1);
    // Dropout draws other numbers for other batches, so the results are near each other and not the same.
    let losses = ["whole", "run"].map(|run| {
        let summary = place.json(&format!("{run}/summary.json"));
        summary["validation"]["loss"].as_f64().unwrap()
    });
    assert!((losses[0] / losses[1] - 1.0).abs() < 0.2, "{losses:?}");
}

/// The system ends a process for want of memory by SIGKILL.
#[test]
fn a_lack_of_memory_that_ends_the_process_is_told() {
    let place = Place::new(CFC);
    let mut train = place.train("run", &["--supervise", "--set", "train.epochs=100000"]);
    let mut child = train.spawn().unwrap();
    while place.saved_step("run") == 0 {
        assert!(child.try_wait().unwrap().is_none(), "{}", place.said());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let lock = String::from_utf8(place.bytes("run/.lock")).unwrap();
    let status = Command::new("kill").args(["-KILL", lock.trim()]).status();
    assert!(status.unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(5), "{}", place.said());
    assert!(
        place.said().contains("ended by signal 9"),
        "{}",
        place.said()
    );
    // A signal to the supervisor reaches the run, which saves.
    let mut child = place
        .train(
            "run",
            &["--supervise", "--resume", "--set", "train.epochs=100000"],
        )
        .spawn()
        .unwrap();
    let before = place.saved_step("run");
    while place.saved_step("run") <= before {
        assert!(child.try_wait().unwrap().is_none(), "{}", place.said());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    super::program::send("-TERM", &child);
    assert_eq!(child.wait().unwrap().code(), Some(143), "{}", place.said());
    assert_eq!(place.json("run/summary.json")["status"], "stopped");
}

#[test]
fn data_that_do_not_come_are_named() {
    let config = "seed = 1\n[data]\nkind = \"npy\"\npath = \"pipe.npy\"\nwindow = 4\n\
                  [model]\nkind = \"cfc\"\nunits = 4\n";
    let place = Place::new(config);
    let made = Command::new("mkfifo").arg(place.path("pipe.npy")).status();
    assert!(made.unwrap().success());
    let code = place.code_of(place.train("run", &["--data-timeout", "1"]));
    let said = place.said();
    assert_eq!(code, 6, "{said}");
    assert!(
        said.contains("within 1 s") && said.contains("pipe.npy"),
        "{said}"
    );
}

#[test]
fn both_implementations_are_compared() {
    let place = Place::new(&CFC.replace("epochs = 60", "epochs = 2"));
    let mut command = place.train("run", &["--verify", "5", "--json"]);
    let output = command
        .stdout(std::process::Stdio::piped())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", place.said());
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["steps"], 5);
    let difference = |key: &str| found[key].as_f64().unwrap();
    assert!(difference("loss") < 1e-5, "{found}");
    assert!((1e-12..1e-3).contains(&difference("parameter")), "{found}");
    assert!(!place.path("run").exists());
}

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

/// A network that runs step by step keeps every step of a batch for the way back, so its memory grows with the batch.
#[cfg(target_os = "linux")]
const HUNGRY: &str = r#"seed = 3

[data]
kind = "generated"
generator = { kind = "sine", steps = 256, train_sequences = 1024, validation_sequences = 4, test_sequences = 2 }

[model]
kind = "cfc"
mode = "pure"
units = 8
backbone_layers = 0
implementation = "plain"

[train]
epochs = 2
batch_size = 1024
compile = "off"
"#;

#[cfg(target_os = "linux")]
fn of_sequences(sequences: u64) -> Place {
    Place::new(&HUNGRY.replace("1024", &sequences.to_string()))
}

/// The program with less address space than it takes: on the CPU that ends the process, for real.
#[cfg(target_os = "linux")]
fn within(place: &Place, limit: u64, run: &str, more: &[&str]) -> Command {
    let inner = place.train(run, more);
    let mut shell = Command::new("bash");
    let script = format!(
        "ulimit -c 0; ulimit -v {}; exec \"$0\" \"$@\"",
        limit / 1024
    );
    shell.args(["-c", &script]).arg(inner.get_program());
    shell.args(inner.get_args()).env("MALLOC_ARENA_MAX", "1");
    let said = std::fs::File::create(place.path("stderr.txt")).unwrap();
    shell.current_dir(place.path("")).stderr(said);
    shell.stdout(std::process::Stdio::null());
    shell
}

#[cfg(target_os = "linux")]
#[test]
fn a_batch_whose_memory_is_refused_is_halved_and_ends_at_the_same_result() {
    let (place, small) = (of_sequences(1024), of_sequences(4));
    let [least, most] = [&small, &place].map(|place| {
        let mut train = place.train("whole", &[]);
        train.env("MALLOC_ARENA_MAX", "1");
        place.peak_of(train)
    });
    // What half of the batch takes, and a quarter more.
    let limit = least + (most - least) / 4 * 3;
    // Alone, the process ends by a signal, and a person sees no more than that.
    let status = within(&place, limit, "alone", &[]).status().unwrap();
    let signal = super::program::signal_of(status);
    assert!(matches!(signal, Some(6 | 11)), "{status}: {}", place.said());
    // Supervised, it is told what happened, and with --auto-batch half the batch goes on.
    let status = within(&place, limit, "told", &["--supervise"]).status();
    assert_eq!(status.unwrap().code(), Some(5), "{}", place.said());
    assert!(place.said().contains("want of memory"), "{}", place.said());
    let halved = ["--supervise", "--auto-batch", "--force"];
    let status = within(&place, limit, "told", &halved).status();
    assert_eq!(status.unwrap().code(), Some(0), "{}", place.said());
    let said = place.said();
    assert!(
        said.contains("going on with batch_size = 512 and accumulate = 2"),
        "{said}"
    );
    let parts = ["whole", "told"].map(|run| place.json(&format!("{run}/summary.json")));
    let [whole, told] = parts.map(|summary| summary["train"]["loss"].as_f64().unwrap());
    // Sums over a quarter of a million steps, in two parts or in one.
    assert!((whole / told - 1.0).abs() < 1e-4, "{whole} {told}");
}

#[test]
fn a_run_that_has_saved_goes_on_in_smaller_batches() {
    let place = Place::new(&CFC.replace("backbone_dropout = 0.2\n", ""));
    place.finish("whole", &["--set", "train.epochs=6"]);
    place.finish("run", &["--set", "train.epochs=3"]);
    let halves = [
        "--resume",
        "--set",
        "train.epochs=6",
        "--set",
        "train.batch_size=2",
    ];
    let wrong = place.train("run", &halves);
    assert_eq!(place.code_of(wrong), 2, "{}", place.said());
    place.finish(
        "run",
        &[&halves[..], &["--set", "train.accumulate=2"]].concat(),
    );
    assert!(
        place.said().contains("the same up to rounding"),
        "{}",
        place.said()
    );
    let parts = ["whole", "run"].map(|run| place.json(&format!("{run}/summary.json")));
    let [whole, run] = parts.map(|summary| summary["test"]["mse"].as_f64().unwrap());
    assert!((whole / run - 1.0).abs() < 1e-4, "{whole} {run}");
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

//! Disks that fail: the run ends with an error that names the path, and the last checkpoint stays.

#![cfg(unix)]

use std::process::{Command, Stdio};
use std::time::Duration;

use super::program::{CFC, Place};
use super::times;

/// Trains a few epochs, then goes on under `fault`, and finally without; the end must be that of a run without faults.
fn survives(place: &Place, run: &str, faulty: Command, words: &str) {
    let saved = place.saved_step(run);
    assert_eq!(place.code_of(faulty), 6, "{}", place.said());
    let said = place.said();
    assert!(said.contains(words) && said.contains(run), "{said}");
    place.newest(run);
    assert!(place.saved_step(run) >= saved);
    place.finish(run, &["--resume", "--set", "train.epochs=6"]);
    place.assert_same("whole", run);
}

fn prepared() -> Place {
    let place = Place::new(CFC);
    place.finish("whole", &["--set", "train.epochs=6"]);
    place
}

/// Makes the n-th and all further file operations of the rest of a run fail.
#[cfg(debug_assertions)]
#[test]
fn each_kind_of_failure_leaves_the_last_checkpoint() {
    let place = prepared();
    let kinds = [
        (28, "No space left on device"),
        (5, "Input/output error"),
        (13, "Permission denied"),
    ];
    for (index, (number, words)) in kinds.into_iter().enumerate() {
        for round in 0..times(1, 12) {
            let at = 2 + (index * 11 + round * 5) % 60;
            let run = format!("fault-{number}-{round}");
            place.finish(&run, &["--set", "train.epochs=3"]);
            let mut faulty = place.train(&run, &["--resume", "--set", "train.epochs=6"]);
            faulty.env("NCPS_FAULT", format!("{at}+:{number}"));
            survives(&place, &run, faulty, words);
        }
    }
}

#[cfg(debug_assertions)]
#[test]
fn interrupted_and_short_writes_are_made_up_for() {
    let place = prepared();
    for fault in ["interrupted", "short"] {
        let mut run = place.train(fault, &["--set", "train.epochs=6"]);
        run.env("NCPS_FAULT", format!("1+:{fault}"));
        assert_eq!(place.code_of(run), 0, "{}", place.said());
        place.assert_same("whole", fault);
    }
}

/// The system itself refuses: no file may grow past 2 kB, which all but the smallest do.
#[test]
fn a_real_limit_on_file_sizes_is_an_error() {
    let place = prepared();
    place.finish("limit", &["--set", "train.epochs=3"]);
    let inner = place.train("limit", &["--resume", "--set", "train.epochs=6"]);
    let mut shell = Command::new("bash");
    // The signal that goes with the limit is ignored, so that the write fails as on a full disk.
    let script = "trap '' XFSZ; ulimit -f 2; exec \"$0\" \"$@\"";
    shell.args(["-c", script]).arg(inner.get_program());
    shell.args(inner.get_args());
    let said = std::fs::File::create(place.path("stderr.txt")).unwrap();
    shell
        .current_dir(place.path(""))
        .stdout(Stdio::null())
        .stderr(said);
    survives(&place, "limit", shell, "File too large");
}

#[test]
fn a_directory_that_vanishes_is_an_error_and_is_not_made_again() {
    let place = Place::new(CFC);
    let mut train = place.train("gone", &["--set", "train.epochs=100000"]);
    let mut child = train.spawn().unwrap();
    while place.saved_step("gone") == 0 {
        assert!(child.try_wait().unwrap().is_none(), "{}", place.said());
        std::thread::sleep(Duration::from_millis(5));
    }
    std::fs::rename(place.path("gone"), place.path("elsewhere")).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(6), "{}", place.said());
    let said = place.said();
    assert!(said.contains("gone/checkpoints"), "{said}");
    assert!(!place.path("gone").exists());
    assert!(place.saved_step("elsewhere") > 0);
}

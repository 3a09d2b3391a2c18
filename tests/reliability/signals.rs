//! A run that is asked to stop saves first, and at most one runs in a directory.

#![cfg(unix)]

use std::process::Child;
use std::time::Duration;

use super::program::{CFC, Place, send};
use super::{Numbers, times};

const LONG: [&str; 2] = ["--set", "train.epochs=100000"];

fn started(place: &Place, run: &str) -> Child {
    let mut child = place.train(run, &LONG).spawn().unwrap();
    while place.saved_step(run) == 0 {
        assert!(child.try_wait().unwrap().is_none(), "{}", place.said());
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn each_signal_saves_and_ends_with_its_code() {
    let mut random = Numbers(21);
    for (signal, code) in [("-INT", 130), ("-TERM", 143), ("-HUP", 129)] {
        let mut longest = Duration::ZERO;
        for _ in 0..times(2, 50) {
            let place = Place::new(CFC);
            let mut child = started(&place, "run");
            std::thread::sleep(Duration::from_millis(random.below(60)));
            let sent = std::time::Instant::now();
            send(signal, &child);
            let status = child.wait().unwrap();
            longest = longest.max(sent.elapsed());
            assert_eq!(status.code(), Some(code), "{signal}: {}", place.said());
            let summary = place.json("run/summary.json");
            assert_eq!(summary["status"], "stopped");
            // Every batch that was reported is saved.
            assert_eq!(summary["steps"], place.saved_step("run"));
            let metrics = String::from_utf8(place.bytes("run/metrics.csv")).unwrap();
            let last = metrics.lines().last().unwrap().split(',').next().unwrap();
            assert!(last.parse::<u64>().unwrap() <= place.saved_step("run"));
        }
        println!("{signal}: saved and ended within {longest:.0?}, each time");
    }
}

#[test]
fn a_second_signal_ends_at_once_and_harms_nothing() {
    for _ in 0..times(2, 20) {
        let place = Place::new(CFC);
        let mut child = started(&place, "run");
        send("-INT", &child);
        // The run may be done with the first one already.
        let _ = std::process::Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .stderr(std::process::Stdio::null())
            .status();
        assert_eq!(child.wait().unwrap().code(), Some(130), "{}", place.said());
        assert!(place.saved_step("run") > 0);
    }
}

#[test]
fn a_directory_has_one_run_at_a_time() {
    let place = Place::new(CFC);
    let mut child = started(&place, "run");
    for attempt in 0..times(3, 20) {
        let flag = ["--resume", "--force"][attempt % 2];
        let code = place.code_of(place.train("run", &[flag]));
        assert_eq!(code, 1, "{}", place.said());
        assert!(place.said().contains("in use by another process"));
    }
    send("-TERM", &child);
    assert_eq!(child.wait().unwrap().code(), Some(143));
}

//! What a run holds of the machine does not grow with its length.

#![cfg(target_os = "linux")]

use std::fs;
use std::process::Child;
use std::time::Duration;

use super::program::{CFC, Place, kill};
use super::times;

/// What a process holds: open files, threads, resident bytes.
#[derive(Debug)]
struct Held {
    files: usize,
    threads: usize,
    bytes: u64,
}

fn held(child: &Child) -> Held {
    let of = |name: &str| format!("/proc/{}/{name}", child.id());
    let count = |name: &str| fs::read_dir(of(name)).unwrap().count();
    let status = fs::read_to_string(of("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    Held {
        files: count("fd"),
        threads: count("task"),
        bytes: kib.parse::<u64>().unwrap() * 1024,
    }
}

/// The least of a few looks, so that a checkpoint that is being written does not count.
fn settled(child: &Child) -> Held {
    let looks = (0..20).map(|_| {
        std::thread::sleep(Duration::from_millis(5));
        held(child)
    });
    looks
        .reduce(|a, b| Held {
            files: a.files.min(b.files),
            threads: a.threads.min(b.threads),
            bytes: a.bytes.min(b.bytes),
        })
        .unwrap()
}

#[test]
fn files_threads_and_memory_stay_flat() {
    let steps = times(1_000, 10_000) as u64;
    // Epochs of 250 batches: each adds a few rows to the table of metrics, which the run keeps.
    let place = Place::new(&CFC.replace("train_sequences = 40", "train_sequences = 1000"));
    let mut train = place.train("run", &["--set", "train.epochs=1000000"]);
    let mut child = train.spawn().unwrap();
    let wait_for = |child: &mut Child, step: u64| {
        while place.saved_step("run") < step {
            assert!(child.try_wait().unwrap().is_none(), "{}", place.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for(&mut child, steps);
    let early = settled(&child);
    wait_for(&mut child, 2 * steps);
    let late = settled(&child);
    assert!(kill(&mut child));
    let growth = late.bytes as f64 / early.bytes as f64 - 1.0;
    println!(
        "{steps} steps: {early:?}, then {late:?}, growth {:.2} %",
        growth * 100.0
    );
    assert_eq!(early.files, late.files);
    assert_eq!(early.threads, late.threads);
    assert!(growth < 0.01, "{early:?} {late:?}");
}

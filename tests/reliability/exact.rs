//! The same seed gives the same bytes, in one sitting or in several, on one thread or two.

use super::program::{CFC, LTC, Place, send};
use super::{Numbers, times};
use std::process::Command;
use std::time::Duration;

fn with_threads(command: &mut Command, threads: &str) {
    for name in ["NCPS_BLAS_THREADS", "RAYON_NUM_THREADS"] {
        command.env(name, threads);
    }
}

/// Stops a run at random steps until it is done, and compares it with one that never stopped.
#[cfg(unix)]
fn stopped(config: &str, threads: &str, stops: usize, seed: u64) {
    let place = Place::new(config);
    let mut whole = place.train("whole", &[]);
    with_threads(&mut whole, threads);
    assert!(whole.status().unwrap().success(), "{}", place.said());
    let last = place.json("whole/summary.json")["steps"].as_u64().unwrap();
    let mut random = Numbers(seed);
    let (mut met, mut inside) = (0, 0);
    let mut finished = 0;
    while met < stops {
        let run = format!("parts-{finished}");
        loop {
            let mut command = place.train(&run, &["--resume"]);
            with_threads(&mut command, threads);
            let before = place.saved_step(&run);
            let mut child = command.spawn().unwrap();
            // The first checkpoint of this sitting, and then a moment more.
            while place.saved_step(&run) <= before && child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(2));
            }
            std::thread::sleep(Duration::from_millis(random.below(150)));
            if met < stops && child.try_wait().unwrap().is_none() {
                send("-INT", &child);
            }
            let status = child.wait().unwrap();
            if status.success() {
                break;
            }
            assert_eq!(status.code(), Some(130), "{}", place.said());
            let state = place.newest(&run).unwrap().join("state.json");
            let state: serde_json::Value =
                serde_json::from_slice(&std::fs::read(state).unwrap()).unwrap();
            assert!(state["progress"]["step"].as_u64().unwrap() <= last);
            met += 1;
            inside += usize::from(state["progress"]["step_in_epoch"] != 0);
        }
        place.assert_same("whole", &run);
        finished += 1;
    }
    assert!(inside > 0, "no stop inside an epoch");
    println!("{met} stops, {inside} inside an epoch, over {finished} runs: none different");
}

#[cfg(unix)]
#[test]
fn a_cfc_that_is_stopped_ends_in_the_same_bytes_on_one_thread() {
    stopped(CFC, "1", times(3, 20), 11);
}

#[cfg(unix)]
#[test]
fn a_cfc_that_is_stopped_ends_in_the_same_bytes_on_two_threads() {
    stopped(CFC, "2", times(3, 20), 12);
}

#[cfg(unix)]
#[test]
fn an_ltc_that_is_stopped_ends_in_the_same_bytes() {
    stopped(LTC, "2", times(3, 20), 13);
}

#[test]
fn one_seed_gives_one_result_each_time() {
    for config in [CFC, LTC] {
        let place = Place::new(config);
        place.finish("first", &[]);
        for index in 1..times(2, 5) {
            let run = format!("run-{index}");
            place.finish(&run, &[]);
            place.assert_same("first", &run);
        }
    }
}

//! The same seed gives the same bytes, in one sitting or in several, on one thread or two.

use super::program::{CFC, LTC, Place};
use super::times;

/// Stops a run at random steps until it is done, and compares it with one that never stopped.
#[cfg(target_os = "linux")]
fn stopped(config: &str, threads: usize, stops: usize, seed: u64) {
    let place = Place::new(config);
    let mut whole = place.train_on(threads, "whole", &[]);
    assert!(whole.status().unwrap().success(), "{}", place.said());
    assert_eq!(place.json("whole/provenance.json")["threads"], threads);
    let last = place.json("whole/summary.json")["steps"].as_u64().unwrap();
    let mut random = super::Numbers(seed);
    let (mut met, mut inside) = (0, 0);
    let mut finished = 0;
    while met < stops {
        let run = format!("parts-{finished}");
        loop {
            let mut command = place.train_on(threads, &run, &["--resume"]);
            let before = place.saved_step(&run);
            let mut child = command.spawn().unwrap();
            // The first checkpoint of this sitting, and then a moment more.
            while place.saved_step(&run) <= before && child.try_wait().unwrap().is_none() {
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            std::thread::sleep(std::time::Duration::from_millis(random.below(150)));
            if met < stops && child.try_wait().unwrap().is_none() {
                super::program::send("-INT", &child);
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

#[cfg(target_os = "linux")]
#[test]
fn a_cfc_that_is_stopped_ends_in_the_same_bytes_on_one_thread() {
    stopped(CFC, 1, times(3, 20), 11);
}

#[cfg(target_os = "linux")]
#[test]
fn a_cfc_that_is_stopped_ends_in_the_same_bytes_on_two_threads() {
    stopped(CFC, 2, times(3, 20), 12);
}

#[cfg(target_os = "linux")]
#[test]
fn an_ltc_that_is_stopped_ends_in_the_same_bytes() {
    stopped(LTC, 2, times(3, 20), 13);
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

/// With dropout, accumulation and a network that no single operation serves.
#[cfg(target_os = "linux")]
#[test]
fn threads_do_not_decide_about_bits() {
    let bidirectional = CFC.replace(
        "kind = \"cfc\"\nunits = 8\nbackbone_units = 12\nbackbone_dropout = 0.2",
        "kind = \"bidirectional\"\nlayer = { kind = \"cfc\", units = 8, backbone_dropout = 0.2 }",
    );
    assert_ne!(bidirectional, CFC);
    for config in [CFC, LTC, &bidirectional] {
        let place = Place::new(config);
        let short = ["--deterministic", "--set", "train.epochs=8"];
        for (run, threads) in [("one", 1), ("two", 2), ("again", 2)] {
            let mut train = place.train_on(threads, run, &short);
            assert_eq!(train.status().unwrap().code(), Some(0), "{}", place.said());
            assert_eq!(
                place.json(&format!("{run}/provenance.json"))["threads"],
                threads
            );
            place.assert_same("one", run);
        }
    }
}

#[test]
fn a_deterministic_run_goes_on_under_the_same_conditions_only() {
    let place = Place::new(CFC);
    let [short, longer] = ["train.epochs=2", "train.epochs=4"];
    place.finish("fixed", &["--deterministic", "--set", short]);
    place.finish("free", &["--set", short]);
    for run in ["fixed", "free"] {
        let mut conditions = place.json(&format!("{run}/provenance.json"));
        conditions["threads"] = 77.into();
        let path = place.path(&format!("{run}/provenance.json"));
        std::fs::write(&path, conditions.to_string()).unwrap();
        let same = [
            &["--resume", "--set", "train.epochs=3"][..],
            &["--deterministic"],
        ]
        .concat();
        let same = &same[..if run == "fixed" { 4 } else { 3 }];
        place.finish(run, same);
        conditions["vectors"] = "another kind".into();
        std::fs::write(&path, conditions.to_string()).unwrap();
    }
    place.finish("free", &["--resume", "--set", longer]);
    let other = place.train("fixed", &["--resume", "--deterministic", "--set", longer]);
    assert_eq!(place.code_of(other), 2, "{}", place.said());
    assert!(
        place.said().contains("vector instructions `another kind`"),
        "{}",
        place.said()
    );
    // What a configuration says must hold for the whole run, and memory must not choose the batch.
    let dropped = place.train("fixed", &["--resume", "--set", longer]);
    assert_eq!(place.code_of(dropped), 2, "{}", place.said());
    assert!(
        place.said().contains("`deterministic` was true"),
        "{}",
        place.said()
    );
    let halved = place.train("new", &["--deterministic", "--auto-batch"]);
    assert_eq!(place.code_of(halved), 2, "{}", place.said());
}

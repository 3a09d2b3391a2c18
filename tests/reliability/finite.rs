//! Numbers that leave the finite ones, and those that do not.

use std::fmt::Write as _;

use super::program::{CFC, Place};
use super::times;

/// A table in which one value of the training part is so large that its squared error is infinite.
fn spiked(at: usize) -> Place {
    let config = "seed = 1\n[data]\nkind = \"csv\"\npath = \"wave.csv\"\ntargets = [\"wave\"]\nwindow = 8\nnormalise = { features = \"none\", targets = \"none\" }\n\
                  [model]\nkind = \"cfc\"\nunits = 6\n[train]\nepochs = 2\nbatch_size = 4\n";
    let place = Place::new(config);
    let mut text = String::from("wave,slope\n");
    for row in 0..320 {
        let phase = row as f64 * 0.2;
        let wave = if row == at { 3e30 } else { phase.sin() };
        writeln!(text, "{wave},{}", phase.cos()).unwrap();
    }
    std::fs::write(place.path("wave.csv"), text).unwrap();
    place
}

#[test]
fn a_loss_that_is_infinite_ends_is_skipped_or_taken_back() {
    for round in 0..times(1, 20) {
        let place = spiked(20 + round * 7);
        let code = place.code_of(place.train("error", &[]));
        let said = place.said();
        assert_eq!(code, 3, "{said}");
        for words in ["loss", "at step", "windows", "train.learning_rate"] {
            assert!(said.contains(words), "no `{words}` in: {said}");
        }
        assert_eq!(place.json("error/summary.json")["status"], "failed");

        let skip = [
            "--set",
            "train.on_nonfinite=skip",
            "--set",
            "train.nonfinite_limit=20",
        ];
        let code = place.code_of(place.train("skip", &skip));
        let said = place.said();
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("left this batch out"), "{said}");
        place.newest("skip").unwrap();

        let back = ["--set", "train.on_nonfinite=rollback"];
        let code = place.code_of(place.train("rollback", &back));
        let said = place.said();
        assert_eq!(code, 3, "the data stay as they are: {said}");
        assert!(
            said.contains("went back to step 0") && said.contains("3 of at most 3"),
            "{said}"
        );
    }
}

#[test]
fn sound_runs_raise_no_alarm() {
    for seed in 0..times(2, 10) {
        let place = Place::new(CFC);
        let seed = seed.to_string();
        place.finish(
            "run",
            &["--seed", &seed, "--set", "train.on_nonfinite=skip"],
        );
        let log = String::from_utf8(place.bytes("run/log.txt")).unwrap();
        assert!(!log.contains("left this batch out"), "{log}");
        assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    }
}

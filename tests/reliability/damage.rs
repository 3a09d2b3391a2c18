//! Damaged and hostile files of a run are refused with a word on what is wrong, and never believed.

use std::fs;

use super::program::{CFC, Place};
use super::{Numbers, times};

/// A finished run of a few epochs.
fn finished() -> Place {
    let place = Place::new(CFC);
    place.finish("run", &["--set", "train.epochs=4"]);
    place
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let place = finished();
    place.finish("whole", &["--set", "train.epochs=6"]);
    let mut random = Numbers(31);
    for round in 0..times(2, 20) {
        let run = format!("run-{round}");
        place.finish(&run, &["--set", "train.epochs=4"]);
        let newest = place.newest(&run).unwrap();
        let names = ["model.safetensors", "optimizer.safetensors", "state.json"];
        let file = newest.join(names[round % names.len()]);
        let mut bytes = fs::read(&file).unwrap();
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
        fs::write(&file, bytes).unwrap();
        place.finish(&run, &["--resume", "--set", "train.epochs=6"]);
        assert!(place.said().contains("not usable"), "{}", place.said());
        place.assert_same("whole", &run);
    }
}

#[test]
fn a_torn_last_row_of_metrics_is_repaired() {
    let place = finished();
    place.finish("whole", &["--set", "train.epochs=6"]);
    let path = place.path("run/metrics.csv");
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("41,4.1,train_step,0.01,0.2");
    fs::write(&path, text).unwrap();
    place.finish("run", &["--resume", "--set", "train.epochs=6"]);
    place.assert_same("whole", "run");
}

/// Each description names a network that nobody could hold, in a file of a kilobyte.
#[test]
fn a_small_file_cannot_ask_for_a_huge_network() {
    let place = finished();
    let path = place.path("run/config.json");
    let text = fs::read_to_string(&path).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (key, number) in [
        ("units", 4_000_000_000_u64),
        ("units", u64::MAX),
        ("backbone_units", 1 << 40),
        ("backbone_layers", 1 << 40),
    ] {
        let mut forged = value.clone();
        forged["model"][key] = number.into();
        fs::write(&path, forged.to_string()).unwrap();
        let code = place.code_of(place.command(&["eval", "run"]));
        assert!([2, 4].contains(&code), "{key}: {code}: {}", place.said());
    }
    let mut forged = value;
    for (key, number) in [("inputs", 1_u64 << 40), ("outputs", 1 << 40)] {
        forged[key] = number.into();
        fs::write(&path, forged.to_string()).unwrap();
        let code = place.code_of(place.command(&["eval", "run"]));
        assert!([2, 4].contains(&code), "{key}: {code}: {}", place.said());
    }
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    let place = finished();
    let path = place.path("run/model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let code = place.code_of(place.command(&["eval", "run"]));
    assert_eq!(code, 4, "{}", place.said());
    assert!(place.said().contains("NaN"), "{}", place.said());
}

/// Names that lead out of the folder for runs, or that no file system takes.
#[test]
fn a_run_is_named_by_a_plain_name() {
    let place = Place::new(CFC);
    let long = "a".repeat(4096);
    for name in [
        "../evil",
        "/tmp/evil",
        "a/b",
        "..",
        ".",
        "",
        "a\\u0000b",
        "-x",
        ".x",
        &long,
    ] {
        let name = format!("name=\"{name}\"");
        let code = place.code_of(place.command(&["train", "run.toml", "--set", &name]));
        assert!([2, 6].contains(&code), "{name}: {code}: {}", place.said());
    }
    let entries = fs::read_dir(place.path("")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.retain(|name| name != "run.toml" && name != "stderr.txt");
    assert!(names.is_empty() || names == ["runs"], "{names:?}");
    assert!(!fs::exists("/tmp/evil").unwrap());
}

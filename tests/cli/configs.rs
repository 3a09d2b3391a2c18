//! Every configuration of the project is right, and the quick ones train.

use std::path::{Path, PathBuf};

use ncps::config::RunConfig;

use crate::support::Workplace;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs")
}

/// All run configurations; `devices.toml` is a table of sizes.
fn configs() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries
        .filter(|path| {
            path.extension().is_some_and(|e| e == "toml") && !path.ends_with("devices.toml")
        })
        .collect();
    files.sort();
    files
}

#[test]
fn every_file_is_valid() {
    let files = configs();
    assert!(files.len() > 5, "{files:?}");
    for file in files {
        let loaded = RunConfig::load(&file, Vec::new()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            loaded.config.name(),
            file.file_stem().unwrap().to_str().unwrap()
        );
    }
}

/// Those that need no files take five steps; the others say which files they need.
#[test]
fn every_file_trains_or_says_what_it_needs() {
    for file in configs() {
        let here = Workplace::new();
        let path = file.to_str().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        if text.contains("kind = \"generated\"") || text.contains("kind = \"embedded\"") {
            let dry = here.ok(&["train", path, "--dry-run", "--json"]);
            let plan: serde_json::Value = serde_json::from_str(&dry.stdout).unwrap();
            let steps = plan["plan"]["steps_per_epoch"].as_u64().unwrap();
            // A batch that leaves at most five steps in an epoch.
            let windows = plan["plan"]["windows"][0].as_u64().unwrap();
            let batch = if steps > 5 { windows.div_ceil(5) } else { 0 };
            let mut arguments = vec!["train", path, "--set", "train.epochs=1", "--out", "run"];
            let set = format!("train.batch_size={batch}");
            if batch > 0 {
                arguments.extend(["--set", &set]);
            }
            if path.ends_with("/xor.toml") {
                arguments.extend(["--set", "data.generator={ kind = \"irregular_xor\", train_sequences = 320, validation_sequences = 64, test_sequences = 64 }", "--set", "train.batch_size=64"]);
            }
            let large = ["adding_problem", "delayed_xor", "copy_memory"];
            if large
                .iter()
                .any(|name| path.ends_with(&format!("/{name}.toml")))
            {
                for set in ["data.generator.train_sequences=320", "train.batch_size=64"] {
                    arguments.extend(["--set", set]);
                }
            }
            here.ok(&arguments);
            assert!(
                here.json("run/summary.json")["steps"].as_u64().unwrap() <= 5,
                "{path}"
            );
        } else {
            here.fails(
                &["train", path],
                6,
                &[
                    "data/",
                    "--set data.path=",
                    file.file_name().unwrap().to_str().unwrap(),
                ],
            );
        }
    }
}

#[test]
fn the_committed_schema_is_the_programs() {
    let here = Workplace::new();
    let printed = here.ok(&["config", "schema"]).stdout;
    let committed = std::fs::read_to_string(folder().join("schema.json")).unwrap();
    let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    // The order of keys may depend on what else is built; their meaning does not.
    if parse(&printed) != parse(&committed) {
        let differing = printed
            .lines()
            .zip(committed.lines())
            .find(|(now, then)| now != then);
        panic!("run `ncps config schema > configs/schema.json`; first difference: {differing:?}");
    }
}

//! Runs that carry their state from window to window.

use crate::support::{Workplace, wave_config, wave_csv};

const DATA: &str = "path = \"waves\"\nfeatures = [\"wave\"]\ntargets = [\"slope\"]\ntask = { kind = \"regression_each_step\" }\nwindow = 10\n\
    split = { kind = \"files\", train = [\"a.csv\", \"b.csv\"], test = [\"c.csv\"] }";

fn workplace() -> Workplace {
    let here = Workplace::new();
    for (name, rows) in [("a", 300), ("b", 130), ("c", 200)] {
        here.write(&format!("waves/{name}.csv"), wave_csv(rows));
    }
    let config = wave_config(DATA).replace("path = \"wave.csv\"\n", "");
    here.write("run.toml", config + "stateful = true\n");
    here
}

#[test]
fn what_is_evaluated_is_what_a_stream_of_the_series_gives() {
    let here = workplace();
    here.ok(&["train", "run.toml", "--set", "train.epochs=4"]);
    let summary = here.json("runs/run/summary.json");
    let found = summary["test"]["mse"].as_f64().unwrap();
    let csv = here
        .ok(&["predict", "runs/run", "waves/c.csv", "--out", "out.csv"])
        .stdout;
    assert!(csv.is_empty());
    let text = here.read("out.csv");
    let predicted = text
        .lines()
        .skip(1)
        .map(|line| line.parse::<f64>().unwrap());
    let squares = predicted.enumerate().map(|(row, value)| {
        let slope = (row as f64 * 0.2).cos();
        (value - slope) * (value - slope)
    });
    let squares: Vec<f64> = squares.collect();
    assert_eq!(squares.len(), 200);
    let mse = squares.iter().sum::<f64>() / 200.0;
    assert!((mse - found).abs() < 1e-4 * found, "{mse} {found}");
    // Windows alone, each from rest, are another thing.
    let apart = here.ok(&["eval", "runs/run", "--json"]).stdout;
    let apart: serde_json::Value = serde_json::from_str(&apart).unwrap();
    let again = apart["test"]["mse"].as_f64().unwrap();
    assert!((again - found).abs() < 1e-6 * found, "{again} {found}");
}

#[test]
fn a_stopped_run_resumes_to_the_bit() {
    let here = workplace();
    let epochs = "train.epochs=4";
    here.ok(&["train", "run.toml", "--out", "whole", "--set", epochs]);
    here.ok(&["train", "run.toml", "--out", "parts"]);
    here.ok(&[
        "train", "run.toml", "--out", "parts", "--resume", "--set", epochs,
    ]);
    for file in ["model.safetensors", "metrics.csv"] {
        here.assert_same(&format!("whole/{file}"), &format!("parts/{file}"));
    }
    let (whole, parts) = (
        here.json("whole/summary.json"),
        here.json("parts/summary.json"),
    );
    assert_eq!(whole["test"], parts["test"]);
}

#[test]
fn what_cannot_carry_a_state_is_refused_at_its_key() {
    let here = workplace();
    for (set, words) in [
        ("data.stride=5", ["`data.stride`", "leave it out"]),
        ("data.test_stride=1", ["`data.test_stride`", "leave it out"]),
        ("data.buckets=3", ["`data.buckets`", "one length"]),
        (
            "data.split={ kind = \"fraction\", by = \"window\" }",
            ["`data.split`", "not by window"],
        ),
        (
            "train.batch_size=64",
            ["`train.batch_size`", "one window each"],
        ),
        (
            "model={ kind = \"bidirectional\", layer = { kind = \"cfc\", units = 4 } }",
            ["bidirectional", "begins at the end"],
        ),
    ] {
        here.fails(&["train", "run.toml", "--set", set], 2, &words);
    }
    let whole = here.read("run.toml").replace("window = 10\n", "");
    here.write("whole.toml", whole);
    here.fails(
        &["train", "whole.toml"],
        2,
        &["whole.toml:", "whole series: set `window`"],
    );
    let streamed = here
        .read("run.toml")
        .replace("kind = \"csv\"", "kind = \"parquet\"\nstreaming = true");
    here.write("streamed.toml", streamed);
    here.fails(
        &["train", "streamed.toml"],
        2,
        &["streamed.toml:4", "streaming = true", "^", "train.stateful"],
    );
    assert!(!here.path("runs").exists());
}

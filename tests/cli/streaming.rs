//! Training from rows that stay on the disk, with batches made ready ahead.

use crate::support::Workplace;

const CONFIG: &str = r#"seed = 4

[data]
kind = "parquet"
path = "wave.parquet"
features = ["a", "b"]
window = 12
stride = 2
streaming = true

[model]
kind = "cfc"
units = { kind = "auto_ncp", units = 8, outputs = 2 }

[train]
epochs = 4
batch_size = 16
learning_rate = 0.01
"#;

fn workplace() -> Workplace {
    let here = Workplace::new();
    let wave = |speed: f64| (0..900).map(|row| (f64::from(row) * speed).sin()).collect();
    ncps::datasets::Frame::new()
        .with_number("a", wave(0.1))
        .and_then(|frame| frame.with_number("b", wave(0.023)))
        .and_then(|frame| frame.write(&here.path("wave.parquet")))
        .unwrap();
    here.write("stream.toml", CONFIG);
    here
}

fn train(here: &Workplace, more: &[&str]) -> String {
    let mut command = here.command(&["train", "stream.toml"]);
    command.env("XDG_CACHE_HOME", here.path("cache")).args(more);
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{more:?}: {stderr}");
    stderr
}

#[test]
fn a_streamed_run_resumes_to_the_bit_and_does_not_depend_on_the_loader() {
    let here = workplace();
    train(&here, &["--out", "whole"]);
    train(&here, &["--out", "parts", "--set", "train.epochs=2"]);
    let resumed = ["--set", "loader.prefetch=0", "--set", "loader.cache=false"];
    train(
        &here,
        &[&["--out", "parts", "--resume"], &resumed[..]].concat(),
    );
    for file in ["model.safetensors", "metrics.csv"] {
        here.assert_same(&format!("whole/{file}"), &format!("parts/{file}"));
    }
    // In memory an epoch has another order, but what is evaluated is the same.
    train(&here, &["--out", "memory", "--set", "data.streaming=false"]);
    let (streamed, memory) = (
        here.json("whole/summary.json"),
        here.json("memory/summary.json"),
    );
    assert_eq!(streamed["baseline"], memory["baseline"]);
    // Scaling and spans are part of what the model knows of its data.
    here.assert_same("memory/config.json", "whole/config.json");
}

#[test]
fn kept_rows_are_listed_and_removed() {
    let here = workplace();
    let cache = |arguments: &[&str]| {
        let mut command = here.command(&[&["data", "cache"], arguments].concat());
        let output = command
            .env("XDG_CACHE_HOME", here.path("cache"))
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    train(&here, &["--dry-run", "--no-cache"]);
    assert_eq!(cache(&["--json"]), "");
    train(&here, &["--dry-run"]);
    let listed: serde_json::Value = serde_json::from_str(cache(&["--json"]).trim()).unwrap();
    assert_eq!(
        (&listed["rows"], &listed["values"]),
        (&900.into(), &2.into())
    );
    assert!(listed["bytes"].as_u64().unwrap() > 900 * 2 * 4);
    assert!(cache(&[]).contains("900"));
    assert!(cache(&["--remove"]).contains("removed"));
    assert_eq!(cache(&["--json"]), "");
}

#[test]
fn streamed_data_are_timed_and_evaluated_from_the_kept_rows() {
    let here = workplace();
    train(&here, &["--set", "train.epochs=1"]);
    let run = |arguments: &[&str]| {
        let mut command = here.command(arguments);
        let output = command.env("XDG_CACHE_HOME", here.path("cache")).output();
        let output = output.unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let evaluated = run(&["eval", "runs/stream", "--json"]);
    let summary = here.json("runs/stream/summary.json");
    for part in ["test", "baseline"] {
        assert_eq!(evaluated[part], summary[part], "{part}");
    }
    let speed = run(&["data", "speed", "stream.toml", "--json"]);
    assert_eq!(speed["time"], 12);
    assert!(speed["steps_per_second"].as_f64().unwrap() > 0.0);
    assert!(speed["read_seconds"].is_null());
    // All of them used the rows that the run had kept.
    let kept = std::fs::read_dir(here.path("cache/ncps/data")).unwrap();
    assert_eq!(kept.count(), 1);
}

//! Looking after runs: the table, one run's state, what can go.

use crate::support::Workplace;

#[test]
fn runs_are_listed_looked_at_and_cleaned() {
    let here = Workplace::tiny();
    here.ok(&["train", "tiny.toml", "--log", "json"]);
    here.ok(&[
        "train",
        "tiny.toml",
        "--force",
        "--set",
        "log.tensorboard=true",
    ]);
    let first = here.read("runs/tiny.old-1/log.txt");
    let line: serde_json::Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    assert_eq!(line["level"], "INFO");
    let entries = std::fs::read_dir(here.path("runs/tiny")).unwrap();
    let events = entries.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("events.out.tfevents.")
    });
    assert_eq!(events.count(), 1);

    let table = here.ok(&["runs"]).stdout;
    for words in ["tiny ", "tiny.old-1", "completed", "3/3", "loss "] {
        assert!(table.contains(words), "no `{words}` in:\n{table}");
    }
    let lines = here.ok(&["runs", "--json"]).stdout;
    let run: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&run["state"], &run["step"]),
        (&"completed".into(), &6.into())
    );

    let status = here.ok(&["status", "runs/tiny"]);
    assert!(
        status.stdout.contains("2 sound, newest step-00000006"),
        "{}",
        status.stdout
    );
    assert!(status.stderr.contains("ncps eval"), "{}", status.stderr);
    here.write("runs/tiny/checkpoints/step-00000006/state.json", "{}");
    let status = here.ok(&["status", "runs/tiny"]);
    assert!(status.stdout.contains("1 damaged"), "{}", status.stdout);

    let shown = here.ok(&["clean"]).stdout;
    assert!(shown.contains("nothing was removed"), "{shown}");
    assert!(here.path("runs/tiny.old-1").exists());
    here.ok(&["clean", "--only", "replaced", "--yes"]);
    assert!(!here.path("runs/tiny.old-1").exists());
    assert!(here.path("runs/tiny/checkpoints").exists());
    here.ok(&["clean", "--yes"]);
    assert!(!here.path("runs/tiny/checkpoints").exists());
    here.ok(&["eval", "runs/tiny"]);

    here.fails(&["runs", "nowhere"], 6, &["nowhere"]);
    here.fails(&["status", "."], 2, &["not a run directory"]);
}

#[test]
fn runs_of_several_seeds_are_one_row() {
    let here = Workplace::tiny();
    for seed in ["3", "4"] {
        let out = format!("table/tiny-{seed}");
        here.ok(&["train", "tiny.toml", "--seed", seed, "--out", &out]);
    }
    here.ok(&[
        "train",
        "tiny.toml",
        "--set",
        "train.epochs=2",
        "--out",
        "table/short",
    ]);
    let table = here.ok(&["runs", "table", "--seeds"]).stdout;
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 3, "{table}");
    assert!(
        rows[2].starts_with("tiny ") && rows[2].contains("3 4"),
        "{table}"
    );
    let markdown = here
        .ok(&["runs", "table", "--seeds", "--markdown", "--metric", "loss"])
        .stdout;
    assert!(
        markdown.starts_with("| runs | seeds |") && markdown.contains("\n|---|"),
        "{markdown}"
    );
    let lines = here.ok(&["runs", "table", "--seeds", "--json"]).stdout;
    let group: serde_json::Value = serde_json::from_str(lines.lines().nth(1).unwrap()).unwrap();
    assert_eq!(group["seeds"], serde_json::json!([3, 4]));
    let values = group["values"].as_array().unwrap();
    let mean = values
        .iter()
        .map(|value| value.as_f64().unwrap())
        .sum::<f64>()
        / 2.0;
    assert!((group["mean"].as_f64().unwrap() - mean).abs() < 1e-12);
    here.fails(
        &["runs", "table", "--seeds", "--metric", "f2"],
        2,
        &["`f2`", "mse"],
    );
    here.fails(&["runs", "table", "--metric", "mse"], 2, &["--seeds"]);
}

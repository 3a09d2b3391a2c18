//! `ncps tune` on the tiny configuration.

use crate::support::Workplace;

fn arguments<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let usual = [
        "tune",
        "tiny.toml",
        "--device",
        "cpu",
        "--threads",
        "1",
        "--seconds",
        "1",
    ];
    [&usual, more].concat()
}

#[test]
fn the_choice_is_a_fragment_a_row_and_a_plot() {
    let here = Workplace::tiny();
    let ended = here.ok(&arguments(&[
        "--batch",
        "2,4,4096",
        "--implementation",
        "fused,plain",
        "--dtype",
        "f32,bf16",
        "--sequences",
        "500",
        "--out",
        "tuned",
    ]));
    for words in [
        "left out batches of 4096",
        "chosen",
        "cpu, plain",
        "cpu, fused, bf16",
        "s for 500",
        "batch_size = ",
        "source = \"measured\"",
    ] {
        assert!(
            ended.stdout.contains(words),
            "no `{words}` in:\n{}",
            ended.stdout
        );
    }
    let found = here.json("tuned/tune.json");
    assert_eq!(found["schema"], "ncps.tune/1");
    let best = found["best"]["batch"].as_u64().unwrap();
    assert_eq!(found["row"]["batch"].as_u64(), Some(best));
    assert!(here.read("tuned/tune.svg").contains("chosen: batch"));
    // The time for the sequences follows from the rate.
    let measured = found["candidates"].as_array().unwrap().iter();
    let measured = measured.filter(|c| c["fate"]["status"] == "measured");
    for candidate in measured {
        let [rate, time] = ["rate", "time"].map(|name| candidate[name]["value"].as_f64().unwrap());
        assert!((rate * time / 500.0 - 1.0).abs() < 1e-9, "{candidate}");
    }
    // The curves are part of the page, and of a profile's report if wanted.
    let page = here.read("tuned/tune.html");
    assert!(
        page.contains("chosen: batch")
            && page.contains("batch_size = ")
            && !page.contains("<script")
    );
    here.ok(&[
        "profile",
        "tiny.toml",
        "--device",
        "cpu",
        "--threads",
        "1",
        "--seconds",
        "0.1",
        "--html",
        "one.html",
        "--tuned",
        "tuned/tune.json",
    ]);
    assert!(
        here.read("one.html")
            .contains("what each batch size achieves")
    );
    let table: toml::Table = toml::from_str(&here.read("tuned/device.toml")).unwrap();
    assert_eq!(table["device"][0]["source"].as_str(), Some("measured"));
    // The fragment is part of a configuration.
    let fragment: toml::Table = toml::from_str(&here.read("tuned/fragment.toml")).unwrap();
    let batch = fragment["train"]["batch_size"].as_integer().unwrap();
    here.ok(&[
        "train",
        "tiny.toml",
        "--dry-run",
        "--set",
        &format!("train.batch_size={batch}"),
    ]);
}

#[test]
fn what_cannot_be_tuned_is_said() {
    let here = Workplace::tiny();
    here.fails(
        &arguments(&["--memory", "0.000001"]),
        1,
        &["no setting could be measured"],
    );
    here.fails(&arguments(&["--batch", "0"]), 2, &["--batch"]);
    here.fails(&arguments(&["--dtype", "f8"]), 2, &["f8", "bf16"]);
    here.write("tune.json", "{}");
    here.fails(
        &["profile", "tiny.toml", "--tuned", "tune.json"],
        4,
        &["tune.json", "ncps.tune/1"],
    );
    here.fails(&["tune", "none.toml"], 6, &["none.toml"]);
}

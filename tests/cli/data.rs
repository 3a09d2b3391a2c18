//! `ncps data`: own files with gaps and series, and the published benchmarks.

use std::fmt::Write as _;

use crate::support::Workplace;

/// Three trips with gaps, a text column and a label.
fn trips() -> String {
    let mut text = String::from("trip,second,speed,road,stop\n");
    for trip in 0..3 {
        for row in 0..60 {
            let speed = if row % 11 == 5 {
                String::new()
            } else {
                format!("{}.5", (row * 7 + trip) % 30)
            };
            let road = ["dry", "wet"][row % 2];
            let _ = writeln!(
                text,
                "{trip},{},{speed},{road},{}",
                row + row / 9,
                row / 5 % 2
            );
        }
    }
    text
}

#[test]
fn own_data_with_gaps_and_series_are_described_drawn_and_trained() {
    let here = Workplace::new();
    here.write("trips.csv", trips());
    let text = here.ok(&["data", "describe", "trips.csv"]).stdout;
    for words in [
        "one value of `trip`",
        "missing = \"mask\"",
        "categorical = [\"road\"]",
        "group = \"trip\"",
    ] {
        assert!(text.contains(words), "no `{words}` in:\n{text}");
    }
    here.ok(&[
        "data",
        "plot",
        "trips.csv",
        "--series",
        "1",
        "--out",
        "trip.svg",
    ]);
    assert!(here.read("trip.svg").contains("trips.csv, trip 1"));
    here.fails(
        &[
            "data",
            "plot",
            "trips.csv",
            "--series",
            "9",
            "--out",
            "trip.svg",
        ],
        2,
        &["`9`"],
    );
    here.fails(
        &["data", "plot", "trips.csv", "--out", "trip.pdf"],
        2,
        &[".svg"],
    );
    here.ok(&["data", "init", "trips.csv", "--out", "mine.toml"]);
    here.ok(&[
        "train",
        "mine.toml",
        "--set",
        "train.epochs=1",
        "--out",
        "run",
    ]);
    here.ok(&["predict", "run", "trips.csv", "--out", "out.csv"]);
    assert!(here.read("out.csv").lines().count() > 100);
}

#[test]
fn a_benchmark_that_is_there_is_checked_and_unpacked_without_a_network() {
    let here = Workplace::new();
    here.write("data/ozone/eighthr.data", "1/1/1998,0.8,?\n");
    here.ok(&["data", "get", "ozone"]);
    here.ok(&["data", "get", "ozone"]);
    // Another file under the same name is not the one that was downloaded.
    here.write("data/ozone/eighthr.data", "1/1/1998,0.9,?\n");
    here.fails(&["data", "get", "ozone"], 4, &["SHA-256", "eighthr.data"]);
    here.fails(&["data", "get", "ozon"], 2, &["`ozon`", "ozone"]);
}

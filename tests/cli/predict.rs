//! Predictions: files in and out, and line by line with the state carried.

use std::io::{BufRead, BufReader, Write};

use crate::support::{Workplace, wave_config, wave_csv};

const NEXT: &str = "features = [\"wave\", \"slope\"]\ntargets = [\"wave\"]\nwindow = 10\n";
const LABEL: &str = "features = [\"wave\", \"slope\"]\ntargets = [\"on\"]\ntask = { kind = \"label_each_step\" }\nwindow = 10\n";

fn trained(data: &str) -> Workplace {
    let here = Workplace::new();
    here.write("wave.csv", wave_csv(300));
    here.write("run.toml", wave_config(data));
    here.ok(&["train", "run.toml", "--set", "train.epochs=3"]);
    here.write("new.csv", wave_csv(25));
    here
}

fn numbers(csv: &str, column: usize) -> Vec<f64> {
    csv.lines()
        .skip(1)
        .map(|line| line.split(',').nth(column).unwrap().parse().unwrap())
        .collect()
}

#[test]
fn predictions_are_written_in_every_format() {
    let here = trained(NEXT);
    let printed = here.ok(&["predict", "runs/run", "new.csv"]).stdout;
    assert_eq!(printed.lines().next(), Some("predicted_wave"));
    assert_eq!(printed.lines().count(), 26);
    for name in ["out.csv", "out.parquet", "out.npy"] {
        here.ok(&["predict", "runs/run", "new.csv", "--out", name]);
    }
    let written = numbers(&here.read("out.csv"), 0);
    for (a, b) in written.iter().zip(numbers(&printed, 0)) {
        assert!((a - b).abs() < 1e-5);
    }
    // A written file can be read again: Parquet and npy in.
    here.ok(&["data", "describe", "out.parquet"]);
    here.ok(&["data", "describe", "out.npy"]);
    let lines = here
        .ok(&["predict", "runs/run", "new.csv", "--json"])
        .stdout;
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert!(first["predicted_wave"].is_number());
}

#[test]
fn a_stream_answers_each_line_as_the_whole_file_does() {
    let here = trained(NEXT);
    let whole = numbers(&here.ok(&["predict", "runs/run", "new.csv"]).stdout, 0);
    let mut child = here.start(&["predict", "runs/run", "--stream"]);
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let csv = here.read("new.csv");
    for round in 0..2 {
        for (row, line) in csv.lines().skip(1).enumerate() {
            let cells: Vec<&str> = line.split(',').collect();
            writeln!(input, "{},{}", cells[1], cells[2]).unwrap();
            input.flush().unwrap();
            // Each answer comes before the next line is asked.
            let mut answer = String::new();
            output.read_line(&mut answer).unwrap();
            let value: f64 = answer.trim().parse().unwrap();
            assert!(
                (value - whole[row]).abs() < 1e-4,
                "round {round}, row {row}: {value} against {}",
                whole[row]
            );
        }
        // An empty line begins a new series: the second round gives the same.
        writeln!(input).unwrap();
    }
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn classes_come_with_their_probabilities() {
    let here = trained(LABEL);
    let printed = here.ok(&["predict", "runs/run", "new.csv"]).stdout;
    assert_eq!(
        printed.lines().next(),
        Some("class,probability_0,probability_1")
    );
    for line in printed.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let (no, yes): (f64, f64) = (cells[1].parse().unwrap(), cells[2].parse().unwrap());
        assert!((no + yes - 1.0).abs() < 1e-5);
        assert_eq!(cells[0], if yes >= no { "1" } else { "0" });
    }
    here.ok(&["predict", "runs/run", "new.csv", "--out", "out.npy"]);
}

#[test]
fn time_is_read_from_its_column() {
    let here = trained(&format!("{NEXT}time = {{ column = \"time\" }}\n"));
    let printed = here.ok(&["predict", "runs/run", "new.csv"]).stdout;
    assert_eq!(printed.lines().next(), Some("time,predicted_wave"));
    let times = numbers(&printed, 0);
    assert!((times[24] - 4.8).abs() < 1e-6);
}

#[test]
fn a_bad_line_or_file_is_named() {
    let here = trained(NEXT);
    let mut child = here.start(&["predict", "runs/run", "--stream"]);
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"0.1,0.2\n0.1,high\n")
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        stderr.contains("line 2") && stderr.contains("`high` is not a finite number"),
        "{stderr}"
    );
    here.write("other.csv", "a,b\n1,2\n");
    here.fails(&["predict", "runs/run", "other.csv"], 2, &["wave"]);
    here.fails(&["predict", "runs/run", "none.csv"], 6, &["none.csv"]);
    here.fails(
        &["predict", "nowhere", "new.csv"],
        2,
        &["nowhere", "not a run directory"],
    );
    here.fails(&["predict", "runs/run"], 2, &["INPUT"]);
}

//! Data that cannot be used: the message names file, row and column, and no run directory appears.

use crate::support::{Workplace, wave_config, wave_csv};

const TIMED: &str = "targets = [\"wave\"]\nfeatures = [\"wave\", \"slope\"]\nwindow = 10\ntime = { column = \"time\" }\n";

fn data_fails(csv: Option<String>, data: &str, code: i32, words: &[&str]) {
    let here = Workplace::new();
    if let Some(csv) = csv {
        here.write("wave.csv", csv);
    }
    here.write("run.toml", wave_config(data));
    here.fails(&["train", "run.toml"], code, words);
    assert!(
        !here.path("runs").exists(),
        "nothing may be written for data that cannot be used"
    );
}

fn with_line(csv: &str, number: usize, line: &str) -> String {
    let mut lines: Vec<&str> = csv.lines().collect();
    lines[number - 1] = line;
    lines.join("\n") + "\n"
}

#[test]
fn good_data_trains() {
    let here = Workplace::new();
    here.write("wave.csv", wave_csv(300));
    here.write("run.toml", wave_config(TIMED));
    here.ok(&["train", "run.toml"]);
}

#[test]
fn a_missing_file_is_named_with_a_way_out() {
    data_fails(None, TIMED, 6, &["wave.csv", "--set data.path="]);
}

#[test]
fn an_empty_file_is_an_error() {
    data_fails(Some(String::new()), TIMED, 4, &["wave.csv", "empty"]);
    data_fails(Some("time,wave,slope,on\n".into()), TIMED, 4, &["wave.csv"]);
}

#[test]
fn a_ragged_row_is_named() {
    data_fails(
        Some(with_line(&wave_csv(300), 20, "3.6,0.1")),
        TIMED,
        4,
        &["wave.csv", "row 19"],
    );
}

#[test]
fn text_in_a_number_column_names_row_and_column() {
    data_fails(
        Some(with_line(&wave_csv(300), 20, "3.6,high,0.1,1")),
        TIMED,
        4,
        &["wave.csv", "wave", "high"],
    );
}

#[test]
fn nan_in_the_data_names_row_and_column() {
    data_fails(
        Some(with_line(&wave_csv(300), 20, "3.6,NaN,0.1,1")),
        TIMED,
        4,
        &["wave.csv", "wave"],
    );
    data_fails(
        Some(with_line(&wave_csv(300), 20, "3.6,,0.1,1")),
        TIMED,
        4,
        &["wave.csv", "wave"],
    );
}

#[test]
fn time_that_goes_backwards_is_named() {
    data_fails(
        Some(with_line(&wave_csv(300), 20, "1.0,0.5,0.1,1")),
        TIMED,
        4,
        &["time", "wave"],
    );
}

#[test]
fn a_window_longer_than_the_data_is_an_error() {
    data_fails(
        Some(wave_csv(30)),
        &TIMED.replace("window = 10", "window = 100"),
        2,
        &["window of 100 steps", "| window = 100"],
    );
}

#[test]
fn a_target_with_one_class_is_an_error() {
    let csv = wave_csv(300).replace(",0\n", ",1\n");
    let data = "features = [\"wave\"]\ntargets = [\"on\"]\ntask = { kind = \"label_each_step\" }\nwindow = 10\n";
    data_fails(Some(csv), data, 4, &["on", "class"]);
}

#[test]
fn an_unknown_column_gets_the_nearest_name() {
    data_fails(
        Some(wave_csv(300)),
        &TIMED.replace("\"slope\"", "\"slop\""),
        2,
        &["slop", "slope"],
    );
}

#[test]
fn describe_and_predict_refuse_the_same_files() {
    let here = Workplace::new();
    here.fails(&["data", "describe", "none.csv"], 6, &["none.csv"]);
    here.write("empty.csv", "");
    here.fails(&["data", "describe", "empty.csv"], 4, &["empty.csv"]);
    here.write("foreign.npy", b"\x93NUMPY\x01\x00garbage");
    here.fails(&["data", "describe", "foreign.npy"], 4, &["foreign.npy"]);
    here.write("foreign.parquet", b"PAR1 but no more");
    here.fails(
        &["data", "describe", "foreign.parquet"],
        4,
        &["foreign.parquet"],
    );
}

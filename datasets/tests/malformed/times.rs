//! Times of tables, in each format that has columns.

use ncps_datasets::Frame;

use super::{refused, told};
use crate::support::Folder;

const TIME: &str = "time = { column = \"t\" }\nfeatures = [\"a\"]\n";

/// A table of times and values, as CSV and as Parquet.
#[track_caller]
fn refused_times(times: [f64; 4], words: &[&str]) {
    let folder = Folder::new();
    let frame = Frame::new()
        .with_number("t", times.to_vec())
        .and_then(|frame| frame.with_number("a", vec![1.0, 2.0, 3.0, 4.0]))
        .unwrap();
    for kind in ["csv", "parquet"] {
        let name = format!("data.{kind}");
        frame.write(&folder.path().join(&name)).unwrap();
        let config = format!("kind = \"{kind}\"\npath = \"{name}\"\n{TIME}");
        let error = folder.load(&config).unwrap_err();
        told(&error, &[&[name.as_str()], words].concat());
    }
}

#[test]
fn a_time_that_is_missing() {
    refused_times(
        [0.0, 1.0, f64::NAN, 3.0],
        &["column `t`, data row 3", "missing or NaN", "remove the row"],
    );
}

#[test]
fn times_out_of_order() {
    refused_times(
        [0.0, 2.0, 1.0, 3.0],
        &[
            "goes backwards",
            "data row 3",
            "sort the rows",
            "data.group",
        ],
    );
}

#[test]
fn a_time_that_appears_twice() {
    let twice = "time = { column = \"t\", duplicates = \"error\" }\nfeatures = [\"a\"]\n";
    let words = ["one time twice", "data row 2", "set `duplicates`"];
    refused("csv", "data.csv", "t,a\n0,1\n0,2\n1,3\n", twice, &words);
}

#[test]
fn a_time_that_is_no_date() {
    let words = [
        "column `t`, data row 2",
        "`soon` is no time",
        "expected a number, or a date such as",
    ];
    refused(
        "csv",
        "data.csv",
        "t,a\n2015-02-04,1\nsoon,2\n",
        TIME,
        &words,
    );
}

const LONG: &str =
    "long = { channel = \"what\", value = \"v\" }\nmissing = \"mask\"\ntime = { column = \"t\" }\n";

#[test]
fn a_long_table_without_its_channel_column() {
    let words = ["no column `what`", "it has: t, thing, v"];
    refused("csv", "data.csv", "t,thing,v\n0,x,1\n", LONG, &words);
}

#[test]
fn a_long_table_whose_value_is_no_number() {
    let words = [
        "column `v`, data row 2",
        "expected a number, found `high`",
        "fix the value",
    ];
    refused(
        "csv",
        "data.csv",
        "t,what,v\n0,x,1\n1,x,high\n",
        LONG,
        &words,
    );
}

#[test]
fn a_long_table_with_one_observation_twice() {
    let long = LONG.replace("\"t\" }", "\"t\", duplicates = \"error\" }");
    let words = ["one time twice in `x` at data row 2", "set `duplicates`"];
    let text = "t,what,v\n0,x,1\n0,x,2\n1,x,3\n";
    refused("csv", "data.csv", text, &long, &words);
}

#[test]
fn a_long_table_with_a_missing_time() {
    let words = ["column `t`, data row 2", "missing or NaN", "remove the row"];
    let text = "t,what,v\n0,x,1\n,x,2\n1,x,3\n";
    refused("csv", "data.csv", text, LONG, &words);
}

#[test]
fn a_long_table_of_too_many_channels() {
    let rows: String = (0..5000).map(|row| format!("0,c{row},1\n")).collect();
    let config = format!("kind = \"csv\"\npath = \"data.csv\"\n{LONG}");
    let folder = Folder::new();
    folder.write("data.csv", format!("t,what,v\n{rows}"));
    let error = folder.load(&config).unwrap_err();
    told(
        &error,
        &[
            "column `what`",
            "5000 different values",
            "too many to be channels",
        ],
    );
}

//! CSV and TSV files.

use super::refused;

const FORECAST: &str = "features = [\"a\", \"b\"]\n";

#[track_caller]
fn refused_as_both(text: &str, more: &str, words: &[&str]) {
    refused("csv", "data.csv", text, more, words);
    refused("csv", "data.tsv", text.replace(',', "\t"), more, words);
}

#[test]
fn an_empty_csv() {
    refused_as_both(
        "",
        "",
        &["is empty", "expected a header and at least one row"],
    );
}

#[test]
fn a_csv_of_a_header_alone() {
    refused_as_both(
        "a,b\n",
        "",
        &["is empty", "expected a header and at least one row"],
    );
}

#[test]
fn a_csv_row_that_is_too_short() {
    let words = ["data row 2 has 1 fields, the header has 2", "fix the row"];
    refused_as_both("a,b\n1,2\n3\n4,5\n", "", &words);
}

#[test]
fn a_csv_row_that_is_too_long() {
    let words = [
        "data row 2 has 3 fields, the header has 2",
        "data.delimiter",
    ];
    refused_as_both("a,b\n1,2\n3,4,5\n", "", &words);
}

#[test]
fn a_csv_that_ends_inside_a_row() {
    let words = ["data row 3 has 1 fields", "fix the row"];
    refused_as_both("a,b\n1,2\n3,4\n5", "", &words);
}

#[test]
fn a_csv_column_that_appears_twice() {
    refused_as_both(
        "a,b,a\n1,2,3\n",
        "",
        &["column `a` appears twice", "rename or drop one"],
    );
}

#[test]
fn a_csv_cell_that_is_no_number() {
    let words = [
        "column `b`, data row 2",
        "expected a number, found `warm`",
        "fix the value",
    ];
    refused_as_both("a,b\n1,2\n3,warm\n", FORECAST, &words);
}

#[test]
fn a_csv_value_that_is_not_finite() {
    for value in ["nan", "", "NA"] {
        let words = ["column `b`, data row 2", "missing or NaN", "data.missing"];
        refused_as_both(&format!("a,b\n1,2\n3,{value}\n4,5\n"), FORECAST, &words);
    }
    let words = ["column `b`, data row 2", "infinite", "data.missing"];
    refused_as_both("a,b\n1,2\n3,inf\n", FORECAST, &words);
}

#[test]
fn a_csv_that_is_no_utf8() {
    for bytes in [&b"a,b\n1,\xff\xfe\n"[..], b"\xff\xfea\0,\0b\0\n\0"] {
        let words = ["is not UTF-8 text", "save the file as UTF-8"];
        refused("csv", "data.csv", bytes, "", &words);
    }
}

#[test]
fn a_csv_quote_that_is_never_closed() {
    let words = ["after data row 1 is never closed", "quote"];
    refused_as_both("a,b\n1,2\n\"3,4\n", "", &words);
}

#[test]
fn a_csv_quote_inside_a_field() {
    let words = ["stray quote after data row 1", "double the quotes"];
    refused_as_both("a,b\n1,2\n\"3\"x,4\n", "", &words);
}

#[test]
fn a_csv_separated_by_something_else() {
    let words = ["no column `a`", "a;b"];
    refused("csv", "data.csv", "a;b\n1;2\n", FORECAST, &words);
}

#[test]
fn a_csv_without_a_column_that_is_asked_for() {
    let words = [
        "no column `lihgt`",
        "did you mean `light`?",
        "it has: light, b",
    ];
    refused_as_both("light,b\n1,2\n", "features = [\"lihgt\"]\n", &words);
}

//! npy files.

use super::{refused, truncated};
use crate::support::npy;

/// An npy file with this header and these bytes behind it.
fn headed(header: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(body);
    bytes
}

fn with(descr: &str, shape: &str, body: &[u8]) -> Vec<u8> {
    headed(
        &format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n"),
        body,
    )
}

#[track_caller]
fn refused_npy(bytes: &[u8], words: &[&str]) {
    refused("npy", "data.npy", bytes, "", words);
}

#[test]
fn an_empty_npy() {
    refused_npy(b"", &["is empty", "expected"]);
}

#[test]
fn an_npy_cut_short_anywhere() {
    truncated("npy", "data.npy", &npy(&[4, 2], &[0.5; 8]), 1);
}

#[test]
fn an_npy_that_is_something_else() {
    refused_npy(
        b"PK\x03\x04 a zip archive",
        &["not an npy file", "copy or download it again"],
    );
}

#[test]
fn an_npy_of_an_unknown_version() {
    let mut bytes = npy(&[4, 2], &[0.5; 8]);
    bytes[6] = 9;
    refused_npy(&bytes, &["unknown npy version", "expected 1, 2 or 3"]);
}

#[test]
fn an_npy_header_that_is_no_text() {
    let mut bytes = npy(&[4, 2], &[0.5; 8]);
    bytes[12] = 0xff;
    refused_npy(
        &bytes,
        &["the header is not text", "copy or download it again"],
    );
}

#[test]
fn an_npy_header_without_a_key() {
    for (header, key) in [
        ("{'fortran_order': False, 'shape': (1,), }", "descr"),
        ("{'descr': '<f8', 'shape': (1,), }", "fortran_order"),
        ("{'descr': '<f8', 'fortran_order': False, }", "shape"),
    ] {
        refused_npy(
            &headed(header, &[0; 8]),
            &[key, "copy or download it again"],
        );
    }
}

#[test]
fn an_npy_of_objects_texts_or_complex_numbers() {
    for descr in ["'|O'", "'<U4'", "'<c8'"] {
        refused_npy(
            &with(descr, "(1,)", &[0; 16]),
            &["no plain number", "save floats or integers"],
        );
    }
    let structured = with("[('a', '<f8')]", "(1,)", &[0; 8]);
    refused_npy(
        &structured,
        &["structured", "save a plain array of numbers"],
    );
}

#[test]
fn an_npy_whose_header_lies_about_its_size() {
    let words = [
        "shape [4, 2] needs 64 bytes of data, 40 are there",
        "copy or download it again",
    ];
    refused_npy(&with("'<f8'", "(4, 2)", &[0; 40]), &words);
    refused_npy(
        &with("'<f8'", "(1, 2)", &[0; 40]),
        &["24 bytes follow the array", "save one array a file"],
    );
}

#[test]
fn an_npy_that_claims_a_huge_array() {
    let huge = format!("({}, {})", u64::MAX, u64::MAX);
    refused_npy(
        &with("'<f8'", &huge, &[0; 8]),
        &["impossibly large", "copy or download it again"],
    );
    // What a petabyte would take is never asked for.
    let words = ["needs 8000000000000000 bytes", "8 are there"];
    refused_npy(&with("'<f8'", "(1000000000, 1000000)", &[0; 8]), &words);
}

#[test]
fn an_npy_without_rows_or_columns() {
    for shape in [
        "(0,)",
        "(0, 3)",
        "(3, 0)",
        "(0, 3, 2)",
        "(2, 0, 2)",
        "(2, 3, 0)",
    ] {
        refused_npy(&with("'<f8'", shape, &[]), &["empty", "expected"]);
    }
}

#[test]
fn an_npy_of_too_many_axes() {
    refused_npy(
        &npy(&[2, 2, 2, 2], &[0.5; 16]),
        &["4 axes", "expected [time], [time, features]"],
    );
}

#[test]
fn an_npy_value_that_is_not_finite() {
    for (value, word) in [
        (f64::NAN, "missing or NaN"),
        (f64::INFINITY, "infinite"),
        (1e300, "infinite"),
    ] {
        let bytes = npy(&[3, 2], &[1.0, 2.0, 3.0, value, 5.0, 6.0]);
        refused_npy(&bytes, &["column `x1`, data row 2", word, "remove the row"]);
    }
}

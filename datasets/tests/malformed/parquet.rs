//! Parquet files.

use std::collections::BTreeSet;

use ncps_datasets::Frame;

use super::{refused, truncated};
use crate::support::Folder;

/// Numbers and texts, as our own writer has them.
fn written() -> Vec<u8> {
    let folder = Folder::new();
    let path = folder.path().join("whole.parquet");
    let frame = Frame::new()
        .with_number("a", (0..40).map(|row| f64::from(row) + 0.25).collect())
        .and_then(|frame| frame.with_text("b", (0..40).map(|row| format!("text {row}")).collect()))
        .unwrap();
    frame.write(&path).unwrap();
    std::fs::read(path).unwrap()
}

#[track_caller]
fn refused_parquet(bytes: &[u8], words: &[&str]) {
    refused(
        "parquet",
        "data.parquet",
        bytes,
        "features = [\"a\"]\n",
        words,
    );
}

#[test]
fn an_empty_parquet() {
    refused_parquet(b"", &["is empty", "expected"]);
}

#[test]
fn a_parquet_cut_short_anywhere() {
    truncated("parquet", "data.parquet", &written(), 5);
}

#[test]
fn a_parquet_that_is_something_else() {
    refused_parquet(
        b"a,b\n1,2\n3,4\n5,6\n7,8\n",
        &["not a Parquet file", "copy or download it again"],
    );
}

#[test]
fn a_parquet_whose_footer_lies_about_its_size() {
    let mut bytes = written();
    let at = bytes.len() - 8;
    bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    refused_parquet(&bytes, &["cannot read", "copy or download it again"]);
}

#[test]
fn a_parquet_column_of_another_type() {
    let words = [
        "column `b`, data row 1",
        "expected a number, found `text 0`",
        "fix the value",
    ];
    refused(
        "parquet",
        "data.parquet",
        written(),
        "features = [\"b\"]\n",
        &words,
    );
}

#[test]
fn a_parquet_without_a_column_that_is_asked_for() {
    let words = ["no column `c`", "it has: a, b"];
    refused(
        "parquet",
        "data.parquet",
        written(),
        "features = [\"c\"]\n",
        &words,
    );
}

#[test]
fn a_parquet_value_that_is_not_finite() {
    let folder = Folder::new();
    let path = folder.path().join("data.parquet");
    let frame = Frame::new()
        .with_number("a", vec![1.0, f64::INFINITY, 2.0])
        .unwrap();
    frame.write(&path).unwrap();
    let bytes = std::fs::read(path).unwrap();
    refused_parquet(
        &bytes,
        &["column `a`, data row 2", "infinite", "data.missing"],
    );
}

/// Bytes all over a small file in turn: counts, sizes, offsets, encodings and the kind of compression are all among them.
#[test]
fn a_parquet_whose_metadata_lie() {
    let whole = written();
    let folder = Folder::new();
    let mut said = BTreeSet::new();
    let mut bytes = whole.clone();
    for (to, stride) in [(0xff, 1), (0x7f, 3)] {
        for at in (0..whole.len()).step_by(stride) {
            bytes[at] = to;
            folder.write("data.parquet", &bytes);
            bytes[at] = whole[at];
            let config = "kind = \"parquet\"\npath = \"data.parquet\"\nfeatures = [\"a\"]";
            if let Err(error) = folder.load(config) {
                said.insert(error.to_string());
            }
        }
    }
    for words in [
        "footer is damaged",
        "outside of the file",
        "`a` is damaged",
        "claims to unpack",
    ] {
        let has = |message: &String| message.contains(words);
        assert!(said.iter().any(has), "none says `{words}`: {said:#?}");
    }
    let advice = [
        "copy or download it again",
        "expected",
        "data.missing",
        "it has:",
        "fewer rows",
    ];
    let without: Vec<&String> = said
        .iter()
        .filter(|message| {
            !message.contains("data.parquet") || !advice.iter().any(|words| message.contains(words))
        })
        .collect();
    assert!(without.is_empty(), "no file or advice in {without:#?}");
}

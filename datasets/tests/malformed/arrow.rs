//! Arrow and Feather files.

use std::collections::BTreeSet;

use super::{refused, truncated};
use crate::support::Folder;

const PLAIN: &[u8] = include_bytes!("../data/plain.arrow");
const ZSTD: &[u8] = include_bytes!("../data/zstd.arrow");
const LZ4: &[u8] = include_bytes!("../data/lz4.feather");

#[track_caller]
fn refused_arrow(bytes: &[u8], words: &[&str]) {
    refused("arrow", "data.arrow", bytes, "", words);
}

/// What is said against a file of which one byte is another, for each of these places.
fn reasons(whole: &[u8], to: u8, places: impl Iterator<Item = usize>) -> BTreeSet<String> {
    let folder = Folder::new();
    let mut bytes = whole.to_vec();
    let mut found = BTreeSet::new();
    for at in places {
        bytes[at] = to;
        folder.write("data.arrow", &bytes);
        bytes[at] = whole[at];
        let config = "kind = \"arrow\"\npath = \"data.arrow\"\nfeatures = [\"f32\"]\nsplit = { kind = \"fraction\", validation = 0.0, test = 0.0 }";
        if let Err(error) = folder.load(config) {
            let message = error.to_string();
            assert!(
                message.contains("data.arrow"),
                "byte {at} = {to}: {message}"
            );
            found.insert(message);
        }
    }
    found
}

#[test]
fn an_empty_arrow() {
    refused_arrow(b"", &["is empty", "expected"]);
}

#[test]
fn an_arrow_cut_short_anywhere() {
    truncated("arrow", "data.arrow", PLAIN, 11);
    truncated("arrow", "data.feather", LZ4, 11);
}

#[test]
fn an_arrow_that_is_something_else() {
    let words = ["not an Arrow file", "streams have no index: write a file"];
    refused_arrow(b"a,b\n1,2\n3,4\n5,6\n7,8\n", &words);
}

#[test]
fn a_feather_of_the_first_version() {
    refused(
        "arrow",
        "data.feather",
        b"FEA1 and more of it FEA1",
        "",
        &["version 1", "write it again as version 2"],
    );
}

#[test]
fn an_arrow_column_of_another_type() {
    let words = ["column `list`", "list"];
    refused(
        "arrow",
        "data.arrow",
        PLAIN,
        "features = [\"list\"]\n",
        &words,
    );
    refused(
        "arrow",
        "data.arrow",
        PLAIN,
        "features = [\"text\"]\n",
        &["column `text`", "expected a number"],
    );
}

#[test]
fn an_arrow_without_a_column_that_is_asked_for() {
    let words = ["no column `f332`", "did you mean `f32`?"];
    refused(
        "arrow",
        "data.arrow",
        PLAIN,
        "features = [\"f332\"]\n",
        &words,
    );
}

/// Bytes all over a small file in turn: sizes, offsets, counts, types and the kind of compression are all among them.
#[test]
fn an_arrow_whose_metadata_lie() {
    let mut said = BTreeSet::new();
    for whole in [PLAIN, ZSTD] {
        said.extend(reasons(whole, 0xff, (0..whole.len()).step_by(5)));
    }
    // The kind of compression is a 1.
    let ones = (0..ZSTD.len()).filter(|at| ZSTD[*at] == 1);
    said.extend(reasons(ZSTD, 7, ones));
    for words in [
        "compression 7 is not understood: use lz4, zstd or none",
        "claims",
        "outside of the file",
        "footer is damaged",
        "a compressed buffer is damaged",
    ] {
        let has = |message: &String| message.contains(words);
        assert!(said.iter().any(has), "none says `{words}`: {said:#?}");
    }
    let advises = |message: &&String| {
        let advice = [
            "copy or download it again",
            "expected",
            "use ",
            "data.missing",
            "rename",
            "write ",
            "did you mean",
            "it has:",
        ];
        !advice.iter().any(|words| message.contains(words))
    };
    let without: Vec<&String> = said.iter().filter(advises).collect();
    assert!(without.is_empty(), "no advice in {without:#?}");
}

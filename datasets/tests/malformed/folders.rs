//! Folders of files, a series each.

use super::told;
use crate::support::{Folder, npy};

#[track_caller]
fn refused(files: &[(&str, &[u8])], config: &str, words: &[&str]) {
    let folder = Folder::new();
    for (name, bytes) in files {
        folder.write(&format!("series/{name}"), bytes);
    }
    let error = folder
        .load(&format!("path = \"series\"\n{config}"))
        .unwrap_err();
    told(&error, words);
}

const CSV: &str = "kind = \"csv\"\nfeatures = [\"a\", \"b\"]\n";
const GOOD: &[u8] = b"a,b\n1,2\n3,4\n";

#[test]
fn a_folder_without_files_of_the_format() {
    let words = [
        "no file ending in `.parquet`",
        "series",
        "name a folder that has some",
    ];
    refused(&[("notes.md", b"x")], "kind = \"parquet\"\n", &words);
}

#[test]
fn a_folder_with_an_empty_file() {
    refused(
        &[("1.csv", GOOD), ("2.csv", b"")],
        CSV,
        &["2.csv", "is empty", "expected"],
    );
}

#[test]
fn a_folder_whose_files_have_other_columns() {
    let words = ["2.csv", "no column `b`", "it has: a, c"];
    refused(&[("1.csv", GOOD), ("2.csv", b"a,c\n1,2\n")], CSV, &words);
    let arrays = [
        ("1.npy", npy(&[4, 2], &[0.5; 8])),
        ("2.npy", npy(&[4, 3], &[0.5; 12])),
    ];
    let files = [
        (arrays[0].0, &arrays[0].1[..]),
        (arrays[1].0, &arrays[1].1[..]),
    ];
    let words = [
        "2.npy",
        "it has 3 columns, the files before it 2",
        "all files need the same",
    ];
    refused(&files, "kind = \"npy\"\n", &words);
}

#[test]
fn a_folder_with_a_damaged_file() {
    let words = ["2.csv", "data row 2 has 3 fields", "fix the row"];
    refused(
        &[("1.csv", GOOD), ("2.csv", b"a,b\n1,2\n1,2,3\n")],
        CSV,
        &words,
    );
}

#[test]
fn a_folder_with_a_file_of_another_format() {
    let words = ["2.csv", "is not UTF-8 text", "save the file as UTF-8"];
    refused(
        &[("1.csv", GOOD), ("2.csv", b"PAR1\xff\xff\xff\xff\n")],
        CSV,
        &words,
    );
}

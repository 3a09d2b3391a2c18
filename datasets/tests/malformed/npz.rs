//! npz archives.

use super::{refused, truncated};
use crate::support::{npy, zip};

const SAVED: &[u8] = include_bytes!("../data/saved.npz");
const PACKED: &[u8] = include_bytes!("../data/packed.npz");
const LAST: &str = "y = \"y\"\ntask = { kind = \"label_last_step\" }\n";

#[track_caller]
fn refused_npz(bytes: &[u8], words: &[&str]) {
    refused("npz", "data.npz", bytes, "", words);
}

fn archive(arrays: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let members = arrays
        .iter()
        .map(|(name, bytes)| (format!("{name}.npy"), bytes.clone()));
    zip(&members.collect::<Vec<_>>())
}

/// The place of a member's entry in the archive's list.
fn listed(bytes: &[u8]) -> usize {
    bytes
        .windows(4)
        .position(|four| four == b"PK\x01\x02")
        .unwrap()
}

#[test]
fn an_empty_npz() {
    refused_npz(b"", &["is empty", "expected"]);
}

#[test]
fn an_npz_cut_short_anywhere() {
    truncated("npz", "data.npz", SAVED, 7);
    truncated("npz", "data.npz", PACKED, 7);
}

#[test]
fn an_npz_that_is_something_else() {
    refused_npz(
        b"\x93NUMPY and more of it, so that it is long",
        &["no zip", "copy or download it again"],
    );
}

#[test]
fn an_npz_without_arrays() {
    let notes = zip(&[("notes.txt".to_owned(), b"hello".to_vec())]);
    refused_npz(&notes, &["it holds no array", "numpy.savez"]);
}

#[test]
fn an_npz_packed_in_an_unknown_way() {
    let mut bytes = SAVED.to_vec();
    let at = listed(&bytes);
    bytes[at + 10] = 14;
    refused_npz(&bytes, &["packed by method 14", "pack it by deflate"]);
}

#[test]
fn an_npz_with_a_changed_byte() {
    let mut bytes = archive(&[("x", npy(&[4, 2], &[0.5; 8]))]);
    let at = bytes
        .windows(8)
        .position(|eight| eight == 0.5f64.to_le_bytes())
        .unwrap();
    bytes[at] ^= 1;
    refused_npz(
        &bytes,
        &[
            "`x.npy` does not match its checksum",
            "copy or download it again",
        ],
    );
}

#[test]
fn an_npz_that_lies_about_a_members_size() {
    let mut bytes = PACKED.to_vec();
    let at = listed(&bytes);
    bytes[at + 24..at + 28].copy_from_slice(&7u32.to_le_bytes());
    refused_npz(
        &bytes,
        &[
            "not of its stated size of 7 bytes",
            "copy or download it again",
        ],
    );
    bytes[at + 24..at + 28].copy_from_slice(&0xffff_fff0u32.to_le_bytes());
    refused_npz(&bytes, &["copy or download it again"]);
}

#[test]
fn an_npz_whose_member_is_no_array() {
    let bytes = archive(&[("x", b"no array".to_vec())]);
    refused_npz(
        &bytes,
        &["x.npy", "not an npy file", "copy or download it again"],
    );
}

#[test]
fn an_npz_without_the_array_that_is_asked_for() {
    let bytes = archive(&[("inputs", npy(&[4, 2], &[0.5; 8]))]);
    refused_npz(&bytes, &["no column `x`", "it has: inputs"]);
}

#[test]
fn npz_arrays_that_do_not_fit_each_other() {
    let bytes = archive(&[
        ("x", npy(&[2, 4, 2], &[0.5; 16])),
        ("y", npy(&[3], &[0.0; 3])),
    ]);
    let words = [
        "targets of shape [3]",
        "expected some for each step, or one for each series",
    ];
    refused("npz", "data.npz", &bytes, LAST, &words);
    let bytes = archive(&[
        ("x", npy(&[2, 4, 2], &[0.5; 16])),
        ("y", npy(&[2], &[0.0, 1.0])),
        ("t", npy(&[5], &[0.0; 5])),
    ]);
    let words = [
        "times of shape [5] do not fit",
        "expected one for each step",
    ];
    refused(
        "npz",
        "data.npz",
        &bytes,
        &format!("t = \"t\"\n{LAST}"),
        &words,
    );
}

#[test]
fn npz_arrays_without_values() {
    for shape in [&[0][..], &[0, 2], &[0, 4, 2], &[2, 0, 2], &[2, 4, 0]] {
        let bytes = archive(&[("x", npy(shape, &[])), ("y", npy(&[2], &[0.0, 1.0]))]);
        refused("npz", "data.npz", &bytes, LAST, &["empty", "expected"]);
    }
}

#[test]
fn npz_values_and_times_that_are_not_finite() {
    let mut x = [0.5; 8];
    x[5] = f64::NAN;
    let bytes = archive(&[("x", npy(&[4, 2], &x))]);
    refused(
        "npz",
        "data.npz",
        &bytes,
        "",
        &["column `x1`, data row 3", "missing or NaN"],
    );
    let bytes = archive(&[
        ("x", npy(&[4, 2], &[0.5; 8])),
        ("t", npy(&[4], &[0.0, 1.0, f64::NAN, 3.0])),
    ]);
    let words = [
        "column `t0`, data row 3",
        "missing or NaN",
        "remove the row",
    ];
    refused("npz", "data.npz", &bytes, "t = \"t\"\n", &words);
}

#[test]
fn npz_times_out_of_order() {
    let bytes = archive(&[
        ("x", npy(&[4, 2], &[0.5; 8])),
        ("t", npy(&[4], &[0.0, 2.0, 1.0, 3.0])),
    ]);
    let words = ["goes backwards", "data row 3", "sort the rows"];
    refused("npz", "data.npz", &bytes, "t = \"t\"\n", &words);
}

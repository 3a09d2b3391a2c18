//! Archives that data sets come in.

use std::io::Write;

use ncps_datasets::unpack;

use super::told;
use crate::support::{Folder, zip};

/// A tar member of that kind, as `tar` writes it.
fn tar(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
    let mut header = [0u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    header[156] = kind;
    header[157..163].copy_from_slice(b"/tmp/x");
    header[257..263].copy_from_slice(b"ustar\0");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut bytes = [&header, content].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn one_zip(name: &str, content: &[u8]) -> Vec<u8> {
    zip(&[(name.to_owned(), content.to_vec())])
}

/// Unpacks into an inner folder, is refused in these words, and leaves nothing beside that folder.
#[track_caller]
fn refused(name: &str, bytes: &[u8], words: &[&str]) {
    let folder = Folder::new();
    folder.write(name, bytes);
    let error = unpack(&folder.path().join(name), &folder.path().join("in"), 4096).unwrap_err();
    told(&error, &[&[name], words].concat());
    let beside = std::fs::read_dir(folder.path()).unwrap();
    let names: Vec<String> = beside
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|found| found != name && found != "in")
        .collect();
    assert!(names.is_empty(), "{name} wrote {names:?}");
}

#[test]
fn empty_archives() {
    for name in ["a.zip", "a.tar", "a.tar.gz", "a.gz"] {
        refused(name, b"", &["copy or download it again"]);
    }
}

#[test]
fn archives_cut_short_anywhere() {
    let packed = one_zip("data.csv", b"a,b\n1,2\n");
    for keep in 1..packed.len() {
        refused(
            "a.zip",
            &packed[..keep],
            &["cannot read", "copy or download it again"],
        );
    }
    let whole = tar("data.csv", b'0', b"a,b\n1,2\n");
    for keep in (1..whole.len()).step_by(37) {
        refused(
            "a.tar",
            &whole[..keep],
            &["truncated", "copy or download it again"],
        );
    }
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&whole).unwrap();
    let gzipped = encoder.finish().unwrap();
    for keep in 1..gzipped.len() - 8 {
        refused(
            "a.tar.gz",
            &gzipped[..keep],
            &["cannot", "copy or download it again"],
        );
        refused(
            "a.gz",
            &gzipped[..keep],
            &["cannot", "copy or download it again"],
        );
    }
}

#[test]
fn archives_that_are_something_else() {
    let text = b"a,b\n1,2\n".repeat(100);
    refused("a.zip", &text, &["no zip", "copy or download it again"]);
    refused(
        "a.tar",
        &text,
        &["not a tar archive", "copy or download it again"],
    );
    refused(
        "a.tar.gz",
        &text,
        &["cannot be unpacked", "copy or download it again"],
    );
    refused("a.rar", &text, &["expected .zip, .tar, .tar.gz or .gz"]);
}

#[test]
fn archives_with_a_changed_byte() {
    let mut packed = one_zip("data.csv", b"a,b\n1,2\n");
    let at = packed.windows(3).position(|three| three == b"1,2").unwrap();
    packed[at] = b'9';
    refused(
        "a.zip",
        &packed,
        &[
            "`data.csv` does not match its checksum",
            "copy or download it again",
        ],
    );
    let mut whole = tar("data.csv", b'0', b"a,b\n1,2\n");
    whole[3] = b'x';
    refused(
        "a.tar",
        &whole,
        &["does not match its checksum", "copy or download it again"],
    );
}

#[test]
fn archives_packed_in_an_unknown_way() {
    let mut packed = one_zip("data.csv", b"a,b\n1,2\n");
    let at = packed
        .windows(4)
        .position(|four| four == b"PK\x01\x02")
        .unwrap();
    packed[at + 10] = 99;
    refused(
        "a.zip",
        &packed,
        &["packed by method 99", "pack it by deflate"],
    );
}

#[test]
fn archives_that_lead_out_of_their_folder() {
    for name in ["../out", "a/../../out", "/out", "a\\..\\..\\out", ".."] {
        let words = ["outside of the folder", "remove it from the archive"];
        refused("a.zip", &one_zip(name, b"x"), &words);
        refused("a.tar", &tar(name, b'0', b"x"), &words);
    }
}

#[test]
fn archives_with_links() {
    let folder = Folder::new();
    folder.write(
        "a.tar",
        [
            tar("link", b'2', b""),
            tar("hard", b'1', b""),
            tar("link/x", b'0', b"x"),
        ]
        .concat(),
    );
    let inner = folder.path().join("in");
    let written = unpack(&folder.path().join("a.tar"), &inner, 4096).unwrap();
    // The links are passed over, so the last one is a plain file in a plain folder.
    assert_eq!(written, [inner.join("link/x")]);
    assert!(inner.join("link").symlink_metadata().unwrap().is_dir());
    assert!(!inner.join("hard").exists());
}

#[test]
fn archives_that_swell() {
    let zeros = vec![0; 5000];
    let words = [
        "past 4096 more bytes",
        "more than the data are known to need",
    ];
    refused("a.zip", &one_zip("zeros", &zeros), &words);
    refused("a.tar", &tar("zeros", b'0', &zeros), &words);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&zeros).unwrap();
    refused("a.gz", &encoder.finish().unwrap(), &words);
}

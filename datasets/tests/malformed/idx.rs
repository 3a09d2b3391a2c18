//! IDX files of images and labels.

use std::io::Write;

use super::told;
use crate::support::Folder;

fn idx(kind: u8, shape: &[u32], values: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, kind, shape.len() as u8];
    bytes.extend(shape.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend(values);
    bytes
}

fn images() -> Vec<u8> {
    idx(8, &[4, 2, 2], &[7; 16])
}

fn labels() -> Vec<u8> {
    idx(8, &[4], &[0, 1, 0, 1])
}

/// Loads images and labels; the one of this name is refused in these words.
#[track_caller]
fn refused(images: &[u8], labels: &[u8], name: &str, words: &[&str]) {
    let folder = Folder::new();
    folder.write("images", images).write("labels", labels);
    let config = "kind = \"idx\"\nimages = \"images\"\nlabels = \"labels\"\nvalidation = 0.25";
    let error = folder.load(config).unwrap_err();
    told(&error, &[&[name], words].concat());
}

#[track_caller]
fn refused_images(bytes: &[u8], words: &[&str]) {
    refused(bytes, &labels(), "images", words);
}

#[test]
fn empty_idx() {
    refused_images(b"", &["is empty", "expected"]);
    refused(&images(), b"", "labels", &["is empty", "expected"]);
}

#[test]
fn idx_cut_short_anywhere() {
    let whole = images();
    for keep in 1..whole.len() {
        refused_images(&whole[..keep], &["truncated", "copy or download it again"]);
    }
}

#[test]
fn idx_that_is_something_else() {
    refused_images(
        b"a,b\n1,2\n3,4\n",
        &["not an IDX file", "copy or download it again"],
    );
}

#[test]
fn idx_of_an_unknown_type() {
    refused_images(
        &idx(7, &[4, 2, 2], &[7; 16]),
        &["type 0x07 is unknown", "expected 0x08"],
    );
}

#[test]
fn idx_of_too_many_axes() {
    for axes in [0, 9] {
        let mut bytes = images();
        bytes[3] = axes;
        refused_images(&bytes, &[&format!("{axes} axes"), "expected 1 to 4"]);
    }
}

#[test]
fn idx_whose_header_lies_about_its_size() {
    let words = [
        "needs 20 bytes of data, 16 are there",
        "copy or download it again",
    ];
    refused_images(&idx(8, &[5, 2, 2], &[7; 16]), &words);
    refused_images(
        &idx(8, &[3, 2, 2], &[7; 16]),
        &["needs 12 bytes of data, 16 are there"],
    );
}

#[test]
fn idx_that_claims_a_huge_array() {
    let huge = idx(8, &[u32::MAX, u32::MAX, u32::MAX], &[7; 16]);
    refused_images(&huge, &["impossibly large", "copy or download it again"]);
    refused_images(&idx(8, &[2_000_000_000, 1, 1], &[7; 16]), &["16 are there"]);
}

#[test]
fn idx_in_a_damaged_gzip() {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&images()).unwrap();
    let whole = encoder.finish().unwrap();
    let words = ["gzip stream is damaged", "copy or download it again"];
    for keep in 2..whole.len() {
        refused_images(&whole[..keep], &words);
    }
    let mut changed = whole;
    let at = changed.len() - 6;
    changed[at] ^= 1;
    refused_images(&changed, &words);
}

#[test]
fn idx_labels_that_do_not_fit_the_images() {
    let words = ["one label for each of 4 images", "expected shape [4]"];
    refused(&images(), &idx(8, &[3], &[0, 1, 0]), "labels", &words);
}

#[test]
fn idx_images_that_are_no_images() {
    let words = [
        "shape [4, 4] is no list of images",
        "expected [count, rows, columns]",
    ];
    refused_images(&idx(8, &[4, 4], &[7; 16]), &words);
}

#[test]
fn idx_without_images() {
    refused(
        &idx(8, &[0, 2, 2], &[]),
        &idx(8, &[0], &[]),
        "images",
        &["is empty", "expected"],
    );
}

#[test]
fn idx_labels_that_are_no_classes() {
    let values: Vec<u8> = [0.0f32, 0.5, 1.0, 0.0]
        .iter()
        .flat_map(|v| v.to_be_bytes())
        .collect();
    refused(
        &images(),
        &idx(0x0d, &[4], &values),
        "label",
        &["`0.5` is no whole number"],
    );
}

#[test]
fn idx_pixels_and_labels_that_are_not_finite() {
    let mut values = [1.0f32; 16];
    values[6] = f32::NAN;
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
    let words = ["column `x0`, data row 4", "missing or NaN"];
    refused_images(&idx(0x0d, &[4, 2, 2], &bytes), &words);
    let values: Vec<u8> = [0.0f32, f32::INFINITY, 1.0, 0.0]
        .iter()
        .flat_map(|v| v.to_be_bytes())
        .collect();
    let words = ["column `label0`, data row 2", "infinite"];
    refused(&images(), &idx(0x0d, &[4], &values), "labels", &words);
}

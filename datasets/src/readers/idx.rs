//! The IDX format of the MNIST files: a magic number, sizes and plain values, big-endian, gzipped or not.
//!
//! # Source
//! Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten digits", section "File formats".

use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

use crate::error::{Error, Result};

/// More axes than this are neither labels, tables nor images.
const MAX_AXES: usize = 4;
/// Bytes before the values at most.
const LONGEST_HEADER: usize = 4 + 4 * MAX_AXES;
/// What a gzipped file begins with.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Larger arrays are refused before memory is asked for.
const MAX_VALUES: usize = 1 << 31;

/// An array of an IDX file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct IdxArray {
    /// Sizes of the axes, the slowest first.
    pub(crate) shape: Vec<usize>,
    /// Values, the last axis fastest.
    pub(crate) values: Vec<f32>,
}

/// Reads an IDX file, or a gzipped one.
pub(crate) fn read(path: &Path) -> Result<IdxArray> {
    let bytes = super::read_bytes(path)?;
    parse(path, &bytes)
}

/// The shape of a file that begins as IDX files do, gzipped or not, without its values; none for any other file.
pub(crate) fn shape(path: &Path) -> Option<Vec<usize>> {
    let begin = |from: &mut dyn Read| {
        let mut bytes = Vec::new();
        from.take(LONGEST_HEADER as u64)
            .read_to_end(&mut bytes)
            .ok()?;
        Some(bytes)
    };
    // What is read of a pipe is gone.
    let is_plain = std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    let open = || is_plain.then(|| File::open(path).ok()).flatten();
    let mut bytes = begin(&mut open()?)?;
    if bytes.starts_with(&GZIP) {
        bytes = begin(&mut GzDecoder::new(open()?))?;
    }
    header(&bytes).ok().map(|(header, _)| header.shape)
}

/// Reads an IDX file held in memory; `path` is what errors call it.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<IdxArray> {
    if bytes.is_empty() {
        return Err(Error::EmptyFile {
            path: path.to_path_buf(),
        });
    }
    let failed = |reason| malformed(path, reason);
    if bytes.starts_with(&GZIP) {
        let mut plain = Vec::new();
        // One byte more than the largest array shows that there is too much.
        let mut stream = GzDecoder::new(bytes).take(8 * MAX_VALUES as u64 + 32);
        stream
            .read_to_end(&mut plain)
            .map_err(|error| failed(format!("its gzip stream is damaged: {error}")))?;
        return decode(&plain).map_err(failed);
    }
    decode(bytes).map_err(failed)
}

/// What stands before the values.
struct Header {
    /// The type of the values.
    kind: u8,
    /// Bytes of a value.
    width: usize,
    shape: Vec<usize>,
}

/// The header of a file, and the bytes behind it.
fn header(bytes: &[u8]) -> std::result::Result<(Header, &[u8]), String> {
    let cut = || "it is truncated inside the header".to_owned();
    let (magic, mut rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
    let [0, 0, kind, axes] = *magic else {
        return Err("it does not begin with two zero bytes: not an IDX file".to_owned());
    };
    let width = match kind {
        0x08 | 0x09 => 1,
        0x0b => 2,
        0x0c | 0x0d => 4,
        0x0e => 8,
        _ => {
            return Err(format!(
                "value type 0x{kind:02x} is unknown: expected 0x08, 0x09 or 0x0b to 0x0e"
            ));
        }
    };
    let axes = usize::from(axes);
    if axes == 0 || axes > MAX_AXES {
        return Err(format!("{axes} axes: expected 1 to {MAX_AXES}"));
    }
    let mut shape = Vec::with_capacity(axes);
    for _ in 0..axes {
        let (size, behind) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        shape.push(u32::from_be_bytes(*size) as usize);
        rest = behind;
    }
    Ok((Header { kind, width, shape }, rest))
}

fn decode(bytes: &[u8]) -> std::result::Result<IdxArray, String> {
    let (Header { kind, width, shape }, rest) = header(bytes)?;
    let count = shape
        .iter()
        .try_fold(1usize, |product, size| product.checked_mul(*size))
        .filter(|count| *count <= MAX_VALUES)
        .ok_or_else(|| format!("shape {shape:?} is impossibly large"))?;
    if rest.len() != count * width {
        return Err(format!(
            "shape {shape:?} needs {} bytes of data, {} are there: the file is truncated or damaged",
            count * width,
            rest.len()
        ));
    }
    let value = |item: &[u8]| match *item {
        [byte] if kind == 0x08 => f32::from(byte),
        [byte] => f32::from(byte as i8),
        [a, b] => f32::from(i16::from_be_bytes([a, b])),
        [a, b, c, d] if kind == 0x0c => i32::from_be_bytes([a, b, c, d]) as f32,
        [a, b, c, d] => f32::from_be_bytes([a, b, c, d]),
        [a, b, c, d, e, f, g, h] => f64::from_be_bytes([a, b, c, d, e, f, g, h]) as f32,
        _ => f32::NAN,
    };
    let values = rest.chunks_exact(width).map(value).collect();
    Ok(IdxArray { shape, values })
}

fn malformed(path: &Path, reason: String) -> Error {
    Error::Malformed {
        path: path.to_path_buf(),
        format: "IDX",
        reason,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(bytes: &[u8]) -> Result<IdxArray> {
        super::parse(Path::new("t.idx"), bytes)
    }

    #[test]
    fn every_type_is_read() {
        for (kind, data, expected) in [
            (0x08, vec![200u8], 200.0),
            (0x09, vec![200], -56.0),
            (0x0b, vec![0xff, 0xfe], -2.0),
            (0x0c, vec![0, 0, 1, 0], 256.0),
            (0x0d, 1.5f32.to_be_bytes().to_vec(), 1.5),
            (0x0e, (-2.5f64).to_be_bytes().to_vec(), -2.5),
        ] {
            let mut bytes = vec![0, 0, kind, 1, 0, 0, 0, 1];
            bytes.extend(data);
            let array = parse(&bytes).unwrap();
            assert_eq!((array.shape, array.values), (vec![1], vec![expected]));
        }
    }

    #[test]
    fn malformed_files_are_named() {
        let head = [0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 2];
        let with = |data: &[u8]| [&head[..], data].concat();
        let huge = [&[0, 0, 8, 4][..], &[0xff; 16]].concat();
        for (bytes, expected) in [
            (with(&[1, 2, 3]), "truncated"),
            (with(&[1, 2, 3, 4, 5]), "4 bytes of data, 5"),
            (vec![1, 2, 3, 4, 5], "not an IDX file"),
            (vec![0, 0, 7, 1, 0, 0, 0, 1, 1], "0x07"),
            (vec![0, 0, 8, 9], "9 axes"),
            (vec![0, 0, 8, 1, 0, 0], "inside the header"),
            (huge, "impossibly large"),
            (vec![0x1f, 0x8b, 8, 0], "gzip"),
        ] {
            let error = parse(&bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(matches!(parse(&[]), Err(Error::EmptyFile { .. })));
    }

    proptest! {
        #![proptest_config(crate::property::cases(256))]

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse(&bytes);
            let _ = parse(&[&[0u8, 0, 8][..], &bytes].concat());
        }
    }
}

//! NumPy's npy format, versions 1 to 3: numbers of any width, either byte order, either axis order.
//!
//! # Source
//! The layout is NumPy Enhancement Proposal 1 ("A simple file format for NumPy arrays").

use std::path::Path;

use crate::error::{Error, Result};

const MAGIC: &[u8] = b"\x93NUMPY";
/// More axes than this are neither series nor sequences of frames.
const MAX_AXES: usize = 4;
/// More axes than this are no time series.
const MAX_SERIES_AXES: usize = 3;

/// An array of an npy file, in C order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct NpyArray {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f64>,
}

impl NpyArray {
    /// The shape as rows and columns; a vector is one column.
    pub(crate) fn table_shape(&self, path: &Path) -> Result<[usize; 2]> {
        match *self.shape.as_slice() {
            [rows] => Ok([rows, 1]),
            [rows, columns] => Ok([rows, columns]),
            _ => {
                let reason = format!(
                    "shape {:?} is no table: expected [time] or [time, features]",
                    self.shape
                );
                Err(malformed(path, reason))
            }
        }
    }
}

/// Reads an npy file whole.
pub(crate) fn read(path: &Path) -> Result<NpyArray> {
    let array = parse(path, &super::read_bytes(path)?)?;
    if array.shape.len() > MAX_SERIES_AXES {
        return Err(malformed(path, no_series(array.shape.len())));
    }
    if array.values.is_empty() {
        return Err(Error::EmptyFile {
            path: path.to_path_buf(),
        });
    }
    Ok(array)
}

/// Reads an npy file held in memory; `path` is what errors call it.
pub(crate) fn parse(path: &Path, bytes: &[u8]) -> Result<NpyArray> {
    if bytes.is_empty() {
        return Err(Error::EmptyFile {
            path: path.to_path_buf(),
        });
    }
    let (header, body) =
        split_header(bytes).map_err(|reason| malformed(path, reason.to_owned()))?;
    let header = Header::parse(header).map_err(|reason| malformed(path, reason))?;
    let values = header
        .decode(body)
        .map_err(|reason| malformed(path, reason))?;
    if values.is_empty() {
        return Err(Error::EmptyFile {
            path: path.to_path_buf(),
        });
    }
    let values = if header.is_fortran {
        to_c_order(&values, &header.shape)
    } else {
        values
    };
    Ok(NpyArray {
        shape: header.shape,
        values,
    })
}

fn split_header(bytes: &[u8]) -> std::result::Result<(&str, &[u8]), &'static str> {
    let truncated = "the header is cut short: the file is truncated";
    let rest = bytes
        .strip_prefix(MAGIC)
        .ok_or("it does not begin with \\x93NUMPY: not an npy file")?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or(truncated)?;
    let (length, rest) = match version[0] {
        1 => {
            let (length, rest) = rest.split_first_chunk::<2>().ok_or(truncated)?;
            (u16::from_le_bytes(*length) as usize, rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk::<4>().ok_or(truncated)?;
            (u32::from_le_bytes(*length) as usize, rest)
        }
        _ => return Err("unknown npy version: expected 1, 2 or 3"),
    };
    let (header, body) = rest.split_at_checked(length).ok_or(truncated)?;
    let header = std::str::from_utf8(header).map_err(|_| "the header is not text")?;
    Ok((header, body))
}

#[derive(Debug, PartialEq)]
struct Header {
    kind: u8,
    width: usize,
    is_big_endian: bool,
    is_fortran: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Reads the three entries of the header's dictionary, which NumPy always writes in plain form.
    fn parse(text: &str) -> std::result::Result<Self, String> {
        let descr = entry(text, "descr")?;
        let descr = descr
            .strip_prefix('\'')
            .and_then(|rest| rest.split_once('\''))
            .map(|(name, _)| name)
            .ok_or("its values are structured: save a plain array of numbers")?;
        let (order, kind, width) = match descr.as_bytes() {
            [order @ (b'<' | b'>' | b'|' | b'='), kind, width @ ..] => (*order, *kind, width),
            _ => return Err(format!("dtype `{descr}` is not understood")),
        };
        let width = std::str::from_utf8(width)
            .ok()
            .and_then(|width| width.parse().ok())
            .unwrap_or(0);
        let is_known = matches!(
            (kind, width),
            (b'f', 2 | 4 | 8) | (b'i' | b'u', 1 | 2 | 4 | 8) | (b'b', 1)
        );
        if !is_known {
            return Err(format!(
                "dtype `{descr}` is no plain number: save floats or integers"
            ));
        }
        let is_fortran = match entry(text, "fortran_order")? {
            flag if flag.starts_with("True") => true,
            flag if flag.starts_with("False") => false,
            _ => return Err("the header's fortran_order is neither True nor False".to_owned()),
        };
        let shape = shape(entry(text, "shape")?)?;
        Ok(Self {
            kind,
            width,
            is_big_endian: order == b'>',
            is_fortran,
            shape,
        })
    }

    fn decode(&self, body: &[u8]) -> std::result::Result<Vec<f64>, String> {
        let bytes = self
            .shape
            .iter()
            .try_fold(self.width, |product, size| product.checked_mul(*size))
            .ok_or_else(|| format!("shape {:?} is impossibly large", self.shape))?;
        if body.len() < bytes {
            return Err(format!(
                "it is truncated: shape {:?} needs {bytes} bytes of data, {} are there",
                self.shape,
                body.len()
            ));
        }
        if body.len() > bytes {
            return Err(format!(
                "{} bytes follow the array: save one array a file",
                body.len() - bytes
            ));
        }
        Ok(body
            .chunks_exact(self.width)
            .map(|item| self.number(item))
            .collect())
    }

    fn number(&self, item: &[u8]) -> f64 {
        let mut raw = [0u8; 8];
        raw[..item.len()].copy_from_slice(item);
        if self.is_big_endian {
            raw[..item.len()].reverse();
        }
        let bits = u64::from_le_bytes(raw);
        let unused = 64 - 8 * self.width as u32;
        match (self.kind, self.width) {
            (b'f', 8) => f64::from_bits(bits),
            (b'f', 4) => f64::from(f32::from_bits(bits as u32)),
            (b'f', _) => half_to_f64(bits as u16),
            (b'i', _) => (((bits << unused) as i64) >> unused) as f64,
            _ => bits as f64,
        }
    }
}

/// The text behind `'key':` in the header's dictionary.
fn entry<'a>(text: &'a str, key: &str) -> std::result::Result<&'a str, String> {
    let quoted = format!("'{key}'");
    text.find(&quoted)
        .and_then(|at| text[at + quoted.len()..].trim_start().strip_prefix(':'))
        .map(str::trim_start)
        .ok_or_else(|| format!("the header has no `{key}`"))
}

fn shape(text: &str) -> std::result::Result<Vec<usize>, String> {
    let inner = text.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    let (inner, _) = inner.ok_or("the header's shape is no tuple")?;
    let sizes = inner
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty());
    let shape: Option<Vec<usize>> = sizes.map(|size| size.parse().ok()).collect();
    let shape =
        shape.ok_or_else(|| format!("the header's shape ({inner}) holds no plain sizes"))?;
    if shape.is_empty() || shape.len() > MAX_AXES {
        return Err(no_series(shape.len()));
    }
    Ok(shape)
}

fn no_series(axes: usize) -> String {
    format!(
        "{axes} axes are no time series: expected [time], [time, features] or [series, time, features]"
    )
}

/// IEEE 754 binary16: 1 sign bit, 5 exponent bits (bias 15), 10 fraction bits.
pub(crate) fn half_to_f64(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let fraction = f64::from(bits & 0x3ff) / 1024.0;
    let magnitude = match i32::from(bits >> 10 & 0x1f) {
        0 => fraction * 2f64.powi(-14),
        31 if fraction > 0.0 => f64::NAN,
        31 => f64::INFINITY,
        exponent => (1.0 + fraction) * 2f64.powi(exponent - 15),
    };
    sign * magnitude
}

fn to_c_order(values: &[f64], shape: &[usize]) -> Vec<f64> {
    let strides: Vec<usize> = shape
        .iter()
        .scan(1, |stride, size| {
            Some(std::mem::replace(stride, *stride * size))
        })
        .collect();
    let place = |mut index: usize| {
        let mut source = 0;
        for (size, stride) in shape.iter().zip(&strides).rev() {
            source += (index % size) * stride;
            index /= size;
        }
        values[source]
    };
    (0..values.len()).map(place).collect()
}

fn malformed(path: &Path, reason: String) -> Error {
    Error::Malformed {
        path: path.to_path_buf(),
        format: "npy",
        reason,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(descr: &str, fortran: &str, shape: &str, body: &[u8]) -> Vec<u8> {
        let header =
            format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0]);
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(body);
        bytes
    }

    fn parse_bytes(bytes: &[u8]) -> Result<NpyArray> {
        parse(Path::new("t.npy"), bytes)
    }

    fn reason(bytes: &[u8]) -> String {
        parse_bytes(bytes).unwrap_err().to_string()
    }

    #[test]
    fn every_plain_dtype_is_read() {
        let cases: [(&str, &[u8], f64); 10] = [
            ("<f8", &[0, 0, 0, 0, 0, 0, 0xf8, 0x3f], 1.5),
            (">f8", &[0x3f, 0xf8, 0, 0, 0, 0, 0, 0], 1.5),
            ("<f4", &[0, 0, 0xc0, 0x3f], 1.5),
            ("<f2", &[0, 0x3e], 1.5),
            ("<i8", &[0xfe, 255, 255, 255, 255, 255, 255, 255], -2.0),
            (">i4", &[255, 255, 255, 0xfe], -2.0),
            ("<i2", &[0xfe, 255], -2.0),
            ("|i1", &[0xfe], -2.0),
            ("<u2", &[0xfe, 255], 65534.0),
            ("|b1", &[1], 1.0),
        ];
        for (descr, body, expected) in cases {
            let array = parse_bytes(&file(descr, "False", "(1,)", body)).unwrap();
            assert_eq!(array.values, [expected], "{descr}");
        }
    }

    #[test]
    fn fortran_order_becomes_c_order() {
        let body = [1u8, 2, 3, 4, 5, 6];
        let array = parse_bytes(&file("|u1", "True", "(2, 3)", &body)).unwrap();
        assert_eq!(array.values, [1.0, 3.0, 5.0, 2.0, 4.0, 6.0]);
        let cube: Vec<u8> = (0..24).collect();
        let array = parse_bytes(&file("|u1", "True", "(2, 3, 4)", &cube)).unwrap();
        // Element [1, 2, 3] lies last in either order, [0, 0, 1] at 2 * 3 in Fortran's.
        assert_eq!((array.values[23], array.values[1]), (23.0, 6.0));
    }

    #[test]
    fn truncated_files_say_so() {
        let whole = file("<f4", "False", "(2, 2)", &[0; 16]);
        for keep in 1..whole.len() {
            assert!(
                matches!(parse_bytes(&whole[..keep]), Err(Error::Malformed { .. })),
                "{keep}"
            );
        }
        assert!(reason(&whole[..whole.len() - 1]).contains("truncated"));
        assert!(matches!(parse_bytes(b""), Err(Error::EmptyFile { .. })));
    }

    #[test]
    fn foreign_files_say_why() {
        assert!(reason(b"PK\x03\x04 a zip").contains("not an npy file"));
        assert!(reason(&file("|O", "False", "(1,)", &[0; 8])).contains("no plain number"));
        assert!(reason(&file("<c8", "False", "(1,)", &[0; 8])).contains("no plain number"));
        assert!(reason(&file("<f4", "False", "(1, 1, 1, 1, 1)", &[0; 4])).contains("5 axes"));
        assert!(reason(&file("<f4", "False", "(1,)", &[0; 5])).contains("1 bytes follow"));
        let huge = format!("({}, {}, 9)", usize::MAX, usize::MAX);
        assert!(reason(&file("<f4", "False", &huge, &[])).contains("impossibly large"));
    }

    proptest! {
        #![proptest_config(crate::property::cases(256))]

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse_bytes(&bytes);
            let _ = parse_bytes(&[MAGIC, &[1, 0], &bytes].concat());
        }

        #[test]
        fn arbitrary_headers_never_panic(descr in "[<>|a-z0-9]{0,5}", shape in "[(),0-9 ]{0,12}", body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse_bytes(&file(&descr, "False", &shape, &body));
            let _ = parse_bytes(&file(&descr, "True", &shape, &body));
        }
    }
}

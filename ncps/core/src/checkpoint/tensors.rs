//! Safetensors files, read and written by the Rust crate: MLX's own loader takes malformed ones.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::{Error, Result};

/// A named array of float32 on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its name in the file.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements, row-major.
    pub values: Vec<f32>,
}

/// Reads a safetensors file of float32 tensors.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::CheckpointCorrupt`] if it is malformed.
pub fn read_tensors(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let bytes = fs::read(path).map_err(|source| Error::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    decode(path, &bytes)
}

/// Reads the bytes of a safetensors file; `path` is for messages.
pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    let corrupt = |problem: String| Error::CheckpointCorrupt {
        path: path.to_owned(),
        problem,
    };
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| corrupt(format!("it is no safetensors file ({error})")))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.iter() {
        if view.dtype() != Dtype::F32 {
            let dtype = view.dtype();
            return Err(corrupt(format!(
                "tensor `{name}` is of type {dtype:?}, expected F32"
            )));
        }
        let (words, _) = view.data().as_chunks::<4>();
        let tensor = Tensor {
            name: name.to_owned(),
            shape: view.shape().to_vec(),
            values: words.iter().map(|word| f32::from_le_bytes(*word)).collect(),
        };
        tensors.insert(tensor.name.clone(), tensor);
    }
    Ok(tensors)
}

/// Makes the bytes of a safetensors file, tensors sorted by name; `path` is for messages.
pub(crate) fn encode(path: &Path, mut tensors: Vec<Tensor>) -> Result<Vec<u8>> {
    let corrupt = |problem: String| Error::CheckpointCorrupt {
        path: path.to_owned(),
        problem,
    };
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|tensor| tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect())
        .collect();
    let mut views = Vec::with_capacity(tensors.len());
    for (tensor, bytes) in tensors.iter().zip(&bytes) {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes)
            .map_err(|error| corrupt(format!("tensor `{}`: {error}", tensor.name)))?;
        views.push((tensor.name.as_str(), view));
    }
    // The key by which MLX's own tools know that the layout is theirs.
    let metadata = HashMap::from([("format".to_owned(), "mlx".to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| corrupt(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize]) -> Tensor {
        let count = shape.iter().product::<usize>();
        Tensor {
            name: name.into(),
            shape: shape.to_vec(),
            values: (0..count).map(|i| i as f32 - 0.5).collect(),
        }
    }

    fn file() -> Vec<u8> {
        encode(
            Path::new("x"),
            vec![tensor("b.w", &[2, 3]), tensor("a", &[4])],
        )
        .unwrap()
    }

    #[test]
    fn order_does_not_change_the_bytes() {
        let other = encode(
            Path::new("x"),
            vec![tensor("a", &[4]), tensor("b.w", &[2, 3])],
        )
        .unwrap();
        assert_eq!(file(), other);
        let read = decode(Path::new("x"), &other).unwrap();
        assert_eq!(read["b.w"], tensor("b.w", &[2, 3]));
        let header = String::from_utf8_lossy(&other[8..60]).into_owned();
        assert!(
            header.contains(r#""__metadata__":{"format":"mlx"}"#),
            "{header}"
        );
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = file();
        for length in 0..bytes.len() {
            let error = decode(Path::new("x"), &bytes[..length]).unwrap_err();
            assert!(
                matches!(error, Error::CheckpointCorrupt { .. }),
                "{length}: {error}"
            );
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(decode(Path::new("x"), &longer).is_err());
    }

    #[test]
    fn a_header_longer_than_the_file_or_than_any_file_is_refused() {
        for length in [9, 1 << 20, 101 << 20, 1 << 40, u64::MAX - 7, u64::MAX] {
            let mut bytes = length.to_le_bytes().to_vec();
            bytes.extend(b"{}");
            assert!(decode(Path::new("x"), &bytes).is_err(), "{length}");
        }
    }

    #[test]
    fn malformed_headers_are_refused() {
        let with_header = |header: &str, data: usize| {
            let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
            bytes.extend(header.as_bytes());
            bytes.resize(bytes.len() + data, 0);
            bytes
        };
        for (problem, header, data) in [
            (
                "negative size",
                r#"{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#,
                4,
            ),
            (
                "huge shape",
                r#"{"a":{"dtype":"F32","shape":[65536,65536,65536,65536],"data_offsets":[0,0]}}"#,
                0,
            ),
            (
                "overlap",
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
                4,
            ),
            (
                "hole",
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
                8,
            ),
            (
                "offset overflow",
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,0]}}"#,
                4,
            ),
            (
                "other type",
                r#"{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}"#,
                8,
            ),
            ("no json", "hello", 0),
            ("no object", "[]", 0),
            ("empty", "", 0),
            (
                "not utf-8 in a name",
                "{\"\\ud800\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
                4,
            ),
            (
                "unknown type",
                r#"{"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}}"#,
                4,
            ),
            (
                "shape larger than its bytes",
                r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
                4,
            ),
            (
                "shape smaller than its bytes",
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}"#,
                8,
            ),
            (
                "size beyond 32 bits that truncates to 2",
                r#"{"a":{"dtype":"F32","shape":[4294967298],"data_offsets":[0,8]}}"#,
                8,
            ),
            (
                "size that is no whole number",
                r#"{"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}"#,
                4,
            ),
            (
                "size beyond 64 bits",
                r#"{"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,4]}}"#,
                4,
            ),
            (
                "end before its start",
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#,
                4,
            ),
            (
                "end past the file",
                r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
                4,
            ),
            (
                "bytes that belong to no tensor",
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
                8,
            ),
            ("bytes without any tensor", "{}", 4),
            (
                "the same name twice",
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
                8,
            ),
            ("no offsets", r#"{"a":{"dtype":"F32","shape":[1]}}"#, 4),
            (
                "three offsets",
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,2,4]}}"#,
                4,
            ),
            ("nesting without end", &"[".repeat(100_000), 0),
        ] {
            assert!(
                decode(Path::new("x"), &with_header(header, data)).is_err(),
                "{problem}"
            );
        }
    }
}

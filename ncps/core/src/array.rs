//! Small helpers over MLX arrays; the shape tricks of the plain implementation live here.

use mlx_rs::error::Exception;
use mlx_rs::ops;
use mlx_rs::{Array, Dtype};

use crate::error::{Error, Result};

/// What a chain of MLX operations gives; public functions wrap it with the operation's name.
pub(crate) type Mlx<T = Array> = std::result::Result<T, Exception>;

/// Names the operation in which MLX failed.
pub(crate) trait During<T> {
    /// Wraps the exception as [`Error::Mlx`].
    fn during(self, operation: &'static str) -> Result<T>;
}

impl<T> During<T> for Mlx<T> {
    fn during(self, operation: &'static str) -> Result<T> {
        self.map_err(|source| Error::Mlx { operation, source })
    }
}

/// A size as MLX counts; sizes are checked against `i32` where they enter.
pub(crate) fn dim(size: usize) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}

/// A constant of the same element type, so that half precision is not promoted by it.
pub(crate) fn scalar(value: f32, like: &Array) -> Mlx {
    let constant = Array::from_f32(value);
    match like.dtype() {
        Dtype::Float32 => Ok(constant),
        other => constant.as_dtype(other),
    }
}

/// An array of zeros, built on the host.
pub(crate) fn zeros(shape: &[i32]) -> Array {
    let size: i32 = shape.iter().product();
    Array::from_slice(&vec![0.0_f32; size.max(0) as usize], shape)
}

/// `c + a b` for matrices with any leading axes of `a`.
pub(crate) fn affine(bias: &Array, input: &Array, weight: &Array) -> Mlx {
    ops::addmm(bias, input, weight, None, None)
}

/// Cuts [T, B, K] into T arrays [B, K]; one graph node, whose gradient is one concatenation.
pub(crate) fn time_steps(time_major: &Array) -> Mlx<Vec<Array>> {
    time_major.unstack(0)
}

/// [B, T, ...] <-> [T, B, ...].
pub(crate) fn swap_batch_and_time(x: &Array) -> Mlx {
    x.swap_axes(0, 1)
}

/// Parts of the last axis that begin at 0 and at each of `starts`.
pub(crate) fn split_last(x: &Array, starts: &[i32]) -> Mlx<Vec<Array>> {
    x.split_at_indices(starts, -1)
}

/// Two parts of the last axis: before and from `at`.
pub(crate) fn halves(x: &Array, at: i32) -> Mlx<(Array, Array)> {
    let mut parts = split_last(x, &[at])?.into_iter();
    match (parts.next(), parts.next()) {
        (Some(first), Some(second)) => Ok((first, second)),
        _ => Err(Exception::custom("a split in two gave fewer parts")),
    }
}

/// Features `indices` of the last axis, by a slice where they are consecutive.
pub(crate) fn take_features(x: &Array, indices: &[usize]) -> Mlx {
    let features = x.dim(-1);
    let first = indices.first().copied().unwrap_or(0);
    let consecutive = indices.iter().enumerate().all(|(k, &i)| i == first + k);
    if !consecutive {
        let indices: Vec<i32> = indices.iter().map(|&i| dim(i)).collect();
        return x.take_axis(Array::from_slice(&indices, &[dim(indices.len())]), -1);
    }
    let (start, end) = (dim(first), dim(first + indices.len()));
    let from_start = if start == 0 {
        x.clone()
    } else {
        halves(x, start)?.1
    };
    if end == features {
        return Ok(from_start);
    }
    Ok(halves(&from_start, end - start)?.0)
}

/// Whether the element type is one that the layers compute with.
pub(crate) fn is_real(dtype: Dtype) -> bool {
    matches!(
        dtype,
        Dtype::Float32 | Dtype::Float16 | Dtype::Bfloat16 | Dtype::Float64
    )
}

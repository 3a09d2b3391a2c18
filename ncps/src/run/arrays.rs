//! Between host memory and MLX arrays.

use mlx_rs::Array;
use ncps_core::train::{Batch, Inputs};
use ncps_datasets::HostBatch;

use crate::error::Result;

/// Copies a batch into MLX arrays.
pub(crate) fn to_arrays(host: &HostBatch) -> Batch {
    let matrix = [host.batch as i32, host.time as i32];
    let cube = [matrix[0], matrix[1], host.features as i32];
    let shape = |sizes: &[usize]| sizes.iter().map(|size| *size as i32).collect::<Vec<_>>();
    let optional = |values: &Option<Vec<f32>>| {
        values
            .as_ref()
            .map(|values| Array::from_slice(values, &matrix))
    };
    Batch {
        inputs: Inputs {
            x: Array::from_slice(&host.x, &cube),
            timespans: optional(&host.timespans),
            mask: optional(&host.mask),
        },
        targets: Array::from_slice(&host.targets, &shape(&host.target_shape)),
        weights: Array::from_slice(&host.weights, &shape(&host.weights_shape)),
    }
}

/// The values of an array, row by row.
pub(crate) fn host(array: &Array) -> Result<Vec<f32>> {
    let wrap = |source| ncps_core::Error::Mlx {
        operation: "reading an array",
        source,
    };
    array.eval().map_err(wrap)?;
    // A view may not be laid out row by row; a copy is.
    let flat = array.reshape(&[-1]).map_err(wrap)?;
    flat.eval().map_err(wrap)?;
    let slice = flat
        .try_as_slice::<f32>()
        .map_err(|error| ncps_core::Error::Batch {
            argument: "predictions",
            found: error.to_string(),
            expected: "32-bit floating-point numbers".into(),
        })?;
    Ok(slice.to_vec())
}

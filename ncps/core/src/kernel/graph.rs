//! The operations of a graph that is not yet evaluated: what MLX would schedule or launch.

mod memory;

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};

use mlx_rs::Array;
use mlx_rs::error::Exception;

pub use memory::peak_bytes;

type Visit = extern "C" fn(
    *mut c_void,
    *const c_char,
    *const usize,
    usize,
    *const usize,
    *const u64,
    *const usize,
    usize,
    *const i32,
    usize,
);

unsafe extern "C" {
    fn ncps_graph_visit(
        outputs: *const mlx_sys::mlx_array,
        count: usize,
        context: *mut c_void,
        visit: Visit,
    ) -> i32;
    fn ncps_graph_name(array: mlx_sys::mlx_array) -> usize;
}

/// An operation that is not yet evaluated.
#[derive(Debug)]
struct Operation {
    /// MLX's name for its kind.
    kind: String,
    /// What it reads, evaluated or not, as often as it reads it.
    inputs: Vec<usize>,
    outputs: Vec<Output>,
}

/// What an operation makes.
#[derive(Debug)]
struct Output {
    name: usize,
    bytes: u64,
    shape: Vec<i32>,
}

/// How often each operation stands in the graph of `outputs`, by MLX's name for it.
///
/// An operation with several outputs counts once; arrays that are evaluated already end the walk.
///
/// # Errors
/// [`Exception`] where there is not enough memory for the walk.
pub fn operations<'a>(
    outputs: impl IntoIterator<Item = &'a Array>,
) -> Result<BTreeMap<String, usize>, Exception> {
    let mut counts = BTreeMap::new();
    for operation in walk(outputs)? {
        *counts.entry(operation.kind).or_default() += 1;
    }
    Ok(counts)
}

/// The operations of the graph of `outputs`, each behind one that reads from it.
fn walk<'a>(outputs: impl IntoIterator<Item = &'a Array>) -> Result<Vec<Operation>, Exception> {
    let handles: Vec<mlx_sys::mlx_array> = outputs.into_iter().map(Array::as_ptr).collect();
    let mut found: Vec<Operation> = Vec::new();
    // SAFETY: the handles belong to arrays that are borrowed for the call; `visit` gets back the list that is lent to it
    // here, and only while the call lasts.
    let status = unsafe {
        ncps_graph_visit(
            handles.as_ptr(),
            handles.len(),
            (&raw mut found).cast(),
            visit,
        )
    };
    match status {
        0 => Ok(found),
        _ => Err(Exception::custom(
            "the graph is too large to be walked through",
        )),
    }
}

/// The name by which operations know an array.
fn name_of(array: &Array) -> usize {
    // SAFETY: the handle is that of a live array.
    unsafe { ncps_graph_name(array.as_ptr()) }
}

extern "C" fn visit(
    context: *mut c_void,
    kind: *const c_char,
    inputs: *const usize,
    input_count: usize,
    results: *const usize,
    bytes: *const u64,
    axes: *const usize,
    result_count: usize,
    sizes: *const i32,
    size_count: usize,
) {
    // SAFETY: `context` is the list of `walk`, and nobody else uses it meanwhile; the name is a C string that lives as long as
    // the operation.
    let (found, kind) = unsafe { (&mut *context.cast::<Vec<Operation>>(), CStr::from_ptr(kind)) };
    // SAFETY: the caller's vectors of these lengths live until this returns; empty ones are not looked at.
    let (inputs, results, bytes, axes, mut sizes) = unsafe {
        (
            slice(inputs, input_count),
            slice(results, result_count),
            slice(bytes, result_count),
            slice(axes, result_count),
            slice(sizes, size_count),
        )
    };
    let each = results.iter().zip(bytes).zip(axes);
    let outputs = each.map(|((&name, &bytes), &axes)| {
        let (own, behind) = sizes.split_at(axes.min(sizes.len()));
        sizes = behind;
        Output {
            name,
            bytes,
            shape: own.to_vec(),
        }
    });
    found.push(Operation {
        kind: kind.to_string_lossy().into_owned(),
        inputs: inputs.to_vec(),
        outputs: outputs.collect(),
    });
}

/// A borrowed vector, whose pointer may be anything where it is empty.
///
/// # Safety
/// Otherwise `values` points to `count` values that outlive the result.
unsafe fn slice<'a, T>(values: *const T, count: usize) -> &'a [T] {
    match count {
        0 => &[],
        // SAFETY: as this function demands.
        _ => unsafe { std::slice::from_raw_parts(values, count) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlx_rs::{array, ops};

    #[test]
    fn each_operation_counts_once_and_only_until_it_is_evaluated() {
        let x = array!([1.0_f32, 4.0, 9.0]);
        let root = x.sqrt().unwrap();
        // Used twice, computed once; a split has two outputs.
        let sum = root.add(&root).unwrap();
        let parts = ops::split_at_indices(&sum, &[1], 0).unwrap();
        let found = operations(&parts).unwrap();
        assert_eq!(found.values().sum::<usize>(), 3, "{found:?}");
        assert!(found.contains_key("Sqrt") && found.contains_key("Add"));
        sum.eval().unwrap();
        assert_eq!(operations(&parts).unwrap().values().sum::<usize>(), 1);
        assert!(operations([&x, &sum]).unwrap().is_empty());
    }
}

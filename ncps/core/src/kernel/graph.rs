//! The operations of a graph that is not yet evaluated: what MLX would schedule or launch.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};

use mlx_rs::Array;
use mlx_rs::error::Exception;

unsafe extern "C" {
    fn ncps_graph_visit(
        outputs: *const mlx_sys::mlx_array,
        count: usize,
        context: *mut c_void,
        visit: extern "C" fn(*mut c_void, *const c_char),
    ) -> i32;
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
    let handles: Vec<mlx_sys::mlx_array> = outputs.into_iter().map(Array::as_ptr).collect();
    let mut counts = BTreeMap::new();
    // SAFETY: the handles belong to arrays that are borrowed for the call; `visit` gets back the map that is lent to it
    // here, and only while the call lasts.
    let status = unsafe {
        ncps_graph_visit(
            handles.as_ptr(),
            handles.len(),
            (&raw mut counts).cast(),
            visit,
        )
    };
    match status {
        0 => Ok(counts),
        _ => Err(Exception::custom(
            "the graph is too large to be walked through",
        )),
    }
}

extern "C" fn visit(context: *mut c_void, name: *const c_char) {
    // SAFETY: `context` is the map of `operations`, and nobody else uses it meanwhile; the name is a C string that lives
    // as long as the operation.
    let (counts, name) = unsafe {
        let counts = &mut *context.cast::<BTreeMap<String, usize>>();
        (counts, CStr::from_ptr(name))
    };
    *counts
        .entry(name.to_string_lossy().into_owned())
        .or_default() += 1;
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

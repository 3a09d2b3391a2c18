//! `vmap` over the fused op is refused, in words. `mlx-rs` has no `vmap`, so the C layer is called.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Mutex;

use mlx_rs::Array;
use mlx_sys::{mlx_array, mlx_vector_array};

use crate::rnn::{LstmConfig, SequenceInput, SequenceLayer};

static MESSAGE: Mutex<String> = Mutex::new(String::new());

extern "C" fn note(message: *const c_char, _: *mut c_void) {
    // SAFETY: MLX passes a text that ends with a zero.
    let text = unsafe { CStr::from_ptr(message) };
    *MESSAGE.lock().unwrap() = text.to_string_lossy().into_owned();
}

/// A layer's outputs for x [B, T, 2].
extern "C" fn layer(result: *mut mlx_array, x: mlx_array) -> c_int {
    // SAFETY: `x` is a live handle, of which `from_ptr` gets a copy of its own; `result` is a place for a handle.
    unsafe {
        let mut copy = mlx_sys::mlx_array_new();
        mlx_sys::mlx_array_set(&mut copy, x);
        let x = Array::from_ptr(copy);
        let layer = LstmConfig::new(2, 3).build(1).unwrap();
        let outputs = layer.sequence(&SequenceInput::new(&x)).unwrap().outputs;
        mlx_sys::mlx_array_set(result, outputs.as_ptr())
    }
}

/// Needs a process of its own: it takes the place of `mlx-rs`'s error handler.
#[test]
#[ignore = "started by `vmap_over_the_op_is_refused_in_words`"]
fn vmap_in_a_process_of_its_own() {
    let x = Array::from_slice(&[0.5_f32; 4 * 2 * 3 * 2], &[4, 2, 3, 2]);
    x.eval().unwrap();
    let axis = [0];
    // SAFETY: every handle is live where it is used and freed once; axes and their number belong together.
    let (traced, replaced) = unsafe {
        mlx_sys::mlx_set_error_handler(Some(note), std::ptr::null_mut(), None);
        let function = mlx_sys::mlx_closure_new_unary(Some(layer));
        let inputs = mlx_sys::mlx_vector_array_new_value(x.as_ptr());
        let mut vectors: [mlx_vector_array; 3] =
            std::array::from_fn(|_| mlx_sys::mlx_vector_array_new());
        let [tracers, outputs, result] = &mut vectors;
        let traced =
            mlx_sys::mlx_detail_vmap_trace(tracers, outputs, function, inputs, axis.as_ptr(), 1);
        let replaced = mlx_sys::mlx_detail_vmap_replace(
            result,
            inputs,
            *tracers,
            *outputs,
            axis.as_ptr(),
            1,
            axis.as_ptr(),
            1,
        );
        for vector in vectors {
            mlx_sys::mlx_vector_array_free(vector);
        }
        mlx_sys::mlx_vector_array_free(inputs);
        mlx_sys::mlx_closure_free(function);
        (traced, replaced)
    };
    let message = MESSAGE.lock().unwrap();
    assert_eq!(traced, 0, "{message}");
    assert_eq!(replaced, 1, "{message}");
    assert!(
        message.contains("[NcpsSequence] cannot be vectorised with vmap"),
        "{message}"
    );
    assert!(
        message.contains("add samples to the batch axis"),
        "{message}"
    );
}

#[test]
fn vmap_over_the_op_is_refused_in_words() {
    let test = "kernel::tests::vmap::vmap_in_a_process_of_its_own";
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

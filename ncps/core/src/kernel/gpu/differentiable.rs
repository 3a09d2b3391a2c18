//! Graph functions with a derivative of their own.

use std::ffi::{c_char, c_void};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mlx_rs::Array;
use mlx_rs::error::Exception;

use super::launch::failure;

/// A function of arrays whose derivative is another function, both made of graph nodes.
pub(crate) trait Differentiable: Send + Sync + Sized + 'static {
    /// Gives the outputs, then what `backward` needs of them.
    fn forward(&self, inputs: &[Array]) -> Result<Vec<Array>, Exception>;

    /// Gives a gradient for every input; what nobody asks for is never evaluated.
    fn backward(
        &self,
        inputs: &[Array],
        cotangents: &[Array],
        outputs: &[Array],
    ) -> Result<Vec<Array>, Exception>;
}

type Forward = extern "C" fn(
    *const c_void,
    *const mlx_sys::mlx_array,
    usize,
    *mut mlx_sys::mlx_array,
    usize,
    *mut c_char,
    usize,
) -> i64;
type Backward = extern "C" fn(
    *const c_void,
    *const mlx_sys::mlx_array,
    usize,
    *const mlx_sys::mlx_array,
    *const mlx_sys::mlx_array,
    usize,
    *mut mlx_sys::mlx_array,
    usize,
    *mut c_char,
    usize,
) -> i64;

/// Mirror of the struct in border.cpp.
#[repr(C)]
#[derive(Debug)]
struct Table {
    forward: Forward,
    backward: Backward,
    release: extern "C" fn(*const c_void),
}

unsafe extern "C" {
    fn ncps_gpu_differentiable(
        layer: *const c_void,
        table: *const Table,
        inputs: *const mlx_sys::mlx_array,
        n_in: usize,
        outputs: *mut mlx_sys::mlx_array,
        room: usize,
        message: *mut c_char,
        capacity: usize,
    ) -> i64;
}

struct TableOf<L>(std::marker::PhantomData<L>);

impl<L: Differentiable> TableOf<L> {
    const TABLE: &'static Table = &Table {
        forward: forward::<L>,
        backward: backward::<L>,
        release: release::<L>,
    };
}

extern "C" fn release<L: Differentiable>(layer: *const c_void) {
    // SAFETY: C++ calls this once, for a pointer that `Box::into_raw` gave it.
    drop(unsafe { Box::from_raw(layer.cast_mut().cast::<L>()) });
}

extern "C" fn forward<L: Differentiable>(
    layer: *const c_void,
    inputs: *const mlx_sys::mlx_array,
    n_in: usize,
    outputs: *mut mlx_sys::mlx_array,
    room: usize,
    message: *mut c_char,
    capacity: usize,
) -> i64 {
    // SAFETY: C++ passes the layer of this table and `n_in` live handles.
    let (layer, inputs) = unsafe { (&*layer.cast::<L>(), borrow(inputs, n_in)) };
    // SAFETY: there is room for that many handles and characters.
    unsafe { finish(|| layer.forward(&inputs), outputs, room, message, capacity) }
}

extern "C" fn backward<L: Differentiable>(
    layer: *const c_void,
    inputs: *const mlx_sys::mlx_array,
    n_in: usize,
    cotangents: *const mlx_sys::mlx_array,
    values: *const mlx_sys::mlx_array,
    n_out: usize,
    outputs: *mut mlx_sys::mlx_array,
    room: usize,
    message: *mut c_char,
    capacity: usize,
) -> i64 {
    // SAFETY: as in `forward`; there are as many cotangents as values.
    let (layer, inputs, cotangents, values) = unsafe {
        (
            &*layer.cast::<L>(),
            borrow(inputs, n_in),
            borrow(cotangents, n_out),
            borrow(values, n_out),
        )
    };
    let run = || layer.backward(&inputs, &cotangents, &values);
    // SAFETY: there is room for that many handles and characters.
    unsafe { finish(run, outputs, room, message, capacity) }
}

/// Copies of handles that C++ keeps.
///
/// # Safety
/// `handles` has `count` live handles.
unsafe fn borrow(handles: *const mlx_sys::mlx_array, count: usize) -> Vec<Array> {
    (0..count)
        .map(|i| {
            // SAFETY: the caller's promise; the handle is not dropped here, only copied.
            let array = unsafe { ManuallyDrop::new(Array::from_ptr(*handles.add(i))) };
            Array::clone(&array)
        })
        .collect()
}

/// Hands over the arrays of `run`, or writes its message.
///
/// # Safety
/// `outputs` has `room` places and `message` `capacity` zeroed bytes.
unsafe fn finish(
    run: impl FnOnce() -> Result<Vec<Array>, Exception>,
    outputs: *mut mlx_sys::mlx_array,
    room: usize,
    message: *mut c_char,
    capacity: usize,
) -> i64 {
    // A panic must not cross into C++.
    let result = catch_unwind(AssertUnwindSafe(run));
    let text = match result {
        Ok(Ok(arrays)) if arrays.len() <= room => {
            let count = arrays.len() as i64;
            for (i, array) in arrays.into_iter().enumerate() {
                let array = ManuallyDrop::new(array);
                // SAFETY: within the room; C++ frees the handle.
                unsafe { *outputs.add(i) = array.as_ptr() };
            }
            return count;
        }
        Ok(Ok(arrays)) => format!("{} arrays are more than fit", arrays.len()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "internal error: the layer's graph could not be built".to_owned(),
    };
    let len = text.len().min(capacity.saturating_sub(1));
    // SAFETY: within the capacity.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), message.cast::<u8>(), len) };
    -1
}

/// Adds a layer to the graph; gives all that its `forward` gives.
pub(crate) fn differentiable<L: Differentiable>(
    layer: L,
    inputs: &[&Array],
) -> Result<Vec<Array>, Exception> {
    const ROOM: usize = 256;
    let handles: Vec<mlx_sys::mlx_array> = inputs.iter().map(|array| array.as_ptr()).collect();
    // SAFETY: makes empty handles.
    let mut outputs: Vec<_> = (0..ROOM)
        .map(|_| unsafe { mlx_sys::mlx_array_new() })
        .collect();
    let mut message = [0u8; 512];
    // SAFETY: all pointers are valid for the lengths given; the layer is passed on and released by C++.
    let count = unsafe {
        ncps_gpu_differentiable(
            Box::into_raw(Box::new(layer)).cast_const().cast(),
            TableOf::<L>::TABLE,
            handles.as_ptr(),
            handles.len(),
            outputs.as_mut_ptr(),
            outputs.len(),
            message.as_mut_ptr().cast(),
            message.len(),
        )
    };
    let Ok(count) = usize::try_from(count) else {
        return Err(failure(&message));
    };
    outputs.truncate(count);
    // SAFETY: each handle was just made and is owned by nobody else.
    Ok(outputs
        .into_iter()
        .map(|handle| unsafe { Array::from_ptr(handle) })
        .collect())
}

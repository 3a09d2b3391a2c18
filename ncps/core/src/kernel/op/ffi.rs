//! The border to `primitive.cpp`: what C++ calls, and what it is called with.

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mlx_rs::error::Exception;
use mlx_rs::{Array, Stream};

use super::records;

/// An array as C++ hands it over.
#[repr(C)]
#[derive(Debug)]
struct RawTensor {
    data: *mut f32,
    shape: *const i32,
    strides: *const i64,
    rank: usize,
    size: usize,
    is_contiguous: bool,
}

#[repr(C)]
#[derive(Debug)]
struct RawShape {
    dims: *const i32,
    rank: usize,
}

type Run = extern "C" fn(
    *const c_void,
    *const RawTensor,
    usize,
    *const RawTensor,
    usize,
    *mut c_char,
    usize,
) -> i32;
type Differentiate =
    extern "C" fn(*const c_void, *const i32, usize, *mut *const Table) -> *mut c_void;

/// The functions of one kind of op.
#[repr(C)]
#[derive(Debug)]
struct Table {
    name: *const c_char,
    run: Run,
    differentiate: Differentiate,
    release: extern "C" fn(*const c_void),
    forget: extern "C" fn(*const f32, usize),
}

unsafe extern "C" {
    fn ncps_op_apply(
        plan: *const c_void,
        table: *const Table,
        inputs: *const mlx_sys::mlx_array,
        n_in: usize,
        shapes: *const RawShape,
        n_out: usize,
        saved: i32,
        stream: mlx_sys::mlx_stream,
        outputs: *mut mlx_sys::mlx_array,
        message: *mut c_char,
        capacity: usize,
    ) -> i32;
    fn ncps_stream_is_cpu(stream: mlx_sys::mlx_stream) -> bool;
}

/// An input of a running op.
#[derive(Debug)]
pub(crate) struct Tensor<'a> {
    pub(crate) values: Cow<'a, [f32]>,
    /// Whether all elements are one zero, as the gradients of unused outputs are.
    pub(crate) is_zero: bool,
}

/// An op whose arithmetic is done in Rust on row-major f32.
pub(crate) trait Op: Send + Sync + Sized + 'static {
    const NAME: &'static CStr;
    type Derivative: Op;

    /// Computes the outputs; an error is a message for the user.
    fn run(&self, inputs: &[Tensor<'_>], outputs: &mut [&mut [f32]]) -> Result<(), String>;

    /// An op for the gradients of the inputs `wanted`. It is given all inputs, the saved output if there is one, and the
    /// gradients of the other outputs.
    fn differentiate(&self, wanted: &[usize]) -> Option<Self::Derivative>;
}

/// The derivative of an op that has none.
#[derive(Debug)]
pub(crate) enum Never {}

impl Op for Never {
    const NAME: &'static CStr = c"never";
    type Derivative = Never;

    fn run(&self, _: &[Tensor<'_>], _: &mut [&mut [f32]]) -> Result<(), String> {
        match *self {}
    }

    fn differentiate(&self, _: &[usize]) -> Option<Never> {
        match *self {}
    }
}

struct TableOf<O>(std::marker::PhantomData<O>);

impl<O: Op> TableOf<O> {
    const TABLE: &'static Table = &Table {
        name: O::NAME.as_ptr(),
        run: run::<O>,
        differentiate: differentiate::<O>,
        release: release::<O>,
        forget,
    };
}

/// A plan came from `Box::into_raw` of the same type: see `apply` and `differentiate`.
unsafe fn plan<'a, O: Op>(plan: *const c_void) -> &'a O {
    // SAFETY: C++ keeps the plan together with the table of its type until it calls `release`.
    unsafe { &*plan.cast::<O>() }
}

extern "C" fn release<O: Op>(plan: *const c_void) {
    // SAFETY: C++ calls this once, for a pointer that `Box::into_raw` gave it.
    drop(unsafe { Box::from_raw(plan.cast_mut().cast::<O>()) });
}

extern "C" fn forget(saved: *const f32, size: usize) {
    // SAFETY: C++ passes the memory of a saved output, written or still zero, before it is freed.
    let token = unsafe { raw_slice(saved, size) };
    // A panic must not cross into C++; nothing here is left half done.
    let _ = catch_unwind(|| records::release(token));
}

extern "C" fn differentiate<O: Op>(
    handle: *const c_void,
    wanted: *const i32,
    count: usize,
    table: *mut *const Table,
) -> *mut c_void {
    // SAFETY: as `plan`; `wanted` has `count` entries and `table` is a place for one pointer.
    let (op, wanted) = unsafe {
        let wanted: &[i32] = if count == 0 {
            &[]
        } else {
            std::slice::from_raw_parts(wanted, count)
        };
        (plan::<O>(handle), wanted)
    };
    let wanted: Vec<usize> = wanted.iter().map(|&i| i as usize).collect();
    let derivative = catch_unwind(AssertUnwindSafe(|| op.differentiate(&wanted)));
    match derivative.ok().flatten() {
        None => std::ptr::null_mut(),
        Some(derivative) => {
            // SAFETY: see above.
            unsafe { *table = TableOf::<O::Derivative>::TABLE };
            Box::into_raw(Box::new(derivative)).cast()
        }
    }
}

extern "C" fn run<O: Op>(
    handle: *const c_void,
    inputs: *const RawTensor,
    n_in: usize,
    outputs: *const RawTensor,
    n_out: usize,
    message: *mut c_char,
    capacity: usize,
) -> i32 {
    let result = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: C++ passes arrays of these lengths; inputs are evaluated, outputs are freshly allocated, contiguous and
        // distinct from the inputs, and all of them outlive this call.
        unsafe {
            let inputs = raw_slice(inputs, n_in);
            let outputs = raw_slice(outputs, n_out);
            let inputs: Vec<Tensor<'_>> = inputs.iter().map(|raw| tensor(raw)).collect();
            let mut outputs: Vec<&mut [f32]> = outputs.iter().map(|raw| values_mut(raw)).collect();
            plan::<O>(handle).run(&inputs, &mut outputs)
        }
    }));
    let text = match result {
        Ok(Ok(())) => return 0,
        Ok(Err(text)) => text,
        Err(_) => "internal error: the kernel panicked".to_owned(),
    };
    let len = text.len().min(capacity.saturating_sub(1));
    // SAFETY: `message` has room for `capacity` bytes, which were zeroed.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), message.cast::<u8>(), len) };
    1
}

/// # Safety
/// `data` points to `len` values, unless `len` is 0.
unsafe fn raw_slice<'a, T>(data: *const T, len: usize) -> &'a [T] {
    // SAFETY: the caller's promise.
    if len == 0 {
        &[]
    } else {
        unsafe { std::slice::from_raw_parts(data, len) }
    }
}

/// # Safety
/// `raw` describes a contiguous array that nothing else refers to while the result lives.
unsafe fn values_mut<'a>(raw: &RawTensor) -> &'a mut [f32] {
    if raw.size == 0 {
        return &mut [];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts_mut(raw.data, raw.size) }
}

/// # Safety
/// `raw` describes a readable array, whose strides stay within its memory.
unsafe fn tensor<'a>(raw: &RawTensor) -> Tensor<'a> {
    // SAFETY: the caller's promise.
    unsafe {
        let shape = raw_slice(raw.shape, raw.rank);
        let strides = raw_slice(raw.strides, raw.rank);
        if raw.is_contiguous || raw.size == 0 {
            let is_zero = raw.size == 1 && *raw.data == 0.0;
            return Tensor {
                values: Cow::Borrowed(raw_slice(raw.data, raw.size)),
                is_zero,
            };
        }
        let is_zero = strides.iter().all(|&stride| stride == 0) && *raw.data == 0.0;
        let mut values = Vec::with_capacity(raw.size);
        gather(raw.data, shape, strides, &mut values);
        Tensor {
            values: Cow::Owned(values),
            is_zero,
        }
    }
}

/// Appends the elements in row-major order.
///
/// # Safety
/// As for [`tensor`].
unsafe fn gather(data: *const f32, shape: &[i32], strides: &[i64], out: &mut Vec<f32>) {
    // SAFETY: every offset is one of the array's elements.
    unsafe {
        match (shape.split_first(), strides.split_first()) {
            (Some((&size, shape)), Some((&stride, strides))) => {
                for i in 0..size as isize {
                    gather(data.offset(i * stride as isize), shape, strides, out);
                }
            }
            _ => out.push(*data),
        }
    }
}

/// Whether work on the stream is done by a CPU.
pub(crate) fn is_cpu(stream: &Stream) -> bool {
    // SAFETY: the handle is that of a live stream.
    unsafe { ncps_stream_is_cpu(stream.as_ptr()) }
}

/// Adds the op to the graph; `saved` is the index of an output that only its derivative reads, a token of [`records`].
pub(crate) fn apply<O: Op>(
    op: O,
    inputs: &[&Array],
    shapes: &[Vec<i32>],
    saved: Option<usize>,
    stream: &Stream,
) -> Result<Vec<Array>, Exception> {
    let handles: Vec<mlx_sys::mlx_array> = inputs.iter().map(|array| array.as_ptr()).collect();
    let shapes: Vec<RawShape> = shapes
        .iter()
        .map(|dims| RawShape {
            dims: dims.as_ptr(),
            rank: dims.len(),
        })
        .collect();
    // SAFETY: makes an empty handle.
    let mut outputs: Vec<_> = shapes
        .iter()
        .map(|_| unsafe { mlx_sys::mlx_array_new() })
        .collect();
    let mut message = [0u8; 512];
    // SAFETY: all pointers are valid for the lengths given; the plan is passed on and released by C++; the outputs become
    // handles of their own only on success.
    let status = unsafe {
        ncps_op_apply(
            Box::into_raw(Box::new(op)).cast_const().cast(),
            TableOf::<O>::TABLE,
            handles.as_ptr(),
            handles.len(),
            shapes.as_ptr(),
            shapes.len(),
            saved.map_or(-1, |index| index as i32),
            stream.as_ptr(),
            outputs.as_mut_ptr(),
            message.as_mut_ptr().cast(),
            message.len(),
        )
    };
    if status == 0 {
        // SAFETY: each handle was just made and is owned by nobody else.
        return Ok(outputs
            .into_iter()
            .map(|handle| unsafe { Array::from_ptr(handle) })
            .collect());
    }
    let text = CStr::from_bytes_until_nul(&message).unwrap_or(c"unknown error");
    Err(Exception::custom(text.to_string_lossy().into_owned()))
}

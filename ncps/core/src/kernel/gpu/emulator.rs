//! Kernels on the CPU, thread by thread, in tests.

use std::ffi::{CStr, CString, c_char, c_void};

use mlx_rs::error::Exception;
use mlx_rs::{Array, Stream};

use super::declaration::Element;
use super::launch::Launch;
use super::source::Constants;
use crate::kernel::op::ffi;

/// Which thread of a group runs first between two barriers; results must not depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Order {
    Ascending,
    Descending,
    /// Descending, on a device whose groups can reach each other's shared memory, of which each has little.
    Clustered,
    /// Likewise, with units that multiply matrices.
    Matrices,
}

#[link(name = "ncps_emulator", kind = "static")]
unsafe extern "C" {
    fn ncps_emulate(
        name: *const c_char,
        inputs: *const *const c_void,
        outputs: *const *mut c_void,
        sizes: *const i32,
        reals: *const f32,
        tables: *const *const i32,
        groups: i32,
        threads: i32,
        cluster: i32,
        shared: usize,
        is_descending: bool,
        message: *mut c_char,
        capacity: usize,
    ) -> i32;
}

/// A launch as an op on a CPU stream. Integers travel as the bits of floats.
#[derive(Debug)]
struct Emulated {
    name: CString,
    constants: Constants,
    groups: usize,
    threads: usize,
    shared: usize,
    order: Order,
}

impl ffi::Op for Emulated {
    const NAME: &'static CStr = c"NcpsEmulated";
    type Derivative = ffi::Never;

    fn run(&self, inputs: &[ffi::Tensor<'_>], outputs: &mut [&mut [f32]]) -> Result<(), String> {
        // What a kernel leaves out shows as a value that is not a number.
        outputs.iter_mut().for_each(|output| output.fill(f32::NAN));
        let inputs: Vec<*const c_void> = inputs.iter().map(|t| t.values.as_ptr().cast()).collect();
        let outputs: Vec<*mut c_void> = outputs.iter_mut().map(|o| o.as_mut_ptr().cast()).collect();
        let mut sizes = vec![self.threads as i32];
        sizes.extend(self.constants.sizes.iter().map(|(_, size)| size));
        let reals: Vec<f32> = self.constants.reals.iter().map(|(_, real)| *real).collect();
        let tables: Vec<*const i32> = self
            .constants
            .tables
            .iter()
            .map(|(_, table)| table.as_ptr())
            .collect();
        let mut message = [0u8; 512];
        // SAFETY: the lengths are those of the declaration, which `Launch::run` checked; that a body stays inside its
        // arrays is what the tests are for.
        let status = unsafe {
            ncps_emulate(
                self.name.as_ptr(),
                inputs.as_ptr(),
                outputs.as_ptr(),
                sizes.as_ptr(),
                reals.as_ptr(),
                tables.as_ptr(),
                self.groups as i32,
                self.threads as i32,
                self.constants.cluster() as i32,
                self.shared,
                self.order != Order::Ascending,
                message.as_mut_ptr().cast(),
                message.len(),
            )
        };
        match status {
            0 => Ok(()),
            _ => Err(CStr::from_bytes_until_nul(&message)
                .unwrap_or(c"unknown error")
                .to_string_lossy()
                .into_owned()),
        }
    }

    fn differentiate(&self, _: &[usize]) -> Option<ffi::Never> {
        None
    }
}

/// Adds a launch to the graph of a CPU stream.
pub(super) fn apply(
    launch: &Launch<'_>,
    order: Order,
    stream: &Stream,
) -> Result<Vec<Array>, Exception> {
    let declaration = launch.body.declaration().map_err(Exception::custom)?;
    let is_float = |arrays: &[(Element, String)]| arrays.iter().all(|(e, _)| *e == Element::Float);
    if !is_float(&declaration.outputs) {
        return Err(Exception::custom(
            "the emulator gives arrays of floats only",
        ));
    }
    let inputs: Vec<Array> = launch
        .inputs
        .iter()
        .zip(&declaration.inputs)
        .map(|(array, (element, _))| match element {
            Element::Float => Ok((*array).clone()),
            Element::Int => array.view_dtype(mlx_rs::Dtype::Float32),
        })
        .collect::<Result<_, _>>()?;
    let inputs: Vec<&Array> = inputs.iter().collect();
    let op = Emulated {
        name: CString::new(declaration.name.as_str())
            .map_err(|e| Exception::custom(e.to_string()))?,
        constants: launch.constants.clone(),
        groups: launch.groups,
        threads: launch.threads,
        shared: launch.shared,
        order,
    };
    ffi::apply(op, &inputs, &launch.outputs, None, stream)
}

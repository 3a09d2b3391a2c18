//! One kernel as a node of the graph, on whichever backend the stream has.

use std::cell::Cell;
use std::ffi::{CString, c_char};
use std::sync::OnceLock;

use mlx_rs::error::Exception;
use mlx_rs::{Array, Dtype, Stream};

use super::cfc_shape::Shape;
use super::declaration::{Declaration, Element};
use super::machine;
use super::source::{Body, Constants, Language, Source};

/// What runs a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Backend {
    /// An Apple GPU.
    Metal,
    /// An NVIDIA GPU.
    Cuda,
    /// The CPU, thread by thread; in tests.
    #[cfg(all(test, target_os = "linux"))]
    Emulator(super::emulator::Order),
}

/// What a backend offers to one group of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Floats of shared memory.
    pub(crate) shared: usize,
    /// Threads in a group.
    pub(crate) threads: usize,
    /// Groups that run at the same time, so that fewer leave the device idle.
    pub(crate) groups: usize,
    /// Groups that can reach each other's shared memory.
    pub(crate) cluster: usize,
    /// Whether SIMD groups have units that multiply matrices.
    pub(crate) has_matrices: bool,
}

impl Backend {
    /// The backend of a stream; none for a CPU's.
    pub(crate) fn of(stream: &Stream) -> Option<Self> {
        // SAFETY: the handle is that of a live stream.
        match unsafe { ncps_gpu_backend(stream.as_ptr()) } {
            1 => Some(Self::Metal),
            2 => Some(Self::Cuda),
            _ => None,
        }
    }

    pub(crate) fn limits(self) -> Limits {
        match self {
            // 32 KiB of threadgroup memory on every Apple GPU; registers allow 512 threads of these kernels.
            Self::Metal => Limits {
                shared: 8 << 10,
                threads: 256,
                groups: 32,
                cluster: 1,
                has_matrices: false,
            },
            // A multiprocessor's shared memory, as the CUDA programming guide's table of technical specifications has it;
            // about as many groups as multiprocessors.
            Self::Cuda => Limits {
                shared: match capability() {
                    80 | 87 => 163 << 8,
                    90 | 100 | 101 | 103 => 227 << 8,
                    70 => 96 << 8,
                    75 => 64 << 8,
                    _ => 99 << 8,
                },
                threads: 1024,
                groups: 128,
                // Larger ones are not placed on every multiprocessor.
                cluster: if capability() == 90 { 2 } else { 1 },
                has_matrices: capability() >= 80,
            },
            #[cfg(all(test, target_os = "linux"))]
            Self::Emulator(super::emulator::Order::Clustered) => Limits {
                shared: 1 << 10,
                threads: 64,
                groups: 8,
                cluster: 4,
                has_matrices: false,
            },
            #[cfg(all(test, target_os = "linux"))]
            Self::Emulator(super::emulator::Order::Matrices) => Limits {
                shared: 16 << 10,
                threads: 128,
                groups: 4,
                cluster: 2,
                has_matrices: true,
            },
            #[cfg(all(test, target_os = "linux"))]
            Self::Emulator(_) => Limits {
                shared: 8 << 10,
                threads: 64,
                groups: 8,
                cluster: 1,
                has_matrices: false,
            },
        }
    }
}

/// A kernel with its constants and arrays.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    pub(crate) body: &'static Body,
    pub(crate) constants: Constants,
    pub(crate) inputs: Vec<&'a Array>,
    /// Shapes of the outputs.
    pub(crate) outputs: Vec<Vec<i32>>,
    pub(crate) groups: usize,
    /// Threads of a group, a multiple of 32.
    pub(crate) threads: usize,
    /// Floats of shared memory.
    pub(crate) shared: usize,
}

/// Mirror of the struct in border.cpp.
#[repr(C)]
#[derive(Debug)]
struct RawLaunch {
    name: *const c_char,
    header: *const c_char,
    source: *const c_char,
    code: *const u8,
    code_len: usize,
    input_names: *const *const c_char,
    inputs: *const mlx_sys::mlx_array,
    n_in: usize,
    output_names: *const *const c_char,
    shapes: *const *const i32,
    ranks: *const usize,
    is_int: *const bool,
    n_out: usize,
    groups: i32,
    threads: i32,
    shared_bytes: i32,
}

unsafe extern "C" {
    fn ncps_gpu_backend(stream: mlx_sys::mlx_stream) -> i32;
    fn ncps_gpu_capability() -> i32;
    fn ncps_gpu_launch(
        launch: *const RawLaunch,
        stream: mlx_sys::mlx_stream,
        outputs: *mut mlx_sys::mlx_array,
        message: *mut c_char,
        capacity: usize,
    ) -> i32;
}

#[cfg(test)]
thread_local! {
    /// The compute capability that a test writes sources for, on a machine that need not have such a GPU.
    pub(crate) static ASSUMED: std::cell::Cell<Option<i32>> = const { std::cell::Cell::new(None) };
}

/// The compute capability of the GPU, 90 for 9.0.
fn capability() -> i32 {
    #[cfg(test)]
    if let Some(assumed) = ASSUMED.get() {
        return assumed;
    }
    static FOUND: OnceLock<i32> = OnceLock::new();
    // SAFETY: asks MLX for a number.
    *FOUND.get_or_init(|| unsafe { ncps_gpu_capability() })
}

impl Shape {
    /// Adds a kernel of this shape to the graph of the current stream.
    pub(super) fn launch(
        self,
        body: &'static Body,
        inputs: Vec<&Array>,
        outputs: Vec<Vec<i32>>,
        backend: Backend,
    ) -> Result<Vec<Array>, Exception> {
        let launch = Launch {
            body,
            constants: self.constants,
            inputs,
            outputs,
            groups: self.groups,
            threads: self.threads,
            shared: self.shared,
        };
        launch.run(backend, &Stream::thread_local_or_default())
    }
}

thread_local! {
    static IS_REHEARSAL: Cell<bool> = const { Cell::new(false) };
}

/// Runs what builds graphs of kernels with zeros in place of their results, and only begins to compile them.
///
/// Kernels that are needed one after the other are so compiled all at once.
pub(crate) fn rehearse<T>(run: impl FnOnce() -> T) -> T {
    let before = IS_REHEARSAL.replace(true);
    let found = run();
    IS_REHEARSAL.set(before);
    found
}

impl Launch<'_> {
    /// What a rehearsal has in place of results.
    fn zeros(&self, declaration: &Declaration) -> Result<Vec<Array>, Exception> {
        let outputs = self.outputs.iter().zip(&declaration.outputs);
        outputs
            .map(|(shape, (element, _))| match element {
                Element::Float => Array::zeros::<f32>(shape),
                Element::Int => Array::zeros::<i32>(shape),
            })
            .collect()
    }

    /// Adds the kernel to the graph of `stream`.
    pub(crate) fn run(self, backend: Backend, stream: &Stream) -> Result<Vec<Array>, Exception> {
        let declaration = self.body.declaration().map_err(Exception::custom)?;
        self.check(declaration).map_err(Exception::custom)?;
        if IS_REHEARSAL.get() {
            let (constants, threads, shared) = (&self.constants, self.threads, self.shared);
            begin(self.body, constants, threads, shared, backend);
            return self.zeros(declaration);
        }
        let language = match backend {
            Backend::Metal => Language::Metal,
            Backend::Cuda => Language::Cuda,
            #[cfg(all(test, target_os = "linux"))]
            Backend::Emulator(order) => return super::emulator::apply(&self, order, stream),
        };
        let source = Source::new(
            self.body,
            &self.constants,
            language,
            self.threads,
            self.shared,
        )
        .map_err(Exception::custom)?;
        self.add(declaration, &source, language, stream)
    }

    /// Begins to compile a kernel that will be launched soon, where that is ours to do.
    pub(super) fn prepare(body: &Body, shape: &Shape, backend: Backend) {
        begin(body, &shape.constants, shape.threads, shape.shared, backend);
    }

    /// Holds the call against the declaration, so that a mistake is an error and not a wrong read on the device.
    fn check(&self, declaration: &Declaration) -> Result<(), String> {
        let name = &declaration.name;
        let constants = &self.constants;
        let is_same = |declared: &[String], given: Vec<&str>| declared.iter().eq(given);
        let is_fitting = is_same(
            &declaration.sizes,
            constants.sizes.iter().map(|(name, _)| *name).collect(),
        ) && is_same(
            &declaration.reals,
            constants.reals.iter().map(|(name, _)| *name).collect(),
        ) && is_same(
            &declaration.tables,
            constants.tables.iter().map(|(name, _)| *name).collect(),
        );
        if !is_fitting {
            return Err(format!(
                "kernel {name}: constants {constants:?} are not those that it declares, in its order"
            ));
        }
        if self.inputs.len() != declaration.inputs.len()
            || self.outputs.len() != declaration.outputs.len()
        {
            return Err(format!(
                "kernel {name}: {} inputs and {} outputs; it declares {} and {}",
                self.inputs.len(),
                self.outputs.len(),
                declaration.inputs.len(),
                declaration.outputs.len()
            ));
        }
        for (array, (element, input)) in self.inputs.iter().zip(&declaration.inputs) {
            let expected = match element {
                Element::Float => Dtype::Float32,
                Element::Int => Dtype::Int32,
            };
            if array.dtype() != expected || array.ndim() == 0 {
                return Err(format!(
                    "kernel {name}: input `{input}` is {:?} {:?}; it declares an array of {expected:?}",
                    array.dtype(),
                    array.shape()
                ));
            }
        }
        if self.threads == 0 || !self.threads.is_multiple_of(32) || self.groups == 0 {
            return Err(format!(
                "kernel {name}: {} groups of {} threads; expected at least one group of a multiple of 32",
                self.groups, self.threads
            ));
        }
        Ok(())
    }

    fn add(
        &self,
        declaration: &Declaration,
        source: &Source,
        language: Language,
        stream: &Stream,
    ) -> Result<Vec<Array>, Exception> {
        let text = |text: &str| CString::new(text).map_err(|e| Exception::custom(e.to_string()));
        let texts = |arrays: &[(Element, String)]| -> Result<Vec<CString>, Exception> {
            arrays.iter().map(|(_, name)| text(name)).collect()
        };
        let (name, header, body) = (
            text(&source.name)?,
            text(&source.header)?,
            text(&source.body)?,
        );
        let code = match language {
            Language::Metal => None,
            Language::Cuda => {
                let code = machine::code(&source.program(declaration), capability());
                Some(code.map_err(Exception::custom)?)
            }
        };
        let code = code.as_deref().unwrap_or(&[]);
        let (input_names, output_names) =
            (texts(&declaration.inputs)?, texts(&declaration.outputs)?);
        let pointers = |names: &[CString]| names.iter().map(|n| n.as_ptr()).collect::<Vec<_>>();
        let (input_names, output_names) = (
            (pointers(&input_names), input_names),
            (pointers(&output_names), output_names),
        );
        let inputs: Vec<mlx_sys::mlx_array> = self.inputs.iter().map(|a| a.as_ptr()).collect();
        let shapes: Vec<*const i32> = self.outputs.iter().map(|shape| shape.as_ptr()).collect();
        let ranks: Vec<usize> = self.outputs.iter().map(Vec::len).collect();
        let is_int: Vec<bool> = declaration
            .outputs
            .iter()
            .map(|(element, _)| *element == Element::Int)
            .collect();
        // SAFETY: makes an empty handle.
        let mut outputs: Vec<_> = shapes
            .iter()
            .map(|_| unsafe { mlx_sys::mlx_array_new() })
            .collect();
        let mut message = [0u8; 512];
        let raw = RawLaunch {
            name: name.as_ptr(),
            header: header.as_ptr(),
            source: body.as_ptr(),
            code: code.as_ptr(),
            code_len: code.len(),
            input_names: input_names.0.as_ptr(),
            inputs: inputs.as_ptr(),
            n_in: inputs.len(),
            output_names: output_names.0.as_ptr(),
            shapes: shapes.as_ptr(),
            ranks: ranks.as_ptr(),
            is_int: is_int.as_ptr(),
            n_out: shapes.len(),
            groups: self.groups as i32,
            threads: self.threads as i32,
            shared_bytes: (self.shared.div_ceil(4) * 16) as i32,
        };
        // SAFETY: all pointers are valid for the lengths given and outlive the call; the outputs become handles of their own
        // only on success.
        let status = unsafe {
            ncps_gpu_launch(
                &raw,
                stream.as_ptr(),
                outputs.as_mut_ptr(),
                message.as_mut_ptr().cast(),
                message.len(),
            )
        };
        if status != 0 {
            return Err(failure(&message));
        }
        // SAFETY: each handle was just made and is owned by nobody else.
        Ok(outputs
            .into_iter()
            .map(|handle| unsafe { Array::from_ptr(handle) })
            .collect())
    }
}

/// Begins to compile a kernel, where that is ours to do.
fn begin(body: &Body, constants: &Constants, threads: usize, shared: usize, backend: Backend) {
    if backend == Backend::Cuda
        && let Ok(declaration) = body.declaration()
        && let Ok(source) = Source::new(body, constants, Language::Cuda, threads, shared)
    {
        machine::begin(source.program(declaration), capability());
    }
}

/// The message that C++ wrote.
pub(super) fn failure(message: &[u8]) -> Exception {
    let text = std::ffi::CStr::from_bytes_until_nul(message).unwrap_or(c"unknown error");
    Exception::custom(text.to_string_lossy().into_owned())
}

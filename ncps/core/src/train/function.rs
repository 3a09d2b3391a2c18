//! Functions over flat arrays, compiled or not, and how often they were traced.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use mlx_rs::error::Exception;
use mlx_rs::transforms::compile::compile;
use mlx_rs::{Array, Device, DeviceType};

use super::config::CompileMode;
use crate::{Error, Result};

static COMPILATIONS: AtomicU64 = AtomicU64::new(0);

/// Counts the functions that this process has traced for compilation so far.
///
/// A run of static shapes adds one for each function that it uses.
pub fn compilations() -> u64 {
    COMPILATIONS.load(Ordering::Relaxed)
}

type Body = dyn FnMut(&[Array]) -> Result<Vec<Array>, Exception>;

/// Keeps the error of a closure while MLX unwinds with a text.
#[derive(Debug, Default)]
pub(super) struct Stash(RefCell<Option<Error>>);

impl Stash {
    /// Turns an error into one that MLX can carry.
    pub(super) fn hide<T>(&self, result: Result<T>) -> Result<T, Exception> {
        result.map_err(|error| {
            let text = error.to_string();
            self.0.replace(Some(error));
            Exception::custom(text)
        })
    }

    /// Turns it back.
    pub(super) fn show<T>(
        &self,
        operation: &'static str,
        result: Result<T, Exception>,
    ) -> Result<T> {
        let hidden = self.0.take();
        result.map_err(|source| hidden.unwrap_or(Error::Mlx { operation, source }))
    }
}

/// A pure function from arrays to arrays.
pub(super) struct Function {
    name: &'static str,
    body: Box<Body>,
    stash: Rc<Stash>,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Function")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Function {
    /// Wraps a closure; `traces` counts how often a compiled one was traced.
    pub(super) fn new(
        name: &'static str,
        is_compiled: bool,
        traces: Rc<Cell<u64>>,
        body: impl Fn(&[Array]) -> Result<Vec<Array>> + 'static,
    ) -> Self {
        let stash = Rc::new(Stash::default());
        let inner = Rc::clone(&stash);
        let fallible = move |arrays: &[Array]| inner.hide(body(arrays));
        let body: Box<Body> = if is_compiled {
            let counted = move |arrays: &[Array]| {
                COMPILATIONS.fetch_add(1, Ordering::Relaxed);
                traces.set(traces.get() + 1);
                fallible(arrays)
            };
            let mut compiled = compile(counted, false);
            Box::new(move |arrays: &[Array]| compiled(arrays))
        } else {
            Box::new(fallible)
        };
        Self { name, body, stash }
    }

    pub(super) fn call(&mut self, arrays: &[Array]) -> Result<Vec<Array>> {
        let result = (self.body)(arrays);
        self.stash.show(self.name, result)
    }
}

/// Names the device that arrays are computed on by default.
pub(super) fn device_name() -> Result<&'static str> {
    let kind = Device::try_default().and_then(|device| device.get_type());
    let kind = kind.map_err(|source| Error::Mlx {
        operation: "default device",
        source,
    })?;
    Ok(match kind {
        DeviceType::Cpu => "cpu",
        DeviceType::Gpu => "gpu",
    })
}

impl CompileMode {
    /// Decides for a device.
    pub(super) fn is_on(self, device: &str) -> bool {
        match self {
            Self::Auto => device == "gpu",
            Self::On => true,
            Self::Off => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_compiles_for_a_gpu_alone() {
        assert!(CompileMode::Auto.is_on("gpu"));
        assert!(!CompileMode::Auto.is_on("cpu"));
        assert!(CompileMode::On.is_on("cpu"));
        assert!(!CompileMode::Off.is_on("gpu"));
    }

    #[test]
    fn an_error_of_the_closure_comes_back_as_it_was() {
        let mut function = Function::new("test", false, Rc::default(), |_| {
            Err(Error::Setting {
                key: "a".into(),
                value: "b".into(),
                expected: "c".into(),
            })
        });
        let error = function.call(&[]).unwrap_err();
        assert!(matches!(error, Error::Setting { .. }), "{error}");
    }
}

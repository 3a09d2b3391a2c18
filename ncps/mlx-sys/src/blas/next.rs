//! The BLAS that would have been used without ours: the one that the dynamic linker finds after this program.

use std::ffi::{CStr, c_void};

/// Functions that we stand in for.
#[allow(non_camel_case_types, reason = "named after the C functions")]
#[derive(Debug, Clone, Copy)]
pub(super) enum Name {
    cblas_sgemm,
    cblas_dgemm,
    cblas_cgemm,
}

impl Name {
    fn symbol(self) -> &'static CStr {
        match self {
            Self::cblas_sgemm => c"cblas_sgemm",
            Self::cblas_dgemm => c"cblas_dgemm",
            Self::cblas_cgemm => c"cblas_cgemm",
        }
    }
}

/// Address of the next definition of a function, if any library has one.
pub(super) fn function(name: Name) -> Option<*mut c_void> {
    // SAFETY: `dlsym` reads a NUL-terminated name; RTLD_NEXT searches what is already loaded.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.symbol().as_ptr()) };
    (!found.is_null()).then_some(found)
}

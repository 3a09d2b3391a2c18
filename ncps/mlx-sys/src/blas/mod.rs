//! The matrix products of libmlx on Linux: `cblas_sgemm`, `cblas_dgemm` and `cblas_cgemm` on the `gemm` crate.
//!
//! The wheel bundles the reference BLAS. Dynamic symbols are looked up in the program first, and a linker exports from a
//! program what a shared library on its command line refers to, so these three take its place in every program that
//! links this crate. On macOS libmlx uses Accelerate and this module is left out.
//!
//! `NCPS_BLAS=reference` (the default of an unoptimised build; `gemm` otherwise) hands every product on to the wheel's own library, for comparison. `NCPS_BLAS_THREADS` limits
//! the threads of one product (default: all cores; small products stay on one).

mod next;
mod product;

use std::{
    env,
    ffi::{c_int, c_void},
    num::NonZeroUsize,
    sync::OnceLock,
    thread,
};

use gemm::{Parallelism, c32};
use product::{Factor, Layout, Product};

/// Which library multiplies, and with how many threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// True if the wheel's reference BLAS multiplies.
    pub is_reference: bool,
    /// Most threads for one product.
    pub threads: usize,
}

/// Settings of this process, read from the environment at the first product.
pub fn settings() -> Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    *SETTINGS.get_or_init(|| {
        let text = |name: &str| env::var(name).ok();
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        // Unoptimised, the `gemm` crate is slower than the library that it stands in for.
        let default = if env!("NCPS_MLX_OPT_LEVEL") == "0" {
            "reference"
        } else {
            "gemm"
        };
        let library = text("NCPS_BLAS").unwrap_or_else(|| default.to_owned());
        read_settings(&library, text("NCPS_BLAS_THREADS").as_deref(), cores)
    })
}

fn read_settings(library: &str, threads: Option<&str>, cores: usize) -> Settings {
    let wanted = threads
        .and_then(|text| text.trim().parse().ok())
        .filter(|count| *count > 0);
    Settings {
        is_reference: library == "reference",
        threads: wanted.unwrap_or(cores),
    }
}

/// Threads for a product: below this many multiplications each, handing out work costs more than it saves.
fn share(multiplications: usize, threads: usize) -> usize {
    const LEAST_SHARE: usize = 1 << 21;
    threads.min(multiplications / LEAST_SHARE).max(1)
}

fn parallelism(multiplications: usize) -> Parallelism {
    match share(multiplications, settings().threads) {
        1 => Parallelism::None,
        threads => Parallelism::Rayon(threads),
    }
}

/// Writes one entry point of CBLAS; real products take their scalars by value, complex ones by address.
macro_rules! entry {
    ($name:ident, $element:ty, $scalar:ty, $matrix:ty, $result:ty, $value:expr) => {
        /// CBLAS `C = alpha op(A) op(B) + beta C`.
        ///
        /// # Safety
        /// As CBLAS: the pointers hold matrices of the stated sizes and leading dimensions, and C overlaps neither factor.
        #[unsafe(no_mangle)]
        #[allow(clippy::too_many_arguments, reason = "the signature is CBLAS's")]
        pub unsafe extern "C" fn $name(
            layout: c_int,
            trans_a: c_int,
            trans_b: c_int,
            m: c_int,
            n: c_int,
            k: c_int,
            alpha: $scalar,
            a: $matrix,
            lda: c_int,
            b: $matrix,
            ldb: c_int,
            beta: $scalar,
            c: $result,
            ldc: c_int,
        ) {
            let product = Layout::new(layout).and_then(|layout| {
                let a = Factor::new(a.cast::<$element>(), lda, trans_a)?;
                let b = Factor::new(b.cast::<$element>(), ldb, trans_b)?;
                Product::new(layout, [m, n, k], a, b, (c.cast::<$element>(), ldc))
            });
            match product {
                Some(product) if !settings().is_reference => {
                    let threads = parallelism(product.multiplications());
                    let value: fn($scalar) -> $element = $value;
                    // SAFETY: the caller vouches for the matrices, and `Product::new` checked sizes and dimensions.
                    unsafe { product.run(value(alpha), value(beta), threads) };
                }
                // Arguments that CBLAS forbids go to the next library too: it reports them in the customary way.
                _ => {
                    if let Some(next) = next::function(next::Name::$name) {
                        type Entry = unsafe extern "C" fn(
                            c_int,
                            c_int,
                            c_int,
                            c_int,
                            c_int,
                            c_int,
                            $scalar,
                            $matrix,
                            c_int,
                            $matrix,
                            c_int,
                            $scalar,
                            $result,
                            c_int,
                        );
                        // SAFETY: the symbol of this name has the signature that CBLAS gives it.
                        let next: Entry =
                            unsafe { std::mem::transmute::<*mut c_void, Entry>(next) };
                        // SAFETY: the caller's own contract, handed on unchanged.
                        unsafe {
                            next(
                                layout, trans_a, trans_b, m, n, k, alpha, a, lda, b, ldb, beta, c,
                                ldc,
                            )
                        };
                    }
                }
            }
        }
    };
}

entry!(cblas_sgemm, f32, f32, *const f32, *mut f32, |value| value);
entry!(cblas_dgemm, f64, f64, *const f64, *mut f64, |value| value);
entry!(
    cblas_cgemm,
    c32,
    *const c_void,
    *const c_void,
    *mut c_void,
    // SAFETY: CBLAS passes the address of one complex number.
    |address| unsafe { address.cast::<c32>().read_unaligned() }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_follow_the_variables() {
        let read = |library, threads| read_settings(library, threads, 8);
        let chosen = |is_reference, threads| Settings {
            is_reference,
            threads,
        };
        assert_eq!(read("gemm", None), chosen(false, 8));
        assert_eq!(read("reference", Some("2")), chosen(true, 2));
        assert_eq!(read("gemm", Some("0")), chosen(false, 8));
        assert_eq!(read("gemm", Some("many")), chosen(false, 8));
    }

    #[test]
    fn small_products_stay_on_one_thread() {
        assert_eq!(share(64 * 72 * 128, 8), 1);
        assert_eq!(share(3 << 21, 8), 3);
        assert_eq!(share(usize::MAX, 8), 8);
        assert_eq!(share(usize::MAX, 1), 1);
    }
}

//! The CBLAS entry points against a product written out, for every layout and transposition.

#![cfg(not(target_vendor = "apple"))]
#![allow(unsafe_code, reason = "CBLAS takes raw pointers")]

use std::{
    ffi::c_void,
    fmt::Debug,
    ops::{Add, Mul, Sub},
};

use gemm::c32;
use mlx_sys::blas::{cblas_cgemm, cblas_dgemm, cblas_sgemm};

const LAYOUTS: [i32; 2] = [101, 102];
const OPERATIONS: [i32; 3] = [111, 112, 113];

/// Sizes around the kernels' tile edges, a row, a column, no terms, and nothing at all.
const SIZES: [[i32; 3]; 10] = [
    [1, 1, 1],
    [5, 7, 3],
    [1, 33, 64],
    [64, 1, 17],
    [16, 16, 16],
    [97, 65, 130],
    [4, 5, 0],
    [0, 5, 4],
    [5, 0, 4],
    [161, 131, 110],
];

trait Element:
    Copy + Debug + Default + Add<Output = Self> + Sub<Output = Self> + Mul<Output = Self>
{
    fn make(seed: usize) -> Self;
    fn conjugate(self) -> Self;
    fn size(self) -> f64;
}

fn wave(seed: usize) -> f64 {
    ((seed * 7919 + 13) % 101) as f64 / 50.0 - 1.0
}

impl Element for f32 {
    fn make(seed: usize) -> Self {
        wave(seed) as f32
    }
    fn conjugate(self) -> Self {
        self
    }
    fn size(self) -> f64 {
        f64::from(self.abs())
    }
}

impl Element for f64 {
    fn make(seed: usize) -> Self {
        wave(seed)
    }
    fn conjugate(self) -> Self {
        self
    }
    fn size(self) -> f64 {
        self.abs()
    }
}

impl Element for c32 {
    fn make(seed: usize) -> Self {
        c32 {
            re: wave(seed) as f32,
            im: wave(seed + 31) as f32,
        }
    }
    fn conjugate(self) -> Self {
        c32 {
            re: self.re,
            im: -self.im,
        }
    }
    fn size(self) -> f64 {
        f64::from(self.re.abs() + self.im.abs())
    }
}

/// A stored matrix with rows or columns longer than they need to be.
struct Stored<T> {
    data: Vec<T>,
    leading: i32,
    layout: i32,
}

impl<T: Element> Stored<T> {
    fn new(layout: i32, rows: i32, columns: i32, seed: usize) -> Self {
        let leading = if layout == 101 { columns } else { rows } + 3;
        let lines = if layout == 101 { rows } else { columns };
        let data = (0..(lines * leading) as usize + 1)
            .map(|i| T::make(i + seed))
            .collect();
        Self {
            data,
            leading,
            layout,
        }
    }

    fn index(&self, row: i32, column: i32) -> usize {
        let at = if self.layout == 101 {
            row * self.leading + column
        } else {
            column * self.leading + row
        };
        at as usize
    }

    /// Element of the matrix after the operation.
    fn get(&self, operation: i32, row: i32, column: i32) -> T {
        match operation {
            111 => self.data[self.index(row, column)],
            112 => self.data[self.index(column, row)],
            _ => self.data[self.index(column, row)].conjugate(),
        }
    }
}

struct Case {
    layout: i32,
    operations: [i32; 2],
    sizes: [i32; 3],
}

type Call<T> = fn(&Case, T, &Stored<T>, &Stored<T>, T, &mut Stored<T>);

fn check<T: Element>(call: Call<T>, tolerance: f64) {
    assert!(
        !mlx_sys::blas::settings().is_reference,
        "this tests our own products: unset NCPS_BLAS"
    );
    for layout in LAYOUTS {
        for first in OPERATIONS {
            for second in OPERATIONS {
                for sizes in SIZES {
                    let case = Case {
                        layout,
                        operations: [first, second],
                        sizes,
                    };
                    for (alpha, beta) in [(1, None), (1, Some(2)), (3, Some(1)), (0, Some(2))] {
                        check_case(&case, alpha, beta, call, tolerance);
                    }
                }
            }
        }
    }
}

/// Scalar 0 stands for zero; others are made like the elements.
fn check_case<T: Element>(
    case: &Case,
    alpha: usize,
    beta: Option<usize>,
    call: Call<T>,
    tolerance: f64,
) {
    let [m, n, k] = case.sizes;
    let stored = |operation: i32, rows, columns, seed| match operation {
        111 => Stored::<T>::new(case.layout, rows, columns, seed),
        _ => Stored::<T>::new(case.layout, columns, rows, seed),
    };
    let a = stored(case.operations[0], m, k, 1);
    let b = stored(case.operations[1], k, n, 2);
    let mut c = Stored::<T>::new(case.layout, m, n, 3);
    let before = c.data.clone();
    let scalar_alpha = if alpha == 0 {
        T::default()
    } else {
        T::make(alpha)
    };
    let scalar_beta = beta.map_or(T::default(), T::make);
    call(case, scalar_alpha, &a, &b, scalar_beta, &mut c);
    let mut expected = before;
    for row in 0..m {
        for column in 0..n {
            let sum = (0..k).fold(T::default(), |sum, inner| {
                sum + a.get(case.operations[0], row, inner)
                    * b.get(case.operations[1], inner, column)
            });
            let at = c.index(row, column);
            expected[at] = scalar_alpha * sum + scalar_beta * expected[at];
        }
    }
    // The comparison runs over the padding too: nothing outside C may change.
    for (at, (found, expected)) in c.data.iter().zip(&expected).enumerate() {
        let (layout, operations, sizes) = (case.layout, case.operations, case.sizes);
        let gap = (*found - *expected).size();
        assert!(
            gap <= tolerance,
            "{layout} {operations:?} {sizes:?} {alpha} {beta:?} at {at}: {found:?} {expected:?}"
        );
    }
}

#[test]
fn single_precision_products_are_right() {
    check::<f32>(
        |case, alpha, a, b, beta, c| {
            let ([ta, tb], [m, n, k]) = (case.operations, case.sizes);
            // SAFETY: the matrices were made for these sizes.
            unsafe {
                cblas_sgemm(
                    case.layout,
                    ta,
                    tb,
                    m,
                    n,
                    k,
                    alpha,
                    a.data.as_ptr(),
                    a.leading,
                    b.data.as_ptr(),
                    b.leading,
                    beta,
                    c.data.as_mut_ptr(),
                    c.leading,
                );
            }
        },
        2e-4,
    );
}

#[test]
fn double_precision_products_are_right() {
    check::<f64>(
        |case, alpha, a, b, beta, c| {
            let ([ta, tb], [m, n, k]) = (case.operations, case.sizes);
            // SAFETY: the matrices were made for these sizes.
            unsafe {
                cblas_dgemm(
                    case.layout,
                    ta,
                    tb,
                    m,
                    n,
                    k,
                    alpha,
                    a.data.as_ptr(),
                    a.leading,
                    b.data.as_ptr(),
                    b.leading,
                    beta,
                    c.data.as_mut_ptr(),
                    c.leading,
                );
            }
        },
        1e-12,
    );
}

#[test]
fn complex_products_are_right() {
    check::<c32>(
        |case, alpha, a, b, beta, c| {
            let ([ta, tb], [m, n, k]) = (case.operations, case.sizes);
            let (alpha, beta) = (&raw const alpha, &raw const beta);
            // SAFETY: the matrices were made for these sizes, and the scalars outlive the call.
            unsafe {
                cblas_cgemm(
                    case.layout,
                    ta,
                    tb,
                    m,
                    n,
                    k,
                    alpha.cast::<c_void>(),
                    a.data.as_ptr().cast(),
                    a.leading,
                    b.data.as_ptr().cast(),
                    b.leading,
                    beta.cast::<c_void>(),
                    c.data.as_mut_ptr().cast(),
                    c.leading,
                );
            }
        },
        4e-4,
    );
}

#[test]
fn a_result_that_is_not_read_may_hold_nan() {
    for k in [0, 2] {
        let mut c = [f32::NAN; 4];
        let (a, b) = ([1.0f32; 4], [1.0f32; 4]);
        // SAFETY: all three are 2 x 2 at most.
        unsafe {
            cblas_sgemm(
                101,
                111,
                111,
                2,
                2,
                k,
                1.0,
                a.as_ptr(),
                2,
                b.as_ptr(),
                2,
                0.0,
                c.as_mut_ptr(),
                2,
            );
        }
        let expected = k as f32;
        assert!(
            c.iter().all(|found| (found - expected).abs() < 1e-6),
            "{k}: {c:?}"
        );
    }
}

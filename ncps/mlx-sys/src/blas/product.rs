//! One matrix product in CBLAS's terms, and its translation into strides.

use std::{
    ffi::c_int,
    ops::{Add, Mul},
};

use gemm::{Parallelism, gemm};

/// Order of a matrix in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    RowMajor,
    ColumnMajor,
}

impl Layout {
    /// Reads CBLAS's constant.
    pub(super) fn new(value: c_int) -> Option<Self> {
        match value {
            101 => Some(Self::RowMajor),
            102 => Some(Self::ColumnMajor),
            _ => None,
        }
    }
}

/// A matrix that is read, with its leading dimension and what is done to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Factor<T> {
    data: *const T,
    leading: c_int,
    is_transposed: bool,
    is_conjugated: bool,
}

impl<T> Factor<T> {
    /// Reads CBLAS's transposition constant.
    pub(super) fn new(data: *const T, leading: c_int, operation: c_int) -> Option<Self> {
        let (is_transposed, is_conjugated) = match operation {
            111 => (false, false),
            112 => (true, false),
            113 => (true, true),
            _ => return None,
        };
        Some(Self {
            data,
            leading,
            is_transposed,
            is_conjugated,
        })
    }
}

/// Elements between neighbours down a column and along a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Strides {
    row: isize,
    column: isize,
}

impl Strides {
    fn new(layout: Layout, is_transposed: bool, leading: c_int) -> Self {
        let leading = leading as isize;
        if (layout == Layout::RowMajor) == is_transposed {
            Self {
                row: 1,
                column: leading,
            }
        } else {
            Self {
                row: leading,
                column: 1,
            }
        }
    }
}

/// A checked `C = alpha op(A) op(B) + beta C`.
#[derive(Debug)]
pub(super) struct Product<T> {
    layout: Layout,
    sizes: [usize; 3],
    a: Factor<T>,
    b: Factor<T>,
    c: (*mut T, c_int),
}

impl<T> Product<T>
where
    T: Copy + PartialEq + Default + Add<Output = T> + Mul<Output = T> + 'static,
{
    /// Checks sizes `[m, n, k]` and leading dimensions as CBLAS demands them.
    pub(super) fn new(
        layout: Layout,
        sizes: [c_int; 3],
        a: Factor<T>,
        b: Factor<T>,
        c: (*mut T, c_int),
    ) -> Option<Self> {
        let [m, n, k] = sizes;
        let fits = |leading: c_int, rows: c_int, columns: c_int, is_transposed: bool| {
            // The stored matrix is the transpose of the one that takes part.
            let (rows, columns) = if is_transposed {
                (columns, rows)
            } else {
                (rows, columns)
            };
            let least = if layout == Layout::RowMajor {
                columns
            } else {
                rows
            };
            leading >= least.max(1)
        };
        let is_valid = sizes.iter().all(|size| *size >= 0)
            && fits(a.leading, m, k, a.is_transposed)
            && fits(b.leading, k, n, b.is_transposed)
            && fits(c.1, m, n, false);
        is_valid.then(|| Self {
            layout,
            sizes: sizes.map(|size| size as usize),
            a,
            b,
            c,
        })
    }

    /// Multiplications that the product takes.
    pub(super) fn multiplications(&self) -> usize {
        self.sizes
            .iter()
            .fold(1, |product: usize, size| product.saturating_mul(*size))
    }

    /// Computes the product into C.
    ///
    /// # Safety
    /// The three pointers hold matrices of the checked sizes, and C overlaps neither factor.
    pub(super) unsafe fn run(self, alpha: T, beta: T, parallelism: Parallelism) {
        let [m, n, k] = self.sizes;
        if m == 0 || n == 0 {
            return;
        }
        if k == 0 || alpha == T::default() {
            // SAFETY: C is an m x n matrix of the stated leading dimension, as the caller promises.
            unsafe { self.scale(beta) };
            return;
        }
        let strides =
            |factor: &Factor<T>| Strides::new(self.layout, factor.is_transposed, factor.leading);
        let (a, b) = (strides(&self.a), strides(&self.b));
        let c = Strides::new(self.layout, false, self.c.1);
        // With beta = 0 CBLAS must not read C, which may hold anything, NaN too.
        let reads_c = beta != T::default();
        // SAFETY: pointers and strides describe the caller's matrices; in this crate's terms `alpha` belongs to C.
        unsafe {
            gemm(
                m,
                n,
                k,
                self.c.0,
                c.column,
                c.row,
                reads_c,
                self.a.data,
                a.column,
                a.row,
                self.b.data,
                b.column,
                b.row,
                beta,
                alpha,
                false,
                self.a.is_conjugated,
                self.b.is_conjugated,
                parallelism,
            );
        }
    }

    /// `C = beta C`, all that is left of a product without terms.
    ///
    /// # Safety
    /// C is an m x n matrix of the stated leading dimension.
    unsafe fn scale(&self, beta: T) {
        let strides = Strides::new(self.layout, false, self.c.1);
        for row in 0..self.sizes[0] as isize {
            for column in 0..self.sizes[1] as isize {
                // SAFETY: row and column lie inside C.
                unsafe {
                    let element = self.c.0.offset(row * strides.row + column * strides.column);
                    *element = if beta == T::default() {
                        T::default()
                    } else {
                        beta * *element
                    };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_has_the_same_bits_on_any_number_of_threads() {
        // A matrix and a vector, a long inner sum, tiles that no thread count divides.
        for [m, n, k] in [[257, 1, 61], [1, 130, 300], [33, 65, 1000], [131, 71, 67]] {
            let mut state = 1_u32;
            let mut values = |count: i32| -> Vec<f32> {
                let next = |_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    state as f32 / u32::MAX as f32 - 0.5
                };
                (0..count).map(next).collect()
            };
            let (a, b) = (values(m * k), values(k * n));
            let product = |parallelism| -> Vec<u32> {
                let mut c = vec![0.0_f32; (m * n) as usize];
                let left = Factor::new(a.as_ptr(), k, 111).unwrap();
                let right = Factor::new(b.as_ptr(), n, 111).unwrap();
                let target = (c.as_mut_ptr(), n);
                let product = Product::new(Layout::RowMajor, [m, n, k], left, right, target);
                // SAFETY: the three vectors have the sizes of the product and do not overlap.
                unsafe { product.unwrap().run(1.0, 0.0, parallelism) };
                c.iter().map(|value| value.to_bits()).collect()
            };
            let alone = product(Parallelism::None);
            for threads in [2, 3, 8] {
                assert!(
                    product(Parallelism::Rayon(threads)) == alone,
                    "{m} x {n} x {k}"
                );
            }
        }
    }

    #[test]
    fn strides_follow_layout_and_transposition() {
        let strides = |layout, is_transposed| {
            let found = Strides::new(layout, is_transposed, 7);
            (found.row, found.column)
        };
        assert_eq!(strides(Layout::RowMajor, false), (7, 1));
        assert_eq!(strides(Layout::RowMajor, true), (1, 7));
        assert_eq!(strides(Layout::ColumnMajor, false), (1, 7));
        assert_eq!(strides(Layout::ColumnMajor, true), (7, 1));
    }

    #[test]
    fn forbidden_arguments_are_refused() {
        let data = std::ptr::null_mut::<f32>();
        let factor = |leading, operation| Factor::new(data.cast_const(), leading, operation);
        let new = |sizes, a, b, c| {
            Product::new(
                Layout::RowMajor,
                sizes,
                factor(a, 111).unwrap(),
                factor(b, 112).unwrap(),
                (data, c),
            )
            .is_some()
        };
        assert!(Layout::new(103).is_none());
        assert!(factor(1, 110).is_none());
        assert!(new([2, 3, 4], 4, 4, 3));
        assert!(!new([2, 3, 4], 3, 4, 3), "A has rows of 4");
        assert!(!new([2, 3, 4], 4, 3, 3), "the stored B has rows of 4");
        assert!(!new([2, 3, 4], 4, 4, 2), "C has rows of 3");
        assert!(!new([-1, 3, 4], 4, 4, 3));
        assert!(new([0, 0, 0], 1, 1, 1));
    }
}

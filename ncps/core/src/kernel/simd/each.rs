//! Passes over rows of values, with one comparison of lengths before the loop instead of one at each access.
//!
//! Besides being faster, this keeps compilation short: loops with a dozen checked accesses take the optimiser minutes.

use super::Simd;

/// Replaces the first `len` values of each output by what `f` makes of the inputs' and the outputs' old values.
///
/// Panics if `len` is no multiple of the vector width, or a slice is shorter.
#[inline(always)]
pub(crate) fn each<S: Simd, const N: usize, const M: usize>(
    s: S,
    len: usize,
    inputs: [&[f32]; N],
    outputs: [&mut [f32]; M],
    mut f: impl FnMut([S::V; N], [S::V; M]) -> [S::V; M],
) {
    assert_eq!(len % S::LANES, 0);
    let mut from = [std::ptr::null(); N];
    let mut to = [std::ptr::null_mut(); M];
    for (from, input) in from.iter_mut().zip(inputs) {
        assert!(input.len() >= len);
        *from = input.as_ptr();
    }
    for (to, output) in to.iter_mut().zip(outputs) {
        assert!(output.len() >= len);
        *to = output.as_mut_ptr();
    }
    let mut i = 0;
    while i < len {
        let (mut x, mut y) = ([s.splat(0.0); N], [s.splat(0.0); M]);
        // SAFETY: `i` plus a vector stays below `len`, which no slice is shorter than.
        unsafe {
            for (x, from) in x.iter_mut().zip(from) {
                *x = s.load_ptr(from.add(i));
            }
            for (y, to) in y.iter_mut().zip(to) {
                *y = s.load_ptr(to.add(i));
            }
            for (y, to) in f(x, y).into_iter().zip(to) {
                s.store_ptr(to.add(i), y);
            }
        }
        i += S::LANES;
    }
}

/// `to += from`, over the first `len` values.
#[inline(always)]
pub(crate) fn add<S: Simd>(s: S, len: usize, from: &[f32], to: &mut [f32]) {
    each(s, len, [from], [to], |[x], [y]| [s.add(x, y)]);
}

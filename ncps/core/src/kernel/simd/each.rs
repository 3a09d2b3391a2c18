//! Passes over rows of values, with one comparison of lengths before the loop instead of one at each access.
//!
//! Besides being faster, this keeps compilation short: loops with a dozen checked accesses take the optimiser minutes. It
//! is a macro because a closure would be compiled without the vector instructions wherever it is not inlined.

use super::Simd;

/// `each!(s, len, [x = inputs, ..], [y = outputs, ..], values)`: replaces the first `len` values of each output by `values`,
/// an array of vectors in terms of the inputs `x` and the outputs' old values `y`.
///
/// Panics if `len` is no multiple of the vector width, or a slice is shorter.
macro_rules! each {
    ($s:expr, $len:expr, [$($x:ident = $in:expr),*], [$($y:ident = $out:expr),+], $values:expr) => {{
        let (s, len): (_, usize) = ($s, $len);
        let width = $crate::kernel::simd::width(s);
        assert_eq!(len % width, 0);
        let inputs = $crate::kernel::simd::pointers([$($crate::kernel::simd::checked($in, len)),*]);
        let outputs = [$($crate::kernel::simd::checked_mut($out, len)),+];
        let mut i = 0;
        while i < len {
            let [$($x),*] = inputs;
            // SAFETY: `i` plus a vector stays below `len`, which no slice is shorter than.
            $(let $x = unsafe { s.load_ptr($x.add(i)) };)*
            let [$($y),+] = outputs;
            // SAFETY: as above.
            $(let $y = unsafe { s.load_ptr($y.add(i)) };)+
            let values = $values;
            let mut k = 0;
            while k < values.len() {
                // SAFETY: as above; there are as many values as outputs.
                unsafe { s.store_ptr(outputs[k].add(i), values[k]) };
                k += 1;
            }
            i += width;
        }
    }};
}
pub(crate) use each;

/// Values in one vector.
#[inline(always)]
pub(crate) fn width<S: Simd>(_: S) -> usize {
    S::LANES
}

/// Fixes the type of an array that may be empty.
#[inline(always)]
pub(crate) fn pointers<const N: usize>(pointers: [*const f32; N]) -> [*const f32; N] {
    pointers
}

/// The start of a slice of at least `len` values.
#[inline(always)]
pub(crate) fn checked(values: &[f32], len: usize) -> *const f32 {
    assert!(values.len() >= len);
    values.as_ptr()
}

/// The start of a slice of at least `len` values.
#[inline(always)]
pub(crate) fn checked_mut(values: &mut [f32], len: usize) -> *mut f32 {
    assert!(values.len() >= len);
    values.as_mut_ptr()
}

/// `to += from`, over the first `len` values.
#[inline(always)]
pub(crate) fn add<S: Simd>(s: S, len: usize, from: &[f32], to: &mut [f32]) {
    each!(s, len, [x = from], [y = to], [s.add(x, y)]);
}

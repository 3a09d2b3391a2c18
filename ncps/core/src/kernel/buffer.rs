//! Scratch memory that threads keep between calls, aligned to cache lines.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Values in a cache line, which is also the widest vector.
pub(crate) const LINE: usize = 16;

thread_local! {
    static SPARE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Spare vectors that a thread keeps.
const MAX_SPARE: usize = 32;

/// How many values to skip so that `data` starts on a cache line.
pub(crate) fn misalignment(data: &[f32]) -> usize {
    data.as_ptr()
        .align_offset(LINE * size_of::<f32>())
        .min(LINE)
}

/// A block of f32 whose contents are whatever was there before.
#[derive(Debug)]
pub(crate) struct Buffer {
    data: Vec<f32>,
    start: usize,
    len: usize,
}

impl Buffer {
    /// Takes `len` values of arbitrary content.
    pub(crate) fn take(len: usize) -> Self {
        let wanted = len + LINE;
        let mut data = SPARE.with_borrow_mut(|spare| {
            let fitting = spare
                .iter()
                .enumerate()
                .filter(|(_, data)| data.len() >= wanted);
            match fitting.min_by_key(|(_, data)| data.len()) {
                Some((index, _)) => spare.swap_remove(index),
                None => Vec::new(),
            }
        });
        if data.len() < wanted {
            data = vec![0.0; wanted];
        }
        let start = misalignment(&data);
        Self { data, start, len }
    }

    /// Takes `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut buffer = Self::take(len);
        buffer.fill(0.0);
        buffer
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.data[self.start..self.start + self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[self.start..self.start + self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let data = std::mem::take(&mut self.data);
        // `try_with`: at the end of a thread the store may be gone already.
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() == MAX_SPARE {
                spare.remove(0);
            }
            spare.push(data);
        });
    }
}

/// Values of all buffers that the calling thread keeps.
#[cfg(test)]
pub(crate) fn spare_values() -> usize {
    SPARE.with_borrow(|spare| spare.iter().map(Vec::len).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_reused() {
        let first = Buffer::take(100);
        assert_eq!(first.as_ptr() as usize % 64, 0);
        assert_eq!(first.len(), 100);
        let place = first.as_ptr();
        drop(first);
        assert_eq!(Buffer::zeros(90).as_ptr(), place);
        assert!(Buffer::zeros(90).iter().all(|x| x.to_bits() == 0));
    }
}

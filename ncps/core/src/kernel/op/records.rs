//! Records between a forward and its backward pass, kept outside MLX's allocator.
//!
//! They are large and of the same size in every step: from the system's allocator each step would get fresh pages, and
//! pay for a page fault in every 4 KiB. MLX sees a token, an array of two values that holds a key; when the token's memory
//! is given back, so is the record, to be used again.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

/// Values in a token.
pub(super) const TOKEN: usize = 2;
/// Records kept for later use.
const MAX_SPARE: usize = 8;

#[derive(Debug, Default)]
struct Store {
    last_key: u64,
    live: HashMap<u64, Arc<Vec<f32>>>,
    spare: Vec<Vec<f32>>,
}

static STORE: LazyLock<Mutex<Store>> = LazyLock::new(Mutex::default);

fn store() -> MutexGuard<'static, Store> {
    STORE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A record of `len` values of arbitrary content.
pub(super) fn take(len: usize) -> Vec<f32> {
    let mut store = store();
    match store.spare.iter().position(|record| record.len() == len) {
        Some(index) => store.spare.swap_remove(index),
        None => {
            drop(store);
            vec![0.0; len]
        }
    }
}

/// Keeps a record and writes its key into the token.
pub(super) fn keep(record: Vec<f32>, token: &mut [f32]) {
    let mut store = store();
    store.last_key += 1;
    let key = store.last_key;
    store.live.insert(key, Arc::new(record));
    token[0] = f32::from_bits(key as u32);
    token[1] = f32::from_bits((key >> 32) as u32);
}

fn key(token: &[f32]) -> u64 {
    u64::from(token[0].to_bits()) | u64::from(token[1].to_bits()) << 32
}

/// The record of a token; none if it was given back already, as for a copy that outlived the token.
pub(super) fn find(token: &[f32]) -> Option<Arc<Vec<f32>>> {
    store().live.get(&key(token)).cloned()
}

/// Gives back the record of a token; does nothing for a token that was never written.
pub(super) fn release(token: &[f32]) {
    let mut store = store();
    if let Some(record) = store.live.remove(&key(token)).and_then(Arc::into_inner) {
        if store.spare.len() == MAX_SPARE {
            store.spare.remove(0);
        }
        store.spare.push(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_lives_as_long_as_its_token() {
        let len = 12_345;
        let record = take(len);
        let place = record.as_ptr();
        let mut token = [0.0; TOKEN];
        release(&token);
        keep(record, &mut token);
        assert_eq!(find(&token).unwrap().as_ptr(), place);
        release(&token);
        assert!(find(&token).is_none());
        let again = take(len);
        assert_eq!(again.as_ptr(), place);
    }
}

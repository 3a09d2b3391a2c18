//! Holding the sampler for a while, so that work with and without it can be timed in turn.

use std::sync::{Condvar, Mutex, PoisonError};

/// A gate that threads pass between two readings.
#[derive(Debug, Default)]
pub(super) struct Pause {
    is_set: Mutex<bool>,
    changed: Condvar,
}

impl Pause {
    pub(super) fn set(&self, is_set: bool) {
        *self.is_set.lock().unwrap_or_else(PoisonError::into_inner) = is_set;
        self.changed.notify_all();
    }

    /// Waits until nothing is held any more.
    pub(super) fn pass(&self) {
        let guard = self.is_set.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(guard, |is_set| *is_set));
    }
}

//! Ctrl-C, SIGTERM and the end of the terminal (SIGHUP): the first asks the run to stop after this step and save, the second ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Which signal has asked the program to stop, if any.
#[derive(Clone, Debug, Default)]
pub(crate) struct StopRequest {
    signal: Arc<AtomicUsize>,
}

impl StopRequest {
    /// Begins to listen.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let request = Self::default();
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let asked = Arc::new(AtomicBool::new(false));
            // Registered first, so it sees the flag of an earlier signal only: the second one ends the program.
            signal_hook::flag::register_conditional_shutdown(
                signal,
                128 + signal,
                Arc::clone(&asked),
            )?;
            signal_hook::flag::register(signal, asked)?;
            signal_hook::flag::register_usize(
                signal,
                Arc::clone(&request.signal),
                signal as usize,
            )?;
        }
        Ok(request)
    }

    pub(crate) fn is_set(&self) -> bool {
        self.signal.load(Ordering::Relaxed) != 0
    }

    /// The exit code that tells which signal it was: 129, 130 or 143.
    pub(crate) fn exit_code(&self) -> u8 {
        128 + self.signal.load(Ordering::Relaxed) as u8
    }
}

//! Where log lines go: to stderr as far as `-v` asks, and to the run's `log.txt` once there is a run.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Mutex;

use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

/// The log file of the current run, if one has begun.
static RUN_LOG: Mutex<Option<File>> = Mutex::new(None);

/// Begins to log; once in a process.
pub(crate) fn start(verbosity: u8) {
    let to_stderr = match verbosity {
        0 => None,
        1 => Some(Level::INFO),
        _ => Some(Level::DEBUG),
    };
    let level = to_stderr.unwrap_or(Level::INFO).max(Level::INFO);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_target(false)
        .with_writer(Writers { to_stderr })
        .finish();
    // Only a second call could fail, and the first one's settings then stay.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

/// Sends log lines to a run's file from now on.
pub(crate) fn attach(file: File) {
    if let Ok(mut log) = RUN_LOG.lock() {
        *log = Some(file);
    }
}

struct Writers {
    to_stderr: Option<Level>,
}

impl<'a> MakeWriter<'a> for Writers {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        LineWriter { to_stderr: false }
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> LineWriter {
        LineWriter {
            to_stderr: self.to_stderr.is_some_and(|least| *meta.level() <= least),
        }
    }
}

struct LineWriter {
    to_stderr: bool,
}

impl Write for LineWriter {
    /// A log that cannot be written must not end the run: the run's own files report a full disk.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.to_stderr {
            let _ = io::stderr().lock().write_all(line);
        }
        if let Ok(mut log) = RUN_LOG.lock()
            && let Some(file) = log.as_mut()
        {
            let _ = file.write_all(line);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

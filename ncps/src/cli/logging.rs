//! Where log lines go: to stderr as far as `-v` asks, and to the run's `log.txt` once there is a run.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Mutex;

use clap::ValueEnum;
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

/// The log file of the current run, if one has begun.
static RUN_LOG: Mutex<Option<File>> = Mutex::new(None);

/// How a log line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// Time, level, text and values in one line.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What goes to the run's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    fn level(self) -> Level {
        match self {
            Self::Error => Level::ERROR,
            Self::Warn => Level::WARN,
            Self::Info => Level::INFO,
            Self::Debug => Level::DEBUG,
            Self::Trace => Level::TRACE,
        }
    }
}

/// Begins to log; once in a process.
pub(crate) fn start(verbosity: u8, format: LogFormat, level: LogLevel) {
    let to_stderr = match verbosity {
        0 => None,
        1 => Some(Level::INFO),
        _ => Some(Level::DEBUG),
    };
    let to_file = level.level();
    let builder = tracing_subscriber::fmt()
        .with_max_level(to_stderr.map_or(to_file, |level| level.max(to_file)))
        .with_ansi(false)
        .with_target(false)
        .with_writer(Writers { to_stderr, to_file });
    // Only a second call could fail, and the first one's settings then stay.
    let _ = match format {
        LogFormat::Text => tracing::subscriber::set_global_default(builder.finish()),
        LogFormat::Json => {
            let lines = builder.json().flatten_event(true).with_current_span(false);
            tracing::subscriber::set_global_default(lines.with_span_list(false).finish())
        }
    };
}

/// Sends log lines to a run's file from now on.
pub(crate) fn attach(file: File) {
    if let Ok(mut log) = RUN_LOG.lock() {
        *log = Some(file);
    }
}

struct Writers {
    to_stderr: Option<Level>,
    to_file: Level,
}

impl<'a> MakeWriter<'a> for Writers {
    type Writer = LineWriter;

    fn make_writer(&'a self) -> LineWriter {
        LineWriter {
            to_stderr: false,
            to_file: true,
        }
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> LineWriter {
        LineWriter {
            to_stderr: self.to_stderr.is_some_and(|least| *meta.level() <= least),
            to_file: *meta.level() <= self.to_file,
        }
    }
}

struct LineWriter {
    to_stderr: bool,
    to_file: bool,
}

impl Write for LineWriter {
    /// A log that cannot be written must not end the run: the run's own files report a full disk.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.to_stderr {
            let _ = io::stderr().lock().write_all(line);
        }
        if self.to_file
            && let Ok(mut log) = RUN_LOG.lock()
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

//! Errors to exit codes: the one place where the meaning of each code is decided.

use std::io;

use ncps::Error;

/// Done.
pub(crate) const OK: u8 = 0;
/// Failed for a reason without a code of its own.
pub(crate) const FAILED: u8 = 1;
/// Wrong arguments or configuration.
pub(crate) const USAGE: u8 = 2;
/// The loss became infinite or not a number.
pub(crate) const DIVERGED: u8 = 3;
/// A checkpoint, model or data file is corrupt or does not fit.
pub(crate) const CORRUPT: u8 = 4;
/// Not enough memory.
pub(crate) const MEMORY: u8 = 5;
/// A file cannot be read or written.
pub(crate) const IO: u8 = 6;

/// A wrong argument that clap cannot know of.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct UsageError {
    pub(crate) message: String,
}

impl UsageError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

/// A line of a stream that cannot be a step.
#[derive(Debug, thiserror::Error)]
#[error("line {line} of the input: {problem}")]
pub(crate) struct CorruptInput {
    pub(crate) line: u64,
    pub(crate) problem: String,
}

/// The run has stopped because of a signal, after saving.
#[derive(Debug, thiserror::Error)]
#[error("stopped by a signal after saving")]
pub(crate) struct Interrupted {
    pub(crate) code: u8,
}

/// The program ran again in a process of its own, which has said what there was to say.
#[derive(Debug, thiserror::Error)]
#[error("the program ended with code {code}")]
pub(crate) struct EndedAlready {
    code: u8,
}

impl EndedAlready {
    /// Takes over the exit code; a process that a signal ended has none.
    pub(crate) fn new(code: Option<i32>) -> Self {
        let code = code.and_then(|code| u8::try_from(code).ok());
        Self {
            code: code.unwrap_or(FAILED),
        }
    }
}

/// The system has ended the process under supervision.
#[derive(Debug, thiserror::Error)]
#[error(
    "the training process was ended by signal {signal}, most likely for want of memory; take a smaller `train.batch_size` \
     with a larger `train.accumulate`, or let --auto-batch do so; --resume continues from the last checkpoint"
)]
pub(crate) struct MemoryLost {
    pub(crate) signal: i32,
}

/// Whether the person has been told already.
pub(crate) fn is_told(error: &anyhow::Error) -> bool {
    error.is::<Interrupted>() || error.is::<EndedAlready>()
}

/// The exit code of an error.
pub(crate) fn code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(interrupted) = cause.downcast_ref::<Interrupted>() {
            return interrupted.code;
        }
        if let Some(ended) = cause.downcast_ref::<EndedAlready>() {
            return ended.code;
        }
        if cause.is::<MemoryLost>() {
            return MEMORY;
        }
        if cause.is::<UsageError>() {
            return USAGE;
        }
        if cause.is::<CorruptInput>() {
            return CORRUPT;
        }
        if let Some(error) = cause.downcast_ref::<Error>() {
            return of_error(error);
        }
        if let Some(error) = cause.downcast_ref::<io::Error>() {
            return of_io(error);
        }
    }
    FAILED
}

fn of_io(error: &io::Error) -> u8 {
    match error.kind() {
        // The reader had enough: `ncps ... | head` is no failure.
        io::ErrorKind::BrokenPipe => OK,
        io::ErrorKind::OutOfMemory => MEMORY,
        _ => IO,
    }
}

fn of_error(error: &Error) -> u8 {
    use ncps::ErrorKind;
    match error.kind() {
        ErrorKind::Config => USAGE,
        ErrorKind::Diverged => DIVERGED,
        ErrorKind::Corrupt => CORRUPT,
        ErrorKind::Memory => MEMORY,
        ErrorKind::Io => IO,
        _ => FAILED,
    }
}

//! Running the system's own tools, with a deadline and a limit on output, or replaying what they said.

mod recorded;
mod stream;
mod system;

pub use recorded::RecordedRunner;
pub(crate) use recorded::read_answers;
pub use stream::LineStream;
pub use system::SystemRunner;
pub(crate) use system::helper_cpu;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A program with its arguments, and how long and how much it may talk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// Program: an absolute path, or a name to look up on `PATH`.
    pub program: String,
    /// Arguments, passed as they are: no shell is involved.
    pub arguments: Vec<String>,
    /// Time after which the program is killed.
    pub timeout: Duration,
    /// Bytes of output after which the program is killed; default 1 MiB.
    pub max_bytes: usize,
}

impl CommandLine {
    /// A command with five seconds and one MiB of output.
    #[must_use]
    pub fn new(program: &str, arguments: &[&str]) -> Self {
        Self {
            program: program.to_owned(),
            arguments: arguments.iter().map(|&a| a.to_owned()).collect(),
            timeout: Duration::from_secs(5),
            max_bytes: 1 << 20,
        }
    }

    /// Program and arguments in one line, as a recording names them. The number of this process
    /// is written as `{pid}`, so that a recording answers another process too.
    #[must_use]
    pub fn text(&self) -> String {
        let pid = std::process::id().to_string();
        let mut words = vec![self.program.as_str()];
        let arguments = self.arguments.iter().map(String::as_str);
        words.extend(arguments.map(|word| if word == pid { "{pid}" } else { word }));
        words.join(" ")
    }

    /// Name of the program without its folder.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.program.rsplit('/').next().unwrap_or(&self.program)
    }
}

/// What a program said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandOutput {
    /// Exit code; `None` when a signal ended it.
    pub status: Option<i32>,
    /// Standard output, with invalid UTF-8 replaced.
    pub stdout: String,
    /// Standard error, with invalid UTF-8 replaced.
    pub stderr: String,
    /// Wall time of the call.
    pub wall: Duration,
}

/// Why a program could not be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunFailure {
    /// There is no such program.
    #[error("`{program}` is not installed")]
    Missing {
        /// Program that was looked for.
        program: String,
    },
    /// The program did not end in time and was killed.
    #[error("`{program}` did not answer within {} s", timeout.as_secs_f64())]
    TimedOut {
        /// Program that hung.
        program: String,
        /// Time that it was given.
        timeout: Duration,
    },
    /// The program printed more than a probe can need and was killed.
    #[error("`{program}` printed more than {limit} bytes")]
    TooMuchOutput {
        /// Program that did not stop.
        program: String,
        /// Limit that it passed.
        limit: usize,
    },
    /// The system refused to start it.
    #[error("`{program}` could not be started: {detail}")]
    NotStarted {
        /// Program that was refused.
        program: String,
        /// The system's words.
        detail: String,
    },
    /// A program that should print until it is stopped ended by itself.
    #[error("`{program}` ended by itself: {said}")]
    Ended {
        /// Program that ended.
        program: String,
        /// First line of what it said last, or that it said nothing.
        said: String,
    },
}

/// Asks programs and files; the only door through which probes reach the system.
pub trait CommandRunner: Send + Sync {
    /// Runs the command to its end, its deadline or its output limit.
    ///
    /// # Errors
    /// [`RunFailure`] when there is no complete answer. A non-zero exit code is an answer.
    fn run(&self, command: &CommandLine) -> Result<CommandOutput, RunFailure>;

    /// Starts a program that prints one line a sample; dropping the stream ends the program.
    ///
    /// # Errors
    /// [`RunFailure`] when it cannot be started.
    fn lines(&self, command: &CommandLine) -> Result<Box<dyn LineStream>, RunFailure>;

    /// Text of a file of the system, at most one MiB; `path` is relative to `root`.
    fn read(&self, root: &Path, path: &str) -> Option<String>;
}

impl<T: CommandRunner + ?Sized> CommandRunner for Arc<T> {
    fn run(&self, command: &CommandLine) -> Result<CommandOutput, RunFailure> {
        (**self).run(command)
    }

    fn lines(&self, command: &CommandLine) -> Result<Box<dyn LineStream>, RunFailure> {
        (**self).lines(command)
    }

    fn read(&self, root: &Path, path: &str) -> Option<String> {
        (**self).read(root, path)
    }
}

/// First line that a program said, on standard error before standard output.
pub(crate) fn first_line(output: &CommandOutput) -> &str {
    let mut lines = output.stderr.lines().chain(output.stdout.lines());
    lines.find(|line| !line.trim().is_empty()).unwrap_or("")
}

#[cfg(test)]
mod tests;

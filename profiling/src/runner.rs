//! Running the system's own tools, with a deadline and a limit on output, or replaying what they said.

use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

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

    /// Program and arguments in one line, as a recording names them.
    #[must_use]
    pub fn text(&self) -> String {
        let mut words = vec![self.program.as_str()];
        words.extend(self.arguments.iter().map(String::as_str));
        words.join(" ")
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
}

/// Asks programs; the only door through which probes reach the system's tools.
pub trait CommandRunner: Send + Sync {
    /// Runs the command to its end, its deadline or its output limit.
    ///
    /// # Errors
    /// [`RunFailure`] when there is no complete answer. A non-zero exit code is an answer.
    fn run(&self, command: &CommandLine) -> Result<CommandOutput, RunFailure>;
}

/// Runs the real programs of this machine, with no input and the C locale.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRunner;

impl CommandRunner for SystemRunner {
    fn run(&self, command: &CommandLine) -> Result<CommandOutput, RunFailure> {
        let start = Instant::now();
        let mut child = Command::new(&command.program)
            .args(&command.arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| not_started(&command.program, &e))?;
        let (sender, receiver) = mpsc::channel();
        drain(
            child.stdout.take(),
            command.max_bytes,
            Stream::Out,
            sender.clone(),
        );
        drain(child.stderr.take(), command.max_bytes, Stream::Err, sender);

        let end = collect(&receiver, command, start);
        if end.is_err() {
            // The program may be gone already, and there is nobody to tell if it cannot be killed.
            let _ = child.kill();
        }
        let (stdout, stderr) = end.inspect_err(|_| drop(child.wait()))?;
        let status = wait(&mut child, command, start)?;
        Ok(CommandOutput {
            status,
            stdout,
            stderr,
            wall: start.elapsed(),
        })
    }
}

fn not_started(program: &str, error: &std::io::Error) -> RunFailure {
    let program = program.to_owned();
    match error.kind() {
        ErrorKind::NotFound => RunFailure::Missing { program },
        _ => RunFailure::NotStarted {
            program,
            detail: error.to_string(),
        },
    }
}

#[derive(Clone, Copy)]
enum Stream {
    Out,
    Err,
}

/// Reads a pipe on its own thread; a grandchild that keeps it open cannot hold up the caller.
fn drain<R: Read + Send + 'static>(
    pipe: Option<R>,
    limit: usize,
    stream: Stream,
    sender: mpsc::Sender<(Stream, Vec<u8>)>,
) {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(pipe) = pipe {
            // One byte more than allowed tells "too much" from "exactly enough".
            let _ = pipe.take(limit as u64 + 1).read_to_end(&mut bytes);
        }
        let _ = sender.send((stream, bytes));
    });
}

fn collect(
    receiver: &mpsc::Receiver<(Stream, Vec<u8>)>,
    command: &CommandLine,
    start: Instant,
) -> Result<(String, String), RunFailure> {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    for _ in 0..2 {
        let left = command.timeout.saturating_sub(start.elapsed());
        let Ok((stream, bytes)) = receiver.recv_timeout(left) else {
            return Err(timed_out(command));
        };
        if bytes.len() > command.max_bytes {
            let program = command.program.clone();
            return Err(RunFailure::TooMuchOutput {
                program,
                limit: command.max_bytes,
            });
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        match stream {
            Stream::Out => stdout = text,
            Stream::Err => stderr = text,
        }
    }
    Ok((stdout, stderr))
}

/// Waits for the exit code; a program may close its pipes and still hang.
fn wait(
    child: &mut std::process::Child,
    command: &CommandLine,
    start: Instant,
) -> Result<Option<i32>, RunFailure> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.code()),
            Ok(None) if start.elapsed() < command.timeout => {
                thread::sleep(Duration::from_millis(2));
            }
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(timed_out(command));
            }
            Err(error) => return Err(not_started(&command.program, &error)),
        }
    }
}

fn timed_out(command: &CommandLine) -> RunFailure {
    RunFailure::TimedOut {
        program: command.program.clone(),
        timeout: command.timeout,
    }
}

/// Replays recorded answers; a command that was not recorded is not installed.
#[derive(Debug, Clone, Default)]
pub struct RecordedRunner {
    answers: BTreeMap<String, Result<CommandOutput, RunFailure>>,
}

impl RecordedRunner {
    /// A machine on which no tool is installed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an answer with exit code 0; `command` is program and arguments in one line.
    #[must_use]
    pub fn with(self, command: &str, stdout: &str) -> Self {
        self.with_answer(command, Ok(answer(0, stdout, "")))
    }

    /// Adds any answer.
    #[must_use]
    pub fn with_answer(mut self, command: &str, answer: Result<CommandOutput, RunFailure>) -> Self {
        self.answers.insert(command.to_owned(), answer);
        self
    }

    /// Reads a folder with one folder per command, each holding `argv`, `stdout` and, if they are
    /// not empty and 0, `stderr` and `status`.
    ///
    /// # Errors
    /// [`Error::Recording`] when a file cannot be read or `status` is not a number.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let mut runner = Self::new();
        for entry in fs::read_dir(dir).map_err(|e| recording(dir, &e))? {
            let path = entry.map_err(|e| recording(dir, &e))?.path();
            if !path.join("argv").is_file() {
                continue;
            }
            let read = |name: &str| fs::read_to_string(path.join(name));
            let argv = read("argv").map_err(|e| recording(&path, &e))?;
            let stdout = read("stdout").map_err(|e| recording(&path, &e))?;
            let status = match read("status") {
                Ok(text) => text.trim().parse().map_err(|e| recording(&path, &e))?,
                Err(_) => 0,
            };
            let stderr = read("stderr").unwrap_or_default();
            let output = answer(status, &stdout, &stderr);
            runner = runner.with_answer(argv.trim_end(), Ok(output));
        }
        Ok(runner)
    }
}

fn recording(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Recording {
        path: path.to_owned(),
        detail: error.to_string(),
    }
}

fn answer(status: i32, stdout: &str, stderr: &str) -> CommandOutput {
    CommandOutput {
        status: Some(status),
        stdout: stdout.to_owned(),
        stderr: stderr.to_owned(),
        wall: Duration::ZERO,
    }
}

impl CommandRunner for RecordedRunner {
    fn run(&self, command: &CommandLine) -> Result<CommandOutput, RunFailure> {
        let missing = || {
            Err(RunFailure::Missing {
                program: command.program.clone(),
            })
        };
        self.answers
            .get(&command.text())
            .cloned()
            .unwrap_or_else(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> CommandLine {
        CommandLine::new("/bin/sh", &["-c", script])
    }

    #[test]
    fn output_and_exit_code_come_back() {
        let output = SystemRunner
            .run(&shell("echo out; echo err >&2; exit 64"))
            .unwrap();
        assert_eq!(output.status, Some(64));
        assert_eq!(
            (output.stdout.as_str(), output.stderr.as_str()),
            ("out\n", "err\n")
        );
    }

    #[test]
    fn a_missing_program_is_named() {
        let failure = SystemRunner
            .run(&CommandLine::new("ncps-no-such-tool", &[]))
            .unwrap_err();
        assert_eq!(failure.to_string(), "`ncps-no-such-tool` is not installed");
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let mut command = shell("exec sleep 30");
        command.timeout = Duration::from_millis(100);
        let start = Instant::now();
        let failure = SystemRunner.run(&command).unwrap_err();
        assert!(matches!(failure, RunFailure::TimedOut { .. }));
        assert!(start.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn a_program_that_closes_its_pipes_and_hangs_is_killed() {
        let mut command = shell("exec sleep 30 >&- 2>&-");
        command.timeout = Duration::from_millis(100);
        assert!(matches!(
            SystemRunner.run(&command),
            Err(RunFailure::TimedOut { .. })
        ));
    }

    #[test]
    fn a_program_that_prints_without_end_is_killed() {
        let mut command = shell("exec yes");
        command.max_bytes = 1000;
        let failure = SystemRunner.run(&command).unwrap_err();
        assert_eq!(
            failure.to_string(),
            "`/bin/sh` printed more than 1000 bytes"
        );
    }

    #[test]
    fn a_program_gets_no_input_to_wait_for() {
        let output = SystemRunner
            .run(&shell("read -r line || echo none"))
            .unwrap();
        assert_eq!(output.stdout, "none\n");
    }

    #[test]
    fn a_recording_answers_only_what_it_heard() {
        let runner = RecordedRunner::new().with("/bin/tool -a", "yes");
        let said = runner.run(&CommandLine::new("/bin/tool", &["-a"])).unwrap();
        assert_eq!(said.stdout, "yes");
        assert!(runner.run(&CommandLine::new("/bin/tool", &[])).is_err());
    }

    #[test]
    fn a_recording_is_read_from_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let one = dir.path().join("tool");
        fs::create_dir(&one).unwrap();
        fs::write(one.join("argv"), "tool -x\n").unwrap();
        fs::write(one.join("stdout"), "text").unwrap();
        fs::write(one.join("status"), "3\n").unwrap();
        let runner = RecordedRunner::from_dir(dir.path()).unwrap();
        let said = runner.run(&CommandLine::new("tool", &["-x"])).unwrap();
        assert_eq!((said.status, said.stdout.as_str()), (Some(3), "text"));
        fs::write(one.join("status"), "three").unwrap();
        assert!(RecordedRunner::from_dir(dir.path()).is_err());
    }
}

//! The real programs of this machine.

use super::stream::ChildLines;
use super::{CommandLine, CommandOutput, CommandRunner, LineStream, RunFailure};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Runs the real programs of this machine, with no input and the C locale.
#[derive(Debug, Clone, Default)]
pub struct SystemRunner {
    tools: Option<Arc<Path>>,
}

impl SystemRunner {
    /// Looks every program up in `folder` by its file name, and nowhere else: a machine that
    /// consists of scripts.
    #[must_use]
    pub fn with_tools(folder: &Path) -> Self {
        Self {
            tools: Some(folder.into()),
        }
    }

    pub(super) fn spawn(&self, command: &CommandLine) -> Result<Child, RunFailure> {
        let program = match &self.tools {
            Some(folder) => folder.join(command.file_name()),
            None => PathBuf::from(&command.program),
        };
        Command::new(program)
            .args(&command.arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| not_started(&command.program, &e))
    }
}

impl CommandRunner for SystemRunner {
    fn run(&self, command: &CommandLine) -> Result<CommandOutput, RunFailure> {
        let start = Instant::now();
        let mut child = self.spawn(command)?;
        let (sender, receiver) = mpsc::channel();
        let limit = command.max_bytes;
        drain(child.stdout.take(), limit, Stream::Out, sender.clone());
        drain(child.stderr.take(), limit, Stream::Err, sender);

        let (stdout, stderr) = match collect(&receiver, command, start) {
            Ok(texts) => texts,
            Err(failure) => {
                end(child);
                return Err(failure);
            }
        };
        let status = wait(child, command, start)?;
        Ok(CommandOutput {
            status,
            stdout,
            stderr,
            wall: start.elapsed(),
        })
    }

    fn lines(&self, command: &CommandLine) -> Result<Box<dyn LineStream>, RunFailure> {
        let child = self.spawn(command)?;
        Ok(Box::new(ChildLines::new(child, command.clone())))
    }

    fn read(&self, root: &Path, path: &str) -> Option<String> {
        let mut text = Vec::new();
        let file = File::open(root.join(path)).ok()?;
        file.take(1 << 20).read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }
}

pub(super) fn not_started(program: &str, error: &std::io::Error) -> RunFailure {
    let program = program.to_owned();
    match error.kind() {
        ErrorKind::NotFound => RunFailure::Missing { program },
        _ => RunFailure::NotStarted {
            program,
            detail: error.to_string(),
        },
    }
}

/// Kills a program and collects it. One that runs as another user cannot be killed: it is
/// collected whenever it ends, without making anybody wait.
pub(super) fn end(mut child: Child) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    if child.kill().is_ok() {
        let _ = child.wait();
    } else {
        thread::spawn(move || child.wait());
    }
}

#[derive(Clone, Copy)]
enum Stream {
    Out,
    Err,
}

/// Processor time in nanoseconds of the threads that read pipes, for the sampler's own bill.
static HELPER_CPU: AtomicU64 = AtomicU64::new(0);

/// Processor time that threads which read pipes have used so far and accounted for.
pub(crate) fn helper_cpu() -> Duration {
    Duration::from_nanos(HELPER_CPU.load(Ordering::Relaxed))
}

/// Adds the processor time of this thread to the bill of the helpers, at the end of its work.
pub(super) fn bill_this_thread() {
    let used = crate::cpu_time::thread();
    let nanoseconds = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX);
    HELPER_CPU.fetch_add(nanoseconds, Ordering::Relaxed);
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
        bill_this_thread();
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
    mut child: Child,
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
                end(child);
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

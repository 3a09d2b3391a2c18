//! Programs that print one line a sample until they are stopped.

use super::system::{bill_this_thread, end};
use super::{CommandLine, RunFailure};
use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

/// Lines that arrive while a program runs; dropping it ends the program.
pub trait LineStream: Send {
    /// The next line without its line feed, or `None` if none came within `patience`.
    ///
    /// # Errors
    /// [`RunFailure`] when no line will come any more.
    fn next_line(&mut self, patience: Duration) -> Result<Option<String>, RunFailure>;
}

/// Lines waiting to be fetched; beyond that the program has to wait, so memory stays bounded.
const QUEUE: usize = 16;

/// A running program and the thread that reads it.
pub(super) struct ChildLines {
    child: Option<Child>,
    command: CommandLine,
    lines: Receiver<Result<String, RunFailure>>,
    last_words: Receiver<String>,
}

impl ChildLines {
    pub(super) fn new(mut child: Child, command: CommandLine) -> Self {
        let (sender, lines) = mpsc::sync_channel(QUEUE);
        let (words, last_words) = mpsc::sync_channel(1);
        if let Some(pipe) = child.stderr.take() {
            let limit = command.max_bytes as u64;
            thread::spawn(move || {
                let mut bytes = Vec::new();
                let _ = pipe.take(limit).read_to_end(&mut bytes);
                let _ = words.send(String::from_utf8_lossy(&bytes).into_owned());
            });
        }
        if let Some(pipe) = child.stdout.take() {
            let (program, limit) = (command.program.clone(), command.max_bytes);
            thread::spawn(move || {
                forward(BufReader::new(pipe), &program, limit, &sender);
                bill_this_thread();
            });
        }
        Self {
            child: Some(child),
            command,
            lines,
            last_words,
        }
    }
}

/// Sends complete lines on; a line without an end is not a sample, and one beyond the limit is none either.
fn forward<R: BufRead>(
    mut pipe: R,
    program: &str,
    limit: usize,
    sender: &SyncSender<Result<String, RunFailure>>,
) {
    loop {
        let mut bytes = Vec::new();
        let read = (&mut pipe)
            .take(limit as u64 + 1)
            .read_until(b'\n', &mut bytes);
        let item = match read {
            Ok(_) if bytes.len() > limit => Err(RunFailure::TooMuchOutput {
                program: program.to_owned(),
                limit,
            }),
            Ok(_) if bytes.last() == Some(&b'\n') => {
                bytes.pop();
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            }
            _ => return,
        };
        let is_last = item.is_err();
        if sender.send(item).is_err() || is_last {
            return;
        }
    }
}

impl LineStream for ChildLines {
    fn next_line(&mut self, patience: Duration) -> Result<Option<String>, RunFailure> {
        match self.lines.recv_timeout(patience) {
            Ok(Ok(line)) => Ok(Some(line)),
            Ok(Err(failure)) => Err(failure),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => {
                let words = self.last_words.recv_timeout(Duration::from_millis(200));
                let words = words.unwrap_or_default();
                let said = words.lines().find(|line| !line.trim().is_empty());
                Err(RunFailure::Ended {
                    program: self.command.program.clone(),
                    said: said.unwrap_or("it said nothing").to_owned(),
                })
            }
        }
    }
}

impl Drop for ChildLines {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            end(child);
        }
    }
}

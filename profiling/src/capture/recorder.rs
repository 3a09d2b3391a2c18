//! A runner that remembers every answer that passes through it.

use super::{Redaction, SCHEMA, failure};
use crate::runner::{CommandLine, CommandOutput, CommandRunner, LineStream, RunFailure};
use crate::{Error, Result};
use serde::Serialize;
use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes that a recording keeps; what comes later is counted and left out.
const MOST_BYTES: usize = 64 << 20;

/// Passes every question on and keeps the answers. Clones share one recording.
#[derive(Debug)]
pub struct Recorder<R> {
    runner: Arc<R>,
    log: Arc<Mutex<Log>>,
}

impl<R> Clone for Recorder<R> {
    fn clone(&self) -> Self {
        Self {
            runner: Arc::clone(&self.runner),
            log: Arc::clone(&self.log),
        }
    }
}

#[derive(Debug, Default)]
struct Log {
    answers: Vec<Answer>,
    failures: Vec<Failure>,
    bytes: usize,
    left_out: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Program,
    Stream,
    File,
}

#[derive(Debug, Clone)]
struct Answer {
    kind: Kind,
    argv: String,
    output: CommandOutput,
}

#[derive(Debug, Clone, Serialize)]
struct Failure {
    argv: String,
    why: String,
}

/// File that says what a capture holds and what was left out.
const CONTENTS: &str = "capture.json";

/// What a capture holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptureSummary {
    /// Answers that were written.
    pub answers: usize,
    /// Places in which something that identifies a person or a machine was taken out.
    pub redactions: usize,
    /// Answers that were left out because the recording was full.
    pub left_out: usize,
}

#[derive(Serialize)]
struct Contents<'a> {
    schema: &'a str,
    program: &'a str,
    answers: usize,
    redactions: usize,
    left_out: usize,
    failures: &'a [Failure],
}

impl<R: CommandRunner> Recorder<R> {
    /// Records what `runner` answers.
    pub fn new(runner: R) -> Self {
        Self {
            runner: Arc::new(runner),
            log: Arc::default(),
        }
    }

    fn keep(&self, kind: Kind, argv: String, output: CommandOutput) -> Option<usize> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let size = output.stdout.len() + output.stderr.len();
        if log.bytes + size > MOST_BYTES {
            log.left_out += 1;
            return None;
        }
        log.bytes += size;
        log.answers.push(Answer { kind, argv, output });
        Some(log.answers.len() - 1)
    }

    fn keep_failure(&self, argv: String, failure: &RunFailure) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let why = failure.to_string();
        let is_known = log.failures.iter().any(|f| f.argv == argv && f.why == why);
        if !is_known {
            log.failures.push(Failure { argv, why });
        }
    }

    /// Makes sure that a later [`Recorder::write`] to `dir` can succeed: makes the folder where it is absent.
    ///
    /// # Errors
    /// [`Error::Recording`] when the folder holds something already or cannot be written.
    pub fn check(dir: &Path) -> Result<()> {
        empty(dir)?;
        let path = dir.join(CONTENTS);
        write(&path, "")?;
        fs::remove_file(&path).map_err(|e| failure(&path, &e))
    }

    /// Writes everything recorded so far to `dir`, which must be empty or absent, without serial
    /// numbers, unique identifiers, and names of users and hosts.
    ///
    /// # Errors
    /// [`Error::Recording`] when the folder holds something already or cannot be written.
    pub fn write(&self, dir: &Path) -> Result<CaptureSummary> {
        let redaction = Redaction::of(&*self.runner);
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        empty(dir)?;
        let redactions = Cell::new(0);
        let clean = |text: &str| {
            let (text, count) = redaction.apply(text);
            redactions.set(redactions.get() + count);
            text
        };
        let mut seen_files: Vec<&str> = Vec::new();
        for (n, answer) in log.answers.iter().enumerate() {
            if answer.kind == Kind::File && !seen_files.contains(&answer.argv.as_str()) {
                seen_files.push(&answer.argv);
                let relative = answer.argv.trim_start_matches("read ");
                let path = dir.join("root").join(relative);
                write(&path, &clean(&answer.output.stdout))?;
            }
            let first = answer.argv.split(' ').next().unwrap_or("");
            let name = first.rsplit('/').next().unwrap_or("");
            let folder = dir.join(format!("{n:05}-{name}"));
            write(&folder.join("argv"), &format!("{}\n", answer.argv))?;
            write(&folder.join("stdout"), &clean(&answer.output.stdout))?;
            if !answer.output.stderr.is_empty() {
                write(&folder.join("stderr"), &clean(&answer.output.stderr))?;
            }
            match answer.output.status {
                Some(0) => {}
                status => write(&folder.join("status"), &status.unwrap_or(-1).to_string())?,
            }
            if answer.kind == Kind::Stream {
                write(&folder.join("stream"), "1\n")?;
            }
        }
        let summary = CaptureSummary {
            answers: log.answers.len(),
            redactions: redactions.get(),
            left_out: log.left_out,
        };
        let contents = Contents {
            schema: SCHEMA,
            program: concat!("ncps-profiling ", env!("CARGO_PKG_VERSION")),
            answers: summary.answers,
            redactions: summary.redactions,
            left_out: summary.left_out,
            failures: &log.failures,
        };
        let path = dir.join(CONTENTS);
        let text = serde_json::to_string_pretty(&contents).map_err(|e| failure(&path, &e))?;
        write(&path, &clean(&text))?;
        Ok(summary)
    }
}

/// Makes the folder where it is absent, and insists that there is nothing in it.
fn empty(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|e| failure(dir, &e))?;
    let mut entries = fs::read_dir(dir).map_err(|e| failure(dir, &e))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => Err(failure(dir, &"the folder is not empty; name a new one")),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|e| failure(folder, &e))?;
    }
    fs::write(path, text).map_err(|e| failure(path, &e))
}

impl<R: CommandRunner + 'static> CommandRunner for Recorder<R> {
    fn run(&self, command: &CommandLine) -> Result<CommandOutput, RunFailure> {
        let result = self.runner.run(command);
        match &result {
            Ok(output) => {
                self.keep(Kind::Program, command.text(), output.clone());
            }
            Err(failure) => self.keep_failure(command.text(), failure),
        }
        result
    }

    fn lines(&self, command: &CommandLine) -> Result<Box<dyn LineStream>, RunFailure> {
        let stream = self.runner.lines(command);
        let stream = stream.inspect_err(|f| self.keep_failure(command.text(), f))?;
        let nothing = CommandOutput {
            status: Some(0),
            stdout: String::new(),
            stderr: String::new(),
            wall: Duration::ZERO,
        };
        let place = self.keep(Kind::Stream, command.text(), nothing);
        Ok(Box::new(RecordingLines {
            stream,
            place,
            argv: command.text(),
            recorder: self.clone(),
        }))
    }

    fn read(&self, root: &Path, path: &str) -> Option<String> {
        let text = self.runner.read(root, path)?;
        let output = CommandOutput {
            status: Some(0),
            stdout: text.clone(),
            stderr: String::new(),
            wall: Duration::ZERO,
        };
        self.keep(Kind::File, format!("read {path}"), output);
        Some(text)
    }
}

struct RecordingLines<R> {
    stream: Box<dyn LineStream>,
    place: Option<usize>,
    argv: String,
    recorder: Recorder<R>,
}

impl<R: CommandRunner> LineStream for RecordingLines<R> {
    fn next_line(&mut self, patience: Duration) -> Result<Option<String>, RunFailure> {
        let result = self.stream.next_line(patience);
        match &result {
            Ok(Some(line)) => {
                let log = &self.recorder.log;
                let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
                let fits = log.bytes + line.len() < MOST_BYTES;
                match self.place.filter(|_| fits) {
                    Some(place) => {
                        log.bytes += line.len() + 1;
                        let text = &mut log.answers[place].output.stdout;
                        text.push_str(line);
                        text.push('\n');
                    }
                    None => log.left_out += 1,
                }
            }
            Ok(None) => {}
            Err(failure) => self.recorder.keep_failure(self.argv.clone(), failure),
        }
        result
    }
}

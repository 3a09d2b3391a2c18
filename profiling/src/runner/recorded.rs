//! Answers that were recorded on some machine, given again in the order in which they were asked for.

use super::{CommandLine, CommandOutput, CommandRunner, LineStream, RunFailure};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Replays recorded answers; a command that was not recorded is not installed.
///
/// A command with several answers gives them one after another and repeats the last. Clones share
/// their place in the recording.
#[derive(Debug, Clone, Default)]
pub struct RecordedRunner {
    answers: BTreeMap<String, Vec<Result<CommandOutput, RunFailure>>>,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
    pace: Option<Duration>,
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
        let answers = self.answers.entry(command.to_owned()).or_default();
        answers.push(answer);
        self
    }

    /// Gives recorded lines at this distance instead of one a second.
    #[must_use]
    pub fn with_pace(mut self, pace: Duration) -> Self {
        self.pace = Some(pace);
        self
    }

    /// Reads a folder with one folder per command, each holding `argv`, `stdout` and, if they are
    /// not empty and 0, `stderr` and `status`. Several answers to one command are taken in the
    /// order of their folders' names.
    ///
    /// # Errors
    /// [`Error::Recording`] when a file cannot be read or `status` is not a number.
    pub fn from_dir(dir: &Path) -> Result<Self> {
        let mut runner = Self::new();
        for recorded in read_answers(dir)? {
            runner = runner.with_answer(&recorded.argv, Ok(recorded.output));
        }
        Ok(runner)
    }

    /// True if nothing was recorded.
    pub(crate) fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    fn next(&self, command: &str) -> Option<Result<CommandOutput, RunFailure>> {
        let answers = self.answers.get(command)?;
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let place = asked.entry(command.to_owned()).or_default();
        let found = answers.get(*place).or_else(|| answers.last()).cloned();
        *place += 1;
        found
    }
}

/// One answer of a recording.
pub(crate) struct Recorded {
    /// Program and arguments in one line.
    pub(crate) argv: String,
    /// What it said.
    pub(crate) output: CommandOutput,
    /// Seconds between two lines, where the program prints until it is stopped.
    pub(crate) pace: Option<String>,
}

/// All answers of a recording, in the order of their folders' names.
pub(crate) fn read_answers(dir: &Path) -> Result<Vec<Recorded>> {
    let mut folders: Vec<PathBuf> = Vec::new();
    let entries = fs::read_dir(dir).map_err(|e| {
        let detail = format!("the folder of a recording cannot be read: {e}");
        recording(dir, &detail)
    })?;
    for entry in entries {
        let path = entry.map_err(|e| recording(dir, &e))?.path();
        if path.join("argv").is_file() {
            folders.push(path);
        }
    }
    folders.sort();
    let mut answers = Vec::new();
    for path in folders {
        let read = |name: &str| read_bounded(&path.join(name));
        let argv = read("argv").map_err(|e| recording(&path, &e))?;
        let stdout = read("stdout").map_err(|e| recording(&path, &e))?;
        let status = match read("status") {
            Ok(text) => text.trim().parse().map_err(|e| recording(&path, &e))?,
            Err(_) => 0,
        };
        let stderr = read("stderr").unwrap_or_default();
        let pace = read("stream").ok().map(|text| text.trim().to_owned());
        answers.push(Recorded {
            argv: argv.trim_end().to_owned(),
            output: answer(status, &stdout, &stderr),
            pace,
        });
    }
    Ok(answers)
}

/// A recording comes from elsewhere: no file of it may fill the memory.
fn read_bounded(path: &Path) -> std::io::Result<String> {
    const LIMIT: u64 = 16 << 20;
    let mut text = String::new();
    fs::File::open(path)?
        .take(LIMIT)
        .read_to_string(&mut text)?;
    Ok(text)
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
        self.next(&command.text()).unwrap_or_else(missing)
    }

    /// The lines of one recorded answer, one a second, as the tools print them.
    fn lines(&self, command: &CommandLine) -> Result<Box<dyn LineStream>, RunFailure> {
        let output = self.run(command)?;
        let lines: Vec<String> = output.stdout.lines().map(str::to_owned).collect();
        Ok(Box::new(RecordedLines {
            lines: lines.into_iter(),
            program: command.program.clone(),
            due: Instant::now(),
            pace: self.pace.unwrap_or(PACE),
        }))
    }

    fn read(&self, root: &Path, path: &str) -> Option<String> {
        match self.next(&format!("read {path}")) {
            Some(Ok(output)) => Some(output.stdout),
            Some(Err(_)) => None,
            None => read_bounded(&root.join(path)).ok(),
        }
    }
}

/// Pace of recorded lines: that at which the sampler asks tools to print.
const PACE: Duration = Duration::from_secs(1);

struct RecordedLines {
    lines: std::vec::IntoIter<String>,
    program: String,
    due: Instant,
    pace: Duration,
}

impl LineStream for RecordedLines {
    fn next_line(&mut self, patience: Duration) -> Result<Option<String>, RunFailure> {
        let wait = self.due.saturating_duration_since(Instant::now());
        if wait > patience {
            std::thread::sleep(patience);
            return Ok(None);
        }
        std::thread::sleep(wait);
        self.due += self.pace;
        match self.lines.next() {
            Some(line) => Ok(Some(line)),
            None => Err(RunFailure::Ended {
                program: self.program.clone(),
                said: "the recording ends here".to_owned(),
            }),
        }
    }
}

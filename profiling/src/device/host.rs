//! Where to look for facts: the machine itself, a folder of scripts, or a recording.

use crate::runner::{
    CommandLine, CommandOutput, CommandRunner, RecordedRunner, RunFailure, SystemRunner, first_line,
};
use crate::{Error, Reason, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Operating system, as far as probes differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum System {
    /// macOS.
    Macos,
    /// Linux.
    Linux,
    /// Anything else: little can be found out.
    Other,
}

/// Where to look: a real machine, or a recorded one in tests.
#[derive(Debug, Clone)]
pub struct Host<R: CommandRunner> {
    /// Operating system of the host.
    pub system: System,
    /// Folder that holds `proc`, `sys` and `etc`; `/` on a real machine.
    pub root: PathBuf,
    /// Runs the system's tools.
    pub runner: R,
}

impl Host<SystemRunner> {
    /// The machine that this program runs on.
    #[must_use]
    pub fn this_machine() -> Self {
        let system = match std::env::consts::OS {
            "macos" => System::Macos,
            "linux" => System::Linux,
            _ => System::Other,
        };
        Self {
            system,
            root: PathBuf::from("/"),
            runner: SystemRunner::default(),
        }
    }

    /// A machine that consists of the programs in `folder` and of the files below its `root`. Its
    /// system is what its `uname` prints.
    #[must_use]
    pub fn with_tools(folder: &Path) -> Self {
        Self::over(SystemRunner::with_tools(folder), folder)
    }
}

impl Host<RecordedRunner> {
    /// A machine that was recorded in `folder`. Its system is what its `uname` printed.
    ///
    /// # Errors
    /// [`Error::Recording`] when the folder cannot be read or holds no recording.
    pub fn replay(folder: &Path) -> Result<Self> {
        let runner = RecordedRunner::from_dir(folder)?;
        if runner.is_empty() {
            return Err(Error::Recording {
                path: folder.to_owned(),
                detail: "no recorded answers in this folder; expected one folder per answer with \
                         `argv` and `stdout`"
                    .to_owned(),
            });
        }
        Ok(Self::over(runner, folder))
    }
}

impl<R: CommandRunner> Host<R> {
    fn over(runner: R, folder: &Path) -> Self {
        let system = match runner.run(&CommandLine::new("/usr/bin/uname", &["-s"])) {
            Ok(output) if output.stdout == "Darwin\n" => System::Macos,
            Ok(output) if output.stdout == "Linux\n" => System::Linux,
            _ => System::Other,
        };
        Self {
            system,
            root: folder.join("root"),
            runner,
        }
    }

    /// The same machine asked through another runner, such as one that records.
    #[must_use]
    pub fn map_runner<S: CommandRunner>(self, wrap: impl FnOnce(R) -> S) -> Host<S> {
        Host {
            system: self.system,
            root: self.root,
            runner: wrap(self.runner),
        }
    }

    /// The same machine as a type that does not depend on how it is asked.
    #[must_use]
    pub fn shared(self) -> Host<Arc<dyn CommandRunner>>
    where
        R: 'static,
    {
        self.map_runner(|runner| Arc::new(runner) as Arc<dyn CommandRunner>)
    }

    /// Text of a file below the root; `None` if it cannot be read.
    pub(crate) fn file(&self, path: &str) -> Option<String> {
        self.runner.read(&self.root, path)
    }

    /// Output of a tool that succeeded, or the reason why there is none.
    pub(crate) fn ask(&self, command: &CommandLine) -> Result<CommandOutput, (Reason, String)> {
        match self.runner.run(command) {
            Ok(output) if output.status == Some(0) => Ok(output),
            Ok(output) => {
                let said = first_line(&output);
                let detail = format!("`{}` failed: {said}", command.program);
                Err((Reason::ToolFailed, detail))
            }
            Err(failure) => Err((reason_of(&failure), failure.to_string())),
        }
    }
}

/// Class of a failure.
pub(crate) fn reason_of(failure: &RunFailure) -> Reason {
    match failure {
        RunFailure::Missing { .. } => Reason::ToolMissing,
        RunFailure::TimedOut { .. } => Reason::TimedOut,
        _ => Reason::ToolFailed,
    }
}

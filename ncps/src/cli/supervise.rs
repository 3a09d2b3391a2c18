//! `ncps train --supervise`: the run in a process of its own, so that one that the system ends is told from one that fails.
//!
//! Out of memory cannot be caught on the CPU: the system ends the process. The supervisor says so, and with `--auto-batch`
//! goes on with half the batch.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use anyhow::Result;
use rustix::process::{Pid, Signal, kill_process};

use super::exit::{EndedAlready, MemoryLost};
use super::output::Output;
use super::signals::StopRequest;

/// How often the batch is halved.
pub(crate) const MOST_HALVINGS: u32 = 3;
const LOOK: Duration = Duration::from_millis(20);
/// SIGABRT, SIGBUS, SIGKILL and SIGSEGV: how processes end that get no memory.
const MEMORY_SIGNALS: [i32; 4] = [6, 7, 9, 11];

/// Runs this program again without `--supervise`, training in `directory`; `smaller` gives the batch after so many halvings.
pub(crate) fn run(
    directory: &Path,
    output: &Output,
    smaller: &dyn Fn(u32) -> Option<(usize, usize)>,
) -> Result<()> {
    let arguments: Vec<OsString> = std::env::args_os()
        .skip(1)
        .filter(|argument| argument != "--supervise")
        .collect();
    let stop = StopRequest::listen()?;
    // What --force moves aside: a process that ended before it did so has begun nothing that could go on.
    let identity = || std::fs::metadata(directory).map(|folder| folder.ino()).ok();
    let before = identity();
    let is_forced = arguments.iter().any(|argument| argument == "--force");
    let mut halvings = 0;
    loop {
        let mut command = Command::new(std::env::current_exe()?);
        match smaller(halvings).filter(|_| halvings > 0) {
            Some((batch, accumulate)) => {
                let is_moved = !is_forced || identity() != before;
                let how = ["--force", "--resume"];
                command.args(
                    arguments
                        .iter()
                        .filter(|given| how.iter().all(|one| given != one)),
                );
                command.arg(how[usize::from(is_moved)]);
                command.args(["--set", &format!("train.batch_size={batch}")]);
                command.args(["--set", &format!("train.accumulate={accumulate}")]);
            }
            None => drop(command.args(&arguments)),
        }
        // A group of its own: signals of the terminal come here and are passed on once.
        let status = wait(command.process_group(0).spawn()?, &stop)?;
        let Some(signal) = status.signal() else {
            return match status.code() {
                Some(0) => Ok(()),
                code => Err(EndedAlready::new(code).into()),
            };
        };
        halvings += 1;
        let next = smaller(halvings).filter(|_| halvings <= MOST_HALVINGS);
        let Some((batch, accumulate)) = next.filter(|_| MEMORY_SIGNALS.contains(&signal)) else {
            return Err(MemoryLost { signal }.into());
        };
        output.note(format!(
            "the training process was ended by signal {signal}, most likely for want of memory; going on with \
             batch_size = {batch} and accumulate = {accumulate}"
        ));
    }
}

/// Waits for the process and passes a request to stop on to it.
fn wait(mut child: Child, stop: &StopRequest) -> Result<ExitStatus> {
    let mut is_passed_on = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if stop.is_set() && !is_passed_on {
            is_passed_on = true;
            let signal = Signal::from_named_raw(i32::from(stop.exit_code()) - 128);
            if let (Some(signal), Some(pid)) = (signal, Pid::from_raw(child.id() as i32)) {
                // The process may have ended just now.
                let _ = kill_process(pid, signal);
            }
        }
        std::thread::sleep(LOOK);
    }
}

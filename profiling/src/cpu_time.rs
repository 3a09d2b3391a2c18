//! Processor time of this process: unlike wall time, neighbours on the machine hardly change it.

use crate::runner::{CommandLine, CommandRunner, SystemRunner};
use crate::{Reading, Reason, Scope, Unit};
use std::fs;
use std::time::Duration;

/// Linux reports times in hundredths of a second on every architecture (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time that all threads of this process used so far, user and system.
///
/// # Source
/// Linux: fields 14 and 15 of `/proc/self/stat`, in steps of 10 ms. macOS: `ps -o time=`.
///
/// # Units
/// Seconds.
#[must_use]
pub fn process() -> Reading {
    match std::env::consts::OS {
        "linux" => match fs::read_to_string("/proc/self/stat") {
            Ok(text) => parse_stat(&text),
            Err(error) => Reading::unavailable(Reason::ToolFailed, error.to_string()),
        },
        "macos" => from_ps(&SystemRunner::default(), std::process::id()),
        other => {
            let detail = format!("no source of processor time is known on {other}");
            Reading::unavailable(Reason::UnsupportedBySystem, detail)
        }
    }
}

/// Processor time of the calling thread.
pub(crate) fn thread() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    // The clock of a thread starts at 0, so neither part is negative.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Processor time of the programs that this process started and that have ended.
///
/// # Source
/// Linux: fields 16 and 17 of `/proc/self/stat`, in steps of 10 ms.
///
/// # Units
/// Seconds.
#[must_use]
pub(crate) fn ended_children() -> Reading {
    match fs::read_to_string("/proc/self/stat") {
        Ok(text) => parse_times(&text, 13, "/proc/self/stat cutime + cstime"),
        Err(error) => Reading::unavailable(Reason::UnsupportedBySystem, error.to_string()),
    }
}

fn parse_stat(text: &str) -> Reading {
    parse_times(text, 11, "/proc/self/stat utime + stime")
}

/// Two fields in clock ticks that follow `skip` others after the name.
fn parse_times(text: &str, skip: usize, source: &str) -> Reading {
    // The second field is the program's name in brackets, which may hold blanks and brackets.
    let fields = text
        .rsplit_once(')')
        .map(|(_, rest)| rest.split_whitespace());
    let mut times = fields
        .into_iter()
        .flatten()
        .skip(skip)
        .map(str::parse::<u32>);
    match (times.next(), times.next()) {
        (Some(Ok(user)), Some(Ok(system))) => {
            let seconds = (f64::from(user) + f64::from(system)) / TICKS_PER_SECOND;
            Reading::measured(seconds, Unit::Seconds, source).with_scope(Scope::Process)
        }
        _ => {
            let detail = format!("`{source}` could not be read");
            Reading::unavailable(Reason::ParseFailed, detail)
        }
    }
}

fn from_ps(runner: &dyn CommandRunner, pid: u32) -> Reading {
    let command = CommandLine::new("/bin/ps", &["-o", "time=", "-p", &pid.to_string()]);
    match runner.run(&command) {
        Ok(output) => parse_clock(output.stdout.trim()),
        Err(failure) => Reading::unavailable(Reason::ToolFailed, failure.to_string()),
    }
}

/// Reads `[[hours:]minutes:]seconds`, such as `1:02.34`.
fn parse_clock(text: &str) -> Reading {
    let mut seconds = 0.0;
    for part in text.split(':') {
        match part.parse::<f64>() {
            Ok(value) if value >= 0.0 => seconds = seconds * 60.0 + value,
            _ => {
                let detail = format!("ps printed `{text}` instead of a time");
                return Reading::unavailable(Reason::ParseFailed, detail);
            }
        }
    }
    Reading::measured(seconds, Unit::Seconds, "ps -o time").with_scope(Scope::Process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_does_not_shift_the_fields() {
        let text = "7 (a b) c) S 1 1 1 0 -1 4194304 9 0 0 0 250 50 0 0 20 0 1 0 9 1 1";
        assert_eq!(parse_stat(text).value(), Some(3.0));
    }

    #[test]
    fn the_time_of_ended_children_stands_behind_ones_own() {
        let text = "7 (x) S 1 1 1 0 -1 4194304 9 0 0 0 250 50 100 20 20 0 1 0 9 1 1";
        let children = parse_times(text, 13, "children");
        assert_eq!(children.value(), Some(1.2));
    }

    #[test]
    fn work_takes_time_of_the_thread() {
        let before = thread();
        let mut sum = 0u64;
        while thread() < before + Duration::from_millis(1) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(sum > 0);
    }

    #[test]
    fn a_cut_line_gives_no_value() {
        assert_eq!(parse_stat("").value(), None);
        assert_eq!(
            parse_stat("7 (x) S 1 1 1 0 -1 4194304 9 0 0 0 250").value(),
            None
        );
    }

    #[test]
    fn ps_times_are_read_from_the_right() {
        assert_eq!(parse_clock("1:02.50").value(), Some(62.5));
        assert_eq!(parse_clock("1:00:01").value(), Some(3601.0));
        assert_eq!(parse_clock("").value(), None);
        assert_eq!(parse_clock("1:-2").value(), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn work_takes_processor_time() {
        let before = process().value().unwrap();
        let mut sum = 0u64;
        while process().value().unwrap() < before + 0.02 {
            sum = (0..100_000u64).fold(sum, |a, b| std::hint::black_box(a.wrapping_add(b * b)));
        }
        assert!(process().value().unwrap() >= before + 0.02, "{sum}");
    }
}

//! Memory of this process, now and at its highest.

use crate::runner::{CommandLine, CommandRunner, SystemRunner};
use crate::{Reading, Reason, Scope, Unit};
use std::fs;

/// Resident memory of this process.
///
/// # Source
/// Linux: `VmRSS` of `/proc/self/status`. macOS: `ps -o rss=`.
///
/// # Units
/// Bytes.
#[must_use]
pub fn rss() -> Reading {
    match std::env::consts::OS {
        "linux" => from_proc("VmRSS"),
        "macos" => rss_from_ps(&SystemRunner::default(), std::process::id()),
        other => unsupported(other),
    }
}

/// Largest resident memory that this process ever had.
///
/// # Source
/// Linux: `VmHWM` of `/proc/self/status`. macOS tells it through a system call only, which this
/// crate does not make.
///
/// # Units
/// Bytes.
#[must_use]
pub fn peak() -> Reading {
    match std::env::consts::OS {
        "linux" => from_proc("VmHWM"),
        "macos" => Reading::unavailable(
            Reason::UnsupportedBySystem,
            "no command of macOS prints the peak memory of a running process",
        )
        .with_remedy("run the program under `/usr/bin/time -l`, which prints it at the end"),
        other => unsupported(other),
    }
}

fn unsupported(system: &str) -> Reading {
    let detail = format!("no source of process memory is known on {system}");
    Reading::unavailable(Reason::UnsupportedBySystem, detail)
}

fn from_proc(key: &str) -> Reading {
    const PATH: &str = "/proc/self/status";
    match fs::read_to_string(PATH) {
        Ok(text) => parse_status(&text, key),
        Err(error) => Reading::unavailable(Reason::ToolFailed, format!("{PATH}: {error}")),
    }
}

/// Reads a line such as `VmRSS: 1234 kB`; the kernel's kB is 1024 bytes.
pub(crate) fn parse_status(text: &str, key: &str) -> Reading {
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(key)?.strip_prefix(':'));
    let kib = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u32>().ok());
    match kib {
        Some(kib) => {
            let source = format!("/proc/self/status {key}");
            Reading::measured(f64::from(kib) * 1024.0, Unit::Bytes, source)
                .with_scope(Scope::Process)
        }
        None => {
            let detail = format!("/proc/self/status has no line `{key}: N kB`");
            Reading::unavailable(Reason::ParseFailed, detail)
        }
    }
}

fn rss_from_ps(runner: &dyn CommandRunner, pid: u32) -> Reading {
    let command = CommandLine::new("/bin/ps", &["-o", "rss=", "-p", &pid.to_string()]);
    let output = match runner.run(&command) {
        Ok(output) => output,
        Err(failure) => return Reading::unavailable(Reason::ToolFailed, failure.to_string()),
    };
    match output.stdout.trim().parse::<u32>() {
        Ok(kib) if kib > 0 => Reading::measured(f64::from(kib) * 1024.0, Unit::Bytes, "ps -o rss")
            .with_scope(Scope::Process),
        _ => {
            let detail = format!("ps printed `{}` instead of a size", output.stdout.trim());
            Reading::unavailable(Reason::ParseFailed, detail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runner::RecordedRunner;

    #[test]
    fn status_lines_are_in_kibibytes() {
        let text = "Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n";
        assert_eq!(parse_status(text, "VmRSS").value(), Some(1_048_576.0));
        assert_eq!(parse_status(text, "VmHWM").value(), Some(2_097_152.0));
    }

    #[test]
    fn a_line_that_is_missing_or_cut_gives_no_value() {
        for text in [
            "",
            "VmRSS:\t 10",
            "VmRSS:\t kB",
            "VmRSSx:\t 10 kB",
            "VmRSS: -1 kB",
        ] {
            assert_eq!(parse_status(text, "VmRSS").value(), None, "{text:?}");
        }
    }

    #[test]
    fn ps_is_read_and_not_believed_when_it_prints_something_else() {
        let of =
            |text: &str| rss_from_ps(&RecordedRunner::new().with("/bin/ps -o rss= -p 7", text), 7);
        assert_eq!(of("  1024\n").value(), Some(1_048_576.0));
        assert_eq!(of("").value(), None);
        assert_eq!(of("0\n").value(), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_memory_and_its_peak_is_no_less() {
        let (now, peak) = (rss().value().unwrap(), peak().value().unwrap());
        assert!(now > 1e5 && peak >= now * 0.9, "{now} {peak}");
    }
}

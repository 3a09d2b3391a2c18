//! Recording with Instruments: whether it is there, and the commands that record and export.
//!
//! Its Core ML template is the one supported view of work on the Neural Engine, its Metal template
//! that of the GPU's timeline. Both need Xcode, not only its command line tools.

use crate::device::{Host, System, complete_lines};
use crate::runner::{CommandLine, CommandRunner};
use crate::{Reading, Reason};
use std::path::Path;
use std::time::Duration;

const XCRUN: &str = "/usr/bin/xcrun";

/// What this machine can record.
#[derive(Debug, Clone, PartialEq)]
pub enum TraceSupport {
    /// `xctrace` is there, with these templates.
    Templates(Vec<String>),
    /// It is not, and why.
    Unavailable(Reading),
}

/// Asks whether `xctrace` is there and what it can record; takes a few seconds on a Mac.
#[must_use]
pub fn trace_support<R: CommandRunner>(host: &Host<R>) -> TraceSupport {
    if host.system != System::Macos {
        let detail = "Instruments exists on macOS only";
        return TraceSupport::Unavailable(Reading::unavailable(Reason::NotMacOs, detail));
    }
    let mut command = CommandLine::new(XCRUN, &["xctrace", "list", "templates"]);
    command.timeout = Duration::from_secs(20);
    let remedy = "install Xcode and select it with xcode-select";
    match host.ask(&command) {
        Ok(output) => {
            let templates = templates(&output.stdout);
            if templates.is_empty() {
                let reading = super::unreadable("xctrace", &output.stdout);
                return TraceSupport::Unavailable(reading.with_remedy(remedy));
            }
            TraceSupport::Templates(templates)
        }
        Err((reason, detail)) => {
            let reading = Reading::unavailable(reason, detail).with_remedy(remedy);
            TraceSupport::Unavailable(reading)
        }
    }
}

/// Names below headings such as `== Standard Templates ==`.
pub(super) fn templates(text: &str) -> Vec<String> {
    let mut is_in_list = false;
    let mut names = Vec::new();
    for line in complete_lines(text).map(str::trim) {
        if line.starts_with("==") && line.ends_with("==") {
            is_in_list = line.ends_with("Templates ==");
        } else if is_in_list && !line.is_empty() {
            names.push(line.to_owned());
        }
    }
    names
}

/// The two commands that record `program` with a template for `limit` and export the table of
/// contents of the trace.
///
/// The exit code of the first is not reliable where the program ends by itself: look for the folder.
///
/// # Example
/// ```
/// use std::{path::Path, time::Duration};
/// let commands = ncps_profiling::probe::export_commands(
///     "Core ML", Path::new("run.trace"), Duration::from_secs(10), &["ncps", "train", "c.toml"]);
/// assert!(commands[0].starts_with("xcrun xctrace record --template 'Core ML' --time-limit 10s"));
/// assert_eq!(commands[1], "xcrun xctrace export --input 'run.trace' --toc");
/// ```
#[must_use]
pub fn export_commands(
    template: &str,
    trace: &Path,
    limit: Duration,
    program: &[&str],
) -> [String; 2] {
    let quoted = |word: &str| format!("'{}'", word.replace('\'', "'\\''"));
    let trace = quoted(&trace.to_string_lossy());
    let seconds = limit.as_secs().max(1);
    let program: Vec<String> = program.iter().map(|word| quoted(word)).collect();
    [
        format!(
            "xcrun xctrace record --template {} --time-limit {seconds}s --output {trace} --launch -- {}",
            quoted(template),
            program.join(" ")
        ),
        format!("xcrun xctrace export --input {trace} --toc"),
    ]
}

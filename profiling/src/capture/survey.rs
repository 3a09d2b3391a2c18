//! Asking every tool once, so that a capture of one machine shows the forms of all their answers.

use crate::device::{Host, System, detect_on};
use crate::probe::{Permission, sample, trace_support};
use crate::runner::{CommandLine, CommandRunner};

/// Asks everything that detection and probes ask, and the tools whose forms differ between systems.
/// On a Mac this takes some seconds. Answers are kept by a [`super::Recorder`].
pub fn survey<R: CommandRunner>(host: &Host<R>, permission: Permission) {
    let ask = |program: &str, arguments: &[&str]| {
        // A tool that is missing or fails is part of the picture.
        let _ = host.runner.run(&CommandLine::new(program, arguments));
    };
    ask("/usr/bin/uname", &["-s"]);
    let _ = detect_on(host);
    let _ = sample(host, permission);
    if host.system == System::Macos {
        ask("/usr/bin/sw_vers", &[]);
        ask("/usr/sbin/sysctl", &["iogpu"]);
        ask(
            "/usr/sbin/system_profiler",
            &[
                "-json",
                "-detailLevel",
                "mini",
                "SPHardwareDataType",
                "SPDisplaysDataType",
            ],
        );
        ask("/usr/bin/pmset", &["-g", "therm"]);
        ask("/usr/bin/pmset", &["-g", "custom"]);
        ask("/usr/bin/powermetrics", &["--help"]);
        ask("macmon", &["--version"]);
        let _ = trace_support(host);
    }
}

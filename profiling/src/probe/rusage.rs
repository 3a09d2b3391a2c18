//! What macOS accounts to this process alone, including memory held for the Neural Engine.
//!
//! `proc_pid_rusage` (flavour 6, macOS 13 and later) is a system call that no command prints. The
//! Perl that comes with macOS can make it, so that no code here depends on the system. Fields are
//! 64-bit numbers behind a UUID of 16 bytes, in the order of `struct rusage_info_v6`.

use super::{Metric, Source, unreadable};
use crate::device::Host;
use crate::runner::{CommandLine, CommandRunner};
use crate::{Reading, Scope, Unit};

const SOURCE: &str = "proc_pid_rusage V6";
/// Numbers of the record: 36 up to version 5, 11 of version 6, and 9 in reserve.
const FIELDS: usize = 56;
/// 336 is `proc_info`, 9 its call for resource usage, 6 the flavour.
const SCRIPT: &str = "my $b = \"\\0\" x 1024; syscall(336, 9, $ARGV[0] + 0, 6, 0, $b, 0) == 0 \
                      or die \"proc_info: $!\\n\"; print join(\" \", unpack(\"x16 Q56\", $b)), \"\\n\"";

fn command() -> CommandLine {
    let pid = std::process::id().to_string();
    CommandLine::new("/usr/bin/perl", &["-e", SCRIPT, &pid])
}

pub(super) fn source() -> Source {
    let names = &[
        "ane.process_memory",
        "ane.process_memory_peak",
        "process.fast_core_share",
    ];
    Source::new("perl", command(), names, parse)
        .remedy("needs macOS 13 or later and the Perl that comes with it")
}

/// Memory for the Neural Engine, now and at most, and the share of processor time on the fastest cores.
pub(super) fn parse(text: &str) -> Vec<Metric> {
    let readings = fields(text).map(|f| {
        let bytes = |n: usize| Reading::measured(f[n] as f64, Unit::Bytes, SOURCE);
        let (time, fast_time) = (f[0] + f[1], f[36] + f[37]);
        let share = match time {
            0 => unreadable(SOURCE, text),
            _ => Reading::measured(fast_time as f64 / time as f64, Unit::Ratio, SOURCE),
        };
        [bytes(44), bytes(45), share]
    });
    let names = source().names;
    match readings {
        Some(readings) => {
            let pairs = names.iter().zip(readings);
            pairs
                .map(|(name, r)| Metric::new(*name, r.with_scope(Scope::Process)))
                .collect()
        }
        None => {
            let misread = |name: &&str| Metric::new(*name, unreadable(SOURCE, text));
            names.iter().map(misread).collect()
        }
    }
}

/// The record, if it is one: a running process has memory, and no part of it is larger than the
/// whole. A record of another shape fails these.
fn fields(text: &str) -> Option<[u64; FIELDS]> {
    let line = crate::device::complete_lines(text).next()?;
    let numbers: Option<Vec<u64>> = line.split(' ').map(|n| n.parse().ok()).collect();
    let fields: [u64; FIELDS] = numbers?.try_into().ok()?;
    let (resident, footprint, highest) = (fields[6], fields[7], fields[28]);
    let (neural, neural_highest) = (fields[44], fields[45]);
    let times = fields[0].checked_add(fields[1])?;
    let fast_times = fields[36].checked_add(fields[37])?;
    let is_sound = resident > 0
        && (1..1 << 50).contains(&footprint)
        && footprint <= highest
        && neural <= neural_highest
        && neural_highest < 1 << 50
        && fast_times <= times;
    is_sound.then_some(fields)
}

/// Processor time in seconds of the programs that this process started and that have ended, on a Mac.
pub(crate) fn ended_children<R: CommandRunner>(host: &Host<R>) -> Reading {
    let unavailable =
        |(reason, detail): (crate::Reason, String)| Reading::unavailable(reason, detail);
    let record = match host.ask(&command()) {
        Ok(output) => output.stdout,
        Err(failure) => return unavailable(failure),
    };
    let clock = CommandLine::new("/usr/sbin/sysctl", &["-n", "hw.tbfrequency"]);
    let ticks = match host.ask(&clock) {
        Ok(output) => output.stdout,
        Err(failure) => return unavailable(failure),
    };
    let per_second = crate::device::complete_lines(&ticks).find_map(|t| t.parse::<u32>().ok());
    match (fields(&record), per_second) {
        (Some(f), Some(per_second)) if per_second > 0 => {
            let seconds = f[10].saturating_add(f[11]) as f64 / f64::from(per_second);
            Reading::measured(seconds, Unit::Seconds, SOURCE)
        }
        (None, _) => unreadable(SOURCE, &record),
        _ => unreadable("sysctl hw.tbfrequency", &ticks),
    }
}

//! Memory of a Mac and of this process: `vm_stat`, `memory_pressure`, `sysctl` and `ps`.

use super::{Metric, Source, percent, unreadable};
use crate::device::complete_lines;
use crate::runner::CommandLine;
use crate::{Reading, Scope, Unit};

pub(super) fn sources() -> [Source; 4] {
    let pid = std::process::id().to_string();
    let swap_keys = ["kern.memorystatus_vm_pressure_level", "vm.swapusage"];
    let memory = |name: &'static str, program: &str, arguments: &[&str]| {
        (name, CommandLine::new(program, arguments))
    };
    let [vm_stat, pressure, sysctl, ps] = [
        memory("vm_stat", "/usr/bin/vm_stat", &[]),
        memory("memory_pressure", "/usr/bin/memory_pressure", &["-Q"]),
        memory("sysctl", "/usr/sbin/sysctl", &swap_keys),
        memory("ps", "/bin/ps", &["-o", "rss=", "-p", &pid]),
    ];
    let used = |text: &str| vec![Metric::new("memory.used", used_memory(text))];
    let free = |text: &str| vec![Metric::new("memory.free", free_memory(text))];
    let resident = |text: &str| vec![Metric::new("process.memory", resident(text))];
    let swap_names = &["memory.pressure", "memory.swap_used"];
    [
        Source::new(vm_stat.0, vm_stat.1, &["memory.used"], used),
        Source::new(pressure.0, pressure.1, &["memory.free"], free),
        Source::new(sysctl.0, sysctl.1, swap_names, swap),
        Source::new(ps.0, ps.1, &["process.memory"], resident),
    ]
}

/// Pages that belong to programs or the kernel: active, wired and held by the compressor.
///
/// Counters are in pages whose size stands in the first line; it is 16 KiB on Apple silicon.
pub(super) fn used_memory(text: &str) -> Reading {
    let page = complete_lines(text).find_map(|line| {
        let (_, rest) = line.split_once("(page size of ")?;
        let size = rest.strip_suffix(" bytes)")?.parse::<u32>().ok()?;
        (size > 0).then_some(f64::from(size))
    });
    let pages = |label: &str| {
        complete_lines(text).find_map(|line| {
            let count = line.strip_prefix(label)?.strip_prefix(':')?.trim();
            let count = count.strip_suffix('.')?.parse::<u32>().ok()?;
            Some(f64::from(count))
        })
    };
    let parts = [
        pages("Pages active"),
        pages("Pages wired down"),
        pages("Pages occupied by compressor"),
    ];
    match (page, parts) {
        (Some(page), [Some(active), Some(wired), Some(compressed)]) => {
            let formula = "(active + wired down + occupied by compressor) * page size";
            let bytes = (active + wired + compressed) * page;
            Reading::derived(bytes, Unit::Bytes, "vm_stat", formula)
        }
        _ => unreadable("vm_stat", text),
    }
}

/// `System-wide memory free percentage: 40%`.
pub(super) fn free_memory(text: &str) -> Reading {
    let prefix = "System-wide memory free percentage:";
    let share = complete_lines(text).find_map(|line| {
        let share = line.strip_prefix(prefix)?.trim().strip_suffix('%')?;
        share.parse::<f64>().ok()
    });
    share.map_or_else(
        || unreadable("memory_pressure", text),
        |s| percent(s, "memory_pressure -Q"),
    )
}

/// `kern.memorystatus_vm_pressure_level: 1` (1 normal, 2 warn, 4 critical) and
/// `vm.swapusage: total = 1.50G  used = 512.00M  free = ...`.
pub(super) fn swap(text: &str) -> Vec<Metric> {
    let value = |key: &str| {
        complete_lines(text).find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
    };
    let level = value("kern.memorystatus_vm_pressure_level").and_then(|v| v.parse::<u8>().ok());
    let pressure = match level {
        Some(level @ (1 | 2 | 4)) => {
            let source = "sysctl kern.memorystatus_vm_pressure_level";
            Reading::measured(f64::from(level), Unit::Count, source)
        }
        _ => unreadable("sysctl", text),
    };
    let used = value("vm.swapusage")
        .and_then(|v| v.split_once("used = ")?.1.split_whitespace().next())
        .and_then(size);
    let used = used.map_or_else(
        || unreadable("sysctl", text),
        |bytes| Reading::measured(bytes, Unit::Bytes, "sysctl vm.swapusage"),
    );
    vec![
        Metric::new("memory.pressure", pressure),
        Metric::new("memory.swap_used", used),
    ]
}

/// `512.00M` in bytes; the suffix is a power of 1024.
fn size(text: &str) -> Option<f64> {
    const STEPS: [(char, f64); 4] = [
        ('K', 1024.0),
        ('M', 1_048_576.0),
        ('G', 1_073_741_824.0),
        ('T', 1_099_511_627_776.0),
    ];
    let (suffix, step) = STEPS.into_iter().find(|(c, _)| text.ends_with(*c))?;
    let number = text.strip_suffix(suffix)?.parse::<f64>().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number * step)
}

/// What `ps -o rss=` prints, in KiB.
pub(super) fn resident(text: &str) -> Reading {
    let kib = complete_lines(text).find_map(|line| line.trim().parse::<u32>().ok());
    match kib {
        Some(kib) if kib > 0 => {
            Reading::measured(f64::from(kib) * 1024.0, Unit::Bytes, "ps -o rss")
                .with_scope(Scope::Process)
        }
        _ => unreadable("ps -o rss", text),
    }
}

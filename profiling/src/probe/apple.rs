//! Probes of macOS that need no root, and the Neural Engine's presence.

use super::{Metric, Permission, macmon, percent, powermetrics, retire_frozen, unreadable};
use crate::device::{Host, complete_lines};
use crate::runner::{CommandLine, CommandRunner};
use crate::{Reading, Reason, Unit};

pub(super) fn sample<R: CommandRunner>(host: &Host<R>, permission: Permission) -> Vec<Metric> {
    let mut metrics = match macmon::sample(host) {
        Some(metrics) => metrics,
        None if permission.sudo => powermetrics::sample(host),
        None => powermetrics::not_permitted(),
    };
    retire_frozen(&mut metrics);
    let ask = |program: &str, arguments: &[&str], parse: fn(&str) -> Reading| match host
        .ask(&CommandLine::new(program, arguments))
    {
        Ok(output) => parse(&output.stdout),
        Err((reason, detail)) => Reading::unavailable(reason, detail),
    };
    let ioreg = "/usr/sbin/ioreg";
    if !metrics
        .iter()
        .any(|m| m.name == "gpu.busy" && m.reading.value().is_some())
    {
        metrics.retain(|m| m.name != "gpu.busy");
        let busy = ask(
            ioreg,
            &["-r", "-d", "1", "-w", "0", "-c", "IOAccelerator"],
            gpu_busy,
        );
        metrics.push(Metric::new("gpu.busy", busy));
    }
    let cores = ask(
        ioreg,
        &["-r", "-d", "1", "-w", "0", "-c", "H11ANEIn"],
        ane_cores,
    );
    metrics.push(Metric::new("ane.cores", cores));
    metrics.push(Metric::new("ane.busy", ane_busy()));
    let key = "com.apple.system.thermalpressurelevel";
    let pressure = ask("/usr/bin/notifyutil", &["-g", key], thermal_pressure);
    metrics.push(Metric::new("machine.thermal_pressure", pressure));
    let low_power = ask("/usr/bin/pmset", &["-g"], low_power_mode);
    metrics.push(Metric::new("machine.low_power_mode", low_power));
    let battery = ask("/usr/bin/pmset", &["-g", "batt"], on_battery);
    metrics.push(Metric::new("machine.on_battery", battery));
    let free = ask("/usr/bin/memory_pressure", &["-Q"], free_memory);
    metrics.push(Metric::new("memory.free", free));
    metrics
}

/// No interface of macOS tells it, and a watt figure over a guessed maximum is not it.
fn ane_busy() -> Reading {
    let detail = "macOS exposes no counter of Neural Engine utilisation";
    Reading::unavailable(Reason::NoSuchCounter, detail)
        .with_remedy("the Core ML template of Instruments shows Neural Engine activity")
}

/// `"Device Utilization %"=21`: the share of about the last second in which the GPU had work.
pub(super) fn gpu_busy(text: &str) -> Reading {
    match value_of(text, "\"Device Utilization %\"=") {
        Some(value) => percent(value, "ioreg Device Utilization"),
        None => unreadable("ioreg IOAccelerator", text),
    }
}

/// The class exists on every Mac with a Neural Engine.
pub(super) fn ane_cores(text: &str) -> Reading {
    if !text.contains("H11ANEIn") {
        let detail = "ioreg knows no H11ANEIn, so there is no Neural Engine";
        return Reading::unavailable(Reason::UnsupportedByHardware, detail);
    }
    match value_of(text, "\"ANEDevicePropertyNumANECores\"=") {
        Some(cores) if cores > 0.0 => Reading::measured(cores, Unit::Count, "ioreg H11ANEIn"),
        _ => unreadable("ioreg H11ANEIn", text),
    }
}

/// The whole number behind a key, ended by a character that shows that it is complete.
fn value_of(text: &str, key: &str) -> Option<f64> {
    let rest = text.split_once(key)?.1;
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    rest[..end].parse::<u32>().ok().map(f64::from)
}

/// 0 nominal, 1 moderate, 2 heavy, 3 trapping, 4 sleeping; failures come with exit code 0 too.
pub(super) fn thermal_pressure(text: &str) -> Reading {
    let prefix = "com.apple.system.thermalpressurelevel ";
    let level = complete_lines(text).find_map(|line| line.strip_prefix(prefix)?.parse::<u8>().ok());
    match level {
        Some(level @ 0..=4) => Reading::measured(
            f64::from(level),
            Unit::Count,
            "notifyutil thermalpressurelevel",
        ),
        _ => unreadable("notifyutil", text),
    }
}

/// 1 if the low power mode is on; some machines say `powermode 1` instead.
pub(super) fn low_power_mode(text: &str) -> Reading {
    let setting = complete_lines(text).find_map(|line| {
        let mut words = line.split_whitespace();
        let key = words
            .next()
            .filter(|key| ["lowpowermode", "powermode"].contains(key))?;
        Some((key, words.next()?.parse::<u8>().ok()?))
    });
    match setting {
        Some((_, mode)) => {
            let is_low = f64::from(u8::from(mode == 1));
            Reading::measured(is_low, Unit::Count, "pmset -g")
        }
        None => {
            let detail = "pmset -g names no power mode";
            Reading::unavailable(Reason::UnsupportedByHardware, detail)
        }
    }
}

/// 1 on battery, 0 on mains.
pub(super) fn on_battery(text: &str) -> Reading {
    let source = complete_lines(text).find_map(|line| line.strip_prefix("Now drawing from "));
    match source.map(str::trim) {
        Some("'AC Power'") => Reading::measured(0.0, Unit::Count, "pmset -g batt"),
        Some("'Battery Power'") => Reading::measured(1.0, Unit::Count, "pmset -g batt"),
        _ => unreadable("pmset -g batt", text),
    }
}

/// `System-wide memory free percentage: 40%`.
pub(super) fn free_memory(text: &str) -> Reading {
    let prefix = "System-wide memory free percentage:";
    let share = complete_lines(text).find_map(|line| {
        line.strip_prefix(prefix)?
            .trim()
            .strip_suffix('%')?
            .parse::<f64>()
            .ok()
    });
    share.map_or_else(
        || unreadable("memory_pressure", text),
        |s| percent(s, "memory_pressure -Q"),
    )
}

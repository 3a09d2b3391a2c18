//! The GPU's load and the Neural Engine's presence, from the device tree; neither needs root.

use super::{Metric, Source, percent, unreadable};
use crate::device::complete_lines;
use crate::runner::CommandLine;
use crate::{Reading, Reason, Unit};

const GPU: &str = "ioreg IOAccelerator";

fn command(class: &str) -> CommandLine {
    let arguments = ["-r", "-d", "1", "-w", "0", "-c", class];
    CommandLine::new("/usr/sbin/ioreg", &arguments)
}

pub(super) fn gpu_source() -> Source {
    let names = &["gpu.busy", "gpu.memory_used"];
    Source::new("ioreg", command("IOAccelerator"), names, gpu)
}

pub(super) fn neural_source() -> Source {
    let parse = |text: &str| vec![Metric::new("ane.cores", neural_cores(text))];
    Source::new("ioreg", command("H11ANEIn"), &["ane.cores"], parse)
}

/// `"Device Utilization %"=21` is the share of about the last second in which the GPU had work.
pub(super) fn gpu(text: &str) -> Vec<Metric> {
    let busy = value_of(text, "\"Device Utilization %\"=");
    let busy = busy.map_or_else(
        || unreadable(GPU, text),
        |value| percent(value, "ioreg Device Utilization"),
    );
    // The quote closes the key: `In use system memory (driver)` is another one.
    let memory = value_of(text, "\"In use system memory\"=");
    let memory = memory.map_or_else(
        || unreadable(GPU, text),
        |bytes| Reading::measured(bytes, Unit::Bytes, "ioreg In use system memory"),
    );
    vec![
        Metric::new("gpu.busy", busy),
        Metric::new("gpu.memory_used", memory),
    ]
}

/// The class exists on every Mac with a Neural Engine.
pub(super) fn neural_cores(text: &str) -> Reading {
    if !complete_lines(text).any(|line| line.contains("H11ANEIn")) {
        let detail = "ioreg knows no H11ANEIn, so there is no Neural Engine";
        return Reading::unavailable(Reason::UnsupportedByHardware, detail);
    }
    match value_of(text, "\"ANEDevicePropertyNumANECores\"=") {
        Some(cores) if (1.0..=1024.0).contains(&cores) => {
            Reading::measured(cores, Unit::Count, "ioreg H11ANEIn")
        }
        _ => unreadable("ioreg H11ANEIn", text),
    }
}

/// The whole number behind a key, ended by a character that shows that it is complete.
fn value_of(text: &str, key: &str) -> Option<f64> {
    let rest = text.split_once(key)?.1;
    let end = rest.find(|c: char| !c.is_ascii_digit())?;
    // Sizes stay below 2^53, so that the conversion is exact.
    let value = rest[..end].parse::<u64>().ok()?;
    (value < 1 << 53).then_some(value as f64)
}

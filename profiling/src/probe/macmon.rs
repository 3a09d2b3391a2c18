//! One line of `macmon pipe`, which needs no root.

use super::{
    Metric, Source, celsius, clock, modelled_power, percent, retire_frozen, unreadable, watts,
};
use crate::runner::CommandLine;
use crate::{Reading, Unit};
use serde_json::Value;
use std::time::Duration;

const SOURCE: &str = "macmon";
/// macmon averages over the interval that it is asked for.
const WINDOW: Duration = Duration::from_secs(1);

pub(super) fn source() -> Source {
    let names = &[
        "cpu.power",
        "gpu.power",
        "ane.power",
        "gpu.busy",
        "gpu.clock",
    ];
    let once = CommandLine::new(SOURCE, &["pipe", "-s", "1", "-i", "1000"]);
    let mut source = Source::new(SOURCE, once, names, parse)
        .remedy("install macmon, or permit powermetrics with --allow-sudo");
    source.stream = Some(CommandLine::new(SOURCE, &["pipe", "-i", "1000"]));
    source
}

/// Reads version 0.8 and later, and the pairs of MHz and ratio of version 0.7.
pub(super) fn parse(line: &str) -> Vec<Metric> {
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(line.trim()) else {
        let misread = |name: &&str| Metric::new(*name, unreadable(SOURCE, line));
        return source().names.iter().map(misread).collect();
    };
    let number = |key: &str| fields.get(key).and_then(Value::as_f64);
    let inner = |group: &str, key: &str| fields.get(group)?.get(key)?.as_f64();
    let old_pair = |key: &str, n: usize| fields.get(key)?.get(n)?.as_f64();
    let mut metrics = Vec::new();
    let mut put = |name: &str, reading: Option<Reading>| {
        let reading = reading.map(|reading| reading.with_window(WINDOW));
        metrics.extend(reading.map(|reading| Metric::new(name, reading)));
    };
    for part in ["cpu", "gpu", "ane"] {
        let power = number(&format!("{part}_power")).map(|w| modelled_power(w, SOURCE));
        put(&format!("{part}.power"), power);
    }
    // 0 means that the rail could not be read.
    let system = number("sys_power").filter(|&w| w > 0.0).map(|w| {
        watts(w, SOURCE).map_or_else(
            |misread| misread,
            |w| Reading::measured(w, Unit::Watts, "macmon, SMC PSTR"),
        )
    });
    put("machine.power", system);
    let memory = number("ram_power").filter(|&w| w > 0.0);
    put("memory.power", memory.map(|w| modelled_power(w, SOURCE)));

    let share = |ratio: f64| percent(ratio * 100.0, SOURCE);
    put("cpu.busy", number("cpu_active_ratio").map(share));
    // Two slots only: the slower and the faster level, whatever this chip calls them.
    for (slot, name) in [("ecpu", "cpu.slow"), ("pcpu", "cpu.fast"), ("gpu", "gpu")] {
        let busy = number(&format!("{slot}_active_ratio"));
        let busy = busy.or_else(|| old_pair(&format!("{slot}_usage"), 1));
        put(&format!("{name}.busy"), busy.map(share));
        let mhz = number(&format!("{slot}_freq_mhz"));
        let mhz = mhz.or_else(|| old_pair(&format!("{slot}_usage"), 0));
        put(&format!("{name}.clock"), mhz.map(|mhz| clock(mhz, SOURCE)));
    }
    for part in ["cpu", "gpu"] {
        // A missing sensor reads 0.
        let degrees = inner("temp", &format!("{part}_temp_avg")).filter(|&d| d > 0.0);
        let reading = degrees.map(|d| celsius(d, SOURCE));
        put(&format!("{part}.temperature"), reading);
    }
    let mut bytes = |name: &str, value: Option<f64>| {
        let reading = value.map(|b| Reading::measured(b, Unit::Bytes, SOURCE));
        metrics.extend(reading.map(|reading| Metric::new(name, reading)));
    };
    bytes("memory.used", inner("memory", "ram_usage"));
    bytes("memory.swap_used", inner("memory", "swap_usage"));
    retire_frozen(&mut metrics);
    metrics
}

//! One line of `macmon pipe`, which needs no root.

use super::{Metric, modelled_power, percent, unreadable};
use crate::device::Host;
use crate::runner::{CommandLine, CommandRunner};
use crate::{Reading, Unit};
use serde_json::Value;

const SOURCE: &str = "macmon";

/// `None` where macmon is not installed or fails: another probe may answer then.
pub(super) fn sample<R: CommandRunner>(host: &Host<R>) -> Option<Vec<Metric>> {
    let output = host
        .ask(&CommandLine::new(
            SOURCE,
            &["pipe", "-s", "1", "-i", "1000"],
        ))
        .ok()?;
    Some(parse(&output.stdout))
}

/// Reads version 0.8 and later, and the pairs of MHz and ratio of version 0.7.
pub(super) fn parse(line: &str) -> Vec<Metric> {
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(line.trim()) else {
        return vec![Metric::new("machine", unreadable(SOURCE, line))];
    };
    let number = |key: &str| fields.get(key).and_then(Value::as_f64);
    let old_pair = |key: &str, n: usize| {
        fields
            .get(key)
            .and_then(|v| v.get(n))
            .and_then(Value::as_f64)
    };
    let mut metrics = Vec::new();
    let mut put = |name: &str, reading: Option<Reading>| {
        metrics.extend(reading.map(|reading| Metric::new(name, reading)));
    };
    for part in ["cpu", "gpu", "ane"] {
        let power = number(&format!("{part}_power")).map(|w| modelled_power(w, SOURCE));
        put(&format!("{part}.power"), power);
    }
    // 0 means that the rail could not be read.
    let system = number("sys_power").filter(|&w| w > 0.0);
    put(
        "machine.power",
        system.map(|w| Reading::measured(w, Unit::Watts, "macmon, SMC PSTR")),
    );
    let busy = number("gpu_active_ratio").or_else(|| old_pair("gpu_usage", 1));
    put("gpu.busy", busy.map(|share| percent(share * 100.0, SOURCE)));
    let clock = number("gpu_freq_mhz").or_else(|| old_pair("gpu_usage", 0));
    put(
        "gpu.clock",
        clock.map(|mhz| Reading::measured(mhz * 1e6, Unit::Hertz, SOURCE)),
    );
    for part in ["cpu", "gpu"] {
        let key = format!("{part}_temp_avg");
        let degrees = fields
            .get("temp")
            .and_then(|t| t.get(&key))
            .and_then(Value::as_f64);
        // A missing sensor reads 0.
        let degrees = degrees.filter(|&d| d > 0.0);
        let reading = degrees.map(|d| Reading::measured(d, Unit::Celsius, SOURCE));
        put(&format!("{part}.temperature"), reading);
    }
    metrics
}

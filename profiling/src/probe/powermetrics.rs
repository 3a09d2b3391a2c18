//! The text that `powermetrics` prints to the superuser.

use super::{Metric, modelled_power, percent, unreadable};
use crate::device::Host;
use crate::runner::{CommandLine, CommandRunner};
use crate::{Reading, Reason, Unit};
use std::time::Duration;

const SOURCE: &str = "powermetrics";
const ARGUMENTS: [&str; 10] = [
    "-n",
    "/usr/bin/powermetrics",
    "-n",
    "1",
    "-i",
    "1000",
    "--samplers",
    "cpu_power,gpu_power,ane_power,thermal",
    "-f",
    "text",
];
const NAMES: [&str; 5] = [
    "cpu.power",
    "gpu.power",
    "ane.power",
    "gpu.busy",
    "gpu.clock",
];

/// Asks through `sudo -n`, which fails at once where a password would be needed.
pub(super) fn sample<R: CommandRunner>(host: &Host<R>) -> Vec<Metric> {
    let mut command = CommandLine::new("/usr/bin/sudo", &ARGUMENTS);
    command.timeout = Duration::from_secs(10);
    match host.ask(&command) {
        Ok(output) => parse(&output.stdout),
        Err((_, detail)) => all_missing(Reason::NeedsRoot, &detail, "see `man sudoers`, NOPASSWD"),
    }
}

/// What stands in for all of them when root is not permitted.
pub(super) fn not_permitted() -> Vec<Metric> {
    all_missing(
        Reason::NeedsRoot,
        "powermetrics needs root",
        "permit sudo, or install macmon",
    )
}

fn all_missing(reason: Reason, detail: &str, remedy: &str) -> Vec<Metric> {
    let missing = || Reading::unavailable(reason, detail).with_remedy(remedy);
    NAMES
        .iter()
        .map(|&name| Metric::new(name, missing()))
        .collect()
}

/// Reads powers in mW, and residency and clock of the GPU, over the window that the header states.
pub(super) fn parse(text: &str) -> Vec<Metric> {
    let Some(window) = elapsed(text) else {
        return NAMES
            .iter()
            .map(|&name| Metric::new(name, unreadable(SOURCE, text)))
            .collect();
    };
    let power = |key: &str| {
        let milliwatts = field(text, key).and_then(|v| number_before(v, "mW"));
        milliwatts.map_or_else(|| absent(key), |mw| modelled_power(mw / 1e3, SOURCE))
    };
    let residency =
        field(text, "GPU HW active residency").or_else(|| field(text, "GPU active residency"));
    let busy = residency
        .and_then(|v| number_before(v.split('(').next().unwrap_or(""), "%"))
        .map_or_else(
            || absent("GPU active residency"),
            |share| percent(share, SOURCE),
        );
    let clock = field(text, "GPU HW active frequency")
        .or_else(|| field(text, "GPU active frequency"))
        .and_then(|v| number_before(v, "MHz"))
        .map_or_else(
            || absent("GPU active frequency"),
            |mhz| Reading::measured(mhz * 1e6, Unit::Hertz, SOURCE),
        );
    let readings = [
        power("CPU Power"),
        power("GPU Power"),
        power("ANE Power"),
        busy,
        clock,
    ];
    let with_window =
        |(name, reading): (&&str, Reading)| Metric::new(*name, reading.with_window(window));
    NAMES.iter().zip(readings).map(with_window).collect()
}

fn absent(key: &str) -> Reading {
    let detail = format!("powermetrics printed no `{key}` on this chip and system");
    Reading::unavailable(Reason::UnsupportedBySystem, detail)
}

fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let mut lines = crate::device::complete_lines(text);
    lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':').map(str::trim))
}

fn number_before(text: &str, unit: &str) -> Option<f64> {
    text.trim().strip_suffix(unit)?.trim().parse().ok()
}

/// The header ends in `(5002.44ms elapsed) ***`; the interval that was asked for is not to be trusted.
fn elapsed(text: &str) -> Option<Duration> {
    let head = crate::device::complete_lines(text)
        .find(|l| l.starts_with("*** Sampled system activity"))?;
    let (before, _) = head.split_once("ms elapsed)")?;
    let milliseconds: f64 = before.rsplit('(').next()?.parse().ok()?;
    Duration::try_from_secs_f64(milliseconds / 1e3)
        .ok()
        .filter(|window| !window.is_zero())
}

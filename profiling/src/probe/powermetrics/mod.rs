//! `powermetrics`, which only the superuser may run.
//!
//! Its two forms, text and property list, are read into one [`Window`], from which the metrics follow.

mod property_list;
mod text;

use super::power_state::PRESSURE_LEVELS;
use super::{Metric, Source, clock, modelled_power, percent, retire_frozen, unreadable};
use crate::device::{Host, complete_lines};
use crate::runner::{CommandLine, CommandRunner};
use crate::{Reading, Reason, Unit};
use std::time::Duration;

const SOURCE: &str = "powermetrics";
const PROGRAM: &str = "/usr/bin/powermetrics";
/// Samplers that are wanted; one that the tool does not know would make the whole call fail.
const SAMPLERS: [&str; 4] = ["cpu_power", "gpu_power", "ane_power", "thermal"];
const NAMES: [&str; 6] = [
    "cpu.power",
    "gpu.power",
    "ane.power",
    "gpu.busy",
    "gpu.clock",
    "machine.thermal_pressure",
];

/// What one call tells about the time that it watched.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Window {
    /// Time that it watched, by its own clock; the interval that was asked for is not to be trusted.
    pub(super) elapsed: Duration,
    /// Powers in mW of processor, GPU and Neural Engine, and their sum.
    pub(super) milliwatts: [Option<f64>; 4],
    /// GPU clock in MHz.
    pub(super) gpu_megahertz: Option<f64>,
    /// Share of the window in percent in which the GPU had work.
    pub(super) gpu_percent: Option<f64>,
    /// Clusters of processor cores.
    pub(super) clusters: Vec<Cluster>,
    /// Thermal pressure by name.
    pub(super) pressure: Option<String>,
}

/// Cores that share a clock. Names have changed between systems (`E`, `P0`, `M1`, `S`), so they are kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cluster {
    /// What stands before `-Cluster`.
    pub(super) name: String,
    /// Clock in MHz.
    pub(super) megahertz: Option<f64>,
    /// Share of the window in percent in which its cores had work.
    pub(super) percent: Option<f64>,
}

/// Asks through `sudo -n`, which fails at once where a password would be needed.
pub(super) fn source<R: CommandRunner>(host: &Host<R>) -> Source {
    let mut arguments = vec!["-n".to_owned(), PROGRAM.to_owned()];
    arguments.extend(arguments_for(&samplers(host)));
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = CommandLine::new("/usr/bin/sudo", &words);
    command.timeout = Duration::from_secs(10);
    let mut source = Source::new(SOURCE, command, &NAMES, parse)
        .remedy("allow this one command without a password: ncps prints the line for sudoers");
    source.ask_once = true;
    source
}

fn arguments_for(samplers: &[&str]) -> Vec<String> {
    let list = samplers.join(",");
    let words = ["-n", "1", "-i", "1000", "-f", "plist", "--samplers", &list];
    words.map(str::to_owned).to_vec()
}

/// The wanted samplers that this version of the tool lists; its help needs no root.
fn samplers<R: CommandRunner>(host: &Host<R>) -> Vec<&'static str> {
    let help = host.ask(&CommandLine::new(PROGRAM, &["--help"]));
    let text = help.map(|output| output.stdout).unwrap_or_default();
    let known: Vec<&str> = text
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .collect();
    let listed = SAMPLERS.into_iter().filter(|s| known.contains(s));
    let listed: Vec<&str> = listed.collect();
    if listed.is_empty() {
        return SAMPLERS.to_vec();
    }
    listed
}

/// The line of sudoers that allows `user` this one call and nothing else; permission for the bare
/// program would let that user write any file through its `-o`.
///
/// # Example
/// ```
/// let line = ncps_profiling::probe::sudoers_line("me");
/// assert!(line.starts_with("me ALL=(root) NOPASSWD: /usr/bin/powermetrics -n 1 -i 1000"));
/// ```
#[must_use]
pub fn sudoers_line(user: &str) -> String {
    // A comma separates commands in sudoers unless it is escaped.
    let arguments = arguments_for(&SAMPLERS).join(" ").replace(',', "\\,");
    format!("{user} ALL=(root) NOPASSWD: {PROGRAM} {arguments}")
}

/// What stands in for all of them when root is not permitted.
pub(super) fn not_permitted() -> Vec<Metric> {
    let missing = || {
        Reading::unavailable(Reason::NeedsRoot, "powermetrics needs root")
            .with_remedy("permit sudo with --allow-sudo, or install macmon")
    };
    let metric = |&name: &&str| Metric::new(name, missing());
    NAMES[..5].iter().map(metric).collect()
}

/// Reads either form of the output.
pub(super) fn parse(output: &str) -> Vec<Metric> {
    let window = if output.contains("<plist") {
        property_list::parse(output)
    } else {
        text::parse(output)
    };
    match window {
        Some(window) => metrics_of(&window),
        None => {
            let misread = |name: &&str| Metric::new(*name, unreadable(SOURCE, output));
            NAMES.iter().map(misread).collect()
        }
    }
}

fn metrics_of(window: &Window) -> Vec<Metric> {
    let [cpu, gpu, ane, sum] = window.milliwatts;
    let power = |value: Option<f64>, key: &str| {
        value.map_or_else(|| absent(key), |mw| modelled_power(mw / 1e3, SOURCE))
    };
    let busy = |share: Option<f64>| share.map(|share| percent(share, SOURCE));
    let megahertz = |value: Option<f64>| value.map(|mhz| clock(mhz, SOURCE));
    let or_absent = |reading: Option<Reading>, key: &str| reading.unwrap_or_else(|| absent(key));
    let mut metrics = vec![
        Metric::new("cpu.power", power(cpu, "CPU power")),
        Metric::new("gpu.power", power(gpu, "GPU power")),
        Metric::new("ane.power", power(ane, "Neural Engine power")),
        Metric::new(
            "gpu.busy",
            or_absent(busy(window.gpu_percent), "GPU residency"),
        ),
        Metric::new(
            "gpu.clock",
            or_absent(megahertz(window.gpu_megahertz), "GPU clock"),
        ),
    ];
    if let Some(sum) = sum {
        metrics.push(Metric::new("soc.power", modelled_power(sum / 1e3, SOURCE)));
    }
    for cluster in &window.clusters {
        let name = cluster.name.to_lowercase();
        let readings = [
            ("busy", busy(cluster.percent)),
            ("clock", megahertz(cluster.megahertz)),
        ];
        for (field, reading) in readings {
            let name = format!("cpu.{name}.{field}");
            metrics.extend(reading.map(|reading| Metric::new(name, reading)));
        }
    }
    for metric in &mut metrics {
        metric.reading = metric.reading.clone().with_window(window.elapsed);
    }
    metrics.push(Metric::new("machine.thermal_pressure", pressure(window)));
    retire_frozen(&mut metrics);
    metrics
}

fn pressure(window: &Window) -> Reading {
    let Some(name) = &window.pressure else {
        return absent("thermal pressure");
    };
    match PRESSURE_LEVELS.iter().position(|level| level == name) {
        Some(level) => Reading::measured(level as f64, Unit::Count, "powermetrics thermal"),
        None => unreadable(SOURCE, name),
    }
}

fn absent(what: &str) -> Reading {
    let detail = format!("powermetrics printed no {what} on this chip and system");
    Reading::unavailable(Reason::UnsupportedBySystem, detail)
}

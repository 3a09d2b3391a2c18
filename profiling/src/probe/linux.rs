//! Counters that a Linux kernel keeps in files: load, power, clock, temperature, memory.

use super::{Metric, celsius, clock, percent, unreadable, watts};
use crate::device::Host;
use crate::memory;
use crate::runner::CommandRunner;
use crate::{Reading, Reason, Unit};
use std::time::Duration;

/// Least time over which a difference of counters says something.
const LEAST_WINDOW: Duration = Duration::from_millis(50);
/// Cores whose clock is read; a file each, so that a large machine costs no more than a small one.
const CLOCK_CORES: usize = 8;

/// Remembers counters from one look to the next: shares and powers are differences.
#[derive(Debug, Default)]
pub(crate) struct LinuxFiles {
    last: Option<Duration>,
    ticks: Option<Ticks>,
    zones: Option<Result<Vec<Zone>, Reading>>,
    thermometer: Option<Option<String>>,
}

/// Clock ticks of all cores since the start of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticks {
    idle: u64,
    total: u64,
}

/// An energy counter of RAPL (running average power limit).
#[derive(Debug)]
struct Zone {
    path: String,
    metric: &'static str,
    /// Where the counter begins again, in microjoules.
    range: u64,
    last: Option<u64>,
}

impl LinuxFiles {
    /// Reads all files; `at` is the time since any fixed moment. The first look gives no differences.
    pub(crate) fn read<R: CommandRunner>(&mut self, host: &Host<R>, at: Duration) -> Vec<Metric> {
        let window = self.last.and_then(|last| at.checked_sub(last));
        let window = window.filter(|&window| window >= LEAST_WINDOW);
        self.last = Some(at);
        let mut metrics: Vec<Metric> = self.busy(host, window).into_iter().collect();
        metrics.extend(self.power(host, window));
        metrics.extend(self.temperature(host));
        metrics.push(Metric::new("cpu.clock", mean_clock(host)));
        metrics.extend(memory_metrics(host));
        metrics
    }

    fn busy<R: CommandRunner>(
        &mut self,
        host: &Host<R>,
        window: Option<Duration>,
    ) -> Option<Metric> {
        let Some(now) = host.file("proc/stat").as_deref().and_then(parse_stat) else {
            let reading = Reading::unavailable(Reason::ParseFailed, "/proc/stat has no cpu line");
            return Some(Metric::new("cpu.busy", reading));
        };
        let before = self.ticks.replace(now)?;
        let window = window?;
        let reading = share(before, now).with_window(window);
        Some(Metric::new("cpu.busy", reading))
    }

    fn power<R: CommandRunner>(&mut self, host: &Host<R>, window: Option<Duration>) -> Vec<Metric> {
        let zones = self.zones.get_or_insert_with(|| find_zones(host));
        let zones = match zones {
            Ok(zones) => zones,
            Err(reason) => return vec![Metric::new("cpu.power", reason.clone())],
        };
        let mut sums: Vec<(&'static str, u64)> = Vec::new();
        for zone in zones.iter_mut() {
            let now = host
                .file(&zone.path)
                .and_then(|t| t.trim().parse::<u64>().ok());
            let before = std::mem::replace(&mut zone.last, now);
            let (Some(now), Some(before)) = (now, before) else {
                continue;
            };
            let used = now.checked_sub(before).unwrap_or_else(|| {
                // The counter began again.
                zone.range.saturating_sub(before).saturating_add(now)
            });
            match sums.iter_mut().find(|(name, _)| *name == zone.metric) {
                Some((_, sum)) => *sum += used,
                None => sums.push((zone.metric, used)),
            }
        }
        let Some(window) = window else {
            return Vec::new();
        };
        let metric = |(name, microjoules)| Metric::new(name, rapl_power(microjoules, window));
        sums.into_iter().map(metric).collect()
    }

    fn temperature<R: CommandRunner>(&mut self, host: &Host<R>) -> Option<Metric> {
        let path = self.thermometer.get_or_insert_with(|| thermometer(host));
        let text = host.file(path.as_deref()?)?;
        let reading = match text.trim().parse::<i32>() {
            Ok(thousandths) => celsius(f64::from(thousandths) / 1e3, "Linux thermal sensor"),
            Err(_) => unreadable("Linux thermal sensor", &text),
        };
        Some(Metric::new("cpu.temperature", reading))
    }
}

/// `cpu  user nice system idle iowait irq softirq steal ...`, the sum of all cores.
pub(super) fn parse_stat(text: &str) -> Option<Ticks> {
    let line = crate::device::complete_lines(text).find_map(|l| l.strip_prefix("cpu "))?;
    let fields: Option<Vec<u64>> = line.split_whitespace().map(|f| f.parse().ok()).collect();
    let fields = fields?;
    // Times of guests are part of `user` already.
    let counted = fields.get(..8).or_else(|| fields.get(..4))?;
    let total = counted
        .iter()
        .try_fold(0u64, |sum, &field| sum.checked_add(field))?;
    let idle = fields[3].checked_add(fields.get(4).copied().unwrap_or(0))?;
    Some(Ticks { idle, total })
}

pub(super) fn share(before: Ticks, now: Ticks) -> Reading {
    let total = now.total.checked_sub(before.total);
    // Idle ticks of a core that is switched off may be taken back.
    let idle = now.idle.saturating_sub(before.idle);
    match total {
        Some(0) => Reading::unavailable(Reason::CounterFrozen, "/proc/stat did not move"),
        Some(total) => {
            let busy = total.saturating_sub(idle) as f64;
            percent(100.0 * busy / total as f64, "/proc/stat")
        }
        None => Reading::unavailable(Reason::ParseFailed, "/proc/stat went backwards"),
    }
}

fn rapl_power(microjoules: u64, window: Duration) -> Reading {
    let source = "RAPL energy_uj";
    if microjoules == 0 {
        let detail = "the energy counter of the processor did not move";
        return Reading::unavailable(Reason::CounterFrozen, detail);
    }
    let power = microjoules as f64 / 1e6 / window.as_secs_f64();
    watts(power, source).map_or_else(
        |misread| misread,
        |w| Reading::measured(w, Unit::Watts, source).with_window(window),
    )
}

/// Packages and their memory controllers; the kernel lets only root read most of them.
fn find_zones<R: CommandRunner>(host: &Host<R>) -> Result<Vec<Zone>, Reading> {
    let folder = |name: &str| format!("sys/class/powercap/{name}");
    let mut names: Vec<String> = Vec::new();
    for package in 0..8 {
        let zone = format!("intel-rapl:{package}");
        if host.file(&folder(&format!("{zone}/name"))).is_none() {
            break;
        }
        names.extend((0..4).map(|part| format!("{zone}/{zone}:{part}")));
        names.push(zone);
    }
    if names.is_empty() {
        let detail = "the kernel offers no RAPL energy counter (virtual machines rarely do)";
        return Err(Reading::unavailable(Reason::UnsupportedBySystem, detail));
    }
    let mut zones = Vec::new();
    for name in &names {
        let label = host
            .file(&folder(&format!("{name}/name")))
            .unwrap_or_default();
        let metric = match label.trim() {
            "dram" => "memory.power",
            label if label.starts_with("package") => "cpu.power",
            _ => continue,
        };
        let path = folder(&format!("{name}/energy_uj"));
        if host.file(&path).is_none() {
            continue;
        }
        let range = host.file(&folder(&format!("{name}/max_energy_range_uj")));
        let range = range.and_then(|t| t.trim().parse().ok()).unwrap_or(0);
        zones.push(Zone {
            path,
            metric,
            range,
            last: None,
        });
    }
    if zones.is_empty() {
        let detail = "the energy counters of the processor are readable by root only";
        let remedy = "chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj, as root";
        return Err(Reading::unavailable(Reason::NeedsRoot, detail).with_remedy(remedy));
    }
    Ok(zones)
}

/// The sensor of the processor's package, by the names that drivers give it.
fn thermometer<R: CommandRunner>(host: &Host<R>) -> Option<String> {
    const ZONES: [&str; 4] = ["x86_pkg_temp", "cpu-thermal", "cpu_thermal", "soc_thermal"];
    const CHIPS: [&str; 3] = ["coretemp", "k10temp", "zenpower"];
    let named = |path: String, names: &[&str]| {
        let name = host.file(&path)?;
        names.contains(&name.trim()).then_some(())
    };
    let zone = (0..16).map(|n| format!("sys/class/thermal/thermal_zone{n}"));
    let chip = (0..16).map(|n| format!("sys/class/hwmon/hwmon{n}"));
    let zone = zone
        .into_iter()
        .find(|folder| named(format!("{folder}/type"), &ZONES).is_some());
    zone.map(|folder| format!("{folder}/temp")).or_else(|| {
        let mut chips = chip.into_iter();
        let folder = chips.find(|folder| named(format!("{folder}/name"), &CHIPS).is_some())?;
        Some(format!("{folder}/temp1_input"))
    })
}

/// Mean clock of the first cores, which the kernel gives in kHz.
fn mean_clock<R: CommandRunner>(host: &Host<R>) -> Reading {
    let core = |n: usize| {
        let path = format!("sys/devices/system/cpu/cpu{n}/cpufreq/scaling_cur_freq");
        host.file(&path)?.trim().parse::<u32>().ok().map(f64::from)
    };
    let clocks: Vec<f64> = (0..CLOCK_CORES).map_while(core).collect();
    if clocks.is_empty() {
        let detail = "the kernel does not tell the processor's clock (virtual machines rarely do)";
        return Reading::unavailable(Reason::UnsupportedBySystem, detail);
    }
    let mean = clocks.iter().sum::<f64>() / clocks.len() as f64;
    clock(mean / 1e3, "cpufreq scaling_cur_freq")
}

fn memory_metrics<R: CommandRunner>(host: &Host<R>) -> Vec<Metric> {
    let text = host.file("proc/meminfo").unwrap_or_default();
    let mut metrics = parse_meminfo(&text);
    let status = host.file("proc/self/status").unwrap_or_default();
    let resident = memory::parse_status(&status, "VmRSS");
    metrics.push(Metric::new("process.memory", resident));
    metrics
}

/// Used is what is not available to new programs without swapping.
pub(super) fn parse_meminfo(text: &str) -> Vec<Metric> {
    let kib = |key: &str| {
        crate::device::complete_lines(text).find_map(|line| {
            let value = line.strip_prefix(key)?.strip_prefix(':')?.trim();
            let value = value.strip_suffix("kB")?.trim().parse::<u64>().ok()?;
            value.checked_mul(1024)
        })
    };
    let difference = |a: Option<u64>, b: Option<u64>| a?.checked_sub(b?);
    let (total, available) = (kib("MemTotal"), kib("MemAvailable"));
    let missing = || Reading::unavailable(Reason::ParseFailed, "/proc/meminfo is incomplete");
    let bytes = |value: Option<u64>, formula: &str| {
        value.map_or_else(missing, |v| {
            Reading::derived(v as f64, Unit::Bytes, "/proc/meminfo", formula)
        })
    };
    let free = match (total, available) {
        (Some(total), Some(available)) if total > 0 => {
            percent(100.0 * available as f64 / total as f64, "/proc/meminfo")
        }
        _ => missing(),
    };
    let used = bytes(difference(total, available), "MemTotal - MemAvailable");
    let swap = difference(kib("SwapTotal"), kib("SwapFree"));
    vec![
        Metric::new("memory.used", used),
        Metric::new("memory.free", free),
        Metric::new("memory.swap_used", bytes(swap, "SwapTotal - SwapFree")),
    ]
}

/// Mains or battery, the power profile, and what exists on a Mac only.
pub(super) fn conditions<R: CommandRunner>(host: &Host<R>) -> Vec<Metric> {
    const SUPPLIES: [&str; 5] = ["AC", "AC0", "ACAD", "ADP0", "ADP1"];
    let online = SUPPLIES
        .iter()
        .find_map(|name| host.file(&format!("sys/class/power_supply/{name}/online")));
    let flag = |value: Option<bool>, source: &str, what: &str| match value {
        Some(is_on) => Reading::measured(f64::from(u8::from(is_on)), Unit::Count, source),
        None => Reading::unavailable(Reason::UnsupportedBySystem, what),
    };
    let on_battery = online.and_then(|text| match text.trim() {
        "0" => Some(true),
        "1" => Some(false),
        _ => None,
    });
    let profile = host.file("sys/firmware/acpi/platform_profile");
    let is_low = profile.map(|text| text.trim() == "low-power");
    let mac_only = || Reading::unavailable(Reason::NotMacOs, "exists on Macs only");
    let mut metrics = vec![
        Metric::new(
            "machine.on_battery",
            flag(
                on_battery,
                "power_supply online",
                "the kernel names no power supply",
            ),
        ),
        Metric::new(
            "machine.low_power_mode",
            flag(
                is_low,
                "ACPI platform_profile",
                "the firmware names no power profile",
            ),
        ),
    ];
    for name in [
        "machine.thermal_pressure",
        "ane.cores",
        "ane.power",
        "ane.process_memory",
    ] {
        metrics.push(Metric::new(name, mac_only()));
    }
    metrics
}

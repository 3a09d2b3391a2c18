//! Conditions under which a Mac runs: thermal pressure, power mode, mains or battery.

use super::{Metric, Source, unreadable};
use crate::device::complete_lines;
use crate::runner::CommandLine;
use crate::{Reading, Reason, Unit};

/// Thermal pressure levels in their order, as the system names them.
pub(super) const PRESSURE_LEVELS: [&str; 5] =
    ["Nominal", "Moderate", "Heavy", "Trapping", "Sleeping"];

const KEY: &str = "com.apple.system.thermalpressurelevel";

pub(super) fn thermal_source() -> Source {
    const NAME: &str = "machine.thermal_pressure";
    let command = CommandLine::new("/usr/bin/notifyutil", &["-g", KEY]);
    let parse = |text: &str| vec![Metric::new(NAME, thermal_pressure(text))];
    Source::new("notifyutil", command, &[NAME], parse)
}

pub(super) fn mode_source() -> Source {
    const NAME: &str = "machine.low_power_mode";
    let command = CommandLine::new("/usr/bin/pmset", &["-g"]);
    let parse = |text: &str| vec![Metric::new(NAME, low_power_mode(text))];
    Source::new("pmset", command, &[NAME], parse)
}

pub(super) fn battery_source() -> Source {
    const NAME: &str = "machine.on_battery";
    let command = CommandLine::new("/usr/bin/pmset", &["-g", "batt"]);
    let parse = |text: &str| vec![Metric::new(NAME, on_battery(text))];
    Source::new("pmset", command, &[NAME], parse)
}

/// 0 nominal, 1 moderate, 2 heavy, 3 trapping, 4 sleeping; failures come with exit code 0 too.
pub(super) fn thermal_pressure(text: &str) -> Reading {
    let level = complete_lines(text).find_map(|line| {
        let level = line.strip_prefix(KEY)?.strip_prefix(' ')?;
        level.parse::<u8>().ok()
    });
    match level {
        Some(level @ 0..=4) => {
            let source = "notifyutil thermalpressurelevel";
            Reading::measured(f64::from(level), Unit::Count, source)
        }
        _ => unreadable("notifyutil", text),
    }
}

/// 1 if the low power mode is on; some machines say `powermode 1` instead.
pub(super) fn low_power_mode(text: &str) -> Reading {
    let mode = complete_lines(text).find_map(|line| {
        let mut words = line.split_whitespace();
        let key = words.next()?;
        let is_mode = ["lowpowermode", "powermode"].contains(&key);
        is_mode.then(|| words.next()?.parse::<u8>().ok()).flatten()
    });
    match mode {
        Some(mode) => {
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

//! A metric that was read, or the reason why it could not be.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// SI unit in which a value is stored; pretty prefixes are added on display only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Unit {
    /// Bytes.
    #[serde(rename = "B")]
    Bytes,
    /// Seconds.
    #[serde(rename = "s")]
    Seconds,
    /// Cycles per second.
    #[serde(rename = "Hz")]
    Hertz,
    /// Joules per second.
    #[serde(rename = "W")]
    Watts,
    /// Degrees Celsius.
    #[serde(rename = "degC")]
    Celsius,
    /// A share between 0 and 1.
    #[serde(rename = "1")]
    Ratio,
    /// A number of things.
    #[serde(rename = "count")]
    Count,
    /// Bytes per second.
    #[serde(rename = "B/s")]
    BytesPerSecond,
    /// Floating-point operations per second.
    #[serde(rename = "FLOP/s")]
    FlopPerSecond,
    /// Events per second.
    #[serde(rename = "1/s")]
    PerSecond,
}

/// How a value came about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quality {
    /// Read from a counter or a clock.
    Measured,
    /// Given by a model or a table, such as Apple's energy model or the chip table.
    Estimated {
        /// Where the estimate comes from.
        method: String,
    },
    /// Computed from measured or tabulated values.
    Derived {
        /// The formula, in words or symbols.
        formula: String,
    },
}

impl Quality {
    /// The source, with the method or formula where the value was not simply measured.
    pub(crate) fn origin(&self, source: &str) -> String {
        match self {
            Self::Measured => source.to_owned(),
            Self::Estimated { method: how } | Self::Derived { formula: how } => {
                format!("{source}: {how}")
            }
        }
    }
}

/// What a value speaks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// This process alone.
    Process,
    /// Everything that ran on the machine in the window.
    Machine,
}

/// Why there is no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// The source exists on macOS only.
    NotMacOs,
    /// The source exists on Linux only.
    NotLinux,
    /// The source exists on Apple silicon only.
    NotAppleSilicon,
    /// The source is open to the superuser only.
    NeedsRoot,
    /// The program that would tell is not installed.
    ToolMissing,
    /// The program ran and reported a failure.
    ToolFailed,
    /// The program did not answer in time.
    TimedOut,
    /// This hardware has no such thing.
    UnsupportedByHardware,
    /// This operating system does not offer it.
    UnsupportedBySystem,
    /// No machine offers such a counter.
    NoSuchCounter,
    /// The counter exists and does not move.
    CounterFrozen,
    /// The source answered in a form that is not understood.
    ParseFailed,
    /// The chip table has no such chip.
    UnknownChip,
    /// Nobody asked for the measurement in this run.
    NotRun,
}

/// A metric: a value with all that is needed to judge it, or the reason why there is none.
///
/// There is deliberately no default and no way to read a missing value as 0.
///
/// # Example
/// ```
/// use ncps_profiling::{Reading, Reason, Scope, Unit};
/// let rss = Reading::measured(2.5e6, Unit::Bytes, "/proc/self/status VmRSS").with_scope(Scope::Process);
/// assert_eq!(rss.to_string(), "2.50 MB");
/// let ane = Reading::unavailable(Reason::NoSuchCounter, "macOS has no such counter");
/// assert_eq!(ane.value(), None);
/// assert_eq!(ane.to_string(), "not available: macOS has no such counter");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Record", try_from = "Record")]
pub enum Reading {
    /// There is a value.
    Available {
        /// The value, in `unit`; always finite.
        value: f64,
        /// Unit of the value.
        unit: Unit,
        /// Time over which it was taken, if it is not a momentary value.
        window: Option<Duration>,
        /// Counter, command or table that gave it.
        source: String,
        /// How it came about.
        quality: Quality,
        /// What it speaks about.
        scope: Scope,
    },
    /// There is no value.
    Unavailable {
        /// Class of the reason, for programs.
        reason: Reason,
        /// The reason in words.
        detail: String,
        /// What a user can do to get the value, if anything.
        how_to_enable: Option<String>,
    },
}

impl Reading {
    /// A value read from a counter, for the whole machine unless [`Reading::with_scope`] says otherwise.
    #[must_use]
    pub fn measured(value: f64, unit: Unit, source: impl Into<String>) -> Self {
        Self::available(value, unit, source.into(), Quality::Measured)
    }

    /// A value that some model or table gives.
    #[must_use]
    pub fn estimated(
        value: f64,
        unit: Unit,
        source: impl Into<String>,
        method: impl Into<String>,
    ) -> Self {
        let method = method.into();
        Self::available(value, unit, source.into(), Quality::Estimated { method })
    }

    /// A value computed from others.
    #[must_use]
    pub fn derived(
        value: f64,
        unit: Unit,
        source: impl Into<String>,
        formula: impl Into<String>,
    ) -> Self {
        let formula = formula.into();
        Self::available(value, unit, source.into(), Quality::Derived { formula })
    }

    /// No value, with the reason.
    #[must_use]
    pub fn unavailable(reason: Reason, detail: impl Into<String>) -> Self {
        Self::Unavailable {
            reason,
            detail: detail.into(),
            how_to_enable: None,
        }
    }

    fn available(value: f64, unit: Unit, source: String, quality: Quality) -> Self {
        if !value.is_finite() {
            let detail = format!("{source} gave {value}, which is not a number");
            return Self::unavailable(Reason::ParseFailed, detail);
        }
        Self::Available {
            value,
            unit,
            window: None,
            source,
            quality,
            scope: Scope::Machine,
        }
    }

    /// The same reading, taken over `window`.
    #[must_use]
    pub fn with_window(mut self, length: Duration) -> Self {
        if let Self::Available { window, .. } = &mut self {
            *window = Some(length);
        }
        self
    }

    /// The same reading, speaking about `scope`.
    #[must_use]
    pub fn with_scope(mut self, about: Scope) -> Self {
        if let Self::Available { scope, .. } = &mut self {
            *scope = about;
        }
        self
    }

    /// The same missing value, with what a user can do about it.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        if let Self::Unavailable { how_to_enable, .. } = &mut self {
            *how_to_enable = Some(remedy.into());
        }
        self
    }

    /// The value, if there is one.
    #[must_use]
    pub fn value(&self) -> Option<f64> {
        match self {
            Self::Available { value, .. } => Some(*value),
            Self::Unavailable { .. } => None,
        }
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Available {
                value,
                unit,
                quality,
                ..
            } => {
                let text = pretty(*value, *unit);
                match quality {
                    Quality::Measured => f.write_str(&text),
                    Quality::Estimated { method } => match method.strip_prefix("about") {
                        // The method says it all: `about 25 % of an assumed 8 W: ...`.
                        Some(words) if words.starts_with(' ') => {
                            let phrase = words.split(':').next().unwrap_or(words);
                            write!(f, "about{phrase}")
                        }
                        Some(_) => write!(f, "about {text} (estimate)"),
                        None => write!(f, "{text} (estimate)"),
                    },
                    Quality::Derived { .. } => write!(f, "{text} (derived)"),
                }
            }
            Self::Unavailable {
                detail,
                how_to_enable,
                ..
            } => {
                write!(f, "not available: {detail}")?;
                match how_to_enable {
                    Some(remedy) => write!(f, " ({remedy})"),
                    None => Ok(()),
                }
            }
        }
    }
}

fn pretty(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Bytes => scaled(value, "B"),
        Unit::Seconds => seconds(value),
        Unit::Hertz => scaled(value, "Hz"),
        Unit::Watts => format!("{value:.2} W"),
        Unit::Celsius => format!("{value:.1} °C"),
        // A small cost is not no cost.
        Unit::Ratio if value != 0.0 && value.abs() < 1e-3 => format!("{:.3} %", value * 100.0),
        Unit::Ratio => format!("{:.1} %", value * 100.0),
        Unit::Count => format!("{value}"),
        Unit::BytesPerSecond => scaled(value, "B/s"),
        Unit::FlopPerSecond => scaled(value, "FLOP/s"),
        Unit::PerSecond => scaled(value, "/s"),
    }
}

fn scaled(value: f64, symbol: &str) -> String {
    const STEPS: [(f64, &str); 4] = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    for (size, prefix) in STEPS {
        if value.abs() >= size {
            return format!("{:.2} {prefix}{symbol}", value / size);
        }
    }
    format!("{value:.0} {symbol}")
}

fn seconds(value: f64) -> String {
    match value.abs() {
        v if v >= 1.0 || v <= 0.0 => format!("{value:.2} s"),
        v if v >= 1e-3 => format!("{:.2} ms", value * 1e3),
        v if v >= 1e-6 => format!("{:.2} us", value * 1e6),
        _ => format!("{:.2} ns", value * 1e9),
    }
}

/// The flat form in files: `value` exists only where a value was read.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    value: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    unit: Option<Unit>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    window_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    scope: Option<Scope>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    how_to_enable: Option<String>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Ok,
    Estimated,
    Derived,
    Unavailable,
}

impl From<Reading> for Record {
    fn from(reading: Reading) -> Self {
        match reading {
            Reading::Available {
                value,
                unit,
                window,
                source,
                quality,
                scope,
            } => {
                let (status, method) = match quality {
                    Quality::Measured => (Status::Ok, None),
                    Quality::Estimated { method } => (Status::Estimated, Some(method)),
                    Quality::Derived { formula } => (Status::Derived, Some(formula)),
                };
                let window_s = window.map(|w| w.as_secs_f64());
                let (value, unit) = (Some(value), Some(unit));
                let (source, scope) = (Some(source), Some(scope));
                let (reason, detail, how_to_enable) = (None, None, None);
                Self {
                    status,
                    value,
                    unit,
                    window_s,
                    source,
                    method,
                    scope,
                    reason,
                    detail,
                    how_to_enable,
                }
            }
            Reading::Unavailable {
                reason,
                detail,
                how_to_enable,
            } => Self {
                status: Status::Unavailable,
                value: None,
                unit: None,
                window_s: None,
                source: None,
                method: None,
                scope: None,
                reason: Some(reason),
                detail: Some(detail),
                how_to_enable,
            },
        }
    }
}

impl TryFrom<Record> for Reading {
    type Error = String;

    fn try_from(record: Record) -> Result<Self, String> {
        let need = |name: &str| format!("a reading with this status needs `{name}`");
        let method = record.method.unwrap_or_default();
        let quality = match record.status {
            Status::Ok => Quality::Measured,
            Status::Estimated => Quality::Estimated { method },
            Status::Derived => Quality::Derived { formula: method },
            Status::Unavailable => {
                return Ok(Self::Unavailable {
                    reason: record.reason.ok_or_else(|| need("reason"))?,
                    detail: record.detail.unwrap_or_default(),
                    how_to_enable: record.how_to_enable,
                });
            }
        };
        let window = record.window_s.map(Duration::try_from_secs_f64).transpose();
        Ok(Self::Available {
            value: record.value.ok_or_else(|| need("value"))?,
            unit: record.unit.ok_or_else(|| need("unit"))?,
            window: window.map_err(|e| format!("`window_s`: {e}"))?,
            source: record.source.ok_or_else(|| need("source"))?,
            quality,
            scope: record.scope.unwrap_or(Scope::Machine),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_value_has_no_value_key() {
        let reading = Reading::unavailable(Reason::NeedsRoot, "powermetrics needs root")
            .with_remedy("--allow-sudo");
        let json = serde_json::to_value(&reading).unwrap();
        assert_eq!(json["status"], "unavailable");
        assert_eq!(json["reason"], "needs_root");
        assert!(json.get("value").is_none() && json.get("unit").is_none());
        assert_eq!(serde_json::from_value::<Reading>(json).unwrap(), reading);
    }

    #[test]
    fn a_value_keeps_unit_window_and_quality() {
        let reading = Reading::derived(61e9, Unit::BytesPerSecond, "program", "bytes / time")
            .with_window(Duration::from_millis(64))
            .with_scope(Scope::Process);
        let json = serde_json::to_string(&reading).unwrap();
        assert!(json.contains(r#""status":"derived""#) && json.contains(r#""unit":"B/s""#));
        assert_eq!(serde_json::from_str::<Reading>(&json).unwrap(), reading);
        assert_eq!(reading.to_string(), "61.00 GB/s (derived)");
    }

    #[test]
    fn a_value_that_is_not_a_number_is_not_available() {
        let reading = Reading::measured(f64::NAN, Unit::Watts, "counter");
        assert!(matches!(
            reading,
            Reading::Unavailable {
                reason: Reason::ParseFailed,
                ..
            }
        ));
    }

    #[test]
    fn an_available_record_without_a_value_is_refused() {
        let text = r#"{"status":"ok","unit":"W","source":"x","scope":"machine"}"#;
        assert!(serde_json::from_str::<Reading>(text).is_err());
    }

    #[test]
    fn an_estimate_that_is_only_about_right_says_so() {
        let share = |method: &str| Reading::estimated(0.25, Unit::Ratio, "t", method).to_string();
        assert_eq!(
            share("about 25 % of an assumed 8 W: nobody knows the maximum"),
            "about 25 % of an assumed 8 W"
        );
        assert_eq!(share("about, confidence medium"), "about 25.0 % (estimate)");
        assert_eq!(share("a model"), "25.0 % (estimate)");
    }

    #[test]
    fn small_and_large_values_print_with_a_fitting_prefix() {
        assert_eq!(
            Reading::measured(4.2e-5, Unit::Seconds, "clock").to_string(),
            "42.00 us"
        );
        assert_eq!(
            Reading::measured(0.0, Unit::Seconds, "clock").to_string(),
            "0.00 s"
        );
        assert_eq!(
            Reading::measured(0.87, Unit::Ratio, "ioreg").to_string(),
            "87.0 %"
        );
        assert_eq!(
            Reading::measured(-3.8e-4, Unit::Ratio, "t").to_string(),
            "-0.038 %"
        );
        assert_eq!(
            Reading::measured(3.8e-4, Unit::Ratio, "t").to_string(),
            "0.038 %"
        );
        assert_eq!(
            Reading::measured(3.204e9, Unit::Hertz, "t").to_string(),
            "3.20 GHz"
        );
    }
}

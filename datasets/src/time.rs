//! Time columns: numbers or dates, their unit, and the timespans made of them.

use serde::{Deserialize, Serialize};

use crate::order::{Duplicates, OutOfOrder};

/// Where time stands in a table and how it becomes the `timespans` of a sequence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct TimeConfig {
    /// Column with numbers (in `unit`) or ISO 8601 dates (converted to `unit`).
    pub column: String,
    /// Unit of the timespans; `second` unless set.
    #[serde(default)]
    pub unit: TimeUnit,
    /// What timespans are divided by; the median training step unless set, since cells start out tuned to spans near 1.
    #[serde(default)]
    pub scale: TimeScale,
    /// Which interval belongs to a step; unless set, `until_next` for the task `next_step` and `since_previous` for all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span: Option<Span>,
    /// Zone of dates that state none, as an offset such as `+01:00`; UTC unless set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What becomes of rows of one series with the same time; `keep` unless set.
    #[serde(default)]
    pub duplicates: Duplicates,
    /// What becomes of rows that lie before the row above them; `error` unless set.
    #[serde(default)]
    pub out_of_order: OutOfOrder,
}

/// Unit of a time column's numbers and of the timespans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TimeUnit {
    /// 0.001 s.
    Millisecond,
    /// 1 s.
    #[default]
    Second,
    /// 60 s.
    Minute,
    /// 3600 s.
    Hour,
    /// 86400 s.
    Day,
}

impl TimeUnit {
    /// The unit's length in seconds.
    pub fn seconds(self) -> f64 {
        match self {
            Self::Millisecond => 1e-3,
            Self::Second => 1.0,
            Self::Minute => 60.0,
            Self::Hour => 3600.0,
            Self::Day => 86400.0,
        }
    }
}

/// What timespans are divided by before a model sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum TimeScale {
    /// The median step of the training part, so that a typical span is 1.
    #[default]
    Median,
    /// Nothing: spans stay in the column's unit.
    None,
}

/// Which interval the timespan of a step measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Span {
    /// From the step before to this one.
    SincePrevious,
    /// From this step to the one that is predicted.
    UntilNext,
}

/// How to make timespans of a file's time column for a trained model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeSchema {
    /// Name of the time column.
    pub column: String,
    /// Unit of numbers in that column; dates are converted to it.
    pub unit: TimeUnit,
    /// Timespans in `unit` are divided by this.
    pub scale: f64,
    /// Which interval belongs to a step.
    pub span: Span,
    /// Span, after scaling, of a step with no neighbour on that side: the median of the training part.
    pub edge: f32,
    /// Zone of dates that state none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What becomes of rows with the same time.
    #[serde(default)]
    pub duplicates: Duplicates,
    /// What becomes of rows that lie before the row above them.
    #[serde(default)]
    pub out_of_order: OutOfOrder,
}

impl TimeSchema {
    /// Turns a series' times (in the schema's unit) into scaled timespans, `horizon` rows ahead for `until_next`.
    pub(crate) fn spans(&self, times: &[f64], horizon: usize) -> Vec<f32> {
        let scaled = |span: f64| (span / self.scale) as f32;
        let span = |step: usize| match self.span {
            Span::SincePrevious => step
                .checked_sub(1)
                .map(|before| times[step] - times[before]),
            Span::UntilNext => times
                .get(step + horizon.max(1))
                .map(|next| next - times[step]),
        };
        (0..times.len())
            .map(|step| span(step).map_or(self.edge, scaled))
            .collect()
    }
}

/// Reads an ISO 8601 date or date-time as seconds since 1970-01-01 UTC; a time without zone counts as UTC.
///
/// Accepts `2015-02-04`, `2015-02-04 17:51`, `2015-02-04T17:51:00.5`, with `Z` or `+01:00` at the end.
pub(crate) fn parse_date(text: &str) -> Option<f64> {
    parse_date_in(text, 0.0)
}

/// As [`parse_date`], with the offset in seconds of a time that states no zone.
pub(crate) fn parse_date_in(text: &str, offset: f64) -> Option<f64> {
    let text = text.trim();
    let (date, rest) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], text[at + 1..].trim()),
        None => (text, ""),
    };
    let days = parse_day(date)?;
    if rest.is_empty() {
        return (date.len() == text.len()).then_some(days * 86400.0 - offset);
    }
    let (clock, stated) = split_zone(rest)?;
    Some(days * 86400.0 + parse_clock(clock)? - stated.unwrap_or(offset))
}

/// The offset in seconds of a zone such as `+01:00`, `-0530` or `Z`.
pub(crate) fn parse_zone(text: &str) -> Option<f64> {
    split_zone(text)
        .filter(|(clock, _)| clock.is_empty())
        .and_then(|(_, offset)| offset)
}

fn parse_day(date: &str) -> Option<f64> {
    let mut parts = date.split('-');
    let year: i64 = digits(parts.next()?, 4)?;
    let month: i64 = digits(parts.next()?, 2)?;
    let day: i64 = digits(parts.next()?, 2)?;
    let is_valid = parts.next().is_none()
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day);
    is_valid.then(|| days_since_epoch(year, month, day) as f64)
}

fn parse_clock(clock: &str) -> Option<f64> {
    let mut parts = clock.split(':');
    let hour: i64 = digits(parts.next()?, 2)?;
    let minute: i64 = digits(parts.next()?, 2)?;
    let second = parts.next().unwrap_or("00");
    let is_number = second.starts_with(|c: char| c.is_ascii_digit());
    let second: f64 = second.parse().ok().filter(|_| is_number)?;
    let is_valid = parts.next().is_none() && hour < 24 && minute < 60 && second < 61.0;
    is_valid.then(|| (hour * 3600 + minute * 60) as f64 + second)
}

/// Splits `17:51:00+01:00` into the clock and, where it is stated, the zone's offset in seconds.
fn split_zone(text: &str) -> Option<(&str, Option<f64>)> {
    if let Some(clock) = text.strip_suffix(['Z', 'z']) {
        return Some((clock.trim_end(), Some(0.0)));
    }
    let Some(at) = text.find(['+', '-']) else {
        return Some((text, None));
    };
    let zone = &text[at + 1..];
    let (hours, minutes) = match zone.split_once(':') {
        Some(parts) => parts,
        None if zone.is_char_boundary(2) && zone.len() == 4 => zone.split_at(2),
        None => (zone, "00"),
    };
    let offset = (digits(hours, 2)? * 3600 + digits(minutes, 2)? * 60) as f64;
    let sign = if text[at..].starts_with('-') {
        -1.0
    } else {
        1.0
    };
    Some((text[..at].trim_end(), Some(sign * offset)))
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let is_plain = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_plain)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let is_leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar, counting years from March so that the leap day is last.
pub(crate) fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let months_from_march = (month + 9) % 12;
    let day_of_year = (153 * months_from_march + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719468 days lie between 0000-03-01 and 1970-01-01.
    year * 365 + leap_days + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    #[test]
    fn dates_match_known_unix_times() {
        // From `date -u -d ... +%s`.
        let known = [
            ("1970-01-01", 0.0),
            ("2015-02-04 17:51:00", 1_423_072_260.0),
            ("2000-02-29T12:00", 951_825_600.0),
            ("2024-12-31T23:59:59.5Z", 1_735_689_599.5),
            ("2024-12-31T23:59:59+01:00", 1_735_685_999.0),
            ("1969-12-31 23:00-0100", 0.0),
        ];
        for (text, seconds) in known {
            assert_relative_eq!(parse_date(text).unwrap(), seconds);
        }
    }

    #[test]
    fn a_zone_holds_for_dates_that_state_none() {
        let vienna = parse_zone("+01:00").unwrap();
        assert_relative_eq!(parse_date_in("1970-01-01 01:00", vienna).unwrap(), 0.0);
        assert_relative_eq!(parse_date_in("1970-01-01", vienna).unwrap(), -3600.0);
        assert_relative_eq!(parse_date_in("1970-01-01T00:00Z", vienna).unwrap(), 0.0);
        assert_eq!(
            [parse_zone("Vienna"), parse_zone("10:00"), parse_zone("")],
            [None; 3]
        );
    }

    #[test]
    fn impossible_dates_are_refused() {
        for text in [
            "",
            "2015",
            "2015-13-01",
            "2015-02-30",
            "2015-2-3",
            "2015-02-04 25:00",
            "2015-02-04 1",
            "é-01-01",
            "2015-02-04T10:00+é1",
        ] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }

    #[test]
    fn spans_look_back_or_ahead() {
        let mut schema = TimeSchema {
            column: "t".into(),
            unit: TimeUnit::Second,
            scale: 2.0,
            span: Span::SincePrevious,
            edge: 1.0,
            zone: None,
            duplicates: Duplicates::Keep,
            out_of_order: OutOfOrder::Error,
        };
        let times = [0.0, 2.0, 6.0];
        assert_eq!(schema.spans(&times, 1), [1.0, 1.0, 2.0]);
        schema.span = Span::UntilNext;
        assert_eq!(schema.spans(&times, 1), [1.0, 2.0, 1.0]);
        assert_eq!(schema.spans(&times, 2), [3.0, 1.0, 1.0]);
    }
}

//! A profile for the terminal.

use std::fmt::Write as _;

use super::catalogue::{self, Group};
use super::{Phase, ProfileReport};
use crate::Reading;

const BAR: usize = 24;

impl ProfileReport {
    /// The report as plain text: what was measured, where the time goes, the verdict, what to change, and what could not
    /// be had with the reason.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = format!("{}: {}\n", self.title, self.subject.line());
        let _ = writeln!(text, "on {}, {}", self.machine.summary, self.machine.system);
        for note in &self.notes {
            let _ = writeln!(text, "note: {note}");
        }
        for (group, rows) in self.groups() {
            let rows: Vec<_> = rows
                .iter()
                .filter(|(_, reading)| reading.value().is_some())
                .map(|(name, reading)| (catalogue::label(name), reading.to_string()))
                .collect();
            section(&mut text, group.title(), &rows);
        }
        phases(&mut text, &self.phases);
        if let Some(verdict) = &self.verdict {
            let _ = write!(text, "\nVerdict\n  {}\n", verdict.text);
        }
        if !self.advice.is_empty() {
            text += "\nAdvice\n";
            for advice in &self.advice {
                let _ = writeln!(text, "  {}: {}", advice.change, advice.why);
                let _ = writeln!(text, "    {}", advice.outcome.text());
                if !advice.settings.is_empty() {
                    let _ = writeln!(text, "    {}", advice.settings.join(" "));
                }
            }
        }
        let missing: Vec<_> = self.missing().collect();
        if !missing.is_empty() {
            text += "\nNot available\n";
            for (name, reading) in missing {
                let reason = reading.to_string();
                let reason = reason.trim_start_matches("not available: ");
                let _ = writeln!(text, "  {}: {reason}", catalogue::label(name));
            }
        }
        text
    }

    /// The metrics by part of the report, in the order of the catalogue; parts without any are left out.
    pub(super) fn groups(&self) -> Vec<(Group, Vec<(&str, &Reading)>)> {
        let mut sorted: Vec<(&str, &Reading)> = self
            .metrics
            .iter()
            .map(|(name, reading)| (name.as_str(), reading))
            .collect();
        sorted.sort_by_key(|(name, _)| (catalogue::group(name), catalogue::order(name), *name));
        let mut groups: Vec<(Group, Vec<(&str, &Reading)>)> = Vec::new();
        for (name, reading) in sorted {
            let group = catalogue::group(name);
            match groups.last_mut() {
                Some((last, rows)) if *last == group => rows.push((name, reading)),
                _ => groups.push((group, vec![(name, reading)])),
            }
        }
        groups
    }

    /// The metrics that could not be had.
    pub(super) fn missing(&self) -> impl Iterator<Item = (&str, &Reading)> {
        self.groups()
            .into_iter()
            .flat_map(|(_, rows)| rows)
            .filter(|(_, reading)| reading.value().is_none())
    }
}

fn section(text: &mut String, title: &str, rows: &[(&str, String)]) {
    if rows.is_empty() {
        return;
    }
    let width = rows.iter().map(|(label, _)| label.chars().count()).max();
    let width = width.unwrap_or(0);
    let _ = write!(text, "\n{title}\n");
    for (label, value) in rows {
        let _ = writeln!(text, "  {label:<width$}  {value}");
    }
}

fn phases(text: &mut String, phases: &[Phase]) {
    if phases.is_empty() {
        return;
    }
    *text += "\nWhere the time of a training step goes\n";
    for phase in phases {
        let name = format!("{}{}", "  ".repeat(phase.depth), phase.name);
        let line = match phase.time.value() {
            Some(_) => format!(
                "{:>10}  {:>7}  {}",
                duration(&phase.time),
                phase
                    .share
                    .value()
                    .map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", 100.0 * share)),
                phase.bar(BAR)
            ),
            None => phase.time.to_string(),
        };
        let _ = writeln!(text, "  {name:<24}  {}", line.trim_end());
    }
}

/// A time without the remark on how it came about, which its column says.
pub(super) fn duration(reading: &Reading) -> String {
    let text = reading.to_string();
    text.split(" (").next().unwrap_or(&text).to_owned()
}

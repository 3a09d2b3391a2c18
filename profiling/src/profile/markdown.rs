//! A profile as Markdown, for issues and notes.

use std::fmt::Write as _;

use super::{ProfileReport, catalogue, text::duration};
use crate::Reading;
use crate::reading::Scope;

impl ProfileReport {
    /// The report as Markdown: the same numbers as [`ProfileReport::to_text`], with window and source of each.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut text = format!("# Profile of {}\n\n", plain(&self.title));
        let _ = writeln!(text, "{}.", plain(&self.subject.line()));
        let machine = &self.machine;
        let _ = writeln!(
            text,
            "Machine: {}, {}. Program: {}{}.",
            plain(&machine.summary),
            plain(&machine.system),
            self.program.version,
            if self.program.is_optimised {
                ""
            } else {
                " (not optimised)"
            }
        );
        if let Some(verdict) = &self.verdict {
            let _ = write!(text, "\n**{}**\n", plain(&verdict.text));
        }
        for note in &self.notes {
            let _ = write!(text, "\n> {}\n", plain(note));
        }
        self.write_advice(&mut text);
        self.write_phases(&mut text);
        for (group, rows) in self.groups() {
            let rows: String = rows
                .iter()
                .filter_map(|(name, reading)| row(name, reading))
                .collect();
            if !rows.is_empty() {
                let _ = write!(
                    text,
                    "\n## {}\n\n| | value | window | scope | source |\n|---|---:|---|---|---|\n{rows}",
                    group.title()
                );
            }
        }
        let missing: String = self
            .missing()
            .map(|(name, reading)| {
                let reason = reading.to_string();
                let reason = reason.trim_start_matches("not available: ");
                format!("- {}: {}\n", plain(catalogue::label(name)), plain(reason))
            })
            .collect();
        if !missing.is_empty() {
            let _ = write!(text, "\n## Not available\n\n{missing}");
        }
        text
    }

    fn write_advice(&self, text: &mut String) {
        if self.advice.is_empty() {
            return;
        }
        *text += "\n## Advice\n\n| change | why | outcome |\n|---|---|---|\n";
        for advice in &self.advice {
            let settings = match advice.settings.as_slice() {
                [] => String::new(),
                settings => format!(" (`{}`)", settings.join(" ")),
            };
            let _ = writeln!(
                text,
                "| {}{settings} | {} | {} |",
                plain(&advice.change),
                plain(&advice.why),
                plain(&advice.outcome.text())
            );
        }
    }

    fn write_phases(&self, text: &mut String) {
        if self.phases.is_empty() {
            return;
        }
        *text += "\n## Where the time of a training step goes\n\n| phase | time | share |\n|---|---:|---:|\n";
        for phase in &self.phases {
            let share = phase
                .share
                .value()
                .map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
            let _ = writeln!(
                text,
                "| {}{} | {} | {share} |",
                "&nbsp;&nbsp;".repeat(phase.depth),
                plain(&phase.name),
                plain(&duration(&phase.time))
            );
        }
    }
}

fn row(name: &str, reading: &Reading) -> Option<String> {
    let Reading::Available {
        window,
        source,
        quality,
        scope,
        ..
    } = reading
    else {
        return None;
    };
    let window = window.map_or_else(|| "-".to_owned(), |w| format!("{:.2} s", w.as_secs_f64()));
    let scope = match scope {
        Scope::Process => "process",
        Scope::Machine => "machine",
    };
    let source = quality.origin(source);
    Some(format!(
        "| {} | {} | {window} | {scope} | {} |\n",
        plain(catalogue::label(name)),
        plain(&reading.to_string()),
        plain(&source)
    ))
}

/// A text that Markdown takes as it is, in a table too.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '|' | '*' | '_' | '`' | '<' | '[' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

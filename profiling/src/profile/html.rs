//! A profile as one HTML file: no scripts, no other files, no network.

use std::fmt::Write as _;

use super::text::duration;
use super::{ProfileReport, catalogue};
use crate::plot::render::escaped;
use crate::plot::{Figure, Histogram, RooflinePlot, Timeline};
use crate::report::{ReportFigure, document, head, readings_html, section, table};
use crate::{Reading, Unit};

/// Names of the repetitions that are drawn, with their captions.
const HISTOGRAMS: [(&str, &str); 2] = [
    (
        "train_step",
        "Training steps: how often each duration occurred",
    ),
    (
        "single_step",
        "Single steps: how often each duration occurred",
    ),
];

/// Panels of the timeline: caption and the units that share a panel.
const PANELS: [(&str, Unit); 6] = [
    ("power", Unit::Watts),
    ("clock", Unit::Hertz),
    ("share", Unit::Ratio),
    ("temperature", Unit::Celsius),
    ("memory", Unit::Bytes),
    ("level", Unit::Count),
];

impl ProfileReport {
    /// The report as an HTML document with its plots; `more` are plots of the caller, put after those of the report.
    ///
    /// A plot for which there are no data is left out.
    #[must_use]
    pub fn to_html(&self, more: &[ReportFigure]) -> String {
        let mut body = String::new();
        for note in &self.notes {
            let _ = writeln!(body, "<p class=\"note\">{}</p>", escaped(note));
        }
        if let Some(verdict) = &self.verdict {
            let rows: String = verdict
                .shares
                .iter()
                .map(|(bound, reading)| {
                    let value = reading.value().map_or_else(
                        || reading.to_string(),
                        |share| format!("{:.1} %", 100.0 * share),
                    );
                    format!(
                        "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td></tr>\n",
                        bound.word().trim_end_matches("-bound"),
                        escaped(&value)
                    )
                })
                .collect();
            let heads = format!(
                "{}{}",
                head("limit", ""),
                head("share of the time it explains", "n")
            );
            let text = format!("<p><strong>{}</strong></p>\n", escaped(&verdict.text));
            body += &section("Verdict", &(text + &table(&heads, &rows)));
        }
        body += &self.advice_html();
        body += &self.phases_html();
        for figure in self.figures().iter().map(|(_, figure)| figure).chain(more) {
            body += &figure.to_html();
        }
        for (group, rows) in self.groups() {
            let named: Vec<(String, Reading)> = rows
                .iter()
                .map(|(name, reading)| (catalogue::label(name).to_owned(), (*reading).clone()))
                .collect();
            body += &readings_html(group.title(), &named);
        }
        let missing: Vec<(String, Reading)> = self
            .missing()
            .map(|(name, reading)| (catalogue::label(name).to_owned(), reading.clone()))
            .collect();
        body += &crate::report::missing_html(&missing);
        let subtitle = format!(
            "{}; {}, {}; version {}",
            self.subject.line(),
            self.machine.summary,
            self.machine.system,
            self.program.version
        );
        document(&format!("Profile of {}", self.title), &subtitle, &body)
    }

    /// The plots for which there are data, each with the name of its file.
    #[must_use]
    pub fn figures(&self) -> Vec<(String, ReportFigure)> {
        let mut figures = Vec::new();
        let mut add = |name: &str, caption: &str, figure: &dyn Figure| {
            // A plot without data is no part of the report; its numbers are listed as missing.
            if let Ok(svg) = figure.svg() {
                let caption = caption.to_owned();
                figures.push((name.to_owned(), ReportFigure { caption, svg }));
            }
        };
        if let Some(roofline) = &self.roofline {
            let plot = RooflinePlot::of(&self.title, roofline);
            add(
                "roofline",
                "Roofline: what the machine allows at each intensity, and where the work stands",
                &plot,
            );
        }
        for (name, caption) in HISTOGRAMS {
            if let Some(samples) = self.samples.get(name) {
                add(
                    name,
                    caption,
                    &Histogram::of_times(&name.replace('_', " "), samples),
                );
            }
        }
        if let Some(telemetry) = &self.telemetry {
            let mut plot = Timeline::new("The machine meanwhile");
            for (caption, unit) in PANELS {
                let lines: Vec<_> = telemetry
                    .plottable()
                    .filter(|series| series.unit == Some(unit))
                    .map(|series| (series.name.as_str(), &series.times[..], &series.values[..]))
                    .collect();
                plot.add_panel(caption, unit, &lines);
            }
            add(
                "timeline",
                "Counters of the whole machine while the profile ran",
                &plot,
            );
        }
        figures
    }

    fn advice_html(&self) -> String {
        if self.advice.is_empty() {
            return String::new();
        }
        let rows: String = self
            .advice
            .iter()
            .map(|advice| {
                let settings = match advice.settings.as_slice() {
                    [] => String::new(),
                    settings => format!("<br><code>{}</code>", escaped(&settings.join(" "))),
                };
                format!(
                    "<tr><th scope=\"row\">{}{settings}</th><td>{}</td><td>{}</td></tr>\n",
                    escaped(&advice.change),
                    escaped(&advice.why),
                    escaped(&advice.outcome.text())
                )
            })
            .collect();
        let heads: String = ["change", "why", "outcome"]
            .iter()
            .map(|h| head(h, ""))
            .collect();
        section("Advice", &table(&heads, &rows))
    }

    fn phases_html(&self) -> String {
        if self.phases.is_empty() {
            return String::new();
        }
        let rows: String = self
            .phases
            .iter()
            .map(|phase| {
                let share = phase.share.value();
                let percent = share.map_or_else(|| "–".to_owned(), |s| format!("{:.1} %", 100.0 * s));
                let width = 100.0 * share.unwrap_or(0.0).clamp(0.0, 1.0);
                format!(
                    "<tr><th scope=\"row\" style=\"padding-left:{}rem\">{}</th><td class=\"n\">{}</td>\
                     <td class=\"n\">{percent}</td><td class=\"bar\"><div style=\"width:{width:.1}%\"></div></td></tr>\n",
                    1.2 * phase.depth as f64,
                    escaped(&phase.name),
                    escaped(&duration(&phase.time))
                )
            })
            .collect();
        let heads = format!(
            "{}{}{}{}",
            head("phase", ""),
            head("time", "n"),
            head("share", "n"),
            head("", "")
        );
        section(
            "Where the time of a training step goes",
            &table(&heads, &rows),
        )
    }
}

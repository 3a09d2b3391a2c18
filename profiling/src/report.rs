//! One HTML file that shows a run: no scripts, no other files, no network.

use crate::Reading;
use crate::plot::render::escaped;
use crate::reading::Scope;

/// What a run did, ready to be shown.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunReport {
    /// Name of the run.
    pub title: String,
    /// One line below it: device, date, version.
    pub subtitle: String,
    /// Facts in the order in which a reader wants them.
    pub summary: Vec<(String, String)>,
    /// Metrics by split.
    pub metrics: MetricTable,
    /// Times, rates and memory; missing ones are listed apart with their reason.
    pub readings: Vec<(String, Reading)>,
    /// Plots.
    pub figures: Vec<ReportFigure>,
    /// The resolved configuration as TOML.
    pub config: String,
    /// Warnings and remarks.
    pub notes: Vec<String>,
}

/// Metrics in columns, splits in rows.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MetricTable {
    /// Names of the metrics.
    pub columns: Vec<String>,
    /// Name of each row and its values; `None` where a metric does not apply.
    pub rows: Vec<(String, Vec<Option<f64>>)>,
}

/// A plot with its caption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportFigure {
    /// What one sees.
    pub caption: String,
    /// The plot, as [`crate::plot::Figure::svg`] gives it; taken as it is.
    pub svg: String,
}

impl ReportFigure {
    pub(crate) fn to_html(&self) -> String {
        format!(
            "<figure>\n{}\n<figcaption>{}</figcaption>\n</figure>\n",
            self.svg.trim(),
            escaped(&self.caption)
        )
    }
}

const STYLE: &str = "\
:root{color-scheme:light}\
body{font:16px/1.5 system-ui,sans-serif;color:#1f2933;background:#fff;max-width:1000px;margin:2rem auto;padding:0 1rem}\
h1{margin-bottom:0}h2{margin-top:2.2rem;border-bottom:1px solid #e4e8ed;padding-bottom:.2rem}\
.sub{color:#5f6b7a;margin-top:.2rem}\
table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #e4e8ed;vertical-align:top}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}td.n{white-space:nowrap}\
figure{margin:1.5rem 0}figure svg{width:100%;height:auto}figcaption{color:#5f6b7a}\
pre{background:#f6f8fa;padding:1rem;overflow-x:auto;border-radius:6px}\
.note{background:#fff7e6;border-left:4px solid #e08214;padding:.4rem .8rem;margin:.5rem 0}\
.wide{overflow-x:auto}\
td.bar{width:40%}td.bar div{background:#2166ac;height:.9rem;border-radius:2px}\
@media(max-width:700px){\
figure{overflow-x:auto}figure svg{width:620px}\
.wide table{width:max-content;min-width:100%}.wide th,.wide td{max-width:16rem}td.bar{min-width:6rem}\
}\
";

impl RunReport {
    /// The report as an HTML document; every text is escaped, plots are inline SVG.
    ///
    /// # Example
    /// ```
    /// use ncps_profiling::report::RunReport;
    /// let report = RunReport { title: "a < b".into(), ..RunReport::default() };
    /// assert!(report.to_html().contains("<h1>a &lt; b</h1>"));
    /// ```
    #[must_use]
    pub fn to_html(&self) -> String {
        let mut html = String::new();
        for note in &self.notes {
            html += &format!("<p class=\"note\">{}</p>\n", escaped(note));
        }
        html += &self.summary_html();
        html += &self.metrics.to_html();
        for figure in &self.figures {
            html += &figure.to_html();
        }
        html += &readings_html("Measurements", &self.readings);
        html += &missing_html(&self.readings);
        if !self.config.is_empty() {
            let config = escaped(&self.config);
            html += &section("Configuration", &format!("<pre>{config}</pre>\n"));
        }
        document(&self.title, &self.subtitle, &html)
    }

    fn summary_html(&self) -> String {
        let row = |(key, value): &(String, String)| {
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n",
                escaped(key),
                escaped(value)
            )
        };
        let rows: String = self.summary.iter().map(row).collect();
        if rows.is_empty() {
            rows
        } else {
            section("Summary", &table("", &rows))
        }
    }
}

impl MetricTable {
    fn to_html(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let heads: String = self.columns.iter().map(|c| head(c, "n")).collect();
        let row = |(name, values): &(String, Vec<Option<f64>>)| {
            // A short row still fills the table.
            let cell = |n: usize| match values.get(n).copied().flatten() {
                Some(value) => format!("<td class=\"n\">{}</td>", figure(value)),
                None => "<td class=\"n\">–</td>".to_owned(),
            };
            let cells: String = (0..self.columns.len()).map(cell).collect();
            format!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", escaped(name))
        };
        let rows: String = self.rows.iter().map(row).collect();
        section(
            "Metrics",
            &table(&format!("{}{heads}", head("", "")), &rows),
        )
    }
}

/// A whole document around its content, which is taken as it is.
pub(crate) fn document(title: &str, subtitle: &str, body: &str) -> String {
    let title = escaped(title);
    let mut html = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n");
    html += "<meta charset=\"utf-8\">\n";
    html += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
    // An empty icon keeps browsers from asking a server for one.
    html += "<link rel=\"icon\" href=\"data:,\">\n";
    html += &format!("<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n");
    html += &format!(
        "<h1>{title}</h1>\n<p class=\"sub\">{}</p>\n",
        escaped(subtitle)
    );
    html + body + "</body>\n</html>\n"
}

fn figure(value: f64) -> String {
    let size = value.abs();
    if size > 0.0 && !(1e-3..1e6).contains(&size) {
        format!("{value:.3e}")
    } else {
        format!("{value:.4}")
    }
}

pub(crate) fn head(text: &str, class: &str) -> String {
    let class = if class.is_empty() {
        String::new()
    } else {
        format!(" class=\"{class}\"")
    };
    format!("<th scope=\"col\"{class}>{}</th>", escaped(text))
}

pub(crate) fn table(heads: &str, rows: &str) -> String {
    let heads = if heads.is_empty() {
        String::new()
    } else {
        format!("<thead><tr>{heads}</tr></thead>\n")
    };
    format!("<div class=\"wide\"><table>\n{heads}<tbody>\n{rows}</tbody>\n</table></div>\n")
}

pub(crate) fn section(title: &str, content: &str) -> String {
    format!("<section>\n<h2>{title}</h2>\n{content}</section>\n")
}

/// Values with everything that is needed to judge them.
pub(crate) fn readings_html(title: &str, readings: &[(String, Reading)]) -> String {
    let row = |(name, reading): &(String, Reading)| {
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
        let window = window.map_or_else(|| "–".to_owned(), |w| format!("{:.2} s", w.as_secs_f64()));
        let scope = match scope {
            Scope::Process => "this process",
            Scope::Machine => "whole machine",
        };
        let source = quality.origin(source);
        Some(format!(
            "<tr><th scope=\"row\">{}</th><td class=\"n\">{}</td><td>{window}</td><td>{scope}</td>\
             <td>{}</td></tr>\n",
            escaped(name),
            escaped(&reading.to_string()),
            escaped(&source)
        ))
    };
    let rows: String = readings.iter().filter_map(row).collect();
    if rows.is_empty() {
        return rows;
    }
    let plain: String = ["window", "scope", "source"]
        .iter()
        .map(|h| head(h, ""))
        .collect();
    let heads = format!("{}{}{plain}", head("", ""), head("value", "n"));
    section(title, &table(&heads, &rows))
}

pub(crate) fn missing_html(readings: &[(String, Reading)]) -> String {
    let row = |(name, reading): &(String, Reading)| {
        let Reading::Unavailable {
            detail,
            how_to_enable,
            ..
        } = reading
        else {
            return None;
        };
        let remedy = how_to_enable.as_deref().unwrap_or("–");
        let (name, detail, remedy) = (escaped(name), escaped(detail), escaped(remedy));
        Some(format!(
            "<tr><th scope=\"row\">{name}</th><td>{detail}</td><td>{remedy}</td></tr>\n"
        ))
    };
    let rows: String = readings.iter().filter_map(row).collect();
    if rows.is_empty() {
        return rows;
    }
    let heads: String = ["", "why not", "what to do"]
        .iter()
        .map(|h| head(h, ""))
        .collect();
    section("Not measured", &table(&heads, &rows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::{Figure, LearningCurves};
    use crate::{Reason, Unit};
    use std::time::Duration;

    fn report() -> RunReport {
        let mut curves = LearningCurves::new("<run>", "loss");
        curves.train = vec![(1.0, 1.0), (2.0, 0.5)];
        RunReport {
            title: "<script>alert(1)</script>".into(),
            subtitle: "\"quoted\" & more".into(),
            summary: vec![("device".into(), "cpu".into())],
            metrics: MetricTable {
                columns: vec!["mse".into(), "r2".into()],
                rows: vec![
                    ("test".into(), vec![Some(2.3e-5), None]),
                    ("short".into(), vec![]),
                ],
            },
            readings: vec![
                (
                    "step time".into(),
                    Reading::measured(0.0042, Unit::Seconds, "clock")
                        .with_window(Duration::from_secs(3)),
                ),
                (
                    "Neural Engine".into(),
                    Reading::unavailable(Reason::NoSuchCounter, "no <counter>")
                        .with_remedy("use Instruments"),
                ),
            ],
            figures: vec![ReportFigure {
                caption: "a<b".into(),
                svg: curves.svg().unwrap(),
            }],
            config: "name = \"<x>\"\n".into(),
            notes: vec!["5 > 4".into()],
        }
    }

    #[test]
    fn text_is_escaped_and_plots_are_inline() {
        let html = report().to_html();
        assert!(!html.contains("<script") && html.contains("&lt;script&gt;"));
        assert!(html.contains("<svg role=\"img\"") && html.contains("a&lt;b"));
        assert!(html.contains("name = &quot;&lt;x&gt;&quot;"));
    }

    #[test]
    fn the_file_needs_nothing_else() {
        let html = report().to_html();
        let outside = |text: &str| html.matches(text).count();
        assert_eq!(outside("src="), 0);
        assert_eq!(outside("http"), outside("http://www.w3.org/2000/svg"));
    }

    #[test]
    fn missing_readings_say_why_and_never_show_a_number() {
        let html = report().to_html();
        let missing = html.split("Not measured").nth(1).unwrap();
        assert!(missing.contains("no &lt;counter&gt;</td><td>use Instruments"));
        let measured = html.split("Measurements").nth(1).unwrap();
        assert!(measured.contains("4.20 ms</td><td>3.00 s</td><td>whole machine</td><td>clock"));
        assert!(html.contains("<td class=\"n\">2.300e-5</td><td class=\"n\">–</td>"));
    }

    #[test]
    fn tags_are_balanced() {
        let html = report().to_html();
        for tag in [
            "table", "tr", "td", "th", "section", "figure", "div", "svg", "pre", "p",
        ] {
            let opened = html.matches(&format!("<{tag}>")).count()
                + html.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, html.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn an_empty_report_has_no_empty_sections() {
        let html = RunReport::default().to_html();
        assert!(!html.contains("<section>") && html.ends_with("</html>\n"));
    }
}

//! A page of tables, texts and plots in the form of the other reports: no scripts, no other files, no network.

use crate::plot::render::escaped;
use crate::report::{ReportFigure, document, head, section, table};

/// A page, ready to be shown.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Page {
    /// Heading.
    pub title: String,
    /// One line below it.
    pub subtitle: String,
    /// What a reader should know first.
    pub notes: Vec<String>,
    /// Everything else, in order.
    pub parts: Vec<Part>,
}

/// A part of a [`Page`].
#[derive(Debug, Clone, PartialEq)]
pub enum Part {
    /// A sentence that stands out.
    Finding(String),
    /// Rows of text below heads.
    Table {
        /// Heading.
        title: String,
        /// Heads; a `true` stands for a column of numbers.
        heads: Vec<(String, bool)>,
        /// Cells, as many in each row as there are heads.
        rows: Vec<Vec<String>>,
    },
    /// Text to be copied, line by line.
    Code {
        /// Heading.
        title: String,
        /// The text.
        text: String,
    },
    /// A plot.
    Figure(ReportFigure),
}

impl Page {
    /// The page as an HTML document.
    #[must_use]
    pub fn to_html(&self) -> String {
        let notes = self.notes.iter();
        let notes: String = notes
            .map(|note| format!("<p class=\"note\">{}</p>\n", escaped(note)))
            .collect();
        let parts: String = self.parts.iter().map(Part::to_html).collect();
        document(&self.title, &self.subtitle, &(notes + &parts))
    }
}

impl Part {
    fn to_html(&self) -> String {
        match self {
            Self::Finding(text) => format!("<p><strong>{}</strong></p>\n", escaped(text)),
            Self::Table { title, heads, rows } => {
                let class = |is_number: bool| if is_number { "n" } else { "" };
                let head_row: String = heads
                    .iter()
                    .map(|(text, is_number)| head(text, class(*is_number)))
                    .collect();
                let cell = |(text, (_, is_number)): (&String, &(String, bool))| {
                    format!("<td class=\"{}\">{}</td>", class(*is_number), escaped(text))
                };
                let row = |row: &Vec<String>| {
                    let cells: String = row.iter().zip(heads).map(cell).collect();
                    format!("<tr>{cells}</tr>\n")
                };
                let rows: String = rows.iter().map(row).collect();
                section(&escaped(title), &table(&head_row, &rows))
            }
            Self::Code { title, text } => section(
                &escaped(title),
                &format!("<pre>{}</pre>\n", escaped(text.trim_end())),
            ),
            Self::Figure(figure) => figure.to_html(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_shown_and_no_text_becomes_markup() {
        let page = Page {
            title: "a <b>".into(),
            notes: vec!["a & b".into()],
            parts: vec![
                Part::Finding("found".into()),
                Part::Table {
                    title: "rows".into(),
                    heads: vec![("batch".into(), true), ("".into(), false)],
                    rows: vec![vec!["8".into(), "<i>".into()]],
                },
                Part::Code {
                    title: "code".into(),
                    text: "x = \"<1>\"\n".into(),
                },
                Part::Figure(ReportFigure {
                    caption: "a plot".into(),
                    svg: "<svg></svg>".into(),
                }),
            ],
            ..Page::default()
        };
        let html = page.to_html();
        for text in [
            "<h1>a &lt;b&gt;</h1>",
            "a &amp; b",
            "<td class=\"n\">8</td>",
            "&lt;i&gt;",
            "<pre>x = &quot;&lt;1&gt;&quot;</pre>",
            "<svg></svg>",
            "<figcaption>a plot</figcaption>",
        ] {
            assert!(html.contains(text), "no `{text}` in\n{html}");
        }
    }
}

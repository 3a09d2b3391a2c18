//! What tuning found as a page, in the form of the other reports, and as the rows that the terminal shows too.

use ncps_profiling::page::{Page, Part};
use ncps_profiling::plot::Figure;
use ncps_profiling::report::ReportFigure;

use super::tuned::{Fate, Measured, Tuned};

/// Heads of [`Tuned::rows`]; a `true` stands for a column of numbers.
const HEADS: [(&str, bool); 7] = [
    ("batch", true),
    ("setting", false),
    ("sequences/s", true),
    ("", true),
    ("peak memory", true),
    ("rounds", true),
    ("", false),
];
/// Where the time for the given number of sequences stands.
const TIME: usize = 3;
const CAPTION: &str =
    "Sequences a second, and the time for the given number of them, over the batch";

impl Tuned {
    /// The heads of the table of all settings.
    pub fn heads(&self) -> Vec<(String, bool)> {
        let mut heads = HEADS.map(|(head, is_number)| (head.to_owned(), is_number));
        heads[TIME].0 = format!("s for {}", self.sequences);
        heads.to_vec()
    }

    /// A row for each setting.
    pub fn rows(&self) -> Vec<Vec<String>> {
        self.candidates
            .iter()
            .map(|found| self.row_of(found))
            .collect()
    }

    fn row_of(&self, found: &Measured) -> Vec<String> {
        let is_best = self.best.as_ref() == Some(&found.setting);
        let remark = match &found.fate {
            Fate::Measured if is_best => "chosen".to_owned(),
            Fate::Measured if found.setting == self.own => "the configuration's own".to_owned(),
            Fate::Measured => String::new(),
            Fate::OverMemory { bytes } => {
                format!("over the memory budget: {}", megabytes(*bytes))
            }
            Fate::OutOfMemory => "out of memory".to_owned(),
            Fate::Failed { reason } => format!("failed: {}", reason.lines().next().unwrap_or("")),
            Fate::NotReached => "not reached in time".to_owned(),
        };
        let known = |value: Option<f64>, show: fn(f64) -> String| {
            value.map_or_else(|| "-".to_owned(), show)
        };
        vec![
            found.setting.batch.to_string(),
            found.setting.family(),
            known(found.rate.value(), |rate| format!("{rate:.0}")),
            known(found.time.value(), |seconds| format!("{seconds:.2}")),
            known(found.peak.value(), megabytes),
            found.rounds.to_string(),
            remark,
        ]
    }

    /// What the choice brings, in a sentence; `None` where nothing was compared.
    pub fn finding(&self) -> Option<String> {
        let gain = self.gain.value()?;
        let interval = self.interval.map_or_else(String::new, |(low, high)| {
            format!(" (95 % interval {low:.2} to {high:.2})")
        });
        Some(format!(
            "{gain:.2} x the rate of the configuration's own setting, measured in turn{interval}"
        ))
    }

    /// The curves as a plot with its caption, for this page or another report; `None` where nothing was measured.
    pub fn figure(&self) -> Option<ReportFigure> {
        let svg = self.curve().svg().ok()?;
        Some(ReportFigure {
            caption: CAPTION.to_owned(),
            svg,
        })
    }

    /// The page as one HTML file.
    pub fn to_html(&self) -> String {
        let mut parts = Vec::new();
        if let Some(best) = &self.best {
            let gain = self
                .finding()
                .map_or_else(String::new, |text| format!(": {text}"));
            parts.push(Part::Finding(format!("Chosen: {}{gain}.", best.text())));
        }
        parts.extend(self.figure().map(Part::Figure));
        parts.push(Part::Table {
            title: "Settings".to_owned(),
            heads: self.heads(),
            rows: self.rows(),
        });
        if !self.fragment.is_empty() {
            parts.push(Part::Code {
                title: "Configuration".to_owned(),
                text: self.fragment.clone(),
            });
        }
        if let Some(row) = &self.row {
            parts.push(Part::Code {
                title: "Row for the device table".to_owned(),
                text: row.to_line().trim().to_owned(),
            });
        }
        let page = Page {
            title: format!("Tuning of {}", self.title),
            subtitle: self.machine.clone(),
            notes: self.notes.clone(),
            parts,
        };
        page.to_html()
    }
}

fn megabytes(bytes: f64) -> String {
    format!("{:.1} MB", bytes * 1e-6)
}

//! Plots and `report.html` of a finished run.

use ncps_models::Network;
use ncps_profiling::plot::Figure;
use ncps_profiling::report::{MetricTable, ReportFigure, RunReport};
use ncps_profiling::{Reading, Unit, cpu_time, memory};

use super::directory::{PLOTS, REPORT, RunDirectory};
use super::figures;
use super::metrics::MetricsTable;
use super::session::Session;
use super::summary::{Status, Summary};
use crate::error::{Error, Result};

/// What the report is made from.
pub(super) struct Results<'a> {
    pub(super) session: &'a Session,
    pub(super) summary: &'a Summary,
    pub(super) table: &'a MetricsTable,
}

/// Draws the pictures and writes the report; gives back remarks about pictures that could not be drawn.
pub(super) fn write(
    results: &Results<'_>,
    network: &mut Box<dyn Network>,
    directory: &RunDirectory,
) -> Result<Vec<String>> {
    let mut drawn = Drawn {
        directory,
        figures: Vec::new(),
        remarks: Vec::new(),
    };
    let Results {
        session,
        summary,
        table,
    } = results;
    drawn.add(
        "learning_curve",
        "Loss by epoch",
        &figures::learning_curves(session, table, summary),
    )?;
    for (index, wiring) in session
        .config()
        .model
        .wirings(session.dataset.inputs())?
        .iter()
        .enumerate()
    {
        let (name, title) = match index {
            0 => (
                "wiring".to_owned(),
                format!("{}: wiring", session.config().name()),
            ),
            _ => (
                format!("wiring_{}", index + 1),
                format!("{}: wiring of layer {}", session.config().name(), index + 1),
            ),
        };
        let features = (wiring.inputs() == session.dataset.inputs())
            .then_some(&session.dataset.schema.features[..]);
        drawn.add(
            &name,
            "Wiring of the network",
            &figures::wiring_graph(wiring, title, features),
        )?;
    }
    if summary.status == Status::Completed
        && let Some(plot) = figures::predictions(session, network)?
    {
        drawn.add("predictions", "Predictions on the test split", &plot)?;
    }
    let Drawn {
        figures, remarks, ..
    } = drawn;
    directory.write(REPORT, html(results, figures, &remarks).as_bytes())?;
    Ok(remarks)
}

struct Drawn<'a> {
    directory: &'a RunDirectory,
    figures: Vec<ReportFigure>,
    remarks: Vec<String>,
}

impl Drawn<'_> {
    /// A picture that cannot be drawn (a run without an epoch has no curve) is a remark, not the end of the run.
    fn add(&mut self, name: &str, caption: &str, figure: &dyn Figure) -> Result<()> {
        let drawn = figure.svg().and_then(|svg| Ok((svg, figure.png()?)));
        match drawn {
            Ok((svg, png)) => {
                self.directory
                    .write(format!("{PLOTS}/{name}.svg"), svg.as_bytes())?;
                self.directory.write(format!("{PLOTS}/{name}.png"), &png)?;
                self.figures.push(ReportFigure {
                    caption: caption.to_owned(),
                    svg,
                });
            }
            Err(error) => self
                .remarks
                .push(format!("no {name} plot: {}", Error::from(error))),
        }
        Ok(())
    }
}

fn html(results: &Results<'_>, figures: Vec<ReportFigure>, remarks: &[String]) -> String {
    let Results {
        session, summary, ..
    } = results;
    let mut names: Vec<&String> = summary
        .test
        .keys()
        .chain(summary.validation.keys())
        .collect();
    names.sort();
    names.dedup();
    let baseline = format!("baseline on test ({})", summary.baseline.name);
    let row = |name: &str, metrics: &ncps_core::train::Metrics| {
        (
            name.to_owned(),
            names.iter().map(|key| metrics.get(*key).copied()).collect(),
        )
    };
    let rows = vec![
        row("train", &summary.train),
        row("validation", &summary.validation),
        row("test", &summary.test),
        row(&baseline, &summary.baseline.metrics),
    ];
    let mut notes = remarks.to_vec();
    notes.extend(session.device.note.clone());
    let report = RunReport {
        title: session.config().name().to_owned(),
        subtitle: format!("ncps {}", env!("CARGO_PKG_VERSION")),
        summary: facts(results),
        metrics: MetricTable {
            columns: names.iter().map(|name| (*name).clone()).collect(),
            rows,
        },
        readings: readings(summary),
        figures,
        config: session.loaded.to_toml(),
        notes,
    };
    report.to_html()
}

fn facts(results: &Results<'_>) -> Vec<(String, String)> {
    let Results {
        session, summary, ..
    } = results;
    let plan = &session.plan;
    let best = summary
        .best_epoch
        .map_or_else(|| "none".to_owned(), |epoch| (epoch + 1).to_string());
    [
        ("device", session.device.label()),
        ("f32 products", session.products.text().to_owned()),
        ("machine", session.machine.summary()),
        ("parameters", summary.parameters.to_string()),
        (
            "windows (train, validation, test)",
            format!(
                "{}, {}, {}",
                plan.windows[0], plan.windows[1], plan.windows[2]
            ),
        ),
        ("steps of a window", plan.time.to_string()),
        ("epochs", summary.epochs.to_string()),
        ("best epoch", best),
        ("training steps", summary.steps.to_string()),
        ("seed", summary.seed.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

fn readings(summary: &Summary) -> Vec<(String, Reading)> {
    let mut readings = vec![(
        "training time".to_owned(),
        Reading::measured(
            summary.train_seconds,
            Unit::Seconds,
            "clock around training and validation",
        ),
    )];
    if let Some(rate) = summary.sequences_per_second {
        let rate = Reading::derived(
            rate,
            Unit::PerSecond,
            "trainer",
            "training sequences of this sitting / its time",
        );
        readings.push(("training sequences".to_owned(), rate));
    }
    readings.push(("peak memory".to_owned(), memory::peak()));
    readings.push(("processor time".to_owned(), cpu_time::process()));
    readings
}

//! Draws every kind of figure with made-up data into a folder: `gallery FOLDER`.

use ncps_profiling::plot::{
    Edge, Figure, LearningCurves, Node, NodeKind, PredictionPanel, Predictions, WiringGraph,
};
use ncps_profiling::report::{MetricTable, ReportFigure, RunReport};
use ncps_profiling::{Reading, Reason, Unit, cpu_time, device, memory};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::args().nth(1).ok_or("usage: gallery FOLDER")?);
    fs::create_dir_all(&folder)?;
    let mut figures = Vec::new();
    for (name, figure) in [
        ("learning", learning(60, true)),
        ("learning-short", learning(3, false)),
    ] {
        figures.push(save(&folder, name, &figure)?);
    }
    for (name, counts, keep) in [
        ("wiring-32", [6, 17, 11, 4], 7),
        ("wiring-dense", [16, 0, 60, 4], 1),
        ("wiring-8", [2, 3, 3, 2], 3),
    ] {
        figures.push(save(&folder, name, &wiring(name, counts, keep))?);
    }
    for outputs in [1, 3] {
        figures.push(save(
            &folder,
            &format!("predictions-{outputs}"),
            &predictions(outputs),
        )?);
    }
    fs::write(folder.join("report.html"), report(figures).to_html())?;
    Ok(())
}

fn save(folder: &Path, name: &str, figure: &impl Figure) -> Result<ReportFigure, Box<dyn Error>> {
    let svg = figure.svg()?;
    fs::write(folder.join(name).with_extension("svg"), &svg)?;
    fs::write(folder.join(name).with_extension("png"), figure.png()?)?;
    Ok(ReportFigure {
        caption: name.to_owned(),
        svg,
    })
}

fn learning(epochs: u32, long: bool) -> LearningCurves {
    let mut curves = LearningCurves::new("m3: CfC on AutoNCP(32, 4)", "loss (MSE)");
    let noise = |e: f64| 1.0 + 0.08 * (e * 7.3).sin() * (e * 1.7).cos();
    let value = |e: f64, floor: f64| (1.2 * (-e / 7.0).exp() + floor) * noise(e);
    let epochs = || (1..=epochs).map(f64::from);
    curves.train = epochs().map(|e| (e, value(e, 0.012))).collect();
    curves.validation = epochs().map(|e| (e, value(e, 0.02) + 0.0003 * e)).collect();
    curves.best_epoch = Some(if long { 47.0 } else { 3.0 });
    curves.baseline = long.then(|| ("persistence".to_owned(), 0.31));
    curves
}

fn wiring(title: &str, counts: [usize; 4], keep_one_of: usize) -> WiringGraph {
    let kinds = [
        NodeKind::Sensory,
        NodeKind::Inter,
        NodeKind::Command,
        NodeKind::Motor,
    ];
    let names = [
        "light",
        "temperature",
        "humidity",
        "CO2",
        "humidity ratio",
        "hour of the day",
    ];
    let mut nodes = Vec::new();
    let mut neuron = 0;
    for (kind, count) in kinds.into_iter().zip(counts) {
        for n in 0..count {
            let label = match kind {
                NodeKind::Sensory => names.get(n).map_or(format!("x{n}"), |&s| s.to_owned()),
                _ => neuron.to_string(),
            };
            neuron += usize::from(kind != NodeKind::Sensory);
            nodes.push(Node { label, kind });
        }
    }
    let follows = |a: NodeKind, b: NodeKind| {
        a < b && (b as usize - a as usize) <= 1 + usize::from(counts[1] == 0)
            || (a, b) == (NodeKind::Command, NodeKind::Command)
    };
    let mut edges = Vec::new();
    for (source, from) in nodes.iter().enumerate() {
        for (target, to) in nodes.iter().enumerate() {
            let chance = (source * 31 + target * 17 + source * target * 5) % 97;
            if follows(from.kind, to.kind) && chance % keep_one_of == 0 {
                edges.push(Edge {
                    source,
                    target,
                    polarity: if chance % 3 == 1 { -1 } else { 1 },
                });
            }
        }
    }
    WiringGraph {
        title: title.to_owned(),
        nodes,
        edges,
    }
}

fn predictions(outputs: usize) -> Predictions {
    let x: Vec<f64> = (0..300).map(|n| f64::from(n) * 0.05).collect();
    let panel = |n: usize| {
        let wave = |t: f64| (t * (1.0 + n as f64 * 0.4)).sin() + 0.4 * (3.1 * t).cos();
        PredictionPanel {
            name: format!("joint {n}"),
            target: x.iter().map(|&t| wave(t)).collect(),
            prediction: x.iter().map(|&t| 0.93 * wave(t - 0.06)).collect(),
        }
    };
    Predictions {
        title: "Test part, first sequence".to_owned(),
        x_label: "time in s".to_owned(),
        panels: (0..outputs).map(panel).collect(),
        x,
    }
}

fn report(figures: Vec<ReportFigure>) -> RunReport {
    let text = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    RunReport {
        title: "Gallery".to_owned(),
        subtitle: device::detect().summary(),
        summary: vec![
            text("status", "made-up data"),
            text("device", "this machine"),
        ],
        metrics: MetricTable {
            columns: vec!["loss".to_owned(), "r2".to_owned()],
            rows: vec![
                ("test".to_owned(), vec![Some(0.0123), Some(0.97)]),
                ("persistence".to_owned(), vec![Some(0.31), None]),
            ],
        },
        readings: vec![
            ("resident memory".to_owned(), memory::rss()),
            ("peak memory".to_owned(), memory::peak()),
            ("processor time".to_owned(), cpu_time::process()),
            (
                "figures".to_owned(),
                Reading::measured(figures.len() as f64, Unit::Count, "counted"),
            ),
            (
                "Neural Engine utilisation".to_owned(),
                Reading::unavailable(Reason::NoSuchCounter, "macOS has no such counter")
                    .with_remedy("Instruments shows activity"),
            ),
        ],
        figures,
        config: "name = \"gallery\"\nseed = 1\n".to_owned(),
        notes: vec!["This report shows made-up curves.".to_owned()],
    }
}

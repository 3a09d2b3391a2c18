//! Targets and predictions over time, one panel per output.

use super::axis::{Axis, Frame, legend};
use super::scene::{Anchor, Scene, Stroke, TextStyle};
use super::{AxisScale, Figure, INK, MUTED, RED};
use crate::{Error, Result};

const WIDTH: u32 = 900;
const HEADER: f64 = 78.0;
const FOOTER: f64 = 58.0;
/// More panels would not fit on a page; the first ones are drawn and the rest is named.
const MOST_PANELS: usize = 6;
/// Buckets of points in a line: more than the pixels of the figure are wasted.
const MOST_BUCKETS: usize = 800;

/// One output over time.
#[derive(Debug, Clone, PartialEq)]
pub struct PredictionPanel {
    /// Name of the output.
    pub name: String,
    /// What should come out.
    pub target: Vec<f64>,
    /// What came out.
    pub prediction: Vec<f64>,
}

/// Targets against predictions.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictions {
    /// What is shown.
    pub title: String,
    /// Name and unit of the x axis.
    pub x_label: String,
    /// Times or steps, in order.
    pub x: Vec<f64>,
    /// One panel per output; the first six are drawn.
    pub panels: Vec<PredictionPanel>,
}

impl Predictions {
    fn check(&self) -> Result<()> {
        for panel in &self.panels {
            for (what, column) in [("target", &panel.target), ("prediction", &panel.prediction)] {
                if column.len() != self.x.len() {
                    return Err(Error::LengthMismatch {
                        column: format!("{} ({what})", panel.name),
                        found: column.len(),
                        expected: self.x.len(),
                    });
                }
            }
        }
        Ok(())
    }

    fn panel(&self, scene: &mut Scene, panel: &PredictionPanel, frame: &Frame, last: bool) {
        frame.grid(scene, last);
        let name = TextStyle::new(14.0, INK).bold();
        scene.text((frame.left, frame.top - 11.0), &panel.name, name);
        for (values, stroke) in [(&panel.target, target()), (&panel.prediction, prediction())] {
            let points: Vec<_> = self.x.iter().copied().zip(values.iter().copied()).collect();
            frame.curve(scene, &thinned(&points), stroke);
        }
    }
}

fn target() -> Stroke {
    Stroke::new(INK, 1.8)
}

fn prediction() -> Stroke {
    Stroke::new(RED, 1.8)
}

impl Figure for Predictions {
    fn scene(&self) -> Result<Scene> {
        self.check()?;
        let nothing = |missing| Error::NothingToDraw {
            figure: "prediction",
            missing,
        };
        let shown = &self.panels[..self.panels.len().min(MOST_PANELS)];
        let x = Axis::exact(self.x.iter().copied(), false)
            .ok_or_else(|| nothing("the x axis has no finite value"))?;
        if shown.is_empty() {
            return Err(nothing("there is no output"));
        }
        let height = if shown.len() == 1 {
            330.0
        } else {
            560.0 / shown.len() as f64 + 60.0
        };
        let total = HEADER + height * shown.len() as f64 + FOOTER;
        let description = format!("{}: targets and predictions", self.title);
        let mut scene = Scene::new(WIDTH, total.ceil() as u32, &description);
        scene.text((24.0, 32.0), &self.title, TextStyle::new(20.0, INK).bold());
        legend(
            &mut scene,
            (f64::from(WIDTH) - 28.0, 56.0),
            &[("target", target()), ("prediction", prediction())],
        );
        for (n, panel) in shown.iter().enumerate() {
            let values = panel.target.iter().chain(&panel.prediction).copied();
            let frame = Frame {
                left: 92.0,
                top: HEADER + height * n as f64 + 18.0,
                right: f64::from(WIDTH) - 28.0,
                bottom: HEADER + height * (n + 1) as f64 - 14.0,
                x,
                y: Axis::over(values, AxisScale::Linear)
                    .ok_or_else(|| nothing("an output has no finite value"))?,
            };
            self.panel(&mut scene, panel, &frame, n + 1 == shown.len());
        }
        let more = self.panels.len() - shown.len();
        let label = TextStyle::new(15.0, INK).anchored(Anchor::Middle);
        scene.text((488.0, total - 20.0), &self.x_label, label);
        if more > 0 {
            let text = format!("{more} more outputs are not drawn");
            let at = (f64::from(WIDTH) - 28.0, total - 20.0);
            scene.text(at, &text, TextStyle::new(14.0, MUTED).anchored(Anchor::End));
        }
        Ok(scene)
    }
}

/// Keeps the lowest and the highest point of each bucket, so that no peak is lost.
pub(super) fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    if points.len() <= 2 * MOST_BUCKETS {
        return points.to_vec();
    }
    let size = points.len().div_ceil(MOST_BUCKETS);
    let mut kept = Vec::with_capacity(2 * MOST_BUCKETS);
    for bucket in points.chunks(size) {
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let ends = (
            bucket.iter().min_by(by_value),
            bucket.iter().max_by(by_value),
        );
        if let (Some(low), Some(high)) = ends {
            let (first, second) = if low.0 <= high.0 {
                (low, high)
            } else {
                (high, low)
            };
            kept.extend([*first, *second]);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn predictions(panels: usize) -> Predictions {
        let x: Vec<f64> = (0..50).map(f64::from).collect();
        let panel = |n: usize| PredictionPanel {
            name: format!("output {n}"),
            target: x.iter().map(|t| (t / 5.0).sin()).collect(),
            prediction: x.iter().map(|t| (t / 5.0).sin() * 0.9).collect(),
        };
        Predictions {
            title: "test".into(),
            x_label: "step".into(),
            panels: (0..panels).map(panel).collect(),
            x,
        }
    }

    #[test]
    fn any_number_of_outputs_can_be_drawn_but_none() {
        for n in [1, 2, 6, 17] {
            assert!(predictions(n).svg().unwrap().contains("output 0"), "{n}");
        }
        assert!(predictions(17).svg().unwrap().contains("11 more outputs"));
        assert!(matches!(
            predictions(0).scene(),
            Err(Error::NothingToDraw { .. })
        ));
    }

    #[test]
    fn a_column_of_another_length_is_named() {
        let mut figure = predictions(2);
        figure.panels[1].prediction.pop();
        let message = figure.scene().unwrap_err().to_string();
        assert!(
            message.starts_with("`output 1 (prediction)` has 49 values, expected 50"),
            "{message}"
        );
    }

    #[test]
    fn thinning_keeps_every_peak() {
        let mut points: Vec<(f64, f64)> = (0..100_000).map(|n| (f64::from(n), 0.0)).collect();
        points[51_234].1 = 7.0;
        points[3].1 = -3.0;
        let kept = thinned(&points);
        assert!(kept.len() <= 2 * MOST_BUCKETS);
        assert!(kept.contains(&(51_234.0, 7.0)) && kept.contains(&(3.0, -3.0)));
        assert!(kept.is_sorted_by(|a, b| a.0 <= b.0));
    }
}

//! Throughput and time to a given number of samples over the batch size.

use super::axis::{Axis, Frame, legend, short};
use super::scene::{Anchor, Scene, Stroke, TextStyle};
use super::{AxisScale, BLUE, Color, Figure, GREEN, INK, MUTED, ORANGE, RED};
use crate::{Error, Result};

const WIDTH: u32 = 900;
const HEIGHT: u32 = 760;
const COLORS: [Color; 5] = [BLUE, ORANGE, GREEN, RED, MUTED];

/// What some sizes of a batch achieve, one curve for each setting of everything else.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TuningCurve {
    /// Heading.
    pub title: String,
    /// Name of the setting, and batch size with sequences per second, in any order.
    pub curves: Vec<(String, Vec<(f64, f64)>)>,
    /// Sequences N of the lower panel: seconds to train on so many.
    pub sequences: f64,
    /// Batch size and sequences per second of the choice.
    pub best: Option<(f64, f64)>,
}

impl TuningCurve {
    fn panels(&self) -> Result<[Frame; 2]> {
        let nothing = || Error::NothingToDraw {
            figure: "tuning",
            missing: "no batch size was measured",
        };
        let points = || {
            let curves = self.curves.iter().flat_map(|(_, points)| points);
            curves.filter(|(batch, rate)| *batch > 0.0 && *rate > 0.0)
        };
        points().next().ok_or_else(nothing)?;
        let x = Axis::over(points().map(|p| p.0), AxisScale::Log).ok_or_else(nothing)?;
        let upper = Axis::over(points().map(|p| p.1), AxisScale::Log).ok_or_else(nothing)?;
        let times = points().map(|p| self.sequences / p.1);
        let lower = Axis::over(times, AxisScale::Log).ok_or_else(nothing)?;
        let frame = |top: f64, y| Frame {
            left: 92.0,
            top,
            right: f64::from(WIDTH) - 28.0,
            bottom: top + 260.0,
            x,
            y,
        };
        Ok([frame(96.0, upper), frame(430.0, lower)])
    }
}

impl Figure for TuningCurve {
    fn scene(&self) -> Result<Scene> {
        let [rates, times] = self.panels()?;
        let mut scene = Scene::new(WIDTH, HEIGHT, &format!("Batch size of {}", self.title));
        let title = format!("{}: what each batch size achieves", self.title);
        scene.text((24.0, 32.0), &title, TextStyle::new(20.0, INK).bold());
        rates.grid(&mut scene, false);
        times.grid(&mut scene, true);
        let mut names = Vec::new();
        for ((name, points), color) in self.curves.iter().zip(COLORS.iter().cycle()) {
            let mut points = points.clone();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            let stroke = Stroke::new(*color, 2.2);
            rates.curve(&mut scene, &points, stroke);
            let seconds: Vec<_> = points
                .iter()
                .map(|(b, r)| (*b, self.sequences / r))
                .collect();
            times.curve(&mut scene, &seconds, stroke);
            for (frame, list) in [(&rates, &points), (&times, &seconds)] {
                for (batch, value) in list.iter().filter(|(b, v)| *b > 0.0 && *v > 0.0) {
                    scene.circle(frame.point(*batch, *value), 3.5, *color, *color);
                }
            }
            names.push((name.as_str(), stroke));
        }
        if let Some((batch, rate)) = self.best {
            let at = rates.point(batch, rate);
            scene.circle(at, 7.0, GREEN, super::PAPER);
            let label = format!(
                "chosen: batch {}, {} sequences/s",
                short(batch),
                short(rate)
            );
            let is_right = at.0 > (rates.left + rates.right) / 2.0;
            let (offset, anchor) = if is_right {
                (-12.0, Anchor::End)
            } else {
                (12.0, Anchor::Start)
            };
            let style = TextStyle::new(14.0, GREEN).bold().anchored(anchor);
            scene.text((at.0 + offset, at.1 + 18.0), &label, style);
        }
        let label = TextStyle::new(15.0, INK);
        scene.text((24.0, 60.0), "sequences per second (log scale)", label);
        legend(&mut scene, (rates.right, 80.0), &names);
        let heading = format!(
            "seconds to train on {} sequences (log scale)",
            short(self.sequences)
        );
        scene.text((24.0, 408.0), &heading, label);
        let below = ((times.left + times.right) / 2.0, f64::from(HEIGHT) - 20.0);
        let text = "sequences in a batch (log scale)";
        scene.text(below, text, label.anchored(Anchor::Middle));
        Ok(scene)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_and_the_choice_are_drawn() {
        let plot = TuningCurve {
            title: "m3".into(),
            curves: vec![
                ("cpu, fused".into(), vec![(64.0, 4000.0), (32.0, 3000.0)]),
                ("cpu, plain".into(), vec![(32.0, 300.0)]),
            ],
            sequences: 10_000.0,
            best: Some((64.0, 4000.0)),
        };
        let svg = plot.svg().unwrap();
        assert!(
            svg.contains("chosen: batch 64") && svg.contains("cpu, plain"),
            "{svg}"
        );
        assert!(TuningCurve::default().svg().is_err());
    }
}

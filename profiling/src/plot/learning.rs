//! Training and validation values per epoch.

use super::axis::{Axis, Frame, legend, short};
use super::scene::{Anchor, Scene, Stroke, TextStyle, text_width};
use super::{AxisScale, BLUE, Figure, GREEN, INK, MUTED, ORANGE};
use crate::{Error, Result};

const WIDTH: u32 = 900;
const HEIGHT: u32 = 540;

/// Learning curves of one metric.
///
/// Values that are not finite leave a gap. The best epoch is marked on the validation curve, or on
/// the training curve if there is no validation.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LearningCurves {
    /// Name of the run.
    pub title: String,
    /// Name of the metric, for the y axis.
    pub metric: String,
    /// Epoch and value on the training part.
    pub train: Vec<(f64, f64)>,
    /// Epoch and value on the validation part; may be empty.
    pub validation: Vec<(f64, f64)>,
    /// Epoch whose weights were kept.
    pub best_epoch: Option<f64>,
    /// Name and value of the trivial baseline, drawn as a horizontal line.
    pub baseline: Option<(String, f64)>,
    /// Scale of the y axis.
    pub axis: AxisScale,
}

impl LearningCurves {
    /// Empty curves with a title and the name of the metric.
    #[must_use]
    pub fn new(title: &str, metric: &str) -> Self {
        Self {
            title: title.to_owned(),
            metric: metric.to_owned(),
            ..Self::default()
        }
    }

    fn points(&self) -> impl Iterator<Item = &(f64, f64)> {
        self.train.iter().chain(&self.validation)
    }

    fn frame(&self) -> Result<Frame> {
        let nothing = || Error::NothingToDraw {
            figure: "learning curve",
            missing: "there is no epoch with a finite value",
        };
        let drawn = || {
            self.points()
                .filter(|(x, y)| x.is_finite() && y.is_finite())
        };
        let baseline = self.baseline.iter().map(|(_, value)| *value);
        let values = drawn().map(|p| p.1).chain(baseline);
        drawn().next().ok_or_else(nothing)?;
        Ok(Frame {
            left: 92.0,
            top: 76.0,
            right: f64::from(WIDTH) - 28.0,
            bottom: f64::from(HEIGHT) - 62.0,
            x: Axis::exact(drawn().map(|p| p.0), true).ok_or_else(nothing)?,
            y: Axis::over(values, self.axis).ok_or_else(nothing)?,
        })
    }

    fn draw_baseline(&self, scene: &mut Scene, frame: &Frame) {
        let Some((name, value)) = &self.baseline else {
            return;
        };
        if !value.is_finite() || (frame.y.is_log() && *value <= 0.0) {
            return;
        }
        let (_, y) = frame.point(0.0, *value);
        let line = Stroke::new(MUTED, 1.4).dashed(7.0, 5.0);
        scene.line((frame.left, y), (frame.right, y), line);
        // Below the line where there is no room above it.
        let at = (
            frame.right - 4.0,
            if y - frame.top < 24.0 {
                y + 12.0
            } else {
                y - 12.0
            },
        );
        let label = format!("{name}: {}", short(*value));
        scene.text(
            at,
            &label,
            TextStyle::new(14.0, MUTED).anchored(Anchor::End),
        );
    }

    fn draw_best(&self, scene: &mut Scene, frame: &Frame) {
        let Some(epoch) = self.best_epoch else { return };
        let marked = if self.validation.is_empty() {
            &self.train
        } else {
            &self.validation
        };
        let is_best = |p: &&(f64, f64)| (p.0 - epoch).abs() < 1e-9 && p.1.is_finite();
        let Some(&(epoch, value)) = marked.iter().find(is_best) else {
            return;
        };
        if frame.y.is_log() && value <= 0.0 {
            return;
        }
        let at = frame.point(epoch, value);
        scene.line(
            (at.0, frame.top),
            (at.0, frame.bottom),
            Stroke::new(GREEN, 1.2).dashed(3.0, 4.0),
        );
        scene.circle(at, 5.5, GREEN, super::PAPER);
        let label = format!("best {} at epoch {epoch}", short(value));
        let room = frame.right - at.0 > text_width(&label, 14.0, true) + 16.0;
        let (offset, anchor) = if room {
            (8.0, Anchor::Start)
        } else {
            (-8.0, Anchor::End)
        };
        let style = TextStyle::new(14.0, GREEN).bold().anchored(anchor);
        scene.text((at.0 + offset, frame.top + 10.0), &label, style);
    }
}

impl Figure for LearningCurves {
    fn scene(&self) -> Result<Scene> {
        let frame = self.frame()?;
        let description = format!(
            "Learning curve of {}: {} per epoch",
            self.title, self.metric
        );
        let mut scene = Scene::new(WIDTH, HEIGHT, &description);
        scene.text((24.0, 32.0), &self.title, TextStyle::new(20.0, INK).bold());
        frame.grid(&mut scene, true);
        self.draw_baseline(&mut scene, &frame);

        let (train, validation) = (Stroke::new(BLUE, 2.2), Stroke::new(ORANGE, 2.2));
        let mut names = vec![];
        for (name, points, stroke) in [
            ("training", &self.train, train),
            ("validation", &self.validation, validation),
        ] {
            if !points.is_empty() {
                frame.curve(&mut scene, points, stroke);
                names.push((name, stroke));
            }
        }
        self.draw_best(&mut scene, &frame);
        legend(&mut scene, (frame.right, 56.0), &names);

        let label = TextStyle::new(15.0, INK);
        let middle = (frame.left + frame.right) / 2.0;
        let below = (middle, f64::from(HEIGHT) - 20.0);
        scene.text(below, "epoch", label.anchored(Anchor::Middle));
        let suffix = if frame.y.is_log() { " (log scale)" } else { "" };
        scene.text((24.0, 56.0), &format!("{}{suffix}", self.metric), label);
        Ok(scene)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::scene::Shape;

    fn curves() -> LearningCurves {
        let mut curves = LearningCurves::new("run", "loss");
        curves.train = (1..=20)
            .map(|e| (f64::from(e), 1.0 / f64::from(e * e)))
            .collect();
        curves.validation = curves
            .train
            .iter()
            .map(|&(e, v)| (e, v * 1.2 + 0.001 * e))
            .collect();
        curves
    }

    fn texts(scene: &Scene) -> Vec<&str> {
        let text = |shape: &'_ Shape| matches!(shape, Shape::Text { .. });
        let shapes = scene.shapes.iter().filter(|s| text(s));
        shapes
            .filter_map(|s| {
                if let Shape::Text { text, .. } = s {
                    Some(text.as_str())
                } else {
                    None
                }
            })
            .collect()
    }

    #[test]
    fn the_best_epoch_and_the_baseline_are_named_with_their_values() {
        let mut curves = curves();
        curves.best_epoch = Some(10.0);
        curves.baseline = Some(("persistence".into(), 0.5));
        let scene = curves.scene().unwrap();
        let said = texts(&scene);
        assert!(said.contains(&"best 0.022 at epoch 10"), "{said:?}");
        assert!(said.contains(&"persistence: 0.5"), "{said:?}");
        assert!(
            said.contains(&"loss (log scale)") && said.contains(&"validation"),
            "{said:?}"
        );
    }

    #[test]
    fn a_best_epoch_that_is_not_there_is_not_marked() {
        let mut curves = curves();
        curves.best_epoch = Some(99.0);
        let scene = curves.scene().unwrap();
        assert!(!texts(&scene).iter().any(|t| t.starts_with("best")));
    }

    #[test]
    fn one_epoch_and_values_that_are_not_finite_can_be_drawn() {
        let mut curves = LearningCurves::new("run", "loss");
        curves.train = vec![(1.0, 0.5)];
        assert!(
            curves
                .scene()
                .unwrap()
                .shapes
                .iter()
                .any(|s| matches!(s, Shape::Circle { .. }))
        );
        curves.train = vec![
            (1.0, 0.5),
            (2.0, f64::NAN),
            (3.0, f64::INFINITY),
            (4.0, 0.25),
        ];
        assert!(curves.svg().is_ok());
        for empty in [vec![], vec![(1.0, f64::NAN)]] {
            curves.train = empty;
            assert!(matches!(curves.scene(), Err(Error::NothingToDraw { .. })));
        }
    }
}

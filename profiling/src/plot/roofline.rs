//! The roofline: attainable rate over intensity, and where some work stands below it.

use super::axis::{Axis, Frame, short};
use super::scene::{Anchor, Scene, Stroke, TextStyle, text_width};
use super::{AxisScale, BLUE, Figure, GREEN, INK, MUTED, ORANGE, RED};
use crate::profile::Roofline;
use crate::{Error, Result};

const WIDTH: u32 = 900;
const HEIGHT: u32 = 540;

/// A roofline with its points; only what was measured is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct RooflinePlot {
    /// Heading.
    pub title: String,
    /// Bytes per second between memory and processor.
    pub bandwidth: Option<f64>,
    /// Name and floating-point operations per second of each ceiling.
    pub ceilings: Vec<(String, f64)>,
    /// Name, operations per byte and operations per second of each point.
    pub points: Vec<(String, f64, f64)>,
}

impl RooflinePlot {
    /// The plot of what was measured.
    #[must_use]
    pub fn of(title: &str, roofline: &Roofline) -> Self {
        let ceilings = roofline.ceilings.iter();
        let points = roofline.points.iter();
        Self {
            title: title.to_owned(),
            bandwidth: roofline.bandwidth.value(),
            ceilings: ceilings
                .filter_map(|ceiling| Some((ceiling.name.clone(), ceiling.rate.value()?)))
                .collect(),
            points: points
                .filter_map(|point| {
                    Some((
                        point.name.clone(),
                        point.intensity.value()?,
                        point.rate.value()?,
                    ))
                })
                .collect(),
        }
    }

    fn frame(&self) -> Result<Frame> {
        let nothing = || Error::NothingToDraw {
            figure: "roofline",
            missing: "there is no measured bandwidth with a ceiling and a point",
        };
        let bandwidth = self.bandwidth.filter(|b| *b > 0.0).ok_or_else(nothing)?;
        let rates = || {
            self.ceilings
                .iter()
                .map(|(_, rate)| *rate)
                .filter(|rate| *rate > 0.0)
        };
        let points = || self.points.iter().filter(|(_, x, y)| *x > 0.0 && *y > 0.0);
        points().next().ok_or_else(nothing)?;
        let peak = rates().max_by(f64::total_cmp).ok_or_else(nothing)?;
        let ridge = peak / bandwidth;
        let x = points()
            .map(|(_, x, _)| *x)
            .chain([ridge / 30.0, ridge * 30.0]);
        let y = points()
            .map(|(_, _, y)| *y * 1e-9)
            .chain(rates().map(|rate| rate * 1e-9))
            .chain([peak * 1e-9 / 100.0]);
        Ok(Frame {
            left: 92.0,
            top: 76.0,
            right: f64::from(WIDTH) - 28.0,
            bottom: f64::from(HEIGHT) - 62.0,
            x: Axis::over(x, AxisScale::Log).ok_or_else(nothing)?,
            y: Axis::over(y, AxisScale::Log).ok_or_else(nothing)?,
        })
    }

    /// The slope of the bandwidth, from the lower edge of the frame to the highest ceiling.
    fn draw_slope(&self, scene: &mut Scene, frame: &Frame, peak: f64) {
        let Some(bandwidth) = self.bandwidth else {
            return;
        };
        let (low, high) = frame.x.bounds();
        let (floor, _) = frame.y.bounds();
        let from = low.max(floor * 1e9 / bandwidth).min(high);
        let to = (peak / bandwidth).min(high);
        let place = |x: f64| frame.point(x, x * bandwidth * 1e-9);
        scene.line(place(from), place(to), Stroke::new(BLUE, 2.4));
        let at = place((from * to).sqrt());
        let label = format!("{} GB/s", short(bandwidth * 1e-9));
        let style = TextStyle::new(14.0, BLUE).anchored(Anchor::End);
        scene.text((at.0 - 8.0, at.1 - 10.0), &label, style);
    }

    fn draw_ceilings(&self, scene: &mut Scene, frame: &Frame, peak: f64) {
        let Some(bandwidth) = self.bandwidth else {
            return;
        };
        let (low, end) = frame.x.bounds();
        let mut taken: Vec<f64> = Vec::new();
        for (name, rate) in self.ceilings.iter().filter(|(_, rate)| *rate > 0.0) {
            let start = (rate / bandwidth).clamp(low, end);
            let line = Stroke::new(BLUE, 2.4);
            let line = if *rate < peak {
                line.dashed(7.0, 5.0)
            } else {
                line
            };
            let (from, to) = (
                frame.point(start, rate * 1e-9),
                frame.point(end, rate * 1e-9),
            );
            scene.line(from, to, line);
            // Labels of close ceilings would cover each other: the later one goes below its line.
            let is_free = |y: f64| taken.iter().all(|other| (other - y).abs() > 15.0);
            let y = [from.1 - 11.0, from.1 + 11.0, from.1 - 26.0, from.1 + 26.0]
                .into_iter()
                .find(|y| is_free(*y))
                .unwrap_or(from.1 - 11.0);
            taken.push(y);
            let label = format!("{name}: {} GFLOP/s", short(rate * 1e-9));
            let style = TextStyle::new(14.0, BLUE).anchored(Anchor::End);
            scene.text((frame.right - 4.0, y), &label, style);
        }
    }

    fn draw_points(&self, scene: &mut Scene, frame: &Frame) {
        let colors = [RED, ORANGE, GREEN];
        let mut taken: Vec<f64> = Vec::new();
        let drawn = self.points.iter().filter(|(_, x, y)| *x > 0.0 && *y > 0.0);
        for (index, (name, x, y)) in drawn.enumerate() {
            let color = colors[index % colors.len()];
            let at = frame.point(*x, y * 1e-9);
            scene.line(
                (at.0, at.1),
                (at.0, frame.bottom),
                Stroke::new(color, 1.0).dashed(2.0, 4.0),
            );
            scene.circle(at, 6.0, color, super::PAPER);
            let label = format!("{name}: {} GFLOP/s", short(y * 1e-9));
            let fits = at.0 + 12.0 + text_width(&label, 14.0, true) < frame.right;
            let (offset, anchor) = if fits {
                (12.0, Anchor::Start)
            } else {
                (-12.0, Anchor::End)
            };
            let is_free = |y: f64| taken.iter().all(|other| (other - y).abs() > 15.0);
            let y = [at.1, at.1 + 16.0, at.1 - 16.0, at.1 + 32.0]
                .into_iter()
                .find(|y| is_free(*y))
                .unwrap_or(at.1);
            taken.push(y);
            let style = TextStyle::new(14.0, color).bold().anchored(anchor);
            scene.text((at.0 + offset, y), &label, style);
        }
    }
}

impl Figure for RooflinePlot {
    fn scene(&self) -> Result<Scene> {
        let frame = self.frame()?;
        let rates = self.ceilings.iter().map(|(_, rate)| *rate);
        let peak = rates.max_by(f64::total_cmp).unwrap_or(0.0);
        let description = format!("Roofline of {}", self.title);
        let mut scene = Scene::new(WIDTH, HEIGHT, &description);
        let title = format!("{}: roofline", self.title);
        scene.text((24.0, 32.0), &title, TextStyle::new(20.0, INK).bold());
        frame.grid(&mut scene, true);
        self.draw_slope(&mut scene, &frame, peak);
        self.draw_ceilings(&mut scene, &frame, peak);
        self.draw_points(&mut scene, &frame);
        let label = TextStyle::new(15.0, INK);
        let below = ((frame.left + frame.right) / 2.0, f64::from(HEIGHT) - 20.0);
        let x = "counted operations for each byte that must move (log scale)";
        scene.text(below, x, label.anchored(Anchor::Middle));
        scene.text((24.0, 56.0), "GFLOP/s (log scale)", label);
        let remark = TextStyle::new(14.0, MUTED).anchored(Anchor::End);
        scene.text(
            (frame.right, 56.0),
            "roofs measured on this machine",
            remark,
        );
        Ok(scene)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot() -> RooflinePlot {
        RooflinePlot {
            title: "m3".into(),
            bandwidth: Some(30e9),
            ceilings: vec![
                ("products f32".into(), 200e9),
                ("products f16".into(), 190e9),
            ],
            points: vec![
                ("train step".into(), 4.0, 8e9),
                ("forward".into(), 3.0, 9e9),
            ],
        }
    }

    #[test]
    fn roofs_and_points_are_named_with_their_values() {
        let svg = plot().svg().unwrap();
        for words in [
            "30 GB/s",
            "products f32: 200 GFLOP/s",
            "train step: 8 GFLOP/s",
        ] {
            assert!(svg.contains(words), "no `{words}`");
        }
    }

    #[test]
    fn without_a_roof_or_a_point_there_is_no_plot() {
        for broken in [
            RooflinePlot {
                bandwidth: None,
                ..plot()
            },
            RooflinePlot {
                ceilings: vec![],
                ..plot()
            },
            RooflinePlot {
                points: vec![("x".into(), 0.0, 1.0)],
                ..plot()
            },
        ] {
            assert!(matches!(broken.scene(), Err(Error::NothingToDraw { .. })));
        }
    }
}

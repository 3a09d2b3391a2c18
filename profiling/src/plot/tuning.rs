//! Throughput and time to a given number of samples over the batch size.

use super::axis::{Axis, Frame, legend, short};
use super::scene::{Anchor, Point, Scene, Stroke, TextStyle, text_width};
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
        let rates = || points().map(|p| p.1);
        // Room above the highest rate, where its name stands best.
        let (least, most) = (
            rates().fold(f64::INFINITY, f64::min),
            rates().fold(0.0, f64::max),
        );
        let room = most * (most / least).powf(0.12);
        let upper = Axis::over(rates().chain([room]), AxisScale::Log).ok_or_else(nothing)?;
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
            let points = sorted(points);
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
            let style = TextStyle::new(14.0, GREEN).bold();
            let width = text_width(&label, style.size, true);
            let curves: Vec<Vec<Point>> = self.curves.iter().map(|c| drawn(&rates, &c.1)).collect();
            let place = free_place(&rates, at, width, &curves);
            if place.is_crowded {
                let (left, y) = place.at;
                let corner = (left + width, y + HALF_LINE);
                scene.rectangle((left, y - HALF_LINE), corner, super::PAPER);
            }
            scene.text(place.at, &label, style);
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

fn sorted(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut points = points.to_vec();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// The corners of a curve in pixels.
fn drawn(frame: &Frame, points: &[(f64, f64)]) -> Vec<Point> {
    let is_drawn = |(batch, rate): &(f64, f64)| *batch > 0.0 && *rate > 0.0;
    let points = sorted(points).into_iter().filter(is_drawn);
    points
        .map(|(batch, rate)| frame.point(batch, rate))
        .collect()
}

/// Half the height that a label takes.
const HALF_LINE: f64 = 10.0;

/// Where a label begins.
struct Place {
    at: Point,
    /// Whether a curve runs through it.
    is_crowded: bool,
}

/// The nearest place beside a point where a label of this width crosses no curve; the first one where there is none.
fn free_place(frame: &Frame, at: Point, width: f64, curves: &[Vec<Point>]) -> Place {
    const GAP: f64 = 12.0;
    let left_of = at.0 - GAP - width;
    let rows = (1..12).flat_map(|row| [f64::from(row) * 18.0, f64::from(row) * -18.0]);
    let beside = |dy: f64| [at.0 + GAP, left_of, at.0 - width / 2.0].map(|left| (left, at.1 + dy));
    let fits = |&(left, y): &Point| {
        let (right, top, bottom) = (left + width, y - HALF_LINE, y + HALF_LINE);
        left > frame.left && right < frame.right && top > frame.top && bottom < frame.bottom
    };
    let is_free = |&(left, y): &Point| {
        !curves
            .iter()
            .flat_map(|curve| curve.windows(2))
            .any(|ends| {
                let length = (ends[1].0 - ends[0].0).hypot(ends[1].1 - ends[0].1);
                let steps = length.ceil().max(1.0) as u32;
                (0..=steps).any(|step| {
                    let share = f64::from(step) / f64::from(steps);
                    let x = ends[0].0 + share * (ends[1].0 - ends[0].0);
                    let found = ends[0].1 + share * (ends[1].1 - ends[0].1);
                    (left - 5.0..left + width + 5.0).contains(&x) && (found - y).abs() < HALF_LINE
                })
            })
    };
    let places: Vec<Point> = rows.flat_map(beside).filter(fits).collect();
    match places.iter().find(|place| is_free(place)) {
        Some(&at) => Place {
            at,
            is_crowded: false,
        },
        None => Place {
            at: places.first().copied().unwrap_or((left_of.max(0.0), at.1)),
            is_crowded: true,
        },
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

    #[test]
    fn the_choice_is_named_where_no_curve_runs() {
        // The choice in the middle of a curve that rises steeply and another that falls.
        let rising: Vec<(f64, f64)> = (0..9).map(|n| (2f64.powi(n), 1.9f64.powi(n))).collect();
        let falling: Vec<(f64, f64)> = (0..9).map(|n| (2f64.powi(n), 1.5f64.powi(9 - n))).collect();
        for best in &rising {
            let plot = TuningCurve {
                curves: vec![("a".into(), rising.clone()), ("b".into(), falling.clone())],
                sequences: 100.0,
                best: Some(*best),
                ..TuningCurve::default()
            };
            let [frame, _] = plot.panels().unwrap();
            let curves: Vec<Vec<Point>> = plot.curves.iter().map(|c| drawn(&frame, &c.1)).collect();
            let at = frame.point(best.0, best.1);
            let place = free_place(&frame, at, 240.0, &curves);
            let (left, y) = place.at;
            assert!(!place.is_crowded && left > frame.left && left + 240.0 < frame.right);
            for (x, height) in curves.iter().flatten() {
                let is_inside = (left..left + 240.0).contains(x) && (height - y).abs() < 9.0;
                assert!(!is_inside, "{best:?}: {:?} on ({x}, {height})", place.at);
            }
        }
    }
}

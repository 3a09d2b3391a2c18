//! Axes: range, ticks, labels and the grid of a panel.

use super::scene::{Anchor, Point, Scene, Stroke, TextStyle, text_width};
use super::{AxisScale, GRID, INK, MUTED};

/// Range of one axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    min: f64,
    max: f64,
    log: bool,
    /// Counts, such as epochs, have no ticks between whole numbers.
    whole: bool,
}

impl Axis {
    /// An axis over the finite values, with some air; `None` if there are none.
    pub(super) fn over(values: impl Iterator<Item = f64>, scale: AxisScale) -> Option<Self> {
        let (min, max) = range(values)?;
        let log = match scale {
            AxisScale::Linear => false,
            AxisScale::Log => min > 0.0,
            // A loss that falls by more than a factor of 20 is a straight line at zero otherwise.
            AxisScale::Auto => min > 0.0 && max / min > 20.0,
        };
        let (low, high) = if log {
            (min.log10(), max.log10())
        } else {
            (min, max)
        };
        let air = match high - low {
            span if span > 0.0 => span * 0.06,
            _ if log => 0.5,
            _ => (low.abs() * 0.1).max(0.5),
        };
        let (min, max) = (low - air, high + air);
        Some(if log {
            Self {
                min: 10f64.powf(min),
                max: 10f64.powf(max),
                log,
                whole: false,
            }
        } else {
            Self {
                min,
                max,
                log,
                whole: false,
            }
        })
    }

    /// An axis that ends exactly at the first and the last value.
    pub(super) fn exact(values: impl Iterator<Item = f64>, whole: bool) -> Option<Self> {
        let (min, max) = range(values)?;
        let (min, max) = if max > min {
            (min, max)
        } else {
            (min - 0.5, max + 0.5)
        };
        Some(Self {
            min,
            max,
            log: false,
            whole,
        })
    }

    /// Values at the lower and the upper end.
    pub(super) fn bounds(&self) -> (f64, f64) {
        (self.min, self.max)
    }

    pub(super) fn is_log(&self) -> bool {
        self.log
    }

    /// Place of a value between 0 at the lower end and 1 at the upper.
    pub(super) fn place(&self, value: f64) -> f64 {
        if self.log {
            (value / self.min).log10() / (self.max / self.min).log10()
        } else {
            (value - self.min) / (self.max - self.min)
        }
    }

    fn ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        if self.log {
            self.log_ticks(wanted)
        } else {
            self.linear_ticks(wanted)
        }
    }

    fn linear_ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        let mut step = round_step((self.max - self.min) / wanted as f64);
        if self.whole {
            step = step.max(1.0);
        }
        let (first, last) = (
            (self.min / step).ceil() as i64,
            (self.max / step).floor() as i64,
        );
        let largest = self.min.abs().max(self.max.abs());
        let label = |value: f64| {
            if largest >= 1e6 || step < 1e-4 {
                return scientific(value);
            }
            let digits = (-step.log10().floor()).max(0.0) as usize;
            // Minus zero would print its sign.
            minus(format!("{:.digits$}", value + 0.0))
        };
        (first..=last)
            .map(|n| n as f64 * step)
            .map(|value| (value, label(value)))
            .collect()
    }

    fn log_ticks(&self, wanted: usize) -> Vec<(f64, String)> {
        let (low, high) = (
            self.min.log10().floor() as i32,
            self.max.log10().ceil() as i32,
        );
        let decades = (self.max / self.min).log10();
        let stride = ((decades / wanted as f64).ceil() as usize).max(1);
        let multiples: &[f64] = match decades {
            d if d < 1.2 => &[1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0],
            d if d < 3.0 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let inside = |value: &f64| (self.min..=self.max).contains(value);
        let values = (low..=high)
            .step_by(stride)
            .flat_map(|exponent| multiples.iter().map(move |m| m * 10f64.powi(exponent)));
        values
            .filter(inside)
            .map(|value| (value, short(value)))
            .collect()
    }
}

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|v| v.is_finite()).fold(None, |range, v| {
        Some(range.map_or((v, v), |(min, max): (f64, f64)| (min.min(v), max.max(v))))
    })
}

/// The next larger of 1, 2, 2.5 and 5 times a power of ten.
fn round_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let factors = [1.0, 2.0, 2.5, 5.0];
    power
        * factors
            .into_iter()
            .find(|f| f * power >= rough * 0.999)
            .unwrap_or(10.0)
}

/// A value with three or four figures, for labels in the text of a figure.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    if size > 0.0 && !(1e-3..1e5).contains(&size) {
        return scientific(value);
    }
    let digits = match size {
        s if s >= 100.0 => 1,
        s if s >= 1.0 => 3,
        s if s >= 0.1 => 4,
        _ => 5,
    };
    let text = format!("{value:.digits$}");
    minus(text.trim_end_matches('0').trim_end_matches('.').to_owned())
}

fn scientific(value: f64) -> String {
    if value.abs() <= 0.0 {
        return "0".to_owned();
    }
    let text = format!("{value:.2e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    let raised: String = exponent.chars().map(superscript).collect();
    let text = if mantissa == "1" {
        format!("10{raised}")
    } else {
        format!("{mantissa}·10{raised}")
    };
    minus(text)
}

fn superscript(c: char) -> char {
    const DIGITS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];
    match c.to_digit(10) {
        Some(n) => DIGITS[n as usize],
        None => '⁻',
    }
}

fn minus(text: String) -> String {
    text.replace('-', "−")
}

/// A rectangle of the figure with an axis on two sides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
    pub(super) x: Axis,
    pub(super) y: Axis,
}

impl Frame {
    pub(super) fn point(&self, x: f64, y: f64) -> Point {
        (
            self.x_pixel(x),
            self.bottom - self.y.place(y) * (self.bottom - self.top),
        )
    }

    pub(super) fn x_pixel(&self, x: f64) -> f64 {
        self.left + self.x.place(x) * (self.right - self.left)
    }

    /// Draws grid lines and the labels of the y axis, and those of the x axis if asked.
    pub(super) fn grid(&self, scene: &mut Scene, x_labels: bool) {
        let line = Stroke::new(GRID, 1.0);
        let small = TextStyle::new(14.0, MUTED);
        let rows = (((self.bottom - self.top) / 50.0) as usize).clamp(4, 7);
        for (value, label) in self.y.ticks(rows) {
            let (_, y) = self.point(self.x.min, value);
            scene.line((self.left, y), (self.right, y), line);
            scene.text((self.left - 8.0, y), &label, small.anchored(Anchor::End));
        }
        for (value, label) in self.x.ticks(8) {
            let x = self.x_pixel(value);
            scene.line(
                (x, self.bottom),
                (x, self.bottom + 4.0),
                Stroke::new(MUTED, 1.0),
            );
            if x_labels {
                let at = (x, self.bottom + 15.0);
                scene.text(at, &label, small.anchored(Anchor::Middle));
            }
        }
        scene.line(
            (self.left, self.bottom),
            (self.right, self.bottom),
            Stroke::new(MUTED, 1.2),
        );
    }

    /// Draws lines through the finite points, with a gap where a value is not finite.
    pub(super) fn curve(&self, scene: &mut Scene, points: &[(f64, f64)], stroke: Stroke) {
        let drawable = |y: f64| y.is_finite() && (!self.y.is_log() || y > 0.0);
        for run in points.split(|&(x, y)| !x.is_finite() || !drawable(y)) {
            let run: Vec<Point> = run.iter().map(|&(x, y)| self.point(x, y)).collect();
            match run.as_slice() {
                [] => {}
                [only] => scene.circle(*only, stroke.width * 1.6, stroke.color, stroke.color),
                _ => scene.polyline(run, stroke),
            }
        }
    }
}

/// Draws sample lines with their names from right to left, ending at `at`.
pub(super) fn legend(scene: &mut Scene, at: Point, entries: &[(&str, Stroke)]) {
    let style = TextStyle::new(15.0, INK);
    let (mut x, y) = at;
    for (name, stroke) in entries.iter().rev() {
        x -= text_width(name, style.size, false);
        scene.text((x, y), name, style);
        scene.line((x - 32.0, y), (x - 8.0, y), *stroke);
        x -= 50.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: Axis) -> Vec<String> {
        axis.ticks(6).into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_numbers() {
        let axis = Axis {
            min: -1.05,
            max: 1.05,
            log: false,
            whole: false,
        };
        assert_eq!(labels(axis), ["−1.0", "−0.5", "0.0", "0.5", "1.0"]);
        let epochs = Axis::exact([1.0, 4.0].into_iter(), true).unwrap();
        assert_eq!(labels(epochs), ["1", "2", "3", "4"]);
    }

    #[test]
    fn a_wide_positive_range_becomes_logarithmic() {
        let wide = Axis::over([0.001, 1.0].into_iter(), AxisScale::Auto).unwrap();
        assert!(wide.is_log());
        assert!(
            labels(wide).contains(&"0.01".to_owned()),
            "{:?}",
            labels(wide)
        );
        assert!(
            !Axis::over([0.5, 1.0].into_iter(), AxisScale::Auto)
                .unwrap()
                .is_log()
        );
        assert!(
            !Axis::over([-1.0, 1e6].into_iter(), AxisScale::Log)
                .unwrap()
                .is_log()
        );
    }

    #[test]
    fn flat_and_empty_data_have_a_range_or_none() {
        let flat = Axis::over([2.0, 2.0].into_iter(), AxisScale::Auto).unwrap();
        assert!(flat.place(2.0) > 0.4 && flat.place(2.0) < 0.6);
        assert_eq!(Axis::over([f64::NAN].into_iter(), AxisScale::Auto), None);
        assert_eq!(Axis::exact(std::iter::empty(), true), None);
    }

    #[test]
    fn labels_are_short_and_exact() {
        for (value, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (0.012_34, "0.01234"),
            (2.308, "2.308"),
            (62.7, "62.7"),
            (3.1e-5, "3.1·10⁻⁵"),
            (1e6, "10⁶"),
            (-1.5, "−1.5"),
        ] {
            assert_eq!(short(value), text);
        }
    }
}

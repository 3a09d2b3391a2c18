//! How often each duration of some repeated work occurred.

use super::axis::{Axis, Frame, short};
use super::scene::{Anchor, Scene, Stroke, TextStyle};
use super::{BLUE, Color, Figure, GREEN, INK, MUTED, ORANGE};
use crate::profile::statistics::{Spread, spread};
use crate::{Error, Result};

const WIDTH: u32 = 900;
const HEIGHT: u32 = 420;
/// Bars at least and at most.
const BARS: (usize, usize) = (8, 60);

/// A histogram of durations with median and 95th percentile.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// Heading.
    pub title: String,
    /// Durations in seconds.
    pub seconds: Vec<f64>,
}

impl Histogram {
    /// The histogram of repeated work called `name`.
    #[must_use]
    pub fn of_times(name: &str, seconds: &[f64]) -> Self {
        Self {
            title: name.to_owned(),
            seconds: seconds.iter().copied().filter(|s| s.is_finite()).collect(),
        }
    }

    /// Bars of equal width from the shortest duration to one that hardly any exceeds, in units of `scale`, and how many
    /// lie beyond.
    fn bars(&self, found: &Spread, scale: f64) -> (Vec<(f64, f64, usize)>, usize) {
        let mut sorted: Vec<f64> = self.seconds.iter().map(|s| s * scale).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let last = sorted.len() - 1;
        // A single slow repetition would squeeze all others into one bar.
        let end = sorted[last * 99 / 100]
            .max(found.p95 * scale)
            .min(found.median * scale * 3.0)
            .max(found.p95 * scale);
        let start = found.min * scale;
        let quartiles = sorted[last * 3 / 4] - sorted[last / 4];
        // Freedman and Diaconis 1981.
        let width = 2.0 * quartiles / (sorted.len() as f64).cbrt();
        let span = if end > start {
            end - start
        } else {
            start.abs().max(1e-12) * 0.1
        };
        let count = if width > 0.0 {
            (span / width).ceil() as usize
        } else {
            BARS.0
        };
        let count = count.clamp(BARS.0, BARS.1);
        let step = span / count as f64;
        let mut bars: Vec<(f64, f64, usize)> = (0..count)
            .map(|i| (start + i as f64 * step, start + (i + 1) as f64 * step, 0))
            .collect();
        let mut beyond = 0;
        for value in &sorted {
            let place = ((value - start) / step).floor() as usize;
            match place {
                place if place < count => bars[place].2 += 1,
                _ if *value <= start + span * (1.0 + 1e-9) => bars[count - 1].2 += 1,
                _ => beyond += 1,
            }
        }
        (bars, beyond)
    }
}

impl Figure for Histogram {
    fn scene(&self) -> Result<Scene> {
        let nothing = || Error::NothingToDraw {
            figure: "histogram",
            missing: "there are fewer than five repetitions",
        };
        let found = spread(&self.seconds)
            .filter(|s| s.count >= 5)
            .ok_or_else(nothing)?;
        let (scale, unit) = match found.median {
            m if m >= 1.0 => (1.0, "s"),
            m if m >= 1e-3 => (1e3, "ms"),
            _ => (1e6, "µs"),
        };
        let (bars, beyond) = self.bars(&found, scale);
        let ends = bars.iter().flat_map(|(from, to, _)| [*from, *to]);
        let tallest = bars.iter().map(|bar| bar.2).max().unwrap_or(1);
        let frame = Frame {
            left: 92.0,
            top: 76.0,
            right: f64::from(WIDTH) - 28.0,
            bottom: f64::from(HEIGHT) - 62.0,
            x: Axis::exact(ends, false).ok_or_else(nothing)?,
            y: Axis::exact([0.0, tallest as f64 * 1.25].into_iter(), true).ok_or_else(nothing)?,
        };
        let description = format!("Histogram of the durations of {}", self.title);
        let mut scene = Scene::new(WIDTH, HEIGHT, &description);
        let title = format!("{}: {} repetitions", self.title, found.count);
        scene.text((24.0, 32.0), &title, TextStyle::new(20.0, INK).bold());
        frame.grid(&mut scene, true);
        for (from, to, count) in &bars {
            let (left, top) = frame.point(*from, *count as f64);
            let (right, bottom) = frame.point(*to, 0.0);
            if *count > 0 {
                scene.rectangle((left + 0.5, top), (right - 0.5, bottom), BLUE);
            }
        }
        let mut mark = |value: f64, name: &str, color: Color, row: f64| {
            let (low, high) = frame.x.bounds();
            if !(low..=high).contains(&value) {
                return;
            }
            let x = frame.x_pixel(value);
            scene.line(
                (x, frame.top),
                (x, frame.bottom),
                Stroke::new(color, 1.6).dashed(5.0, 4.0),
            );
            let is_left = x > (frame.left + frame.right) / 2.0;
            let (offset, anchor) = if is_left {
                (-6.0, Anchor::End)
            } else {
                (6.0, Anchor::Start)
            };
            let style = TextStyle::new(14.0, color).bold().anchored(anchor);
            let label = format!("{name} {} {unit}", short(value));
            scene.text((x + offset, frame.top + row), &label, style);
        };
        mark(found.median * scale, "median", GREEN, 8.0);
        mark(found.p95 * scale, "p95", ORANGE, 26.0);
        let label = TextStyle::new(15.0, INK);
        let below = ((frame.left + frame.right) / 2.0, f64::from(HEIGHT) - 20.0);
        scene.text(
            below,
            &format!("duration in {unit}"),
            label.anchored(Anchor::Middle),
        );
        scene.text((24.0, 56.0), "repetitions", label);
        if beyond > 0 {
            let remark = TextStyle::new(14.0, MUTED).anchored(Anchor::End);
            scene.text(
                (frame.right, 56.0),
                &format!("{beyond} longer ones beyond the right edge"),
                remark,
            );
        }
        Ok(scene)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_repetition_is_in_a_bar_or_counted_as_beyond() {
        let mut seconds: Vec<f64> = (0..500)
            .map(|i| 1e-3 * (1.0 + 0.1 * (f64::from(i) * 0.7).sin()))
            .collect();
        seconds.extend([0.5, 1.0]);
        let plot = Histogram::of_times("train step", &seconds);
        let (bars, beyond) = plot.bars(&spread(&seconds).unwrap(), 1e3);
        assert_eq!(bars.iter().map(|bar| bar.2).sum::<usize>() + beyond, 502);
        assert!(
            beyond >= 2 && bars.len() >= BARS.0,
            "{beyond} {}",
            bars.len()
        );
        let svg = plot.svg().unwrap();
        assert!(svg.contains("502 repetitions") && svg.contains("beyond the right edge"));
        assert!(svg.contains("median 1") && svg.contains("duration in ms"));
    }

    #[test]
    fn equal_durations_and_too_few_of_them() {
        assert!(Histogram::of_times("x", &[2e-6; 50]).svg().is_ok());
        assert!(Histogram::of_times("x", &[0.0; 50]).svg().is_ok());
        assert!(
            Histogram::of_times("x", &[1.0, f64::NAN, 1.0, 1.0, 1.0])
                .svg()
                .is_err()
        );
    }
}

//! Counters over time: one panel for each unit, above each other with one time axis.

use super::axis::{Axis, Frame};
use super::scene::{Anchor, Scene, Stroke, TextStyle, fitted, text_width};
use super::{AxisScale, BLUE, Color, Figure, GREEN, INK, MUTED, ORANGE, RED};
use crate::{Error, Result, Unit};

const WIDTH: u32 = 900;
const PANEL: f64 = 170.0;
const COLORS: [Color; 6] = [BLUE, RED, GREEN, ORANGE, MUTED, INK];

/// Lines over time in panels; a panel without a line is left out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Timeline {
    /// Heading.
    pub title: String,
    panels: Vec<Panel>,
}

#[derive(Debug, Clone, PartialEq)]
struct Panel {
    label: String,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq)]
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

impl Timeline {
    /// An empty timeline.
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            panels: Vec::new(),
        }
    }

    /// Adds a panel of lines, each with its name, times in seconds and values in `unit`.
    pub fn add_panel(&mut self, caption: &str, unit: Unit, lines: &[(&str, &[f64], &[f64])]) {
        let largest = lines
            .iter()
            .flat_map(|(_, _, values)| values.iter().map(|v| v.abs()))
            .filter(|v| v.is_finite())
            .fold(0.0, f64::max);
        let (scale, symbol) = scale(unit, largest);
        let lines: Vec<Line> = lines
            .iter()
            .map(|(name, times, values)| Line {
                name: (*name).to_owned(),
                points: times
                    .iter()
                    .zip(*values)
                    .map(|(t, v)| (*t, v * scale))
                    .filter(|(t, v)| t.is_finite() && v.is_finite())
                    .collect(),
            })
            .filter(|line| !line.points.is_empty())
            .collect();
        if !lines.is_empty() {
            let label = if symbol.is_empty() {
                caption.to_owned()
            } else {
                format!("{caption} in {symbol}")
            };
            self.panels.push(Panel { label, lines });
        }
    }
}

/// Factor and symbol that make numbers short.
fn scale(unit: Unit, largest: f64) -> (f64, &'static str) {
    match unit {
        Unit::Watts => (1.0, "W"),
        Unit::Hertz => (1e-6, "MHz"),
        Unit::Ratio => (100.0, "%"),
        Unit::Celsius => (1.0, "°C"),
        Unit::Bytes if largest >= 1e9 => (1e-9, "GB"),
        Unit::Bytes => (1e-6, "MB"),
        Unit::BytesPerSecond => (1e-9, "GB/s"),
        Unit::FlopPerSecond => (1e-9, "GFLOP/s"),
        Unit::Seconds => (1.0, "s"),
        Unit::PerSecond => (1.0, "1/s"),
        Unit::Count => (1.0, ""),
    }
}

impl Figure for Timeline {
    fn scene(&self) -> Result<Scene> {
        let nothing = || Error::NothingToDraw {
            figure: "timeline",
            missing: "no counter was read at least once",
        };
        let times = || {
            let lines = self.panels.iter().flat_map(|panel| &panel.lines);
            lines.flat_map(|line| line.points.iter().map(|p| p.0))
        };
        let x = Axis::exact(times().chain([0.0]), false).ok_or_else(nothing)?;
        times().next().ok_or_else(nothing)?;
        let height = 76.0 + PANEL * self.panels.len() as f64 + 46.0;
        let mut scene = Scene::new(WIDTH, height as u32, &format!("Timeline: {}", self.title));
        scene.text((24.0, 32.0), &self.title, TextStyle::new(20.0, INK).bold());
        let mut top = 76.0;
        let mut last = None;
        for (index, panel) in self.panels.iter().enumerate() {
            let values = panel
                .lines
                .iter()
                .flat_map(|line| line.points.iter().map(|p| p.1));
            // From zero, so that heights compare; negative temperatures still fit.
            let y = Axis::over(values.chain([0.0]), AxisScale::Linear).ok_or_else(nothing)?;
            let frame = Frame {
                left: 92.0,
                top,
                right: f64::from(WIDTH) - 28.0,
                bottom: top + PANEL - 46.0,
                x,
                y,
            };
            frame.grid(&mut scene, index + 1 == self.panels.len());
            for (line, color) in panel.lines.iter().zip(COLORS.iter().cycle()) {
                frame.curve(&mut scene, &line.points, Stroke::new(*color, 2.0));
            }
            scene.text((24.0, top - 16.0), &panel.label, TextStyle::new(15.0, INK));
            names(&mut scene, &frame, &panel.lines);
            last = Some(frame);
            top += PANEL;
        }
        if let Some(frame) = last {
            let below = ((frame.left + frame.right) / 2.0, height - 18.0);
            let label = TextStyle::new(15.0, INK).anchored(Anchor::Middle);
            scene.text(below, "seconds since the start", label);
        }
        Ok(scene)
    }
}

/// Names of the lines from right to left above the panel, as many as there is room for.
fn names(scene: &mut Scene, frame: &Frame, lines: &[Line]) {
    let mut x = frame.right;
    for (index, line) in lines.iter().enumerate().rev() {
        let color = COLORS[index % COLORS.len()];
        let name = fitted(&line.name, 14.0, 200.0);
        x -= text_width(&name, 14.0, false);
        if x < frame.left + 170.0 {
            break;
        }
        let y = frame.top - 16.0;
        scene.text((x, y), &name, TextStyle::new(14.0, INK));
        scene.line((x - 26.0, y), (x - 6.0, y), Stroke::new(color, 2.4));
        x -= 40.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_have_their_unit_and_their_lines() {
        let mut plot = Timeline::new("meanwhile");
        let times = [0.0, 1.0, 2.0];
        plot.add_panel(
            "power",
            Unit::Watts,
            &[("gpu.power", &times, &[1.0, 20.0, 21.0])],
        );
        plot.add_panel("clock", Unit::Hertz, &[]);
        plot.add_panel(
            "memory",
            Unit::Bytes,
            &[("memory.used", &times, &[8e9, f64::NAN, 9e9])],
        );
        assert_eq!(plot.panels.len(), 2);
        let svg = plot.svg().unwrap();
        for words in [
            "power in W",
            "memory in GB",
            "gpu.power",
            "seconds since the start",
        ] {
            assert!(svg.contains(words), "no `{words}`");
        }
        assert!(!svg.contains("clock"));
    }

    #[test]
    fn nothing_read_is_nothing_drawn() {
        let mut plot = Timeline::new("x");
        assert!(plot.scene().is_err());
        plot.add_panel("power", Unit::Watts, &[("a", &[0.0], &[f64::NAN])]);
        assert!(matches!(plot.scene(), Err(Error::NothingToDraw { .. })));
        plot.add_panel("power", Unit::Watts, &[("a", &[0.0], &[3.0])]);
        assert!(plot.svg().is_ok());
    }
}

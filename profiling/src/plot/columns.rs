//! Columns of data over time, one panel a column; gaps stay gaps.

use super::axis::{Axis, Frame};
use super::predictions::thinned;
use super::scene::{Anchor, Scene, Stroke, TextStyle};
use super::{AxisScale, BLUE, Figure, INK, MUTED};
use crate::{Error, Result};

const WIDTH: u32 = 900;
const HEADER: f64 = 56.0;
const FOOTER: f64 = 58.0;
/// More panels would not fit on a page; the first ones are drawn and the rest is counted.
const MOST_PANELS: usize = 8;

/// Columns of a table over time.
#[derive(Debug, Clone, PartialEq)]
pub struct Columns {
    /// What is shown.
    pub title: String,
    /// Name and unit of the x axis.
    pub x_label: String,
    /// Times or rows, in order.
    pub x: Vec<f64>,
    /// Name and values of each column, NaN where there is none; the first eight are drawn.
    pub columns: Vec<(String, Vec<f64>)>,
}

impl Figure for Columns {
    fn scene(&self) -> Result<Scene> {
        let nothing = |missing| Error::NothingToDraw {
            figure: "data",
            missing,
        };
        for (name, values) in &self.columns {
            if values.len() != self.x.len() {
                return Err(Error::LengthMismatch {
                    column: name.clone(),
                    found: values.len(),
                    expected: self.x.len(),
                });
            }
        }
        let has_number =
            |(_, values): &&(String, Vec<f64>)| values.iter().any(|value| value.is_finite());
        let drawn: Vec<_> = self.columns.iter().filter(has_number).collect();
        let shown = &drawn[..drawn.len().min(MOST_PANELS)];
        let x = Axis::exact(self.x.iter().copied(), false)
            .ok_or_else(|| nothing("the x axis has no finite value"))?;
        if shown.is_empty() {
            return Err(nothing("no column holds a number"));
        }
        let height = 480.0 / shown.len() as f64 + 60.0;
        let total = HEADER + height * shown.len() as f64 + FOOTER;
        let mut scene = Scene::new(WIDTH, total.ceil() as u32, &self.title);
        scene.text((24.0, 32.0), &self.title, TextStyle::new(20.0, INK).bold());
        for (n, (name, values)) in shown.iter().enumerate() {
            let y = Axis::over(
                values.iter().copied().filter(|value| value.is_finite()),
                AxisScale::Linear,
            );
            let frame = Frame {
                left: 92.0,
                top: HEADER + height * n as f64 + 24.0,
                right: f64::from(WIDTH) - 28.0,
                bottom: HEADER + height * (n + 1) as f64 - 14.0,
                x,
                y: y.ok_or_else(|| nothing("a column has no finite value"))?,
            };
            frame.grid(&mut scene, n + 1 == shown.len());
            scene.text(
                (frame.left, frame.top - 9.0),
                name,
                TextStyle::new(14.0, INK).bold(),
            );
            for run in runs(&self.x, values) {
                match run.as_slice() {
                    // A value between two gaps is a point; a line of no length would not be seen.
                    [(at, value)] => scene.circle(frame.point(*at, *value), 1.5, BLUE, BLUE),
                    points => frame.curve(&mut scene, &thinned(points), Stroke::new(BLUE, 1.5)),
                }
            }
        }
        let label = TextStyle::new(15.0, INK).anchored(Anchor::Middle);
        scene.text((488.0, total - 20.0), &self.x_label, label);
        let more = drawn.len() - shown.len();
        if more > 0 {
            let style = TextStyle::new(14.0, MUTED).anchored(Anchor::End);
            let at = (f64::from(WIDTH) - 28.0, total - 20.0);
            scene.text(at, &format!("{more} more columns are not drawn"), style);
        }
        Ok(scene)
    }
}

/// Stretches without a gap.
fn runs(x: &[f64], values: &[f64]) -> Vec<Vec<(f64, f64)>> {
    let points: Vec<(f64, f64)> = x.iter().copied().zip(values.iter().copied()).collect();
    points
        .split(|(_, value)| !value.is_finite())
        .filter(|run| !run.is_empty())
        .map(<[(f64, f64)]>::to_vec)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(values: Vec<f64>) -> Columns {
        Columns {
            title: "file.csv".to_owned(),
            x_label: "row".to_owned(),
            x: (0..values.len()).map(|row| row as f64).collect(),
            columns: vec![("a".to_owned(), values)],
        }
    }

    #[test]
    fn gaps_split_a_line_and_lone_values_are_points() {
        let circles = |values: &[f64]| {
            let svg = columns(values.to_vec()).svg().unwrap();
            svg.matches("<circle").count()
        };
        let one = circles(&[1.0, 2.0, f64::NAN, 4.0, f64::NAN]);
        assert!(one > 0);
        assert_eq!(circles(&[1.0, f64::NAN, 4.0]), 2 * one);
        assert_eq!(circles(&[1.0, 2.0, 4.0]), 0);
        assert_eq!(runs(&[0.0, 1.0, 2.0], &[1.0, f64::NAN, 3.0]).len(), 2);
    }

    #[test]
    fn a_table_without_numbers_cannot_be_drawn() {
        assert!(columns(vec![f64::NAN]).svg().is_err());
        let mut odd = columns(vec![1.0]);
        odd.x.push(2.0);
        assert!(matches!(odd.svg(), Err(Error::LengthMismatch { .. })));
    }
}

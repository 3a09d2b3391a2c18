//! Figures: learning curves, the wiring, predictions, roofline, histogram, timeline, tuning; as SVG and as PNG from one drawing.
//!
//! A figure is plain data. [`Figure::scene`] lays it out as shapes; both formats draw these shapes.

mod axis;
mod columns;
mod font;
mod histogram;
mod learning;
mod predictions;
pub(crate) mod render;
mod roofline;
mod routes;
pub mod scene;
mod timeline;
mod tuning;
mod wiring;

pub use columns::Columns;
pub use histogram::Histogram;
pub use learning::LearningCurves;
pub use predictions::{PredictionPanel, Predictions};
pub use roofline::RooflinePlot;
pub use timeline::Timeline;
pub use tuning::TuningCurve;
pub use wiring::{Edge, Node, NodeKind, WiringGraph};

use crate::Result;
use scene::{Color, Scene};

/// Anything that can be drawn.
///
/// # Example
/// ```
/// use ncps_profiling::plot::{Figure, LearningCurves};
/// let mut curves = LearningCurves::new("run", "loss");
/// curves.train = vec![(1.0, 0.9), (2.0, 0.4), (3.0, 0.2)];
/// assert!(curves.svg()?.starts_with("<svg"));
/// assert!(curves.png()?.starts_with(b"\x89PNG"));
/// # Ok::<(), ncps_profiling::Error>(())
/// ```
pub trait Figure {
    /// Lays the figure out.
    ///
    /// # Errors
    /// [`crate::Error::NothingToDraw`] and the errors of the figure's own data.
    fn scene(&self) -> Result<Scene>;

    /// The figure as SVG text.
    ///
    /// # Errors
    /// Those of [`Figure::scene`], and [`crate::Error::Drawing`].
    fn svg(&self) -> Result<String> {
        render::svg(&self.scene()?)
    }

    /// The figure as PNG bytes, with two pixels for each of the figure's in both directions.
    ///
    /// # Errors
    /// Those of [`Figure::svg`], and [`crate::Error::Png`].
    fn png(&self) -> Result<Vec<u8>> {
        render::png(&self.scene()?)
    }
}

/// Scale of the y axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AxisScale {
    /// Logarithmic where all values are positive and span more than a factor of 20.
    #[default]
    Auto,
    /// Linear.
    Linear,
    /// Logarithmic if all values are positive, else linear.
    Log,
}

const INK: Color = Color(0x1f, 0x29, 0x33);
const MUTED: Color = Color(0x5f, 0x6b, 0x7a);
const GRID: Color = Color(0xe4, 0xe8, 0xed);
const PAPER: Color = Color(0xff, 0xff, 0xff);
// Blue and orange-red stay apart for the common kinds of colour blindness.
const BLUE: Color = Color(0x21, 0x66, 0xac);
const RED: Color = Color(0xc8, 0x40, 0x2f);
const ORANGE: Color = Color(0xe0, 0x82, 0x14);
const GREEN: Color = Color(0x1b, 0x7f, 0x5c);

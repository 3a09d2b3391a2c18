//! A figure as a list of shapes in pixels, before any file format.

use super::font;

/// Position in pixels from the top left corner.
pub type Point = (f64, f64);

/// Red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Color(pub u8, pub u8, pub u8);

/// Which end of a text stands at its position; vertically a text is centred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// The text begins there.
    Start,
    /// The text is centred there.
    Middle,
    /// The text ends there.
    End,
}

/// How a text looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TextStyle {
    /// Height of a line in pixels; letters are set at 1/1.24 of it.
    pub size: f64,
    /// Colour.
    pub color: Color,
    /// Bold face.
    pub bold: bool,
    /// Horizontal anchor.
    pub anchor: Anchor,
}

impl TextStyle {
    /// Plain text that begins at its position.
    #[must_use]
    pub fn new(size: f64, color: Color) -> Self {
        Self {
            size,
            color,
            bold: false,
            anchor: Anchor::Start,
        }
    }

    /// The same in bold.
    #[must_use]
    pub fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    /// The same with another anchor.
    #[must_use]
    pub fn anchored(self, anchor: Anchor) -> Self {
        Self { anchor, ..self }
    }
}

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stroke {
    /// Colour.
    pub color: Color,
    /// Width in pixels.
    pub width: f64,
    /// Opacity from 0 to 1.
    pub alpha: f64,
    /// Lengths of dash and gap in pixels.
    pub dash: Option<(f64, f64)>,
}

impl Stroke {
    /// A full, opaque line.
    #[must_use]
    pub fn new(color: Color, width: f64) -> Self {
        Self {
            color,
            width,
            alpha: 1.0,
            dash: None,
        }
    }

    /// The same line, dashed.
    #[must_use]
    pub fn dashed(self, dash: f64, gap: f64) -> Self {
        Self {
            dash: Some((dash, gap)),
            ..self
        }
    }

    /// The same line with an opacity.
    #[must_use]
    pub fn faded(self, alpha: f64) -> Self {
        Self { alpha, ..self }
    }
}

/// One thing to draw.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Joined straight lines.
    Polyline {
        /// Corners.
        points: Vec<Point>,
        /// Look.
        stroke: Stroke,
    },
    /// Filled area.
    Polygon {
        /// Corners.
        points: Vec<Point>,
        /// Colour.
        fill: Color,
        /// Opacity from 0 to 1.
        alpha: f64,
    },
    /// Filled disc with a rim.
    Circle {
        /// Centre.
        center: Point,
        /// Radius, rim included.
        radius: f64,
        /// Colour inside.
        fill: Color,
        /// Colour of the rim.
        rim: Color,
        /// Width of the rim.
        rim_width: f64,
    },
    /// One line of text.
    Text {
        /// Where its anchor stands.
        at: Point,
        /// What it says.
        text: String,
        /// Look.
        style: TextStyle,
    },
}

/// A figure, ready for any format.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// What the figure shows, for readers who cannot see it.
    pub description: String,
    /// Shapes, the first at the bottom.
    pub shapes: Vec<Shape>,
}

impl Scene {
    /// An empty white figure.
    #[must_use]
    pub fn new(width: u32, height: u32, description: &str) -> Self {
        Self {
            width,
            height,
            description: description.to_owned(),
            shapes: Vec::new(),
        }
    }

    /// Adds a straight line.
    pub fn line(&mut self, from: Point, to: Point, stroke: Stroke) {
        self.polyline(vec![from, to], stroke);
    }

    /// Adds joined lines; dashes are cut here, so that every format has the same ones.
    pub fn polyline(&mut self, points: Vec<Point>, stroke: Stroke) {
        let Some((dash, gap)) = stroke.dash else {
            self.shapes.push(Shape::Polyline { points, stroke });
            return;
        };
        let solid = Stroke {
            dash: None,
            ..stroke
        };
        let pieces = dashes(&points, dash, gap);
        self.shapes
            .extend(pieces.into_iter().map(|p| Shape::Polyline {
                points: p,
                stroke: solid,
            }));
    }

    /// Adds a filled polygon.
    pub fn polygon(&mut self, points: Vec<Point>, fill: Color, alpha: f64) {
        self.shapes.push(Shape::Polygon {
            points,
            fill,
            alpha,
        });
    }

    /// Adds a filled rectangle.
    pub fn rectangle(&mut self, (left, top): Point, (right, bottom): Point, fill: Color) {
        let corners = vec![(left, top), (right, top), (right, bottom), (left, bottom)];
        self.polygon(corners, fill, 1.0);
    }

    /// Adds a disc with a thin rim.
    pub fn circle(&mut self, center: Point, radius: f64, fill: Color, rim: Color) {
        let rim_width = (radius * 0.16).clamp(0.6, 1.6);
        self.shapes.push(Shape::Circle {
            center,
            radius,
            fill,
            rim,
            rim_width,
        });
    }

    /// Adds a line of text.
    pub fn text(&mut self, at: Point, text: &str, style: TextStyle) {
        self.shapes.push(Shape::Text {
            at,
            text: text.to_owned(),
            style,
        });
    }
}

/// Width in pixels of a text in the bundled font.
#[must_use]
pub fn text_width(text: &str, size: f64, bold: bool) -> f64 {
    font::width(text, size, bold)
}

/// Shortens a text to a width, with an ellipsis.
#[must_use]
pub fn fitted(text: &str, size: f64, width: f64) -> String {
    if text_width(text, size, false) <= width {
        return text.to_owned();
    }
    let mut kept: String = text.to_owned();
    while !kept.is_empty() && text_width(&format!("{kept}…"), size, false) > width {
        kept.pop();
    }
    format!("{}…", kept.trim_end())
}

fn dashes(points: &[Point], dash: f64, gap: f64) -> Vec<Vec<Point>> {
    let mut pieces = Vec::new();
    let mut piece: Vec<Point> = points.first().copied().into_iter().collect();
    let (mut drawing, mut left) = (true, dash);
    for pair in points.windows(2) {
        let (mut from, to) = (pair[0], pair[1]);
        loop {
            let length = (to.0 - from.0).hypot(to.1 - from.1);
            if length <= left {
                left -= length;
                if drawing {
                    piece.push(to);
                }
                break;
            }
            let share = left / length;
            from = (
                from.0 + (to.0 - from.0) * share,
                from.1 + (to.1 - from.1) * share,
            );
            if drawing {
                piece.push(from);
                pieces.push(std::mem::take(&mut piece));
            } else {
                piece = vec![from];
            }
            drawing = !drawing;
            left = if drawing { dash } else { gap };
        }
    }
    if drawing && piece.len() > 1 {
        pieces.push(piece);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_go_on_around_a_corner() {
        let pieces = dashes(&[(0.0, 0.0), (3.0, 0.0), (3.0, 7.0)], 4.0, 2.0);
        let expected = [
            vec![(0.0, 0.0), (3.0, 0.0), (3.0, 1.0)],
            vec![(3.0, 3.0), (3.0, 7.0)],
        ];
        assert_eq!(pieces, expected);
    }

    #[test]
    fn long_names_are_shortened_to_fit() {
        assert_eq!(fitted("light", 14.0, 200.0), "light");
        let short = fitted("humidity ratio of the room", 14.0, 80.0);
        assert!(
            short.ends_with('…') && text_width(&short, 14.0, false) <= 80.0,
            "{short}"
        );
    }
}

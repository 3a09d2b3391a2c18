//! Turns a [`Scene`] into SVG text or PNG bytes with plotters.

use super::font;
use super::scene::{Anchor, Color, Point, Scene, Shape, Stroke, TextStyle};
use crate::{Error, Result};
use plotters::coord::Shift;
use plotters::prelude::{
    BitMapBackend, Circle, Color as _, DrawingArea, DrawingBackend, IntoDrawingArea, PathElement,
    Polygon, RGBColor, SVGBackend, Text, WHITE,
};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontDesc, FontFamily, FontStyle, ShapeStyle};

/// Both backends count in whole pixels: drawing larger keeps curves smooth.
const OVERSAMPLING: u32 = 4;
/// Pixels of the PNG for each pixel of the figure, for screens of high density.
const PNG_DENSITY: u32 = 2;

/// Draws a scene as SVG; text stays text, in the reader's sans-serif font.
pub(super) fn svg(scene: &Scene) -> Result<String> {
    let size = (scene.width * OVERSAMPLING, scene.height * OVERSAMPLING);
    let mut text = String::new();
    draw(
        scene,
        SVGBackend::with_string(&mut text, size).into_drawing_area(),
        Backend::Vector,
    )?;
    let drawn = format!(r#"<svg width="{}" height="{}""#, size.0, size.1);
    let shown = format!(
        r#"<svg role="img" aria-label="{}" width="{}" height="{}""#,
        escaped(&scene.description),
        scene.width,
        scene.height
    );
    Ok(text.replacen(&drawn, &shown, 1))
}

/// Escapes a text for HTML and XML, in content and in attributes.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Control characters are not allowed in XML at all.
            c if c.is_control() && c != '\n' && c != '\t' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Draws a scene as PNG.
pub(super) fn png(scene: &Scene) -> Result<Vec<u8>> {
    let size = (scene.width * OVERSAMPLING, scene.height * OVERSAMPLING);
    let mut pixels = vec![255u8; size.0 as usize * size.1 as usize * 3];
    let backend = BitMapBackend::with_buffer(&mut pixels, size);
    draw(scene, backend.into_drawing_area(), Backend::Bitmap)?;
    let factor = OVERSAMPLING / PNG_DENSITY;
    let (width, height) = (size.0 / factor, size.1 / factor);
    encode(
        &averaged(&pixels, size.0 as usize, factor as usize),
        width,
        height,
    )
}

/// Replaces squares of pixels by their mean, which smooths every edge.
fn averaged(pixels: &[u8], width: usize, factor: usize) -> Vec<u8> {
    let height = pixels.len() / (width * 3);
    let mut out = Vec::with_capacity(pixels.len() / (factor * factor));
    let count = factor * factor;
    for y in (0..height).step_by(factor) {
        for x in (0..width).step_by(factor) {
            for channel in 0..3 {
                let at = |i: usize| ((y + i / factor) * width + x + i % factor) * 3 + channel;
                let sum: usize = (0..count).map(|i| usize::from(pixels[at(i)])).sum();
                out.push(u8::try_from(sum / count).unwrap_or(u8::MAX));
            }
        }
    }
    out
}

fn encode(pixels: &[u8], width: u32, height: u32) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

/// What a backend can do by itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backend {
    /// SVG joins thick lines and leaves letters to the reader's font.
    Vector,
    /// The bitmap backend fills outlines of thick lines, which leaves holes at sharp corners, and
    /// drops the space before each letter: discs cover the corners, and letters are set here.
    Bitmap,
}

fn draw<DB: DrawingBackend>(
    scene: &Scene,
    area: DrawingArea<DB, Shift>,
    backend: Backend,
) -> Result<()> {
    let painter = Painter {
        area: &area,
        backend,
    };
    area.fill(&WHITE).map_err(refused)?;
    for shape in &scene.shapes {
        painter.shape(shape)?;
    }
    area.present().map_err(refused)
}

fn refused(error: impl std::fmt::Display) -> Error {
    Error::Drawing {
        detail: error.to_string(),
    }
}

struct Painter<'a, DB: DrawingBackend> {
    area: &'a DrawingArea<DB, Shift>,
    backend: Backend,
}

impl<DB: DrawingBackend> Painter<'_, DB> {
    fn shape(&self, shape: &Shape) -> Result<()> {
        match shape {
            Shape::Polyline { points, stroke } => self.polyline(points, *stroke),
            Shape::Polygon {
                points,
                fill,
                alpha,
            } => {
                let corners: Vec<_> = points.iter().copied().map(pixel).collect();
                let style = rgb(*fill).mix(*alpha).filled();
                self.area
                    .draw(&Polygon::new(corners, style))
                    .map_err(refused)
            }
            Shape::Circle {
                center,
                radius,
                fill,
                rim,
                rim_width,
            } => {
                self.disc(*center, *radius, rgb(*rim).filled())?;
                self.disc(*center, radius - rim_width, rgb(*fill).filled())
            }
            Shape::Text { at, text, style } => self.text(*at, text, style),
        }
    }

    fn polyline(&self, points: &[Point], stroke: Stroke) -> Result<()> {
        let width = (stroke.width * f64::from(OVERSAMPLING)).round().max(1.0);
        let style = rgb(stroke.color)
            .mix(stroke.alpha)
            .stroke_width(width as u32);
        let mut corners: Vec<_> = points.iter().copied().map(pixel).collect();
        corners.dedup();
        let opaque = stroke.alpha >= 1.0;
        match self.backend {
            Backend::Bitmap if opaque && corners.len() > 2 => self.segments(&corners, width, style),
            _ => self
                .area
                .draw(&PathElement::new(corners, style))
                .map_err(refused),
        }
    }

    fn segments(&self, corners: &[(i32, i32)], width: f64, style: ShapeStyle) -> Result<()> {
        let joint = ShapeStyle {
            filled: true,
            stroke_width: 0,
            ..style
        };
        for (n, pair) in corners.windows(2).enumerate() {
            self.area
                .draw(&PathElement::new(pair.to_vec(), style))
                .map_err(refused)?;
            if n > 0 {
                let radius = (width / 2.0).floor() as i32;
                self.area
                    .draw(&Circle::new(pair[0], radius, joint))
                    .map_err(refused)?;
            }
        }
        Ok(())
    }

    fn disc(&self, center: Point, radius: f64, style: ShapeStyle) -> Result<()> {
        let radius = (radius * f64::from(OVERSAMPLING)).round().max(1.0) as i32;
        self.area
            .draw(&Circle::new(pixel(center), radius, style))
            .map_err(refused)
    }

    fn text(&self, at: Point, text: &str, style: &TextStyle) -> Result<()> {
        let size = style.size * f64::from(OVERSAMPLING);
        if self.backend == Backend::Bitmap {
            return self.letters(at, text, style, size);
        }
        let anchor = match style.anchor {
            Anchor::Start => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::End => HPos::Right,
        };
        let face = if style.bold {
            FontStyle::Bold
        } else {
            FontStyle::Normal
        };
        let color = rgb(style.color);
        let look =
            plotters::style::TextStyle::from(FontDesc::new(FontFamily::SansSerif, size, face))
                .pos(Pos::new(anchor, VPos::Center))
                .color(&color);
        // SVG centres small letters, this crate capitals and digits.
        let at = (at.0, at.1 + 0.08 * style.size / font::LINE);
        self.area
            .draw(&Text::new(text, pixel(at), look))
            .map_err(refused)
    }

    fn letters(&self, at: Point, text: &str, style: &TextStyle, size: f64) -> Result<()> {
        let width = font::width(text, size, style.bold);
        let (x, y) = pixel(at);
        let left = match style.anchor {
            Anchor::Start => x,
            Anchor::Middle => x - (width / 2.0).round() as i32,
            Anchor::End => x - width.round() as i32,
        };
        let color = rgb(style.color);
        font::rasterise(text, size, style.bold, |dx, dy, share| {
            let ink = color.mix(f64::from(share));
            self.area
                .draw_pixel((left + dx, y + dy), &ink)
                .map_err(refused)
        })
    }
}

fn rgb(Color(red, green, blue): Color) -> RGBColor {
    RGBColor(red, green, blue)
}

fn pixel((x, y): Point) -> (i32, i32) {
    let scale = f64::from(OVERSAMPLING);
    ((x * scale).round() as i32, (y * scale).round() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene() -> Scene {
        let mut scene = Scene::new(40, 30, "a <test>");
        scene.rectangle((10.0, 10.0), (20.0, 20.0), Color(255, 0, 0));
        scene.text((2.0, 25.0), "α < β", TextStyle::new(8.0, Color(0, 0, 0)));
        scene
    }

    #[test]
    fn svg_has_the_size_of_the_figure_and_escaped_text() {
        let text = svg(&scene()).unwrap();
        let head = r#"<svg role="img" aria-label="a &lt;test&gt;" width="40" height="30""#;
        assert!(text.starts_with(head), "{text}");
        assert!(text.contains("viewBox=\"0 0 160 120\"") && text.contains("α &lt; β"));
        assert!(text.trim_end().ends_with("</svg>"));
    }

    #[test]
    fn png_has_twice_the_size_and_the_colours_of_the_figure() {
        let bytes = png(&scene()).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes))
            .read_info()
            .unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((frame.width, frame.height), (80, 60));
        let at = |x: usize, y: usize| &pixels[(y * 80 + x) * 3..][..3];
        assert_eq!(at(30, 30), [255, 0, 0]);
        assert_eq!(at(50, 10), [255, 255, 255]);
        assert!(
            pixels.chunks(3).any(|p| p[0] < 80 && p[1] < 80),
            "the text left no mark"
        );
    }

    #[test]
    fn control_characters_do_not_reach_the_file() {
        assert_eq!(escaped("a\u{1}b&c"), "a\u{fffd}b&amp;c");
    }
}

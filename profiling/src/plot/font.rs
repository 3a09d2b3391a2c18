//! The bundled font: how wide a text is, and which pixels it covers.

use ab_glyph::{Font, FontRef, Point, PxScale, ScaleFont};
use std::sync::LazyLock;

/// Line height over letter size, as plotters' SVG backend has it.
pub(super) const LINE: f64 = 1.24;
/// The baseline lies this share of the letter size below the middle of capitals.
const MIDDLE: f32 = 0.36;

#[allow(
    clippy::expect_used,
    reason = "the fonts are part of the program and a test reads them"
)]
static FONTS: LazyLock<[FontRef<'static>; 2]> = LazyLock::new(|| {
    let load = |bytes| FontRef::try_from_slice(bytes).expect("embedded font is readable");
    [
        load(include_bytes!("../../data/fonts/DejaVuSans.subset.ttf").as_slice()),
        load(include_bytes!("../../data/fonts/DejaVuSans-Bold.subset.ttf").as_slice()),
    ]
});

fn font(bold: bool) -> &'static FontRef<'static> {
    &FONTS[usize::from(bold)]
}

/// Scale at which one em is `size / LINE` pixels.
fn scale(font: &FontRef<'_>, size: f64) -> (PxScale, f32) {
    let em = (size / LINE) as f32;
    let height = font.height_unscaled() / font.units_per_em().unwrap_or(1000.0);
    (PxScale::from(em * height), em)
}

/// Width of a text in pixels.
pub(super) fn width(text: &str, size: f64, bold: bool) -> f64 {
    let font = font(bold);
    let scaled = font.as_scaled(scale(font, size).0);
    f64::from(
        text.chars()
            .map(|c| scaled.h_advance(font.glyph_id(c)))
            .sum::<f32>(),
    )
}

/// Calls `cover` with position and share of each pixel that a text covers. The text begins at x = 0
/// and the middle of its capitals is at y = 0.
pub(super) fn rasterise(
    text: &str,
    size: f64,
    bold: bool,
    mut cover: impl FnMut(i32, i32, f32) -> crate::Result<()>,
) -> crate::Result<()> {
    let font = font(bold);
    let (scale, em) = scale(font, size);
    let scaled = font.as_scaled(scale);
    let mut position = Point {
        x: 0.0,
        y: em * MIDDLE,
    };
    for c in text.chars() {
        let id = font.glyph_id(c);
        let glyph = id.with_scale_and_position(scale, position);
        position.x += scaled.h_advance(id);
        let Some(outline) = font.outline_glyph(glyph) else {
            continue;
        };
        let corner = outline.px_bounds().min;
        let mut pixels = Vec::new();
        outline.draw(|x, y, share| pixels.push((x as i32, y as i32, share)));
        for (x, y, share) in pixels {
            cover(
                x + corner.x as i32,
                y + corner.y as i32,
                share.clamp(0.0, 1.0),
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn box_of(text: &str, size: f64) -> (i32, i32, i32, i32) {
        let mut bounds = (i32::MAX, i32::MAX, i32::MIN, i32::MIN);
        let grow = |x: i32, y: i32, share: f32| {
            if share > 0.5 {
                let (l, t, r, b) = bounds;
                bounds = (l.min(x), t.min(y), r.max(x), b.max(y));
            }
            Ok(())
        };
        rasterise(text, size, false, grow).unwrap();
        bounds
    }

    #[test]
    fn capitals_are_centred_and_as_wide_as_measured() {
        let (left, top, right, bottom) = box_of("HHHH", 124.0);
        assert!((top + bottom).abs() <= 4, "{top} {bottom}");
        let measured = width("HHHH", 124.0, false);
        assert!(
            left >= 0 && f64::from(right) < measured,
            "{left} {right} {measured}"
        );
        assert!(
            f64::from(right - left) > 0.9 * measured,
            "{left} {right} {measured}"
        );
    }

    #[test]
    fn letters_that_labels_need_are_in_the_font() {
        for c in "AZaz09 %−±·⁰¹²³⁴⁹⁻…–αωµ°éüß₂→≈".chars() {
            for bold in [false, true] {
                assert_ne!(font(bold).glyph_id(c).0, 0, "{c:?} is missing");
            }
        }
    }

    #[test]
    fn bold_and_wide_letters_take_more_room() {
        assert!(width("WW", 12.0, false) > 2.0 * width("ii", 12.0, false));
        assert!(width("WW", 12.0, true) > width("WW", 12.0, false));
        assert!(width("", 12.0, false) <= 0.0);
    }
}

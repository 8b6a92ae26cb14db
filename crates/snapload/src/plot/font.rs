//! Embedded font of the figures: PNG cannot refer to fonts, and servers often have none.

use ttf_parser::{Face, OutlineBuilder};

/// Family name of the font.
pub(super) const NAME: &str = "DejaVu Sans";

/// DejaVu Sans, reduced to Latin letters; its licence is next to it.
const FONT: &[u8] = include_bytes!("../../assets/DejaVuSans-Latin.ttf");

/// Returns the font. `None` would mean that the embedded font is broken.
pub(super) fn face() -> Option<Face<'static>> {
    Face::parse(FONT, 0).ok()
}

/// Returns the width of a text in pixels.
pub(super) fn text_width(text: &str, size: f32) -> f32 {
    face().map_or(0.0, |face| {
        let units: u32 = text.chars().map(|letter| advance(&face, letter)).sum();
        units as f32 * scale(&face, size)
    })
}

/// Builds the outline of each letter. `outline` creates the builder of a letter from its offset along the line in
/// pixels and the pixels per font unit.
pub(super) fn outline_text<B: OutlineBuilder>(
    face: &Face<'_>,
    text: &str,
    size: f32,
    mut outline: impl FnMut(f32, f32) -> B,
) -> Vec<B> {
    let scale = scale(face, size);
    let mut along = 0.0;
    text.chars()
        .map(|letter| {
            let mut builder = outline(along, scale);
            face.outline_glyph(glyph(face, letter), &mut builder);
            along += advance(face, letter) as f32 * scale;
            builder
        })
        .collect()
}

/// Letters that the font lacks appear as the replacement character.
fn glyph(face: &Face<'_>, letter: char) -> ttf_parser::GlyphId {
    face.glyph_index(letter)
        .or_else(|| face.glyph_index(char::REPLACEMENT_CHARACTER))
        .unwrap_or_default()
}

fn advance(face: &Face<'_>, letter: char) -> u32 {
    u32::from(face.glyph_hor_advance(glyph(face, letter)).unwrap_or(0))
}

/// Returns the pixels per font unit.
fn scale(face: &Face<'_>, size: f32) -> f32 {
    size / f32::from(face.units_per_em())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn font_has_all_letters_that_figures_use() {
        let face = face().unwrap();
        for letter in "Latency 99.9 % (µs) – 0123456789 kpps/äéÿ".chars() {
            assert!(face.glyph_index(letter).is_some(), "{letter}");
        }
    }

    #[test]
    fn text_is_as_wide_as_its_letters() {
        assert!(text_width("", 12.0) == 0.0);
        let one = text_width("i", 12.0);
        assert!(one > 0.0 && one < text_width("m", 12.0));
        assert!((text_width("ii", 12.0) - 2.0 * one).abs() < 0.01);
    }
}

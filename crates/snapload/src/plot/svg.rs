//! A drawing as SVG 1.1. Text stays text, so that it can be searched and copied.

use std::fmt::Write as _;

use super::drawing::{Anchor, Colour, Drawing, Shape};
use super::font;

/// Returns the drawing as an SVG file.
pub(super) fn write(drawing: &Drawing) -> String {
    let Drawing { width, height, .. } = drawing;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"{}, Verdana, sans-serif\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n",
        font::NAME
    );
    for shape in &drawing.shapes {
        // Writing to memory cannot fail.
        let _ = write_shape(shape, &mut svg);
    }
    svg + "</svg>\n"
}

fn write_shape(shape: &Shape, svg: &mut String) -> std::fmt::Result {
    match shape {
        Shape::Line {
            points,
            colour,
            width,
            dash,
        } => {
            svg.push_str("<polyline points=\"");
            for (x, y) in points {
                write!(svg, "{x:.1},{y:.1} ")?;
            }
            write!(
                svg,
                "\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\" stroke-linejoin=\"round\"",
                hex(*colour)
            )?;
            if *dash > 0.0 {
                write!(svg, " stroke-dasharray=\"{dash}\"")?;
            }
            svg.push_str("/>\n");
        }
        Shape::Text {
            at: (x, y),
            text,
            size,
            colour,
            anchor,
            is_upright,
        } => {
            let anchor = match anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            write!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size}\" fill=\"{}\" \
                 text-anchor=\"{anchor}\"",
                hex(*colour)
            )?;
            if *is_upright {
                write!(svg, " transform=\"rotate(-90 {x:.1} {y:.1})\"")?;
            }
            writeln!(svg, ">{}</text>", escape(text))?;
        }
    }
    Ok(())
}

fn hex([red, green, blue]: Colour) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// Escapes the characters that have a meaning in XML.
fn escape(text: &str) -> String {
    text.chars()
        .map(|letter| match letter {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            // Not allowed in XML in any form.
            control if control.is_control() => String::from(char::REPLACEMENT_CHARACTER),
            other => other.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("a<b>&\u{7}µ"), "a&lt;b&gt;&amp;\u{fffd}µ");
    }
}

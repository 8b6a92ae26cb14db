//! A drawing as PNG, antialiased.

use tiny_skia::{
    Color, FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Stroke, StrokeDash,
    Transform,
};
use ttf_parser::OutlineBuilder;

use super::drawing::{Anchor, Colour, Drawing, Point, Shape};
use super::font;

/// Image pixels per pixel of the drawing, for high-resolution displays.
const SCALE: f32 = 2.0;

/// Returns the drawing as a PNG file. `None` only for a sheet without area.
pub(super) fn write(drawing: &Drawing) -> Option<Vec<u8>> {
    let mut picture = Pixmap::new(
        (drawing.width * SCALE) as u32,
        (drawing.height * SCALE) as u32,
    )?;
    picture.fill(Color::WHITE);
    for shape in &drawing.shapes {
        // A shape without extent has no path, so nothing is painted.
        let _ = paint_shape(&mut picture, shape);
    }
    picture.encode_png().ok()
}

fn paint_shape(picture: &mut Pixmap, shape: &Shape) -> Option<()> {
    let to_picture = Transform::from_scale(SCALE, SCALE);
    match shape {
        Shape::Line {
            points,
            colour,
            width,
            dash,
        } => {
            let stroke = Stroke {
                width: *width,
                line_cap: LineCap::Butt,
                line_join: LineJoin::Round,
                dash: StrokeDash::new(vec![*dash, *dash], 0.0),
                ..Stroke::default()
            };
            picture.stroke_path(
                &path_of(points)?,
                &paint(*colour),
                &stroke,
                to_picture,
                None,
            );
        }
        Shape::Text {
            at: (x, y),
            text,
            size,
            colour,
            anchor,
            is_upright,
        } => {
            let width = font::text_width(text, *size);
            let start = match anchor {
                Anchor::Start => 0.0,
                Anchor::Middle => -width / 2.0,
                Anchor::End => -width,
            };
            let direction = if *is_upright { -90.0 } else { 0.0 };
            let to_place = to_picture
                .pre_translate(*x, *y)
                .pre_rotate(direction)
                .pre_translate(start, 0.0);
            let letters = font::outline_text(&font::face()?, text, *size, |along, scale| Letter {
                path: PathBuilder::new(),
                along,
                scale,
            });
            for path in letters
                .into_iter()
                .filter_map(|letter| letter.path.finish())
            {
                picture.fill_path(&path, &paint(*colour), FillRule::Winding, to_place, None);
            }
        }
    }
    Some(())
}

fn path_of(points: &[Point]) -> Option<Path> {
    let mut path = PathBuilder::new();
    let (&(x, y), rest) = points.split_first()?;
    path.move_to(x, y);
    for &(x, y) in rest {
        path.line_to(x, y);
    }
    path.finish()
}

fn paint([red, green, blue]: Colour) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color_rgba8(red, green, blue, 255);
    paint
}

/// Outline of a letter, in pixels from the start of its text. The font's vertical axis points up.
struct Letter {
    path: PathBuilder,
    along: f32,
    scale: f32,
}

impl Letter {
    fn place(&self, x: f32, y: f32) -> Point {
        (self.along + x * self.scale, -y * self.scale)
    }
}

impl OutlineBuilder for Letter {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.place(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.place(x1, y1), self.place(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let (x1, y1) = self.place(x1, y1);
        let (x2, y2) = self.place(x2, y2);
        let (x, y) = self.place(x, y);
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_painted_at_their_positions() {
        let mut drawing = Drawing::new(40.0, 20.0);
        drawing.line(vec![(0.0, 5.0), (10.0, 5.0)], [255, 0, 0], 10.0);
        drawing.text((30.0, 15.0), "M", 12.0, [0, 0, 255], Anchor::Middle);
        let picture = Pixmap::decode_png(&write(&drawing).unwrap()).unwrap();
        assert_eq!((picture.width(), picture.height()), (80, 40));
        let is = |x, y, red, green, blue| {
            let pixel = picture.pixel(x, y).unwrap();
            (pixel.red(), pixel.green(), pixel.blue()) == (red, green, blue)
        };
        assert!(is(5, 5, 255, 0, 0) && is(25, 5, 255, 255, 255));
        assert!((50..70).any(|x| (10..30).any(|y| is(x, y, 0, 0, 255))));
    }
}

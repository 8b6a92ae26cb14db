//! Contents of a figure: lines and text on a white background. Lengths are in pixels, from the upper left corner.

/// Red, green, blue.
pub(super) type Colour = [u8; 3];

/// Position on the sheet.
pub(super) type Point = (f32, f32);

/// A sheet with shapes, drawn in this order.
#[derive(Debug)]
pub(super) struct Drawing {
    pub(super) width: f32,
    pub(super) height: f32,
    pub(super) shapes: Vec<Shape>,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Shape {
    /// Straight lines from point to point.
    Line {
        points: Vec<Point>,
        colour: Colour,
        width: f32,
        /// Length of dashes and of the gaps between them; 0 draws a solid line.
        dash: f32,
    },
    /// One line of text.
    Text {
        /// Position of the anchor, on the baseline.
        at: Point,
        text: String,
        size: f32,
        colour: Colour,
        anchor: Anchor,
        /// Runs from bottom to top.
        is_upright: bool,
    },
}

/// Part of a text that is placed at its position.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

impl Drawing {
    /// Creates an empty sheet.
    pub(super) fn new(width: f32, height: f32) -> Self {
        Self {
            width,
            height,
            shapes: Vec::new(),
        }
    }

    pub(super) fn line(&mut self, points: Vec<Point>, colour: Colour, width: f32) {
        self.dashed_line(points, colour, width, 0.0);
    }

    pub(super) fn dashed_line(
        &mut self,
        points: Vec<Point>,
        colour: Colour,
        width: f32,
        dash: f32,
    ) {
        self.shapes.push(Shape::Line {
            points,
            colour,
            width,
            dash,
        });
    }

    pub(super) fn text(
        &mut self,
        at: Point,
        text: impl Into<String>,
        size: f32,
        colour: Colour,
        anchor: Anchor,
    ) {
        self.shapes.push(Shape::Text {
            at,
            text: text.into(),
            size,
            colour,
            anchor,
            is_upright: false,
        });
    }

    pub(super) fn upright_text(
        &mut self,
        at: Point,
        text: impl Into<String>,
        size: f32,
        colour: Colour,
    ) {
        self.shapes.push(Shape::Text {
            at,
            text: text.into(),
            size,
            colour,
            anchor: Anchor::Middle,
            is_upright: true,
        });
    }
}

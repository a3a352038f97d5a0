//! A picture as a list of shapes: drawn once, written as SVG text or as the bytes of a PNG.
//!
//! Colours are names, so that a page can show another tone of each in the dark.

pub(super) mod font;
pub(super) mod png;
pub(super) mod svg;

/// A place: pixels from the left and from the top.
pub(super) type Point = (f64, f64);

/// What is drawn, later shapes over earlier ones.
#[derive(Debug)]
pub(super) struct Picture {
    /// Pixels.
    pub(super) width: f64,
    /// Pixels.
    pub(super) height: f64,
    /// What it shows, for who cannot see it.
    pub(super) title: String,
    pub(super) shapes: Vec<Shape>,
}

/// One shape.
#[derive(Debug)]
pub(super) enum Shape {
    /// A line through points; `tip` is shown by a page where the pointer rests.
    Line { points: Vec<Point>, tone: Tone, width: f64, dash: Option<f64>, tip: Option<String> },
    /// A disc, or only its rim.
    Dot { at: Point, radius: f64, tone: Tone, hollow: bool, tip: Option<String> },
    /// One line of text.
    Text { at: Point, text: String, tone: Tone, style: Style },
}

/// How a text stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// Pixels.
    pub(super) size: f64,
    pub(super) bold: bool,
    pub(super) anchor: Anchor,
}

/// Which part of a text is at its place; in height it is always the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A colour by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// Behind everything.
    Paper,
    /// What is read first.
    Ink,
    /// What is read second.
    Dim,
    /// A grid.
    Rule,
    /// One of many curves.
    Pale,
    Blue,
    Orange,
    Green,
    Purple,
    Sky,
    Yellow,
}

impl Tone {
    pub(super) const ALL: [Tone; 11] = [
        Tone::Paper,
        Tone::Ink,
        Tone::Dim,
        Tone::Rule,
        Tone::Pale,
        Tone::Blue,
        Tone::Orange,
        Tone::Green,
        Tone::Purple,
        Tone::Sky,
        Tone::Yellow,
    ];

    /// Its name in a style sheet, and what it is by day and by night. The coloured ones are Okabe and Ito's, told apart by
    /// everyone; by night lighter.
    pub(super) fn colours(self) -> (&'static str, [u8; 3], [u8; 3]) {
        match self {
            Tone::Paper => ("paper", [255, 255, 255], [24, 30, 36]),
            Tone::Ink => ("ink", [23, 32, 42], [232, 237, 241]),
            Tone::Dim => ("dim", [93, 107, 122], [147, 161, 175]),
            Tone::Rule => ("rule", [223, 228, 232], [42, 51, 60]),
            Tone::Pale => ("pale", [178, 187, 196], [82, 95, 108]),
            Tone::Blue => ("blue", [0, 114, 178], [86, 176, 240]),
            Tone::Orange => ("orange", [213, 94, 0], [255, 146, 72]),
            Tone::Green => ("green", [0, 140, 104], [60, 200, 158]),
            Tone::Purple => ("purple", [158, 72, 140], [222, 150, 208]),
            Tone::Sky => ("sky", [70, 156, 206], [132, 210, 250]),
            Tone::Yellow => ("yellow", [190, 132, 0], [240, 190, 70]),
        }
    }
}

impl Picture {
    pub(super) fn new(width: f64, height: f64, title: impl Into<String>) -> Self {
        Picture { width, height, title: title.into(), shapes: Vec::new() }
    }

    /// A plain line.
    pub(super) fn line(&mut self, points: Vec<Point>, tone: Tone, width: f64) {
        self.shapes.push(Shape::Line { points, tone, width, dash: None, tip: None });
    }

    /// A dashed line.
    pub(super) fn dashed(&mut self, points: Vec<Point>, tone: Tone, width: f64) {
        self.shapes.push(Shape::Line { points, tone, width, dash: Some(4.0), tip: None });
    }

    /// A curve that says what it is.
    pub(super) fn curve(&mut self, points: Vec<Point>, tone: Tone, width: f64, tip: String) {
        self.shapes.push(Shape::Line { points, tone, width, dash: None, tip: Some(tip) });
    }

    /// A dot that says what it is.
    pub(super) fn dot(&mut self, at: Point, radius: f64, tone: Tone, hollow: bool, tip: String) {
        self.shapes.push(Shape::Dot { at, radius, tone, hollow, tip: Some(tip) });
    }

    /// A text.
    pub(super) fn text(&mut self, at: Point, text: impl Into<String>, tone: Tone, style: Style) {
        self.shapes.push(Shape::Text { at, text: text.into(), tone, style });
    }
}

impl Style {
    pub(super) fn start(size: f64) -> Self {
        Style { size, bold: false, anchor: Anchor::Start }
    }

    pub(super) fn middle(size: f64) -> Self {
        Style { anchor: Anchor::Middle, ..Style::start(size) }
    }

    pub(super) fn end(size: f64) -> Self {
        Style { anchor: Anchor::End, ..Style::start(size) }
    }

    pub(super) fn bold(self, bold: bool) -> Self {
        Style { bold, ..self }
    }
}

//! A picture as a PNG, by day, two pixels for each of the picture's. The same picture gives the same bytes.

use tiny_skia::{
    FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Stroke, StrokeDash, Transform,
};
use ttf_parser::OutlineBuilder;

use super::{Anchor, Picture, Point, Shape, Style, Tone, font, svg};

/// Pixels of the file for one of the picture.
const SCALE: f32 = 2.0;
/// Longest side of the file, pixels.
const SIDE_MAX: u32 = 16_384;

/// Why a picture was not written as PNG.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum PngError {
    /// No side of it is longer than a PNG of ours may be.
    #[error("a picture of {width} by {height} pixels is too large; compare fewer methods")]
    Size { width: f64, height: f64 },
    /// The encoder failed.
    #[error("cannot encode a PNG")]
    Encode(#[from] png::EncodingError),
}

pub(in crate::report) fn bytes(picture: &Picture) -> Result<Vec<u8>, PngError> {
    let Picture { width, height, .. } = *picture;
    let side = |of: f64| (of * f64::from(SCALE)).ceil() as u32;
    let sides = (side(width), side(height));
    let fits = sides.0 <= SIDE_MAX && sides.1 <= SIDE_MAX;
    let pixmap = fits.then(|| Pixmap::new(sides.0, sides.1)).flatten();
    let mut pixmap = pixmap.ok_or(PngError::Size { width, height })?;
    let [r, g, b] = Tone::Paper.colours().1;
    pixmap.fill(tiny_skia::Color::from_rgba8(r, g, b, 255));
    for shape in &picture.shapes {
        draw(&mut pixmap, shape);
    }
    // Opaque everywhere, so that no colour is multiplied: three of the four bytes are the pixel.
    let mut colours = Vec::with_capacity(pixmap.data().len() / 4 * 3);
    for [r, g, b, _opaque] in pixmap.data().as_chunks::<4>().0 {
        colours.extend([*r, *g, *b]);
    }
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, sides.0, sides.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::High);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&colours)?;
    writer.finish()?;
    Ok(file)
}

fn draw(pixmap: &mut Pixmap, shape: &Shape) {
    match shape {
        Shape::Line { points, tone, width, dash, tip: _ } => {
            if let Some(path) = line(points) {
                stroke(pixmap, &path, *tone, *width, *dash);
            }
        }
        Shape::Dot { at: (x, y), radius, tone, hollow, tip: _ } => {
            let Some(path) = PathBuilder::from_circle(*x as f32, *y as f32, *radius as f32) else {
                return;
            };
            fill(pixmap, &path, if *hollow { Tone::Paper } else { *tone });
            if *hollow {
                stroke(pixmap, &path, *tone, 1.8, None);
            }
        }
        Shape::Text { at, text, tone, style } => {
            if let Some(path) = words(*at, text, *style) {
                fill(pixmap, &path, *tone);
            }
        }
    }
}

fn paint(tone: Tone) -> Paint<'static> {
    let [r, g, b] = tone.colours().1;
    let mut paint = Paint::default();
    paint.set_color_rgba8(r, g, b, 255);
    paint
}

fn fill(pixmap: &mut Pixmap, path: &Path, tone: Tone) {
    let scale = Transform::from_scale(SCALE, SCALE);
    pixmap.fill_path(path, &paint(tone), FillRule::Winding, scale, None);
}

fn stroke(pixmap: &mut Pixmap, path: &Path, tone: Tone, width: f64, dash: Option<f64>) {
    let dash = dash.and_then(|dash| StrokeDash::new(vec![dash as f32; 2], 0.0));
    let (line_cap, line_join) = (LineCap::Round, LineJoin::Round);
    let stroke = Stroke { width: width as f32, dash, line_cap, line_join, ..Stroke::default() };
    let scale = Transform::from_scale(SCALE, SCALE);
    pixmap.stroke_path(path, &paint(tone), &stroke, scale, None);
}

fn line(points: &[Point]) -> Option<Path> {
    let mut path = PathBuilder::new();
    for (at, (x, y)) in points.iter().enumerate() {
        if at == 0 {
            path.move_to(*x as f32, *y as f32);
        } else {
            path.line_to(*x as f32, *y as f32);
        }
    }
    path.finish()
}

fn words((x, y): Point, text: &str, style: Style) -> Option<Path> {
    let (letters, width) = font::letters(text, style.size, style.bold);
    let start = match style.anchor {
        Anchor::Start => x,
        Anchor::Middle => x - 0.5 * width,
        Anchor::End => x - width,
    };
    let baseline = y + svg::BASELINE * style.size;
    let scale = font::scale(style.bold, style.size) as f32;
    let mut path = PathBuilder::new();
    for letter in letters {
        let left = (start + letter.left) as f32;
        let mut outline = Outline { path: &mut path, left, baseline: baseline as f32, scale };
        // A space has none.
        let _ = font::face(style.bold).outline_glyph(letter.glyph, &mut outline);
    }
    path.finish()
}

/// Puts a letter's outline, upwards in units of the font, at its place, downwards in pixels.
struct Outline<'a> {
    path: &'a mut PathBuilder,
    left: f32,
    baseline: f32,
    scale: f32,
}

impl Outline<'_> {
    fn x(&self, x: f32) -> f32 {
        self.left + x * self.scale
    }

    fn y(&self, y: f32) -> f32 {
        self.baseline - y * self.scale
    }
}

impl OutlineBuilder for Outline<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        self.path.move_to(self.x(x), self.y(y));
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.path.line_to(self.x(x), self.y(y));
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        self.path.quad_to(self.x(x1), self.y(y1), self.x(x), self.y(y));
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let (first, second) = ((self.x(x1), self.y(y1)), (self.x(x2), self.y(y2)));
        self.path.cubic_to(first.0, first.1, second.0, second.1, self.x(x), self.y(y));
    }

    fn close(&mut self) {
        self.path.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        let mut picture = Picture::new(60.0, 30.0, "a line and a word");
        picture.dashed(vec![(2.0, 2.0), (50.0, 28.0)], Tone::Blue, 2.0);
        picture.dot((30.0, 15.0), 4.0, Tone::Orange, true, String::new());
        picture.text((58.0, 15.0), "Ag", Tone::Ink, Style::end(14.0));
        picture
    }

    #[test]
    fn one_picture_has_one_file_and_it_reads_back() {
        let file = bytes(&picture()).unwrap();
        assert_eq!(file, bytes(&picture()).unwrap());
        let decoder = png::Decoder::new(std::io::Cursor::new(&file));
        let mut reader = decoder.read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((info.width, info.height), (120, 60));
        assert!(pixels.iter().any(|byte| *byte < 60), "nothing is drawn");
    }

    #[test]
    fn a_picture_without_end_is_refused() {
        let endless = Picture::new(100.0, 1e9, "");
        assert!(matches!(bytes(&endless), Err(PngError::Size { .. })));
    }
}

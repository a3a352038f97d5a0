//! A picture as SVG text: for a page that has the style sheet, or to stand alone with it.

use std::fmt::Write as _;

use super::{Anchor, Picture, Point, Shape, Style, Tone};
use crate::report::escape::escape;

/// What a standing-alone picture and a page need to show the tones: rules for the descendants of `.plot`.
pub(in crate::report) fn style() -> String {
    let rules = |of: fn(Tone) -> (&'static str, [u8; 3])| {
        let mut text = String::new();
        for tone in Tone::ALL {
            let (name, [r, g, b]) = of(tone);
            let colour = format!("#{r:02x}{g:02x}{b:02x}");
            let _ =
                write!(text, ".plot .l-{name}{{stroke:{colour}}}.plot .f-{name}{{fill:{colour}}}");
        }
        text
    };
    let day = rules(|tone| (tone.colours().0, tone.colours().1));
    let night = rules(|tone| (tone.colours().0, tone.colours().2));
    format!(
        ".plot text{{font-family:system-ui,'DejaVu Sans',sans-serif}}\
         .plot polyline{{fill:none;stroke-linejoin:round;stroke-linecap:round}}\n{day}\n\
         @media screen and (prefers-color-scheme:dark){{{night}}}\n"
    )
}

/// The element for a page that has [`style`].
pub(in crate::report) fn inline(picture: &Picture) -> String {
    svg(picture, "")
}

/// A file of its own.
pub(in crate::report) fn file(picture: &Picture) -> String {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}\n", svg(picture, &style()))
}

fn svg(picture: &Picture, style: &str) -> String {
    let (width, height) = (number(picture.width), number(picture.height));
    let title = escape(&picture.title);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\" aria-label=\"{title}\">\n"
    );
    if !style.is_empty() {
        let _ = writeln!(text, "<style>{style}</style>");
        let _ = writeln!(text, "<rect width=\"{width}\" height=\"{height}\" class=\"f-paper\"/>");
    }
    for one in &picture.shapes {
        shape(&mut text, one);
    }
    text.push_str("</svg>");
    text
}

fn shape(out: &mut String, shape: &Shape) {
    match shape {
        Shape::Line { points, tone, width, dash, tip } => {
            let points: Vec<String> = points.iter().map(|at| place(*at)).collect();
            let (name, points, width) = (tone.colours().0, points.join(" "), number(*width));
            let dash = dash.map_or_else(String::new, |of| format!(" stroke-dasharray=\"{of}\""));
            let _ = write!(
                out,
                "<polyline class=\"l-{name}\" stroke-width=\"{width}\"{dash} points=\"{points}\""
            );
            close(out, "polyline", tip.as_deref());
        }
        Shape::Dot { at: (x, y), radius, tone, hollow, tip } => {
            let (name, x, y, radius) = (tone.colours().0, number(*x), number(*y), number(*radius));
            let class = if *hollow {
                format!("l-{name} f-paper\" stroke-width=\"1.8")
            } else {
                format!("f-{name}")
            };
            let _ = write!(out, "<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"{radius}\"");
            close(out, "circle", tip.as_deref());
        }
        Shape::Text { at, text, tone, style } => words(out, *at, text, *tone, *style),
    }
}

fn words(out: &mut String, (x, y): Point, text: &str, tone: Tone, style: Style) {
    let Style { size, bold, anchor } = style;
    let anchor = match anchor {
        Anchor::Start => "",
        Anchor::Middle => " text-anchor=\"middle\"",
        Anchor::End => " text-anchor=\"end\"",
    };
    let weight = if bold { " font-weight=\"600\"" } else { "" };
    // From the middle to the line that letters stand on, as in the PNG.
    let (x, y, size) = (number(x), number(y + BASELINE * size), number(size));
    let (name, text) = (tone.colours().0, escape(text));
    let _ = writeln!(
        out,
        "<text class=\"f-{name}\" x=\"{x}\" y=\"{y}\" font-size=\"{size}\"{anchor}{weight}>{text}</text>"
    );
}

/// From the middle of a text to its baseline, in sizes.
pub(super) const BASELINE: f64 = 0.36;

fn close(out: &mut String, element: &str, tip: Option<&str>) {
    let _ = match tip {
        Some(tip) => writeln!(out, "><title>{}</title></{element}>", escape(tip)),
        None => writeln!(out, "/>"),
    };
}

fn place((x, y): Point) -> String {
    format!("{},{}", number(x), number(y))
}

/// A tenth of a pixel is enough; no digit more than needed.
fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_place() {
        let mut picture = Picture::new(10.0, 10.0, "\"><script>");
        picture.text((0.0, 0.0), "</text><script>", Tone::Ink, Style::start(9.0));
        picture.curve(vec![(0.0, 0.0)], Tone::Ink, 1.0, "</title>&".to_owned());
        let text = file(&picture);
        assert!(!text.contains("<script") && text.contains("&lt;/title&gt;&amp;"), "{text}");
    }
}

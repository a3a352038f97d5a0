//! The pictures of a report.

mod axis;
mod labels;
pub(super) mod methods;
pub(super) mod over;
pub(super) mod run;

use self::axis::{Scale, extent};
use super::comparison::Comparison;
use super::figures;
use super::picture::{Picture, Point, Style, Tone, font};

/// Width of every picture, pixels.
const WIDTH: f64 = 1000.0;
/// Where text begins, pixels from the left.
const MARGIN: f64 = 16.0;
/// Where a frame begins, pixels from the left.
const FRAME_LEFT: f64 = 64.0;
/// Where a frame begins, pixels from the top.
const FRAME_TOP: f64 = 62.0;
/// Room for what is below a frame, pixels.
const BELOW: f64 = 52.0;
/// Size of a label, pixels.
const LABEL: f64 = 12.0;
/// From one label to the next, pixels.
const LABEL_ROOM: f64 = 15.0;

/// Methods beside the reference that have a colour of their own: the best.
const COLOURS: [Tone; 5] = [Tone::Blue, Tone::Orange, Tone::Green, Tone::Purple, Tone::Sky];

/// A label that belongs to a place.
struct Label {
    /// What it belongs to.
    from: Point,
    text: String,
    tone: Tone,
    bold: bool,
}

/// The tone of every method: the reference's is ink, the best have colours, all others are pale.
fn tones(comparison: &Comparison<'_>) -> Vec<Tone> {
    let mut colours = COLOURS.into_iter();
    let methods = comparison.methods.iter().enumerate();
    let tone = |(at, _method)| {
        if at == comparison.reference { Tone::Ink } else { colours.next().unwrap_or(Tone::Pale) }
    };
    methods.map(tone).collect()
}

/// Width of a method's curve, pixels.
fn width(tone: Tone) -> f64 {
    match tone {
        Tone::Ink => 3.0,
        Tone::Blue | Tone::Orange | Tone::Green | Tone::Purple | Tone::Sky | Tone::Yellow => 2.2,
        Tone::Paper | Tone::Dim | Tone::Rule | Tone::Pale => 1.0,
    }
}

/// Order of drawing: pale ones first, the reference last.
fn order(tones: &[Tone]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..tones.len()).rev().collect();
    order.sort_by(|a, b| width(tones[*a]).total_cmp(&width(tones[*b])));
    order
}

/// A scale of skill on which methods that work can be told apart: one that lost most of what was shipped does not press the others
/// into a line. From the best value down to the worst, but no further than four times the way from the best to the median
/// of the final ones (or to the shipped model, if that is further).
fn skill_scale(comparison: &Comparison<'_>) -> Option<Scale> {
    let curves = comparison.methods.iter().flat_map(|method| &method.curve);
    let (low, high) = extent(curves.map(|(_window, _bytes, skill)| *skill))?;
    let finals: Vec<f64> = comparison.methods.iter().filter_map(|method| method.driven).collect();
    // Best first.
    let median = finals.get(finals.len() / 2).copied().unwrap_or(low);
    let usual = median.min(comparison.shipped.unwrap_or(median));
    let floor = high - 4.0 * (high - usual).max(5e-3);
    let low = low.max(floor);
    Scale::around([low, high].into_iter())
}

/// Title and what it means, above a frame.
fn heading(picture: &mut Picture, top: f64, title: &str, note: &str) {
    picture.text((MARGIN, top + 18.0), title, Tone::Ink, Style::start(15.0).bold(true));
    let note = font::fit(note, 12.0, false, picture.width - 2.0 * MARGIN);
    picture.text((MARGIN, top + 38.0), note, Tone::Dim, Style::start(12.0));
}

/// Labels in a column at the right, apart from each other, each with a thin line to what it belongs to.
fn column(picture: &mut Picture, mut labels: Vec<Label>, left: f64, top: f64, bottom: f64) {
    labels.sort_by(|a, b| a.from.1.total_cmp(&b.from.1));
    let wanted: Vec<f64> = labels.iter().map(|label| label.from.1).collect();
    let places = labels::spread(&wanted, LABEL_ROOM, top, bottom);
    for (label, y) in labels.iter().zip(&places) {
        let (x, from) = label.from;
        let leader = vec![(x, from), (left - 18.0, from), (left - 4.0, *y)];
        picture.line(leader, Tone::Rule, 1.0);
    }
    for (label, y) in labels.into_iter().zip(places) {
        let width_max = picture.width - left - 8.0;
        let text = font::fit(&label.text, LABEL, label.bold, width_max);
        let tone = if label.tone == Tone::Pale { Tone::Dim } else { label.tone };
        picture.text((left, y), text, tone, Style::start(LABEL).bold(label.bold));
    }
}

/// A method's name and its final skill.
fn named(name: &str, skill: Option<f64>) -> String {
    // The figure is never what is cut off.
    let name = font::fit(name, LABEL, true, 150.0);
    format!("{name}  {}", figures::or_dash(skill, |skill| figures::skill(skill, 4)))
}

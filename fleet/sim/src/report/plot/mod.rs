//! The pictures of a report.

mod axis;
mod labels;
pub(super) mod methods;
pub(super) mod over;
pub(super) mod run;

use std::collections::BTreeSet;

use self::axis::{Frame, Scale, extent};
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
/// Between a figure and a name: SVG makes one space of several.
const GAP: char = '\u{2002}';
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

/// A scale of skill on which methods that work can be told apart: one that lost much of what was shipped does not press the
/// others into a line. It goes down to the worst value of those that end no further below the best than 1.6 times the way
/// from there to the shipped model, or to the median of the final skills, if that is further.
fn skill_scale(comparison: &Comparison<'_>) -> Option<Scale> {
    let values = |floor: f64| {
        let kept =
            comparison.methods.iter().filter(move |of| of.driven.is_some_and(|end| end >= floor));
        kept.flat_map(|method| method.curve.iter().map(|stood| stood.skill))
    };
    let (low, high) = extent(values(f64::NEG_INFINITY))?;
    let finals: Vec<f64> = comparison.methods.iter().filter_map(|method| method.driven).collect();
    // Best first.
    let median = finals.get(finals.len() / 2).copied().unwrap_or(low);
    let usual = median.min(comparison.shipped.unwrap_or(median));
    let floor = lost_below(high, usual);
    let (low, _high) = extent(values(floor).filter(|skill| *skill >= floor))?;
    Scale::around([low, high].into_iter().chain(comparison.shipped.filter(|skill| *skill >= floor)))
}

/// What ends below this is off the scale.
fn lost_below(best: f64, usual: f64) -> f64 {
    best - 1.6 * (best - usual).max(5e-3)
}

/// Title and what it means, above a frame.
fn heading(picture: &mut Picture, top: f64, title: &str, note: &str) {
    picture.text((MARGIN, top + 18.0), title, Tone::Ink, Style::start(15.0).bold(true));
    let note = font::fit(note, 12.0, false, picture.width - 2.0 * MARGIN);
    picture.text((MARGIN, top + 38.0), note, Tone::Dim, Style::start(12.0));
}

/// Labels in a column at the right, apart from each other. Their thin lines go under everything that is drawn before
/// [`Column::write`].
struct Column {
    left: f64,
    labels: Vec<(Label, f64)>,
}

impl Column {
    /// Places the labels, and draws the lines to what they belong to.
    fn place(picture: &mut Picture, mut labels: Vec<Label>, frame: &Frame) -> Self {
        let left = frame.right + 40.0;
        labels.sort_by(|a, b| a.from.1.total_cmp(&b.from.1));
        let wanted: Vec<f64> = labels.iter().map(|label| label.from.1).collect();
        let places = labels::spread(&wanted, LABEL_ROOM, frame.top, frame.bottom);
        for (label, y) in labels.iter().zip(&places) {
            let (x, from) = label.from;
            let leader = vec![(x, from), (frame.right + 6.0, from), (left - 5.0, *y)];
            picture.line(leader, Tone::Rule, 1.0);
        }
        Column { left, labels: labels.into_iter().zip(places).collect() }
    }

    fn write(self, picture: &mut Picture) {
        for (label, y) in self.labels {
            let width_max = picture.width - self.left - 8.0;
            let text = font::fit(&label.text, LABEL, label.bold, width_max);
            let tone = if label.tone == Tone::Pale { Tone::Dim } else { label.tone };
            picture.text((self.left, y), text, tone, Style::start(LABEL).bold(label.bold));
        }
    }
}

/// The methods' names, none wider than this. Where cut ones would be the same, what all have in common is left out.
fn names(comparison: &Comparison<'_>, width_max: f64) -> Vec<String> {
    let names: Vec<&str> = comparison.methods.iter().map(|method| method.name).collect();
    let fit = |name: &str| font::fit(name, LABEL, true, width_max);
    let cut: Vec<String> = names.iter().map(|name| fit(name)).collect();
    if cut.iter().collect::<BTreeSet<_>>().len() == cut.len() {
        return cut;
    }
    labels::apart(&names).iter().map(|name| fit(name)).collect()
}

/// A method's final skill and its name: the figures stand below each other.
fn named(name: &str, skill: Option<f64>) -> String {
    format!("{}{GAP}{name}", figures::or_dash(skill, |skill| figures::skill(skill, 4)))
}

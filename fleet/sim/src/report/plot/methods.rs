//! How far every method is from the reference, with its interval.

use super::axis::{Frame, Scale, TEXT, extent};
use super::{BELOW, FRAME_TOP, LABEL, MARGIN, WIDTH, heading};
use crate::report::comparison::{Comparison, Method};
use crate::report::figures;
use crate::report::picture::{Picture, Style, Tone, font};

/// Height of a method's line, pixels.
const LINE: f64 = 22.0;
/// Width of the names, pixels.
const NAMES: f64 = 190.0;
/// Width of the figures at the right, pixels.
const FIGURES: f64 = 300.0;
/// Where the difference and its interval begin, pixels from the right.
const INTERVAL: f64 = 208.0;

/// A dot for every method's difference to the reference. `None` where nothing has one.
pub(in crate::report) fn methods(comparison: &Comparison<'_>) -> Option<Picture> {
    let methods = &comparison.methods;
    let x = scale(comparison)?;
    let bottom = FRAME_TOP + LINE * (methods.len() as f64 + 1.0);
    let (left, right) = (MARGIN + NAMES, WIDTH - FIGURES);
    let y = Scale::Linear { low: 0.0, high: 1.0 };
    let frame = Frame { left, right, top: FRAME_TOP + LINE, bottom, x, y };
    let mut picture = Picture::new(WIDTH, bottom + BELOW, "final skill of every method");
    let reference = methods[comparison.reference].name;
    let last = match comparison.last {
        1 => "the last window".to_owned(),
        last => format!("the last {last} windows"),
    };
    let note = format!(
        "mean of {last}, driven roads, paired with {reference} by seed and road; bars are 95 % intervals, a hollow dot's includes 0"
    );
    heading(&mut picture, 0.0, "Final skill, against the reference", &note);
    let top = FRAME_TOP + 0.5 * LINE;
    let head = Style::start(TEXT);
    picture.text((right + 16.0, top), "skill", Tone::Dim, head);
    picture.text((WIDTH - INTERVAL, top), "difference, 95 % interval", Tone::Dim, head);
    for tick in x.signed_ticks(6) {
        let x = frame.x(tick.at);
        picture.line(vec![(x, frame.top), (x, bottom)], Tone::Rule, 1.0);
    }
    frame.below(&mut picture, &x.signed_ticks(6), &format!("skill less that of {reference}"));
    let zero = frame.x(0.0);
    picture.line(vec![(zero, frame.top), (zero, bottom)], Tone::Ink, 1.4);
    for (at, method) in methods.iter().enumerate() {
        let y = frame.top + LINE * (at as f64 + 0.5);
        line(&mut picture, &frame, y, method, at == comparison.reference);
    }
    Some(picture)
}

/// From the lowest to the highest difference, no further down than four times the way to the median: see
/// [`super::skill_scale`]. Intervals may go beyond.
fn scale(comparison: &Comparison<'_>) -> Option<Scale> {
    let differences = comparison.methods.iter().filter_map(|method| method.difference);
    let (mut ends, mut means) = (vec![0.0], vec![0.0]);
    for difference in differences {
        means.push(difference.mean);
        ends.extend(difference.interval.map(|interval| interval.high.min(interval.mean + 0.5)));
        ends.extend(difference.interval.map(|interval| interval.low));
        ends.push(difference.mean);
    }
    if means.len() < 2 {
        return None;
    }
    means.sort_by(f64::total_cmp);
    let (low, _high) = extent(ends.iter().copied())?;
    let best = means[means.len() - 1];
    let room = 4.0 * (best - means[means.len() / 2].min(0.0)).max(2e-3);
    let high = ends.iter().copied().filter(|end| *end <= best + room).fold(best, f64::max);
    Scale::around([low.max(best - room), high].into_iter())
}

fn line(picture: &mut Picture, frame: &Frame, y: f64, method: &Method<'_>, reference: bool) {
    let style = Style::end(LABEL).bold(reference);
    let name = font::fit(method.name, LABEL, reference, NAMES - 12.0);
    picture.text((frame.left - 12.0, y), name, Tone::Ink, style);
    let skill = figures::or_dash(method.driven, |skill| figures::skill(skill, 4));
    let style = Style::start(LABEL).bold(reference);
    picture.text((frame.right + 16.0, y), skill, Tone::Ink, style);
    let at = (WIDTH - INTERVAL, y);
    let Some(difference) = method.difference else {
        let text = if reference { "reference" } else { "nothing to pair" };
        picture.text(at, text, Tone::Dim, Style::start(LABEL));
        if reference {
            picture.dot((frame.x(0.0), y), 4.5, Tone::Ink, false, method.name.to_owned());
        }
        return;
    };
    let text = super::super::table::difference(&difference);
    let (tone, sure) = match difference.interval {
        Some(interval) if interval.low > 0.0 => (Tone::Blue, true),
        Some(interval) if interval.high < 0.0 => (Tone::Orange, true),
        Some(_) | None => (Tone::Dim, false),
    };
    if let Some(interval) = difference.interval {
        let ends = vec![(frame.x(interval.low), y), (frame.x(interval.high), y)];
        picture.line(ends, tone, 2.0);
    }
    let tip = format!("{}: {text}", method.name);
    if difference.mean < frame.x.low() {
        picture.text((frame.left + 2.0, y), "◂", tone, Style::start(LABEL));
    } else {
        picture.dot((frame.x(difference.mean), y), 4.5, tone, !sure, tip);
    }
    picture.text(at, text, if sure { tone } else { Tone::Dim }, Style::start(LABEL));
}

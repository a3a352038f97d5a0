//! How far every method is from the reference, with its interval.

use super::axis::{Frame, Scale, TEXT, extent};
use super::{BELOW, FRAME_TOP, LABEL, MARGIN, WIDTH, heading, lost_below, names};
use crate::report::comparison::{Comparison, Method};
use crate::report::picture::{Picture, Style, Tone};
use crate::report::{figures, table as words};
use crate::statistics::Difference;

/// Height of a method's line, pixels.
const LINE: f64 = 22.0;
/// Width of the names, pixels.
const NAMES: f64 = 230.0;
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
    let last = words::last(comparison);
    let note = format!(
        "{last}, driven roads, paired with {reference} by seed and road; bars are 95 % intervals, a hollow dot's includes 0"
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
    let names = names(comparison, NAMES - 12.0);
    for (at, (method, name)) in methods.iter().zip(names).enumerate() {
        let y = frame.top + LINE * (at as f64 + 0.5);
        let reference = at == comparison.reference;
        let style = Style::end(LABEL).bold(reference);
        picture.text((frame.left - 12.0, y), name, Tone::Ink, style);
        line(&mut picture, &frame, y, method, reference);
    }
    Some(picture)
}

/// Over all differences and their intervals, but for methods that lost much: see [`super::skill_scale`]. Wide intervals may go
/// beyond it.
fn scale(comparison: &Comparison<'_>) -> Option<Scale> {
    let all: Vec<Difference> =
        comparison.methods.iter().filter_map(|method| method.difference).collect();
    let mut means: Vec<f64> = all.iter().map(|difference| difference.mean).chain([0.0]).collect();
    means.sort_by(f64::total_cmp);
    let best = means.last().copied().filter(|_best| !all.is_empty())?;
    let floor = lost_below(best, means[means.len() / 2].min(0.0));
    let kept = all.iter().filter(|difference| difference.mean >= floor);
    let (lowest, _best) = extent(kept.clone().map(|difference| difference.mean).chain([0.0]))?;
    let room = 2.0 * (best - lowest).max(5e-3);
    let ends = kept.flat_map(|Difference { mean, interval, .. }| {
        let (low, high) = interval.map_or((*mean, *mean), |interval| (interval.low, interval.high));
        [low.max(lowest - room), high.min(best + room)]
    });
    Scale::around(ends.chain([0.0]))
}

fn line(picture: &mut Picture, frame: &Frame, y: f64, method: &Method<'_>, reference: bool) {
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
    if difference.mean < frame.x.low() {
        // Not across the line of the reference.
        let (left, zero) = (frame.left + 4.0, frame.x(0.0));
        let left = if zero - left < 110.0 { zero + 8.0 } else { left };
        picture.text((left, y), "◂ off the scale", tone, Style::start(LABEL));
    } else {
        if let Some(interval) = difference.interval {
            let ends = vec![(frame.x(interval.low), y), (frame.x(interval.high), y)];
            picture.line(ends, tone, 2.0);
        }
        let tip = format!("{}: {text}", method.name);
        picture.dot((frame.x(difference.mean), y), 4.5, tone, !sure, tip);
    }
    picture.text(at, text, if sure { tone } else { Tone::Dim }, Style::start(LABEL));
}

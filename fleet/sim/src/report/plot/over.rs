//! Skill of all methods, over windows and over bytes.

use super::axis::{Frame, Scale, Tick};
use super::{
    BELOW, Column, FRAME_LEFT, FRAME_TOP, LABEL_ROOM, Label, WIDTH, heading, named, names, order,
    skill_scale, tones, width,
};
use crate::report::comparison::{Comparison, Method};
use crate::report::figures;
use crate::report::picture::{Picture, Point, Tone};

/// Width of the column of labels, pixels.
const LABELS: f64 = 290.0;
/// Of that, for a method's name.
const NAMES: f64 = 180.0;
/// Height of a frame, pixels; more where labels need it.
const HEIGHT: f64 = 440.0;
/// No more labels than these: what is not labelled is in the table.
const LABELS_MAX: usize = 60;

/// Skill over windows. `None` where no method measures a driven road.
pub(in crate::report) fn windows(comparison: &Comparison<'_>) -> Option<Picture> {
    let y = skill_scale(comparison)?;
    let x = Scale::Linear { low: 0.0, high: f64::from(comparison.head.windows.max(1)) };
    let labelled = comparison.methods.len().min(LABELS_MAX);
    let (mut picture, frame) = canvas("skill over windows", x, y, labelled);
    heading(
        &mut picture,
        0.0,
        "Held-out skill over windows",
        "the fleet's adapter, mean over driven roads and seeds; the thick line is the reference, colours are the best of the others",
    );
    frame.rules(&mut picture, &y.skill_ticks(7));
    frame.below(&mut picture, &x.whole_ticks(12), "windows gone by");
    let tones = tones(comparison);
    let over = |method: &Method<'_>| -> Vec<Point> {
        method.curve.iter().map(|stood| (stood.window, stood.skill)).collect()
    };
    let mut labels = shipped(&frame, comparison);
    let names = names(comparison, NAMES);
    for (at, method) in comparison.methods.iter().enumerate().take(LABELS_MAX) {
        let Some((window, skill)) = over(method).last().copied() else { continue };
        let text = named(&names[at], method.driven);
        labels.push(label(&frame, text, (window, skill), tones[at]));
    }
    let column = Column::place(&mut picture, labels, &frame);
    across(&mut picture, &frame, comparison);
    for at in order(&tones) {
        curve(&mut picture, &frame, &comparison.methods[at], &over, tones[at]);
    }
    column.write(&mut picture);
    Some(picture)
}

/// Skill over bytes spent, and the front that no other betters. `None` where no method measures a driven road.
pub(in crate::report) fn bytes(comparison: &Comparison<'_>) -> Option<Picture> {
    let y = skill_scale(comparison)?;
    let methods = &comparison.methods;
    // A method that exchanges nothing stands at 0; all others begin with their first bytes.
    let over = |method: &Method<'_>| -> Vec<Point> {
        let points = method.curve.iter().map(|stood| (stood.bytes, stood.paid_for));
        points.filter(|(bytes, _skill)| *bytes > 0.0 || method.total <= 0.0).collect()
    };
    let all: Vec<f64> = methods.iter().flat_map(&over).map(|(bytes, _skill)| bytes).collect();
    let x = Scale::of_bytes(all.iter().copied());
    let tones = tones(comparison);
    let lost = |at: usize| methods[at].driven.is_some_and(|skill| skill < y.low());
    let shown = |at: usize| methods[at].front || tones[at] != Tone::Pale || lost(at);
    let labelled: Vec<usize> =
        (0..methods.len()).filter(|at| shown(*at)).take(LABELS_MAX).collect();
    let (mut picture, frame) = canvas("skill over bytes", x, y, labelled.len());
    heading(
        &mut picture,
        0.0,
        "Held-out skill over bytes spent",
        "sent and received by a vehicle since the start; a dot is a method's end, the dashed line is the front: nothing cheaper is better",
    );
    frame.rules(&mut picture, &y.skill_ticks(7));
    frame.below(
        &mut picture,
        &thinned(&frame, x.byte_ticks(8)),
        "bytes of a vehicle, sent and received",
    );
    let mut labels = shipped(&frame, comparison);
    let names = names(comparison, NAMES);
    for at in labelled {
        if let Some(skill) = methods[at].driven {
            let text = named(&names[at], methods[at].driven);
            labels.push(label(&frame, text, (methods[at].total, skill), tones[at]));
        }
    }
    let column = Column::place(&mut picture, labels, &frame);
    across(&mut picture, &frame, comparison);
    for at in order(&tones) {
        curve(&mut picture, &frame, &methods[at], &over, tones[at]);
    }
    picture.dashed(front(&frame, comparison), Tone::Dim, 1.4);
    for at in order(&tones) {
        if let Some(skill) = methods[at].driven {
            let place = (frame.x(methods[at].total), frame.y(skill));
            let radius = if shown(at) { 4.5 } else { 3.0 };
            picture.dot(place, radius, tones[at], false, tip(&methods[at]));
        }
    }
    column.write(&mut picture);
    Some(picture)
}

/// An empty picture with room for so many labels, and its frame.
fn canvas(title: &str, x: Scale, y: Scale, labels: usize) -> (Picture, Frame) {
    // One more for the shipped model.
    let height = HEIGHT.max(LABEL_ROOM * (labels as f64 + 1.0));
    let picture = Picture::new(WIDTH, FRAME_TOP + height + BELOW, title);
    let (right, bottom) = (WIDTH - LABELS, FRAME_TOP + height);
    (picture, Frame { left: FRAME_LEFT, right, top: FRAME_TOP, bottom, x, y })
}

/// The shipped model's skill, if it is on the scale.
fn ships(frame: &Frame, comparison: &Comparison<'_>) -> Option<f64> {
    comparison.shipped.filter(|skill| *skill >= frame.y.low())
}

/// Its label: the first of all.
fn shipped(frame: &Frame, comparison: &Comparison<'_>) -> Vec<Label> {
    let label = |skill| {
        let text = named("shipped model", Some(skill));
        Label { from: (frame.right, frame.y(skill)), text, tone: Tone::Dim, bold: true }
    };
    ships(frame, comparison).map(label).into_iter().collect()
}

/// And its line.
fn across(picture: &mut Picture, frame: &Frame, comparison: &Comparison<'_>) {
    if let Some(skill) = ships(frame, comparison) {
        let y = frame.y(skill);
        picture.dashed(vec![(frame.left, y), (frame.right, y)], Tone::Dim, 1.0);
    }
}

fn curve(
    picture: &mut Picture,
    frame: &Frame,
    method: &Method<'_>,
    over: &impl Fn(&Method<'_>) -> Vec<Point>,
    tone: Tone,
) {
    for piece in frame.pieces(&over(method)) {
        picture.curve(piece, tone, width(tone), tip(method));
    }
}

fn tip(method: &Method<'_>) -> String {
    let skill = figures::or_dash(method.driven, |skill| figures::skill(skill, 4));
    format!("{}: final skill {skill}, {} a vehicle", method.name, figures::bytes(method.total))
}

fn label(frame: &Frame, text: String, (x, skill): Point, tone: Tone) -> Label {
    let text = if skill < frame.y.low() { format!("↓ {text}") } else { text };
    let from = (frame.x(x), frame.y(skill));
    Label { from, text, tone, bold: tone != Tone::Pale }
}

/// The staircase over the ends of the methods that are on the front.
fn front(frame: &Frame, comparison: &Comparison<'_>) -> Vec<Point> {
    let on = comparison.methods.iter().filter(|method| method.front);
    let mut ends: Vec<Point> =
        on.filter_map(|method| Some((method.total, method.driven?))).collect();
    ends.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut stairs: Vec<Point> = Vec::new();
    for (bytes, skill) in ends {
        let (x, y) = (frame.x(bytes), frame.y(skill));
        if let Some((_x, before)) = stairs.last().copied() {
            stairs.push((x, before));
        }
        stairs.push((x, y));
    }
    if let Some((_x, last)) = stairs.last().copied() {
        stairs.push((frame.right, last));
    }
    stairs
}

/// Marks that do not touch.
fn thinned(frame: &Frame, ticks: Vec<Tick>) -> Vec<Tick> {
    let mut last = f64::NEG_INFINITY;
    let apart = |tick: &Tick| {
        let x = frame.x(tick.at);
        let kept = x - last >= 48.0;
        last = if kept { x } else { last };
        kept
    };
    ticks.into_iter().filter(apart).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_that_would_touch_are_left_out() {
        let scale = Scale::Linear { low: 0.0, high: 100.0 };
        let frame = Frame { left: 0.0, right: 100.0, top: 0.0, bottom: 1.0, x: scale, y: scale };
        let tick = |at: f64| Tick { at, text: String::new() };
        let kept = thinned(&frame, vec![tick(0.0), tick(20.0), tick(50.0), tick(90.0)]);
        assert_eq!(kept.iter().map(|tick| tick.at).collect::<Vec<_>>(), [0.0, 50.0]);
    }
}

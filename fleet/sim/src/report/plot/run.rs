//! One run: skill over windows, and the bytes of every window below it.

use super::axis::{Frame, Scale, extent};
use super::{BELOW, Column, FRAME_LEFT, FRAME_TOP, GAP, Label, WIDTH, heading};
use crate::record::{Record, Row};
use crate::report::figures;
use crate::report::picture::{Picture, Point, Tone};

/// Height of the frame of skill, pixels.
const SKILL: f64 = 340.0;
/// Height of the frame of bytes, pixels.
const BYTES: f64 = 150.0;
/// Width of the column of labels, pixels.
const LABELS: f64 = 230.0;

/// One curve and what it is called.
struct Curve {
    name: &'static str,
    points: Vec<Point>,
    tone: Tone,
    width: f64,
}

/// The picture of a run; `None` before anything was measured.
pub(in crate::report) fn run(record: &Record) -> Option<Picture> {
    let curves = skills(record);
    let values = curves.iter().flat_map(|curve| &curve.points).map(|(_window, skill)| *skill);
    let y = Scale::around(values)?;
    let windows = f64::from(record.head.windows.max(1));
    let x = Scale::Linear { low: 0.0, high: windows };
    let below = FRAME_TOP + SKILL + BELOW;
    let height = below + FRAME_TOP + BYTES + BELOW;
    let mut picture = Picture::new(WIDTH, height, "skill and bytes over windows");
    heading(
        &mut picture,
        0.0,
        "Held-out skill over windows",
        "1 − error ÷ error of ‘nothing moves’, mean over roads; window 0 is the shipped model",
    );
    let right = WIDTH - LABELS;
    let bottom = FRAME_TOP + SKILL;
    let frame = Frame { left: FRAME_LEFT, right, top: FRAME_TOP, bottom, x, y };
    frame.rules(&mut picture, &y.skill_ticks(6));
    frame.below(&mut picture, &x.whole_ticks(12), "windows gone by");
    draw(&mut picture, &frame, curves, |skill| figures::skill(skill, 4));
    bytes(&mut picture, record, below, x);
    Some(picture)
}

fn skills(record: &Record) -> Vec<Curve> {
    let over = |of: &dyn Fn(&Row) -> Option<f64>| -> Vec<Point> {
        let rows = record.rows.iter();
        rows.filter_map(|row| Some((f64::from(row.window), of(row)?))).collect()
    };
    let shipped = record.rows.first().and_then(|row| row.driven(&record.head));
    let curve = |name, points, tone, width| Curve { name, points, tone, width };
    let all = vec![
        curve("shipped, driven", over(&|_row| shipped), Tone::Dim, 1.4),
        curve("unseen roads", over(&|row| row.unseen(&record.head)), Tone::Orange, 2.2),
        curve("own, personal", over(&Row::own_mean), Tone::Green, 2.2),
        curve("driven roads", over(&|row| row.driven(&record.head)), Tone::Blue, 3.0),
    ];
    all.into_iter().filter(|curve| !curve.points.is_empty()).collect()
}

fn bytes(picture: &mut Picture, record: &Record, top: f64, x: Scale) {
    let over = |of: fn(&Row) -> f64| -> Vec<Point> {
        let rows = record.rows.iter().filter(|row| row.window > 0);
        rows.map(|row| (f64::from(row.window), of(row))).collect()
    };
    let curve = |name, points, tone| Curve { name, points, tone, width: 2.2 };
    let curves = vec![
        curve("received", over(|row| row.bytes.down), Tone::Purple),
        curve("sent", over(|row| row.bytes.up), Tone::Yellow),
    ];
    let values = curves.iter().flat_map(|curve| &curve.points).map(|(_window, bytes)| *bytes);
    let high = extent(values).map_or(1.0, |(_low, high)| high).max(1.0);
    let y = Scale::Linear { low: 0.0, high: 1.08 * high };
    let note = "mean over vehicles of what crossed a vehicle's socket in the window";
    heading(picture, top, "Bytes of a window", note);
    let top = top + FRAME_TOP;
    let right = WIDTH - LABELS;
    let frame = Frame { left: FRAME_LEFT, right, top, bottom: top + BYTES, x, y };
    frame.rules(picture, &y.byte_ticks(4));
    frame.below(picture, &x.whole_ticks(12), "windows gone by");
    draw(picture, &frame, curves, figures::bytes);
}

fn draw(picture: &mut Picture, frame: &Frame, curves: Vec<Curve>, show: impl Fn(f64) -> String) {
    let text = |curve: &Curve, last: f64| format!("{}{GAP}{}", show(last), curve.name);
    let label = |curve: &Curve| {
        let (x, last) = curve.points.last().copied()?;
        let from = (frame.x(x), frame.y(last));
        Some(Label { from, text: text(curve, last), tone: curve.tone, bold: true })
    };
    let column = Column::place(picture, curves.iter().filter_map(label).collect(), frame);
    for curve in &curves {
        let Some((x, last)) = curve.points.last().copied() else { continue };
        let Curve { name: _, points, tone, width } = curve;
        if *tone == Tone::Dim {
            let points = points.iter().map(|(x, y)| (frame.x(*x), frame.y(*y))).collect();
            picture.dashed(points, *tone, *width);
        } else if points.len() == 1 {
            picture.dot((frame.x(x), frame.y(last)), 4.0, *tone, false, text(curve, last));
        } else {
            for piece in frame.pieces(points) {
                picture.curve(piece, *tone, *width, text(curve, last));
            }
        }
    }
    column.write(picture);
}

//! `skill.svg`: held-out skill over windows, and below it the bytes that crossed.

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::fleet::result::FleetResult;
use crate::output::Failure;

const WIDTH: u32 = 920;
const HEIGHT: u32 = 700;
/// Pixels of the upper of the two charts.
const SKILL_HEIGHT: u32 = 440;
const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);
// Okabe and Ito's colours, told apart by everyone; the pale one is the third's.
const BLUE: RGBColor = RGBColor(0, 114, 178);
const ORANGE: RGBColor = RGBColor(213, 94, 0);
const PALE_ORANGE: RGBColor = RGBColor(240, 178, 120);
const YELLOW: RGBColor = RGBColor(230, 159, 0);
const GREEN: RGBColor = RGBColor(0, 158, 115);
const PURPLE: RGBColor = RGBColor(170, 80, 150);
const GRAY: RGBColor = RGBColor(110, 110, 110);

type Area<'a, 'b> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// One curve, with gaps where there is no value.
struct Curve {
    pieces: Vec<Vec<(f64, f64)>>,
    colour: RGBColor,
    width: u32,
}

/// What a curve is, or several of one look.
struct Entry {
    text: String,
    colour: RGBColor,
    width: u32,
}

/// One of the two charts.
struct Panel {
    title: &'static str,
    curves: Vec<Curve>,
    entries: Vec<Entry>,
    /// Of its values, low and high.
    span: (f64, f64),
    /// Digits behind the point of its scale.
    digits: usize,
}

/// Draws the picture as SVG text. Curves begin with x_p, before the first window.
pub(super) fn draw(result: &FleetResult) -> Result<String, Failure> {
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)).into_drawing_area();
        root.fill(&WHITE)?;
        let (upper, lower) = root.split_vertically(SKILL_HEIGHT);
        chart(&upper, result.windows, &skill(result))?;
        chart(&lower, result.windows, &bytes(result))?;
        root.present()?;
    }
    Ok(svg)
}

fn skill(result: &FleetResult) -> Panel {
    let skill = &result.skill;
    let (mut curves, mut entries) = (Vec::new(), Vec::new());
    let start = skill.pretrained;
    let curve = |values: &mut dyn Iterator<Item = Option<f64>>, colour, width| {
        let values = std::iter::once(start).chain(values);
        let points = values.enumerate().map(|(at, value)| Some((at as f64, value?)));
        Curve { pieces: pieces(points), colour, width }
    };
    let rows = &skill.by_window;
    let lone = rows.first().map_or(0, |row| row.alone.len());
    if skill.alone_mean.is_some() {
        for vehicle in 0..lone {
            let values = &mut rows.iter().map(|row| row.alone[vehicle]);
            curves.push(curve(values, PALE_ORANGE, 1));
        }
        curves.push(curve(&mut rows.iter().map(|row| row.alone_best), YELLOW, 2));
        curves.push(curve(&mut rows.iter().map(|row| row.alone_mean), ORANGE, 2));
    }
    curves.push(curve(&mut rows.iter().map(|_row| start), GRAY, 2));
    curves.push(curve(&mut rows.iter().map(|row| row.swarm_best), BLUE, 4));
    let mut entry = |name: &str, value: Option<f64>, colour, width| {
        let value = value.map_or_else(String::new, |value| format!(" {value:.3}"));
        entries.push(Entry { text: format!("{name}{value}"), colour, width });
    };
    entry("the swarm's best", skill.swarm_best, BLUE, 4);
    if skill.alone_mean.is_some() {
        entry("alone: mean", skill.alone_mean, ORANGE, 2);
        entry("the pack's choice", skill.alone_best, YELLOW, 2);
        entry("each", None, PALE_ORANGE, 1);
    }
    entry("pretrained (x_p)", skill.pretrained, GRAY, 2);
    let title = match result.metric.as_str() {
        "imitation" => "held-out imitation (1 − distance ÷ distance of ‘as often as before’)",
        _ => "held-out skill (1 − error ÷ error of ‘nothing moves’)",
    };
    Panel { title, span: span(&curves), curves, entries, digits: 3 }
}

fn bytes(result: &FleetResult) -> Panel {
    let curve = |bytes: &[u64], colour| {
        let kilobytes = bytes.iter().map(|bytes| *bytes as f64 / 1e3);
        let points = kilobytes.enumerate().map(|(window, value)| (window as f64 + 1.0, value));
        Curve { pieces: vec![points.collect()], colour, width: 2 }
    };
    let mut curves: Vec<Curve> =
        result.by_vehicle.iter().map(|row| curve(&row.bytes_down, PURPLE)).collect();
    curves.extend(result.by_vehicle.iter().map(|row| curve(&row.bytes_up, GREEN)));
    let entry = |name: &str, bytes: f64, colour| Entry {
        text: format!("{name}, mean {:.1}", bytes / 1e3),
        colour,
        width: 2,
    };
    let entries = vec![
        entry("down", result.bytes.down_per_vehicle_window, PURPLE),
        entry("up", result.bytes.up_per_vehicle_window, GREEN),
        Entry {
            text: format!("(a float32 adapter: {:.1})", result.bytes.float32_adapter as f64 / 1e3),
            colour: WHITE,
            width: 0,
        },
    ];
    let title = "kB a vehicle and window, MQTT packets at the socket";
    Panel { title, span: (0.0, span(&curves).1), curves, entries, digits: 0 }
}

/// A title, a row of what is what, and the curves over windows.
fn chart(area: &Area<'_, '_>, windows: u32, panel: &Panel) -> Result<(), Failure> {
    let Panel { title, curves, entries, span: (low, high), digits } = panel;
    let left = |size: f64, colour: &RGBColor| {
        ("sans-serif", size).into_font().color(colour).pos(Pos::new(HPos::Left, VPos::Center))
    };
    area.draw(&Text::new(*title, (16, 18), left(19.0, &INK)))?;
    let mut at = 16;
    for Entry { text, colour, width } in entries {
        if *width > 0 {
            area.draw(&PathElement::new([(at, 44), (at + 26, 44)], colour.stroke_width(*width)))?;
            at += 32;
        }
        area.draw(&Text::new(text.clone(), (at, 44), left(16.0, &INK)))?;
        // A character of this font is at most about this wide.
        at += 15 * text.chars().count() as i32 / 2 + 18;
    }
    let mut chart: Chart<'_, '_> = ChartBuilder::on(area)
        .margin_top(62)
        .margin_right(24)
        .margin_left(12)
        .margin_bottom(6)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..f64::from(windows), *low..*high)?;
    let text = ("sans-serif", 16).into_font().color(&INK);
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(INK)
        .label_style(text.clone())
        .axis_desc_style(text)
        .x_labels(windows.min(20) as usize + 1)
        .x_label_formatter(&|windows| format!("{windows:.0}"))
        .x_desc("windows gone by")
        .y_labels(6)
        .y_label_formatter(&|value| format!("{value:.0$}", *digits))
        .draw()?;
    for curve in curves {
        let style = curve.colour.stroke_width(curve.width);
        for piece in &curve.pieces {
            match piece.as_slice() {
                // Between two gaps.
                [alone] => {
                    let dot = Circle::new(*alone, curve.width, curve.colour.filled());
                    chart.draw_series([dot])?;
                }
                line => drop(chart.draw_series(LineSeries::new(line.iter().copied(), style))?),
            }
        }
    }
    Ok(())
}

/// What lies between gaps.
fn pieces(points: impl Iterator<Item = Option<(f64, f64)>>) -> Vec<Vec<(f64, f64)>> {
    let points: Vec<Option<(f64, f64)>> = points.collect();
    let pieces = points.split(Option::is_none).map(|piece| piece.iter().flatten().copied());
    pieces.map(Iterator::collect).filter(|piece: &Vec<_>| !piece.is_empty()).collect()
}

/// From the lowest to the highest value, with some room.
fn span(curves: &[Curve]) -> (f64, f64) {
    let values = || curves.iter().flat_map(|curve| curve.pieces.iter().flatten()).map(|at| at.1);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    if !low.is_finite() {
        return (0.0, 1.0);
    }
    let room = ((high - low) * 0.06).max(1e-3);
    (low - room, high + room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_has_gaps_where_there_is_no_value() {
        let values = [Some(0.5), Some(0.6), None, None, Some(0.7), None];
        let points = (0..).zip(values).map(|(at, value)| Some((f64::from(at), value?)));
        let found = pieces(points);
        assert_eq!(found, [vec![(0.0, 0.5), (1.0, 0.6)], vec![(4.0, 0.7)]]);
    }
}

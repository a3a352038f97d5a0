//! Scales, their ticks, and the frame that curves stand in.

use crate::report::figures;
use crate::report::picture::{Picture, Point, Style, Tone};

/// From figures to a share of the way along an axis.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scale {
    /// Evenly.
    Linear { low: f64, high: f64 },
    /// By powers of ten; `low` and `high` are above 0. What is at 0 has a place of its own before it, if `zero`.
    Log { low: f64, high: f64, zero: bool },
}

/// How much of a logarithmic axis the place of 0 takes.
const ZERO_SHARE: f64 = 0.07;

/// A mark on an axis.
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) text: String,
}

impl Scale {
    /// Evenly over the values, with some room; `None` without any.
    pub(super) fn around(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) = extent(values)?;
        // Enough for the numbers themselves to tell the ends apart.
        let room = ((high - low) * 0.06).max(1e-3).max(1e-9 * high.abs());
        Some(Scale::Linear { low: low - room, high: high + room })
    }

    /// For bytes: from 0 evenly, or by powers of ten where the largest is more than thirty times the smallest that is not 0.
    pub(super) fn of_bytes(values: impl Iterator<Item = f64> + Clone) -> Self {
        let zero = values.clone().any(|value| value <= 0.0);
        let Some((low, high)) = extent(values.filter(|value| *value > 0.0)) else {
            return Scale::Linear { low: 0.0, high: 1.0 };
        };
        if high > 30.0 * low {
            Scale::Log { low: low / 1.25, high: high * 1.25, zero }
        } else {
            Scale::Linear { low: 0.0, high: high * 1.05 }
        }
    }

    /// Share of the way, 0 to 1 for what is on it; what is beyond an end is at that end.
    pub(super) fn share(self, value: f64) -> f64 {
        match self {
            Scale::Linear { low, high } => ((value - low) / (high - low)).clamp(0.0, 1.0),
            Scale::Log { low, high, zero } => {
                let start = if zero { ZERO_SHARE } else { 0.0 };
                if value <= 0.0 {
                    return 0.25 * start;
                }
                let share = (value / low).ln() / (high / low).ln();
                start + (1.0 - start) * share.clamp(0.0, 1.0)
            }
        }
    }

    /// Lowest value that has its own place.
    pub(super) fn low(self) -> f64 {
        match self {
            Scale::Linear { low, high: _ } | Scale::Log { low, high: _, zero: _ } => low,
        }
    }

    /// About `count` marks of skill.
    pub(super) fn skill_ticks(self, count: usize) -> Vec<Tick> {
        let (step, places) = self.even(count);
        // As many digits as tell a step from the next.
        let digits = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
        let tick = |at: f64| Tick { at, text: figures::skill(at, digits) };
        places.into_iter().map(tick).collect()
    }

    /// About `count` marks of differences.
    pub(super) fn signed_ticks(self, count: usize) -> Vec<Tick> {
        let (step, places) = self.even(count);
        let digits = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
        let zero = 1e-6 * step;
        let text = |at: f64| match at.abs() > zero {
            true => figures::signed(at, digits),
            false => "0".to_owned(),
        };
        let tick = |at: f64| Tick { at, text: text(at) };
        places.into_iter().map(tick).collect()
    }

    /// About `count` marks of whole numbers.
    pub(super) fn whole_ticks(self, count: usize) -> Vec<Tick> {
        let places = self.even(count).1.into_iter().filter(|at| at.fract().abs() < 1e-9);
        places.map(|at| Tick { at, text: figures::count(at) }).collect()
    }

    /// About `count` marks of bytes.
    pub(super) fn byte_ticks(self, count: usize) -> Vec<Tick> {
        let tick = |at: f64| Tick { at, text: figures::bytes_short(at) };
        match self {
            Scale::Linear { .. } => self.even(count).1.into_iter().map(tick).collect(),
            Scale::Log { low, high, zero } => {
                let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
                let steps: &[f64] = if high > 1e4 * low { &[1.0] } else { &[1.0, 3.0] };
                let powers = (first..=last)
                    .flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
                let places = powers.filter(|at| (low..=high).contains(at));
                zero.then_some(0.0).into_iter().chain(places).map(tick).collect()
            }
        }
    }

    /// The step, and the multiples of it that are on the scale.
    fn even(self, count: usize) -> (f64, Vec<f64>) {
        let (low, high) = match self {
            Scale::Linear { low, high } | Scale::Log { low, high, zero: _ } => (low, high),
        };
        let rough = (high - low) / count.max(1) as f64;
        let unit = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|of| of * unit).into_iter().find(|of| *of >= rough);
        let step = step.unwrap_or(10.0 * unit);
        let (first, last) = ((low / step).ceil(), (high / step).floor());
        // More marks than asked for are those of a span that is too narrow for numbers: then none.
        let marks = ((last - first).max(-1.0) + 1.0) as usize;
        let marks = if marks > 4 * count.max(1) { 0 } else { marks };
        (step, (0..marks).map(|at| (first + at as f64) * step).collect())
    }
}

/// Lowest and highest.
pub(super) fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |found, value| {
        let (low, high) = found.unwrap_or((value, value));
        Some((value.min(low), value.max(high)))
    })
}

/// Where curves stand: pixels of its sides, and its scales.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
    pub(super) x: Scale,
    pub(super) y: Scale,
}

/// Size of the text on an axis, pixels.
pub(super) const TEXT: f64 = 12.0;

impl Frame {
    pub(super) fn x(&self, value: f64) -> f64 {
        self.left + self.x.share(value) * (self.right - self.left)
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        self.bottom - self.y.share(value) * (self.bottom - self.top)
    }

    /// Lines across, with their figures to the left.
    pub(super) fn rules(&self, picture: &mut Picture, ticks: &[Tick]) {
        for tick in ticks {
            let y = self.y(tick.at);
            picture.line(vec![(self.left, y), (self.right, y)], Tone::Rule, 1.0);
            picture.text((self.left - 8.0, y), &*tick.text, Tone::Dim, Style::end(TEXT));
        }
    }

    /// Figures below, and what they are.
    pub(super) fn below(&self, picture: &mut Picture, ticks: &[Tick], what: &str) {
        let bottom = vec![(self.left, self.bottom), (self.right, self.bottom)];
        picture.line(bottom, Tone::Dim, 1.0);
        for tick in ticks {
            let x = self.x(tick.at);
            picture.line(vec![(x, self.bottom), (x, self.bottom + 4.0)], Tone::Dim, 1.0);
            picture.text((x, self.bottom + 15.0), &*tick.text, Tone::Dim, Style::middle(TEXT));
        }
        let middle = 0.5 * (self.left + self.right);
        picture.text((middle, self.bottom + 36.0), what, Tone::Dim, Style::middle(TEXT));
    }

    /// The pieces of a curve that are above the lower end of the scale, in pixels. Where it crosses the end, it is cut.
    pub(super) fn pieces(&self, points: &[Point]) -> Vec<Vec<Point>> {
        let low = self.y.low();
        let mut pieces: Vec<Vec<Point>> = vec![Vec::new()];
        let mut before: Option<Point> = None;
        let push = |pieces: &mut Vec<Vec<Point>>, (x, y): Point| {
            if let Some(piece) = pieces.last_mut() {
                piece.push((self.x(x), self.y(y)));
            }
        };
        for &(x, y) in points {
            let crossing = before.filter(|(_x, last)| (*last >= low) != (y >= low));
            if let Some((x0, y0)) = crossing {
                push(&mut pieces, (x0 + (x - x0) * (low - y0) / (y - y0), low));
            }
            if y >= low {
                push(&mut pieces, (x, y));
            } else {
                pieces.push(Vec::new());
            }
            before = Some((x, y));
        }
        pieces.retain(|piece| piece.len() > 1);
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|tick| &*tick.text).collect()
    }

    #[test]
    fn marks_are_round_and_tell_each_other_apart() {
        let scale = Scale::Linear { low: 0.541, high: 0.562 };
        assert_eq!(texts(&scale.skill_ticks(5)), [".545", ".550", ".555", ".560"]);
        let windows = Scale::Linear { low: 0.0, high: 3.0 };
        assert_eq!(texts(&windows.whole_ticks(10)), ["0", "1", "2", "3"]);
        let bytes = Scale::of_bytes([0.0, 900.0, 2e6].into_iter());
        assert_eq!(
            texts(&bytes.byte_ticks(8)),
            ["0", "1 kB", "3 kB", "10 kB", "30 kB", "100 kB", "300 kB", "1 MB"]
        );
    }

    #[test]
    fn a_scale_takes_any_figures() {
        for values in [vec![0.5, 0.5], vec![-1e15, 1e15], vec![1e15, 1e15], vec![1e-300, 2e-300]] {
            let scale = Scale::around(values.iter().copied()).unwrap();
            assert!(scale.skill_ticks(6).len() <= 24);
            assert!(values.iter().all(|value| (0.0..=1.0).contains(&scale.share(*value))));
            let scale = Scale::of_bytes(values.iter().map(|value| value.abs()));
            assert!(scale.byte_ticks(6).len() <= 80);
        }
    }

    #[test]
    fn a_curve_below_the_scale_is_cut_where_it_leaves() {
        let scale = Scale::Linear { low: 0.0, high: 1.0 };
        let frame = Frame { left: 0.0, right: 1.0, top: 0.0, bottom: 1.0, x: scale, y: scale };
        let pieces = frame.pieces(&[(0.0, 1.0), (0.5, -1.0), (1.0, 1.0)]);
        assert_eq!(pieces, [[(0.0, 0.0), (0.25, 1.0)], [(0.75, 1.0), (1.0, 0.0)]]);
    }
}

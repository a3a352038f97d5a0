//! How one sample looks at its frames: a window, a mirror, tones and colours, a step in time.

use crate::clip::Footage;
use shoal_hal::{FrameShape, Span};

/// How the bytes of a frame become light in `[0, 1]`: `gain·(byte/255)^gamma + offset`, clamped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tone {
    pub(super) gain: f32,
    pub(super) offset: f32,
    pub(super) gamma: f32,
}

impl Tone {
    /// A value for each byte.
    fn table(self) -> [f32; 256] {
        core::array::from_fn(|byte| {
            let light = byte as f32 / 255.0;
            let light = if self.gamma == 1.0 { light } else { libm::powf(light, self.gamma) };
            (self.gain * light + self.offset).clamp(0.0, 1.0)
        })
    }
}

/// The part of a frame that is seen, as shares of its width and height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Window {
    pub(super) left: f32,
    pub(super) top: f32,
    pub(super) width: f32,
    pub(super) height: f32,
}

impl Window {
    /// The whole frame.
    pub(super) const WHOLE: Window = Window { left: 0.0, top: 0.0, width: 1.0, height: 1.0 };
}

/// All that is drawn for one sample. It is the same for all its frames, so what moves still moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct View {
    pub(super) window: Window,
    pub(super) flip: bool,
    pub(super) tone: Tone,
    /// Which colour of the source each of red, green and blue shows.
    pub(super) colours: [usize; 3],
    /// Index of the first frame in the footage.
    pub(super) first: usize,
    /// Frames of the footage from one frame of the sample to the next.
    pub(super) step: f64,
    /// If given, the last frame is shown still under this camera, in place of all frames.
    pub(super) drift: Option<Drift>,
    /// Whether the motion is withheld, even if it is known.
    pub(super) hide_motion: bool,
}

impl View {
    /// Index in the footage of frame `k` of the sample: nearest to the tick, a tie to the earlier.
    pub(super) fn index(&self, k: usize) -> usize {
        self.first + nearest(k as f64 * self.step)
    }
}

/// The whole number nearest to `x`, a tie to the lower.
fn nearest(x: f64) -> usize {
    (x - 0.5).ceil() as usize
}

/// Frames of the footage that a sample of `context` past frames and the next one spans, less one.
pub(super) fn reach(context: usize, step: f64) -> usize {
    nearest(context as f64 * step)
}

/// A step in time for footage of `ratio` source frames per frame of the model, played at `speed`.
///
/// Only true frames are shown. Footage near the model's rate steps by whole frames (the nearest in
/// proportion, so `speed` from √2 on skips every second frame and a slower one changes nothing);
/// footage of a higher rate takes the nearest frame, never less than one further.
pub(super) fn true_step(ratio: f64, speed: f64) -> f64 {
    let step = ratio * speed;
    if ratio < 1.5 {
        let whole = step.floor().max(1.0);
        if step * step >= whole * (whole + 1.0) { whole + 1.0 } else { whole }
    } else {
        step.max(1.0)
    }
}

/// Where a sample starts in a span, and its step: `step` if the span has room, else `plain`.
///
/// A start too near the end of the span moves back. `None` if not even `plain` fits.
pub(super) fn place(
    span: Span,
    start: usize,
    context: usize,
    step: f64,
    plain: f64,
) -> Option<(usize, f64)> {
    let frames = span.last - span.first;
    [step, plain].into_iter().find_map(|step| {
        let room = frames.checked_sub(reach(context, step))?;
        Some((start.min(span.first + room), step))
    })
}

/// Weights of source pixels for each pixel along one axis.
#[derive(Default)]
struct Axis {
    /// First source pixel and range in `weights`, per output pixel.
    taps: Vec<(usize, core::ops::Range<usize>)>,
    weights: Vec<f32>,
}

impl Axis {
    /// Resizes `[from, from + length)` of `source` pixels to `count`: averaged by area where that is
    /// smaller, linear between centres where it is larger.
    fn set(&mut self, source: usize, from: f32, length: f32, count: usize) {
        self.taps.clear();
        self.weights.clear();
        let scale = length / count as f32;
        for pixel in 0..count {
            let begin = self.weights.len();
            let first = if scale > 1.0 {
                self.area(source, from + pixel as f32 * scale, scale)
            } else {
                self.linear(source, from + (pixel as f32 + 0.5) * scale - 0.5)
            };
            self.taps.push((first, begin..self.weights.len()));
        }
    }

    fn area(&mut self, source: usize, low: f32, scale: f32) -> usize {
        let high = (low + scale).min(source as f32);
        let first = (low.max(0.0) as usize).min(source - 1);
        let begin = self.weights.len();
        let mut sum = 0.0;
        for pixel in first..source {
            let covered = (high.min(pixel as f32 + 1.0) - low.max(pixel as f32)).max(0.0);
            if pixel > first && covered <= 0.0 {
                break;
            }
            self.weights.push(covered);
            sum += covered;
        }
        for weight in &mut self.weights[begin..] {
            *weight /= sum;
        }
        first
    }

    fn linear(&mut self, source: usize, centre: f32) -> usize {
        let centre = centre.clamp(0.0, (source - 1) as f32);
        let first = centre as usize;
        let share = centre - first as f32;
        if share == 0.0 {
            self.weights.push(1.0);
        } else {
            self.weights.extend([1.0 - share, share]);
        }
        first
    }
}

/// Draws the frames of a sample into planes; keeps its tables from sample to sample.
#[derive(Default)]
pub(super) struct Painter {
    columns: Axis,
    rows: Axis,
    /// One colour of the source, its columns already resized: `[source rows, width]`.
    strip: Vec<f32>,
}

impl Painter {
    /// Writes frames `from`, `from + 1` … of `view` at `shape`, as many as `frames` has room for.
    ///
    /// `frames` is `[count, 3, height, width]`, values in `[0, 1]`.
    pub(super) fn paint(
        &mut self,
        footage: &dyn Footage,
        view: &View,
        from: usize,
        shape: FrameShape,
        frames: &mut [f32],
    ) {
        let source = footage.shape();
        let table = view.tone.table();
        let whole = source == shape && view.window == Window::WHOLE;
        if !whole {
            let (width, height) = (usize::from(source.width), usize::from(source.height));
            let Window { left, top, width: wide, height: tall } = view.window;
            let [w, h] = [width as f32, height as f32];
            self.columns.set(width, left * w, wide * w, usize::from(shape.width));
            self.rows.set(height, top * h, tall * h, usize::from(shape.height));
        }
        for (k, planes) in frames.chunks_exact_mut(shape.bytes()).enumerate() {
            let frame = footage.frame(view.index(from + k));
            for (plane, colour) in planes.chunks_exact_mut(shape.bytes() / 3).zip(view.colours) {
                if whole {
                    look_up(&frame[colour..], &table, plane);
                } else {
                    self.resize(&frame[colour..], usize::from(source.width), &table, plane);
                }
            }
        }
        if let Some(moved) = view.drift {
            drift(frames, shape, moved);
        }
        if view.flip {
            for row in frames.chunks_exact_mut(usize::from(shape.width)) {
                row.reverse();
            }
        }
    }

    /// One colour of `frame` (every third byte) through both axes into `plane`.
    fn resize(&mut self, frame: &[u8], width: usize, table: &[f32; 256], plane: &mut [f32]) {
        let columns = self.columns.taps.len();
        self.strip.clear();
        for row in frame.chunks(3 * width) {
            for (first, weights) in &self.columns.taps {
                let mut sum = 0.0;
                for (offset, weight) in self.columns.weights[weights.clone()].iter().enumerate() {
                    sum += weight * table[usize::from(row[3 * (first + offset)])];
                }
                self.strip.push(sum);
            }
        }
        for (out, (first, weights)) in plane.chunks_exact_mut(columns).zip(&self.rows.taps) {
            out.fill(0.0);
            for (offset, &weight) in self.rows.weights[weights.clone()].iter().enumerate() {
                let row = &self.strip[(first + offset) * columns..][..columns];
                for (out, value) in out.iter_mut().zip(row) {
                    *out += weight * value;
                }
            }
        }
    }
}

/// Every third byte of `frame` through `table`.
fn look_up(frame: &[u8], table: &[f32; 256], plane: &mut [f32]) {
    for (value, &byte) in plane.iter_mut().zip(frame.iter().step_by(3)) {
        *value = table[usize::from(byte)];
    }
}

/// A camera that moves evenly over a still picture: per step, in shares of its width and radians.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Drift {
    /// Natural logarithm of the enlargement per step; positive drives into the picture.
    pub(super) zoom: f32,
    pub(super) right: f32,
    pub(super) down: f32,
    pub(super) roll_rad: f32,
}

/// Moves the last frame of `frames` (`[count, 3, height, width]`) evenly over all of them.
///
/// The picture is sampled bilinearly, its edge repeated outside; it appears unmoved half way.
fn drift(frames: &mut [f32], shape: FrameShape, drift: Drift) {
    let (width, height) = (usize::from(shape.width), usize::from(shape.height));
    let size = shape.bytes();
    let count = frames.len() / size;
    let still = frames[(count - 1) * size..].to_vec();
    let (centre_x, centre_y) = ((width - 1) as f32 / 2.0, (height - 1) as f32 / 2.0);
    for (k, planes) in frames.chunks_exact_mut(size).enumerate() {
        let time = k as f32 - (count - 1) as f32 / 2.0;
        let shrink = libm::expf(-drift.zoom * time);
        let angle = drift.roll_rad * time;
        let (sine, cosine) = (shrink * libm::sinf(angle), shrink * libm::cosf(angle));
        let shift_x = centre_x - drift.right * time * width as f32;
        let shift_y = centre_y - drift.down * time * width as f32;
        for y in 0..height {
            for x in 0..width {
                let (dx, dy) = (x as f32 - centre_x, y as f32 - centre_y);
                let from_x = shift_x + cosine * dx - sine * dy;
                let from_y = shift_y + sine * dx + cosine * dy;
                for (plane, still) in
                    planes.chunks_exact_mut(size / 3).zip(still.chunks_exact(size / 3))
                {
                    plane[y * width + x] = bilinear(still, width, height, from_x, from_y);
                }
            }
        }
    }
}

/// Moves pictures (`[count, 3, height, width]` in all) to the right and down by so many pixels, their edges repeated.
pub(super) fn shift(frames: &mut [f32], shape: FrameShape, right: i32, down: i32) {
    let (width, height) = (usize::from(shape.width), usize::from(shape.height));
    if right != 0 {
        let by = (right.unsigned_abs() as usize).min(width - 1);
        for row in frames.chunks_exact_mut(width) {
            let (first, last) = (row[0], row[width - 1]);
            if right > 0 {
                row.copy_within(..width - by, by);
                row[..by].fill(first);
            } else {
                row.copy_within(by.., 0);
                row[width - by..].fill(last);
            }
        }
    }
    if down != 0 {
        let by = (down.unsigned_abs() as usize).min(height - 1);
        for plane in frames.chunks_exact_mut(width * height) {
            for row in 0..height {
                // Read before it is written over: from the far side.
                let to = if down > 0 { height - 1 - row } else { row };
                let from = if down > 0 { to.saturating_sub(by) } else { (to + by).min(height - 1) };
                plane.copy_within(from * width..(from + 1) * width, to * width);
            }
        }
    }
}

fn bilinear(plane: &[f32], width: usize, height: usize, x: f32, y: f32) -> f32 {
    let (x, y) = (x.clamp(0.0, (width - 1) as f32), y.clamp(0.0, (height - 1) as f32));
    let (left, top) = (x as usize, y as usize);
    let (right, bottom) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
    let (share_x, share_y) = (x - left as f32, y - top as f32);
    let row = |row: usize| {
        let (a, b) = (plane[row * width + left], plane[row * width + right]);
        a + share_x * (b - a)
    };
    let (above, below) = (row(top), row(bottom));
    above + share_y * (below - above)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clip::Frames;

    const PLAIN: Tone = Tone { gain: 1.0, offset: 0.0, gamma: 1.0 };

    fn view() -> View {
        View {
            window: Window::WHOLE,
            flip: false,
            tone: PLAIN,
            colours: [0, 1, 2],
            first: 0,
            step: 1.0,
            drift: None,
            hide_motion: false,
        }
    }

    /// One frame whose red plane is `red`, green and blue black.
    fn picture(width: u16, red: &[u8]) -> Frames {
        let shape = FrameShape { width, height: red.len() as u16 / width };
        let bytes = red.iter().flat_map(|&red| [red, 0, 0]).collect();
        Frames::new(shape, 10.0, bytes, Vec::new()).unwrap()
    }

    fn red(footage: &Frames, view: &View, width: u16, height: u16) -> Vec<f32> {
        let shape = FrameShape { width, height };
        let mut planes = vec![0.0; shape.bytes()];
        Painter::default().paint(footage, view, 0, shape, &mut planes);
        planes.truncate(shape.bytes() / 3);
        planes.iter().map(|value| (value * 255.0 * 16.0).round() / 16.0).collect()
    }

    #[test]
    fn a_smaller_picture_is_the_average_over_areas() {
        let source = picture(4, &[0, 10, 20, 30, 40, 50, 60, 70]);
        assert_eq!(red(&source, &view(), 2, 1), [25.0, 45.0]);
        // Three source pixels in two: 1.5 each.
        let source = picture(3, &[0, 30, 60]);
        assert_eq!(red(&source, &view(), 2, 1), [10.0, 50.0]);
    }

    #[test]
    fn a_larger_picture_is_linear_between_centres() {
        let source = picture(2, &[0, 80]);
        assert_eq!(red(&source, &view(), 4, 1), [0.0, 20.0, 60.0, 80.0]);
    }

    #[test]
    fn a_window_shows_its_part_only() {
        let source = picture(4, &[0, 10, 20, 30, 40, 50, 60, 70]);
        let window = Window { left: 0.5, top: 0.5, width: 0.5, height: 0.5 };
        assert_eq!(red(&source, &View { window, ..view() }, 2, 1), [60.0, 70.0]);
    }

    #[test]
    fn a_flip_mirrors_columns_and_colours_change_places() {
        let source = picture(3, &[0, 30, 60]);
        assert_eq!(red(&source, &View { flip: true, ..view() }, 3, 1), [60.0, 30.0, 0.0]);
        assert_eq!(red(&source, &View { colours: [1, 0, 2], ..view() }, 3, 1), [0.0; 3]);
    }

    #[test]
    fn tones_follow_their_formula_and_stay_in_bounds() {
        let tone = Tone { gain: 2.0, offset: -0.1, gamma: 2.0 };
        let table = tone.table();
        let light: f32 = 102.0 / 255.0;
        assert!((table[102] - (2.0 * light * light - 0.1)).abs() < 1e-6);
        assert_eq!((table[0], table[255]), (0.0, 1.0));
    }

    #[test]
    fn only_true_frames_are_shown() {
        assert_eq!(true_step(1.0, 0.5), 1.0);
        assert_eq!(true_step(1.0, 1.4), 1.0);
        assert_eq!(true_step(1.0, 1.5), 2.0);
        assert_eq!(true_step(1.0, 2.0), 2.0);
        assert_eq!(true_step(2.5, 0.5), 1.25);
        assert_eq!(true_step(2.0, 0.25), 1.0);
        // 25 frames a second for a model of 10: frames 0, 2 (tie of 2 and 3), 5, 7, 10.
        let view = View { step: 2.5, ..view() };
        assert_eq!([0, 1, 2, 3, 4].map(|k| view.index(k)), [0, 2, 5, 7, 10]);
    }

    #[test]
    fn a_sample_stays_in_its_span() {
        let span = Span { first: 10, last: 20 };
        assert_eq!(place(span, 12, 4, 2.0, 1.0), Some((12, 2.0)));
        assert_eq!(place(span, 15, 4, 2.0, 1.0), Some((12, 2.0)));
        assert_eq!(place(span, 18, 4, 3.0, 1.0), Some((16, 1.0)));
        assert_eq!(place(span, 18, 11, 1.0, 1.0), None);
    }

    #[test]
    fn a_shifted_picture_repeats_its_edges() {
        let shape = FrameShape { width: 3, height: 2 };
        let planes = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0].repeat(3);
        let shifted = |right, down| {
            let mut planes = planes.clone();
            shift(&mut planes, shape, right, down);
            assert_eq!(planes[..6], planes[12..]);
            planes[..6].to_vec()
        };
        assert_eq!(shifted(1, 0), [1.0, 1.0, 2.0, 4.0, 4.0, 5.0]);
        assert_eq!(shifted(-2, 0), [3.0, 3.0, 3.0, 6.0, 6.0, 6.0]);
        assert_eq!(shifted(0, 1), [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]);
        assert_eq!(shifted(-9, -1), [6.0; 6]);
    }

    #[test]
    fn drift_moves_a_still_picture_by_the_same_amount_each_step() {
        let shape = FrameShape { width: 8, height: 1 };
        let mut frames = vec![0.0; 3 * shape.bytes()];
        frames[2 * shape.bytes() + 4] = 1.0; // One red point at x = 4 of the last frame.
        let right = Drift { zoom: 0.0, right: 0.125, down: 0.0, roll_rad: 0.0 };
        drift(&mut frames, shape, right);
        let bright = |k: usize| {
            let row = &frames[k * shape.bytes()..][..8];
            row.iter().position(|&value| value > 0.99)
        };
        assert_eq!([bright(0), bright(1), bright(2)], [Some(3), Some(4), Some(5)]);
    }
}

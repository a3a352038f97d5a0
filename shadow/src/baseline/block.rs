//! Constant velocity: where each block came from tells where it goes.

use super::last_frames;
use crate::form::Form;
use crate::measure::Predictor;
use shoal_runtime::engine::EngineError;

/// Shifts that are tried: −7 … +7 pixels across, −4 … +4 down.
const REACH_X: usize = 7;
const REACH_Y: usize = 4;
/// A block is 9×9 pixels.
const BLOCK: usize = 4;
/// Sharpness of the softmax over shifts, per unit of mean absolute difference.
const SHARPNESS: f32 = 200.0;
/// Shifts whose weight against the best is below e⁻¹⁶ (1e-7) are left out.
const CUT: f32 = 16.0;

/// Block matching of the last two frames, applied again to the last one.
///
/// ```text
/// d_s(p)    = mean over 9×9 pixels q around p, and RGB, of |last(q) − before(q − s)|
/// w_s(p)    = softmax over s of −200·d_s(p)
/// next(p)   = Σ_s w_s(p)·last(p − s)
/// ```
///
/// over 15×9 shifts s of whole pixels. Frames have their edges repeated; a pixel q outside of the frame
/// counts as equal (blocks at an edge see less, which predicts better than repeating the edge there).
pub struct BlockMatching {
    form: Form,
    last: Padded,
    before: Padded,
    /// Absolute differences of one shift inside a margin of zeros, half a block wide.
    difference: Vec<f32>,
    /// Their sums over the rows of a block, and over 1, 2 and 4 columns of these.
    columns: [Vec<f32>; 3],
    /// d_s, `[shifts, height, width]`.
    distance: Vec<f32>,
    nearest: Vec<f32>,
    total: Vec<f32>,
}

impl BlockMatching {
    /// Past frames that it needs: one has no velocity.
    pub const FRAMES_MIN: usize = 2;

    /// Block matching of frames of `form`.
    ///
    /// # Panics
    /// If `form` has fewer than two past frames.
    pub fn new(form: Form) -> Self {
        assert!(form.frames >= Self::FRAMES_MIN, "a velocity needs two frames");
        let (width, height) = (usize::from(form.shape.width), usize::from(form.shape.height));
        let area = width * height;
        let wide = width + 2 * BLOCK;
        BlockMatching {
            last: Padded::new(width, height),
            before: Padded::new(width, height),
            difference: vec![0.0; wide * (height + 2 * BLOCK)],
            columns: core::array::from_fn(|_| vec![0.0; wide]),
            distance: vec![0.0; SHIFTS * area],
            nearest: vec![0.0; area],
            total: vec![0.0; area],
            form,
        }
    }

    /// Fills `distance` and `nearest`.
    fn compare(&mut self) {
        let width = self.last.width;
        let area = width * self.last.height;
        self.nearest.fill(f32::INFINITY);
        for shift in 0..SHIFTS {
            let (dx, dy) = offset(shift);
            self.subtract(dx, dy);
            let distance = &mut self.distance[shift * area..][..area];
            block_means(&self.difference, width, &mut self.columns, distance);
            for (nearest, &distance) in self.nearest.iter_mut().zip(distance.iter()) {
                *nearest = nearest.min(distance);
            }
        }
    }

    /// Σ over RGB of |last(q) − before(q − s)| for all q of the frame.
    fn subtract(&mut self, dx: isize, dy: isize) {
        let (width, wide) = (self.last.width, self.last.width + 2 * BLOCK);
        let rows = self.difference.chunks_exact_mut(wide).skip(BLOCK).take(self.last.height);
        for (y, out) in rows.enumerate() {
            let out = &mut out[BLOCK..BLOCK + width];
            let y = y as isize;
            let [r, g, b] = [0, 1, 2].map(|colour| self.last.row(colour, 0, y));
            let [r0, g0, b0] = [0, 1, 2].map(|colour| self.before.row(colour, -dx, y - dy));
            for x in 0..width {
                out[x] = (r[x] - r0[x]).abs() + (g[x] - g0[x]).abs() + (b[x] - b0[x]).abs();
            }
        }
    }

    /// Writes the weighted sum of the shifted last frame.
    fn move_again(&mut self, next: &mut [f32]) {
        let (width, height) = (self.last.width, self.last.height);
        let area = width * height;
        next.fill(0.0);
        self.total.fill(0.0);
        let mut weight = vec![0.0; width];
        for shift in 0..SHIFTS {
            let (dx, dy) = offset(shift);
            for y in 0..height {
                let distance = &self.distance[shift * area + y * width..][..width];
                let nearest = &self.nearest[y * width..][..width];
                if !weigh(distance, nearest, &mut weight) {
                    continue;
                }
                for (total, weight) in self.total[y * width..].iter_mut().zip(&weight) {
                    *total += weight;
                }
                for colour in 0..3 {
                    let from = self.last.row(colour, -dx, y as isize - dy);
                    let next = &mut next[colour * area + y * width..][..width];
                    for ((next, from), weight) in next.iter_mut().zip(from).zip(&weight) {
                        *next += weight * from;
                    }
                }
            }
        }
        for plane in next.chunks_exact_mut(area) {
            for (next, total) in plane.iter_mut().zip(&self.total) {
                *next /= total;
            }
        }
    }
}

/// How many shifts there are.
const SHIFTS: usize = (2 * REACH_X + 1) * (2 * REACH_Y + 1);

/// Pixels that shift number `shift` moves right and down.
fn offset(shift: usize) -> (isize, isize) {
    let (y, x) = (shift / (2 * REACH_X + 1), shift % (2 * REACH_X + 1));
    (x as isize - REACH_X as isize, y as isize - REACH_Y as isize)
}

/// Weights of one row against the nearest shift of each pixel; false if all are nothing.
fn weigh(distance: &[f32], nearest: &[f32], weight: &mut [f32]) -> bool {
    let mut any = false;
    for ((weight, distance), nearest) in weight.iter_mut().zip(distance).zip(nearest) {
        let exponent = SHARPNESS * (distance - nearest);
        *weight = if exponent < CUT { exp_minus(exponent) } else { 0.0 };
        any |= exponent < CUT;
    }
    any
}

/// e⁻ˣ for x in [0, 80), to 5e-6 of itself, in steps that compilers turn into vectors.
///
/// 2⁻ⁱ is put together from its bits, and what is left of the exponent, within ±½, goes through the
/// series of the exponential to its sixth power.
fn exp_minus(x: f32) -> f32 {
    /// Adding it leaves the nearest whole number in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let y = x * std::f32::consts::LOG2_E;
    let rounded = y + ROUND;
    let h = (rounded - ROUND - y) * std::f32::consts::LN_2;
    let series = h * (1.0 / 6.0 + h * (1.0 / 24.0 + h * (1.0 / 120.0 + h * (1.0 / 720.0))));
    let power = f32::from_bits(0x3F80_0000_u32.wrapping_sub(rounded.to_bits() << 23));
    power * (1.0 + h * (1.0 + h * (0.5 + series)))
}

/// Means over blocks of `difference` (`[height + 8, width + 8]`, sums over RGB), divided by three.
///
/// The rows of a block are summed once and then moved down, one added and one taken away; the columns
/// by doubling: nine are eight and one.
fn block_means(difference: &[f32], width: usize, columns: &mut [Vec<f32>; 3], means: &mut [f32]) {
    let [column, two, four] = columns;
    let wide = column.len();
    let row = |y: usize| &difference[y * wide..][..wide];
    column.fill(0.0);
    for y in 0..2 * BLOCK {
        add(column, row(y));
    }
    let scale = 1.0 / (3 * (2 * BLOCK + 1) * (2 * BLOCK + 1)) as f32;
    for (y, means) in means.chunks_exact_mut(width).enumerate() {
        add(column, row(y + 2 * BLOCK));
        pair(column, 1, two);
        pair(two, 2, four);
        for (((mean, low), high), last) in
            means.iter_mut().zip(&*four).zip(&four[4..]).zip(&column[2 * BLOCK..])
        {
            *mean = scale * (low + high + last);
        }
        for (column, value) in column.iter_mut().zip(row(y)) {
            *column -= value;
        }
    }
}

fn add(sum: &mut [f32], values: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += value;
    }
}

/// Every value and the one `apart` places further.
fn pair(values: &[f32], apart: usize, sums: &mut [f32]) {
    for ((sum, value), next) in sums.iter_mut().zip(values).zip(&values[apart..]) {
        *sum = value + next;
    }
}

/// A frame with its edge repeated as far as a shift reaches.
struct Padded {
    width: usize,
    height: usize,
    values: Vec<f32>,
}

impl Padded {
    fn new(width: usize, height: usize) -> Self {
        let values = vec![0.0; 3 * (width + 2 * REACH_X) * (height + 2 * REACH_Y)];
        Padded { width, height, values }
    }

    fn set(&mut self, planes: &[f32]) {
        let (wide, tall) = (self.width + 2 * REACH_X, self.height + 2 * REACH_Y);
        for (colour, padded) in self.values.chunks_exact_mut(wide * tall).enumerate() {
            let plane = &planes[colour * self.width * self.height..][..self.width * self.height];
            for (y, padded) in padded.chunks_exact_mut(wide).enumerate() {
                let y = y.saturating_sub(REACH_Y).min(self.height - 1);
                let row = &plane[y * self.width..][..self.width];
                padded[..REACH_X].fill(row[0]);
                padded[REACH_X..REACH_X + self.width].copy_from_slice(row);
                padded[REACH_X + self.width..].fill(row[self.width - 1]);
            }
        }
    }

    /// `width` values of one colour from column `x` of row `y` on; both may lie outside the frame.
    fn row(&self, colour: usize, x: isize, y: isize) -> &[f32] {
        let (wide, tall) = (self.width + 2 * REACH_X, self.height + 2 * REACH_Y);
        let (x, y) = ((x + REACH_X as isize) as usize, (y + REACH_Y as isize) as usize);
        &self.values[(colour * tall + y) * wide + x..][..self.width]
    }
}

impl Predictor for BlockMatching {
    fn describe(&self) -> String {
        "block matching applied again".into()
    }

    fn form(&self) -> &Form {
        &self.form
    }

    fn batch(&self) -> usize {
        8
    }

    fn predict(
        &mut self,
        clips: usize,
        frames: &[f32],
        _motion: &[f32],
        next: &mut [f32],
    ) -> Result<(), EngineError> {
        let (past, frame) = (self.form.frames_len(), self.form.shape.bytes());
        let form = self.form.clone();
        for (clip, (last, next)) in last_frames(&form, clips, frames, next).enumerate() {
            self.last.set(last);
            self.before.set(&frames[(clip + 1) * past - 2 * frame..][..frame]);
            self.compare();
            self.move_again(next);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::MotionInput;
    use shoal_hal::FrameShape;

    const WIDTH: usize = 40;
    const HEIGHT: usize = 30;

    fn form() -> Form {
        let shape = FrameShape { width: WIDTH as u16, height: HEIGHT as u16 };
        Form { shape, frames: 2, context: 2, rate_hz: 10.0, motion: MotionInput::NONE }
    }

    /// A textured plane, moved right by `dx` and down by `dy`.
    fn texture(dx: isize, dy: isize) -> Vec<f32> {
        let mut planes = Vec::new();
        for colour in 0..3_isize {
            for y in 0..HEIGHT as isize {
                for x in 0..WIDTH as isize {
                    let (x, y) = (x - dx + 1000, y - dy + 1000);
                    let mixed = (x * 7919 + y * 104_729 + colour * 31) % 251;
                    planes.push((mixed * mixed % 97) as f32 / 97.0);
                }
            }
        }
        planes
    }

    #[test]
    fn what_moves_evenly_is_predicted_exactly_away_from_the_edges() {
        for (dx, dy) in [(0, 0), (3, 0), (-7, 2), (5, -4)] {
            let frames = [texture(0, 0), texture(dx, dy)].concat();
            let truth = texture(2 * dx, 2 * dy);
            let mut next = vec![0.0; truth.len()];
            BlockMatching::new(form()).predict(1, &frames, &[], &mut next).unwrap();
            for y in 14..HEIGHT - 14 {
                for x in 14..WIDTH - 14 {
                    let place = y * WIDTH + x;
                    assert!((next[place] - truth[place]).abs() < 1e-4, "{dx} {dy} at {x} {y}");
                }
            }
        }
    }

    /// The sum over every pixel of every block, as the formula says it.
    #[test]
    fn moving_sums_agree_with_the_plain_formula() {
        let (before, last) = (texture(0, 0), texture(1, 2));
        let mut matching = BlockMatching::new(form());
        matching.last.set(&last);
        matching.before.set(&before);
        matching.compare();
        let at = |planes: &[f32], colour: usize, x: isize, y: isize| {
            let x = x.clamp(0, WIDTH as isize - 1) as usize;
            let y = y.clamp(0, HEIGHT as isize - 1) as usize;
            f64::from(planes[(colour * HEIGHT + y) * WIDTH + x])
        };
        for (x, y, shift) in [(0, 0, 0), (39, 29, 134), (20, 15, 67), (3, 28, 40)] {
            let (dx, dy) = offset(shift);
            let mut sum = 0.0;
            for qy in y - 4..=y + 4 {
                for qx in x - 4..=x + 4 {
                    if !(0..WIDTH as isize).contains(&qx) || !(0..HEIGHT as isize).contains(&qy) {
                        continue;
                    }
                    for colour in 0..3 {
                        let difference =
                            at(&last, colour, qx, qy) - at(&before, colour, qx - dx, qy - dy);
                        sum += difference.abs();
                    }
                }
            }
            let place = (shift * HEIGHT + y as usize) * WIDTH + x as usize;
            let got = f64::from(matching.distance[place]);
            assert!((got - sum / 243.0).abs() < 1e-5, "{got} {}", sum / 243.0);
        }
    }

    #[test]
    fn the_exponential_is_one() {
        for step in 0..8000 {
            let x = step as f32 / 100.0;
            let truth = libm::exp(-f64::from(x));
            let off = (f64::from(exp_minus(x)) / truth - 1.0).abs();
            assert!(off < 5e-6, "{x}: {off}"); // Half of it is the rounding of x·log₂e.
        }
        assert_eq!(exp_minus(0.0), 1.0);
    }

    #[test]
    fn a_still_picture_stays() {
        let frames = [texture(0, 0), texture(0, 0)].concat();
        let mut next = vec![0.0; frames.len() / 2];
        BlockMatching::new(form()).predict(1, &frames, &[], &mut next).unwrap();
        let off = next.iter().zip(&frames).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 1e-3, "{off}");
    }
}

//! Centre crop and area average: how every picture becomes a frame of the model's shape.

use crate::FrameShape;

/// From pictures of one size to frames of one shape.
///
/// The largest centred rectangle of the model's aspect is cut out (to fractions of a pixel) and laid
/// over the model's pixels; each becomes the mean of what it covers, a source pixel on an edge
/// counting by the part covered. A picture smaller than the model goes the same way. Pixels count as
/// square, as the file stores them.
#[derive(Clone, Debug)]
pub(super) struct Area {
    source_width: usize,
    source_height: usize,
    columns: Axis,
    rows: Axis,
    /// One row of column sums, reused from frame to frame.
    sums: Vec<f32>,
}

/// For every output pixel of one direction: the source pixels it covers, and their weights (sum 1).
#[derive(Clone, Debug)]
struct Axis {
    covers: Vec<Cover>,
    weights: Vec<f32>,
}

#[derive(Clone, Copy, Debug)]
struct Cover {
    first: usize,
    weights: (usize, usize),
}

impl Area {
    /// For pictures of `width`×`height` pixels, both at least 1.
    pub(super) fn new(width: usize, height: usize, shape: FrameShape) -> Self {
        let (out_width, out_height) = (usize::from(shape.width), usize::from(shape.height));
        assert!(width > 0 && height > 0 && shape.bytes() > 0, "no pixels");
        let wider = width * out_height > height * out_width;
        // The cut-out, as fractions of pixels.
        let (cut_width, cut_height) = if wider {
            ((height * out_width, out_height), (height, 1))
        } else {
            ((width, 1), (width * out_height, out_width))
        };
        let columns = Axis::new(width, cut_width, out_width);
        let sums = vec![0.0; columns.span() * 3];
        Self {
            source_width: width,
            source_height: height,
            columns,
            rows: Axis::new(height, cut_height, out_height),
            sums,
        }
    }

    /// Whether this is for pictures of `width`×`height`.
    #[cfg(feature = "recorded")]
    pub(super) fn is_for(&self, width: usize, height: usize) -> bool {
        (self.source_width, self.source_height) == (width, height)
    }

    /// Adds the frame made of `rgb` (row by row, three bytes a pixel) to the end of `frames`.
    pub(super) fn average(&mut self, rgb: &[u8], frames: &mut Vec<u8>) {
        let stride = self.source_width * 3;
        assert_eq!(rgb.len(), stride * self.source_height);
        let left = self.columns.covers[0].first;
        for row in &self.rows.covers {
            self.sums.fill(0.0);
            let weights = &self.rows.weights[row.weights.0..row.weights.1];
            for (index, &weight) in weights.iter().enumerate() {
                let from = (row.first + index) * stride + left * 3;
                let source = &rgb[from..from + self.sums.len()];
                for (sum, &byte) in self.sums.iter_mut().zip(source) {
                    *sum += weight * f32::from(byte);
                }
            }
            for column in &self.columns.covers {
                let weights = &self.columns.weights[column.weights.0..column.weights.1];
                let from = (column.first - left) * 3;
                let mut pixel = [0.5f32; 3];
                for (&weight, sums) in weights.iter().zip(self.sums[from..].chunks_exact(3)) {
                    for (value, &sum) in pixel.iter_mut().zip(sums) {
                        *value += weight * sum;
                    }
                }
                // Half a step was added: `as` cuts off, and saturates.
                frames.extend(pixel.map(|value| value as u8));
            }
        }
    }
}

impl Axis {
    /// `out` pixels over the centred `cut.0 / cut.1` of `source` pixels.
    fn new(source: usize, cut: (usize, usize), out: usize) -> Self {
        // In units of 1 / (2 · cut.1 · out) source pixel everything is a whole number.
        let pixel = 2 * cut.1 * out;
        let start = (source * cut.1 - cut.0) * out;
        let step = 2 * cut.0;
        let (mut covers, mut weights) = (Vec::with_capacity(out), Vec::new());
        for index in 0..out {
            let (from, to) = (start + index * step, start + (index + 1) * step);
            let (first, last) = (from / pixel, (to - 1) / pixel);
            let begin = weights.len();
            weights.extend((first..=last).map(|p| {
                let covered = to.min((p + 1) * pixel) - from.max(p * pixel);
                (covered as f64 / step as f64) as f32
            }));
            covers.push(Cover { first, weights: (begin, weights.len()) });
        }
        Self { covers, weights }
    }

    /// Source pixels from the first covered to the last.
    fn span(&self) -> usize {
        let (Some(first), Some(last)) = (self.covers.first(), self.covers.last()) else { return 0 };
        last.first + (last.weights.1 - last.weights.0) - first.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(width: usize, height: usize, rgb: &[u8], out: (u16, u16)) -> Vec<u8> {
        let mut frames = Vec::new();
        let shape = FrameShape { width: out.0, height: out.1 };
        Area::new(width, height, shape).average(rgb, &mut frames);
        frames
    }

    #[test]
    fn a_picture_of_the_models_shape_is_kept_byte_for_byte() {
        let rgb: Vec<u8> = (0..5 * 3 * 3).map(|i| (i * 37 % 256) as u8).collect();
        assert_eq!(frame(5, 3, &rgb, (5, 3)), rgb);
    }

    #[test]
    fn a_pixel_is_the_mean_of_what_it_covers() {
        // Four pixels in a row onto one: rounded to the nearest, a half upward.
        let rgb = [0, 0, 0, 10, 0, 1, 20, 0, 0, 30, 255, 1];
        assert_eq!(frame(4, 1, &rgb, (4, 1)), rgb);
        assert_eq!(frame(4, 4, &rgb.repeat(4), (1, 1)), [15, 64, 1]);
    }

    #[test]
    fn a_pixel_on_an_edge_counts_by_the_part_covered() {
        let rgb = [[0u8; 3], [90; 3], [255; 3]].concat().repeat(3);
        // 3 → 2: each takes one and a half pixels: (0 + 45)/1.5 and (45 + 255)/1.5.
        assert_eq!(frame(3, 3, &rgb, (2, 2)), [[30u8; 3], [200; 3]].concat().repeat(2));
    }

    #[test]
    fn the_cut_is_centred() {
        // A 6×1 picture onto a square: the two middle halves of pixels 2 and 3.
        let rgb: Vec<u8> = [9u8, 9, 100, 200, 9, 9].iter().flat_map(|&v| [v; 3]).collect();
        assert_eq!(frame(6, 1, &rgb, (1, 1)), [150; 3]);
        // And upright: of 1×6 too.
        assert_eq!(frame(1, 6, &rgb, (1, 1)), [150; 3]);
    }

    #[test]
    fn averages_agree_with_a_slow_sum_for_many_sizes() {
        for (width, height, out) in
            [(61, 19, (13, 6)), (80, 60, (32, 16)), (7, 11, (16, 4)), (3, 200, (2, 9))]
        {
            let rgb: Vec<u8> = (0..width * height * 3).map(|i| (i * 7919 % 251) as u8).collect();
            let fast = frame(width, height, &rgb, out);
            let slow = slow(width, height, &rgb, out);
            for (index, (&fast, &slow)) in fast.iter().zip(&slow).enumerate() {
                assert!((f64::from(fast) - slow).abs() < 0.501, "{width}×{height} at {index}");
            }
        }
    }

    fn slow(width: usize, height: usize, rgb: &[u8], out: (u16, u16)) -> Vec<f64> {
        let (w, h) = (f64::from(out.0), f64::from(out.1));
        let scale = (width as f64 / w).min(height as f64 / h);
        let (x0, y0) = ((width as f64 - w * scale) / 2.0, (height as f64 - h * scale) / 2.0);
        let overlap = |from: f64, pixel: usize| {
            ((pixel + 1) as f64).min(from + scale) - (pixel as f64).max(from)
        };
        let mut frame = Vec::new();
        for y in 0..out.1 {
            for x in 0..out.0 {
                let (fx, fy) = (x0 + f64::from(x) * scale, y0 + f64::from(y) * scale);
                for channel in 0..3 {
                    let mut sum = 0.0;
                    for row in 0..height {
                        for column in 0..width {
                            let part = overlap(fx, column).max(0.0) * overlap(fy, row).max(0.0);
                            sum += part * f64::from(rgb[(row * width + column) * 3 + channel]);
                        }
                    }
                    frame.push(sum / (scale * scale));
                }
            }
        }
        frame
    }
}

//! From what a camera stores to RGB: the five layouts that are read.

use std::io::Cursor;

use image::{ImageFormat, ImageReader, Limits};

/// A layout of pixels that is read, with its four letters in V4L2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelFormat {
    /// `YUYV`: two pixels in four bytes, colour at half the width.
    Yuyv,
    /// `NV12`: a plane of luma, then one of colour at half the width and height.
    Nv12,
    /// `RGB3`: red, green, blue.
    Rgb24,
    /// `GREY`: luma alone.
    Grey,
    /// `MJPG`: a JPEG a picture.
    Mjpeg,
}

impl PixelFormat {
    /// All of them, the one that costs least and loses least first: that is the order they are asked for.
    pub const ALL: [Self; 5] = [Self::Rgb24, Self::Yuyv, Self::Nv12, Self::Mjpeg, Self::Grey];

    /// The four letters by which V4L2 knows it, as a number.
    pub(super) const fn code(self) -> u32 {
        u32::from_le_bytes(match self {
            Self::Yuyv => *b"YUYV",
            Self::Nv12 => *b"NV12",
            Self::Rgb24 => *b"RGB3",
            Self::Grey => *b"GREY",
            Self::Mjpeg => *b"MJPG",
        })
    }

    /// Bytes of a row of the first plane without gaps; 0 where a picture has no rows of its own.
    pub(super) const fn row_bytes(self, width: usize) -> usize {
        match self {
            // Two pixels share their colour: an odd one has a whole pair.
            Self::Yuyv => width.div_ceil(2) * 4,
            Self::Nv12 => width.div_ceil(2) * 2,
            Self::Grey => width,
            Self::Rgb24 => width * 3,
            Self::Mjpeg => 0,
        }
    }
}

/// How colour is coded in luma and chroma.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coding {
    /// BT.709, otherwise BT.601.
    pub bt709: bool,
    /// 0 to 255, otherwise 16 to 235 (and 16 to 240).
    pub full: bool,
}

/// From luma and chroma to RGB in whole numbers: 16 binary places, rounded to the nearest.
#[derive(Clone, Copy, Debug)]
struct Matrix {
    black: i32,
    luma: i32,
    red_v: i32,
    green_u: i32,
    green_v: i32,
    blue_u: i32,
}

const PLACES: u32 = 16;

impl Matrix {
    fn new(coding: Coding) -> Self {
        let (red, blue) = if coding.bt709 { (0.2126, 0.0722) } else { (0.299, 0.114) };
        let green = 1.0 - red - blue;
        let (luma, chroma) = if coding.full { (1.0, 1.0) } else { (255.0 / 219.0, 255.0 / 224.0) };
        let fixed = |value: f64| (value * f64::from(1 << PLACES)).round() as i32;
        Self {
            black: if coding.full { 0 } else { 16 },
            luma: fixed(luma),
            red_v: fixed(chroma * 2.0 * (1.0 - red)),
            green_u: fixed(-chroma * 2.0 * blue * (1.0 - blue) / green),
            green_v: fixed(-chroma * 2.0 * red * (1.0 - red) / green),
            blue_u: fixed(chroma * 2.0 * (1.0 - blue)),
        }
    }

    fn rgb(&self, luma: u8, u: u8, v: u8) -> [u8; 3] {
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        let luma = (i32::from(luma) - self.black) * self.luma + (1 << (PLACES - 1));
        let byte = |sum: i32| (sum >> PLACES).clamp(0, 255) as u8;
        [
            byte(luma + self.red_v * v),
            byte(luma + self.green_u * u + self.green_v * v),
            byte(luma + self.blue_u * u),
        ]
    }
}

/// Turns pictures of one format and size into RGB.
#[derive(Clone, Debug)]
pub struct Converter {
    format: PixelFormat,
    width: usize,
    height: usize,
    /// Bytes from one row of the first plane to the next.
    stride: usize,
    matrix: Matrix,
    rgb: Vec<u8>,
}

impl Converter {
    /// For pictures of `width`×`height` pixels, both at least 1, rows `stride` bytes apart (or as near as they go).
    pub fn new(
        format: PixelFormat,
        (width, height): (usize, usize),
        stride: usize,
        coding: Coding,
    ) -> Self {
        let stride = stride.max(format.row_bytes(width));
        let rgb = vec![0; width * height * 3];
        Self { format, width, height, stride, matrix: Matrix::new(coding), rgb }
    }

    /// The picture in RGB, row by row; `None` if it is cut off or cannot be decoded.
    pub fn rgb(&mut self, picture: &[u8]) -> Option<&[u8]> {
        match self.format {
            PixelFormat::Yuyv => self.yuyv(picture)?,
            PixelFormat::Nv12 => self.nv12(picture)?,
            PixelFormat::Rgb24 => self.rgb24(picture)?,
            PixelFormat::Grey => self.grey(picture)?,
            PixelFormat::Mjpeg => self.mjpeg(picture)?,
        }
        Some(&self.rgb)
    }

    /// Each row of the first plane, with its place in RGB; `None` if the picture is too short.
    fn rows<'a>(&self, picture: &'a [u8]) -> Option<impl Iterator<Item = &'a [u8]> + use<'a>> {
        let (stride, row) = (self.stride, self.format.row_bytes(self.width));
        let whole = picture.get(..stride * (self.height - 1) + row)?;
        Some(whole.chunks(stride).map(move |line| &line[..row]))
    }

    fn yuyv(&mut self, picture: &[u8]) -> Option<()> {
        let rows = self.rows(picture)?;
        for (row, out) in rows.zip(self.rgb.chunks_exact_mut(self.width * 3)) {
            for (&[first, u, second, v], pair) in
                row.as_chunks::<4>().0.iter().zip(out.chunks_mut(6))
            {
                for (luma, pixel) in [first, second].into_iter().zip(pair.as_chunks_mut::<3>().0) {
                    *pixel = self.matrix.rgb(luma, u, v);
                }
            }
        }
        Some(())
    }

    fn nv12(&mut self, picture: &[u8]) -> Option<()> {
        let rows = self.rows(picture)?;
        let colour = picture.get(self.stride * self.height..)?;
        let row_bytes = self.format.row_bytes(self.width);
        let colour = colour.get(..self.stride * (self.height.div_ceil(2) - 1) + row_bytes)?;
        let two = |row: usize| colour.get(row / 2 * self.stride..).unwrap_or_default();
        for (index, (row, out)) in rows.zip(self.rgb.chunks_exact_mut(self.width * 3)).enumerate() {
            let pairs = two(index).as_chunks::<2>().0;
            let lumas = row.chunks(2).zip(out.chunks_mut(6));
            for ((lumas, pixels), &[u, v]) in lumas.zip(pairs) {
                for (&luma, pixel) in lumas.iter().zip(pixels.as_chunks_mut::<3>().0) {
                    *pixel = self.matrix.rgb(luma, u, v);
                }
            }
        }
        Some(())
    }

    fn rgb24(&mut self, picture: &[u8]) -> Option<()> {
        let rows = self.rows(picture)?;
        for (row, out) in rows.zip(self.rgb.chunks_exact_mut(self.width * 3)) {
            out.copy_from_slice(row);
        }
        Some(())
    }

    /// Luma alone, of the range that goes for all luma.
    fn grey(&mut self, picture: &[u8]) -> Option<()> {
        let rows = self.rows(picture)?;
        for (row, out) in rows.zip(self.rgb.chunks_exact_mut(self.width * 3)) {
            for (&luma, pixel) in row.iter().zip(out.as_chunks_mut::<3>().0) {
                *pixel = self.matrix.rgb(luma, 128, 128);
            }
        }
        Some(())
    }

    fn mjpeg(&mut self, picture: &[u8]) -> Option<()> {
        let mut reader = ImageReader::with_format(Cursor::new(picture), ImageFormat::Jpeg);
        let mut limits = Limits::default();
        limits.max_image_width = Some(self.width as u32);
        limits.max_image_height = Some(self.height as u32);
        limits.max_alloc = Some(64 * self.rgb.len() as u64 + (1 << 20));
        reader.limits(limits);
        let decoded = reader.decode().ok()?.into_rgb8();
        if decoded.as_raw().len() != self.rgb.len() || decoded.width() as usize != self.width {
            return None;
        }
        self.rgb.copy_from_slice(decoded.as_raw());
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TV: Coding = Coding { bt709: false, full: false };

    fn rgb(format: PixelFormat, size: (usize, usize), stride: usize, picture: &[u8]) -> Vec<u8> {
        Converter::new(format, size, stride, TV).rgb(picture).unwrap().to_vec()
    }

    /// Source: ITU-R BT.601 and BT.709, in f64.
    #[test]
    fn whole_numbers_agree_with_the_formula_for_every_coding() {
        for (bt709, full) in [(false, false), (false, true), (true, false), (true, true)] {
            let matrix = Matrix::new(Coding { bt709, full });
            let (kr, kb) = if bt709 { (0.2126, 0.0722) } else { (0.299, 0.114) };
            let (black, y_range, c_range) =
                if full { (0.0, 255.0, 255.0) } else { (16.0, 219.0, 224.0) };
            for case in 0..4096u32 {
                let [y, u, v, _] = (case.wrapping_mul(2_654_435_761)).to_le_bytes();
                let luma = (f64::from(y) - black) / y_range;
                let (pb, pr) = ((f64::from(u) - 128.0) / c_range, (f64::from(v) - 128.0) / c_range);
                let (r, b) = (luma + 2.0 * (1.0 - kr) * pr, luma + 2.0 * (1.0 - kb) * pb);
                let g = (luma - kr * r - kb * b) / (1.0 - kr - kb);
                for (ours, want) in matrix.rgb(y, u, v).into_iter().zip([r, g, b]) {
                    let want = (want * 255.0).clamp(0.0, 255.0);
                    assert!((f64::from(ours) - want).abs() < 0.51, "{y} {u} {v}: {ours}, {want}");
                }
            }
        }
    }

    #[test]
    fn black_white_and_the_gaps_between_rows() {
        // Two rows of two pixels, rows six bytes apart.
        let picture = [16, 128, 235, 128, 9, 9, 235, 128, 16, 128];
        let want = [[0; 3], [255; 3], [255; 3], [0; 3]].concat();
        assert_eq!(rgb(PixelFormat::Yuyv, (2, 2), 6, &picture), want);
        let picture = [16, 235, 9, 235, 16, 9, 128, 128];
        assert_eq!(rgb(PixelFormat::Nv12, (2, 2), 3, &picture), want);
        assert_eq!(rgb(PixelFormat::Grey, (2, 1), 0, &[16, 235]), want[..6]);
        assert_eq!(rgb(PixelFormat::Rgb24, (1, 2), 4, &[1, 2, 3, 0, 4, 5, 6]), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn odd_sides_have_their_colour_too() {
        let want = [[255; 3]; 9].concat();
        assert_eq!(rgb(PixelFormat::Yuyv, (3, 3), 0, &[235, 128, 235, 128].repeat(6)), want);
        let nv12 = [vec![235; 12], vec![128; 8]].concat();
        assert_eq!(rgb(PixelFormat::Nv12, (3, 3), 4, &nv12), want);
    }

    #[test]
    fn a_jpeg_of_another_size_or_cut_off_is_no_picture() {
        let picture = image::RgbImage::from_pixel(16, 8, image::Rgb([200, 10, 60]));
        let mut jpeg = Cursor::new(Vec::new());
        picture.write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
        let jpeg = jpeg.into_inner();
        let mut right = Converter::new(PixelFormat::Mjpeg, (16, 8), 0, TV);
        let decoded = right.rgb(&jpeg).unwrap();
        assert!(decoded.as_chunks::<3>().0.iter().all(|[r, ..]| r.abs_diff(200) < 8));
        assert_eq!(right.rgb(&jpeg[..20]), None);
        assert_eq!(Converter::new(PixelFormat::Mjpeg, (8, 8), 0, TV).rgb(&jpeg), None);
    }

    #[test]
    fn no_length_of_a_picture_panics() {
        for format in PixelFormat::ALL {
            for (width, height) in [(1, 1), (2, 2), (3, 5), (16, 3)] {
                let mut converter = Converter::new(format, (width, height), 0, TV);
                for bytes in 0..width * height * 4 {
                    let whole = converter.rgb(&vec![77; bytes]).is_some();
                    assert!(!whole || bytes >= width * height, "{format:?} of {bytes} bytes");
                }
            }
        }
    }
}

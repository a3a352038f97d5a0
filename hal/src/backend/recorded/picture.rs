//! One PNG or JPEG file: its size, and its pixels upright in RGB.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::gather::check_size;
use super::{ReadError, SIDE_PIXELS_MAX};

/// Longest picture file read, bytes.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Most memory one picture may take to decode, bytes.
const DECODE_BYTES_MAX: u64 = 1 << 30;

/// The bytes of a file of at most `bytes_max`.
pub(super) fn read_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>, ReadError> {
    let failed = |source| ReadError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len();
    if bytes > bytes_max {
        return Err(ReadError::FileTooLarge { path: path.to_owned(), bytes, bytes_max });
    }
    let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    // A file may grow while it is read.
    file.take(bytes_max).read_to_end(&mut content).map_err(failed)?;
    Ok(content)
}

/// A picture file whose head was read.
pub(super) struct Picture<'a> {
    path: &'a Path,
    decoder: Box<dyn ImageDecoder + 'a>,
    orientation: Orientation,
}

/// The bytes of the picture file at `path`.
pub(super) fn read_picture_file(path: &Path) -> Result<Vec<u8>, ReadError> {
    read_file(path, FILE_BYTES_MAX)
}

impl<'a> Picture<'a> {
    /// Reads the head of the picture `content`, found at `path`.
    pub(super) fn open(path: &'a Path, content: &'a [u8]) -> Result<Self, ReadError> {
        let failed = |source| ReadError::Picture { path: path.to_owned(), source };
        let mut reader = ImageReader::new(Cursor::new(content))
            .with_guessed_format()
            .map_err(|source: io::Error| ReadError::Io { path: path.to_owned(), source })?;
        let mut limits = Limits::default();
        limits.max_image_width = Some(SIDE_PIXELS_MAX as u32);
        limits.max_image_height = Some(SIDE_PIXELS_MAX as u32);
        limits.max_alloc = Some(DECODE_BYTES_MAX);
        reader.limits(limits);
        if reader.format() == Some(ImageFormat::Jpeg) && !jpeg_is_whole(content) {
            return Err(ReadError::PictureCutOff { path: path.to_owned() });
        }
        let mut decoder = reader.into_decoder().map_err(failed)?;
        let orientation = decoder.orientation().map_err(failed)?;
        let picture = Self { path, decoder: Box::new(decoder), orientation };
        let (width, height) = picture.size();
        check_size(path, width, height)?;
        Ok(picture)
    }

    /// Width and height of the upright picture.
    pub(super) fn size(&self) -> (usize, usize) {
        let (width, height) = self.decoder.dimensions();
        let (width, height) = (width as usize, height as usize);
        match self.orientation {
            Orientation::NoTransforms
            | Orientation::Rotate180
            | Orientation::FlipHorizontal
            | Orientation::FlipVertical => (width, height),
            Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH => (height, width),
        }
    }

    /// The pixels, upright, row by row, RGB; gray is repeated, transparency left out.
    pub(super) fn rgb(self) -> Result<Vec<u8>, ReadError> {
        let mut picture = DynamicImage::from_decoder(self.decoder)
            .map_err(|source| ReadError::Picture { path: self.path.to_owned(), source })?;
        picture.apply_orientation(self.orientation);
        Ok(picture.into_rgb8().into_raw())
    }
}

/// Whether a JPEG has an end-of-image marker after its first scan began. Decoders fill up what is
/// missing of a file that was cut off; as a frame of a drive it would be a lie.
fn jpeg_is_whole(jpeg: &[u8]) -> bool {
    // SOI, then segments: marker FF xx, length (big-endian, itself included).
    let mut at = 2;
    while let Some(&[0xff, marker]) = jpeg.get(at..at + 2) {
        match marker {
            0xff => at += 1, // fill byte
            0xda => return jpeg[at..].windows(2).any(|pair| pair == [0xff, 0xd9]),
            0xd9 => return true, // no scan: for the decoder to refuse
            _ => {
                let Some(&[high, low]) = jpeg.get(at + 2..at + 4) else { return false };
                at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
            }
        }
    }
    false
}

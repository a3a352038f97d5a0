//! The entry of the target `camera`: pictures as a camera stores them, and what the program says and writes that decodes a video.

use shoal_hal::FrameShape;
use shoal_hal::backend::linux::v4l2::{Coding, Converter, PixelFormat};
use shoal_hal::backend::recorded::frames_said;

use crate::parts::parts;

const SHAPE: FrameShape = FrameShape { width: 4, height: 2 };
const RATE_HZ: f64 = 10.0;
/// Most bytes of frames of a video here: a log may have one picture stand for many.
const FRAMES_BYTES_MAX: u64 = 1 << 16;
/// Pictures of one camera: more say nothing more.
const PICTURES_MAX: usize = 8;

/// Reads the bytes behind the first as what that says: pictures of a camera, of which four bytes say how they are laid out; or the
/// log and the pictures of a decoder.
///
/// # Panics
/// If a picture has another size than was said, or is another where another was before it; or frames are more than allowed, or none.
pub fn camera(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    match kind % 2 {
        0 => pictures(rest),
        _video => video(rest),
    }
}

fn pictures(bytes: &[u8]) {
    let Some(([format, size, gap, coding], rest)) = bytes.split_first_chunk() else { return };
    let format = PixelFormat::ALL[usize::from(*format) % PixelFormat::ALL.len()];
    let size = (usize::from(size % 16) + 1, usize::from(size / 16) + 1);
    let coding = Coding { bt709: coding & 1 == 1, full: coding & 2 == 2 };
    let converter = || Converter::new(format, size, (*gap).into(), coding);
    let mut camera = converter();
    for picture in parts(rest).take(PICTURES_MAX) {
        let Some(rgb) = camera.rgb(picture).map(<[u8]>::to_vec) else { continue };
        assert_eq!(rgb.len(), size.0 * size.1 * 3, "every pixel has its colour");
        let alone = converter().rgb(picture).map(<[u8]>::to_vec);
        assert!(alone == Some(rgb), "a picture is its own, whatever was before it");
    }
}

fn video(bytes: &[u8]) {
    let mut parts = parts(bytes);
    let log = parts.next().unwrap_or_default();
    let pictures = parts.next().unwrap_or_default();
    let read = |log: &[u8]| frames_said(log, pictures, (SHAPE, RATE_HZ), FRAMES_BYTES_MAX);
    let Ok(frames) = read(log) else { return };
    assert!(!frames.is_empty() && frames.len().is_multiple_of(SHAPE.bytes()), "frames are whole");
    assert!(frames.len() as u64 <= FRAMES_BYTES_MAX);
    // Another line that says nothing says nothing.
    let more = [log, b"\n[info] Stream mapping:\n"].concat();
    assert!(read(&more).is_ok_and(|again| again == frames), "one log gives one video");
}

//! Small drives, made on the spot.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use image::{ImageFormat, RgbImage};
use shoal_hal::FrameShape;
use shoal_hal::backend::recorded::{Drives, OpenError, RecordedOptions};

/// Shape of the frames that the tests ask for.
pub(crate) const SHAPE: FrameShape = FrameShape { width: 16, height: 8 };

/// Any length of drive is wanted: what is read is looked at, not how it is cut.
pub(crate) fn any_length() -> RecordedOptions {
    RecordedOptions { context: None, ..RecordedOptions::default() }
}

/// Opens the drives below `dir` at 10 Hz.
pub(crate) fn open(dir: &Path) -> Result<Drives, OpenError> {
    Drives::open(dir, SHAPE, 10.0, &any_length())
}

/// Opens a folder whose only drive is skipped; what is said of it.
pub(crate) fn skipped(dir: &Path) -> String {
    match open(dir) {
        Err(OpenError::NoneLeft { skipped, .. }) => {
            assert_eq!(skipped.len(), 1);
            skipped[0].to_string()
        }
        other => panic!("not skipped: {other:?}"),
    }
}

/// A picture of one gray.
pub(crate) fn gray(width: u32, height: u32, level: u8) -> RgbImage {
    RgbImage::from_pixel(width, height, image::Rgb([level; 3]))
}

/// A folder of `levels.len()` PNG frames, one gray each.
pub(crate) fn folder(dir: &Path, levels: &[u8]) {
    fs::create_dir_all(dir).unwrap();
    for (index, &level) in levels.iter().enumerate() {
        gray(32, 16, level).save(dir.join(format!("{index:04}.png"))).unwrap();
    }
}

/// A tub of `levels.len()` JPEG frames, one gray each; `deleted` is the manifest's list.
pub(crate) fn tub(dir: &Path, levels: &[u8], deleted: &str) {
    fs::create_dir_all(dir.join("images")).unwrap();
    let mut catalog = String::new();
    for (index, &level) in levels.iter().enumerate() {
        let name = format!("{index}_cam_image_array_.jpg");
        gray(32, 16, level).save(dir.join("images").join(&name)).unwrap();
        let angle = index as f32 / 100.0;
        catalog += &format!(
            "{{\"_index\": {index}, \"cam/image_array\": \"{name}\", \"user/angle\": {angle}, \
             \"user/throttle\": 0.5}}\n"
        );
    }
    fs::write(dir.join("catalog_0.catalog"), catalog).unwrap();
    let manifest = format!(
        "[\"cam/image_array\"]\n[\"image_array\"]\n{{}}\n{{}}\n{{\"paths\": \
         [\"catalog_0.catalog\"], \"current_index\": 9, \"deleted_indexes\": {deleted}}}\n"
    );
    fs::write(dir.join("manifest.json"), manifest).unwrap();
}

/// Runs ffmpeg with `arguments`, which name an input from standard input if they need one.
pub(crate) fn ffmpeg(arguments: &[&str], output: &Path, input: &[u8]) {
    let mut child = Command::new("ffmpeg")
        .args(["-v", "error", "-y"])
        .args(arguments)
        .arg(output)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    assert!(child.wait().unwrap().success(), "{arguments:?}");
}

/// A 64×32 MP4 at `rate` Hz of frames of one luma each, those that the filter `select` keeps: the
/// others are missing from the frames, not from the time.
pub(crate) fn video(path: &Path, rate: &str, lumas: &[u8], select: &str) {
    let mut input = Vec::new();
    for &luma in lumas {
        input.extend(std::iter::repeat_n(luma, 64 * 32));
        input.extend(std::iter::repeat_n(128, 2 * 32 * 16));
    }
    let raw = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "64x32", "-r", rate, "-i", "-"];
    let encode = ["-vf", select, "-c:v", "libx264", "-qp", "0"];
    // Matroska first: ffmpeg fills the gaps of what it encodes into MP4, not of what it copies.
    let gaps = path.with_extension("mkv");
    ffmpeg(&[&raw[..], &encode[..]].concat(), &gaps, &input);
    let copy = ["-i", gaps.to_str().unwrap(), "-c", "copy", "-movflags", "+faststart"];
    ffmpeg(&copy, path, b"");
    fs::remove_file(gaps).unwrap();
}

/// The bytes of `picture` as `format`.
pub(crate) fn encode(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

//! The camera alone: formats, frames, what is refused.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use shoal_hal::backend::linux::live::Live;
use shoal_hal::backend::linux::v4l2::{Camera, CameraError, CameraOptions, PixelFormat};
use shoal_hal::{FrameShape, Moments as _, conformance};

use super::{Checks, Outcome, must};

pub(crate) const SHAPE: FrameShape = FrameShape { width: 128, height: 64 };
pub(crate) const RATE_HZ: f64 = 10.0;

pub(crate) fn options(device: &str) -> CameraOptions {
    CameraOptions {
        device: PathBuf::from(device),
        size: None,
        format: None,
        read_write: false,
        silence_max: Duration::from_secs(5),
    }
}

fn writable(device: &str) -> CameraOptions {
    CameraOptions { read_write: true, ..options(device) }
}

pub(crate) fn check(checks: &mut Checks, device: &str) {
    checks.check("the camera opens and says what it gives", || {
        let camera = Camera::open(options(device), SHAPE, RATE_HZ)?;
        let (width, height) = camera.size();
        let hz = camera.interval().map_or(0.0, |interval| 1.0 / interval.as_secs_f64());
        let card = camera.card();
        Ok(format!("`{card}`, {:?} of {width}×{height} at {hz:.2} Hz", camera.format()))
    });
    checks.check("the kernel holds the camera open for reading alone", || {
        let mut camera = Camera::open(options(device), SHAPE, RATE_HZ)?;
        must(camera.is_read_only()?, "it is open for writing")?;
        camera.next(|_| true)?;
        let mut written = Camera::open(writable(device), SHAPE, RATE_HZ);
        must(written.is_err(), "two readers")?;
        drop(camera);
        written = Camera::open(writable(device), SHAPE, RATE_HZ);
        must(!written?.is_read_only()?, "what is asked for is not done")?;
        Ok("O_RDONLY, and it streams; open for writing only when that is asked for".to_owned())
    });
    checks.check("frames pass the conformance suite and change", || frames(device));
    checks.check("every layout of pixels shows the same picture", || layouts(device));
    checks.check("another size is given and read", || size(device));
    checks.check("a node that is no camera is refused by name", || {
        let refused = |device: &str| match Camera::open(options(device), SHAPE, RATE_HZ) {
            Ok(_) => "it opened".to_owned(),
            Err(error) => error.to_string(),
        };
        let (null, none) = (refused("/dev/null"), refused("/dev/video99"));
        must(null.contains("/dev/null is no camera"), &null)?;
        must(none.contains("cannot open the camera /dev/video99"), &none)?;
        Ok(format!("{null}; {none}"))
    });
    checks.check("a camera that another program reads is refused", || {
        let _first = Camera::open(options(device), SHAPE, RATE_HZ)?;
        match Camera::open(options(device), SHAPE, RATE_HZ) {
            Ok(_) => Err("two readers".into()),
            Err(error @ CameraError::Call { .. }) => Ok(error.to_string()),
            Err(error) => Err(error.into()),
        }
    });
}

fn frames(device: &str) -> Outcome {
    let mut live = Live::open(options(device), None, SHAPE, RATE_HZ)?;
    let seen = conformance::check(&mut live, 30);
    let seen = seen.map_err(|broken| format!("{broken:?}"))?;
    must(seen.frames >= 25, format_args!("{seen:?}"))?;
    let mut different = BTreeSet::new();
    for _ in 0..10 {
        if let Some(frame) = live.next()?.and_then(|moment| moment.frame) {
            must(frame.len() == SHAPE.bytes(), "a frame of another size")?;
            different.insert(frame.to_vec());
        }
    }
    must(different.len() >= 5, format_args!("only {} of 10 differ", different.len()))?;
    let seconds = seen.last.as_secs_f64();
    let damaged = live.camera().damaged();
    let (frames, moments, different) = (seen.frames, seen.moments, different.len());
    Ok(format!(
        "{frames} frames in {moments} moments, the last at {seconds:.1} s; {different} of 10 differ; {damaged} \
         damaged"
    ))
}

/// The mean frame of a few, which evens out what moves.
fn mean(device: &str, format: PixelFormat) -> Result<Vec<f64>, CameraError> {
    let mut camera =
        Camera::open(CameraOptions { format: Some(format), ..options(device) }, SHAPE, RATE_HZ)?;
    let mut sums = vec![0.0; SHAPE.bytes()];
    for _ in 0..5 {
        let shot = camera.next(|_| true)?;
        sums.iter_mut().zip(shot.frame).for_each(|(sum, &byte)| *sum += f64::from(byte) / 5.0);
    }
    Ok(sums)
}

fn layouts(device: &str) -> Outcome {
    let want = mean(device, PixelFormat::Rgb24)?;
    let contrast = want.iter().map(|v| (v - 128.0).abs()).sum::<f64>() / want.len() as f64;
    let mut seen = format!("RGB24 (contrast {contrast:.0})");
    for format in [PixelFormat::Yuyv, PixelFormat::Nv12, PixelFormat::Grey, PixelFormat::Mjpeg] {
        let got = match mean(device, format) {
            Ok(got) => got,
            Err(CameraError::Format { .. }) => {
                seen += &format!(", {format:?} is not offered");
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let off = if format == PixelFormat::Grey {
            // vivid makes gray by BT.709, of the full range.
            let luma = |p: &[f64]| 0.2126 * p[0] + 0.7152 * p[1] + 0.0722 * p[2];
            let pairs = want.chunks(3).zip(got.chunks(3));
            pairs.map(|(want, got)| (luma(want) - got[0]).abs()).sum::<f64>() * 3.0
        } else {
            want.iter().zip(&got).map(|(want, got)| (want - got).abs()).sum::<f64>()
        };
        let off = off / want.len() as f64;
        must(off < 4.0, format_args!("{format:?} is off by {off:.1} of 255"))?;
        seen += &format!(", {format:?} off by {off:.2} of 255");
    }
    Ok(seen)
}

fn size(device: &str) -> Outcome {
    let ask = CameraOptions { size: Some((320, 180)), ..options(device) };
    let mut camera = Camera::open(ask, SHAPE, RATE_HZ)?;
    let (width, height) = camera.size();
    let bytes = camera.next(|_| true)?.frame.len();
    must(bytes == SHAPE.bytes(), format_args!("{bytes} bytes"))?;
    must(width < 640, format_args!("{width}×{height}"))?;
    Ok(format!("320×180 asked, {width}×{height} given"))
}

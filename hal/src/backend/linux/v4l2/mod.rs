//! A camera of Video4Linux: opened for reading alone, streamed by shared memory.
//!
//! The node is opened with `O_RDONLY`. Its buffers are then exported as files that are open for reading
//! alone (`VIDIOC_EXPBUF`) and mapped for reading: no byte can be written to it. A driver that exports no
//! buffers streams only when it is open for writing, too, which has to be asked for; its buffers are
//! mapped for reading all the same. Asking for a format and a rate is a call of its own; no other setting
//! of the camera is touched.

mod pixels;
mod uapi;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

pub use pixels::{Coding, Converter, PixelFormat};

use super::monotonic;
use crate::FrameShape;
use crate::backend::area::Area;
use uapi::{Device, Filled, PixFormat, StartError, Stream};

/// Longest side of a camera's picture, pixels.
pub const SIDE_PIXELS_MAX: u32 = 8192;

/// Buffers that the camera fills in turn.
const BUFFERS: u32 = 4;

/// A camera may give so much less than the model's rate: 29.97 counts as 30.
const RATE_TOLERANCE: f64 = 0.97;
/// Rates that are asked for in turn, of the model's: a driver may take the slower of two that are as near.
const RATES: [f64; 4] = [1.0, 1.5, 2.0, 3.0];

/// The longest that a picture waits in a buffer before it is looked at; one that says it is older has a wrong time.
const AGE_MAX: Duration = Duration::from_secs(10);
/// A picture may be so much younger than its reading: clocks of cameras are reckoned into ours.
const AHEAD_MAX: Duration = Duration::from_millis(100);

/// Which camera, and how it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct CameraOptions {
    /// Its node, `/dev/video0`.
    pub device: PathBuf,
    /// Width and height to ask for, pixels; `None` leaves them as they are.
    pub size: Option<(u32, u32)>,
    /// Layout of pixels to ask for; `None` takes the first of [`PixelFormat::ALL`] that is offered.
    pub format: Option<PixelFormat>,
    /// Open it for writing, too: for drivers that export no buffers. Nothing is ever written.
    pub read_write: bool,
    /// Longest time without a picture that can be used; beyond it the camera counts as lost.
    pub silence_max: Duration,
}

/// Why there is no picture of a camera.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum CameraError {
    /// The node is not there, or not ours to read.
    #[error(
        "cannot open the camera {}: name its node as `device` under [camera] and let this user read it \
         (group video)",
        device.display()
    )]
    Open {
        device: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is no camera of Video4Linux.
    #[error("{} is no camera: {what}", device.display())]
    NoCamera { device: PathBuf, what: &'static str },
    /// A call failed.
    #[error("the camera {} does not {what}", device.display())]
    Call {
        device: PathBuf,
        what: &'static str,
        #[source]
        source: io::Error,
    },
    /// It offers no layout of pixels that is read, or not the one that is asked for.
    #[error("the camera {} offers {offered}; read are {wanted}", device.display())]
    Format { device: PathBuf, offered: String, wanted: String },
    /// The size it gives cannot be read.
    #[error(
        "the camera {} gives {width}×{height} pixels; sides of 1 to {SIDE_PIXELS_MAX} are read",
        device.display()
    )]
    Size { device: PathBuf, width: u32, height: u32 },
    /// It is slower than the model.
    #[error(
        "the camera {} gives {camera_hz:.2} pictures a second, the model needs {model_hz:.2}: ask for \
         another `width` and `height` under [camera]",
        device.display()
    )]
    TooSlow { device: PathBuf, camera_hz: f64, model_hz: f64 },
    /// It cannot stream as it is open.
    #[error(
        "the driver of the camera {} lets no buffer be mapped while it is open for reading alone: \
         `read_write = true` under [camera] opens it for writing, too; nothing is ever written to it",
        device.display()
    )]
    ReadOnly {
        device: PathBuf,
        #[source]
        source: io::Error,
    },
    /// No picture came, or none that could be used.
    #[error(
        "the camera {} gave no picture for {seconds:.1} s ({damaged} damaged ones)",
        device.display()
    )]
    Silent { device: PathBuf, seconds: f64, damaged: u64 },
}

/// A frame of the model's shape, and when the camera took it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shot<'a> {
    /// The frame, RGB, HWC.
    pub frame: &'a [u8],
    /// Time of the picture since the computer started, not counting sleep.
    pub at: Duration,
}

/// A camera that streams. It can be read and nothing else.
pub struct Camera {
    options: CameraOptions,
    stream: Stream,
    card: String,
    format: PixelFormat,
    size: (u32, u32),
    interval: Option<Duration>,
    converter: Converter,
    area: Area,
    shape: FrameShape,
    frame: Vec<u8>,
    damaged: u64,
    misdated: u64,
}

impl std::fmt::Debug for Camera {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Camera").field("options", &self.options).field("card", &self.card).finish()
    }
}

impl Camera {
    /// Opens a camera and starts it, for frames of `shape` at `rate_hz`.
    ///
    /// # Errors
    /// [`CameraError`]: no camera there, no layout of pixels that is read, slower than the rate.
    ///
    /// # Panics
    /// If the shape has no pixel.
    pub fn open(
        options: CameraOptions,
        shape: FrameShape,
        rate_hz: f64,
    ) -> Result<Self, CameraError> {
        let path = || options.device.clone();
        let failed = |what| move |source| CameraError::Call { device: path(), what, source };
        let device = Device::open(&options.device, options.read_write)
            .map_err(|source| CameraError::Open { device: path(), source })?;
        let about = device.about().map_err(|_no_answer| CameraError::NoCamera {
            device: path(),
            what: "it does not say what it can do",
        })?;
        let lacks = [
            (about.captures, "it gives no pictures in one plane of memory"),
            (about.streams, "it does not stream"),
        ];
        if let Some((_, what)) = lacks.into_iter().find(|(has, _)| !has) {
            return Err(CameraError::NoCamera { device: path(), what });
        }
        let format = choose(&device, &options)?;
        let pix = ask(&device, &options, format).map_err(failed("take a format"))?;
        let PixFormat { width, height, .. } = pix;
        if pix.pixel_format != format.code() {
            let (offered, wanted) = (letters(pix.pixel_format), letters(format.code()));
            return Err(CameraError::Format { device: path(), offered, wanted });
        }
        if ![width, height].iter().all(|side| (1..=SIDE_PIXELS_MAX).contains(side)) {
            return Err(CameraError::Size { device: path(), width, height });
        }
        let interval_s = interval(rate_hz, |rate_hz| device.set_rate(rate_hz));
        if let Some(camera_hz) = interval_s.map(|seconds| 1.0 / seconds)
            && camera_hz < rate_hz * RATE_TOLERANCE
        {
            return Err(CameraError::TooSlow { device: path(), camera_hz, model_hz: rate_hz });
        }
        let sides = (width as usize, height as usize);
        let stream = device.start(BUFFERS).map_err(|error| match error {
            StartError::Map(source) if !options.read_write => {
                CameraError::ReadOnly { device: path(), source }
            }
            StartError::Map(source) | StartError::Call(source) => failed("stream")(source),
        })?;
        Ok(Self {
            stream,
            card: about.card,
            format,
            size: (width, height),
            interval: interval_s.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
            converter: Converter::new(
                format,
                sides,
                pix.bytes_per_line as usize,
                coding(&pix, format),
            ),
            area: Area::new(sides.0, sides.1, shape),
            shape,
            frame: Vec::with_capacity(shape.bytes()),
            damaged: 0,
            misdated: 0,
            options,
        })
    }

    /// Its name, as its driver gives it.
    #[must_use]
    pub fn card(&self) -> &str {
        &self.card
    }

    /// The layout of its pixels.
    #[must_use]
    pub const fn format(&self) -> PixelFormat {
        self.format
    }

    /// Width and height of its pictures, pixels.
    #[must_use]
    pub const fn size(&self) -> (u32, u32) {
        self.size
    }

    /// Time between two pictures; `None` if it does not say.
    #[must_use]
    pub const fn interval(&self) -> Option<Duration> {
        self.interval
    }

    /// Shape of the frames it is opened for.
    #[must_use]
    pub const fn shape(&self) -> FrameShape {
        self.shape
    }

    /// Pictures that were damaged, cut off or could not be decoded.
    #[must_use]
    pub const fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Pictures whose time could not be true: they count as taken when they were read.
    #[must_use]
    pub const fn misdated(&self) -> u64 {
        self.misdated
    }

    /// Waits until there is a picture to look at, or something is wrong, which [`Camera::next`] then says; `false`
    /// after `longest`.
    ///
    /// # Errors
    /// [`CameraError::Call`] if the camera cannot be waited for.
    pub fn ready(&self, longest: Duration) -> Result<bool, CameraError> {
        self.stream.wait(longest).map_err(|source| self.failed("answer", source))
    }

    /// That no picture came for so long.
    #[must_use]
    pub fn silent(&self, silence: Duration) -> CameraError {
        let (seconds, damaged) = (silence.as_secs_f64(), self.damaged);
        CameraError::Silent { device: self.options.device.clone(), seconds, damaged }
    }

    /// Whether the kernel holds the node open for reading and not for writing.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn is_read_only(&self) -> io::Result<bool> {
        self.stream.device().is_read_only()
    }

    /// The next picture whose time is `wanted`, as a frame; the others cost nothing but their time.
    ///
    /// # Errors
    /// [`CameraError::Call`] if the camera is gone, [`CameraError::Silent`] if nothing usable came for so
    /// long that it counts as lost. A later call may succeed after a silence.
    pub fn next(
        &mut self,
        mut wanted: impl FnMut(Duration) -> bool,
    ) -> Result<Shot<'_>, CameraError> {
        let mut heard = monotonic();
        loop {
            let silence = monotonic().saturating_sub(heard);
            let Some(longest) = self.options.silence_max.checked_sub(silence) else {
                return Err(self.silent(silence));
            };
            self.ready(longest)?;
            let taken =
                self.stream.take().map_err(|source| self.failed("give a picture", source))?;
            let Some(filled) = taken else { continue };
            let (at, is_true) = time_of(filled.at, monotonic());
            self.misdated += u64::from(!is_true);
            let wanted = wanted(at);
            let used = wanted && self.use_picture(&filled);
            self.stream
                .queue(filled.index)
                .map_err(|source| self.failed("take a buffer back", source))?;
            if used {
                return Ok(Shot { frame: &self.frame, at });
            }
            if wanted {
                self.damaged += 1;
            } else {
                heard = monotonic();
            }
        }
    }

    /// Makes a picture the frame; `false` if it is damaged.
    fn use_picture(&mut self, filled: &Filled) -> bool {
        if filled.damaged {
            return false;
        }
        let Some(rgb) = self.converter.rgb(self.stream.picture(filled)) else { return false };
        self.frame.clear();
        self.area.average(rgb, &mut self.frame);
        true
    }

    fn failed(&self, what: &'static str, source: io::Error) -> CameraError {
        CameraError::Call { device: self.options.device.clone(), what, source }
    }
}

/// When a picture was taken that is read `now`, and whether its own `stamp` may be true. One wrong time must not decide
/// which pictures are wanted from then on.
fn time_of(stamp: Option<Duration>, now: Duration) -> (Duration, bool) {
    let Some(stamp) = stamp else { return (now, true) };
    if stamp > now {
        return (now, stamp - now <= AHEAD_MAX);
    }
    if now - stamp > AGE_MAX { (now, false) } else { (stamp, true) }
}

/// Asks for a rate, and for faster ones while what is given is too slow; seconds between two pictures that are given, if
/// the device says. Of more pictures than the model needs some are left out.
fn interval(rate_hz: f64, mut ask: impl FnMut(f64) -> Option<f64>) -> Option<f64> {
    let mut given = None;
    for times in RATES {
        // What was given before stays in force if the device does not answer again.
        let seconds = ask(rate_hz * times).or(given)?;
        given = Some(seconds);
        if 1.0 / seconds >= rate_hz * RATE_TOLERANCE {
            break;
        }
    }
    given
}

/// The layout that is asked for, or the first of ours, that the device offers.
fn choose(device: &Device, options: &CameraOptions) -> Result<PixelFormat, CameraError> {
    let offered = device.formats();
    let wanted = options.format.as_ref().map_or(&PixelFormat::ALL[..], std::slice::from_ref);
    let found = wanted.iter().find(|format| offered.contains(&format.code()));
    found.copied().ok_or_else(|| {
        let names = |codes: Vec<u32>| codes.into_iter().map(letters).collect::<Vec<_>>().join(", ");
        let wanted = names(wanted.iter().map(|format| format.code()).collect());
        let offered = if offered.is_empty() { "no format".to_owned() } else { names(offered) };
        CameraError::Format { device: options.device.clone(), offered, wanted }
    })
}

/// Asks for a format at the configured size, or at the one the camera has.
fn ask(device: &Device, options: &CameraOptions, format: PixelFormat) -> io::Result<PixFormat> {
    let is = device.format()?;
    let (width, height) = options.size.unwrap_or((is.width, is.height));
    // `V4L2_FIELD_NONE`: whole pictures, not every second row.
    let want =
        PixFormat { width, height, pixel_format: format.code(), field: 1, ..PixFormat::default() };
    device.set_format(want)
}

fn letters(code: u32) -> String {
    code.to_le_bytes()
        .map(|byte| if byte.is_ascii_graphic() { byte as char } else { '?' })
        .iter()
        .collect()
}

/// How a camera codes colour; what it leaves open is as V4L2 says: by its colour space. Of luma alone drivers give
/// the full range without saying so.
fn coding(pix: &PixFormat, format: PixelFormat) -> Coding {
    const REC709: u32 = 3;
    const JPEG: u32 = 7;
    const ENCODING_709: u32 = 2;
    const FULL: u32 = 1;
    let bt709 = match pix.ycbcr_encoding {
        0 => pix.colorspace == REC709,
        encoding => encoding == ENCODING_709,
    };
    let full = match pix.quantization {
        0 => pix.colorspace == JPEG || format == PixelFormat::Grey,
        quantization => quantization == FULL,
    };
    Coding { bt709, full }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver that takes the nearest interval it has; of two that are as near the slower one.
    fn nearest(rates: &[f64], rate_hz: f64) -> Option<f64> {
        let off = |rate: f64| (1.0 / rate - 1.0 / rate_hz).abs();
        let intervals = rates.iter().map(|rate| (off(*rate), 1.0 / rate));
        intervals.reduce(|a, b| if b.0 <= a.0 + 1e-9 { b } else { a }).map(|(_, seconds)| seconds)
    }

    #[test]
    fn a_camera_that_is_fast_enough_is_asked_until_it_says_so() {
        for (rate_hz, rates, want_hz) in [
            (10.0, &[30.0, 15.0, 7.5][..], 15.0),
            (20.0, &[60.0, 30.0, 15.0], 30.0),
            (10.0, &[30.0, 10.0, 5.0], 10.0),
            (30.0, &[29.97], 29.97),
            (12.0, &[30.0, 8.0], 30.0),
            (10.0, &[7.5, 5.0], 7.5),
        ] {
            let given = interval(rate_hz, |rate_hz| nearest(rates, rate_hz)).unwrap();
            assert!((1.0 / given - want_hz).abs() < 1e-6, "{rate_hz} Hz of {rates:?}: {given} s");
        }
        // One that does not say is not asked again; one that says no more keeps what it gave.
        let mut asked = Vec::new();
        let silent = |rate_hz| {
            asked.push(rate_hz);
            None
        };
        assert_eq!(interval(10.0, silent), None);
        assert_eq!(asked, [10.0]);
        assert_eq!(interval(10.0, |rate_hz| (rate_hz < 11.0).then_some(0.2)), Some(0.2));
    }

    #[test]
    fn a_time_that_cannot_be_true_is_that_of_reading() {
        let now = Duration::from_secs(1000);
        let ms = Duration::from_millis;
        assert_eq!(time_of(None, now), (now, true));
        assert_eq!(time_of(Some(now - ms(40)), now), (now - ms(40), true));
        assert_eq!(time_of(Some(now - AGE_MAX), now), (now - AGE_MAX, true));
        assert_eq!(time_of(Some(now - AGE_MAX - ms(1)), now), (now, false));
        assert_eq!(time_of(Some(Duration::ZERO), now), (now, false));
        assert_eq!(time_of(Some(now + ms(20)), now), (now, true));
        assert_eq!(time_of(Some(now + Duration::from_secs(3600)), now), (now, false));
    }
}

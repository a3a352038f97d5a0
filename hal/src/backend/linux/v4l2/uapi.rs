//! As much of Linux's `videodev2.h` as a camera needs, and the only calls that are made of it.
//!
//! The numbers of the calls hold the sizes of what they pass: a structure of another size is refused
//! by the kernel, and by the assertions here before that.
#![expect(unsafe_code, reason = "ioctl and mmap take raw pointers; each block names its fact")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::NonNull;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// `V4L2_BUF_TYPE_VIDEO_CAPTURE`: pictures in one plane of memory.
const CAPTURE: u32 = 1;
/// `V4L2_MEMORY_MMAP`
const MMAP: u32 = 1;
/// `V4L2_CAP_VIDEO_CAPTURE`
const CAP_CAPTURE: u32 = 1;
/// `V4L2_CAP_STREAMING`
const CAP_STREAMING: u32 = 0x0400_0000;
/// `V4L2_CAP_DEVICE_CAPS`: the capabilities of this node stand apart from those of the whole device.
const CAP_DEVICE_CAPS: u32 = 0x8000_0000;
/// `V4L2_CAP_TIMEPERFRAME`
const CAP_INTERVAL: u32 = 0x1000;
/// `V4L2_BUF_FLAG_ERROR`
const BUFFER_ERROR: u32 = 0x40;
/// `V4L2_BUF_FLAG_TIMESTAMP_MASK` and `V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC`
const TIMESTAMP: (u32, u32) = (0xe000, 0x2000);
/// Formats of a device that are looked at, at most.
const FORMATS_MAX: u32 = 64;
/// The largest buffer that is mapped, bytes: two pictures of 8192×8192 pixels in RGB fit.
const BUFFER_BYTES_MAX: u32 = 512 << 20;

#[repr(C)]
struct Capability {
    driver: [u8; 16],
    card: [u8; 32],
    bus: [u8; 32],
    version: u32,
    capabilities: u32,
    device_caps: u32,
    reserved: [u32; 3],
}

#[repr(C)]
struct FormatDescription {
    index: u32,
    kind: u32,
    flags: u32,
    description: [u8; 32],
    pixel_format: u32,
    mbus_code: u32,
    reserved: [u32; 3],
}

/// `struct v4l2_pix_format`: size, layout and colours of pictures.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PixFormat {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) pixel_format: u32,
    pub(super) field: u32,
    pub(super) bytes_per_line: u32,
    pub(super) size_image: u32,
    pub(super) colorspace: u32,
    pub(super) private: u32,
    pub(super) flags: u32,
    pub(super) ycbcr_encoding: u32,
    pub(super) quantization: u32,
    pub(super) transfer: u32,
}

/// `struct v4l2_format`; its union holds pointers elsewhere, hence the alignment.
#[repr(C, align(8))]
struct Format {
    kind: u32,
    gap: u32,
    pix: PixFormat,
    rest: [u8; 152],
}

#[repr(C)]
struct StreamParameters {
    kind: u32,
    capability: u32,
    capture_mode: u32,
    interval: [u32; 2],
    extended_mode: u32,
    read_buffers: u32,
    rest: [u32; 44],
}

#[repr(C)]
struct RequestBuffers {
    count: u32,
    kind: u32,
    memory: u32,
    capabilities: u32,
    flags: [u8; 4],
}

#[repr(C, align(8))]
#[derive(Default)]
struct Buffer {
    index: u32,
    kind: u32,
    bytes_used: u32,
    flags: u32,
    field: u32,
    gap: u32,
    seconds: i64,
    microseconds: i64,
    timecode: [u32; 4],
    sequence: u32,
    memory: u32,
    offset: u32,
    offset_high: u32,
    length: u32,
    reserved: u32,
    request: u32,
}

#[repr(C)]
struct ExportBuffer {
    kind: u32,
    index: u32,
    plane: u32,
    flags: u32,
    fd: i32,
    reserved: [u32; 11],
}

/// Sizes of the 64-bit interface. On a computer of 32 bits pointers and times are shorter.
const _: () = {
    assert!(size_of::<usize>() == 8, "cameras are read on 64-bit computers alone");
    assert!(size_of::<Capability>() == 104 && size_of::<FormatDescription>() == 64);
    assert!(size_of::<Format>() == 208 && size_of::<StreamParameters>() == 204);
    assert!(size_of::<RequestBuffers>() == 20 && size_of::<Buffer>() == 88);
    assert!(size_of::<ExportBuffer>() == 64);
};

const QUERYCAP: Opcode = opcode::read::<Capability>(b'V', 0);
const ENUM_FMT: Opcode = opcode::read_write::<FormatDescription>(b'V', 2);
const G_FMT: Opcode = opcode::read_write::<Format>(b'V', 4);
const S_FMT: Opcode = opcode::read_write::<Format>(b'V', 5);
const REQBUFS: Opcode = opcode::read_write::<RequestBuffers>(b'V', 8);
const QUERYBUF: Opcode = opcode::read_write::<Buffer>(b'V', 9);
const QBUF: Opcode = opcode::read_write::<Buffer>(b'V', 15);
const EXPBUF: Opcode = opcode::read_write::<ExportBuffer>(b'V', 16);
const DQBUF: Opcode = opcode::read_write::<Buffer>(b'V', 17);
const STREAMON: Opcode = opcode::write::<u32>(b'V', 18);
const STREAMOFF: Opcode = opcode::write::<u32>(b'V', 19);
const G_PARM: Opcode = opcode::read_write::<StreamParameters>(b'V', 21);
const S_PARM: Opcode = opcode::read_write::<StreamParameters>(b'V', 22);

/// What a device says of itself.
pub(super) struct About {
    /// Its name, as its driver gives it.
    pub(super) card: String,
    /// Whether it gives pictures in one plane.
    pub(super) captures: bool,
    /// Whether it gives them through shared memory.
    pub(super) streams: bool,
}

/// A device node.
pub(super) struct Device {
    file: File,
    read_write: bool,
}

/// One of the calls that read what is given, write into it, or both.
macro_rules! update {
    ($device:expr, $opcode:ident, $value:expr) => {
        // SAFETY: the structure is the one the number is made of; it lives on this stack, holds no
        // pointer, and every bit pattern the kernel may write is a value of it.
        unsafe { ioctl(&$device.file, Updater::<$opcode, _>::new($value)) }
    };
}

impl Device {
    /// Opens the node for reading; for writing, too, only if `read_write`.
    pub(super) fn open(path: &Path, read_write: bool) -> io::Result<Self> {
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let file =
            OpenOptions::new().read(true).write(read_write).custom_flags(flags).open(path)?;
        Ok(Self { file, read_write })
    }

    /// Whether the kernel holds this device open for reading and not for writing.
    pub(super) fn is_read_only(&self) -> io::Result<bool> {
        Ok(rustix::fs::fcntl_getfl(&self.file)? & OFlags::RWMODE == OFlags::RDONLY)
    }

    pub(super) fn about(&self) -> io::Result<About> {
        let mut capability = Capability {
            driver: [0; 16],
            card: [0; 32],
            bus: [0; 32],
            version: 0,
            capabilities: 0,
            device_caps: 0,
            reserved: [0; 3],
        };
        update!(self, QUERYCAP, &mut capability)?;
        let all = capability.capabilities;
        let own = if all & CAP_DEVICE_CAPS == 0 { all } else { capability.device_caps };
        let card = capability.card.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(About {
            card: String::from_utf8_lossy(card).into_owned(),
            captures: own & CAP_CAPTURE != 0,
            streams: own & CAP_STREAMING != 0,
        })
    }

    /// The formats it offers, by their four letters, in its order.
    pub(super) fn formats(&self) -> Vec<u32> {
        let format = |index| {
            let mut description = FormatDescription {
                index,
                kind: CAPTURE,
                flags: 0,
                description: [0; 32],
                pixel_format: 0,
                mbus_code: 0,
                reserved: [0; 3],
            };
            update!(self, ENUM_FMT, &mut description).ok()?;
            Some(description.pixel_format)
        };
        (0..FORMATS_MAX).map_while(format).collect()
    }

    pub(super) fn format(&self) -> io::Result<PixFormat> {
        let mut format =
            Format { kind: CAPTURE, gap: 0, pix: PixFormat::default(), rest: [0; 152] };
        update!(self, G_FMT, &mut format)?;
        Ok(format.pix)
    }

    /// Asks for a format; what is given may be another.
    pub(super) fn set_format(&self, pix: PixFormat) -> io::Result<PixFormat> {
        let mut format = Format { kind: CAPTURE, gap: 0, pix, rest: [0; 152] };
        update!(self, S_FMT, &mut format)?;
        Ok(format.pix)
    }

    /// Asks for `rate_hz` pictures a second; seconds between two that are given, if the device says.
    pub(super) fn set_rate(&self, rate_hz: f64) -> Option<f64> {
        let mut parameters = StreamParameters {
            kind: CAPTURE,
            capability: 0,
            capture_mode: 0,
            interval: [0; 2],
            extended_mode: 0,
            read_buffers: 0,
            rest: [0; 44],
        };
        update!(self, G_PARM, &mut parameters).ok()?;
        if parameters.capability & CAP_INTERVAL != 0 {
            parameters.interval = [1_000_000, (rate_hz * 1e6) as u32];
            update!(self, S_PARM, &mut parameters).ok()?;
        }
        let [numerator, denominator] = parameters.interval;
        (numerator > 0 && denominator > 0).then(|| f64::from(numerator) / f64::from(denominator))
    }

    /// Maps `count` buffers for reading, hands them to the device and starts it.
    pub(super) fn start(self, count: u32) -> Result<Stream, StartError> {
        let mut request =
            RequestBuffers { count, kind: CAPTURE, memory: MMAP, capabilities: 0, flags: [0; 4] };
        update!(self, REQBUFS, &mut request)?;
        let mut stream = Stream { device: self, mappings: Vec::new() };
        for index in 0..request.count.min(32) {
            let mut buffer = Buffer { index, kind: CAPTURE, memory: MMAP, ..Buffer::default() };
            update!(stream.device, QUERYBUF, &mut buffer)?;
            let mapping = if stream.device.read_write {
                Mapping::new(&stream.device.file, buffer.offset, buffer.length)
            } else {
                stream.device.export(index).and_then(|file| Mapping::new(file, 0, buffer.length))
            };
            stream.mappings.push(mapping.map_err(StartError::Map)?);
            stream.queue(index).map_err(StartError::Call)?;
        }
        if stream.mappings.is_empty() {
            return Err(StartError::Call(io::ErrorKind::OutOfMemory.into()));
        }
        // SAFETY: the number is that of a call that reads one `int`.
        unsafe { ioctl(&stream.device.file, Setter::<STREAMON, u32>::new(CAPTURE)) }?;
        Ok(stream)
    }

    /// A buffer as a file of its own, open for reading alone.
    ///
    /// The node's own mappings are of no use then: Linux counts a shared mapping of a file that is not open
    /// for writing as a private one, which `vb2_mmap` refuses.
    fn export(&self, index: u32) -> io::Result<OwnedFd> {
        let flags = (OFlags::RDONLY | OFlags::CLOEXEC).bits();
        let mut export =
            ExportBuffer { kind: CAPTURE, index, plane: 0, flags, fd: -1, reserved: [0; 11] };
        update!(self, EXPBUF, &mut export)?;
        if export.fd < 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // SAFETY: the kernel made this file for us and nobody else knows its number.
        Ok(unsafe { OwnedFd::from_raw_fd(export.fd) })
    }
}

/// Why a device does not stream.
pub(super) enum StartError {
    /// Its buffers cannot be mapped, as it is open.
    Map(io::Error),
    /// A call failed.
    Call(io::Error),
}

impl From<rustix::io::Errno> for StartError {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Call(error.into())
    }
}

/// A buffer of the device in this program's memory, for reading alone.
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it is memory of the whole process, bound to no thread.
unsafe impl Send for Mapping {}

impl Mapping {
    fn new(file: impl AsFd, offset: u32, length: u32) -> io::Result<Self> {
        if length == 0 || length > BUFFER_BYTES_MAX {
            return Err(io::Error::other(format!("a buffer of {length} bytes is not mapped")));
        }
        let bytes = length as usize;
        // SAFETY: the kernel chooses the place, so that no memory of ours is replaced.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ,
                MapFlags::SHARED,
                file,
                u64::from(offset),
            )
        }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `new` mapped exactly this, and no slice of it outlives the borrow of its stream.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
        debug_assert!(unmapped.is_ok(), "what was mapped can be unmapped");
    }
}

/// A buffer that the device has filled. It must be queued again.
pub(super) struct Filled {
    pub(super) index: u32,
    /// Bytes of the picture.
    pub(super) bytes: u32,
    /// Time of the picture, of the clock that starts with the computer; `None` of any other clock.
    pub(super) at: Option<Duration>,
    /// Whether the device says that it is damaged.
    pub(super) damaged: bool,
}

/// A device that streams into mapped buffers.
pub(super) struct Stream {
    // Dropped first: buffers are unmapped while the device is still open.
    mappings: Vec<Mapping>,
    device: Device,
}

impl Stream {
    pub(super) const fn device(&self) -> &Device {
        &self.device
    }

    /// Waits until a buffer is filled or there is something wrong; `false` after `longest`.
    pub(super) fn wait(&self, longest: Duration) -> io::Result<bool> {
        let mut polled = [PollFd::from_borrowed_fd(self.device.file.as_fd(), PollFlags::IN)];
        let longest = Timespec::try_from(longest).ok();
        match poll(&mut polled, longest.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes a filled buffer from the device; `None` if none is filled.
    pub(super) fn take(&mut self) -> io::Result<Option<Filled>> {
        let mut buffer = Buffer { kind: CAPTURE, memory: MMAP, ..Buffer::default() };
        match update!(self.device, DQBUF, &mut buffer) {
            Ok(()) => {}
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let (mask, monotonic) = TIMESTAMP;
        let at = || {
            let seconds = u64::try_from(buffer.seconds).ok()?;
            let microseconds =
                u32::try_from(buffer.microseconds).ok().filter(|us| *us < 1_000_000)?;
            Some(Duration::new(seconds, microseconds * 1000))
        };
        Ok(Some(Filled {
            index: buffer.index,
            bytes: buffer.bytes_used,
            at: if buffer.flags & mask == monotonic { at() } else { None },
            damaged: buffer.flags & BUFFER_ERROR != 0,
        }))
    }

    /// The picture in a buffer that was taken; empty if the device named a buffer that is none.
    pub(super) fn picture(&self, filled: &Filled) -> &[u8] {
        let Some(mapping) = self.mappings.get(filled.index as usize) else { return &[] };
        let bytes = mapping.bytes.min(filled.bytes as usize);
        // SAFETY: so many bytes are mapped for reading until the stream is dropped, and the kernel
        // writes into a buffer only between `queue`, which needs `&mut self`, and `take`.
        unsafe { std::slice::from_raw_parts(mapping.start.as_ptr(), bytes) }
    }

    /// Gives a buffer (back) to the device.
    pub(super) fn queue(&mut self, index: u32) -> io::Result<()> {
        let mut buffer = Buffer { index, kind: CAPTURE, memory: MMAP, ..Buffer::default() };
        Ok(update!(self.device, QBUF, &mut buffer)?)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: the number is that of a call that reads one `int`. A device that is gone has stopped.
        let _stopped = unsafe { ioctl(&self.device.file, Setter::<STREAMOFF, u32>::new(CAPTURE)) };
    }
}

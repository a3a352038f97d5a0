//! A CAN bus that is listened to: a raw socket of Linux, wrapped so that nothing can be sent through it.

use std::io::{self, ErrorKind};
use std::time::{Duration, SystemTime};

use socketcan::{
    CanAnyFrame, CanFdSocket, CanFilter, EmbeddedFrame as _, Id, Socket as _, SocketOptions as _,
};

use super::bus_speed::{BusSpeed, BusSpeedError};
use super::dbc::{DATA_BYTES_MAX, FrameId};
use super::monotonic;

/// Bit 31 and 30 of an identifier in the kernel: it has 29 bits; it asks for a frame.
const EXTENDED: u32 = 1 << 31;
const REMOTE: u32 = 1 << 30;
/// All bits of the shorter and of the longer identifier.
const STANDARD_MASK: u32 = (1 << 11) - 1;
const EXTENDED_MASK: u32 = (1 << 29) - 1;

/// Time between two tries to open a bus that is gone.
const RETRY: Duration = Duration::from_secs(1);
/// Frames taken at a time, at most: more are left for the next time.
const FRAMES_MAX: usize = 1 << 14;

/// Why a bus cannot be listened to.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// There is no such interface, or the kernel knows no CAN.
    #[error(
        "cannot listen to the CAN interface `{interface}`: `ip link show` lists those there are; the \
         module can-raw is needed"
    )]
    Open {
        interface: String,
        #[source]
        source: io::Error,
    },
    /// It cannot be brought up like this.
    #[error("cannot bring up the CAN interface `{interface}` at {} bits/s", speed.bit_rate)]
    BringUp {
        interface: String,
        speed: BusSpeed,
        #[source]
        source: BusSpeedError,
    },
}

/// Brings `interface` up at this speed, where it is not, for a listener that may not do it itself (`CAP_NET_ADMIN`); whether it was not up
/// like this.
///
/// # Errors
/// [`BusError`]: there is no such interface, or it cannot be brought up like this.
pub fn bring_up(interface: &str, speed: BusSpeed) -> Result<bool, BusError> {
    let interface = interface.to_owned();
    speed.bring_up(&interface).map_err(|source| BusError::BringUp { interface, speed, source })
}

/// A frame that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard<'a> {
    /// What it is known by.
    pub id: FrameId,
    /// Its data, at most 64 bytes.
    pub data: &'a [u8],
    /// When the kernel received it, since the computer started.
    pub at: Duration,
}

/// What was heard that is no data, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BusCount {
    /// Frames of data.
    pub frames: u64,
    /// Error frames: the controller says that something is wrong on the bus.
    pub errors: u64,
    /// Times the interface went down, or away.
    pub losses: u64,
}

/// One CAN interface, for listening alone: there is no way to send through it.
///
/// The kernel passes on only the frames that are asked for, of up to 64 bytes (CAN FD). An interface that
/// goes down and comes up again is listened to again.
#[derive(Debug)]
pub struct Bus {
    interface: String,
    ids: Vec<FrameId>,
    speed: Option<BusSpeed>,
    /// Private: the socket of the crate could send.
    socket: Option<CanFdSocket>,
    retry_at: Duration,
    down: bool,
    lost_at: Option<Duration>,
    count: BusCount,
}

impl Bus {
    /// Listens to the frames `ids` on `interface`. With a speed the interface is brought up, and again whenever it
    /// comes back after it was away; without one it is somebody else's to bring up, and may be down.
    ///
    /// # Errors
    /// [`BusError`] if there is no such interface, or it cannot be brought up.
    pub fn open(
        interface: &str,
        ids: &[FrameId],
        speed: Option<BusSpeed>,
    ) -> Result<Self, BusError> {
        if let Some(speed) = speed {
            bring_up(interface, speed)?;
        }
        let socket = open(interface, ids)
            .map_err(|source| BusError::Open { interface: interface.to_owned(), source })?;
        Ok(Self {
            interface: interface.to_owned(),
            ids: ids.to_vec(),
            speed,
            socket: Some(socket),
            retry_at: Duration::ZERO,
            down: false,
            lost_at: None,
            count: BusCount::default(),
        })
    }

    /// The interface's name.
    #[must_use]
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// What was heard until now.
    #[must_use]
    pub const fn count(&self) -> BusCount {
        self.count
    }

    /// Whether the interface was there and up when it was last looked at.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.socket.is_some() && !self.down
    }

    /// When the interface last went down, or away, time since the computer started. Frames may have come since.
    #[must_use]
    pub const fn lost_at(&self) -> Option<Duration> {
        self.lost_at
    }

    /// Hands every frame that has come to `hear`, in its order. Never waits.
    pub fn drain(&mut self, mut hear: impl FnMut(Heard<'_>)) {
        if self.socket.is_none() && monotonic() >= self.retry_at {
            self.socket = self.open_again();
            self.retry_at = monotonic() + RETRY;
        }
        for _ in 0..FRAMES_MAX {
            let Some(socket) = &self.socket else { return };
            match socket.read_frame_with_timestamps() {
                Ok((frame, times)) => {
                    self.down = false;
                    // Frames of the time before the kernel was asked for times have none.
                    let Some(received) = times.socket else { continue };
                    self.frame(&frame, received, &mut hear);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => return,
                // A frame of a length that is none, or a signal: the next may be whole.
                Err(error)
                    if matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::Interrupted) => {}
                // Said once; the socket hears again when the interface is up.
                Err(error) if error.kind() == ErrorKind::NetworkDown => self.lost(),
                Err(_gone) => {
                    self.lost();
                    self.socket = None;
                    self.retry_at = monotonic() + RETRY;
                }
            }
        }
    }

    /// Waits until a frame has come, at most for `longest`.
    pub fn wait(&self, longest: Duration) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let timeout = Timespec::try_from(longest).ok();
        let socket = self.socket.as_ref();
        let mut polled: Vec<PollFd<'_>> =
            socket.map(|socket| PollFd::new(socket, PollFlags::IN)).into_iter().collect();
        // Whether something came is seen by draining; without a socket this is a pause.
        let _ready = poll(&mut polled, timeout.as_ref());
    }

    /// An interface that is back, an adapter that was plugged in again, is down at first.
    fn open_again(&self) -> Option<CanFdSocket> {
        if let Some(speed) = &self.speed {
            speed.bring_up(&self.interface).ok()?;
        }
        open(&self.interface, &self.ids).ok()
    }

    fn lost(&mut self) {
        if !self.down {
            self.count.losses += 1;
            self.lost_at = Some(monotonic());
        }
        self.down = true;
    }

    fn frame(
        &mut self,
        frame: &CanAnyFrame,
        received: SystemTime,
        hear: &mut impl FnMut(Heard<'_>),
    ) {
        let (id, data) = match frame {
            CanAnyFrame::Normal(frame) => (frame.id(), frame.data()),
            CanAnyFrame::Fd(frame) => (frame.id(), frame.data()),
            CanAnyFrame::Error(_) => {
                self.count.errors += 1;
                return;
            }
            // It asks for data and has none.
            CanAnyFrame::Remote(_) => return,
        };
        let id = match id {
            Id::Standard(id) => FrameId { number: id.as_raw().into(), extended: false },
            Id::Extended(id) => FrameId { number: id.as_raw(), extended: true },
        };
        // Frames that came before the filters were set may be others.
        if data.len() <= usize::from(DATA_BYTES_MAX) && self.ids.contains(&id) {
            self.count.frames += 1;
            hear(Heard { id, data, at: since_boot(received) });
        }
    }
}

/// A time of day as time since the computer started. A clock that was set in between makes a frame older
/// or as old as this moment, never younger.
#[expect(clippy::disallowed_methods, reason = "the kernel stamps frames with the time of day")]
fn since_boot(received: SystemTime) -> Duration {
    let age = SystemTime::now().duration_since(received).unwrap_or(Duration::ZERO);
    monotonic().saturating_sub(age)
}

fn open(interface: &str, ids: &[FrameId]) -> io::Result<CanFdSocket> {
    let socket = CanFdSocket::open(interface)?;
    socket.set_nonblocking(true)?;
    let filters: Vec<CanFilter> = ids
        .iter()
        .map(|id| match id.extended {
            // The bits that say which kind it is are compared, too.
            false => CanFilter::new(id.number, STANDARD_MASK | EXTENDED | REMOTE),
            true => CanFilter::new(id.number | EXTENDED, EXTENDED_MASK | EXTENDED | REMOTE),
        })
        .collect();
    socket.set_filters(&filters)?;
    socket.set_error_filter_accept_all()?;
    socket.set_recv_timestamp(true)?;
    Ok(socket)
}

//! A CAN interface brought up: at the bus's speed, and so that its controller only listens.

use std::io::ErrorKind;

use socketcan::nl::{CanBitTiming, CanCtrlModes};
use socketcan::{CanCtrlMode, CanInterface, Error, InterfaceCanParams};

/// How fast a bus is, and what its controller may do on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusSpeed {
    /// Bits in a second.
    pub bit_rate: u32,
    /// Bits in a second within the data of CAN FD; `None`: a bus without CAN FD.
    pub data_bit_rate: Option<u32>,
    /// The controller sends nothing, not even that it received something.
    pub listen_only: bool,
}

impl BusSpeed {
    /// Brings `interface` up like this, as `ip link set` does. One that is up like this is left as it is; one that is up in
    /// another way is taken down first. Linux allows this to who has `CAP_NET_ADMIN`.
    pub(super) fn bring_up(&self, interface: &str) -> Result<(), Error> {
        let link = CanInterface::open(interface)?;
        let found = link.details()?;
        if found.is_up && self.is_that_of(&found.can) {
            return Ok(());
        }
        if found.is_up {
            link.bring_down()?;
        }
        let set = link.set_can_params(&self.parameters());
        if set.is_ok() || found.is_up {
            // As it was, if it cannot be as it is wanted.
            link.bring_up()?;
        }
        set
    }

    fn is_that_of(&self, found: &InterfaceCanParams) -> bool {
        let rate = |timing: Option<CanBitTiming>| timing.map(|timing| timing.bitrate);
        let listens = found.ctrl_mode.is_some_and(|modes| modes.has_mode(CanCtrlMode::ListenOnly));
        rate(found.bit_timing) == Some(self.bit_rate)
            && rate(found.data_bit_timing) == self.data_bit_rate
            && listens == self.listen_only
    }

    fn parameters(&self) -> InterfaceCanParams {
        let timing = |bitrate| CanBitTiming { bitrate, ..CanBitTiming::default() };
        let mut modes = CanCtrlModes::from_mode(CanCtrlMode::ListenOnly, self.listen_only);
        modes.add(CanCtrlMode::Fd, self.data_bit_rate.is_some());
        InterfaceCanParams {
            bit_timing: Some(timing(self.bit_rate)),
            data_bit_timing: self.data_bit_rate.map(timing),
            ctrl_mode: Some(modes),
            ..InterfaceCanParams::default()
        }
    }
}

/// What to do about an interface that the kernel does not bring up.
pub(super) fn advice(error: &Error) -> &'static str {
    let kind = match error {
        Error::Io(error) => Some(error.kind()),
        Error::Nl(error) => error.io_kind(),
        _ => None,
    };
    match kind {
        Some(ErrorKind::PermissionDenied) => "the capability CAP_NET_ADMIN is needed",
        Some(ErrorKind::Unsupported) => {
            "it has no bit rate, as virtual ones have none, or cannot only listen, or knows no CAN FD"
        }
        Some(ErrorKind::InvalidInput) => "its controller cannot have this bit rate",
        _ => "`ip -details link show` tells what is known of it",
    }
}

//! A CAN interface brought up: at the bus's speed, and so that its controller only listens.

use socketcan::nl::{CanBitTiming, CanCtrlModes};
use socketcan::{CanCtrlMode, CanInterface, InterfaceCanParams};

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

/// Why an interface cannot be brought up like this. It is then as it was.
#[derive(Debug, thiserror::Error)]
pub enum BusSpeedError {
    /// A virtual bus, or no CAN at all.
    #[error("it has no bit rate: leave `bit_rate` out and bring it up otherwise")]
    NoBitRate,
    /// The controller always acknowledges.
    #[error("its controller cannot only listen: `listen_only = false` lets it acknowledge")]
    NoListenOnly,
    /// The controller knows frames of eight bytes alone.
    #[error("its controller knows no CAN FD: leave `data_bit_rate` out")]
    NoFd,
    /// The kernel refuses, and does not always say why.
    #[error(
        "the kernel refuses: is there CAP_NET_ADMIN, and can its controller have this bit rate?"
    )]
    Kernel(#[source] Box<socketcan::Error>),
}

impl From<socketcan::Error> for BusSpeedError {
    fn from(error: socketcan::Error) -> Self {
        BusSpeedError::Kernel(Box::new(error))
    }
}

/// Two bit rates are one within this part of it: a hundredth.
const RATES_DIFFER: u32 = 100;

impl BusSpeed {
    /// Brings `interface` up like this, as `ip link set` does. One that is up like this is left as it is; one that is up in
    /// another way is taken down first. Linux allows this to who has `CAP_NET_ADMIN`. Whether it was not up like this.
    pub(super) fn bring_up(&self, interface: &str) -> Result<bool, BusSpeedError> {
        let link = CanInterface::open(interface)?;
        let found = link.details()?;
        if found.is_up && self.is_that_of(&found.can) {
            return Ok(false);
        }
        self.check(&found.can)?;
        if found.is_up {
            link.bring_down()?;
        }
        let set = link.set_can_params(&self.parameters());
        if set.is_ok() || found.is_up {
            // As it was, if it cannot be as it is wanted.
            link.bring_up()?;
        }
        set?;
        Ok(true)
    }

    /// What can be known before anything is changed. Kernels before 6.0 do not say which modes a controller has.
    fn check(&self, found: &InterfaceCanParams) -> Result<(), BusSpeedError> {
        let lacks = |mode: CanCtrlMode| {
            found.ctrl_mode_supported.is_some_and(|supported| supported & mode.mask() == 0)
        };
        if found.clock.is_none() && found.bit_timing_const.is_none() {
            Err(BusSpeedError::NoBitRate)
        } else if self.listen_only && lacks(CanCtrlMode::ListenOnly) {
            Err(BusSpeedError::NoListenOnly)
        } else if self.data_bit_rate.is_some() && lacks(CanCtrlMode::Fd) {
            Err(BusSpeedError::NoFd)
        } else {
            Ok(())
        }
    }

    fn is_that_of(&self, found: &InterfaceCanParams) -> bool {
        let rate = |timing: Option<CanBitTiming>| timing.map(|timing| timing.bitrate);
        // Linux says the rate that it found for the controller's clock: 33,333 where 33,300 was asked for.
        let nearly = |found: Option<u32>, asked: Option<u32>| match (found, asked) {
            (Some(found), Some(asked)) => found.abs_diff(asked) <= asked / RATES_DIFFER,
            (found, asked) => found == asked,
        };
        let listens = found.ctrl_mode.is_some_and(|modes| modes.has_mode(CanCtrlMode::ListenOnly));
        nearly(rate(found.bit_timing), Some(self.bit_rate))
            && nearly(rate(found.data_bit_timing), self.data_bit_rate)
            && listens == self.listen_only
    }

    fn parameters(&self) -> InterfaceCanParams {
        let timing = |bitrate| CanBitTiming { bitrate, ..CanBitTiming::default() };
        let mut modes = CanCtrlModes::from_mode(CanCtrlMode::ListenOnly, self.listen_only);
        // What is not named stays as it was: an interface that had CAN FD would keep it, and never be up like this.
        modes.add(CanCtrlMode::Fd, self.data_bit_rate.is_some());
        InterfaceCanParams {
            bit_timing: Some(timing(self.bit_rate)),
            data_bit_timing: self.data_bit_rate.map(timing),
            ctrl_mode: Some(modes),
            ..InterfaceCanParams::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_a_clock_cannot_make_exactly_is_that_rate() {
        let up = |bit_rate: u32, found: u32| {
            let speed = BusSpeed { bit_rate, data_bit_rate: None, listen_only: true };
            let other = BusSpeed { bit_rate: found, ..speed };
            speed.is_that_of(&other.parameters())
        };
        assert!(up(33_300, 33_333) && up(500_000, 500_000));
        assert!(!up(500_000, 490_000) && !up(500_000, 250_000));
    }

    /// Linux changes the modes that the mask names. With CAN FD on, it keeps a bit rate of the data, too.
    #[test]
    fn an_interface_that_had_can_fd_is_told_whether_it_keeps_it() {
        let modes = |data_bit_rate| {
            let speed = BusSpeed { bit_rate: 500_000, data_bit_rate, listen_only: true };
            speed.parameters().ctrl_mode.unwrap()
        };
        let [listens, fd] = [CanCtrlMode::ListenOnly, CanCtrlMode::Fd].map(|mode| mode.mask());
        let both = |flags| format!("{:?}", CanCtrlModes::new(listens | fd, flags));
        assert_eq!(format!("{:?}", modes(None)), both(listens));
        assert_eq!(format!("{:?}", modes(Some(2_000_000))), both(listens | fd));
    }
}

//! Controllers on one bus, which have bit rates: how they are brought up.

use std::time::Duration;

use shoal_hal::backend::linux::bus_speed::BusSpeed;
use shoal_hal::backend::linux::monotonic;
use shoal_hal::backend::linux::socketcan::Bus;
use socketcan::{CanCtrlMode, CanInterface};

use super::bus::{heard, speed};
use super::send::all;
use super::{Checks, Outcome, chain, must};

const LISTENING: BusSpeed = BusSpeed { bit_rate: 500_000, data_bit_rate: None, listen_only: true };

pub(crate) fn check(checks: &mut Checks, can: &str, other: &str) {
    checks.check("a controller is brought up at a bit rate, and listens only", || up(can));
    checks.check("it hears what another controller sends", || hears(can, other));
    checks.check("one that is up at another bit rate is brought up again", || other_rate(can));
    checks.check("CAN FD on a controller without it is refused", || refused(can));
}

fn up(can: &str) -> Outcome {
    let _bus = Bus::open(can, &[], Some(LISTENING))?;
    let seen = seen(can)?;
    must(seen == (true, Some(LISTENING.bit_rate), true), format_args!("{seen:?}"))?;
    // As it is already: nothing is changed, so a bus that is listened to goes on.
    let _again = Bus::open(can, &[], Some(LISTENING))?;
    Ok(format!("up, bit rate, listen-only: {seen:?}"))
}

fn hears(can: &str, other: &str) -> Outcome {
    let mut motion = heard(Duration::from_secs(5))?;
    let mut bus = Bus::open(can, &motion.ids(), Some(LISTENING))?;
    let sends = Bus::open(other, &[], Some(BusSpeed { listen_only: false, ..LISTENING }))?;
    must(!seen(other)?.2, "the other one only listens")?;
    all(other, 0, &[speed(72.0)])?;
    bus.wait(Duration::from_secs(1));
    bus.drain(|frame| motion.hear(frame.id, frame.data, frame.at));
    drop(sends);
    let metres = motion.motion(monotonic()).and_then(|motion| motion.speed_m_s);
    must(metres == Some(20.0), format_args!("{metres:?}"))?;
    Ok("20 m/s".to_owned())
}

fn other_rate(can: &str) -> Outcome {
    let slower = BusSpeed { bit_rate: 250_000, ..LISTENING };
    let _bus = Bus::open(can, &[], Some(slower))?;
    let seen = seen(can)?;
    must(seen == (true, Some(250_000), true), format_args!("{seen:?}"))?;
    Ok(format!("{seen:?}"))
}

fn refused(can: &str) -> Outcome {
    let fast = BusSpeed { data_bit_rate: Some(2_000_000), ..LISTENING };
    let Err(error) = Bus::open(can, &[], Some(fast)) else { return Err("it is up".into()) };
    let said = chain(&error);
    must(said.contains(can) && said.contains("CAN FD"), &said)?;
    Ok(said)
}

/// Whether it is up, its bit rate, and whether it only listens.
fn seen(can: &str) -> Result<(bool, Option<u32>, bool), Box<dyn std::error::Error>> {
    let found = CanInterface::open(can)?.details()?;
    let rate = found.can.bit_timing.map(|timing| timing.bitrate);
    let listens = found.can.ctrl_mode.is_some_and(|modes| modes.has_mode(CanCtrlMode::ListenOnly));
    Ok((found.is_up, rate, listens))
}

//! The bus alone: what is heard, what is not, and what happens when it goes away.

use std::process::Command;
use std::time::Duration;

use shoal_hal::backend::linux::bus_speed::BusSpeed;
use shoal_hal::backend::linux::dbc::{Dbc, FrameId};
use shoal_hal::backend::linux::monotonic;
use shoal_hal::backend::linux::signals::{DEGREE, HeardMotion, KM_H, MotionSources, Source};
use shoal_hal::backend::linux::socketcan::Bus;

use socketcan::CanInterface;

use super::send::all;
use super::{Checks, Outcome, chain, must};

/// Where a Toyota of 2017 has speed and steering.
pub(crate) const TOYOTA: &[u8] =
    b"BO_ 180 SPEED: 8 ECU\n SG_ SPEED : 47|16@0+ (0.01,0) [0|250] \"km/h\" ECU\n\n\
BO_ 37 STEER_ANGLE_SENSOR: 8 ECU\n SG_ STEER_ANGLE : 3|12@0- (1.5,0) [-500|500] \"deg\" ECU\n \
SG_ STEER_FRACTION : 39|4@0- (0.1,0) [-0.7|0.7] \"deg\" ECU\n";

pub(crate) fn sources() -> MotionSources {
    let source = |signal: &str, scale| Some(Source { signal: signal.to_owned(), scale });
    MotionSources {
        speed: source("SPEED.SPEED", KM_H),
        steering: source(
            "STEER_ANGLE_SENSOR.STEER_ANGLE + STEER_ANGLE_SENSOR.STEER_FRACTION",
            DEGREE,
        ),
        ..MotionSources::default()
    }
}

/// A frame of the speed in km/h.
pub(crate) fn speed(km_h: f64) -> String {
    format!("0B4#0000000000{:04X}00", (km_h * 100.0) as u16)
}

/// A frame of the steering angle in degrees, a multiple of a tenth.
pub(crate) fn steering(degrees: f64) -> String {
    let coarse = (degrees / 1.5).round();
    let fine = ((degrees - coarse * 1.5) * 10.0).round() as i16;
    format!("025#0{:03X}0000{:X}0000000", (coarse as i16) & 0xfff, fine & 0xf)
}

pub(crate) fn heard(age_max: Duration) -> Result<HeardMotion, Box<dyn std::error::Error>> {
    Ok(HeardMotion::new(&Dbc::parse("toyota.dbc", TOYOTA)?, &sources(), age_max)?)
}

pub(crate) fn check(checks: &mut Checks, can: &str) {
    checks.check("an interface that is not there is refused by name", || {
        let error =
            Bus::open("nocan7", &[], None).map(|_| "it opened").map_err(|error| error.to_string());
        let Err(said) = error else { return Err("it opened".into()) };
        must(said.contains("`nocan7`"), &said)?;
        Ok(said)
    });
    checks.check("a virtual bus has no bit rate, and that is said", || virtual_rate(can));
    checks.check("speed and steering are decoded in their units", || decoded(can));
    checks.check("the kernel passes on only what is asked for", || filtered(can));
    checks.check("a frame of CAN FD is heard", || fd(can));
    checks.check("error frames are counted and say nothing", || errors(can));
    checks.check("motion that is too old is not known", || stale(can));
    checks.check("an interface that goes down and up is heard again", || down_and_up(can));
    checks.check("an interface that is removed and made anew is heard again", || anew(can));
}

fn virtual_rate(can: &str) -> Outcome {
    let speed = BusSpeed { bit_rate: 500_000, data_bit_rate: None, listen_only: true };
    let Err(error) = Bus::open(can, &[], Some(speed)) else { return Err("it has one".into()) };
    let said = chain(&error);
    must(said.contains("no bit rate"), &said)?;
    must(CanInterface::open(can)?.details()?.is_up, "it was taken down")?;
    Ok(said)
}

fn close(got: Option<f32>, want: f64) -> Result<(), Box<dyn std::error::Error>> {
    let off = got.map(|got| (f64::from(got) - want).abs());
    must(off.is_some_and(|off| off < 1e-3), format_args!("{got:?}, want {want}"))
}

fn decoded(can: &str) -> Outcome {
    let mut motion = heard(Duration::from_secs(5))?;
    let mut bus = Bus::open(can, &motion.ids(), None)?;
    for (km_h, degrees) in [(0.0, 0.0), (29.38, -0.4), (120.5, 37.6), (250.0, -480.2)] {
        all(can, 0, &[speed(km_h), steering(degrees)])?;
        bus.wait(Duration::from_secs(1));
        bus.drain(|frame| motion.hear(frame.id, frame.data, frame.at));
        let seen = motion.motion(monotonic()).ok_or("nothing was heard")?;
        close(seen.speed_m_s, km_h / 3.6)?;
        close(seen.steering_rad, f64::to_radians(degrees))?;
    }
    Ok("four speeds to 250 km/h and angles to -480.2 degrees".to_owned())
}

fn filtered(can: &str) -> Outcome {
    let motion = heard(Duration::from_secs(5))?;
    let mut bus = Bus::open(can, &motion.ids(), None)?;
    // The same number as an extended identifier is another frame.
    let others = ["0B5#00", "000000B4#0000000000FFFF00", "7FF#0102030405060708"];
    let mut frames: Vec<String> = others.repeat(50).into_iter().map(str::to_owned).collect();
    frames.push(speed(50.0));
    all(can, 0, &frames)?;
    let mut came = 0;
    bus.wait(Duration::from_secs(1));
    bus.drain(|_| came += 1);
    must(came == 1, format_args!("{came} frames came"))?;
    Ok(format!("1 of {} frames", frames.len()))
}

fn fd(can: &str) -> Outcome {
    let id = FrameId { number: 0x18ff_1234, extended: true };
    let mut bus = Bus::open(can, &[id], None)?;
    let data: String = (0..48).map(|byte| format!("{byte:02X}")).collect();
    all(can, 0, &[format!("18FF1234##0{data}")])?;
    bus.wait(Duration::from_secs(1));
    let mut got = Vec::new();
    bus.drain(|frame| got.extend_from_slice(frame.data));
    must(got == (0..48).collect::<Vec<u8>>(), format_args!("{got:?}"))?;
    Ok("48 bytes".to_owned())
}

fn errors(can: &str) -> Outcome {
    let mut bus = Bus::open(can, &[], None)?;
    // The controller is off the bus.
    all(can, 0, &["40#E".to_owned()])?;
    bus.wait(Duration::from_secs(1));
    bus.drain(|_| {});
    must(bus.count().errors == 1, format_args!("{:?}", bus.count()))?;
    Ok(format!("{:?}", bus.count()))
}

#[expect(clippy::disallowed_methods, reason = "what grows old needs time")]
fn stale(can: &str) -> Outcome {
    let mut motion = heard(Duration::from_millis(300))?;
    let mut bus = Bus::open(can, &motion.ids(), None)?;
    all(can, 0, &[speed(30.0)])?;
    bus.drain(|frame| motion.hear(frame.id, frame.data, frame.at));
    must(motion.motion(monotonic()).is_some(), "it is not known at once")?;
    std::thread::sleep(Duration::from_millis(400));
    must(motion.motion(monotonic()).is_none(), "it is known for ever")?;
    Ok("known at once, not after 400 ms of 300".to_owned())
}

fn ip(arguments: &[&str]) -> Result<(), Box<dyn std::error::Error>> {
    let status = Command::new("ip").args(["link"]).args(arguments).status()?;
    must(status.success(), format_args!("ip link {arguments:?}: {status}"))
}

/// Sends until something is heard, for as long as a bus may take to be opened again.
fn hears(bus: &mut Bus, can: &str) -> Result<u32, Box<dyn std::error::Error>> {
    for tries in 1..=20 {
        all(can, 0, &[speed(10.0)])?;
        bus.wait(Duration::from_millis(100));
        let mut came = 0;
        bus.drain(|_| came += 1);
        if came > 0 {
            return Ok(tries);
        }
    }
    Err("nothing is heard".into())
}

fn down_and_up(can: &str) -> Outcome {
    let mut bus = Bus::open(can, &heard(Duration::from_secs(1))?.ids(), None)?;
    hears(&mut bus, can)?;
    ip(&["set", can, "down"])?;
    bus.drain(|_| {});
    must(!bus.is_up(), "it does not say that it is down")?;
    ip(&["set", can, "up"])?;
    let tries = hears(&mut bus, can)?;
    must(bus.is_up() && bus.count().losses == 1, format_args!("{:?}", bus.count()))?;
    Ok(format!("heard after {tries} frames, {:?}", bus.count()))
}

fn anew(can: &str) -> Outcome {
    let mut bus = Bus::open(can, &heard(Duration::from_secs(1))?.ids(), None)?;
    hears(&mut bus, can)?;
    ip(&["del", can])?;
    bus.drain(|_| {});
    must(!bus.is_up(), "it does not say that it is gone")?;
    ip(&["add", "dev", can, "type", "vcan"])?;
    ip(&["set", can, "mtu", "72"])?;
    ip(&["set", can, "up"])?;
    let tries = hears(&mut bus, can)?;
    must(bus.is_up(), "it does not say that it is up")?;
    Ok(format!("heard after {tries} frames, {:?}", bus.count()))
}

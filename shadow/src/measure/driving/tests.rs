use shoal_hal::backend::synthetic::{Driven, Region, Road, SimulatedDriver, Start, Style, Truth};
use shoal_hal::{FrameShape, Motion};

use super::*;
use crate::clip::Frames;
use crate::term::comfort;

const RATE_HZ: f64 = 10.0;

/// Drives in dense traffic by those who tailgate: what comes up there.
fn situations() -> Vec<Driven> {
    let shape = FrameShape { width: 8, height: 4 };
    let drive = |seed| {
        let road = Road { region: Region::DenseTraffic, seed };
        road.driven((Style::Reckless, seed), Start::default(), (shape, RATE_HZ, 300)).unwrap()
    };
    (0..4).map(drive).collect()
}

/// The term of who proposes this acceleration wherever the vehicle comes.
fn distance(drives: &[Driven], propose: &dyn Fn(&Truth) -> f64) -> f64 {
    let of = |driven: &Driven| {
        let leaders: Vec<Option<Leader>> = driven.truth.iter().map(|truth| truth.leader).collect();
        let moments = driven.truth.iter().enumerate();
        let dangers = moments.filter_map(|(at, truth)| {
            let of = |asked| danger(&leaders[at..], truth.speed_m_s.into(), asked, RATE_HZ);
            of(propose(truth)).zip(of(DRIVE_M_S2))
        });
        let (own, most): (Vec<f64>, Vec<f64>) = dangers.unzip();
        let most: f64 = most.iter().sum();
        (most > 0.0).then(|| 1.0 - own.iter().sum::<f64>() / most)
    };
    let all: Vec<f64> = drives.iter().filter_map(of).collect();
    assert!(all.len() > 1, "someone is ahead");
    all.iter().sum::<f64>() / all.len() as f64
}

/// Follows at a time gap: a linear controller of gap and closing speed.
fn keeps(gap_s: f64, truth: &Truth) -> f64 {
    let speed = f64::from(truth.speed_m_s);
    let free = 0.4 * (f64::from(truth.speed_wanted_m_s) - speed);
    let follow = truth.leader.map_or(f64::MAX, |leader| {
        let apart = f64::from(leader.gap_m) - 2.0 - gap_s * speed;
        0.3 * apart + 0.8 * (f64::from(leader.speed_m_s) - speed)
    });
    free.min(follow).clamp(-6.0, 1.5)
}

/// A gate between the two lets the attentive driver pass, and who keeps 1.6 s behind; not who keeps half a second, nor who does as those who tailgate.
#[test]
fn who_keeps_half_a_second_behind_is_below_what_an_attentive_driver_is_above() {
    const GATE: f64 = 0.94;
    let drives = situations();
    let attentive = |truth: &Truth| {
        let mut driver = SimulatedDriver::new(Style::Attentive, 1);
        f64::from(driver.act(truth).acceleration_m_s2)
    };
    let good = [distance(&drives, &attentive), distance(&drives, &|truth| keeps(1.6, truth))];
    let bad = [
        distance(&drives, &|truth| keeps(0.5, truth)),
        distance(&drives, &|_| 0.0),
        distance(&drives, &|_| 1.5),
    ];
    assert!(good.iter().all(|value| *value > GATE), "{good:?} and {bad:?}");
    assert!(bad.iter().all(|value| *value < GATE), "{good:?} and {bad:?}");
}

fn leader(gap_m: f32, speed_m_s: f32) -> Option<Leader> {
    Some(Leader { gap_m, speed_m_s })
}

#[test]
fn danger_is_that_of_the_formula() {
    // 20 m behind at 20 m/s, both alike: a gap of 1 s, no danger; at 12 m of 0.6 s: a quarter of 0.8 s is missing.
    let behind = |gap| vec![leader(gap, 20.0); 31];
    assert_eq!(danger(&behind(20.0), 20.0, 0.0, RATE_HZ), Some(0.0));
    let near = danger(&behind(12.0), 20.0, 0.0, RATE_HZ).unwrap();
    assert!((near - 0.0625).abs() < 1e-9, "{near}");
    // Towards one who stands, 200 m away: what is left after k rows is (200 − 2·k) m at 20 m/s; below 80 m it counts: never.
    assert_eq!(danger(&vec![leader(200.0, 0.0); 31], 20.0, 0.0, RATE_HZ), Some(0.0));
    // From 60 m on it does: 1 − TTC ÷ 4 s, and from 0.8 s on the gap is nearer than the collision.
    let standing = danger(&vec![leader(62.0, 0.0); 31], 20.0, 0.0, RATE_HZ).unwrap();
    let by_hand: f64 = (1..=30)
        .map(|k| {
            let left = (62.0 - 2.0 * f64::from(k)) / 20.0;
            (1.0 - left / 4.0).max(1.0 - left / 0.8).powi(2)
        })
        .sum();
    assert!((standing - by_hand / 30.0).abs() < 1e-9, "{standing}");
    // Once it is hit, all that follows is danger, whatever is asked for.
    assert_eq!(danger(&vec![leader(-1.0, 20.0); 31], 20.0, -8.0, RATE_HZ), Some(1.0));
}

#[test]
fn where_nobody_is_ahead_nothing_is_measured() {
    assert_eq!(danger(&[], 20.0, 0.0, RATE_HZ), None);
    assert_eq!(danger(&[None, leader(5.0, 0.0)], 20.0, 0.0, RATE_HZ), None);
    assert_eq!(danger(&[leader(5.0, 0.0)], 20.0, 0.0, RATE_HZ), None, "the log ends");
    assert_eq!(danger(&[leader(5.0, 20.0), None], 20.0, 0.0, RATE_HZ), None);
}

/// A log at this speed and acceleration.
fn log(speed: impl Fn(usize) -> f32, rows: usize) -> Frames {
    let shape = FrameShape { width: 2, height: 1 };
    let motion = |at| Motion { speed_m_s: Some(speed(at)), ..Motion::default() };
    let motion = (0..rows).map(|at| Some(motion(at))).collect();
    Frames::new(shape, RATE_HZ, vec![0; 6 * rows], motion).unwrap()
}

/// As far as the driver is 0, the farthest 1, standing still far below.
#[test]
fn progress_counts_from_what_the_driver_did() {
    let steady = log(|_| 10.0, 40);
    let value = |acceleration: f64| {
        let (short, driver) = fallen_short(&steady, 0, acceleration).unwrap();
        1.0 - short / driver
    };
    assert!(value(0.0).abs() < 1e-9);
    assert!(
        (value(2.0) - 1.0).abs() < 1e-9 && (value(3.0) - 1.0).abs() < 1e-9,
        "no more than comfort"
    );
    assert!(value(1.0) > 0.4 && value(-3.0) < -1.0);
    assert_eq!(fallen_short(&steady, 36, 0.0), None, "less than half a second is left");
}

/// Proposals that would be a comfortable drive are as comfortable as that drive.
#[test]
fn comfort_of_proposals_is_that_of_a_drive_that_did_them() {
    let footage = log(|_| 20.0, 60);
    let act = |at: usize| Action {
        curvature_per_m: 0.004 * (at as f64 * 0.2).sin(),
        acceleration_m_s2: (at as f64 * 0.3).cos(),
    };
    let proposed: Vec<Option<Proposed>> =
        (0..60).map(|at| Some(Proposed { action: act(at), distance: None })).collect();
    let weights = vec![0.0; 60];
    let run = ActedRun { footage: &footage, weights: &weights, leaders: &[] };
    let by = (&run, &Geometry::default());
    let errors: Vec<(f64, f64)> =
        (0..60).filter_map(|at| error(DrivingMetric::Comfort, by, &proposed, at)).collect();
    let (model, copy): (Vec<f64>, Vec<f64>) = errors.into_iter().unzip();
    let value = 1.0 - model.iter().sum::<f64>() / copy.iter().sum::<f64>();
    let rows: Vec<Moved> = (0..60)
        .map(|at| Moved {
            acceleration_m_s2: act(at).acceleration_m_s2,
            lateral_m_s2: 400.0 * act(at).curvature_per_m,
        })
        .collect();
    let driven = comfort(&[rows], 0.1).unwrap();
    assert!((value - driven).abs() < 1e-9 && driven > -0.5, "{value} and {driven}");
}

/// The comfort of who proposes this wherever the driver comes.
fn comfort_beside(footage: &Frames, propose: impl Fn(usize) -> Action) -> f64 {
    let of = |at| Some(Proposed { action: propose(at), distance: None });
    let proposed: Vec<Option<Proposed>> = (0..footage.len()).map(of).collect();
    let weights = vec![0.0; footage.len()];
    let run = ActedRun { footage, weights: &weights, leaders: &[] };
    let by = (&run, &Geometry::default());
    let errors =
        (0..footage.len()).filter_map(|at| error(DrivingMetric::Comfort, by, &proposed, at));
    let (model, copy): (Vec<f64>, Vec<f64>) = errors.unzip();
    1.0 - model.iter().sum::<f64>() / copy.iter().sum::<f64>()
}

/// On a bend that the driver takes at 2 m/s² across, with a brake before it.
#[test]
fn who_does_not_steer_on_a_bend_is_not_more_comfortable_than_the_driver() {
    let geometry = Geometry::default();
    let bend = |at: usize| if at < 30 { 0.0 } else { 0.005 * ((at as f64 - 30.0) / 20.0).min(1.0) };
    let brakes = |at: usize| if (20..40).contains(&at) { -0.8 } else { 0.0 };
    let motion = |at| Motion {
        speed_m_s: Some(20.0),
        steering_rad: Some(geometry.steering_rad(bend(at)) as f32),
        acceleration_m_s2: Some(brakes(at) as f32),
        ..Motion::default()
    };
    let motion = (0..80).map(|at| Some(motion(at))).collect();
    let shape = FrameShape { width: 2, height: 1 };
    let footage = Frames::new(shape, RATE_HZ, vec![0; 6 * 80], motion).unwrap();
    let act = |at| Action { curvature_per_m: bend(at), acceleration_m_s2: brakes(at) };
    let driver = comfort_beside(&footage, act);
    let nothing = comfort_beside(&footage, |_at| Action::default());
    assert!(nothing <= driver + 1e-6, "{nothing} without steering, {driver} of the driver");
    let harder = comfort_beside(&footage, |at| Action {
        curvature_per_m: 1.5 * bend(at),
        acceleration_m_s2: brakes(at),
    });
    assert!(harder < driver - 0.5, "{harder} of who steers harder, {driver} of the driver");
}

//! The closed loop on generated roads, from outside: what is done has its consequences, and drivers are what they are said to be.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use shoal_hal::FrameShape;
use shoal_hal::backend::synthetic::{
    Driven, Event, Leader, LessonForm, PRETRAINING, Region, Road, SimulatedAction, SimulatedDriver,
    Start, StartLeader, Style, Truth, lesson,
};

/// Small: what is tested is the motion.
const SHAPE: FrameShape = FrameShape { width: 8, height: 4 };
const FORM: LessonForm = LessonForm { shape: SHAPE, margin: 0, frames: 8 };
const SEED: u64 = 3_000_100;
const ROADS: [Region; 8] = [
    Region::Highway,
    Region::Rural,
    Region::City,
    Region::Mountain,
    Region::Night,
    Region::LeftHand,
    Region::TightCurves,
    Region::DenseTraffic,
];

fn drives(style: Style, frames: usize) -> Vec<Driven> {
    let seeds = SEED..SEED + 2;
    let roads =
        ROADS.iter().flat_map(|&region| seeds.clone().map(move |seed| Road { region, seed }));
    roads
        .map(|road| {
            road.driven((style, road.seed), Start::default(), (SHAPE, 10.0, frames)).unwrap()
        })
        .collect()
}

fn km(drives: &[Driven]) -> f32 {
    drives.iter().flat_map(|driven| &driven.truth).map(|truth| truth.speed_m_s * 1e-4).sum()
}

/// Times to collision of all moments that have one, s, sorted.
fn times(drives: &[Driven]) -> Vec<f32> {
    let truths = drives.iter().flat_map(|driven| &driven.truth);
    let mut times: Vec<f32> = truths
        .filter_map(|truth| truth.leader?.time_to_collision_s(truth.speed_m_s))
        .filter(|time| *time < 60.0)
        .collect();
    times.sort_by(f32::total_cmp);
    times
}

#[test]
fn an_attentive_driver_keeps_his_lane_and_his_distance() {
    let drives = drives(Style::Attentive, 300);
    let events: Vec<_> =
        drives.iter().map(|d| (&d.drive.name, &d.events)).filter(|(_, e)| !e.is_empty()).collect();
    assert!(events.is_empty(), "{events:?} in {} km", km(&drives));
    let offsets = drives.iter().flat_map(|d| d.truth.iter().map(|t| t.offset_m.abs()));
    let mean = offsets.sum::<f32>() / (drives.len() * 300) as f32;
    assert!(mean < 0.15, "{mean} m");
}

#[test]
fn a_particular_driver_keeps_his_lane_as_safely_in_a_way_of_his_own() {
    let others = drives(Style::Attentive, 300);
    let drive = |(index, region): (u64, &Region)| {
        let road = Road { region: *region, seed: SEED + index % 2 };
        let seed = 100 + index;
        let form = (SHAPE, 10.0, 300);
        road.driven((Style::Particular, seed), Start::default(), form).unwrap()
    };
    let regions = ROADS.iter().flat_map(|region| [region; 2]);
    let own: Vec<Driven> = (0..).zip(regions).map(drive).collect();
    let events: Vec<_> =
        own.iter().map(|d| (&d.drive.name, &d.events)).filter(|(_, e)| !e.is_empty()).collect();
    assert!(events.is_empty(), "{events:?} in {} km", km(&own));
    let mean = |driven: &Driven, of: fn(&Truth) -> f32| {
        driven.truth.iter().skip(100).map(of).sum::<f32>() / (driven.truth.len() - 100) as f32
    };
    // Each is another: who keeps to the left, and who is slow, is so all the time.
    let (mut asides, mut speeds) = (Vec::new(), Vec::new());
    for (own, other) in own.iter().zip(&others) {
        asides.push(mean(own, |truth| truth.offset_m) - mean(other, |truth| truth.offset_m));
        speeds.push(mean(own, |truth| truth.speed_m_s) / mean(other, |truth| truth.speed_m_s));
    }
    let range =
        |of: &[f32]| of.iter().fold((f32::MAX, f32::MIN), |(a, b), x| (a.min(*x), b.max(*x)));
    let ((right, left), (slow, fast)) = (range(&asides), range(&speeds));
    assert!((-0.5..-0.1).contains(&right) && (0.1..0.5).contains(&left), "{asides:?}");
    assert!((0.6..0.95).contains(&slow) && (0.97..1.3).contains(&fast), "{speeds:?}");
}

#[test]
fn a_reckless_driver_comes_closer_and_brakes_harder_than_an_attentive_one() {
    let (careful, reckless) = (drives(Style::Attentive, 300), drives(Style::Reckless, 300));
    let low = |drives: &[Driven]| {
        let times = times(drives);
        times[times.len() / 20]
    };
    assert!(low(&reckless) < 0.7 * low(&careful), "{} {}", low(&reckless), low(&careful));
    let brakes = |drives: &[Driven]| {
        let truths = drives.iter().flat_map(|driven| &driven.truth);
        truths.filter(|truth| truth.acceleration_m_s2 < -4.0).count()
    };
    assert!(brakes(&reckless) > 2 * brakes(&careful), "{} {}", brakes(&reckless), brakes(&careful));
    let offsets = |drives: &[Driven]| {
        drives.iter().flat_map(|d| d.truth.iter().map(|t| t.offset_m.abs())).sum::<f32>()
    };
    assert!(offsets(&reckless) > 2.0 * offsets(&careful));
}

#[test]
fn whoever_drives_straight_on_leaves_a_road_with_curves() {
    for seed in SEED..SEED + 4 {
        let road = Road { region: Region::TightCurves, seed };
        let mut closed = road.closed_loop(SHAPE, 10.0, Start::default()).unwrap();
        let mut seen = Vec::new();
        for _ in 0..300 {
            closed.step(SimulatedAction::default());
            seen.extend(closed.truth().event);
        }
        assert!(seen.contains(&Event::RoadDeparture), "{seen:?}");
        let out = closed.truth().offset_m.abs();
        closed.recover();
        closed.step(SimulatedAction::default());
        assert!(closed.truth().offset_m.abs() < 0.5 && out > 2.0, "{out} m");
    }
}

/// Whoever was lost steered hard to come back: that is not for the vehicle that stands in the lane.
#[test]
fn whoever_is_put_back_goes_on_along_the_lane() {
    for style in [Style::Attentive, Style::Reckless] {
        let start = Start { offset_m: 5.0, heading_rad: 0.2, ..Start::default() };
        let road = Road { region: Region::Night, seed: SEED };
        let driven = road.driven((style, 1), start, (SHAPE, 10.0, 3)).unwrap();
        assert_eq!(driven.events.first().map(|(at, _event)| *at), Some(0));
        let (done, truth) = (driven.actions[0], driven.truth[1]);
        assert_eq!(done.acceleration_m_s2, 0.0);
        assert!((done.curvature_1_m - truth.curvature_ahead_1_m[0]).abs() < 1e-3, "{done:?}");
        assert!(truth.offset_m.abs() < 0.1 && truth.event.is_none(), "{truth:?}");
    }
}

#[test]
fn whoever_does_not_brake_crashes() {
    let crashed = (SEED..SEED + 6).filter(|&seed| {
        let road = Road { region: Region::DenseTraffic, seed };
        let mut closed = road.closed_loop(SHAPE, 10.0, Start::default()).unwrap();
        let mut driver = SimulatedDriver::new(Style::Attentive, 0);
        (0..600).any(|_| {
            let curvature_1_m = driver.act(&closed.truth()).curvature_1_m;
            closed.step(SimulatedAction { curvature_1_m, acceleration_m_s2: 0.5 });
            closed.truth().event == Some(Event::Crash)
        })
    });
    assert!(crashed.count() >= 4);
}

#[test]
fn an_attentive_driver_comes_back_to_the_middle() {
    for region in ROADS {
        for (offset_m, heading_rad) in [(0.8, 0.0), (-0.8, 0.03), (0.0, -0.06)] {
            let start = Start { offset_m, heading_rad, speed_share: 0.8, leader: None };
            let road = Road { region, seed: SEED };
            let driven = road.driven((Style::Attentive, 0), start, (SHAPE, 10.0, 120)).unwrap();
            let first = driven.truth[0];
            assert!((first.offset_m - offset_m).abs() < 1e-4, "{first:?}");
            assert!((first.heading_rad - heading_rad).abs() < 1e-5);
            let late = driven.truth[80..].iter().map(|t| t.offset_m.abs()).sum::<f32>() / 40.0;
            assert!(late < 0.25, "{region:?} {offset_m} {heading_rad}: {late} m");
        }
    }
}

#[test]
fn the_camera_sees_where_the_vehicle_is() {
    let shape = FrameShape { width: 128, height: 64 };
    let frame = |offset_m, heading_rad| {
        let start = Start { offset_m, heading_rad, ..Start::default() };
        let road = Road { region: Region::Rural, seed: SEED };
        let closed = road.closed_loop(shape, 10.0, start).unwrap();
        closed.moment().frame.unwrap().to_vec()
    };
    let change = |a: &[u8], b: &[u8]| {
        a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
    };
    let middle = frame(0.0, 0.0);
    assert_eq!(middle, frame(0.0, 0.0));
    assert!(change(&middle, &frame(1.0, 0.0)) > 1.0);
    assert!(change(&middle, &frame(0.0, 0.05)) > 1.0);
}

#[test]
fn a_closed_loop_is_a_pure_function_of_road_and_actions() {
    let road = Road { region: Region::Night, seed: SEED };
    let drive =
        |seed| road.driven((Style::Reckless, seed), Start::default(), (SHAPE, 10.0, 60)).unwrap();
    let (a, b, other) = (drive(1), drive(1), drive(2));
    assert_eq!((a.drive.source_sha256, &a.truth), (b.drive.source_sha256, &b.truth));
    assert_ne!(a.truth, other.truth);
}

#[test]
fn a_track_for_small_cars_is_no_road() {
    let road = Road { region: Region::RcTrack, seed: SEED };
    assert!(road.closed_loop(SHAPE, 10.0, Start::default()).is_none());
}

#[test]
fn time_to_collision_is_gap_over_closing_speed() {
    let leader = Leader { gap_m: 20.0, speed_m_s: 10.0 };
    assert_eq!(leader.time_to_collision_s(15.0), Some(4.0));
    assert_eq!(leader.time_to_collision_s(9.0), None);
}

#[test]
fn what_is_no_number_is_not_done() {
    let road = Road { region: Region::Highway, seed: SEED };
    let mut closed = road.closed_loop(SHAPE, 10.0, Start::default()).unwrap();
    closed.step(SimulatedAction { curvature_1_m: f32::NAN, acceleration_m_s2: f32::INFINITY });
    assert!(closed.moment().motion.unwrap().is_finite());
}

#[test]
fn lessons_are_of_roads_for_pretraining_and_lead_back_to_the_middle() {
    let mut back = 0;
    let mut displaced = 0;
    for index in 0..60 {
        let lesson = lesson(1, index, FORM, |_, asked| asked);
        assert_eq!(lesson.truth.len(), lesson.actions.len());
        let [_, region, seed] = lesson.drive.name.split('/').collect::<Vec<_>>()[..] else {
            panic!("{}", lesson.drive.name)
        };
        assert!(PRETRAINING.contains(&Region::from_name(region).unwrap()));
        assert!(seed.parse::<u64>().unwrap() < 1_000_000);
        let (truth, action) = (lesson.truth[0], lesson.actions[0]);
        if truth.offset_m.abs() > 0.4 && truth.offset_m * truth.heading_rad > 0.0 {
            displaced += 1;
            let beside = action.curvature_1_m - truth.curvature_ahead_1_m[0];
            back += usize::from(beside * truth.offset_m < 0.0);
        }
    }
    assert!(displaced > 5 && back * 10 >= displaced * 8, "{back} of {displaced}");
}

#[test]
fn who_is_at_the_wheel_sees_the_middle_of_what_is_kept_and_is_told_what_to_do_where_he_comes_to_be()
{
    let shape = FrameShape { width: 16, height: 8 };
    let form = LessonForm { shape, margin: 3, frames: 16 };
    let left = SimulatedAction { curvature_1_m: 0.01, acceleration_m_s2: 0.0 };
    let mut seen = Vec::new();
    let mut asked = Vec::new();
    let drifting = lesson(1, 0, form, |moment, label| {
        seen.push(moment.frame.unwrap().to_vec());
        asked.push(label);
        left
    });
    let wide = form.wide();
    assert_eq!((wide.width, wide.height), (22, 8));
    for (index, seen) in seen.iter().enumerate() {
        let kept = drifting.drive.frames(index..index + 1);
        for row in 0..8 {
            assert_eq!(seen[row * 48..][..48], kept[row * 66 + 9..][..48]);
        }
    }
    assert_eq!(asked, drifting.actions);
    let attentive = lesson(1, 0, form, |_, asked| asked);
    assert_eq!(attentive.actions[0], drifting.actions[0]);
    let last = attentive.truth.len().min(drifting.truth.len()) - 1;
    assert!(drifting.truth[last].offset_m > attentive.truth[last].offset_m + 0.3);
    assert!(drifting.actions[last].curvature_1_m < attentive.actions[last].curvature_1_m);
}

#[test]
fn lessons_have_what_lanes_and_leaders_rarely_show() {
    let (mut brakes, mut tight) = (0, 0);
    for index in 0..60 {
        let lesson = lesson(2, index, FORM, |_, asked| asked);
        brakes += usize::from(lesson.actions[0].acceleration_m_s2 < -3.0);
        // No region of the pretraining share bends like that.
        tight += usize::from(lesson.truth[0].curvature_ahead_1_m.iter().any(|k| k.abs() > 0.013));
    }
    assert!((5..40).contains(&brakes) && tight > 2, "{brakes} {tight}");
}

#[test]
fn a_leader_is_where_the_start_puts_it() {
    let road = Road { region: Region::Rural, seed: SEED };
    let leader = Some(StartLeader { gap_m: 12.0, speed_share: 0.5 });
    let start = Start { leader, ..Start::default() };
    let closed = road.closed_loop(SHAPE, 10.0, start).unwrap();
    let truth = closed.truth();
    let ahead = truth.leader.unwrap();
    assert!((ahead.gap_m - 12.0).abs() < 1.0, "{ahead:?}");
    assert!((ahead.speed_m_s - 0.5 * truth.speed_m_s).abs() < 0.1 * truth.speed_m_s, "{ahead:?}");
    let action = SimulatedDriver::new(Style::Attentive, 0).act(&truth);
    assert!(action.acceleration_m_s2 < -3.0, "{action:?}");
}

#[test]
fn who_is_faster_than_he_wants_to_be_brakes_gently() {
    let road = Road { region: Region::Highway, seed: SEED };
    let start = Start { speed_share: 2.0, ..Start::default() };
    let truth = road.closed_loop(SHAPE, 10.0, start).unwrap().truth();
    let action = SimulatedDriver::new(Style::Attentive, 0).act(&Truth { leader: None, ..truth });
    assert!((action.acceleration_m_s2 + 1.4).abs() < 1e-5, "{action:?}");
}

#[test]
fn who_is_turned_steers_back() {
    let road = Road { region: Region::Highway, seed: SEED };
    let truth = road.closed_loop(SHAPE, 10.0, Start::default()).unwrap().truth();
    let steer = |heading_rad| {
        let mut turned = truth;
        turned.heading_rad = heading_rad;
        SimulatedDriver::new(Style::Attentive, 0).act(&turned).curvature_1_m
    };
    let more = steer(-0.03) - steer(0.0);
    let told = 0.03 * SimulatedDriver::straightens_1_m_rad(&truth);
    assert!(more > 0.0 && (more - told).abs() < 0.05 * more, "{more} {told}");
}

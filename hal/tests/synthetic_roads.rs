//! Generated roads, from outside: the same bytes, the promised motion, the promised variety.

use shoal_hal::backend::synthetic::{PRETRAINING, Region, Road, pretraining_clip};
use shoal_hal::{Drive, FrameShape, Moments, conformance};

const SHAPE: FrameShape = FrameShape { width: 128, height: 64 };
const SEED: u64 = 3_000_007;

fn mean(frame: &[u8]) -> f64 {
    frame.iter().map(|&byte| f64::from(byte)).sum::<f64>() / frame.len() as f64 / 255.0
}

fn contrast(frame: &[u8]) -> f64 {
    let mean = mean(frame);
    let square = |&byte: &u8| (f64::from(byte) / 255.0 - mean).powi(2);
    (frame.iter().map(square).sum::<f64>() / frame.len() as f64).sqrt()
}

/// Mean squared difference of two frames, values 0..1.
fn change(a: &[u8], b: &[u8]) -> f64 {
    let square = |(&a, &b): (&u8, &u8)| ((f64::from(a) - f64::from(b)) / 255.0).powi(2);
    a.iter().zip(b).map(square).sum::<f64>() / a.len() as f64
}

fn drive(region: Region, seed: u64, frames: usize) -> Drive {
    Road { region, seed }.render(SHAPE, 10.0, frames)
}

#[test]
fn a_road_is_a_pure_function_of_region_and_seed() {
    for region in Region::ALL {
        assert_eq!(drive(region, SEED, 3), drive(region, SEED, 3), "{region:?}");
    }
}

#[test]
fn another_seed_is_another_road() {
    for region in Region::ALL {
        let (a, b) = (drive(region, SEED, 1), drive(region, SEED + 1, 1));
        assert!(change(a.frame(0), b.frame(0)) > 0.002, "{region:?}");
    }
}

#[test]
fn regions_of_one_seed_are_different_roads() {
    let drives: Vec<Drive> = Region::ALL.iter().map(|&r| drive(r, SEED, 1)).collect();
    for (i, a) in drives.iter().enumerate() {
        for b in &drives[i + 1..] {
            assert!(change(a.frame(0), b.frame(0)) > 0.002, "{} {}", a.name, b.name);
        }
    }
}

#[test]
fn nights_are_darker_than_days() {
    let level =
        |region| (0..8).map(|i| mean(drive(region, SEED + i, 1).frame(0))).sum::<f64>() / 8.0;
    assert!(level(Region::Night) < 0.6 * level(Region::Highway));
}

#[test]
fn every_frame_shows_something_that_moves() {
    for region in Region::ALL {
        let drive = drive(region, SEED, 8);
        for i in 0..8 {
            assert!(contrast(drive.frame(i)) > 0.03, "{region:?} {i}");
        }
        let speed = drive.motion(7).unwrap().speed_m_s.unwrap();
        if speed > 2.0 {
            assert!(change(drive.frame(6), drive.frame(7)) > 1e-5, "{region:?}");
        }
    }
}

#[test]
fn moments_are_the_frames_of_the_rendered_drive() {
    let road = Road { region: Region::Rural, seed: SEED };
    let drive = road.render(SHAPE, 10.0, 5);
    let mut moments = road.moments(SHAPE, 10.0);
    for i in 0..5 {
        let moment = moments.next().unwrap().unwrap();
        assert_eq!(moment.frame, Some(drive.frame(i)));
        assert_eq!(moment.motion, drive.motion(i));
        assert_eq!(moment.since_start, drive.since_start(i));
    }
}

#[test]
fn moments_keep_what_the_trait_promises() {
    for region in Region::ALL {
        let mut moments = Road { region, seed: SEED }.moments(SHAPE, 10.0);
        let seen = conformance::check(&mut moments, 12).unwrap();
        assert_eq!((seen.frames, seen.motions), (12, 12), "{region:?}");
    }
}

#[test]
fn motion_is_that_of_a_vehicle() {
    for region in Region::ALL {
        for seed in SEED..SEED + 4 {
            let shape = FrameShape { width: 8, height: 4 };
            let drive = Road { region, seed }.render(shape, 10.0, 100);
            for i in 0..100 {
                let motion = drive.motion(i).unwrap();
                let name = &drive.name;
                assert!((0.0..60.0).contains(&motion.speed_m_s.unwrap()), "{name} {motion:?}");
                assert!(motion.acceleration_m_s2.unwrap().abs() < 8.0, "{name} {motion:?}");
                let lateral = motion.lateral_acceleration_m_s2.unwrap();
                assert!(lateral.abs() < 14.0, "{name} {motion:?}");
                assert!(motion.steering_rad.unwrap().abs() < 9.0, "{name} {motion:?}");
            }
        }
    }
}

/// Lateral acceleration is speed² × curvature, and a steering angle bends the path that way.
#[test]
fn steering_left_accelerates_to_the_left() {
    let shape = FrameShape { width: 8, height: 4 };
    let drive = Road { region: Region::TightCurves, seed: SEED }.render(shape, 10.0, 200);
    let mut turned = 0;
    for i in 0..200 {
        let motion = drive.motion(i).unwrap();
        let (steering, lateral) =
            (motion.steering_rad.unwrap(), motion.lateral_acceleration_m_s2.unwrap());
        if steering.abs() > 0.1 && motion.speed_m_s.unwrap() > 1.0 {
            assert!(steering.signum() == lateral.signum(), "{motion:?}");
            turned += 1;
        }
    }
    assert!(turned > 20, "{turned} frames in curves");
}

#[test]
fn acceleration_is_the_change_of_speed() {
    let shape = FrameShape { width: 8, height: 4 };
    for region in [Region::Highway, Region::City, Region::RcTrack] {
        let drive = Road { region, seed: SEED }.render(shape, 50.0, 400);
        let speed = |i: usize| f64::from(drive.motion(i).unwrap().speed_m_s.unwrap());
        let sum: f64 = (0..399)
            .map(|i| f64::from(drive.motion(i).unwrap().acceleration_m_s2.unwrap()) / 50.0)
            .sum();
        assert!((speed(399) - speed(0) - sum).abs() < 0.25, "{region:?}: {sum}");
    }
}

#[test]
fn any_shape_and_rate_gives_frames() {
    for (width, height) in [(1, 1), (3, 200), (200, 66), (160, 120), (100, 100), (320, 160)] {
        for region in [Region::Highway, Region::City, Region::RcTrack, Region::Tunnel] {
            let shape = FrameShape { width, height };
            let drive = Road { region, seed: SEED }.render(shape, 20.0, 2);
            assert_eq!(drive.frame(1).len(), shape.bytes());
        }
    }
    for rate in [0.1, 1.0, 23.976, 1_000.0] {
        assert_eq!(Road { region: Region::Suburb, seed: SEED }.render(SHAPE, rate, 2).len(), 2);
    }
}

#[test]
fn pretraining_clips_are_repeatable_and_differ() {
    let clip = |seed, index| pretraining_clip(seed, index, SHAPE, 2);
    assert_eq!(clip(SEED, 5), clip(SEED, 5));
    assert_ne!(clip(SEED, 5).frames, clip(SEED, 6).frames);
    assert_ne!(clip(SEED, 5).frames, clip(SEED + 1, 5).frames);
}

#[test]
fn pretraining_clips_have_only_regions_and_intervals_of_pretraining() {
    let shape = FrameShape { width: 8, height: 4 };
    let mut seen = std::collections::BTreeSet::new();
    for index in 0..400 {
        let clip = pretraining_clip(SEED, index, shape, 1);
        assert!(PRETRAINING.contains(&clip.region), "{:?}", clip.region);
        assert!((0.05..=0.15).contains(&clip.interval_s));
        seen.insert(clip.region);
    }
    assert_eq!(seen.len(), PRETRAINING.len());
}

#[test]
fn names_of_regions_are_unique_and_found_again() {
    for region in Region::ALL {
        assert_eq!(Region::from_name(region.name()), Some(region));
    }
    assert_eq!(Region::from_name("moon"), None);
}

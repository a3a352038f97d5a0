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

/// Golden bytes: a change here is a change of every generated road. Frames and motion are computed
/// with + − × ÷ √ and the `libm` crate alone, so every machine must give these.
#[test]
fn roads_are_the_same_bytes_on_every_machine() {
    let got: Vec<(&str, String)> = Region::ALL
        .iter()
        .map(|&region| {
            let drive = drive(region, SEED, 3);
            let motion = drive.motion(2).unwrap();
            let values = [
                motion.speed_m_s,
                motion.steering_rad,
                motion.acceleration_m_s2,
                motion.lateral_acceleration_m_s2,
            ];
            let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
            let motion: String = values.iter().map(|v| hex(&v.unwrap().to_be_bytes())).collect();
            (region.name(), hex(&drive.source_sha256[..16]) + &motion)
        })
        .collect();
    assert_eq!(got, GOLDEN.map(|(name, hex)| (name, hex.to_owned())));
}

/// Per region: first half of the SHA-256 of three frames, then the bits of the motion at the third.
const GOLDEN: [(&str, &str); 19] = [
    ("highway", "6429e859918ee60de0e29d409d3ef9aa41fc9ba9bbd9b7b9bb71e000be143970"),
    ("autobahn", "298e0eae73b614927c403b62932e256841b5598bbc18512cbfede180bdbb3d8c"),
    ("rural", "a20d67184e62299ab2da6de05e5c2ed041856540bd28bba7be87e880be892ce9"),
    ("forest", "aa659faebc3e552e48bc9df30c064141419361843ca09d72bea52d003e1c7ba2"),
    ("city", "6ca5e9dbe85a56dacd652eabec540bf040a8002ebcffe476be0ab2e0bc8fb1ed"),
    ("suburb", "ed13d5c4134bc2b88f5bd2327400a55f412c44b3be92c5d73ed58f40bf3937f8"),
    ("mountain", "048b41415b0141c5694520e385afa074411b1034bc98cb2b3d369e00bd15ff09"),
    ("desert", "9576bb1fab6b2beb2a61e3a749dc3e9741f968653dac73f7c00492c03feb84de"),
    ("coast", "39dbc9ac2234388ea12a706a96d94b2c413f9961bd5d0e443cce0400be1ec9f7"),
    ("haze", "a38df302c8377913dc256aac8077f80441da3128bbd331d13f360760be047e51"),
    ("dusk", "26c0c63d73a8b7d4a0f223c53c0be2fc41b5ebca3d0970713e8557003ec2d692"),
    ("rain", "97dce40e161fc9952942d32fde8c0f6e41bb6933bbc5f67c3f98bf20bdb8da07"),
    ("tunnel", "075d38f3efde726ad4d0ccec370e5b1b40b8d0c8bd70ed46be6a7fe0bd4692e9"),
    ("rc_track", "a4a41ce6292beda998c1843f477363613faa7f66be10dc263bd21000bf5b67a3"),
    ("night", "e71e3dde7fa13b10c89471d611202ecd41852c39bc2c5f383eaf9240bd90b955"),
    ("snow", "a056f551d847a69580f4af65765dd4c9418eab833d94a4bf3f61bc203f180a8a"),
    ("left_hand", "ad871c2c5c1730ebf16f764c4961f5c241a7aa1fbc1b1bee3f196600bde2fec9"),
    ("tight_curves", "cd3e44789b360f7523f229c0cd5a9fca411dde583f44a3f53e78fe804002e852"),
    ("dense_traffic", "0a0cdc6d29d29fae1b4a8d135da65c7040aa588e3c3d234d3f0bafd83c020847"),
];

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

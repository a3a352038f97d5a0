//! Where a camera was at every frame of a folder: `poses.txt`, as the KITTI odometry benchmark has them.
//!
//! A line a frame, twelve numbers: the 3×4 matrix, row by row, that takes a point from this frame's camera to where the first
//! frame's camera was. Its axes are right, down, forward; metres.
//!
//! # Motion
//! By central differences, one-sided at both ends: speed is the length of the way from the frame before to the frame after, the yaw
//! rate the change of the heading over the same time; acceleration is the change of that speed over 0.25 s before and after. Lateral
//! acceleration is speed times yaw rate. How the driver steered is not known: what he did is the path
//! ([`Motion::steering_rad`] stays unknown).

use std::path::Path;

use super::ReadError;
use super::comma::differences;
use super::picture::read_file;
use crate::Motion;

/// The file's name, beside the frames.
pub(super) const POSES_FILE: &str = "poses.txt";

/// Longest file read, bytes.
const POSES_BYTES_MAX: u64 = 256 << 20;

/// Half of the time over which speed changes, seconds.
const HALF_WIDTH_S: f64 = 0.25;

/// Farther, in metres, no road leads: more than twice around the world.
const FAR_M: f64 = 1e8;

/// Where the camera was, and how it looked ahead.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pose {
    at_m: [f64; 3],
    ahead: [f64; 3],
}

/// The file's bytes, and the motion at each of `frames` frames, which come `rate_hz` times a second.
///
/// # Errors
/// When it cannot be read, a line is no pose, or there are more or fewer lines than frames.
pub(super) fn read_poses(
    path: &Path,
    frames: usize,
    rate_hz: f64,
) -> Result<(Vec<u8>, Vec<Motion>), ReadError> {
    let content = read_file(path, POSES_BYTES_MAX)?;
    let poses = parse(&content, frames).map_err(|(line, what)| ReadError::Poses {
        path: path.to_owned(),
        line,
        what,
    })?;
    Ok((content, motions(&poses, rate_hz)))
}

fn parse(content: &[u8], frames: usize) -> Result<Vec<Pose>, (usize, &'static str)> {
    let text = str::from_utf8(content).map_err(|_| (1, "the file is not text"))?;
    let mut poses = Vec::new();
    for (index, line) in text.trim_end().lines().enumerate() {
        if index == frames {
            return Err((index + 1, "there are more lines than frames"));
        }
        let mut values = [0.0; 12];
        let mut fields = line.split_ascii_whitespace();
        for value in &mut values {
            let field = fields.next().ok_or((index + 1, "it has fewer than twelve numbers"))?;
            let number: Option<f64> = field.parse().ok();
            *value = number
                .filter(|number| number.is_finite())
                .ok_or((index + 1, "a field is not a finite number"))?;
        }
        if fields.next().is_some() {
            return Err((index + 1, "it has more than twelve numbers"));
        }
        let [_, _, ahead_x, x, _, _, ahead_y, y, _, _, ahead_z, z] = values;
        let pose = Pose { at_m: [x, y, z], ahead: [ahead_x, ahead_y, ahead_z] };
        if pose.at_m.iter().any(|metres| metres.abs() > FAR_M) {
            return Err((index + 1, "no camera was there: it is farther than the world is around"));
        }
        // A column of a rotation has length 1; files round it.
        let length: f64 = pose.ahead.iter().map(|part| part * part).sum();
        if !(0.9..1.1).contains(&length) {
            return Err((index + 1, "its first three columns are no rotation"));
        }
        poses.push(pose);
    }
    if poses.len() < frames {
        return Err((poses.len() + 1, "there are fewer lines than frames"));
    }
    Ok(poses)
}

/// The motion at each pose; a single one tells none.
fn motions(poses: &[Pose], rate_hz: f64) -> Vec<Motion> {
    let Some(last) = poses.len().checked_sub(1).filter(|last| *last > 0) else {
        return vec![Motion::default(); poses.len()];
    };
    let around = |at: usize| (at.saturating_sub(1), (at + 1).min(last));
    let seconds = |(before, after): (usize, usize)| (after - before) as f64 / rate_hz;
    let speed = |at: usize| {
        let (before, after) = around(at);
        way(&poses[before], &poses[after], &poses[at]) / seconds((before, after))
    };
    let speeds: Vec<f64> = (0..=last).map(speed).collect();
    let half = ((HALF_WIDTH_S * rate_hz) as usize).max(1);
    let accelerations = differences(&speeds, half, rate_hz);
    let motion = |at: usize| {
        let (before, after) = around(at);
        let yaw_rate = turned(&poses[before], &poses[after]) / seconds((before, after));
        Motion {
            speed_m_s: Some(speeds[at] as f32),
            steering_rad: None,
            acceleration_m_s2: Some(accelerations[at] as f32),
            lateral_acceleration_m_s2: Some((speeds[at] * yaw_rate) as f32),
        }
    };
    (0..=last).map(motion).collect()
}

/// Length of the way between two poses, m; negative where it is against what is ahead of the one between.
fn way(from: &Pose, to: &Pose, between: &Pose) -> f64 {
    let step = [0, 1, 2].map(|axis| to.at_m[axis] - from.at_m[axis]);
    let along: f64 = step.iter().zip(between.ahead).map(|(step, ahead)| step * ahead).sum();
    let length = step.iter().map(|step| step * step).sum::<f64>().sqrt();
    length.copysign(along)
}

/// By how much the heading turns to the left, rad.
fn turned(from: &Pose, to: &Pose) -> f64 {
    use std::f64::consts::{PI, TAU};
    let right = |pose: &Pose| pose.ahead[0].atan2(pose.ahead[2]);
    let left = right(from) - right(to);
    // The shorter way round.
    (left + PI).rem_euclid(TAU) - PI
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of a camera at (right, forward), m, that looks so far to the left of forward, rad.
    fn line(right: f64, forward: f64, left_rad: f64) -> String {
        let (sine, cosine) = left_rad.sin_cos();
        format!("{cosine} 0 {} {right} 0 1 0 0 {sine} 0 {cosine} {forward}\n", -sine)
    }

    /// Of a circle to the left of this radius, driven at this speed, `rate_hz` times a second.
    fn circle(radius_m: f64, speed_m_s: f64, rate_hz: f64, frames: usize) -> String {
        let at = |frame: usize| {
            let angle = speed_m_s / radius_m * frame as f64 / rate_hz;
            line(radius_m * (angle.cos() - 1.0), radius_m * angle.sin(), angle)
        };
        (0..frames).map(at).collect()
    }

    fn near(is: Option<f32>, want: f64) -> bool {
        is.is_some_and(|is| (f64::from(is) - want).abs() < 0.01 * want.abs().max(1.0))
    }

    #[test]
    fn a_circle_to_the_left_is_driven_with_its_lateral_acceleration() {
        for rate_hz in [10.0, 20.0] {
            let poses = parse(circle(20.0, 8.0, rate_hz, 200).as_bytes(), 200).unwrap();
            for motion in motions(&poses, rate_hz) {
                assert!(near(motion.speed_m_s, 8.0), "{motion:?}");
                assert!(near(motion.acceleration_m_s2, 0.0), "{motion:?}");
                assert!(near(motion.lateral_acceleration_m_s2, 8.0 * 8.0 / 20.0), "{motion:?}");
                assert_eq!(motion.steering_rad, None);
            }
        }
    }

    #[test]
    fn whoever_goes_back_goes_against_what_is_ahead() {
        // From 0, faster by 2 m/s in every second, backwards.
        let way = |frame: f64| -(frame / 10.0) * (frame / 10.0);
        let text: String = (0..40).map(|frame| line(0.0, way(f64::from(frame)), 0.0)).collect();
        let motions = motions(&parse(text.as_bytes(), 40).unwrap(), 10.0);
        assert!(near(motions[20].speed_m_s, -4.0), "{:?}", motions[20]);
        assert!(near(motions[20].acceleration_m_s2, -2.0), "{:?}", motions[20]);
        assert!(near(motions[20].lateral_acceleration_m_s2, 0.0), "{:?}", motions[20]);
    }

    #[test]
    fn a_single_pose_tells_nothing() {
        let poses = parse(line(0.0, 0.0, 0.0).as_bytes(), 1).unwrap();
        assert_eq!(motions(&poses, 10.0), [Motion::default()]);
        assert_eq!(motions(&[], 10.0), []);
    }

    #[test]
    fn a_line_that_is_no_pose_is_named() {
        let good = line(0.0, 1.0, 0.0);
        for (text, line) in [
            (format!("{good}1 2 3\n"), 2),
            (format!("{good}{} 13\n", good.trim_end()), 2),
            (format!("{good}{}", good.replace("1 0 0", "x 0 0")), 2),
            (format!("{good}{}", good.replace("1 0 0", "NaN 0 0")), 2),
            (good.repeat(3), 3),
            (good.clone(), 2),
            (format!("{good}{}", line(1e300, 0.0, 0.0)), 2),
            (format!("{good}{}", "1 ".repeat(12)), 2),
            ("\u{feff}".into(), 1),
        ] {
            assert_eq!(parse(text.as_bytes(), 2).unwrap_err().0, line, "{text:?}");
        }
        assert!(parse(b"\xff\xfe", 2).is_err());
    }
}

//! Drives in the closed loop on a fixed, seeded set of generated roads, and what they were like.

use sha2::{Digest, Sha256};
use shoal_hal::FrameShape;
use shoal_hal::backend::synthetic::{Event, Road, SPLIT, Start, Truth, UNSEEN, Use};
use shoal_runtime::engine::EngineError;

use super::controls::Row;
use super::{CONFLICT_S, Moved, comfort, distance, jerk_rms, lane_keeping, mean};
use crate::policymodel::{DRIVEN_HZ, Reflex};

/// A set of roads that drives are measured on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roads {
    roads: Vec<Road>,
    seconds: u32,
}

impl Roads {
    /// `count` roads of `seconds` each, of the regions that no shipped model was pretrained on, in turn, with the first seeds of
    /// the share for packs.
    ///
    /// # Panics
    /// Never: the table has that share.
    #[must_use]
    pub fn unseen(count: u32, seconds: u32) -> Self {
        let share = SPLIT.iter().find(|share| share.of == Use::Packs);
        let first = *share.expect("the split has a share for packs").seeds.start();
        let seeds = first..first + u64::from(count);
        let roads = UNSEEN.iter().cycle().zip(seeds);
        Roads { roads: roads.map(|(&region, seed)| Road { region, seed }).collect(), seconds }
    }

    /// The roads.
    #[must_use]
    pub fn all(&self) -> &[Road] {
        &self.roads
    }

    /// SHA-256 over names and time: what an evaluation commits to.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        let mut hasher = Sha256::new_with_prefix(b"shoal closed loop v1");
        hasher.update(self.seconds.to_le_bytes());
        for road in &self.roads {
            hasher.update(road.name());
            hasher.update(b"\n");
        }
        hasher.finalize().into()
    }

    /// Drives all of them, one after the other.
    ///
    /// What goes wrong is an intervention: the vehicle is put back into its lane and drives on.
    ///
    /// # Errors
    /// [`EngineError`] of a policy.
    pub fn drive(
        &self,
        shape: FrameShape,
        reflex: &mut Reflex<'_>,
        mut tell: impl FnMut(usize),
    ) -> Result<Report, EngineError> {
        let mut drives = Vec::new();
        for (number, road) in self.roads.iter().enumerate() {
            drives.extend(self.one(road, shape, reflex)?);
            tell(number + 1);
        }
        Ok(Report::of(&drives))
    }

    fn one(
        &self,
        road: &Road,
        shape: FrameShape,
        reflex: &mut Reflex<'_>,
    ) -> Result<Option<Vec<Truth>>, EngineError> {
        let Some(mut closed) = road.closed_loop(shape, DRIVEN_HZ, Start::default()) else {
            return Ok(None);
        };
        reflex.restart();
        let mut truths = Vec::new();
        for _ in 0..u64::from(self.seconds) * DRIVEN_HZ as u64 {
            let truth = closed.truth();
            let mut action = reflex.act(&closed.moment(), &truth)?;
            truths.push(truth);
            if truth.event.is_some() {
                reflex.restart();
                action = closed.put_back();
            }
            closed.step(action);
        }
        Ok(Some(truths))
    }
}

/// What someone asks of the vehicle in the first `rows` rows of a road, as a controller has to follow it: lateral
/// acceleration = curvature asked for · speed². `None` on a track for small cars.
///
/// # Errors
/// [`EngineError`] of a policy.
pub fn demand(
    road: &Road,
    shape: FrameShape,
    reflex: &mut Reflex<'_>,
    rows: usize,
) -> Result<Option<Vec<Row>>, EngineError> {
    let Some(mut closed) = road.closed_loop(shape, DRIVEN_HZ, Start::default()) else {
        return Ok(None);
    };
    reflex.restart();
    let mut asked = Vec::with_capacity(rows);
    for _ in 0..rows {
        let truth = closed.truth();
        let mut action = reflex.act(&closed.moment(), &truth)?;
        let speed = f64::from(truth.speed_m_s);
        asked.push(Row {
            speed_m_s: speed,
            acceleration_m_s2: f64::from(truth.acceleration_m_s2),
            target_m_s2: f64::from(action.curvature_1_m) * speed * speed,
            ..Row::default()
        });
        if truth.event.is_some() {
            reflex.restart();
            action = closed.put_back();
        }
        closed.step(action);
    }
    Ok(Some(asked))
}

/// What drives were like.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Distance driven, km.
    pub km: f64,
    /// Time driven, s.
    pub seconds: f64,
    /// How often the lane was left, the road was left, a vehicle was hit.
    pub departures: usize,
    /// Off the road.
    pub off_road: usize,
    /// Overlaps with other vehicles.
    pub crashes: usize,
    /// Mean |offset| from the lane's middle, m.
    pub offset_m: f64,
    /// Mean |speed − wanted speed| ÷ wanted speed where nothing is near ahead.
    pub speed_error: f64,
    /// Share of the time with less than 4 s to a collision.
    pub conflict: f64,
    /// Root mean square of jerk along and across, m/s³; `None` where no stretch has half a second.
    pub jerk_m_s3: [Option<f64>; 2],
    /// The terms' values: means over the drives. `None` where no stretch is longer than a second: nobody knows.
    pub comfort: Option<f64>,
    /// See [`distance`].
    pub distance: f64,
    /// See [`lane_keeping`]; of all drives together.
    pub lane_keeping: f64,
}

impl Report {
    fn of(drives: &[Vec<Truth>]) -> Self {
        let all = || drives.iter().flatten();
        let events = |of: Event| all().filter(|truth| truth.event == Some(of)).count();
        let interval = 1.0 / DRIVEN_HZ;
        let seconds = all().count() as f64 * interval;
        let [departures, off_road, crashes] =
            [Event::LaneDeparture, Event::RoadDeparture, Event::Crash].map(events);
        let near = |truth: &&Truth| truth.leader.is_none_or(|leader| leader.gap_m > 60.0);
        let slow = |truth: &Truth| {
            f64::from((truth.speed_m_s - truth.speed_wanted_m_s).abs() / truth.speed_wanted_m_s)
        };
        let conflict = |truth: &Truth| {
            let left = truth.leader.and_then(|leader| leader.time_to_collision_s(truth.speed_m_s));
            f64::from(u8::from(left.is_some_and(|left| f64::from(left) < CONFLICT_S)))
        };
        let moved: Vec<Vec<Vec<Moved>>> = drives.iter().map(|drive| moved(drive)).collect();
        let met = |drive: &Vec<Truth>| -> Option<f64> {
            distance(&drive.iter().map(|truth| (truth.speed_m_s, truth.leader)).collect::<Vec<_>>())
        };
        let jerks: Vec<[f64; 2]> =
            moved.iter().filter_map(|drive| jerk_rms(drive, interval)).collect();
        let jerk = |of: usize| {
            let squares = jerks.iter().filter_map(|jerk| jerk.get(of)).map(|jerk| jerk * jerk);
            mean(squares).map(f64::sqrt)
        };
        Report {
            km: all().map(|truth| f64::from(truth.speed_m_s)).sum::<f64>() * interval * 1e-3,
            seconds,
            departures,
            off_road,
            crashes,
            offset_m: mean(all().map(|truth| f64::from(truth.offset_m.abs()))).unwrap_or(0.0),
            speed_error: mean(all().filter(near).map(slow)).unwrap_or(0.0),
            conflict: mean(all().map(conflict)).unwrap_or(0.0),
            jerk_m_s3: [jerk(0), jerk(1)],
            comfort: mean(moved.iter().filter_map(|drive| comfort(drive, interval))),
            distance: mean(drives.iter().filter_map(met)).unwrap_or(0.0),
            lane_keeping: lane_keeping(departures + off_road + crashes, seconds).unwrap_or(0.0),
        }
    }

    /// All that someone had to take over for.
    #[must_use]
    pub fn interventions(&self) -> usize {
        self.departures + self.off_road + self.crashes
    }
}

/// The motion of a drive, in stretches: what went wrong is the last row of one, and the next begins where the vehicle was put back.
fn moved(drive: &[Truth]) -> Vec<Vec<Moved>> {
    let row = |truth: &Truth| Moved {
        acceleration_m_s2: f64::from(truth.acceleration_m_s2),
        lateral_m_s2: f64::from(truth.curvature_1_m * truth.speed_m_s * truth.speed_m_s),
    };
    let stretches = drive.split_inclusive(|truth| truth.event.is_some());
    stretches.map(|stretch| stretch.iter().map(row).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten seconds at this speed in a bend of 200 m.
    fn calm(speed_m_s: f32) -> Vec<Truth> {
        let truth = Truth {
            offset_m: 0.0,
            lane_half_m: 1.8,
            edges_m: [3.0; 2],
            heading_rad: 0.0,
            curvature_ahead_1_m: [0.005; 16],
            speed_m_s,
            acceleration_m_s2: 0.0,
            curvature_1_m: 0.005,
            speed_wanted_m_s: speed_m_s,
            leader: None,
            event: None,
        };
        vec![truth; 100]
    }

    #[test]
    fn what_is_not_known_of_a_second_is_not_in_the_middle_of_the_scale() {
        let second = Report::of(&[calm(20.0)[..10].to_vec()]);
        assert_eq!((second.comfort, second.lane_keeping), (None, 1.0));
        assert_eq!(second.jerk_m_s3, [Some(0.0); 2]);
        let moment = Report::of(&[calm(20.0)[..3].to_vec()]);
        assert_eq!(moment.jerk_m_s3, [None; 2]);
        assert!(Report::of(&[calm(20.0)]).comfort.is_some());
    }

    /// 0.2 m/s² across before it is put back and 2 m/s² after it: calm, both of them.
    #[test]
    fn two_stretches_with_a_put_back_between_them_are_as_comfortable_as_they_are() {
        let (slow, fast) = (calm(6.4), calm(20.0));
        let mut joined = [slow.clone(), fast.clone()].concat();
        joined[99].event = Some(Event::LaneDeparture);
        let of = |drive: &[Truth]| {
            let drive = moved(drive);
            let [along, across] = jerk_rms(&drive, 0.1).unwrap();
            (comfort(&drive, 0.1).unwrap(), along.max(across))
        };
        let [(slow, _), (fast, _), (joined, jerk)] = [of(&slow), of(&fast), of(&joined)];
        assert!((joined - (slow + fast) / 2.0).abs() < 1e-9, "{joined}: {slow} and {fast}");
        assert_eq!(jerk, 0.0);
    }
}

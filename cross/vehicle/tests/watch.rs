//! Watching a source of moments: a recorded drive is one of them, a camera with gaps another.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;
use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use shoal_hal::backend::synthetic::{Region, Road};
use shoal_hal::{Drive, FrameShape, Moment, Moments, Span};
use shoal_vehicle::agent::{About, Agent, Tell};
use shoal_vehicle::config::{Config, EngineKind};

const FRAMES: usize = 40;

fn agent(state: &Path) -> Agent {
    agent_within(state, None)
}

fn agent_within(state: &Path, frame_time_max: Option<Duration>) -> Agent {
    let mut config = Config::default();
    config.engine.kind = EngineKind::Tract;
    config.engine.frame_time_max = frame_time_max;
    config.model.package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/world");
    config.state = state.to_owned();
    config.replay.seconds_around = 0.3;
    Agent::open(config).unwrap()
}

fn road(agent: &Agent) -> Drive {
    let form = agent.form();
    Road { region: Region::ALL[0], seed: 7 }.render(form.shape, form.rate_hz, FRAMES)
}

/// Surprise and rank of every frame, to the bit.
fn seen(tell: Tell<'_>, seen: &mut Vec<[Option<u32>; 2]>) {
    if let Tell::Moment { surprise, rank, .. } = tell {
        seen.push([surprise, rank].map(|value| value.map(f32::to_bits)));
    }
}

fn about(drive: &Drive) -> About<'_> {
    About { name: &drive.name, of: None, rate_hz: drive.rate_hz, recorded_at_s: Some(1_000_000) }
}

/// The moments of a drive, one frame of which a camera lost.
struct Lossy<'a> {
    drive: &'a Drive,
    lost: usize,
    next: usize,
}

impl Moments for Lossy<'_> {
    type Error = Infallible;

    fn shape(&self) -> FrameShape {
        self.drive.shape
    }

    fn next(&mut self) -> Result<Option<Moment<'_>>, Infallible> {
        let index = self.next;
        self.next += 1;
        let frame = (index != self.lost).then(|| self.drive.frame(index.min(FRAMES - 1)));
        let since_start = self.drive.since_start(index);
        let motion = None;
        Ok((index < FRAMES).then_some(Moment { frame, motion, since_start }))
    }
}

#[test]
fn a_recorded_drive_is_watched_as_any_source_is() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (mut recorded, mut live) = (Vec::new(), Vec::new());
    let mut agent_of_drives = agent(folders[0].path());
    let drive = road(&agent_of_drives);
    let all = [Span { first: 0, last: FRAMES - 1 }];
    agent_of_drives.drive(&drive, &all, 1_000_000, |tell| seen(tell, &mut recorded)).unwrap();
    let mut agent_of_moments = agent(folders[1].path());
    let watch = |tell: Tell<'_>| seen(tell, &mut live);
    agent_of_moments.watch(&mut drive.moments(), &about(&drive), |_| true, watch).unwrap();
    assert_eq!(recorded, live);
    assert_eq!(recorded.iter().filter(|[surprise, _]| surprise.is_some()).count(), FRAMES - 4);
    assert_eq!(agent_of_drives.replay(), agent_of_moments.replay());
}

#[test]
fn a_lost_frame_begins_a_new_span_and_watching_ends_when_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = agent(folder.path());
    let drive = road(&agent);
    let mut frames = Vec::new();
    let mut moments = Lossy { drive: &drive, lost: 10, next: 0 };
    let end = drive.since_start(20);
    let go_on = |since_start: Duration| since_start < end;
    agent.watch(&mut moments, &about(&drive), go_on, |tell| seen(tell, &mut frames)).unwrap();
    // 0 to 9 and 11 to 20; the first four of each have no past.
    assert_eq!(frames.len(), 20);
    let known: Vec<bool> = frames.iter().map(|[surprise, _]| surprise.is_some()).collect();
    let want: Vec<bool> = (0..20).map(|index| index % 10 >= 4).collect();
    assert_eq!(known, want);
}

/// A clock by which whatever lies between two looks at it takes 10 ms; every thread, and so every test, has its own.
fn ticking() -> Duration {
    thread_local!(static TICKS: Cell<u64> = const { Cell::new(0) });
    Duration::from_millis(10 * TICKS.replace(TICKS.get() + 1))
}

#[test]
fn frames_beyond_the_budget_are_shed_and_those_looked_at_are_seen_as_without_it() {
    let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let all = [Span { first: 0, last: FRAMES - 1 }];
    let watch = |folder: &Path, frame_time_max| {
        let mut agent = agent_within(folder, frame_time_max).with_clock(ticking);
        let drive = road(&agent);
        let (mut surprises, mut shed) = (Vec::new(), Vec::new());
        let tell = |tell: Tell<'_>| {
            if let Tell::Moment { surprise, shed: one, .. } = tell {
                surprises.push(surprise.map(f32::to_bits));
                shed.push(one);
            }
        };
        agent.drive(&drive, &all, 1_000_000, tell).unwrap();
        (surprises, shed)
    };
    let (free, none) = watch(folders[0].path(), None);
    assert!(none.iter().all(|shed| !shed));
    // A look asks the clock before and after, and so does the prediction within: 30 ms.
    let (enough, none) = watch(folders[1].path(), Some(Duration::from_millis(30)));
    assert_eq!((enough, none.iter().any(|shed| *shed)), (free.clone(), false));
    let (bounded, shed) = watch(folders[2].path(), Some(Duration::from_millis(10)));
    assert_eq!(shed.len(), FRAMES, "every frame came by");
    let looked: Vec<usize> = (0..FRAMES).filter(|at| bounded[*at].is_some()).collect();
    assert!(looked.len() >= (FRAMES - 4) / 3, "{looked:?}");
    assert!(looked.windows(2).all(|pair| pair[1] - pair[0] == 3), "every third: {looked:?}");
    // The past of a frame that is looked at is that of the road, shed frames among it.
    assert!(looked.iter().all(|at| bounded[*at] == free[*at]));
    assert!((4..FRAMES).all(|at| shed[at] == bounded[at].is_none()));
}

#[test]
fn a_span_holds_the_frames_that_were_shed() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let kept = [None, Some(Duration::from_millis(10))].map(|frame_time_max| {
        let folder = &folders[usize::from(frame_time_max.is_some())];
        let mut config = Config::default();
        config.engine.kind = EngineKind::Tract;
        config.engine.frame_time_max = frame_time_max;
        config.model.package = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/world");
        config.state = folder.path().to_owned();
        // Everything is kept, whatever was seen.
        config.replay.ordinary_share = 1.0;
        let mut agent = Agent::open(config).unwrap().with_clock(ticking);
        let drive = road(&agent);
        agent.drive(&drive, &[Span { first: 0, last: FRAMES - 1 }], 1_000_000, |_| {}).unwrap();
        agent.replay()
    });
    assert_eq!(kept[0].frames, FRAMES as u64);
    assert_eq!(kept[0].frames, kept[1].frames);
}

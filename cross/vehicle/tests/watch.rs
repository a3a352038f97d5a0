//! Watching a source of moments: a recorded drive is one of them, a camera with gaps another.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use shoal_hal::backend::synthetic::{Region, Road};
use shoal_hal::{Drive, FrameShape, Moment, Moments, Span};
use shoal_vehicle::agent::{About, Agent, Tell};
use shoal_vehicle::config::{Config, EngineKind};

const FRAMES: usize = 40;

fn agent(state: &Path) -> Agent {
    let mut config = Config::default();
    config.engine.kind = EngineKind::Tract;
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

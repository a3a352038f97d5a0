//! What an agent allocates while it watches a road with its models: nothing a frame, once it has begun.
#![cfg(feature = "ort")]
#![expect(unsafe_code, reason = "a counting allocator is one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::convert::Infallible;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use shoal_hal::backend::synthetic::{Region, Road};
use shoal_hal::{Drive, FrameShape, Moment, Moments};
use shoal_runtime::engine::testing::ort_or_skip;
use shoal_vehicle::agent::{About, Agent, Tell};
use shoal_vehicle::config::{Config, EngineKind};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(address, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const FRAMES: usize = 200;
/// Frames after which surprises and disagreements have ranks, and every buffer its size.
const BEGUN: usize = 120;

/// The moments of a drive, and what was allocated between each and the next, where nothing was stored.
struct Counted<'a> {
    drive: &'a Drive,
    next: usize,
    given: usize,
    stored: &'a Cell<bool>,
    allocated: [Option<usize>; FRAMES],
}

impl Moments for Counted<'_> {
    type Error = Infallible;

    fn shape(&self) -> FrameShape {
        self.drive.shape
    }

    fn next(&mut self) -> Result<Option<Moment<'_>>, Infallible> {
        let now = ALLOCATIONS.load(Ordering::Relaxed);
        if let Some(last) = self.next.checked_sub(1) {
            self.allocated[last] = (!self.stored.replace(false)).then(|| now - self.given);
        }
        let index = self.next;
        if index == FRAMES {
            return Ok(None);
        }
        self.next += 1;
        self.given = ALLOCATIONS.load(Ordering::Relaxed);
        let (frame, motion) = (Some(self.drive.frame(index)), self.drive.motion(index));
        Ok(Some(Moment { frame, motion, since_start: self.drive.since_start(index) }))
    }
}

/// One test, one thread: another test's allocations would be counted here.
#[test]
fn watching_a_road_with_a_model_allocates_nothing_a_frame() {
    if ort_or_skip().is_none() {
        return;
    }
    for model in ["world", "policy"] {
        let state = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.engine.kind = EngineKind::Ort;
        config.model.package =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models").join(model);
        config.state = state.path().to_owned();
        config.replay.ordinary_share = 0.0;
        let mut agent = Agent::open(config).unwrap();
        let form = agent.form();
        let road = Road { region: Region::ALL[0], seed: 7 };
        let drive = road.render(form.shape, form.rate_hz, FRAMES);
        let (stored, filled, ranked) = (Cell::new(false), Cell::new(None), Cell::new(0));
        let mut moments = Counted {
            drive: &drive,
            next: 0,
            given: 0,
            stored: &stored,
            allocated: [None; FRAMES],
        };
        let about = About {
            name: &drive.name,
            of: Some(FRAMES),
            rate_hz: drive.rate_hz,
            recorded_at_s: Some(1_000_000),
        };
        let tell = |tell: Tell<'_>| {
            let Tell::Moment { rank, disagreement, replay, .. } = tell else { return };
            ranked.set(ranked.get() + usize::from(rank.is_some() || disagreement.is_some()));
            stored.set(filled.replace(Some(replay)).is_some_and(|before| before != replay));
        };
        agent.watch(&mut moments, &about, |_since_start| true, tell).unwrap();
        let begun: Vec<usize> = moments.allocated[BEGUN..].iter().flatten().copied().collect();
        assert!(ranked.get() > FRAMES / 4, "{model}: {} frames were compared", ranked.get());
        assert!(begun.len() > (FRAMES - BEGUN) / 2, "{model}: {} frames", begun.len());
        assert_eq!(begun.iter().sum::<usize>(), 0, "{model}: {begun:?}");
    }
}

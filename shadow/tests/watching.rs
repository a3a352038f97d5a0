//! Watching a drive: no allocation a frame, and what is kept is what was seen.
#![expect(unsafe_code, reason = "a counting allocator is one")]
#![expect(clippy::unwrap_used, reason = "a test says what failed by where it stopped")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};

use shoal_hal::{Drive, FrameShape, Motion};
use shoal_shadow::chance::{Draws, Purpose};
use shoal_shadow::clip::Footage;
use shoal_shadow::observe::{ObserveOptions, Observer};
use shoal_shadow::package::Description;
use shoal_shadow::replay::{NewSpan, Recent, Replay, ReplayOptions};
use shoal_shadow::trigger::{Capture, MomentDraws, Ranks, Trigger, TriggerOptions};

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

const SHAPE: FrameShape = FrameShape { width: 16, height: 8 };
const RATE_HZ: f64 = 10.0;

/// Frames that fade slowly; every 150th is another picture, which a copy does not predict.
fn drive() -> Drive {
    let frame = |index: usize| {
        let shift = if index % 150 == 149 { 120 } else { 0 };
        (0..SHAPE.bytes()).map(move |at| (at * 7 + index / 10 + shift) as u8)
    };
    let motion = |index: usize| Some(Motion { speed_m_s: Some(index as f32), ..Motion::default() });
    let frames = (0..1200).flat_map(frame).collect();
    let motion = (0..1200).map(motion).collect();
    Drive::new("fading".into(), [0; 32], RATE_HZ, SHAPE, frames, motion)
}

/// Observes with 'nothing moves' as the model and keeps what is unusual.
struct Watch {
    observer: Observer,
    trigger: Trigger,
    recent: Recent,
    prediction: Vec<f32>,
}

impl Watch {
    fn new() -> Self {
        let source =
            "rate_hz = 10\n[frames]\ninput = 'f'\nwidth = 16\nheight = 8\nlayout = 'nhwc'\n
            [next_frame]\noutput = 'n'";
        let description = Description::parse("model.toml", source, "still").unwrap();
        let memory = NonZeroU32::new(1000).unwrap();
        let trigger =
            Trigger::new(&TriggerOptions { ordinary_share: 0.0, ..Default::default() }, RATE_HZ);
        Self {
            observer: Observer::new(&description, &ObserveOptions { memory, moments_min: 100 }),
            recent: Recent::new(SHAPE, trigger.span_moments_max() as usize),
            trigger,
            prediction: vec![0.0; SHAPE.bytes()],
        }
    }

    fn moment(&mut self, drive: &Drive, index: usize) -> Option<Capture> {
        let came = drive.frame(index);
        self.recent.push(index as u64, came, drive.motion(index));
        let mut ranks = Ranks::default();
        if index > 0 {
            let last = drive.frame(index - 1);
            for (value, byte) in self.prediction.iter_mut().zip(last) {
                *value = f32::from(*byte) / 255.0;
            }
            ranks.surprise = self.observer.frame(&self.prediction, last, came).unwrap().1.rank;
        }
        let mut draws = Draws::new(Purpose::Trigger, 1, index as u64, 0);
        let draws = MomentDraws { ordinary: draws.unit(), keep: draws.unit() };
        self.trigger.handle_moment(index as u64, ranks, draws);
        self.trigger.poll_capture()
    }
}

/// One test, one thread: another test's allocations would be counted here.
#[test]
fn watching_allocates_nothing_and_keeps_the_frames_it_saw() {
    let drive = drive();
    let mut watch = Watch::new();
    (0..100).for_each(|index| assert_eq!(watch.moment(&drive, index), None));
    let mut captures = [None; 8];
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let mut count = 0;
    let dir = tempfile::tempdir().unwrap();
    let options = ReplayOptions { bytes_max: 1 << 20, days_max: 1 };
    let (mut replay, _) = Replay::open(dir.path(), &options).unwrap();
    let around_store = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert!(around_store > 0, "the counter counts");
    for index in 100..1200 {
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let capture = watch.moment(&drive, index);
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before, "at moment {index}");
        let Some(capture) = capture else { continue };
        let moments = watch.recent.moments(capture.first, capture.last).unwrap();
        let stored = replay.put(&NewSpan {
            recorded_at_s: 0,
            rate_hz: RATE_HZ,
            shape: SHAPE,
            reason: capture.reason,
            priority: capture.priority,
            moments: &moments,
        });
        captures[count] = Some((stored.unwrap().id, capture));
        count += 1;
    }
    assert!(count >= 5, "{captures:?}");
    for (id, capture) in captures.into_iter().flatten() {
        let frames = u32::try_from(capture.last - capture.first + 1).unwrap();
        let read = replay.read(id, 0..frames).unwrap();
        let jumps = (capture.first..=capture.last).filter(|index| index % 150 == 149).count();
        assert_eq!(jumps, 1, "{capture:?}");
        for (at, index) in (capture.first as usize..=capture.last as usize).enumerate() {
            assert_eq!(read.frame(at), drive.frame(index));
            assert_eq!(read.motion(at), drive.motion(index));
        }
    }
}

//! A frame costs no allocation: counted by the allocator itself.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(unsafe_code, reason = "a counting allocator is one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shoal_runtime::adapter::Adapter;
use shoal_runtime::engine::testing::{noise, ort_or_skip, regression, small_model};
use shoal_runtime::engine::{Engine, LoadOptions};
use shoal_runtime::gradient::{DifferentiateOptions, Keep, Pull, differentiate_keeping};
use shoal_runtime::graft::{GraftOptions, Profile, graft, graft_to_run};
use shoal_runtime::many::{ManyFactors, many_adapters};
use shoal_runtime::train::{AdamW, Decay, Schedule, TrainOptions, Trainer};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, address: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.realloc(address, layout, bytes) }
    }
    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(address, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Allocations of 100 calls of `frame`, after 100 to warm up.
fn allocations_of(mut frame: impl FnMut(usize)) -> usize {
    (0..100).for_each(&mut frame);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    (100..200).for_each(&mut frame);
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// Runs of three adapters at once, with other adapters for every frame.
fn frames_of_many(engine: &dyn Engine) -> usize {
    let grafted = graft_to_run(&small_model().unwrap(), &GraftOptions::default()).unwrap();
    let count = NonZeroUsize::new(3).unwrap();
    let many = many_adapters(&grafted, count).unwrap();
    let mut session = engine.load(&many.folded.model, &LoadOptions::default()).unwrap();
    let mut factors = ManyFactors::new(&*session, &grafted.layout, count).unwrap();
    let image = session.input_index("image").unwrap();
    let pixels = noise(1, session.inputs()[image].ty.values());
    let adapters = [1, 2, 3].map(|seed| noise(seed, grafted.layout.values()));
    let mut sum = 0.0;
    let allocations = allocations_of(|frame| {
        let next = &adapters[frame % 3];
        factors.write(&mut *session, &[&adapters[0], next, &adapters[2]]).unwrap();
        session.write_f32(image, &pixels).unwrap();
        session.run().unwrap();
        sum += session.output_f32(0).unwrap()[0];
    });
    assert!(sum.is_finite() && sum != 0.0);
    allocations
}

/// Steps of batches in two parts, with every term that keeps an adapter near a place, and looks at gradients between.
fn steps_in_parts(engine: &dyn Engine, options: TrainOptions) -> usize {
    let grafted = graft(&small_model().unwrap(), &GraftOptions::default()).unwrap();
    let start = Adapter::start(Arc::new(grafted.layout.clone()), 0);
    let wrt = grafted.layout.factors().map(|factor| factor.input.clone()).collect();
    let differentiate =
        DifferentiateOptions { losses: Vec::new(), wrt, strict: true, profile: Profile::Cpu };
    let keep = Keep { pull: Some(Pull::Even), distil: true };
    let training = differentiate_keeping(&grafted.folded, &differentiate, keep).unwrap();
    let session = engine.load(&training.folded.model, &LoadOptions::default()).unwrap();
    let mut trainer = Trainer::from_adapter(session, options, &start).unwrap();
    let factor = |input: &str| {
        let mut factors = start.layout().factors();
        Some(start.factor(factors.find(|factor| factor.input == input)?))
    };
    trainer.pull(0.1, factor).unwrap();
    for name in ["image", "weight.y", "weight.distil.y", "target.y"] {
        let input = trainer.session().input_index(name).unwrap();
        let values = trainer.session().inputs()[input].ty.values();
        trainer.session().write_f32(input, &vec![0.5; values]).unwrap();
    }
    let mut gradient = Vec::new();
    allocations_of(|_| {
        trainer.gather().unwrap();
        trainer.step().unwrap();
        trainer.gradient(&mut gradient).unwrap();
    })
}

/// One test, one thread: another test's allocations would be counted here.
#[test]
fn frames_and_training_steps_allocate_nothing_after_a_hundred() {
    let Some(ort) = ort_or_skip() else { return };
    let model = regression(4, 3, 2).unwrap();
    let batch = [0.5_f32; 12];
    let mut session = ort.load(&model, &LoadOptions::default()).unwrap();
    let mut sum = 0.0;

    let of_frames = allocations_of(|frame| {
        session.input_f32(0).unwrap()[0] = frame as f32;
        session.write_f32(1, &batch[..8]).unwrap();
        session.run().unwrap();
        sum += session.output_f32(1).unwrap()[0];
    });
    assert_eq!(of_frames, 0);
    assert!(sum > 0.0);

    let options = TrainOptions {
        optimiser: AdamW::default(),
        schedule: Schedule { peak: 1e-3, warm_up_steps: 10, decay: Decay::Constant },
        gradient_norm_max: Some(1.0),
        average: Some(0.99),
    };
    let mut trainer = Trainer::new(session, options, |_| Some(&batch[..6])).unwrap();
    let of_steps = allocations_of(|_| {
        trainer.step().unwrap();
    });
    assert_eq!(of_steps, 0);

    assert_eq!(frames_of_many(&ort), 0);
    assert_eq!(steps_in_parts(&ort, options), 0);

    // The counter counts: without this the two zeros above would prove nothing.
    assert!(allocations_of(|frame| drop(vec![frame; 8])) >= 100);
}

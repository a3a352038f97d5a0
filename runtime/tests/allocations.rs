//! A frame costs no allocation: counted by the allocator itself.
#![cfg(feature = "ort")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(unsafe_code, reason = "a counting allocator is one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use shoal_runtime::engine::testing::{ort_or_skip, regression};
use shoal_runtime::engine::{Engine, LoadOptions};
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

    // The counter counts: without this the two zeros above would prove nothing.
    assert!(allocations_of(|frame| drop(vec![frame; 8])) >= 100);
}

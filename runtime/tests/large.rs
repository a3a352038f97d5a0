//! Differentiating a large model never holds its values twice: counted by the allocator, alone in its process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(unsafe_code, reason = "a counting allocator is one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use shoal_runtime::engine::testing::transformer;
use shoal_runtime::gradient::{DifferentiateOptions, differentiate};
use shoal_runtime::graft::{GraftOptions, Profile, graft};
use shoal_runtime::onnx::{Model, fold};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static HIGHEST: AtomicUsize = AtomicUsize::new(0);

fn took(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    HIGHEST.fetch_max(live, Ordering::Relaxed);
}

// SAFETY: every call is handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        took(layout.size());
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, address: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(address, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Six layers of which no weight is more than a fourteenth part: what is copied of one is seen.
#[test]
fn a_model_is_read_differentiated_and_written_in_less_than_half_again_its_size() {
    let folder = tempfile::tempdir().unwrap();
    let [inline, beside, made] =
        ["inline.onnx", "beside.onnx", "made.onnx"].map(|name| folder.path().join(name));
    {
        let model = transformer(6, 512, 8).unwrap();
        model.write(&inline).unwrap();
        model.write_beside(&beside).unwrap();
    }
    let bytes = std::fs::metadata(&inline).unwrap().len() as usize;
    assert!(std::fs::metadata(&beside).unwrap().len() < 100_000, "values are in the other file");
    let mut written = Vec::new();
    for path in [&inline, &beside] {
        let before = LIVE.load(Ordering::Relaxed);
        HIGHEST.store(before, Ordering::Relaxed);
        {
            let folded = fold(&Model::read_with_data(path).unwrap()).unwrap();
            let grafted = graft(&folded, &GraftOptions::default()).unwrap();
            let wrt = grafted.layout.factors().map(|factor| factor.input.clone()).collect();
            let profile = Profile::Cpu;
            let options = DifferentiateOptions { losses: Vec::new(), wrt, strict: true, profile };
            let training = differentiate(&grafted.folded, &options).unwrap().folded;
            training.model.write(&made).unwrap();
        }
        let grew = HIGHEST.load(Ordering::Relaxed) - before;
        assert!(grew < bytes * 3 / 2, "{grew} for {bytes} of {}", path.display());
        // The counter counts: the model itself is there once.
        assert!(grew >= bytes, "{grew} for {bytes}");
        written.push(std::fs::read(&made).unwrap());
    }
    assert!(written[0] == written[1], "where values stand makes no difference");
}

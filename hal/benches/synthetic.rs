//! Frames a second of generated roads at 64×128 on one core, by region:
//! `cargo bench -p shoal-hal --features synthetic --bench synthetic`.
#![expect(clippy::print_stdout, reason = "a bench reports on the terminal")]
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::hint::black_box;
use std::time::Instant;

use shoal_hal::FrameShape;
use shoal_hal::backend::synthetic::{Region, Road, pretraining_clip};

const SHAPE: FrameShape = FrameShape { width: 128, height: 64 };
const FRAMES: usize = 60;
const ROADS: u64 = 3;

fn main() {
    // What all roads share is made once.
    black_box(pretraining_clip(3_000_000, 0, SHAPE, 1));
    for region in Region::ALL {
        let start = Instant::now();
        for seed in 3_000_000..3_000_000 + ROADS {
            black_box(Road { region, seed }.render(SHAPE, 10.0, FRAMES));
        }
        report(region.name(), ROADS * FRAMES as u64, start);
    }
    let start = Instant::now();
    for index in 0..100 {
        black_box(pretraining_clip(3_000_000, index, SHAPE, 6));
    }
    report("pretraining clips of 6 frames", 600, start);
}

fn report(what: &str, frames: u64, start: Instant) {
    println!("{what:32} {:6.0} frames/s", frames as f64 / start.elapsed().as_secs_f64());
}

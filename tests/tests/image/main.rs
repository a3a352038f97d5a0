//! The image of a vehicle computer in an emulator: what is flashed boots, learns, exchanges, and survives.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod devices;
mod learns;
mod slots;

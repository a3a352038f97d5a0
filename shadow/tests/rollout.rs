//! Training on predictions that are fed back, in parts, and from where it stopped.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use shoal_hal::FrameShape;
use shoal_runtime::engine::ort::Ort;
use shoal_runtime::engine::testing::ort_or_skip;
use shoal_runtime::onnx::Model;
use shoal_shadow::batch::{Batch, Mix, MixedBatch, Road};
use shoal_shadow::clip::{Clips, Frames};
use shoal_shadow::fit::FitError;
use shoal_shadow::form::Form;
use shoal_shadow::package::Description;
use shoal_shadow::tune::{StepOptions, TuneOptions, Tuner};
use shoal_shadow::worldmodel::{Architecture, build};

const SHAPE: FrameShape = FrameShape { width: 128, height: 64 };
const MIX: Mix = Mix { own: 2, augmented: 2, replayed: 0 };

/// Stripes that move to the right, `count` frames of them.
fn road(count: usize) -> Frames {
    let frame = |time: usize| {
        (0..64 * 128).flat_map(move |at| {
            let stripe = 128.0 + 90.0 * ((at % 128 + 2 * time) as f32 * 0.2).sin();
            [stripe as u8, (at / 64) as u8, 200 - stripe as u8 / 2]
        })
    };
    let bytes = (0..count).flat_map(frame).collect();
    Frames::new(SHAPE, 10.0, bytes, vec![None; count]).unwrap()
}

fn package() -> Description {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/world/model.toml");
    let source = std::fs::read_to_string(path).unwrap();
    Description::parse("model.toml", &source, "world").unwrap()
}

fn source<'a>(frames: &'a Frames, ahead: usize) -> Option<MixedBatch<'a>> {
    let form = Form::of(&package()).unwrap();
    let road = Road::new(&[Clips::of_all(frames, 4, 1)], &form)?;
    MixedBatch::new(form, MIX, vec![road], Vec::new(), 5)?.with_ahead(ahead)
}

fn tuner(engine: &Ort, model: &Model, ahead: usize, parts: usize) -> Result<Tuner, FitError> {
    let steps = StepOptions { parts, seed: 3, ..StepOptions::default() };
    let options = TuneOptions { mix: MIX, ahead, steps, ..TuneOptions::default() };
    Tuner::new(model, &package(), engine, None, &options)
}

#[test]
fn a_clip_has_as_many_next_frames_as_are_predicted() {
    let frames = road(9);
    let form = Form::of(&package()).unwrap();
    let (mut one, mut three) = (Batch::new(form.clone(), 4), Batch::with_ahead(form, 4, 3));
    assert!(source(&frames, 6).is_none(), "nine frames hold no clip of four and six");
    // All own clips of nine frames reach over as many rows: the first sample is the same clip.
    let exact = road(7);
    source(&exact, 3).unwrap().fill(0, &mut three);
    let size = SHAPE.bytes();
    let last = &three.frames()[3 * size..4 * size];
    let target = |step: usize| &three.target()[step * 4 * size..][..size];
    let far = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>();
    // Stripes that move evenly are ever farther from where they were.
    assert!(far(last, target(0)) < far(last, target(1)));
    assert!(far(last, target(1)) < far(last, target(2)));
    assert!(three.weight()[0] > three.weight()[4] && three.weight()[4] > three.weight()[8]);
    source(&exact, 1).unwrap().fill(0, &mut one);
    assert_eq!(one.target().len() * 3, three.target().len());
}

#[test]
fn a_batch_in_parts_takes_the_same_steps_but_for_rounding() {
    let Some(engine) = ort_or_skip() else { return };
    let model = build(&Architecture::default(), 7).unwrap();
    let frames = road(20);
    let run = |parts| {
        let mut tuner = tuner(&engine, &model, 1, parts).unwrap();
        let mut losses = Vec::new();
        tuner
            .run(&mut source(&frames, 1).unwrap(), 3, |report| {
                losses.push((report.loss, report.gradient_norm));
            })
            .unwrap();
        losses
    };
    let whole = run(1);
    for parts in [2, 4] {
        for ((loss, norm), (want, norm_want)) in run(parts).into_iter().zip(&whole) {
            assert!((loss / want - 1.0).abs() < 1e-4, "{parts} parts: {loss} {want}");
            assert!((norm / norm_want - 1.0).abs() < 1e-3, "{parts} parts: {norm} {norm_want}");
        }
    }
    let error = tuner(&engine, &model, 1, 3).err().unwrap();
    assert!(matches!(error, FitError::Parts { samples: 4, parts: 3 }), "{error}");
}

#[test]
fn a_roll_out_in_parts_goes_on_from_a_checkpoint_to_the_bit() {
    let Some(engine) = ort_or_skip() else { return };
    let model = build(&Architecture::default(), 7).unwrap();
    let frames = road(20);
    let mut whole = tuner(&engine, &model, 2, 2).unwrap();
    whole.run(&mut source(&frames, 2).unwrap(), 4, |_| {}).unwrap();

    let mut first = tuner(&engine, &model, 2, 2).unwrap();
    first.run(&mut source(&frames, 2).unwrap(), 2, |_| {}).unwrap();
    let checkpoint = first.checkpoint().unwrap();
    let mut second = tuner(&engine, &model, 2, 2).unwrap();
    second.resume(&checkpoint).unwrap();
    second.run(&mut source(&frames, 2).unwrap(), 2, |_| {}).unwrap();

    assert_eq!(second.step_count(), 4);
    assert_eq!(second.checkpoint().unwrap(), whole.checkpoint().unwrap());
    assert_eq!(second.adapter().unwrap(), whole.adapter().unwrap());
}

#[test]
fn parts_and_then_segments_are_chosen_by_what_a_step_may_take() {
    let Some(engine) = ort_or_skip() else { return };
    let model = build(&Architecture::default(), 7).unwrap();
    let steps = StepOptions { seed: 3, ..StepOptions::default() };
    let options = TuneOptions { mix: MIX, steps, ..TuneOptions::default() };
    let within = |limit| Tuner::within(&model, &package(), &engine, &options, limit);
    let whole = within(u64::MAX).unwrap();
    assert_eq!((whole.extent.parts, whole.extent.segments), (1, 1));
    let two = within(whole.bytes * 3 / 5).unwrap();
    assert_eq!((two.extent.parts, two.extent.segments), (2, 1));
    assert!(two.bytes <= whole.bytes * 3 / 5, "{two:?} of {whole:?}");
    let error = within(1000).unwrap_err();
    assert!(matches!(error, FitError::Memory { limit: 1000, .. }), "{error}");
}

#[test]
fn what_is_computed_again_takes_the_same_steps_to_the_bit() {
    let Some(engine) = ort_or_skip() else { return };
    let model = build(&Architecture::default(), 7).unwrap();
    let frames = road(20);
    let run = |segments| {
        let steps = StepOptions { segments, seed: 3, ..StepOptions::default() };
        let options = TuneOptions { mix: MIX, steps, ..TuneOptions::default() };
        let mut tuner = Tuner::new(&model, &package(), &engine, None, &options).unwrap();
        tuner.run(&mut source(&frames, 1).unwrap(), 2, |_| {}).unwrap();
        tuner.checkpoint().unwrap()
    };
    assert_eq!(run(3), run(1));
}

#[test]
fn a_tuner_that_begins_anew_takes_the_steps_of_a_new_one_to_the_bit() {
    let Some(engine) = ort_or_skip() else { return };
    let model = build(&Architecture::default(), 7).unwrap();
    let (first, second) = (road(20), road(12));
    let mut used = tuner(&engine, &model, 1, 1).unwrap();
    used.run(&mut source(&first, 1).unwrap(), 2, |_| {}).unwrap();
    let start = used.adapter().unwrap();
    used.restart(&start).unwrap();
    let options = TuneOptions { mix: MIX, ..TuneOptions::default() };
    let mut new = Tuner::new(&model, &package(), &engine, Some(&start), &options).unwrap();
    for tuner in [&mut used, &mut new] {
        tuner.run(&mut source(&second, 1).unwrap(), 3, |_| {}).unwrap();
    }
    assert_ne!(used.adapter().unwrap(), start);
    assert_eq!(used.checkpoint().unwrap(), new.checkpoint().unwrap());
}

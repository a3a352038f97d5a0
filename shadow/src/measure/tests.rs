//! Claims on predictors whose errors are known by hand.

use super::*;
use crate::clip::Frames;
use crate::form::MotionInput;
use crate::stats::BOOTSTRAP_DRAWS;
use shoal_hal::{Motion, Span};

const SHAPE: FrameShape = FrameShape { width: 2, height: 1 };

fn form() -> Form {
    let motion = MotionInput::speed_and_steering();
    Form { shape: SHAPE, frames: 4, context: 4, rate_hz: 10.0, motion }
}

/// Frame k is gray of the k-th value.
fn road(gray: &[u8]) -> Frames {
    let motion = |index: usize| Motion { speed_m_s: Some(index as f32), ..Motion::default() };
    let bytes = gray.iter().flat_map(|&gray| [gray; 6]).collect();
    let motion = (0..gray.len()).map(|index| Some(motion(index))).collect();
    Frames::new(SHAPE, 10.0, bytes, motion).unwrap()
}

fn whole<'a>(name: &str, footage: &'a Frames) -> DriveClips<'a> {
    DriveClips {
        name: name.into(),
        copy_psnr_db: copy_psnr_db(footage),
        clips: vec![Clips::of_all(footage, 4, 1)],
    }
}

/// Predicts by a function of the last past frame's first value and the motion.
struct By<F>(Form, F);

impl<F: FnMut(&[f32], &[f32]) -> f32> Predictor for By<F> {
    fn describe(&self) -> String {
        "test".into()
    }

    fn form(&self) -> &Form {
        &self.0
    }

    fn batch(&self) -> usize {
        3
    }

    fn predict(
        &mut self,
        clips: usize,
        frames: &[f32],
        motion: &[f32],
        next: &mut [f32],
    ) -> Result<(), EngineError> {
        assert_eq!(frames.len(), clips * 4 * SHAPE.bytes());
        for (index, next) in next.chunks_exact_mut(SHAPE.bytes()).enumerate() {
            let frames = &frames[index * 4 * SHAPE.bytes()..][..4 * SHAPE.bytes()];
            let past: Vec<f32> = frames.chunks_exact(SHAPE.bytes()).map(|frame| frame[0]).collect();
            next.fill((self.1)(&past, &motion[2 * index..][..2]));
        }
        Ok(())
    }
}

fn skill_of(predict: impl FnMut(&[f32], &[f32]) -> f32, gray: &[u8]) -> (Option<f64>, Option<f64>) {
    let footage = road(gray);
    let measured =
        measure(&mut By(form(), predict), &[whole("a", &footage)], Horizon::NextAndRollout)
            .unwrap();
    (measured.skill(), measured.rollout_skill())
}

/// Even steps of 10 in gray: a line that linear extrapolation predicts exactly.
const LINE: [u8; 12] = [0, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110];

#[test]
fn copying_has_skill_0_and_perfect_prediction_1() {
    assert_eq!(skill_of(|past, _| past[3], &LINE), (Some(0.0), Some(0.0)));
    let (next, rollout) = skill_of(|past, _| 2.0 * past[3] - past[2], &LINE);
    assert!((next.unwrap() - 1.0).abs() < 1e-9 && (rollout.unwrap() - 1.0).abs() < 1e-9);
}

/// Half of a step of 10: error 5² against 10². In five steps 25² of 50² are left.
#[test]
fn half_the_way_has_skill_three_quarters() {
    let (next, rollout) = skill_of(|past, _| past[3] + 5.0 / 255.0, &LINE);
    assert!((next.unwrap() - 0.75).abs() < 1e-6, "{next:?}");
    assert!((rollout.unwrap() - 0.75).abs() < 1e-6, "{rollout:?}");
    // Away by a step: error 20² against 10², skill −3.
    let (next, _) = skill_of(|past, _| past[3] - 10.0 / 255.0, &LINE[4..]);
    assert!((next.unwrap() + 3.0).abs() < 1e-5, "{next:?}");
}

#[test]
fn skill_is_a_ratio_of_sums_and_the_set_a_mean_of_drives() {
    // Steps of 2 and 20; half of each is predicted for the small one only.
    let small = road(&[0, 2, 4, 6, 8, 28]);
    let mut by = By(form(), |past: &[f32], _: &[f32]| past[3] + 1.0 / 255.0);
    let measured = measure(&mut by, &[whole("small", &small)], Horizon::Next).unwrap();
    // Errors 1² and 19² against 2² and 20².
    let expected = 1.0 - 362.0 / 404.0;
    assert!((measured.skill().unwrap() - expected).abs() < 1e-6);

    let line = road(&LINE);
    let drives = [whole("small", &small), whole("line", &line)];
    let both = measure(&mut by, &drives, Horizon::Next).unwrap();
    let line = 1.0 - 81.0 / 100.0;
    assert!((both.skill().unwrap() - (expected + line) / 2.0).abs() < 1e-6);
}

#[test]
fn clips_are_those_of_the_drive_and_their_order_does_not_depend_on_the_batch() {
    let footage = road(&LINE);
    let spans = vec![Span { first: 0, last: 4 }, Span { first: 5, last: 11 }];
    let clips = Clips::of_spans(&footage, spans, 4, 1);
    let drive = DriveClips { name: "cut".into(), copy_psnr_db: 20.0, clips: vec![clips] };
    let mut by = By(form(), |past: &[f32], _: &[f32]| past[3]);
    let measured = measure(&mut by, &[drive], Horizon::NextAndRollout).unwrap();
    let errors = &measured.drives[0].next;
    assert_eq!(errors.clips(), 4); // 1 + 3: none crosses the cut.
    assert_eq!(errors.block, [0, 1, 1, 1]); // Nor does a block.
    assert_eq!(measured.drives[0].rollout.clips(), 0);
    assert_eq!(measured.rollout_skill(), None);
}

#[test]
fn a_drive_that_hardly_moves_is_listed_and_not_counted() {
    // Steps of 5: mean error (5/255)², 34.2 dB. Steps of 6: 32.6 dB.
    let still = road(&[0, 5, 10, 15, 20, 25]);
    let moving = road(&[0, 6, 12, 18, 24, 30]);
    let drives = [whole("still", &still), whole("moving", &moving)];
    let mut by = By(form(), |past: &[f32], _: &[f32]| past[3] + 6.0 / 255.0);
    let measured = measure(&mut by, &drives, Horizon::Next).unwrap();
    assert!(!measured.drives[0].counted && measured.drives[1].counted);
    assert!((measured.skill().unwrap() - 1.0).abs() < 1e-6);
    let report = Report::of(&measured, &[]);
    assert_eq!((report.counted, report.drives.len()), (1, 2));
    assert!((report.drives[0].copy_psnr_db_whole.unwrap() - 34.15).abs() < 0.01);

    let alone = measure(&mut by, &drives[..1], Horizon::Next).unwrap();
    assert_eq!((alone.skill(), alone.term_value()), (None, None));
}

#[test]
fn a_rollout_sees_its_own_predictions_and_no_later_motion() {
    let footage = road(&LINE);
    let mut seen = Vec::new();
    let mut by = By(form(), |past: &[f32], motion: &[f32]| {
        seen.push(((past[3] * 255.0).round() as i32, (motion[0] * 30.0).round() as i32));
        past[3] + 1.0 / 255.0
    });
    let drive = DriveClips {
        clips: vec![Clips::of_spans(&footage, vec![Span { first: 2, last: 10 }], 4, 1)],
        ..whole("a", &footage)
    };
    measure(&mut by, &[drive], Horizon::NextAndRollout).unwrap();
    // Five clips of one step, then the only one of five: from 50 on by its own ones, speed 5 held.
    assert_eq!(seen[..5], [(50, 5), (60, 6), (70, 7), (80, 8), (90, 9)]);
    assert_eq!(seen[5..], [(50, 5), (51, 5), (52, 5), (53, 5), (54, 5)]);
}

#[test]
fn term_values_are_clamped_and_rounded_to_units_of_a_ten_thousandth() {
    assert_eq!(term_value(0.123_46), 1235);
    assert_eq!(term_value(-0.000_04), 0);
    assert_eq!(term_value(3.0), 10_000);
    assert_eq!(term_value(-17.0), -10_000);
}

#[test]
fn a_nan_is_an_error_that_names_the_clip() {
    let footage = road(&LINE);
    let mut by = By(
        form(),
        |past: &[f32], _: &[f32]| {
            if (past[3] * 255.0).round() == 60.0 { f32::NAN } else { 0.0 }
        },
    );
    let error = measure(&mut by, &[whole("road.mp4", &footage)], Horizon::Next).unwrap_err();
    assert_eq!(error.to_string(), "road.mp4, clip at frame 3: the model predicts NaN");
}

#[test]
fn frames_of_another_form_are_refused() {
    let footage = road(&LINE);
    let other = Form { shape: FrameShape { width: 1, height: 1 }, ..form() };
    let mut by = By(other, |_: &[f32], _: &[f32]| 0.0);
    let error = measure(&mut by, &[whole("a", &footage)], Horizon::Next).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a: the frames are 2×1 at 10 Hz with 4 past frames a clip; the model reads 1×1 at 10 Hz with \
         4 past frames a clip"
    );
    let mut by = By(Form { rate_hz: 20.0, ..form() }, |_: &[f32], _: &[f32]| 0.0);
    assert!(measure(&mut by, &[whole("a", &footage)], Horizon::Next).is_err());
}

#[test]
fn two_measurements_of_the_same_clips_are_compared_in_pairs() {
    let footage = road(&LINE);
    let drives = [whole("a", &footage)];
    let measured = |part: f32| {
        let mut by = By(form(), move |past: &[f32], _: &[f32]| past[3] + part * 10.0 / 255.0);
        measure(&mut by, &drives, Horizon::Next).unwrap()
    };
    let (half, copy) = (measured(0.5), measured(0.0));
    let interval = half.difference(&copy, BOOTSTRAP_DRAWS, 1).unwrap();
    assert!((interval.mean - 0.75).abs() < 1e-6 && (interval.low - 0.75).abs() < 1e-6);
    assert!((copy.difference(&half, BOOTSTRAP_DRAWS, 1).unwrap().mean + 0.75).abs() < 1e-6);
}

#[test]
fn a_report_survives_json_and_has_its_baselines_beside_it() {
    let footage = road(&LINE);
    let drives = [whole("a", &footage)];
    let mut perfect = By(form(), |past: &[f32], _: &[f32]| past[3] + 10.0 / 255.0);
    let perfect = measure(&mut perfect, &drives, Horizon::NextAndRollout).unwrap();
    let mut copy = By(form(), |past: &[f32], _: &[f32]| past[3]);
    let copy = measure(&mut copy, &drives, Horizon::NextAndRollout).unwrap();

    let report = Report::of(&copy, &[perfect]);
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    assert_eq!(report.skill, Some(0.0));
    assert_eq!((report.rollout.drives, report.rollout.clips), (1, 4));
    assert_eq!(report.drives[0].clips, 8);
    assert!(report.baselines[0].skill.unwrap() > 0.999);
    assert!(report.drives[0].baselines[0].rollout_skill.unwrap() > 0.999);
    assert!((report.drives[0].psnr_db.unwrap() - 28.13).abs() < 0.01); // (10/255)²
}

//! The default world model before it has learnt anything.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use shoal_runtime::engine::testing::ort_or_skip;
use shoal_runtime::engine::{Engine, LoadOptions};
use shoal_runtime::graft::sites;
use shoal_runtime::onnx::{PinOptions, fold, pin};
use shoal_shadow::worldmodel::{Architecture, build};

fn folded(batch: usize) -> shoal_runtime::onnx::Folded {
    let model = build(&Architecture::default(), 7).unwrap();
    let options = PinOptions { batch: Some(batch), ..PinOptions::default() };
    fold(&pin(&model, &options).unwrap()).unwrap()
}

#[test]
fn every_weight_is_learnt_and_there_are_half_a_million() {
    let folded = folded(1);
    let sites: Vec<String> = sites(&folded).into_iter().map(|site| site.name).collect();
    assert_eq!(sites.len(), 14, "{sites:?}");
    let learnt: usize = folded
        .model
        .graph()
        .initializer
        .iter()
        .filter(|tensor| tensor.name().ends_with(".weight") || tensor.name().ends_with(".bias"))
        .map(|tensor| folded.types[tensor.name()].values())
        .sum();
    assert_eq!(learnt, 523_192);
}

/// Its first kernels prefer no shift: it starts near 'nothing moves', in any batch.
#[test]
fn untrained_it_nearly_shows_the_last_frame_again() {
    let Some(engine) = ort_or_skip() else { return };
    for batch in [1, 3] {
        let model = folded(batch).model;
        let mut session = engine.load(&model, &LoadOptions::default()).unwrap();
        let frame = 3 * 64 * 128;
        // A smooth picture that drifts: red to the right, green downwards.
        let frames: Vec<f32> = (0..batch * 4 * frame)
            .map(|index| {
                let (x, y) = (index % 128, index / 128 % 64);
                let (plane, time) = (index / 8192 % 3, index / frame % 4);
                let along = if plane == 1 { y + time } else { x + 2 * time };
                0.5 + 0.4 * (along as f32 * 0.1).sin()
            })
            .collect();
        let input = (*session).input_index("frames").unwrap();
        session.write_f32(input, &frames).unwrap();
        session.run().unwrap();
        let next = session.output_f32(0).unwrap();
        assert_eq!(next.len(), batch * frame);
        let mut error = 0.0;
        for sample in 0..batch {
            let last = &frames[(4 * sample + 3) * frame..][..frame];
            let predicted = &next[sample * frame..][..frame];
            error += last.iter().zip(predicted).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
        }
        let mean = error / (batch * frame) as f32;
        assert!(mean > 0.0 && mean < 1e-3, "{mean}");
    }
}

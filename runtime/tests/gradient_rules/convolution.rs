//! Convolutions: every lowering of both gradients, against finite differences.

use shoal_runtime::gradient::{DifferentiateOptions, differentiate};
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::{Attr, Builder, TensorType};

use crate::finite::Feed::{Frozen, Wanted};
use crate::finite::{Case, even};

/// x, w, attributes.
type Layer = (&'static [usize], &'static [usize], Vec<(&'static str, Attr)>);

fn ints(name: &'static str, v: &[i64]) -> (&'static str, Attr) {
    (name, Attr::Ints(v.to_vec()))
}

fn layers() -> Vec<Layer> {
    let group = |g| ("group", Attr::Int(g));
    vec![
        // 1×1, on the side of one product per sample and on the side of one for all.
        (&[2, 2, 3, 4], &[3, 2, 1, 1], vec![]),
        (&[2, 6, 1, 2], &[5, 6, 1, 1], vec![]),
        (&[2, 2, 4, 5], &[3, 2, 1, 1], vec![ints("strides", &[2, 2])]),
        // Stride 1: more outputs than inputs and the other way round.
        (&[2, 2, 4, 5], &[3, 2, 3, 3], vec![ints("pads", &[1, 1, 1, 1])]),
        (&[2, 3, 4, 5], &[2, 3, 3, 3], vec![ints("pads", &[1, 1, 1, 1])]),
        (&[2, 3, 4, 5], &[2, 3, 2, 3], vec![ints("pads", &[0, 2, 1, 0])]),
        (
            &[1, 2, 6, 6],
            &[2, 2, 2, 2],
            vec![ints("dilations", &[2, 3]), ints("pads", &[1, 2, 0, 1])],
        ),
        // More padding than the kernel reaches.
        (&[1, 2, 3, 3], &[2, 2, 2, 2], vec![ints("pads", &[2, 3, 2, 2])]),
        // Patches, with and without a rest.
        (&[2, 2, 4, 6], &[3, 2, 2, 2], vec![ints("strides", &[2, 2])]),
        (&[2, 2, 5, 7], &[3, 2, 2, 3], vec![ints("strides", &[2, 3])]),
        // Strides, odd sizes, dilations.
        (&[2, 2, 5, 6], &[3, 2, 3, 3], vec![ints("strides", &[2, 2]), ints("pads", &[1, 1, 1, 1])]),
        (&[1, 2, 8, 9], &[2, 2, 2, 2], vec![ints("strides", &[3, 2]), ints("dilations", &[2, 3])]),
        (&[2, 2, 7, 6], &[3, 2, 3, 3], vec![ints("strides", &[2, 2]), ints("pads", &[0, 2, 1, 0])]),
        // Groups and depthwise.
        (&[2, 4, 4, 3], &[6, 2, 3, 3], vec![ints("pads", &[1, 1, 1, 1]), group(2)]),
        (&[2, 3, 4, 3], &[3, 1, 3, 3], vec![ints("pads", &[1, 1, 1, 1]), group(3)]),
        (&[2, 4, 4, 4], &[4, 2, 2, 2], vec![ints("strides", &[2, 2]), group(2)]),
        (&[2, 4, 3, 3], &[2, 2, 1, 1], vec![group(2)]),
        (&[2, 4, 5, 5], &[4, 2, 3, 3], vec![ints("strides", &[2, 2]), group(2)]),
        // One and three dimensions.
        (&[2, 2, 6], &[3, 2, 3], vec![ints("pads", &[1, 1])]),
        (&[1, 2, 7], &[2, 2, 3], vec![ints("strides", &[2])]),
        (&[1, 2, 3, 3, 3], &[2, 2, 2, 2, 2], vec![ints("pads", &[1, 0, 1, 0, 1, 0])]),
        // Pads that the engine works out.
        (
            &[1, 2, 5, 6],
            &[2, 2, 3, 3],
            vec![("auto_pad", Attr::Str("SAME_UPPER".into())), ints("strides", &[2, 2])],
        ),
        (&[1, 2, 5, 6], &[2, 2, 2, 2], vec![("auto_pad", Attr::Str("SAME_LOWER".into()))]),
        (&[1, 2, 5, 6], &[2, 2, 3, 3], vec![("auto_pad", Attr::Str("VALID".into()))]),
    ]
}

#[test]
fn convolutions_by_input_weight_and_bias() {
    for (x, w, attrs) in layers() {
        let feeds = vec![Wanted(even(x, 1)), Wanted(even(w, 2)), Wanted(even(&w[..1], 3))];
        Case::new(feeds).check(move |b, x| b.op("Conv", &[&x[0], &x[1], &x[2]], &attrs).unwrap());
    }
}

#[test]
fn convolutions_with_a_constant_weight_by_input() {
    for (x, w, attrs) in layers() {
        let weight = even(w, 2);
        Case::new(vec![Wanted(even(x, 1))]).check(move |b, x| {
            let weight = b.constant_of(&weight);
            b.op("Conv", &[&x[0], &weight], &attrs).unwrap()
        });
    }
}

#[test]
fn a_frozen_input_leaves_the_gradient_of_the_weight() {
    for (x, w, attrs) in layers() {
        Case::new(vec![Frozen(even(x, 1)), Wanted(even(w, 2))])
            .check(move |b, x| b.op("Conv", &[&x[0], &x[1]], &attrs).unwrap());
    }
}

/// ONNX Runtime's CUDA leaves a `ConvTranspose` whose pads differ before and after to the processor.
#[test]
fn what_cuda_runs_has_pads_that_are_alike() {
    let attrs = [ints("strides", &[2, 2]), ints("pads", &[0, 0, 1, 1])];
    let mut b = Builder::new(17);
    let x = b.input("x", TensorType::f32(&[1, 2, 8, 8]));
    let w = b.constant_of(&even(&[2, 2, 3, 3], 1));
    let y = b.op("Conv", &[&x, &w], &attrs).unwrap();
    b.output("y", &y);
    let folded = b.finish();
    for (profile, differ) in [(Profile::Cpu, true), (Profile::Cuda, false)] {
        let wrt = vec!["x".to_owned()];
        let options = DifferentiateOptions { losses: Vec::new(), wrt, strict: false, profile };
        let graph = differentiate(&folded, &options).unwrap().folded;
        let nodes = graph.model.graph().node.iter();
        let transposed: Vec<_> = nodes.filter(|node| node.is("ConvTranspose")).collect();
        assert_eq!(transposed.len(), 1);
        let pads = transposed[0].ints("pads").unwrap();
        assert_eq!(pads[..2] != pads[2..], differ, "{profile:?}: {pads:?}");
    }
}

//! Convolutions: every lowering of both gradients, against finite differences.

use shoal_runtime::engine::Engine;
use shoal_runtime::engine::testing::{ort_or_skip, plain_options};
use shoal_runtime::gradient::{DifferentiateOptions, differentiate};
use shoal_runtime::graft::Profile;
use shoal_runtime::onnx::{Attr, Builder, Tensor, TensorType};

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

/// Batch, channels of x and of y, groups, length, kernel, stride, dilation, pads.
type Long = (usize, usize, usize, usize, usize, usize, usize, usize, [usize; 2]);

/// Kernels of more places than a gradient stores the squares of, by the sum that the gradient is.
#[test]
fn long_kernels_by_their_weight() {
    let Some(engine) = ort_or_skip() else { return };
    let cases: [Long; 4] = [
        (1, 4, 4, 1, 2056, 2049, 1, 1, [1, 2]),
        (2, 4, 6, 2, 3011, 3000, 2, 1, [0, 5]),
        (1, 8, 8, 8, 4120, 1500, 3, 2, [600, 0]),
        (2, 2, 4, 1, 8705, 2900, 2, 3, [0, 3]),
    ];
    for case in cases {
        let (batch, inputs, outputs, groups, length, kernel, stride, dilation, pads) = case;
        let (x, w) = ([batch, inputs, length], [outputs, inputs / groups, kernel]);
        let attrs = [
            ints("strides", &[stride as i64]),
            ints("dilations", &[dilation as i64]),
            ints("pads", &pads.map(|pad| pad as i64)),
            ("group", Attr::Int(groups as i64)),
        ];
        let mut b = Builder::new(17);
        let input = b.input("x", TensorType::f32(&x));
        let weight = b.input("w", TensorType::f32(&w));
        let y = b.op_named("y", "Conv", &[&input, &weight], &attrs).unwrap();
        b.output("y", &y);
        let folded = b.finish();
        let options = DifferentiateOptions {
            losses: Vec::new(),
            wrt: vec!["w".to_owned()],
            strict: true,
            profile: Profile::Cpu,
        };
        let graph = differentiate(&folded, &options).unwrap().folded;
        let ty = &folded.types["y"];
        let (values, target) = (even(&x, 1), even(&ty.dims, 3));
        let zeros = Tensor::f32(&w, &vec![0.0; w.iter().product()]);
        let ones = Tensor::f32(&[batch], &vec![1.0; batch]);
        let mut session = engine.load(&graph.model, &plain_options()).unwrap();
        for (name, tensor) in
            [("x", &values), ("w", &zeros), ("target.y", &target), ("weight.y", &ones)]
        {
            session.write(session.input_index(name).unwrap(), tensor).unwrap();
        }
        session.run().unwrap();
        let got = session.output_f32(session.output_index("grad.w").unwrap()).unwrap();

        // With a weight of zeros, g = −2t / count.
        let [places, each] = [ty.dims[2], outputs / groups];
        let (x, t) = (values.to_f64s(), target.to_f64s());
        let mut want = Vec::new();
        for o in 0..outputs {
            for (c, k) in (0..w[1]).flat_map(|c| (0..kernel).map(move |k| (c, k))) {
                let channel = o / each * w[1] + c;
                let read = (0..batch).flat_map(|n| (0..places).map(move |p| (n, p)));
                let sum = read.filter_map(|(n, p)| {
                    let at = (stride * p + dilation * k).checked_sub(pads[0])?;
                    let x = x[(n * inputs + channel) * length..][..length].get(at)?;
                    Some(x * t[(n * outputs + o) * places + p])
                });
                want.push(-2.0 * sum.sum::<f64>() / t.len() as f64);
            }
        }
        let norm = want.iter().map(|v| v * v).sum::<f64>().sqrt();
        let off = got.iter().zip(&want).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum::<f64>();
        assert!(got.len() == want.len() && off.sqrt() < 1e-5 * norm, "{case:?}: {off:e}");
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

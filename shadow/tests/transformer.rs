//! The policy that is a transformer: what it is made of, and that it learns by the same lessons as the default one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use shoal_runtime::engine::testing::ort_or_skip;
use shoal_runtime::gradient::{DifferentiateOptions, differentiate};
use shoal_runtime::graft::{Profile, graft_all_weights};
use shoal_runtime::onnx::{PinOptions, fold, pin};
use shoal_shadow::form::Form;
use shoal_shadow::package::Description;
use shoal_shadow::policymodel::transformer::{Transformer, build, description};
use shoal_shadow::policymodel::{self, Lessons, pretrain_policy};
use shoal_shadow::pretrain::{PoolOptions, PretrainOptions, Progress};

/// Small frames, and a policy to match.
fn small() -> Transformer {
    Transformer { width: 64, height: 32, wide: 32, heads: 2, layers: 2, ..Transformer::default() }
}

#[test]
fn it_is_as_small_as_the_default_policy_and_repeats_from_its_seed() {
    let size = Transformer::default();
    let model = build(&size, 1).unwrap();
    let learnt = model.graph().initializer.iter();
    let values: i64 = learnt
        .filter(|tensor| tensor.name().ends_with(".weight") || tensor.name().ends_with(".bias"))
        .map(|tensor| tensor.dims.iter().product::<i64>())
        .sum();
    assert!((200_000..400_000).contains(&values), "{values}");
    assert_eq!(build(&size, 1).unwrap().graph(), model.graph());
    assert_ne!(build(&size, 2).unwrap().graph(), model.graph());
}

#[test]
fn it_reads_what_the_default_policy_reads() {
    let own = description(&Transformer::default());
    let again = Description::parse("model.toml", &own.to_toml(), "transformer").unwrap();
    assert_eq!(again, own);
    let other = policymodel::description(&policymodel::Architecture::default());
    let (own, other) = (Form::of_policy(&own).unwrap(), Form::of_policy(&other).unwrap());
    assert_eq!((own.shape, own.rate_hz, own.context), (other.shape, other.rate_hz, other.context));
}

/// Strict: an operator without a rule is an error. Every layer learns, its norms and places too.
#[test]
fn every_layer_of_it_is_differentiated() {
    let size = small();
    let options = PinOptions { batch: Some(2), ..PinOptions::default() };
    let folded = fold(&pin(&build(&size, 1).unwrap(), &options).unwrap()).unwrap();
    let all = graft_all_weights(&folded, &[]).unwrap();
    let wrt: Vec<String> = all.weights.iter().map(|weight| weight.input.clone()).collect();
    for name in ["patch.weight", "place.weight", "0.query.weight", "1.look.bias", "action.weight"] {
        assert!(wrt.iter().any(|input| input.contains(name)), "{name} is not in {wrt:?}");
    }
    let options =
        DifferentiateOptions { losses: Vec::new(), wrt, strict: true, profile: Profile::Cpu };
    differentiate(&all.folded, &options).unwrap();
}

/// ln 1281 = 7.2 nats is the loss of who knows nothing.
#[test]
fn it_learns_its_lessons() {
    let Some(engine) = ort_or_skip() else { return };
    let size = small();
    let (model, package) = (build(&size, 1).unwrap(), description(&size));
    let options = PretrainOptions { steps: 80, samples: 8, ..PretrainOptions::default() };
    let pool = PoolOptions { clips: 4, steps_a_clip: 1000 };
    let lessons = Lessons { frames: 8, margin: 4, pool, round_steps: 1000 };
    let mut losses = Vec::new();
    let tell = |told| {
        if let Progress::Step(step) = told {
            losses.push(step.loss);
        }
    };
    pretrain_policy(&model, &package, &engine, &lessons, &options, tell).unwrap();
    assert!((6.0..9.0).contains(&losses[0]), "{}", losses[0]);
    let late = losses[70..].iter().sum::<f32>() / 10.0;
    assert!(late < 5.8, "{late}");
}

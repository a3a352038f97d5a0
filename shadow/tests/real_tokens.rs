//! tinyphysics on the real comma2k19 minute, where both are at hand (`../shared/data`, or `SHOAL_DATA`).

#![expect(clippy::unwrap_used, reason = "a test")]

use shoal_hal::Part;
use shoal_hal::backend::recorded::comma::Log;
use shoal_runtime::engine::testing::ort_or_skip;
use shoal_runtime::onnx::Model;
use shoal_shadow::fit::{load_grafted_token_predictor, load_token_predictor};
use shoal_shadow::measure::tokens::report;
use shoal_shadow::package::{Description, Package};
use shoal_shadow::tokens::{TokenForm, TokenLog, TokenRows, TokenSource};
use shoal_shadow::tune::{StepOptions, TokenTuneOptions, TokenTuner, tune_and_choose};
use std::io::Write;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::{Path, PathBuf};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The model's description, the model and the minute; `None`, said past the capture of the harness,
/// where they are not.
fn material() -> Option<(Description, Model, Vec<TokenLog>)> {
    let beside = Path::new(ROOT).join("../shared/data");
    let data = std::env::var_os("SHOAL_DATA").map_or(beside, PathBuf::from);
    let (model, log) =
        (data.join("models/tinyphysics.onnx"), data.join("logs/comma2k19_example1_10hz.csv"));
    if !(model.is_file() && log.is_file()) {
        let required = std::env::var_os("SHOAL_REQUIRE_DATA").is_some_and(|value| value == "1");
        assert!(
            !required,
            "no tinyphysics.onnx or no minute of comma2k19, and SHOAL_REQUIRE_DATA=1"
        );
        let line =
            b"SKIPPED real_tokens: tinyphysics.onnx or its log is missing; SHOAL_DATA names both\n";
        std::io::stderr().write_all(line).expect("stderr is open");
        return None;
    }
    let package =
        Package::open_with(&Path::new(ROOT).join("models/tinyphysics"), Some(&model)).unwrap();
    let form = TokenForm::of(package.description()).unwrap();
    let log = Log::read_csv(&log).unwrap();
    let motion = (0..log.len()).map(|row| log.motion(row)).collect();
    let logs = vec![TokenLog::new("minute", motion, &form).unwrap()];
    Some((package.description().clone(), Model::read(&model).unwrap(), logs))
}

/// Largest difference of the logits of two models, by their largest logit.
fn disagreement(first: &[Vec<f32>], second: &[Vec<f32>]) -> f32 {
    assert_eq!(first.len(), second.len());
    let largest = first.iter().flatten().fold(0.0_f32, |most, logit| most.max(logit.abs()));
    let pairs = first.iter().flatten().zip(second.iter().flatten());
    pairs.fold(0.0_f32, |most, (a, b)| most.max((a - b).abs())) / largest
}

/// Trained on the first 60 %, chosen on the next 20 %, measured on the last 20 %, with the baselines of
/// the same run beside it; and the adapter folded into the model says what the adapter beside it says.
#[test]
fn an_adapter_of_tinyphysics_beats_a_fitted_scale_on_tokens_it_has_not_seen_and_bakes() {
    let (Some(ort), Some((package, model, logs))) = (ort_or_skip(), material()) else { return };
    let form = TokenForm::of(&package).unwrap();
    let [tuning, choosing, held_out] = [Part::Tuning, Part::Pack, Part::HeldOut]
        .map(|part| TokenRows::of_part(&logs, part, &form).unwrap());
    let threads = NonZeroUsize::MIN;
    let options = TokenTuneOptions::default();
    let steps = StepOptions { threads, ..options.steps };
    let options = TokenTuneOptions { steps, ..options };
    let mut tuner = TokenTuner::new(&model, &package, &ort, None, &options).unwrap();
    let mut grafted = load_grafted_token_predictor(&model, &package, &ort, threads, 24).unwrap();
    let chosen = tune_and_choose(
        &mut tuner,
        &mut grafted,
        &mut TokenSource::new(tuning, options.steps.seed),
        &choosing,
        (80, NonZeroU32::new(20).unwrap()),
        |_| {},
    )
    .unwrap();

    let load =
        |adapter| load_token_predictor(&model, &package, &ort, threads, adapter, 24).unwrap();
    let (mut untuned, mut baked) = (load(None), load(Some(&chosen.adapter)));
    let report = report("tinyphysics", &mut untuned, Some(&mut baked), &logs).unwrap();
    eprintln!("chosen after {} steps\n{report:#?}", chosen.steps);
    assert_eq!(report.rows.held_out, 120);
    let [plain, steps, scaled, tuned] = [0, 1, 2, 3].map(|index| report.predictors[index].nats);
    let is = |got: f64, want: f64| assert!((got - want).abs() < 0.01, "{got}, expected {want}");
    is(plain.tuning, 1.984);
    is(plain.pack, 1.932);
    is(plain.held_out, 1.897);
    is(steps.held_out, 1.87);
    is(scaled.held_out, 1.748);
    is(report.logit_scale.ln(), 2.3_f64.ln());
    assert!(tuned.held_out < scaled.held_out, "{report:#?}");
    assert!(chosen.steps > 0 && (tuned.pack - chosen.nats).abs() < 1e-4, "{}", chosen.nats);

    let mut beside = Vec::new();
    grafted.write_adapter(&chosen.adapter).unwrap();
    grafted.predict(&held_out, |_, logits| beside.push(logits.to_vec())).unwrap();
    let (mut folded, mut without) = (Vec::new(), Vec::new());
    baked.predict(&held_out, |_, logits| folded.push(logits.to_vec())).unwrap();
    untuned.predict(&held_out, |_, logits| without.push(logits.to_vec())).unwrap();
    let (apart, moved) = (disagreement(&beside, &folded), disagreement(&without, &folded));
    eprintln!("baked against beside: {apart:.1e}; tuned against untuned: {moved:.1e}");
    assert!(apart < 1e-5, "{apart}");
    assert!(moved > 1e-2, "the adapter changes nothing: {moved}");
}

//! Every case of `baselines_and_metrics` in `swarm_vectors.json` that is a baseline's or a metric's.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::Value;
use shoal_soup::ensemble::{linear_pool, log_pool, softmax};
use shoal_soup::harmonic::harmonic;
use shoal_soup::input::Members;
use shoal_soup::merge::{
    Gram, Part, disjoint_mean, elect, fisher, flexlora, greedy, mean_cosine, model_stock, onto,
    ratio, regmean, rescale, slerp, task_arithmetic, ties, trim, uniform,
};
use shoal_soup::metrics::Scores;
use shoal_soup::product::deltas;
use shoal_soup::search::{Meter, objective};
use shoal_soup::server::{DiLoCo, DiLoCoSettings, FedAvg, proximal};
use shoal_soup::sites::{Layers, Site, Sites};

/// Inputs are rounded to `f32`, results too.
const TOLERANCE: f64 = 1e-6;

/// Input and output of a case of the file: `swarm_vectors.json` beside the folder that `SHOAL_DATA` names, or in `../shared`
/// beside the workspace. `None`, said aloud, when it is absent; a failure with `SHOAL_REQUIRE_DATA=1`.
fn case(name: &str) -> Option<(Value, Value)> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let data = std::env::var_os("SHOAL_DATA").map_or(beside, PathBuf::from);
    let path = data.join("../swarm_vectors.json");
    let Ok(text) = std::fs::read(&path) else {
        let required = std::env::var_os("SHOAL_REQUIRE_DATA").is_some_and(|value| value == "1");
        assert!(!required, "no {}, and SHOAL_REQUIRE_DATA=1", path.display());
        let line = format!("SKIPPED {name}: no swarm_vectors.json beside SHOAL_DATA\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    };
    let vectors: Value = serde_json::from_slice(&text).unwrap();
    let cases = vectors["baselines_and_metrics"].as_array().unwrap();
    let case = cases.iter().find(|case| case["name"] == name);
    let case = case.unwrap_or_else(|| panic!("no case {name}"));
    Some((case["input"].clone(), case["output"].clone()))
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

fn numbers(value: &Value) -> Vec<f64> {
    list(value).iter().map(number).collect()
}

fn run(value: &Value) -> Vec<f32> {
    numbers(value).into_iter().map(|number| number as f32).collect()
}

fn runs(value: &Value) -> Vec<Vec<f32>> {
    list(value).iter().map(run).collect()
}

/// A matrix as one flat run, row-major.
fn flat(value: &Value) -> Vec<f32> {
    runs(value).concat()
}

#[track_caller]
fn near(what: &str, got: &[f32], want: &Value) {
    let got: Vec<f64> = got.iter().map(|value| f64::from(*value)).collect();
    near_wide(what, &got, &list(want).iter().flat_map(leaves).collect::<Vec<f64>>());
}

fn leaves(value: &Value) -> Vec<f64> {
    value.as_array().map_or_else(|| vec![number(value)], |rows| rows.iter().map(number).collect())
}

#[track_caller]
fn near_wide(what: &str, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= TOLERANCE, "{what}[{index}]: {got}, expected {want}");
    }
}

#[test]
fn task_arithmetic_sums_scaled_displacements() {
    let Some((input, output)) = case("task_arithmetic") else { return };
    let tau = runs(&input["tau"]);
    let merged = task_arithmetic(&Members::new(&tau).unwrap(), number(&input["s"])).unwrap();
    near("w", &onto(&run(&input["w0"]), &merged).unwrap(), &output);
}

#[test]
fn a_uniform_soup_is_the_mean() {
    let Some((input, output)) = case("uniform_soup") else { return };
    let w = runs(&input["w"]);
    near("w", &uniform(&Members::new(&w).unwrap()), &output);
}

#[test]
fn slerp_follows_the_arc() {
    for name in ["slerp_t0.5", "slerp_t0.25"] {
        let Some((input, output)) = case(name) else { return };
        let (a, b) = (run(&input["a"]), run(&input["b"]));
        let merged = slerp(&Layers::whole(a.len()), &a, &b, number(&input["t"])).unwrap();
        near(name, &merged, &output);
    }
}

#[test]
fn ties_trims_elects_and_merges() {
    let Some((input, output)) = case("ties") else { return };
    let (tau, density) = (runs(&input["tau"]), number(&input["density"]));
    let trimmed: Vec<Vec<f32>> = tau.iter().map(|row| trim(row, density).unwrap()).collect();
    for (row, want) in trimmed.iter().zip(list(&output["trimmed"])) {
        near("trimmed", row, want);
    }
    let signs = elect(&Members::new(&trimmed).unwrap(), &[1.0; 3]).unwrap();
    let signs: Vec<f64> = signs.into_iter().map(f64::from).collect();
    near_wide("sign", &signs, &numbers(&output["sign"]));
    let merged = ties(&Members::new(&tau).unwrap(), density).unwrap();
    near("merged", &merged, &output["merged_tau"]);
    near("w", &onto(&run(&input["w0"]), &merged).unwrap(), &output["w"]);
}

/// The displacements of a case with the mask of the case.
fn dropped(input: &Value) -> Vec<Vec<f32>> {
    let rows = runs(&input["tau"]).into_iter().zip(list(&input["mask"]));
    let drop = |(row, mask): (Vec<f32>, &Value)| {
        let kept: Vec<bool> = numbers(mask).into_iter().map(|kept| kept == 1.0).collect();
        rescale(&row, &kept, number(&input["p"])).unwrap()
    };
    rows.map(drop).collect()
}

#[test]
fn dare_drops_and_rescales() {
    let Some((input, output)) = case("dare_linear") else { return };
    let dropped = dropped(&input);
    for (row, want) in dropped.iter().zip(list(&output["dropped"])) {
        near("dropped", row, want);
    }
    let merged = uniform(&Members::new(&dropped).unwrap());
    near("w", &onto(&run(&input["w0"]), &merged).unwrap(), &output["w"]);
}

#[test]
fn dare_ties_elects_among_what_is_left() {
    let Some((input, output)) = case("dare_ties") else { return };
    let dropped = dropped(&input);
    let members = Members::new(&dropped).unwrap();
    let signs = elect(&members, &[1.0; 3]).unwrap();
    let merged = disjoint_mean(&members, &signs, &[1.0; 3]).unwrap();
    let signs: Vec<f64> = signs.into_iter().map(f64::from).collect();
    near_wide("sign", &signs, &numbers(&output["sign"]));
    near("merged", &merged, &output["merged_tau"]);
    near("w", &onto(&run(&input["w0"]), &merged).unwrap(), &output["w"]);
}

#[test]
fn model_stock_goes_from_the_base_towards_the_mean() {
    let Some((input, output)) = case("model_stock") else { return };
    let base = run(&input["w0"]);
    let away = |row: Vec<f32>| shoal_soup::merge::displacement(&row, &base).unwrap();
    let tau: Vec<Vec<f32>> = runs(&input["w"]).into_iter().map(away).collect();
    let members = Members::new(&tau).unwrap();
    let cosine = mean_cosine(&members);
    let got = [cosine, ratio(cosine, 3)];
    near_wide("cos, t", &got, &[number(&output["cos"]), number(&output["t"])]);
    let merged = model_stock(&Layers::whole(base.len()), &members).unwrap();
    near("w", &onto(&base, &merged).unwrap(), &output["w"]);
}

#[test]
fn fisher_weighs_entries() {
    let Some((input, output)) = case("fisher_merging") else { return };
    let (w, information) = (runs(&input["w"]), runs(&input["fisher_diag"]));
    let (w, information) = (Members::new(&w).unwrap(), Members::new(&information).unwrap());
    near("w", &fisher(&w, &information, &[1.0 / 3.0; 3]).unwrap(), &output);
}

/// The weights of the case are whole: A is the identity and B the weight, turned to `[out, in]`.
#[test]
fn regmean_solves_the_regression() {
    let Some((input, output)) = case("regmean") else { return };
    let turned = |w: Vec<f32>| vec![w[0], w[2], w[1], w[3]];
    let sites = Sites::new(vec![Site { a: 0..4, b: 4..8, rank: 2, scale: 1.0 }]).unwrap();
    let members: Vec<Vec<f32>> = list(&input["w"])
        .iter()
        .map(|w| [vec![1.0, 0.0, 0.0, 1.0], turned(flat(w))].concat())
        .collect();
    let gram = |x: &Value| -> Vec<f32> {
        let of = |row: usize, column: usize| {
            runs(x).iter().map(|x| f64::from(x[row]) * f64::from(x[column])).sum::<f64>() as f32
        };
        vec![of(0, 0), of(0, 1), of(1, 0), of(1, 1)]
    };
    let grams: Vec<Vec<f32>> = list(&input["x"]).iter().map(gram).collect();
    let grams: Vec<Vec<Gram<'_>>> = grams.iter().map(|values| vec![Gram { values }]).collect();
    let members = Members::new(&members).unwrap();
    let merged = regmean(&sites, &members, &grams, number(&input["a"])).unwrap();
    near("w", &turned(deltas(&sites, &merged).unwrap()), &output);
}

#[test]
fn fedavg_weighs_by_samples() {
    let Some((input, output)) = case("fedavg") else { return };
    let (w, samples) = (runs(&input["w"]), list(&input["n"]));
    let samples: Vec<u64> = samples.iter().map(|n| n.as_u64().unwrap()).collect();
    let mut server = FedAvg::new(vec![0.0; 6]).unwrap();
    server.step(&Members::new(&w).unwrap(), &samples).unwrap();
    near("w", server.global(), &output);
}

#[test]
fn fedprox_pulls_the_gradient_back() {
    let Some((input, output)) = case("fedprox_step") else { return };
    let (w, global, mut gradient) =
        (run(&input["w"]), run(&input["w_global"]), run(&input["grad"]));
    proximal(&mut gradient, &w, &global, number(&input["mu"])).unwrap();
    let step = number(&input["lr"]) as f32;
    let w: Vec<f32> = w.iter().zip(&gradient).map(|(w, gradient)| w - step * gradient).collect();
    near("w", &w, &output);
}

#[test]
fn diloco_steps_with_nesterov_momentum() {
    let Some((input, output)) = case("diloco_outer_nesterov") else { return };
    let mut server = DiLoCo::new(&run(&input["theta0"]), DiLoCoSettings::PAPER).unwrap();
    assert_eq!(list(&output).len(), 3);
    for (round, want) in list(&output).iter().enumerate() {
        let global = server.global();
        let locals: Vec<Vec<f32>> = runs(&input["local_minus_theta"][round])
            .iter()
            .map(|step| onto(&global, step).unwrap())
            .collect();
        server.step(&Members::new(&locals).unwrap()).unwrap();
        near_wide("momentum", server.momentum(), &numbers(&want["momentum"]));
        near("theta", &server.global(), &want["theta"]);
    }
}

#[test]
fn lorahub_charges_for_coefficients() {
    let Some((input, output)) = case("lorahub_objective") else { return };
    let loss = 1.0 - number(&input["score"]);
    let got = objective(loss, &numbers(&input["w"]), number(&input["c"]));
    near_wide("objective", &[got], &[number(&output)]);
}

/// Members are unit vectors: which of them a mean holds is where it is not 0.
#[test]
fn a_greedy_soup_keeps_what_does_not_make_it_worse() {
    let Some((input, output)) = case("greedy_soup") else { return };
    let rows = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
    let singles = ["0", "1", "2"].map(|name| number(&input["single"][name]));
    let utility = |x: &[f32]| -> Result<f64, Infallible> {
        Ok(match (x[0] != 0.0, x[1] != 0.0, x[2] != 0.0) {
            (true, false, true) => number(&input["merged"]["0+2"]),
            (true, true, true) => number(&input["merged"]["0+2+1"]),
            other => panic!("{other:?} is not asked for"),
        })
    };
    let mut meter = Meter::new(10, utility);
    let soup = greedy(&Members::new(&rows).unwrap(), &singles, &mut meter).unwrap();
    let selected: Vec<f64> = soup.selected.iter().map(|index| *index as f64).collect();
    near_wide("selected", &selected, &numbers(&output["selected"]));
    near_wide("score", &[soup.utility], &[number(&output["score"])]);
    assert_eq!(meter.used(), 2);
}

/// A `[3, 4]` weight with factors of this rank, A first.
fn sites(rank: usize) -> Sites {
    let site = Site { a: 0..4 * rank, b: 4 * rank..7 * rank, rank, scale: 1.0 };
    Sites::new(vec![site]).unwrap()
}

#[test]
fn factors_and_products_have_different_means_and_flexlora_has_the_products() {
    let Some((input, output)) = case("lora_factor_vs_product") else { return };
    let two = sites(2);
    let first = [flat(&input["A1"]), flat(&input["B1"])].concat();
    let second = [flat(&input["A2"]), flat(&input["B2"])].concat();
    let rows = [first, second.clone()];

    let of_factors = uniform(&Members::new(&rows).unwrap());
    near("factor mean", &deltas(&two, &of_factors).unwrap(), &output["factor_mean"]);

    let parts = [&rows[0], &rows[1]].map(|values| Part { sites: &two, values });
    let three = sites(3);
    let exact = flexlora(&parts, &[0.5, 0.5], &three).unwrap();
    near("exact mean", &deltas(&three, &exact).unwrap(), &output["exact_mean"]);
    let cut = flexlora(&parts, &[0.5, 0.5], &two).unwrap();
    near("rank 2", &deltas(&two, &cut).unwrap(), &output["svd_rank2"]);
    // Columns of B are as long as the roots of the singular values.
    let singular: Vec<f64> = (0..3)
        .map(|unit| (0..3).map(|row| f64::from(exact[12 + row * 3 + unit]).powi(2)).sum())
        .collect();
    near_wide("singular values", &singular, &numbers(&output["singular_values"]));

    // The gauge of the first member moves the mean of factors, and not that of products.
    let gauge = &output["gauge"];
    let turned = [flat(&gauge["RinvA1"]), flat(&gauge["B1R"])].concat();
    let rows = [turned, second];
    let of_factors = uniform(&Members::new(&rows).unwrap());
    near("gauge", &deltas(&two, &of_factors).unwrap(), &gauge["factor_mean_after_gauge"]);
    let parts = [&rows[0], &rows[1]].map(|values| Part { sites: &two, values });
    let exact = flexlora(&parts, &[0.5, 0.5], &three).unwrap();
    near("exact mean", &deltas(&three, &exact).unwrap(), &output["exact_mean"]);
}

#[test]
fn lifelong_metrics() {
    let Some((input, output)) = case("continual_metrics") else { return };
    let scores = Scores::new(list(&input["R"]).iter().map(numbers).collect()).unwrap();
    let stages = numbers(&output["AA_per_stage"]);
    near_wide("AA per stage", &scores.average_accuracies(), &stages);
    let zero_shot = scores.forward_zero_shot(&numbers(&input["b"])).unwrap();
    let plasticity = scores.forward_plasticity(&numbers(&input["ref"])).unwrap();
    for (name, got) in [
        ("AA", Some(scores.average_accuracy())),
        ("AIA", Some(scores.average_incremental_accuracy())),
        ("FGT", scores.forgetting()),
        ("BWT", scores.backward_transfer()),
        ("FWD", zero_shot),
        ("FWD_plasticity", plasticity),
    ] {
        near_wide(name, &[got.unwrap()], &[number(&output[name])]);
    }
}

#[test]
fn the_harmonic_utility_of_each_epoch() {
    let Some((input, output)) = case("dynamic_utility") else { return };
    let names: Vec<&str> =
        list(&input["sets"]).iter().map(|set| set["id"].as_str().unwrap()).collect();
    let of = |row: &Value| -> Vec<f64> { names.iter().map(|name| number(&row[name])).collect() };
    assert_eq!(list(&output).len(), 14);
    for row in list(&output) {
        let got = harmonic(&of(&input["scores"]), &of(&row["raw"])).unwrap();
        near_wide("utility", &[got], &[number(&row["f_harmonic"])]);
    }
}

/// The pools over members; Gaussians and calibration are of no merge here.
#[test]
fn pools_of_predictions() {
    let Some((input, output)) = case("action_pool") else { return };
    let weights = softmax(&numbers(&input["theta"]), 1.0).unwrap();
    near_wide("w", &weights, &numbers(&output["w"]));
    let rows = runs(&input["P"]);
    let members = Members::new(&rows).unwrap();
    near_wide("linear", &linear_pool(&members, &weights).unwrap(), &numbers(&output["linear"]));
    near_wide("log", &log_pool(&members, &weights).unwrap(), &numbers(&output["log"]));
}

//! Every case of `swarm_vectors.json` that is the swarm's, and where the others are.

use std::collections::BTreeSet;

use serde_json::Value;
use shoal_swarm::draws::Chance;
use shoal_swarm::fold::{Values, Weighted, fold};
use shoal_swarm::populate::{child, partner, populate, velocity};
use shoal_swarm::search::{Chances, History, Search, Settings};
use shoal_swarm::step::{Landmarks, Pull, StepLength, Weights, restart, step};
use shoal_swarm::utility::{Utility, to_value};
use shoal_wire::v1::{Knot, Metric, Term, UtilityDocument, UtilityDocumentFields};
use shoal_wire::{PackHash, ParticleId};

use crate::json::{OTHERS, SWARM, case, count, flags, list, near, number, numbers, rows, vectors};

/// What binary64 should reach.
const EXACT: f64 = 1e-12;

/// Each case of the file, and which test runs it; `-`: those of `fleet/soup`, whose own tests have them.
const HANDLED: [(&str, &str); 45] = [
    ("step_random_r", "steps"),
    ("step_r_equals_one", "steps"),
    ("step_no_repel", "steps"),
    ("step_restart_particle_2", "steps"),
    ("step_restart_particle_is_global_best", "steps"),
    ("step_lambda_min", "steps"),
    ("step_float32", "steps_of_f32"),
    ("lambda_schedule_1.0_0.95", "step_lengths"),
    ("lambda_schedule_0.5_0.95", "step_lengths"),
    ("lambda_schedule_0.8_1.0", "step_lengths"),
    ("restart_table", "restarts"),
    ("patience_table", "patience"),
    ("populate_code", "children_of_the_code"),
    ("populate_paper", "children_of_the_paper"),
    ("initial_velocity_random", "first_velocities"),
    ("full_quadratic_n3", "searches"),
    ("full_populate_n3_to_6", "searches"),
    ("full_no_repel_n3", "searches"),
    ("full_accuracy_a", "searches"),
    ("full_accuracy_b", "searches"),
    ("full_accuracy_c", "searches"),
    ("full_dropout", "searches"),
    ("full_scripted_ties", "searches"),
    ("full_scripted_never_improves", "searches"),
    ("coefficient_space_equivalence", "coefficients"),
    ("staleness_damped_step", "stale_best_and_worst"),
    ("dynamic_utility", "utilities"),
    ("task_arithmetic", "folds"),
    ("uniform_soup", "folds"),
    ("fedavg", "folds"),
    ("slerp_t0.5", "-"),
    ("slerp_t0.25", "-"),
    ("ties", "-"),
    ("dare_linear", "-"),
    ("dare_ties", "-"),
    ("model_stock", "-"),
    ("fisher_merging", "-"),
    ("regmean", "-"),
    ("fedprox_step", "-"),
    ("diloco_outer_nesterov", "-"),
    ("lorahub_objective", "-"),
    ("greedy_soup", "-"),
    ("lora_factor_vs_product", "-"),
    ("continual_metrics", "-"),
    ("action_pool", "-"),
];

fn handled_by(test: &str) -> Vec<&'static str> {
    let names = HANDLED.iter().filter(|(_case, by)| *by == test).map(|(case, _by)| *case);
    let names: Vec<&str> = names.collect();
    assert!(!names.is_empty(), "{test} handles nothing");
    names
}

#[test]
fn every_case_of_the_file_is_handled_somewhere() {
    let Some(vectors) = vectors() else { return };
    let cases = [SWARM, OTHERS].map(|key| list(&vectors[key])).concat();
    let handled: BTreeSet<&str> = HANDLED.iter().map(|(case, _by)| *case).collect();
    assert_eq!(handled.len(), HANDLED.len(), "a case stands twice in the list");
    let in_file: BTreeSet<&str> = cases.iter().map(|case| case["name"].as_str().unwrap()).collect();
    assert_eq!(in_file, handled);
}

fn weights(input: &Value) -> Weights {
    let repel = if input["repel_term"].as_bool().unwrap() { number(&input["phi_w"]) } else { 0.0 };
    Weights {
        inertia: number(&input["phi_v"]),
        cognitive: number(&input["phi_p"]),
        social: number(&input["phi_g"]),
        repel,
    }
}

fn four(value: &Value) -> [f64; 4] {
    numbers(value).try_into().unwrap()
}

#[test]
fn steps() {
    let Some(vectors) = vectors() else { return };
    for name in handled_by("steps") {
        let case = case(&vectors, SWARM, name);
        let (input, output) = (&case["input"], &case["output"]);
        let (g, g_worst) = (numbers(&input["g"]), numbers(&input["g_worst"]));
        let personal = rows(&input["p"]);
        let particles = rows(&input["x"]).into_iter().zip(rows(&input["v"])).zip(&personal);
        for (index, ((mut x, mut v), p)) in particles.enumerate() {
            if flags(&input["restart"])[index] {
                restart(&mut x, &mut v, p);
            }
            let pull = weights(input).pull(four(&input["r"][index]));
            let at = Landmarks { personal_best: p, global_best: &g, global_worst: &g_worst };
            step(&mut x, &mut v, at, pull, number(&input["lam"])).unwrap();

            near(name, &[pull.sum()], &[number(&output["C"][index])], EXACT);
            let parts = [pull.inertia, pull.cognitive, pull.social, pull.repel];
            let parts = parts.map(|part| part / pull.sum());
            near(name, &parts, &numbers(&output["weights"][index]), EXACT);
            near(name, &v, &numbers(&output["v_new"][index]), EXACT);
            near(name, &x, &numbers(&output["x_new"][index]), EXACT);
        }
    }
}

/// To the bit: the order of arithmetic is the official code's.
#[test]
fn steps_of_f32() {
    let Some(vectors) = vectors() else { return };
    let case = case(&vectors, SWARM, handled_by("steps_of_f32")[0]);
    let (input, output) = (&case["input"], &case["output"]);
    let narrow = |value: &Value| numbers(value).into_iter().map(|n| n as f32).collect::<Vec<_>>();
    let (g, g_worst) = (narrow(&input["g"]), narrow(&input["g_worst"]));
    for index in 0..list(&input["x"]).len() {
        let (mut x, mut v) = (narrow(&input["x"][index]), narrow(&input["v"][index]));
        let p = narrow(&input["p"][index]);
        let at = Landmarks { personal_best: &p, global_best: &g, global_worst: &g_worst };
        let pull = weights(input).pull(four(&input["r"][index]));
        step(&mut x, &mut v, at, pull, number(&input["lam"]) as f32).unwrap();
        assert_eq!(v, narrow(&output["v_new"][index]), "particle {index}");
        assert_eq!(x, narrow(&output["x_new"][index]), "particle {index}");
    }
}

#[test]
fn step_lengths() {
    let Some(vectors) = vectors() else { return };
    for name in handled_by("step_lengths") {
        let case = case(&vectors, SWARM, name);
        let (input, output) = (&case["input"], &case["output"]);
        let schedule = StepLength {
            first: number(&input["lambda0"]),
            decay: number(&input["factor"]),
            floor: number(&input["minimum"]),
        };
        let lengths: Vec<f64> = (0..count(&input["iterations"])).map(|k| schedule.at(k)).collect();
        near(name, &lengths, &numbers(&output["lam"]), EXACT);
        let at_floor = lengths.iter().position(|length| *length <= schedule.floor);
        assert_eq!(at_floor.map(|k| k as u64), output["first_index_at_floor"].as_u64(), "{name}");
    }
}

fn history(values: &Value) -> History {
    let values = numbers(values);
    let mut history = History::new(values[0]);
    for value in &values[1..] {
        history.append(*value);
    }
    history
}

#[test]
fn restarts() {
    let Some(vectors) = vectors() else { return };
    let case = case(&vectors, SWARM, handled_by("restarts")[0]);
    assert_eq!(list(&case["rows"]).len(), 32);
    for row in list(&case["rows"]) {
        let history = history(&row["history"]);
        let threshold = number(&row["restart_patience"]) * number(&row["patience"]);
        near("threshold", &[threshold], &[number(&row["threshold"])], EXACT);
        assert_eq!(history.best(), number(&row["best"]), "{row}");
        assert_eq!(history.stagnation(), count(&row["stagnation"]), "{row}");
        assert_eq!(history.restarts(threshold), row["restart"].as_bool().unwrap(), "{row}");
    }
}

#[test]
fn patience() {
    let Some(vectors) = vectors() else { return };
    let case = case(&vectors, SWARM, handled_by("patience")[0]);
    assert_eq!(list(&case["rows"]).len(), 9);
    for row in list(&case["rows"]) {
        let stops = history(&row["g_history"]).stops(count(&row["patience"]));
        assert_eq!(stops, row["stop"].as_bool().unwrap(), "{row}");
    }
}

#[test]
fn children_of_the_code() {
    let Some(vectors) = vectors() else { return };
    let case = case(&vectors, SWARM, handled_by("children_of_the_code")[0]);
    let mut particles = rows(&case["input"]["experts"]);
    let mut script = Script { indices: Vec::new(), units: Vec::new() };
    for made in list(&case["output"]) {
        script.indices.extend([&made["parent1"], &made["parent2"]].map(|at| count(at) as usize));
        script.units.push(number(&made["u"]));
    }
    let all = particles.len() + script.units.len();
    populate(&mut particles, all, &mut script);
    for (made, particle) in list(&case["output"]).iter().zip(&particles[3..]) {
        near("child", particle, &numbers(&made["child"]), EXACT);
    }
}

#[test]
fn children_of_the_paper() {
    let Some(vectors) = vectors() else { return };
    let case = case(&vectors, SWARM, handled_by("children_of_the_paper")[0]);
    let (input, experts) = (&case["input"], rows(&case["input"]["experts"]));
    for (index, pair) in list(&input["pairs"]).iter().enumerate() {
        let [first, second] = [&pair[0], &pair[1]].map(|at| &experts[count(at) as usize]);
        let made = child(first, second, number(&input["t"][index]));
        near("child", &made, &numbers(&case["output"][index]), EXACT);
    }
}

#[test]
fn first_velocities() {
    let Some(vectors) = vectors() else { return };
    let case = case(&vectors, SWARM, handled_by("first_velocities")[0]);
    let x = rows(&case["input"]["x"]);
    for (index, partner) in list(&case["input"]["j"]).iter().enumerate() {
        let made = velocity(&x[index], &x[count(partner) as usize]);
        near("velocity", &made, &numbers(&case["output"][index]), EXACT);
    }
}

/// Draws as they were recorded. Indices are those of the list that is drawn from.
struct Script {
    indices: Vec<usize>,
    units: Vec<f64>,
}

impl Chance for Script {
    fn unit(&mut self) -> f64 {
        self.units.remove(0)
    }

    fn index(&mut self, count: usize) -> usize {
        let index = self.indices.remove(0);
        assert!(index < count);
        index
    }
}

/// The utility of a case, by its kind. A scripted one consumes a value an evaluated particle, in order.
fn utility(input: &Value) -> impl FnMut(usize, &[f64]) -> f64 + use<> {
    let utility = input["utility"].clone();
    let mut measured = vec![0; list(&input["x0"]).len()];
    move |particle, x| match utility["kind"].as_str().unwrap() {
        "negative_squared_distance" => {
            let target = numbers(&utility["target"]);
            -x.iter().zip(&target).map(|(x, t)| (x - t) * (x - t)).sum::<f64>()
        }
        "threshold_accuracy" => {
            let (a, b) = (rows(&utility["a"]), numbers(&utility["b"]));
            let dot = |a: &[f64]| a.iter().zip(x).map(|(a, x)| a * x).sum::<f64>();
            let right = a.iter().zip(&b).filter(|(a, b)| dot(a) > **b).count();
            right as f64 / b.len() as f64
        }
        "scripted" => {
            measured[particle] += 1;
            number(&utility["scores"][measured[particle] - 1][particle])
        }
        other => panic!("utility of kind {other}"),
    }
}

fn settings(input: &Value) -> Settings {
    let patience = count(&input["patience"]);
    Settings {
        weights: weights(input),
        step_length: StepLength {
            first: number(&input["lambda0"]),
            decay: number(&input["lambda_factor"]),
            floor: number(&input["lambda_min"]),
        },
        patience,
        restart_patience: number(&input["restart_patience"]) * f64::from(patience),
        dropout_iterations: number(&input["dropK"]),
        dropout_particles: number(&input["dropN"]),
    }
}

fn chances(input: &Value, iteration: usize) -> Chances {
    Chances {
        draws: list(&input["r"][iteration]).iter().map(four).collect(),
        skipped: flags(&input["skipped"][iteration]),
    }
}

/// The swarm of a case before its first iteration, grown if the case says so.
fn begin(name: &str, input: &Value) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let mut x = rows(&input["experts"]);
    if !input["populate"].is_null() {
        let indices = list(&input["populate"]["choices"]).iter().map(|at| count(at) as usize);
        let units = numbers(&input["populate"]["u"]);
        let all = x.len() + units.len();
        populate(&mut x, all, &mut Script { indices: indices.collect(), units });
    }
    let partners = list(&input["velocity_partner"]).iter().map(|at| count(at) as usize);
    let v: Vec<Vec<f64>> = x.iter().zip(partners).map(|(x_i, j)| velocity(x_i, &x[j])).collect();
    near(name, &x.concat(), &rows(&input["x0"]).concat(), EXACT);
    near(name, &v.concat(), &rows(&input["v0"]).concat(), EXACT);
    (x, v)
}

#[test]
fn searches() {
    let Some(vectors) = vectors() else { return };
    for name in handled_by("searches") {
        let case = case(&vectors, SWARM, name);
        let (input, output) = (&case["input"], &case["output"]);
        let mut measure = utility(input);
        let (x, v) = begin(name, input);
        let utilities: Vec<f64> = x.iter().enumerate().map(|(i, x)| measure(i, x)).collect();
        near(name, &utilities, &numbers(&output["initial_scores"]), EXACT);
        let mut search = Search::new(settings(input), x, v, &utilities).unwrap();

        let mut ran = 0;
        while !search.ended() && ran < count(&input["max_iterations"]) {
            let want = &output["trace"][ran as usize];
            near(name, &[search.step_length()], &[number(&want["lam"])], EXACT);
            let restart: Vec<bool> =
                (0..search.particles().len()).map(|i| search.restarts(i)).collect();
            assert_eq!(restart, flags(&want["restart"]), "{name}, iteration {ran}");
            search.iterate(&chances(input, ran as usize), &mut measure);
            compare(&format!("{name}, iteration {ran}"), &search, want);
            ran += 1;
        }
        assert_eq!(ran, count(&output["iterations_run"]), "{name}");
        assert_eq!(list(&output["trace"]).len() as u32, ran, "{name}");
        near(name, &[search.step_length()], &[number(&output["final_lambda"])], EXACT);
        near(name, &search.best().position, &numbers(&output["g"]), EXACT);
        near(name, &[search.best().utility], &[number(&output["g_score"])], EXACT);
        near(name, &search.worst().position, &numbers(&output["g_worst"]), EXACT);
    }
}

fn compare(what: &str, search: &Search<f64>, want: &Value) {
    for (index, particle) in search.particles().iter().enumerate() {
        near(what, &particle.velocity, &numbers(&want["v"][index]), EXACT);
        near(what, &particle.position, &numbers(&want["x"][index]), EXACT);
        near(what, &particle.personal_best, &numbers(&want["p"][index]), EXACT);
        near(what, &[particle.utility], &[number(&want["score"][index])], EXACT);
        near(what, &[particle.history.best()], &[number(&want["p_score"][index])], EXACT);
    }
    near(what, &search.best().position, &numbers(&want["g"]), EXACT);
    near(what, &[search.best().utility], &[number(&want["g_score"])], EXACT);
    near(what, &search.worst().position, &numbers(&want["g_worst"]), EXACT);
    near(what, &[search.worst().utility], &[number(&want["g_worst_score"])], EXACT);
}

/// The search never leaves the affine hull of its experts: on their coefficients it is the same search.
#[test]
fn coefficients() {
    let Some(vectors) = vectors() else { return };
    let case = case(&vectors, SWARM, handled_by("coefficients")[0]);
    let run = crate::json::case(&vectors, SWARM, case["input"]["run"].as_str().unwrap());
    let input = &run["input"];
    let experts = rows(&input["experts"]);
    let mut of_position = utility(input);
    let mut measure = |index: usize, coefficients: &[f64]| {
        let of = |dim: usize| experts.iter().zip(coefficients).map(|(x, c)| c * x[dim]).sum();
        let x: Vec<f64> = (0..experts[0].len()).map(of).collect();
        of_position(index, &x)
    };
    let (x, v) = (rows(&case["input"]["coeff0"]), rows(&case["input"]["velocity0"]));
    let utilities: Vec<f64> = x.iter().enumerate().map(|(i, x)| measure(i, x)).collect();
    let mut search = Search::new(settings(input), x, v, &utilities).unwrap();
    for (iteration, want) in list(&case["output"]["coeff_trace"]).iter().enumerate() {
        search.iterate(&chances(input, iteration), &mut measure);
        for (particle, want) in search.particles().iter().zip(list(want)) {
            near("coefficients", &particle.position, &numbers(want), EXACT);
            near("sum", &[particle.position.iter().sum()], &[1.0], EXACT);
            near("sum", &[particle.velocity.iter().sum()], &[0.0], EXACT);
        }
    }
    near("g", &search.best().position, &numbers(&case["output"]["g"]), EXACT);
    near("g_w", &search.worst().position, &numbers(&case["output"]["g_worst"]), EXACT);
}

#[test]
fn stale_best_and_worst() {
    let Some(vectors) = vectors() else { return };
    let case = case(&vectors, OTHERS, handled_by("stale_best_and_worst")[0]);
    let (input, output) = (&case["input"], &case["output"]);
    let [inertia, cognitive, social, repel] = four(&input["phi"]);
    let fresh = Weights { inertia, cognitive, social, repel }.pull(four(&input["r"]));
    let ages = (number(&input["age_g"]), number(&input["age_w"]));
    let pull: Pull = fresh.damped(ages.0, ages.1, number(&input["T_half"]));
    let damps = [pull.social / fresh.social, pull.repel / fresh.repel];
    near("damp", &damps, &[&output["damp_g"], &output["damp_w"]].map(number), EXACT);
    near("C", &[pull.sum()], &[number(&output["C"])], EXACT);

    let (mut x, mut v) = (numbers(&input["x"]), numbers(&input["v"]));
    let [p, g, worst] = [&input["p"], &input["g"], &input["g_worst"]].map(numbers);
    let at = Landmarks { personal_best: &p, global_best: &g, global_worst: &worst };
    step(&mut x, &mut v, at, pull, number(&input["lam"])).unwrap();
    near("v", &v, &numbers(&output["v_new"]), EXACT);
    near("x", &x, &numbers(&output["x_new"]), EXACT);
}

/// What the vectors do not show of [`partner`]: it is drawn over the whole grown swarm.
#[test]
fn a_partner_can_be_a_child() {
    let mut script = Script { indices: vec![4], units: Vec::new() };
    assert_eq!(partner(2, 6, &mut script), Some(5));
}

/// A set of the case as a term: its ramp and its fading as knots.
fn term(set: &Value) -> Term {
    let of = |key: &str| number(&set[key]);
    let knot = |window: f64, weight: f64| Knot { window: window as u32, weight: weight as f32 };
    let mut knots = vec![knot(of("start"), if of("ramp") > 0.0 { 0.0 } else { of("w") })];
    if of("ramp") > 0.0 {
        knots.push(knot(of("start") + of("ramp"), of("w")));
    }
    if !set["retire"].is_null() {
        // It fades window by window until it would fall below its floor.
        knots.push(knot(of("retire"), of("w")));
        for past in 1..=of("fade") as u32 {
            let left = (1.0 - f64::from(past) / of("fade")).max(of("floor"));
            knots.push(knot(of("retire") + f64::from(past), left * of("w")));
        }
    }
    let id = set["id"].as_str().unwrap();
    Term {
        name: id.try_into().unwrap(),
        pack: PackHash::new([id.as_bytes()[0]; 32]),
        metric: Metric::Skill,
        knots: knots.into_iter().collect(),
        gate: None,
    }
}

/// Weights are f32 on the wire; the harmonic form is none of ours.
#[test]
fn utilities() {
    let Some(vectors) = vectors() else { return };
    let case = case(&vectors, OTHERS, handled_by("utilities")[0]);
    let sets = list(&case["input"]["sets"]);
    let fields = UtilityDocumentFields { version: 1, terms: sets.iter().map(term).collect() };
    let utility = Utility::new(&UtilityDocument::new(fields).unwrap());
    let name = |set: &Value| set["id"].as_str().unwrap().to_owned();
    let values = sets.iter().map(|set| to_value(number(&case["input"]["scores"][name(set)])));
    let values: Vec<i16> = values.collect();
    for row in list(&case["output"]) {
        let epoch = count(&row["epoch"]);
        let of =
            |key: &str| sets.iter().map(|set| number(&row[key][name(set)])).collect::<Vec<_>>();
        near("weights", &utility.weights(epoch), &of("raw"), 1e-7);
        let now = utility.at(epoch).unwrap();
        near("shares", now.shares(), &of("alpha"), 1e-7);
        near("utility", &[now.utility(&values).unwrap()], &[number(&row["f"])], 1e-7);
    }
}

/// What a merge is, these are: sums of named displacements with listed weights, or means of adapters.
#[test]
fn folds() {
    let Some(vectors) = vectors() else { return };
    for name in handled_by("folds") {
        let case = case(&vectors, OTHERS, name);
        let input = &case["input"];
        let narrow = |row: &[f64]| row.iter().map(|value| *value as f32).collect::<Vec<f32>>();
        let of_displacements = !input["tau"].is_null();
        let all = rows(if of_displacements { &input["tau"] } else { &input["w"] });
        let all: Vec<Vec<f32>> = all.iter().map(|row| narrow(row)).collect();
        let share = 1.0 / all.len() as f64;
        let weights = match name {
            "task_arithmetic" => vec![number(&input["s"]); all.len()],
            "fedavg" => {
                let counts = numbers(&input["n"]);
                counts.iter().map(|n| n / counts.iter().sum::<f64>()).collect()
            }
            _ => vec![share; all.len()],
        };
        let zero = vec![0.0; all[0].len()];
        let anchor = if of_displacements { narrow(&numbers(&input["w0"])) } else { zero };
        let inputs =
            all.iter().zip(weights).enumerate().map(|(index, (values, weight))| Weighted {
                particle: ParticleId::new([index as u8; 32]),
                values: if of_displacements {
                    Values::Displacement(values)
                } else {
                    Values::Position(values)
                },
                weight: weight as f32,
            });
        let merge = fold(&anchor, &inputs.collect::<Vec<_>>()).unwrap();
        let wide: Vec<f64> = merge.iter().map(|value| f64::from(*value)).collect();
        near(name, &wide, &numbers(&case["output"]), 1e-6);
    }
}

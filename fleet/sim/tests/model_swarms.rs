//! The paper's search as a merge, on clients without a model: what it measures is what its numbers say, and it is no worse than
//! where it began.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use shoal_sim::compare::{Place, compare};
use shoal_sim::config::SimConfig;
use shoal_sim::record::Row;

const FLEET: &str = "\
vehicles = 6
windows = 3
seed = 3
[trivial]
values = 40
[[utility]]
name = \"day\"
[[utility]]
name = \"night\"
";

/// The last window of each of these methods.
fn last(methods: &[(&str, &str)]) -> Vec<Row> {
    let mut file = String::from(FLEET);
    for (name, keys) in methods {
        file.push_str(&format!("[[methods]]\nname = \"{name}\"\n{keys}\n"));
    }
    let config = SimConfig::parse("fleet.toml", &file).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let place = Place { folder: folder.path(), part: None };
    let engine = shoal_sim::lab::engine(&config).unwrap();
    let records = compare(&config, [config.seed], place, engine, |_tell| {}).unwrap();
    records.into_iter().map(|mut record| record.rows.pop().unwrap()).collect()
}

/// Ten particles out of six vehicles, and what else is asked for.
fn swarm(more: &str) -> String {
    format!("kind = \"soup\"\nmerge = \"model_swarms\"\nparticles = 10\nbudget = 1000\n{more}")
}

#[test]
fn a_swarm_measures_each_particle_once_and_in_each_iteration() {
    let rows = last(&[
        ("three", &swarm("iterations = 3\npatience = 50")),
        ("short-of-budget", &swarm("iterations = 3\npatience = 50").replace("1000", "35")),
        ("fewer-than-particles", &swarm("iterations = 3").replace("1000", "7")),
        ("half-measured", &swarm("iterations = 3\npatience = 50\ndropout_particles = 0.5")),
        ("rarely-measured", &swarm("iterations = 8\npatience = 50\ndropout_iterations = 0.9")),
        ("as-it-is", &swarm("").replace("particles = 10", "particles = 2")),
    ]);
    let evaluations: Vec<u64> = rows.iter().map(|row| row.evaluations).collect();
    assert_eq!(evaluations[..3], [40, 30, 7], "the first measurement, then whole iterations");
    assert!((15..40).contains(&evaluations[3]), "{evaluations:?}");
    assert!(
        (10..50).contains(&evaluations[4]) && evaluations[4].is_multiple_of(10),
        "{evaluations:?}"
    );
    assert!(evaluations[5].is_multiple_of(6), "vehicles are never fewer: {evaluations:?}");
}

#[test]
fn patience_ends_a_swarm_and_what_it_found_is_no_worse_than_where_it_began() {
    // The first measurements are of what vehicles tuned: with no more, the best of these is found.
    let rows = last(&[
        ("one-of-six", &swarm("").replace("1000", "6")),
        ("swarm", &swarm("")),
        ("impatient", &swarm("patience = 2")),
        ("both-well", &swarm("mean = \"harmonic\"")),
    ]);
    let utility: Vec<f64> = rows.iter().map(|row| row.utility).collect();
    assert!(utility[1] > utility[0] + 0.02, "{utility:?}");
    assert!(utility[2] >= utility[0] && rows[2].evaluations < rows[1].evaluations, "{rows:?}");
    assert!(utility[3] > utility[0], "{utility:?}");
    assert_ne!(rows[3].skill, rows[1].skill, "the harmonic mean asks for something else");
}

#[test]
fn a_swarm_that_cannot_move_is_refused() {
    let refused = |more: &str| {
        let file = format!("{FLEET}[[methods]]\nname = \"swarm\"\n{}\n", swarm(more));
        SimConfig::parse("fleet.toml", &file).unwrap_err().to_string()
    };
    let still = "inertia = 0.0\ncognitive = 0.0\nsocial = 0.0\nrepel = 0.0";
    assert!(refused(still).contains("no term that pulls"), "{}", refused(still));
    assert!(refused("elites = 0.1").contains("elites"), "{}", refused("elites = 0.1"));
    assert!(refused("dropout_particles = 1.0").contains("dropout_particles"));
}

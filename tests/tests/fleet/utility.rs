//! What a fleet maximises changes while it runs: the authority signs it, and vehicles follow window by window.

use serde_json::Value;
use shoal_tests::brokers::{Embedded, TestBroker};
use shoal_tests::browser::Browser;
use shoal_tests::clock::until;
use shoal_tests::fleet::{Fleet, Plan};

/// What a line says of the vehicle's own adapter and of best: utility and terms, in units of 1e-4; of what was measured.
fn measured(line: &Value) -> Vec<(i64, Vec<i64>)> {
    let of = |(value, terms): (&str, &str)| {
        let terms = line[terms].as_array().unwrap().iter().filter_map(Value::as_i64);
        Some((line[value].as_i64()?, terms.collect()))
    };
    [("value", "terms"), ("best_value", "best_terms")].into_iter().filter_map(of).collect()
}

/// Whether something was measured by so many terms.
fn by(line: &Value, terms: usize) -> bool {
    measured(line).iter().any(|(_value, of)| of.len() == terms)
}

/// A second pack enters with weight 0, is measured by all who have it, and takes over; who lacks it says so, and goes on taking part.
#[test]
fn another_pack_enters_silently_and_takes_over() {
    let broker = Embedded::start();
    let plan = Plan { vehicles: 4, ..Plan::default() };
    let Some(fleet) = Fleet::make(&plan, broker.address()) else { return };
    let night = fleet.another_pack("night");
    let night = night.to_str().unwrap();
    for number in [0, 1, 2] {
        let pack = fleet.told(number).packs.remove(0);
        let both = format!("pack = [{pack:?}, {night:?}]");
        fleet.tell(number, &format!("pack = {pack:?}"), &both);
    }
    let _serve = fleet.serve();
    let path = fleet.path();
    let path = path.to_str().unwrap();
    let shown = fleet.shoal(&["fleet", "utility", path]).unwrap();
    assert!(shown.contains("utility 1") && shown.contains("test"), "{shown}");
    let vehicles = [0, 1, 2, 3].map(|number| fleet.start(number, &[]));
    let first = fleet.line(0, "a best", |line| line["best"].is_string() && by(line, 1));
    let window = first["window"].as_u64().unwrap();

    // From window `turn` on the new term alone counts: until then all measure it, and nobody asks what it is. Not every vehicle
    // measures in every window, where several fleets share a machine.
    let turn = window + 10;
    let file = path.to_owned() + "/utility.toml";
    let asked = |knots: &str| {
        let toml = format!(
            "[[term]]\nname = \"test\"\nwindows = [{}, {turn}]\nweights = [1.0, 0.0]\n\
             [[term]]\nname = \"night\"\npack = \"night\"\n{knots}",
            turn - 1
        );
        std::fs::write(&file, toml).unwrap();
        fleet.shoal(&["fleet", "utility", path, &file, "--pack", night])
    };
    let loud = asked("weights = [1.0]\n").unwrap_err();
    assert!(loud.contains("would not follow"), "{loud}");
    let knots = format!("windows = [{}, {turn}]\nweights = [0.0, 1.0]\n", turn - 1);
    let signed = asked(&knots).unwrap();
    assert!(signed.contains("utility 2") && signed.contains("vehicles need the pack night"));

    for number in [0, 1, 2] {
        let silent = |line: &Value| line["window"].as_u64() < Some(turn) && by(line, 2);
        let line = fleet.line(number, "a term that does not count yet", silent);
        for (value, terms) in measured(&line) {
            assert_eq!(value, terms[0], "{line}");
        }
        let taken = |line: &Value| line["window"].as_u64() >= Some(turn) && by(line, 2);
        let line = fleet.line(number, "a term that counts alone", taken);
        for (value, terms) in measured(&line) {
            assert_eq!(value, terms[1], "{line}");
            assert_ne!(terms[0], terms[1], "two packs are not alike: {line}");
        }
    }
    let elected = |line: &Value| line["window"].as_u64() >= Some(turn) && line["best"].is_string();
    fleet.line(0, "a best by the new term", elected);
    let without = &vehicles[3];
    until("what it lacks", || without.said().contains("stage the fleet's packs").then_some(()));
    let went_on =
        |line: &Value| line["window"].as_u64().unwrap() >= turn && line["took_part"] == true;
    let line = fleet.line(3, "a window without the pack", went_on);
    assert!(measured(&line).is_empty() && line["claimed"] == false, "{line}");
    page(&fleet);
    for vehicle in vehicles {
        assert_eq!(vehicle.terminate().code(), Some(0));
    }
}

/// What a browser shows of it: every vehicle, what was measured, and what counts.
fn page(fleet: &Fleet) {
    let Some(browser) = Browser::find() else { return };
    let (_console, url) = fleet.console();
    let mut wanted: Vec<String> = (0..4).map(|number| format!("<td>{number}</td>")).collect();
    let said = ["class=\"up\">live<", "rule: consensus", "4 of 4", "night: 100 %", "test: 0 %"];
    wanted.extend(said.into_iter().chain(["<circle class=\"claim\""]).map(String::from));
    // Its events may be slow to come.
    let page = until("a page that shows the fleet", || {
        let page = browser.shows(&url);
        wanted.iter().all(|text| page.contains(text)).then_some(page)
    });
    assert_eq!(page.matches("<polygon class=\"term-").count(), 2, "{page}");
}

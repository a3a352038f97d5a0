//! What was learned is put to use by two keys, stage by stage, and taken back.

use std::fs;
use std::path::Path;

use serde_json::Value;
use shoal_tests::brokers::Embedded;
use shoal_tests::clock::until;
use shoal_tests::fleet::{Fleet, Plan, Program};

const VEHICLES: u32 = 4;

/// A fleet that has elected a best, and its programs.
fn learned(broker: &Embedded) -> Option<(Fleet, Vec<Program>)> {
    use shoal_tests::brokers::TestBroker as _;
    let plan = Plan { vehicles: VEHICLES, ..Plan::default() };
    let fleet = Fleet::make(&plan, broker.address())?;
    let mut programs = vec![fleet.serve()];
    programs.extend((0..VEHICLES).map(|number| fleet.start(number, &[])));
    fleet.line(0, "a best", |line| line["best"].is_string());
    Some((fleet, programs))
}

/// Which slot each vehicle's active adapter lies in.
fn active(fleet: &Fleet) -> Vec<String> {
    let state = |number| {
        let path = fleet.vehicle_path(number).join("state/slots/state");
        fs::read_to_string(path).unwrap_or_default()
    };
    let of = |line: String| line.split_whitespace().nth(1).unwrap_or("none").to_owned();
    (0..VEHICLES).map(state).map(of).collect()
}

fn shown(fleet: &Fleet) -> Value {
    let shown = fleet.campaign("show", &["--json"]).unwrap();
    serde_json::from_str(&shown).unwrap()
}

fn of_stages(shown: &Value, key: &str) -> Vec<u64> {
    let stages = shown["stages"].as_array().cloned().unwrap_or_default();
    stages.iter().map(|stage| stage[key].as_u64().unwrap()).collect()
}

/// Makes, approves and starts a campaign of two stages with these limits.
fn start(fleet: &Fleet, number: &str, limits: &[&str]) {
    let stages = ["--stages", "50,100", "--kept", "100", "--gone-back", "0", "--moments", "40"];
    let made = fleet.campaign("new", &[&stages, limits].concat()).unwrap();
    assert!(made.contains(&format!("campaign {number}")), "{made}");
    let refused = fleet.campaign("start", &[number]).unwrap_err();
    assert!(refused.contains("nobody has approved it"), "{refused}");
    let key = |name: &str| fleet.path().join(name).to_str().unwrap().to_owned();
    let by_authority = fleet.campaign("approve", &[number, "--key", &key("authority.key")]);
    assert!(by_authority.unwrap_err().contains("approver"), "one person is not two");
    fleet.campaign("approve", &[number, "--key", &key("approver.key")]).unwrap();
    fleet.campaign("start", &[number]).unwrap();
}

/// Nothing is active that the swarm found, until a campaign says so; then stage after stage, each vehicle by what it watched; and
/// all go back when they are told.
#[test]
fn a_campaign_puts_what_was_learned_to_use_and_takes_it_back() {
    let broker = Embedded::start();
    let Some((fleet, _programs)) = learned(&broker) else { return };
    let none = vec!["none".to_owned(); VEHICLES as usize];
    assert_eq!(active(&fleet), none, "nothing learned activates itself");

    start(&fleet, "1", &["--worse", "2", "--apart", "5", "--latency", "60"]);
    let all = until("all keep it", || {
        let shown = shown(&fleet);
        let kept: u64 = of_stages(&shown, "kept").iter().sum();
        (kept == u64::from(VEHICLES)).then_some(shown)
    });
    assert_eq!(of_stages(&all, "gone_back"), [0, 0]);
    assert_eq!((&all["open"], &all["order"]), (&2.into(), &"runs".into()));
    assert!(!active(&fleet).contains(&"none".to_owned()), "{:?}", active(&fleet));

    let record = |name: &str| fleet.path().join(name);
    fleet.evidence(1, &record("early"), None, &[]).unwrap();
    // What nobody could hear, for the next took its place at once, was ordered all the same.
    for order in ["pause", "resume", "abort", "roll-back"] {
        fleet.campaign(order, &["1"]).unwrap();
        let again = fleet.campaign(order, &["1"]).unwrap_err();
        assert!(again.contains("campaign 1"), "{again}");
    }
    let final_word = fleet.campaign("resume", &["1"]).unwrap_err();
    assert!(final_word.contains("for good"), "{final_word}");
    let none_such = fleet.campaign("start", &["7"]).unwrap_err();
    assert!(none_such.contains("there are: 1"), "{none_such}");
    until("all go back", || (active(&fleet) == none).then_some(()));
    until("all say so", || {
        let shown = shown(&fleet);
        let kept: u64 = of_stages(&shown, "kept").iter().sum();
        (kept == 0 && shown["order"] == "rolled back").then_some(())
    });
    let image = record("vehicle.cdx.json");
    fs::write(&image, r#"{"bomFormat": "CycloneDX", "components": ["kernel"]}"#).unwrap();
    bills_are_refused(&fleet, &image);
    until("the journal has it", || {
        let late = record("late");
        let _before = fs::remove_dir_all(&late);
        fleet.evidence(1, &late, Some(&record("early")), &[&image]).unwrap();
        let text = fs::read_to_string(late.join("record.json")).unwrap();
        let record: Value = serde_json::from_str(&text).unwrap();
        let targets = record["targets"].as_array().unwrap();
        let said = |target: &Value| -> Vec<String> {
            let said = target["said"].as_array().unwrap();
            said.iter().map(|one| one["what"].as_str().unwrap().to_owned()).collect()
        };
        let whole = targets.iter().all(|target| said(target) == ["kept", "went back"]);
        let orders = record["orders"].as_array().unwrap().iter();
        let orders: Vec<&Value> = orders.map(|order| &order["order"]).collect();
        let all = ["run", "pause", "run", "abort", "roll back"];
        (whole && targets.len() == VEHICLES as usize && orders == all).then_some(())
    });
    let checked = fleet.check_evidence(&record("late")).unwrap();
    assert!(checked.contains("every signature"), "{checked}");
    // Who changes what the record says, how it is shown, or what it names or rests on, is found out.
    for (name, from, to, why) in [
        ("record.json", "went back", "kept", "says otherwise than its journal"),
        ("record.md", "went back", "kept", "says otherwise than record.json"),
        ("sbom.cdx.json", "CycloneDX", "CycloneDx", "is not the one that record.json names"),
        ("vehicle.cdx.json", "kernel", "colonel", "is not the one that record.json names"),
        ("journal.jsonl", "\"number\":1,", "\"number\":2,", "the journal was changed"),
    ] {
        let path = record("late").join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{name} says {from}");
        fs::write(&path, text.replace(from, to)).unwrap();
        let refused = fleet.check_evidence(&record("late")).unwrap_err();
        assert!(refused.contains(why), "{refused}");
        fs::write(&path, text).unwrap();
    }
    fleet.check_evidence(&record("late")).unwrap();
}

/// What is no bill, or would stand in another's place, makes no record.
fn bills_are_refused(fleet: &Fleet, image: &Path) {
    let file = |name: &str, text: &str| {
        let path = fleet.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    };
    let bill = fs::read_to_string(image).unwrap();
    let (none, record) = (fleet.path().join("none"), file("bills/record.json", &bill));
    let again = file("bills/vehicle.cdx.json", &bill);
    let (other, toml) = (file("bills/other.json", "{}"), fleet.path().join("fleet.toml"));
    for (bills, why) in [
        (&[toml.as_path()][..], "no JSON"),
        (&[&other], "no bill of materials"),
        (&[&record], "rename the bill"),
        (&[image, &again], "rename one"),
    ] {
        let refused = fleet.evidence(1, &none, None, bills).unwrap_err();
        assert!(refused.contains(why) && !none.exists(), "{refused}");
    }
}

/// Vehicles of the first stage find it wanting and go back by themselves; the campaign halts, and nobody of the second begins.
#[test]
fn a_campaign_that_is_found_wanting_halts() {
    let broker = Embedded::start();
    let Some((fleet, _programs)) = learned(&broker) else { return };
    // Whatever takes more than a thousandth of the time is too slow.
    start(&fleet, "1", &["--worse", "2", "--apart", "5", "--latency", "0.001"]);
    let halted = until("it halts", || Some(shown(&fleet)).filter(|shown| shown["halted"] == 0));
    assert_eq!(halted["state"], "halted in stage 0");
    let canary = of_stages(&halted, "vehicles")[0];
    assert!(canary > 0 && canary < u64::from(VEHICLES), "{halted}");
    until("all of the first stage went back", || {
        (of_stages(&shown(&fleet), "gone_back")[0] == canary).then_some(())
    });
    // Two windows more: nobody begins.
    let last = fleet.windows(0).len();
    until("two windows more", || (fleet.windows(0).len() >= last + 2).then_some(()));
    let after = shown(&fleet);
    assert_eq!((of_stages(&after, "gone_back")[1], &after["open"]), (0, &0.into()));
    assert!(active(&fleet).iter().all(|slot| slot == "none"));
}

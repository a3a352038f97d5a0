//! Vehicles that nothing happens to.

use std::path::Path;

use serde_json::Value;
use shoal_tests::brokers::{Embedded, Mosquitto, TestBroker};
use shoal_tests::certificates::Authority;
use shoal_tests::clock::{until, utc_seconds};
use shoal_tests::fleet::{Carries, Fleet, Plan};

/// Two vehicles exchange on this broker.
fn exchange(broker: &dyn TestBroker) {
    let Some(fleet) = Fleet::make(&Plan::default(), broker.address()) else { return };
    let _serve = fleet.serve();
    elect(&fleet);
}

/// Two vehicles exchange until both name the same best; both end well.
fn elect(fleet: &Fleet) {
    let vehicles = [fleet.start(0, &[]), fleet.start(1, &[])];
    let first = fleet.line(0, "a best", |line| line["best"].is_string());
    let other = fleet.line(1, "the other's line", |line| line["window"] == first["window"]);
    assert_eq!(first["best"], other["best"]);
    for vehicle in vehicles {
        assert_eq!(vehicle.terminate().code(), Some(0));
    }
    let mut claimed = false;
    for number in [0, 1] {
        let lines = fleet.windows(number);
        let some = |key: &str| lines.iter().any(|line| line[key] == true);
        assert!(some("took_part") && some("contributed"), "{lines:?}");
        claimed |= some("claimed");
        let crossed = |line: &Value| line["bytes_up"].as_u64() > Some(0);
        assert!(lines.iter().filter(|line| line["took_part"] == true).all(crossed), "{lines:?}");
    }
    assert!(claimed, "one folds in each window");
}

#[test]
fn two_vehicles_elect_one_best_over_mosquitto() {
    if let Some(broker) = Mosquitto::start("") {
        exchange(&broker);
    }
}

/// Policies tuned on what drivers did, measured by how near they are to attentive ones.
#[test]
fn two_policies_elect_one_best_by_imitation() {
    let broker = Embedded::start();
    let plan = Plan { carries: Carries::Policy, ..Plan::default() };
    let Some(fleet) = Fleet::make(&plan, broker.address()) else { return };
    let _serve = fleet.serve();
    elect(&fleet);
    // What stands in front of the report: the same measure, on frames that nobody tuned on.
    let out = fleet.path().join("report");
    let (path, out) = (fleet.path(), out.to_str().unwrap().to_owned());
    fleet.shoal(&["fleet", "report", path.to_str().unwrap(), "-o", &out]).unwrap();
    let result = std::fs::read(Path::new(&out).join("result.json")).unwrap();
    let result: Value = serde_json::from_slice(&result).unwrap();
    assert_eq!(result["metric"], "imitation");
    assert!(result["skill"]["swarm_best"].is_f64(), "{}", result["skill"]);
}

/// Whoever connects shows a certificate: vehicles, timekeeper. One without says which key is missing.
#[test]
fn two_vehicles_elect_one_best_over_tls() {
    let authority = Authority::new();
    let Some(broker) = authority.mosquitto() else { return };
    let url = format!("mqtts://localhost:{}", broker.address().port());
    let Some(fleet) = Fleet::make_at(&Plan::default(), &url) else { return };
    let mut without = fleet.start(0, &[]);
    assert_ne!(without.ended().code(), Some(0));
    assert!(without.said().contains("certificates/authority.pem"), "{}", without.said());

    let timekeeper = fleet.path().join("certificates");
    authority.sign("timekeeper", &timekeeper);
    for number in [0, 1] {
        authority.sign("vehicle", &fleet.vehicle_path(number).join("certificates"));
    }
    let _serve = fleet.serve_with(&["--certificates", timekeeper.to_str().unwrap()]);
    elect(&fleet);
}

/// A certificate for seconds, as others are for days: it ends while the vehicle runs, which is not let in any more, and is again by the
/// one that whoever renews them puts in its place, in two steps.
#[test]
fn a_certificate_that_ends_is_replaced_while_the_vehicle_runs() {
    let authority = Authority::new();
    let Some(broker) = authority.mosquitto() else { return };
    let url = format!("mqtts://localhost:{}", broker.address().port());
    let Some(fleet) = Fleet::make_at(&Plan::default(), &url) else { return };
    let timekeeper = fleet.path().join("certificates");
    authority.sign("timekeeper", &timekeeper);
    let _serve = fleet.serve_with(&["--certificates", timekeeper.to_str().unwrap()]);
    let folder = |number| fleet.vehicle_path(number).join("certificates");
    authority.sign("vehicle", &folder(0));
    authority.sign_until("vehicle", &folder(1), utc_seconds() + 20);
    let vehicles = [0, 1].map(|number| fleet.start(number, &[]));
    fleet.line(1, "a best", |line| line["best"].is_string());
    vehicles[1].says("the certificate is too old", 2);
    let taken_part = || {
        let lines = fleet.windows(1);
        lines.iter().filter(|line| line["took_part"] == true).count()
    };
    let renewed = fleet.path().join("renewed");
    authority.sign("vehicle", &renewed);
    std::fs::copy(renewed.join("certificate.pem"), folder(1).join("certificate.pem")).unwrap();
    vehicles[1].says("the certificates before are shown again", 1);
    let before = taken_part();
    std::fs::copy(renewed.join("key.pem"), folder(1).join("key.pem")).unwrap();
    until("windows again", || (taken_part() >= before + 2).then_some(()));
    for vehicle in vehicles {
        assert_eq!(vehicle.terminate().code(), Some(0));
    }
}

#[test]
fn two_vehicles_elect_one_best_over_the_embedded_broker() {
    exchange(&Embedded::start());
}

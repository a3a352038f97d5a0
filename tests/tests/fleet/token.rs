//! Keys in a token: SoftHSM, by its PKCS #11 module.

use shoal_tests::brokers::{Embedded, TestBroker};
use shoal_tests::clock::until;
use shoal_tests::fleet::{Fleet, Plan, shoal_with};
use shoal_tests::token::{Token, VARIABLE};

/// Windows of a vehicle that it claimed something in.
fn claimed(fleet: &Fleet, number: u32) -> usize {
    fleet.windows(number).iter().filter(|line| line["claimed"] == true).count()
}

#[test]
fn what_is_wrong_with_a_token_is_said() {
    let Some(token) = Token::make() else { return };
    let shoal = |args: &[&str]| shoal_with(&[(VARIABLE, token.variable())], args);
    let made = shoal(&["key", "make", &token.uri("one")]).unwrap();
    assert_eq!(shoal(&["key", "show", &token.uri("one")]).unwrap(), made);
    token.take_another_kind("p256", "02");
    let listed = shoal(&["key", "list", &token.uri_with("token=fleet", "pin")]).unwrap();
    let public = made.split_whitespace().last().unwrap();
    assert!(listed.lines().any(|line| line.contains("one") && line.contains(public)), "{listed}");
    assert!(listed.lines().any(|line| line.contains("p256")), "{listed}");
    let another = token.uri_with("token=another;object=one", "pin");
    let nameless = token.uri_with("token=fleet", "pin");
    let wrong = token.uri_with("token=fleet;object=one", "wrong");
    let no_pin = token.uri_with("token=fleet;object=one", "none");
    let module = "pkcs11:token=fleet;object=one?module-path=/none.so".to_owned();
    for (uri, said) in [
        (module, "no PKCS #11 module at /none.so"),
        (another, "no token as"),
        (wrong, "refuses the PIN"),
        (no_pin, "cannot read the PIN"),
        (token.uri("two"), "no private key as"),
        (token.uri("p256"), "is no Ed25519 key"),
        (nameless, "names no key"),
    ] {
        let refused = shoal(&["key", "show", &uri]).unwrap_err();
        assert!(refused.contains(said), "{uri}: {refused}");
    }
    let again = shoal(&["key", "make", &token.uri("one")]).unwrap_err();
    assert!(again.contains("it is not made again"), "{again}");
}

/// All keys of a fleet are in a token but one vehicle's. It is taken out while they run, and put back.
#[test]
fn a_fleet_signs_in_a_token_that_comes_and_goes() {
    let broker = Embedded::start();
    let Some(token) = Token::make() else { return };
    let Some(mut fleet) = Fleet::make(&Plan::default(), broker.address()) else { return };
    fleet.set(VARIABLE, token.variable());
    for (role, id) in [("authority", "01"), ("timekeeper", "02"), ("approver", "03")] {
        token.take(&fleet.path().join(format!("{role}.key")), role, id);
    }
    let file = fleet.vehicle_path(0).join("vehicle.key");
    token.take(&file, "vehicle-0", "04");
    std::fs::remove_file(&file).unwrap();
    fleet.tell(0, "key = \"vehicle.key\"", &format!("key = {:?}", token.uri("vehicle-0")));
    // The authority signs another plan, and, with the approver, roots with another timekeeper.
    fleet.plan(&["--period", "5", "--open", "4"]);
    fleet.shoal(&["key", "rotate", fleet.path().to_str().unwrap(), "timekeeper"]).unwrap();
    let mut serve = fleet.serve();
    let mut vehicles = [0, 1].map(|number| fleet.start(number, &[]));
    fleet.line(0, "a claim", |line| line["claimed"] == true);

    token.take_out();
    vehicles[0].says("the vehicle's key is not there", 1);
    let before = claimed(&fleet, 1);
    until("two windows more", || (claimed(&fleet, 1) >= before + 2).then_some(()));
    let without = claimed(&fleet, 0);
    assert!(vehicles[0].runs() && serve.runs(), "a token that is gone ends nothing");
    token.put_back();
    vehicles[0].says("nothing waits for the vehicle's key any more", 1);
    until("claims again", || (claimed(&fleet, 0) > without + 1).then_some(()));
    fleet.line(1, "a best", |line| line["best"].is_string());
    for vehicle in vehicles {
        assert_eq!(vehicle.terminate().code(), Some(0));
    }
}

/// A vehicle whose key is a file is given one that a token made: from then on, and after a start, it signs there.
#[test]
fn a_key_in_a_token_takes_the_place_of_a_file() {
    let broker = Embedded::start();
    let Some(token) = Token::make() else { return };
    let Some(mut fleet) = Fleet::make(&Plan::default(), broker.address()) else { return };
    fleet.set(VARIABLE, token.variable());
    let made = fleet.shoal(&["key", "make", &token.uri("vehicle-1")]).unwrap();
    let (id, public) =
        (made.split_whitespace().nth(1).unwrap(), made.split_whitespace().last().unwrap());
    let next = format!("next_key = {:?}\npack = ", token.uri("vehicle-1"));
    fleet.tell(1, "pack = ", &next);
    let _serve = fleet.serve();
    let vehicles = [0, 1].map(|number| fleet.start(number, &[]));
    fleet.line(1, "a claim", |line| line["claimed"] == true);
    fleet.rotate(1, public);
    vehicles[1].says(&format!("\"message\":\"started\",\"vehicle\":\"{id}\""), 1);
    let before = claimed(&fleet, 1);
    until("claims by the token", || (claimed(&fleet, 1) > before + 1).then_some(()));
    for vehicle in vehicles {
        assert_eq!(vehicle.terminate().code(), Some(0));
    }
    let again = fleet.start(1, &[]);
    again.says(&format!("\"message\":\"started\",\"vehicle\":\"{id}\""), 2);
}

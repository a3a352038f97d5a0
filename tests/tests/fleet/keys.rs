//! Keys in wrong hands: what one of them alone changes, and how another takes its place.

use shoal_tests::brokers::{Embedded, TestBroker};
use shoal_tests::clock::until;
use shoal_tests::fleet::{Fleet, Plan, Program, shoal};
use shoal_tests::publisher::Publisher;
use shoal_wire::v1::{Nonce, NonceFields, WindowPlan, WindowPlanFields};
use shoal_wire::{Body, Kind, Label, Leaf, SecretKey, Topic, seal};

/// Until when what is signed here counts, and a counter above all that were.
const FOR_LONG: u64 = 4_000_000_000;
const HIGH: u64 = 1 << 40;

fn sealed<'a, T: Body<'a>>(body: &T, key: &SecretKey) -> Vec<u8> {
    let mut buffer = vec![0; Kind::Document.envelope_bytes_max()];
    seal(body, HIGH, FOR_LONG, key, &mut buffer).unwrap().bytes().to_vec()
}

fn topic(fleet: &Fleet, key: &SecretKey, leaf: Leaf) -> String {
    let told = fleet.told(0);
    let (name, region) = (Label::new(&told.name).unwrap(), Label::new(&told.region).unwrap());
    Topic::new(name, region, key.public().id(), leaf).unwrap().text().to_string()
}

fn running(broker: &Embedded) -> Option<(Fleet, Program, Vec<Program>)> {
    let fleet = Fleet::make(&Plan::default(), broker.address())?;
    let serve = fleet.serve();
    let vehicles = (0..2).map(|number| fleet.start(number, &[])).collect();
    fleet.line(0, "a best", |line| line["best"].is_string());
    Some((fleet, serve, vehicles))
}

/// Two windows more, in which both vehicles take part.
fn goes_on(fleet: &Fleet) {
    for number in [0, 1] {
        let took_part = || {
            let lines = fleet.windows(number);
            lines.iter().filter(|line| line["took_part"] == true).count()
        };
        let before = took_part();
        until("two windows more", || (took_part() >= before + 2).then_some(()));
    }
}

/// A plan that the authority's key signed and no metadata name waits for ever.
#[test]
fn who_has_the_authoritys_key_alone_changes_no_plan() {
    let broker = Embedded::start();
    let Some((fleet, _serve, vehicles)) = running(&broker) else { return };
    let authority = shoal_keys::read(&fleet.path().join("authority.key")).unwrap();
    let thief = WindowPlanFields {
        epoch_seconds: 1,
        period_seconds: 1 << 30,
        open_seconds: 1,
        jitter_ms_max: 0,
        up_bytes_max: 1,
        down_bytes_max: 1,
    };
    let plan = sealed(&WindowPlan::new(thief).unwrap(), &authority);
    let mut publisher = Publisher::connect(broker.address());
    publisher.publish(&topic(&fleet, &authority, Leaf::Plan), &plan);
    goes_on(&fleet);
    assert!(vehicles[0].said().contains("a document waits"), "it was heard");
}

/// The timekeeper's key is stolen. A new root says that another one signs; vehicles follow it by themselves, and refuse the thief.
#[test]
fn a_stolen_timekeepers_key_is_replaced() {
    let broker = Embedded::start();
    let Some((fleet, serve, vehicles)) = running(&broker) else { return };
    let stolen = shoal_keys::read(&fleet.path().join("timekeeper.key")).unwrap();
    shoal(&["key", "rotate", fleet.path().to_str().unwrap(), "timekeeper"]).unwrap();
    serve.terminate();
    let _serve = fleet.serve();
    until("vehicles follow", || {
        let logs =
            [0, 1].map(|number| std::fs::read_to_string(fleet.vehicle_path(number).join("log")));
        let follow = |log: &String| log.contains("other keys sign from now on");
        logs.iter().all(|log| log.as_ref().is_ok_and(follow)).then_some(())
    });
    goes_on(&fleet);
    let window = fleet.windows(0).last().unwrap()["window"].as_u64().unwrap() as u32 + 1;
    let fields = NonceFields { window, nonce: [7; 32], utc_seconds: FOR_LONG };
    let nonce = sealed(&Nonce::new(fields).unwrap(), &stolen);
    let place = topic(&fleet, &stolen, Leaf::nonce(window));
    let mut publisher = Publisher::connect(broker.address());
    publisher.publish(&place, &nonce);
    goes_on(&fleet);
    // Nor does a vehicle that begins anew, with the roots of its first day, believe the thief.
    drop(vehicles);
    std::fs::remove_dir_all(fleet.vehicle_path(1).join("state")).unwrap();
    let again = [fleet.start(0, &[]), fleet.start(1, &[])];
    fleet.line(1, "a best", |line| line["best"].is_string());
    for vehicle in again {
        assert_eq!(vehicle.terminate().code(), Some(0));
    }
}

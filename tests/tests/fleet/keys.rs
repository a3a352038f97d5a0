//! Keys in wrong hands: what one of them alone changes, and how another takes its place.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use shoal_keys::KeyAt;
use shoal_tests::brokers::{Embedded, TestBroker};
use shoal_tests::clock::{until, utc_seconds};
use shoal_tests::fleet::{Fleet, Plan, Program, shoal, text};
use shoal_tests::invariants::{no_record_contradicts_another, no_window_is_counted_twice};
use shoal_tests::observer::Observer;
use shoal_tests::publisher::Publisher;
use shoal_vehicle::exchange::key::{Own, verified};
use shoal_wire::v1::{
    Activity, Claim, ClaimFields, Measured, Nonce, NonceFields, Presence, PresenceFields, Role,
    WindowPlan, WindowPlanFields,
};
use shoal_wire::{Body, Kind, Label, Leaf, PackHash, ParticleId, SecretKey, Topic, seal};

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

/// A plan by which nobody would ever meet again, signed by this key.
fn publish_a_thiefs_plan(broker: &Embedded, fleet: &Fleet, key: &SecretKey) {
    let thief = WindowPlanFields {
        epoch_seconds: 1,
        period_seconds: 1 << 30,
        open_seconds: 1,
        jitter_ms_max: 0,
        up_bytes_max: 1 << 20,
        down_bytes_max: 1 << 20,
    };
    let plan = sealed(&WindowPlan::new(thief).unwrap(), key);
    Publisher::connect(broker.address()).publish(&topic(fleet, key, Leaf::Plan), &plan);
}

/// A plan that the authority's key signed and no metadata name waits for ever.
#[test]
fn who_has_the_authoritys_key_alone_changes_no_plan() {
    let broker = Embedded::start();
    let Some((fleet, _serve, vehicles)) = running(&broker) else { return };
    let authority = shoal_keys::read(&fleet.path().join("authority.key")).unwrap();
    publish_a_thiefs_plan(&broker, &fleet, &authority);
    goes_on(&fleet);
    assert!(vehicles[0].said().contains("a document waits"), "it was heard");
}

/// A copy of a vehicle's key is used elsewhere: the vehicle says so, and goes on.
#[test]
fn a_vehicle_says_that_another_has_its_key() {
    let broker = Embedded::start();
    let Some((fleet, _serve, vehicles)) = running(&broker) else { return };
    let key = fleet.key(0);
    let presence = PresenceFields {
        window: None,
        activity: Activity::Parked,
        adapter: None,
        software: "a copy".try_into().unwrap(),
        up_bytes: 0,
        down_bytes: 0,
        terms: Default::default(),
        steps: 0,
    };
    let presence = Presence::new(presence).unwrap();
    let mut buffer = vec![0; Kind::Presence.envelope_bytes_max()];
    // Later than all that the vehicle signed.
    let sealed = seal(&presence, 1 << 60, FOR_LONG, &key, &mut buffer).unwrap();
    let place = topic(&fleet, &key, Leaf::Presence);
    Publisher::connect(broker.address()).publish(&place, sealed.bytes());
    vehicles[0].says("signed with this vehicle's key, and not by it", 1);
    goes_on(&fleet);
    assert!(!vehicles[1].said().contains("and not by it"));
}

/// Windows that the timekeeper does not begin, and a clock that is behind what it signed.
#[test]
fn a_vehicle_says_that_its_clock_is_not_the_fleets() {
    let broker = Embedded::start();
    let Some((fleet, serve, vehicles)) = running(&broker) else { return };
    serve.terminate();
    vehicles[0].says("no nonce of this window came", 1);
    assert!(!vehicles[0].said().contains("is behind what the fleet signed"));
    let timekeeper = shoal_keys::read(&fleet.path().join("timekeeper.key")).unwrap();
    let window = fleet.windows(0).last().unwrap()["window"].as_u64().unwrap() as u32 + 1;
    let mut publisher = Publisher::connect(broker.address());
    let mut sign = |window, utc_seconds| {
        let nonce = Nonce::new(NonceFields { window, nonce: [7; 32], utc_seconds }).unwrap();
        let place = topic(&fleet, &timekeeper, Leaf::nonce(window));
        publisher.publish(&place, &sealed(&nonce, &timekeeper));
    };
    // Who has the timekeeper's key alone puts no clock ahead of the plan.
    sign(window, FOR_LONG - 1);
    vehicles[0].says("no time is taken from it", 1);
    assert!(!vehicles[0].said().contains("is behind what the fleet signed"));
    sign(window + 1_000_000, utc_seconds() + 3600);
    vehicles[0].says("is behind what the fleet signed", 1);
}

/// The timekeeper's key is stolen, and puts every clock a month ahead: no window opens any more. A new root says that another one
/// signs; vehicles follow it by themselves, forget what the thief said of the time, and refuse the thief.
#[test]
fn a_stolen_timekeepers_key_is_replaced() {
    let broker = Embedded::start();
    let Some((fleet, serve, vehicles)) = running(&broker) else { return };
    let stolen = shoal_keys::read(&fleet.path().join("timekeeper.key")).unwrap();
    let path = fleet.path();
    let rotate = ["key", "rotate", text(&path), "timekeeper"];
    // It would go on signing with the stolen key, in the folder that the next one reads.
    let refused = shoal(&rotate).unwrap_err();
    assert!(refused.contains("end `shoal fleet serve` first"), "{refused}");
    serve.terminate();
    let window = fleet.windows(0).last().unwrap()["window"].as_u64().unwrap() as u32 + 1_000_000;
    let utc_seconds = utc_seconds() + 30 * 24 * 3600;
    let far = Nonce::new(NonceFields { window, nonce: [7; 32], utc_seconds }).unwrap();
    let place = topic(&fleet, &stolen, Leaf::nonce(window));
    Publisher::connect(broker.address()).publish(&place, &sealed(&far, &stolen));
    for vehicle in &vehicles {
        vehicle.says("is behind what the fleet signed", 1);
    }
    shoal(&rotate).unwrap();
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

/// The authority's key is stolen, and gone. Two others say that another one signs; what it signed is signed again, vehicles follow by
/// themselves, and refuse the thief.
#[test]
fn a_lost_authoritys_key_is_replaced_by_two_others() {
    let broker = Embedded::start();
    let Some((fleet, serve, vehicles)) = running(&broker) else { return };
    let folder = fleet.path();
    let path = folder.to_str().unwrap();
    let stolen = shoal_keys::read(&fleet.path().join("authority.key")).unwrap();
    std::fs::remove_file(fleet.path().join("authority.key")).unwrap();
    let locked = fleet.path().join("recovery.key");
    std::fs::rename(&locked, fleet.path().join("locked away")).unwrap();
    let alone = shoal(&["key", "rotate", path, "authority"]).unwrap_err();
    assert!(alone.contains("there is 1 of them"), "{alone}");
    std::fs::rename(fleet.path().join("locked away"), &locked).unwrap();
    shoal(&["key", "rotate", path, "authority"]).unwrap();
    serve.terminate();
    let serve = fleet.serve();
    for vehicle in &vehicles {
        vehicle.says("other keys sign from now on", 1);
    }
    goes_on(&fleet);
    // A plan of the thief's is none.
    publish_a_thiefs_plan(&broker, &fleet, &stolen);
    goes_on(&fleet);
    // Who was off meanwhile, and knows the roots of its first day alone, follows as well; so does who comes back from a cut.
    drop(vehicles);
    std::fs::remove_dir_all(fleet.vehicle_path(1).join("state")).unwrap();
    let again = [fleet.start(0, &[]), fleet.start(1, &[])];
    goes_on(&fleet);
    // And the new authority is replaced in its turn, with its key at hand and the third person's locked away.
    std::fs::remove_file(&locked).unwrap();
    shoal(&["key", "rotate", path, "authority"]).unwrap();
    serve.terminate();
    let _serve = fleet.serve();
    for vehicle in &again {
        vehicle.says("other keys sign from now on", 1);
    }
    goes_on(&fleet);
    no_window_is_counted_twice(&fleet, 0);
    for vehicle in again {
        assert_eq!(vehicle.terminate().code(), Some(0));
    }
}

/// A vehicle makes its next key, the authority's roster names it: the vehicle goes on under it, with all that it learned, and nobody
/// refuses anything.
#[test]
fn a_vehicles_key_is_replaced_while_it_runs() {
    let broker = Embedded::start();
    let Some((fleet, _serve, vehicles)) = running(&broker) else { return };
    let observer = Observer::start(&fleet.told(0));
    let before = fleet.key(1).public();
    let public = fleet.next_key(1);
    assert_eq!(fleet.next_key(1), public, "it is made once");
    fleet.rotate(1, &public);
    vehicles[1].says("the roster names the next key", 1);
    vehicles[1].says("\"message\":\"joined\"", 2);
    let after = fleet.key(1).public();
    assert_eq!(after.bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>(), public);
    assert!(!fleet.vehicle_path(1).join("vehicle.key.next").exists());
    goes_on(&fleet);
    let claims = format!("/claim/{}/", after.id());
    until("claims under the next key", || {
        observer.seen().iter().any(|(topic, _bytes)| topic.contains(&claims)).then_some(())
    });
    let window = fleet.windows(0).last().unwrap()["window"].as_u64().unwrap();
    let elected = |line: &serde_json::Value| {
        line["window"].as_u64() > Some(window) && line["best"].is_string()
    };
    fleet.line(0, "a best, after", elected);
    fleet.line(1, "a best, after", elected);
    no_window_is_counted_twice(&fleet, 1);
    assert!(no_record_contradicts_another(&fleet, 1, &observer) > 0, "it said something");
    let refused = |number| {
        let lines = fleet.windows(number);
        lines.iter().any(|line| line["rejected"]["unknown_key"].as_u64() > Some(0))
    };
    assert!(!refused(0) && !refused(1), "{} was and {} is known", before.id(), after.id());
    // From its next start on it has the key that it has now.
    for vehicle in vehicles {
        assert_eq!(vehicle.terminate().code(), Some(0));
    }
    let vehicle = fleet.start(1, &[]);
    vehicle.says(&format!("\"message\":\"started\",\"vehicle\":\"{}\"", after.id()), 1);
    vehicle.says("\"message\":\"joined\"", 3);
}

/// Whoever laid the next key there left it open to others. The vehicle says so, and goes on under it once that is mended.
#[test]
fn a_next_key_that_cannot_be_opened_is_tried_again() {
    let broker = Embedded::start();
    let Some((fleet, _serve, vehicles)) = running(&broker) else { return };
    let public = fleet.next_key(1);
    let next = fleet.vehicle_path(1).join("vehicle.key.next");
    let open_to = |mode| fs::set_permissions(&next, fs::Permissions::from_mode(mode)).unwrap();
    open_to(0o644);
    fleet.rotate(1, &public);
    vehicles[1].says("the next one cannot be opened", 1);
    let said = vehicles[1].said();
    assert!(said.contains(&format!("chmod 600 {}", next.display())), "{said}");
    open_to(0o600);
    vehicles[1].says("the roster names the next key", 1);
    vehicles[1].says("\"message\":\"joined\"", 2);
    assert_eq!(vehicles[1].said().matches("the next one cannot be opened").count(), 1);
    goes_on(&fleet);
}

/// A plan counts for a year, and no window opens after it: a vehicle asks for the next one all the same.
#[test]
fn a_vehicle_whose_plan_has_ended_hears_of_a_newer_one() {
    let broker = Embedded::start();
    let Some(fleet) = Fleet::make(&Plan::default(), broker.address()) else { return };
    let (path, authority) = (fleet.path(), fleet.told(0).authority);
    let file = path.join("documents/plan.shl");
    let signed = fs::read(&file).unwrap();
    let plan = verified::<WindowPlan>(&signed, &Own(authority)).unwrap();
    let key = shoal_keys::read(&path.join("authority.key")).unwrap();
    let mut buffer = vec![0; Kind::WindowPlan.envelope_bytes_max()];
    let ends = utc_seconds() + 30;
    let sealed = seal(plan.body(), HIGH, ends, &key, &mut buffer).unwrap();
    fs::write(&file, sealed.bytes()).unwrap();
    // What the roster says already is named again by metadata, and with it the plan.
    let public = fleet.key(1).public();
    fleet.rotate(1, &public.bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let serve = fleet.serve();
    let vehicles: Vec<_> = (0..2).map(|number| fleet.start(number, &[])).collect();
    for vehicle in &vehicles {
        vehicle.says("the window plan counts no more", 1);
    }
    assert!(serve.said().contains("--renew"), "{}", serve.said());
    shoal(&["fleet", "plan", text(&path), "--renew"]).unwrap();
    goes_on(&fleet);
}

/// A roster without a vehicle: the others refuse what it says, and elect without it.
#[test]
fn a_revoked_vehicle_is_heard_no_more() {
    let broker = Embedded::start();
    let plan = Plan { vehicles: 3, ..Plan::default() };
    let Some(fleet) = Fleet::make(&plan, broker.address()) else { return };
    let _serve = fleet.serve();
    let vehicles = [0, 1, 2].map(|number| fleet.start(number, &[]));
    fleet.line(0, "a best", |line| line["best"].is_string());
    shoal(&["fleet", "revoke", fleet.path().to_str().unwrap(), "1"]).unwrap();
    vehicles[1].says("nobody hears it", 1);
    // Whoever has its key says something with it, window after window.
    let key = fleet.key(1);
    let place = topic(&fleet, &key, Leaf::Claim { slot: 0 });
    let mut publisher = Publisher::connect(broker.address());
    let before = fleet.windows(0).last().unwrap()["window"].as_u64().unwrap() as u32;
    let fields = |window| ClaimFields {
        window,
        slot: 0,
        particle: ParticleId::new([1; 32]),
        role: Role::Best,
        pack: PackHash::new([1; 32]),
        part: 0,
        utility_version: 1,
        terms: [Measured { value: 9_000, standard_error: 1 }].into_iter().collect(),
    };
    for window in before..before + 4 {
        publisher.publish(&place, &sealed(&Claim::new(fields(window)).unwrap(), &key));
        until("the next window", || {
            fleet.windows(0).iter().any(|line| line["window"] == window + 1).then_some(())
        });
    }
    let unknown = |line: &serde_json::Value| line["rejected"]["unknown_key"].as_u64() > Some(0);
    let refused = fleet.line(0, "a refusal", unknown);
    fleet.line(2, "a refusal", unknown);
    let after = |line: &serde_json::Value| {
        line["window"].as_u64() > refused["window"].as_u64().map(|window| window + 1)
            && line["took_part"] == true
            && line["best"].is_string()
    };
    let (one, other) = (fleet.line(0, "a best", after), fleet.line(2, "a best", after));
    assert!(one["window"].as_u64() > refused["window"].as_u64() && other["best"].is_string());
    let again = shoal(&["fleet", "revoke", fleet.path().to_str().unwrap(), "1"]).unwrap_err();
    assert!(again.contains("nobody's already"), "{again}");
    for vehicle in vehicles {
        assert_eq!(vehicle.terminate().code(), Some(0));
    }
}

/// Another program, in another place: the key is the same, and its counters go on.
#[test]
fn an_upgrade_touches_no_identity() {
    let broker = Embedded::start();
    let Some((fleet, _serve, mut vehicles)) = running(&broker) else { return };
    let observer = Observer::start(&fleet.told(0));
    let key = std::fs::read(fleet.vehicle_path(1).join("vehicle.key")).unwrap();
    assert_eq!(vehicles.remove(1).terminate().code(), Some(0));
    let upgraded = fleet.start_upgraded(1);
    upgraded.says("\"message\":\"joined\"", 2);
    goes_on(&fleet);
    assert_eq!(upgraded.terminate().code(), Some(0));
    assert_eq!(std::fs::read(fleet.vehicle_path(1).join("vehicle.key")).unwrap(), key);
    assert!(no_record_contradicts_another(&fleet, 1, &observer) > 0, "it said something");
}

/// A new image that cannot read what the vehicle will need once it is parked must not be taken for a good one.
#[test]
fn who_cannot_read_its_key_or_its_pack_does_not_say_that_it_is_up() {
    let broker = Embedded::start();
    let Some(fleet) = Fleet::make(&Plan::default(), broker.address()) else { return };
    let ready = fleet.path().join("ready");
    let up = |ready: &Path| ready.exists().then_some(());
    let refuses = |said: &str| {
        let mut vehicle = fleet.start(0, &["--ready", text(&ready)]);
        assert!(!vehicle.ended().success());
        assert!(vehicle.said().contains(said), "{}", vehicle.said());
        assert_eq!(up(&ready), None);
    };
    let KeyAt::File(key) = fleet.told(0).key else { panic!("its key is a file") };
    let away = key.with_extension("away");
    fs::rename(&key, &away).unwrap();
    refuses(text(&key));
    fs::rename(&away, &key).unwrap();

    let part = fleet.told(0).packs[0].join("part-0.bin");
    let whole = fs::read(&part).unwrap();
    fs::write(&part, &whole[..whole.len() - 2]).unwrap();
    refuses("fetch it again");
    fs::write(&part, &whole).unwrap();

    let vehicle = fleet.start(0, &["--ready", text(&ready)]);
    until("it is up", || up(&ready));
    vehicle.terminate();
}

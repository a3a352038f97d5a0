//! Links with certificates: both ends show one.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use shoal_link::{Broker as _, CertificatesError, Event, Settings, Subscription, Tls, Why};
use shoal_tests::brokers::{Mosquitto, TestBroker};
use shoal_tests::certificates::Authority;
use shoal_tests::clock::utc_seconds;
use shoal_tests::manual::{NAMED, access_rules, manual};
use shoal_tests::publisher::Publisher;
use shoal_tests::relay::{Relay, Way};
use shoal_wire::{KeyId, Label, Leaf, Topic};
use tempfile::TempDir;

use crate::party::{Party, key, settings};

/// Certificate and key of a vehicle that this authority signed.
fn vehicle(authority: &Authority) -> Tls {
    let folder = TempDir::new().unwrap();
    authority.sign("vehicle", folder.path());
    Tls::read(folder.path()).unwrap()
}

fn encrypted(broker: &Mosquitto, tls: Tls) -> Settings {
    let mut settings = settings(broker.address(), 1);
    settings.brokers[0].host = "localhost".to_owned();
    settings.brokers[0].tls = true;
    settings.tls = Some(tls);
    settings
}

#[test]
fn a_vehicle_with_a_certificate_is_let_in() {
    let authority = Authority::new();
    let Some(broker) = authority.mosquitto() else { return };
    let mut party = Party::connected(encrypted(&broker, vehicle(&authority)));
    let ticket = party.publish_presence(1, 1);
    party.wait_published(&[ticket]);
    party.watch_all();
    party.message();
}

/// Eavesdrop: who sits on the line reads neither who speaks, nor where, nor that it is MQTT; without TLS, all of it.
#[test]
fn eavesdrop() {
    let authority = Authority::new();
    let (Some(open), Some(closed)) = (Mosquitto::start(""), authority.mosquitto()) else { return };
    let topic = crate::party::topic(1, Leaf::Presence).to_string();
    let vehicle_id = key(1).public().id().to_string();
    for (broker, tls) in [(&open, None), (&closed, Some(vehicle(&authority)))] {
        for words in [topic.as_bytes(), vehicle_id.as_bytes(), b"MQTT"] {
            let relay = Relay::to(broker.address());
            relay.cut_at(Way::Up, words, 1);
            let mut through = settings(relay.address(), 1);
            if let Some(tls) = &tls {
                through.brokers[0].host = "localhost".to_owned();
                through.brokers[0].tls = true;
                through.tls = Some(tls.clone());
            }
            let mut party = Party::open(through);
            let ticket = party.publish_presence(1, 1);
            party.wait_published(&[ticket]);
            let (read, text) = (relay.cuts(), String::from_utf8_lossy(words));
            assert_eq!(read, u64::from(tls.is_none()), "`{text}`, TLS {}", tls.is_some());
            assert!(relay.passed().up > 100, "the line carried it");
        }
    }
}

/// Bytes are those of MQTT: the same as without TLS.
#[test]
fn tls_is_not_counted() {
    let authority = Authority::new();
    let (Some(open), Some(closed)) = (Mosquitto::start(""), authority.mosquitto()) else { return };
    let used =
        [settings(open.address(), 1), encrypted(&closed, vehicle(&authority))].map(|settings| {
            let mut party = Party::connected(settings);
            let ticket = party.publish_presence(1, 1);
            party.wait_published(&[ticket]);
            party.link.close()
        });
    assert_eq!(used[0], used[1]);
}

#[test]
fn a_vehicle_of_another_authority_is_not_let_in() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let Some(broker) = ours.mosquitto() else { return };
    let mut tls = vehicle(&theirs);
    tls.authority_pem = ours.pem().into_bytes();
    let mut party = Party::open(encrypted(&broker, tls));
    for _ in 0..3 {
        assert!(matches!(party.next(), Event::Disconnected { .. }));
    }
}

/// Who shows a certificate that has ended is not let in; the file says until when it counts.
#[test]
fn a_certificate_that_has_ended_lets_nobody_in() {
    let authority = Authority::new();
    let Some(broker) = authority.mosquitto() else { return };
    let folder = TempDir::new().unwrap();
    let ended = utc_seconds() - 60;
    authority.sign_until("vehicle", folder.path(), ended);
    let tls = Tls::read(folder.path()).unwrap();
    assert_eq!(tls.ends_seconds(), Some(ended));
    let mut party = Party::open(encrypted(&broker, tls));
    for _ in 0..3 {
        assert!(matches!(party.next(), Event::Disconnected { .. }));
    }
    authority.sign_until("vehicle", folder.path(), ended + 3_600);
    Party::connected(encrypted(&broker, Tls::read(folder.path()).unwrap()));
}

#[test]
fn a_broker_of_another_authority_is_not_believed() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let Some(broker) = theirs.mosquitto() else { return };
    let mut party = Party::open(encrypted(&broker, vehicle(&ours)));
    let event = party.next();
    assert!(matches!(event, Event::Disconnected { why: Why::Tls(_), .. }), "{event:?}");
}

#[test]
fn what_is_missing_or_no_certificate_is_named() {
    let folder = TempDir::new().unwrap();
    let plain = settings("127.0.0.1:1".parse().unwrap(), 1);
    assert_eq!(
        plain.clone().with_certificates(None).unwrap(),
        plain,
        "without TLS none are needed"
    );
    let mut encrypted = plain;
    encrypted.brokers[0].tls = true;
    let none = encrypted.clone().with_certificates(None).unwrap_err();
    assert!(none.to_string().contains("certificate.pem"), "{none}");
    let missing = encrypted.clone().with_certificates(Some(folder.path())).unwrap_err();
    assert!(missing.to_string().ends_with("authority.pem"), "{missing}");
    Authority::new().sign("vehicle", folder.path());
    assert!(encrypted.clone().with_certificates(Some(folder.path())).unwrap().tls.is_some());
    fs::write(folder.path().join("key.pem"), "no key").unwrap();
    let unfit = encrypted.with_certificates(Some(folder.path())).unwrap_err();
    assert!(matches!(unfit, CertificatesError::Unfit { .. }), "{unfit}");
}

/// What stands on a broker comes sooner.
const QUIET: Duration = Duration::from_millis(500);

/// One of each kind of topic.
const LEAVES: [Leaf; 14] = [
    Leaf::Claim { slot: 0 },
    Leaf::Vote { window: 1, place: 2 },
    Leaf::Particle { slot: 3 },
    Leaf::Chunk { slot: 3, index: 4 },
    Leaf::Presence,
    Leaf::Nonce { window: 5 },
    Leaf::Plan,
    Leaf::Roster,
    Leaf::RosterPage { index: 6 },
    Leaf::Utility,
    Leaf::Swarm,
    Leaf::Refusal { slot: 5 },
    Leaf::Document { slot: 31 },
    Leaf::Beacon { window: 1, index: 7 },
];

/// Under another's name a thief would put it off the line, and a clean session would forget what waits for it.
#[test]
fn a_stolen_identity_puts_nobody_else_off_the_line() {
    assert!(manual().contains(NAMED));
    let authority = Authority::new();
    let Some(broker) = authority.mosquitto_with(NAMED) else { return };
    let folder = TempDir::new().unwrap();
    let [stolen, other] = [1, 2].map(|number| key(number).public().id());
    let connect = |whose: KeyId| {
        let certificates = folder.path().join(whose.to_string());
        authority.sign(&whose.to_string(), &certificates);
        let mut settings = encrypted(&broker, Tls::read(&certificates).unwrap());
        settings.client_id = other.to_string();
        Party::connected(settings)
    };
    let mut vehicle = connect(other);
    let _thief = connect(stolen);
    let ticket = vehicle.publish_presence(2, 1);
    vehicle.wait_published(&[ticket]);
    while let Some(event) = vehicle.link.next(QUIET) {
        assert!(!matches!(event, Event::Disconnected { .. }), "{event:?}");
    }
}

/// What vehicles say.
fn is_said_by_vehicles(leaf: Leaf) -> bool {
    use Leaf::{Chunk, Claim, Particle, Presence, Refusal, Vote};
    matches!(
        leaf,
        Claim { .. } | Vote { .. } | Particle { .. } | Chunk { .. } | Presence | Refusal { .. }
    )
}

/// The fleet's only region, and one that somebody has invented.
const REGIONS: [&str; 2] = ["region-0", "region-1"];

/// The topics of these leaves of a publisher, in each of these regions of a fleet.
fn topics(
    (fleet, regions): (&'static str, &[&'static str]),
    whose: KeyId,
    which: fn(Leaf) -> bool,
) -> Vec<String> {
    let fleet = Label::new(fleet).unwrap();
    let of = |region: &&'static str| {
        let region = Label::new(region).unwrap();
        let topic = |leaf| Topic::new(fleet, region, whose, leaf).unwrap().to_string();
        LEAVES.into_iter().filter(|leaf| which(*leaf)).map(topic).collect::<Vec<_>>()
    };
    regions.iter().flat_map(of).collect()
}

/// A thief with a vehicle's certificate tries every topic, of everybody, in the fleet's region and in one that it invents, here and in
/// another fleet: only what vehicles say, only below the vehicle's own id, and only in the fleet's region, comes to stand. The timekeeper
/// writes what the authority signed, and nobody else's; a beacon what it passes on.
#[test]
fn a_stolen_identity_writes_below_its_own_id_alone() {
    let authority = Authority::new();
    let folder = TempDir::new().unwrap();
    let [stolen, other, timekeeper, authoritys, beacon] =
        [1, 2, 3, 4, 5].map(|number| key(number).public().id());
    let rules = folder.path().join("shoal.acl");
    fs::write(&rules, access_rules(authoritys, timekeeper, beacon)).unwrap();
    let options = format!("{NAMED}\nacl_file {}", rules.display());
    let Some(broker) = authority.mosquitto_with(&options) else { return };
    let everybody = [stolen, other, timekeeper, authoritys, beacon];
    let tried: Vec<String> = ["trial", "other"]
        .into_iter()
        .flat_map(|fleet| everybody.map(|whose| topics((fleet, &REGIONS), whose, |_any| true)))
        .flatten()
        .collect();
    for writer in [stolen, timekeeper, beacon] {
        let certificates = folder.path().join(writer.to_string());
        authority.sign(&writer.to_string(), &certificates);
        let mut thief = Publisher::connect_with(broker.address(), &certificates);
        for topic in &tried {
            // Mosquitto acknowledges what it does not take.
            thief.publish(topic, b"stolen");
        }
    }

    let vehicle = folder.path().join("reader");
    authority.sign(&other.to_string(), &vehicle);
    let reader = Party::connected(encrypted(&broker, Tls::read(&vehicle).unwrap()));
    let here = ("trial", &REGIONS[..1]);
    let may = [
        topics(here, stolen, is_said_by_vehicles),
        topics(here, timekeeper, |leaf| {
            let own = matches!(leaf, Leaf::Nonce { .. } | Leaf::Document { .. });
            own || is_said_by_vehicles(leaf)
        }),
        topics(here, authoritys, |_any| true),
        topics(here, beacon, |leaf| {
            matches!(leaf, Leaf::Beacon { .. }) || is_said_by_vehicles(leaf)
        }),
    ];
    nothing_else_stands(reader, &may.into_iter().flatten().collect());
}

/// On the broker of this reader just these topics stand.
fn nothing_else_stands(mut reader: Party, may: &BTreeSet<String>) {
    reader.link.subscribe(Subscription::Standing { filter: "shoal/1/#", acknowledged: true });
    let mut stands = BTreeSet::new();
    while stands.len() < may.len() {
        stands.insert(reader.message().topic);
    }
    assert_eq!(stands, *may);
    // All that stands there comes at once: nothing else does.
    while let Some(event) = reader.link.next(QUIET) {
        assert!(!matches!(event, Event::Message(_)), "{event:?}");
    }
}

/// When the authority's key is replaced the timekeeper goes on writing what the old one signed, and writes what the new one does: the
/// rules name both, as the manual says.
#[test]
fn what_a_new_authority_signed_comes_to_stand_where_the_rules_name_it_beside_the_old_one() {
    assert!(manual().contains("both, the old one and the new, stand in them"));
    let authority = Authority::new();
    let folder = TempDir::new().unwrap();
    let [reader, timekeeper, before, after, beacon] =
        [1, 2, 3, 4, 5].map(|number| key(number).public().id());
    let rules = [before, after].map(|authoritys| access_rules(authoritys, timekeeper, beacon));
    let here = ("trial", &REGIONS[..1]);
    let stand = |rules: &str, may: &[KeyId]| {
        let file = folder.path().join("shoal.acl");
        fs::write(&file, rules).unwrap();
        let options = format!("{NAMED}\nacl_file {}", file.display());
        let Some(broker) = authority.mosquitto_with(&options) else { return };
        let certificates = |whose: KeyId| {
            let certificates = folder.path().join(whose.to_string());
            authority.sign(&whose.to_string(), &certificates);
            certificates
        };
        let mut writer = Publisher::connect_with(broker.address(), &certificates(timekeeper));
        for topic in [before, after].iter().flat_map(|whose| topics(here, *whose, |_any| true)) {
            writer.publish(&topic, b"signed");
        }
        let tls = Tls::read(&certificates(reader)).unwrap();
        let reader = Party::connected(encrypted(&broker, tls));
        let may = may.iter().flat_map(|whose| topics(here, *whose, |_any| true));
        nothing_else_stands(reader, &may.collect());
    };
    stand(&rules[0], &[before]);
    stand(&rules.concat(), &[before, after]);
}

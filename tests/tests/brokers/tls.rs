//! Links with certificates: both ends show one.

use std::fs;

use shoal_link::{Broker as _, CertificatesError, Event, Settings, Tls, Why};
use shoal_tests::brokers::{Mosquitto, TestBroker};
use shoal_tests::certificates::Authority;
use tempfile::TempDir;

use crate::party::{Party, settings};

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

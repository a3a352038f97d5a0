//! Links with certificates: both ends show one.

use std::fs;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use shoal_link::{Event, Settings, Tls, Why};
use shoal_tests::brokers::{Mosquitto, TestBroker};
use tempfile::TempDir;

use crate::party::{Party, settings};

/// An authority, and what it signed.
struct Certificates {
    folder: TempDir,
    vehicle: Tls,
}

/// A subject of its own: an issuer of the same name would be the certificate itself.
fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Certificate and key for this name, as PEM.
fn signed(by: &CertifiedIssuer<'_, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    (params(name).signed_by(&key, by).unwrap().pem(), key.serialize_pem())
}

fn certificates() -> Certificates {
    let authority = authority("authority");
    let (broker, broker_key) = signed(&authority, "localhost");
    let (vehicle, vehicle_key) = signed(&authority, "vehicle");
    let folder = TempDir::new().unwrap();
    for (name, text) in [("ca", &authority.pem()), ("cert", &broker), ("key", &broker_key)] {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let vehicle = Tls {
        authority_pem: authority.pem().into_bytes(),
        certificates_pem: vehicle.into_bytes(),
        key_pem: vehicle_key.into_bytes(),
    };
    Certificates { folder, vehicle }
}

fn mosquitto(certificates: &Certificates) -> Option<Mosquitto> {
    let folder = certificates.folder.path().display();
    Mosquitto::start(&format!(
        "cafile {folder}/ca\ncertfile {folder}/cert\nkeyfile {folder}/key\nrequire_certificate true"
    ))
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
    let certificates = certificates();
    let Some(broker) = mosquitto(&certificates) else { return };
    let mut party = Party::connected(encrypted(&broker, certificates.vehicle.clone()));
    let ticket = party.publish_presence(1, 1);
    party.wait_published(&[ticket]);
    party.watch_all();
    party.message();
}

/// Bytes are those of MQTT: the same as without TLS.
#[test]
fn tls_is_not_counted() {
    let certificates = certificates();
    let (Some(open), Some(closed)) = (Mosquitto::start(""), mosquitto(&certificates)) else {
        return;
    };
    let used = [settings(open.address(), 1), encrypted(&closed, certificates.vehicle.clone())].map(
        |settings| {
            let mut party = Party::connected(settings);
            let ticket = party.publish_presence(1, 1);
            party.wait_published(&[ticket]);
            party.link.close()
        },
    );
    assert_eq!(used[0], used[1]);
}

#[test]
fn a_vehicle_of_another_authority_is_not_let_in() {
    let (ours, theirs) = (certificates(), certificates());
    let Some(broker) = mosquitto(&ours) else { return };
    let mut tls = theirs.vehicle.clone();
    tls.authority_pem = ours.vehicle.authority_pem.clone();
    let mut party = Party::open(encrypted(&broker, tls));
    for _ in 0..3 {
        assert!(matches!(party.next(), Event::Disconnected { .. }));
    }
}

#[test]
fn a_broker_of_another_authority_is_not_believed() {
    let (ours, theirs) = (certificates(), certificates());
    let Some(broker) = mosquitto(&theirs) else { return };
    let mut party = Party::open(encrypted(&broker, ours.vehicle.clone()));
    let event = party.next();
    assert!(matches!(event, Event::Disconnected { why: Why::Tls(_), .. }), "{event:?}");
}

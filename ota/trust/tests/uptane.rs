//! The attacks that Uptane names, on metadata and on what they name, one test each.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;

use shoal_trust::author::{self, Roles};
use shoal_trust::{
    Map, Metadata, ROOTS, RejectMap, RejectTarget, Target, Trust, Why, document_name,
};
use shoal_wire::SecretKey;

/// Some time after which metadata end.
const DAY_S: u64 = 86_400;
const NOW_S: u64 = 1_800_000_000;

const MAP: &str = r#"{"repositories":{"image":[],"region-0":[]},
    "mapping":[{"paths":["*"],"repositories":["image","region-0"],"threshold":2,"terminating":true}]}"#;

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32])
}

const AUTHORITY: u8 = 1;
const TIMEKEEPER: u8 = 2;
const APPROVER: u8 = 3;
const THIEF: u8 = 9;

/// Two repositories of a fleet, as who signs them has them.
struct Fleet {
    authority: u8,
    timekeeper: u8,
    /// By repository.
    names: BTreeMap<&'static str, BTreeMap<String, Target>>,
    version: u64,
    ends_s: u64,
}

impl Fleet {
    fn new() -> Self {
        let names = BTreeMap::from([("image", BTreeMap::new()), ("region-0", BTreeMap::new())]);
        let (authority, timekeeper) = (AUTHORITY, TIMEKEEPER);
        Fleet { authority, timekeeper, names, version: 1, ends_s: NOW_S + DAY_S }
    }

    fn roles(&self, repository: &str) -> Roles {
        let image = repository == "image";
        Roles {
            root: (vec![key(AUTHORITY).public(), key(APPROVER).public()], 2),
            targets: key(if image { self.authority } else { self.timekeeper }).public(),
            timestamp: key(self.timekeeper).public(),
        }
    }

    fn root(&self, repository: &str, version: u64) -> String {
        let (authority, approver) = (key(AUTHORITY), key(APPROVER));
        author::root(
            version,
            NOW_S + 1000 * DAY_S,
            &self.roles(repository),
            &[&authority, &approver],
        )
        .unwrap()
    }

    /// A vehicle's folder, and what it trusts.
    fn trust(&self, folder: &Path) -> Trust {
        std::fs::write(folder.join("map.json"), MAP).unwrap();
        for name in self.names.keys() {
            let path = folder.join(format!("{name}.root.json"));
            std::fs::write(path, self.root(name, 1)).unwrap();
        }
        Trust::open(folder).unwrap()
    }

    /// What both repositories say: a file of this name and content counts.
    fn add(&mut self, name: &str, bytes: &[u8]) {
        for names in self.names.values_mut() {
            names.insert(name.to_owned(), Target::of(bytes));
        }
    }

    fn metadata(&self, repository: &str) -> Metadata {
        let image = repository == "image";
        let signer = key(if image { self.authority } else { self.timekeeper });
        let (version, names) = (self.version, &self.names[repository]);
        let targets = author::targets(version, NOW_S + 100 * DAY_S, names, &signer).unwrap();
        let timekeeper = key(self.timekeeper);
        author::metadata(version, self.ends_s, (targets, version), &timekeeper).unwrap()
    }

    fn tell(&self, trust: &mut Trust, now_s: u64) -> Result<bool, Why> {
        let mut new = false;
        for name in self.names.keys() {
            new |= give(trust, name, &self.metadata(name), now_s)?;
        }
        Ok(new)
    }
}

fn give(trust: &mut Trust, name: &str, metadata: &Metadata, now_s: u64) -> Result<bool, Why> {
    let bytes = serde_json::to_vec(metadata).unwrap();
    trust.take(&document_name(name), &bytes, now_s).map_err(|reject| reject.why)
}

fn with(test: impl FnOnce(Fleet, Trust)) {
    let folder = tempfile::tempdir().unwrap();
    let fleet = Fleet::new();
    let trust = fleet.trust(folder.path());
    test(fleet, trust);
}

#[test]
fn what_both_repositories_name_counts_and_nothing_else() {
    with(|mut fleet, mut trust| {
        fleet.add("documents/plan", b"a plan");
        assert_eq!(fleet.tell(&mut trust, NOW_S), Ok(true));
        assert_eq!(fleet.tell(&mut trust, NOW_S), Ok(false));
        assert_eq!(trust.check("documents/plan", b"a plan"), Ok(()));
        let other = trust.check("documents/plan", b"b plan");
        assert_eq!(other, Err(RejectTarget::Other { name: "documents/plan".to_owned() }));
        let unknown = trust.check("documents/utility", b"");
        assert!(matches!(unknown, Err(RejectTarget::NotNamed { named: 0, .. })), "{unknown:?}");
    });
}

#[test]
fn the_roots_say_who_signs_envelopes() {
    with(|_fleet, trust| {
        let said = trust.signed_by().unwrap();
        let keys = [said.authority, said.timekeeper, said.approver];
        assert_eq!(keys, [AUTHORITY, TIMEKEEPER, APPROVER].map(|number| key(number).public()));
    });
}

/// Rollback: metadata that counted before.
#[test]
fn rollback() {
    with(|mut fleet, mut trust| {
        fleet.add("model", b"old");
        let old = fleet.metadata("image");
        fleet.version = 2;
        fleet.add("model", b"new");
        fleet.tell(&mut trust, NOW_S).unwrap();
        assert_eq!(give(&mut trust, "image", &old, NOW_S), Err(Why::Rollback));
        // Nor after a start.
        let kept = trust.kept();
        let folder = tempfile::tempdir().unwrap();
        let mut trust = fleet.trust(folder.path());
        trust.restore(&kept);
        assert_eq!(give(&mut trust, "image", &old, NOW_S), Err(Why::Rollback));
        assert_eq!(trust.check("model", b"new"), Ok(()));
    });
}

/// Freeze: the newest that the vehicle is let see is past its time.
#[test]
fn freeze() {
    with(|mut fleet, mut trust| {
        fleet.add("model", b"m");
        let late_s = NOW_S + 2 * DAY_S;
        assert_eq!(fleet.tell(&mut trust, late_s), Err(Why::Expired));
        assert!(trust.check("model", b"m").is_err());
        fleet.tell(&mut trust, NOW_S).unwrap();
        assert!(!trust.ends().unwrap().before(NOW_S) && trust.ends().unwrap().before(late_s));
        // What counted is still known, and nothing new rests on it.
        assert!(trust.check("model", b"m").is_ok());
        assert!(trust.is_current(NOW_S) && !trust.is_current(late_s));
    });
}

/// Mix and match: files that were signed, but do not belong together.
#[test]
fn mix_and_match() {
    with(|mut fleet, mut trust| {
        fleet.add("model", b"old");
        let old = fleet.metadata("image");
        fleet.version = 2;
        fleet.add("model", b"new");
        let new = fleet.metadata("image");
        let mixed = Metadata { targets: old.targets.clone(), ..new.clone() };
        assert_eq!(give(&mut trust, "image", &mixed, NOW_S), Err(Why::Changed));
        let mixed = Metadata { snapshot: old.snapshot, ..new };
        assert_eq!(give(&mut trust, "image", &mixed, NOW_S), Err(Why::Changed));
    });
}

/// Partial bundle installation: a file is not there; or one repository was told, the other not.
#[test]
fn partial_bundle_installation() {
    with(|mut fleet, mut trust| {
        fleet.add("model", b"m");
        let whole = fleet.metadata("image");
        let part = Metadata { targets: String::new(), ..whole.clone() };
        assert_eq!(give(&mut trust, "image", &part, NOW_S), Err(Why::Missing));
        give(&mut trust, "image", &whole, NOW_S).unwrap();
        let refused = trust.check("model", b"m");
        assert!(matches!(refused, Err(RejectTarget::NotNamed { named: 1, .. })), "{refused:?}");
    });
}

/// Endless data: a file that does not end where it was said to.
#[test]
fn endless_data() {
    with(|mut fleet, mut trust| {
        fleet.add("model", b"m");
        let whole = fleet.metadata("image");
        let targets = whole.targets.clone() + &" ".repeat(100_000);
        let long = Metadata { targets, ..whole.clone() };
        assert_eq!(give(&mut trust, "image", &long, NOW_S), Err(Why::TooLong));
        let timestamp = whole.timestamp.clone() + &" ".repeat(100_000);
        let long = Metadata { timestamp, ..whole };
        assert_eq!(give(&mut trust, "image", &long, NOW_S), Err(Why::TooLong));
        assert!(trust.check("model", &vec![0; 1 << 20]).is_err());
    });
}

/// Repository denial of service: one repository answers with anything but its metadata, and without end. What was agreed before counts
/// on until it ends, nothing counts by the word of the other alone, and nothing grows.
#[test]
fn repository_denial_of_service() {
    with(|mut fleet, mut trust| {
        fleet.add("model", b"old");
        fleet.tell(&mut trust, NOW_S).unwrap();
        let before = trust.kept();
        fleet.version = 2;
        fleet.add("model", b"new");
        let region = fleet.metadata("region-0");
        let thief = Fleet { authority: THIEF, timekeeper: THIEF, version: 9, ..Fleet::new() };
        let forged = serde_json::to_vec(&thief.metadata("region-0")).unwrap();
        let cut = serde_json::to_vec(&region).unwrap();
        for round in 0..500_usize {
            let junk = vec![round as u8; round * 64];
            let half = cut.get(..round * cut.len() / 500).unwrap();
            for bytes in [&junk[..], half, &forged] {
                assert!(trust.take("tuf/region-0", bytes, NOW_S).is_err(), "round {round}");
            }
        }
        assert_eq!(trust.kept(), before, "nothing of it is kept");
        assert_eq!(trust.check("model", b"old"), Ok(()), "what both had said counts on");
        // The other goes on alone: what it says anew does not count, and what it no longer says does not either.
        give(&mut trust, "image", &fleet.metadata("image"), NOW_S).unwrap();
        for model in [b"old", b"new"] {
            let refused = trust.check("model", model);
            assert_eq!(refused, Err(RejectTarget::Disagree { name: "model".to_owned() }));
        }
        assert!(trust.ends().unwrap().before(NOW_S + 2 * DAY_S), "silence is found out by its end");
        give(&mut trust, "region-0", &region, NOW_S).unwrap();
        assert_eq!(trust.check("model", b"new"), Ok(()));
    });
}

/// Arbitrary software, by who has the timekeeper's key: it can name, in its region, nothing that the authority did not.
#[test]
fn arbitrary_software() {
    with(|mut fleet, mut trust| {
        fleet.add("model", b"m");
        let region = fleet.names.get_mut("region-0").unwrap();
        region.insert("model".to_owned(), Target::of(b"evil"));
        region.insert("tool".to_owned(), Target::of(b"evil"));
        fleet.tell(&mut trust, NOW_S).unwrap();
        let refused = trust.check("model", b"evil");
        assert_eq!(refused, Err(RejectTarget::Disagree { name: "model".to_owned() }));
        assert!(trust.check("tool", b"evil").is_err());
        // Nor can it sign in the authority's place.
        fleet.authority = TIMEKEEPER;
        fleet.version = 2;
        assert_eq!(give(&mut trust, "image", &fleet.metadata("image"), NOW_S), Err(Why::Signature));
    });
}

/// A root counts with two signatures: one person alone, or a thief, changes nothing.
#[test]
fn a_root_needs_both_who_sign_roots() {
    with(|fleet, mut trust| {
        let thief = Roles {
            root: (vec![key(THIEF).public()], 1),
            targets: key(THIEF).public(),
            timestamp: key(THIEF).public(),
        };
        let ends_s = NOW_S + DAY_S;
        let alone = author::root(2, ends_s, &thief, &[&key(THIEF), &key(AUTHORITY)]).unwrap();
        let both =
            author::root(2, ends_s, &fleet.roles("image"), &[&key(AUTHORITY), &key(APPROVER)]);
        let told =
            |root: &str| serde_json::to_vec(&BTreeMap::from([("image", vec![root])])).unwrap();
        let refused = trust.take(ROOTS, &told(&alone), NOW_S).unwrap_err();
        assert_eq!(refused.why, Why::Signature, "{refused}");
        assert!(trust.take(ROOTS, &told(&both.unwrap()), NOW_S).unwrap());
    });
}

/// What was followed is news, and is kept, whatever is wrong with what comes after it.
#[test]
fn a_root_that_does_not_follow_takes_nothing_from_those_that_do() {
    with(|fleet, mut trust| {
        let (second, third) = (fleet.root("image", 2), fleet.root("image", 3));
        let broken = third.replace("\"version\":3", "\"version\":4");
        let told = |image: Vec<&str>, region: &str| {
            let roots = BTreeMap::from([("image", image), ("region-0", vec![region])]);
            serde_json::to_vec(&roots).unwrap()
        };
        assert_ne!(broken, third);
        assert!(trust.take(ROOTS, &told(vec![&second, &broken], &broken), NOW_S).unwrap());
        let version = |trust: &Trust| trust.repositories().next().unwrap().1.versions().0;
        assert_eq!(version(&trust), 2);
        assert!(trust.take(ROOTS, &told(vec![&broken], &broken), NOW_S).is_err());
        assert!(trust.take(ROOTS, &told(vec![&third], &broken), NOW_S).unwrap());
        assert_eq!(version(&trust), 3);
    });
}

/// A timekeeper's key is revoked: what it signed counts no more, what the next one signs does, and no version stands in its way.
#[test]
fn a_revoked_key_signs_nothing_any_more() {
    with(|mut fleet, mut trust| {
        fleet.add("model", b"m");
        fleet.version = 1000;
        fleet.tell(&mut trust, NOW_S).unwrap();
        let stolen = fleet.timekeeper;
        fleet.timekeeper = 7;
        let roots: BTreeMap<&str, Vec<String>> =
            fleet.names.keys().map(|name| (*name, vec![fleet.root(name, 2)])).collect();
        assert!(trust.take(ROOTS, &serde_json::to_vec(&roots).unwrap(), NOW_S).unwrap());
        assert_eq!(trust.signed_by().unwrap().timekeeper, key(7).public());
        assert!(trust.check("model", b"m").is_err());
        let thief = Fleet { timekeeper: stolen, version: 2000, ..Fleet::new() };
        assert_eq!(thief.tell(&mut trust, NOW_S), Err(Why::Signature));
        fleet.version = 3;
        assert_eq!(fleet.tell(&mut trust, NOW_S), Ok(true));
        assert_eq!(trust.check("model", b"m"), Ok(()));
        // The old root came with the vehicle, and is not gone back to.
        let kept = trust.kept();
        let folder = tempfile::tempdir().unwrap();
        let mut again = Fleet::new().trust(folder.path());
        again.restore(&kept);
        assert_eq!(again.signed_by(), trust.signed_by());
        assert_eq!(again.check("model", b"m"), Ok(()));
    });
}

/// What is no metadata is refused, whatever it is.
#[test]
fn what_is_no_metadata_is_refused() {
    with(|fleet, mut trust| {
        for bytes in [&b""[..], b"{", b"[]", b"{\"timestamp\":1}", b"{\"image\":[\"{}\"]}"] {
            for document in [ROOTS, "tuf/image"] {
                let refused = trust.take(document, bytes, NOW_S).unwrap_err();
                assert_eq!(refused.why, Why::Malformed, "{document} {bytes:?}");
            }
        }
        let whole = fleet.metadata("image");
        let half = whole.timestamp[..whole.timestamp.len() / 2].to_owned();
        let half = Metadata { timestamp: half, ..whole };
        assert_eq!(give(&mut trust, "image", &half, NOW_S), Err(Why::Malformed));
        assert!(!trust.take("tuf/region-9", b"", NOW_S).unwrap());
    });
}

/// Of two that must agree, both would be the same.
#[test]
fn a_map_that_names_a_repository_twice_is_refused() {
    assert!(Map::parse(MAP).is_ok());
    let twice = MAP.replace(r#"["image","region-0"]"#, r#"["image","image"]"#);
    let refused = Map::parse(&twice).unwrap_err();
    assert!(matches!(&refused, RejectMap::Twice(name) if name == "image"), "{refused}");
}

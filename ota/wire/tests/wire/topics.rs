//! One claim of SPEC.md §5 a test, and golden topics.

use proptest::prelude::*;
use serde_json::{Value, json};
use shoal_wire::v1::{RosterPage, RosterPageFields};
use shoal_wire::{
    Body, DOCUMENT_SLOTS, KeyId, Kind, LABEL_BYTES_MAX, Label, Leaf, RejectLabel, RejectPlace,
    RejectTopic, TOPIC_BYTES_MAX, Topic, Unverified,
};

use crate::common::{golden, keys, sealed, secret};
use crate::samples;

/// A topic of the one key of these tests.
fn ours(leaf: Leaf) -> Topic<'static> {
    let label = |text| Label::new(text).unwrap();
    Topic::new(label("blue"), label("eu-west"), secret().public().id(), leaf).unwrap()
}

/// A leaf of every name, with its largest numbers.
pub(crate) const LEAVES: [Leaf; 14] = [
    Leaf::Claim { slot: 5 },
    Leaf::Vote { window: 3, place: 3 },
    Leaf::Particle { slot: 5 },
    Leaf::Chunk { slot: 5, index: 19 },
    Leaf::Presence,
    Leaf::Nonce { window: 15 },
    Leaf::Plan,
    Leaf::Roster,
    Leaf::RosterPage { index: 1_023 },
    Leaf::Utility,
    Leaf::Swarm,
    Leaf::Refusal { slot: 5 },
    Leaf::Document { slot: DOCUMENT_SLOTS - 1 },
    Leaf::Beacon { window: 7, index: 255 },
];

/// A filter of MQTT, which has `+` for any level.
fn matches(filter: &str, topic: &str) -> bool {
    let (filter, topic) = (filter.split('/'), topic.split('/'));
    filter.clone().count() == topic.clone().count()
        && filter.zip(topic).all(|(one, other)| one == "+" || one == other)
}

/// Whoever asks for a place in any region is answered from each, and with nothing else.
#[test]
fn a_place_is_found_in_whatever_region_and_no_other_place_is() {
    let label = |text| Label::new(text).unwrap();
    let of = |fleet, region, leaf| {
        Topic::new(label(fleet), label(region), secret().public().id(), leaf).unwrap()
    };
    for leaf in LEAVES {
        let asked = of("blue", "eu-west", leaf);
        let filter = asked.in_any_region();
        assert_eq!(filter.split('/').filter(|level| *level == "+").count(), 1, "{filter}");
        assert!(Topic::decode(&filter).is_err(), "{filter}");
        for region in ["eu-west", "us", "blue"] {
            for other in LEAVES {
                let there = of("blue", region, other);
                assert_eq!(matches(&filter, &there.text()), leaf == other);
            }
        }
        let fleet = of("red", "eu-west", leaf);
        assert!(!matches(&filter, &fleet.text()));
        let another = KeyId::new([7; 8]);
        let publisher = Topic::new(label("blue"), label("us"), another, leaf).unwrap();
        assert!(!matches(&filter, &publisher.text()));
    }
}

/// Texts that are no topics.
const REFUSED: [(&str, RejectTopic); 29] = [
    ("", RejectTopic::Prefix),
    ("/shoal/1/a/b/nonce/00112233445566ff", RejectTopic::Prefix),
    ("shoal/2/a/b/nonce/00112233445566ff", RejectTopic::Prefix),
    ("shoal/1/", RejectTopic::Fleet(RejectLabel)),
    ("shoal/1//b/nonce/00112233445566ff", RejectTopic::Fleet(RejectLabel)),
    ("shoal/1/A/b/nonce/00112233445566ff", RejectTopic::Fleet(RejectLabel)),
    ("shoal/1/+/b/nonce/00112233445566ff", RejectTopic::Fleet(RejectLabel)),
    ("shoal/1/a/b_c/nonce/00112233445566ff", RejectTopic::Region(RejectLabel)),
    (
        "shoal/1/a/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb/nonce/00112233445566ff",
        RejectTopic::Region(RejectLabel),
    ),
    ("shoal/1/a/b/nonce", RejectTopic::Publisher),
    ("shoal/1/a/b/nonce/00112233445566f", RejectTopic::Publisher),
    ("shoal/1/a/b/nonce/00112233445566fff", RejectTopic::Publisher),
    ("shoal/1/a/b/nonce/00112233445566FF", RejectTopic::Publisher),
    ("shoal/1/a/b/nonce/+0112233445566ff", RejectTopic::Publisher),
    ("shoal/1/a/b/nonces/00112233445566ff", RejectTopic::Leaf),
    ("shoal/1/a/b/nonce/00112233445566ff/", RejectTopic::Leaf),
    ("shoal/1/a/b/nonce/00112233445566ff", RejectTopic::Leaf),
    ("shoal/1/a/b/nonce/00112233445566ff/16", RejectTopic::Leaf),
    ("shoal/1/a/b/claim/00112233445566ff", RejectTopic::Leaf),
    ("shoal/1/a/b/claim/00112233445566ff/6", RejectTopic::Leaf),
    ("shoal/1/a/b/claim/00112233445566ff/00", RejectTopic::Leaf),
    ("shoal/1/a/b/claim/00112233445566ff/+1", RejectTopic::Leaf),
    ("shoal/1/a/b/claim/00112233445566ff/-0", RejectTopic::Leaf),
    ("shoal/1/a/b/claim/00112233445566ff/65536", RejectTopic::Leaf),
    ("shoal/1/a/b/chunk/00112233445566ff/0/20", RejectTopic::Leaf),
    ("shoal/1/a/b/chunk/00112233445566ff/0/1/2", RejectTopic::Leaf),
    ("shoal/1/a/b/rosterpage/00112233445566ff/1024", RejectTopic::Leaf),
    ("shoal/1/a/b/beacon/00112233445566ff/8/0", RejectTopic::Leaf),
    ("shoal/1/a/b/beacon/00112233445566ff/0/256", RejectTopic::Leaf),
];

fn cases() -> Value {
    let accepted: Vec<Value> = LEAVES
        .into_iter()
        .map(|leaf| {
            let topic = ours(leaf);
            json!({
                "topic": topic.text().as_str(),
                "fleet": topic.fleet().text(),
                "region": topic.region().text(),
                "publisher": topic.publisher().to_string(),
                "name": leaf.name(),
                "kind": leaf.kind().map(Kind::number),
                "leaf": format!("{leaf:?}"),
            })
        })
        .collect();
    let refused: Vec<Value> = REFUSED
        .iter()
        .map(|(topic, why)| json!({"topic": topic, "reason": why.to_string()}))
        .collect();
    json!({"accepted": accepted, "refused": refused})
}

#[test]
fn the_code_writes_the_golden_topics() {
    golden("topics.json", &cases());
}

#[test]
fn texts_that_are_no_topics_are_refused_with_their_reason() {
    for (text, why) in REFUSED {
        assert_eq!(Topic::decode(text), Err(why), "{text}");
    }
}

#[test]
fn every_kind_has_one_leaf() {
    for kind in Kind::ALL {
        assert_eq!(LEAVES.iter().filter(|leaf| leaf.kind() == Some(kind)).count(), 1, "{kind:?}");
    }
    assert_eq!(
        LEAVES.iter().filter(|leaf| leaf.kind().is_none()).count(),
        2,
        "chunks, and what beacons pass on"
    );
}

#[test]
fn the_longest_topic_fills_its_bound() {
    let label = "z".repeat(LABEL_BYTES_MAX);
    let label = Label::new(&label).unwrap();
    let id = KeyId::new([0xff; 8]);
    let lengths = LEAVES.map(|leaf| {
        let topic = Topic::new(label, label, id, leaf).unwrap();
        assert_eq!(topic.text().as_str(), topic.to_string(), "nothing is cut off");
        topic.text().len()
    });
    assert_eq!(lengths.into_iter().max(), Some(TOPIC_BYTES_MAX));
}

#[test]
fn a_leaf_out_of_range_has_no_topic() {
    let label = Label::new("a").unwrap();
    for leaf in [
        Leaf::Claim { slot: 6 },
        Leaf::Vote { window: 4, place: 0 },
        Leaf::Vote { window: 0, place: 4 },
        Leaf::Particle { slot: 6 },
        Leaf::Chunk { slot: 6, index: 0 },
        Leaf::Chunk { slot: 0, index: 20 },
        Leaf::RosterPage { index: 1_024 },
        Leaf::Refusal { slot: 6 },
        Leaf::Document { slot: DOCUMENT_SLOTS },
        Leaf::Beacon { window: 8, index: 0 },
    ] {
        let topic = Topic::new(label, label, KeyId::new([0; 8]), leaf);
        assert_eq!(topic, Err(RejectTopic::Leaf), "{leaf:?}");
    }
}

/// Where a record stands, if it may stand there.
fn standing<'a, T: Body<'a>>(bytes: &'a [u8], topic: &Topic<'_>) -> Result<(), RejectPlace> {
    let record = Unverified::decode(bytes).unwrap();
    topic.check(record.head())?;
    topic.check_record(&record.verify::<T>(&keys()).unwrap())
}

#[test]
fn a_record_stands_only_on_topics_of_its_signer() {
    let bytes = sealed(&samples::nonce());
    let (signer, publisher) = (secret().public().id(), KeyId::new([0; 8]));
    let label = Label::new("a").unwrap();
    let other = Topic::new(label, label, publisher, Leaf::nonce(301)).unwrap();
    let head = *Unverified::decode(&bytes).unwrap().head();
    assert_eq!(ours(Leaf::nonce(301)).check(&head), Ok(()));
    assert_eq!(other.check(&head), Err(RejectPlace::Publisher { signer, publisher }));
}

#[test]
fn a_record_stands_only_on_topics_of_its_kind() {
    let bytes = sealed(&samples::nonce());
    let head = *Unverified::decode(&bytes).unwrap().head();
    for leaf in LEAVES.into_iter().filter(|leaf| leaf.kind() != Some(Kind::Nonce)) {
        let why = RejectPlace::Kind { kind: Kind::Nonce, leaf };
        assert_eq!(ours(leaf).check(&head), Err(why));
    }
}

#[test]
fn a_body_that_names_its_place_stands_there_alone() {
    use shoal_wire::v1::{Claim, Nonce, Vote};
    let claim = sealed(&samples::claim());
    for slot in 0..6 {
        let leaf = Leaf::Claim { slot };
        let expected = if slot == 5 { Ok(()) } else { Err(RejectPlace::Leaf { leaf }) };
        assert_eq!(standing::<Claim>(&claim, &ours(leaf)), expected);
    }
    let vote = sealed(&samples::vote());
    for (window, place) in [(1, 3), (2, 3), (1, 2)] {
        let leaf = Leaf::Vote { window, place };
        // Of window 301.
        let expected =
            if leaf == Leaf::vote(301, 3) { Ok(()) } else { Err(RejectPlace::Leaf { leaf }) };
        assert_eq!(standing::<Vote>(&vote, &ours(leaf)), expected);
    }
    assert_eq!(Leaf::vote(301, 3), Leaf::Vote { window: 1, place: 3 });
    let nonce = sealed(&samples::nonce());
    for window in 0..16 {
        let leaf = Leaf::Nonce { window };
        // Of window 301.
        let expected = if window == 13 { Ok(()) } else { Err(RejectPlace::Leaf { leaf }) };
        assert_eq!(standing::<Nonce>(&nonce, &ours(leaf)), expected);
    }
    let rows = samples::vehicles(1, 1);
    let fields = RosterPageFields { version: 1, index: 7, vehicles: &rows };
    let page = sealed(&RosterPage::new(fields).unwrap());
    for index in [7, 8] {
        let leaf = Leaf::RosterPage { index };
        let expected = if index == 7 { Ok(()) } else { Err(RejectPlace::Leaf { leaf }) };
        assert_eq!(standing::<RosterPage>(&page, &ours(leaf)), expected);
    }
}

fn leaves() -> impl Strategy<Value = Leaf> {
    let leaf = prop::sample::select(&LEAVES[..]);
    (leaf, any::<u16>(), any::<u16>()).prop_map(|(leaf, one, other)| {
        let below = |number: u16, last: u8| u8::try_from(number % (u16::from(last) + 1)).unwrap();
        match leaf {
            Leaf::Claim { slot } => Leaf::Claim { slot: below(one, slot) },
            Leaf::Vote { .. } => Leaf::vote(one.into(), below(other, 3)),
            Leaf::Nonce { .. } => Leaf::nonce(one.into()),
            Leaf::Particle { slot } => Leaf::Particle { slot: below(one, slot) },
            Leaf::Chunk { slot, index } => {
                Leaf::Chunk { slot: below(one, slot), index: below(other, index) }
            }
            Leaf::RosterPage { .. } => Leaf::RosterPage { index: one % 1_024 },
            Leaf::Refusal { slot } => Leaf::Refusal { slot: below(one, slot) },
            Leaf::Document { slot } => Leaf::Document { slot: below(one, slot) },
            Leaf::Beacon { .. } => Leaf::beacon(one.into(), below(other, u8::MAX)),
            Leaf::Presence | Leaf::Plan | Leaf::Roster | Leaf::Utility | Leaf::Swarm => leaf,
        }
    })
}

/// Parts of topics in any order, so that many are nearly right.
fn nearly() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("shoal".to_owned()),
        Just("1".to_owned()),
        prop::sample::select(&LEAVES[..]).prop_map(|leaf| leaf.name().to_owned()),
        any::<[u8; 8]>().prop_map(|id| KeyId::new(id).to_string()),
        "[0-9]{1,5}",
        "[a-z0-9-]{1,33}",
        ".{0,3}",
    ];
    prop::collection::vec(part, 0..10).prop_map(|parts| parts.join("/"))
}

proptest! {
    #[test]
    fn every_topic_is_read_as_it_was_written(
        fleet in "[a-z0-9-]{1,32}", region in "[a-z0-9-]{1,32}", id: [u8; 8], leaf in leaves(),
    ) {
        let (fleet, region) = (Label::new(&fleet).unwrap(), Label::new(&region).unwrap());
        let topic = Topic::new(fleet, region, KeyId::new(id), leaf).unwrap();
        let text = topic.text();
        prop_assert_eq!(Topic::decode(&text), Ok(topic));
    }

    #[test]
    fn every_text_is_refused_or_is_the_one_form_of_a_topic(
        text in prop_oneof![nearly(), nearly().prop_map(|rest| format!("shoal/1/a/b/{rest}")), ".{0,40}"],
    ) {
        if let Ok(topic) = Topic::decode(&text) {
            prop_assert_eq!(topic.to_string(), text);
        }
    }
}

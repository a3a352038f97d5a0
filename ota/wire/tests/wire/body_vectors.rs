//! Golden bytes of every body: fields, bytes, names; and bodies that are refused. A change here is a change of
//! the format. `SHOAL_WRITE_VECTORS=1 cargo test -p shoal-wire -p shoal-fuzz` writes the file anew, and
//! the fuzzers' corpus of it.

use std::error::Error;

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use shoal_wire::v1::{
    Document, Growth, ParticleHeader, RefusalCode, Roster, RosterFields, RosterPage,
    RosterPageFields, Rule,
};
use shoal_wire::{Body, Kind, RejectEnvelope};

use crate::common::{
    COUNTER, NOT_AFTER_SECONDS, body_of, from_hex, golden, hex, keys, refused, sealed,
    verify_as_said,
};
use crate::{refusals, samples};

/// Byte strings of JSON's arrays of numbers, so that people can compare them.
fn readable(value: Value) -> Value {
    match value {
        Value::Array(elements) => {
            let bytes: Option<Vec<u8>> =
                elements.iter().map(|one| u8::try_from(one.as_u64()?).ok()).collect();
            match bytes {
                Some(bytes) if bytes.len() > 8 => json!(hex(&bytes)),
                Some(_) | None => elements.into_iter().map(readable).collect(),
            }
        }
        Value::Object(fields) => {
            fields.into_iter().map(|(name, value)| (name, readable(value))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn accepted<'a, T: Body<'a>>(name: &str, body: &T, fields: &impl Serialize) -> Value {
    let envelope = sealed(body);
    json!({
        "kind": T::KIND.number(),
        "version": T::VERSION,
        "name": name,
        "fields": readable(serde_json::to_value(fields).unwrap()),
        "body": hex(body_of(&envelope)),
        "envelope": hex(&envelope),
        "record": hex(&Sha256::digest(&envelope)),
    })
}

fn header(name: &str, header: &ParticleHeader) -> Value {
    let mut case = accepted(name, header, header.fields());
    case["particle"] = json!(hex(header.id().bytes()));
    case
}

fn roster() -> [Value; 3] {
    let rows = samples::vehicles(1, 2);
    let page = RosterPageFields { version: 3, index: 0, vehicles: &rows };
    let page = RosterPage::new(page).unwrap();
    let pages = Sha256::digest(sealed(&page));
    let head = Roster::new(RosterFields { version: 3, vehicles: 2, pages: &pages }).unwrap();
    let growth = Growth { window: 40, places: 1 }.encode();
    let grown = [pages.as_slice(), &growth].concat();
    let grown = Roster::new(RosterFields { version: 3, vehicles: 2, pages: &grown }).unwrap();
    [
        accepted("two vehicles", &head, head.fields()),
        accepted("two vehicles", &page, page.fields()),
        accepted("a vehicle that was added", &grown, grown.fields()),
    ]
}

/// What is wrong, to the last cause.
fn reason(reject: &dyn Error) -> String {
    reject.source().map_or_else(|| reject.to_string(), reason)
}

fn cases() -> Value {
    let merge = ParticleHeader::new(samples::merge_fields(3, 2)).unwrap();
    let swarm = |name, rule| {
        let swarm = samples::swarm(rule);
        accepted(name, &swarm, swarm.fields())
    };
    let mut accepted = vec![
        accepted("claim", &samples::claim(), samples::claim().fields()),
        accepted("vote", &samples::vote(), samples::vote().fields()),
        header("contribution", &samples::header(2)),
        header("merge", &merge),
        accepted("presence", &samples::presence(), samples::presence().fields()),
        accepted("nonce", &samples::nonce(), samples::nonce().fields()),
        accepted("window plan", &samples::plan(), samples::plan().fields()),
        accepted("utility document", &samples::utility(), samples::utility().fields()),
        accepted(
            "utility of both metrics",
            &samples::utility_of_both(),
            samples::utility_of_both().fields(),
        ),
        accepted(
            "utility of driving",
            &samples::utility_of_driving(),
            samples::utility_of_driving().fields(),
        ),
        accepted(
            "utility of gains",
            &samples::utility_of_gains(),
            samples::utility_of_gains().fields(),
        ),
        swarm("paper", Rule::Paper(samples::paper())),
        swarm("consensus", Rule::Consensus(samples::consensus())),
        swarm("coefficients", Rule::Coefficients),
        accepted("refusal", &samples::refusal(), samples::refusal().fields()),
        accepted::<Document>("document", &samples::document(), samples::document().fields()),
    ];
    accepted.extend(roster());
    let refused: Vec<Value> = refusals::all()
        .iter()
        // Too long to be read by people, and soon made: as many bytes as the name says.
        .filter(|refused| refused.body.len() < 4_096)
        .map(|refused| {
            let code = RefusalCode::from(RejectEnvelope::Body(refused.reason));
            json!({
                "kind": refused.kind.number(),
                "version": 1,
                "name": refused.name,
                "body": hex(&refused.body),
                "code": code.number(),
                "outcome": code.name(),
                "reason": reason(&refused.reason),
            })
        })
        .collect();
    json!({
        "seed": "07".repeat(32), "counter": COUNTER, "not_after": NOT_AFTER_SECONDS,
        "accepted": accepted, "refused": refused,
    })
}

fn text(case: &Value, field: &str) -> String {
    case[field].as_str().unwrap().to_owned()
}

fn kind(case: &Value) -> Kind {
    Kind::from_number(u8::try_from(case["kind"].as_u64().unwrap()).unwrap()).unwrap()
}

#[test]
fn the_code_writes_the_golden_bodies() {
    golden("bodies.json", &cases());
}

#[test]
fn every_kind_has_a_golden_body() {
    let cases = cases();
    for kind in Kind::ALL {
        let of_kind = |case: &&Value| case["kind"] == json!(kind.number());
        assert!(
            cases["accepted"].as_array().unwrap().iter().any(|case| of_kind(&case)),
            "{kind:?}"
        );
    }
}

#[test]
fn golden_envelopes_are_accepted() {
    for case in cases()["accepted"].as_array().unwrap() {
        let envelope = from_hex(&text(case, "envelope"));
        assert_eq!(verify_as_said(&envelope, &keys()), Ok(envelope.clone()), "{}", case["name"]);
        assert_eq!(refused(kind(case), &from_hex(&text(case, "body"))), None, "{}", case["name"]);
    }
}

//! What a beacon costs: 100,000 claims of one window, without signatures and with, and how much memory it takes for a tenth of them
//! and for all: `cargo bench -p shoal-swarm --profile dev --bench beacon`.
#![expect(clippy::print_stdout, reason = "a bench reports on the terminal")]
#![expect(clippy::unwrap_used, reason = "a bench may fail by panicking")]

#[path = "../tests/beacon/fleet.rs"]
mod fleet;

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;

use fleet::{Post, claimed, documents, header, key, nonce, nonce_bytes};
use shoal_swarm::beacon::{Beacon, Fold, Input, Output, Reading, Reads, Settings};
use shoal_swarm::records::Signed;
use shoal_swarm::roster::Roster;
use shoal_swarm::utility::Utility;
use shoal_wire::v1::{Claim, ParticleHeader, Role, UtilityDocument};
use shoal_wire::{KeyId, Keys, Kind, Label, Leaf, PublicKey, Topic, Unverified};

const VEHICLES: u32 = 100_000;
const WINDOW: u32 = 3;

fn main() {
    // First: the most memory is that of the whole process.
    whole();
    folded();
}

/// Any key of this fleet: what is measured is the signature, not the search for its key.
struct OneKey(PublicKey);

impl Keys for OneKey {
    fn find(&self, _id: KeyId, _kind: Kind) -> Option<PublicKey> {
        Some(self.0)
    }
}

fn value(number: u32) -> i16 {
    (number.wrapping_mul(2_654_435_761) >> 19) as i16
}

/// The fold alone: claims whose signatures were checked.
fn folded() {
    let id = |number: u32| {
        let [a, b, c, d] = number.to_le_bytes();
        KeyId::new([a, b, c, d, 5, 5, 5, 5])
    };
    let roster = Roster::new((0..VEHICLES).map(id).collect()).unwrap();
    let post = documents(1).into_iter().find(|(topic, _)| topic.leaf() == Leaf::Utility).unwrap();
    let keys = OneKey(fleet::authority().public());
    let utility = Unverified::decode(&post.1).unwrap().verify::<UtilityDocument>(&keys).unwrap();
    let utility = Utility::new(utility.body());
    let keys = OneKey(key(0).public());
    let [_, (_, bytes)] = claimed(0, WINDOW, Role::Best, 1);
    let like: Signed<Claim> =
        Signed::from(&Unverified::decode(&bytes).unwrap().verify(&keys).unwrap());
    let claims: Vec<_> = (0..VEHICLES)
        .map(|number| {
            let header = header(number, WINDOW, Role::Best);
            let claim = fleet::claim(&header, 3, value(number));
            let (signer, body) = (id(number), claim.fields().clone());
            let (counter, not_after_seconds) = (like.counter, like.not_after_seconds);
            (header.id(), Signed { id: like.id, signer, counter, not_after_seconds, body })
        })
        .collect();
    let start = cpu_seconds();
    let mut fold = Fold::new(WINDOW, roster.count());
    for (particle, claim) in claims {
        let number = roster.number(claim.signer).unwrap();
        fold.header(number, (Role::Best, claim.body.slot), particle);
        fold.claim(number, claim).unwrap();
    }
    let taken = cpu_seconds() - start;
    let (nonce, next, quarantined) =
        (nonce_bytes(WINDOW), nonce_bytes(WINDOW + 1), BTreeSet::new());
    let reading = Reading {
        roster: &roster,
        utility: &utility,
        nonce: &nonce,
        next: Some(&next),
        quarantined: &quarantined,
        folding: &BTreeSet::new(),
    };
    let start = cpu_seconds();
    let kept = black_box(fold.kept(&reading));
    let chosen = cpu_seconds() - start;
    println!(
        "100,000 claims with their headers, signatures checked before: {taken:.3} s to take in,"
    );
    println!(
        "{chosen:.3} s to choose {} of them, {} of these with header",
        kept.claims.len(),
        kept.claims.values().filter(|with| **with).count()
    );
}

/// A beacon as its shell runs it: bytes in, bytes out.
fn whole() {
    let mut beacon = beacon();
    // The head of a roster before its pages, as little as that matters.
    let mut documents = documents(VEHICLES);
    documents.sort_by_key(|(topic, _)| topic.leaf() != Leaf::Roster);
    for (topic, bytes) in documents.into_iter().chain([nonce(WINDOW - 1), nonce(WINDOW)]) {
        hear(&mut beacon, &topic, &bytes);
    }
    beacon.handle_input(Input::Read).unwrap();
    drain(&mut beacon);
    println!("a beacon of 100,000 vehicles: {} MiB before the first claim", resident_mib());
    let (mut heard, mut checked) = (0.0, 0.0);
    for number in 0..VEHICLES {
        let posts = claimed(number, WINDOW, Role::Best, value(number));
        let start = cpu_seconds();
        for (topic, bytes) in &posts {
            hear(&mut beacon, topic, bytes);
        }
        let middle = cpu_seconds();
        let keys = OneKey(key(number).public());
        let again = cpu_seconds();
        let header = Unverified::decode(&posts[0].1).unwrap().verify::<ParticleHeader>(&keys);
        let claim = Unverified::decode(&posts[1].1).unwrap().verify::<Claim>(&keys);
        black_box((header.unwrap(), claim.unwrap()));
        heard += middle - start;
        checked += cpu_seconds() - again;
        if number + 1 == VEHICLES / 10 {
            println!("after 10,000 claims {} MiB", resident_mib());
        }
    }
    println!("after 100,000 claims {} MiB", resident_mib());
    println!(
        "{heard:.2} s to hear them, of which the signatures of claims and headers, checked alone, take {checked:.2} s"
    );
    let start = cpu_seconds();
    let (topic, bytes) = nonce(WINDOW + 1);
    hear(&mut beacon, &topic, &bytes);
    beacon.handle_timeout();
    let asked = drain(&mut beacon);
    let chosen = asked.len();
    let took = cpu_seconds() - start;
    let mut board = BTreeMap::new();
    let is_asked = |number: &u32| {
        let id = key(*number).public().id().to_string();
        asked.iter().any(|topic| topic.contains(&id))
    };
    for number in (0..VEHICLES).filter(is_asked) {
        let posts = claimed(number, WINDOW, Role::Best, value(number));
        let asked = |(topic, bytes): Post| (topic.in_any_region().to_string(), (topic, bytes));
        board.extend(posts.map(asked));
    }
    let (mut messages, mut out) = (0, 0);
    for topic in asked.iter().filter(|topic| board.contains_key(*topic)) {
        let (topic, bytes) = &board[topic];
        hear(&mut beacon, topic, bytes);
        while let Some(output) = beacon.poll_output() {
            if let Output::Publish { records, .. } = output {
                messages += 1;
                out += records.bytes().len();
            }
        }
    }
    println!(
        "{took:.2} s from the nonce until {chosen} topics are asked for; {messages} messages of {out} bytes are passed on"
    );
}

fn beacon() -> Beacon {
    Beacon::new(
        Label::new("fleet").unwrap(),
        Label::new("region").unwrap(),
        &Settings {
            authority: fleet::authority().public(),
            timekeeper: fleet::timekeeper().public(),
            id: KeyId::new([1; 8]),
            reads: Reads::Fleet,
        },
    )
}

fn hear(beacon: &mut Beacon, topic: &Topic<'_>, bytes: &[u8]) {
    beacon.handle_input(Input::Message { topic, bytes }).unwrap();
}

/// What is asked for, once or standing.
fn drain(beacon: &mut Beacon) -> Vec<String> {
    let mut asked = Vec::new();
    while let Some(output) = beacon.poll_output() {
        if let Output::Ask(topic) = output {
            asked.push(topic);
        }
    }
    asked
}

/// Of this thread, as Linux counts it: what other programs do meanwhile does not count.
fn cpu_seconds() -> f64 {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds: f64 = schedule.split(' ').next().unwrap().parse().unwrap();
    nanoseconds / 1e9
}

/// The most memory that this process ever held.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

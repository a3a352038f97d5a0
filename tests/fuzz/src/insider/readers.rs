//! Who reads what insiders sign: the console, a beacon, and the vehicle with number 0.

use std::collections::BTreeMap;

use embassy_time::{Duration, Instant};
use shoal_console::state::{State, Trust};
use shoal_swarm::beacon::{self, Beacon, Reads, Settings};
use shoal_swarm::inbox::{Record, read, read_relayed};
use shoal_swarm::keyring::Keyring;
use shoal_swarm::records::Signed;
use shoal_swarm::swarm::{
    Conduct, Flat, Input, Output, Particle, Phase, Saved, Setup, Swarm, TermResult,
};
use shoal_swarm::utility::Utility;
use shoal_wire::v1::{Chunk, Claim, ParticleHeader, ParticleHeaderFields, Refusal, SLOTS, Vote};
use shoal_wire::{ChunkHash, KeyId, Leaf, Now, ParticleId, Topic, Utc};

use super::fleet::{
    LAYOUT, MODEL, PERIOD_S, Post, VALUES, approver, authority, documents, key, labels, swarm,
    timekeeper, utility,
};

/// Longest time that passes at once, and in all: clocks of vehicles end later.
const SECONDS_MAX: u64 = 1 << 40;

pub(super) struct Readers {
    /// What stands on the broker.
    board: BTreeMap<String, Vec<u8>>,
    seconds: u64,
    keyring: Keyring,
    console: State,
    beacon: Beacon,
    vehicle: Swarm,
    /// How many particles it asked for.
    fetched: usize,
    /// How many terms count.
    terms: usize,
}

impl Readers {
    pub(super) fn new() -> Self {
        let [authority, timekeeper] = [authority(), timekeeper()].map(|key| key.public());
        let keyring = keyring();
        let trust = Trust { authority, timekeeper, approver: approver() };
        let [fleet, region] = labels();
        let settings =
            Settings { authority, timekeeper, id: KeyId::new([0xBE; 8]), reads: Reads::Fleet };
        let setup = Setup {
            vehicle: key(0).public().id(),
            document: swarm(),
            start: vec![0.5, 0.0, 0.0].into(),
            utility: Utility::new(&utility()),
            roster: keyring.roster().clone(),
            period_seconds: PERIOD_S,
            conduct: Conduct::default(),
            private: None,
        };
        let vehicle = Swarm::new(setup, Saved::default(), |_hash| None);
        Self {
            board: BTreeMap::new(),
            seconds: u64::from(PERIOD_S),
            console: State::new(fleet.text(), (region.text(), 0), trust),
            beacon: Beacon::new(fleet, region, &settings),
            vehicle: vehicle.expect("a fleet that knows its rule"),
            keyring,
            fetched: 0,
            terms: 1,
        }
    }

    fn now(&self) -> Now {
        let utc = Utc::Known { seconds: self.seconds, uncertainty_seconds: 0 };
        Now { since_boot: Instant::MIN + Duration::from_secs(self.seconds), utc }
    }

    /// All of them read it, and it stands there from now on.
    pub(super) fn hear(&mut self, Post { topic, bytes }: &Post) {
        self.board.insert(topic.clone(), bytes.clone());
        let _shown = self.console.message(self.seconds, topic, bytes);
        let topic = Topic::decode(topic).expect("it was made of its parts");
        let _taken = self.beacon.handle_input(beacon::Input::Message { topic: &topic, bytes });
        if let Ok(record) = read(&topic, bytes, &self.keyring) {
            self.tell_record(&topic, &record);
        }
        self.pass_on();
    }

    fn tell_record(&mut self, topic: &Topic<'_>, record: &Record<'_>) {
        match (record, topic.leaf()) {
            (Record::Claim(claim), _) => self.tell(Input::Claim(&Signed::from(claim))),
            (Record::Vote(vote), _) => self.tell(Input::Vote(&Signed::from(vote))),
            (Record::Nonce(nonce), _) => self.tell(Input::Nonce(&Signed::from(nonce))),
            (Record::ParticleHeader(header), Leaf::Particle { slot }) => {
                self.tell(Input::Header { header: &Signed::from(&**header), slot });
            }
            (Record::UtilityDocument(document), _) => {
                let input = Input::Utility(document.body());
                if self.vehicle.handle_input(self.now(), input).is_ok() {
                    self.terms = document.body().fields().terms.len();
                }
                self.act();
            }
            _other => {}
        }
    }

    /// Time passes.
    pub(super) fn pass(&mut self, seconds: u64) {
        self.seconds = self.seconds.saturating_add(seconds).min(SECONDS_MAX);
        self.vehicle.handle_timeout(self.now());
        self.act();
        self.beacon.handle_timeout();
        self.pass_on();
        self.show();
    }

    /// What the vehicle's window, its night or the line brings.
    pub(super) fn phase(&mut self, kind: u8, window: u32) {
        let closes_at = self.now().since_boot + Duration::from_secs(u64::from(PERIOD_S));
        match kind % 8 {
            0 => self.tell(Input::Phase(Phase::Open { window, closes_at })),
            1 => self.tell(Input::Phase(Phase::Closing)),
            2 => self.tell(Input::Phase(Phase::Closed)),
            3 => self.tell(Input::Current),
            4 => self.tell(Input::Tuned(&vec![0.5, 0.01 * window as f32, -0.2].into())),
            5 => self.beacon_hears(beacon::Input::Connected),
            6 => self.beacon_hears(beacon::Input::Read),
            _line => self.console.connected(window.is_multiple_of(2)),
        }
    }

    fn beacon_hears(&mut self, input: beacon::Input<'_>) {
        let _taken = self.beacon.handle_input(input);
        self.pass_on();
    }

    fn tell(&mut self, input: Input<'_>) {
        let _taken = self.vehicle.handle_input(self.now(), input);
        self.act();
    }

    /// The vehicle's shell answers at once.
    fn act(&mut self) {
        while self.vehicle.poll_persist().is_some() {}
        while let Some(output) = self.vehicle.poll_output() {
            while self.vehicle.poll_persist().is_some() {}
            self.answer(output);
        }
    }

    fn answer(&mut self, output: Output) {
        match output {
            Output::Fetch { particle, .. } => self.fetch(particle),
            Output::Measure { job, candidate, .. } => {
                is_sound(&candidate);
                let (value, beside) = ((job * 37 % 900) as i16, (job * 11 % 500) as i16);
                let term = TermResult { value, beside, value_error: 9, difference_error: 3 };
                self.tell(Input::Measured { job, terms: &vec![term; self.terms] });
            }
            Output::Code { job, particle } => {
                is_sound(&particle.difference);
                match own_header(&particle, job) {
                    Some(header) if job.is_multiple_of(2) => {
                        let (particle, values) = (header.id(), &particle.difference);
                        let slot = (job % u64::from(SLOTS)) as u8;
                        self.tell(Input::Coded { job, particle, values, slot: Some(slot) });
                    }
                    Some(_) | None => self.tell(Input::Uncoded { job }),
                }
            }
            Output::Claim(fields) => assert!(Claim::new(fields).is_ok(), "it claims within bounds"),
            Output::Vote(fields) => assert!(Vote::new(fields).is_ok(), "it votes within bounds"),
            Output::Refusal(fields) => {
                assert!(Refusal::new(fields).is_ok(), "it refuses within bounds");
            }
            Output::Tune { from: values, .. } | Output::Stage(values) => is_sound(&values),
            Output::Publish { .. } | Output::Event(_) => {}
        }
    }

    /// What an insider's chunks hold is theirs to say, too.
    fn fetch(&mut self, particle: ParticleId) {
        self.fetched += 1;
        let values: Flat = match self.fetched % 6 {
            0 => return self.tell(Input::Missing { particle }),
            1 => return self.tell(Input::Unreached { particle }),
            2 => vec![f32::NAN; VALUES as usize].into(),
            3 => vec![f32::MAX; VALUES as usize].into(),
            4 => Vec::new().into(),
            _honest => vec![0.1, 0.2, self.fetched as f32 / 1e3].into(),
        };
        self.tell(Input::Fetched { particle, values: &values });
    }

    /// What the beacon says reaches everybody, itself among them.
    fn pass_on(&mut self) {
        loop {
            let (topic, bytes) = match self.beacon.poll_output() {
                None => return,
                Some(beacon::Output::Publish { topic, records }) => {
                    (topic.text().as_str().to_owned(), records.bytes().to_vec())
                }
                Some(beacon::Output::Clear(topic)) => {
                    (topic.text().as_str().to_owned(), Vec::new())
                }
                Some(beacon::Output::Ask(topic)) => {
                    let asked = |(text, _bytes): &(&String, &Vec<u8>)| {
                        Topic::decode(text).is_ok_and(|one| one.in_any_region() == topic.as_str())
                    };
                    let Some((text, bytes)) = self.board.iter().find(asked) else { continue };
                    (text.clone(), bytes.clone())
                }
                Some(beacon::Output::Subscribe(_) | beacon::Output::Unsubscribe(_)) => continue,
            };
            self.passed_on(&topic, &bytes);
        }
    }

    fn passed_on(&mut self, text: &str, bytes: &[u8]) {
        let topic = Topic::decode(text).expect("a beacon names topics");
        let _taken = self.beacon.handle_input(beacon::Input::Message { topic: &topic, bytes });
        if !matches!(topic.leaf(), Leaf::Beacon { .. }) || bytes.is_empty() {
            return;
        }
        let keyring = self.keyring.clone();
        let records = read_relayed(&topic, bytes, &keyring).expect("a beacon passes on records");
        records.iter().for_each(|(place, record)| self.tell_record(place, record));
    }

    fn show(&mut self) {
        let view = self.console.view(self.seconds);
        let page = serde_json::to_string(&view).expect("a page is text");
        assert!(!page.is_empty());
    }

    /// The play is over: everything is asked once more.
    pub(super) fn end(&mut self) {
        self.pass(0);
        let _best = self.console.best(self.seconds);
        let window = u32::try_from(self.seconds / u64::from(PERIOD_S)).unwrap_or(u32::MAX);
        let _found = (self.vehicle.best(window), self.vehicle.worst(window));
        let _aside = self.vehicle.quarantined(window);
    }
}

/// The keys of the fleet, as its documents give them.
fn keyring() -> Keyring {
    let mut keyring = Keyring::new(authority().public(), timekeeper().public());
    let known = keyring.clone();
    let posts = documents();
    let mut records = posts.iter().map(|Post { topic, bytes }| {
        let topic = Topic::decode(topic).expect("it was made of its parts");
        read(&topic, bytes, &known).expect("the authority's own document")
    });
    let (Some(Record::Roster(head)), Some(Record::RosterPage(page))) =
        (records.next(), records.next())
    else {
        panic!("the roster's head and page come first");
    };
    keyring.head(&head).expect("the first head");
    keyring.page(&head, &page).expect("its page");
    keyring
}

/// A header of what the vehicle codes.
fn own_header(particle: &Particle, job: u64) -> Option<ParticleHeader> {
    let Particle { role, window, anchor, inputs, .. } = particle;
    let [mark, ..] = job.to_le_bytes();
    let chunk = Chunk { first_value: 0, bytes: 1, hash: ChunkHash::new([mark; 32]) };
    ParticleHeader::new(ParticleHeaderFields {
        role: *role,
        window: *window,
        base_model: MODEL,
        layout: LAYOUT,
        anchor: *anchor,
        inputs: inputs.iter().copied().collect(),
        coding: 1,
        values: VALUES,
        chunks: [chunk].into_iter().collect(),
    })
    .ok()
}

/// What the vehicle goes on with is of its model, and of numbers.
fn is_sound(values: &Flat) {
    assert_eq!(values.len(), VALUES as usize);
    assert!(values.iter().all(|value| value.is_finite()), "{values:?}");
}

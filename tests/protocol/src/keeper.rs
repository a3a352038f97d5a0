//! The timekeeper of a world: the core that ships, with a clock that is right. It is killed and started again; what it had made
//! durable is there then, and what it had not is drawn anew.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use shoal_swarm::timekeeper::{Input, Output, Settings, Timekeeper};
use shoal_vehicle::exchange::key::Own;
use shoal_wire::v1::Nonce;
use shoal_wire::{Kind, Label, PublicKey, SecretKey, Topic, Unverified};

use crate::documents::{FLEET, Fleet, sealed};

/// From one key's metadata to the next's.
const OTHER_KEY: u64 = 100;

/// The timekeeper, whether it runs or not.
pub struct Keeper {
    core: Option<Timekeeper>,
    seed: u64,
    /// Nonces that it made durable, by place.
    kept: BTreeMap<u8, Vec<u8>>,
    /// The fleet's documents.
    documents: Vec<Vec<u8>>,
    /// Whether metadata say which of them count.
    metadata: bool,
    /// How many times it drew: no two draws are the same.
    draws: u64,
    /// When it is looked at again.
    pub wakes_us: Option<u64>,
}

impl Keeper {
    /// One that was never started.
    #[must_use]
    pub fn new(seed: u64, documents: Vec<Vec<u8>>, metadata: bool) -> Self {
        let kept = BTreeMap::new();
        Keeper { core: None, seed, kept, documents, metadata, draws: 0, wakes_us: None }
    }

    /// All that is published: the documents, and what says which of them count.
    fn published(&self, fleet: &Fleet) -> Vec<Vec<u8>> {
        let mut all = self.documents.clone();
        if self.metadata {
            all.extend(fleet.roots.clone());
            // Newer than all that the key before signed.
            let newer = if fleet.roots.is_some() { OTHER_KEY } else { 0 };
            all.extend(fleet.metadata(newer + self.documents.len() as u64, &self.documents));
        }
        all
    }

    /// Whether another key can take the place of its own: whether vehicles would follow.
    #[must_use]
    pub fn has_metadata(&self) -> bool {
        self.metadata
    }

    /// What it drew is signed by its new key: the same draws for the same windows.
    pub fn resign(&mut self, before: PublicKey, key: &SecretKey) {
        for bytes in self.kept.values_mut() {
            let record = Unverified::decode(bytes).expect("an envelope");
            let counter = record.head().counter;
            let nonce = record.verify::<Nonce>(&Own(before)).expect("its own");
            let sealed = sealed(key, counter, nonce.body()).0;
            *bytes = sealed;
        }
    }

    /// It runs, and reads what stands on the board.
    pub fn start<'a>(
        &mut self,
        fleet: &Fleet,
        utc_ms: u64,
        stands: impl Iterator<Item = (&'a str, &'a [u8])>,
    ) {
        let label = |text| Label::new(text).unwrap();
        let regions: Vec<Label<'_>> = fleet.regions().iter().copied().map(label).collect();
        let settings = Settings {
            authority: fleet.authority.public(),
            key: Box::new(fleet.timekeeper_key()),
            windows: None,
        };
        let mut core = Timekeeper::new(label(FLEET), &regions, settings);
        let documents = self.published(fleet);
        let documents: Vec<&[u8]> = documents.iter().map(Vec::as_slice).collect();
        core.handle_input(utc_ms, Input::Documents(&documents)).expect("the fleet's documents");
        for bytes in self.kept.values() {
            core.handle_input(utc_ms, Input::Kept(bytes)).expect("it kept this");
        }
        core.handle_input(utc_ms, Input::Connected).expect("it is connected");
        core.handle_input(utc_ms, Input::Subscribed).expect("it is subscribed");
        self.core = Some(core);
        for (topic, bytes) in stands {
            self.hear(topic, bytes, utc_ms);
        }
    }

    /// It is killed.
    pub fn kill(&mut self) {
        self.core = None;
    }

    /// It has another document.
    pub fn learn(&mut self, fleet: &Fleet, document: Vec<u8>, utc_ms: u64) {
        self.documents.push(document);
        let documents = self.published(fleet);
        let documents: Vec<&[u8]> = documents.iter().map(Vec::as_slice).collect();
        if let Some(core) = &mut self.core {
            core.handle_input(utc_ms, Input::Documents(&documents)).expect("a document");
        }
    }

    /// Something was published; what is not true it may refuse.
    pub fn hear(&mut self, topic: &str, bytes: &[u8], utc_ms: u64) {
        let (Some(core), Ok(place)) = (&mut self.core, Topic::decode(topic)) else { return };
        let reads = match place.leaf().kind() {
            Some(
                Kind::Nonce
                | Kind::WindowPlan
                | Kind::Roster
                | Kind::RosterPage
                | Kind::UtilityDocument
                | Kind::SwarmDocument
                | Kind::Document,
            ) => true,
            // What a campaign promotes, and what vehicles publish: it passes over those.
            Some(Kind::ParticleHeader) => true,
            Some(Kind::Claim | Kind::Vote | Kind::Presence | Kind::Refusal) | None => false,
        };
        if reads {
            let _refused = core.handle_input(utc_ms, Input::Message { topic: &place, bytes });
        }
    }

    /// It does what there is to do now; what it publishes, each with its topic.
    pub fn act(&mut self, utc_ms: u64) -> Vec<(String, Vec<u8>)> {
        let mut published = Vec::new();
        let Some(core) = &mut self.core else { return published };
        core.handle_timeout(utc_ms);
        loop {
            while let Some(durable) = core.poll_persist() {
                self.kept.insert(durable.place, durable.bytes.to_vec());
            }
            let window = match core.poll_output() {
                None | Some(Output::Done) => return published,
                Some(Output::Publish { topic, record }) => {
                    published.push((topic.text().to_string(), record.bytes().to_vec()));
                    continue;
                }
                Some(Output::Draw { window }) => window,
            };
            self.draws += 1;
            let hasher = Sha256::new().chain_update(self.seed.to_le_bytes());
            let nonce = hasher.chain_update(self.draws.to_le_bytes()).finalize().into();
            core.handle_input(utc_ms, Input::Drawn { window, nonce }).expect("32 bytes");
        }
    }

    /// When it has something to do again, in milliseconds of UTC.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        self.core.as_ref().and_then(Timekeeper::poll_timeout)
    }
}

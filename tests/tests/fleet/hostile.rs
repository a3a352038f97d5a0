//! A vehicle of the roster whose key somebody else has: vehicles that run, and one that says what it likes.

use std::net::SocketAddr;

use sha2::{Digest, Sha256};
use shoal_shadow::pack::Pack;
use shoal_swarm::keyring::Keyring;
use shoal_tests::clock::until;
use shoal_tests::fleet::{Fleet, Plan, Program};
use shoal_tests::observer::Observer;
use shoal_tests::publisher::Publisher;
use shoal_vehicle::config::FleetConfig;
use shoal_vehicle::exchange::weights::{About, Coded, code};
use shoal_wire::coding::Quality;
use shoal_wire::v1::{
    Claim, ClaimFields, Measured, Nonce, Refusal, RefusalCode, Role, SwarmDocument,
    SwarmDocumentFields,
};
use shoal_wire::{
    Body, KeyId, Keys, Kind, Label, Leaf, PackHash, ParticleId, PublicKey, RecordId, SecretKey,
    Topic, Unverified, seal,
};

/// Until when what is signed here counts.
const FOR_LONG: u64 = 4_000_000_000;

/// Any key may sign anything.
struct OneKey(PublicKey);

impl Keys for OneKey {
    fn find(&self, id: KeyId, _kind: Kind) -> Option<PublicKey> {
        (id == self.0.id()).then_some(self.0)
    }
}

pub(crate) struct Hostile {
    pub(crate) fleet: Fleet,
    pub(crate) told: FleetConfig,
    /// Of the last vehicle of the roster, which does not run.
    pub(crate) key: SecretKey,
    pub(crate) swarm: SwarmDocumentFields,
    pub(crate) observer: Observer,
    pub(crate) publisher: Publisher,
    counter: u64,
    /// What was published.
    sent: Vec<RecordId>,
    vehicles: Vec<Program>,
    _serve: Program,
}

impl Hostile {
    /// A fleet of so many vehicles that run, and this one.
    pub(crate) fn start(vehicles: u32, broker: SocketAddr) -> Option<Self> {
        let plan = Plan { vehicles: vehicles + 1, ..Plan::default() };
        let fleet = Fleet::make(&plan, broker)?;
        let told = fleet.told(0);
        let document = std::fs::read(fleet.path().join("documents/swarm.shl")).unwrap();
        let authority = OneKey(told.authority);
        let document = Unverified::decode(&document).unwrap().verify::<SwarmDocument>(&authority);
        Some(Self {
            swarm: *document.unwrap().body().fields(),
            key: fleet.key(vehicles),
            observer: Observer::start(&told),
            publisher: Publisher::connect(broker),
            counter: 0,
            sent: Vec::new(),
            _serve: fleet.serve(),
            vehicles: (0..vehicles).map(|number| fleet.start(number, &[])).collect(),
            told,
            fleet,
        })
    }

    pub(crate) fn topic(&self, publisher: KeyId, leaf: Leaf) -> String {
        let label = |text| Label::new(text).unwrap();
        let (fleet, region) = (label(&self.told.name), label(&self.told.region));
        Topic::new(fleet, region, publisher, leaf).unwrap().text().to_string()
    }

    /// Leaves bytes at a topic of the hostile vehicle.
    pub(crate) fn publish(&mut self, leaf: Leaf, bytes: &[u8]) {
        let topic = self.topic(self.key.public().id(), leaf);
        self.publish_at(&topic, bytes);
    }

    pub(crate) fn publish_at(&mut self, topic: &str, bytes: &[u8]) {
        self.sent.push(RecordId::new(Sha256::digest(bytes).into()));
        self.publisher.publish(topic, bytes);
    }

    pub(crate) fn seal<'a>(&mut self, body: &impl Body<'a>) -> Vec<u8> {
        self.counter += 1;
        let mut buffer = vec![0; 64 << 10];
        seal(body, self.counter, FOR_LONG, &self.key, &mut buffer).unwrap().bytes().to_vec()
    }

    /// The newest window that has a nonce, with it.
    fn nonce(&self) -> Option<(u32, [u8; 32])> {
        let keys = Keyring::new(self.told.authority, self.told.timekeeper);
        let nonce = |bytes: &[u8]| {
            let nonce = Unverified::decode(bytes).ok()?.verify::<Nonce>(&keys).ok()?;
            let fields = nonce.body().fields();
            Some((fields.window, fields.nonce))
        };
        self.observer.seen().iter().filter_map(|(_topic, bytes)| nonce(bytes)).max()
    }

    /// Does it in every window, once the window's nonce is there, until this is found.
    pub(crate) fn every_window<T>(
        &mut self,
        what: &str,
        mut publish: impl FnMut(&mut Self, u32, &[u8; 32]),
        mut look: impl FnMut(&Self) -> Option<T>,
    ) -> T {
        let mut done = None;
        until(what, || {
            if let Some((window, nonce)) = self.nonce().filter(|(window, _)| done < Some(*window)) {
                done = Some(window);
                publish(self, window, &nonce);
            }
            look(self)
        })
    }

    /// The first window of vehicle 0 that counts this code.
    pub(crate) fn rejected(&self, code: RefusalCode) -> Option<u32> {
        let lines = self.fleet.windows(0);
        let with = lines.iter().find(|line| line["rejected"][code.name()].as_u64() > Some(0));
        with.map(|line| line["window"].as_u64().unwrap() as u32)
    }

    /// Whether a vehicle that runs has said aloud that it refuses, with this code, something published here.
    pub(crate) fn is_refused_aloud(&self, code: RefusalCode) -> bool {
        let refused = |bytes: &[u8]| {
            let vehicles = 0..self.vehicles.len() as u32;
            vehicles.into_iter().any(|number| {
                let keys = OneKey(self.fleet.key(number).public());
                let refusal = Unverified::decode(bytes).ok();
                let refusal = refusal.and_then(|bytes| bytes.verify::<Refusal>(&keys).ok());
                refusal.is_some_and(|refusal| {
                    let fields = refusal.body().fields();
                    fields.code == code.number() && self.sent.contains(&fields.record)
                })
            })
        };
        self.observer.seen().iter().any(|(_topic, bytes)| refused(bytes))
    }

    /// After that window, vehicle 0 takes part as ever.
    pub(crate) fn goes_on_after(mut self, window: u32) {
        self.fleet.line(0, "a later window", |line| {
            line["window"].as_u64() > Some(window.into())
                && line["contributed"] == true
                && line["took_part"] == true
        });
        for vehicle in self.vehicles.drain(..) {
            assert_eq!(vehicle.terminate().code(), Some(0));
        }
    }

    /// A particle of the hostile vehicle: every value of its difference is this one.
    pub(crate) fn particle(&self, role: Role, window: u32, value: f32) -> Coded {
        let SwarmDocumentFields { base_model, layout, values, .. } = self.swarm;
        let about = About { role, window, base_model, layout, anchor: None, inputs: Vec::new() };
        code(about, vec![value; values as usize], &[values], Quality::new(8).unwrap()).unwrap()
    }

    /// Publishes chunks, then the header.
    pub(crate) fn publish_particle(&mut self, coded: &Coded) {
        for (index, chunk) in (0..).zip(&coded.chunks) {
            self.publish(Leaf::Chunk { slot: 0, index }, chunk);
        }
        let header = self.seal(&coded.header);
        self.publish(Leaf::Particle { slot: 0 }, &header);
    }

    /// Publishes a particle and claims far more of it than anybody will measure; its name.
    pub(crate) fn claims_falsely(&mut self, window: u32, nonce: &[u8; 32]) -> ParticleId {
        let coded = self.particle(Role::Best, window, 0.3);
        self.publish_particle(&coded);
        let claim = self.claim(&coded, nonce, 9900);
        let claim = self.seal(&claim);
        self.publish(Leaf::Claim { slot: 0 }, &claim);
        coded.header.id()
    }

    /// A claim of this particle, as good as this.
    pub(crate) fn claim(&self, coded: &Coded, nonce: &[u8; 32], value: i16) -> Claim {
        let fields = coded.header.fields();
        let pack = PackHash::new(Pack::open(&self.told.packs[0]).unwrap().sha256());
        Claim::new(ClaimFields {
            window: fields.window,
            slot: 0,
            particle: coded.header.id(),
            role: fields.role,
            pack,
            part: shoal_swarm::roster::part(nonce),
            utility_version: 1,
            terms: [Measured { value, standard_error: 10 }].into_iter().collect(),
        })
        .unwrap()
    }
}

//! What the authority and the timekeeper sign.

use shoal_wire::v1::{
    ConsensusRule, Growth, Knot, Metric, Nonce, NonceFields, PaperRule, Roster, RosterFields,
    RosterPage, RosterPageFields, Rule, SwarmDocument, SwarmDocumentFields, Term, UtilityDocument,
    UtilityDocumentFields, Vehicle, WindowPlan, WindowPlanFields,
};
use shoal_wire::{
    Body, KeyId, Kind, Label, LayoutHash, Leaf, ModelHash, PackHash, RecordId, SecretKey, Topic,
    seal,
};

use crate::calendar::Calendar;
use crate::engine::{START_SEED, layout, start};
use crate::weather::{PLENTY, Weather};

/// Names on the board.
pub const FLEET: &str = "fleet";
/// The regions; where there is one, it is the first.
pub const REGIONS: [&str; 2] = ["region-0", "region-1"];
/// The region of campaigns, and of who is of none.
pub const REGION: &str = REGIONS[0];
/// How long a window is open, in seconds.
pub const OPEN_S: u32 = 60;
/// The longest wait before a vehicle's turn, in milliseconds.
pub const JITTER_MS: u32 = 5_000;
/// The counter of the utility document that does not follow the one before.
pub const MISTAKEN_COUNTER: u64 = 6;
/// The counter of the second window plan.
pub const PLENTY_COUNTER: u64 = 8;
/// The counters of the second roster's page and head.
const GROWN_COUNTERS: [u64; 2] = [20, 21];
/// UTC of the first window, in seconds.
pub const EPOCH_S: u64 = 1_800_000_000;

/// The keys of a fleet.
#[derive(Debug)]
pub struct Fleet {
    /// Signs documents.
    pub authority: SecretKey,
    /// Signs nonces.
    pub timekeeper: SecretKey,
    /// The second key.
    pub approver: SecretKey,
    /// Of the vehicles, by number.
    pub vehicles: Vec<SecretKey>,
    /// How many regions there are: vehicles are in them in turn.
    pub regions: usize,
    /// How many vehicles a nonce asks for a contribution.
    pub asked: u16,
    /// By which they move.
    pub(crate) rule: Rule,
    /// When its windows are.
    pub calendar: Calendar,
    /// The envelope that tells of newer roots, once a key has changed.
    pub(crate) roots: Option<Vec<u8>>,
    pub(crate) seed: u64,
    /// Utility documents after the first.
    utilities: u32,
    /// How many vehicles are on the roster, the first ones.
    pub(crate) enrolled: usize,
    /// What that grew by.
    growth: Option<Growth>,
}

fn bytes_of(seed: u64, number: u64) -> [u8; 32] {
    let mut bytes = [0x51; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    bytes
}

fn key(seed: u64, number: u64) -> SecretKey {
    SecretKey::from_seed(&bytes_of(seed, number))
}

impl Fleet {
    /// The fleet of a world of this seed and weather.
    #[must_use]
    pub fn new(seed: u64, weather: &Weather) -> Self {
        let Weather { vehicles, regions, asked, paper, calendar, grows, .. } = *weather;
        let enrolled = vehicles - grows;
        let vehicles = (0..vehicles as u64).map(|number| key(seed, 10 + number)).collect();
        let [authority, timekeeper, approver] = [0, 1, 2].map(|number| key(seed, number));
        let rule = if paper {
            Rule::Paper(PaperRule::USUAL)
        } else {
            Rule::Consensus(ConsensusRule::USUAL)
        };
        let (roots, utilities) = (None, 0);
        Fleet {
            authority,
            timekeeper,
            approver,
            vehicles,
            regions,
            asked,
            rule,
            calendar,
            roots,
            seed,
            utilities,
            enrolled,
            growth: None,
        }
    }

    /// The bytes that a vehicle's key is made of.
    #[must_use]
    pub fn secret(&self, number: usize) -> [u8; 32] {
        bytes_of(self.seed, 10 + number as u64)
    }

    /// The names of the regions.
    #[must_use]
    pub fn regions(&self) -> &'static [&'static str] {
        &REGIONS[..self.regions]
    }

    /// SHA-256 of the model that all carry.
    #[must_use]
    pub fn model(&self) -> ModelHash {
        ModelHash::new([3; 32])
    }

    /// The pack that all measure on.
    #[must_use]
    pub fn pack(&self) -> PackHash {
        PackHash::new([4; 32])
    }

    /// The documents; so many bytes may cross a socket in a window, each way.
    #[must_use]
    pub fn documents(&self, bytes_max: u64) -> Vec<Vec<u8>> {
        let plan = sealed(&self.authority, 3, &self.plan(bytes_max));
        let utility = sealed(&self.authority, 4, &self.utility());
        let swarm = sealed(&self.authority, 5, &self.swarm());
        let rest = [plan, utility, swarm].map(|(bytes, _id)| bytes);
        self.roster(1, [1, 2]).into_iter().chain(rest).collect()
    }

    /// All vehicles are on the roster, the last ones from the window after the next of this one on: its page and its head.
    #[must_use]
    pub fn grow(&mut self, window: u32) -> [Vec<u8>; 2] {
        self.growth = Some(Growth { window: window + 2, places: self.enrolled as u32 });
        self.enrolled = self.vehicles.len();
        self.roster(2, GROWN_COUNTERS)
    }

    fn roster(&self, version: u32, counters: [u64; 2]) -> [Vec<u8>; 2] {
        let enrolled = self.vehicles.iter().take(self.enrolled).enumerate();
        let row = |(number, key): (usize, &SecretKey)| {
            let region = (number % self.regions) as u16;
            Vehicle { public_key: *key.public().bytes(), region }.encode()
        };
        let rows: Vec<u8> = enrolled.flat_map(row).collect();
        let page = RosterPageFields { version, index: 0, vehicles: &rows };
        let (page, id) = sealed(&self.authority, counters[0], &RosterPage::new(page).unwrap());
        let grown = self.growth.iter().flat_map(Growth::encode);
        let pages: Vec<u8> = id.bytes().iter().copied().chain(grown).collect();
        let head = RosterFields { version, vehicles: self.enrolled as u32, pages: &pages };
        let (head, _id) = sealed(&self.authority, counters[1], &Roster::new(head).unwrap());
        [page, head]
    }

    /// The timekeeper's key, once more.
    #[must_use]
    pub fn timekeeper_key(&self) -> SecretKey {
        key(self.seed, if self.roots.is_some() { 3 } else { 1 })
    }

    /// Whether the weights of the utility may move.
    #[must_use]
    pub fn has_told_another_utility(&self) -> bool {
        self.utilities > 0
    }

    /// Whether the newest utility document does not follow the one before.
    #[must_use]
    pub fn is_mistaken(&self) -> bool {
        4 + u64::from(self.utilities) == MISTAKEN_COUNTER
    }

    /// Whether the next one will not.
    #[must_use]
    pub fn next_is_mistaken(&self) -> bool {
        5 + u64::from(self.utilities) == MISTAKEN_COUNTER
    }

    /// The next utility document. The second has a term that counts a few windows after this one; in the third, by a mistake of the
    /// authority's, the terms have changed places; the fourth is as the second.
    #[must_use]
    pub fn news(&mut self, window: u32) -> Vec<u8> {
        self.utilities += 1;
        let silent = Knot { window: window + 3, weight: 0.0 };
        let term = self.term("again", &[silent, Knot { window: window + 6, weight: 1.0 }]);
        let mut terms: Vec<Term> =
            self.utility().fields().terms.iter().cloned().chain([term]).collect();
        let (counter, version) = (4 + u64::from(self.utilities), 1 + self.utilities);
        if self.is_mistaken() {
            terms.reverse();
        }
        let terms = terms.into_iter().collect();
        let news = UtilityDocument::new(UtilityDocumentFields { version, terms }).unwrap();
        sealed(&self.authority, counter, &news).0
    }

    /// A second window plan, by which so many bytes may cross that nobody lacks any.
    #[must_use]
    pub fn plenty(&self) -> Vec<u8> {
        sealed(&self.authority, PLENTY_COUNTER, &self.plan(PLENTY)).0
    }

    /// The window plan.
    #[must_use]
    pub fn plan(&self, bytes_max: u64) -> WindowPlan {
        WindowPlan::new(WindowPlanFields {
            epoch_seconds: EPOCH_S,
            period_seconds: self.calendar.period_s,
            open_seconds: OPEN_S,
            jitter_ms_max: JITTER_MS,
            up_bytes_max: bytes_max,
            down_bytes_max: bytes_max,
        })
        .unwrap()
    }

    fn utility(&self) -> UtilityDocument {
        let terms = [self.term("all", &[Knot { window: 0, weight: 1.0 }])].into_iter().collect();
        UtilityDocument::new(UtilityDocumentFields { version: 1, terms }).unwrap()
    }

    fn term(&self, name: &str, knots: &[Knot]) -> Term {
        Term {
            name: name.try_into().unwrap(),
            pack: self.pack(),
            metric: Metric::Skill,
            knots: knots.iter().copied().collect(),
            gate: None,
        }
    }

    fn swarm(&self) -> SwarmDocument {
        SwarmDocument::new(SwarmDocumentFields {
            version: 1,
            seed: self.seed,
            base_model: self.model(),
            layout: LayoutHash::new(layout().hash()),
            values: start().len() as u32,
            rank: 4,
            start_seed: START_SEED,
            asked: self.asked,
            rule: self.rule,
        })
        .unwrap()
    }
}

/// A nonce.
#[must_use]
pub fn nonce_of(window: u32, nonce: [u8; 32], utc_seconds: u64) -> Nonce {
    Nonce::new(NonceFields { window, nonce, utc_seconds }).unwrap()
}

pub(crate) fn place(key: &SecretKey, leaf: Leaf) -> String {
    place_of(key.public().id(), leaf)
}

pub(crate) fn place_of(key: KeyId, leaf: Leaf) -> String {
    place_in(REGION, key, leaf)
}

pub(crate) fn place_in(region: &str, key: KeyId, leaf: Leaf) -> String {
    let (fleet, region) = (Label::new(FLEET).unwrap(), Label::new(region).unwrap());
    Topic::new(fleet, region, key, leaf).unwrap().text().to_string()
}

pub(crate) fn sealed<'b, T: Body<'b>>(
    key: &SecretKey,
    counter: u64,
    body: &T,
) -> (Vec<u8>, RecordId) {
    let mut buffer = vec![0; Kind::envelope_bytes_max(T::KIND)];
    let not_after = EPOCH_S + 365 * 86_400;
    let sealed = seal(body, counter, not_after, key, &mut buffer).unwrap();
    (sealed.bytes().to_vec(), sealed.id())
}

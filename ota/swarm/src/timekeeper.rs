//! The timekeeper: which nonce is drawn when, and what is published again.
//!
//! One program of a fleet keeps the authority's documents on the broker, and a nonce for each window: random bytes that
//! nobody knew before the window before it had closed. [`Timekeeper`] decides; its shell has the clock, the randomness,
//! the files and the link. A nonce that was drawn is never contradicted, neither after a restart (it is durable before it
//! is published, and what stands on the broker is read first) nor by a broker that forgot it (it is published again). All regions of
//! a fleet have the same nonces, and the same documents but for those that name one region.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use shoal_wire::v1::{
    Document, DocumentFields, METADATA_NAME, METADATA_SLOT, NONCE_BYTES_MAX, NONCE_WINDOWS, Nonce,
    NonceFields, ParticleHeader, RejectNonce, Roster, RosterPage, SwarmDocument, UtilityDocument,
    WindowPlan, WindowPlanFields,
};
use shoal_wire::{
    Body, Head, KeyId, Kind, Label, Leaf, Outbound, PublicKey, RecordId, RejectEnvelope, SealError,
    Signer, Topic, Unverified, Verified, seal,
};

use crate::campaign;
use crate::inbox::{Record, RejectMessage, read};
use crate::keyring::Keyring;
use crate::reinstated;

/// After the last subscription was taken, what is retained is here in so long.
const READING_MS: u64 = 300;
/// So many nonces are known: twice as many as stand on the board.
const NONCES_MAX: usize = 2 * NONCE_WINDOWS as usize;
/// What does not stand although it was published is published again, but not sooner.
const AGAIN_MS: u64 = 2_000;
/// A nonce counts at least so long: as long as the claims of its window can.
const NONCE_SECONDS_MIN: u64 = 16 * 86_400;

/// How a timekeeper is to be.
#[derive(Debug)]
pub struct Settings {
    /// The key that signs documents.
    pub authority: PublicKey,
    /// The key that signs nonces.
    pub key: Box<dyn Signer>,
    /// How many windows there are; none: without end.
    pub windows: Option<u32>,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A broker accepted the connection. Nothing that it retains was read yet.
    Connected,
    /// It took the last of the subscriptions to the topics of nonces and documents.
    Subscribed,
    /// The connection ended.
    Disconnected,
    /// This came to stand at a topic, or stood there; no bytes: nothing does.
    Message {
        /// The topic.
        topic: &'a Topic<'a>,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The envelopes of all documents, in an order that stays: the ones of kind document take their slots by it, but for a
    /// campaign's and the reinstatements', which have their own. The header of the particle that a campaign promotes is one of them.
    /// A region's metadata, and a campaign with what it promotes, are for their region alone.
    Documents(&'a [&'a [u8]]),
    /// A nonce that [`Timekeeper::poll_persist`] made durable before a restart.
    Kept(&'a [u8]),
    /// Random bytes for what [`Output::Draw`] named.
    Drawn {
        /// The window.
        window: u32,
        /// The bytes.
        nonce: [u8; 32],
    },
}

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub enum Output<'a> {
    /// Random bytes are needed: [`Input::Drawn`] is the answer.
    Draw {
        /// The window they are for.
        window: u32,
    },
    /// Leave this at a topic, retained.
    Publish {
        /// The topic.
        topic: Topic<'a>,
        /// What stands there then.
        record: Outbound<'a>,
    },
    /// The last window has closed.
    Done,
}

/// A nonce to make durable, before any output is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable<'a> {
    /// Where: it takes the place of what was kept there before.
    pub place: u8,
    /// Its envelope.
    pub bytes: &'a [u8],
}

/// Why an input was rejected; nothing has changed then but what is said to.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// None of the documents was taken.
    #[error("document {index} is none of this authority's")]
    Document { index: usize, source: RejectEnvelope },
    /// None of the documents was taken.
    #[error("document {index} is a {kind:?}, which is no document")]
    Kind { index: usize, kind: Kind },
    #[error("no nonce of this timekeeper's")]
    Kept(#[source] RejectEnvelope),
    /// What stands there is overwritten, if there is something to stand there.
    #[error("what stands at {leaf:?} is no record")]
    Message { leaf: Leaf, source: RejectMessage },
    /// It stays: the document that is to stand there is a rollback.
    #[error("a newer {leaf:?} stands on the broker than is here: counter {standing}, here {here}")]
    Newer { leaf: Leaf, standing: u64, here: u64 },
    /// It is asked for again.
    #[error("no random bytes")]
    Drawn(#[from] RejectNonce),
    /// The key is in a token that is gone: bytes are asked for again.
    #[error("no nonce")]
    Unsigned(#[from] SealError),
}

/// Where the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Board {
    Away,
    /// What it retains is coming, until then.
    Reading(u64),
    Read,
}

/// One of our records, as it is to stand.
#[derive(Clone, Debug)]
struct Post {
    id: RecordId,
    counter: u64,
    envelope: Vec<u8>,
    /// When it may be published in each region.
    due_ms: Vec<u64>,
}

/// The number of a region, in the order in which the fleet has them.
type Region = usize;
/// By the region that it is for alone, who signed it, and place.
type Posts = BTreeMap<(Option<Region>, KeyId, Leaf), Post>;

/// What keeps a fleet's time. UTC is in milliseconds: a vehicle may live with seconds, but every second after the border
/// is one in which all of them wait.
#[derive(Debug)]
pub struct Timekeeper {
    fleet: String,
    regions: Vec<String>,
    settings: Settings,
    keyring: Keyring,
    /// The newest plan, with its counter.
    plan: Option<(u64, WindowPlanFields)>,
    documents: Posts,
    /// By window, with when it was drawn: the last [`NONCES_MAX`].
    nonces: BTreeMap<u32, (u64, Post)>,
    /// What stands at our topics, with its counter.
    standing: BTreeMap<(Region, KeyId, Leaf), (RecordId, u64)>,
    /// The highest that our key signed.
    counter: u64,
    board: Board,
    /// The window whose bytes were asked for.
    asked: Option<u32>,
    /// The window whose bytes are to be asked for.
    ask: Option<u32>,
    /// The window whose nonce is not durable.
    unsaved: Option<u32>,
    /// Whether the last window has closed, and whether that was told.
    done: Option<bool>,
    /// From when on the key is asked again that did not sign.
    signs_at_ms: u64,
    now_ms: u64,
}

impl Timekeeper {
    /// A timekeeper of a fleet and its regions, without documents, not connected.
    pub fn new(fleet: Label<'_>, regions: &[Label<'_>], settings: Settings) -> Self {
        Self {
            fleet: fleet.text().into(),
            regions: regions.iter().map(|region| region.text().into()).collect(),
            keyring: Keyring::new(settings.authority, settings.key.public()),
            settings,
            plan: None,
            documents: BTreeMap::new(),
            nonces: BTreeMap::new(),
            standing: BTreeMap::new(),
            counter: 0,
            board: Board::Away,
            asked: None,
            ask: None,
            unsaved: None,
            done: None,
            signs_at_ms: 0,
            now_ms: 0,
        }
    }

    /// Takes in what happened.
    ///
    /// # Errors
    /// [`Reject`]: it was not taken.
    pub fn handle_input(&mut self, utc_ms: u64, input: Input<'_>) -> Result<(), Reject> {
        let taken = match input {
            Input::Connected => {
                self.board = Board::Reading(u64::MAX);
                self.forget_board();
                Ok(())
            }
            Input::Subscribed => {
                self.board = Board::Reading(utc_ms.saturating_add(READING_MS));
                Ok(())
            }
            Input::Disconnected => {
                self.board = Board::Away;
                self.forget_board();
                Ok(())
            }
            Input::Message { topic, bytes } => self.message(topic, bytes),
            Input::Documents(documents) => self.take_documents(documents),
            Input::Kept(bytes) => {
                let nonce = Unverified::decode(bytes)
                    .and_then(|record| record.verify::<Nonce>(&self.keyring))
                    .map_err(Reject::Kept)?;
                self.take_nonce(&nonce);
                Ok(())
            }
            Input::Drawn { window, nonce } => self.drawn(utc_ms, window, nonce),
        };
        self.handle_timeout(utc_ms);
        taken
    }

    /// Sees what time it is. Early or repeated calls do nothing.
    pub fn handle_timeout(&mut self, utc_ms: u64) {
        self.now_ms = utc_ms;
        if matches!(self.board, Board::Reading(until) if until <= utc_ms) {
            self.board = Board::Read;
        }
        let Some(window) = self.window(utc_ms) else { return };
        if self.settings.windows.is_some_and(|windows| windows <= window) {
            self.done.get_or_insert(false);
            return;
        }
        // By their number: a clock that is far ahead for a moment must not have another drawn for a window that is open.
        while self.nonces.len() > NONCES_MAX {
            self.nonces.pop_first();
        }
        let missing = !self.nonces.contains_key(&window);
        let signs = self.signs_at_ms <= utc_ms;
        if self.board == Board::Read && missing && signs && self.asked != Some(window) {
            self.asked = Some(window);
            self.ask = Some(window);
        }
    }

    /// What must be durable before any output is asked for.
    pub fn poll_persist(&mut self) -> Option<Durable<'_>> {
        let window = self.unsaved.take()?;
        let (_drawn, post) = self.nonces.get(&window)?;
        let Leaf::Nonce { window: place } = Leaf::nonce(window) else { return None };
        Some(Durable { place, bytes: &post.envelope })
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output<'_>> {
        if let Some(window) = self.ask.take() {
            return Some(Output::Draw { window });
        }
        if self.board == Board::Read && self.unsaved.is_none() {
            let timekeeper = self.settings.key.public().id();
            // One of sixteen windows ago gave its place to this one's.
            let before = u32::from(NONCE_WINDOWS).saturating_sub(1);
            let now = self.window(self.now_ms).unwrap_or(0);
            let oldest = now.saturating_sub(before);
            let mut nonces = self.nonces.range(oldest..).filter_map(|(window, (_drawn, post))| {
                let region = self.lacking(None, timekeeper, Leaf::nonce(*window), post)?;
                Some((region, *window))
            });
            // Nonces first: vehicles wait for them.
            if let Some((region, window)) = nonces.next() {
                return self.publish_nonce(region, window);
            }
            let mut places = self.documents.iter().filter_map(|(place, post)| {
                let region = self.lacking(place.0, place.1, place.2, post)?;
                Some((region, *place))
            });
            if let Some((region, place)) = places.next() {
                return self.publish_document(region, place);
            }
        }
        match self.done {
            Some(false) => {
                self.done = Some(true);
                Some(Output::Done)
            }
            Some(true) | None => None,
        }
    }

    /// When to call [`Timekeeper::handle_timeout`] next, in milliseconds of UTC.
    pub fn poll_timeout(&self) -> Option<u64> {
        let border = self.window(self.now_ms).and_then(|window| self.closes_ms(window));
        let read = match self.board {
            Board::Away | Board::Read => None,
            Board::Reading(until) => Some(until).filter(|until| *until < u64::MAX),
        };
        let posts = self.nonces.values().map(|(_drawn, post)| post).chain(self.documents.values());
        let due = posts.flat_map(|post| post.due_ms.iter().copied());
        let again = due.filter(|due| *due > self.now_ms).min();
        let signs = Some(self.signs_at_ms).filter(|at| *at > self.now_ms);
        [border, read, again, signs].into_iter().flatten().min()
    }

    /// The window whose nonce is the newest that may be known: the one before it has closed.
    pub fn window(&self, utc_ms: u64) -> Option<u32> {
        let (_counter, plan) = self.plan.as_ref()?;
        let since_close = utc_ms.checked_sub(self.closes_ms(0)?);
        let period_ms = u64::from(plan.period_seconds).saturating_mul(1000);
        match since_close {
            None => Some(0),
            Some(since) => u32::try_from(since.checked_div(period_ms)?).ok()?.checked_add(1),
        }
    }

    /// When a window opens, in milliseconds of UTC.
    pub fn opens_ms(&self, window: u32) -> Option<u64> {
        let (_counter, plan) = self.plan.as_ref()?;
        let since = u64::from(window).checked_mul(u64::from(plan.period_seconds))?;
        plan.epoch_seconds.checked_add(since)?.checked_mul(1000)
    }

    /// When it closes.
    pub fn closes_ms(&self, window: u32) -> Option<u64> {
        let (_counter, plan) = self.plan.as_ref()?;
        self.opens_ms(window)?.checked_add(u64::from(plan.open_seconds).checked_mul(1000)?)
    }

    /// When this window's nonce was drawn, in seconds of UTC; `None`: it was not.
    pub fn drawn_seconds(&self, window: u32) -> Option<u64> {
        self.nonces.get(&window).map(|(drawn, _post)| *drawn)
    }

    fn forget_board(&mut self) {
        self.standing.clear();
        let nonces = self.nonces.values_mut().map(|(_drawn, post)| post);
        nonces.chain(self.documents.values_mut()).for_each(|post| post.due_ms.fill(0));
    }

    /// The first region in which this is to be put where it is to stand: nothing stands there, or something older. `of`: it is for
    /// that region alone.
    fn lacking(&self, of: Option<Region>, key: KeyId, leaf: Leaf, post: &Post) -> Option<Region> {
        let lacks = |region: &Region| {
            let standing = self.standing.get(&(*region, key, leaf));
            standing.is_none_or(|(id, counter)| *id != post.id && *counter <= post.counter)
        };
        let due = post.due_ms.iter().enumerate().filter(|(_region, due)| **due <= self.now_ms);
        let here = due.map(|(region, _due)| region);
        let mut here = here.filter(|region| of.is_none_or(|of| of == *region));
        here.find(lacks)
    }

    /// Not published yet in any region.
    fn new_post(&self, id: RecordId, counter: u64, envelope: &[u8]) -> Post {
        Post { id, counter, envelope: envelope.to_vec(), due_ms: vec![0; self.regions.len()] }
    }

    fn region(&self, name: &str) -> Option<Region> {
        self.regions.iter().position(|region| region == name)
    }

    fn message(&mut self, topic: &Topic<'_>, bytes: &[u8]) -> Result<(), Reject> {
        let (publisher, leaf) = (topic.publisher(), topic.leaf());
        let ours = [self.settings.authority.id(), self.settings.key.public().id()];
        let here = topic.fleet().text() == self.fleet && ours.contains(&publisher);
        let Some(region) = self.region(topic.region().text()).filter(|_region| here) else {
            return Ok(());
        };
        self.standing.remove(&(region, publisher, leaf));
        if bytes.is_empty() {
            return Ok(());
        }
        let record =
            read(topic, bytes, &self.keyring).map_err(|source| Reject::Message { leaf, source })?;
        let standing = record.head().counter;
        self.standing.insert((region, publisher, leaf), (record.outbound().id(), standing));
        if let Record::Nonce(nonce) = &record {
            self.take_nonce(nonce);
            return Ok(());
        }
        if let Record::WindowPlan(plan) = &record {
            self.take_plan(standing, plan.body().fields());
        }
        let of_one = self.documents.get(&(Some(region), publisher, leaf));
        match of_one.or_else(|| self.documents.get(&(None, publisher, leaf))) {
            Some(post) if post.counter < standing => {
                Err(Reject::Newer { leaf, standing, here: post.counter })
            }
            Some(_) | None => Ok(()),
        }
    }

    fn take_documents(&mut self, documents: &[&[u8]]) -> Result<(), Reject> {
        let mut taken = Posts::new();
        let (mut plan, mut promoted) = (None, None);
        for (index, bytes) in documents.iter().enumerate() {
            let failed = |source| Reject::Document { index, source };
            let record = Unverified::decode(bytes).map_err(failed)?;
            let Head { kind, key, counter, .. } = *record.head();
            let mut of = None;
            let (leaf, id) = match kind {
                Kind::WindowPlan => {
                    let read = self.verify::<WindowPlan>(record).map_err(failed)?;
                    plan = Some((counter, *read.body().fields()));
                    (Leaf::Plan, read.id())
                }
                Kind::Roster => {
                    (Leaf::Roster, self.verify::<Roster<'_>>(record).map_err(failed)?.id())
                }
                Kind::RosterPage => {
                    let page = self.verify::<RosterPage<'_>>(record).map_err(failed)?;
                    (Leaf::RosterPage { index: page.body().fields().index }, page.id())
                }
                Kind::UtilityDocument => {
                    (Leaf::Utility, self.verify::<UtilityDocument>(record).map_err(failed)?.id())
                }
                Kind::SwarmDocument => {
                    (Leaf::Swarm, self.verify::<SwarmDocument>(record).map_err(failed)?.id())
                }
                Kind::Document => {
                    let read = self.verify::<Document<'_>>(record).map_err(failed)?;
                    let slot;
                    (of, slot) = self.slot(key, read.body().fields(), &taken);
                    if slot == campaign::SLOT {
                        promoted = of;
                    }
                    (Leaf::Document { slot }, read.id())
                }
                Kind::ParticleHeader => {
                    let read = self.verify::<ParticleHeader>(record).map_err(failed)?;
                    (Leaf::Particle { slot: campaign::PARTICLE_SLOT }, read.id())
                }
                Kind::Claim | Kind::Vote | Kind::Presence | Kind::Nonce | Kind::Refusal => {
                    return Err(Reject::Kind { index, kind });
                }
            };
            taken.insert((of, key, leaf), self.new_post(id, counter, bytes));
        }
        // What a campaign promotes is for its region.
        let particle = Leaf::Particle { slot: campaign::PARTICLE_SLOT };
        let authority = self.settings.authority.id();
        if let Some(post) = taken.remove(&(None, authority, particle)) {
            taken.insert((promoted, authority, particle), post);
        }
        self.documents = taken;
        if let Some((counter, fields)) = plan {
            self.take_plan(counter, &fields);
        }
        Ok(())
    }

    /// The region that a document is for alone, and its slot beside those that are taken.
    fn slot(
        &self,
        key: KeyId,
        document: &DocumentFields<'_>,
        taken: &Posts,
    ) -> (Option<Region>, u8) {
        let DocumentFields { name, bytes, .. } = *document;
        let of = match name {
            campaign::NAME => campaign::region(bytes).and_then(|name| self.region(&name)),
            name => name.strip_prefix(METADATA_NAME).and_then(|name| self.region(name)),
        };
        let free = |first: u8| {
            let is = |slot| {
                let place = (key, Leaf::Document { slot });
                let mut there = taken.keys().filter(|(_of, key, leaf)| (*key, *leaf) == place);
                there.all(|(other, ..)| other.is_some() && of.is_some() && *other != of)
            };
            let free = (first..reinstated::SLOT).find(|slot| is(*slot));
            free.unwrap_or(campaign::SLOT)
        };
        let slot = match name {
            campaign::NAME => campaign::SLOT,
            reinstated::NAME => reinstated::SLOT,
            name if name.starts_with(METADATA_NAME) => free(METADATA_SLOT),
            _ => free(0),
        };
        (of, slot)
    }

    fn verify<'a, T: Body<'a>>(
        &self,
        record: Unverified<'a>,
    ) -> Result<Verified<'a, T>, RejectEnvelope> {
        record.verify(&self.keyring)
    }

    /// Follows a newer plan. Nonces that its windows do not know any more leave.
    fn take_plan(&mut self, counter: u64, fields: &WindowPlanFields) {
        if self.plan.as_ref().is_some_and(|(newest, _plan)| counter <= *newest) {
            return;
        }
        self.plan = Some((counter, *fields));
        self.asked = None;
        let mut nonces = core::mem::take(&mut self.nonces);
        nonces.retain(|window, (drawn, _post)| self.counts(*window, *drawn));
        self.nonces = nonces;
    }

    /// Keeps a nonce of ours, wherever it was found. The highest counter of a window counts.
    fn take_nonce(&mut self, nonce: &Verified<'_, Nonce>) {
        let NonceFields { window, utc_seconds, .. } = *nonce.body().fields();
        let counter = nonce.head().counter;
        self.counter = self.counter.max(counter);
        let newer = self.nonces.get(&window).is_none_or(|(_drawn, post)| post.counter < counter);
        if newer && self.counts(window, utc_seconds) {
            let post = self.new_post(nonce.id(), counter, nonce.bytes());
            self.nonces.insert(window, (utc_seconds, post));
        }
    }

    /// Whether a nonce that was drawn then is one of this window: the window before had closed. One that is not is left from
    /// another plan.
    fn counts(&self, window: u32, drawn_seconds: u64) -> bool {
        let Some(before) = window.checked_sub(1) else { return true };
        let closed = self.closes_ms(before);
        closed.is_none_or(|closed| closed <= drawn_seconds.saturating_mul(1000))
    }

    fn drawn(&mut self, utc_ms: u64, window: u32, nonce: [u8; 32]) -> Result<(), Reject> {
        if self.asked != Some(window) || self.nonces.contains_key(&window) {
            return Ok(());
        }
        self.asked = None;
        let utc_seconds = utc_ms.checked_div(1000).unwrap_or(0);
        let body = Nonce::new(NonceFields { window, nonce, utc_seconds })?;
        let periods = self.plan.as_ref().map_or(0, |(_counter, plan)| {
            u64::from(plan.period_seconds).saturating_mul(u64::from(NONCE_WINDOWS))
        });
        let not_after = utc_seconds.saturating_add(periods.max(NONCE_SECONDS_MIN));
        let counter = self.counter.saturating_add(1);
        let mut buffer = vec![0; NONCE_BYTES_MAX];
        // Should it not sign.
        self.signs_at_ms = utc_ms.saturating_add(AGAIN_MS);
        let sealed = seal(&body, counter, not_after, &*self.settings.key, &mut buffer)?;
        self.signs_at_ms = 0;
        let post = self.new_post(sealed.id(), counter, sealed.bytes());
        self.counter = counter;
        self.nonces.insert(window, (utc_seconds, post));
        self.unsaved = Some(window);
        Ok(())
    }

    fn publish_nonce(&mut self, region: Region, window: u32) -> Option<Output<'_>> {
        let again = self.now_ms.saturating_add(AGAIN_MS);
        let (_drawn, post) = self.nonces.get_mut(&window)?;
        *post.due_ms.get_mut(region)? = again;
        let (_drawn, post) = self.nonces.get(&window)?;
        self.publish(region, self.settings.key.public().id(), Leaf::nonce(window), post)
    }

    fn publish_document(
        &mut self,
        region: Region,
        place: (Option<Region>, KeyId, Leaf),
    ) -> Option<Output<'_>> {
        let again = self.now_ms.saturating_add(AGAIN_MS);
        *self.documents.get_mut(&place)?.due_ms.get_mut(region)? = again;
        self.publish(region, place.1, place.2, self.documents.get(&place)?)
    }

    fn publish<'a>(
        &'a self,
        region: Region,
        publisher: KeyId,
        leaf: Leaf,
        post: &'a Post,
    ) -> Option<Output<'a>> {
        let fleet = Label::new(&self.fleet).ok()?;
        let region = Label::new(self.regions.get(region)?).ok()?;
        let topic = Topic::new(fleet, region, publisher, leaf).ok()?;
        // It was verified when it was taken, or sealed here.
        let record = read(&topic, &post.envelope, &self.keyring).ok()?.outbound();
        Some(Output::Publish { topic, record })
    }
}

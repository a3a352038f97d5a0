//! A beacon: it folds a fleet's records to those that matter, and passes them on unchanged in its region.
//!
//! A vehicle that listens to beacons reads a few dozen records a window, however many vehicles there are; one that reads everybody
//! reads them all. What the records mean is the same ([`Fold::kept`]). A beacon holds no trust: each record is its vehicle's,
//! signed, and is checked again by who hears it; a beacon that lies can withhold and repeat. There may be any number of them, killed
//! and added at will: what they pass on is joined by union.
//!
//! Claims stay on the board, where vehicles put them. The beacon keeps of each vehicle and window a row of fixed size, and asks the
//! board for the bytes of those that matter. Votes are asked of who is drawn to vote. [`Beacon`] decides; its shell has the link.
//!
//! The swarm is the fleet's, whatever regions there are: what beacons of other regions passed on is folded like what those of the own
//! one did, and whether a beacon reads other regions' claims itself is its setting ([`Reads`]).

mod agreed;
mod board;
mod choose;
mod fold;
mod references;
mod voters;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use shoal_wire::v1::{
    Claim, ClaimFields, NONCE_WINDOWS, Nonce, ParticleHeader, Role, Vote, VoteFields,
};
use shoal_wire::{
    HEAD_BYTES, KeyId, Label, Leaf, Outbound, ParticleId, PublicKey, RELAYED_BYTES_MAX, Relayed,
    SIGNATURE_BYTES, Topic, Verified, decode_body, relay,
};

use crate::inbox::{Record, RejectMessage, read, read_relayed};
use crate::records::{JUDGED_WINDOWS, Records, RejectRecord, Signed, When};
use crate::reinstated;
use crate::roster::Roster;
use agreed::{Agreed, News};
use board::Board;
pub use fold::{Fold, Kept, Reading};
use references::{Half, References};
use voters::{Voters, votes};

/// What came of a window is looked at for so many more: longer than it stands on the board.
const AGE_WINDOWS: u32 = 4;
/// A beacon that starts takes in the claims of so many windows before the newest; their votes stand on the board, too.
const BEFORE: u32 = 3;
/// So many merges of an open window are passed on, each whose turn was one of the first for a while; and those of so many who may be
/// drawn to fold, whoever else claims one.
const MERGES_MAX: usize = 16;
/// After so many looks at what matters the board is asked again for what it was asked for and did not give.
const ASK_AGAIN: u32 = 25;

/// Which beacon of which fleet.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The key that signs documents.
    pub authority: PublicKey,
    /// The key that signs nonces.
    pub timekeeper: PublicKey,
    /// Under which it publishes; it signs nothing.
    pub id: KeyId,
    /// Whose claims it reads.
    pub reads: Reads,
}

/// Whose claims and particles a beacon reads, besides what other beacons passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// Those of the whole fleet: regions without a beacon are heard, and nothing depends on other regions' beacons.
    Fleet,
    /// Those of its region, where the fleet has more than one beacon can read. Every other region is heard by its beacons alone.
    Region,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A broker accepted the connection: what stands there may be gone.
    Connected,
    /// What stood at the topics that were subscribed to has come.
    Read,
    /// This came to stand at a topic, or stood there; no bytes: nothing does.
    Message {
        /// The topic.
        topic: &'a Topic<'a>,
        /// The bytes.
        bytes: &'a [u8],
    },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Output<'a> {
    /// Ask for all that stands, and will stand, at the topics of a filter.
    Subscribe(String),
    /// Ask for no more of it.
    Unsubscribe(String),
    /// Ask for the one record that stands at the topics of a filter, once.
    Ask(String),
    /// Leave this at a topic, retained.
    Publish {
        /// The topic.
        topic: Topic<'a>,
        /// What stands there then.
        records: Relayed<'a>,
    },
    /// Take away what stands at a topic.
    Clear(Topic<'a>),
}

/// What a claim lacks before it can be passed on.
#[derive(Clone, Debug, Default, PartialEq)]
struct Wanted {
    claim: Option<Vec<u8>>,
    header: Option<Vec<u8>>,
    with_header: bool,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
enum Act {
    Subscribe(String),
    Unsubscribe(String),
    Ask(String),
    Publish(Leaf),
    Clear(Leaf),
}

/// The core.
#[derive(Debug)]
pub struct Beacon {
    fleet: String,
    region: String,
    id: KeyId,
    reads: Reads,
    agreed: Agreed,
    /// What was passed on, and nonces: what standing follows from. `None`: it is not known what particles are.
    records: Option<Records>,
    folds: BTreeMap<u32, Fold>,
    /// The first window whose claims are folded.
    first: u32,
    /// The window of the newest nonce, and when that was drawn.
    newest: Option<(u32, u64)>,
    /// The newest of each window, as they came.
    nonces: BTreeMap<u32, (Signed<Nonce>, Vec<u8>)>,
    /// Whether what stood at the topics of what is agreed has come.
    read: bool,
    /// The window in which it began to listen.
    listening: Option<u32>,
    /// Something came that may change what matters.
    changed: bool,
    wanted: BTreeMap<(u32, KeyId), Wanted>,
    /// Claims that were passed on; those with their header, as they came.
    passed: BTreeMap<(u32, KeyId), Option<Vec<u8>>>,
    voters: Voters,
    references: References,
    /// Of which particles of a window records mattered at the last look.
    matters: BTreeMap<u32, BTreeSet<ParticleId>>,
    looks: u32,
    board: Board,
    acts: VecDeque<Act>,
    buffer: Box<[u8; RELAYED_BYTES_MAX]>,
}

impl Beacon {
    /// A beacon that knows nothing yet.
    pub fn new(fleet: Label<'_>, region: Label<'_>, settings: &Settings) -> Self {
        let Settings { authority, timekeeper, id, reads } = *settings;
        let mut this = Self {
            fleet: fleet.text().into(),
            region: region.text().into(),
            id,
            reads,
            agreed: Agreed::new(authority, timekeeper),
            records: None,
            folds: BTreeMap::new(),
            first: 0,
            newest: None,
            nonces: BTreeMap::new(),
            read: false,
            listening: None,
            changed: false,
            wanted: BTreeMap::new(),
            passed: BTreeMap::new(),
            voters: Voters::default(),
            references: References::default(),
            matters: BTreeMap::new(),
            looks: 0,
            board: Board::default(),
            acts: VecDeque::new(),
            buffer: Box::new([0; RELAYED_BYTES_MAX]),
        };
        let (authority, timekeeper) = (authority.id(), timekeeper.id());
        for kind in ["roster", "utility", "swarm"] {
            this.subscribe(&format!("{kind}/{authority}"));
        }
        this.subscribe(&format!("document/{authority}/{}", reinstated::SLOT));
        this.subscribe(&format!("rosterpage/{authority}/#"));
        this.subscribe(&format!("nonce/{timekeeper}/#"));
        this
    }

    /// Takes in what happened.
    ///
    /// # Errors
    /// [`RejectMessage`]: what stands at a topic is no record; nothing has changed.
    pub fn handle_input(&mut self, input: Input<'_>) -> Result<(), RejectMessage> {
        match input {
            Input::Connected => {
                let again: Vec<Act> = self.board.leaves().map(Act::Publish).collect();
                self.acts.extend(again);
                self.ask_again();
                Ok(())
            }
            Input::Read => {
                self.read = true;
                self.listen();
                Ok(())
            }
            Input::Message { topic, bytes } => {
                let taken = self.message(topic, bytes);
                // Nobody may have agreed on anything when it began.
                self.listen();
                taken
            }
        }
    }

    /// Looks at what matters by now. It is a pass over every row: to be called some times a second, not with each record.
    pub fn handle_timeout(&mut self) {
        if core::mem::take(&mut self.changed) && self.listening.is_some() {
            let windows: Vec<u32> = self.folds.keys().copied().collect();
            windows.into_iter().for_each(|window| self.choose(window));
        }
        self.looks = self.looks.wrapping_add(1);
        if self.looks.is_multiple_of(ASK_AGAIN) {
            self.ask_again();
        }
    }

    /// What to do next.
    pub fn poll_output(&mut self) -> Option<Output<'_>> {
        // It was verified when it was taken: only who left the roster since is not known any more.
        while let Some(Act::Publish(leaf)) = self.acts.front().cloned()
            && self.stands(leaf).is_none()
        {
            self.acts.pop_front();
        }
        match self.acts.pop_front()? {
            Act::Subscribe(filter) => Some(Output::Subscribe(filter)),
            Act::Unsubscribe(filter) => Some(Output::Unsubscribe(filter)),
            Act::Ask(topic) => Some(Output::Ask(topic)),
            Act::Clear(leaf) => topic(&self.fleet, &self.region, self.id, leaf).map(Output::Clear),
            Act::Publish(leaf) => self.publish(leaf),
        }
    }

    /// What is to stand at one of our topics, read again.
    fn stands(&self, leaf: Leaf) -> Option<Vec<(Topic<'_>, Record<'_>)>> {
        let topic = topic(&self.fleet, &self.region, self.id, leaf)?;
        read_relayed(&topic, self.board.at(leaf)?, &self.agreed.keyring).ok()
    }

    fn publish(&mut self, leaf: Leaf) -> Option<Output<'_>> {
        let topic = topic(&self.fleet, &self.region, self.id, leaf)?;
        let records = read_relayed(&topic, self.board.at(leaf)?, &self.agreed.keyring).ok()?;
        let mut records = records.iter().map(|(_topic, record)| record.outbound());
        let (first, second) = (records.next()?, records.next());
        let records = relay(first, second, self.buffer.as_mut_slice()).ok()?;
        Some(Output::Publish { topic, records })
    }

    /// The window of the newest nonce.
    pub fn window(&self) -> Option<u32> {
        self.newest.map(|(window, _utc)| window)
    }

    /// How many claims of the window before the newest nonce's were passed on.
    pub fn passed_on(&self) -> usize {
        let closed = self.window().and_then(|window| window.checked_sub(1));
        self.passed.keys().filter(|(window, _signer)| Some(*window) == closed).count()
    }

    fn listen(&mut self) {
        let Some((newest, _utc)) = self.newest else { return };
        if !self.read || self.listening.is_some() || !self.agreed.whole() {
            return;
        }
        self.listening = Some(newest);
        self.first = newest.saturating_sub(BEFORE);
        self.hear();
        self.say_nonce(newest);
    }

    /// Asks for all that vehicles claim, and beacons pass on; again: what stands there comes again.
    fn hear(&mut self) {
        for kind in ["particle", "claim"] {
            match self.reads {
                Reads::Fleet => self.subscribe_everywhere(&format!("{kind}/#")),
                Reads::Region => self.subscribe(&format!("{kind}/#")),
            }
        }
        self.subscribe_everywhere("beacon/#");
    }

    /// Passes on a window's nonce: who listens knows by it that the beacon is there.
    fn say_nonce(&mut self, window: u32) {
        if let Some((_nonce, bytes)) = self.nonces.get(&window) {
            self.put(window, None, bytes.clone());
        }
    }

    fn message(&mut self, topic: &Topic<'_>, bytes: &[u8]) -> Result<(), RejectMessage> {
        let leaf = topic.leaf();
        let (beacon, in_region) =
            (matches!(leaf, Leaf::Beacon { .. }), topic.region().text() == self.region);
        let here =
            topic.fleet().text() == self.fleet && (in_region || beacon || leaf.is_of_vehicles());
        let ours = topic.publisher() == self.id && beacon && in_region;
        if ours && !bytes.is_empty() {
            self.board.seen(leaf);
        }
        let echo = ours && self.board.at(leaf) == Some(bytes);
        if !here || bytes.is_empty() || echo || self.is_of_no_use(leaf, bytes) {
            return Ok(());
        }
        if beacon {
            let records = read_relayed(topic, bytes, &self.agreed.keyring)?;
            self.learn(&records, bytes);
            if self.mirror(&records) {
                return Ok(());
            }
            for (topic, record) in records {
                if !self.is_of_no_use(topic.leaf(), record.outbound().bytes()) {
                    self.take(&topic, &record);
                }
            }
            return Ok(());
        }
        let record = read(topic, bytes, &self.agreed.keyring)?;
        self.take(topic, &record);
        Ok(())
    }

    /// Remembers what another beacon passed on, for as long as votes may be measured beside it.
    fn learn(&mut self, records: &[(Topic<'_>, Record<'_>)], message: &[u8]) {
        if let [(_, Record::Claim(claim)), (_, Record::ParticleHeader(header))] = records {
            let fields = claim.body().fields();
            if fields.particle == header.body().id() {
                self.changed |= self.references.is_sought(fields.particle);
                self.references.learn(fields.particle, fields.window, message);
            }
        }
    }

    /// Passes on once more what another beacon passed on of a window that is settled: claims are not folded any more, and that beacon
    /// may be gone when a newcomer asks. True: it is of such a window.
    fn mirror(&mut self, records: &[(Topic<'_>, Record<'_>)]) -> bool {
        let Some((_topic, first)) = records.first() else { return false };
        let header = records.get(1).and_then(|(topic, record)| match (topic.leaf(), record) {
            (Leaf::Particle { slot }, Record::ParticleHeader(header)) => Some((slot, header)),
            (_, _) => None,
        });
        let Some(when) = when(self.newest) else { return false };
        // Once a window of its own has begun, nobody has more to tell.
        let settled = |window: u32| window < self.first && self.listening == Some(when.window);
        let (window, about, taken) = match first {
            Record::Claim(claim) if settled(claim.body().fields().window) => {
                let (window, signed) = (claim.body().fields().window, Signed::from(claim));
                let about = claim.body().fields().particle;
                let taken = self.record(|records, roster| records.claim(&when, roster, &signed));
                if let Some((slot, header)) = header {
                    let signed = Signed::from(&**header);
                    self.record(|records, roster| records.header(&when, roster, &signed, slot));
                }
                (window, about, taken)
            }
            // On claims of the window before.
            Record::Vote(vote) if settled(vote.body().fields().window.saturating_sub(1)) => {
                let VoteFields { window, nominee, .. } = *vote.body().fields();
                let signed = Signed::from(vote);
                let taken = self.record(|records, roster| records.vote(&when, roster, &signed));
                (window, nominee, taken)
            }
            Record::Claim(_)
            | Record::Vote(_)
            | Record::ParticleHeader(_)
            | Record::Presence(_)
            | Record::Nonce(_)
            | Record::WindowPlan(_)
            | Record::Roster(_)
            | Record::RosterPage(_)
            | Record::UtilityDocument(_)
            | Record::SwarmDocument(_)
            | Record::Refusal(_)
            | Record::Document(_) => return false,
        };
        if let Some(Ok(true) | Err(RejectRecord::Contradicted { .. })) = taken {
            self.changed = true;
            let header = header.map(|(_slot, header)| Outbound::from(&**header));
            self.pass_on((window, about), first.outbound(), header);
        }
        true
    }

    /// Whether a record is of a window that does not matter, or is known: seen before its signature is checked.
    fn is_of_no_use(&self, leaf: Leaf, bytes: &[u8]) -> bool {
        let body = bytes.get(HEAD_BYTES..bytes.len().saturating_sub(SIGNATURE_BYTES));
        let body = body.unwrap_or_default();
        let seeks = |particle| self.references.is_sought(particle);
        let window = match leaf {
            Leaf::Claim { .. } => {
                let claim = decode_body::<Claim>(body).ok();
                let fields = claim.as_ref().map(Claim::fields);
                if fields.is_some_and(|fields| seeks(fields.particle)) {
                    return false;
                }
                fields.map(|fields| fields.window)
            }
            Leaf::Vote { .. } => return false,
            Leaf::Particle { .. } => {
                let header = decode_body::<ParticleHeader>(body).ok();
                let fields = header.as_ref().map(ParticleHeader::fields);
                let claimed = fields.filter(|fields| fields.role != Role::Contribution);
                if fields.is_some() && claimed.is_none() {
                    return true;
                }
                // Its name is a hash of all of it.
                if self.references.seeks() && header.as_ref().is_some_and(|one| seeks(one.id())) {
                    return false;
                }
                claimed.map(|fields| fields.window)
            }
            Leaf::Chunk { .. } | Leaf::Presence | Leaf::Plan | Leaf::Refusal { .. } => return true,
            Leaf::Document { slot } => return slot != reinstated::SLOT,
            Leaf::Nonce { .. }
            | Leaf::Roster
            | Leaf::RosterPage { .. }
            | Leaf::Utility
            | Leaf::Swarm
            | Leaf::Beacon { .. } => return false,
        };
        let newest = self.newest.map_or(0, |(window, _utc)| window);
        let open = self.first..=newest.saturating_add(1);
        window.is_some_and(|window| !open.contains(&window))
    }

    fn take(&mut self, topic: &Topic<'_>, record: &Record<'_>) {
        match record {
            Record::Claim(claim) if claim.body().fields().window < self.first => {
                let ClaimFields { particle, slot, .. } = *claim.body().fields();
                let of = (particle, claim.head().key);
                self.changed |= self.references.found(of, (Half::Claim, slot), claim.bytes());
            }
            Record::ParticleHeader(header) if header.body().fields().window < self.first => {
                let Leaf::Particle { slot } = topic.leaf() else { return };
                let of = (header.body().id(), header.head().key);
                self.changed |= self.references.found(of, (Half::Header, slot), header.bytes());
            }
            Record::Claim(claim) => self.claim(claim),
            Record::ParticleHeader(header) => self.header(topic, header),
            Record::Vote(vote) => self.vote(vote),
            Record::Nonce(nonce) => {
                let fields = nonce.body().fields();
                let this = (fields.window, fields.utc_seconds);
                let newest = self.newest.max(Some(this));
                let known = self.nonces.get(&fields.window);
                if known.is_none_or(|(known, _bytes)| known.counter < nonce.head().counter) {
                    let kept = (Signed::from(nonce), nonce.bytes().to_vec());
                    self.nonces.insert(fields.window, kept);
                }
                self.tell_nonces(when(newest));
                if self.newest < newest {
                    self.newest = newest;
                    self.turn();
                }
                self.changed = true;
            }
            Record::Roster(_)
            | Record::RosterPage(_)
            | Record::UtilityDocument(_)
            | Record::SwarmDocument(_)
            | Record::Document(_) => self.document(record),
            Record::Presence(_) | Record::WindowPlan(_) | Record::Refusal(_) => {}
        }
    }

    fn document(&mut self, record: &Record<'_>) {
        let Some(news) = self.agreed.take(record) else { return };
        self.changed = true;
        let another = self.records.as_ref().map(Records::shape) != self.agreed.shape();
        if let Some(shape) = self.agreed.shape().filter(|_shape| another) {
            self.records = Some(Records::new(shape));
            self.references = References::default();
            self.tell_nonces(when(self.newest));
        }
        // Rows are numbered as the roster is.
        if another || news == News::Roster {
            if let Some(records) = &mut self.records {
                records.keep(self.agreed.keyring.roster());
            }
            self.folds.clear();
            if self.listening.is_some() {
                self.hear();
            }
        }
    }

    fn tell_nonces(&mut self, when: Option<When>) {
        let (Some(records), Some(when)) = (&mut self.records, when) else { return };
        for (nonce, _bytes) in self.nonces.values() {
            // It is known, or there is a newer one of its window.
            let _known = records.nonce(&when, nonce);
        }
    }

    /// A window has closed: what is older than the one that is voted on is settled.
    fn turn(&mut self) {
        let Some(when) = when(self.newest) else { return };
        if self.listening.is_some() {
            self.first = self.first.max(when.window.saturating_sub(1));
            self.say_nonce(when.window);
        }
        let known = when.window.saturating_sub(NONCE_WINDOWS.into());
        self.nonces.retain(|window, _nonce| *window >= known);
        let first = self.first;
        self.folds.retain(|window, _fold| *window >= first);
        self.wanted.retain(|(window, _signer), _wanted| *window >= first);
        let old = when.window.saturating_sub(AGE_WINDOWS);
        self.passed.retain(|(window, _signer), _claim| *window >= old);
        self.matters.retain(|window, _particles| *window >= old);
        self.references.settle(old);
        for (window, voter) in self.voters.settle(old) {
            let filter = self.everywhere(&votes(window, voter));
            self.acts.push_back(Act::Unsubscribe(filter));
        }
        if let Some(records) = &mut self.records {
            records.expire(&when, &[]);
        }
    }

    fn claim(&mut self, claim: &Verified<'_, Claim>) {
        let signed = Signed::from(claim);
        let fields = claim.body().fields();
        let key = (fields.window, signed.signer);
        let Some(number) = self.agreed.keyring.roster().number(signed.signer) else { return };
        let Some(when) = when(self.newest) else { return };
        if when.fresh(&signed).is_err() {
            return;
        }
        let fold = self.fold(fields.window);
        let joined = fold.claim(number, signed.of(fields.clone()));
        self.changed |= joined != Ok(false);
        let lie = matches!(joined, Err(RejectRecord::Contradicted { .. }));
        if lie && self.passed.contains_key(&key) {
            // Who has heard the one must hear the other.
            self.pass_on((fields.window, fields.particle), Outbound::from(claim), None);
            self.record(|records, roster| records.claim(&when, roster, &signed));
        }
        let counts = self.folds.get(&fields.window).and_then(|fold| fold.claimed(number));
        let counts = counts.is_some_and(|counts| counts.body == *fields);
        if let Some(wanted) = self.wanted.get_mut(&key).filter(|_wanted| counts) {
            wanted.claim = Some(claim.bytes().to_vec());
            self.complete(key);
        }
    }

    fn header(&mut self, topic: &Topic<'_>, header: &Verified<'_, ParticleHeader>) {
        let (fields, signer) = (header.body().fields(), header.head().key);
        let Some(number) = self.agreed.keyring.roster().number(signer) else { return };
        let Some(when) = when(self.newest) else { return };
        let right = self.agreed.shape().is_some_and(|shape| shape.check(fields).is_ok());
        if !right || when.fresh(&Signed::from(header)).is_err() {
            return;
        }
        let fold = self.fold(fields.window);
        let Leaf::Particle { slot } = topic.leaf() else { return };
        let new = fold.header(number, (fields.role, slot), header.body().id());
        let claim = fold.claimed(number).map(|claim| claim.body.clone());
        self.changed |= new;
        let Some(claim) = claim else { return };
        let key = (fields.window, signer);
        let (same, role) = (claim.particle == header.body().id(), claim.role == fields.role);
        if new && !same && role {
            self.contradicted(key, &claim, header);
        }
        let here = same && slot == claim.slot;
        if let Some(wanted) = self.wanted.get_mut(&key).filter(|_wanted| here) {
            wanted.header = Some(header.bytes().to_vec());
            self.complete(key);
        }
    }

    /// Who has heard a claim with its header must hear that there is another.
    fn contradicted(
        &mut self,
        key: (u32, KeyId),
        claim: &ClaimFields,
        header: &Verified<'_, ParticleHeader>,
    ) {
        let (Some(Some(passed)), Some(when)) = (self.passed.get(&key), when(self.newest)) else {
            return;
        };
        let message = [passed.as_slice(), header.bytes()].concat();
        self.put(key.0, Some(claim.particle), message);
        let signed = Signed::from(header);
        self.record(|records, roster| records.header(&when, roster, &signed, claim.slot));
    }

    fn vote(&mut self, vote: &Verified<'_, Vote>) {
        let signed = Signed::from(vote);
        let VoteFields { window, place, nominee, .. } = *vote.body().fields();
        let voter = (window, signed.signer);
        if !self.voters.is_drawn(voter) {
            return;
        }
        let before =
            self.records.as_ref().and_then(|records| records.voted(window, signed.signer, place));
        let counts = |nominee: &ParticleId| self.voters.is_drawn_on(voter, *nominee);
        let about = [Some(nominee), before].into_iter().flatten().find(counts);
        let Some(when) = when(self.newest) else { return };
        let taken = self.record(|records, roster| records.vote(&when, roster, &signed));
        let Some(Ok(true) | Err(RejectRecord::Contradicted { .. })) = taken else { return };
        if before.is_some() && taken == Some(Ok(true)) {
            // The same vote in another envelope says nothing new: passed on, it would fill the board.
            return;
        }
        let key = (window, signed.signer, place);
        let held = self.voters.release(key);
        if about.is_some() {
            self.changed = true;
            held.into_iter().for_each(|held| self.put(window, about, held));
            self.put(window, about, vote.bytes().to_vec());
        } else if before.is_none() {
            self.voters.hold(key, nominee, vote.bytes());
        }
    }

    fn pass_on(
        &mut self,
        (window, about): (u32, ParticleId),
        first: Outbound<'_>,
        second: Option<Outbound<'_>>,
    ) {
        let rest = second.map_or(&[][..], |second| second.bytes());
        self.put(window, Some(about), [first.bytes(), rest].concat());
    }

    fn put(&mut self, window: u32, about: Option<ParticleId>, message: Vec<u8>) {
        let matters = |particle| {
            let of = [Some(window), window.checked_sub(1)].into_iter().flatten();
            let mut of = of.filter_map(|of| self.matters.get(&of));
            of.any(|particles| particles.contains(&particle))
        };
        if let Some((leaf, cleared)) = self.board.put(window, (about, message), matters) {
            self.acts.extend(cleared.into_iter().map(Act::Clear));
            self.acts.push_back(Act::Publish(leaf));
        }
    }

    fn record(
        &mut self,
        take: impl FnOnce(&mut Records, &Roster) -> Result<bool, RejectRecord>,
    ) -> Option<Result<bool, RejectRecord>> {
        Some(take(self.records.as_mut()?, self.agreed.keyring.roster()))
    }

    fn subscribe(&mut self, rest: &str) {
        let filter = self.path(rest);
        self.acts.push_back(Act::Subscribe(filter));
    }

    fn subscribe_everywhere(&mut self, rest: &str) {
        let filter = self.everywhere(rest);
        self.acts.push_back(Act::Subscribe(filter));
    }

    fn everywhere(&self, rest: &str) -> String {
        format!("shoal/1/{}/+/{rest}", self.fleet)
    }

    fn path(&self, rest: &str) -> String {
        format!("shoal/1/{}/{}/{rest}", self.fleet, self.region)
    }
}

fn when(newest: Option<(u32, u64)>) -> Option<When> {
    let (window, utc_seconds) = newest?;
    Some(When { window, utc_seconds, age_windows: JUDGED_WINDOWS })
}

fn topic<'a>(fleet: &'a str, region: &'a str, publisher: KeyId, leaf: Leaf) -> Option<Topic<'a>> {
    Topic::new(Label::new(fleet).ok()?, Label::new(region).ok()?, publisher, leaf).ok()
}

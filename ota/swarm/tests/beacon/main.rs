//! Beacons as programs would run them, against a notice board.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fleet;
mod references;
mod regions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use fleet::{Post, authority, claim, claimed, documents, header, key, nonce, post, topic};
use sha2::{Digest as _, Sha256};
use shoal_swarm::beacon::{Beacon, Input, Output, Reads, Settings};
use shoal_swarm::inbox::{Record, read_relayed};
use shoal_swarm::keyring::Keyring;
use shoal_swarm::quorum::Quorum;
use shoal_swarm::records::{Records, Signed, When};
use shoal_swarm::reinstated::{self, Reinstated};
use shoal_swarm::roster::{Roster, part};
use shoal_swarm::utility::Utility;
use shoal_wire::v1::{Compared, Document, DocumentFields, Role, UtilityDocument, Vote, VoteFields};
use shoal_wire::{KeyId, Kind, Label, Leaf, Topic, Unverified};

/// A filter of MQTT, without its finer points.
fn matches(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), Some(_)) | (None, None) => return true,
            (Some("+"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            (Some(_) | None, Some(_) | None) => return false,
        }
    }
}

/// What stands under each topic.
#[derive(Default)]
struct Board {
    stands: BTreeMap<String, Vec<u8>>,
}

impl Board {
    fn leave(&mut self, posts: impl IntoIterator<Item = Post>, beacons: &mut [Program]) {
        for (topic, bytes) in posts {
            self.stands.insert(topic.text().to_string(), bytes.clone());
            for beacon in &mut *beacons {
                beacon.hear(&topic.text(), &bytes);
            }
        }
        self.settle(beacons);
    }

    /// Until nobody has anything to do.
    fn settle(&mut self, beacons: &mut [Program]) {
        loop {
            let mut said = Vec::new();
            for beacon in &mut *beacons {
                said.extend(beacon.step(self));
            }
            if said.is_empty() {
                return;
            }
            for (topic, bytes) in said {
                self.stands.insert(topic.clone(), bytes.clone());
                beacons.iter_mut().for_each(|beacon| beacon.hear(&topic, &bytes));
            }
        }
    }

    /// What a vehicle has taken in that listens to these beacons, of what stands there.
    fn heard(&self, ring: &Keyring, newest: u32, from: impl Fn(KeyId) -> bool) -> Records {
        let mut records = Records::new(shape());
        self.listen(&mut records, ring, newest, from);
        records
    }

    fn listen(
        &self,
        records: &mut Records,
        ring: &Keyring,
        newest: u32,
        from: impl Fn(KeyId) -> bool,
    ) {
        let when = When { window: newest, utc_seconds: 0, age_windows: 4 };
        for window in 0..=newest {
            let (_topic, bytes) = nonce(window);
            let nonce = Unverified::decode(&bytes).unwrap().verify(ring).unwrap();
            let _known = records.nonce(&when, &Signed::from(&nonce));
        }
        for (text, bytes) in self.stands.iter().filter(|(_text, bytes)| !bytes.is_empty()) {
            let topic = Topic::decode(text).unwrap();
            if !matches!(topic.leaf(), Leaf::Beacon { .. }) || !from(topic.publisher()) {
                continue;
            }
            for (place, record) in read_relayed(&topic, bytes, ring).unwrap() {
                take(records, ring.roster(), &when, &place, &record);
            }
        }
    }

    /// What one has that reads everybody.
    fn read(&self, records: &mut Records, ring: &Keyring, newest: u32) {
        self.listen(records, ring, newest, |_beacon| false);
        let when = When { window: newest, utc_seconds: 0, age_windows: 4 };
        for (text, bytes) in &self.stands {
            let topic = Topic::decode(text).unwrap();
            if let Ok(record) = shoal_swarm::inbox::read(&topic, bytes, ring) {
                take(records, ring.roster(), &when, &topic, &record);
            }
        }
    }
}

fn shape() -> shoal_swarm::records::Shape {
    let fields = header(0, 0, Role::Best);
    let fields = fields.fields();
    shoal_swarm::records::Shape {
        base_model: fields.base_model,
        layout: fields.layout,
        values: fields.values,
    }
}

fn take(
    records: &mut Records,
    roster: &Roster,
    when: &When,
    topic: &Topic<'_>,
    record: &Record<'_>,
) {
    let _lie = match (record, topic.leaf()) {
        (Record::Claim(claim), _) => records.claim(when, roster, &Signed::from(claim)),
        (Record::Vote(vote), _) => records.vote(when, roster, &Signed::from(vote)),
        (Record::ParticleHeader(header), Leaf::Particle { slot }) => {
            records.header(when, roster, &Signed::from(&**header), slot)
        }
        (_, _) => Ok(false),
    };
}

/// A beacon, as its shell runs it.
struct Program {
    core: Beacon,
    filters: BTreeSet<String>,
    /// So many times the broker does not give what it is asked for.
    lost: usize,
}

impl Program {
    fn start(number: u8) -> Self {
        Self::start_in(number, "region", Reads::Fleet)
    }

    fn start_in(number: u8, region: &str, reads: Reads) -> Self {
        let settings = Settings {
            authority: authority().public(),
            timekeeper: fleet::timekeeper().public(),
            id: beacon_id(number),
            reads,
        };
        let core =
            Beacon::new(Label::new("fleet").unwrap(), Label::new(region).unwrap(), &settings);
        Self { core, filters: BTreeSet::new(), lost: 0 }
    }

    fn hear(&mut self, topic: &str, bytes: &[u8]) {
        if self.filters.iter().any(|filter| matches(filter, topic)) {
            let topic = &Topic::decode(topic).unwrap();
            self.core.handle_input(Input::Message { topic, bytes }).unwrap();
        }
    }

    /// Carries out what there is to do; what it publishes.
    fn step(&mut self, board: &Board) -> Vec<(String, Vec<u8>)> {
        let mut said = Vec::new();
        self.core.handle_timeout();
        let mut asked = Vec::new();
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Subscribe(filter) => {
                    self.filters.insert(filter.clone());
                    asked.push(filter);
                }
                Output::Unsubscribe(filter) => {
                    self.filters.remove(&filter);
                }
                Output::Ask(_topic) if self.lost > 0 => self.lost -= 1,
                Output::Ask(topic) => asked.push(topic),
                Output::Publish { topic, records } => {
                    said.push((topic.text().to_string(), records.bytes().to_vec()));
                }
                Output::Clear(topic) => said.push((topic.text().to_string(), Vec::new())),
            }
        }
        let any = !asked.is_empty();
        for filter in asked {
            for (topic, bytes) in board.stands.iter().filter(|(topic, _)| matches(&filter, topic)) {
                let topic = &Topic::decode(topic).unwrap();
                self.core.handle_input(Input::Message { topic, bytes }).unwrap();
            }
        }
        if any {
            self.core.handle_input(Input::Read).unwrap();
            said.extend(self.step(board));
        }
        said
    }
}

fn beacon_id(number: u8) -> KeyId {
    KeyId::new([number; 8])
}

const VEHICLES: u32 = 12;

fn ring() -> Keyring {
    ring_of(VEHICLES)
}

fn ring_of(vehicles: u32) -> Keyring {
    let mut ring = Keyring::new(authority().public(), fleet::timekeeper().public());
    let documents = documents(vehicles);
    let of = |kind| documents.iter().find(move |(topic, _)| topic.leaf().kind() == Some(kind));
    let (head, page) = (of(Kind::Roster).unwrap(), of(Kind::RosterPage).unwrap());
    let keys = ring.clone();
    let head = Unverified::decode(&head.1).unwrap().verify(&keys).unwrap();
    ring.head(&head).unwrap();
    ring.page(&head, &Unverified::decode(&page.1).unwrap().verify(&keys).unwrap()).unwrap();
    ring
}

fn utility() -> Utility {
    let documents = documents(VEHICLES);
    let post = documents.iter().find(|(topic, _)| topic.leaf() == Leaf::Utility).unwrap();
    let ring = Keyring::new(authority().public(), fleet::timekeeper().public());
    let document = Unverified::decode(&post.1).unwrap().verify::<UtilityDocument>(&ring).unwrap();
    Utility::new(document.body())
}

/// In window 6 the authority reinstates everybody.
static REINSTATED: LazyLock<Reinstated> = LazyLock::new(|| {
    let vehicles: BTreeSet<KeyId> = (0..VEHICLES).map(|number| key(number).public().id()).collect();
    Reinstated::new(vehicles.into_iter().map(|vehicle| (vehicle, 6)).collect()).unwrap()
});

fn reinstated() -> Post {
    let bytes = REINSTATED.encode();
    let fields = DocumentFields { name: reinstated::NAME, version: 1, bytes: &bytes };
    let leaf = Leaf::Document { slot: reinstated::SLOT };
    post(&authority(), leaf, 9, &Document::new(fields).unwrap())
}

fn reading<'a>(
    records: &'a Records,
    ring: &'a Keyring,
    utility: &'a Utility,
    window: u32,
) -> Quorum<'a> {
    let quorum = Quorum::new(records, ring.roster(), utility, window).unwrap();
    quorum.reinstating(&REINSTATED)
}

/// What everybody who is drawn finds of the nominees of a window: that they are what they claim, or much less.
fn votes(records: &Records, ring: &Keyring, window: u32, honest: bool) -> Vec<Post> {
    let utility = utility();
    let quorum = reading(records, ring, &utility, window + 1);
    let best = quorum.best().map(|best| best.particle);
    let nonce = fleet::nonce_bytes(window + 1);
    let mut posts = Vec::new();
    let aside = quorum.quarantined(window + 1);
    for (place, nominee) in (0..).zip(quorum.nominees(window)) {
        let present = ring.roster().at(window + 1);
        let voters = present.voters(&nonce, nominee.particle, nominee.claimant, &aside);
        for number in (0..VEHICLES).filter(|one| voters.contains(&key(*one).public().id())) {
            let value = if honest { 6_000 } else { 1_000 };
            let term = Compared { value, best: 3_000, standard_error: 50 };
            let vote = Vote::new(VoteFields {
                window: window + 1,
                place,
                nominee: nominee.particle,
                best: best.filter(|best| *best != nominee.particle),
                pack: fleet::PACK,
                part: part(&nonce),
                utility_version: 1,
                terms: [term].into_iter().collect(),
            });
            let counter = u64::from(window) * 10 + 5 + u64::from(place);
            let leaf = Leaf::vote(window + 1, place);
            posts.push(post(&key(number), leaf, counter, &vote.unwrap()));
        }
    }
    posts
}

fn same(heard: &Records, whole: &Records, ring: &Keyring, newest: u32) {
    let utility = utility();
    let quorum = |records| reading(records, ring, &utility, newest);
    let (heard, whole) = (quorum(heard), quorum(whole));
    assert_eq!(heard.best(), whole.best());
    assert_eq!(heard.worst(), whole.worst());
    assert_eq!(heard.quarantined(newest), whole.quarantined(newest));
    for window in 0..newest {
        assert_eq!(heard.nominees(window), whole.nominees(window), "window {window}");
    }
    assert!(newest < 2 || !whole.nominees(newest - 1).is_empty());
}

/// One beacon from the beginning, one that is killed, one that is added later: who listens to any that is there knows what is best.
#[test]
fn beacons_are_killed_and_added_and_who_listens_knows_what_everybody_knows() {
    let ring = ring();
    let mut board = Board::default();
    board.leave(documents(VEHICLES).into_iter().chain([reinstated(), nonce(0)]), &mut []);
    let mut beacons = vec![Program::start(1), Program::start(2)];
    for beacon in &mut beacons {
        beacon.core.handle_input(Input::Connected).unwrap();
    }
    board.settle(&mut beacons);
    // One reads everybody, one listens to beacon 2 for as long as it is there, one to whoever is there; the last comes when only
    // beacon 3 is there.
    let [mut whole, mut of_second, mut of_all] = [(); 3].map(|()| Records::new(shape()));
    let mut newcomer = None;
    for window in 0..10 {
        match window {
            3 => drop(beacons.remove(0)),
            5 => {
                beacons.push(Program::start(3));
                board.settle(&mut beacons);
            }
            7 => {
                drop(beacons.remove(0));
                let mut records = Records::new(shape());
                board.listen(&mut records, &ring, window, |id| id == beacon_id(3));
                newcomer = Some(records);
            }
            _ => {}
        }
        for number in 0..VEHICLES {
            let role = match number % 4 {
                0 => Role::Merge,
                3 => Role::Worst,
                _ => Role::Best,
            };
            let value = 1_000 + ((number * 7 + window * 5) % 60) as i16 * 100;
            board.leave(claimed(number, window, role, value), &mut beacons);
        }
        board.read(&mut whole, &ring, window);
        board.listen(&mut of_all, &ring, window, |_any| true);
        // What is claimed in an open window can be followed.
        let merges = |records: &Records| {
            let utility = utility();
            let quorum = reading(records, &ring, &utility, window);
            quorum.merges(window).first().cloned()
        };
        assert_eq!(merges(&of_all), merges(&whole));
        board.leave([nonce(window + 1)], &mut beacons);
        board.read(&mut whole, &ring, window + 1);
        let votes = votes(&whole, &ring, window, window % 3 != 1);
        board.leave(votes, &mut beacons);
        board.read(&mut whole, &ring, window + 1);
        board.listen(&mut of_all, &ring, window + 1, |_any| true);
        same(&of_all, &whole, &ring, window + 1);
        if window < 7 {
            board.listen(&mut of_second, &ring, window + 1, |id| id == beacon_id(2));
            same(&of_second, &whole, &ring, window + 1);
        }
        if let Some(records) = &mut newcomer {
            board.listen(records, &ring, window + 1, |id| id == beacon_id(3));
            let utility = utility();
            let quorum = |records| reading(records, &ring, &utility, window + 1);
            let (new, whole) = (quorum(records), quorum(&whole));
            assert_eq!(new.best(), whole.best());
            assert_eq!(new.quarantined(window + 1), whole.quarantined(window + 1));
            assert_eq!(new.nominees(window), whole.nominees(window));
        }
    }
    let utility = utility();
    let quorum = reading(&whole, &ring, &utility, 10);
    assert!(quorum.best().is_some() && !quorum.quarantined(10).is_empty());
}

/// Who has heard a claim hears that it was contradicted.
#[test]
fn a_contradiction_of_what_was_passed_on_is_passed_on() {
    let other = claim(&header(VEHICLES - 1, 0, Role::Best), 1, 9_000);
    is_passed_on(post(&key(VEHICLES - 1), Leaf::Claim { slot: 1 }, 99, &other));
}

/// The same of a header: then nobody knows which particle was meant.
#[test]
fn a_header_that_contradicts_what_was_passed_on_is_passed_on() {
    let other = header(VEHICLES, 0, Role::Best);
    is_passed_on(post(&key(VEHICLES - 1), Leaf::Particle { slot: 1 }, 99, &other));
}

/// After this of who claims the highest, that claim counts for nobody who listens.
fn is_passed_on(contradiction: Post) {
    let ring = ring();
    let (mut board, mut beacons) = claimed_by_all();
    board.leave([nonce(1)], &mut beacons);
    let utility = utility();
    let highest = |board: &Board| {
        let records = board.heard(&ring, 1, |_any| true);
        let quorum = reading(&records, &ring, &utility, 1);
        quorum.nominees(0).first().unwrap().claimant
    };
    assert_eq!(highest(&board), key(VEHICLES - 1).public().id());
    board.leave([contradiction], &mut beacons);
    assert_eq!(highest(&board), key(VEHICLES - 2).public().id(), "the next one");
}

/// A board on which everybody claims something in window 0, the last vehicle the highest, and a beacon.
fn claimed_by_all() -> (Board, [Program; 1]) {
    let mut board = Board::default();
    board.leave(documents(VEHICLES).into_iter().chain([nonce(0)]), &mut []);
    let mut beacons = [Program::start(1)];
    board.settle(&mut beacons);
    for number in 0..VEHICLES {
        let value = 1_000 + number as i16 * 100;
        board.leave(claimed(number, 0, Role::Best, value), &mut beacons);
    }
    (board, beacons)
}

/// The same, a window later: what all have of it who read everybody, and no vote yet.
fn asked_to_vote(ring: &Keyring) -> (Board, [Program; 1], Records) {
    let (mut board, mut beacons) = claimed_by_all();
    board.leave([nonce(1)], &mut beacons);
    let mut whole = Records::new(shape());
    board.read(&mut whole, ring, 1);
    (board, beacons, whole)
}

/// Whose the first of these votes is, and what it says.
fn first_of(votes: &[Post], ring: &Keyring) -> (u32, VoteFields) {
    let (topic, bytes) = &votes[0];
    let number = (0..VEHICLES).find(|one| key(*one).public().id() == topic.publisher()).unwrap();
    let vote = Unverified::decode(bytes).unwrap().verify::<Vote>(ring).unwrap();
    (number, vote.body().fields().clone())
}

/// How much a beacon has passed on.
fn passed_on(board: &Board) -> usize {
    let of_beacon = board.stands.iter().filter(|(topic, bytes)| {
        let leaf = Topic::decode(topic).unwrap().leaf();
        matches!(leaf, Leaf::Beacon { .. }) && !bytes.is_empty()
    });
    of_beacon.count()
}

/// A voter may say whatever it likes. What it is not drawn to say takes no place, and still voids what it contradicts.
#[test]
fn a_vote_that_nobody_asked_for_is_passed_on_where_it_contradicts_one_alone() {
    let ring = ring();
    let (mut board, mut beacons, mut whole) = asked_to_vote(&ring);
    let honest = votes(&whole, &ring, 0, true);
    // A vote of one who is drawn, and the same with another word for what it is on.
    let (number, mut fields) = first_of(&honest, &ring);
    fields.nominee = header(VEHICLES + 7, 0, Role::Best).id();
    let before = passed_on(&board);
    for place in 0..4 {
        let fields = VoteFields { place, ..fields.clone() };
        let junk = post(&key(number), Leaf::vote(1, place), 3, &Vote::new(fields).unwrap());
        board.leave([junk], &mut beacons);
    }
    assert_eq!(passed_on(&board), before);
    board.read(&mut whole, &ring, 1);
    board.leave(honest, &mut beacons);
    board.read(&mut whole, &ring, 1);
    let heard = board.heard(&ring, 1, |_any| true);
    let junk = fields.nominee;
    let by = |records: &Records| {
        let votes = records.votes(1).filter(|vote| vote.body.nominee != junk);
        votes.map(|vote| (vote.signer, vote.body.place)).collect::<BTreeSet<_>>()
    };
    let liar = key(number).public().id();
    assert!(!by(&heard).is_empty() && by(&heard).iter().all(|(signer, _place)| *signer != liar));
    assert_eq!(by(&heard), by(&whole));
}

/// A voter with a key has as many envelopes as it likes; the board has 256 topics a window.
#[test]
fn a_vote_in_many_envelopes_is_passed_on_once() {
    let ring = ring();
    let (mut board, mut beacons, mut whole) = asked_to_vote(&ring);
    let honest = votes(&whole, &ring, 0, true);
    let (number, fields) = first_of(&honest, &ring);
    let (leaf, vote) = (Leaf::vote(1, fields.place), Vote::new(fields).unwrap());
    let envelopes = (1_000..1_200).map(|counter| post(&key(number), leaf, counter, &vote));
    let mut envelopes: Vec<Post> = envelopes.collect();
    envelopes.sort_by_key(|(_topic, bytes)| Sha256::digest(bytes));
    envelopes.reverse();
    let before = passed_on(&board);
    board.leave(envelopes, &mut beacons);
    assert_eq!(passed_on(&board), before + 1);
    board.leave(honest, &mut beacons);
    board.read(&mut whole, &ring, 1);
    let said = |records: &Records| -> Vec<(KeyId, VoteFields)> {
        records.votes(1).map(|vote| (vote.signer, vote.body.clone())).collect()
    };
    assert_eq!(said(&board.heard(&ring, 1, |_any| true)), said(&whole));
}

/// Whoever claims a merge early, and however many: that of who is drawn to fold is passed on.
#[test]
fn the_merge_of_who_may_fold_is_passed_on_whoever_else_claims_one() {
    const MANY: u32 = 48;
    let ring = ring_of(MANY);
    let mut board = Board::default();
    board.leave(documents(MANY).into_iter().chain([nonce(0)]), &mut []);
    let mut beacons = [Program::start(1)];
    board.settle(&mut beacons);
    let nonce = fleet::nonce_bytes(0);
    let asked = ring.roster().at(0).asked(&nonce, 16, &BTreeSet::new());
    let all = (0..MANY).map(|number| key(number).public().id()).collect();
    let number = |id: &KeyId| (0..MANY).find(|one| key(*one).public().id() == *id).unwrap();
    let mut others = ring.roster().folders(&nonce, &all, MANY as usize);
    others.retain(|id| !asked.contains(id));
    for liar in others.iter().rev() {
        board.leave(claimed(number(liar), 0, Role::Merge, 9_000), &mut beacons);
    }
    let last = ring.roster().folders(&nonce, &asked, 16).pop().unwrap();
    board.leave(claimed(number(&last), 0, Role::Merge, 2_000), &mut beacons);
    let heard = board.heard(&ring, 0, |_any| true);
    assert!(heard.claims(0).any(|claim| claim.signer == last));
    assert!(heard.claims(0).count() <= 18, "not everybody's");
}

/// A broker may lose what it is asked for.
#[test]
fn the_board_is_asked_again_for_what_did_not_come() {
    let (mut board, mut beacons) = claimed_by_all();
    let before = passed_on(&board);
    beacons[0].lost = 100;
    board.leave([nonce(1)], &mut beacons);
    assert_eq!(passed_on(&board), before + 1, "the nonce alone");
    beacons[0].lost = 0;
    (0..25).for_each(|_look| beacons[0].core.handle_timeout());
    board.settle(&mut beacons);
    assert!(passed_on(&board) > before + 1);
}

/// What was passed on of who has left the roster since is passed over.
#[test]
fn who_leaves_the_roster_keeps_nobody_elses_records_back() {
    let (mut board, mut beacons) = claimed_by_all();
    board.leave([nonce(1)], &mut beacons);
    let gone = key(VEHICLES - 1).public().id();
    let others = board.stands.iter().filter(|(topic, bytes)| {
        let topic = Topic::decode(topic).unwrap();
        let of = |bytes: &[u8]| Unverified::decode(bytes).map(|record| record.head().key);
        matches!(topic.leaf(), Leaf::Beacon { .. })
            && !bytes.is_empty()
            && read_relayed(&topic, bytes, &ring()).is_ok()
            && of(bytes).is_ok_and(|key| key != gone)
    });
    let others = others.count();
    board.stands.retain(|topic, _bytes| !topic.contains(&gone.to_string()));
    board.leave(fleet::roster(VEHICLES - 1, 2), &mut beacons);
    beacons[0].core.handle_input(Input::Connected).unwrap();
    let said = beacons[0].step(&board).into_iter().filter(|(topic, _)| topic.contains("/beacon/"));
    let again: BTreeSet<String> = said.map(|(topic, _bytes)| topic).collect();
    assert!(others > 2 && again.len() >= others, "{again:?} of {others}");
}

/// A beacon can forge nothing, and puts no header in a place that its publisher did not name.
#[test]
fn what_is_passed_on_is_checked_as_if_it_came_from_its_vehicle() {
    let ring = ring();
    let place = topic(beacon_id(7), Leaf::beacon(0, 0));
    let [(_, header), (_, claim)] = claimed(1, 0, Role::Best, 1_000);
    let both = [claim.clone(), header.clone()].concat();
    let records = read_relayed(&place, &both, &ring).unwrap();
    let leaves: Vec<Leaf> = records.iter().map(|(topic, _)| topic.leaf()).collect();
    assert_eq!(leaves, [Leaf::Claim { slot: 0 }, Leaf::Particle { slot: 0 }]);
    let [(_, other_header), _] = claimed(2, 0, Role::Best, 1_000);
    let mut forged = both.clone();
    forged[100] ^= 1;
    let elsewhere = topic(beacon_id(7), Leaf::beacon(1, 0));
    let document = documents(VEHICLES).into_iter().find(|(topic, _)| topic.leaf() == Leaf::Swarm);
    let (_, not_passed_on) = document.unwrap();
    for (place, bytes, why) in [
        (&place, forged, "not what was signed"),
        (&place, [claim.clone(), other_header].concat(), "the header of another"),
        (&place, [claim.clone(), claim.clone()].concat(), "two claims"),
        (&place, [header.clone(), claim.clone()].concat(), "the header first"),
        (&place, header, "a header alone"),
        (&place, not_passed_on, "a document"),
        (&place, both[..both.len() - 1].to_vec(), "cut off"),
        (&place, Vec::new(), "nothing"),
        (&elsewhere, both, "of another window"),
    ] {
        assert!(read_relayed(place, &bytes, &ring).is_err(), "{why}");
    }
    assert!(read_relayed(&place, &claim, &ring).is_ok());
}

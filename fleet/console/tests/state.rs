//! What the page shows is what signed records say, in whatever order they come.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use shoal_console::state::{State, Trust};
use shoal_console::view::{Publisher, Refused, View};
use shoal_swarm::reinstated::{self, Reinstated};
use shoal_swarm::roster::part;
use shoal_wire::v1::*;
use shoal_wire::*;

const EPOCH: u64 = 1_000_000;
const PERIOD: u32 = 20;
const PACK: PackHash = PackHash::new([5; 32]);

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn authority() -> SecretKey {
    key(100)
}

fn timekeeper() -> SecretKey {
    key(101)
}

fn approver() -> SecretKey {
    key(102)
}

/// A record at its topic.
type Posted = (String, Vec<u8>);

fn post<'b, T: Body<'b>>(signer: &SecretKey, leaf: Leaf, counter: u64, body: &T) -> Posted {
    post_until(u64::MAX, signer, leaf, counter, body)
}

/// A record that counts until then.
fn post_until<'b, T: Body<'b>>(
    not_after: u64,
    signer: &SecretKey,
    leaf: Leaf,
    counter: u64,
    body: &T,
) -> Posted {
    let mut buffer = vec![0; 1 << 16];
    let sealed = seal(body, counter, not_after, signer, &mut buffer).unwrap();
    let (fleet, region) = (Label::new("f").unwrap(), Label::new("r").unwrap());
    let topic = Topic::new(fleet, region, signer.public().id(), leaf).unwrap();
    (topic.text().as_str().to_owned(), sealed.bytes().to_vec())
}

/// A roster's page and its head, each with that counter.
fn roster(version: u32, counters: [u64; 2], vehicles: &[SecretKey]) -> [Posted; 2] {
    let rows: Vec<u8> = vehicles
        .iter()
        .flat_map(|key| Vehicle { public_key: *key.public().bytes(), region: 0 }.encode())
        .collect();
    let page = RosterPage::new(RosterPageFields { version, index: 0, vehicles: &rows }).unwrap();
    let page = post(&authority(), Leaf::RosterPage { index: 0 }, counters[0], &page);
    let id = <[u8; 32]>::from(<sha2::Sha256 as sha2::Digest>::digest(&page.1));
    let vehicles = vehicles.len() as u32;
    let head = Roster::new(RosterFields { version, vehicles, pages: &id }).unwrap();
    [page, post(&authority(), Leaf::Roster, counters[1], &head)]
}

fn documents() -> Vec<Posted> {
    documents_of(&[0, 1, 2, 3].map(key))
}

fn window_plan() -> WindowPlan {
    let fields = WindowPlanFields {
        epoch_seconds: EPOCH,
        period_seconds: PERIOD,
        open_seconds: PERIOD,
        jitter_ms_max: 0,
        up_bytes_max: 100_000,
        down_bytes_max: 200_000,
    };
    WindowPlan::new(fields).unwrap()
}

fn documents_of(vehicles: &[SecretKey]) -> Vec<Posted> {
    let term = Term {
        name: "pack".try_into().unwrap(),
        pack: PACK,
        metric: Metric::Skill,
        knots: [Knot { window: 0, weight: 1.0 }].into_iter().collect(),
        gate: None,
    };
    let utility = UtilityDocumentFields { version: 1, terms: [term].into_iter().collect() };
    let swarm = SwarmDocumentFields {
        version: 1,
        seed: 1,
        base_model: ModelHash::new([1; 32]),
        layout: LayoutHash::new([2; 32]),
        values: 3,
        rank: 8,
        start_seed: 1,
        asked: 4,
        rule: Rule::Coefficients,
    };
    let [page, head] = roster(1, [1, 2], vehicles);
    vec![
        page,
        head,
        post(&authority(), Leaf::Plan, 3, &window_plan()),
        post(&authority(), Leaf::Utility, 4, &UtilityDocument::new(utility).unwrap()),
        post(&authority(), Leaf::Swarm, 5, &SwarmDocument::new(swarm).unwrap()),
    ]
}

fn nonce(window: u32) -> [u8; 32] {
    [window as u8 + 1; 32]
}

/// Of the first windows. A later nonce takes the topic of the one before: they come one after the other.
fn nonces(windows: u32) -> Vec<Posted> {
    let nonce = |window| {
        let fields = NonceFields { window, nonce: nonce(window), utc_seconds: EPOCH };
        let counter = u64::from(window) + 1;
        post(&timekeeper(), Leaf::nonce(window), counter, &Nonce::new(fields).unwrap())
    };
    (0..windows).map(nonce).collect()
}

/// Vehicle 0 claims a particle in window 0, which the others measure to be better than x_p.
fn election() -> Vec<Posted> {
    let mut posted = nonces(3);
    let (particle, claimed) = claimed(0, 0, 5600);
    posted.extend(claimed);
    posted.extend((1..4).map(|voter| voted(voter, 1, particle, 5590)));
    posted
}

/// A vehicle publishes a particle in a window and claims so much of it.
fn claimed(vehicle: u8, window: u32, value: i16) -> (ParticleId, [Posted; 2]) {
    claimed_by(&key(vehicle), window, value)
}

fn claimed_by(vehicle: &SecretKey, window: u32, value: i16) -> (ParticleId, [Posted; 2]) {
    let chunk = Chunk { first_value: 0, bytes: 9, hash: ChunkHash::new([3; 32]) };
    let header = ParticleHeader::new(ParticleHeaderFields {
        role: Role::Best,
        window,
        base_model: ModelHash::new([1; 32]),
        layout: LayoutHash::new([2; 32]),
        anchor: None,
        inputs: heapless::Vec::new(),
        coding: 1,
        values: 3,
        chunks: [chunk].into_iter().collect(),
    })
    .unwrap();
    let particle = header.id();
    let claim = ClaimFields {
        window,
        slot: 0,
        particle,
        role: Role::Best,
        pack: PACK,
        part: part(&nonce(window)),
        utility_version: 1,
        terms: [Measured { value, standard_error: 20 }].into_iter().collect(),
    };
    let claim = post(vehicle, Leaf::Claim { slot: 0 }, 2, &Claim::new(claim).unwrap());
    (particle, [post(vehicle, Leaf::Particle { slot: 0 }, 1, &header), claim])
}

/// A vote in a window, beside x_p of .55.
fn voted(voter: u8, window: u32, nominee: ParticleId, value: i16) -> Posted {
    voted_by(&key(voter), window, nominee, value)
}

fn voted_by(voter: &SecretKey, window: u32, nominee: ParticleId, value: i16) -> Posted {
    voted_beside(None, voter, window, nominee, value)
}

/// A vote by a measurement beside what the voter takes for best.
fn voted_beside(
    best: Option<ParticleId>,
    voter: &SecretKey,
    window: u32,
    nominee: ParticleId,
    value: i16,
) -> Posted {
    let compared = Compared { value, best: 5500, standard_error: 20 };
    let vote = VoteFields {
        window,
        place: 0,
        nominee,
        best,
        pack: PACK,
        part: part(&nonce(window)),
        utility_version: 1,
        terms: [compared].into_iter().collect(),
    };
    post(voter, Leaf::vote(window, 0), u64::from(window), &Vote::new(vote).unwrap())
}

fn presence(vehicle: u8, counter: u64, up_bytes: u64) -> Posted {
    let presence = Presence::new(doing(up_bytes)).unwrap();
    post(&key(vehicle), Leaf::Presence, counter, &presence)
}

/// What a vehicle says of itself in window 2.
fn doing(up_bytes: u64) -> PresenceFields {
    PresenceFields {
        window: Some(2),
        activity: Activity::Tuning,
        adapter: None,
        software: "test".try_into().unwrap(),
        up_bytes,
        down_bytes: 7,
        terms: heapless::Vec::new(),
        steps: 40,
    }
}

fn state() -> State {
    let trust = Trust {
        authority: authority().public(),
        timekeeper: timekeeper().public(),
        approver: approver().public(),
    };
    State::new("f", ("r", 0), trust)
}

/// What is shown in window 2 after these messages.
fn shown(posted: &[Posted]) -> View {
    shown_in(2, posted)
}

fn shown_in(window: u32, posted: &[Posted]) -> View {
    let mut state = state();
    for (topic, bytes) in posted {
        state.message(at(window), topic, bytes);
    }
    state.view(at(window))
}

/// Shortly after a window opens.
fn at(window: u32) -> u64 {
    EPOCH + u64::from(window * PERIOD) + 5
}

fn all() -> Vec<Posted> {
    [documents(), election(), vec![presence(1, 1, 500), presence(1, 2, 900)]].concat()
}

#[test]
fn the_page_shows_what_votes_elected_and_who_does_what() {
    let view = shown(&all());
    assert_eq!((view.roster, view.rule), (4, Some("coefficients")));
    let best = view.best.unwrap();
    assert_eq!((best.vehicle, best.window, best.value, best.role), (Some(0), 0, 5590, "best"));
    assert_eq!(view.vehicles.len(), 4);
    let row = &view.vehicles[1];
    assert_eq!((row.activity, row.bytes_up, row.heard_s), (Some("tuning"), 900, Some(0)));
    assert_eq!(view.vehicles[0].claim, Some(5600));
    let windows: Vec<_> = view.history.iter().map(|w| (w.window, w.best, w.claims.len())).collect();
    assert_eq!(windows, [(0, None, 1), (1, None, 0), (2, Some(5590), 0)]);
}

/// The window that was open last stays the last, until a newer plan says that more open.
#[test]
fn of_a_plan_that_has_ended_no_window_is_shown_as_open() {
    let mut state = state();
    let ending =
        |counter, ends| post_until(ends, &authority(), Leaf::Plan, counter, &window_plan());
    let shown = |state: &mut State| {
        let view = state.view(at(9));
        (view.plan.unwrap().ends_s, view.bytes_up)
    };
    let posted = [documents(), vec![ending(9, at(2)), presence(1, 1, 900)]].concat();
    for (topic, bytes) in &posted {
        state.message(at(2), topic, bytes);
    }
    // What was sent in window 2 was sent in the last one that there was.
    assert_eq!(shown(&mut state), (at(2), 900));
    let (topic, bytes) = ending(10, u64::MAX);
    assert!(state.message(at(9), &topic, &bytes));
    assert_eq!(shown(&mut state), (u64::MAX, 0));
}

/// Why nothing was elected of window 1, as it stands in window 3.
fn why(change: impl Fn(&mut Vec<Posted>)) -> Option<String> {
    let mut posted = documents();
    posted.extend(nonces(4));
    change(&mut posted);
    let mut state = state();
    for (topic, bytes) in &posted {
        state.message(at(2), topic, bytes);
    }
    let early = state.view(at(1)).history;
    assert!(early.iter().all(|of| of.window != 1 || of.why.is_none()), "it is not over");
    let history = state.view(at(3)).history;
    history.into_iter().find(|of| of.window == 1)?.why
}

/// Each thing that an election takes is told of where it is missing.
#[test]
fn the_page_says_why_nothing_was_elected() {
    let says = |change: &dyn Fn(&mut Vec<Posted>), what: &str| {
        let said = why(change).unwrap_or_default();
        assert!(said.contains(what), "{what}: {said}");
    };
    let (particle, claim) = claimed(0, 1, 5600);
    let votes = |posted: &mut Vec<Posted>, voters: std::ops::Range<u8>, value| {
        posted.extend(claim.clone());
        posted.extend(voters.map(|voter| voted(voter, 2, particle, value)));
    };
    // Five documents, then the nonces of windows 0 to 3.
    says(&|posted| drop(posted.remove(6)), "no nonce of it");
    says(&|_posted| {}, "no claim of a particle");
    says(&|posted| posted.push(claim[1].clone()), "none of 1 claims counts: 0 below a gate");
    let unasked = |posted: &mut Vec<Posted>| {
        posted.remove(7);
        votes(posted, 1..4, 5590);
    };
    says(&unasked, "no nonce of window 2");
    says(&|posted| votes(posted, 1..2, 5590), "2 of 3 drawn must");
    says(&|posted| votes(posted, 1..2, 5590), "at most 1 voted");
    says(
        &|posted| votes(posted, 1..4, 5510),
        "nearest by +0.0010, with a standard error of 0.0020",
    );
    assert_eq!(why(|posted| votes(posted, 1..4, 5590)), None, "it was elected");
}

/// Of two who made the same, one may have left its header alone: both are named, who claimed what is best first.
#[test]
fn what_is_best_is_at_all_who_published_it() {
    let (particle, again) = claimed(2, 0, 5590);
    let mut state = state();
    let now = EPOCH + 2 * u64::from(PERIOD) + 5;
    for (topic, bytes) in [all(), again.to_vec()].concat() {
        state.message(now, &topic, &bytes);
    }
    let claimant = state.view(now).best.unwrap().vehicle.unwrap() as u8;
    let other = if claimant == 0 { 2 } else { 0 };
    let places = [claimant, other].map(|vehicle| (key(vehicle).public().id(), 0));
    assert_eq!(state.best(now), Some((particle, places.to_vec())));
}

/// Its claim and the votes on it are long gone; its header and its chunks stand where they stood.
#[test]
fn what_is_best_for_very_long_is_found_by_what_votes_name() {
    let (best, [header, _claim]) = claimed(0, 0, 5600);
    let (nominee, claimed) = claimed(1, 198, 5400);
    let votes = [0, 2, 3].map(|voter| voted_beside(Some(best), &key(voter), 199, nominee, 5300));
    let at_once = |first: &[Posted], then: &[Posted]| {
        let mut state = state();
        let nonces = nonces(201).split_off(197);
        for (topic, bytes) in [&documents(), &nonces, &claimed[..], first, then].concat() {
            state.message(at(200), &topic, &bytes);
        }
        state.view(at(200));
        state.best(at(200))
    };
    let found = Some((best, vec![(key(0).public().id(), 0)]));
    let header = [header];
    assert_eq!(at_once(&header, &votes), found);
    assert_eq!(at_once(&votes, &header), found);
    assert_eq!(at_once(&header, &votes[..1]), None, "one is no majority");
}

/// A refusal names a record alone: the page says whose it was, where that stood on the board, also of a key that nobody knows.
#[test]
fn the_page_shows_whose_records_were_refused() {
    let (_particle, [_header, known]) = claimed(1, 1, 5600);
    let (_particle, [_header, stranger]) = claimed(77, 1, 5600);
    let refusal = |by: u8, slot: u8, refused: &[u8]| {
        let record = RecordId::new(<sha2::Sha256 as sha2::Digest>::digest(refused).into());
        let code = RefusalCode::UnknownKey.number();
        let refusal = Refusal::new(RefusalFields { window: 2, record, code }).unwrap();
        post(&key(by), Leaf::Refusal { slot }, u64::from(slot) + 1, &refusal)
    };
    let refusals = [refusal(0, 0, &known.1), refusal(0, 1, &stranger.1), refusal(2, 0, b"gone")];
    let view = shown(&[all(), vec![known, stranger], refusals.to_vec()].concat());
    let said = |one: &Refused| (one.vehicle, one.times, one.of.clone());
    let (first, second) = (said(&view.refusals[0]), said(&view.refusals[1]));
    let publisher =
        |vehicle, key: SecretKey| Publisher { vehicle, id: key.public().id().to_string() };
    let mut of = vec![publisher(Some(1), key(1)), publisher(None, key(77))];
    of.sort_by(|one, other| one.id.cmp(&other.id));
    let all = BTreeMap::from([((Some(0), 2), of), ((Some(2), 1), vec![])]);
    let found = [first, second].map(|(vehicle, times, of)| ((vehicle, times), of));
    assert_eq!(BTreeMap::from(found), all);
}

/// A claim far above what voters find: the page says who stands aside until when, for what, and by whose word.
#[test]
fn the_page_shows_who_stands_aside_and_on_what_evidence() {
    let (lie, claimed) = claimed(1, 1, 9000);
    let votes = [0, 2, 3].map(|voter| voted(voter, 2, lie, 5400));
    let posted = [all(), claimed.to_vec(), votes.to_vec()].concat();
    let mut state = state();
    let now = EPOCH + 3 * u64::from(PERIOD) + 5;
    for (topic, bytes) in &posted {
        state.message(now, topic, bytes);
    }
    let view = state.view(now);
    let aside: Vec<Option<u32>> = view.vehicles.iter().map(|row| row.aside_until).collect();
    assert_eq!(aside, [None, Some(10), None, None]);
    let kept: Vec<u32> = view.vehicles.iter().map(|row| row.kept).collect();
    assert_eq!(kept, [1, 0, 0, 0]);
    let [found] = view.findings.as_slice() else { panic!("{:?}", view.findings) };
    assert_eq!((found.window, found.vehicle, found.fault), (1, Some(1), "broken claim"));
    assert_eq!((found.said, found.found), (Some(3500), Some(-100)));
    assert_eq!((found.found_by, found.of, found.counts), (3, 3, true));
    assert_eq!((found.particle.clone(), found.reinstated_from), (lie.to_string(), None));
    assert_eq!(found.aside_until, Some(10));

    // The authority reinstates it: the finding stays to be seen. What the timekeeper or a vehicle says of it is nothing.
    let orders = Reinstated::new(vec![(key(1).public().id(), 4)]).unwrap().encode();
    for (signer, counter) in [(key(200), 9), (key(1), 9), (authority(), 20)] {
        let fields = DocumentFields { name: reinstated::NAME, version: 1, bytes: &orders };
        let document = Document::new(fields).unwrap();
        let leaf = Leaf::Document { slot: reinstated::SLOT };
        let (topic, bytes) = post(&signer, leaf, counter, &document);
        state.message(now, &topic, &bytes);
        let view = state.view(now);
        let by_authority = signer.public() == authority().public();
        let [found] = view.findings.as_slice() else { panic!("{:?}", view.findings) };
        let said = (found.reinstated_from, found.counts, view.vehicles[1].aside_until);
        let want = if by_authority { (Some(4), true, Some(4)) } else { (None, true, Some(10)) };
        assert_eq!(said, want);
    }
    let view = state.view(now + u64::from(PERIOD));
    let [found] = view.findings.as_slice() else { panic!("{:?}", view.findings) };
    assert_eq!((found.reinstated_from, found.counts), (Some(4), false));
    assert_eq!(view.vehicles[1].aside_until, None);
}

#[test]
fn the_order_in_which_records_come_does_not_matter() {
    let forwards = all();
    let mut backwards = forwards.clone();
    backwards.reverse();
    let (ahead, behind) = (shown(&forwards), shown(&backwards));
    assert_eq!(behind, View { ..ahead });
}

/// Of a roster that is replaced the page may come before the head: who was revoked, and whose key is another, is seen.
#[test]
fn a_page_that_comes_before_its_head_waits_for_it() {
    let [page, head] = roster(2, [6, 7], &[0, 1, 9].map(key));
    let [older, _head] = roster(1, [1, 2], &[0, 1, 2, 3].map(key));
    for next in [[page.clone(), head.clone()], [head.clone(), page.clone()]] {
        let view = shown(&[documents(), next.to_vec(), vec![older.clone()]].concat());
        let ids: Vec<String> = view.vehicles.into_iter().map(|row| row.id).collect();
        assert_eq!(ids, [0, 1, 9].map(|seed| key(seed).public().id().to_string()));
    }
    let [page, head] = roster(2, [6, 7], &[0, 1, 2, 9].map(key));
    let view = shown(&[documents(), vec![head, presence(9, 1, 900), page]].concat());
    assert_eq!((view.vehicles[3].activity, view.vehicles[3].bytes_up), (Some("tuning"), 900));
}

/// A broker keeps what a vehicle said last, however long ago that was.
#[test]
fn who_went_long_ago_is_silent_after_a_start() {
    let view = shown_in(40, &[documents(), vec![presence(1, 1, 500)]].concat());
    let row = &view.vehicles[1];
    // Window 2 ended with the 60th second.
    assert_eq!((row.activity, row.silent, row.heard_s), (Some("tuning"), true, Some(745)));
    assert_eq!((view.online, view.doing.len()), (0, 0));
    let ended = at(2) - 1;
    let body = Presence::new(doing(500)).unwrap();
    let ended = post_until(ended, &key(1), Leaf::Presence, 1, &body);
    let row = &shown(&[documents(), vec![ended]].concat()).vehicles[1];
    assert_eq!((row.activity, row.heard_s), (None, None));
}

/// What the one before claimed is its own.
#[test]
fn a_place_that_is_given_to_another_shows_no_claim_of_the_one_before() {
    let mut state = state();
    let take = |state: &mut State, posted: &[Posted]| {
        for (topic, bytes) in posted {
            state.message(at(2), topic, bytes);
        }
    };
    take(&mut state, &all());
    let before = state.view(at(2)).vehicles;
    assert!(before[0].claim.is_some());
    take(&mut state, &roster(2, [50, 51], &[9, 1, 2, 3].map(key)));
    let after = state.view(at(2)).vehicles;
    assert_eq!((&after[0].id, after[0].claim), (&key(9).public().id().to_string(), None));
}

#[test]
fn bytes_of_this_window_are_of_no_other() {
    let posted = [documents(), vec![presence(1, 1, 900), presence(2, 1, 50)]].concat();
    let bytes = |view: &View| (view.vehicles[1].bytes_up, view.bytes_up, view.bytes_down);
    assert_eq!(bytes(&shown_in(2, &posted)), (900, 950, 14));
    assert_eq!(bytes(&shown_in(3, &posted)), (0, 0, 0));
}

#[test]
fn what_nobody_of_the_fleet_signed_is_not_shown() {
    let stranger = presence(77, 1, 1);
    let mut forged = presence(2, 9, 666);
    let last = forged.1.len() - 1;
    forged.1[last] ^= 1;
    let elsewhere = (presence(3, 1, 666).0.replace("/f/", "/g/"), presence(3, 1, 666).1);
    let garbage = ("shoal/1/f/r/claim/zz".to_owned(), vec![0xff; 40]);
    let hostile = [stranger, forged, elsewhere, garbage];
    assert_eq!(shown(&[all(), hostile.to_vec()].concat()), shown(&all()));
}

#[test]
fn an_older_presence_does_not_replace_a_newer_one() {
    let view = shown(&[documents(), vec![presence(1, 5, 900), presence(1, 4, 100)]].concat());
    assert_eq!(view.vehicles[1].bytes_up, 900);
}

/// Who looks sees what counts now, and what will as far as it moves.
#[test]
fn the_shares_of_terms_are_shown_as_they_move() {
    let mut state = state();
    for (topic, bytes) in documents() {
        state.message(EPOCH, &topic, &bytes);
    }
    let one = state.view(EPOCH).utility.unwrap();
    assert_eq!((one.version, one.terms.len(), one.terms[0].share), (1, 1, 1000));

    let term = |name: &str, knots: &[(u32, f32)], gate| Term {
        name: name.try_into().unwrap(),
        pack: PACK,
        metric: Metric::Skill,
        knots: knots.iter().map(|&(window, weight)| Knot { window, weight }).collect(),
        gate,
    };
    let terms = [
        term("pack", &[(0, 1.0)], None),
        term("night", &[(2, 0.0), (4, 3.0), (900, 0.0)], Some(-100)),
    ];
    let utility = UtilityDocumentFields { version: 2, terms: terms.into_iter().collect() };
    let utility = UtilityDocument::new(utility).unwrap();
    let (topic, bytes) = post(&authority(), Leaf::Utility, 6, &utility);
    assert!(state.message(EPOCH, &topic, &bytes));
    let now = EPOCH + 3 * u64::from(PERIOD);
    let both = state.view(now).utility.unwrap();
    assert_eq!(both.version, 2);
    let terms: Vec<_> =
        both.terms.iter().map(|term| (&term.name[..], term.share, term.gate)).collect();
    assert_eq!(terms, [("pack", 400, None), ("night", 600, Some(-100))]);
    // Two windows beyond the last that is near; a knot of window 900 is not.
    assert_eq!(both.windows, (0..=6).collect::<Vec<u32>>());
    let night: Vec<u16> = both.shares.iter().map(|shares| shares[1]).collect();
    assert_eq!(night, [0, 0, 0, 600, 750, 750, 750]);
}

/// One of many vehicles.
fn one_of_many(number: u32) -> SecretKey {
    let mut seed = [222; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    SecretKey::from_seed(&seed)
}

/// The page has rows of the first vehicles alone; what is counted is counted over all, and who is singled out is there.
#[test]
fn of_a_large_fleet_all_are_counted_and_who_is_singled_out_is_shown() {
    let vehicles: Vec<SecretKey> = (0..300).map(one_of_many).collect();
    let mut posted = documents_of(&vehicles);
    posted.extend(nonces(3));
    let presence = Presence::new(doing(10)).unwrap();
    posted.extend(vehicles.iter().map(|key| post(key, Leaf::Presence, 1, &presence)));
    let (good, claim) = claimed_by(&vehicles[270], 0, 5600);
    posted.extend(claim);
    posted.extend(vehicles.iter().map(|voter| voted_by(voter, 1, good, 5590)));
    let (lie, claim) = claimed_by(&vehicles[250], 1, 9000);
    posted.extend(claim);
    posted.extend(vehicles.iter().map(|voter| voted_by(voter, 2, lie, 5400)));
    let view = shown(&posted);
    assert_eq!((view.online, view.doing.get("tuning"), view.bytes_up), (300, Some(&300), 3000));
    assert_eq!(view.best.unwrap().vehicle, Some(270));
    let view = shown_in(3, &posted);
    let beyond: Vec<_> =
        view.vehicles.iter().skip(200).map(|row| (row.number, row.aside_until)).collect();
    assert_eq!(beyond, [(250, Some(10)), (270, None)]);
    let [found] = view.findings.as_slice() else { panic!("{:?}", view.findings) };
    assert_eq!((found.vehicle, found.aside_until), (Some(250), Some(10)));
}

/// A page that had every dot of a large fleet would draw nothing any more.
#[test]
fn of_very_many_claims_some_are_shown_and_all_are_counted() {
    let vehicles: Vec<SecretKey> = (0..1000).map(one_of_many).collect();
    let mut posted = [documents_of(&vehicles), nonces(2)].concat();
    for (vehicle, value) in vehicles.iter().zip(4000..) {
        posted.extend(claimed_by(vehicle, 1, value).1);
    }
    let view = shown(&posted);
    let [window] = view.history.as_slice() else { panic!("{:?}", view.history.len()) };
    assert_eq!((window.window, window.claimed, window.claims.len()), (1, 1000, 200));
    let values = || window.claims.iter().map(|claim| claim.value);
    assert_eq!((values().min(), values().max()), (Some(4000), Some(4999)));
    assert!(values().filter(|value| (4250..4750).contains(value)).count() > 50, "some between");
    assert_eq!(view.vehicles[7].claim, Some(4007), "shown or not");
}

//! The timekeeper as a program would run it, against a notice board and a disk of its own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use shoal_swarm::keyring::Keyring;
use shoal_swarm::timekeeper::{Input, Output, Reject, Settings, Timekeeper};
use shoal_swarm::{campaign, reinstated};
use shoal_wire::v1::*;
use shoal_wire::*;

const EPOCH: u64 = 1_000_000;
const EPOCH_MS: u64 = EPOCH * 1000;
/// From one window to the next, and how long one is open.
const PERIOD: u32 = 20;
const OPEN: u32 = 15;

fn authority() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

fn timekeeper() -> SecretKey {
    SecretKey::from_seed(&[2; 32])
}

fn label(text: &'static str) -> Label<'static> {
    Label::new(text).unwrap()
}

fn sealed<'b, T: Body<'b>>(signer: &SecretKey, counter: u64, body: &T) -> Vec<u8> {
    let mut buffer = vec![0; 1 << 16];
    seal(body, counter, u64::MAX, signer, &mut buffer).unwrap().bytes().to_vec()
}

fn plan(counter: u64, epoch_seconds: u64, open_seconds: u32) -> Vec<u8> {
    let fields = WindowPlanFields {
        epoch_seconds,
        period_seconds: PERIOD,
        open_seconds,
        jitter_ms_max: 0,
        up_bytes_max: 1,
        down_bytes_max: 1,
    };
    sealed(&authority(), counter, &WindowPlan::new(fields).unwrap())
}

fn manifest(counter: u64, name: &str) -> Vec<u8> {
    let fields = DocumentFields { name, version: 1, bytes: b"{}" };
    sealed(&authority(), counter, &Document::new(fields).unwrap())
}

/// What outlives a restart of the program: the broker and the disk.
#[derive(Clone, Default)]
struct World {
    board: BTreeMap<String, Vec<u8>>,
    disk: BTreeMap<u8, Vec<u8>>,
}

/// The program.
struct Program {
    core: Timekeeper,
    world: World,
    connected: bool,
    now_ms: u64,
    /// When each nonce was asked for.
    draws: Vec<(u32, u64)>,
    /// Topics of what was published.
    published: Vec<String>,
    done: Option<u64>,
}

impl Program {
    /// Starts it on a disk, with these documents.
    fn start(world: World, now_ms: u64, documents: &[Vec<u8>], windows: Option<u32>) -> Self {
        Self::start_in(&["r"], world, now_ms, documents, windows)
    }

    /// The same of a fleet of these regions.
    fn start_in(
        regions: &[&'static str],
        world: World,
        now_ms: u64,
        documents: &[Vec<u8>],
        windows: Option<u32>,
    ) -> Self {
        let settings =
            Settings { authority: authority().public(), key: Box::new(timekeeper()), windows };
        let regions: Vec<Label<'_>> = regions.iter().map(|region| label(region)).collect();
        let core = Timekeeper::new(label("f"), &regions, settings);
        let (draws, published) = (Vec::new(), Vec::new());
        let mut program =
            Program { core, world, connected: false, now_ms, draws, published, done: None };
        program.documents(documents).unwrap();
        for bytes in program.world.disk.clone().values() {
            program.input(Input::Kept(bytes)).unwrap();
        }
        program
    }

    fn documents(&mut self, documents: &[Vec<u8>]) -> Result<(), Reject> {
        let documents: Vec<&[u8]> = documents.iter().map(Vec::as_slice).collect();
        self.input(Input::Documents(&documents))
    }

    fn input(&mut self, input: Input<'_>) -> Result<(), Reject> {
        let taken = self.core.handle_input(self.now_ms, input);
        self.drain();
        taken
    }

    fn stands(&mut self, topic: &str, bytes: &[u8]) -> Result<(), Reject> {
        let topic = Topic::decode(topic).unwrap();
        self.input(Input::Message { topic: &topic, bytes })
    }

    /// Connects to the board, and reads it.
    fn connect(&mut self) {
        self.connected = true;
        self.input(Input::Connected).unwrap();
        self.input(Input::Subscribed).unwrap();
        for (topic, bytes) in self.world.board.clone() {
            let _told = self.stands(&topic, &bytes);
        }
    }

    fn disconnect(&mut self) {
        self.connected = false;
        self.input(Input::Disconnected).unwrap();
    }

    /// Lets time pass, to this moment.
    fn until(&mut self, ms: u64) {
        while let Some(next) = self.core.poll_timeout().filter(|next| *next <= ms) {
            assert!(next > self.now_ms, "a timer that does not pass");
            self.now_ms = next;
            self.core.handle_timeout(next);
            self.drain();
        }
        self.now_ms = ms;
        self.core.handle_timeout(ms);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            while let Some(nonce) = self.core.poll_persist() {
                self.world.disk.insert(nonce.place, nonce.bytes.to_vec());
            }
            let (topic, bytes) = match self.core.poll_output() {
                None => return,
                Some(Output::Done) => {
                    self.done = Some(self.now_ms);
                    continue;
                }
                Some(Output::Draw { window }) => {
                    self.draws.push((window, self.now_ms));
                    let nonce = [self.draws.len() as u8; 32];
                    self.core.handle_input(self.now_ms, Input::Drawn { window, nonce }).unwrap();
                    continue;
                }
                Some(Output::Publish { topic, record }) => {
                    (topic.text().as_str().to_owned(), record.bytes().to_vec())
                }
            };
            assert!(self.connected, "published without a connection");
            self.published.push(topic.clone());
            self.world.board.insert(topic.clone(), bytes.clone());
            // Its own subscription brings it back.
            let topic = Topic::decode(&topic).unwrap();
            let came = Input::Message { topic: &topic, bytes: &bytes };
            self.core.handle_input(self.now_ms, came).unwrap();
        }
    }

    /// The nonce of a window as it stands on the board, and its counter.
    fn nonce(&self, window: u32) -> Option<([u8; 32], u64)> {
        nonce(&self.world.board, window)
    }
}

fn topic(signer: &SecretKey, leaf: Leaf) -> String {
    topic_in("r", signer, leaf)
}

fn topic_in(region: &'static str, signer: &SecretKey, leaf: Leaf) -> String {
    let topic = Topic::new(label("f"), label(region), signer.public().id(), leaf).unwrap();
    topic.text().as_str().to_owned()
}

fn nonce(board: &BTreeMap<String, Vec<u8>>, window: u32) -> Option<([u8; 32], u64)> {
    let bytes = board.get(&topic(&timekeeper(), Leaf::nonce(window)))?;
    let keys = Keyring::new(authority().public(), timekeeper().public());
    let nonce = Unverified::decode(bytes).unwrap().verify::<Nonce>(&keys).unwrap();
    let fields = nonce.body().fields();
    (fields.window == window).then_some((fields.nonce, nonce.head().counter))
}

/// Connected, ten seconds before the epoch.
fn running() -> Program {
    let documents = [plan(1, EPOCH, OPEN), manifest(2, "a"), manifest(3, "b")];
    let mut program = Program::start(World::default(), EPOCH_MS - 10_000, &documents, None);
    program.connect();
    program
}

#[test]
fn each_nonce_is_drawn_when_the_window_before_has_closed_and_the_first_at_once() {
    let mut program = running();
    program.until(EPOCH_MS + 60_000);
    let wanted = [(0, -9_700), (1, 15_000), (2, 35_000), (3, 55_000)];
    let wanted = wanted.map(|(window, after)| (window, EPOCH_MS.saturating_add_signed(after)));
    assert_eq!(program.draws, wanted);
    let counters: Vec<u64> = (0..4).map(|window| program.nonce(window).unwrap().1).collect();
    assert_eq!(counters, [1, 2, 3, 4]);
}

/// For a moment the clock says a time more than sixteen windows from now.
#[test]
fn a_clock_that_jumps_ahead_and_back_has_no_other_nonce_drawn() {
    let mut program = running();
    program.until(EPOCH_MS + 40_000);
    let nonces = [0, 1, 2].map(|window| program.nonce(window).unwrap());
    for ms in [EPOCH_MS + 460_000, EPOCH_MS + 41_000] {
        program.now_ms = ms;
        program.core.handle_timeout(ms);
        program.drain();
    }
    program.until(EPOCH_MS + 70_000);
    let drawn: Vec<u32> = program.draws.iter().map(|(window, _at)| *window).collect();
    assert_eq!((&drawn[..3], &drawn[4..]), (&[0, 1, 2][..], &[3][..]));
    assert_eq!([0, 1, 2].map(|window| program.nonce(window).unwrap()), nonces);
}

#[test]
fn windows_without_a_pause_get_their_nonce_at_the_border() {
    let start = EPOCH_MS - 10_000;
    let mut program = Program::start(World::default(), start, &[plan(1, EPOCH, PERIOD)], None);
    program.connect();
    program.until(EPOCH_MS + 20_000);
    assert_eq!(program.draws[1..], [(1, EPOCH_MS + 20_000)]);
}

#[test]
fn who_starts_late_draws_for_the_window_that_runs_and_for_none_before() {
    let now = EPOCH_MS + 7 * 20_000 + 3_000;
    let mut program = Program::start(World::default(), now, &[plan(1, EPOCH, OPEN)], None);
    program.connect();
    program.until(now + 1_000);
    assert_eq!(program.draws.iter().map(|(window, _at)| *window).collect::<Vec<_>>(), [7]);
}

#[test]
fn every_document_stands_at_its_topic_and_manifests_have_slots_of_their_own() {
    let mut program = running();
    assert!(program.world.board.is_empty(), "published before what stands was read");
    program.until(EPOCH_MS - 9_000);
    let leaves = [Leaf::Plan, Leaf::Document { slot: 0 }, Leaf::Document { slot: 1 }];
    for leaf in leaves {
        assert!(program.world.board.contains_key(&topic(&authority(), leaf)), "{leaf:?}");
    }
    assert_eq!(program.published.len(), 4, "nothing is published twice");
}

/// What vehicles look for at one place stands there, in whatever order documents are named.
#[test]
fn reinstatements_have_their_slot_whatever_else_there_is() {
    let mut program = running();
    let documents = [
        plan(1, EPOCH, OPEN),
        manifest(4, reinstated::NAME),
        manifest(5, "a-pack"),
        manifest(6, campaign::NAME),
        manifest(7, reinstated::NAME),
    ];
    program.documents(&documents).unwrap();
    program.until(EPOCH_MS - 9_000);
    for (slot, document) in [(reinstated::SLOT, 4), (0, 2), (campaign::SLOT, 3)] {
        let place = topic(&authority(), Leaf::Document { slot });
        assert_eq!(program.world.board.get(&place), Some(&documents[document]), "{slot}");
    }
}

/// A document that carries these bytes.
fn carries(signer: &SecretKey, counter: u64, name: &str, bytes: &[u8]) -> Vec<u8> {
    let fields = DocumentFields { name, version: 1, bytes };
    sealed(signer, counter, &Document::new(fields).unwrap())
}

/// A campaign for a region, and the header of what it promotes.
fn campaign_for(region: &str) -> [Vec<u8>; 2] {
    let chunk = Chunk { first_value: 0, bytes: 1, hash: ChunkHash::new([1; 32]) };
    let header = ParticleHeader::new(ParticleHeaderFields {
        role: Role::Best,
        window: 0,
        base_model: ModelHash::new([1; 32]),
        layout: LayoutHash::new([2; 32]),
        anchor: None,
        inputs: [].into_iter().collect(),
        coding: 1,
        values: 3,
        chunks: [chunk].into_iter().collect(),
    });
    let header = header.unwrap();
    let plan = campaign::Plan {
        number: 1,
        fleet: "f".to_owned(),
        region: region.to_owned(),
        particle: header.id(),
        base_model: ModelHash::new([1; 32]),
        layout: LayoutHash::new([2; 32]),
        stages: vec![campaign::Stage { share: 1_000, kept_min: 500, gone_back_max: 250 }],
        watch: campaign::Watch { moments_min: 1, worse_max: 0, apart_max: 0, latency_max: 2_000 },
    };
    let approver = SecretKey::from_seed(&[3; 32]);
    let approval = carries(&approver, 1, campaign::APPROVAL, &plan.digest());
    let run = campaign::Order::Run;
    let campaign = campaign::Campaign::new(plan, run, &approval, approver.public()).unwrap();
    let document = carries(&authority(), 9, campaign::NAME, &campaign.encode());
    [document, sealed(&authority(), 8, &header)]
}

/// All regions have one nonce and the same documents; what names a region is there alone.
#[test]
fn each_region_has_the_same_but_for_what_is_for_one() {
    let [campaign, header] = campaign_for("s");
    let metadata = |name: &str| carries(&timekeeper(), 5, name, name.as_bytes());
    let [image, of_r, of_s] = ["tuf/image", "tuf/r", "tuf/s"].map(metadata);
    let documents = [plan(1, EPOCH, OPEN), image, of_r, of_s, campaign, header];
    let start = EPOCH_MS - 10_000;
    let mut program = Program::start_in(&["r", "s"], World::default(), start, &documents, None);
    program.connect();
    program.until(EPOCH_MS + 16_000);
    let at = |region, signer: &SecretKey, leaf| {
        program.world.board.get(&topic_in(region, signer, leaf)).cloned()
    };
    for leaf in [Leaf::nonce(0), Leaf::nonce(1)] {
        let nonce = at("r", &timekeeper(), leaf);
        assert!(nonce.is_some() && nonce == at("s", &timekeeper(), leaf), "{leaf:?}");
    }
    for region in ["r", "s"] {
        assert_eq!(at(region, &authority(), Leaf::Plan).as_ref(), Some(&documents[0]));
        let slots = [METADATA_SLOT, METADATA_SLOT + 1];
        let metadata = slots.map(|slot| at(region, &timekeeper(), Leaf::Document { slot }));
        let own = if region == "r" { 2 } else { 3 };
        assert_eq!(metadata, [1, own].map(|index| Some(documents[index].clone())), "{region}");
        let more = Leaf::Document { slot: METADATA_SLOT + 2 };
        assert_eq!(at(region, &timekeeper(), more), None);
        let for_it = [
            Leaf::Document { slot: campaign::SLOT },
            Leaf::Particle { slot: campaign::PARTICLE_SLOT },
        ];
        for leaf in for_it {
            assert_eq!(at(region, &authority(), leaf).is_some(), region == "s", "{leaf:?}");
        }
    }
    assert_eq!(program.draws.len(), 2, "one nonce a window");
    // A region that was not there before, or whose board forgot all, gets what the others have.
    let (published, nonce) = (program.published.len(), program.nonce(0));
    program.disconnect();
    program.world.board.retain(|topic, _bytes| topic.contains("/r/"));
    program.connect();
    program.until(EPOCH_MS + 19_000);
    let again = program.world.board.get(&topic_in("s", &timekeeper(), Leaf::nonce(0)));
    assert_eq!(again, program.world.board.get(&topic(&timekeeper(), Leaf::nonce(0))));
    assert_eq!((program.nonce(0), program.draws.len()), (nonce, 2));
    let new = &program.published[published..];
    assert!(!new.is_empty() && new.iter().all(|topic| topic.contains("/s/")), "{new:?}");
}

#[test]
fn a_restart_contradicts_no_nonce_on_the_board_even_without_its_disk() {
    let mut first = running();
    first.until(EPOCH_MS + 36_000);
    let mut world = first.world.clone();
    world.disk.clear();
    let mut second = Program::start(world, EPOCH_MS + 37_000, &[plan(1, EPOCH, OPEN)], None);
    second.connect();
    second.until(EPOCH_MS + 56_000);
    assert_eq!(second.draws, [(3, EPOCH_MS + 55_000)]);
    for window in 0..3 {
        assert_eq!(second.nonce(window), first.nonce(window), "window {window}");
    }
    assert_eq!(second.nonce(3).unwrap().1, 4, "above every counter that stands");
}

#[test]
fn a_restart_contradicts_no_nonce_of_a_board_that_forgot_it() {
    let mut first = running();
    first.until(EPOCH_MS + 36_000);
    let world = World { board: BTreeMap::new(), disk: first.world.disk.clone() };
    let mut second = Program::start(world, EPOCH_MS + 37_000, &[plan(1, EPOCH, OPEN)], None);
    second.connect();
    second.until(EPOCH_MS + 38_000);
    assert_eq!(second.draws, []);
    for window in 0..3 {
        assert_eq!(second.nonce(window), first.nonce(window), "window {window}");
    }
}

#[test]
fn a_board_that_forgot_all_gets_all_again() {
    let mut program = running();
    program.until(EPOCH_MS + 36_000);
    let before = std::mem::take(&mut program.world.board);
    program.disconnect();
    program.until(EPOCH_MS + 37_000);
    program.connect();
    program.until(EPOCH_MS + 38_000);
    assert_eq!(program.world.board, before);
}

#[test]
fn a_border_without_a_connection_is_made_up_for() {
    let mut program = running();
    program.until(EPOCH_MS);
    program.disconnect();
    program.until(EPOCH_MS + 18_000);
    assert_eq!(program.nonce(1), None);
    program.connect();
    program.until(EPOCH_MS + 19_000);
    assert!(program.nonce(1).is_some());
}

#[test]
fn what_another_leaves_at_our_topics_is_overwritten_but_not_in_a_race() {
    let mut program = running();
    program.until(EPOCH_MS);
    let before = program.world.board.clone();
    program.published.clear();
    let place = topic(&timekeeper(), Leaf::nonce(0));
    for times in 1..3 {
        program.world.board.insert(place.clone(), b"garbage".to_vec());
        let reject = program.stands(&place, b"garbage").unwrap_err();
        assert!(matches!(reject, Reject::Message { leaf: Leaf::Nonce { window: 0 }, .. }));
        assert_eq!(program.published.len(), 1, "at once, and not again at once: {times}");
    }
    program.world.board.remove(&topic(&authority(), Leaf::Plan));
    program.stands(&topic(&authority(), Leaf::Plan), b"").unwrap();
    program.until(EPOCH_MS + 2_000);
    assert_eq!(program.world.board, before);
}

#[test]
fn a_newer_plan_on_the_board_stays_and_is_followed() {
    let mut program = running();
    program.until(EPOCH_MS - 5_000);
    let newer = plan(9, EPOCH, 10);
    let reject = program.stands(&topic(&authority(), Leaf::Plan), &newer).unwrap_err();
    assert_eq!(reject, Reject::Newer { leaf: Leaf::Plan, standing: 9, here: 1 });
    program.published.clear();
    program.until(EPOCH_MS + 11_000);
    assert_eq!(program.draws[1..], [(1, EPOCH_MS + 10_000)]);
    assert_eq!(program.published, [topic(&timekeeper(), Leaf::nonce(1))]);
}

#[test]
fn a_new_plan_is_published_and_a_nonce_that_it_would_make_known_too_early_is_drawn_again() {
    let mut program = running();
    program.until(EPOCH_MS + 36_000);
    let (stale, before) = program.nonce(1).unwrap();
    let later = EPOCH + 40;
    let new = plan(4, later, OPEN);
    program.documents(std::slice::from_ref(&new)).unwrap();
    assert_eq!(program.world.board[&topic(&authority(), Leaf::Plan)], new);
    program.until(later * 1000 + 16_000);
    let (fresh, counter) = program.nonce(1).unwrap();
    assert!(fresh != stale && counter > before);
    assert_eq!(program.draws.last(), Some(&(1, later * 1000 + 15_000)));
}

#[test]
fn documents_are_taken_all_or_none() {
    let mut program = running();
    let mut forged = plan(7, EPOCH, OPEN);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let reject = program.documents(&[manifest(5, "c"), forged]).unwrap_err();
    assert!(matches!(reject, Reject::Document { index: 1, .. }));
    let nonce = Nonce::new(NonceFields { window: 0, nonce: [1; 32], utc_seconds: 0 }).unwrap();
    let reject = program.documents(&[sealed(&timekeeper(), 1, &nonce)]).unwrap_err();
    assert_eq!(reject, Reject::Kind { index: 0, kind: Kind::Nonce });
    program.until(EPOCH_MS);
    assert_eq!(program.published.len(), 4, "those from before");
}

#[test]
fn a_source_of_randomness_that_fails_is_asked_again() {
    let mut core = Timekeeper::new(
        label("f"),
        &[label("r")],
        Settings { authority: authority().public(), key: Box::new(timekeeper()), windows: None },
    );
    core.handle_input(EPOCH_MS, Input::Documents(&[&plan(1, EPOCH, OPEN)])).unwrap();
    core.handle_input(EPOCH_MS, Input::Connected).unwrap();
    core.handle_input(EPOCH_MS, Input::Subscribed).unwrap();
    core.handle_timeout(EPOCH_MS + 1_000);
    assert!(matches!(core.poll_output(), Some(Output::Draw { window: 0 })));
    let zeros = Input::Drawn { window: 0, nonce: [0; 32] };
    assert!(matches!(core.handle_input(EPOCH_MS + 1_000, zeros), Err(Reject::Drawn(_))));
    assert!(matches!(core.poll_output(), Some(Output::Draw { window: 0 })));
}

#[test]
fn it_is_done_when_the_last_window_has_closed_and_draws_for_none_after() {
    let documents = [plan(1, EPOCH, OPEN)];
    let mut program = Program::start(World::default(), EPOCH_MS - 10_000, &documents, Some(2));
    program.connect();
    program.until(EPOCH_MS + 100_000);
    assert_eq!(program.done, Some(EPOCH_MS + 35_000));
    assert_eq!(program.draws.len(), 2);
}

use shoal_swarm::inbox::read;
use shoal_wire::v1::{
    Knot, Metric, ROSTER_PAGE_BYTES_MAX, RosterFields, RosterPageFields, Term,
    UtilityDocumentFields, Vehicle, WindowPlanFields,
};
use shoal_wire::{KeyId, Label, Leaf, PackHash, RecordId, SecretKey, Topic, seal};

use super::*;

fn authority() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

fn sealed<'a, T: Body<'a>>(counter: u64, body: &T) -> Vec<u8> {
    let mut buffer = vec![0; ROSTER_PAGE_BYTES_MAX];
    seal(body, counter, u64::MAX, &authority(), &mut buffer).unwrap().bytes().to_vec()
}

fn plan(counter: u64, period_seconds: u32) -> Vec<u8> {
    let fields = WindowPlanFields {
        epoch_seconds: 1,
        period_seconds,
        open_seconds: 1,
        jitter_ms_max: 0,
        up_bytes_max: BYTES_MIN,
        down_bytes_max: BYTES_MIN,
    };
    sealed(counter, &WindowPlan::new(fields).unwrap())
}

/// A page and the head that names it.
fn roster(version: u32, vehicles: u8) -> (Vec<u8>, Vec<u8>) {
    let row = |seed: u8| {
        let key = SecretKey::from_seed(&[seed; 32]);
        Vehicle { public_key: *key.public().bytes(), region: 0 }.encode()
    };
    let rows: Vec<u8> = (10..10 + vehicles).flat_map(row).collect();
    let fields = RosterPageFields { version, index: 0, vehicles: &rows };
    let page = sealed(u64::from(version) * 2, &RosterPage::new(fields).unwrap());
    let pages = *RecordId::new(sha2_of(&page)).bytes();
    let fields = RosterFields { version, vehicles: vehicles.into(), pages: &pages };
    (page, sealed(u64::from(version) * 2 + 1, &Roster::new(fields).unwrap()))
}

fn sha2_of(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

fn take(
    documents: &mut Documents,
    leaf: Leaf,
    bytes: &[u8],
) -> Result<Option<News>, RejectDocument> {
    let label = Label::new("f").unwrap();
    let topic = Topic::new(label, label, authority().public().id(), leaf).unwrap();
    let record = read(&topic, bytes, documents.keyring()).unwrap();
    documents.take(&topic.to_string(), &record, 0)
}

fn none() -> Documents {
    let key = |seed| SecretKey::from_seed(&[seed; 32]).public();
    let told = FleetConfig {
        name: "f".to_owned(),
        region: "r".to_owned(),
        regions: Vec::new(),
        broker: "mqtt://x".to_owned(),
        certificates: None,
        key: shoal_keys::KeyAt::File("k".into()),
        next_key: None,
        packs: vec!["p".into()],
        authority: authority().public(),
        timekeeper: key(2),
        approver: key(3),
        exchange: true,
        beacons: false,
        metered: false,
        while_driving: false,
        battery_soc_min_percent: 30,
        temperature_max_c: 85,
        trust: None,
    };
    Documents::new(&told, None)
}

#[test]
fn an_older_document_and_a_second_one_of_one_counter_are_refused() {
    let mut documents = none();
    assert_eq!(take(&mut documents, Leaf::Plan, &plan(5, 10)), Ok(Some(News::Plan)));
    assert_eq!(take(&mut documents, Leaf::Plan, &plan(5, 10)), Ok(None));
    let old = take(&mut documents, Leaf::Plan, &plan(4, 20)).unwrap_err();
    assert_eq!(
        (old.code(), old),
        (RefusalCode::OldCounter, RejectDocument::OldCounter { got: 4, newest: 5 })
    );
    let other = take(&mut documents, Leaf::Plan, &plan(5, 30)).unwrap_err();
    assert_eq!(other.code(), RefusalCode::Contradicted);
    assert_eq!(documents.plan().unwrap().fields().period_seconds, 10);
    assert_eq!(take(&mut documents, Leaf::Plan, &plan(6, 40)), Ok(Some(News::Plan)));
    assert!(!documents.whole());
}

#[test]
fn a_plan_by_which_nobody_would_hear_of_another_is_refused() {
    let mut documents = none();
    take(&mut documents, Leaf::Plan, &plan(5, 10)).unwrap();
    let body = |up, down| {
        let fields = *documents.plan().unwrap().fields();
        let fields = WindowPlanFields { up_bytes_max: up, down_bytes_max: down, ..fields };
        sealed(6, &WindowPlan::new(fields).unwrap())
    };
    let refused = [body(BYTES_MIN, 16), body(4, BYTES_MIN)];
    for plan in refused {
        let reject = take(&mut documents, Leaf::Plan, &plan).unwrap_err();
        assert_eq!(reject.code(), RefusalCode::OutOfBounds, "{reject}");
    }
    assert_eq!(documents.plan().unwrap().fields().period_seconds, 10);
}

/// A utility document whose terms count from the first window on, each on the pack of this number.
fn utility(counter: u64, version: u32, packs: &[u8]) -> Vec<u8> {
    let term = |pack: &u8| Term {
        name: format!("pack {pack}").as_str().try_into().unwrap(),
        pack: PackHash::new([*pack; 32]),
        metric: Metric::Skill,
        knots: [Knot { window: 0, weight: 1.0 }].into_iter().collect(),
        gate: None,
    };
    let terms = packs.iter().map(term).collect();
    sealed(counter, &UtilityDocument::new(UtilityDocumentFields { version, terms }).unwrap())
}

/// After a start it would be the one that counts.
#[test]
fn a_utility_document_that_does_not_follow_is_not_kept() {
    let mut documents = none();
    let first = utility(5, 1, &[4, 7]);
    assert_eq!(take(&mut documents, Leaf::Utility, &first), Ok(Some(News::Utility)));
    let swapped = take(&mut documents, Leaf::Utility, &utility(6, 2, &[7, 4])).unwrap_err();
    let expected = RejectDocument::Utility(RejectSuccessor::Changed { index: 0 });
    assert_eq!((swapped.code(), swapped), (RefusalCode::WrongUtility, expected));
    assert_eq!(documents.envelope(Kind::UtilityDocument), Some(&first[..]));
    let set_right = take(&mut documents, Leaf::Utility, &utility(7, 3, &[4, 7]));
    assert_eq!(set_right, Ok(Some(News::Utility)));
}

/// A document of kind document, at its slot.
fn named(signer: &SecretKey, counter: u64, name: &str, bytes: &[u8]) -> (Topic<'static>, Vec<u8>) {
    let label = Label::new("f").unwrap();
    let leaf = Leaf::Document { slot: reinstated::SLOT };
    let body = Document::new(DocumentFields { name, version: 1, bytes }).unwrap();
    let mut buffer = vec![0; ROSTER_PAGE_BYTES_MAX];
    let sealed = seal(&body, counter, u64::MAX, signer, &mut buffer).unwrap();
    (Topic::new(label, label, signer.public().id(), leaf).unwrap(), sealed.bytes().to_vec())
}

fn take_named(
    documents: &mut Documents,
    (topic, bytes): &(Topic<'static>, Vec<u8>),
) -> Result<Option<News>, RejectDocument> {
    let record = read(topic, bytes, documents.keyring()).unwrap();
    documents.take(&topic.to_string(), &record, 0)
}

#[test]
fn the_newest_reinstatements_of_the_authority_count_and_no_others() {
    let mut documents = none();
    let orders = |from| Reinstated::new(vec![(KeyId::new([7; 8]), from)]).unwrap();
    let signed =
        |counter, from| named(&authority(), counter, reinstated::NAME, &orders(from).encode());
    assert_eq!(documents.reinstated(), &Reinstated::NOBODY);
    assert_eq!(take_named(&mut documents, &signed(5, 9)), Ok(Some(News::Reinstated)));
    assert_eq!(take_named(&mut documents, &signed(5, 9)), Ok(None));
    assert_eq!(documents.reinstated(), &orders(9));
    let old = take_named(&mut documents, &signed(4, 8)).unwrap_err();
    assert_eq!(old.code(), RefusalCode::OldCounter);
    let other = take_named(&mut documents, &signed(5, 8)).unwrap_err();
    assert_eq!(other.code(), RefusalCode::Contradicted);
    let malformed = named(&authority(), 6, reinstated::NAME, &[9]);
    let malformed = take_named(&mut documents, &malformed).unwrap_err();
    assert_eq!(malformed.code(), RefusalCode::Malformed);
    // The timekeeper signs documents, too: not these.
    let timekeeper = SecretKey::from_seed(&[2; 32]);
    let by_other = named(&timekeeper, 7, reinstated::NAME, &orders(8).encode());
    assert_eq!(take_named(&mut documents, &by_other), Ok(None));
    assert_eq!(documents.reinstated(), &orders(9), "nothing of that has changed it");
    assert_eq!(take_named(&mut documents, &signed(6, 10)), Ok(Some(News::Reinstated)));
    assert_eq!(documents.reinstated(), &orders(10));
}

#[test]
fn a_page_that_a_broker_brings_back_takes_the_place_of_none_that_counts() {
    let of_page = Leaf::RosterPage { index: 0 };
    let mut documents = none();
    let (old, head) = roster(1, 3);
    take(&mut documents, of_page, &old).unwrap();
    take(&mut documents, Leaf::Roster, &head).unwrap();
    let (page, head) = roster(2, 4);
    assert_eq!(take(&mut documents, of_page, &page), Ok(None), "its head waits");
    assert!(documents.pages().eq([(0, old.as_slice())]));
    assert_eq!(take(&mut documents, Leaf::Roster, &head), Ok(Some(News::Roster)));
    assert!(documents.pages().eq([(0, page.as_slice())]));
    assert_eq!(take(&mut documents, of_page, &old), Ok(None));
    assert!(documents.pages().eq([(0, page.as_slice())]));
    assert_eq!(documents.keyring().roster().count(), 4);
}

#[test]
fn a_nonce_is_drawn_while_the_plan_counts_and_by_the_end_of_the_window_after_its_own() {
    let mut documents = none();
    assert_eq!(documents.drawn_until_s(3), None);
    take(&mut documents, Leaf::Plan, &plan(5, 10)).unwrap();
    assert_eq!(documents.drawn_until_s(3), Some(1 + 5 * 10));
    assert_eq!(documents.drawn_until_s(u32::MAX), Some(1 + (u64::from(u32::MAX) + 2) * 10));
    let body = *documents.plan().unwrap();
    let mut buffer = vec![0; ROSTER_PAGE_BYTES_MAX];
    let ends = seal(&body, 6, 1_000, &authority(), &mut buffer).unwrap().bytes().to_vec();
    take(&mut documents, Leaf::Plan, &ends).unwrap();
    assert_eq!(documents.drawn_until_s(u32::MAX), Some(1_000));
}

#[test]
fn a_roster_is_whole_whether_its_pages_come_before_its_head_or_after() {
    let (page, head) = roster(1, 3);
    let of_page = Leaf::RosterPage { index: 0 };
    for page_first in [true, false] {
        let mut documents = none();
        let order = if page_first { [0, 1] } else { [1, 0] };
        for which in order {
            let (leaf, bytes) = if which == 0 { (of_page, &page) } else { (Leaf::Roster, &head) };
            // Before its head a page says nothing.
            let news = (which == 1 || !page_first).then_some(News::Roster);
            assert_eq!(take(&mut documents, leaf, bytes), Ok(news));
        }
        assert_eq!(documents.keyring().roster().count(), 3, "page first: {page_first}");
        let (page, head) = roster(2, 4);
        take(&mut documents, of_page, &page).unwrap();
        assert_eq!(documents.keyring().roster().count(), 3, "the head is not there yet");
        take(&mut documents, Leaf::Roster, &head).unwrap();
        assert_eq!(documents.keyring().roster().count(), 4);
    }
}

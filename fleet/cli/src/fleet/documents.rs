//! What the authority signs: envelopes as files, one for each document.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use shoal_hal::backend::files::write_whole;
use shoal_swarm::campaign::{self, Campaign, Order};
use shoal_vehicle::exchange::key::{Own, received, verified};
use shoal_wire::v1::{
    Document, DocumentFields, Growth, ParticleHeader, ROSTER_PAGE_VEHICLES_MAX, Roster,
    RosterFields, RosterPage, RosterPageFields, SwarmDocument, SwarmDocumentFields, Vehicle,
    WindowPlanFields,
};
use shoal_wire::{Body, Head, KeyId, Kind, PublicKey, RecordId, Signer, Unverified, seal};

use super::chunks::Chunks;
use super::description::Description;
use super::repositories::Repositories;
use super::secret;
use crate::clock::utc_ms;
use crate::output::{Failure, Outcome};

/// The folder of a fleet's documents.
const FOLDER: &str = "documents";
/// The folder of all that was ordered, each as it was signed: of a document that another takes the place of before anybody has looked,
/// nothing would be left.
const ORDERS: &str = "orders";
/// The header of what the campaign promotes.
const PROMOTED: &str = "campaign-particle";
/// Documents count for so long.
const DAYS_VALID: u64 = 365;
const DAY_S: u64 = 86_400;
/// The pages of a roster that is being signed, until its head names them; and those that its head named before, in case that comes back.
const PAGES_BESIDE: [&str; 2] = ["next", "before"];

/// Since when what is signed now counts: from window 0 on, in whole days, so that a fleet that is made again on the same day is the same.
pub(super) fn since_seconds(plan: &WindowPlanFields, now_s: u64) -> u64 {
    let days = now_s.saturating_sub(plan.epoch_seconds) / DAY_S;
    plan.epoch_seconds.saturating_add(days * DAY_S)
}

/// Until when it counts: a calendar is older than what is signed by it.
pub(super) fn not_after_seconds(plan: &WindowPlanFields, now_s: u64) -> u64 {
    since_seconds(plan, now_s).saturating_add(DAYS_VALID * DAY_S)
}

/// The envelopes of a fleet's folder, in order of name. What is being written is none of them.
pub(super) fn envelopes(folder: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, Failure> {
    files(folder, &["shl"])
}

/// The files of a folder with one of these endings, in order of name.
fn files(folder: &Path, endings: &[&str]) -> Result<Vec<(PathBuf, Vec<u8>)>, Failure> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", folder.display());
    let entries = std::fs::read_dir(folder).map_err(failed)?.collect::<Result<Vec<_>, _>>();
    let paths = entries.map_err(failed)?.into_iter().map(|entry| entry.path());
    let ends = |path: &PathBuf| {
        path.extension().is_some_and(|extension| endings.iter().any(|ending| extension == *ending))
    };
    let mut paths: Vec<PathBuf> = paths.filter(ends).collect();
    paths.sort();
    let read = |path: PathBuf| match std::fs::read(&path) {
        Ok(bytes) => Ok((path, bytes)),
        Err(error) => Err(format!("cannot read {}: {error}", path.display()).into()),
    };
    paths.into_iter().map(read).collect()
}

/// All that was ordered, in the order of its counters.
pub(super) fn orders(fleet: &Path) -> Result<Vec<(PathBuf, Vec<u8>)>, Failure> {
    let folder = fleet.join(ORDERS);
    if folder.is_dir() { envelopes(&folder) } else { Ok(Vec::new()) }
}

/// The authority's key in a fleet's folder.
pub(crate) fn authority_key(
    fleet: &Path,
    description: &Description,
) -> Result<Box<dyn Signer>, Failure> {
    let key = secret::open(&fleet.join("authority.key"))?;
    if key.public() != description.authority {
        return Err("authority.key is not the authority's of fleet.toml".into());
    }
    // Before anything is signed that they would have to name.
    let _exist = Repositories::of(fleet, description).exist()?;
    Ok(key)
}

/// The highest counter of a fleet's documents and orders that this key signed: a key counts over all it signs. Of an order that was cut
/// short there is nothing among the documents yet.
pub(crate) fn newest_counter(fleet: &Path, signer: KeyId) -> Result<u64, Failure> {
    let mut newest = 0;
    let documents = files(&fleet.join(FOLDER), &["shl", "next", "before"])?;
    for (path, bytes) in documents.into_iter().chain(orders(fleet)?) {
        let record =
            Unverified::decode(&bytes).map_err(|reject| format!("{}: {reject}", path.display()))?;
        if record.head().key == signer {
            newest = newest.max(record.head().counter);
        }
    }
    Ok(newest)
}

/// The swarm document of a fleet's folder.
pub(crate) fn swarm_document(
    fleet: &Path,
    authority: PublicKey,
) -> Result<SwarmDocumentFields, Failure> {
    let path = fleet.join(FOLDER).join("swarm.shl");
    let bytes =
        std::fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    Ok(*verified::<SwarmDocument>(&bytes, &Own(authority))?.body().fields())
}

/// What was ordered last of a campaign, also if another has taken its place among the documents since.
pub(crate) fn last_order(
    fleet: &Path,
    description: &Description,
    number: u32,
) -> Result<Option<Order>, Failure> {
    let all = ordered(fleet, description)?.into_iter();
    let last = all.filter(|one| one.number == number).max_by_key(|one| one.counter);
    Ok(last.map(|one| one.campaign.order))
}

/// What was ordered last of any campaign: it stands among the documents, whatever the campaign's number.
pub(crate) fn newest_order(
    fleet: &Path,
    description: &Description,
) -> Result<Option<Ordered>, Failure> {
    Ok(ordered(fleet, description)?.into_iter().max_by_key(|one| one.counter))
}

/// What was ordered of a campaign once.
pub(crate) struct Ordered {
    pub(crate) number: u32,
    /// As it was signed.
    pub(crate) campaign: Campaign,
    signer: KeyId,
    counter: u64,
    envelope: Vec<u8>,
}

impl Ordered {
    /// Whether the document is this one, and metadata name it. Else whoever ordered it was cut short, and no vehicle hears of it.
    pub(crate) fn is_told(&self, fleet: &Path, description: &Description) -> Result<bool, Failure> {
        let standing = std::fs::read(document(fleet, campaign::NAME));
        let stands = standing.is_ok_and(|standing| standing == self.envelope);
        Ok(stands && Repositories::of(fleet, description).name_all()?)
    }

    /// Whether this authority signed this campaign so: then nothing is to be signed again.
    pub(crate) fn is(&self, campaign: &Campaign, authority: PublicKey) -> bool {
        self.campaign == *campaign && self.signer == authority.id()
    }

    /// Puts it in its place among the documents, where metadata name it.
    pub(crate) fn tell(&self, fleet: &Path, description: &Description) -> Outcome {
        write_whole(&document(fleet, campaign::NAME), &self.envelope)?;
        Repositories::of(fleet, description).name_documents(utc_ms()? / 1000)
    }
}

/// The file of the document of this name.
fn document(fleet: &Path, name: &str) -> PathBuf {
    fleet.join(FOLDER).join(name).with_extension("shl")
}

/// All that was ordered of campaigns and is in force, also by authorities before this one: what was stopped for good is. What an
/// approver before this one approved is nobody's order any more.
fn ordered(fleet: &Path, description: &Description) -> Result<Vec<Ordered>, Failure> {
    let mut all = Vec::new();
    each_order(fleet, description, |head, envelope, fields| {
        if let Ok(campaign) = Campaign::decode(fields.bytes, description.approver) {
            let (number, signer, counter) = (fields.version, head.key, head.counter);
            let envelope = envelope.to_vec();
            all.push(Ordered { number, campaign, signer, counter, envelope });
        }
    })?;
    Ok(all)
}

/// Whether a campaign was approved by an approver before this one.
pub(crate) fn was_approved_before(
    fleet: &Path,
    description: &Description,
    number: u32,
) -> Result<bool, Failure> {
    let mut before = false;
    each_order(fleet, description, |_head, _envelope, fields| {
        let of_it = fields.version == number;
        before |= of_it && Campaign::decode(fields.bytes, description.approver).is_err();
    })?;
    Ok(before)
}

/// Every order of a campaign that an authority signed: its envelope, and what is in it.
fn each_order(
    fleet: &Path,
    description: &Description,
    mut each: impl FnMut(&Head, &[u8], &DocumentFields<'_>),
) -> Outcome {
    let mut authorities = Repositories::of(fleet, description).authorities()?;
    authorities.push(description.authority);
    for (path, bytes) in envelopes(&fleet.join(FOLDER))?.into_iter().chain(orders(fleet)?) {
        let head = *Unverified::decode(&bytes).map_err(|error| named(&path, error.into()))?.head();
        let by = authorities.iter().find(|authority| authority.id() == head.key);
        let Some(by) = by.filter(|_by| head.kind == Kind::Document) else { continue };
        let document = verified::<Document<'_>>(&bytes, &Own(*by));
        let document = document.map_err(|error| named(&path, error.into()))?;
        let fields = document.body().fields();
        if fields.name == campaign::NAME {
            each(&head, &bytes, fields);
        }
    }
    Ok(())
}

fn named(path: &Path, error: Failure) -> Failure {
    format!("{}: {error}", path.display()).into()
}

/// The files of what this authority ordered that is not among these records of the journal: `shoal fleet serve` has not looked since.
pub(crate) fn unwritten_orders(
    fleet: &Path,
    description: &Description,
    written: &BTreeSet<Vec<u8>>,
) -> Result<Vec<PathBuf>, Failure> {
    let Description { authority, approver, .. } = *description;
    let mut unwritten = Vec::new();
    for (path, bytes) in orders(fleet)? {
        let head = *Unverified::decode(&bytes).map_err(|error| named(&path, error.into()))?.head();
        // Those of the authority before, or approved by the approver before, stand in the journal of those.
        if head.key != authority.id() || written.contains(&bytes) {
            continue;
        }
        let document = verified::<Document<'_>>(&bytes, &Own(authority))
            .map_err(|error| named(&path, error.into()))?;
        let fields = document.body().fields();
        if fields.name != campaign::NAME || Campaign::decode(fields.bytes, approver).is_ok() {
            unwritten.push(path);
        }
    }
    Ok(unwritten)
}

/// Signs a campaign among the documents, with what it promotes: the particle's header, and its chunks.
pub(crate) fn sign_campaign(
    fleet: &Path,
    key: &dyn Signer,
    campaign: &Campaign,
    (header, chunks): (&ParticleHeader, &[Vec<u8>]),
) -> Outcome {
    let documents = fleet.join(FOLDER);
    Chunks::of(fleet).write(header, chunks)?;
    sign_promoted(&documents, key, header, newest_counter(fleet, key.public().id())?)?;
    let until = campaign.approved_until_s;
    let counter = newest_counter(fleet, key.public().id())?;
    let mut desk = Desk::new(&documents, key, counter, until);
    let bytes = campaign.encode();
    let version = campaign.plan.number;
    let fields = DocumentFields { name: campaign::NAME, version, bytes: &bytes };
    desk.order(fleet, &Document::new(fields)?)?;
    Repositories::of(fleet, &Description::read(fleet)?).name_documents(utc_ms()? / 1000)
}

/// Signs the header of what a campaign promotes, unless it stands there: brokers and gateways go by its counter, and of two that were
/// made one after the other either may be begun first.
fn sign_promoted(
    documents: &Path,
    key: &dyn Signer,
    header: &ParticleHeader,
    counter: u64,
) -> Outcome {
    let standing = std::fs::read(documents.join(PROMOTED).with_extension("shl"));
    let standing = standing.unwrap_or_default();
    let standing = verified::<ParticleHeader>(&standing, &Own(key.public()));
    if standing.is_ok_and(|standing| standing.body().id() == header.id()) {
        return Ok(());
    }
    Desk::new(documents, key, counter, u64::MAX).sign(PROMOTED, header)?;
    Ok(())
}

/// A folder of signed documents.
pub(super) struct Desk<'a> {
    folder: PathBuf,
    key: &'a dyn Signer,
    /// Of the last envelope.
    counter: u64,
    not_after_seconds: u64,
}

impl<'a> Desk<'a> {
    /// A desk whose first envelope has the counter after this one.
    pub(super) fn new(
        folder: &Path,
        key: &'a dyn Signer,
        counter: u64,
        not_after_seconds: u64,
    ) -> Self {
        Desk { folder: folder.to_path_buf(), key, counter, not_after_seconds }
    }

    /// Signs a body and writes it as `NAME.shl`.
    pub(super) fn sign<'b, T: Body<'b>>(
        &mut self,
        name: &str,
        body: &T,
    ) -> Result<RecordId, Failure> {
        let (bytes, id) = self.seal(body)?;
        write_whole(&self.path(name), &bytes)?;
        Ok(id)
    }

    /// Signs what an operator orders: under its name, and for the journal under its counter, too.
    pub(super) fn order(&mut self, fleet: &Path, document: &Document<'_>) -> Outcome {
        let name = document.fields().name;
        let (bytes, _id) = self.seal(document)?;
        let orders = fleet.join(ORDERS);
        std::fs::create_dir_all(&orders)?;
        write_whole(&orders.join(format!("{:020}-{name}.shl", self.counter)), &bytes)?;
        Ok(write_whole(&self.path(name), &bytes)?)
    }

    /// The file of this name, which may have dots.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.shl"))
    }

    fn seal<'b, T: Body<'b>>(&mut self, body: &T) -> Result<(Vec<u8>, RecordId), Failure> {
        self.counter += 1;
        let mut buffer = vec![0; Kind::envelope_bytes_max(T::KIND)];
        let sealed = seal(body, self.counter, self.not_after_seconds, self.key, &mut buffer)?;
        Ok((sealed.bytes().to_vec(), sealed.id()))
    }

    /// Signs the pages of a roster that has grown so, then the head that names them: until then the pages stay that the head before names.
    pub(super) fn sign_roster(
        &mut self,
        version: u32,
        vehicles: &[Vehicle],
        growths: &[Growth],
    ) -> Result<(), Failure> {
        let mut pages = Vec::new();
        for (index, page) in vehicles.chunks(ROSTER_PAGE_VEHICLES_MAX as usize).enumerate() {
            let rows: Vec<u8> = page.iter().flat_map(Vehicle::encode).collect();
            let index = u16::try_from(index)?;
            let page = RosterPage::new(RosterPageFields { version, index, vehicles: &rows })?;
            let (bytes, id) = self.seal(&page)?;
            write_whole(&page_path(&self.folder, usize::from(index), "next"), &bytes)?;
            pages.extend_from_slice(id.bytes());
        }
        pages.extend(growths.iter().flat_map(Growth::encode));
        let count = u32::try_from(vehicles.len())?;
        let head = Roster::new(RosterFields { version, vehicles: count, pages: &pages })?;
        self.sign("roster", &head)?;
        settle_pages(&self.folder, self.key.public())
    }
}

fn page_path(documents: &Path, index: usize, ending: &str) -> PathBuf {
    documents.join(format!("rosterpage-{index}.{ending}"))
}

/// How many pages the roster's head names, and those of them that are not in their places, but beside: index and ending.
fn pages_beside(documents: &Path, authority: PublicKey) -> (usize, Vec<(usize, &'static str)>) {
    let head = std::fs::read(documents.join("roster.shl")).unwrap_or_default();
    // Whoever needs it says what is wrong with it.
    let Ok(head) = verified::<Roster<'_>>(&head, &Own(authority)) else { return (0, Vec::new()) };
    let pages = head.body().pages();
    let count = pages.len();
    let beside = pages.enumerate().filter_map(|(index, named)| {
        let is_named = |ending: &&str| {
            let page = std::fs::read(page_path(documents, index, ending));
            page.is_ok_and(|page| received(&page) == named)
        };
        let ending = PAGES_BESIDE.into_iter().find(is_named)?;
        (!is_named(&"shl")).then_some((index, ending))
    });
    (count, beside.collect())
}

/// Puts the pages that the roster's head names in their places, also after a cut. Those that it does not name are kept beside.
pub(super) fn settle_pages(documents: &Path, authority: PublicKey) -> Outcome {
    let (count, beside) = pages_beside(documents, authority);
    for (index, ending) in beside {
        let path = page_path(documents, index, "shl");
        let other = PAGES_BESIDE.into_iter().find(|other| *other != ending).unwrap_or(ending);
        if path.exists() {
            std::fs::rename(&path, page_path(documents, index, other))?;
        }
        std::fs::rename(page_path(documents, index, ending), path)?;
    }
    // Pages of a longer one.
    for index in count.. {
        let (path, before) =
            (page_path(documents, index, "shl"), page_path(documents, index, "before"));
        if count == 0 || std::fs::rename(path, before).is_err() {
            break;
        }
    }
    Ok(())
}

/// The documents of a fleet as they are told: with the pages that the roster's head names, wherever a cut has left them.
pub(super) fn told(
    documents: &Path,
    authority: PublicKey,
) -> Result<Vec<(PathBuf, Vec<u8>)>, Failure> {
    let mut told = envelopes(documents)?;
    for (index, ending) in pages_beside(documents, authority).1 {
        let (path, beside) =
            (page_path(documents, index, "shl"), page_path(documents, index, ending));
        let bytes = std::fs::read(&beside)
            .map_err(|error| format!("cannot read {}: {error}", beside.display()))?;
        told.retain(|(other, _bytes)| *other != path);
        told.push((path, bytes));
    }
    Ok(told)
}

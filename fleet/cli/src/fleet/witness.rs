//! Who writes the journal: what the authority signs, and what vehicles say of what they drive with.

use std::collections::BTreeMap;
use std::path::Path;

use shoal_swarm::campaign::{self, Campaign, Outcome};
use shoal_swarm::inbox::{Record, read};
use shoal_swarm::keyring::Keyring;
use shoal_swarm::reinstated;
use shoal_vehicle::exchange::key::{received, verified};
use shoal_wire::v1::{Document, Presence, Refusal, RefusalCode, Roster, RosterPage};
use shoal_wire::{KeyId, Kind, Label, Leaf, ParticleId, PublicKey, RecordId, Topic, Unverified};

use super::description::Description;
use super::journal::Journal;
use crate::output::{Failure, Outcome as Done};

/// Most lines that one vehicle has written in a window: it begins, and keeps or goes back. Who says more fills no disk.
const LINES_MAX: u8 = 4;

/// The journal, and whom it believes.
pub(super) struct Witness {
    journal: Journal,
    /// What campaigns promote, and the record by which each was approved.
    campaigns: BTreeMap<ParticleId, RecordId>,
    /// In this window, how many lines each vehicle has.
    lines: (Option<u32>, BTreeMap<KeyId, u8>),
    approver: PublicKey,
    keyring: Keyring,
    fleet: String,
    region: String,
    authority: KeyId,
}

impl Witness {
    /// Opens the journal of a fleet's folder.
    pub(super) fn open(folder: &Path, fleet: &Description) -> Result<Self, Failure> {
        let keyring = Keyring::new(fleet.authority, fleet.timekeeper);
        let mut campaigns = BTreeMap::new();
        let journal = Journal::open(folder, |line| {
            campaigns.extend(promoted(&line.bytes(), &keyring, fleet.approver));
        })?;
        Ok(Witness {
            journal,
            campaigns,
            lines: (None, BTreeMap::new()),
            approver: fleet.approver,
            keyring,
            fleet: fleet.name.clone(),
            region: fleet.region.clone(),
            authority: fleet.authority.id(),
        })
    }

    /// The journal.
    #[cfg(test)]
    pub(super) const fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// What it listens to, besides what a timekeeper does.
    pub(super) fn filters(&self) -> Vec<String> {
        let fleet = &self.fleet;
        ["presence/#", "refusal/#"].map(|kind| format!("shoal/1/{fleet}/+/{kind}")).into()
    }

    /// Writes the authority's documents that are new. They were checked.
    pub(super) fn documents(&mut self, at_ms: u64, documents: &[&[u8]]) -> Done {
        let mut heads = Vec::new();
        for bytes in documents {
            let record = Unverified::decode(bytes)?;
            let leaf = match record.head().kind {
                Kind::WindowPlan => Leaf::Plan,
                Kind::Roster => {
                    heads.push(bytes);
                    Leaf::Roster
                }
                Kind::UtilityDocument => Leaf::Utility,
                Kind::SwarmDocument => Leaf::Swarm,
                Kind::ParticleHeader => Leaf::Particle { slot: campaign::PARTICLE_SLOT },
                Kind::RosterPage => {
                    let page = verified::<RosterPage<'_>>(bytes, &self.keyring)?;
                    Leaf::RosterPage { index: page.body().fields().index }
                }
                Kind::Document => match self.document_slot(bytes)? {
                    Some(slot) => Leaf::Document { slot },
                    // A pack's manifest is no act of an operator's.
                    None => continue,
                },
                Kind::Claim | Kind::Vote | Kind::Presence | Kind::Nonce | Kind::Refusal => continue,
            };
            self.write_newer(at_ms, leaf, bytes)?;
        }
        self.roster(&heads, documents)
    }

    /// Writes an order of the authority's that is newer than the last of its kind. Those of the authority before stand in its journal.
    pub(super) fn order(&mut self, at_ms: u64, bytes: &[u8]) -> Done {
        let head = *Unverified::decode(bytes)?.head();
        if head.key != self.authority {
            return Ok(());
        }
        let Some(slot) = self.document_slot(bytes)? else { return Ok(()) };
        self.write_newer(at_ms, Leaf::Document { slot }, bytes)
    }

    /// Writes what the authority signed, unless the same or something newer stands there. A campaign that another approver approved
    /// stands in the journal before this one.
    fn write_newer(&mut self, at_ms: u64, leaf: Leaf, bytes: &[u8]) -> Done {
        let topic = self.topic(self.authority, leaf)?;
        let counter = Unverified::decode(bytes)?.head().counter;
        let last = self.journal.last(&topic).and_then(|last| Unverified::decode(last).ok());
        if last.is_some_and(|last| last.head().counter >= counter) {
            return Ok(());
        }
        let promoted = promoted(bytes, &self.keyring, self.approver);
        if promoted.is_none() && leaf == (Leaf::Document { slot: campaign::SLOT }) {
            return Ok(());
        }
        self.campaigns.extend(promoted);
        self.journal.write(at_ms, &topic, bytes)
    }

    /// Where a campaign stands, and who was reinstated.
    fn document_slot(&self, bytes: &[u8]) -> Result<Option<u8>, Failure> {
        let document = verified::<Document<'_>>(bytes, &self.keyring)?;
        Ok(match document.body().fields().name {
            campaign::NAME => Some(campaign::SLOT),
            reinstated::NAME => Some(reinstated::SLOT),
            _another => None,
        })
    }

    /// Believes the vehicles of the roster.
    fn roster(&mut self, heads: &[&&[u8]], documents: &[&[u8]]) -> Done {
        for head in heads {
            let head = verified::<Roster<'_>>(head, &self.keyring)?;
            // An older one is no news.
            let _known = self.keyring.head(&head);
            for bytes in documents {
                if let Ok(page) = verified::<RosterPage<'_>>(bytes, &self.keyring) {
                    let _of_another = self.keyring.page(&head, &page);
                }
            }
        }
        Ok(())
    }

    /// Writes what a vehicle says in a window, if it says of a campaign what it had not said before.
    pub(super) fn message(
        &mut self,
        at_ms: u64,
        window: Option<u32>,
        topic: &Topic<'_>,
        bytes: &[u8],
    ) -> Done {
        if !matches!(topic.leaf(), Leaf::Presence | Leaf::Refusal { slot: campaign::REPORT_SLOT }) {
            return Ok(());
        }
        let text = topic.to_string();
        let Ok(record) = read(topic, bytes, &self.keyring) else { return Ok(()) };
        // What a broker brings back from long ago is no news.
        let last = self.journal.last(&text).and_then(|last| Unverified::decode(last).ok());
        if last.is_some_and(|last| record.head().counter <= last.head().counter) {
            return Ok(());
        }
        let news = match &record {
            Record::Presence(presence) => {
                let before = self.journal.last(&text).and_then(|last| self.adapter(last));
                let adapter = presence.body().fields().adapter;
                let promotes = |one: Option<ParticleId>| {
                    one.is_some_and(|one| self.campaigns.contains_key(&one))
                };
                before != adapter && (promotes(before) || promotes(adapter))
            }
            Record::Refusal(refusal) => {
                let fields = refusal.body().fields();
                let outcome = RefusalCode::from_number(fields.code).and_then(Outcome::refused);
                let approved = self.campaigns.values().any(|approval| *approval == fields.record);
                outcome.is_some() && approved && !self.said(&text, refusal)
            }
            Record::Claim(_)
            | Record::Vote(_)
            | Record::ParticleHeader(_)
            | Record::Nonce(_)
            | Record::WindowPlan(_)
            | Record::Roster(_)
            | Record::RosterPage(_)
            | Record::UtilityDocument(_)
            | Record::SwarmDocument(_)
            | Record::Document(_) => false,
        };
        if !news || !self.may_write(record.head().key, window) {
            return Ok(());
        }
        self.journal.write(at_ms, &text, bytes)
    }

    /// Whether a vehicle has a line left in this window, which this takes.
    fn may_write(&mut self, vehicle: KeyId, window: Option<u32>) -> bool {
        if self.lines.0 != window {
            self.lines = (window, BTreeMap::new());
        }
        let lines = self.lines.1.entry(vehicle).or_default();
        *lines = lines.saturating_add(1);
        *lines <= LINES_MAX
    }

    /// What the vehicle drove with when it was last written of.
    fn adapter(&self, presence: &[u8]) -> Option<ParticleId> {
        verified::<Presence>(presence, &self.keyring).ok()?.body().fields().adapter
    }

    /// Whether the same was refused before: it is said again in every window.
    fn said(&self, topic: &str, refusal: &shoal_wire::Verified<'_, Refusal>) -> bool {
        let last = self.journal.last(topic);
        let last = last.and_then(|last| verified::<Refusal>(last, &self.keyring).ok());
        let (new, code) = (refusal.body().fields().record, refusal.body().fields().code);
        last.is_some_and(|last| {
            let fields = last.body().fields();
            (fields.record, fields.code) == (new, code)
        })
    }

    fn topic(&self, publisher: KeyId, leaf: Leaf) -> Result<String, Failure> {
        let (fleet, region) = (Label::new(&self.fleet)?, Label::new(&self.region)?);
        Ok(Topic::new(fleet, region, publisher, leaf)?.to_string())
    }
}

/// What a campaign promotes, and the record by which it was approved; `None`: the bytes carry no campaign.
fn promoted(
    bytes: &[u8],
    keyring: &Keyring,
    approver: PublicKey,
) -> Option<(ParticleId, RecordId)> {
    let document = verified::<Document<'_>>(bytes, keyring).ok()?;
    let fields = document.body().fields();
    let campaign = Campaign::decode(fields.bytes, approver).ok();
    let campaign = campaign.filter(|_| fields.name == campaign::NAME)?;
    Some((campaign.plan.particle, received(campaign.approval())))
}

#[cfg(test)]
mod tests {
    use shoal_swarm::campaign::{APPROVAL, Order, Plan, Stage, Watch};
    use shoal_wire::v1::{
        Activity, DocumentFields, PresenceFields, RefusalFields, RosterFields, RosterPageFields,
        Vehicle,
    };
    use shoal_wire::{Body, LayoutHash, ModelHash, SecretKey, seal};
    use tempfile::{TempDir, tempdir};

    use super::super::journal;
    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn sealed<'a, T: Body<'a>>(signer: u8, counter: u64, body: &T) -> Vec<u8> {
        let mut buffer = vec![0; T::KIND.envelope_bytes_max()];
        seal(body, counter, u64::MAX, &key(signer), &mut buffer).unwrap().bytes().to_vec()
    }

    const PROMOTED: ParticleId = ParticleId::new([7; 32]);

    /// The record that approves the campaign, and the campaign.
    fn campaign() -> (Vec<u8>, Vec<u8>) {
        let plan = Plan {
            number: 1,
            fleet: "trial".to_owned(),
            region: "region-0".to_owned(),
            particle: PROMOTED,
            base_model: ModelHash::new([1; 32]),
            layout: LayoutHash::new([2; 32]),
            stages: vec![Stage { share: 1_000, kept_min: 500, gone_back_max: 250 }],
            watch: Watch { moments_min: 1, worse_max: 0, apart_max: 0, latency_max: 2_000 },
        };
        let digest = plan.digest();
        let approved = DocumentFields { name: APPROVAL, version: 1, bytes: &digest };
        let approval = sealed(3, 1, &Document::new(approved).unwrap());
        let campaign = Campaign::new(plan, Order::Run, &approval, key(3).public()).unwrap();
        let bytes = campaign.encode();
        let fields = DocumentFields { name: campaign::NAME, version: 1, bytes: &bytes };
        (approval, sealed(1, 3, &Document::new(fields).unwrap()))
    }

    /// The journal of a fleet of one vehicle, whose key is of seed 9, with a campaign.
    fn witness() -> (TempDir, Witness) {
        witness_of(3)
    }

    /// The same where the approver's key is of this seed.
    fn witness_of(approver: u8) -> (TempDir, Witness) {
        let folder = tempdir().unwrap();
        let description = Description {
            name: "trial".to_owned(),
            region: "region-0".to_owned(),
            regions: vec!["region-0".to_owned()],
            broker: "mqtt://x".to_owned(),
            authority: key(1).public(),
            timekeeper: key(2).public(),
            approver: key(approver).public(),
            recovery: None,
            vehicles: 1,
        };
        let mut witness = Witness::open(folder.path(), &description).unwrap();
        let row = Vehicle { public_key: *key(9).public().bytes(), region: 0 }.encode();
        let page = RosterPageFields { version: 1, index: 0, vehicles: &row };
        let page = sealed(1, 1, &RosterPage::new(page).unwrap());
        let id = received(&page);
        let head = RosterFields { version: 1, vehicles: 1, pages: id.bytes() };
        let head = sealed(1, 2, &Roster::new(head).unwrap());
        witness.documents(1, &[&head, &page, &campaign().1]).unwrap();
        (folder, witness)
    }

    fn say(witness: &mut Witness, window: u32, leaf: Leaf, envelope: &[u8]) {
        let (fleet, region) = (Label::new("trial").unwrap(), Label::new("region-0").unwrap());
        let topic = Topic::new(fleet, region, key(9).public().id(), leaf).unwrap();
        witness.message(2, Some(window), &topic, envelope).unwrap();
    }

    fn drives_with(witness: &mut Witness, window: u32, counter: u64, adapter: Option<ParticleId>) {
        let fields = PresenceFields {
            window: Some(window),
            activity: Activity::Exchanging,
            adapter,
            software: "s".try_into().unwrap(),
            up_bytes: 0,
            down_bytes: 0,
            terms: Default::default(),
            steps: 0,
        };
        let envelope = sealed(9, counter, &Presence::new(fields).unwrap());
        say(witness, window, Leaf::Presence, &envelope);
    }

    fn refuses(witness: &mut Witness, slot: u8, counter: u64, record: RecordId) {
        let code = RefusalCode::TrialWorse.number();
        let fields = RefusalFields { window: 5, record, code };
        let envelope = sealed(9, counter, &Refusal::new(fields).unwrap());
        say(witness, 5, Leaf::Refusal { slot }, &envelope);
    }

    fn lines(folder: &TempDir) -> usize {
        let lines = journal::read_file(&journal::path(folder.path())).unwrap().lines;
        lines.iter().filter(|line| line.at_ms == 2).count()
    }

    #[test]
    fn what_came_of_a_campaign_is_written_and_nothing_else() {
        let (folder, mut witness) = witness();
        drives_with(&mut witness, 5, 1, Some(ParticleId::new([8; 32])));
        assert_eq!(lines(&folder), 0, "of no campaign");
        drives_with(&mut witness, 5, 2, Some(PROMOTED));
        drives_with(&mut witness, 5, 3, Some(PROMOTED));
        assert_eq!(lines(&folder), 1, "it keeps it");
        drives_with(&mut witness, 5, 4, None);
        assert_eq!(lines(&folder), 2, "and no longer");
        let approval = received(&campaign().0);
        refuses(&mut witness, 0, 5, approval);
        refuses(&mut witness, campaign::REPORT_SLOT, 6, RecordId::new([5; 32]));
        assert_eq!(lines(&folder), 2, "elsewhere, and of something else");
        refuses(&mut witness, campaign::REPORT_SLOT, 7, approval);
        refuses(&mut witness, campaign::REPORT_SLOT, 8, approval);
        assert_eq!(lines(&folder), 3, "it went back");
    }

    #[test]
    fn what_another_approver_approved_and_what_is_older_is_not_of_this_journal() {
        let written = |folder: &TempDir| {
            journal::read_file(&journal::path(folder.path())).unwrap().lines.len()
        };
        let (before, _witness) = witness_of(4);
        let (folder, mut witness) = witness();
        assert_eq!((written(&before), written(&folder)), (2, 3));
        let (_approval, campaign) = campaign();
        let older = Unverified::decode(&campaign).unwrap().verify::<Document<'_>>(&witness.keyring);
        let older = sealed(1, 2, older.unwrap().body());
        witness.order(2, &older).unwrap();
        witness.documents(2, &[&older]).unwrap();
        assert_eq!(written(&folder), 3);
    }

    #[test]
    fn who_says_too_much_fills_no_journal() {
        let (folder, mut witness) = witness();
        for window in [5, 6] {
            for number in 0..100 {
                let adapter = (number % 2 == 0).then_some(PROMOTED);
                drives_with(&mut witness, window, u64::from(window) * 100 + number, adapter);
            }
        }
        assert_eq!(lines(&folder), 2 * usize::from(LINES_MAX));
    }
}

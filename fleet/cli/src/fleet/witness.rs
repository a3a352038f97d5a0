//! Who writes the journal: what the authority signs, and what vehicles say of what they drive with.

use std::path::Path;

use shoal_swarm::campaign::{self, Outcome};
use shoal_swarm::inbox::{Record, read};
use shoal_swarm::keyring::Keyring;
use shoal_swarm::reinstated;
use shoal_vehicle::exchange::key::verified;
use shoal_wire::v1::{Presence, RefusalCode, Roster, RosterPage};
use shoal_wire::{KeyId, Kind, Label, Leaf, ParticleId, Topic, Unverified};

use super::description::Description;
use super::journal::Journal;
use crate::output::{Failure, Outcome as Done};

/// The journal, and whom it believes.
pub(super) struct Witness {
    journal: Journal,
    keyring: Keyring,
    fleet: String,
    region: String,
    authority: KeyId,
}

impl Witness {
    /// Opens the journal of a fleet's folder.
    pub(super) fn open(folder: &Path, fleet: &Description) -> Result<Self, Failure> {
        Ok(Witness {
            journal: Journal::open(folder)?,
            keyring: Keyring::new(fleet.authority, fleet.timekeeper),
            fleet: fleet.name.clone(),
            region: fleet.region.clone(),
            authority: fleet.authority.id(),
        })
    }

    /// What it listens to, besides what a timekeeper does.
    pub(super) fn filters(&self) -> Vec<String> {
        let Witness { fleet, region, .. } = self;
        ["presence/#", "refusal/#"].map(|kind| format!("shoal/1/{fleet}/{region}/{kind}")).into()
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
            let topic = self.topic(self.authority, leaf)?;
            self.journal.write(at_ms, &topic, bytes)?;
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
        let topic = self.topic(self.authority, Leaf::Document { slot })?;
        let counter = head.counter;
        let last = self.journal.last(&topic).and_then(|last| Unverified::decode(last).ok());
        if last.is_some_and(|last| last.head().counter >= counter) {
            return Ok(());
        }
        self.journal.write(at_ms, &topic, bytes)
    }

    /// Where a campaign stands, and who was reinstated.
    fn document_slot(&self, bytes: &[u8]) -> Result<Option<u8>, Failure> {
        let document = verified::<shoal_wire::v1::Document<'_>>(bytes, &self.keyring)?;
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

    /// Writes what a vehicle says, if it says of a campaign what it had not said before.
    pub(super) fn message(&mut self, at_ms: u64, topic: &Topic<'_>, bytes: &[u8]) -> Done {
        if !matches!(topic.leaf(), Leaf::Presence | Leaf::Refusal { .. }) {
            return Ok(());
        }
        let text = topic.to_string();
        let Ok(record) = read(topic, bytes, &self.keyring) else { return Ok(()) };
        // What a broker brings back from long ago is no news.
        let last = self.journal.last(&text).and_then(|last| Unverified::decode(last).ok());
        if last.is_some_and(|last| record.head().counter <= last.head().counter) {
            return Ok(());
        }
        match record {
            Record::Presence(presence) => {
                let before = self.journal.last(&text).and_then(|last| self.adapter(last));
                let adapter = presence.body().fields().adapter;
                if before.unwrap_or(None) == adapter {
                    return Ok(());
                }
            }
            Record::Refusal(refusal) => {
                let code = RefusalCode::from_number(refusal.body().fields().code);
                if code.and_then(Outcome::refused).is_none() || self.said(&text, &refusal) {
                    return Ok(());
                }
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
            | Record::Document(_) => return Ok(()),
        }
        self.journal.write(at_ms, &text, bytes)
    }

    /// What the vehicle drove with when it was last written of.
    fn adapter(&self, presence: &[u8]) -> Option<Option<ParticleId>> {
        let presence = verified::<Presence>(presence, &self.keyring).ok()?;
        Some(presence.body().fields().adapter)
    }

    /// Whether the same was refused before: it is said again in every window.
    fn said(
        &self,
        topic: &str,
        refusal: &shoal_wire::Verified<'_, shoal_wire::v1::Refusal>,
    ) -> bool {
        let last = self.journal.last(topic);
        let last =
            last.and_then(|last| verified::<shoal_wire::v1::Refusal>(last, &self.keyring).ok());
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

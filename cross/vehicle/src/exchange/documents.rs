//! What the fleet agreed on: roster, window plan, utility and swarm document, as the authority signed them.

use std::collections::BTreeMap;

use shoal_swarm::campaign::{self, Campaign, RejectCampaign};
use shoal_swarm::inbox::Record;
use shoal_swarm::keyring::{Keyring, RejectKeys};
use shoal_swarm::reinstated::{self, Reinstated, RejectReinstated};
use shoal_swarm::utility::{RejectSuccessor, Utility};
use shoal_trust::{SignedBy, Trust, Why};
use shoal_wire::v1::{
    Document, DocumentFields, RefusalCode, Roster, RosterPage, SwarmDocument, UtilityDocument,
    WindowPlan, WindowPlanFields,
};
use shoal_wire::{Body, Kind, PublicKey, RecordId, Unverified, Verified};
use tracing::{debug, warn};

use super::key::{received, verified};
use super::strangers::Strangers;
use crate::config::FleetConfig;

/// The documents of a fleet, each the newest that came.
#[derive(Debug)]
pub struct Documents {
    keyring: Keyring,
    plan: Option<WindowPlan>,
    utility: Option<UtilityDocument>,
    swarm: Option<SwarmDocument>,
    approver: PublicKey,
    /// Of the fleet and its region.
    names: (String, String),
    campaign: Option<Campaign>,
    reinstated: Reinstated,
    /// The newest envelope of each kind, with its counter.
    newest: BTreeMap<u8, (u64, Vec<u8>)>,
    /// The same of kind document, by name.
    newest_named: BTreeMap<&'static str, (u64, Vec<u8>)>,
    /// Pages that the roster's head names, as they came.
    pages: BTreeMap<u16, Vec<u8>>,
    /// The last of each index that it does not: they may come before their head.
    ahead: BTreeMap<u16, Vec<u8>>,
    /// Which documents count; `None`: all that the authority signed.
    trust: Option<Trust>,
    /// What came of vehicles that no roster names yet.
    pub(super) strangers: Strangers,
    /// Documents that no metadata name, or not yet, by what metadata call them: topic and envelope.
    waiting: BTreeMap<&'static str, (String, Vec<u8>)>,
}

/// What a document changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// The window plan.
    Plan,
    /// Who is of the fleet, or a part of it that is not whole yet.
    Roster,
    /// The utility.
    Utility,
    /// The swarm.
    Swarm,
    /// The campaign.
    Campaign,
    /// Who was reinstated.
    Reinstated,
    /// Which documents count, and perhaps who signs them.
    Metadata,
}

/// Bytes of a window either way in which a vehicle can connect and hear of another plan.
const BYTES_MIN: u64 = 4 << 10;

/// Why a document was rejected. Nothing has changed then.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectDocument {
    /// A rollback.
    #[error("counter {got} is not after {newest}")]
    OldCounter { got: u64, newest: u64 },
    /// Two documents with one counter: the authority's key is in two hands.
    #[error("another document has counter {counter}, too")]
    Contradicted { counter: u64 },
    #[error("the roster is rejected")]
    Keys(#[from] RejectKeys),
    #[error("the campaign is rejected")]
    Campaign(#[from] RejectCampaign),
    #[error("the reinstatements are rejected")]
    Reinstated(#[from] RejectReinstated),
    /// What was measured by the one before would be compared with what is measured by this one.
    #[error("the utility document does not follow the one before")]
    Utility(#[from] RejectSuccessor),
    #[error("the metadata are rejected: {0}")]
    Metadata(Why),
    /// Nobody would hear of a plan that gives more.
    #[error(
        "a plan of {up} bytes up and {down} down, at least {BYTES_MIN} of each: no vehicle would hear of another"
    )]
    TooFewBytes { up: u64, down: u64 },
}

impl RejectDocument {
    /// How a refusal names it.
    pub fn code(&self) -> RefusalCode {
        match self {
            Self::OldCounter { .. } => RefusalCode::OldCounter,
            Self::Contradicted { .. } => RefusalCode::Contradicted,
            Self::Keys(RejectKeys::NotNewer { .. }) => RefusalCode::OldCounter,
            Self::Keys(RejectKeys::NoHead | RejectKeys::Page(_) | RejectKeys::Roster(_)) => {
                RefusalCode::OutOfBounds
            }
            Self::TooFewBytes { .. } => RefusalCode::OutOfBounds,
            Self::Utility(_) => RefusalCode::WrongUtility,
            Self::Campaign(reject) => reject.code(),
            Self::Reinstated(reject) => reject.code(),
            Self::Metadata(why) => match why {
                Why::Signature => RefusalCode::Signature,
                Why::Rollback => RefusalCode::OldCounter,
                Why::Expired => RefusalCode::Expired,
                Why::TooLong => RefusalCode::TooLong,
                Why::Missing => RefusalCode::Missing,
                Why::Changed | Why::Malformed | Why::Scratch => RefusalCode::Malformed,
            },
        }
    }
}

impl Documents {
    /// No document yet, only the keys to believe, and what is trusted to say which documents count.
    pub fn new(fleet: &FleetConfig, trust: Option<Trust>) -> Self {
        let FleetConfig { name, region, authority, timekeeper, approver, .. } = fleet;
        Documents {
            keyring: Keyring::new(*authority, *timekeeper),
            plan: None,
            utility: None,
            swarm: None,
            approver: *approver,
            names: (name.clone(), region.clone()),
            campaign: None,
            reinstated: Reinstated::NOBODY,
            newest: BTreeMap::new(),
            newest_named: BTreeMap::new(),
            pages: BTreeMap::new(),
            ahead: BTreeMap::new(),
            trust,
            strangers: Strangers::default(),
            waiting: BTreeMap::new(),
        }
    }

    /// What says which documents count.
    pub const fn trust(&self) -> Option<&Trust> {
        self.trust.as_ref()
    }

    /// Who signs envelopes, by the newest root.
    pub fn signed_by(&self) -> Option<SignedBy> {
        self.trust.as_ref()?.signed_by()
    }

    /// Begins anew with other keys, and the same trust.
    pub fn rekey(&mut self, fleet: &FleetConfig) {
        let trust = self.trust.take();
        let waiting = core::mem::take(&mut self.waiting);
        let strangers = core::mem::take(&mut self.strangers);
        *self = Documents { waiting, strangers, ..Documents::new(fleet, trust) };
    }

    /// Whether metadata say by now which documents are the newest, as far as the vehicle asks for any. `now_s`: UTC in seconds that has
    /// surely been reached.
    pub fn is_current(&self, now_s: u64) -> bool {
        self.trust.as_ref().is_none_or(|trust| trust.is_current(now_s))
    }

    /// Documents that may count now: topic and envelope. They are handed in again.
    pub fn waited(&mut self) -> Vec<(String, Vec<u8>)> {
        core::mem::take(&mut self.waiting).into_values().collect()
    }

    /// Which key may sign what.
    pub const fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The calendar of windows.
    pub const fn plan(&self) -> Option<&WindowPlan> {
        self.plan.as_ref()
    }

    /// What is maximised.
    pub const fn utility(&self) -> Option<&UtilityDocument> {
        self.utility.as_ref()
    }

    /// The swarm that the vehicle is part of.
    pub const fn swarm(&self) -> Option<&SwarmDocument> {
        self.swarm.as_ref()
    }

    /// What may be used of what was learned, and by whom.
    pub fn campaign(&self) -> Option<&Campaign> {
        self.campaign.as_ref()
    }

    /// Whom the authority put into good standing again.
    pub const fn reinstated(&self) -> &Reinstated {
        &self.reinstated
    }

    /// Whether nothing is missing that a vehicle needs to take part.
    pub fn whole(&self) -> bool {
        self.keyring.roster().count() > 0
            && self.keyring.missing().next().is_none()
            && self.plan.is_some()
            && self.utility.is_some()
            && self.swarm.is_some()
    }

    /// Takes a record, if it is a document that counts; what has changed, if anything. One that metadata do not name waits. `now_s`: UTC
    /// in seconds that has surely been reached.
    ///
    /// # Errors
    /// [`RejectDocument`].
    pub fn take(
        &mut self,
        topic: &str,
        record: &Record<'_>,
        now_s: u64,
    ) -> Result<Option<News>, RejectDocument> {
        let Some(trust) = &mut self.trust else { return self.take_again(record) };
        if let Record::Document(document) = record
            && Trust::is_for(document.body().fields().name)
        {
            let DocumentFields { name, bytes, .. } = *document.body().fields();
            return match trust.take(name, bytes, now_s) {
                Ok(new) => Ok(new.then_some(News::Metadata)),
                Err(reject) => {
                    warn!(name, %reject, "metadata are refused");
                    Err(RejectDocument::Metadata(reject.why))
                }
            };
        }
        let bytes = record.outbound().bytes();
        let why = named(record).and_then(|name| Some((name, trust.check(name, bytes).err()?)));
        // What is older than what counts is refused, and need not wait.
        if let Some((name, why)) = why
            && self.is_news(record)?
        {
            debug!(topic, %why, "a document waits");
            self.waiting.insert(name, (topic.to_owned(), bytes.to_vec()));
            return Ok(None);
        }
        self.take_again(record)
    }

    /// The same for a document that counted before.
    ///
    /// # Errors
    /// [`RejectDocument`].
    pub fn take_again(&mut self, record: &Record<'_>) -> Result<Option<News>, RejectDocument> {
        match record {
            Record::Roster(head) => {
                if !self.newer(head)? {
                    return Ok(None);
                }
                self.keyring.head(head)?;
                self.keep(head);
                let named: Vec<RecordId> = head.body().pages().collect();
                let is_named = |page: &[u8]| named.contains(&received(page));
                self.pages.retain(|_index, page| is_named(page));
                // Those of a roster after this one wait on.
                let came = self.ahead.extract_if(.., |_index, page| is_named(page));
                self.pages.extend(came);
                self.fill_pages();
                Ok(Some(News::Roster))
            }
            Record::RosterPage(page) => {
                let index = page.body().fields().index;
                if self.pages.get(&index).is_some_and(|kept| kept == page.bytes()) {
                    return Ok(None);
                }
                // Of the roster before, or of the one to come: it does not take the place of one that counts.
                if !self.is_named(page) {
                    self.ahead.insert(index, page.bytes().to_vec());
                    return Ok(None);
                }
                self.pages.insert(index, page.bytes().to_vec());
                self.fill_page(page);
                Ok(Some(News::Roster))
            }
            Record::WindowPlan(plan) => {
                let WindowPlanFields { up_bytes_max: up, down_bytes_max: down, .. } =
                    *plan.body().fields();
                if up.min(down) < BYTES_MIN {
                    return Err(RejectDocument::TooFewBytes { up, down });
                }
                if !self.newer(plan)? {
                    return Ok(None);
                }
                self.keep(plan);
                self.plan = Some(*plan.body());
                Ok(Some(News::Plan))
            }
            Record::UtilityDocument(utility) => {
                if !self.newer(utility)? {
                    return Ok(None);
                }
                if let Some(before) = &self.utility {
                    Utility::new(utility.body()).follows(&Utility::new(before))?;
                }
                self.keep(utility);
                self.utility = Some(utility.body().clone());
                Ok(Some(News::Utility))
            }
            Record::SwarmDocument(swarm) => {
                if !self.newer(swarm)? {
                    return Ok(None);
                }
                self.keep(swarm);
                self.swarm = Some(*swarm.body());
                Ok(Some(News::Swarm))
            }
            Record::Claim(_)
            | Record::Vote(_)
            | Record::ParticleHeader(_)
            | Record::Presence(_)
            | Record::Nonce(_)
            | Record::Refusal(_) => Ok(None),
            Record::Document(document) => self.take_named(document),
        }
    }

    /// Takes a document that is known by its name, if it is the authority's: others are whoever's they are named after.
    fn take_named(
        &mut self,
        document: &Verified<'_, Document<'_>>,
    ) -> Result<Option<News>, RejectDocument> {
        let authority = document.head().key == self.keyring.authority();
        let Some(name) = known(document).filter(|_name| authority) else { return Ok(None) };
        if !self.newer_named(name, document)? {
            return Ok(None);
        }
        let bytes = document.body().fields().bytes;
        let news = if name == campaign::NAME {
            let (fleet, region) = &self.names;
            self.campaign = Some(Campaign::decode(bytes, self.approver)?.of(fleet, region)?);
            News::Campaign
        } else {
            self.reinstated = Reinstated::decode(bytes)?;
            News::Reinstated
        };
        let kept = (document.head().counter, document.bytes().to_vec());
        self.newest_named.insert(name, kept);
        Ok(Some(news))
    }

    /// Whether a document is newer than the one of its kind.
    fn is_news(&self, record: &Record<'_>) -> Result<bool, RejectDocument> {
        match record {
            Record::WindowPlan(plan) => self.newer(plan),
            Record::Roster(head) => self.newer(head),
            Record::UtilityDocument(utility) => self.newer(utility),
            Record::SwarmDocument(swarm) => self.newer(swarm),
            Record::Document(document) => match known(document) {
                Some(name) => self.newer_named(name, document),
                None => Ok(false),
            },
            Record::RosterPage(_)
            | Record::Claim(_)
            | Record::Vote(_)
            | Record::ParticleHeader(_)
            | Record::Presence(_)
            | Record::Nonce(_)
            | Record::Refusal(_) => Ok(false),
        }
    }

    /// Whether a document is newer than the one of its name.
    fn newer_named(
        &self,
        name: &str,
        record: &Verified<'_, Document<'_>>,
    ) -> Result<bool, RejectDocument> {
        let kept = self.newest_named.get(name);
        is_newer(kept.map(|(counter, bytes)| (*counter, bytes.as_slice())), record)
    }

    /// The newest envelope of a kind.
    pub fn envelope(&self, kind: Kind) -> Option<&[u8]> {
        self.newest.get(&(kind as u8)).map(|(_counter, bytes)| bytes.as_slice())
    }

    /// Whether an envelope is newer than the one of its kind; the same one is not, and no error.
    fn newer<'a, T: Body<'a>>(&self, record: &Verified<'a, T>) -> Result<bool, RejectDocument> {
        let kept = self.newest.get(&(T::KIND as u8));
        is_newer(kept.map(|(counter, bytes)| (*counter, bytes.as_slice())), record)
    }

    fn keep<'a, T: Body<'a>>(&mut self, record: &Verified<'a, T>) {
        let kept = (record.head().counter, record.bytes().to_vec());
        self.newest.insert(T::KIND as u8, kept);
    }

    /// Whether the roster's head names this page.
    fn is_named(&self, page: &Verified<'_, RosterPage<'_>>) -> bool {
        let head = self.envelope(Kind::Roster);
        let head = head.and_then(|head| verified::<Roster<'_>>(head, &self.keyring).ok());
        head.is_some_and(|head| head.body().pages().any(|named| named == page.id()))
    }

    /// The pages of the roster's head that are there, by index.
    pub fn pages(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.pages.iter().map(|(index, page)| (*index, page.as_slice()))
    }

    /// Gives the keyring a page that its head names.
    fn fill_page(&mut self, page: &Verified<'_, RosterPage<'_>>) {
        let Some(head) = self.envelope(Kind::Roster).map(<[u8]>::to_vec) else { return };
        let Ok(head) = verified::<Roster<'_>>(&head, &self.keyring) else { return };
        if let Err(error) = self.keyring.page(&head, page) {
            warn!(%error, "a page of the roster is refused");
        }
    }

    /// Gives the keyring what pages there are, of a head that is new.
    fn fill_pages(&mut self) {
        let Some(head) = self.envelope(Kind::Roster).map(<[u8]>::to_vec) else { return };
        let Ok(head) = verified::<Roster<'_>>(&head, &self.keyring) else { return };
        for page in self.pages.values() {
            if let Ok(page) = verified::<RosterPage<'_>>(page, &self.keyring)
                && let Err(error) = self.keyring.page(&head, &page)
            {
                warn!(%error, "a page of the roster is refused");
            }
        }
    }
}

/// The name of a document, where it says what vehicles go by.
fn known(document: &Verified<'_, Document<'_>>) -> Option<&'static str> {
    let name = document.body().fields().name;
    [campaign::NAME, reinstated::NAME].into_iter().find(|known| *known == name)
}

/// What metadata call a document.
fn named(record: &Record<'_>) -> Option<&'static str> {
    match record {
        Record::WindowPlan(_) => Some("documents/plan"),
        Record::Roster(_) => Some("documents/roster"),
        Record::UtilityDocument(_) => Some("documents/utility"),
        Record::SwarmDocument(_) => Some("documents/swarm"),
        Record::Document(document) => {
            let name = known(document)?;
            Some(if name == campaign::NAME { "documents/campaign" } else { "documents/reinstated" })
        }
        // The roster names its pages; the others are no documents.
        Record::RosterPage(_)
        | Record::Claim(_)
        | Record::Vote(_)
        | Record::ParticleHeader(_)
        | Record::Presence(_)
        | Record::Nonce(_)
        | Record::Refusal(_) => None,
    }
}

/// Whether an envelope is newer than the one that is kept (its counter and its bytes); the same one is not, and no error.
fn is_newer<'a, T: Body<'a>>(
    kept: Option<(u64, &[u8])>,
    record: &Verified<'a, T>,
) -> Result<bool, RejectDocument> {
    let got = record.head().counter;
    match kept {
        Some((_newest, bytes)) if bytes == record.bytes() => Ok(false),
        Some((newest, _bytes)) if got < newest => Err(RejectDocument::OldCounter { got, newest }),
        Some((newest, _bytes)) if got == newest => {
            Err(RejectDocument::Contradicted { counter: got })
        }
        Some(_) | None => Ok(true),
    }
}

impl Documents {
    /// Until when a nonce of this window may have been drawn, UTC seconds: a window after its own, and while the plan counts. `None`:
    /// there is no plan yet.
    pub fn drawn_until_s(&self, window: u32) -> Option<u64> {
        let WindowPlanFields { epoch_seconds, period_seconds, .. } = *self.plan.as_ref()?.fields();
        let until =
            Unverified::decode(self.envelope(Kind::WindowPlan)?).ok()?.head().not_after_seconds;
        let windows = u64::from(window).saturating_add(2);
        let next_is_over = windows.saturating_mul(period_seconds.into());
        Some(epoch_seconds.saturating_add(next_is_over).min(until))
    }

    /// The window plan's envelope, checked again: what the window's core is told.
    pub fn signed_plan(&self) -> Option<Verified<'_, WindowPlan>> {
        verified(self.envelope(Kind::WindowPlan)?, &self.keyring).ok()
    }
}

#[cfg(test)]
mod tests;

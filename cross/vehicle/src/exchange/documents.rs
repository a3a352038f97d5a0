//! What the fleet agreed on: roster, window plan, utility and swarm document, as the authority signed them.

use std::collections::BTreeMap;

use shoal_swarm::inbox::Record;
use shoal_swarm::keyring::{Keyring, RejectKeys};
use shoal_wire::v1::{RefusalCode, Roster, RosterPage, SwarmDocument, UtilityDocument, WindowPlan};
use shoal_wire::{Body, Kind, PublicKey, Unverified, Verified};

/// The documents of a fleet, each the newest that came.
#[derive(Debug)]
pub struct Documents {
    keyring: Keyring,
    plan: Option<WindowPlan>,
    utility: Option<UtilityDocument>,
    swarm: Option<SwarmDocument>,
    /// The newest envelope of each kind, with its counter.
    newest: BTreeMap<u8, (u64, Vec<u8>)>,
    /// Pages of the roster, as they came: they may come before its head.
    pages: BTreeMap<u16, Vec<u8>>,
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
}

impl News {
    /// What documents are made of, in the order in which they are read back.
    pub const ALL: [(Kind, Self); 5] = [
        (Kind::Roster, Self::Roster),
        (Kind::RosterPage, Self::Roster),
        (Kind::WindowPlan, Self::Plan),
        (Kind::UtilityDocument, Self::Utility),
        (Kind::SwarmDocument, Self::Swarm),
    ];
}

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
}

impl RejectDocument {
    /// How a refusal names it.
    pub const fn code(&self) -> RefusalCode {
        match self {
            Self::OldCounter { .. } => RefusalCode::OldCounter,
            Self::Contradicted { .. } => RefusalCode::Contradicted,
            Self::Keys(RejectKeys::NotNewer { .. }) => RefusalCode::OldCounter,
            Self::Keys(RejectKeys::NoHead | RejectKeys::Page(_) | RejectKeys::Roster(_)) => {
                RefusalCode::OutOfBounds
            }
        }
    }
}

impl Documents {
    /// No document yet, only the keys to believe.
    pub fn new(authority: PublicKey, timekeeper: PublicKey) -> Self {
        Documents {
            keyring: Keyring::new(authority, timekeeper),
            plan: None,
            utility: None,
            swarm: None,
            newest: BTreeMap::new(),
            pages: BTreeMap::new(),
        }
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

    /// Whether nothing is missing that a vehicle needs to take part.
    pub fn whole(&self) -> bool {
        self.keyring.roster().count() > 0
            && self.keyring.missing().next().is_none()
            && self.plan.is_some()
            && self.utility.is_some()
            && self.swarm.is_some()
    }

    /// Takes a record, if it is a document; what has changed, if anything.
    ///
    /// # Errors
    /// [`RejectDocument`].
    pub fn take(&mut self, record: &Record<'_>) -> Result<Option<News>, RejectDocument> {
        match record {
            Record::Roster(head) => {
                if !self.newer(head)? {
                    return Ok(None);
                }
                self.keyring.head(head)?;
                self.keep(head);
                self.fill_pages();
                Ok(Some(News::Roster))
            }
            Record::RosterPage(page) => {
                let index = page.body().fields().index;
                if self.pages.get(&index).is_some_and(|kept| kept == page.bytes()) {
                    return Ok(None);
                }
                self.pages.insert(index, page.bytes().to_vec());
                self.fill_pages();
                Ok(Some(News::Roster))
            }
            Record::WindowPlan(plan) => {
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
            | Record::Refusal(_)
            | Record::Document(_) => Ok(None),
        }
    }

    /// The newest envelope of a kind.
    pub fn envelope(&self, kind: Kind) -> Option<&[u8]> {
        self.newest.get(&(kind as u8)).map(|(_counter, bytes)| bytes.as_slice())
    }

    /// Whether an envelope is newer than the one of its kind; the same one is not, and no error.
    fn newer<'a, T: Body<'a>>(&self, record: &Verified<'a, T>) -> Result<bool, RejectDocument> {
        let got = record.head().counter;
        match self.newest.get(&(T::KIND as u8)) {
            Some((_newest, kept)) if kept == record.bytes() => Ok(false),
            Some((newest, _kept)) if got < *newest => {
                Err(RejectDocument::OldCounter { got, newest: *newest })
            }
            Some((newest, _kept)) if got == *newest => {
                Err(RejectDocument::Contradicted { counter: got })
            }
            Some(_) | None => Ok(true),
        }
    }

    fn keep<'a, T: Body<'a>>(&mut self, record: &Verified<'a, T>) {
        let kept = (record.head().counter, record.bytes().to_vec());
        self.newest.insert(T::KIND as u8, kept);
    }

    /// Gives the keyring what pages there are; those of another roster are none of its business.
    fn fill_pages(&mut self) {
        let Some(head) = self.envelope(Kind::Roster).map(<[u8]>::to_vec) else { return };
        let Ok(head) = verified::<Roster<'_>>(&head, &self.keyring) else { return };
        for page in self.pages.values() {
            if let Ok(page) = verified::<RosterPage<'_>>(page, &self.keyring) {
                // A page of the roster before, or of the one to come.
                let _not_of_this_one = self.keyring.page(&head, &page);
            }
        }
    }
}

fn verified<'a, T: Body<'a>>(
    bytes: &'a [u8],
    keyring: &Keyring,
) -> Result<Verified<'a, T>, shoal_wire::RejectEnvelope> {
    Unverified::decode(bytes)?.verify(keyring)
}

impl Documents {
    /// The window plan's envelope, checked again: what the window's core is told.
    pub fn signed_plan(&self) -> Option<Verified<'_, WindowPlan>> {
        verified(self.envelope(Kind::WindowPlan)?, &self.keyring).ok()
    }
}

//! What a beacon must know of a fleet to fold its records: who is of it, what is maximised, what particles are.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use shoal_wire::v1::{DocumentFields, Roster as Head, RosterPage};
use shoal_wire::{Body, PublicKey, Unverified, Verified};

use crate::inbox::Record;
use crate::keyring::Keyring;
use crate::records::Shape;
use crate::reinstated::{self, Reinstated};
use crate::utility::Utility;

/// The newest documents.
#[derive(Debug)]
pub(super) struct Agreed {
    pub(super) keyring: Keyring,
    /// With the counter of its envelope, as what follows.
    head: Option<(u64, Vec<u8>)>,
    /// As they came: they may come before the head.
    pages: BTreeMap<u16, Vec<u8>>,
    utility: Option<(u64, Utility)>,
    shape: Option<(u64, Shape)>,
    /// How many vehicles a nonce asks for a contribution.
    pub(super) asked: usize,
    reinstated: (Option<u64>, Reinstated),
}

/// What a document changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Who is of the fleet.
    Roster,
    /// What is maximised, what particles are, or who was reinstated.
    Other,
}

impl Agreed {
    pub(super) fn new(authority: PublicKey, timekeeper: PublicKey) -> Self {
        let keyring = Keyring::new(authority, timekeeper);
        let reinstated = (None, Reinstated::NOBODY);
        let (head, pages) = (None, BTreeMap::new());
        Self { keyring, head, pages, utility: None, shape: None, asked: 0, reinstated }
    }

    /// Whether nothing is missing.
    pub(super) fn whole(&self) -> bool {
        let roster = self.keyring.roster().count() > 0 && self.keyring.missing().next().is_none();
        roster && self.utility.is_some() && self.shape.is_some()
    }

    pub(super) fn utility(&self) -> Option<&Utility> {
        self.utility.as_ref().map(|(_counter, utility)| utility)
    }

    pub(super) fn shape(&self) -> Option<Shape> {
        self.shape.map(|(_counter, shape)| shape)
    }

    pub(super) fn reinstated(&self) -> &Reinstated {
        &self.reinstated.1
    }

    /// Takes a document; older ones, and what is none, change nothing.
    pub(super) fn take(&mut self, record: &Record<'_>) -> Option<News> {
        let before = self.keyring.roster().clone();
        match record {
            Record::Roster(head) => {
                let newest = self.head.as_ref().map(|(counter, _bytes)| *counter);
                if is_newer(newest, head) && self.keyring.head(head).is_ok() {
                    self.head = Some((head.head().counter, head.bytes().to_vec()));
                }
                let pages: Vec<u16> = self.pages.keys().copied().collect();
                pages.into_iter().for_each(|index| self.fill_page(index));
            }
            Record::RosterPage(page) => {
                let index = page.body().fields().index;
                self.pages.insert(index, page.bytes().to_vec());
                self.fill_page(index);
            }
            Record::UtilityDocument(document) => {
                let newest = self.utility.as_ref().map(|(counter, _utility)| *counter);
                let newer = is_newer(newest, document);
                let utility = Utility::new(document.body());
                let follows = self.utility().is_none_or(|before| utility.follows(before).is_ok());
                if newer && follows {
                    self.utility = Some((document.head().counter, utility));
                    return Some(News::Other);
                }
            }
            Record::SwarmDocument(document) => {
                let newest = self.shape.map(|(counter, _shape)| counter);
                if is_newer(newest, document) {
                    let fields = document.body().fields();
                    let shape = Shape {
                        base_model: fields.base_model,
                        layout: fields.layout,
                        values: fields.values,
                    };
                    self.shape = Some((document.head().counter, shape));
                    self.asked = fields.asked.into();
                    return Some(News::Other);
                }
            }
            Record::Document(document) => {
                let newest = self.reinstated.0;
                let DocumentFields { name, bytes, .. } = *document.body().fields();
                let ours = document.head().key == self.keyring.authority();
                if ours && name == reinstated::NAME && is_newer(newest, document) {
                    let read = Reinstated::decode(bytes).ok()?;
                    self.reinstated = (Some(document.head().counter), read);
                    return Some(News::Other);
                }
            }
            Record::Claim(_)
            | Record::Vote(_)
            | Record::ParticleHeader(_)
            | Record::Presence(_)
            | Record::Nonce(_)
            | Record::WindowPlan(_)
            | Record::Refusal(_) => {}
        }
        (*self.keyring.roster() != before).then_some(News::Roster)
    }

    /// Gives the keyring a page; one of another roster is none of its business.
    fn fill_page(&mut self, index: u16) {
        let (Some((_counter, head)), Some(page)) = (&self.head, self.pages.get(&index)) else {
            return;
        };
        let head = Unverified::decode(head);
        let head = head.and_then(|head| head.verify::<Head<'_>>(&self.keyring));
        let page = Unverified::decode(page);
        let page = page.and_then(|page| page.verify::<RosterPage<'_>>(&self.keyring));
        if let (Ok(head), Ok(page)) = (head, page) {
            // A page of the roster before, or of the one to come.
            let _not_of_this_one = self.keyring.page(&head, &page);
        }
    }
}

fn is_newer<'a, T: Body<'a>>(newest: Option<u64>, record: &Verified<'a, T>) -> bool {
    newest.is_none_or(|newest| newest < record.head().counter)
}

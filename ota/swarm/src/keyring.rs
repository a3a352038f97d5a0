//! Which key may sign what: the authority its documents, the timekeeper its nonces, and the vehicles of the signed
//! roster what they measured.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use shoal_wire::v1::{Growth, RejectPage, Roster as Head, RosterPage, Vehicle};
use shoal_wire::{KeyId, Keys, Kind, PublicKey, RecordId, Verified};

use crate::roster::{RejectRoster, Roster};

/// The keys of a fleet. A roster takes effect when its head and all its pages are there; until then, the one
/// before it holds.
#[derive(Clone, Debug)]
pub struct Keyring {
    authority: PublicKey,
    timekeeper: PublicKey,
    /// The newest head.
    head: Option<Newest>,
    /// The rows of each page that the head names and that came.
    pages: BTreeMap<RecordId, Vec<Vehicle>>,
    /// In effect, with the key of each of its rows.
    roster: Roster,
    vehicles: Vec<[u8; 32]>,
    /// Rows of keys that vehicles had before, by id.
    former: BTreeMap<KeyId, usize>,
}

/// What a head says.
#[derive(Clone, Debug, PartialEq)]
struct Newest {
    version: u32,
    /// The record of each page.
    pages: Vec<RecordId>,
    growths: Vec<Growth>,
}

/// Why a head or a page was rejected; nothing has changed then.
#[expect(missing_docs, reason = "fields read as the sentence they complete")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RejectKeys {
    /// A rollback.
    #[error("roster version {got} is not after {newest}")]
    NotNewer { got: u32, newest: u32 },
    /// The head comes first; a page without it says nothing.
    #[error("a page, but no roster names it")]
    NoHead,
    #[error("the page is none of the roster")]
    Page(#[from] RejectPage),
    #[error("the roster is none")]
    Roster(#[from] RejectRoster),
}

impl Keyring {
    /// The keys that a vehicle is told; no vehicle is on the roster yet.
    pub fn new(authority: PublicKey, timekeeper: PublicKey) -> Self {
        Self {
            authority,
            timekeeper,
            head: None,
            pages: BTreeMap::new(),
            roster: Roster::default(),
            vehicles: Vec::new(),
            former: BTreeMap::new(),
        }
    }

    /// Takes a roster's head. The same one again is no error.
    ///
    /// # Errors
    /// [`RejectKeys::NotNewer`]; [`RejectKeys::Roster`] if its pages are all there and are no roster.
    pub fn head(&mut self, head: &Verified<'_, Head<'_>>) -> Result<(), RejectKeys> {
        let body = head.body();
        let got = Newest {
            version: body.fields().version,
            pages: body.pages().collect(),
            growths: body.growths().collect(),
        };
        if let Some(newest) = self.head.as_ref().filter(|newest| got.version <= newest.version) {
            return if got == *newest {
                Ok(())
            } else {
                Err(RejectKeys::NotNewer { got: got.version, newest: newest.version })
            };
        }
        let before = self.head.replace(got);
        if let Err(why) = self.settle() {
            self.head = before;
            return Err(why);
        }
        let named = self.head.as_ref().map(|head| head.pages.as_slice()).unwrap_or_default();
        self.pages.retain(|page, _keys| named.contains(page));
        Ok(())
    }

    /// Takes a page of the newest head's roster. The same one again is no error.
    ///
    /// # Errors
    /// [`RejectKeys`]: no head is there, it names another page, or with this last page the roster is none.
    pub fn page(
        &mut self,
        head: &Verified<'_, Head<'_>>,
        page: &Verified<'_, RosterPage<'_>>,
    ) -> Result<(), RejectKeys> {
        let newest = self.head.as_ref().ok_or(RejectKeys::NoHead)?.version;
        let got = head.body().fields().version;
        if got != newest {
            return Err(RejectKeys::NotNewer { got, newest });
        }
        head.body().check(page)?;
        let rows = page.body().vehicles().collect();
        if self.pages.insert(page.id(), rows).is_none()
            && let Err(why) = self.settle()
        {
            self.pages.remove(&page.id());
            return Err(why);
        }
        Ok(())
    }

    /// Who signs documents.
    pub fn authority(&self) -> KeyId {
        self.authority.id()
    }

    /// The vehicles of the roster in effect, by number.
    pub const fn roster(&self) -> &Roster {
        &self.roster
    }

    /// Which pages of the newest head are missing, by index.
    pub fn missing(&self) -> impl Iterator<Item = u16> + '_ {
        let named = self.head.iter().flat_map(|head| &head.pages);
        let missing =
            |(index, page): (u16, &RecordId)| (!self.pages.contains_key(page)).then_some(index);
        (0_u16..).zip(named).filter_map(missing)
    }

    /// Puts the newest roster into effect if it is whole.
    fn settle(&mut self) -> Result<(), RejectKeys> {
        let Some(head) = &self.head else { return Ok(()) };
        let Some(pages) =
            head.pages.iter().map(|page| self.pages.get(page)).collect::<Option<Vec<_>>>()
        else {
            return Ok(());
        };
        let rows: Vec<&Vehicle> = pages.into_iter().flatten().collect();
        let roster = Roster::of_rows(rows.iter().map(|row| (row.id(), row.region)).collect())?;
        self.roster = roster.grown(head.growths.iter().copied());
        let after = self.roster.rows().iter().enumerate().skip(self.roster.places());
        self.former = after.map(|(row, (id, _number))| (*id, row)).collect();
        self.vehicles = rows.into_iter().map(|row| row.public_key).collect();
        Ok(())
    }
}

impl Keys for Keyring {
    fn find(&self, id: KeyId, kind: Kind) -> Option<PublicKey> {
        match kind {
            // What a campaign promotes lies in slots of the authority's own.
            Kind::ParticleHeader if id == self.authority.id() => Some(self.authority),
            Kind::Claim | Kind::Vote | Kind::ParticleHeader | Kind::Presence | Kind::Refusal => {
                let number = self.roster.number(id)?;
                let row = match self.former.get(&id) {
                    Some(row) => *row,
                    None => usize::try_from(number).ok()?,
                };
                // The roster's pages hold keys that can verify.
                self.vehicles.get(row).and_then(|key| PublicKey::decode(key).ok())
            }
            Kind::Nonce => Some(self.timekeeper).filter(|key| key.id() == id),
            // Metadata, which are verified for themselves. What is the authority's alone to say, its reader checks.
            Kind::Document if id == self.timekeeper.id() => Some(self.timekeeper),
            Kind::WindowPlan
            | Kind::Roster
            | Kind::RosterPage
            | Kind::UtilityDocument
            | Kind::SwarmDocument
            | Kind::Document => Some(self.authority).filter(|key| key.id() == id),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use shoal_wire::v1::{FORMER, RosterFields, RosterPageFields, VACANT};
    use shoal_wire::{SecretKey, Unverified, seal};

    use super::*;

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_seed(&[seed; 32])
    }

    fn ring() -> Keyring {
        Keyring::new(key(1).public(), key(2).public())
    }

    /// A head of one page of vehicles with these seeds, and the page.
    fn roster(version: u32, seeds: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let rows: Vec<(u8, u16)> = seeds.iter().map(|seed| (*seed, 0)).collect();
        roster_of(version, &rows)
    }

    fn roster_of(version: u32, seeds: &[(u8, u16)]) -> (Vec<u8>, Vec<u8>) {
        let rows: Vec<u8> = seeds
            .iter()
            .flat_map(|&(seed, region)| {
                Vehicle { public_key: *key(seed).public().bytes(), region }.encode()
            })
            .collect();
        let (mut head, mut page) = (vec![0; 1024], vec![0; 1024]);
        let fields = RosterPageFields { version, index: 0, vehicles: &rows };
        let body = RosterPage::new(fields).unwrap();
        let sealed = seal(&body, u64::from(version), u64::MAX, &key(1), &mut page).unwrap();
        let (length, id) = (sealed.bytes().len(), sealed.id());
        page.truncate(length);
        let vehicles = seeds.len() as u32;
        let body = Head::new(RosterFields { version, vehicles, pages: id.bytes() }).unwrap();
        let length =
            seal(&body, u64::from(version), u64::MAX, &key(1), &mut head).unwrap().bytes().len();
        head.truncate(length);
        (head, page)
    }

    fn verified<'a, T: shoal_wire::Body<'a>>(bytes: &'a [u8]) -> Verified<'a, T> {
        Unverified::decode(bytes).unwrap().verify(&ring()).unwrap()
    }

    #[test]
    fn each_key_signs_its_kinds_and_no_other() {
        let mut ring = ring();
        let (head, page) = roster(1, &[7, 8]);
        let (head, page) = (verified(&head), verified(&page));
        ring.head(&head).unwrap();
        ring.page(&head, &page).unwrap();
        assert_eq!(ring.roster().count(), 2);
        for kind in Kind::ALL {
            let may: Vec<u8> = [1, 2, 7, 8, 9]
                .into_iter()
                .filter(|&k| ring.find(key(k).public().id(), kind).is_some())
                .collect();
            let want: &[u8] = match kind {
                Kind::Nonce => &[2],
                Kind::Claim | Kind::Vote | Kind::Presence | Kind::Refusal => &[7, 8],
                Kind::ParticleHeader => &[1, 7, 8],
                Kind::Document => &[1, 2],
                Kind::WindowPlan
                | Kind::Roster
                | Kind::RosterPage
                | Kind::UtilityDocument
                | Kind::SwarmDocument => &[1],
            };
            assert_eq!(may, want, "{kind:?}");
        }
    }

    #[test]
    fn a_former_key_signs_for_its_vehicle_and_who_is_gone_signs_nothing() {
        let mut ring = ring();
        let rows = [(7, 0), (11, VACANT), (8, 0), (12, FORMER), (9, 2), (10, 1)];
        let (head, page) = roster_of(1, &rows);
        let (head, page) = (verified(&head), verified(&page));
        ring.head(&head).unwrap();
        ring.page(&head, &page).unwrap();
        for (seed, number) in
            [(7, Some(0)), (8, Some(2)), (9, Some(2)), (10, None), (11, None), (12, None)]
        {
            let public = key(seed).public();
            assert_eq!(ring.roster().number(public.id()), number, "{seed}");
            let found = ring.find(public.id(), Kind::Claim);
            assert_eq!(found, number.map(|_number| public), "{seed}");
        }
    }

    #[test]
    fn a_roster_holds_until_the_next_one_is_whole() {
        let mut ring = ring();
        let ((first, first_page), (second, second_page)) = (roster(1, &[7]), roster(2, &[8, 9]));
        let (first, second) = (verified(&first), verified(&second));
        ring.head(&first).unwrap();
        assert_eq!(ring.missing().collect::<Vec<_>>(), [0]);
        ring.page(&first, &verified(&first_page)).unwrap();
        ring.head(&second).unwrap();
        assert_eq!((ring.roster().count(), ring.missing().count()), (1, 1));
        ring.page(&second, &verified(&second_page)).unwrap();
        assert_eq!((ring.roster().count(), ring.missing().count()), (2, 0));
        assert_eq!(ring.find(key(7).public().id(), Kind::Claim), None);
    }

    #[test]
    fn an_older_roster_and_a_page_of_another_are_refused() {
        let mut ring = ring();
        let ((first, first_page), (second, _)) = (roster(1, &[7]), roster(2, &[8]));
        let (first, second) = (verified(&first), verified(&second));
        assert_eq!(ring.page(&first, &verified(&first_page)), Err(RejectKeys::NoHead));
        ring.head(&second).unwrap();
        assert_eq!(ring.head(&second), Ok(()));
        assert_eq!(ring.head(&first), Err(RejectKeys::NotNewer { got: 1, newest: 2 }));
        assert!(ring.page(&first, &verified(&first_page)).is_err());
        let refused = ring.page(&second, &verified(&first_page));
        assert_eq!(refused, Err(RejectKeys::Page(RejectPage::NotNamed { index: 0 })));
    }
}

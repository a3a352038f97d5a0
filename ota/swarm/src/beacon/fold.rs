//! One window's claims, folded to those that matter.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

use shoal_wire::v1::{ClaimFields, Role};
use shoal_wire::{KeyId, PackHash, ParticleId};

use crate::quorum::{
    Claimed, Draws, Nominee, candidates, held_against, highest_first, in_turn, is_measured, weighed,
};
use crate::records::{Entry, RejectRecord, Signed, bit, join};
use crate::roster::{Roster, part};
use crate::utility::Utility;

/// The merges of an open window that matter: who follows tries the first, then the next.
const MERGES: usize = 4;
/// Bytes of a particle's name by which a header is known again.
const NAME_BYTES: usize = 16;

/// What is known of a vehicle's headers of one role.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Header {
    #[default]
    None,
    /// Of this particle, in these slots.
    Of([u8; NAME_BYTES], u8),
    /// It published two: neither counts.
    Void,
}

/// What one vehicle said in the window: a fixed number of bytes, however much it says.
#[derive(Clone, Debug, Default, PartialEq)]
struct Row {
    claim: Option<Entry<ClaimFields>>,
    /// As best, worst and merge.
    headers: [Header; 3],
}

/// One window's claims: a row a vehicle of the roster, made at the beginning. What claims say is kept, not the claims: they stand on
/// the board, and those that matter are asked for there. In which order records come, and how often, makes no difference.
#[derive(Clone, Debug, PartialEq)]
pub struct Fold {
    window: u32,
    rows: Vec<Row>,
}

/// By what the claims of a window are folded: whatever is not theirs and says which of them matter.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// Who is of the fleet.
    pub roster: &'a Roster,
    /// What is maximised.
    pub utility: &'a Utility,
    /// The window's nonce.
    pub nonce: &'a [u8; 32],
    /// That of the window after it, which says who votes; `None`: the window is open.
    pub next: Option<&'a [u8; 32]>,
    /// Who is not in good standing in the window that votes on them; of an open window, in it.
    pub quarantined: &'a BTreeSet<KeyId>,
    /// Who may be drawn to fold: of whom the window's nonce asks, the first. Of an open window alone.
    pub folding: &'a BTreeSet<KeyId>,
}

/// What matters of a window.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// Whose claims, and whether the header of the particle belongs to it.
    pub claims: BTreeMap<KeyId, bool>,
    /// On what votes may count: what is put to the vote, and what would be if that were not claimed.
    pub candidates: Vec<Nominee>,
}

impl Fold {
    /// Of the claims of this window by so many vehicles; none yet.
    pub fn new(window: u32, vehicles: usize) -> Self {
        Self { window, rows: vec![Row::default(); vehicles] }
    }

    /// There are so many vehicles now: a roster that has grown came after the first of these claims.
    pub(crate) fn grow(&mut self, vehicles: usize) {
        self.rows.resize(self.rows.len().max(vehicles), Row::default());
    }

    /// Takes what vehicle `number` claims.
    ///
    /// # Errors
    /// [`RejectRecord::Contradicted`]: neither it nor what it claimed before counts. [`RejectRecord::Void`]: that was so before.
    /// [`RejectRecord::UnknownVehicle`]: there is no such row.
    pub fn claim(&mut self, number: u32, claim: Signed<ClaimFields>) -> Result<bool, RejectRecord> {
        let signer = claim.signer;
        let row = self.row_mut(number).ok_or(RejectRecord::UnknownVehicle { signer })?;
        match &mut row.claim {
            Some(entry) => join(entry, claim),
            none => {
                *none = Some(Entry::One(claim));
                Ok(true)
            }
        }
    }

    /// Takes that vehicle `number` published this particle in this role, in this slot. True: that is new.
    pub fn header(&mut self, number: u32, (role, slot): (Role, u8), particle: ParticleId) -> bool {
        let Some(row) = self.row_mut(number) else { return false };
        let Some(header) = place(role).and_then(|place| row.headers.get_mut(place)) else {
            return false;
        };
        let (before, name) = (*header, name(particle));
        *header = match before {
            Header::None => Header::Of(name, bit(slot)),
            Header::Of(other, slots) if other == name => Header::Of(name, slots | bit(slot)),
            Header::Of(..) | Header::Void => Header::Void,
        };
        *header != before
    }

    /// What vehicle `number` claims, if it counts.
    pub fn claimed(&self, number: u32) -> Option<&Signed<ClaimFields>> {
        self.row(number)?.claim.as_ref()?.one()
    }

    /// What matters of it.
    ///
    /// Candidates, and the other claims of their particles that are held against what voters find; any merge, for without one
    /// a worst is nominated; and the claims whose errors are drawn. Of an open window the merges whose turn is first, and those of
    /// who may be drawn to fold: who follows fetches one, and anybody may claim one.
    /// What [`crate::quorum`] says of the window is the same of these claims as of all.
    pub fn kept(&self, reading: &Reading<'_>) -> Kept {
        let Reading { roster, utility, nonce, next, quarantined, folding } = *reading;
        let Some(pack) = utility.pack() else { return Kept::default() };
        let asked = self.window.saturating_add(next.is_some().into());
        let Some(weighing) = utility.at(asked) else { return Kept::default() };
        let present = roster.at(self.window).places();
        let measured = || self.measured(present, part(nonce), pack);
        let with_header = measured().filter(|(row, claim)| row.has_header(&claim.body));
        let mut claims: Vec<Claimed<'_>> =
            with_header.filter_map(|(_row, claim)| weighed(claim, &weighing)).collect();
        highest_first(&mut claims);
        let is_merge = |claimed: &&Claimed<'_>| claimed.claim.body.role == Role::Merge;
        let mut kept = Kept::default();
        let Some(next) = next else {
            let merges = in_turn(roster, nonce, claims, quarantined).into_iter().enumerate();
            let first =
                merges.filter(|(turn, one)| *turn < MERGES || folding.contains(&one.claimant));
            kept.claims = first.map(|(_turn, merge)| (merge.claimant, true)).collect();
            return kept;
        };
        let drawn = roster.errors(next, measured().map(|(_row, claim)| claim.signer));
        kept.claims = drawn.into_iter().map(|signer| (signer, false)).collect();
        let draws = Draws { roster, fold: nonce, lot: next };
        let (nominees, next) = candidates(&draws, &claims, quarantined);
        kept.candidates = nominees.into_iter().chain(next).collect();
        let with_header = |claimed: &Claimed<'_>| (claimed.claim.signer, true);
        kept.claims.extend(claims.iter().find(is_merge).map(with_header));
        for nominee in &kept.candidates {
            kept.claims.insert(nominee.claimant, true);
            let held = held_against(&claims, nominee.particle);
            kept.claims.extend(held.into_iter().map(with_header));
        }
        kept
    }

    /// What counts of what these first of all places measured as the nonce said.
    fn measured(
        &self,
        places: usize,
        part: u8,
        pack: PackHash,
    ) -> impl Iterator<Item = (&Row, &Signed<ClaimFields>)> {
        let rows = self.rows.iter().take(places);
        let claims = rows.filter_map(|row| Some((row, row.claim.as_ref()?.one()?)));
        claims.filter(move |(_row, claim)| is_measured(&claim.body, part, pack))
    }

    fn row(&self, number: u32) -> Option<&Row> {
        self.rows.get(usize::try_from(number).ok()?)
    }

    fn row_mut(&mut self, number: u32) -> Option<&mut Row> {
        self.rows.get_mut(usize::try_from(number).ok()?)
    }
}

impl Row {
    fn has_header(&self, claim: &ClaimFields) -> bool {
        let header = place(claim.role).and_then(|place| self.headers.get(place));
        match header {
            Some(Header::Of(of, slots)) => {
                *of == name(claim.particle) && slots & bit(claim.slot) != 0
            }
            Some(Header::None | Header::Void) | None => false,
        }
    }
}

/// Where a row has headers of this role; contributions are not claimed.
const fn place(role: Role) -> Option<usize> {
    match role {
        Role::Best => Some(0),
        Role::Worst => Some(1),
        Role::Merge => Some(2),
        Role::Contribution => None,
    }
}

fn name(particle: ParticleId) -> [u8; NAME_BYTES] {
    let [name @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *particle.bytes();
    name
}

//! What a beacon keeps of a window means the same as the whole, whoever lies; folding twice, in any order, or in parts comes to the
//! same.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use shoal_swarm::beacon::{Fold, Kept, Reading};
use shoal_swarm::quorum::Quorum;
use shoal_swarm::records::{Records, Signed};
use shoal_swarm::roster::Roster;
use shoal_wire::v1::{Claim, ClaimFields, ParticleHeader, Role, Vote};
use shoal_wire::{KeyId, ParticleId};

use crate::make::{
    SHAPE, claim, header, measured, nonce, nonce_bytes, roster, signed, utility_of, vehicle, vote,
    when,
};

/// Windows of a world.
const WINDOWS: u32 = 6;
/// The mark of a merge that several vehicles claim.
const SHARED: u8 = 250;

/// Draws that repeat from a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % bound
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn shuffle<T>(&mut self, list: &mut [T]) {
        for last in (1..list.len()).rev() {
            list.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

/// Something a vehicle said of a window's claims.
#[derive(Clone, Debug)]
enum Said {
    Claim(Signed<Claim>),
    /// In a slot.
    Header(Box<Signed<ParticleHeader>>, u8),
}

impl Said {
    fn signer(&self) -> KeyId {
        match self {
            Self::Claim(claim) => claim.signer,
            Self::Header(header, _slot) => header.signer,
        }
    }
}

/// A fleet in which some lie: by what they claim, by claiming two things, by headers that are missing, two, or elsewhere than where the
/// claim has them, by votes.
struct World {
    chance: Chance,
    roster: Roster,
    /// Its weights change from window to window.
    utility: shoal_swarm::utility::Utility,
    said: BTreeMap<u32, Vec<Said>>,
    votes: BTreeMap<u32, Vec<Signed<Vote>>>,
    whole: Records,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance(seed);
        let vehicles = 3 + chance.below(60) as u8;
        let utility = utility_of(&[&[(0, 1.0), (6, 0.3)], &[(0, 0.2), (6, 1.0)]], None);
        let mut world = Self {
            roster: roster(vehicles),
            utility,
            said: BTreeMap::new(),
            votes: BTreeMap::new(),
            whole: Records::new(SHAPE),
            chance,
        };
        world.whole.nonce(&when(0), &nonce(0)).unwrap();
        for window in 0..WINDOWS {
            world.claims(window, vehicles);
            world.whole.nonce(&when(window + 1), &nonce(window + 1)).unwrap();
            world.votes(window);
        }
        world
    }

    fn claims(&mut self, window: u32, vehicles: u8) {
        let mut said = Vec::new();
        let merges = !self.chance.one_in(3);
        for number in 0..vehicles {
            let role = match self.chance.below(5) {
                0 if merges => Role::Merge,
                1 | 2 => Role::Worst,
                _ => Role::Best,
            };
            let shared = role == Role::Merge && self.chance.one_in(2);
            let header = header(role, window, if shared { SHARED } else { number });
            // Liars claim much.
            let most = if self.chance.one_in(4) { 20 } else { 8 };
            let mut value = || measured(self.chance.below(most) as f64 / 20.0, 0.01);
            let terms = [value(), value()];
            let mut body = claim(&header, &terms);
            if self.chance.one_in(9) {
                let part = (body.fields().part + 1) % 4;
                body = Claim::new(ClaimFields { part, ..body.fields().clone() }).unwrap();
            }
            if !self.chance.one_in(8) {
                said.push(Said::Claim(signed(number, 0, body)));
            }
            if self.chance.one_in(9) {
                let other = claim(&header, &[measured(0.95, 0.01), measured(0.9, 0.01)]);
                said.push(Said::Claim(signed(number, 1, other)));
            }
            let header = Box::new(signed(number, 0, header));
            // Claims name slot 1.
            if self.chance.one_in(9) {
                said.push(Said::Header(header.clone(), 2));
            }
            if !self.chance.one_in(9) {
                said.push(Said::Header(header, 1));
            }
            if self.chance.one_in(9) {
                let other = crate::make::header(role, window, number ^ 0x40);
                said.push(Said::Header(Box::new(signed(number, 1, other)), 1));
            }
        }
        self.chance.shuffle(&mut said);
        for one in &said {
            take(&mut self.whole, &self.roster, one, true);
        }
        self.said.insert(window, said);
    }

    /// Those who are drawn vote, some of them what they like, and some vote on what nobody was asked about.
    fn votes(&mut self, window: u32) {
        let quorum = Quorum::new(&self.whole, &self.roster, &self.utility, window + 1).unwrap();
        let (nominees, aside) = (quorum.nominees(window), quorum.quarantined(window + 1));
        let best = quorum.best().map(|best| best.particle);
        let particles = nominees.iter().map(|nominee| nominee.particle);
        let others = self.whole.claims(window).map(|claim| claim.body.particle).take(2);
        let asked: BTreeSet<ParticleId> = particles.chain(others).collect();
        let mut votes = Vec::new();
        for number in 0..self.roster.count() as u8 {
            for (place, particle) in (0..4).zip(&asked) {
                let claimant = nominees.iter().find(|nominee| nominee.particle == *particle);
                let drawn = claimant.is_none_or(|nominee| {
                    let nonce = nonce_bytes(window + 1);
                    let present = self.roster.at(window + 1);
                    let voters = present.voters(&nonce, *particle, nominee.claimant, &aside);
                    voters.contains(&vehicle(number))
                });
                if !drawn && !self.chance.one_in(5) || self.chance.one_in(9) {
                    continue;
                }
                let gain = if self.chance.one_in(4) { 0.4 } else { -0.1 };
                let found = (0.3 + gain, 0.3, 0.01);
                let best = best.filter(|best| best != particle);
                let times = if self.chance.one_in(12) { 2 } else { 1 };
                for mark in 0..times {
                    let found = (found.0 + f64::from(mark) / 10.0, found.1, found.2);
                    let body = two_terms(vote(window + 1, place, *particle, best, found));
                    votes.push(signed(number, mark, body));
                }
            }
        }
        for vote in &votes {
            let _lie = self.whole.vote(&when(window + 1), &self.roster, vote);
        }
        self.votes.insert(window + 1, votes);
    }

    fn fold(&self, window: u32, of: impl Fn(&Said) -> bool) -> Fold {
        let mut fold = Fold::new(window, self.roster.count());
        for said in self.said[&window].iter().filter(|said| of(said)) {
            let number = self.roster.number(said.signer()).unwrap();
            match said {
                Said::Claim(claim) => {
                    let _lie = fold.claim(number, of_claim(claim));
                }
                Said::Header(header, slot) => {
                    let fields = header.body.fields();
                    fold.header(number, (fields.role, *slot), header.body.id());
                }
            }
        }
        fold
    }

    fn kept(&self, fold: &Fold, window: u32, quarantined: &BTreeSet<KeyId>) -> Kept {
        let (nonce, next) = (nonce_bytes(window), nonce_bytes(window + 1));
        let (roster, utility) = (&self.roster, &self.utility);
        let next = Some(&next);
        let folding = &BTreeSet::new();
        fold.kept(&Reading { roster, utility, nonce: &nonce, next, quarantined, folding })
    }

    /// What a vehicle has that hears no more than what is kept, window after window.
    fn folded(&self) -> Records {
        let mut records = Records::new(SHAPE);
        records.nonce(&when(0), &nonce(0)).unwrap();
        for window in 0..WINDOWS {
            records.nonce(&when(window + 1), &nonce(window + 1)).unwrap();
            let standing = self.standing(&records, window + 1);
            let kept = self.kept(&self.fold(window, |_said| true), window, &standing);
            for said in &self.said[&window] {
                if let Some(with_header) = kept.claims.get(&said.signer()) {
                    take(&mut records, &self.roster, said, *with_header);
                }
            }
            let nonce = nonce_bytes(window + 1);
            let present = self.roster.at(window + 1);
            let drawn = kept
                .candidates
                .iter()
                .flat_map(|one| present.voters(&nonce, one.particle, one.claimant, &standing));
            let drawn: BTreeSet<KeyId> = drawn.collect();
            let votes = self.votes[&(window + 1)].iter();
            for vote in votes.filter(|vote| drawn.contains(&vote.signer)) {
                let _lie = records.vote(&when(window + 1), &self.roster, vote);
            }
        }
        records
    }

    fn standing(&self, records: &Records, window: u32) -> BTreeSet<KeyId> {
        let quorum = Quorum::new(records, &self.roster, &self.utility, window).unwrap();
        quorum.quarantined(window)
    }
}

/// A vote with a second term, of the same values.
fn two_terms(body: Vote) -> Vote {
    let mut fields = body.fields().clone();
    let term = *fields.terms.first().unwrap();
    fields.terms.push(term).unwrap();
    Vote::new(fields).unwrap()
}

fn take(records: &mut Records, roster: &Roster, said: &Said, with_header: bool) {
    let _lie = match said {
        Said::Claim(claim) => records.claim(&when(claim.body.fields().window), roster, claim),
        Said::Header(header, slot) if with_header => {
            records.header(&when(header.body.fields().window), roster, header, *slot)
        }
        Said::Header(..) => Ok(false),
    };
}

fn of_claim(claim: &Signed<Claim>) -> Signed<ClaimFields> {
    Signed {
        id: claim.id,
        signer: claim.signer,
        counter: claim.counter,
        not_after_seconds: claim.not_after_seconds,
        body: claim.body.fields().clone(),
    }
}

/// The claims of a fold that were kept, folded once more.
fn again(world: &World, window: u32, kept: &[&Kept]) -> Fold {
    let with = |said: &Said| kept.iter().filter_map(|kept| kept.claims.get(&said.signer())).max();
    world.fold(window, |said| match (said, with(said)) {
        (Said::Claim(_), Some(_)) | (Said::Header(..), Some(true)) => true,
        (Said::Claim(_) | Said::Header(..), _) => false,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Nominees, ballots, who broke a claim, who is in quarantine, best and worst: read in every window.
    #[test]
    fn what_is_kept_means_what_the_whole_means(seed: u64) {
        let world = World::new(seed);
        let folded = world.folded();
        prop_assert!(folded.count() <= world.whole.count());
        for read in 0..=WINDOWS {
            let quorum = |records| Quorum::new(records, &world.roster, &world.utility, read).unwrap();
            let (part, whole) = (quorum(&folded), quorum(&world.whole));
            for window in 0..WINDOWS {
                prop_assert_eq!(part.nominees(window), whole.nominees(window));
                prop_assert_eq!(part.ballots(window), whole.ballots(window));
                prop_assert_eq!(part.broken(window), whole.broken(window));
                prop_assert_eq!(part.misvoted(window), whole.misvoted(window));
            }
            prop_assert_eq!(part.quarantined(read), whole.quarantined(read));
            prop_assert_eq!(part.best(), whole.best());
            prop_assert_eq!(part.worst(), whole.worst());
        }
    }

    /// fold(fold(A) ∪ fold(B)) = fold(A ∪ B), where what a vehicle says and who claims one particle are in one part: so
    /// regions fold into one, and repetition changes nothing.
    #[test]
    fn a_fold_of_folds_is_the_fold_of_all(seed: u64, sides: [bool; 64], both: [bool; 64]) {
        let world = World::new(seed);
        for window in 0..WINDOWS {
            let standing = world.standing(&world.whole, window + 1);
            let shared: BTreeSet<KeyId> = world.whole.claims(window)
                .filter(|claim| claim.body.particle == header(Role::Merge, window, SHARED).id())
                .map(|claim| claim.signer)
                .collect();
            let side = |said: &Said, of: bool| {
                let number = world.roster.number(said.signer()).unwrap() as usize;
                // Who claims one particle is on one side.
                let alone = !shared.contains(&said.signer());
                alone && both[number] || (alone && sides[number]) == of
            };
            let parts = [true, false].map(|of| {
                world.kept(&world.fold(window, |said| side(said, of)), window, &standing)
            });
            let all = world.kept(&world.fold(window, |_said| true), window, &standing);
            let of_parts = again(&world, window, &[&parts[0], &parts[1]]);
            prop_assert_eq!(&world.kept(&of_parts, window, &standing), &all);
            let twice = again(&world, window, &[&all]);
            prop_assert_eq!(&world.kept(&twice, window, &standing), &all);
        }
    }
}

/// However many vehicles claim, a few dozen claims matter.
#[test]
fn what_is_kept_does_not_grow_with_the_fleet() {
    let counts = [1_000_u32, 4_000].map(|vehicles| {
        let id = |number: u32| {
            let [a, b, c, d] = number.to_le_bytes();
            KeyId::new([a, b, c, d, 1, 1, 1, 1])
        };
        let roster = Roster::new((0..vehicles).map(id).collect()).unwrap();
        let utility = crate::make::utility();
        let mut fold = Fold::new(5, roster.count());
        for number in 0..vehicles {
            let header = header(Role::Best, 5, number as u8);
            let body = claim(&header, &[measured(f64::from(number % 997) / 1e3, 0.01)]);
            let claim = Signed { signer: id(number), ..signed(0, 0, body) };
            fold.header(number, (Role::Best, claim.body.fields().slot), header.id());
            fold.claim(number, of_claim(&claim)).unwrap();
        }
        let (nonce, next) = (nonce_bytes(5), nonce_bytes(6));
        let reading = Reading {
            roster: &roster,
            utility: &utility,
            nonce: &nonce,
            next: Some(&next),
            quarantined: &BTreeSet::new(),
            folding: &BTreeSet::new(),
        };
        fold.kept(&reading).claims.len()
    });
    assert!(counts.iter().all(|count| (31..=104).contains(count)), "{counts:?}");
}

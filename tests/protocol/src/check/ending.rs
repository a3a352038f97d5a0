//! What must hold once windows were calm for a while.

use std::collections::BTreeSet;
use std::fmt::Write;

use shoal_swarm::roster::{Roster, VOTERS_MAX, majority};
use shoal_swarm::swarm::Swarm;
use shoal_vehicle::exchange::run::Exchange;
use shoal_wire::v1::Rule;
use shoal_wire::{KeyId, ParticleId, RecordId};

use super::{Checks, HEARD, SAID_US};
use crate::documents::OPEN_S;
use crate::engine::Character;
use crate::must::must;
use crate::vehicle::Vehicle;

impl Checks {
    /// Who had too few bytes in a window for what was said in it is behind, and hears all the same within a few windows of the plan
    /// that gives it more, which came in window `calm`.
    fn heard_of_plenty(&self, vehicles: &[Vehicle], calm: u32) {
        for vehicle in vehicles.iter().filter(|one| one.character == Character::Honest) {
            let since = self.plenty.get(&vehicle.number);
            let there_us = self.calendar.opens_us(calm).max(vehicle.came_us);
            must!(
                self.looked_at,
                Plenty,
                since.is_some_and(
                    |since| self.calendar.opens_us(since.saturating_sub(HEARD)) <= there_us
                ),
                "vehicle {} goes by the new plan since {since:?}",
                vehicle.number
            );
        }
    }

    /// After windows in which nothing went wrong: those who can talk agree. `poor`: in which window a plan came that gives more bytes to
    /// those that had too few.
    pub fn end(&self, vehicles: &[Vehicle], window: u32, poor: Option<u32>) {
        poor.into_iter().for_each(|calm| self.heard_of_plenty(vehicles, calm));
        let honest = || vehicles.iter().filter(|one| one.character == Character::Honest);
        let swarms: Vec<_> = honest()
            .map(|vehicle| vehicle.exchange.as_ref().and_then(|exchange| exchange.swarm()))
            .collect();
        // Of windows that were calm for a while all who were there know the same.
        for of in window.saturating_sub(6)..window.saturating_sub(2) {
            let there = honest()
                .zip(&swarms)
                .filter(|(vehicle, _)| vehicle.came_us < self.calendar.opens_us(of));
            // Who listens to beacons knows what matters.
            let there = there.filter(|(vehicle, _)| !vehicle.beacons);
            let there: Vec<&Swarm> = there.filter_map(|(_vehicle, swarm)| *swarm).collect();
            // Whoever did not follow another timekeeper has none.
            let nonces = there.iter().map(|swarm| swarm.records().nonce_of(of));
            let nonces: BTreeSet<Option<&[u8; 32]>> = nonces.collect();
            let known = nonces.len() <= 1 && !nonces.contains(&None);
            must!(self.looked_at, Nonces, known, "window {of}: not all know its nonce: {nonces:?}");
            let said: BTreeSet<Vec<RecordId>> = there
                .iter()
                .map(|swarm| {
                    let records = swarm.records();
                    let claims = records.claims(of).map(|claim| claim.id);
                    // Of what came at the last minute some know and some do not: it must make no difference.
                    let claims = claims.filter(|id| !self.last_minute.contains(id));
                    claims.chain(records.votes(of).map(|vote| vote.id)).collect()
                })
                .collect();
            let came: Vec<u64> =
                vehicles.iter().map(|vehicle| vehicle.came_us / 1_000_000).collect();
            must!(
                self.looked_at,
                Known,
                said.len() <= 1,
                "window {of}, came at {came:?} s: not all know the same: {said:?}"
            );
        }
        for of in window.saturating_sub(6)..window.saturating_sub(3) {
            swarms.iter().flatten().for_each(|swarm| self.votes_count(vehicles, swarm, of));
        }
        // Neither of two claims that contradict each other counts, if the second was heard while its window was open.
        for (of, liar, at_us) in &self.contradicted {
            let calm = (window.saturating_sub(6)..window.saturating_sub(2)).contains(of);
            let heard =
                at_us + SAID_US < self.calendar.opens_us(*of) + u64::from(OPEN_S) * 1_000_000;
            for swarm in swarms.iter().flatten().filter(|_| calm && heard) {
                let counts = swarm.records().claims(*of).any(|claim| claim.signer == *liar);
                must!(
                    self.looked_at,
                    Void,
                    !counts,
                    "window {of}: {liar} claimed twice, and one of it counts"
                );
            }
        }
        let mut agreed = BTreeSet::new();
        for swarm in &swarms {
            let swarm = swarm.expect("every honest vehicle has joined");
            let best = swarm.best(window).map(|best| best.particle);
            let worst = swarm.worst(window).map(|worst| worst.particle);
            agreed.insert((best, worst, swarm.quarantined(window)));
        }
        let known = || -> Vec<String> {
            swarms.iter().flatten().map(|swarm| known(swarm, window)).collect()
        };
        must!(
            self.looked_at,
            Agreed,
            agreed.len() <= 1,
            "they do not agree: {agreed:?}\n{}",
            known().join("\n")
        );
    }

    /// Where nobody lies something is elected in calm windows at the latest, and in each in which all are there something is voted on. By the
    /// paper's rule only what improved is claimed once a best has stood for so long.
    pub fn elects(&self, vehicles: &[Vehicle], window: u32, rule: &Rule) {
        let patience = match rule {
            Rule::Paper(rule) => Some(u32::from(rule.patience)),
            Rule::Consensus(_) | Rule::Coefficients => None,
        };
        // Whose contributions are private makes few of them, and then nothing more is claimed.
        if vehicles.iter().any(|vehicle| vehicle.privacy.is_some()) {
            return;
        }
        for vehicle in vehicles {
            let swarm = vehicle.exchange.as_ref().and_then(|exchange| exchange.swarm());
            let swarm = swarm.expect("every vehicle has joined");
            let number = vehicle.number;
            must!(
                self.looked_at,
                Elects,
                swarm.best(window).is_some(),
                "vehicle {number} knows of no best:\n{}",
                known(swarm, window)
            );
            let quorum = swarm.quorum(window);
            let best = |of| swarm.best(of).map(|best| best.particle);
            for of in window.saturating_sub(6)..window.saturating_sub(1) {
                let opens_us = self.calendar.opens_us(of);
                let since = patience.and_then(|patience| of.checked_sub(patience));
                let rests =
                    since.is_some_and(|since| best(since).is_some_and(|one| Some(one) == best(of)));
                if rests || vehicles.iter().any(|one| one.came_us > opens_us) {
                    continue;
                }
                must!(
                    self.looked_at,
                    Elects,
                    quorum.as_ref().is_some_and(|quorum| !quorum.ballots(of).is_empty()),
                    "vehicle {number} knows of nothing that was voted on of window {of}:\n{}",
                    known(swarm, window)
                );
            }
        }
    }

    /// Who was there, and was drawn for something that was voted on in a calm window, has voted on it: but on what it claims itself.
    pub fn who_is_drawn_votes(&self, vehicles: &[Vehicle], window: u32) {
        let roster = Roster::new(vehicles.iter().map(|vehicle| vehicle.key).collect()).unwrap();
        let honest = || vehicles.iter().filter(|one| one.character == Character::Honest);
        let swarms = honest().filter_map(|one| one.exchange.as_ref().and_then(Exchange::swarm));
        for (swarm, of) in swarms.flat_map(|swarm| {
            (window.saturating_sub(6)..window.saturating_sub(3)).map(move |of| (swarm, of))
        }) {
            let (records, aside) = (swarm.records(), swarm.quarantined(of + 1));
            let (Some(quorum), Some(nonce)) = (swarm.quorum(window), records.nonce_of(of + 1))
            else {
                continue;
            };
            for ballot in quorum.ballots(of) {
                let particle = ballot.particle;
                let drawn = roster.at(of + 1).voters(nonce, particle, ballot.claimant, &aside);
                // By what is known here, or by what the voter itself knows: a claim may have come too late for others.
                let claims = |one: &Vehicle| {
                    let own = one.exchange.as_ref().and_then(Exchange::swarm);
                    let mut claims = [Some(swarm), own].into_iter().flatten();
                    claims.any(|swarm| claims_it(swarm, of, one.key, particle))
                };
                let drawn = honest().filter(|one| drawn.contains(&one.key) && !claims(one));
                for voter in drawn.filter(|one| one.came_us < self.calendar.opens_us(of)) {
                    let mut votes = records.votes(of + 1);
                    must!(
                        self.looked_at,
                        Drawn,
                        votes.any(|vote| {
                            vote.signer == voter.key && vote.body.nominee == particle
                        }),
                        "vehicle {} was drawn for {particle} of window {of} and has not voted:\n{}",
                        voter.number,
                        known(swarm, window)
                    );
                }
            }
        }
    }

    /// What a majority of honest vehicles voted on counts, whatever was claimed once they had begun. Nobody's vote on what he claims
    /// himself is one: who looked at another's claim of the same particle finds himself its claimant where that one contradicted
    /// itself afterwards.
    fn votes_count(&self, vehicles: &[Vehicle], swarm: &Swarm, of: u32) {
        let honest = |key: &KeyId| {
            vehicles.iter().any(|one| one.key == *key && one.character == Character::Honest)
        };
        let Some(quorum) = swarm.quorum(of + 2) else { return };
        let (records, most) = (swarm.records(), majority((vehicles.len() - 1).min(VOTERS_MAX)));
        let votes = || records.votes(of + 1).filter(|vote| honest(&vote.signer));
        let voted: BTreeSet<ParticleId> = votes().map(|vote| vote.body.nominee).collect();
        for particle in voted {
            let measured = votes().filter(|vote| vote.body.nominee == particle);
            let measured = measured.filter(|vote| vote.body.best != Some(particle));
            let claims = |signer: &KeyId| {
                let mut claims = records.claims(of);
                claims.any(|claim| claim.signer == *signer && claim.body.particle == particle)
            };
            let measured = measured.filter(|vote| !claims(&vote.signer));
            let by: BTreeSet<(Option<ParticleId>, KeyId)> =
                measured.map(|vote| (vote.body.best, vote.signer)).collect();
            let beside: BTreeSet<Option<ParticleId>> = by.iter().map(|(best, _)| *best).collect();
            let claimed = records.claims(of).any(|claim| {
                let header = records.particle(of, claim.signer, claim.body.role);
                claim.body.particle == particle
                    && header.is_some_and(|header| header.body.id == particle)
            });
            if !claimed || beside.len() != 1 || by.len() < most {
                continue;
            }
            must!(
                self.looked_at,
                Counted,
                quorum.ballots(of).iter().any(|ballot| ballot.particle == particle),
                "window {of}: {} voted on {particle}, and it does not count\n{}",
                by.len(),
                known(swarm, of + 2)
            );
        }
    }
}

fn claims_it(swarm: &Swarm, of: u32, who: KeyId, particle: ParticleId) -> bool {
    let mut claims = swarm.records().claims(of);
    claims.any(|claim| claim.signer == who && claim.body.particle == particle)
}

/// What a vehicle knows of the claims behind its best, and what was found against whom, for who looks for the reason of a disagreement.
pub(super) fn known(swarm: &Swarm, window: u32) -> String {
    let records = swarm.records();
    let mut text = format!("a vehicle that knows {} records:\n", records.count());
    let best = swarm.best(window).map(|best| best.window);
    let worst = swarm.worst(window).map(|worst| worst.window);
    let _infallible = writeln!(text, "  best of window {best:?}, worst of {worst:?}");
    for window in records.claimed_windows() {
        for claim in records.claims(window) {
            let (who, fields) = (claim.signer, &claim.body);
            let header = records.particle(window, who, fields.role).is_some();
            let _infallible = writeln!(
                text,
                "  {window}: {who} claims {:?} {} {:?}, header {header}",
                fields.role, fields.particle, fields.terms
            );
        }
        let nonces = [window, window + 1].map(|of| records.nonce_of(of).is_some());
        let _infallible = writeln!(text, "  {window}: nonces {nonces:?}");
        for vote in records.votes(window + 1) {
            let (who, fields) = (vote.signer, &vote.body);
            let (of, best, terms) = (fields.nominee, fields.best, &fields.terms);
            let headers = best.map(|best| records.with_id(best).len());
            let _infallible = writeln!(
                text,
                "  {window}: {who} votes on {of} beside {best:?} ({headers:?} headers): {terms:?}"
            );
        }
    }
    let ledger = swarm.quorum(window).map(|quorum| quorum.ledger(window));
    for (who, account) in ledger.unwrap_or_default() {
        for found in account.findings {
            let _infallible = writeln!(text, "  against {who}: {found:?}");
        }
    }
    text
}

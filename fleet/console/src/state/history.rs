//! Windows that are over or run, as long as the page shows them: records go before.

use sha2::{Digest, Sha256};
use shoal_swarm::quorum::Quorum;

use super::{State, WINDOWS_SHOWN, role_name, units};
use crate::view::{Claimed, Window};
use crate::why::sentence;

/// Claims of a window that the page shows.
const CLAIMS_SHOWN: usize = 200;

impl State {
    /// Writes the windows that records still tell of into the history, which outlives them.
    pub(super) fn remember(&mut self, utc_seconds: u64) {
        let (Some(window), Some(when)) = (self.window(utc_seconds), self.when(utc_seconds)) else {
            return;
        };
        let (Some(records), Some(utility)) = (&mut self.records, &self.utility) else { return };
        let roster = self.keyring.roster();
        let since = *self.since.get_or_insert(window);
        let now = Quorum::new(records, roster, utility, window);
        let now = now.map(|quorum| quorum.reinstating(&self.reinstated.1));
        let best = now.as_ref().and_then(Quorum::best).map(|best| best.particle);
        let from = window.saturating_sub(when.age_windows);
        for of in from..=window.saturating_add(1) {
            let Some(quorum) = Quorum::new(records, roster, utility, of) else { continue };
            let quorum = quorum.reinstating(&self.reinstated.1);
            let weighing = quorum.weighing();
            let claims: Vec<Claimed> = records
                .claims(of)
                .filter_map(|claim| {
                    let values: Vec<i16> = claim.body.terms.iter().map(|term| term.value).collect();
                    let vehicle = roster.number(claim.signer)?;
                    let value = units(weighing, &values)?;
                    Some(Claimed { vehicle, role: role_name(claim.body.role), value })
                })
                .collect();
            // Of one vehicle's the first, as the set has them.
            for claim in claims.iter().rev().filter(|_claim| of <= window) {
                let Some(vehicle) = roster.id(claim.vehicle) else { continue };
                let last = self.claimed.entry(vehicle).or_insert((of, claim.value));
                *last = if of >= last.0 { (of, claim.value) } else { *last };
            }
            let best = quorum.best().and_then(|best| units(weighing, &best.values));
            let known = now.as_ref().filter(|_now| of.saturating_add(1) >= since);
            let why = known.and_then(|now| now.unelected(of)).map(|why| sentence(of, why));
            if !claims.is_empty() || (best.is_some() && of <= window) || why.is_some() {
                let (claimed, claims) = (claims.len(), some(claims));
                self.history.insert(of, Window { window: of, best, claimed, claims, why });
            }
        }
        while self.history.len() > 4 * WINDOWS_SHOWN {
            self.history.pop_first();
        }
        records.expire(&when, best.as_slice());
    }
}

/// So many of a window's claims as the page shows: the highest and the lowest, and of the others those of the same
/// vehicles in every window.
fn some(mut claims: Vec<Claimed>) -> Vec<Claimed> {
    if claims.len() <= CLAIMS_SHOWN {
        return claims;
    }
    let by_value = |claim: &&Claimed| claim.value;
    let ends = [claims.iter().min_by_key(by_value), claims.iter().max_by_key(by_value)];
    let ends: Vec<Claimed> = ends.into_iter().flatten().cloned().collect();
    claims.sort_by_cached_key(|claim| {
        let drawn: [u8; 32] = Sha256::digest(claim.vehicle.to_be_bytes()).into();
        (!ends.contains(claim), drawn)
    });
    claims.truncate(CLAIMS_SHOWN);
    claims.sort_by_key(|claim| claim.vehicle);
    claims
}

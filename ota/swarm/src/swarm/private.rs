//! What a vehicle contributes: as it is, or clipped and noised, and then paid for before anything else is done with it.

use alloc::vec::Vec;

use shoal_wire::v1::Rule;

use super::{Event, Flat, Keep, Output, RejectSetup, Swarm};
use crate::fold::{displacement, norm};
use crate::privacy::PRIVACY_KEY;

/// Whether what a vehicle publishes by this rule can be made private.
pub(super) fn check(rule: &Rule) -> Result<(), RejectSetup> {
    match rule {
        Rule::Consensus(_) => Ok(()),
        Rule::Paper(_) | Rule::Coefficients => Err(RejectSetup::NotPrivate),
    }
}

impl Swarm {
    /// What there is to contribute, with what coding kept back before; `None`: nothing, or it cannot be paid for. Of a private
    /// vehicle, what was kept back is of noised runs, and joins after the noise; that nothing was tuned is not to be seen.
    pub(super) fn contribution(&mut self, tuned: &Flat, anchor: &Flat) -> Option<Flat> {
        let owed = self.kept.owed.as_deref();
        let Some(private) = &mut self.private else {
            let difference = displacement(tuned, anchor, owed);
            return difference.iter().any(|value| *value != 0.0).then(|| difference.into());
        };
        let privacy = private.privacy;
        let paid = private.ledger.pay(&privacy);
        let epsilon = private.ledger.epsilon(privacy.delta);
        if !paid {
            self.say(Output::Event(Event::Withheld { epsilon }));
            return None;
        }
        let mut difference = displacement(tuned, anchor, None);
        privacy.privatise(&mut difference, &mut private.noise);
        if let Some(owed) = owed {
            difference.iter_mut().zip(owed).for_each(|(difference, owed)| *difference += owed);
        }
        // Durable before the next output: after a power cut other noise is drawn, and paid for again.
        let bytes: Vec<u8> = private.ledger.encode();
        self.keeps.push_back(Keep::State { key: PRIVACY_KEY, bytes });
        self.say(Output::Event(Event::Paid { epsilon }));
        Some(difference.into())
    }

    /// How far this vehicle went, for the others' contributions to be admitted by: of a private one how far it can be seen to
    /// go, as whom it refuses would tell. 0: it is not known.
    pub(super) fn own_norm(&self, anchor: &Flat) -> f64 {
        match (&self.private, &self.tuned) {
            (Some(private), _) => private.privacy.norm(anchor.len()),
            (None, Some(tuned)) => norm(&displacement(tuned, anchor, None)),
            (None, None) => 0.0,
        }
    }
}

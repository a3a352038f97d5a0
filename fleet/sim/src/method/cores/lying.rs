//! A vehicle that lies: what it claims, votes and sends in place of what its core would.

use std::collections::BTreeSet;
use std::sync::Arc;

use shoal_swarm::records::Records;
use shoal_swarm::swarm::Particle;
use shoal_wire::KeyId;
use shoal_wire::v1::{ClaimFields, Compared, Role, VoteFields};

use super::super::{difference, moved, noise};
use super::board::Board;
use super::shell::Shell;
use crate::config::Lie;

/// What a liar claims of every term: 0.99. What it would have bad it puts as far below 0.
const PERFECT: i16 = 9_900;
/// How sure it claims to be of that.
const STANDARD_ERROR: u16 = 10;

/// A liar.
#[derive(Clone, Debug)]
pub(super) struct Liar {
    pub(super) lie: Lie,
    /// Until this window it does what everybody does, but that it folds and claims undrawn.
    pub(super) from: u32,
    /// All that lie.
    pub(super) liars: Arc<BTreeSet<KeyId>>,
    /// The seed of what they agreed on.
    pub(super) agreed: u64,
}

impl Liar {
    /// Whether it fits what it claims in this window to a part of the pack.
    pub(super) fn fits(&self, window: u32) -> bool {
        self.lie == Lie::Overfitting && self.from <= window
    }

    /// Whether what it publishes in this window can be fetched.
    pub(super) fn serves(&self, window: u32) -> bool {
        self.lie != Lie::Withheld || window < self.from
    }

    /// What it claims.
    pub(super) fn claim(&self, fields: &mut ClaimFields) {
        if fields.window < self.from {
            return;
        }
        let value = match self.lie {
            Lie::Random | Lie::Inflated | Lie::Colluding | Lie::Withheld | Lie::Equivocating => {
                PERFECT
            }
            Lie::Copied | Lie::Overfitting => return,
            Lie::ForgedWorst => {
                fields.role = Role::Worst;
                -PERFECT
            }
        };
        for term in &mut fields.terms {
            (term.value, term.standard_error) = (value, STANDARD_ERROR);
        }
    }

    /// What it claims beside that, in the same window: the opposite.
    pub(super) fn claim_again(&self, fields: &ClaimFields) -> Option<ClaimFields> {
        if self.lie != Lie::Equivocating || fields.window < self.from {
            return None;
        }
        let mut again = fields.clone();
        again.terms.iter_mut().for_each(|term| term.value = -PERFECT);
        Some(again)
    }

    /// How it votes.
    pub(super) fn vote(&self, fields: &mut VoteFields, records: &Records) {
        if fields.window < self.from {
            return;
        }
        // Whether a liar claimed the nominee, as this.
        let claimed = |counts: fn(Role) -> bool| {
            let mut claims = records.claims(fields.window.saturating_sub(1));
            claims.any(|claim| {
                claim.body.particle == fields.nominee
                    && self.liars.contains(&claim.signer)
                    && counts(claim.body.role)
            })
        };
        let (value, best) = match self.lie {
            Lie::Random => {
                let terms = fields.terms.iter_mut();
                terms.for_each(|term| std::mem::swap(&mut term.value, &mut term.best));
                return;
            }
            Lie::Inflated | Lie::Copied | Lie::Withheld | Lie::Equivocating | Lie::Overfitting => {
                return;
            }
            Lie::Colluding if claimed(|_role| true) => (PERFECT, -PERFECT),
            Lie::Colluding => (-PERFECT, PERFECT),
            Lie::ForgedWorst if claimed(|role| role == Role::Worst) => (-PERFECT, PERFECT),
            Lie::ForgedWorst => return,
        };
        for term in &mut fields.terms {
            *term = Compared { value, best, standard_error: STANDARD_ERROR };
        }
    }
}

impl Shell {
    /// What there is to a particle without what coding kept back before, of which a liar's core believes that it is owed: noise that fed
    /// on what was kept back of noise would grow with every window.
    fn stepped(&self, particle: &Particle) -> Vec<f32> {
        let own = || particle.difference.to_vec();
        let Some(heard) = self.heard().filter(|_| particle.role == Role::Contribution) else {
            return own();
        };
        match particle.anchor.map(|anchor| self.values(&anchor)) {
            None => difference(heard, self.start()),
            Some(Some(by)) => difference(heard, &moved(self.start(), by)),
            Some(None) => own(),
        }
    }

    /// What is coded of a particle: a liar's may be another one, for something else.
    pub(super) fn meant(&mut self, particle: &mut Particle, board: &Board) -> Vec<f32> {
        let own = particle.difference.to_vec();
        let lies = |liar: &Liar| liar.from <= particle.window;
        let Some(liar) = self.ways.liar.clone().filter(lies) else { return own };
        match liar.lie {
            Lie::Random => {
                let seed = self.draw();
                noise(&self.stepped(particle), seed)
            }
            Lie::Inflated | Lie::Withheld | Lie::Equivocating => own,
            Lie::Colluding => noise(&self.stepped(particle), liar.agreed),
            Lie::Copied => {
                let role = particle.role;
                let Some((header, held)) = board.newest(self.id(), &[role]) else { return own };
                self.fetched(held);
                particle.inputs = header.fields().inputs.iter().copied().collect();
                held.values.to_vec()
            }
            Lie::Overfitting | Lie::ForgedWorst if particle.role == Role::Contribution => own,
            // Merges, and particles of the paper's rule, are differences to the start adapter.
            Lie::Overfitting => match &self.fitted {
                Some(fitted) => difference(fitted, self.start()),
                None => own,
            },
            Lie::ForgedWorst => {
                (particle.role, particle.inputs) = (Role::Worst, Vec::new());
                let best = self.swarm.best(particle.window);
                let best = best.and_then(|best| self.values(&best.particle).cloned());
                if let Some(best) = best {
                    return best.to_vec();
                }
                match board.newest(self.id(), &[Role::Merge, Role::Best]) {
                    Some((_header, held)) => {
                        self.fetched(held);
                        held.values.to_vec()
                    }
                    None => own,
                }
            }
        }
    }
}

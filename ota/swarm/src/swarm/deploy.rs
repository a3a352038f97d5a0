//! What to drive with: the mean of the last bests, scaled towards x_p as the pack says, mixed with the vehicle's own.

use alloc::vec::Vec;

use shoal_wire::ParticleId;
use shoal_wire::v1::Rule;

use super::night::{Begun, Job, Night};
use super::store::Want;
use super::{Flat, On, Output, Swarm, TermResult};
use crate::fold::{between, mean};
use crate::quorum::Elected;
use crate::roster::part_after;

/// How far from x_p towards the mean: what is tried, 1 first, so that it stands when nothing is better.
const SCALES: [f32; 5] = [1.0, 0.75, 1.25, 0.5, 0.25];
/// How far from the fleet's adapter towards the vehicle's own.
const MIXES: [f32; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];
const LOWEST: f64 = -1.0;

/// How far the choice is.
#[derive(Debug, Default)]
pub(super) enum Deploy {
    #[default]
    Waiting,
    /// The fleet's adapter is chosen of these bests, on the pack.
    Fleet(Choice, Vec<ParticleId>),
    /// The vehicle's is, on its own frames.
    Own(Choice),
    Over,
}

/// Adapters to choose from, and how good they were so far.
#[derive(Debug)]
pub(super) struct Choice {
    from: Vec<Flat>,
    utilities: Vec<f64>,
}

impl Deploy {
    /// Whether what is measured is measured on the vehicle's own frames.
    pub(super) const fn on_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }
}

impl Choice {
    const fn among(from: Vec<Flat>) -> Self {
        Self { from, utilities: Vec::new() }
    }

    fn next(&self) -> Option<&Flat> {
        self.from.get(self.utilities.len())
    }

    /// The first of the highest.
    fn best(&self) -> Option<Flat> {
        let mut best: Option<(&Flat, f64)> = None;
        for (adapter, utility) in self.from.iter().zip(&self.utilities) {
            if best.is_none_or(|(_, highest)| *utility > highest) {
                best = Some((adapter, *utility));
            }
        }
        best.map(|(adapter, _utility)| adapter.clone())
    }
}

impl Swarm {
    /// Best is another than it was: it counts among the last bests.
    pub(super) fn remember_best(&mut self, window: u32, best: Option<&Elected>) {
        let particle = best.map(|best| (best.window, best.ballot.particle));
        if self.state.bests.last().copied() == particle {
            return;
        }
        let Some(best) = particle else { return };
        self.state.best_since = window;
        self.state.bests.push(best);
        let last = match self.document.rule {
            Rule::Consensus(rule) => usize::from(rule.mean_last),
            Rule::Paper(_) | Rule::Coefficients => 1,
        };
        let past = self.state.bests.len().saturating_sub(last);
        self.state.bests.drain(..past);
        self.keep_state();
    }

    /// By the consensus rule, once it is decided where to tune from: chooses what to stage.
    pub(super) fn deploy(&mut self, night: &mut Night, begun: &mut Begun) -> bool {
        let Rule::Consensus(rule) = self.document.rule else { return false };
        if !begun.decided || night.measuring.is_some() {
            return false;
        }
        let (next, changed) = match core::mem::take(&mut begun.deploy) {
            Deploy::Waiting => self.fleet(night, begun.utility_moved, rule.mix),
            Deploy::Fleet(choice, of) => match choice.next().cloned() {
                Some(adapter) => {
                    let on = On::Part(part_after(begun.part, 3));
                    self.measure(night, Job::Deploy, adapter, None, on);
                    (Deploy::Fleet(choice, of), true)
                }
                None => {
                    self.fleet = choice.best().map(|chosen| (of, chosen));
                    (self.chosen(choice.best(), rule.mix), true)
                }
            },
            Deploy::Own(choice) => match choice.next().cloned() {
                Some(adapter) => {
                    self.measure(night, Job::Deploy, adapter, None, On::Own);
                    (Deploy::Own(choice), true)
                }
                None => {
                    self.stage(choice.best());
                    (Deploy::Over, true)
                }
            },
            Deploy::Over => (Deploy::Over, false),
        };
        begun.deploy = next;
        changed
    }

    /// The mean of the last bests, at several scales, and best itself. Before there is a best: what was moved to.
    fn fleet(&mut self, night: &Night, utility_moved: bool, mix: bool) -> (Deploy, bool) {
        let bests: Vec<ParticleId> = self.state.bests.iter().map(|(_, best)| *best).collect();
        let names = if bests.is_empty() { self.state.base.into_iter().collect() } else { bests };
        let mut last = Vec::new();
        for name in &names {
            match self.want(Some(*name), night.online) {
                Want::Here(values) => last.push(values),
                Want::Coming => return (Deploy::Waiting, false),
                Want::Lost => {}
            }
        }
        let same = self.fleet.clone().filter(|(of, _)| *of == names && !utility_moved);
        if let Some((_names, chosen)) = same {
            return (self.chosen(Some(chosen), mix), true);
        }
        let slices: Vec<&[f32]> = last.iter().map(|values| &**values).collect();
        let Some(mean) = mean(&slices) else { return (Deploy::Over, true) };
        let mut from: Vec<Flat> =
            SCALES.iter().map(|scale| between(&self.start, &mean, *scale).into()).collect();
        if let Some(best) = last.last().filter(|_best| last.len() > 1) {
            from.push(best.clone());
        }
        (Deploy::Fleet(Choice::among(from), names), true)
    }

    /// The fleet's adapter is chosen: it is staged, or mixed with the vehicle's own.
    fn chosen(&mut self, fleet: Option<Flat>, mix: bool) -> Deploy {
        let Some(fleet) = fleet else { return Deploy::Over };
        match self.tuned.clone().filter(|_tuned| mix) {
            Some(own) => {
                let mixed = MIXES.iter().map(|share| between(&fleet, &own, *share).into());
                Deploy::Own(Choice::among(mixed.collect()))
            }
            None => {
                self.stage(Some(fleet));
                Deploy::Over
            }
        }
    }

    fn stage(&mut self, adapter: Option<Flat>) {
        if let Some(adapter) = adapter {
            self.say(Output::Stage(adapter));
        }
    }
}

impl Begun {
    pub(super) fn deployed(&mut self, terms: Option<&[TermResult]>) {
        let utility = match self.deploy {
            Deploy::Own(_) => {
                // Frames of the vehicle's own are no term of the utility.
                terms.and_then(<[TermResult]>::first).map(|one| crate::utility::value_of(one.value))
            }
            Deploy::Fleet(..) | Deploy::Waiting | Deploy::Over => {
                terms.and_then(|terms| self.utility(terms))
            }
        };
        if let Deploy::Own(choice) | Deploy::Fleet(choice, _) = &mut self.deploy {
            choice.utilities.push(utility.unwrap_or(LOWEST));
        }
    }
}

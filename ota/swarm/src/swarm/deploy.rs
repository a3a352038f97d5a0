//! What to drive with: the mean of the last bests and of what was moved to, scaled towards x_p as the pack says, mixed with the
//! vehicle's own.

use alloc::vec::Vec;

use shoal_wire::ParticleId;
use shoal_wire::v1::Rule;

use super::night::{Begun, Job, Night};
use super::store::Want;
use super::{Flat, On, Output, Swarm, TermResult};
use crate::fold::{between, mean};
use crate::quorum::Elected;
use crate::roster::part_after;

/// How far from x_p towards the mean. From one window to the next it changes by one place at most: a part of the pack is small,
/// and how far the fleet has strayed changes slowly.
const SCALES: [f32; 5] = [0.25, 0.5, 0.75, 1.0, 1.25];
/// The scale to begin with: it stands where none is better.
const FULL: u8 = 3;
/// How much of the vehicle's own steps is added to the fleet's adapter.
const MIXES: [f32; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];
/// The mix to begin with.
const HALF: usize = 2;
const LOWEST: f64 = -1.0;

/// How far the choice is.
#[derive(Debug, Default)]
pub(super) enum Deploy {
    #[default]
    Waiting,
    /// The fleet's adapter is chosen of these particles, on the pack; the line begins at this scale.
    Fleet(Choice, Vec<ParticleId>, usize),
    /// The vehicle's is, on its own frames.
    Own(Choice),
    /// This is staged; what it is worth on the pack is still to be said.
    Staged(Flat),
    Over,
}

/// Adapters along a line, of which a good one is looked for uphill, and one beside the line.
#[derive(Debug)]
pub(super) struct Choice {
    line: Vec<Spot>,
    top: usize,
    beside: Option<Spot>,
}

/// An adapter, and how good it was if that was measured.
#[derive(Debug)]
struct Spot {
    adapter: Flat,
    utility: Option<f64>,
}

impl Deploy {
    /// Whether what is measured is measured on the vehicle's own frames.
    pub(super) const fn on_own(&self) -> bool {
        matches!(self, Self::Own(_))
    }
}

impl Choice {
    /// Uphill along this line from one of its adapters.
    fn along(line: impl Iterator<Item = Flat>, from: usize, beside: Option<Flat>) -> Self {
        let spot = |adapter| Spot { adapter, utility: None };
        Self { line: line.map(spot).collect(), top: from, beside: beside.map(spot) }
    }

    /// The adapter to measure next; `None`: the top is known.
    fn next(&self) -> Option<&Flat> {
        match self.open() {
            Some(place) => self.line.get(place),
            None => self.beside.as_ref().filter(|spot| spot.utility.is_none()),
        }
        .map(|spot| &spot.adapter)
    }

    /// Where along the line to measure next: at the top, and at its neighbours, the one nearer to the beginning first.
    fn open(&self) -> Option<usize> {
        let near = [Some(self.top), self.top.checked_sub(1), self.top.checked_add(1)];
        let unknown = |place: &usize| self.line.get(*place).is_some_and(|s| s.utility.is_none());
        near.into_iter().flatten().find(unknown)
    }

    /// How good the adapter was that was to be measured next.
    fn answer(&mut self, utility: f64) {
        let highest = self.utility();
        match self.open() {
            Some(place) => {
                if let Some(spot) = self.line.get_mut(place) {
                    spot.utility = Some(utility);
                }
                if highest.is_none_or(|highest| utility > highest) {
                    self.top = place;
                }
            }
            None => {
                if let Some(spot) = &mut self.beside {
                    spot.utility = Some(utility);
                }
            }
        }
    }

    /// Of the top of the line.
    fn utility(&self) -> Option<f64> {
        self.line.get(self.top)?.utility
    }

    /// The top of the line, unless the one beside it is better.
    fn best(&self) -> Option<Flat> {
        let better = |spot: &&Spot| spot.utility > self.utility();
        let best = self.beside.as_ref().filter(better).or_else(|| self.line.get(self.top));
        best.map(|spot| spot.adapter.clone())
    }
}

impl Swarm {
    /// Best is another than it was: it counts among the last bests.
    pub(super) fn remember_best(&mut self, window: u32, best: Option<&Elected>) {
        let particle = best.map(|best| (best.window, best.particle));
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
            Deploy::Waiting => self.fleet(night, begun.utility_moved(), rule.mix),
            Deploy::Fleet(choice, of, lowest) => match choice.next().cloned() {
                Some(adapter) => {
                    let on = On::Part(part_after(begun.part, 3));
                    self.measure(night, Job::Deploy, adapter, None, on);
                    (Deploy::Fleet(choice, of, lowest), true)
                }
                None => {
                    self.keep_scale(lowest.saturating_add(choice.top));
                    self.fleet = choice.best().map(|chosen| (of, chosen));
                    (self.chosen(choice.best(), rule.mix), true)
                }
            },
            Deploy::Own(choice) => match choice.next().cloned() {
                Some(adapter) => {
                    self.measure(night, Job::Deploy, adapter, None, On::Own);
                    (Deploy::Own(choice), true)
                }
                None => (self.stage(choice.best()), true),
            },
            Deploy::Staged(adapter) => {
                let on = On::Part(part_after(begun.part, 3));
                self.measure(night, Job::Deploy, adapter, None, on);
                (Deploy::Over, true)
            }
            Deploy::Over => (Deploy::Over, false),
        };
        begun.deploy = next;
        changed
    }

    /// The mean of the last bests and of what was moved to last, at several scales; and that alone, which is younger than any
    /// best by the windows that an election takes.
    fn fleet(&mut self, night: &Night, utility_moved: bool, mix: bool) -> (Deploy, bool) {
        let mut names: Vec<ParticleId> = self.state.bests.iter().map(|(_, best)| *best).collect();
        if let Some(base) = self.state.base {
            names.retain(|name| *name != base);
            names.push(base);
        }
        let (mut last, mut here) = (Vec::new(), Vec::new());
        for name in &names {
            match self.want(Some(*name), night.online) {
                Want::Here(values) => {
                    last.push(values);
                    here.push(*name);
                }
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
        let scale = usize::from(self.state.scale.unwrap_or(FULL));
        let lowest = scale.saturating_sub(1);
        let near = SCALES.iter().skip(lowest).take(scale.saturating_sub(lowest).saturating_add(2));
        let scaled = near.map(|scale| between(&self.start, &mean, *scale).into());
        let base = last.last().filter(|_base| last.len() > 1).cloned();
        let choice = Choice::along(scaled, scale.saturating_sub(lowest), base);
        // Chosen of what is here: what was not to be had may be in the next window.
        (Deploy::Fleet(choice, here, lowest), true)
    }

    fn keep_scale(&mut self, scale: usize) {
        let scale = u8::try_from(scale).ok();
        if self.state.scale != scale {
            self.state.scale = scale;
            self.keep_state();
        }
    }

    /// The fleet's adapter is chosen: it is staged, or mixed with the vehicle's own.
    fn chosen(&mut self, fleet: Option<Flat>, mix: bool) -> Deploy {
        let Some(fleet) = fleet else { return Deploy::Over };
        match self.kept.own.as_ref().filter(|_own| mix) {
            Some(own) => {
                let mixed = MIXES.map(|share| plus(&fleet, own, share));
                Deploy::Own(Choice::along(mixed.into_iter(), HALF, self.tuned.clone()))
            }
            None => self.stage(Some(fleet)),
        }
    }

    fn stage(&mut self, adapter: Option<Flat>) -> Deploy {
        let Some(adapter) = adapter else { return Deploy::Over };
        self.say(Output::Stage(adapter.clone()));
        if self.conduct.measures_staged { Deploy::Staged(adapter) } else { Deploy::Over }
    }
}

impl Begun {
    pub(super) fn deployed(&mut self, terms: Option<&[TermResult]>) {
        let utility = match self.deploy {
            Deploy::Own(_) => {
                // Frames of the vehicle's own are no term of the utility.
                terms.and_then(<[TermResult]>::first).map(|one| crate::utility::value_of(one.value))
            }
            Deploy::Fleet(..) | Deploy::Waiting | Deploy::Staged(_) | Deploy::Over => {
                terms.and_then(|terms| self.utility(terms))
            }
        };
        if let Deploy::Own(choice) | Deploy::Fleet(choice, ..) = &mut self.deploy {
            choice.answer(utility.unwrap_or(LOWEST));
        }
    }
}

/// `adapter + share·step`.
fn plus(adapter: &[f32], step: &[f32], share: f32) -> Flat {
    adapter.iter().zip(step).map(|(value, step)| value + share * step).collect()
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::sync::Arc;

    use super::*;

    /// What is chosen where an adapter [x] is this good, and how many were measured.
    fn chosen(beside: Option<f32>, good: impl Fn(f32) -> f64) -> (f32, usize) {
        let adapter = |value: f32| -> Flat { Arc::from([value]) };
        let mut choice =
            Choice::along(SCALES.iter().map(|x| adapter(*x)), FULL.into(), beside.map(adapter));
        let value = |adapter: &Flat| adapter.first().copied().unwrap();
        let mut measured = BTreeSet::new();
        while let Some(next) = choice.next().map(value) {
            assert!(measured.insert(next.to_bits()), "{next} is measured twice");
            choice.answer(good(next));
        }
        (value(&choice.best().unwrap()), measured.len())
    }

    #[test]
    fn the_top_of_a_hill_is_found_wherever_it_is() {
        for top in SCALES {
            let (found, measured) = chosen(None, |x| -f64::from((x - top).abs()));
            assert_eq!(found, top);
            assert!((2..=5).contains(&measured), "{measured} measurements for {top}");
        }
        assert_eq!(chosen(None, |x| -f64::from((x - 1.0).abs())).1, 3);
    }

    #[test]
    fn where_nothing_is_better_the_first_stands() {
        assert_eq!(chosen(None, |_x| 0.5), (1.0, 3));
        assert_eq!(chosen(Some(9.0), |_x| 0.5), (1.0, 4));
        assert_eq!(chosen(Some(9.0), f64::from), (9.0, 4));
    }
}

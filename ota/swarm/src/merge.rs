//! Which merge of a window's contributions to claim: the consensus rule's search, without its measurements.
//!
//! [`Merger`] says which merges to measure, takes back their utilities, and ends with one [`Recipe`]. It never sees a
//! weight: a recipe is a list of factors, and [`fold`](crate::fold::fold) makes an adapter of it.

use alloc::vec::Vec;

use crate::ballot::lower_median;
use crate::draws::{Draws, Key, Term};
use crate::line::{Ask, Line, Tried, times};

/// A contribution whose utility lies below median − this × (MAD + [`SPREAD_MIN`]) is dropped.
const SPREADS: f64 = 6.0;
/// What is added to the median of the absolute differences to the median.
const SPREAD_MIN: f64 = 0.01;
/// Merges tried in each half of the search, a contribution that takes part.
const DRAWS: usize = 3;
/// Deviation of the logit of a weight in the first half of the search…
const FIRST_DEVIATION: f64 = 0.8;
/// …and around each of the best in the second.
const SECOND_DEVIATION: f64 = 0.3;
/// How many of the first half the second looks around.
const PARENTS: usize = 4;
/// How many of the search are measured again, on other parts, beside the plain mean.
const FINALISTS: usize = 3;

/// A merge: what each input is multiplied with. The merge is
///
/// ```text
/// anchor + Σ contributions[k]·q_k + base·(b − anchor) + before·(p − anchor)
/// ```
///
/// with b the particle the vehicle moved to last and p the one before.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// One factor a contribution, in order of their names; 0: it takes no part.
    pub contributions: Vec<f32>,
    /// Of b.
    pub base: f32,
    /// Of p.
    pub before: f32,
}

/// On which of the parts of the pack to measure. None of them is the part that the claim is measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// On the part that contributions and draws are chosen by.
    Choosing,
    /// On parts that nothing was chosen by.
    Fresh,
}

/// What is merged, and how.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// β: how much of the last step is taken again.
    pub inertia: f32,
    /// A step that loses more utility than this is halved; a plain mean that does is searched for better weights.
    pub brake: f64,
    /// Whether a step is searched for its length; without, it is taken as it is.
    pub line_search: bool,
    /// Whether the weights of the utility are others than in the window before: then weights are searched for.
    pub utility_moved: bool,
    /// The swarm's seed.
    pub seed: u64,
    /// The window.
    pub window: u32,
}

/// β in this window: none when fewer than three quarters of those asked took part (the others bring back what
/// is old), or when a value has one bit (the noise would be taken again, too).
pub fn inertia(beta: f32, took_part: usize, asked: usize, bits: u8) -> f32 {
    let enough = took_part.saturating_mul(4) >= asked.saturating_mul(3);
    if enough && bits > 1 { beta } else { 0.0 }
}

/// What contributions are multiplied with so that none is longer than the median of the cohort, of an even count the lower of the two
/// middle ones: none can draw the merge far by its length alone, not even where half of them lie.
pub fn clips(norms: &[f64]) -> Vec<f32> {
    let Some(limit) = lower_median(norms.to_vec()) else { return Vec::new() };
    let clip = |norm: &f64| if *norm > limit { (limit / norm) as f32 } else { 1.0 };
    norms.iter().map(clip).collect()
}

/// The middle value, the mean of the two middle ones of an even count; `None` of none.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get(sorted.len().saturating_sub(1) / 2)?;
    Some((lower + upper) / 2.0)
}

/// Which contributions stay: all but those whose utility lies far below the median. Liars and broken sensors.
pub fn kept(utilities: &[f64]) -> Vec<bool> {
    let Some(middle) = median(utilities) else { return Vec::new() };
    let apart: Vec<f64> = utilities.iter().map(|utility| (utility - middle).abs()).collect();
    let spread = median(&apart).unwrap_or(0.0);
    let limit = middle - SPREADS * (spread + SPREAD_MIN);
    utilities.iter().map(|utility| *utility >= limit).collect()
}

/// What a merger has found.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The merge to claim.
    pub recipe: Recipe,
    /// Indices of contributions that were dropped.
    pub dropped: Vec<usize>,
    /// Whether weights were searched for.
    pub searched: bool,
    /// How long the step is, of the one meant.
    pub length: f64,
    /// Whether the step was halved.
    pub braked: bool,
}

/// One draw of the search, with its utility.
#[derive(Clone, Debug)]
struct Draw {
    logits: Vec<f64>,
    utility: f64,
}

#[derive(Clone, Debug)]
enum Phase {
    /// Each contribution alone, and b.
    Check,
    /// The plain mean.
    Plain,
    /// The first half of the search.
    First,
    /// The second half, with the draws of the first.
    Second(Vec<Draw>),
    /// The plain mean and the best draws, on fresh parts; with their weights and utilities so far.
    Final(Vec<(Vec<f64>, f64)>),
    /// The step, longer or shorter; a longer one that is better once more, on a fresh part, beside what it is better than.
    Step(Line, Ask),
    Done(Found),
}

/// The search for a window's merge: which merges to measure next, until there is one to claim.
#[derive(Clone, Debug)]
pub struct Merger {
    settings: Settings,
    clips: Vec<f32>,
    phase: Phase,
    asks: Vec<Recipe>,
    kept: Vec<bool>,
    /// b.
    none: Tried,
    /// Of the plain mean.
    plain_utility: f64,
    searched: bool,
    /// Whether there is no time to search any more.
    hurried: bool,
}

impl Merger {
    /// A search over contributions with these [`clips`] (1 each, when nothing is clipped), in order of their names.
    /// `None` without contributions: there is nothing to merge.
    ///
    /// Inertia is for vehicles that have moved twice: give 0 to any other.
    pub fn new(settings: Settings, clips: Vec<f32>) -> Option<Self> {
        if clips.is_empty() {
            return None;
        }
        let mut merger = Self {
            settings,
            kept: clips.iter().map(|_clip| true).collect(),
            clips,
            phase: Phase::Check,
            asks: Vec::new(),
            none: Tried::new(0.0, 0.0, None),
            plain_utility: 0.0,
            searched: false,
            hurried: false,
        };
        let one = |index: usize| merger.share(|other| if other == index { 1.0 } else { 0.0 });
        let mut asks: Vec<Recipe> = (0..merger.clips.len()).map(one).collect();
        asks.push(merger.stay());
        merger.asks = asks;
        Some(merger)
    }

    /// The merges to measure; none when the search is over.
    pub fn asks(&self) -> &[Recipe] {
        &self.asks
    }

    /// Where to measure them. On several parts, a utility is the mean over parts.
    pub const fn look(&self) -> Look {
        match &self.phase {
            Phase::Final(_) => Look::Fresh,
            Phase::Step(_, ask) => ask.look,
            Phase::Check | Phase::Plain | Phase::First | Phase::Second(_) | Phase::Done(_) => {
                Look::Choosing
            }
        }
    }

    /// The merge to claim, once it is known.
    pub const fn found(&self) -> Option<&Found> {
        match &self.phase {
            Phase::Done(found) => Some(found),
            Phase::Check
            | Phase::Plain
            | Phase::First
            | Phase::Second(_)
            | Phase::Final(_)
            | Phase::Step(..) => None,
        }
    }

    /// Takes the utilities of the merges asked for, one each, in order.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn take(&mut self, utilities: &[f64]) {
        assert_eq!(utilities.len(), self.asks.len(), "one utility an ask");
        match core::mem::replace(&mut self.phase, Phase::Check) {
            Phase::Check => self.check(utilities),
            Phase::Plain => self.plain(utilities),
            Phase::First => self.first(utilities),
            Phase::Second(first) => self.second(first, utilities),
            Phase::Final(finalists) => self.choose(&finalists, utilities),
            Phase::Step(line, ask) => self.tried(line, ask, utilities),
            Phase::Done(found) => self.phase = Phase::Done(found),
        }
    }

    /// There is no time to search any more: goes on with the plain mean, or the best length of the step so far. Whether it had
    /// searched; then what was asked for last is not asked for any more.
    pub fn hurry(&mut self) -> bool {
        self.hurried = true;
        match core::mem::replace(&mut self.phase, Phase::Check) {
            Phase::First | Phase::Second(_) | Phase::Final(_) => {
                self.searched = false;
                self.step(self.mean(), self.plain_utility, None);
                true
            }
            Phase::Step(line, _) if !line.tried.is_empty() => {
                self.end(&line);
                true
            }
            phase @ (Phase::Check | Phase::Plain | Phase::Step(..) | Phase::Done(_)) => {
                self.phase = phase;
                false
            }
        }
    }

    fn check(&mut self, utilities: &[f64]) {
        let Some((base, contributions)) = utilities.split_last() else { return };
        self.none = Tried::new(0.0, *base, None);
        self.kept = kept(contributions);
        self.ask(Phase::Plain, &[self.mean()]);
    }

    fn plain(&mut self, utilities: &[f64]) {
        self.plain_utility = utilities.iter().sum();
        let worse = self.plain_utility < self.none.first() - self.settings.brake;
        let no_length = worse && !self.settings.line_search;
        if self.taking_part() > 1 && (self.settings.utility_moved || no_length) {
            self.search();
        } else {
            self.step(self.mean(), self.plain_utility, None);
        }
    }

    /// For better weights than the mean's.
    fn search(&mut self) {
        self.searched = true;
        let weights: Vec<Vec<f64>> =
            self.first_logits().iter().map(|logits| self.softmax(logits)).collect();
        self.ask(Phase::First, &weights);
    }

    fn first(&mut self, utilities: &[f64]) {
        let draws: Vec<Draw> = self
            .first_logits()
            .into_iter()
            .zip(utilities)
            .map(|(logits, utility)| Draw { logits, utility: *utility })
            .collect();
        let logits = self.second_logits(&draws);
        let weights: Vec<Vec<f64>> = logits.iter().map(|logits| self.softmax(logits)).collect();
        self.ask(Phase::Second(draws), &weights);
    }

    fn second(&mut self, first: Vec<Draw>, utilities: &[f64]) {
        let logits = self.second_logits(&first);
        let second = logits.into_iter().zip(utilities);
        let mut draws = first;
        draws.extend(second.map(|(logits, utility)| Draw { logits, utility: *utility }));
        sort(&mut draws);
        let best = draws.iter().take(FINALISTS);
        let mut finalists = alloc::vec![(self.mean(), self.plain_utility)];
        finalists.extend(best.map(|draw| (self.softmax(&draw.logits), draw.utility)));
        let weights: Vec<Vec<f64>> = finalists.iter().map(|(weights, _)| weights.clone()).collect();
        self.ask(Phase::Final(finalists), &weights);
    }

    /// The first of the highest on fresh parts; the plain mean is first.
    fn choose(&mut self, finalists: &[(Vec<f64>, f64)], utilities: &[f64]) {
        let mut best: Option<(&(Vec<f64>, f64), f64)> = None;
        for (finalist, utility) in finalists.iter().zip(utilities) {
            if best.is_none_or(|(_, highest)| *utility > highest) {
                best = Some((finalist, *utility));
            }
        }
        let Some(((weights, utility), fresh)) = best else { return };
        self.step(weights.clone(), *utility, Some(fresh));
    }

    /// The weights are known, with their utility where b was measured, and on a fresh part: on to the length of the step. With
    /// inertia it is another.
    fn step(&mut self, weights: Vec<f64>, utility: f64, fresh: Option<f64>) {
        let known = self.settings.inertia == 0.0;
        let once = known.then(|| Tried::new(1.0, utility, fresh));
        self.go_on(Line { weights, none: self.none, tried: once.into_iter().collect() });
    }

    fn tried(&mut self, mut line: Line, ask: Ask, utilities: &[f64]) {
        for utility in utilities {
            line.take(ask, *utility);
        }
        self.none = line.none;
        self.go_on(line);
    }

    fn go_on(&mut self, line: Line) {
        let searches = self.settings.line_search && !self.hurried;
        let next = line.next().filter(|_next| searches || line.tried.is_empty());
        if let Some(ask) = next {
            let recipe = if ask.length == 0.0 {
                self.stay()
            } else {
                self.stepped(&line.weights, ask.length)
            };
            self.asks = alloc::vec![recipe];
            self.phase = Phase::Step(line, ask);
        } else if searches && self.loses(&line) && !self.searched && self.taking_part() > 1 {
            self.search();
        } else {
            self.end(&line);
        }
    }

    fn loses(&self, line: &Line) -> bool {
        line.best().1 < -self.settings.brake
    }

    /// The brake: half a step, without inertia, when the best that was tried loses.
    fn end(&mut self, line: &Line) {
        let (length, _) = line.best();
        let braked = self.loses(line);
        let recipe = if braked {
            Recipe { base: 0.5, ..self.recipe(&times(&line.weights, length / 2.0)) }
        } else {
            self.stepped(&line.weights, length)
        };
        let dropped = self.kept.iter().enumerate().filter(|(_, kept)| !**kept);
        self.phase = Phase::Done(Found {
            recipe,
            dropped: dropped.map(|(index, _)| index).collect(),
            searched: self.searched,
            length,
            braked,
        });
        self.asks = Vec::new();
    }

    fn ask(&mut self, phase: Phase, weights: &[Vec<f64>]) {
        self.asks = weights.iter().map(|weights| self.recipe(weights)).collect();
        self.phase = phase;
    }

    fn taking_part(&self) -> usize {
        self.kept.iter().filter(|kept| **kept).count()
    }

    /// 1/K for each that takes part.
    fn mean(&self) -> Vec<f64> {
        let share = 1.0 / self.taking_part() as f64;
        self.kept.iter().map(|kept| if *kept { share } else { 0.0 }).collect()
    }

    /// No step at all.
    fn stay(&self) -> Recipe {
        Recipe { base: 1.0, ..self.share(|_index| 0.0) }
    }

    fn share(&self, weight: impl Fn(usize) -> f64) -> Recipe {
        let weights: Vec<f64> = (0..self.clips.len()).map(weight).collect();
        self.recipe(&weights)
    }

    fn recipe(&self, weights: &[f64]) -> Recipe {
        let clipped = |(weight, clip): (&f64, &f32)| (weight * f64::from(*clip)) as f32;
        let contributions = weights.iter().zip(&self.clips).map(clipped).collect();
        Recipe { contributions, base: 0.0, before: 0.0 }
    }

    /// So long a step with these weights, inertia and all.
    fn stepped(&self, weights: &[f64], length: f64) -> Recipe {
        let inertia = self.settings.inertia * length as f32;
        Recipe { base: inertia, before: 0.0 - inertia, ..self.recipe(&times(weights, length)) }
    }

    /// Logits of the first half: one normal draw each that takes part, in order.
    fn first_logits(&self) -> Vec<Vec<f64>> {
        let zero: Vec<f64> = self.kept.iter().map(|_kept| 0.0).collect();
        let draws = (0..self.taking_part().saturating_mul(DRAWS)).map(|index| (index, &zero));
        draws.map(|(index, zero)| self.around(zero, FIRST_DEVIATION, index)).collect()
    }

    /// Logits of the second half: around the best of the first, in turn.
    fn second_logits(&self, first: &[Draw]) -> Vec<Vec<f64>> {
        let mut sorted = first.to_vec();
        sort(&mut sorted);
        sorted.truncate(PARENTS);
        let parents = sorted.iter().cycle().take(first.len()).enumerate();
        let step = |index: usize| index.saturating_add(first.len());
        parents
            .map(|(index, parent)| self.around(&parent.logits, SECOND_DEVIATION, step(index)))
            .collect()
    }

    /// The same for all vehicles: those that choose alike make one merge.
    fn around(&self, logits: &[f64], deviation: f64, step: usize) -> Vec<f64> {
        let Settings { seed, window, .. } = self.settings;
        let step = u32::try_from(step).unwrap_or(u32::MAX);
        let mut draws = Draws::new(Key { seed, vehicle: None, window, step, term: Term::Weights });
        let moved = |(logit, kept): (&f64, &bool)| {
            if *kept { logit + deviation * draws.normal() } else { 0.0 }
        };
        logits.iter().zip(&self.kept).map(moved).collect()
    }

    /// Convex weights of those that take part.
    fn softmax(&self, logits: &[f64]) -> Vec<f64> {
        let raised: Vec<f64> = logits
            .iter()
            .zip(&self.kept)
            .map(|(logit, kept)| if *kept { libm::exp(*logit) } else { 0.0 })
            .collect();
        let sum: f64 = raised.iter().sum();
        raised.iter().map(|one| one / sum).collect()
    }
}

/// Highest first; of equal ones, the one drawn earlier.
fn sort(draws: &mut [Draw]) {
    draws.sort_by(|a, b| b.utility.total_cmp(&a.utility));
}

#[cfg(test)]
pub(crate) mod tests {
    use alloc::vec;

    use super::*;

    pub(crate) const SETTINGS: Settings = Settings {
        inertia: 0.0,
        brake: 0.01,
        line_search: false,
        utility_moved: false,
        seed: 1,
        window: 4,
    };
    pub(crate) const ALONG: Settings = Settings { line_search: true, ..SETTINGS };

    /// Runs a merger; a merge's utility is that of its weights.
    pub(crate) fn run(
        settings: Settings,
        clips: Vec<f32>,
        utility: impl Fn(&Recipe) -> f64,
    ) -> (Found, usize) {
        run_on(settings, clips, |recipe, _look| utility(recipe))
    }

    /// The same where a merge's utility is another on fresh parts.
    pub(crate) fn run_on(
        settings: Settings,
        clips: Vec<f32>,
        utility: impl Fn(&Recipe, Look) -> f64,
    ) -> (Found, usize) {
        let mut merger = Merger::new(settings, clips).unwrap();
        let mut measured = 0;
        while merger.found().is_none() {
            let look = merger.look();
            let of = |recipe: &Recipe| utility(recipe, look);
            let utilities: Vec<f64> = merger.asks().iter().map(of).collect();
            assert!(!utilities.is_empty());
            measured = utilities.len().saturating_add(measured);
            merger.take(&utilities);
        }
        assert!(merger.asks().is_empty());
        (merger.found().unwrap().clone(), measured)
    }

    /// Vehicle k pulls towards `to[k]` on a line; the best place is 0.3, and b stands at 0.
    fn place(recipe: &Recipe, to: &[f64]) -> f64 {
        let sum = recipe.contributions.iter().zip(to).map(|(weight, to)| f64::from(*weight) * to);
        -(sum.sum::<f64>() - 0.3).abs()
    }

    #[test]
    fn without_trouble_the_merge_is_the_mean_and_costs_two_looks_more_than_contributions() {
        let to = [0.26, 0.28, 0.33, 0.35];
        let (found, measured) = run(SETTINGS, vec![1.0; 4], |recipe| place(recipe, &to));
        assert_eq!(found.recipe, Recipe { contributions: vec![0.25; 4], base: 0.0, before: 0.0 });
        assert_eq!((found.searched, found.braked, found.dropped.len()), (false, false, 0));
        assert_eq!(measured, 6);
    }

    /// Source: swarm-science.md, 'median − 6 (MAD + .01)'.
    #[test]
    fn a_contribution_far_below_the_median_is_dropped() {
        let to = [0.2, 0.4, 9.0, 0.3];
        let (found, _) = run(SETTINGS, vec![1.0; 4], |recipe| place(recipe, &to));
        assert_eq!(found.dropped, [2]);
        let third = 1.0 / 3.0;
        assert_eq!(found.recipe.contributions, [third, third, 0.0, third]);
        assert_eq!(kept(&[0.50, 0.50, 0.50, 0.441]), [true; 4], "6 × .01 is tolerated");
        assert_eq!(kept(&[0.50, 0.50, 0.50, 0.439]), [true, true, true, false]);
    }

    #[test]
    fn no_contribution_is_longer_than_the_median() {
        assert_eq!(clips(&[1.0, 2.0, 3.0, 30.0, 0.0]), [1.0, 1.0, 2.0 / 3.0, 2.0 / 30.0, 1.0]);
        assert_eq!(clips(&[1.0, 3.0]), [1.0, 1.0 / 3.0], "not even where half of them lie");
        assert_eq!(clips(&[0.0, 0.0]), [1.0, 1.0]);
        assert!(clips(&[]).is_empty());
    }

    #[test]
    fn weights_are_searched_for_when_the_mean_is_worse_or_the_utility_moved() {
        // Two of four help; the mean lies past the best place by more than b lies before it.
        let to = [0.3, 0.3, 1.1, 1.1];
        let utility = |recipe: &Recipe| place(recipe, &to);
        let (found, measured) = run(SETTINGS, vec![1.0; 4], utility);
        assert!(found.searched && !found.braked);
        assert_eq!(measured, 5 + 1 + 12 + 12 + 4);
        // With a line search, twice the mean and the shortest step are tried before, and lengths of what was found after.
        let (along, _) = run(ALONG, vec![1.0; 4], utility);
        assert!(utility(&along.recipe) >= utility(&found.recipe));
        let mean = Recipe { contributions: vec![0.25; 4], base: 0.0, before: 0.0 };
        assert!(utility(&found.recipe) > utility(&mean) + 0.1);
        let sum: f32 = found.recipe.contributions.iter().sum();
        assert!((sum - 1.0).abs() < 1e-6, "the weights stay convex");

        let to = [0.2, 0.4, 0.2, 0.4];
        let moved = Settings { utility_moved: true, ..SETTINGS };
        assert!(run(moved, vec![1.0; 4], |recipe| place(recipe, &to)).0.searched);
        assert!(!run(SETTINGS, vec![1.0; 4], |recipe| place(recipe, &to)).0.searched);
    }

    #[test]
    fn a_mean_that_hardly_loses_is_taken_as_it_is() {
        let loses = |loss: f64| move |recipe: &Recipe| if recipe.base > 0.0 { 0.0 } else { -loss };
        let (found, measured) = run(SETTINGS, vec![1.0; 4], loses(0.009));
        assert_eq!((found.searched, found.braked, measured), (false, false, 6));
        assert!(run(SETTINGS, vec![1.0; 4], loses(0.011)).0.searched);
    }

    #[test]
    fn a_search_without_time_ends_with_the_mean() {
        let moved = Settings { utility_moved: true, ..SETTINGS };
        for steps in 0..5 {
            let mut merger = Merger::new(moved, vec![1.0; 4]).unwrap();
            for _step in 0..steps {
                let utilities: Vec<f64> = merger.asks().iter().map(|_ask| 0.5).collect();
                merger.take(&utilities);
            }
            let searching = (2..5).contains(&steps);
            assert_eq!(merger.hurry(), searching, "after {steps} steps");
            if searching {
                let found = merger.found().unwrap();
                assert_eq!(
                    (found.recipe.contributions.as_slice(), found.searched),
                    ([0.25; 4].as_slice(), false)
                );
            }
        }
    }

    #[test]
    fn a_search_that_finds_nothing_better_keeps_the_mean() {
        let to = [0.3; 4];
        let moved = Settings { utility_moved: true, ..SETTINGS };
        let (found, _) = run(moved, vec![1.0; 4], |recipe| {
            if recipe.contributions == [0.25; 4] { 0.0 } else { place(recipe, &to) - 0.1 }
        });
        assert_eq!(found.recipe.contributions, [0.25; 4]);
    }

    #[test]
    fn inertia_takes_the_last_step_again() {
        let with = Settings { inertia: 0.5, ..SETTINGS };
        let (found, measured) = run(with, vec![1.0; 2], |recipe| place(recipe, &[0.3, 0.3]));
        let contributions = vec![0.5; 2];
        assert_eq!(found.recipe, Recipe { contributions, base: 0.5, before: -0.5 });
        assert_eq!(measured, 5);
    }

    #[test]
    fn inertia_ends_when_few_take_part_or_a_value_has_one_bit() {
        assert_eq!(inertia(0.5, 3, 4, 2), 0.5);
        assert_eq!(inertia(0.5, 2, 4, 2), 0.0);
        assert_eq!(inertia(0.5, 12, 16, 2), 0.5);
        assert_eq!(inertia(0.5, 11, 16, 2), 0.0);
        assert_eq!(inertia(0.5, 4, 4, 1), 0.0);
    }

    /// Half a step, without inertia, when utility falls by more than .01.
    #[test]
    fn a_step_that_loses_is_halved() {
        let with = Settings { inertia: 0.5, ..SETTINGS };
        let utility =
            |loss: f64| move |recipe: &Recipe| if recipe.before < 0.0 { -loss } else { 0.0 };
        let (found, _) = run(with, vec![1.0; 2], utility(0.011));
        assert!(found.braked);
        let contributions = vec![0.25; 2];
        assert_eq!(found.recipe, Recipe { contributions, base: 0.5, before: 0.0 });
        assert!(!run(with, vec![1.0; 2], utility(0.009)).0.braked);
        // Without inertia, too.
        let falls = |recipe: &Recipe| if recipe.base > 0.0 { 0.0 } else { -0.2 };
        assert!(run(SETTINGS, vec![1.0], falls).0.braked);
    }

    #[test]
    fn clips_are_part_of_the_listed_weights() {
        let (found, _) = run(SETTINGS, vec![1.0, 0.5], |_recipe| 0.0);
        assert_eq!(found.recipe.contributions, [0.5, 0.25]);
    }

    #[test]
    fn vehicles_that_measure_alike_find_one_merge() {
        let to = [0.3, 0.3, 1.1, 1.1, 0.9];
        let once = run(SETTINGS, vec![1.0; 5], |recipe| place(recipe, &to));
        assert_eq!(once, run(SETTINGS, vec![1.0; 5], |recipe| place(recipe, &to)));
        let later = Settings { window: 5, ..SETTINGS };
        assert_ne!(once.0.recipe, run(later, vec![1.0; 5], |recipe| place(recipe, &to)).0.recipe);
    }

    #[test]
    fn one_contribution_is_its_own_mean_and_none_is_no_merge() {
        let (found, measured) = run(SETTINGS, vec![1.0], |recipe| place(recipe, &[0.3]));
        assert_eq!((found.recipe.contributions.as_slice(), measured), ([1.0].as_slice(), 3));
        assert!(Merger::new(SETTINGS, Vec::new()).is_none());
    }
}
